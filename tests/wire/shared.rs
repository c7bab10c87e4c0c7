//! Shared subscriptions.

use crate::client::Client;
use crate::packet::{
    Connect, PINGREQ, PUBACK, PUBCOMP, PUBREC, PUBREL, Packet, Publish, V5, ack, ack_with, id,
    subscribe,
};
use crate::server::Server;

#[test]
fn the_connack_says_that_subscriptions_can_be_shared() {
    let server = Server::start();
    let (_, connack) = server.try_connect(&Connect::new(V5, "a"));
    assert_eq!(connack.property(id::SHARED_AVAILABLE), None);
}

/// Members of one group at these QoS.
fn group<const N: usize>(server: &Server, qos: [u8; N]) -> [Client; N] {
    let mut number = 0;
    qos.map(|qos| {
        number += 1;
        let mut member = server.connect(&Connect::lasting(V5, &format!("member {number}")));
        member.subscribe("$share/g/t", qos);
        member
    })
}

/// What is there for a client, acknowledged; more than its window, too.
fn got(client: &mut Client) -> Vec<String> {
    let mut texts = Vec::new();
    let mut before = None;
    while before != Some(texts.len()) {
        before = Some(texts.len());
        client.send(&PINGREQ);
        loop {
            match client.receive() {
                Packet::Publish(publish) => {
                    client.acknowledge(&publish);
                    texts.push(publish.text().to_owned());
                }
                Packet::Pingresp => break,
                other => panic!("{other:?}"),
            }
        }
    }
    texts
}

#[test]
fn mqtt_4_8_2_1_a_shared_filter_begins_with_share_and_a_name() {
    let server = Server::start();
    let mut client = server.client(V5, "a");
    for filter in ["$share/g/t", "$share/g/a/+/#", "$share/g//t"] {
        client.subscribe(filter, 1);
    }
    for filter in ["$share//t", "$share/g", "$share/", "$share/g/"] {
        let mut client = server.client(V5, "b");
        client.send(&subscribe(V5, 9, &[], &[(filter, 1)]));
        client.closed_for(0x81);
    }
}

#[test]
fn mqtt_4_8_2_2_a_share_name_has_no_wildcards_and_a_filter_follows() {
    let server = Server::start();
    for filter in [
        "$share/g+/t",
        "$share/#/t",
        "$share/+/t",
        "$share/g/t#",
        "$share/g/+t",
    ] {
        let mut client = server.client(V5, "a");
        client.send(&subscribe(V5, 9, &[], &[(filter, 1)]));
        client.closed_for(0x81);
    }
}

/// Each message to one member, all of them in turn; and a copy to everybody else.
#[test]
fn a_group_shares_its_messages_fairly() {
    let server = Server::start();
    let mut members = group(&server, [1, 1, 1]);
    let mut other_group = server.client(V5, "o");
    other_group.subscribe("$share/h/#", 1);
    let mut alone = server.client(V5, "w");
    alone.subscribe("t", 1);
    let mut publisher = server.client(V5, "p");
    for number in 0..30 {
        publisher.tell(&Publish::new("t", &number.to_string()).qos(1, 5));
    }
    let shares = members.each_mut().map(got);
    assert!(shares.iter().all(|share| share.len() == 10), "{shares:?}");
    let mut all: Vec<String> = shares.concat();
    all.sort_by_key(|text| text.parse::<u32>().unwrap());
    let expected: Vec<String> = (0..30).map(|number: u32| number.to_string()).collect();
    assert_eq!(all, expected);
    assert_eq!(got(&mut alone), expected);
    assert_eq!(got(&mut other_group), expected);
}

#[test]
fn mqtt_4_8_2_3_the_qos_granted_to_the_member_holds() {
    let server = Server::start();
    let [mut low, mut high] = group(&server, [0, 2]);
    let mut publisher = server.client(V5, "p");
    for _ in 0..4 {
        publisher.tell(&Publish::new("t", "x").qos(2, 5));
    }
    for (member, qos) in [(&mut low, 0), (&mut high, 2)] {
        for _ in 0..2 {
            assert_eq!(member.take().qos, qos);
        }
        member.ping();
    }
}

