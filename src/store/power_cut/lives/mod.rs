//! Random lives of the store, cut at thousands of places: the rig `tests/run power-cut`.
//!
//! A life is a chain of starts in one simulated folder. In each start a day of random things happens, at whose end the store
//! may be closed in order; a witness keeps what a power cut would have left at many operations of it, those of opening and
//! closing among them. What each cut left is opened, in several ways of what became of the un-synced part, and the oracle of
//! the [`Subject`] looks at it; then it must go on working, and keep that, too. From one of them the life goes on. So a cut
//! while a start opens what an earlier cut left is a second cut during recovery, and so on.
//!
//! A life is told by its seed alone: it decides which part of the store lives. `RIG_SEED=N` begins with that one, and
//! `POWER_CUTS=N` says how many cuts there are to be; without either a few of fixed lives are made.

mod log;
mod sessions;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use fastrand::Rng;
use tokio::sync::watch;

use self::log::LogLife;
use self::sessions::SessionsLife;
use super::super::state::lives::StateLife;
use super::super::{Directory, Progress};
use super::medium::{Honesty, SimulatedFolder, Unsynced};

/// Cuts without `POWER_CUTS`.
const CUTS: u64 = 300;
/// Starts of a life.
const STARTS: u32 = 4;
/// Things that happen in a day, at most.
const DAY: usize = 90;
/// A cut at every so manieth operation while the files are opened, and afterwards.
const EVERY_OPENING: u64 = 2;
const EVERY: u64 = 7;

/// In a long run it is told how far it is.
const TOLD_EVERY: u64 = 50_000;

/// A part of the store that lives, and its oracle. Everything in it is decided by the random numbers it is given.
pub(in crate::store) trait Subject: Sized {
    /// What it is called in the report.
    const NAME: &'static str;
    /// What was done to it and what it said, as far as a start needs to know it.
    type Story: Clone;

    /// A new life: its options, and no past.
    fn begin(random: &mut Rng) -> Self::Story;

    /// `drops`: it drops its oldest for its limit. Not where it is looked at, or it could change under the look.
    ///
    /// # Errors
    /// What is wrong with the files.
    fn open(
        folder: &SimulatedFolder,
        now: Instant,
        story: &Self::Story,
        drops: bool,
    ) -> Result<Self, String>;

    fn progress(&self) -> watch::Receiver<Progress>;

    /// One thing happens: either something is said to it, or time passes, or it reads, which the story does not tell; never
    /// one after another, because the power goes while time passes and the story must be that of this moment.
    fn happen(&mut self, story: &mut Self::Story, random: &mut Rng);

    /// Ends in order.
    fn close(&mut self);

    /// Looks at all that was found, where the power went when `progress` had been said. What is found is what the story
    /// tells from here on.
    ///
    /// # Errors
    /// What is lost, invented or out of order.
    fn look(&mut self, story: &mut Self::Story, progress: Progress) -> Result<(), String>;

    /// Takes something more, and covers it.
    ///
    /// # Errors
    /// Where it does not work any more.
    fn go_on(&mut self, story: &mut Self::Story) -> Result<(), String>;
}

/// The values that something had, each with the number of the commit that made it durable.
#[derive(Clone, Debug)]
pub(in crate::store) struct History<T>(Vec<(u64, T)>);

impl<T: PartialEq> History<T> {
    pub(in crate::store) fn new(value: T) -> Self {
        Self(vec![(0, value)])
    }

    pub(in crate::store) fn set(&mut self, commit: u64, value: T) {
        self.0.push((commit, value));
    }

    pub(in crate::store) fn newest(&self) -> (u64, &T) {
        let (commit, value) = &self.0[self.0.len() - 1];
        (*commit, value)
    }

    /// After a cut with so many commits: the value that was durable, or a later one.
    pub(in crate::store) fn may_be(&self, value: &T, commits: u64) -> bool {
        let durable = self.0.iter().rposition(|(commit, _)| *commit <= commits);
        let may_be = &self.0[durable.unwrap_or(0)..];
        may_be.iter().any(|(_, of_then)| of_then == value)
    }
}

