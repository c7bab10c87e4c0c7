//! What keeps the actor of a connection running, and ends it in good order.
//!
//! Invariant: an actor is waited for once. One that ends by itself because it was told to stop is gone when its supervisor
//! hears of the stop.

use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle};

use super::outbox::Outbox;
use super::start::AdapterStatus;
use crate::broker::LinkClosed;
use crate::shutdown::{Pulse, Stop};

/// How long the last readings may take to reach the broker when the adapter is stopped.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// How long a request that is under way may take to be answered when the adapter is stopped.
pub(super) const LEAVE_LIMIT: Duration = Duration::from_secs(5);
/// Pause before the actor is started again after a panic.
const RESTART_PAUSE: Duration = Duration::from_secs(1);

/// Keeps the actor running: a panic in it is caught, counted, and it starts anew on a connection of its own.
pub(super) struct Supervisor<F> {
    pub(super) name: String,
    pub(super) actor: F,
    pub(super) outbox: Outbox,
    pub(super) status: watch::Sender<AdapterStatus>,
    pub(super) pulse: Pulse,
}

impl<F, A> Supervisor<F>
where
    F: Fn(Outbox, watch::Sender<AdapterStatus>, Pulse, Stop) -> A,
    A: Future<Output = ()> + Send + 'static,
{
    /// Until `stop`, and then until all is out that was read.
    pub(super) async fn run(self, drain: JoinHandle<Result<(), LinkClosed>>, mut stop: Stop) {
        let (mut actor, told) = (None, stop.clone());
        tokio::select! {
            () = stop.requested() => {}
            () = self.poll_for_ever(&mut actor, &told) => {}
        }
        drop(told);
        if let Some(mut task) = actor {
            // What was asked is heard out: its answer must not be taken for that to what another asks next.
            match tokio::time::timeout(LEAVE_LIMIT, &mut task.0).await {
                Ok(ended) => self.tell_panic(&ended),
                Err(_) => {
                    task.0.abort();
                    // A port is free for whoever comes next only when its task is gone.
                    let ended = (&mut task.0).await;
                    tracing::trace!(?ended, connection = %self.name, "no longer polling");
                }
            }
        }
        self.pulse.end();
        self.outbox.close();
        let mut drain = Aborting(drain);
        match tokio::time::timeout(DRAIN_LIMIT, &mut drain.0).await {
            Ok(Ok(Ok(()))) => {}
            Ok(_) => tracing::debug!(connection = %self.name, "the broker ended first"),
            Err(_) => {
                let left = self.outbox.stats().waiting;
                tracing::warn!(connection = %self.name, left, "the broker did not take the last readings");
            }
        }
        self.status.send_modify(|status| {
            status.connected = false;
            status.outbox = self.outbox.stats();
        });
        // Whoever waits for this part may go on now.
        drop(stop);
    }

    /// Ends only where the actor did because of `stop`. `running` is the actor, while there is one.
    async fn poll_for_ever(&self, running: &mut Option<Aborting<()>>, stop: &Stop) {
        loop {
            let actor = (self.actor)(
                self.outbox.clone(),
                self.status.clone(),
                self.pulse.clone(),
                stop.clone(),
            );
            let task = running.insert(Aborting(tokio::spawn(actor)));
            let ended = (&mut task.0).await;
            // Who is told to stop may have done so before this is told: then nobody is left to be waited for.
            *running = None;
            if stop.is_requested() {
                self.tell_panic(&ended);
                return;
            }
            if let Err(error) = ended {
                tracing::error!(connection = %self.name, %error, "the adapter failed and is started again");
            }
            self.status.send_modify(|status| status.restarts += 1);
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    }

    /// Of an actor that was told to stop, and is not started again.
    fn tell_panic(&self, ended: &Result<(), JoinError>) {
        if let Err(error) = ended
            && error.is_panic()
        {
            tracing::error!(connection = %self.name, %error, "the adapter failed while it was stopped");
        }
    }
}

/// A task that ends with its owner.
struct Aborting<T>(JoinHandle<T>);

impl<T> Drop for Aborting<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
