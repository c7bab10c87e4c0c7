//! Certificates that change under a running bridge: what the core does when it moves to another connection, and the
//! whole bridge with files that are replaced.

use std::fs;
use std::time::Duration;

use tokio::time::timeout;

use fieldgate::bridge::core::Cause;
use fieldgate::bridge::{BridgeHandle, BridgeOptions};
use fieldgate::clock::WallTime;
use fieldgate::mqtt::{Packet, QoS, ReasonCode};
use fieldgate::status::LinkState;

use crate::shell::{HANGS, Rig, by_tls, numbered, seen, status};
use crate::sim::{Sim, message, options, up};
use crate::upstream::{Behaviour, Certificates, Upstream};

const PATIENCE: Duration = Duration::from_secs(10);

fn disconnects(sim: &Sim) -> Vec<ReasonCode> {
    let disconnect = |packet: &Packet| match packet {
        Packet::Disconnect(disconnect) => Some(disconnect.reason),
        _ => None,
    };
    sim.upstream.seen.iter().filter_map(disconnect).collect()
}

#[test]
fn a_bridge_leaves_when_what_is_in_flight_is_acknowledged_and_goes_on_in_its_session() {
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut sim = up(BridgeOptions {
            will: Some(message("offline", QoS::AtLeastOnce)),
            inflight: 2,
            ..options()
        });
        for text in ["a", "b", "c", "d"] {
            sim.log.append(message(text, qos));
        }
        sim.commit();
        sim.core.leave(sim.now, sim.now + PATIENCE);
        sim.settle();
        assert!(sim.closed.is_empty(), "something is in flight");
        while sim.closed.is_empty() {
            assert!(sim.step());
        }
        assert_eq!(sim.closed, [Cause::Moved]);
        // Without the Will: nobody was offline.
        assert_eq!(disconnects(&sim), [ReasonCode::Success]);
        assert!(sim.delivered_texts().len() < 4);
        sim.run();
        assert_eq!(sim.delivered_texts(), ["a", "b", "c", "d"]);
        let cleans = sim.upstream.seen.iter().filter(|packet| match packet {
            Packet::Connect(connect) => connect.clean_start,
            _ => false,
        });
        assert_eq!(cleans.count(), 0);
        assert_eq!(sim.core.figures().maybe_duplicated, 0);
    }
}

#[test]
fn what_is_not_acknowledged_in_time_is_sent_again_on_the_other_connection() {
    let mut sim = up(options());
    sim.log.append(message("once", QoS::ExactlyOnce));
    sim.log.append(message("more", QoS::AtLeastOnce));
    sim.commit();
    sim.core.leave(sim.now, sim.now + PATIENCE);
    sim.settle();
    // The upstream has read them, and its answers never come.
    while sim.upstream_reads() {}
    sim.pass(PATIENCE);
    assert_eq!(sim.closed, [Cause::Moved]);
    sim.run();
    assert!(sim.log.is_empty());
    assert_eq!(sim.times_delivered("once"), 1);
    assert_eq!(sim.times_delivered("more"), 2);
    assert_eq!(sim.core.figures().maybe_duplicated, 1);
}

#[test]
fn qos_0_that_was_not_sent_yet_moves_along() {
    let mut sim = up(BridgeOptions {
        inflight: 1,
        ..options()
    });
    sim.log.append(message("first", QoS::AtLeastOnce));
    sim.log.append(message("second", QoS::AtLeastOnce));
    sim.log.append(message("small", QoS::AtMostOnce));
    sim.settle();
    sim.core.leave(sim.now, sim.now + PATIENCE);
    sim.run();
    assert_eq!(sim.closed, [Cause::Moved]);
    assert_eq!(sim.delivered_texts(), ["first", "second", "small"]);
    assert!(sim.log.dropped.is_empty());
}

#[test]
fn a_stop_while_it_leaves_tells_the_upstream_that_we_are_offline() {
    let mut sim = up(BridgeOptions {
        will: Some(message("offline", QoS::AtLeastOnce)),
        ..options()
    });
    sim.log.append(message("in flight", QoS::AtLeastOnce));
    sim.settle();
    sim.core.leave(sim.now, sim.now + PATIENCE);
    sim.core.stop(sim.now, sim.now + PATIENCE);
    sim.settle();
    while sim.upstream_reads() {}
    while sim.bridge_reads() {}
    assert_eq!(sim.closed, [Cause::Stopped]);
    assert_eq!(disconnects(&sim), [ReasonCode::DisconnectWithWill]);
}

// The whole bridge

struct Scene {
    rig: Rig,
    certificates: Certificates,
    upstream: Upstream,
    handle: BridgeHandle,
}

impl Scene {
    /// A bridge that is up, with the certificate of `gw`.
    async fn start(cuts: Vec<usize>) -> Self {
        let mut scene = Self::with(Certificates::new(), cuts).await;
        scene.is_connected_as("gw", 1).await;
        let up = status(&mut scene.handle.status, |status| {
            status.link == LinkState::Up
        })
        .await;
        // The first day of 2100.
        let end = up.certificate_expires.unwrap();
        assert_eq!(end, WallTime(4_102_444_800_000));
        scene
    }

    /// A bridge with these files, whether they can be used or not.
    async fn with(certificates: Certificates, cuts: Vec<usize>) -> Self {
        let upstream = Upstream::start(Behaviour {
            cuts,
            ..certificates.server("server")
        })
        .await;
        let rig = Rig::new();
        let handle = rig.start_patiently(by_tls(upstream.port, certificates.client()));
        Self {
            rig,
            certificates,
            upstream,
            handle,
        }
    }

