//! What the core does with what the upstream sends: subscriptions, mapping, and who answers when.

use std::time::Duration;

use bytes::Bytes;
use fieldgate::bridge::core::{Cause, HOPS_PROPERTY};
use fieldgate::bridge::{BridgeOptions, ReceiveRoute};
use fieldgate::broker::{ForwardRoute, InletAnswer, RetainPolicy};
use fieldgate::mqtt::{
    Oversized, Packet, PacketId, ProtocolVersion, Publish, PublishProperties, QoS, ReasonCode,
    RetainHandling,
};
use fieldgate::topic::{Template, TopicFilter};

use crate::sim::{Sim, acknowledge, message, options, topic, user_property};

const QOS0: QoS = QoS::AtMostOnce;
const QOS1: QoS = QoS::AtLeastOnce;
const QOS2: QoS = QoS::ExactlyOnce;
const SUCCESS: ReasonCode = ReasonCode::Success;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::try_from(text).unwrap()
}

fn route(text: &str, topic: &str, qos: QoS) -> ReceiveRoute {
    ReceiveRoute {
        filter: filter(text),
        topic: Template::parse(topic, &[], true).unwrap(),
        qos,
        retain: RetainPolicy::Keep,
    }
}

fn receiving(receive: Vec<ReceiveRoute>) -> BridgeOptions {
    BridgeOptions {
        receive,
        ..options()
    }
}

/// `site/...` comes down without its first level.
fn site() -> BridgeOptions {
    receiving(vec![route("site/#", "{2..}", QOS2)])
}

/// Connected, with the local broker there and everything subscribed to.
fn up(options: BridgeOptions) -> Sim {
    let mut sim = Sim::new(options);
    sim.run();
    sim.open_inlet();
    sim.run();
    sim
}

fn publish(topic_name: &str, qos: QoS, id: u16) -> Publish {
    Publish {
        dup: false,
        packet_id: PacketId::new(id).filter(|_| qos > QOS0),
        qos,
        retain: false,
        topic: Some(topic(topic_name)),
        topic_alias: None,
        subscription_ids: Vec::new(),
        properties: None,
        payload: Bytes::from_static(b"x"),
    }
}

fn comes(sim: &mut Sim, topic: &str, qos: QoS, id: u16) {
    sim.say(Packet::Publish(publish(topic, qos, id)));
}

fn passed(sim: &mut Sim) -> Publish {
    match sim.passed.pop() {
        Some(Packet::Publish(publish)) => publish,
        other => panic!("{other:?} instead of a message"),
    }
}

fn puback(id: u16, reason: ReasonCode) -> Packet {
    Packet::Puback(acknowledge(id, reason))
}

fn pubrec(id: u16, reason: ReasonCode) -> Packet {
    Packet::Pubrec(acknowledge(id, reason))
}

fn pubcomp(id: u16, reason: ReasonCode) -> Packet {
    Packet::Pubcomp(acknowledge(id, reason))
}

/// What was asked for, in order: `+filter@qos` and `-filter`.
fn asked(sim: &Sim) -> Vec<String> {
    let asked = |packet: &Packet| match packet {
        Packet::Subscribe(subscribe) => {
            assert!(subscribe.packet_id.get() > 65_500);
            let subscription = &subscribe.subscriptions[0];
            assert!(subscription.no_local && subscription.retain_as_published);
            assert_eq!(subscription.retain_handling, RetainHandling::SendIfNew);
            let qos = subscription.qos as u8;
            Some(format!("+{}@{qos}", subscription.filter))
        }
        Packet::Unsubscribe(unsubscribe) => Some(format!("-{}", unsubscribe.filters[0])),
        _ => None,
    };
    sim.upstream.seen.iter().filter_map(asked).collect()
}

// Subscriptions

#[test]
fn nothing_is_subscribed_to_before_the_local_session_is_there_and_the_filters_are_on_disk() {
    let mut sim = Sim::new(site());
    sim.connect();
    sim.upstream_reads();
    sim.bridge_reads();
    assert_eq!(sim.opened, [true], "the upstream's session is a new one");
    sim.open_inlet();
    sim.upstream_reads();
    assert!(asked(&sim).is_empty());
    sim.commit();
    sim.upstream_reads();
    assert_eq!(asked(&sim), ["+site/#@2"]);
    let kept = sim.log.session.clone().unwrap();
    assert!(kept.ends_with("\0site/#"), "{kept:?}");
}

