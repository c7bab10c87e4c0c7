//! Who may have a password checked next. [`PARALLEL_HASHES`] at a time; of those who wait, the addresses take turns, so a
//! flood of logins from one of them keeps the others waiting for one hash and no more.
//!
//! At most [`WAITING_MAX`] wait. One more costs the address that has most waiting its newest: that one is refused.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Passwords checked at a time. More would only make each slower, and a flood of logins must leave the box its CPU.
pub const PARALLEL_HASHES: usize = 2;

/// Logins that wait for their turn. At 100 ms a hash the last of them waits 12 s, about as long as clients do.
pub const WAITING_MAX: usize = 256;

/// Hands out turns. Cheap to clone; all clones share them.
#[derive(Clone, Debug)]
pub(super) struct Turns(Arc<Mutex<Waiting>>);

/// The right to check one password, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    turns: Option<Turns>,
}

#[derive(Debug)]
struct Waiting {
    free: usize,
    queues: HashMap<Source, VecDeque<oneshot::Sender<Turn>>>,
    /// Those of `queues`, none of them empty, in the order of their next turns.
    order: VecDeque<Source>,
    count: usize,
}

/// What counts as one address: an IPv6 host has a whole /64 to choose from. `None`: a unix socket.
type Source = Option<IpAddr>;

impl Turns {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Waiting {
            free: PARALLEL_HASHES,
            queues: HashMap::new(),
            order: VecDeque::new(),
            count: 0,
        })))
    }

    /// Waits for a turn; `None`: too many wait. Cancel safe.
    pub(super) async fn wait(&self, address: Option<IpAddr>) -> Option<Turn> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut waiting = self.lock();
            if waiting.free > 0 {
                waiting.free -= 1;
                return Some(self.turn());
            }
            waiting.add(source(address), sender);
        }
        receiver.await.ok()
    }

    fn pass_on(&self) {
        loop {
            let next = self.lock().next();
            let Some(next) = next else { return };
            match next.send(self.turn()) {
                Ok(()) => return,
                // Gone meanwhile; the turn is for the next one.
                Err(mut turn) => turn.turns = None,
            }
        }
    }

    fn turn(&self) -> Turn {
        Turn {
            turns: Some(self.clone()),
        }
    }

    /// Nothing panics while it is held, and each change is whole.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.turns.take() {
            turns.pass_on();
        }
    }
}

impl Waiting {
    fn add(&mut self, source: Source, sender: oneshot::Sender<Turn>) {
        let queue = self.queues.entry(source).or_default();
        if queue.is_empty() {
            self.order.push_back(source);
        }
        queue.push_back(sender);
        self.count += 1;
        if self.count > WAITING_MAX {
            self.drop_one(source);
        }
    }

    /// Of the address that has most; of several, of the one that came last.
    fn drop_one(&mut self, newcomer: Source) {
        let queues = self.queues.iter_mut();
        let longest = queues.max_by_key(|(source, queue)| (queue.len(), **source == newcomer));
        let Some((&source, queue)) = longest else {
            return;
        };
        queue.pop_back();
        self.count -= 1;
        if queue.is_empty() {
            self.queues.remove(&source);
            self.order.retain(|other| *other != source);
        }
    }

    /// Who is next; else the turn is free again.
    fn next(&mut self) -> Option<oneshot::Sender<Turn>> {
        let taken = self.order.pop_front().and_then(|source| {
            let queue = self.queues.get_mut(&source)?;
            let next = queue.pop_front();
            if queue.is_empty() {
                self.queues.remove(&source);
            } else {
                self.order.push_back(source);
            }
            next
        });
        if taken.is_some() {
            self.count -= 1;
        } else {
            self.free += 1;
        }
        taken
    }
}

fn source(address: Option<IpAddr>) -> Source {
    address.map(|address| match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::from((u128::from(address) >> 64 << 64).to_be_bytes()),
        other => other,
    })
}

#[cfg(test)]
mod tests {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    type Waiter = Pin<Box<dyn Future<Output = Option<Turn>>>>;

    fn address(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    fn waiter(turns: &Turns, from: &str) -> Waiter {
        let (turns, from) = (turns.clone(), address(from));
        let mut waiter: Waiter = Box::pin(async move { turns.wait(from).await });
        assert!(poll(&mut waiter).is_none(), "it must wait");
        waiter
    }

    fn poll(waiter: &mut Waiter) -> Option<Option<Turn>> {
        match waiter
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(turn) => Some(turn),
            Poll::Pending => None,
        }
    }

    async fn busy() -> (Turns, Vec<Turn>) {
        let turns = Turns::new();
        let mut taken = Vec::new();
        for _ in 0..PARALLEL_HASHES {
            taken.push(turns.wait(None).await.unwrap());
        }
        (turns, taken)
    }

    #[tokio::test]
    async fn addresses_take_turns() {
        let (turns, mut taken) = busy().await;
        let mut flood: Vec<Waiter> = (0..10).map(|_| waiter(&turns, "10.0.0.1")).collect();
        let mut late = waiter(&turns, "10.0.0.2");
        taken.pop();
        let first = poll(&mut flood[0]).unwrap().unwrap();
        assert!(poll(&mut late).is_none());
        drop(first);
        assert!(poll(&mut late).unwrap().is_some());
        assert!(
            poll(&mut flood[1]).unwrap().is_some(),
            "the turn of the late one was passed on"
        );
    }

    #[tokio::test]
    async fn a_flood_costs_only_itself_its_places() {
        let (turns, _taken) = busy().await;
        let mut quiet = waiter(&turns, "10.0.0.2");
        let mut flood: Vec<Waiter> = (1..WAITING_MAX)
            .map(|_| waiter(&turns, "10.0.0.1"))
            .collect();
        let mut neighbour = waiter(&turns, "10.0.0.3");
        assert!(
            poll(flood.last_mut().unwrap()).unwrap().is_none(),
            "refused"
        );
        assert!(poll(&mut flood[0]).is_none());
        assert!(poll(&mut quiet).is_none() && poll(&mut neighbour).is_none());
        let turns = turns.clone();
        assert!(
            turns.wait(address("10.0.0.1")).await.is_none(),
            "refused at once"
        );
    }

    #[tokio::test]
    async fn who_is_gone_is_passed_over_and_a_turn_is_never_lost() {
        let (turns, taken) = busy().await;
        drop(waiter(&turns, "10.0.0.1"));
        let mut stays = waiter(&turns, "10.0.0.1");
        let given = waiter(&turns, "10.0.0.2");
        drop(taken);
        drop(given); // its turn was on its way
        let turn = poll(&mut stays).unwrap().unwrap();
        let other = turns.wait(None).await.unwrap();
        drop((turn, other));
        assert_eq!(turns.lock().free, PARALLEL_HASHES);
        assert!(turns.lock().queues.is_empty() && turns.lock().order.is_empty());
    }

    #[test]
    fn an_ipv6_host_is_one_address() {
        assert_eq!(source(address("fd00::1")), source(address("fd00::2:3")));
        assert_ne!(source(address("fd00::1")), source(address("fd00:0:0:1::1")));
        assert_eq!(source(address("::ffff:10.0.0.1")), address("10.0.0.1"));
    }
}
