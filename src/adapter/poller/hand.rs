//! What the actor does for people at a command: one request each, of whatever unit. How devices stand and what is published
//! is not touched by what comes of it.

use std::time::Instant;

use super::super::by_hand::{
    Begun, Call, Data, Order, Unanswered, What, tell, unanswered, uncounted,
};
use super::super::modbus::{Ask, Attempt};
use super::super::reason::Reason;
use super::Poller;
use crate::clock;

impl Poller {
    /// Makes it, once at most, and answers. Whether it took a turn of the wire: one that nobody wants takes none.
    pub(super) async fn by_hand(&mut self, order: Order) -> bool {
        let is_wanted = order.is_wanted();
        if is_wanted {
            self.pulse.beat(clock::now());
            // Before it is begun: to open it may take so long that who asked has gone.
            let opened = self.wire.connect_beside().await;
            tracing::trace!(?opened, connection = %self.options.name, "for who asks by hand");
        }
        if let Some(Begun {
            call,
            until,
            answer,
        }) = order.begin()
        {
            let made = self.make(&call, until).await;
            tell(answer, made);
        }
        is_wanted
    }

    async fn make(&mut self, call: &Call, until: Instant) -> Result<Data, Unanswered> {
        self.pulse.beat(clock::now());
        let devices = self.options.devices.iter();
        let of_unit = devices.filter(|device| device.unit_id == call.unit);
        let delay = of_unit.map(|device| device.request_delay).max();
        let read = call.what.as_read();
        let attempt = Attempt {
            unit: call.unit,
            request: match &call.what {
                What::Read { .. } => Ask::Read(&read),
                What::Write(write) => Ask::Write(write, Some(until)),
            },
            timeout: call.timeout,
            delay: delay.unwrap_or_default(),
            retries: 0,
        };
        let reply = self.wire.ask_beside(attempt, &mut uncounted()).await;
        self.count_late();
        match reply {
            Ok(reply) => Ok(reply.data),
            Err(Reason::Expired) => Err(Unanswered::Busy),
            Err(reason) => Err(unanswered(&self.wire, reason)),
        }
    }
}