#[test]
fn the_local_session_goes_on_with_that_of_the_upstream() {
    let mut sim = up(site());
    sim.cut();
    sim.run();
    sim.open_inlet();
    sim.cut();
    sim.upstream.lose_session();
    sim.run();
    assert_eq!(sim.opened, [true, false, true]);
}

#[test]
fn what_an_older_configuration_subscribed_to_is_ended_and_the_session_goes_on() {
    let mut sim = up(receiving(vec![
        route("old/#", "{topic}", QOS1),
        route("same", "{topic}", QOS1),
    ]));
    std::sync::Arc::make_mut(&mut sim.options).receive = vec![route("same", "{topic}", QOS2)];
    sim.restart();
    sim.upstream.seen.clear();
    sim.run();
    sim.open_inlet();
    sim.run();
    assert_eq!(asked(&sim), ["-old/#", "+same@2"]);
    assert_eq!(sim.opened, [true, false]);
    assert!(sim.log.session.clone().unwrap().ends_with(" gw\0same"));
    // Also where nothing is received any more.
    std::sync::Arc::make_mut(&mut sim.options).receive = Vec::new();
    sim.restart();
    sim.upstream.seen.clear();
    sim.run();
    assert_eq!(asked(&sim), ["-same"]);
    assert!(sim.log.session.clone().unwrap().ends_with(" gw"));
}

#[test]
fn a_filter_that_another_one_covers_is_not_subscribed_to() {
    let sim = up(receiving(vec![
        route("a/b/+", "one/{3}", QOS2),
        route("a/#", "two/{topic}", QOS1),
        route("a/c", "{topic}", QOS0),
        route("b", "{topic}", QOS0),
    ]));
    assert_eq!(asked(&sim), ["+a/#@2", "+b@0"]);
}

#[test]
fn many_filters_are_asked_for_a_few_at_a_time() {
    let routes = (0..30).map(|n| route(&format!("t/{n}"), "{topic}", QOS1));
    let mut sim = Sim::new(receiving(routes.collect()));
    sim.run();
    sim.open_inlet();
    sim.commit();
    assert_eq!(sim.sent().len(), 8);
    let sim = up(Sim::new(sim.options.as_ref().clone())
        .options
        .as_ref()
        .clone());
    assert_eq!(asked(&sim).len(), 30);
}

#[test]
fn a_refused_subscription_is_told_and_the_link_stays() {
    let mut sim = Sim::new(receiving(vec![
        route("no", "{topic}", QOS1),
        route("yes", "{topic}", QOS1),
    ]));
    sim.upstream.subacks = [ReasonCode::NotAuthorized].into();
    sim.run();
    sim.open_inlet();
    sim.run();
    assert!(sim.core.is_up());
    assert_eq!(sim.told, ["no: NotAuthorized"]);
    let refused: Vec<_> = sim.core.refused_subscriptions().collect();
    assert_eq!(refused, [("no", ReasonCode::NotAuthorized)]);
}

#[test]
fn a_subscription_without_an_answer_ends_the_link() {
    let mut sim = Sim::new(site());
    sim.run();
    sim.open_inlet();
    sim.commit();
    sim.sent();
    for _ in 0..10 {
        sim.pass(Duration::from_secs(29));
        sim.say(Packet::Pingresp);
    }
    assert_eq!(sim.closed, [Cause::Unacknowledged]);
}

// Messages

#[test]
fn a_message_is_acknowledged_when_the_local_broker_has_acknowledged_it() {
    let mut sim = up(site());
    comes(&mut sim, "site/a/b", QOS1, 7);
    let here = passed(&mut sim);
    assert_eq!(here.topic, Some(topic("a/b")));
    assert_eq!(
        (here.qos, here.packet_id.map(PacketId::get)),
        (QOS1, Some(7))
    );
    assert_eq!(user_property(&here, HOPS_PROPERTY).as_deref(), Some("1"));
    assert!(sim.sent().is_empty());
    sim.answer(&InletAnswer::Puback(acknowledge(
        7,
        ReasonCode::NoMatchingSubscribers,
    )));
    assert_eq!(sim.sent(), [puback(7, SUCCESS)], "that word is a server's");
    comes(&mut sim, "site/a/b", QOS0, 0);
    assert_eq!(passed(&mut sim).packet_id, None);
    assert_eq!(sim.core.figures().received, 2);
}

