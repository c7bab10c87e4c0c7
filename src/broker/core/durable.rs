//! What the core knows of a session that is kept, beside what every session has. How much waits in the session log is
//! known as counts: nothing per message, but for what is on its way to a client that is there.
//!
//! Towards a client that is there, the messages of its log stand in three parts, in order: in flight, in the session's
//! queue (a small one), and beyond `known` in the log alone. The last part is empty unless the session is `behind`; a
//! session whose client is away is behind from the first message on.

use std::collections::HashMap;

use super::LogId;
use crate::mqtt::{PacketId, ProtocolVersion};
use crate::store::{Mark, Seq, SessionNumber, SessionStanding};

/// Messages and their bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Load {
    pub(super) messages: u64,
    pub(super) bytes: u64,
}

/// A session that is kept.
#[derive(Debug)]
pub(super) struct Durable {
    pub(super) number: SessionNumber,
    /// What it spoke last.
    pub(super) version: ProtocolVersion,
    /// All that the session log keeps for it.
    total: Load,
    /// Of these, what may have been sent.
    flying: Load,
    /// Highest position that may have been sent.
    sent: Seq,
    /// Up to here, what may have been sent is counted in `flying`. Below `sent` only after a restart.
    counted: Seq,
    /// Highest position that was appended for it.
    last: Seq,
    /// Everything up to here is done, in flight or in the queue.
    pub(super) known: Seq,
    /// There may be more in the log than that.
    pub(super) behind: bool,
    /// A part of it is being read.
    fetch: Option<Fetch>,
    /// Its QoS 2 messages to us: which logs keep the mark.
    pub(super) marks: HashMap<PacketId, Vec<LogId>>,
    /// Those whose PUBREL came: which logs have not committed that the mark is gone.
    pub(super) unmarking: HashMap<PacketId, Vec<LogId>>,
}

/// A read of the session log that was asked for.
#[derive(Clone, Copy, Debug)]
struct Fetch {
    /// The session's last message at that time.
    last: Seq,
    /// Something has changed that makes the answer useless.
    stale: bool,
}

impl Load {
    pub(super) fn add(&mut self, other: Self) {
        self.messages = self.messages.saturating_add(other.messages);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }

    fn take(&mut self, other: Self) {
        self.messages = self.messages.saturating_sub(other.messages);
        self.bytes = if self.messages == 0 {
            0
        } else {
            self.bytes.saturating_sub(other.bytes)
        };
    }
}

/// One message of so many bytes.
pub(super) fn one(bytes: usize) -> Load {
    Load {
        messages: 1,
        bytes: u64::try_from(bytes).unwrap_or(u64::MAX),
    }
}

impl Durable {
    pub(super) fn new(number: SessionNumber, version: ProtocolVersion) -> Self {
        Self {
            number,
            version,
            total: Load::default(),
            flying: Load::default(),
            sent: Seq(0),
            counted: Seq(0),
            last: Seq(0),
            known: Seq(0),
            behind: false,
            fetch: None,
            marks: HashMap::new(),
            unmarking: HashMap::new(),
        }
    }

    /// One that the store knew; `last` is the last position of the session log.
    pub(super) fn restored(
        number: SessionNumber,
        version: ProtocolVersion,
        standing: &SessionStanding,
        last: Seq,
    ) -> Self {
        Self {
            total: Load {
                messages: standing.messages,
                bytes: standing.bytes,
            },
            sent: standing.sent,
            last,
            behind: true,
            ..Self::new(number, version)
        }
    }

    /// Its mark for one of its QoS 2 messages to us.
    pub(super) fn mark(&self, packet_id: PacketId) -> Mark {
        Mark {
            session: self.number,
            packet_id,
        }
    }

    /// What waits to be sent for the first time.
    pub(super) fn queued(&self) -> Load {
        let mut queued = self.total;
        queued.take(self.flying);
        queued
    }

    /// Whether the session log keeps nothing for it.
    pub(super) fn is_empty(&self) -> bool {
        self.total.messages == 0
    }

    /// Highest position that may have been sent.
    pub(super) fn sent(&self) -> Seq {
        self.sent
    }

    /// Whether a part of it is being read.
    pub(super) fn is_fetching(&self) -> bool {
        self.fetch.is_some()
    }

    /// Whether the message may have been sent before.
    pub(super) fn was_sent(&self, seq: Seq) -> bool {
        seq <= self.sent
    }

    pub(super) fn appended(&mut self, seq: Seq, load: Load) {
        self.last = seq;
        self.total.add(load);
    }

    /// True where it is sent for the first time.
    pub(super) fn send(&mut self, seq: Seq, load: Load) -> bool {
        let is_first = !self.was_sent(seq);
        if is_first {
            self.sent = seq;
            self.counted = seq;
            self.flying.add(load);
        }
        is_first
    }

    pub(super) fn done(&mut self, seq: Seq, load: Load) {
        self.total.take(load);
        if seq <= self.counted {
            self.flying.take(load);
        }
    }

