//! The handle of a log.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::core::{Core, Reading};
use super::directory::{Directory, Folder};
use super::error::StoreError;
use super::handle::{Handle, prepare};
use super::reading::Ask;
use super::view::View;
use super::{
    CommitNumber, Entry, LinkHealth, LogOptions, LogStats, Mark, Outcome, Progress, Purged, Record,
    Seq, WhenFull,
};
use crate::clock::{self, WallTime};
use crate::shutdown::Pulse;

/// Messages that a purge looks at between two turns of others.
const PURGED_MESSAGES: usize = 1024;
/// Their bytes.
const PURGED_BYTES: usize = 256 << 10;

/// A log: messages in order, each kept until it is done. One appender (the broker's thread), one reader (its bridge).
/// Cheap to clone. When the last clone is dropped without [`Self::close`], what was not covered is lost, as in a crash.
#[derive(Clone, Debug)]
pub struct Log {
    handle: Arc<Handle<Core>>,
    when_full: WhenFull,
}

impl Log {
    /// Opens or makes the log and starts its thread. Blocks; milliseconds whatever the backlog.
    ///
    /// # Errors
    /// Where the folder cannot be used, another process has it, or a newer program wrote it. A damaged file is put aside
    /// and salvaged instead.
    pub fn open(options: LogOptions) -> Result<Self, StoreError> {
        let folder = Folder::open(&options.dir)?;
        Self::open_in(options, Box::new(folder))
    }

