//! How a request by hand gets to the actor that has the wire, and its answer back. The actor makes it, between its polls.
//!
//! Invariants: what waits is bounded in number and time; a request is made once at most; of one whose answer nobody waits for
//! any more nothing is begun.

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
    /// `None` once it has begun.
    answer: Option<Answer>,
}

impl Order {
    /// It is its turn: what is to be made, and where the answer goes. `None`: nobody waits for it any more, or it is too late.
    pub(in crate::adapter) fn begin(mut self) -> Option<(Call, Answer)> {
        let answer = self.answer.take().filter(|answer| !answer.is_closed())?;
        if clock::now() < self.until {
            return Some((self.call.clone(), answer));
        }
        tell(answer, Err(Unanswered::Busy));
        None
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
            answer: Some(answer),
        };
        self.orders.try_send(order).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => Unanswered::Busy,
            mpsc::error::TrySendError::Closed(_) => Unanswered::Ended,
        })?;
        let told = told.await;
        told.unwrap_or_else(|_| {
            Err(Unanswered::Lost(
                "what asks on the wire has failed".to_owned(),
            ))
        })
    }
}