/// A QoS 2 delivery that began: PUBLISH sent, and further on PUBREL sent.
#[test]
fn mqtt_4_8_2_4_a_qos_2_delivery_that_began_is_completed_with_the_same_member() {
    let server = Server::start();
    let [mut first, mut second] = group(&server, [2, 2]);
    let mut publisher = server.client(V5, "p");
    publisher.tell(&Publish::new("t", "1").qos(2, 5));
    publisher.tell(&Publish::new("t", "2").qos(2, 5));
    let begun = first.publish();
    let other = second.publish();
    second.send(&ack(PUBREC, other.id.unwrap()));
    second.ack_of(PUBREL, other.id.unwrap());
    first.vanish();
    second.vanish();
    let mut first = server.connect(&Connect::lasting(V5, "member 1"));
    let again = Publish { dup: true, ..begun };
    assert_eq!(first.publish(), again);
    first.acknowledge(&again);
    first.ping();
    let mut second = server.connect(&Connect::lasting(V5, "member 2"));
    second.ack_of(PUBREL, other.id.unwrap());
    second.send(&ack(PUBCOMP, other.id.unwrap()));
    second.ping();
}

#[test]
fn mqtt_4_8_2_5_where_its_session_ends_a_qos_2_message_goes_to_nobody_else() {
    let server = Server::start();
    let [mut first, mut second] = group(&server, [2, 2]);
    let mut publisher = server.client(V5, "p");
    publisher.tell(&Publish::new("t", "1").qos(2, 5));
    first.publish();
    first.vanish();
    server.client(V5, "member 1").leave(); // a clean start ends the session
    second.ping();
    publisher.tell(&Publish::new("t", "2").qos(2, 5));
    assert_eq!(second.take().text(), "2");
    second.ping();
}

/// The standard asks for that where the client's session ends, at QoS 1.
#[test]
fn what_a_member_that_left_did_not_acknowledge_goes_to_another() {
    let server = Server::start();
    let [mut first, mut second] = group(&server, [1, 1]);
    let mut publisher = server.client(V5, "p");
    publisher.tell(&Publish::new("t", "1").qos(1, 5));
    assert_eq!(first.publish().text(), "1");
    first.vanish();
    server.client(V5, "member 1").leave();
    assert_eq!(second.take().text(), "1");
}

#[test]
fn mqtt_4_8_2_6_a_refused_message_goes_to_nobody_else() {
    let server = Server::start();
    let [mut first, mut second] = group(&server, [2, 2]);
    let mut publisher = server.client(V5, "p");
    for (qos, kind) in [(1, PUBACK), (2, PUBREC)] {
        publisher.tell(&Publish::new("t", "for the first").qos(qos, 5));
        publisher.tell(&Publish::new("t", "for the second").qos(qos, 5));
        let refused = first.publish();
        first.send(&ack_with(kind, refused.id.unwrap(), 0x97));
        first.ping();
        assert_eq!(second.take().text(), "for the second");
        second.ping();
    }
}

/// Neither at the first subscription nor at a further one.
#[test]
fn a_shared_subscription_gets_no_retained_messages() {
    let server = Server::start();
    let mut publisher = server.client(V5, "p");
    publisher.tell(&Publish::new("t", "x").qos(1, 5).retain());
    let mut members = group(&server, [1, 1]);
    members.iter_mut().for_each(Client::ping);
}

#[test]
fn unsubscribing_from_a_group_leaves_the_others_their_messages() {
    let server = Server::start();
    let [mut first, mut second] = group(&server, [1, 1]);
    first.unsubscribe("$share/g/t");
    let mut publisher = server.client(V5, "p");
    for number in 0..4 {
        publisher.tell(&Publish::new("t", &number.to_string()).qos(1, 5));
    }
    assert_eq!(got(&mut second), ["0", "1", "2", "3"]);
    first.ping();
}
