//! Each code as `fieldgate check` prints it. `golden/CODE.yaml`, or `golden/CODE/fieldgate.yaml` with files beside it, has what
//! is wrong; `golden/CODE.txt` is what is printed, and the exit status.
//!
//! `GOLDEN=write cargo test --test config golden` writes the texts anew. Read them as who has to mend the file does.

use std::path::Path;
use std::process::Command;

use fieldgate::config::Code;

const REFERENCE: &str = include_str!("../../config/docs/configuration.md");

/// What is printed to stderr for the example of `code`, and the exit status.
fn printed(folder: &Path, code: Code) -> String {
    let of_folder = format!("{code}/fieldgate.yaml");
    let file = if folder.join(&of_folder).exists() {
        of_folder
    } else {
        format!("{code}.yaml")
    };
    let mut command = Command::new(env!("CARGO_BIN_EXE_fieldgate"));
    command.current_dir(folder).env_clear();
    let output = command.args(["check", &file]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    format!("{told}\nexit status {}\n", output.status.code().unwrap())
}

#[test]
fn each_code_is_printed_as_it_was_read_and_found_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/golden");
    let write = std::env::var_os("GOLDEN").is_some_and(|it| it == "write");
    let mut differing = Vec::new();
    for code in Code::ALL {
        let told = printed(&folder, code);
        let file = folder.join(format!("{code}.txt"));
        if write {
            std::fs::write(file, &told).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        if told != expected {
            differing.push(format!("--- {code}, expected\n{expected}--- found\n{told}"));
        }
    }
    assert_eq!(differing, [""; 0], "{}", differing.join("\n"));
}

#[test]
fn each_code_has_an_example_that_shows_it_and_a_line_in_the_reference() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/config/golden");
    for code in Code::ALL {
        let file = folder.join(format!("{code}.txt"));
        let told = std::fs::read_to_string(&file);
        let told = told.unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(told.contains(&format!("[{code}]")), "{code}: {told}");
        assert!(REFERENCE.contains(&format!("| {code} |")), "{code}");
    }
    // Nothing lies there that no code has.
    for entry in std::fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let code = name.split('.').next().unwrap();
        assert!(
            Code::ALL.iter().any(|known| known.as_str() == code),
            "{name}"
        );
    }
}
