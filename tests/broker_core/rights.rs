//! What clients may do: publish, subscribe, will, delivery, and what changes when the rules do.

use std::sync::Arc;

use fieldgate::auth::{Principal, Rights};
use fieldgate::broker::core::ConnId;
use fieldgate::broker::{Origin, WhenQueueFull};
use fieldgate::mqtt::{Connect, ProtocolVersion, ReasonCode};
use fieldgate::topic::TopicFilter;

use crate::fake_store::FakeStore;
use crate::story::{QOS0, QOS1, QOS2, Story, v5, v311, with_will};

fn filters(texts: &[&str]) -> Vec<TopicFilter> {
    let filters = texts.iter().map(|text| TopicFilter::try_from(*text));
    filters.collect::<Result<_, _>>().unwrap()
}

fn user(name: &str, publish: &[&str], read: &[&str]) -> Principal {
    Principal {
        user: Some(name.into()),
        rights: Some(Arc::new(Rights::allowing(
            &filters(publish),
            &filters(read),
        ))),
        ..Principal::default()
    }
}

/// A client of this user, whose CONNACK was taken.
fn client(story: &mut Story, principal: Principal, connect: Connect) -> ConnId {
    let conn = story.log_in(Origin::Client, principal, connect);
    story.told();
    conn
}

/// Every session is asked about, a few at a time.
fn revise(story: &mut Story, mut judge: impl FnMut(&Principal) -> Option<Principal>) {
    let mut from = Some(0);
    while let Some(place) = from {
        let now = story.now;
        from = story
            .core
            .revise(now, place, 2, &mut |principal, _| judge(principal));
    }
}

#[test]
fn a_message_that_its_client_may_not_publish_reaches_nobody() {
    let mut story = Story::new();
    let reader = story.client("reader");
    story.subscribe(reader, "#", QOS0);
    let new = client(&mut story, user("u", &["mine/#"], &[]), v5("new"));
    let old = client(&mut story, user("u", &["mine/#"], &[]), v311("old", true));
    for (conn, number) in [(new, "2"), (old, "3")] {
        let name = if conn == new { "new" } else { "old" };
        story.publish(conn, "other", "x", QOS0);
        assert_eq!(
            story.told(),
            [format!("{name} as u may not Publish(\"other\")")]
        );
        story.publish(conn, "other", "x", QOS1);
        story.publish(conn, "other", "x", QOS2);
        let refused = if conn == new { " NotAuthorized" } else { "" };
        assert_eq!(
            story.told(),
            [
                format!("{number} PUBACK 2{refused}"),
                format!("{number} PUBREC 3{refused}")
            ]
        );
        story.publish(conn, "mine/a", "x", QOS0);
        assert_eq!(story.told(), ["1 PUBLISH mine/a=x q0"]);
    }
    assert_eq!(story.core.stats().denied, 6);
}

#[test]
fn a_refused_qos_2_message_of_3_1_1_ends_as_any_other() {
    let mut story = Story::new();
    let conn = client(&mut story, user("u", &[], &[]), v311("old", true));
    story.publish(conn, "t", "x", QOS2);
    story.told();
    story.pubrel(conn, 1);
    assert_eq!(story.told(), ["1 PUBCOMP 1"]);
}

#[test]
fn nothing_is_retained_that_may_not_be_published() {
    let mut story = Story::new();
    let conn = client(&mut story, user("u", &[], &[]), v5("a"));
    story.retain(conn, "t", "x");
    assert_eq!(story.core.stats().retained_messages, 0);
}

#[test]
fn refusals_of_a_session_are_told_once_a_minute() {
    let mut story = Story::new();
    let connect = Connect {
        keep_alive: 0,
        ..v311("a", true)
    };
    let conn = client(&mut story, user("u", &[], &[]), connect);
    for _ in 0..3 {
        story.publish(conn, "t", "x", QOS0);
    }
    assert_eq!(story.told(), ["a as u may not Publish(\"t\")"]);
    story.secs(60);
    story.publish(conn, "t", "x", QOS0);
    assert_eq!(story.told(), ["a as u may not Publish(\"t\") and 2 before"]);
}

#[test]
fn a_subscription_that_reaches_nothing_is_refused() {
    let mut story = Story::new();
    let conn = client(&mut story, user("u", &[], &["mine/#"]), v5("a"));
    story.subscribe(conn, "other/#", QOS1);
    assert_eq!(
        story.told(),
        [
            "a as u may not Subscribe(\"other/#\")",
            "1 SUBACK [NotAuthorized]"
        ]
    );
    story.subscribe(conn, "$share/g/other", QOS1);
    story.subscribe(conn, "$share/g/mine/x", QOS1);
    story.subscribe(conn, "+/x", QOS1);
    assert_eq!(
        story.told(),
        [
            "1 SUBACK [NotAuthorized]",
            "1 SUBACK [GrantedQoS1]",
            "1 SUBACK [GrantedQoS1]"
        ]
    );
    assert_eq!(story.core.stats().subscriptions, 2);
}

