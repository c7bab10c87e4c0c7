//! Random histories of the session log beside a model that remembers everything: what each session gets, and what a crash
//! leaves, is what the model says, exactly.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What one session wants: position to (packet id, PUBREC has come).
type Queue = BTreeMap<u64, (PacketId, bool)>;

#[derive(Clone, Debug, Default)]
struct Model {
    queues: BTreeMap<u64, Queue>,
    marks: BTreeSet<Mark>,
}

impl Model {
    /// What of it a crash leaves when the messages up to `up_to` are in the files.
    fn cut(&self, up_to: u64) -> Self {
        let mut cut = self.clone();
        for queue in cut.queues.values_mut() {
            queue.retain(|seq, _| *seq <= up_to);
        }
        cut
    }
}

#[derive(Clone, Debug)]
enum Step {
    Append {
        who: u8,
        exactly_once: bool,
        hold: bool,
        mark: bool,
    },
    Done {
        who: u8,
        pick: prop::sample::Index,
    },
    Received {
        who: u8,
        pick: prop::sample::Index,
    },
    Sent {
        who: u8,
        pick: prop::sample::Index,
    },
    Skip {
        who: u8,
        count: u64,
    },
    Read {
        who: u8,
        after: prop::sample::Index,
        messages: usize,
    },
    Forget {
        who: u8,
    },
    Unmark {
        pick: prop::sample::Index,
    },
    Commit,
    /// Its outcome is unknown, and then found out.
    Fail {
        landed: bool,
    },
    House,
    Crash,
}

fn any_step() -> impl Strategy<Value = Step> {
    let pick = any::<prop::sample::Index>;
    prop_oneof![
        30 => (1_u8..8, any::<bool>(), any::<bool>(), any::<bool>())
            .prop_map(|(who, exactly_once, hold, mark)| Step::Append { who, exactly_once, hold, mark }),
        12 => (0_u8..3, pick()).prop_map(|(who, pick)| Step::Done { who, pick }),
        3 => (0_u8..3, pick()).prop_map(|(who, pick)| Step::Received { who, pick }),
        6 => (0_u8..3, pick()).prop_map(|(who, pick)| Step::Sent { who, pick }),
        3 => (0_u8..3, 1_u64..9).prop_map(|(who, count)| Step::Skip { who, count }),
        6 => (0_u8..3, pick(), 1_usize..9)
            .prop_map(|(who, after, messages)| Step::Read { who, after, messages }),
        1 => (0_u8..3).prop_map(|who| Step::Forget { who }),
        3 => pick().prop_map(|pick| Step::Unmark { pick }),
        12 => Just(Step::Commit),
        2 => any::<bool>().prop_map(|landed| Step::Fail { landed }),
        12 => Just(Step::House),
        1 => Just(Step::Crash),
    ]
}

/// The core beside the model.
struct Pair {
    bench: Bench,
    model: Model,
    /// What a crash leaves.
    durable: Model,
    /// The numbers of the three sessions; one that is forgotten gets another.
    numbers: [u64; 3],
    /// The highest position that each was handed.
    handed: [u64; 3],
    ids: u16,
}

const HOLD_BYTES: usize = 2500;

impl Pair {
    fn new() -> Self {
        let numbers = [1, 2, 3];
        let queues = numbers.map(|number| (number, Queue::new()));
        let model = Model {
            queues: queues.into_iter().collect(),
            ..Model::default()
        };
        Self {
            bench: bench_with(HOLD_BYTES),
            durable: model.clone(),
            model,
            numbers,
            handed: [0; 3],
            ids: 0,
        }
    }

    fn queue(&mut self, who: u8) -> &mut Queue {
        let number = self.numbers[usize::from(who)];
        self.model.queues.get_mut(&number).unwrap()
    }

    /// Something that the broker may know of: it was handed out, or the session is not behind.
    fn known(&mut self, who: u8, pick: prop::sample::Index) -> Option<u64> {
        let number = self.numbers[usize::from(who)];
        let is_behind = self
            .bench
            .core
            .sessions
            .get(&SessionNumber(number))
            .is_some_and(|session| session.is_behind());
        let handed = self.handed[usize::from(who)];
        let queue = self.queue(who);
        let known: Vec<_> = queue
            .keys()
            .copied()
            .filter(|seq| !is_behind || *seq <= handed)
            .collect();
        (!known.is_empty()).then(|| *pick.get(&known))
    }