/// When the power went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum During {
    Creation,
    /// Of what an earlier cut left.
    Recovery,
    Work,
    Closing,
}

/// What was counted.
#[derive(Debug, Default)]
struct Tally {
    lives: u64,
    starts: u64,
    cuts: u64,
    /// By part of the store, and when.
    during: BTreeMap<(&'static str, During), u64>,
    /// By what became of the un-synced part.
    fates: BTreeMap<&'static str, u64>,
    faults: u64,
    /// One of each part of the store.
    examples: BTreeMap<&'static str, String>,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.lives += other.lives;
        self.starts += other.starts;
        self.cuts += other.cuts;
        self.faults += other.faults;
        for (key, count) in other.during {
            *self.during.entry(key).or_default() += count;
        }
        for (key, count) in other.fates {
            *self.fates.entry(key).or_default() += count;
        }
        for (name, example) in other.examples {
            self.examples.entry(name).or_insert(example);
        }
    }

    fn of(&self, is_counted: impl Fn(&str, During) -> bool) -> u64 {
        let counted = self.during.iter();
        let counted = counted.filter(|((name, during), _)| is_counted(name, *during));
        counted.map(|(_, count)| count).sum()
    }

    fn report(&self) -> String {
        let mut report = String::new();
        for name in [LogLife::NAME, SessionsLife::NAME, StateLife::NAME] {
            let of = |wanted| self.of(|of, during| of == name && during == wanted);
            let (made, again) = (of(During::Creation), of(During::Recovery));
            let (work, close) = (of(During::Work), of(During::Closing));
            let all = made + again + work + close;
            writeln!(
                report,
                "    {name}: {all} cuts: {made} while it was made, {work} at work, {close} while it was closed, \
                 {again} again during recovery"
            )
            .unwrap();
        }
        writeln!(report, "    what was not synced: {:?}", self.fates).unwrap();
        report + &self.told_faults()
    }

    fn told_faults(&self) -> String {
        let examples = self.examples.iter();
        examples
            .map(|(name, example)| format!("    {name}, {example}\n"))
            .collect()
    }
}

/// A cut: the folder, what had been said, and what had been done.
struct Cut<S> {
    folder: SimulatedFolder,
    progress: Progress,
    story: S,
    during: During,
}

/// One life; see the head of this file.
struct Life {
    seed: u64,
    random: Rng,
    start: Instant,
    tally: Tally,
}

impl Life {
    fn new(seed: u64, start: Instant) -> Self {
        Self {
            seed,
            random: Rng::with_seed(seed),
            start,
            tally: Tally {
                lives: 1,
                ..Tally::default()
            },
        }
    }

    /// A life whose part of the store the seed decides.
    fn of_seed(seed: u64, honesty: Honesty, start: Instant) -> Tally {
        match seed % 3 {
            0 => Self::new(seed, start).live_out::<LogLife>(honesty),
            1 => Self::new(seed, start).live_out::<SessionsLife>(honesty),
            _ => Self::new(seed, start).live_out::<StateLife>(honesty),
        }
    }

    fn live_out<S: Subject>(mut self, honesty: Honesty) -> Tally {
        let lived = panic::catch_unwind(AssertUnwindSafe(|| self.live::<S>(honesty)));
        if lived.is_err() {
            self.fault::<S>("a panic, see above");
        }
        self.tally
    }

    fn fault<S: Subject>(&mut self, what: &str) {
        self.tally.faults += 1;
        let example = format!("RIG_SEED={}: {what}", self.seed);
        self.tally.examples.entry(S::NAME).or_insert(example);
    }

