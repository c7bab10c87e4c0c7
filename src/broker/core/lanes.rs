//! Where the plain messages of a publisher on a topic go, as it was found out once: devices publish to the same few topics
//! for years.
//!
//! A lane holds as long as nothing changes that it was decided by: who is connected, who subscribed to what, who may do what.
//! Whoever changes any of that calls [`Lanes::forget`]. A topic has one place, by its hash with the publisher; it is taken
//! in when it misses there twice in a row, so that topics that never come again cost a hash and displace nobody. Bounded; nothing
//! is held before the first message.

use std::num::NonZeroU32;

use super::session::SessionKey;
use super::topic_hash;
use crate::mqtt::QoS;

/// Lanes remembered, a power of two.
const PLACES: usize = 4096;
/// A longer topic has no lane: what the lanes may weigh is bounded.
const TOPIC_BYTES_MAX: usize = 256;

/// All lanes.
#[derive(Debug, Default)]
pub(super) struct Lanes {
    places: Vec<Place>,
    /// Counts what was forgotten.
    edition: u64,
}

/// Where a publisher's last lane is: most of them publish to one topic, or to one for a while.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastLane(usize);

#[derive(Debug, Default)]
struct Place {
    /// Hash of the last that missed here, since the last that did not.
    missed: Option<NonZeroU32>,
    lane: Option<Box<Lane>>,
}

/// The way of one publisher's messages on one topic.
#[derive(Debug)]
pub(super) struct Lane {
    edition: u64,
    publisher: SessionKey,
    topic: Box<[u8]>,
    pub(super) way: Way,
}

/// What becomes of them.
#[derive(Debug)]
pub(super) enum Way {
    /// More than a lane can do, or a refusal: for [`super::Core::receive`] to decide each time.
    Long,
    /// To these, once each.
    Straight(Straight),
}

/// To whom.
#[derive(Debug)]
pub(super) struct Straight {
    pub(super) receivers: Box<[Taker]>,
    /// Up to which QoS of the publisher's; above, some receiver's copy is to be kept.
    pub(super) qos: QoS,
    /// Whether a subscription matched: who is away gets nothing at QoS 0, but it is somebody.
    pub(super) is_matched: bool,
}

/// Who takes the messages, and at which QoS at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Taker {
    pub(super) session: SessionKey,
    pub(super) qos: QoS,
}

/// What a lookup says.
pub(super) enum Found<'a> {
    Lane(&'a Lane),
    /// None is known; `wanted`: finding out would pay.
    Nothing {
        wanted: bool,
    },
}

impl Lanes {
    /// What the lanes were decided by has changed.
    pub(super) fn forget(&mut self) {
        self.edition += 1;
    }

    /// Gives back the memory of what was forgotten and has not come again.
    pub(super) fn shrink(&mut self) {
        for place in &mut self.places {
            place.lane.take_if(|lane| lane.edition != self.edition);
        }
    }

    /// Looks first where `last` says, and keeps there where it looked then.
    #[inline]
    pub(super) fn find(
        &mut self,
        publisher: SessionKey,
        topic: &[u8],
        last: &mut LastLane,
    ) -> Found<'_> {
        let edition = self.edition;
        let is_there = |place: &Place| {
            let lane = place.lane.as_ref();
            lane.is_some_and(|lane| lane.is_of(publisher, topic, edition))
        };
        if !self.places.get(last.0).is_some_and(is_there) {
            let hash = hash(publisher, topic);
            last.0 = place_of(hash);
            if !self.places.get(last.0).is_some_and(is_there) {
                return match topic.len() {
                    ..=TOPIC_BYTES_MAX => self.miss(hash),
                    _ => Found::Nothing { wanted: false },
                };
            }
        }
        let place = self.places.get_mut(last.0);
        // Who keeps coming is not displaced by two others in a row.
        let lane = place.and_then(|place| {
            place.missed = None;
            place.lane.as_deref()
        });
        lane.map_or(Found::Nothing { wanted: false }, Found::Lane)
    }

    fn miss(&mut self, hash: u64) -> Found<'_> {
        if self.places.is_empty() {
            self.places.resize_with(PLACES, Place::default);
        }
        let marked = Some(mark_of(hash));
        let place = self.places.get_mut(place_of(hash));
        Found::Nothing {
            wanted: place
                .is_some_and(|place| std::mem::replace(&mut place.missed, marked) == marked),
        }
    }

    pub(super) fn put(&mut self, publisher: SessionKey, topic: &[u8], way: Way) {
        let place = place_of(hash(publisher, topic));
        if let Some(place) = self.places.get_mut(place) {
            place.lane = Some(Box::new(Lane {
                edition: self.edition,
                publisher,
                topic: topic.into(),
                way,
            }));
        }
    }
}

