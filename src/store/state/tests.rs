//! The state without its thread, with clocks of the test's own, in a simulated folder.

use std::time::{Duration, Instant};

use bytestring::ByteString;

use super::super::power_cut::{Honesty, SimulatedFolder};
use super::super::writer::Step;
use super::super::{
    Mark, Seq, SessionNumber, StateChange, StoreError, StoredPresence, StoredSession,
    StoredSubscription,
};
use super::keeper::Keeper;
use super::shared::Shared;
use super::{Arc, Restored, StateOptions, prepare};
use crate::clock::{Boot, ClockReading, WallTime};
use crate::mqtt::{Message, PacketId, ProtocolVersion, QoS};
use crate::topic::TopicName;

pub(super) const HOUR: Duration = Duration::from_secs(3600);
/// Small, so that the scripts come above it.
const REWRITE_ABOVE: u64 = 100 << 10;
const WALL: u64 = 1_800_000_000_000;

/// A state without its thread.
pub(super) struct Rig {
    pub(super) shared: Arc<Shared>,
    pub(super) keeper: Keeper,
    pub(super) now: Instant,
    pub(super) restored: Restored,
    pub(super) last: Seq,
    wall: WallTime,
}

pub(super) fn reading(wall: u64, boot: u128, uptime: u64) -> ClockReading {
    ClockReading {
        wall: WallTime(wall),
        boot: Some(Boot { id: boot, uptime }),
    }
}

impl Rig {
    pub(super) fn open(
        folder: &SimulatedFolder,
        now: Instant,
        reading: ClockReading,
    ) -> Result<Self, StoreError> {
        let options = StateOptions::new("simulated".into());
        let directory = Box::new(folder.clone());
        let (shared, keeper, restored) = prepare(now, reading, &options, REWRITE_ABOVE, directory)?;
        Ok(Self {
            shared,
            keeper,
            now,
            restored,
            last: Seq(0),
            wall: reading.wall,
        })
    }

    pub(super) fn put(&mut self, change: StateChange, urgent: bool) -> Seq {
        self.last.0 += 1;
        let (now, stamp) = (self.now, self.shared.timeline.at(self.now));
        self.shared
            .with(|inner| inner.pending.put(now, self.last, stamp, change, urgent));
        self.last
    }

    /// Lets time pass, and the keeper do what is due by then.
    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
        self.wall.0 += u64::try_from(time.as_millis()).unwrap();
        for _ in 0..1000 {
            if self.keeper.step(self.now, self.wall) != Step::Again {
                return;
            }
        }
    }

    pub(super) fn covered(&self) -> Seq {
        self.shared.progress.borrow().covered
    }

    pub(super) fn committed(&self) -> Seq {
        self.shared.progress.borrow().committed
    }
}

pub(super) fn session(client_id: &str, presence: StoredPresence) -> StoredSession {
    StoredSession {
        client_id: client_id.into(),
        user: None,
        certified: false,
        version: ProtocolVersion::V311,
        expiry: u32::MAX,
        presence,
        will: None,
    }
}

pub(super) fn subscription(id: u32) -> StoredSubscription {
    StoredSubscription {
        qos: QoS::ExactlyOnce,
        no_local: false,
        retain_as_published: false,
        id: Some(id),
        replaying: false,
    }
}

pub(super) fn begun(number: SessionNumber, session: StoredSession) -> StateChange {
    StateChange::Session(number, Box::new(session))
}

pub(super) fn subscribed(number: SessionNumber, filter: &str, id: u32) -> StateChange {
    StateChange::Subscription(number, filter.into(), subscription(id))
}

pub(super) fn mark(session: SessionNumber, packet_id: u16) -> Mark {
    Mark {
        session,
        packet_id: PacketId::new(packet_id).unwrap(),
    }
}

pub(super) fn topic(name: &str) -> TopicName {
    TopicName::try_from(name).unwrap()
}

