//! How a running part is told to stop, how the one who told it knows that it did, and how a part shows that it is alive
//! ([`Pulse`]).
//!
//! [`Shutdown`] belongs to whoever started the parts; each part holds a [`Stop`]. A part is finished when its `Stop`
//! is dropped, so a part keeps it until its last write is done.

mod pulse;

pub use pulse::Pulse;

use tokio::sync::watch;

/// The side that asks.
#[derive(Debug)]
pub struct Shutdown {
    sender: watch::Sender<bool>,
}

/// The side that is asked. Cheap to clone; all clones hear the same request.
#[derive(Clone, Debug)]
pub struct Stop {
    receiver: watch::Receiver<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self {
            sender: watch::channel(false).0,
        }
    }
}

impl Shutdown {
    /// A `Stop` for one more part.
    #[must_use]
    pub fn stop(&self) -> Stop {
        Stop {
            receiver: self.sender.subscribe(),
        }
    }

    /// Asks every part to stop. Asking twice is the same as once.
    pub fn request(&self) {
        self.sender.send_replace(true);
    }

    /// Waits until every `Stop` handed out has been dropped.
    pub async fn finished(&self) {
        self.sender.closed().await;
    }
}

impl Stop {
    /// Waits for the request; also ends when the asking side is gone. Cancel safe.
    pub async fn requested(&mut self) {
        if self.receiver.wait_for(|stop| *stop).await.is_err() {
            tracing::debug!("the owner of this part is gone; stopping");
        }
    }

    /// Whether the request was made.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        *self.receiver.borrow() || self.receiver.has_changed().is_err()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_part_that_drops_its_stop_has_finished() {
        let shutdown = Shutdown::default();
        let mut stop = shutdown.stop();
        assert!(!stop.is_requested());
        let part = tokio::spawn(async move { stop.requested().await });
        shutdown.request();
        shutdown.finished().await;
        part.await.unwrap();
    }

    #[tokio::test]
    async fn a_part_stops_when_its_owner_is_gone() {
        let shutdown = Shutdown::default();
        let mut stop = shutdown.stop();
        drop(shutdown);
        stop.requested().await;
        assert!(stop.is_requested());
    }
}