impl Lane {
    fn is_of(&self, publisher: SessionKey, topic: &[u8], edition: u64) -> bool {
        self.edition == edition && self.publisher == publisher && *self.topic == *topic
    }
}

fn place_of(hash: u64) -> usize {
    topic_hash::place_of(hash, PLACES)
}

/// Other bits than those that chose the place.
#[expect(clippy::cast_possible_truncation, reason = "that many bits are wanted")]
fn mark_of(hash: u64) -> NonZeroU32 {
    NonZeroU32::MIN.saturating_add(hash as u32)
}

fn hash(publisher: SessionKey, topic: &[u8]) -> u64 {
    topic_hash::hash(publisher.0 as u64, topic)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUBLISHER: SessionKey = SessionKey(3);

    fn is_known(lanes: &mut Lanes, publisher: SessionKey, topic: &[u8]) -> bool {
        let first = lanes.find(publisher, topic, &mut LastLane::default());
        let is_known = matches!(first, Found::Lane(_));
        let mut last = LastLane(place_of(hash(publisher, topic)));
        let again = lanes.find(publisher, topic, &mut last);
        assert_eq!(matches!(again, Found::Lane(_)), is_known);
        is_known
    }

    fn is_wanted(lanes: &mut Lanes, topic: &[u8]) -> bool {
        let found = lanes.find(PUBLISHER, topic, &mut LastLane::default());
        matches!(found, Found::Nothing { wanted: true })
    }

    /// Another topic with the same place.
    fn neighbour(topic: &[u8]) -> Vec<u8> {
        let place = |topic: &[u8]| place_of(hash(PUBLISHER, topic));
        (0..)
            .map(|number: u32| number.to_string().into_bytes())
            .find(|other| place(other) == place(topic))
            .unwrap()
    }

    #[test]
    fn a_lane_is_wanted_by_what_misses_twice_in_a_row() {
        let mut lanes = Lanes::default();
        let (topic, other) = (b"plant/line/1", neighbour(b"plant/line/1"));
        assert!(!is_wanted(&mut lanes, topic));
        assert!(!is_wanted(&mut lanes, &other));
        assert!(!is_wanted(&mut lanes, topic));
        assert!(is_wanted(&mut lanes, topic));
        lanes.put(PUBLISHER, topic, Way::Long);
        assert!(is_known(&mut lanes, PUBLISHER, topic));
        assert!(!is_known(&mut lanes, SessionKey(4), topic));
        let mut last = LastLane(place_of(hash(PUBLISHER, topic)));
        let found = lanes.find(PUBLISHER, b"plant/line/2", &mut last);
        assert!(matches!(found, Found::Nothing { .. }));
        for _ in 0..3 {
            assert!(!is_wanted(&mut lanes, &other));
            assert!(is_known(&mut lanes, PUBLISHER, topic), "it keeps coming");
        }
        assert!(!is_wanted(&mut lanes, &other));
        assert!(is_wanted(&mut lanes, &other), "the first has stayed away");
    }

    #[test]
    fn a_change_forgets_all_lanes() {
        let mut lanes = Lanes::default();
        assert!(!is_wanted(&mut lanes, b"t"));
        lanes.put(PUBLISHER, b"t", Way::Long);
        assert!(is_known(&mut lanes, PUBLISHER, b"t"));
        lanes.forget();
        assert!(!is_known(&mut lanes, PUBLISHER, b"t"));
        lanes.put(PUBLISHER, b"t", Way::Long);
        assert!(is_known(&mut lanes, PUBLISHER, b"t"));
    }

    #[test]
    fn what_is_forgotten_holds_no_memory_for_long_and_long_topics_never_do() {
        let mut lanes = Lanes::default();
        assert!(!is_wanted(&mut lanes, b"old"));
        lanes.put(PUBLISHER, b"old", Way::Long);
        lanes.forget();
        lanes.put(PUBLISHER, b"new", Way::Long);
        lanes.shrink();
        let held = lanes.places.iter().filter(|place| place.lane.is_some());
        assert_eq!(held.count(), 1);
        assert!(is_known(&mut lanes, PUBLISHER, b"new"));
        for (len, wanted) in [(TOPIC_BYTES_MAX, true), (TOPIC_BYTES_MAX + 1, false)] {
            let topic = vec![b'x'; len];
            assert!(!is_wanted(&mut lanes, &topic));
            assert_eq!(is_wanted(&mut lanes, &topic), wanted, "{len}");
        }
    }
}
