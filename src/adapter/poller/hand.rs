//! What the actor does for people at a command: one request each, of whatever unit. How devices stand and what is published
//! is not touched by what comes of it.

use super::super::by_hand::{Call, Data, Order, Unanswered, What, tell, unanswered, uncounted};
use super::super::modbus::{Ask, Attempt};
use super::super::reason::Reason;
use super::Poller;
use crate::clock;

impl Poller {
    /// Makes it, once at most, and answers.
    pub(super) async fn by_hand(&mut self, order: Order) {
        if let Some((call, answer)) = order.begin() {
            let made = self.make(&call).await;
            tell(answer, made);
        }
    }

    async fn make(&mut self, call: &Call) -> Result<Data, Unanswered> {
        self.pulse.beat(clock::now());
        let devices = self.options.devices.iter();
        let of_unit = devices.filter(|device| device.unit_id == call.unit);
        let delay = of_unit.map(|device| device.request_delay).max();
        let read = call.what.as_read();
        let attempt = Attempt {
            unit: call.unit,
            request: match &call.what {
                What::Read { .. } => Ask::Read(&read),
                What::Write(write) => Ask::Write(write, None),
            },
            timeout: call.timeout,
            delay: delay.unwrap_or_default(),
            retries: 0,
        };
        let reply = self.wire.ask_beside(attempt, &mut uncounted()).await;
        self.count_late();
        let reply = reply.map_err(|reason: Reason| unanswered(&self.wire, reason))?;
        Ok(reply.data)
    }
}
