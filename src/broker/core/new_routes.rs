//! Routes that a bridge did not have before: what is retained already and would have gone up by them is appended to its log
//! once, in steps, as if it were published now.
//!
//! Each message goes by the route that would take it, so not where an older route does. It is of QoS 1 at least, because
//! the link is down at a start, when QoS 0 goes nowhere; a route with `qos: 0` therefore brings nothing up in this way. By a
//! route with `live_first` it goes into the live lane, whatever that does: it is retained, so what is newer must follow it.

use std::rc::Rc;
use std::time::Instant;

use bytestring::ByteString;

use super::held::Held;
use super::retained::Cursor;
use super::route::mapped;
use super::{Core, Effect, LogId, Origin};
use crate::mqtt::{Message, QoS, SubscriptionIds};
use crate::store::Record;

/// Messages appended in one step.
const STEP_APPENDED: usize = 128;
/// Messages looked at in one step.
const STEP_SEEN: usize = 1024;

/// How far a bridge's log has got with its new routes.
#[derive(Debug)]
pub struct NewRoutes {
    log: LogId,
    /// Of the routes that these are places in.
    edition: u32,
    /// Their places among the routes of the log; the last one is under way.
    routes: Vec<usize>,
    cursor: Cursor,
    /// What was retained after that many has gone up as it came.
    since: u64,
    /// As who the bridge publishes here: that does not go up again.
    inlet: ByteString,
    /// Messages appended in one step.
    step: usize,
}

impl NewRoutes {
    /// In steps of one message: between two of them the core is told whether the log is full.
    #[must_use]
    pub fn one_by_one(self) -> Self {
        Self { step: 1, ..self }
    }
}

impl Core {
    /// Begins with the routes of `log` at these places. `inlet`: the ClientId as which its bridge publishes here.
    #[must_use]
    pub fn new_routes(&self, log: LogId, routes: Vec<usize>, inlet: ByteString) -> NewRoutes {
        let known = self.logs.iter().find(|known| known.id == log);
        NewRoutes {
            log,
            edition: known.map_or(0, |known| known.edition),
            routes,
            cursor: Cursor::start(),
            since: self.retained.changes(),
            inlet,
            step: STEP_APPENDED,
        }
    }

    /// Whether the log still has the routes that `new` is about.
    #[must_use]
    pub fn has_routes(&self, new: &NewRoutes) -> bool {
        let mut logs = self.logs.iter();
        logs.any(|log| log.id == new.log && log.edition == new.edition)
    }

    /// Appends a step of what is retained and goes up by `new`, nothing while its log is full; false: that was the last one, or
    /// the log has other routes by now.
    pub fn append_retained(&mut self, now: Instant, new: &mut NewRoutes) -> bool {
        if !self.has_routes(new) {
            return false;
        }
        let stamped = self.wall(now);
        let place_of = |id: LogId| self.logs.iter().position(|log| log.id == id);
        let Some(index) = place_of(new.log) else {
            return false;
        };
        let live = self.logs.get(index).and_then(|log| log.live);
        let live = live.and_then(place_of);
        let (mut seen, mut appended) = (STEP_SEEN, new.step);
        while let Some(&place) = new.routes.last() {
            let route = self.logs.get(index).and_then(|log| log.routes.get(place));
            let Some(route) = route.cloned() else {
                new.routes.pop();
                continue;
            };
            let lane = live.filter(|_| route.live_first).unwrap_or(index);
            if self.logs.get(lane).is_none_or(|log| log.is_full) {
                return true;
            }
            while appended > 0
                && let Some(kept) = self
                    .retained
                    .next(&route.filter, &mut new.cursor, &mut seen)
            {
                let Some(log) = self.logs.get(index) else {
                    return false;
                };
                let is_known = kept.change >= new.since || kept.publisher == new.inlet;
                let topic = &kept.message.topic;
                if is_known || log.place_of(Origin::Client, topic) != Some(place) {
                    continue;
                }
                let Some(message) = as_published_now(&kept.message, kept.arrived, now) else {
                    continue;
                };
                let message = match mapped(&route, &message) {
                    Ok(message) => message,
                    Err(error) => {
                        self.note_unmapped(index, &message, &error);
                        continue;
                    }
                };
                if is_own(&kept.publisher, &kept.message) {
                    let log = new.log;
                    self.effects.push(Effect::Latest { log, message });
                    continue;
                }
                if message.qos == QoS::AtMostOnce {
                    continue;
                }
                let Some(log) = self.logs.get_mut(lane) else {
                    return false;
                };
                appended -= 1;
                self.effects.push(Effect::Append {
                    log: log.id,
                    seq: log.watermark.take(),
                    record: Record { message, stamped },
                    mark: None,
                });
            }
            if !new.cursor.is_done() {
                return true;
            }
            new.routes.pop();
            new.cursor = Cursor::start();
        }
        false
    }
}

/// The gateway's own `$` topics, which enter no backlog: a start finds none of them retained, but a reload does.
fn is_own(publisher: &str, message: &Message) -> bool {
    publisher.starts_with("$fieldgate/")
        && message.topic.levels().any(|level| level.starts_with('$'))
}

/// The message with what is left of its expiry; `None`: nothing is.
fn as_published_now(message: &Message, arrived: Instant, now: Instant) -> Option<Message> {
    let held = Held {
        message: Rc::new(message.clone()),
        qos: message.qos,
        retain: true,
        subscription_ids: SubscriptionIds::default(),
        share: None,
        arrived,
        place: None,
    };
    let message = held.message_at(now, false)?;
    drop(held);
    let mut message = Rc::unwrap_or_clone(message);
    message.qos = message.qos.max(QoS::AtLeastOnce);
    Some(message)
}
