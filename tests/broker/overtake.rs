//! A bridge with a live lane: what that has no room for goes the slow way, and is refused only where that is full, too.

use std::sync::Arc;
use std::time::Duration;

use fieldgate::broker::{Attachment, ForwardRoute, LATE_PROPERTY, Latest, RetainPolicy};
use fieldgate::clock;
use fieldgate::mqtt::{Packet, ReasonCode};
use fieldgate::store::{Entry, LinkHealth, Log, LogOptions, Outcome, Seq, WhenFull};
use fieldgate::topic::{Template, TopicFilter};

use crate::support::*;

async fn entries(log: &Log) -> Vec<Entry> {
    soon(log.look(Seq(0), 1000, usize::MAX)).await.unwrap()
}

fn is_late(entry: &Entry) -> bool {
    let properties = entry.record.message.properties.as_ref();
    let mut pairs = properties.iter().flat_map(|them| &them.user_properties);
    pairs.any(|(name, _)| name == LATE_PROPERTY)
}

/// What the answer says.
async fn publish(client: &mut Client) -> ReasonCode {
    let message = message("up/1", vec![0; 32_000], QOS1);
    client.send_publish(message, 1).await;
    match client.receive().await {
        Packet::Puback(puback) => puback.reason,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn what_a_live_lane_has_no_room_for_is_late_and_refused_only_where_the_backlog_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions {
        commit_interval: Duration::from_millis(5),
        hold_for_upstream: Duration::ZERO,
        max_bytes: 2 << 20,
        when_full: WhenFull::Refuse,
        ..LogOptions::new(dir.path().join("cloud"))
    };
    let (backlog, live) = options.with_live_lane();
    let (backlog, live) = (Log::open(backlog).unwrap(), Log::open(live).unwrap());
    live.link(clock::now(), LinkHealth::Up);
    let attachment = Attachment {
        name: "cloud".to_owned(),
        log: backlog.clone(),
        routes: vec![ForwardRoute {
            filter: TopicFilter::try_from("up/#").unwrap(),
            except: Vec::new(),
            topic: Template::parse("{topic}", &[], true).unwrap(),
            qos: QOS2,
            raise_qos0: false,
            live_first: true,
            retain: RetainPolicy::Keep,
        }],
        latest: Arc::new(Latest::default()),
        live: Some(live.clone()),
    };
    let gateway = Gateway::with_logs(|_| (), vec![attachment]);
    let mut client = gateway.client(V5, "client").await;
    let mut taken = 0;
    while publish(&mut client).await == ReasonCode::Success {
        taken += 1;
    }
    let (new, late) = (entries(&live).await, entries(&backlog).await);
    assert_eq!(new.len() + late.len(), taken);
    assert!(new.len() > 10 && late.len() > 10, "{taken}");
    assert!(late.iter().all(is_late) && !new.iter().any(is_late));
    assert!(backlog.is_full() && !live.is_full());
    assert_eq!((live.stats().dropped, backlog.stats().dropped), (0, 0));

    // The upstream takes what is new. The broker hears of that a moment later.
    for entry in &new {
        live.done(clock::now(), [(entry.seq, Outcome::Delivered)]);
    }
    while publish(&mut client).await != ReasonCode::Success {}
    assert_eq!(entries(&live).await.len(), 1);
    assert_eq!(entries(&backlog).await.len(), late.len());
    gateway.stop().await;
    backlog.close();
    live.close();
}