#[test]
fn the_steps_of_qos_2_are_those_of_the_local_broker() {
    let mut sim = up(site());
    comes(&mut sim, "site/a", QOS2, 7);
    assert_eq!(passed(&mut sim).qos, QOS2);
    sim.answer(&InletAnswer::Pubrec(acknowledge(7, SUCCESS)));
    assert_eq!(sim.sent(), [pubrec(7, SUCCESS)]);
    sim.say(Packet::Pubrel(acknowledge(7, SUCCESS)));
    assert_eq!(sim.passed, [Packet::Pubrel(acknowledge(7, SUCCESS))]);
    assert!(sim.sent().is_empty());
    let unknown = ReasonCode::PacketIdentifierNotFound;
    sim.answer(&InletAnswer::Pubcomp(acknowledge(7, unknown)));
    assert_eq!(sim.sent(), [pubcomp(7, unknown)]);
}

#[test]
fn what_comes_before_the_local_broker_is_there_waits_in_order_and_no_more_is_read() {
    let mut sim = Sim::new(site());
    sim.run();
    comes(&mut sim, "site/1", QOS1, 1);
    sim.say(Packet::Pubrel(acknowledge(9, SUCCESS)));
    assert!(sim.core.wants_packets() && sim.passed.is_empty());
    for id in 10..30 {
        comes(&mut sim, "site/2", QOS1, id);
    }
    assert!(!sim.core.wants_packets());
    sim.open_inlet();
    assert!(sim.core.wants_packets());
    assert_eq!(sim.passed.len(), 22);
    assert!(matches!(&sim.passed[1], Packet::Pubrel(pubrel) if pubrel.packet_id.get() == 9));
}

#[test]
fn an_answer_of_an_earlier_connection_is_none() {
    let mut sim = up(site());
    comes(&mut sim, "site/a", QOS1, 7);
    sim.cut();
    sim.run();
    sim.open_inlet();
    sim.run();
    sim.answer(&InletAnswer::Puback(acknowledge(7, SUCCESS)));
    assert!(sim.sent().is_empty(), "nothing has come on this one");
}

#[test]
fn a_refusal_of_the_local_broker_goes_up_and_is_counted() {
    let mut sim = up(site());
    comes(&mut sim, "site/a", QOS1, 7);
    comes(&mut sim, "site/b", QOS2, 8);
    let quota = ReasonCode::QuotaExceeded;
    sim.answer(&InletAnswer::Puback(acknowledge(7, quota)));
    sim.answer(&InletAnswer::Pubrec(acknowledge(8, quota)));
    assert_eq!(sim.sent(), [puback(7, quota), pubrec(8, quota)]);
    assert_eq!(sim.core.figures().not_received, 2);
    assert!(sim.told[0].starts_with("site/a: the local broker refused it: QuotaExceeded"));
}

#[test]
fn a_route_caps_qos_and_the_upstream_gets_the_answers_of_its_own() {
    let mut sim = up(receiving(vec![
        route("one", "{topic}", QOS1),
        route("none", "{topic}", QOS0),
        route("#", "{topic}", QOS2),
    ]));
    comes(&mut sim, "one", QOS2, 1);
    assert_eq!(passed(&mut sim).qos, QOS1);
    sim.answer(&InletAnswer::Puback(acknowledge(1, SUCCESS)));
    assert_eq!(sim.sent(), [pubrec(1, SUCCESS)]);
    sim.say(Packet::Pubrel(acknowledge(1, SUCCESS)));
    assert_eq!(sim.sent(), [pubcomp(1, SUCCESS)]);
    comes(&mut sim, "none", QOS1, 2);
    assert_eq!((passed(&mut sim).qos, sim.passed.len()), (QOS0, 0));
    assert_eq!(sim.sent(), [puback(2, SUCCESS)]);
}

#[test]
fn the_first_route_that_matches_takes_the_message_and_says_what_becomes_of_retain() {
    let never = ReceiveRoute {
        retain: RetainPolicy::Never,
        ..route("a/b", "first", QOS2)
    };
    let mut sim = up(receiving(vec![never, route("a/+", "second/{2}", QOS2)]));
    let retained = |name: &str| {
        Packet::Publish(Publish {
            retain: true,
            ..publish(name, QOS1, 1)
        })
    };
    sim.say(retained("a/b"));
    let first = passed(&mut sim);
    assert_eq!((first.topic, first.retain), (Some(topic("first")), false));
    sim.say(retained("a/c"));
    let second = passed(&mut sim);
    assert_eq!(
        (second.topic, second.retain),
        (Some(topic("second/c")), true)
    );
    assert!(sim.passed.is_empty());
}

