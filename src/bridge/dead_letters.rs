//! The dead-letter of a bridge: a log of its own that keeps the messages which the upstream refuses for good, for people to look
//! at. Nothing is ever sent from it.
//!
//! It is a log like the backlog: group commit, bounded, the oldest goes first and is counted, salvaged after damage. It is made
//! at the first message that is refused and opened at each start from then on; a bridge whose upstream takes everything
//! has no thread and no file for it. While it cannot be opened its messages stay in the backlog, too, so nothing is lost by that;
//! how many wait here is bounded by the core.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::sleep_until;

use super::core::Lane;
use crate::clock;
use crate::store::{Log, LogOptions, Progress, Record, Seq, StoreError};

/// Wait after the files could not be opened.
const OPEN_AGAIN: Duration = Duration::from_secs(30);

/// The dead-letter of a bridge as others see it; `None`: it does not exist, or is not open yet.
pub type DeadLetterLog = watch::Receiver<Option<Log>>;

/// See the head of this file.
#[derive(Debug)]
pub(super) struct DeadLetters {
    options: LogOptions,
    /// Told by whoever opens it.
    teller: Arc<watch::Sender<Option<Log>>>,
    log: DeadLetterLog,
    progress: Option<watch::Receiver<Progress>>,
    opening: Option<JoinHandle<Result<(), StoreError>>>,
    open_after: Option<Instant>,
    /// With their positions in the backlog.
    waiting: VecDeque<(Lane, Seq, Record)>,
    /// Positions in the backlog and here, in the order of these.
    appended: VecDeque<(Lane, Seq, Seq)>,
}

impl DeadLetters {
    /// On the runtime that opens it, if it is there.
    pub(super) fn new(options: LogOptions) -> Self {
        let (teller, log) = watch::channel(None);
        let mut letters = Self {
            teller: Arc::new(teller),
            log,
            progress: None,
            opening: None,
            open_after: None,
            waiting: VecDeque::new(),
            appended: VecDeque::new(),
            options,
        };
        if letters.options.dir.is_dir() {
            letters.open();
        }
        letters
    }

    pub(super) fn log(&self) -> DeadLetterLog {
        self.log.clone()
    }

    /// Keeps a message; [`Self::kept`] says when it is on stable storage.
    pub(super) fn put(&mut self, lane: Lane, seq: Seq, record: Record) {
        let message = record.message.compact();
        let record = Record { message, ..record };
        self.waiting.push_back((lane, seq, record));
    }

    /// The next message that is kept, by its position in the backlog. Cancel safe.
    pub(super) async fn kept(&mut self) -> (Lane, Seq) {
        loop {
            let open = self.log.borrow().clone();
            match open {
                Some(log) => {
                    if let Some(kept) = self.next_kept(&log) {
                        return kept;
                    }
                    let room = async {
                        match self.waiting.is_empty() {
                            true => std::future::pending().await,
                            false => log.room().await,
                        }
                    };
                    let progress = self.progress.get_or_insert_with(|| log.progress());
                    tokio::select! {
                        () = room => {}
                        changed = progress.changed() => if changed.is_err() {
                            std::future::pending::<()>().await; // closed
                        },
                    }
                }
                None => self.opened().await,
            }
        }
    }

    fn next_kept(&mut self, log: &Log) -> Option<(Lane, Seq)> {
        while log.has_room()
            && let Some((lane, seq, record)) = self.waiting.pop_front()
        {
            let place = log.next_seq();
            log.append(clock::now(), place, record, None);
            self.appended.push_back((lane, seq, place));
        }
        let progress = self.progress.get_or_insert_with(|| log.progress());
        let covered = progress.borrow_and_update().covered;
        let (.., place) = self.appended.front()?;
        (*place <= covered)
            .then(|| self.appended.pop_front())?
            .map(|(lane, seq, _)| (lane, seq))
    }

    /// Returns when something has come of opening it, if there is reason to.
    async fn opened(&mut self) {
        if let Some(opening) = &mut self.opening {
            let opened = opening.await;
            self.opening = None;
            let error = match opened {
                Ok(Ok(())) => return,
                Ok(Err(error)) => error.to_string(),
                Err(panicked) => panicked.to_string(),
            };
            let dir = self.options.dir.display();
            tracing::error!(error, %dir, "the dead-letter cannot be opened; what belongs there stays in the backlog");
            self.open_after = Some(clock::now() + OPEN_AGAIN);
        } else if self.waiting.is_empty() {
            std::future::pending::<()>().await;
        }
        if let Some(at) = self.open_after {
            sleep_until(at.into()).await;
            self.open_after = None;
        }
        self.open();
    }

    fn open(&mut self) {
        let (options, teller) = (self.options.clone(), Arc::clone(&self.teller));
        self.opening = Some(spawn_blocking(move || {
            teller.send_replace(Some(Log::open(options)?));
            Ok(())
        }));
    }

    /// Commits what waits, and lets go of the files.
    pub(super) async fn close(&mut self) {
        if let Some(opening) = self.opening.take() {
            drop(opening.await); // what failed has nothing to close
        }
        let log = self.teller.send_replace(None);
        if let Some(log) = log
            && let Err(error) = spawn_blocking(move || log.close()).await
        {
            tracing::error!(%error, "closing the dead-letter failed");
        }
    }
}
