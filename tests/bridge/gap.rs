//! Holes in the backlog: the upstream is told of each until it has acknowledged it, and of none that it knows.

use fieldgate::bridge::BridgeOptions;
use fieldgate::clock::WallTime;
use fieldgate::mqtt::{Packet, Publish, QoS, ReasonCode};
use fieldgate::store::{Gap, GapReason};

use crate::sim::{Sim, message, options, user_property};

fn gap(number: u64) -> Gap {
    Gap {
        number,
        reason: GapReason::DropOldest,
        count: 120,
        first: WallTime(1_800_000_000_000),
        last: WallTime(1_800_000_060_000),
    }
}

fn telling() -> BridgeOptions {
    BridgeOptions {
        gap: Some(message("", QoS::ExactlyOnce)),
        ..options()
    }
}

/// With one that the log shows.
fn holed() -> Sim {
    let mut sim = Sim::new(telling());
    sim.log.gap = Some(gap(7));
    sim
}

/// Those that were told, by their number.
fn told(sim: &Sim) -> Vec<Publish> {
    let is_gap = |publish: &Publish| publish.payload.starts_with(b"{\"bridge\"");
    sim.publishes().into_iter().filter(is_gap).collect()
}

#[test]
fn the_upstream_is_told_once_before_what_still_waits() {
    let mut sim = holed();
    sim.log.append(message("next", QoS::AtLeastOnce));
    sim.run();
    let publishes = sim.publishes();
    assert_eq!(publishes.len(), 2);
    let told = &publishes[0];
    assert_eq!(
        told.payload,
        r#"{"bridge":"cloud","count":120,"first":1800000000000,"last":1800000060000,"number":7,"reason":"drop_oldest"}"#
    );
    assert_eq!(
        (told.qos, told.retain, told.dup),
        (QoS::AtLeastOnce, false, false)
    );
    let id = user_property(told, "fieldgate-id");
    assert_eq!(id.as_deref(), Some("gw/cloud/gap/7"));
    sim.cut();
    sim.run();
    assert_eq!(sim.publishes().len(), 2, "it knows");
    sim.log.gap = Some(gap(8));
    sim.settle();
    sim.run();
    assert_eq!(sim.publishes().len(), 3);
}

#[test]
fn what_is_not_acknowledged_is_told_again_over_connections_and_restarts() {
    let mut sim = holed();
    sim.connect();
    while told(&sim).is_empty() {
        assert!(sim.step());
    }
    sim.cut(); // before its PUBACK arrives
    sim.run();
    let twice = told(&sim);
    assert_eq!((twice.len(), twice[1].dup), (2, true));
    assert_eq!(twice[0].payload, twice[1].payload);
    // Acknowledged, but that is not committed when the power goes.
    let mut sim = holed();
    sim.run();
    assert_eq!(told(&sim).len(), 1);
    sim.log.stored_told = 0;
    sim.restart();
    sim.run();
    let twice = told(&sim);
    assert_eq!(twice.len(), 2);
    assert_eq!(twice[0].payload, twice[1].payload);
}

#[test]
fn one_that_is_refused_is_not_told_again_on_the_same_connection() {
    let mut sim = holed();
    sim.upstream.refusals.push_back(ReasonCode::QuotaExceeded);
    sim.log.append(message("next", QoS::AtLeastOnce));
    sim.run();
    assert_eq!(told(&sim).len(), 1);
    assert!(sim.log.is_empty(), "it holds up nothing");
    sim.cut();
    sim.run();
    assert_eq!(told(&sim).len(), 2);
    sim.cut();
    sim.run();
    assert_eq!(told(&sim).len(), 2);
}

#[test]
fn without_a_route_for_it_and_without_acknowledgements_it_goes_as_far_as_it_can() {
    let mut silent = Sim::new(options());
    silent.log.gap = Some(gap(1));
    silent.run();
    assert!(silent.publishes().is_empty());

    let mut sim = holed();
    sim.upstream.connack.maximum_qos = QoS::AtMostOnce;
    sim.run();
    let sent: Vec<_> = told(&sim).iter().map(|told| told.packet_id).collect();
    assert_eq!(sent, [None], "sent is all that can be known");
    let stops = |packet: &Packet| matches!(packet, Packet::Disconnect(_));
    assert!(!sim.upstream.seen.iter().any(stops));
}

#[test]
fn where_the_upstream_closes_on_it_the_backlog_goes_on_without() {
    let mut sim = holed();
    sim.upstream.closes_on = Some("{\"bridge\"");
    sim.log.append(message("next", QoS::AtLeastOnce));
    sim.run();
    assert!(sim.core.is_up() && sim.hang_ups <= 5);
    assert_eq!(sim.told.len(), 1, "{:?}", sim.told);
    assert!(sim.log.is_empty() && sim.log.dead.is_empty());
    let hang_ups = sim.hang_ups;
    sim.cut();
    sim.run();
    assert_eq!(sim.hang_ups, hang_ups, "it is not said any more");
}

#[test]
fn each_lane_tells_its_holes_under_ids_of_its_own() {
    let mut sim = Sim::with_live_lane(telling());
    sim.log.gap = Some(gap(7));
    sim.live.as_mut().unwrap().gap = Some(gap(7));
    sim.upstream.keeps_back = Some(|answer| matches!(answer, Packet::Puback(_)));
    sim.run();
    sim.cut();
    sim.upstream.keeps_back = None;
    sim.run();
    let publishes = told(&sim);
    let seen = |publish: &Publish| {
        let id = user_property(publish, "fieldgate-id").unwrap();
        (publish.packet_id.unwrap().get(), id.to_string())
    };
    let seen: Vec<_> = publishes.iter().map(seen).collect();
    let live = (65_499, "gw/cloud/gap/live-7".to_owned());
    let backlog = (65_500, "gw/cloud/gap/7".to_owned());
    assert_eq!(seen, [live.clone(), backlog.clone(), live, backlog]);
    let dups: Vec<_> = publishes.iter().map(|publish| publish.dup).collect();
    assert_eq!(dups, [false, false, true, true]);
    let is_live = |publish: &Publish| {
        let text = std::str::from_utf8(&publish.payload).unwrap();
        text.contains(r#""lane":"live""#)
    };
    let is_live: Vec<_> = publishes.iter().map(is_live).collect();
    assert_eq!(is_live, [true, false, true, false]);
    let live = sim.live.as_ref().unwrap();
    let shown = [sim.log.progress().gap, live.progress().gap];
    assert_eq!(shown, [None, None], "each log was told");
}

#[test]
fn a_hole_that_is_refused_in_one_lane_leaves_the_other_alone() {
    let mut sim = Sim::with_live_lane(telling());
    sim.log.gap = Some(gap(1));
    sim.live.as_mut().unwrap().gap = Some(gap(1));
    sim.upstream.refusals.push_back(ReasonCode::QuotaExceeded);
    sim.run();
    assert_eq!(told(&sim).len(), 2, "neither once more on this connection");
    let live = sim.live.as_ref().unwrap();
    assert!(live.progress().gap.is_some() && sim.log.progress().gap.is_none());
    sim.cut();
    sim.run();
    assert_eq!(told(&sim).len(), 3);
    assert!(sim.live.as_ref().unwrap().progress().gap.is_none());
}
