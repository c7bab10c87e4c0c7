//! Templates: where a name is looked for, what counts first, and where faults are shown.

use std::collections::BTreeSet;
use std::path::Path;

use fieldgate::config::{self, Loaded};

use crate::support::{Surroundings, faults, faults_of, read, read_in};

/// A device with `template`, in a file with `more`.
fn device(template: &str, more: &str) -> String {
    format!(
        "connections: [{{name: a, modbus_tcp: {{host: h}}}}]\n\
         devices: [{{name: d, connection: a, unit_id: 1, template: {template}}}]\n{more}"
    )
}

fn template(name: &str, tag: &str) -> String {
    format!(
        "templates:\n  {name}: {{groups: [{{name: g, tags: [{{name: {tag}, register: coil, address: 0}}]}}]}}\n"
    )
}

/// The first tag of the first device.
fn first_tag(loaded: &Loaded) -> &str {
    &loaded.config.connections[0].devices[0].groups[0].tags[0].name
}

#[test]
fn every_shipped_template_is_sound_alone_in_a_file() {
    assert!(config::SHIPPED_TEMPLATES.len() > 5);
    for (name, text) in config::SHIPPED_TEMPLATES {
        let loaded = read(&device(name, "")).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(loaded.warnings, [], "{name}");
        let built = &loaded.config.connections[0].devices[0];
        fieldgate::adapter::plan::plan(built).unwrap_or_else(|error| panic!("{name}: {error}"));
        // And as a file of the user's, who copies it to change it.
        let own = Surroundings {
            texts: [("templates/own.yaml", *text)].into(),
            ..Surroundings::default()
        };
        let copied = read_in(&device(name, ""), &own).unwrap_or_else(|faults| panic!("{faults}"));
        assert_eq!(copied.config, loaded.config, "{name}");
    }
}

#[test]
fn every_file_of_the_folder_is_shipped_and_says_where_it_comes_from() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/templates");
    let files = std::fs::read_dir(folder).unwrap();
    let names: BTreeSet<String> = files
        .map(|file| {
            file.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    let shipped = config::SHIPPED_TEMPLATES
        .iter()
        .map(|(name, _)| (*name).to_owned());
    assert_eq!(names, shipped.collect());
    for (name, text) in config::SHIPPED_TEMPLATES {
        for word in ["# From: ", "# Checked: ", "Not checked on a"] {
            let text = text.replace("Not\n# checked", "Not checked");
            assert!(text.contains(word), "{name}: {word}");
        }
    }
}

#[test]
fn the_users_own_files_are_read_and_replace_shipped_ones() {
    let (own, other) = (
        template("eastron_sdm120", "mine"),
        template("other", "beside"),
    );
    let (own, other): (&'static str, &'static str) = (own.leak(), other.leak());
    let surroundings = Surroundings {
        texts: [("templates/a.yaml", own), ("templates/b.yaml", other)].into(),
        ..Surroundings::default()
    };
    let tag =
        |name: &str| first_tag(&read_in(&device(name, ""), &surroundings).unwrap()).to_owned();
    assert_eq!([tag("eastron_sdm120"), tag("other")], ["mine", "beside"]);
    let in_file = read(&device(
        "eastron_sdm120",
        &template("eastron_sdm120", "mine"),
    ))
    .unwrap();
    assert_eq!(first_tag(&in_file), "mine");
    let shipped = read(&device("eastron_sdm120", "")).unwrap();
    assert_eq!(first_tag(&shipped), "voltage");
}

#[test]
fn a_name_that_nothing_has_names_what_there_is() {
    let told = faults(&device("eastron_sdm12", ""));
    assert_eq!(
        told,
        [
            "2:58 FG021 devices[0].template: there is no template `eastron_sdm12` (did you mean `eastron_sdm120`?)"
        ]
    );
    let told = faults(&device("x", &template("own", "t")));
    assert!(
        told[0].contains("there are: own, carlo_gavazzi_em340, "),
        "{told:?}"
    );
}

#[test]
fn faults_of_a_template_file_are_shown_in_it() {
    let main = device("own", "");
    let own = "# mine\ntemplates:\n  own:\n    max_gab: 3\n    groups:\n      - name: g\n        tags:\n          \
               - { name: t, register: coil, address: 70000 }\nmore: 1\n";
    let told = faults_of(&[("fieldgate.yaml", &main), ("templates/own.yaml", own)]);
    assert_eq!(
        told,
        [
            "templates/own.yaml:4:5: error[FG010]: unknown key `max_gab`",
            "templates/own.yaml:8:49: error[FG015]: expected a whole number from 0 to 65535, found the number 70000",
            "templates/own.yaml:9:1: error[FG010]: unknown key `more`",
        ]
    );
}

#[test]
fn a_name_twice_names_both_files_whichever_they_are() {
    let (main, own) = (device("own", &template("own", "a")), template("own", "b"));
    let told = faults_of(&[
        ("fieldgate.yaml", &main),
        ("templates/a.yaml", &own),
        ("templates/b.yaml", &own),
        ("templates/notes.txt", "not: [read"),
    ]);
    assert_eq!(
        told,
        [
            "templates/a.yaml:2:8: error[FG020]: there is a template `own` already: fieldgate.yaml:4",
            "templates/b.yaml:2:8: error[FG020]: there is a template `own` already: fieldgate.yaml:4",
        ]
    );
    let told = faults_of(&[
        ("fieldgate.yaml", &device("own", "")),
        ("templates/a.yaml", &own),
        ("templates/b.yaml", &own),
    ]);
    assert_eq!(
        told,
        [
            "templates/b.yaml:2:8: error[FG020]: there is a template `own` already: templates/a.yaml:2"
        ]
    );
}

#[test]
fn a_template_file_that_is_no_yaml_is_named_beside_the_faults_of_the_file() {
    let main = device("eastron_sdm630", "gateway: {idd: x}\n");
    let told = faults_of(&[
        ("fieldgate.yaml", &main),
        ("templates/a.yaml", "templates:\n  own: [\n"),
    ]);
    assert_eq!(told.len(), 2, "{told:?}");
    // What cannot be read comes first, since what follows may follow from it.
    assert!(
        told[0].starts_with("templates/a.yaml:2:1: error[FG002]"),
        "{told:?}"
    );
    assert!(
        told[1].starts_with("fieldgate.yaml:3:11: error[FG010]"),
        "{told:?}"
    );
}

#[test]
fn a_fault_that_a_device_makes_of_a_shipped_template_shows_the_shipped_text() {
    let text = device("eastron_sdm120, max_registers: 1", "");
    let faults = read(&text).unwrap_err().list;
    let first = faults[0].to_string();
    assert!(
        first.starts_with("shipped template/eastron_sdm120:1"),
        "{first}"
    );
    assert!(first.contains("`max_registers` of `d` is 1"), "{first}");
}

#[test]
fn what_a_template_file_names_is_relative_to_it() {
    let own = template("own", "\"${file:name}\"");
    let main = device("own", "");
    let told = faults_of(&[
        ("fieldgate.yaml", &main),
        ("templates/a.yaml", &own),
        ("templates/name", "level\n"),
    ]);
    assert_eq!(told, [""; 0]);
}
