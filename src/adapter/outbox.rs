//! The queue between polling and the broker: polling puts in and never waits, a task of its own takes out and publishes.
//!
//! Invariants: at most so many messages and bytes; when full the oldest are dropped and counted; order is kept. So a
//! broker that is slow, or a backlog that refuses, costs readings (the oldest first, counted), never a poll. A loss is
//! never silent: the log says when it begins, and at its end how many messages it took; however long it is, two lines.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use crate::broker::{Link, LinkClosed};
use crate::mqtt::Message;

/// Where messages go: the broker, or what a test puts in its place.
pub trait Sink: Send + 'static {
    /// Hands over one message; may wait as long as it has to.
    fn publish(&mut self, message: Message) -> impl Future<Output = Result<(), LinkClosed>> + Send;
}

impl Sink for Link {
    fn publish(&mut self, message: Message) -> impl Future<Output = Result<(), LinkClosed>> + Send {
        Self::publish(self, message)
    }
}

/// How much may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OutboxLimits {
    pub(super) messages: usize,
    /// Of topics and payloads.
    pub(super) bytes: usize,
}

/// Figures of an outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Messages that the broker took, since the start.
    pub published: u64,
    /// Messages dropped because the outbox was full, since the start.
    pub dropped: u64,
    /// Messages that wait.
    pub waiting: usize,
}

/// Both ends of the queue. Cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Outbox(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// For logs.
    connection: String,
    limits: OutboxLimits,
    queue: Mutex<Queue>,
    changed: Notify,
}

#[derive(Debug, Default)]
struct Queue {
    messages: VecDeque<Message>,
    bytes: usize,
    published: u64,
    dropped: u64,
    /// Dropped in the loss that has not ended yet.
    lost: u64,
    closed: bool,
}

impl Outbox {
    pub(super) fn new(connection: &str, limits: OutboxLimits) -> Self {
        Self(Arc::new(Shared {
            connection: connection.to_owned(),
            limits,
            queue: Mutex::default(),
            changed: Notify::new(),
        }))
    }

    /// Puts a message in, dropping the oldest where there is no room. Never waits.
    pub(super) fn push(&self, message: Message) {
        let begins = self.lock().put(message, self.0.limits);
        if begins {
            tracing::warn!(
                connection = %self.0.connection,
                "the broker takes messages slower than they are read: the oldest readings are dropped until it has \
                 caught up; look for a full backlog, a slow disk, or intervals too short for this machine"
            );
        }
        self.0.changed.notify_one();
    }

