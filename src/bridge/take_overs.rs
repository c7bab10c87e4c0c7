//! Two clients with one client id throw each other out of their upstream, for as long as both connect again. Decides from
//! how connections end whether that happens, says so in words, and slows down. No I/O.
//!
//! MQTT 5 says it: DISCONNECT with Session taken over. MQTT 3.1.1 just closes; a connection that is closed right after its
//! CONNACK, over and over, is that or something else that the upstream does not want to say.

use std::time::Duration;

use super::core::Cause;
use super::{Backoff, LinkError};
use crate::mqtt::ReasonCode;

/// So many in a row are no accident: a modem that got another address is thrown out once by its own next connection.
const NO_ACCIDENT: u32 = 3;
/// Closed within this time after CONNACK is closed at once.
const AT_ONCE: Duration = Duration::from_secs(5);
/// A connection that lasted so long ends the row, whatever ended it. Longer than two that wait for each other can wait.
const ENDS_ROW: Duration = Duration::from_secs(10 * 60);

/// How connections have ended of late.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct TakeOvers {
    told: u32,
    closed_at_once: u32,
}

impl TakeOvers {
    /// A connection that was up has ended so, after such a time.
    pub(super) fn ended(&mut self, ended: &LinkError, lasted: Duration) {
        if lasted >= ENDS_ROW {
            *self = Self::default();
        }
        match ended {
            LinkError::Closed(Cause::Disconnected { reason, .. })
                if *reason == ReasonCode::SessionTakenOver =>
            {
                self.told = self.told.saturating_add(1);
            }
            LinkError::End { .. } | LinkError::Io(_) if lasted < AT_ONCE => {
                self.closed_at_once = self.closed_at_once.saturating_add(1);
            }
            // The network takes turns with nobody.
            _ if lasted >= AT_ONCE => self.closed_at_once = 0,
            _ => {}
        }
    }

    /// What is probably going on, if it is no accident any more.
    pub(super) fn explanation(&self, client_id: &str) -> Option<String> {
        if self.told >= NO_ACCIDENT {
            return Some(format!(
                "another client connects with the client_id {client_id:?} again and again ({} times now); every gateway needs a `client_id` of its own",
                self.told
            ));
        }
        (self.closed_at_once >= NO_ACCIDENT).then(|| {
            format!(
                "the upstream closes the connection at once, again and again ({} times now): another client has the client_id {client_id:?} too, or the upstream does not allow what this bridge sends (topic, QoS, retain)",
                self.closed_at_once
            )
        })
    }

    /// Between half of the longest wait and the longest, while it is no accident; else as configured.
    pub(super) fn backoff(&self, configured: Backoff) -> Backoff {
        if self.told.max(self.closed_at_once) < NO_ACCIDENT {
            return configured;
        }
        Backoff {
            min: configured.min.max(configured.max / 2),
            max: configured.max,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_secs(1);
    const LONG: Duration = Duration::from_secs(60);
    const CONFIGURED: Backoff = Backoff {
        min: SHORT,
        max: Duration::from_secs(120),
    };

    fn taken_over() -> LinkError {
        LinkError::Closed(Cause::Disconnected {
            reason: ReasonCode::SessionTakenOver,
            text: None,
        })
    }

    fn closed() -> LinkError {
        LinkError::End {
            before_connack: false,
        }
    }

    fn after(ends: &[(LinkError, Duration)]) -> TakeOvers {
        let mut take_overs = TakeOvers::default();
        for (ended, lasted) in ends {
            take_overs.ended(ended, *lasted);
        }
        take_overs
    }

    #[test]
    fn being_thrown_out_again_and_again_is_told_with_the_client_id_and_slows_down() {
        // Two gateways that wait for each other stay connected for a while.
        let row = [
            (taken_over(), SHORT),
            (taken_over(), LONG),
            (taken_over(), LONG),
        ];
        assert_eq!(after(&row[..2]).explanation("gw"), None);
        assert_eq!(after(&row[..2]).backoff(CONFIGURED), CONFIGURED);
        let flapping = after(&row);
        let told = flapping.explanation("gw").unwrap();
        assert!(
            told.contains("\"gw\"") && told.contains("3 times"),
            "{told}"
        );
        assert_eq!(flapping.backoff(CONFIGURED).min, Duration::from_secs(60));
    }

    #[test]
    fn being_closed_at_once_again_and_again_is_told_too() {
        let flapping = after(&[(closed(), SHORT), (closed(), SHORT), (closed(), SHORT)]);
        let told = flapping.explanation("gw").unwrap();
        assert!(told.contains("closes the connection at once"), "{told}");
        assert_ne!(flapping.backoff(CONFIGURED), CONFIGURED);
    }

    #[test]
    fn a_bad_link_is_not_taken_for_another_client() {
        let bad = [SHORT, SHORT, LONG, SHORT, LONG, LONG, SHORT, SHORT, LONG];
        let bad: Vec<_> = bad.map(|lasted| (closed(), lasted)).into_iter().collect();
        assert_eq!(after(&bad).explanation("gw"), None);
    }

    #[test]
    fn a_connection_that_lasts_ends_the_row() {
        let mut take_overs = after(&[
            (taken_over(), SHORT),
            (taken_over(), SHORT),
            (taken_over(), SHORT),
        ]);
        take_overs.ended(&closed(), ENDS_ROW);
        assert_eq!(take_overs, TakeOvers::default());
    }
}
