//! The handle of the session log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::watch;

use super::directory::{Directory, Folder};
use super::error::StoreError;
use super::handle::{Handle, prepare};
use super::reading::Ask;
use super::sessions::{Reading, SessionCore};
use super::{
    CommitNumber, LogStats, Mark, Outcome, Progress, Seq, SessionEntry, SessionLogOptions,
    SessionNumber, SessionStanding, Want,
};
use crate::clock::{self, Timeline};
use crate::mqtt::Message;
use crate::shutdown::Pulse;

/// The messages that persistent sessions want, each once. The broker's core appends and says what became of them; each
/// session reads its own. Cheap to clone. When the last clone is dropped without [`Self::close`], what was not covered is
/// lost, as in a crash.
#[derive(Clone, Debug)]
pub struct SessionLog {
    handle: Arc<Handle<SessionCore>>,
}

impl SessionLog {
    /// Opens or makes the log, says where each of the `known` sessions stands, and starts its thread. What other sessions
    /// wanted is forgotten. Blocks; milliseconds whatever is queued, unless the newest file was damaged.
    ///
    /// # Errors
    /// Where the folder cannot be used, another process has it, or a newer program wrote it. A damaged file is put aside
    /// and salvaged instead.
    pub fn open(
        options: SessionLogOptions,
        timeline: Timeline,
        known: &BTreeSet<SessionNumber>,
    ) -> Result<(Self, BTreeMap<SessionNumber, SessionStanding>), StoreError> {
        let folder = Folder::open(&options.dir)?;
        Self::open_in(options, timeline, known, Box::new(folder))
    }

