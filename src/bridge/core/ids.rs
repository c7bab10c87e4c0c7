//! Packet ids of the backlog: decided by the position, so that assigning one needs no write and a restart finds the same
//! one (DESIGN section 4).
//!
//! Invariant: a QoS 2 message is sent only while it is within reach of the log's cursor, which counts ends only once they
//! are committed. A restart so never finds two unfinished QoS 2 messages that were sent under one id.

use crate::mqtt::PacketId;
use crate::store::{REACH, Seq};

/// 1 to 65000 belong to the backlog; the rest to what is not stored.
const BACKLOG_IDS: u64 = REACH;

/// The first id of SUBSCRIBE and UNSUBSCRIBE.
pub(super) const FIRST_SUBSCRIBE: u16 = 65_501;

/// The id of what tells of a hole in the backlog; one at a time.
pub(super) const GAP: u16 = 65_500;

/// The first id of what is not stored.
pub(super) const FIRST_UNSTORED: u16 = 65_001;

/// The id of a position: 1 + seq mod 65000.
pub(super) fn packet_id(seq: Seq) -> Option<PacketId> {
    u16::try_from(1 + seq.0 % BACKLOG_IDS)
        .ok()
        .and_then(PacketId::new)
}

/// Whether `seq` has an id of its own among all positions above `cursor`.
pub(super) fn within_reach(cursor: Seq, seq: Seq) -> bool {
    seq.0.saturating_sub(cursor.0) < BACKLOG_IDS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_decides_its_id_and_ids_stay_below_those_of_what_is_not_stored() {
        let id = |seq| packet_id(Seq(seq)).unwrap().get();
        assert_eq!(id(0), 1);
        assert_eq!(id(64_999), 65_000);
        assert_eq!(id(65_000), 1);
        assert!((0..200_000).all(|seq| id(seq) < FIRST_UNSTORED));
    }

    #[test]
    fn no_two_positions_above_the_cursor_that_are_within_reach_have_one_id() {
        let cursor = Seq(7);
        assert!(within_reach(cursor, Seq(65_006)));
        assert!(!within_reach(cursor, Seq(65_007)));
        assert_eq!(packet_id(Seq(7)), packet_id(Seq(65_007)));
    }
}