    fn play(&mut self, step: &Step) {
        match step {
            Step::Append {
                who,
                exactly_once,
                hold,
                mark,
            } => self.append(*who, *exactly_once, *hold, *mark),
            Step::Done { who, pick } => {
                if let Some(seq) = self.known(*who, *pick) {
                    self.queue(*who).remove(&seq);
                    self.bench.done(self.numbers[usize::from(*who)], seq);
                }
            }
            Step::Received { who, pick } => {
                if let Some(seq) = self.sent(*who, *pick) {
                    self.queue(*who).get_mut(&seq).unwrap().1 = true;
                    let session = number(self.numbers[usize::from(*who)]);
                    let _ = self.bench.core.received(self.bench.now, session, seq);
                }
            }
            Step::Sent { who, pick } => {
                self.sent(*who, *pick);
            }
            Step::Skip { who, count } => self.skip(*who, *count),
            Step::Read {
                who,
                after,
                messages,
            } => self.read(*who, *after, *messages),
            Step::Forget { who } => self.forget(*who),
            Step::Unmark { pick } => {
                let marks: Vec<_> = self.model.marks.iter().copied().collect();
                if !marks.is_empty() {
                    let mark = *pick.get(&marks);
                    self.model.marks.remove(&mark);
                    let _ = self.bench.core.unmark(self.bench.now, mark);
                }
            }
            Step::Commit => self.commit(),
            Step::Fail { landed } => {
                self.commit_unknown(*landed);
                let loaded = self.bench.disk.loaded();
                self.bench.core.reopened(self.bench.now, loaded);
            }
            Step::House => self.keep_house(),
            Step::Crash => self.crash(),
        }
    }

    fn sent(&mut self, who: u8, pick: prop::sample::Index) -> Option<u64> {
        let seq = self.known(who, pick)?;
        let handed = &mut self.handed[usize::from(who)];
        *handed = (*handed).max(seq);
        let session = number(self.numbers[usize::from(who)]);
        self.bench.core.sent(session, seq);
        Some(seq)
    }

    fn skip(&mut self, who: u8, count: u64) {
        let handed = self.handed[usize::from(who)];
        for _ in 0..count {
            let queue = self.queue(who);
            let oldest = queue.range(handed + 1..).next().map(|(seq, _)| *seq);
            oldest.map(|seq| queue.remove(&seq));
        }
        let session = number(self.numbers[usize::from(who)]);
        self.bench.core.skip_oldest(self.bench.now, session, count);
    }

    fn forget(&mut self, who: u8) {
        let old = self.numbers[usize::from(who)];
        let _ = self.bench.core.forget(self.bench.now, number(old));
        self.numbers[usize::from(who)] = old + 3;
        self.handed[usize::from(who)] = 0;
        for model in [&mut self.model, &mut self.durable] {
            model.queues.remove(&old);
            model.queues.insert(old + 3, Queue::new());
            model.marks.retain(|mark| mark.session != number(old));
        }
    }

    fn commit(&mut self) {
        if let Some(commit) = self.bench.core.commit(self.bench.now, true) {
            let durable = self.cut();
            self.bench.land(&commit);
            self.durable = durable;
        }
    }

    /// A commit that fails, but may be in the files.
    fn commit_unknown(&mut self, landed: bool) {
        if let Some(commit) = self.bench.core.commit(self.bench.now, true) {
            let durable = self.cut();
            if landed {
                self.bench.disk.write(&commit);
                self.durable = durable;
            }
        }
    }

    fn keep_house(&mut self) {
        let active = |bench: &Bench| bench.disk.files.keys().next_back().copied();
        let before = active(&self.bench);
        self.bench.keep_house();
        if active(&self.bench) > before {
            // All rows were carried over as they are now.
            self.durable = self.model.cut(self.bench.core.front.written());
            self.durable.marks = self.bench.disk.marks.clone();
            let numbers = self.numbers.map(SessionNumber);
            self.durable
                .marks
                .retain(|mark| numbers.contains(&mark.session));
        }
    }

    /// What a crash would leave after the commit under way.
    fn cut(&self) -> Model {
        self.model
            .cut(self.bench.core.front.flight().unwrap().up_to)
    }