    /// So many of the queued ones are gone, weighed by their average: nobody reads them for that.
    pub(super) fn drop_queued(&mut self, count: u64) {
        let queued = self.queued();
        let messages = count.min(queued.messages);
        let bytes = if messages == queued.messages {
            queued.bytes
        } else {
            messages.saturating_mul(queued.bytes / queued.messages.max(1))
        };
        self.total.take(Load { messages, bytes });
        self.spoil_fetch();
    }

    /// The log dropped these of its own accord.
    pub(super) fn dropped(&mut self, load: Load) {
        self.total.take(load);
        self.flying.messages = self.flying.messages.min(self.total.messages);
        self.flying.bytes = self.flying.bytes.min(self.total.bytes);
        self.spoil_fetch();
    }

    /// The client has left: what is not done is read again when it comes back.
    pub(super) fn go_away(&mut self) {
        self.known = Seq(0);
        self.behind = true;
        self.spoil_fetch();
    }

    fn spoil_fetch(&mut self) {
        if let Some(fetch) = &mut self.fetch {
            fetch.stale = true;
        }
    }

    /// Where to read on, if anything is to be read and nothing is being read.
    pub(super) fn fetch(&mut self) -> Option<Seq> {
        if !self.behind || self.fetch.is_some() {
            return None;
        }
        self.fetch = Some(Fetch {
            last: self.last,
            stale: false,
        });
        Some(self.known)
    }

    /// The read has ended; whether its answer is of use.
    pub(super) fn fetch_ended(&mut self) -> Option<Fetched> {
        let fetch = self.fetch.take().filter(|fetch| !fetch.stale)?;
        Some(Fetched { last: fetch.last })
    }

    /// A message was read.
    pub(super) fn know(&mut self, seq: Seq, load: Load) {
        self.known = seq;
        if seq > self.counted && self.was_sent(seq) {
            self.counted = seq;
            self.flying.add(load);
        }
    }

    /// All that there was when `fetched` was answered is known. True where that is still all there is: then `in_memory`,
    /// everything and what of it may have been sent, corrects the counts.
    pub(super) fn catch_up(&mut self, fetched: Fetched, in_memory: (Load, Load)) -> bool {
        if self.last > self.known && self.last != fetched.last {
            return false;
        }
        self.behind = false;
        self.counted = self.sent;
        (self.total, self.flying) = in_memory;
        true
    }
}

/// What was so when a read was asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched {
    last: Seq,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn durable() -> Durable {
        Durable::new(SessionNumber(1), ProtocolVersion::V5)
    }

    #[test]
    fn what_was_sent_is_not_queued() {
        let mut durable = durable();
        for seq in 1..=3 {
            durable.appended(Seq(seq), one(10));
        }
        assert!(durable.send(Seq(1), one(10)));
        assert!(!durable.send(Seq(1), one(10)));
        assert_eq!(
            durable.queued(),
            Load {
                messages: 2,
                bytes: 20
            }
        );
        durable.done(Seq(1), one(10));
        assert_eq!(
            durable.queued(),
            Load {
                messages: 2,
                bytes: 20
            }
        );
        durable.drop_queued(1);
        assert_eq!(
            durable.queued(),
            Load {
                messages: 1,
                bytes: 10
            }
        );
        durable.drop_queued(7);
        assert_eq!(durable.queued(), Load::default());
    }

    #[test]
    fn what_a_restart_finds_sent_is_counted_when_it_is_read() {
        let standing = SessionStanding {
            messages: 3,
            bytes: 30,
            sent: Seq(4),
            ..SessionStanding::default()
        };
        let mut durable =
            Durable::restored(SessionNumber(1), ProtocolVersion::V5, &standing, Seq(9));
        assert_eq!(durable.queued().messages, 3);
        for seq in [3, 4, 5] {
            durable.know(Seq(seq), one(10));
        }
        assert_eq!(durable.queued().messages, 1);
        durable.done(Seq(3), one(10));
        assert_eq!(durable.queued().messages, 1);
    }

    #[test]
    fn one_read_at_a_time_and_none_that_is_out_of_date() {
        let mut durable = durable();
        assert_eq!(durable.fetch(), None);
        durable.go_away();
        assert_eq!(durable.fetch(), Some(Seq(0)));
        assert_eq!(durable.fetch(), None);
        durable.go_away();
        assert!(durable.fetch_ended().is_none());
        assert_eq!(durable.fetch(), Some(Seq(0)));
        durable.appended(Seq(1), one(1));
        let fetched = durable.fetch_ended().unwrap();
        assert!(!durable.catch_up(fetched, (one(1), Load::default())));
        assert_eq!(durable.fetch(), Some(Seq(0)));
        let fetched = durable.fetch_ended().unwrap();
        assert!(durable.catch_up(fetched, (one(1), Load::default())));
    }
}