#[test]
fn what_no_route_takes_is_answered_and_goes_nowhere() {
    let mut sim = up(site());
    comes(&mut sim, "elsewhere", QOS1, 1);
    comes(&mut sim, "elsewhere", QOS2, 2);
    sim.say(Packet::Pubrel(acknowledge(2, SUCCESS)));
    assert!(sim.passed.is_empty());
    let answers = [puback(1, SUCCESS), pubrec(2, SUCCESS), pubcomp(2, SUCCESS)];
    assert_eq!(sim.sent(), answers);
    assert_eq!(sim.core.figures().unexpected, 2);
}

#[test]
fn a_topic_that_is_none_here_is_told_and_answered() {
    let mut sim = up(site());
    comes(&mut sim, "site", QOS1, 1);
    assert_eq!(sim.sent(), [puback(1, SUCCESS)]);
    comes(&mut sim, "site/$SYS/broker/uptime", QOS1, 2);
    assert_eq!(sim.sent(), [puback(2, SUCCESS)]);
    for id in 3..=30 {
        comes(&mut sim, "site", QOS1, id);
    }
    assert_eq!(sim.sent().len(), 28);
    assert_eq!(sim.told.len(), 20, "the others are only counted");
    assert_eq!(sim.core.figures().not_received, 30);
    comes(&mut sim, "site/gw2/$status", QOS1, 3);
    assert_eq!(passed(&mut sim).topic, Some(topic("gw2/$status")));
}

#[test]
fn a_command_with_retain_set_never_reaches_a_set_topic() {
    let mut sim = up(site());
    let retained = |name: &str| {
        Packet::Publish(Publish {
            retain: true,
            ..publish(name, QOS1, 1)
        })
    };
    sim.say(retained("site/gw/pump/set/speed"));
    sim.say(retained("site/gw/pump/set"));
    assert!(sim.passed.is_empty());
    assert!(
        sim.told[0].contains("a command with RETAIN set"),
        "{:?}",
        sim.told
    );
    assert_eq!(sim.sent(), [puback(1, SUCCESS), puback(1, SUCCESS)]);
    assert_eq!(sim.core.figures().not_received, 2);
    for allowed in [
        "site/gw/set",
        "site/other/pump/set/speed",
        "site/gw/pump/get/set",
    ] {
        sim.say(retained(allowed));
        assert!(passed(&mut sim).retain, "{allowed}");
    }
    comes(&mut sim, "site/gw/pump/set/speed", QOS1, 1);
    assert_eq!(passed(&mut sim).topic, Some(topic("gw/pump/set/speed")));
}

#[test]
fn a_message_in_a_circle_ends() {
    let mut sim = up(site());
    let circling = |hops: &str| {
        Packet::Publish(Publish {
            properties: Some(Box::new(PublishProperties {
                user_properties: vec![
                    ("other".into(), "kept".into()),
                    (HOPS_PROPERTY.into(), hops.into()),
                ],
                ..PublishProperties::default()
            })),
            ..publish("site/a", QOS2, 3)
        })
    };
    sim.say(circling("3"));
    let here = passed(&mut sim);
    assert_eq!(user_property(&here, HOPS_PROPERTY).as_deref(), Some("4"));
    assert_eq!(user_property(&here, "other").as_deref(), Some("kept"));
    sim.answer(&InletAnswer::Pubrec(acknowledge(3, SUCCESS)));
    sim.say(circling("4"));
    assert!(sim.passed.is_empty());
    assert_eq!(sim.core.figures().too_many_hops, 1);
}