    fn append(&mut self, who: u8, exactly_once: bool, hold: bool, mark: bool) {
        let qos = if exactly_once {
            ExactlyOnce
        } else {
            AtLeastOnce
        };
        let seq = self.bench.core.next_seq().0;
        self.ids += 1;
        let packet_id = PacketId::new(self.ids).unwrap();
        let mut wants = Vec::new();
        for (at, session) in self
            .numbers
            .iter()
            .enumerate()
            .filter(|(at, _)| who & (1 << at) != 0)
        {
            wants.push(Want {
                session: number(*session),
                packet_id,
                qos,
                retain: at == 1,
                subscription_ids: SubscriptionIds::default(),
            });
            self.model
                .queues
                .get_mut(session)
                .unwrap()
                .insert(seq, (packet_id, false));
        }
        let mark = (mark && exactly_once).then(|| Mark {
            session: number(self.numbers[0]),
            packet_id,
        });
        self.model.marks.extend(mark);
        let message = record_qos(qos, seq, 100).message;
        let now = self.bench.now;
        self.bench
            .core
            .append(now, message, wants, mark, hold && !exactly_once);
    }

    fn read(&mut self, who: u8, after: prop::sample::Index, messages: usize) {
        let session = self.numbers[usize::from(who)];
        let handed = self.handed[usize::from(who)];
        let after = after.index(usize::try_from(handed).unwrap() + 1) as u64;
        let (entries, is_all) = self.bench.read(session, after, messages);
        self.check(who, after, &entries, is_all);
        if let Some(last) = entries.last() {
            let handed = &mut self.handed[usize::from(who)];
            *handed = (*handed).max(last.seq.0);
        }
    }

    /// They are the next ones after `after`.
    fn check(&mut self, who: u8, after: u64, entries: &[SessionEntry], is_all: bool) {
        let queue = self.queue(who);
        let expected = queue.range(after + 1..).map(|(seq, (id, _))| (*seq, *id));
        let expected: Vec<_> = expected.collect();
        let found: Vec<_> = entries
            .iter()
            .map(|entry| (entry.seq.0, entry.want.packet_id))
            .collect();
        assert!(expected.starts_with(&found), "{found:?} of {expected:?}");
        assert!(
            !is_all || found.len() == expected.len(),
            "{found:?} is not all of {expected:?}"
        );
        for entry in entries {
            assert!(!entry.received || queue[&entry.seq.0].1);
            assert_eq!(
                entry.message,
                record_qos(entry.message.qos, entry.seq.0, 100).message
            );
        }
    }

    fn check_all(&mut self) {
        for who in 0..3 {
            let session = self.numbers[usize::from(who)];
            let count = self.queue(who).len() as u64;
            assert_eq!(
                self.bench.standing(session).messages,
                count,
                "session {session}"
            );
            let entries = self.bench.read_all(session, 4);
            self.check(who, 0, &entries, true);
        }
        assert_eq!(
            self.bench.core.marks(),
            self.model.marks.iter().copied().collect::<Vec<_>>()
        );
        assert_eq!(self.bench.core.lost, 0);
    }

    fn crash(&mut self) {
        let disk = self.bench.disk.clone();
        let next_id = self.bench.next_id;
        self.bench = start(disk, HOLD_BYTES, &self.numbers);
        self.bench.next_id = next_id;
        self.model = self.durable.clone();
        for (at, session) in self.numbers.iter().enumerate() {
            self.handed[at] = self.bench.standing(*session).sent.0;
            for (seq, (_, received)) in &self.model.queues[session] {
                let open = self
                    .bench
                    .core
                    .sessions
                    .get(&number(*session))
                    .and_then(|session| session.open.get(seq));
                assert_eq!(open.is_some_and(|held| held.received.is_some()), *received);
            }
        }
        // What follows must not disturb what is checked now.
        let mut again = start(self.bench.disk.clone(), HOLD_BYTES, &self.numbers);
        std::mem::swap(&mut self.bench, &mut again);
        self.check_all();
        std::mem::swap(&mut self.bench, &mut again);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn every_session_gets_what_the_model_says(steps in prop::collection::vec(any_step(), 0..250)) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.play(step);
        }
        pair.check_all();
        pair.bench.commit_all();
        pair.durable = pair.model.clone();
        pair.crash();
    }
}
