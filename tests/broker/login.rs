//! Who is let in.

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use bytes::Bytes;
use fieldgate::auth::{Access, AccessEntry, Credentials, PLACEHOLDERS, Users, Who};
use fieldgate::mqtt::{Packet, ProtocolVersion, ReasonCode};
use fieldgate::topic::Template;

use crate::support::*;

fn users() -> Users {
    let params = Params::new(64, 1, 1, None).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash: PasswordHash = argon2
        .hash_password_with_salt(b"secret", b"0123456789abcdef")
        .unwrap();
    Users::parse(&format!("plc7:{hash}\n")).unwrap()
}

async fn answer(
    gateway: &Gateway,
    version: ProtocolVersion,
    user: Option<&str>,
    password: Option<&'static str>,
) -> ReasonCode {
    let mut client = Client::open(gateway.address, version).await;
    let mut connect = connect(version, "client");
    connect.user_name = user.map(Into::into);
    connect.password = password.map(|password| Bytes::from(password).into());
    let connack = client.connect(connect).await;
    if connack.reason == ReasonCode::Success {
        client.ping().await;
    } else {
        assert_eq!(client.next().await, None);
    }
    connack.reason
}

#[tokio::test]
async fn mqtt_3_2_2_each_refusal_has_its_code() {
    let gateway = Gateway::full(|_| (), Vec::new(), users(), listener());
    for version in [V311, V5] {
        let ask = |user, password| answer(&gateway, version, user, password);
        assert_eq!(ask(Some("plc7"), Some("secret")).await, ReasonCode::Success);
        for (user, password) in [("plc7", "wrong"), ("nobody", "secret"), ("", "")] {
            assert_eq!(
                ask(Some(user), Some(password)).await,
                ReasonCode::BadUserNameOrPassword
            );
        }
        assert_eq!(
            ask(Some("plc7"), None).await,
            ReasonCode::BadUserNameOrPassword
        );
        assert_eq!(ask(None, None).await, ReasonCode::NotAuthorized);
    }
}

#[tokio::test]
async fn an_anonymous_listener_still_refuses_a_wrong_password() {
    let listener = fieldgate::listener::ListenerOptions {
        anonymous: true,
        ..listener()
    };
    let gateway = Gateway::full(|_| (), Vec::new(), users(), listener);
    for version in [V311, V5] {
        assert_eq!(
            answer(&gateway, version, None, None).await,
            ReasonCode::Success
        );
        assert_eq!(
            answer(&gateway, version, Some("plc7"), Some("no")).await,
            ReasonCode::BadUserNameOrPassword
        );
    }
}

#[tokio::test]
async fn an_authentication_method_is_refused() {
    let gateway = Gateway::start();
    let mut client = Client::open(gateway.address, V5).await;
    let mut connect = connect(V5, "client");
    connect.authentication_method = Some("SCRAM-SHA-256".into());
    let connack = client.connect(connect).await;
    assert_eq!(connack.reason, ReasonCode::BadAuthenticationMethod);
    assert_eq!(client.next().await, None);
}

#[tokio::test]
async fn others_are_served_while_passwords_are_checked() {
    let gateway = Gateway::full(|_| (), Vec::new(), users(), listener());
    let mut client = Client::open(gateway.address, V5).await;
    let mut first = connect(V5, "first");
    first.user_name = Some("plc7".into());
    first.password = Some(Bytes::from("secret").into());
    client.connect(first).await;
    let mut waiting = Vec::new();
    for _ in 0..20 {
        let mut stranger = Client::open(gateway.address, V5).await;
        let mut login = connect(V5, "stranger");
        login.user_name = Some("plc7".into());
        login.password = Some(Bytes::from("wrong").into());
        stranger.send(Packet::Connect(Box::new(login))).await;
        client.ping().await;
        waiting.push(stranger);
    }
    for stranger in &mut waiting {
        let Packet::Connack(connack) = stranger.receive().await else {
            panic!("no CONNACK");
        };
        assert_eq!(connack.reason, ReasonCode::BadUserNameOrPassword);
        client.ping().await;
    }
}

#[tokio::test]
async fn a_rule_with_the_client_id_holds_for_a_name_that_was_given() {
    let own = Template::parse("plant/{client_id}", &PLACEHOLDERS, false).unwrap();
    let entry = AccessEntry {
        who: Who::Anyone,
        publish: vec![own],
        subscribe: Vec::new(),
    };
    let credentials = Credentials {
        users: Users::default(),
        access: Access::with_entries("g1", &[entry]).unwrap(),
        ..Credentials::default()
    };
    let listener = fieldgate::listener::ListenerOptions {
        anonymous: true,
        ..listener()
    };
    let gateway = Gateway::full(|_| (), Vec::new(), credentials, listener);
    let mut client = Client::open(gateway.address, V5).await;
    let connack = client.connect(connect(V5, "")).await;
    let name = connack.assigned_client_id.unwrap();
    let topic = format!("plant/{name}");
    client.publish(message(&topic, "mine", QOS1), 1).await;
    client
        .send_publish(message("plant/other", "", QOS1), 2)
        .await;
    let Packet::Puback(puback) = client.receive().await else {
        panic!("no PUBACK");
    };
    assert_eq!(puback.reason, ReasonCode::NotAuthorized);
}
