//! Modbus by hand where this gateway has the wire: one request of a person, made by the actor of the wire between its polls.
//!
//! Invariants: a request goes only where who asks knows that it goes; a write is in the log with the user who did it, before it
//! is made; nothing is made for who has gone.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::seen::SeenConnection;
use super::one;
use crate::adapter::UnitId;
use crate::adapter::by_hand::{Actor, Call, Unanswered};
use crate::control::Line;

/// Which is meant.
pub(super) struct Wire {
    pub(super) connection: String,
    pub(super) to: String,
}

/// Has a request made: of this unit, within this time, this.
pub(super) async fn make(
    connections: &[SeenConnection],
    wire: &Wire,
    (unit, timeout, what): (u8, Duration, Value),
    user: u32,
    answer: &mpsc::Sender<Line>,
) -> Result<Line, String> {
    let what = serde_json::from_value(what).map_err(|fault| {
        format!(
            "this gateway does not know the request ({fault}); is the command of another version?"
        )
    })?;
    let call = Call {
        unit: UnitId(unit),
        timeout,
        what,
    };
    let made = match actor(connections, wire) {
        Ok(actor) => {
            tell(&call, wire, user);
            tokio::select! {
                made = actor.make(call) => made,
                () = answer.closed() => return Ok(Line::End), // to nobody
            }
        }
        Err(why) => Err(Unanswered::Refused(why)),
    };
    one(json!(made), answer).await
}

fn tell(call: &Call, Wire { connection, .. }: &Wire, user: u32) {
    let (unit, what) = (call.unit.0, &call.what);
    if what.is_write() {
        tracing::info!(%connection, unit, %what, user, "writing to a device, as asked on the control socket");
    } else {
        tracing::debug!(%connection, unit, %what, user, "asking a device, as asked on the control socket");
    }
}

fn actor<'a>(connections: &'a [SeenConnection], wire: &Wire) -> Result<&'a Actor, String> {
    let Wire { connection, to } = wire;
    let named = connections
        .iter()
        .find(|seen| seen.status.borrow().name == *connection);
    let seen = named.ok_or_else(|| format!("it has no connection `{connection}` any more"))?;
    if seen.to != *to {
        return Err(format!(
            "its connection `{connection}` is to {} now, not to {to}",
            seen.to
        ));
    }
    let actor = seen.by_hand.as_ref();
    actor.ok_or_else(|| format!("`{connection}` is a serial instrument, which speaks no Modbus"))
}
