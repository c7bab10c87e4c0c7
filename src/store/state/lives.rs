//! `state.redb`, in random lives: sessions begin, change, subscribe and end; topics get values, urgent and not, and are
//! cleared; marks come and go; and a start that finds a large file with little in it makes it anew.

use std::time::{Duration, Instant};

use fastrand::Rng;
use tokio::sync::watch;

use super::super::power_cut::SimulatedFolder;
use super::super::power_cut::lives::Subject;
use super::super::shared::Phase;
use super::super::{Progress, SessionNumber, StateChange};
use super::power_cut::{Story as Puts, clocks, version};
use super::tests::{Rig, begun, mark, retained, subscribed, topic};

/// What was put.
#[derive(Clone, Default)]
pub(in crate::store) struct Story {
    puts: Puts,
    sessions: Vec<SessionNumber>,
    /// So that each value is another one.
    count: u32,
}

/// The state.
pub(in crate::store) struct StateLife {
    rig: Rig,
    begun: u64,
}

impl StateLife {
    fn begin_session(&mut self, story: &mut Story) {
        let number = SessionNumber(self.rig.restored.next_session.0 + self.begun);
        self.begun += 1;
        story.sessions.push(number);
        story.puts.numbers.push(number);
        let session = begun(number, version(number.0, 0));
        story.puts.put(&mut self.rig, session, true);
    }

    fn change_session(&mut self, story: &mut Story, random: &mut Rng) {
        let Some(number) = random.choice(story.sessions.clone()) else {
            return;
        };
        let filter = format!("filter/{}", random.u8(0..6));
        let mut urgent = true;
        let change = match random.u8(0..10) {
            0..3 => {
                urgent = random.bool();
                begun(number, version(number.0, story.count))
            }
            3..7 => subscribed(number, &filter, story.count),
            7..9 => StateChange::SubscriptionGone(number, filter.into()),
            _ => {
                urgent = random.bool();
                story.sessions.retain(|kept| *kept != number);
                StateChange::SessionGone(number)
            }
        };
        story.puts.put(&mut self.rig, change, urgent);
    }

    fn retain(&mut self, story: &mut Story, random: &mut Rng) {
        let name = format!("line/{}", random.u8(0..12));
        let size = match random.u8(0..60) {
            0 => random.usize(20_000..80_000),
            _ => random.usize(12..300),
        };
        let mut payload = story.count.to_string().into_bytes();
        payload.resize(size, b' ');
        let change = match random.u8(0..5) {
            0 => StateChange::RetainedGone(topic(&name)),
            _ => retained(&name, &payload),
        };
        story.puts.put(&mut self.rig, change, random.bool());
    }

    fn mark(&mut self, story: &mut Story, random: &mut Rng) {
        let mark = mark(SessionNumber(1), random.u16(1..9));
        let change = if random.bool() {
            StateChange::Marked(mark)
        } else {
            StateChange::MarkGone(mark)
        };
        story.puts.put(&mut self.rig, change, true);
    }
}

impl Subject for StateLife {
    const NAME: &'static str = "state.redb";
    type Story = Story;

    fn begin(_random: &mut Rng) -> Story {
        Story::default()
    }

    fn open(
        folder: &SimulatedFolder,
        now: Instant,
        _story: &Story,
        _drops: bool,
    ) -> Result<Self, String> {
        let rig = Rig::open(folder, now, clocks());
        Ok(Self {
            rig: rig.map_err(|error| error.to_string())?,
            begun: 0,
        })
    }

    fn progress(&self) -> watch::Receiver<Progress> {
        self.rig.shared.progress.subscribe()
    }

    fn happen(&mut self, story: &mut Story, random: &mut Rng) {
        story.count += 1;
        match random.u8(0..20) {
            0 => self.begin_session(story),
            1..6 => self.change_session(story, random),
            6..12 => self.retain(story, random),
            12..14 => self.mark(story, random),
            14 => self.rig.pass(Duration::from_secs(random.u64(1..7))),
            _ => self.rig.pass(Duration::from_millis(random.u64(0..200))),
        }
    }

    fn close(&mut self) {
        self.rig.shared.end(Phase::Closing);
        self.rig.pass(Duration::ZERO);
    }

    fn look(&mut self, story: &mut Story, progress: Progress) -> Result<(), String> {
        story.puts.covered = progress.covered;
        story.puts.committed = progress.committed;
        story.puts.check(&self.rig.restored)?;
        story.puts.settle(&self.rig.restored.clone());
        let sessions = self.rig.restored.sessions.iter();
        story.sessions = sessions.map(|(number, ..)| *number).collect();
        Ok(())
    }

    fn go_on(&mut self, story: &mut Story) -> Result<(), String> {
        self.begin_session(story);
        let value = retained("line/1", b"after the cut");
        story.puts.put(&mut self.rig, value, true);
        self.rig.pass(Duration::from_secs(1));
        if self.rig.covered() != self.rig.last {
            return Err("it does not commit any more".to_owned());
        }
        Ok(())
    }
}
