//! Packet ids of the backlog: decided by the position, so that assigning one needs no write and a restart finds the same
//! one (DESIGN section 4).
//!
//! Invariant: a QoS 2 message is sent only while it is within reach of the log's cursor, which counts ends only once they
//! are committed. A restart so never finds two unfinished QoS 2 messages that were sent under one id.

use super::Lane;
use crate::mqtt::PacketId;
use crate::store::{REACH, Seq};

/// 1 to 65000 belong to the backlog, half of them to each lane; the rest to what is not stored. A lane has its half also
/// where it is the only one: were that to change, a message would go out again under another id than before.
const LANE_IDS: u64 = REACH;

/// The first id of SUBSCRIBE and UNSUBSCRIBE.
pub(super) const FIRST_SUBSCRIBE: u16 = 65_501;

/// The ids of what tells of a hole in a lane, one at a time in each, so that no answer is taken for that of the other's.
const GAP: u16 = 65_500;
const LIVE_GAP: u16 = 65_499;

/// The last id of what is not stored besides.
pub(super) const LAST_UNSTORED: u16 = LIVE_GAP - 1;

/// The first id of what is not stored.
pub(super) const FIRST_UNSTORED: u16 = 65_001;

/// The id of a position: 1 + seq mod 32500, and in the live lane 32500 more.
pub(super) fn packet_id(lane: Lane, seq: Seq) -> Option<PacketId> {
    let first = match lane {
        Lane::Backlog => 1,
        Lane::Live => 1 + LANE_IDS,
    };
    u16::try_from(first + seq.0 % LANE_IDS)
        .ok()
        .and_then(PacketId::new)
}

/// The id of what tells of a hole in this lane.
pub(super) fn gap_id(lane: Lane) -> Option<PacketId> {
    PacketId::new(match lane {
        Lane::Backlog => GAP,
        Lane::Live => LIVE_GAP,
    })
}

/// In which lane the hole is that this id tells of.
pub(super) fn lane_of_gap(id: PacketId) -> Option<Lane> {
    match id.get() {
        GAP => Some(Lane::Backlog),
        LIVE_GAP => Some(Lane::Live),
        _ => None,
    }
}

/// Whether `seq` has an id of its own among all positions of its lane above `cursor`.
pub(super) fn within_reach(cursor: Seq, seq: Seq) -> bool {
    seq.0.saturating_sub(cursor.0) < LANE_IDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_decides_its_id_and_ids_stay_below_those_of_what_is_not_stored() {
        let id = |lane, seq| packet_id(lane, Seq(seq)).unwrap().get();
        assert_eq!(id(Lane::Backlog, 0), 1);
        assert_eq!(id(Lane::Backlog, 32_499), 32_500);
        assert_eq!(id(Lane::Backlog, 32_500), 1);
        assert_eq!(id(Lane::Live, 0), 32_501);
        assert_eq!(id(Lane::Live, 32_499), 65_000);
        assert!((0..100_000).all(|seq| id(Lane::Live, seq) < FIRST_UNSTORED));
        assert!((0..100_000).all(|seq| id(Lane::Backlog, seq) <= 32_500));
    }

    #[test]
    fn holes_have_ids_of_their_own() {
        for lane in [Lane::Backlog, Lane::Live] {
            let id = gap_id(lane).unwrap();
            assert!((LAST_UNSTORED + 1..FIRST_SUBSCRIBE).contains(&id.get()));
            assert_eq!(lane_of_gap(id), Some(lane));
        }
        assert_eq!(lane_of_gap(PacketId::new(LAST_UNSTORED).unwrap()), None);
    }

    #[test]
    fn no_two_positions_above_the_cursor_that_are_within_reach_have_one_id() {
        let cursor = Seq(7);
        assert!(within_reach(cursor, Seq(32_506)));
        assert!(!within_reach(cursor, Seq(32_507)));
        let id = |seq| packet_id(Lane::Live, Seq(seq));
        assert_eq!(id(7), id(32_507));
    }
}
