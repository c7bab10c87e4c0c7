//! Writes what a package has besides the program and the program knows: a man page for each command, and completions for
//! three shells.
//!
//! ```text
//! cargo run --example generate -- DIR      DIR/man/fieldgate*.8, DIR/completions/{bash,zsh,fish}
//! ```
//!
//! Runs on the machine that builds, whatever the package is for.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(env::args_os().nth(1).ok_or("name a folder to write to")?);
    let mut command = fieldgate::cli::command().disable_help_subcommand(true);
    // Names the commands below it by their whole path.
    command.build();

    let pages = folder.join("man");
    fs::create_dir_all(&pages)?;
    write_pages(&command, &pages)?;

    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        let mut file = fs::File::create(completions.join(shell.to_string()))?;
        clap_complete::generate(shell, &mut command, "fieldgate", &mut file);
    }
    Ok(())
}

/// Of this command and all below it.
fn write_pages(command: &Command, folder: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|one| !one.is_hide_set()) {
        write_pages(below, folder)?;
    }
    Man::new(command.clone())
        .section("8")
        .manual("fieldgate")
        .generate_to(folder)?;
    Ok(())
}