    /// Ends with the first fault: what follows from it would not be the store's.
    fn live<S: Subject>(&mut self, honesty: Honesty) {
        let mut folder = SimulatedFolder::new(honesty);
        let mut story = S::begin(&mut self.random);
        for start in 0..STARTS {
            self.tally.starts += 1;
            let cuts = match self.day::<S>(&folder, &mut story, start > 0) {
                Ok(cuts) => cuts,
                Err(what) => return self.fault::<S>(&format!("opening: {what}")),
            };
            let goes_on = self.random.usize(0..cuts.len());
            for (at, cut) in cuts.into_iter().enumerate() {
                let fates = self.fates();
                for fate in fates {
                    let checked = self.check::<S>(&cut, fate);
                    self.count::<S>(&cut, fate);
                    match checked {
                        Ok(found) if at == goes_on => (folder, story) = found,
                        Ok(_) => {}
                        Err(what) => {
                            let during = cut.during;
                            self.fault::<S>(&format!(
                                "start {start}, cut {at}, {during:?}, {fate:?}: {what}"
                            ));
                            if honesty == Honesty::Honest {
                                return;
                            }
                        }
                    }
                }
            }
            if self.tally.faults > 0 {
                return;
            }
        }
    }

    /// What became of what was not synced: two of four ways for each cut.
    fn fates(&mut self) -> [Unsynced; 2] {
        let seed = self.random.u64(..);
        let second = match self.random.u8(0..6) {
            0 => Unsynced::Kept,
            1..=2 => Unsynced::Reordered(seed),
            _ => Unsynced::Torn(seed),
        };
        [Unsynced::Dropped, second]
    }

    fn count<S: Subject>(&mut self, cut: &Cut<S::Story>, fate: Unsynced) {
        self.tally.cuts += 1;
        *self.tally.during.entry((S::NAME, cut.during)).or_default() += 1;
        let fate = match fate {
            Unsynced::Dropped => "dropped",
            Unsynced::Kept => "kept",
            Unsynced::Reordered(_) => "in part and reordered",
            Unsynced::Torn(_) => "torn and reordered",
        };
        *self.tally.fates.entry(fate).or_default() += 1;
    }

    /// One start, from its opening to its end; gives the places where the power went, the end among them.
    fn day<S: Subject>(
        &mut self,
        folder: &SimulatedFolder,
        story: &mut S::Story,
        is_again: bool,
    ) -> Result<Vec<Cut<S::Story>>, String> {
        let mut cuts = Vec::new();
        let mut collect = |folder: &SimulatedFolder, story: &S::Story, during| {
            cuts.extend(folder.seen().into_iter().map(|sight| Cut {
                folder: sight.folder,
                progress: sight.progress,
                story: story.clone(),
                during,
            }));
        };
        folder.witness(self.random.u64(..), EVERY_OPENING, None);
        let mut subject = S::open(folder, self.start, story, true)?;
        let opening = if is_again {
            During::Recovery
        } else {
            During::Creation
        };
        collect(folder, story, opening);
        folder.witness(self.random.u64(..), EVERY, Some(subject.progress()));
        for _ in 0..self.random.usize(1..=DAY) {
            subject.happen(story, &mut self.random);
            collect(folder, story, During::Work);
        }
        let mut last = During::Work;
        if self.random.u8(0..3) == 0 {
            subject.close();
            last = During::Closing;
        }
        collect(folder, story, last);
        cuts.push(Cut {
            progress: *subject.progress().borrow(),
            folder: folder.clone(),
            story: story.clone(),
            during: last,
        });
        Ok(cuts)
    }

    /// Opens what the cut left, and goes on with it; gives what was left, and what is known of it now.
    fn check<S: Subject>(
        &mut self,
        cut: &Cut<S::Story>,
        fate: Unsynced,
    ) -> Result<(SimulatedFolder, S::Story), String> {
        let mut story = cut.story.clone();
        let folder = cut.folder.after_cut(fate);
        let mut subject = S::open(&folder, self.start, &story, false)?;
        subject.look(&mut story, cut.progress)?;
        has_put_nothing_aside(&folder)?;
        let found = (cut.folder.after_cut(fate), story.clone());
        subject.go_on(&mut story)?;
        let progress = *subject.progress().borrow();
        drop(subject);
        let folder = folder.after_cut(Unsynced::Dropped);
        S::open(&folder, self.start, &story, false)?.look(&mut story, progress)?;
        Ok(found)
    }
}

