//! argv and the exit code; everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    fieldgate::cli::main()
}
