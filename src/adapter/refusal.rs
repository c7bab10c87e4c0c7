//! Requests that a device refuses while it answers others: which, and whether that is new. No I/O.
//!
//! Invariant: a request that stays refused for the same reason is told once, however often it is made; silence says
//! nothing about it, because the device may refuse it again when it is back.

use std::collections::BTreeMap;

use super::options::Table;
use super::plan::ReadRequest;
use super::reason::Reason;
use super::schedule::Job;

/// Why each refused request was refused the last time, by device, group and registers of the request: no more entries
/// than there are requests and parts of them.
#[derive(Debug, Default)]
pub(super) struct Refusals(BTreeMap<(usize, usize, Table, u16, u16), Reason>);

/// What is to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// The request is refused now, or for another reason than before.
    Refused(Reason),
    /// It is answered again.
    Answered,
}

impl Refusals {
    /// What became of the request; `None`: nothing new.
    pub(super) fn observe(
        &mut self,
        job: Job,
        request: &ReadRequest,
        outcome: Result<(), Reason>,
    ) -> Option<Change> {
        let ReadRequest {
            table,
            address,
            quantity,
            ..
        } = *request;
        let key = (job.device, job.group, table, address, quantity);
        match outcome {
            Ok(()) => self.0.remove(&key).map(|_| Change::Answered),
            Err(reason) if is_refusal(reason) => {
                let before = self.0.insert(key, reason);
                (before != Some(reason)).then_some(Change::Refused(reason))
            }
            Err(_) => None,
        }
    }
}

/// A device that is busy does not refuse: it comes and goes, and `$status` counts it.
fn is_refusal(reason: Reason) -> bool {
    reason.proves_alive() && !reason.is_busy()
}

/// What to do about it.
pub(super) fn remedy(reason: Reason) -> &'static str {
    match reason {
        Reason::Exception(1) => {
            "the device does not have this function: check the table of the tags against its manual"
        }
        Reason::Exception(2) => {
            "the device does not have these registers: check address or reference against its manual (an address may be off \
             by one)"
        }
        Reason::Exception(3) => {
            "the device does not take this quantity: lower max_registers to what its manual says"
        }
        _ => "look the reason up in config/docs/topics.md",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: Job = Job {
        device: 0,
        group: 1,
    };

    fn request(address: u16) -> ReadRequest {
        ReadRequest {
            table: Table::HoldingRegisters,
            address,
            quantity: 1,
            tags: Vec::new(),
        }
    }

    #[test]
    fn a_refusal_is_told_once_until_it_changes() {
        let mut refusals = Refusals::default();
        let address = Reason::Exception(2);
        let mut see = |address, outcome| refusals.observe(JOB, &request(address), outcome);
        assert_eq!(see(0, Ok(())), None);
        assert_eq!(see(0, Err(address)), Some(Change::Refused(address)));
        assert_eq!(see(0, Err(address)), None);
        assert_eq!(see(1, Err(address)), Some(Change::Refused(address)));
        let failure = Reason::Exception(4);
        assert_eq!(see(0, Err(failure)), Some(Change::Refused(failure)));
        assert_eq!(see(0, Ok(())), Some(Change::Answered));
        assert_eq!(see(0, Ok(())), None);
    }

    #[test]
    fn silence_and_a_busy_device_are_no_refusals() {
        let mut refusals = Refusals::default();
        for reason in [
            Reason::Timeout,
            Reason::Offline,
            Reason::Exception(6),
            Reason::Exception(0x0B),
        ] {
            assert_eq!(
                refusals.observe(JOB, &request(0), Err(reason)),
                None,
                "{reason}"
            );
        }
        let refused = Err(Reason::Exception(2));
        assert!(refusals.observe(JOB, &request(0), refused).is_some());
        assert_eq!(
            refusals.observe(JOB, &request(0), Err(Reason::Timeout)),
            None
        );
        assert_eq!(
            refusals.observe(JOB, &request(0), refused),
            None,
            "known before the silence"
        );
    }
}