#[test]
fn the_answer_to_a_request_finds_back_by_the_forward_route() {
    let up_route = |text: &str, topic: &str| ForwardRoute {
        filter: filter(text),
        except: vec![filter("gw/secret/#")],
        topic: Template::parse(topic, &[], true).unwrap(),
        qos: QOS2,
        raise_qos0: false,
        live_first: false,
        retain: RetainPolicy::Keep,
    };
    let mut sim = up(BridgeOptions {
        forward: vec![
            up_route("gw/first", "lab/{topic}"),
            up_route("gw/#", "site/{topic}"),
        ],
        ..site()
    });
    let mut answer_to = |asked: &str| {
        sim.say(Packet::Publish(Publish {
            properties: Some(Box::new(PublishProperties {
                response_topic: Some(topic(asked)),
                correlation_data: Some(Bytes::from_static(b"7")),
                message_expiry: Some(9),
                ..PublishProperties::default()
            })),
            ..publish("site/a", QOS1, 1)
        }));
        let properties = passed(&mut sim).properties.unwrap();
        assert_eq!(properties.correlation_data.as_deref(), Some(&b"7"[..]));
        assert_eq!(properties.message_expiry, Some(9));
        properties.response_topic.unwrap().to_string()
    };
    assert_eq!(answer_to("site/gw/pump/result"), "gw/pump/result");
    assert_eq!(answer_to("lab/gw/first"), "gw/first");
    for none in ["site/gw/first", "site/gw/secret/x", "elsewhere"] {
        assert_eq!(answer_to(none), none);
    }
}

#[test]
fn a_topic_alias_that_was_not_allowed_ends_the_link() {
    let mut sim = up(site());
    let aliased = Publish {
        topic_alias: Some(1),
        ..publish("site/a", QOS1, 1)
    };
    sim.say(Packet::Publish(aliased));
    assert!(matches!(sim.closed[..], [Cause::Violation(_)]));
}

#[test]
fn the_link_ends_with_the_inlet_but_not_with_the_broker() {
    let mut sim = up(site());
    comes(&mut sim, "site/a", QOS1, 1);
    sim.core.handle_inlet_ended(true);
    sim.settle();
    comes(&mut sim, "site/a", QOS1, 2);
    assert!(
        sim.core.is_up() && sim.sent().is_empty(),
        "nobody says that it is safe"
    );
    sim.log.append(message("m", QOS1));
    sim.run();
    assert_eq!(sim.times_delivered("m"), 1);
    let mut sim = up(site());
    sim.core.handle_inlet_ended(false);
    sim.settle();
    assert_eq!(sim.closed, [Cause::InletClosed]);
}

#[test]
fn mqtt_3_1_1_receives_too() {
    let mut sim = Sim::new(BridgeOptions {
        protocol: ProtocolVersion::V311,
        ..site()
    });
    sim.run();
    sim.open_inlet();
    sim.run();
    comes(&mut sim, "site/a", QOS2, 1);
    assert_eq!(passed(&mut sim).topic, Some(topic("a")));
    sim.answer(&InletAnswer::Pubrec(acknowledge(1, SUCCESS)));
    assert_eq!(sim.sent(), [pubrec(1, SUCCESS)]);
}

// What is too large

#[test]
fn a_message_above_the_limit_is_answered_told_and_goes_nowhere() {
    let mut sim = up(site());
    sim.sent();
    let large = |qos: QoS| Oversized {
        topic: Some(topic("site/large")),
        qos,
        packet_id: PacketId::new(5).filter(|_| qos > QOS0),
        len: 2_000_000,
    };
    for qos in [QOS0, QOS1, QOS2] {
        sim.core.handle_oversized(sim.now, large(qos));
        sim.settle();
    }
    sim.say(Packet::Pubrel(acknowledge(5, SUCCESS)));
    let answers = [puback(5, SUCCESS), pubrec(5, SUCCESS), pubcomp(5, SUCCESS)];
    assert_eq!(sim.sent(), answers);
    assert!(sim.passed.is_empty() && sim.closed.is_empty());
    assert_eq!(sim.core.figures().not_received, 3);
    assert!(sim.told[0].contains("2000000 bytes") && sim.told[0].contains("1048576"));
}

#[test]
fn mqtt_3_1_2_24_the_upstream_is_told_the_limit() {
    let sim = up(BridgeOptions {
        packet_size: 4711,
        ..site()
    });
    let told = sim.upstream.seen.iter().find_map(|packet| match packet {
        Packet::Connect(connect) => connect.maximum_packet_size,
        _ => None,
    });
    assert_eq!(told, Some(4711));
}

#[test]
fn a_large_packet_that_still_comes_says_that_the_upstream_is_there() {
    let mut sim = up(site());
    sim.pass(Duration::from_secs(60));
    assert_eq!(sim.sent(), [Packet::Pingreq]);
    for _ in 0..10 {
        sim.pass(Duration::from_secs(29));
        sim.core.heard(sim.now);
    }
    assert!(sim.closed.is_empty());
    sim.pass(Duration::from_secs(30));
    assert_eq!(sim.closed, [Cause::NoPingresp]);
}
