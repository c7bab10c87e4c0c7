//! What the actor does for commands: one write each, and where it is wanted a look at what the device holds then.

use std::time::Duration;

use super::super::command::CommandError;
use super::super::data::Data;
use super::super::desk::WriteOrder;
use super::super::modbus::Ask;
use super::super::reason::Reason;
use super::Poller;
use crate::clock;

/// A device may take a moment until what was written can be read.
const VERIFY_TRIES: u32 = 3;
const VERIFY_PAUSE: Duration = Duration::from_millis(100);

impl Poller {
    /// Does what a command asks for, once at most, and answers.
    pub(super) async fn write(&mut self, order: WriteOrder) {
        let result = self.carry_out(&order).await;
        if order.answer.send(result).is_err() {
            tracing::debug!(connection = %self.options.name, "nobody waits for what became of a write");
        }
    }

    async fn carry_out(&mut self, order: &WriteOrder) -> Result<Option<Data>, CommandError> {
        let now = clock::now();
        if order.until <= now {
            return Err(CommandError::Expired);
        }
        let device = order.device;
        if self.schedule.is_suspended(device) || self.wire.down_until(now).is_some() {
            return Err(CommandError::Offline);
        }
        let failed = |reason| match reason {
            Reason::Expired => CommandError::Expired,
            Reason::Offline | Reason::ConnectFailed => CommandError::Offline,
            reason => CommandError::Failed(reason),
        };
        let written = self
            .request(device, Ask::Write(&order.request, Some(order.until)), false)
            .await;
        written.map_err(failed)?;
        if !order.verify {
            return Ok(None);
        }
        let read_back = order.request.read_back();
        for _ in 0..VERIFY_TRIES {
            let reply = self.request(device, Ask::Read(&read_back), true).await;
            // It was confirmed, so nobody is to take it for not done.
            let data = reply.map_err(|_| CommandError::Unverified)?.data;
            if order.request.is(&data) {
                return Ok(Some(data));
            }
            tokio::time::sleep(VERIFY_PAUSE).await;
        }
        Err(CommandError::VerifyFailed)
    }
}