    /// Puts another certificate with its key in the place of the bridge's.
    fn replace(&self, by: &Certificates, name: &str) {
        for end in ["crt", "key"] {
            let new = by.path(&format!("{name}.{end}"));
            let place = self.certificates.path(&format!("client.{end}"));
            fs::copy(new, place).unwrap();
        }
    }

    /// Waits until the upstream has been connected to `times` times, the last time as `subject`.
    async fn is_connected_as(&mut self, subject: &str, times: usize) {
        seen(&mut self.upstream, |seen| {
            let last = seen.subjects.last().and_then(Option::as_deref);
            (last, seen.subjects.len()) == (Some(subject), times)
        })
        .await;
    }

    async fn warning(&mut self, text: &str) {
        let warned = status(&mut self.handle.status, |status| {
            status.certificate_warning.is_some()
        })
        .await;
        let warning = warned.certificate_warning.unwrap();
        assert!(warning.contains(text), "{warning}");
    }

    async fn no_warning(&mut self) {
        status(&mut self.handle.status, |status| {
            status.certificate_warning.is_none()
        })
        .await;
    }

    /// Messages go through, each at QoS 2 once.
    async fn delivers(&mut self, count: usize) {
        for number in 0..count {
            let qos = QoS::from_bits(1 + (number % 2) as u8).unwrap();
            self.rig.append(message(&format!("m{number}"), qos));
        }
        seen(&mut self.upstream, |seen| seen.texts() == numbered(count)).await;
        for number in (1..count).step_by(2) {
            let times = self.upstream.seen.borrow().times(&format!("m{number}"));
            assert_eq!(times, 1, "m{number}");
        }
    }

    async fn end(self) {
        self.rig.shutdown.request();
        timeout(HANGS, self.handle.task).await.unwrap().unwrap();
        self.rig.log.close();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_while_the_link_is_up() {
    let mut scene = Scene::start(Vec::new()).await;
    scene.certificates.issue("new", "gw-2", 2100);
    scene.replace(&scene.certificates, "new");
    scene.handle.renew_certificates();
    scene.delivers(200).await;
    scene.is_connected_as("gw-2", 2).await;
    let seen = scene.upstream.seen.borrow();
    assert_eq!(seen.disconnects, [ReasonCode::Success]);
    // The first one only, because the log was new.
    let cleans: Vec<_> = seen.connects.iter().map(|c| c.clean_start).collect();
    assert_eq!(cleans, [true, false]);
    drop(seen);
    scene.no_warning().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_set_of_files_changes_nothing_until_it_is_mended() {
    let mut scene = Scene::start(Vec::new()).await;
    scene.certificates.issue("new", "gw-2", 2100);
    let key = scene.certificates.path("new.key");
    fs::copy(key, scene.certificates.path("client.key")).unwrap();
    scene.handle.renew_certificates();
    scene.warning("is not the key of the certificate in").await;
    scene.delivers(20).await;
    assert_eq!(scene.upstream.seen.borrow().connects.len(), 1);
    scene.replace(&scene.certificates, "new");
    scene.handle.renew_certificates();
    scene.is_connected_as("gw-2", 2).await;
    scene.no_warning().await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_the_upstream_refuses_changes_nothing() {
    let mut scene = Scene::start(Vec::new()).await;
    let other = Certificates::signed_by("other CA");
    scene.replace(&other, "client");
    scene.handle.renew_certificates();
    scene
        .warning("the upstream cannot be reached with the new certificate files")
        .await;
    scene.delivers(20).await;
    assert_eq!(scene.upstream.seen.borrow().connects.len(), 1);
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_certificate_is_taken_when_the_bridge_dials_again() {
    // The third message cuts the link.
    let mut scene = Scene::start(vec![3]).await;
    scene.certificates.issue("new", "gw-2", 2100);
    scene.replace(&scene.certificates, "new");
    scene.delivers(20).await;
    scene.is_connected_as("gw-2", 2).await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_certificate_before_is_used_where_the_upstream_refuses_the_new_one_when_dialled_again()
{
    let mut scene = Scene::start(vec![3]).await;
    scene.replace(&Certificates::signed_by("other CA"), "client");
    scene.delivers(20).await;
    scene.is_connected_as("gw", 2).await;
    scene.warning("those read before stay in use").await;
    scene.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bridge_that_began_without_files_takes_what_is_sound_and_what_follows_where_that_is_refused()
 {
    let certificates = Certificates::new();
    fs::remove_file(certificates.path("client.key")).unwrap();
    let mut scene = Scene::with(certificates, Vec::new()).await;
    let has = |text: &'static str| move |error: &String| error.contains(text);
    let status_of = &mut scene.handle.status;
    let lacks = has("client.key: cannot be read");
    let told = status(status_of, |now| now.error.as_ref().is_some_and(lacks)).await;
    assert_eq!((told.connects, told.certificate_expires), (0, None));
    // Sound, but of nobody whom the upstream knows: there is none to go back to.
    scene.replace(&Certificates::signed_by("other CA"), "client");
    let refused = has("who signed our certificate");
    let told = status(&mut scene.handle.status, |now| {
        now.error.as_ref().is_some_and(refused)
    })
    .await;
    assert_ne!(told.link, LinkState::Up);
    scene.certificates.issue("new", "gw-2", 2100);
    scene.replace(&scene.certificates, "new");
    scene.is_connected_as("gw-2", 1).await;
    scene.delivers(20).await;
    scene.no_warning().await;
    scene.end().await;
}
