//! Modbus by hand where this gateway has the wire: one request of a person, made by the actor of the wire between its polls.
//!
//! Invariants: a request goes only where who asks knows that it goes; a write is in the log with the user who asks for it, before
//! it is made, and then with what came of it; nothing is begun for who has gone.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::seen::SeenConnection;
use super::one;
use crate::adapter::UnitId;
use crate::adapter::by_hand::{Actor, Call, Data, Unanswered};
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
    tell(&call, wire, user);
    let made = match actor(connections, wire) {
        Ok(actor) => actor.make_until(call.clone(), answer.closed()).await,
        Err(why) => Some(Err(Unanswered::Refused(why))),
    };
    if call.what.is_write() {
        tell_outcome(&call, wire, user, made.as_ref());
    }
    match made {
        Some(made) => one(json!(made), answer).await,
        None => Ok(Line::End), // to nobody
    }
}

fn tell(call: &Call, Wire { connection, .. }: &Wire, user: u32) {
    let (unit, what) = (call.unit.0, &call.what);
    if what.is_write() {
        tracing::info!(%connection, unit, %what, user, "a write to a device is asked for on the control socket");
    } else {
        tracing::debug!(%connection, unit, %what, user, "asking a device, as asked on the control socket");
    }
}

/// What came of a write.
fn tell_outcome(
    call: &Call,
    Wire { connection, .. }: &Wire,
    user: u32,
    made: Option<&Result<Data, Unanswered>>,
) {
    let (unit, what) = (call.unit.0, &call.what);
    let outcome = outcome(made);
    tracing::info!(%connection, unit, %what, user, %outcome, "a write to a device, as asked on the control socket");
}

fn outcome(made: Option<&Result<Data, Unanswered>>) -> String {
    match made {
        None => "left before it was made".to_owned(),
        Some(Ok(_)) => "made".to_owned(),
        Some(Err(fault)) if fault.leaves_in_doubt() => format!("in doubt: {fault}"),
        Some(Err(fault @ Unanswered::Reason(_))) => format!("refused: {fault}"),
        Some(Err(fault)) => format!("not made: {fault}"),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::Reason;

    #[test]
    fn the_log_says_what_came_of_a_write() {
        let refused = Err(Unanswered::Reason(Reason::Exception(2)));
        for (made, expected) in [
            (None, "left before it was made"),
            (Some(Ok(Data::Written)), "made"),
            (Some(refused), "refused: exception_02"),
            (
                Some(Err(Unanswered::Reason(Reason::Timeout))),
                "in doubt: timeout",
            ),
            (
                Some(Err(Unanswered::Busy)),
                "not made: the gateway has no time for it",
            ),
        ] {
            assert_eq!(outcome(made.as_ref()), expected);
        }
    }
}
