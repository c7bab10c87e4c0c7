//! How a request by hand gets to the actor that has the wire, and its answer back. The actor makes it, between its polls.
//!
//! Invariants: what waits is bounded in number and time; a request is made once at most; of one whose answer nobody waits for
//! any more nothing is begun; a write is not sent later than the time that a request may wait.

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use super::call::{Call, Unanswered};
use crate::adapter::data::Data;
use crate::clock;

/// As many as may ask the gateway at a time.
const WAITING_MAX: usize = 16;
/// How long it may wait for its turn.
const WAIT_MAX: Duration = Duration::from_secs(15);

type Answer = oneshot::Sender<Result<Data, Unanswered>>;

/// A request that waits for its turn. Dropped before that, it is told as one that was not made.
#[derive(Debug)]
pub(in crate::adapter) struct Order {
    call: Call,
    /// Then it is too late to begin.
    until: Instant,
    claim: Claim,
    /// `None` once it has begun.
    answer: Option<Answer>,
}

/// It has begun.
#[derive(Debug)]
pub(in crate::adapter) struct Begun {
    pub(in crate::adapter) call: Call,
    /// A write is not to be sent later.
    pub(in crate::adapter) until: Instant,
    pub(in crate::adapter) answer: Answer,
}

/// Of the actor, which begins a request, and who asks, who may go, one comes first.
#[derive(Clone, Debug, Default)]
struct Claim(Arc<AtomicBool>);

impl Claim {
    /// Whether the other had not.
    fn is_first(&self) -> bool {
        !self.0.swap(true, Ordering::SeqCst)
    }
}

impl Order {
    /// Whether somebody waits for it still, and it is not too late.
    pub(in crate::adapter) fn is_wanted(&self) -> bool {
        !self.claim.0.load(Ordering::SeqCst) && clock::now() < self.until
    }

    /// It is its turn. `None`: nobody waits for it any more, or it is too late, which is told.
    pub(in crate::adapter) fn begin(mut self) -> Option<Begun> {
        let answer = self.answer.take()?;
        if clock::now() >= self.until {
            tell(answer, Err(Unanswered::Busy));
            return None;
        }
        self.claim.is_first().then(|| Begun {
            call: self.call.clone(),
            until: self.until,
            answer,
        })
    }
}

impl Drop for Order {
    fn drop(&mut self) {
        if let Some(answer) = self.answer.take() {
            tell(answer, Err(Unanswered::Ended));
        }
    }
}

/// Who has gone meanwhile is told nothing.
pub(in crate::adapter) fn tell(answer: Answer, made: Result<Data, Unanswered>) {
    let told = answer.send(made).is_ok();
    tracing::trace!(told, "a request by hand");
}

/// Who asks, for as long as they wait.
struct Asker(Claim);

impl Drop for Asker {
    fn drop(&mut self) {
        let not_begun = self.0.is_first();
        tracing::trace!(not_begun, "nobody waits for a request by hand any more");
    }
}

/// Where requests come out.
pub(in crate::adapter) type Orders = mpsc::Receiver<Order>;

/// The way to the actor of a wire. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Actor {
    orders: mpsc::Sender<Order>,
    timeout_max: Duration,
}

impl Actor {
    /// With what the actor takes from. No reply is waited for longer than `timeout_max`, since polls wait meanwhile.
    pub(in crate::adapter) fn new(timeout_max: Duration) -> (Self, Orders) {
        let (orders, taken) = mpsc::channel(WAITING_MAX);
        let actor = Self {
            orders,
            timeout_max,
        };
        (actor, taken)
    }

    /// Has it made when it is its turn. Dropped before it is, it is not.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn make(&self, call: Call) -> Result<Data, Unanswered> {
        let made = self.make_until(call, pending()).await;
        made.unwrap_or(Err(Unanswered::Ended))
    }

    /// The same for who may go, which `gone` tells. `None`: they went before it was begun, and it is not made. What was begun
    /// then is waited for, since what comes of it is of interest still.
    pub async fn make_until(
        &self,
        call: Call,
        gone: impl Future<Output = ()>,
    ) -> Option<Result<Data, Unanswered>> {
        let claim = Claim::default();
        let mut told = match self.order(call, &claim) {
            Ok(told) => told,
            Err(fault) => return Some(Err(fault)),
        };
        let asker = Asker(claim);
        let told = tokio::select! {
            biased;
            () = gone => {
                if asker.0.is_first() {
                    return None;
                }
                told.await
            }
            told = &mut told => told,
        };
        Some(told.unwrap_or_else(|_| {
            Err(Unanswered::Lost(
                "what asks on the wire has failed".to_owned(),
            ))
        }))
    }

    /// Puts it into the queue.
    fn order(
        &self,
        call: Call,
        claim: &Claim,
    ) -> Result<oneshot::Receiver<Result<Data, Unanswered>>, Unanswered> {
        if call.timeout > self.timeout_max {
            return Err(Unanswered::Refused(format!(
                "its polls wait meanwhile, so it waits for no reply on this wire for more than {} ms: lower the timeout",
                self.timeout_max.as_millis()
            )));
        }
        if !call.what.fits() {
            return Err(Unanswered::Refused(
                "no request of Modbus can say that".to_owned(),
            ));
        }
        let (answer, told) = oneshot::channel();
        let order = Order {
            call,
            until: clock::now() + WAIT_MAX,
            claim: claim.clone(),
            answer: Some(answer),
        };
        self.orders.try_send(order).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unanswered::Busy,
            mpsc::error::TrySendError::Closed(_) => Unanswered::Ended,
        })?;
        Ok(told)
    }
}