fn has_put_nothing_aside(folder: &SimulatedFolder) -> Result<(), String> {
    let files = folder.list().map_err(|error| error.to_string())?;
    let damaged = files.into_iter().find(|(name, _)| name.contains(".bad"));
    damaged.map_or(Ok(()), |(name, _)| {
        Err(format!("{name} was put aside as damaged"))
    })
}

/// Lives one after another from `seed` on, on all cores, until there were so many cuts and one of each part of the store.
fn lives(seed: u64, cuts: u64, honesty: Honesty) -> Tally {
    let start = crate::clock::now();
    let (next, made) = (AtomicU64::new(seed), AtomicU64::new(0));
    let tally = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let is_enough = || {
                    let lives = next.load(Ordering::Relaxed) - seed;
                    made.load(Ordering::Relaxed) >= cuts && lives >= 3
                };
                while !is_enough() {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let lived = Life::of_seed(seed, honesty, start);
                    let (cuts, faults) = (lived.cuts, lived.faults);
                    let before = made.fetch_add(cuts, Ordering::Relaxed);
                    tally.lock().unwrap().add(lived);
                    if faults > 0 || before / TOLD_EVERY != (before + cuts) / TOLD_EVERY {
                        println!("    {} cuts, seed {seed}: {faults} losses", before + cuts);
                    }
                }
            });
        }
    });
    tally.into_inner().unwrap()
}

fn number_in(variable: &str) -> Option<u64> {
    let text = std::env::var(variable)
        .ok()
        .filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap())
}

/// As the rig wants it, or a few that are always the same.
fn seed_and_cuts() -> (u64, u64) {
    let cuts = number_in("POWER_CUTS");
    let seed = if cuts.is_some() {
        fastrand::u64(..1 << 32)
    } else {
        0
    };
    (number_in("RIG_SEED").unwrap_or(seed), cuts.unwrap_or(CUTS))
}

/// Lives that have found something once.
#[test]
fn what_was_lost_once_is_lost_no_more() {
    for (seed, what) in [
        (
            2_257_683_712,
            "a file was rewritten while the row of a session counted messages to be skipped that are not kept in it",
        ),
        (
            69,
            "positions of a file that was dropped came again, and one had the mark of a PUBREC in a row from before",
        ),
        (
            2_197_601_790,
            "a file was dropped of which the last message was done, so the one that was not was in no hole",
        ),
    ] {
        let tally = lives(seed, 1, Honesty::Honest);
        assert_eq!(tally.faults, 0, "{what}: {}", tally.report());
    }
}

#[test]
fn power_cuts_lose_nothing_in_any_life() {
    let (seed, cuts) = seed_and_cuts();
    println!("\n    power cuts from seed {seed} on");
    let begun = crate::clock::now();
    let tally = lives(seed, cuts, Honesty::Honest);
    let seconds = begun.elapsed().as_secs_f64();
    print!("{}", tally.report());
    println!(
        "    {} cuts in {} starts of {} lives, {:.0} cuts/s: {} losses",
        tally.cuts,
        tally.starts,
        tally.lives,
        tally.cuts as f64 / seconds,
        tally.faults
    );
    assert_eq!(tally.faults, 0, "{}", tally.report());
    assert!(tally.of(|_, during| during == During::Recovery) > cuts / 20);
}

#[test]
fn a_store_without_its_syncs_is_caught() {
    let (seed, cuts) = seed_and_cuts();
    for (honesty, what) in [
        (Honesty::LiesAboutData, "of its files"),
        (Honesty::LiesAboutNames, "of its folder"),
    ] {
        println!("\n    without the sync {what} redb may panic; that is caught, too:");
        let tally = lives(seed, cuts.min(CUTS), honesty);
        println!(
            "    a store without the sync {what}: {} of {} cuts are caught, as they should be",
            tally.faults, tally.cuts
        );
        print!("{}", tally.told_faults());
        assert_eq!(tally.examples.len(), 3, "of each part of the store");
        assert!(tally.faults * 4 > tally.cuts, "{what}: {}", tally.faults);
    }
}
