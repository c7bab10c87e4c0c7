//! What the new routes of a bridge bring up of what is retained.

use std::time::Duration;

use fieldgate::broker::core::{Effect, LogId, Restored, RestoredRetained};
use fieldgate::broker::{ForwardRoute, RetainPolicy};
use fieldgate::mqtt::{Message, PublishProperties, QoS};
use fieldgate::store::{Seq, SessionNumber};
use fieldgate::topic::TopicFilter;

use crate::story::{QOS0, QOS1, QOS2, Story, route};

const LOG: LogId = LogId::Bridge(0);
const INLET: &str = "$fieldgate/upstream/cloud";

fn retained(topic: &str, qos: QoS) -> RestoredRetained {
    RestoredRetained {
        message: Message::new(topic.try_into().unwrap(), "x".into(), qos, true),
        publisher: "plc".into(),
        age: Duration::from_secs(10),
    }
}

fn story(routes: Vec<ForwardRoute>, retained: Vec<RestoredRetained>) -> Story {
    let mut story = Story::new();
    story.core.attach_log(LOG, Seq(1), routes);
    story.core.attach_store(Seq(1), SessionNumber(1));
    story.restore(Restored {
        retained,
        ..Restored::default()
    });
    story
}

/// All that the routes at these places bring up.
fn brought(story: &mut Story, places: &[usize]) -> Vec<String> {
    let mut new = story.core.new_routes(LOG, places.to_vec(), INLET.into());
    while story.core.append_retained(story.now, &mut new) {}
    story.told()
}

#[test]
fn a_new_route_takes_what_it_would_have_taken_and_as_it_would_have() {
    let mut excepting = route("a/#");
    excepting.except = vec![TopicFilter::try_from("a/secret").unwrap()];
    excepting.qos = QOS1;
    let kept = ["a/1", "a/secret", "b"].map(|topic| retained(topic, QOS2));
    let mut story = story(vec![excepting], kept.to_vec());
    assert_eq!(brought(&mut story, &[0]), ["log0 @1 up/a/1=x q1 retained"]);
}

#[test]
fn what_an_older_route_takes_has_gone_up_by_that_one() {
    let kept = ["a/1", "b/1"].map(|topic| retained(topic, QOS1));
    let mut story = story(vec![route("a/#"), route("#")], kept.to_vec());
    assert_eq!(brought(&mut story, &[1]), ["log0 @1 up/b/1=x q1 retained"]);
}

#[test]
fn retain_is_cleared_and_qos_0_raised_where_the_route_lets_it() {
    let mut never = route("a");
    never.retain = RetainPolicy::Never;
    let mut at_most_once = route("b");
    at_most_once.qos = QOS0;
    let kept = ["a", "b"].map(|topic| retained(topic, QOS0));
    let mut story = story(vec![never, at_most_once], kept.to_vec());
    assert_eq!(brought(&mut story, &[1, 0]), ["log0 @1 up/a=x q1"]);
}

#[test]
fn what_the_bridge_itself_brought_in_and_what_has_expired_stays() {
    let mut own = retained("own", QOS1);
    own.publisher = INLET.into();
    let expiring = |topic, seconds| {
        let mut kept = retained(topic, QOS1);
        kept.message.properties = Some(Box::new(PublishProperties {
            message_expiry: Some(seconds),
            ..PublishProperties::default()
        }));
        kept
    };
    let kept = vec![own, expiring("old", 9), expiring("young", 15)];
    let mut story = story(vec![route("#")], kept);
    let mut new = story.core.new_routes(LOG, vec![0], INLET.into());
    assert!(!story.core.append_retained(story.now, &mut new));
    let effects = story.effects();
    let [Effect::Append { record, .. }] = &effects[..] else {
        panic!("{effects:?}");
    };
    let properties = record.message.properties.as_ref().unwrap();
    assert_eq!(record.message.topic.as_str(), "up/young");
    assert_eq!(properties.message_expiry, Some(5), "what is left of it");
}

#[test]
fn what_is_published_meanwhile_goes_up_once() {
    let mut story = story(vec![route("#")], vec![retained("t", QOS1)]);
    let mut new = story.core.new_routes(LOG, vec![0], INLET.into());
    let client = story.client("p");
    story.retain(client, "t", "new");
    assert_eq!(story.told()[0], "log0 @1 up/t=new q0 retained");
    assert!(!story.core.append_retained(story.now, &mut new));
    assert!(story.told().is_empty());
}

#[test]
fn many_go_in_steps() {
    let kept = (0..300).map(|number| retained(&format!("t/{number}"), QOS1));
    let mut story = story(vec![route("#")], kept.collect());
    let mut new = story.core.new_routes(LOG, vec![0], INLET.into());
    assert!(story.core.append_retained(story.now, &mut new));
    assert_eq!(story.told().len(), 128);
    while story.core.append_retained(story.now, &mut new) {}
    assert_eq!(story.told().len(), 300 - 128);
}

#[test]
fn what_a_live_first_route_takes_stays_before_what_is_newer() {
    let mut first = route("#");
    first.live_first = true;
    let mut story = story(vec![first], vec![retained("t", QOS1)]);
    let live = LogId::Bridge(1);
    story.core.attach_log(live, Seq(1), Vec::new());
    story.core.attach_live_lane(LOG, live);
    assert_eq!(brought(&mut story, &[0]), ["log1 @1 up/t=x q1 retained"]);
}

#[test]
fn nothing_goes_into_a_log_that_is_full_and_then_one_by_one() {
    let kept = ["a", "b", "c"].map(|topic| retained(topic, QOS1));
    let mut story = story(vec![route("#")], kept.to_vec());
    let new = story.core.new_routes(LOG, vec![0], INLET.into());
    let mut new = new.one_by_one();
    story.core.log_is_full(story.now, LOG, true);
    assert!(story.core.append_retained(story.now, &mut new));
    assert!(story.told().is_empty());
    story.core.log_is_full(story.now, LOG, false);
    for number in 1..=3 {
        story.core.append_retained(story.now, &mut new);
        let told = story.told();
        assert!(told.len() == 1 && told[0].starts_with(&format!("log0 @{number}")));
    }
    assert!(!story.core.append_retained(story.now, &mut new));
}
