//! What the thread of a log and its core say to each other. No I/O.
//!
//! There are two cores: a bridge's log (`core`) and the session log (`sessions`). The thread and the files are the same
//! for both: they write segments and small rows, and never ask what is in them.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::time::Instant;

use super::ledger::{Ledger, Summary};
use super::position::Position;
use super::reading::{Ask, Found};
use super::record::Stored;
use super::sessions::{SessionRow, Survivors};
use super::{Mark, Progress, SessionNumber};
use crate::clock::WallTime;

/// The core of a log, as the thread sees it.
pub(super) trait Keeper: Debug + Send + 'static {
    /// What its reader gets.
    type Entry: Debug + Send + 'static;
    /// What it is called in messages.
    const NAME: &'static str;

    fn progress(&self) -> Progress;

    fn has_room(&self) -> bool;

    /// When the next commit is due.
    fn due(&self) -> Option<Instant>;

    /// The next commit, if one is due, or with `all` if there is anything to commit. Must be followed by
    /// [`Self::committed`], or else by [`Self::reopened`].
    fn commit(&mut self, now: Instant, all: bool) -> Option<Commit>;

    /// The same of the small rows alone, where no message may be written.
    fn commit_rows(&mut self, now: Instant) -> Option<Commit>;

    /// The commit succeeded; `landed` sums up what it wrote.
    fn committed(&mut self, now: Instant, landed: &Summary);

    /// The files were opened again after an error. A commit whose outcome was unknown is in them or is not.
    fn reopened(&mut self, now: Instant, loaded: Loaded);

    fn ledger(&self) -> &Ledger;

    /// All live rows, for the generation that becomes the active one. None of them may speak of a message that is not in
    /// a file.
    fn carried(&self) -> Rows;

    /// A new generation has become the active one.
    fn rolled(&mut self, number: u64, sealed_bytes: u64);

    /// A sealed generation that something must be done about.
    fn chore(&mut self, now: Instant, wall: WallTime) -> Option<Chore>;

    /// The medium takes nothing more, for lack of space; or it does again.
    fn medium_full(&mut self, _is_full: bool) {}

    /// A sealed generation whose file goes to make room for what waits, where nothing can be committed before: one that
    /// nobody wants anything of, though the files may not say so yet; else the oldest, with what is in it, if it may.
    fn relief(&self) -> Option<Relief>;

    /// The file of a generation that nothing wants is gone.
    fn unlinked(&mut self, number: u64);

    /// The file of a generation was dropped, with whatever was in it. Gives the number of messages lost by it.
    fn dropped_file(&mut self, now: Instant, number: u64) -> u64;

    /// The file of a sealed generation was made anew from what could be found in it.
    fn salvaged(&mut self, now: Instant, found: &Summary);

    /// The file of a sealed generation was made anew without what nobody wants any more.
    fn rewritten(&mut self, now: Instant, left: &Summary, file_bytes: u64);

    /// The generation that a read goes to next, and up to which position; `None`: there is nothing more.
    fn holding(&self, ask: &Ask) -> Option<(u64, u64)>;

    /// Sifts what was found from `ask.from` to `found.reached`.
    fn found(&mut self, now: Instant, wall: WallTime, ask: &Ask, found: Found) -> Vec<Self::Entry>;
}

/// One commit, to be written in one transaction.
#[derive(Clone, Debug)]
pub(super) struct Commit {
    /// The start of the program.
    pub(super) epoch: u32,
    /// Messages with their positions, in order; may be none.
    pub(super) records: Vec<(u64, Stored)>,
    pub(super) rows: Rows,
}

/// Small rows that are put or deleted.
#[derive(Clone, Debug, Default)]
pub(super) struct Rows {
    pub(super) position: Position,
    /// `None`: deleted.
    pub(super) sessions: Vec<(SessionNumber, Option<SessionRow>)>,
    /// True to put, false to delete.
    pub(super) marks: Vec<(Mark, bool)>,
    /// Of sealed generations.
    pub(super) summaries: Vec<Summary>,
    /// Nothing else is to be there, summaries excepted.
    pub(super) whole: bool,
}

/// What the files say when they are opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Loaded {
    /// The present start of the program.
    pub(super) epoch: u32,
    pub(super) position: Position,
    pub(super) sessions: BTreeMap<SessionNumber, SessionRow>,
    pub(super) marks: Vec<Mark>,
    /// What each file holds, and its size; lowest number first, the last is the active one.
    pub(super) files: Vec<(Summary, u64)>,
    /// Generations whose files are not there any more.
    pub(super) gone: Vec<Summary>,
    /// The rows were salvaged: what they say of the messages is not to be relied on.
    pub(super) is_salvaged: bool,
}

impl Loaded {
    /// The highest position that a file has or had. What was dropped with its file may still be told of in the rows, so
    /// its positions are not given out again.
    pub(super) fn last_position(&self) -> u64 {
        let there = self.files.iter().map(|(summary, _)| summary);
        let held = there.chain(&self.gone).filter(|summary| summary.count > 0);
        held.map(|summary| summary.last).max().unwrap_or(0)
    }
}

/// A sealed generation that can go to make room.
#[derive(Clone, Copy, Debug)]
pub(super) enum Relief {
    /// Nobody wants anything of it.
    Consumed(u64),
    /// It goes with what is in it.
    Oldest(u64),
}

/// What must be done about a sealed generation.
#[derive(Clone, Debug)]
pub(super) enum Chore {
    /// Nothing in it is wanted.
    Unlink(u64),
    /// A limit is reached: unlink it with what is in it.
    Drop(u64),
    /// Little in it is wanted: make it anew with that.
    Rewrite(u64, Survivors),
}
