//! The broker's thread: takes in connections and links, follows the logs, keeps the time, and ends in order.

use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::{spawn_local, unconstrained, yield_now};
use tokio::time::{sleep_until, timeout};

use super::connection;
use super::figures::Figures;
use super::handle::Arrival;
use super::link_task;
use super::request;
use super::shell::Shell;
use super::{BrokerOptions, Stores, keeping, new_routes};
use crate::auth::Authenticator;
use crate::shutdown::Stop;

/// For clients to take their last packets when the broker ends.
const FAREWELL_MAX: Duration = Duration::from_secs(3);

/// Clients beyond the limit that are answered "server busy" (0x89, return code 3), at a time; the rest is closed.
const REFUSED_MAX: usize = 32;

/// What the thread is started with.
pub(super) struct Start {
    pub(super) options: BrokerOptions,
    pub(super) stores: Stores,
    pub(super) authenticator: Authenticator,
    pub(super) figures: Arc<Figures>,
    pub(super) arrivals: mpsc::Receiver<Arrival>,
}

/// Counts the tasks of connections and links: each holds one of these until its last byte.
pub(super) struct Attendance(Rc<Room>);

#[derive(Default)]
struct Room {
    present: Cell<usize>,
    left: Notify,
}

impl Attendance {
    fn enter(room: &Rc<Room>) -> Self {
        room.present.set(room.present.get() + 1);
        Self(Rc::clone(room))
    }
}

impl Drop for Attendance {
    fn drop(&mut self) {
        self.0.present.set(self.0.present.get() - 1);
        self.0.left.notify_one();
    }
}

/// Runs the broker until `stop` is requested.
pub(super) async fn run(start: Start, stop: &mut Stop) {
    let Start {
        options,
        stores,
        authenticator,
        figures,
        mut arrivals,
    } = start;
    let shell = Rc::new(Shell::new(
        options,
        stores,
        authenticator,
        figures,
        stop.clone(),
    ));
    spawn_own_tasks(&shell);
    let (clients, links) = (Rc::new(Room::default()), Rc::new(Room::default()));
    let limit = shell.limits.connections;
    let mut is_full = false;
    loop {
        let arrival = tokio::select! {
            () = stop.requested() => break,
            Some(arrival) = arrivals.recv() => arrival,
        };
        let shell = Rc::clone(&shell);
        match arrival {
            Arrival::Connection(incoming) => {
                shell.traffic.connection();
                let attendance = Attendance::enter(&clients);
                let present = clients.present.get();
                if is_full != (present > limit) {
                    is_full = present > limit;
                    tracing::warn!(limit, refusing = is_full, "the limit `connections`");
                }
                // Who is far beyond the limit is closed without a word: reading its CONNECT to answer would cost a slot.
                if present <= limit.saturating_add(REFUSED_MAX) {
                    let served = connection::serve(shell, incoming, is_full, attendance);
                    spawn_local(unconstrained(served));
                }
            }
            Arrival::Request(request) => request::answer(&shell, request).await,
            Arrival::Link(joining, ends) => {
                let attendance = Attendance::enter(&links);
                spawn_local(async move {
                    link_task::serve(shell, joining, ends).await;
                    drop(attendance);
                });
            }
        }
    }
    arrivals.close();
    shell.guarded(|| shell.turn(shell.moment(), |core, at| core.shutdown(at.now)));
    shell.guarded(|| shell.finish(1));
    let empty = async {
        for room in [&clients, &links] {
            while room.present.get() > 0 {
                room.left.notified().await;
            }
        }
    };
    if timeout(FAREWELL_MAX, empty).await.is_err() {
        tracing::info!(
            clients = clients.present.get(),
            "not all clients took their farewell"
        );
    }
}

/// The tasks that serve no client; and what was restored may have something to be done.
fn spawn_own_tasks(shell: &Rc<Shell>) {
    spawn_local(unconstrained(end_rounds(Rc::clone(shell))));
    spawn_local(keep_time(Rc::clone(shell)));
    for log in shell.keeping.logs() {
        spawn_local(keeping::follow(Rc::clone(shell), log));
        new_routes::begin(shell, log);
    }
    spawn_local(keeping::fetch(Rc::clone(shell)));
    shell.guarded(|| {
        shell.turn(shell.moment(), |core, at| core.timeout(at.now, at.wall));
        shell.finish(1);
    });
}

/// Ends each round, behind the tasks that were ready in it.
async fn end_rounds(shell: Rc<Shell>) {
    poll_fn(|context| {
        shell.rounds_end_in(context);
        shell.guarded(|| shell.end_round());
        Poll::<()>::Pending
    })
    .await;
}

/// Wakes the core when something is due, and closes clients that read nothing.
async fn keep_time(shell: Rc<Shell>) {
    let mut stalls = None;
    loop {
        let next = [shell.next_timeout(), stalls].into_iter().flatten().min();
        shell.armed.set(next);
        match next {
            None => shell.sooner.notified().await,
            Some(next) => tokio::select! {
                () = shell.sooner.notified() => {}
                () = sleep_until(next.into()) => {}
            },
        }
        let at = shell.new_moment();
        shell.guarded(|| {
            if shell.next_timeout().is_some_and(|due| due <= at.now) {
                shell.turn(at, |core, at| core.timeout(at.now, at.wall));
            }
            if shell.stalls.get() {
                stalls = shell.close_stalled(at.now);
            }
            shell.finish(1);
        });
        // What is due may be taken in many steps; others go on in between.
        yield_now().await;
    }
}