pub(super) fn retained(name: &str, payload: &[u8]) -> StateChange {
    let payload = bytes::Bytes::copy_from_slice(payload);
    let message = Message::new(topic(name), payload, QoS::AtLeastOnce, true);
    StateChange::Retained(message, ByteString::from_static("publisher"))
}

#[test]
fn urgent_changes_are_covered_while_others_still_wait() {
    let folder = SimulatedFolder::new(Honesty::Honest);
    let start = crate::clock::now();
    let mut rig = Rig::open(&folder, start, reading(WALL, 1, 0)).unwrap();
    rig.put(retained("slow", b"1"), false);
    rig.put(retained("fast", b"1"), true);
    rig.pass(Duration::from_millis(99));
    assert_eq!(rig.covered(), Seq(1));
    rig.pass(Duration::from_millis(1));
    assert_eq!((rig.covered(), rig.committed()), (Seq(2), Seq(0)));
    rig.pass(Duration::from_millis(4899));
    assert_eq!(rig.committed(), Seq(0));
    rig.pass(Duration::from_millis(1));
    assert_eq!(rig.committed(), Seq(2));
}

#[test]
fn time_that_remains_is_counted_down_by_the_time_spent_off() {
    let folder = SimulatedFolder::new(Honesty::Honest);
    let start = crate::clock::now();
    let mut rig = Rig::open(&folder, start, reading(WALL, 1, 0)).unwrap();
    let number = rig.restored.next_session;
    let presence = StoredPresence::Away {
        expires_in: Some(10 * HOUR),
        will_in: Some(HOUR),
    };
    rig.put(begun(number, session("a", presence)), true);
    rig.put(retained("t", b"1"), true);
    rig.pass(2 * HOUR);
    rig.pass(Duration::ZERO);
    drop(rig);
    // The power was off for three hours.
    let after = reading(WALL + 5 * 3_600_000, 2, 30_000);
    let rig = Rig::open(&folder, start, after).unwrap();
    assert_eq!(
        rig.restored.sessions[0].1.presence,
        StoredPresence::Away {
            expires_in: Some(5 * HOUR),
            will_in: Some(Duration::ZERO),
        }
    );
    assert_eq!(rig.restored.retained[0].age, 5 * HOUR);
}

#[test]
fn the_clocks_are_committed_every_hour_where_nothing_else_is() {
    let folder = SimulatedFolder::new(Honesty::Honest);
    let start = crate::clock::now();
    let unset = reading(0, 1, 0);
    let mut rig = Rig::open(&folder, start, unset).unwrap();
    rig.put(retained("t", b"1"), true);
    for _ in 0..5 {
        rig.pass(HOUR);
    }
    drop(rig);
    // Nobody knows how long the power was off.
    let rig = Rig::open(&folder, start, reading(0, 2, 0)).unwrap();
    assert_eq!(rig.restored.retained[0].age, 5 * HOUR);
}

#[test]
fn the_last_time_of_a_clock_that_was_set_outlives_starts_at_which_it_is_not() {
    let folder = SimulatedFolder::new(Honesty::Honest);
    let start = crate::clock::now();
    let mut rig = Rig::open(&folder, start, reading(WALL, 1, 0)).unwrap();
    rig.pass(HOUR);
    let set = Some(WallTime(WALL + 3_600_000));
    drop(rig);
    for boot in 2..5 {
        let mut rig = Rig::open(&folder, start, reading(7, boot, 0)).unwrap();
        assert_eq!(rig.restored.clock_was, set);
        rig.put(retained("t", b"1"), true);
        rig.pass(HOUR);
    }
    // A clock that was wrong is forgotten once it is right.
    drop(Rig::open(&folder, start, reading(WALL, 5, 0)).unwrap());
    let rig = Rig::open(&folder, start, reading(7, 6, 0)).unwrap();
    assert_eq!(rig.restored.clock_was, Some(WallTime(WALL)));
}