    /// As [`Self::open`], in a directory that need not be a real one: for tests that cut the power.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_in(options: LogOptions, directory: Box<dyn Directory>) -> Result<Self, StoreError> {
        let dir = options.dir.clone();
        let generation_bytes = options.generation_bytes();
        let keep_free = options.free_space_minimum;
        let when_full = options.when_full;
        let (shared, writer) = prepare(clock::now(), generation_bytes, directory, |loaded, _| {
            Ok(Core::new(options, loaded))
        })?;
        let writer = writer.keep_free(keep_free);
        let handle = Arc::new(Handle::start(&dir, shared, writer)?);
        Ok(Self { handle, when_full })
    }

    /// Opens the log as the next start would find it, to read it: no file is touched, and nothing is dropped for its age.
    /// For when the program that it belongs to does not run.
    ///
    /// # Errors
    /// Where the folder cannot be read, or a newer program wrote it.
    pub fn view(options: LogOptions) -> Result<Self, StoreError> {
        let view = View::new(options.dir.clone());
        let keep_all = LogOptions {
            max_bytes: u64::MAX,
            max_age: Duration::MAX,
            ..options
        };
        Self::open_in(keep_all, Box::new(view))
    }

    /// The position that the next message must be appended with.
    #[must_use]
    pub fn next_seq(&self) -> Seq {
        self.with_core(|core| core.next_seq())
    }

    /// Appends `record` at `seq`, which must be the one after the last. Never blocks and never fails: whether there is
    /// room is asked before ([`Self::has_room`]), and what cannot be written is never reported as covered.
    ///
    /// The record is kept as it is: one whose payload is a slice of a read buffer pins that buffer, so the caller hands
    /// in a compact copy ([`crate::mqtt::Message::compact`]).
    ///
    /// `mark`: the message came in as QoS 2. The mark is committed with it.
    pub fn append(&self, now: Instant, seq: Seq, record: Record, mark: Option<Mark>) {
        self.with_core(|core| {
            debug_assert_eq!(seq, core.next_seq(), "one appender, without gaps");
            core.append(now, record, mark);
        });
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

    /// What [`Self::keep_routes`] was told last, in this start or an earlier one. None in a new log, and where it was lost to
    /// damage.
    #[must_use]
    pub fn routes(&self) -> Vec<u32> {
        self.with_core(|core| core.routes())
    }

    /// The appender has begun with these routes, which it knows by a number each. Committed within about a second.
    pub fn keep_routes(&self, now: Instant, routes: Vec<u32>) {
        self.with_core(|core| core.keep_routes(now, routes));
    }

    /// Whether the bytes that wait for a commit are below their limit.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.with_core(|core| core.has_room())
    }

    /// Whether it has [`Progress::is_full`] at all.
    #[must_use]
    pub fn refuses(&self) -> bool {
        self.when_full == WhenFull::Refuse
    }

    /// See [`Progress::is_full`].
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.refuses() && self.with_core(|core| core.is_full())
    }

    /// Whether something that waits may soon have to give way to what is new, or what is new be refused. It then is not
    /// [`Progress::is_prompt`].
    #[must_use]
    pub fn is_nearly_full(&self) -> bool {
        self.with_core(|core| core.is_nearly_full())
    }

    /// How far it is now, the last append included.
    #[must_use]
    pub fn standing(&self) -> Progress {
        self.with_core(|core| core.progress())
    }

    /// Counts a message of this time that was not appended. `is_lost`: its publisher could not be told, so it is a hole.
    pub fn refuse(&self, now: Instant, stamp: WallTime, is_lost: bool) {
        self.with_core(|core| core.refuse(now, stamp, is_lost));
    }

    /// The upstream knows of the hole with this number ([`Progress::gap`]).
    pub fn gap_told(&self, now: Instant, number: u64) {
        self.with_core(|core| core.gap_told(now, number));
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

    /// The messages from `from` on that are not done, in order: at most `messages` of them and about `bytes` bytes,
    /// at least one where there is one. Empty: the reader has caught up (wait for [`Progress::appended`]). From RAM
    /// where they are recent, else from the files (then it waits for the log's thread).
    ///
    /// A reader begins at 0 and goes on from the last position it got; it may begin again at any time.
    ///
    /// # Errors
    /// Where the files cannot be read now; try again later.
    pub async fn read(
        &self,
        from: Seq,
        messages: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        self.entries(Ask::of_reader(from.0, messages, bytes)).await
    }

    /// The same for somebody who is not the reader and takes nothing in hand.
    ///
    /// # Errors
    /// As [`Self::read`].
    pub async fn look(
        &self,
        from: Seq,
        messages: usize,
        bytes: usize,
    ) -> Result<Vec<Entry>, StoreError> {
        let ask = Ask {
            takes: false,
            ..Ask::of_reader(from.0, messages, bytes)
        };
        self.entries(ask).await
    }

    async fn entries(&self, mut ask: Ask) -> Result<Vec<Entry>, StoreError> {
        loop {
            let (now, wall) = (clock::now(), clock::wall());
            let (from, until) = match self.with_core(|core| core.read(now, wall, &ask)) {
                Reading::Ram(entries) => return Ok(entries),
                Reading::Files { from, until } => (from, until),
            };
            let (entries, reached) = self.handle.read(Ask { from, until, ..ask }).await?;
            if !entries.is_empty() {
                return Ok(entries);
            }
            ask.from = reached + 1;
        }
    }

    /// Drops the messages that are older than `age` now, for good, and counts them. Those that the reader has in hand stay, and so
    /// does what the upstream's session may hold under its packet id. Goes through the whole log; a start after a crash
    /// finds nothing of it again once [`Progress::commits`] has reached [`Purged::commit`].
    ///
    /// # Errors
    /// Where the files cannot be read now; what was purged until then is.
    pub async fn purge(&self, age: Duration) -> Result<Purged, StoreError> {
        let (mut purge, end) = self.with_core(|core| (core.begin_purge(age), core.next_seq()));
        let mut from = Seq(0);
        while from < end {
            let entries = self.look(from, PURGED_MESSAGES, PURGED_BYTES).await?;
            let (now, wall) = (clock::now(), clock::wall());
            self.with_core(|core| core.purge(now, wall, &mut purge, &entries));
            from = entries.last().map_or(end, |last| Seq(last.seq.0 + 1));
        }
        Ok(self.with_core(|core| core.end_purge(clock::now(), purge)))
    }

    /// Messages need to be kept no longer. May come out of order. Who follows the log is woken once for all of them.
    pub fn done(&self, now: Instant, done: impl IntoIterator<Item = (Seq, Outcome)>) {
        self.with_core(|core| {
            for (seq, outcome) in done {
                core.done(now, seq.0, outcome);
            }
        });
    }

    /// QoS 2: the upstream's PUBREC arrived. PUBREL may be sent once [`Progress::commits`] has reached the result.
    #[must_use]
    pub fn received(&self, now: Instant, seq: Seq) -> CommitNumber {
        self.with_core(|core| core.received(now, seq.0))
    }

    /// What [`Self::keep_session`] was told last, in this start or an earlier one, committed or not. `None` in a new log,
    /// and where messages were lost to damage: the upstream's session may then hold packet ids that nobody here knows of.
    #[must_use]
    pub fn session(&self) -> Option<String> {
        self.with_core(|core| core.session().map(str::to_owned))
    }

    /// The reader's session at the upstream is the one that it calls `name` (1 to [`super::SESSION_NAME_MAX`] bytes; any other
    /// name is kept as `None`). The marks of [`Self::received`] were made in the session before: they are void with it, in
    /// the same commit. Behind U+0000 the name may carry a note, up to
    /// [`super::SESSION_TEXT_MAX`] bytes in all; where only that changes the marks stay. Where all is as it
    /// is kept already, nothing changes. Gives the commit that makes it
    /// durable; on a new session no QoS 2 message may be sent before [`Progress::commits`] has reached it.
    #[must_use]
    pub fn keep_session(&self, now: Instant, name: Option<&str>) -> CommitNumber {
        self.with_core(|core| core.keep_session(now, name))
    }

    /// The upstream lost the session: every mark of [`Self::received`] is void, committed like them.
    #[must_use]
    pub fn forget_received(&self, now: Instant) -> CommitNumber {
        self.with_core(|core| core.forget_received(now))
    }

    /// Tells whether holding for the upstream makes sense now.
    pub fn link(&self, now: Instant, health: LinkHealth) {
        self.with_core(|core| core.link(now, health));
    }

    /// Figures.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        self.handle.stats(Core::stats)
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

    fn with_core<T>(&self, call: impl FnOnce(&mut Core) -> T) -> T {
        self.handle.with_core(call)
    }
}
