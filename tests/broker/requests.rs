//! What others ask of the running broker: its sessions, to close a client, new users and rules.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use bytes::Bytes;
use fieldgate::auth::{Access, AccessEntry, Credentials, PLACEHOLDERS, Users, Who};
use fieldgate::mqtt::{Packet, ReasonCode};
use fieldgate::topic::Template;

use crate::support::*;

/// These users, whose password is `secret`.
fn users(names: &[&str]) -> Users {
    let params = Params::new(64, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let lines = names.iter().map(|name| {
        let hash: PasswordHash = argon2
            .hash_password_with_salt(b"secret", b"0123456789abcdef")
            .unwrap();
        format!("{name}:{hash}\n")
    });
    Users::parse(&lines.collect::<String>()).unwrap()
}

/// `plc7` may publish to topics below `publish`.
fn rules(publish: &str) -> Access {
    let template = Template::parse(&format!("{publish}/#"), &PLACEHOLDERS, false).unwrap();
    let entry = AccessEntry {
        who: Who::User("plc7".to_owned()),
        publish: vec![template],
        subscribe: Vec::new(),
    };
    Access::with_entries("gateway", &[entry]).unwrap()
}

async fn log_in(gateway: &Gateway, user: &str) -> Client {
    let mut client = Client::open(gateway.address, V5).await;
    let mut connect = connect(V5, user);
    connect.user_name = Some(user.into());
    connect.password = Some(Bytes::from("secret").into());
    let connack = client.connect(connect).await;
    assert_eq!(connack.reason, ReasonCode::Success);
    client
}

/// The reason of the PUBACK.
async fn publish(client: &mut Client, topic: &str) -> ReasonCode {
    client.send_publish(message(topic, "x", QOS1), 1).await;
    match client.receive().await {
        Packet::Puback(puback) => puback.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn sessions_are_listed_with_where_their_clients_are() {
    let gateway = Gateway::start();
    let client = gateway.client(V311, "here").await;
    let page = soon(gateway.broker.sessions(0)).await.unwrap();
    assert_eq!((page.sessions.len(), page.next), (1, None));
    let listed = &page.sessions[0];
    assert_eq!(listed.session.client_id, "here");
    assert_eq!(listed.session.connection.unwrap().version, V311);
    assert_eq!(listed.listener.as_deref(), Some("test"));
    assert_eq!(listed.address.unwrap().ip(), gateway.address.ip());
    let found = soon(gateway.broker.session("here")).await.unwrap();
    assert_eq!(found.map(|found| found.address), Some(listed.address));
    assert_eq!(soon(gateway.broker.session("there")).await.unwrap(), None);
    drop(client);
    gateway.stop().await;
}

#[tokio::test]
async fn a_client_is_closed_on_request() {
    let gateway = Gateway::start();
    let mut client = gateway.client(V5, "a").await;
    assert!(soon(gateway.broker.kick("a")).await.unwrap());
    assert_eq!(
        client.closed().await,
        Some(ReasonCode::AdministrativeAction)
    );
    assert!(!soon(gateway.broker.kick("a")).await.unwrap());
    gateway.stop().await;
}

#[tokio::test]
async fn new_users_and_rules_count_for_those_who_are_there() {
    let all = users(&["plc7", "plc8"]);
    let gateway = Gateway::full(|_| (), Vec::new(), all, listener());
    let mut plc7 = log_in(&gateway, "plc7").await;
    let mut plc8 = log_in(&gateway, "plc8").await;
    let nobody = ReasonCode::NoMatchingSubscribers;
    assert_eq!(publish(&mut plc7, "old/a").await, nobody);

    let changed = Credentials {
        users: users(&["plc7"]),
        access: rules("new"),
        ..Credentials::default()
    };
    soon(gateway.broker.replace_credentials(changed))
        .await
        .unwrap();
    assert_eq!(plc8.closed().await, Some(ReasonCode::NotAuthorized));
    let refused = ReasonCode::NotAuthorized;
    assert_eq!(publish(&mut plc7, "old/a").await, refused);
    assert_eq!(publish(&mut plc7, "new/a").await, nobody);
    gateway.stop().await;
}