    /// Nothing more will come: [`Outbox::drain`] ends when all is published.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.0.changed.notify_one();
    }

    /// Publishes until the outbox is closed and empty, or the broker has ended. One drain per outbox.
    pub(super) async fn drain(&self, mut sink: impl Sink) -> Result<(), LinkClosed> {
        loop {
            let (message, lost, closed) = {
                let mut queue = self.lock();
                let message = queue.pop();
                (message, queue.loss_ended(self.0.limits), queue.closed)
            };
            if let Some(lost) = lost {
                tracing::warn!(connection = %self.0.connection, lost, "the broker has caught up; so many messages were dropped");
            }
            match message {
                Some(message) => {
                    sink.publish(message).await?;
                    self.lock().published += 1;
                }
                None if closed => return Ok(()),
                None => self.0.changed.notified().await,
            }
        }
    }

    pub(super) fn stats(&self) -> OutboxStats {
        let queue = self.lock();
        OutboxStats {
            published: queue.published,
            dropped: queue.dropped,
            waiting: queue.messages.len(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    /// True where the first message of a loss is dropped for it.
    fn put(&mut self, message: Message, limits: OutboxLimits) -> bool {
        let lost_before = self.lost;
        self.bytes += size(&message);
        self.messages.push_back(message);
        while self.messages.len() > limits.messages || self.bytes > limits.bytes {
            if self.pop().is_none() {
                break;
            }
            self.dropped += 1;
            self.lost += 1;
        }
        lost_before == 0 && self.lost > 0
    }

    /// What a loss has cost, once, when it has ended. It ends when half of the room is free again: a queue that stays
    /// near its limit would else begin and end a loss with every message.
    fn loss_ended(&mut self, limits: OutboxLimits) -> Option<u64> {
        let caught_up =
            self.messages.len() <= limits.messages / 2 && self.bytes <= limits.bytes / 2;
        (caught_up && self.lost > 0).then(|| std::mem::take(&mut self.lost))
    }

    fn pop(&mut self) -> Option<Message> {
        let message = self.messages.pop_front()?;
        self.bytes = self.bytes.saturating_sub(size(&message));
        Some(message)
    }
}

fn size(message: &Message) -> usize {
    let properties = message.properties.as_deref();
    let correlation = properties.and_then(|properties| properties.correlation_data.as_ref());
    message.topic.as_str().len() + message.payload.len() + correlation.map_or(0, bytes::Bytes::len)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use tokio::sync::mpsc;

    use super::super::fixture;
    use super::*;
    use crate::mqtt::QoS;

    struct Channel(mpsc::Sender<Message>);

    impl Sink for Channel {
        async fn publish(&mut self, message: Message) -> Result<(), LinkClosed> {
            self.0.send(message).await.map_err(|_| LinkClosed)
        }
    }

    fn message(payload: &'static str) -> Message {
        Message {
            topic: fixture::topic("t"),
            payload: Bytes::from_static(payload.as_bytes()),
            qos: QoS::AtMostOnce,
            retain: false,
            properties: None,
        }
    }

    fn outbox(messages: usize, bytes: usize) -> Outbox {
        Outbox::new("line", OutboxLimits { messages, bytes })
    }

    async fn drained(outbox: &Outbox) -> Vec<Bytes> {
        let (sender, mut receiver) = mpsc::channel(100);
        outbox.close();
        outbox.drain(Channel(sender)).await.unwrap();
        let mut payloads = Vec::new();
        while let Some(message) = receiver.recv().await {
            payloads.push(message.payload);
        }
        payloads
    }

    #[tokio::test]
    async fn the_oldest_go_when_there_are_too_many() {
        let outbox = outbox(2, 1000);
        for payload in ["a", "b", "c"] {
            outbox.push(message(payload));
        }
        assert_eq!((outbox.stats().dropped, outbox.stats().waiting), (1, 2));
        assert_eq!(drained(&outbox).await, ["b", "c"]);
        assert_eq!(outbox.stats().published, 2);
    }

    #[tokio::test]
    async fn the_oldest_go_when_they_are_too_large() {
        let outbox = outbox(100, 10);
        for payload in ["aaaa", "bbbb", "cccc"] {
            outbox.push(message(payload));
        }
        assert_eq!(outbox.stats().dropped, 1);
        outbox.push(message("too large for any room"));
        assert_eq!((outbox.stats().dropped, outbox.stats().waiting), (4, 0));
        outbox.push(message("d"));
        assert_eq!(drained(&outbox).await, ["d"]);
    }

    #[test]
    fn a_loss_is_told_when_it_begins_and_when_it_has_ended() {
        let limits = OutboxLimits {
            messages: 4,
            bytes: 1000,
        };
        let mut queue = Queue::default();
        let begins: Vec<_> = (0..7).map(|_| queue.put(message("a"), limits)).collect();
        assert_eq!(begins, [false, false, false, false, true, false, false]);
        queue.pop();
        assert_eq!(queue.loss_ended(limits), None, "one free place is no end");
        let again = [(); 2].map(|()| queue.put(message("b"), limits));
        assert_eq!(again, [false, false], "still the same loss");
        queue.pop();
        queue.pop();
        assert_eq!(queue.loss_ended(limits), Some(4));
        assert_eq!(queue.loss_ended(limits), None);
        let next = [(); 3].map(|()| queue.put(message("c"), limits));
        assert_eq!(next, [false, false, true]);
        assert_eq!(queue.dropped, 5);
    }

    #[tokio::test]
    async fn a_drain_waits_for_messages_and_ends_with_the_broker() {
        let outbox = outbox(10, 1000);
        let (sender, mut receiver) = mpsc::channel(1);
        let drain = tokio::spawn({
            let outbox = outbox.clone();
            async move { outbox.drain(Channel(sender)).await }
        });
        outbox.push(message("a"));
        assert_eq!(receiver.recv().await.unwrap().payload, "a");
        drop(receiver);
        outbox.push(message("b"));
        assert_eq!(drain.await.unwrap(), Err(LinkClosed));
    }
}
