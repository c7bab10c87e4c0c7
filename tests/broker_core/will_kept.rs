//! Wills of sessions that are kept: a crash never loses one, whatever of it was committed, and in whatever order.

use fieldgate::broker::WhenQueueFull;
use fieldgate::broker::core::{ConnId, Effect};
use fieldgate::mqtt::{Connect, Disconnect, Packet, ReasonCode};

use crate::fake_store::FakeStore;
use crate::story::{QOS1, Story, v5, with_will};

/// How a client with a will leaves.
#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// Its will is due at once.
    AtOnce,
    /// Its will is due before its session ends.
    Delayed,
    /// Its session ends before its will would be due.
    Expired,
    /// Its DISCONNECT ends the session and asks for the will.
    ForGood,
}

const ALL: [Leaves; 4] = [
    Leaves::AtOnce,
    Leaves::Delayed,
    Leaves::Expired,
    Leaves::ForGood,
];

/// What is committed between the will and the crash; `l` the session log, `s` the state.
const COMMITS: [&str; 9] = ["", "l", "s", "sl", "ls", "ss", "ll", "sls", "lsls"];

struct World {
    story: Story,
    store: FakeStore,
    /// Session Present of each CONNACK.
    present: Vec<bool>,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            story: Story::new(),
            store: FakeStore::default(),
            present: Vec::new(),
        };
        world.open();
        world
    }

    fn open(&mut self) {
        let (core, now) = (&mut self.story.core, self.story.now);
        self.store.open(core, now, Vec::new());
        core.timeout(now, self.story.wall);
        self.absorb();
    }

    fn crash(&mut self) {
        self.story.restart(WhenQueueFull::DropOldest);
        self.open();
    }

    fn absorb(&mut self) {
        for effect in self.story.effects() {
            let rest = self.store.take(self.story.now, effect);
            if let Some(Effect::Send { packet, .. }) = rest
                && let Packet::Connack(connack) = packet
            {
                self.present.push(connack.session_present);
            }
        }
    }

    fn commit(&mut self, which: &str) {
        for part in which.chars() {
            let (core, now) = (&mut self.story.core, self.story.now);
            match part {
                'l' => self.store.commit_log(core, now),
                _ => self.store.commit_state(core, now),
            }
            self.absorb();
        }
    }

    fn settle(&mut self) {
        self.absorb();
        self.commit("lslsls");
    }

    /// Somebody who is away now and wants all wills; and the client, with everything committed.
    fn with_client(connect: Connect) -> (Self, ConnId) {
        let mut world = Self::new();
        let watcher = world.story.connect_with(Connect {
            session_expiry: u32::MAX,
            ..v5("watcher")
        });
        world.settle();
        world.story.subscribe(watcher, "will/#", QOS1);
        world.settle();
        world.story.cut(watcher);
        let conn = world.story.connect_with(connect);
        world.settle();
        (world, conn)
    }

    fn leave(&mut self, conn: ConnId, how: Leaves) {
        match how {
            Leaves::AtOnce => self.story.cut(conn),
            Leaves::Delayed => {
                self.story.cut(conn);
                self.settle();
                self.story.secs(30);
            }
            Leaves::Expired => {
                self.story.cut(conn);
                self.settle();
                self.story.secs(10);
            }
            Leaves::ForGood => {
                let disconnect = Disconnect {
                    session_expiry: Some(0),
                    ..Disconnect::new(ReasonCode::DisconnectWithWill)
                };
                self.story.packet(conn, Packet::Disconnect(disconnect));
            }
        }
        self.absorb();
    }

    fn wills(&self) -> usize {
        self.store.committed_kept().count()
    }
}

fn client(how: Leaves) -> Connect {
    match how {
        Leaves::AtOnce | Leaves::ForGood => with_will(v5("c"), "will/c", 0),
        Leaves::Delayed => with_will(v5("c"), "will/c", 30),
        Leaves::Expired => Connect {
            session_expiry: 10,
            ..with_will(v5("c"), "will/c", 30)
        },
    }
}

#[test]
fn a_crash_loses_no_will_and_publishes_it_twice_at_most() {
    for how in ALL {
        for commits in COMMITS {
            let (mut world, conn) = World::with_client(client(how));
            world.leave(conn, how);
            world.commit(commits);
            world.crash();
            world.settle();
            world.story.secs(40);
            world.settle();
            let wills = world.wills();
            assert!((1..=2).contains(&wills), "{how:?} {commits:?}: {wills}");
            if commits.contains("ls") {
                assert_eq!(wills, 1, "{how:?} {commits:?}: all was committed");
            }
            world.crash();
            world.story.secs(100_000);
            world.settle();
            assert_eq!(world.wills(), wills, "{how:?} {commits:?}: it is done with");
            assert_eq!(world.story.core.stats().sessions, 1, "the watcher's");
        }
    }
}

#[test]
fn a_crash_loses_no_will_that_is_retained() {
    for how in ALL {
        for commits in COMMITS {
            let mut connect = client(how);
            connect.will.as_mut().unwrap().message.retain = true;
            let mut world = World::new();
            let conn = world.story.connect_with(connect);
            world.settle();
            world.leave(conn, how);
            world.commit(commits);
            world.crash();
            world.story.secs(40);
            world.settle();
            let retained = world.store.committed_retained("will/c");
            assert!(retained.is_some(), "{how:?} {commits:?}");
        }
    }
}

#[test]
fn a_client_that_is_back_before_its_will_is_committed_does_not_leave_it_again() {
    for how in ALL {
        let (mut world, conn) = World::with_client(client(how));
        world.leave(conn, how);
        let goes_on = matches!(how, Leaves::AtOnce | Leaves::Delayed);
        world.story.connect_with(v5("c"));
        world.settle();
        assert_eq!(world.wills(), 1, "{how:?}");
        assert_eq!(world.present.last(), Some(&goes_on), "{how:?}");
    }
}

#[test]
fn an_orderly_end_does_not_leave_a_will_for_the_next_start() {
    let (mut world, _) = World::with_client(client(Leaves::AtOnce));
    world.story.core.shutdown(world.story.now);
    world.absorb();
    // The logs are closed first.
    world.commit("ls");
    world.crash();
    world.story.secs(40);
    world.settle();
    assert_eq!(world.wills(), 1);
}