#[test]
fn a_wildcard_does_not_reach_what_may_not_be_read() {
    let mut story = Story::new();
    let publisher = story.client("p");
    for topic in ["mine/a", "other/a", "public"] {
        story.retain(publisher, topic, "old");
    }
    let rights = user("u", &[], &["mine/#", "public"]);
    let conn = client(&mut story, rights, v5("a"));
    story.subscribe(conn, "#", QOS0);
    assert_eq!(
        story.told(),
        [
            "2 SUBACK [Success]",
            "2 PUBLISH mine/a=old q0 retained",
            "2 PUBLISH public=old q0 retained"
        ]
    );
    for topic in ["mine/b", "other/b", "public"] {
        story.publish(publisher, topic, "new", QOS0);
    }
    assert_eq!(
        story.told(),
        ["2 PUBLISH mine/b=new q0", "2 PUBLISH public=new q0"]
    );
}

#[test]
fn a_group_passes_over_a_member_that_may_not_read_the_message() {
    let mut story = Story::new();
    let some = client(&mut story, user("u", &[], &["mine/#"]), v5("some"));
    story.subscribe(some, "$share/g/#", QOS0);
    let all = story.client("all");
    story.subscribe(all, "$share/g/#", QOS0);
    story.told();
    for _ in 0..2 {
        story.publish(all, "other", "x", QOS0);
    }
    assert_eq!(story.told(), ["2 PUBLISH other=x q0"; 2]);
    for _ in 0..2 {
        story.publish(all, "mine/a", "x", QOS0);
    }
    assert_eq!(
        story.told(),
        ["1 PUBLISH mine/a=x q0", "2 PUBLISH mine/a=x q0"]
    );
}

#[test]
fn a_will_that_may_not_be_published_is_refused_with_the_connection() {
    let mut story = Story::new();
    for connect in [v5("a"), v311("a", true)] {
        let rights = user("u", &["mine/#"], &[]);
        story.log_in(Origin::Client, rights, with_will(connect, "other", 0));
    }
    assert_eq!(
        story.told(),
        [
            "a as u may not Will(\"other\")",
            "1 CONNACK NotAuthorized",
            "1 closed Refused(NotAuthorized)",
            "a as u may not Will(\"other\")",
            "2 CONNACK NotAuthorized",
            "2 closed Refused(NotAuthorized)"
        ]
    );
    assert_eq!(story.core.stats().sessions, 0);
}

#[test]
fn a_will_is_asked_about_again_when_it_is_due() {
    for (delay, over) in [(0, 0), (5, 5), (5000, 3600)] {
        for allowed in [true, false] {
            let mut story = Story::new();
            let rights = user("u", &["will"], &[]);
            let conn = client(&mut story, rights, with_will(v5("a"), "will", delay));
            let reader = story.connect_with(Connect {
                keep_alive: 0,
                ..v311("reader", true)
            });
            story.subscribe(reader, "will", QOS0);
            let mut grant = |publish: &[&str]| {
                revise(&mut story, |known| {
                    let is_reader = known.user.is_none();
                    Some(if is_reader {
                        known.clone()
                    } else {
                        user("u", publish, &[])
                    })
                });
            };
            grant(&[]);
            if allowed {
                grant(&["will"]);
            }
            story.told();
            story.cut(conn);
            story.secs(over);
            let told = if allowed {
                "2 PUBLISH will=gone q0"
            } else {
                "a as u may not Will(\"will\")"
            };
            assert_eq!(story.told(), [told], "delay {delay}");
        }
    }
}

#[test]
fn new_rules_hold_at_once_for_who_is_there() {
    let mut story = Story::new();
    let publisher = story.client("p");
    let both = user("u", &["a", "b"], &["a", "b"]);
    let conn = client(&mut story, both, v5("a"));
    for filter in ["a", "b", "+"] {
        story.subscribe(conn, filter, QOS0);
    }
    story.told();
    revise(&mut story, |principal| {
        Some(match principal.user {
            Some(_) => user("u", &["b"], &["b"]),
            None => principal.clone(),
        })
    });
    for topic in ["a", "b"] {
        story.publish(publisher, topic, "x", QOS0);
        story.publish(conn, topic, "y", QOS1);
    }
    assert_eq!(
        story.told(),
        [
            "a as u may not Publish(\"a\")",
            "2 PUBACK 1 NotAuthorized",
            "2 PUBLISH b=x q0",
            "2 PUBLISH b=y q0",
            "2 PUBACK 2"
        ],
        "the subscriptions stay"
    );
    assert_eq!(story.core.stats().subscriptions, 3);
    revise(&mut story, |_| Some(Principal::default()));
    story.publish(publisher, "a", "x", QOS0);
    assert_eq!(story.told(), ["2 PUBLISH a=x q0"], "and reach again");
}