    /// As [`Self::open`], in a directory that need not be a real one: for tests that cut the power.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(
        options: SessionLogOptions,
        timeline: Timeline,
        known: &BTreeSet<SessionNumber>,
        directory: Box<dyn Directory>,
    ) -> Result<(Self, BTreeMap<SessionNumber, SessionStanding>), StoreError> {
        let dir = options.dir.clone();
        let now = clock::now();
        let generation_bytes = options.generation_bytes();
        let keep_free = options.free_space_minimum;
        let (shared, writer) = prepare(now, generation_bytes, directory, |loaded, survey| {
            SessionCore::open(now, options, timeline, known, loaded, survey)
        })?;
        let standings = shared.with(|state| {
            let standings = known
                .iter()
                .map(|number| (*number, state.core.standing(*number)));
            standings.collect()
        });
        let writer = writer.keep_free(keep_free);
        let handle = Arc::new(Handle::start(&dir, shared, writer)?);
        Ok((Self { handle }, standings))
    }

    /// The position that the next message must be appended with.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.with_core(|core| core.next_seq())
    }

    /// Appends `message` at `seq`, which must be the one after the last, for those who want it (at least one, each session
    /// once, each with a packet id that it has not in use). Never blocks and never fails: whether there is room is asked
    /// before ([`Self::has_room`]), and what cannot be written is never reported as covered.
    ///
    /// The message is kept as it is, see [`super::Log::append`]. `mark`: it came in as QoS 2. `hold`: all want it at QoS 1,
    /// their clients are there and keep up, so their acknowledgements may come before it need be written.
    #[allow(clippy::too_many_arguments, reason = "what is to be kept, in one step")]
    pub fn append(
        &self,
        now: Instant,
        seq: Seq,
        message: Message,
        wants: Vec<Want>,
        mark: Option<Mark>,
        hold: bool,
    ) {
        self.with_core(|core| {
            debug_assert_eq!(seq, core.next_seq(), "one appender, without gaps");
            core.append(now, message, wants, mark, hold);
        });
    }

    /// `session` needs the message no longer. May come out of order; what it never wanted is passed over.
    pub fn done(&self, now: Instant, session: SessionNumber, seq: Seq, outcome: Outcome) {
        self.with_core(|core| core.done(now, session, seq.0, outcome));
    }

    /// QoS 2: the client's PUBREC arrived. PUBREL may be sent once [`Progress::commits`] has reached the result.
    #[must_use]
    pub fn received(&self, now: Instant, session: SessionNumber, seq: Seq) -> CommitNumber {
        self.with_core(|core| core.received(now, session, seq.0))
    }

    /// Everything that `session` wants up to `seq` may have been sent. Stored with the next commit, whatever its reason.
    pub fn sent(&self, session: SessionNumber, seq: Seq) {
        self.with_core(|core| core.sent(session, seq.0));
    }

    /// Drops the oldest `count` messages of `session` that were neither sent nor given by [`Self::read`]: by a policy, and
    /// without reading them, so their bytes are taken as the average.
    pub fn skip_oldest(&self, now: Instant, session: SessionNumber, count: u64) {
        self.with_core(|core| core.skip_oldest(now, session, count));
    }

    /// The PUBREL of the message of `mark` came. PUBCOMP may leave once [`Progress::commits`] has reached the result.
    #[must_use]
    pub fn unmark(&self, now: Instant, mark: Mark) -> CommitNumber {
        self.with_core(|core| core.unmark(now, mark))
    }

    /// The marks of QoS 2 messages that came in and were not released, in this start or an earlier one.
    #[must_use]
    pub fn marks(&self) -> Vec<Mark> {
        self.with_core(|core| core.marks())
    }

    /// `session` has ended: what it wanted, and its marks, are gone once [`Progress::commits`] has reached the result.
    #[must_use]
    pub fn forget(&self, now: Instant, session: SessionNumber) -> CommitNumber {
        self.with_core(|core| core.forget(now, session))
    }

    /// What was dropped because the files reached `queued_bytes_total`, since the last call: messages and bytes of each
    /// session. [`Progress::dropped`] tells when there is something.
    #[must_use]
    pub fn take_dropped(&self) -> Vec<(SessionNumber, u64, u64)> {
        self.with_core(SessionCore::take_dropped)
    }

    /// The messages after `after` that `session` wants, in order: at most `messages` of them and about `bytes` bytes, at
    /// least one where there is one; and whether that is all there is at present. From RAM where they are recent, else
    /// from the files (then it waits for the log's thread).
    ///
    /// A client that comes back begins at 0 and goes on from the last position that it got.
    ///
    /// # Errors
    /// Where the files cannot be read now; try again later.
    pub async fn read(
        &self,
        session: SessionNumber,
        after: Seq,
        messages: usize,
        bytes: usize,
    ) -> Result<(Vec<SessionEntry>, bool), StoreError> {
        loop {
            let now = clock::now();
            let reading = self.with_core(|core| core.read(now, session, after.0, messages, bytes));
            let (from, until) = match reading {
                Reading::Ram(entries, is_all) => return Ok((entries, is_all)),
                Reading::Files { from, until } => (from, until),
            };
            let ask = Ask {
                session: Some(session),
                from,
                until,
                messages,
                bytes,
                takes: true,
            };
            let (mut entries, _) = self.handle.read(ask).await?;
            entries.retain(|entry| entry.seq > after);
            if !entries.is_empty() {
                return Ok((entries, false));
            }
        }
    }

    /// Whether the bytes that wait for a commit are below their limit.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.with_core(|core| core.has_room())
    }

    /// Waits until [`Self::has_room`]. Cancel safe.
    pub async fn room(&self) {
        self.handle.room().await;
    }

    /// Follows the log's progress.
    #[must_use]
    pub fn progress(&self) -> watch::Receiver<Progress> {
        self.handle.progress()
    }

    /// Figures; a message counts once for each session that wants it.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.handle.stats(SessionCore::stats)
    }

    /// Of its thread.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.handle.pulse()
    }

    /// Why the files are out of use at the moment, if they are: nothing is covered until they are back.
    #[must_use]
    pub fn error(&self) -> Option<String> {
        self.handle.error()
    }

    /// Commits what waits (held messages too) and ends the thread. Blocks. Called once, after the last append.
    pub fn close(&self) {
        self.handle.close();
    }

    fn with_core<T>(&self, call: impl FnOnce(&mut SessionCore) -> T) -> T {
        self.handle.with_core(call)
    }
}
