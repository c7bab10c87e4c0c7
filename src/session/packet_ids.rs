//! Hands out packet ids, 1 upward, skipping those in use (MQTT 5 section 2.2.1).

use crate::mqtt::PacketId;

/// Where the search for the next free id begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketIds {
    last: u16,
}

impl PacketIds {
    /// Goes on after the last one that was given out.
    #[must_use]
    pub fn after(last: Option<PacketId>) -> Self {
        Self {
            last: last.map_or(0, PacketId::get),
        }
    }

    /// The next id that is not in use; `None` where all 65535 are. An id that was just freed is the last to come again,
    /// so that a late acknowledgement of the old message does not hit the new one.
    pub fn next(&mut self, in_use: impl Fn(PacketId) -> bool) -> Option<PacketId> {
        for _ in 0..=u16::MAX {
            self.last = self.last.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last)
                && !in_use(id)
            {
                return Some(id);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u16) -> PacketId {
        PacketId::new(number).unwrap()
    }

    #[test]
    fn ids_count_up_and_wrap_past_zero() {
        let mut ids = PacketIds::default();
        assert_eq!(ids.next(|_| false), Some(id(1)));
        assert_eq!(ids.next(|_| false), Some(id(2)));
        let mut ids = PacketIds::after(PacketId::new(u16::MAX));
        assert_eq!(ids.next(|_| false), Some(id(1)));
    }

    #[test]
    fn mqtt_2_2_1_3_ids_in_use_are_skipped() {
        let mut ids = PacketIds::default();
        assert_eq!(ids.next(|id| id.get() < 5), Some(id(5)));
        assert_eq!(ids.next(|_| true), None);
        assert_eq!(ids.next(|taken| taken != id(3)), Some(id(3)));
    }
}
