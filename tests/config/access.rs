//! `broker.access`: what entries mean, and one case for each rule about them.

use std::path::Path;

use fieldgate::auth::{Access, AccessOptions, Who};
use fieldgate::topic::TopicName;

use crate::support::{Surroundings, faults, faults_in, read, read_in};

/// A file with a user `plc7` and this entry.
fn entry(keys: &str) -> String {
    format!("gateway: {{ id: g1 }}\nbroker:\n  users_file: users\n  access:\n    - {{ {keys} }}\n")
}

fn users() -> Surroundings {
    Surroundings {
        texts: [("users", "# who\nplc7:$argon2id$...\nhmi:$7$...\n")].into(),
        ..Surroundings::default()
    }
}

#[track_caller]
fn rules(text: &str) -> AccessOptions {
    read_in(text, &users())
        .unwrap_or_else(|faults| panic!("{faults}"))
        .config
        .access
}

#[test]
fn entries_become_rights() {
    let text = "\
gateway: { id: g1 }
broker:
  users_file: users
  access:
    - user: plc7
      publish: [\"plant/{user}/#\", \"{gateway}/+/set/+\"]
      subscribe: [\"plant/{client_id}\"]
    - { user: \"*\", publish: [all-users] }
    - { client_id: \"*\", publish: [all] }
    - { client_id: panel, publish: [panel] }
    - { anonymous: true, publish: [guests] }
";
    let AccessOptions::Entries(entries) = rules(text) else {
        panic!()
    };
    let subjects: Vec<&Who> = entries.iter().map(|entry| &entry.who).collect();
    assert_eq!(
        subjects,
        [
            &Who::User("plc7".to_owned()),
            &Who::AnyUser,
            &Who::Anyone,
            &Who::ClientId("panel".to_owned()),
            &Who::Anonymous,
        ]
    );
    let access = Access::with_entries("g1", &entries).unwrap();
    for (user, client_id, topic, expected) in [
        (Some("plc7"), "c", "plant/plc7/x", true),
        (Some("plc7"), "c", "plant/hmi/x", false),
        (Some("plc7"), "c", "g1/dev/set/mode", true),
        (Some("plc7"), "c", "all-users", true),
        (Some("plc7"), "c", "guests", false),
        (Some("hmi"), "c", "plant/hmi/x", false),
        (Some("hmi"), "panel", "panel", true),
        (None, "c", "all", true),
        (None, "c", "all-users", false),
        (None, "c", "guests", true),
    ] {
        let rights = access.rights(user, client_id).unwrap();
        let topic = TopicName::try_from(topic).unwrap();
        assert_eq!(
            rights.may_publish(&topic),
            expected,
            "{user:?} {client_id} {topic}"
        );
    }
    let rights = access.rights(Some("plc7"), "c").unwrap();
    assert!(rights.may_read(&TopicName::try_from("plant/c").unwrap()));
}

#[test]
fn without_access_there_are_no_rules_and_an_empty_list_is_one_that_allows_nobody() {
    assert_eq!(rules(""), AccessOptions::NoRules);
    let empty = rules("broker: { users_file: users, access: [] }");
    assert_eq!(empty, AccessOptions::Entries(Vec::new()));
    let file = rules("broker: { users_file: users, mosquitto_acl_file: acl }");
    assert_eq!(
        file,
        AccessOptions::MosquittoAcl(Path::new("acl").to_owned())
    );
}

#[test]
fn each_slip_in_an_entry_is_told_with_its_place_and_remedy() {
    for (keys, expected) in [
        (
            "publish: [a]",
            "5:7 FG012 broker.access[0]: the entry does not say whom it is about (add `user: NAME`, `client_id: NAME` or `anonymous: true`; `user: \"*\"` is all users, `client_id: \"*\"` all clients)",
        ),
        (
            "user: plc7, client_id: c",
            "5:21 FG018 broker.access[0].client_id: an entry is about `user` or `client_id`, not about both (make an entry for each; what entries about one client allow adds up)",
        ),
        (
            "anonymous: false",
            "5:20 FG015 broker.access[0].anonymous: `anonymous: false` is about nobody (write `user: \"*\"` for all who have a user name, `anonymous: true` for those who have none)",
        ),
        (
            "user: \"\"",
            "5:15 FG015 broker.access[0].user: the name is empty (write a name, or `anonymous: true` for clients without a user name)",
        ),
        (
            "user: plc7, publish: [a/#/b]",
            "5:31 FG030 broker.access[0].publish[0]: `#` must be the last level and a level of its own (write a filter such as \"plant/{user}/#\" or plant/+/status)",
        ),
        (
            "user: plc7, publish: [\"{usr}/a\"]",
            "5:31 FG030 broker.access[0].publish[0]: `{usr}` is no placeholder here; known are {gateway} {user} {client_id} (did you mean {user}?)",
        ),
        (
            "user: plc7, subscribe: [a, \"{user\"]",
            "5:36 FG030 broker.access[0].subscribe[1]: `{` and `}` come in pairs (close each `{` with a `}`)",
        ),
        (
            "user: plc7, subscribe: [$share/g/a]",
            "5:33 FG030 broker.access[0].subscribe[0]: a rule is about topics, not about shared subscriptions (remove `$share/NAME/`: the filter after it is what is checked)",
        ),
        (
            "user: plc7, subscrib: [a]",
            "5:21 FG010 broker.access[0].subscrib: unknown key `subscrib` (did you mean `subscribe`?)",
        ),
        (
            "user: plc7, subscribe: a",
            "5:32 FG014 broker.access[0].subscribe: expected a list, found the text `a` (write a list: `[first, second]`, or a line with `- ` for each)",
        ),
        (
            "user: plc8",
            "5:15 FG021 broker.access[0].user: nobody can log in as `plc8` (did you mean `plc7`?)",
        ),
        (
            "user: dashboard",
            "5:15 FG021 broker.access[0].user: nobody can log in as `dashboard` (add a line for it to the `users_file`, or remove the entry)",
        ),
        (
            "anonymous: true, publish: [\"{user}/a\"]",
            "5:36 FG060 broker.access[0].publish[0]: an anonymous client has no user to fill in: this allows nothing (use {client_id}, or remove it)",
        ),
    ] {
        assert_eq!(faults_in(&entry(keys), &users()), [expected], "{keys}");
    }
    let deep = entry(&format!("user: plc7, publish: [{}]", ["a"; 129].join("/")));
    let told = faults_in(&deep, &users());
    assert_eq!(
        told,
        [
            "5:31 FG030 broker.access[0].publish[0]: a rule has at most 128 levels (end it earlier, with `#`)"
        ]
    );
}

#[test]
fn a_user_who_cannot_log_in_is_warned_of_unless_certificates_name_users() {
    let without_users = "broker: { access: [{ user: plc7 }] }\n";
    assert_eq!(
        faults(without_users),
        [
            "1:28 FG021 broker.access[0].user: nobody can log in as `plc7` (name a `users_file` with a line for it, or let a listener take the user from the certificate)"
        ]
    );
    assert!(read(without_users).is_ok(), "a warning");
    let certificates = "\
broker:
  access: [{ user: plc7 }]
  listeners: [{ bind: 127.0.0.1:1, tls: { certificate: c, private_key: k, client_ca: ca, user_from: common_name } }]
";
    assert_eq!(faults(certificates), Vec::<String>::new());
    assert_eq!(
        faults(&entry("user: nobody")),
        Vec::<String>::new(),
        "a users file that cannot be read is told elsewhere"
    );
}

#[test]
fn rules_stand_in_one_place_only() {
    let text = "broker: { users_file: u, access: [], mosquitto_acl_file: acl }\n";
    assert_eq!(
        faults(text),
        [
            "1:38 FG018 broker.mosquitto_acl_file: `access` and `mosquitto_acl_file` both say who may do what (keep one of them)"
        ]
    );
    let missing = Surroundings {
        missing: vec!["acl"],
        ..Surroundings::default()
    };
    assert_eq!(
        faults_in("broker: { mosquitto_acl_file: acl }\n", &missing),
        [
            "1:31 FG050 broker.mosquitto_acl_file: there is no file acl (correct the path or put the file there; relative paths are relative to this file)"
        ]
    );
}