#[test]
fn what_waits_is_asked_about_again_when_the_rules_change() {
    let mut story = Story::new();
    let publisher = story.client("p");
    let conn = client(&mut story, user("u", &[], &["#"]), v5("a"));
    story.subscribe(conn, "#", QOS1);
    story.cut(conn);
    for topic in ["a", "b"] {
        story.publish(publisher, topic, "x", QOS1);
    }
    story.told();
    revise(&mut story, |principal| {
        let rights = user("u", &[], &["b"]);
        Some(if principal.user.is_some() {
            rights
        } else {
            principal.clone()
        })
    });
    story.log_in(Origin::Client, user("u", &[], &["b"]), v5("a"));
    assert_eq!(
        story.told(),
        ["3 CONNACK Success present", "3 PUBLISH b=x q1 #1"]
    );
}

#[test]
fn a_session_that_another_user_takes_up_gives_it_only_what_it_may_read() {
    let mut story = Story::new();
    let publisher = story.client("p");
    let conn = client(&mut story, user("u", &[], &["#"]), v5("a"));
    story.subscribe(conn, "#", QOS1);
    story.cut(conn);
    for topic in ["a", "b"] {
        story.publish(publisher, topic, "x", QOS1);
    }
    story.told();
    story.log_in(Origin::Client, user("v", &[], &["b"]), v5("a"));
    assert_eq!(
        story.told(),
        ["3 CONNACK Success present", "3 PUBLISH b=x q1 #1"]
    );
    story.publish(publisher, "a", "y", QOS0);
    assert!(story.told().is_empty());
}

#[test]
fn a_client_whose_user_is_gone_is_closed_and_its_session_gets_nothing() {
    let mut story = Story::new();
    let reader = story.client("reader");
    story.subscribe(reader, "will", QOS0);
    let rights = || user("u", &["will"], &["#"]);
    let new = client(&mut story, rights(), with_will(v5("new"), "will", 0));
    story.subscribe(new, "#", QOS1);
    let old = Connect {
        version: ProtocolVersion::V311,
        ..v5("old")
    };
    client(&mut story, rights(), old);
    story.told();
    revise(&mut story, |principal| {
        principal.user.is_none().then(|| principal.clone())
    });
    assert_eq!(
        story.told(),
        [
            "2 DISCONNECT NotAuthorized",
            "2 closed Revoked",
            "new as u may not Will(\"will\")",
            "3 closed Revoked"
        ]
    );
    story.publish(reader, "a", "x", QOS1);
    story.told();
    story.log_in(Origin::Client, rights(), v5("new"));
    assert_eq!(story.told(), ["4 CONNACK Success present"]);
}

#[test]
fn links_of_the_gateway_are_not_asked_about() {
    let mut story = Story::new();
    let link = story.connect_as(Origin::Gateway, v5("$adapter/a"));
    story.subscribe(link, "#", QOS0);
    story.told();
    revise(&mut story, |_| None);
    story.publish(link, "a", "x", QOS0);
    assert_eq!(story.told(), ["1 PUBLISH a=x q0"]);
}

#[test]
fn who_may_do_everything_may_do_everything() {
    let mut story = Story::new();
    let conn = story.client("a");
    story.subscribe(conn, "$SYS/#", QOS0);
    story.told();
    story.publish(conn, "$SYS/x", "x", QOS0);
    assert_eq!(story.told(), ["1 PUBLISH $SYS/x=x q0"]);
    story.disconnect(conn, ReasonCode::Success);
    assert_eq!(story.core.stats().denied, 0);
}

#[test]
fn who_was_known_by_a_certificate_still_is_after_a_restart() {
    let mut story = Story::new();
    let mut store = FakeStore::default();
    store.open(&mut story.core, story.now, Vec::new());
    for certified in [true, false] {
        let principal = Principal {
            certified,
            ..user("u", &[], &[])
        };
        story.log_in(Origin::Client, principal, v5(&certified.to_string()));
    }
    for effect in story.effects() {
        store.take(story.now, effect);
    }
    store.commit_state(&mut story.core, story.now);
    story.restart(WhenQueueFull::DropOldest);
    store.open(&mut story.core, story.now, Vec::new());
    let mut known = Vec::new();
    revise(&mut story, |principal| {
        known.push(principal.certified);
        Some(principal.clone())
    });
    assert_eq!(known, [true, false]);
}
