//! PUBLISH: checked, then taken by everyone who shall have it, then answered.

use std::mem;
use std::rc::Rc;
use std::time::Instant;

use super::answers::{Reply, Tickets};
use super::effect::{Act, Effect};
use super::receivers::Receiver;
use super::route::{late, mapped};
use super::session::SessionKey;
use super::source::Source;
use super::{Core, Durability, Limits, LogId, Origin};
use crate::mqtt::{Message, ProtocolVersion, Publish, QoS, ReasonCode};
use crate::session::{Taken, Violation};
use crate::store::Record;
use crate::topic::TopicName;

/// What became of a message.
#[derive(Debug)]
pub(super) struct Distributed {
    pub(super) tickets: Tickets,
    /// Neither a subscription nor a route matched.
    nobody: bool,
}

impl Core {
    pub(super) fn publish(
        &mut self,
        now: Instant,
        key: SessionKey,
        mut publish: Publish,
    ) -> Result<(), ReasonCode> {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return Ok(());
        };
        let Some(connection) = session.connection_mut() else {
            return Ok(());
        };
        let (version, origin) = (connection.version, connection.origin);
        self.stats.received.add(publish.qos);
        let retain_available = self.limits.retained_messages > 0;
        let granted = self.limits.topic_alias_maximum;
        let aliases = &mut connection.aliases;
        let topic = aliases.resolve(publish.topic.take(), publish.topic_alias, granted)?;
        check(&publish, &topic, version, &self.limits)?;
        let mut source = Source::of(origin, session, &publish);
        let message = Message {
            topic,
            payload: publish.payload,
            qos: publish.qos,
            // A 3.1.1 client cannot be told that nothing is retained here: its message is delivered all the same.
            retain: publish.retain && retain_available,
            properties: publish.properties,
        };
        let Some(id) = publish.packet_id else {
            self.pass_on(now, key, &source, message);
            return Ok(());
        };
        if !version.is_v5()
            && !session.inbound.contains(id)
            && session.may_publish(&message.topic)
            && let Some(full) = self.obstacle(&source, &message)
        {
            self.park(now, key, full, source.packet(message, id));
            return Ok(());
        }
        let Some(session) = self.sessions.get_mut(key.0) else {
            return Ok(());
        };
        let reply = match message.qos {
            QoS::AtLeastOnce => Reply::Puback,
            _ => Reply::Pubrec,
        };
        if message.qos == QoS::ExactlyOnce
            && let Some(durable) = &session.durable
        {
            source.mark = Some(durable.mark(id));
            source.marked = durable.marks.get(&id).cloned().unwrap_or_default();
        }
        let taken = session.inbound.publish(id, message.qos);
        let (reason, tickets) = match taken.map_err(Violation::reason)? {
            Taken::Answered => return self.pubrec_again(key, id),
            Taken::Pending => return Ok(()),
            Taken::Unanswered => session
                .owed
                .remove(&id)
                .unwrap_or((ReasonCode::Success, Tickets::None)),
            Taken::New | Taken::Restored => {
                // An upstream that lost our session gives its ids anew: what it does not send again is not what was
                // marked [MQTT-3.3.1-1].
                if matches!(origin, Origin::Bridge(_)) && !source.sends_again {
                    source.marked.clear();
                }
                let (reason, tickets) = self.take(now, key, &source, message, version);
                self.note_marks(key, &source, &tickets);
                if origin.has_no_resender() || self.durability == Durability::Interval {
                    (reason, Tickets::None)
                } else {
                    (reason, tickets)
                }
            }
        };
        self.answer(now, key, reply(id, reason), tickets);
        Ok(())
    }

    /// A QoS 0 message: nobody can be told that it is refused.
    fn pass_on(&mut self, now: Instant, key: SessionKey, source: &Source, message: Message) {
        match self.refusal(key, &message) {
            None => {
                self.distribute(now, source, message);
            }
            Some(ReasonCode::NotAuthorized) => self.refused(now, key, Act::Publish(message.topic)),
            Some(_) => self.stats.dropped += 1,
        }
    }

    /// Which logs have a mark of this message now.
    fn note_marks(&mut self, key: SessionKey, source: &Source, tickets: &Tickets) {
        let mut logs = tickets.as_slice().iter().map(|(log, _)| *log).peekable();
        if let Some(mark) = source.mark
            && logs.peek().is_some()
            && let Some(session) = self.sessions.get_mut(key.0)
            && let Some(durable) = &mut session.durable
        {
            let marked = durable.marks.entry(mark.packet_id).or_default();
            marked.extend(logs);
        }
    }

    /// A new QoS 1 or 2 message: what its answer says and waits for.
    fn take(
        &mut self,
        now: Instant,
        key: SessionKey,
        source: &Source,
        message: Message,
        version: ProtocolVersion,
    ) -> (ReasonCode, Tickets) {
        // What some already have is not refused to the others.
        if source.marked.is_empty()
            && let Some(reason) = self.refusal(key, &message)
        {
            let is_denied = reason == ReasonCode::NotAuthorized;
            if version.is_v5() || is_denied {
                if is_denied {
                    self.refused(now, key, Act::Publish(message.topic));
                }
                // 3.1.1 has no answer that refuses. There, a message that its client may not publish is acknowledged and
                // dropped, as Mosquitto does.
                let told = version.is_v5().then_some(reason);
                return (told.unwrap_or(ReasonCode::Success), Tickets::None);
            }
            // One of 3.1.1 that only lacks a place to be retained is still delivered, and counted as dropped from the
            // retained store; a topic too deep has closed the connection before.
        }
        if version.is_v5()
            && source.marked.is_empty()
            && let Some(obstacle) = self.obstacle(source, &message)
        {
            self.note_refusal(obstacle);
            return (ReasonCode::QuotaExceeded, Tickets::None);
        }
        let Distributed { tickets, nobody } = self.distribute(now, source, message);
        let reason = if nobody && version.is_v5() {
            ReasonCode::NoMatchingSubscribers
        } else {
            ReasonCode::Success
        };
        (reason, tickets)
    }

    /// Why nobody shall take the message.
    fn refusal(&self, key: SessionKey, message: &Message) -> Option<ReasonCode> {
        if message.topic.is_deeper_than(self.limits.topic_levels) {
            return Some(ReasonCode::TopicNameInvalid);
        }
        let session = self.sessions.get(key.0);
        if session.is_some_and(|session| !session.may_publish(&message.topic)) {
            return Some(ReasonCode::NotAuthorized);
        }
        if !is_as_told(message) {
            return Some(ReasonCode::PayloadFormatInvalid);
        }
        // A QoS 0 message is delivered though it cannot be retained: it promises nothing.
        let full = message.retain
            && message.qos != QoS::AtMostOnce
            && !message.payload.is_empty()
            && !self.retained.has_room(message);
        full.then_some(ReasonCode::QuotaExceeded)
    }

    /// Gives the message to all who shall have it: logs, the retained store, sessions. Who that is, is decided first.
    pub(super) fn distribute(
        &mut self,
        now: Instant,
        source: &Source,
        message: Message,
    ) -> Distributed {
        let mut receivers = mem::take(&mut self.receivers);
        self.find_receivers(source, &message, &mut receivers);
        let matched = !receivers.is_empty() || !self.groups.is_empty();
        if !self.groups.is_empty() {
            self.share_out(&message, &mut receivers);
        }
        self.pass_sessions_by(source.origin, &mut receivers);
        let routed = self
            .logs
            .iter()
            .any(|log| log.takes(source.origin, &message.topic).is_some());
        let stays = routed || message.retain || receivers.iter().any(Receiver::stays);
        let nobody = !matched && !routed;
        // What stays must not pin the buffer that the packet was read into.
        let message = Rc::new(if stays { message.compact() } else { message });
        let mut tickets = if routed {
            self.append(now, source, &message)
        } else {
            Tickets::None
        };
        if receivers.iter().any(Receiver::is_kept)
            && let Some(seq) = self.keep(now, source, &message, &mut receivers)
        {
            tickets.push(LogId::Sessions, seq);
        }
        if message.retain
            && !source.marked.contains(&LogId::State)
            && let Some(seq) = self.retain(now, source, &message)
        {
            tickets.push(LogId::State, seq);
        }
        for receiver in receivers.drain(..) {
            let Some((session, mut out)) = self.with_session(now, receiver.session) else {
                continue;
            };
            if receiver.qos == QoS::AtMostOnce {
                session.pass(
                    source,
                    &message,
                    receiver.retain,
                    receiver.subscription_ids,
                    &mut out,
                );
            } else {
                session.offer(receiver.holds(Rc::clone(&message), now), &mut out);
            }
        }
        self.receivers = receivers;
        Distributed { tickets, nobody }
    }

    /// Appends to each log with a route that matches. The gateway's own `$` topics never enter a log: what counts of
    /// them is the newest value.
    fn append(&mut self, now: Instant, source: &Source, message: &Message) -> Tickets {
        let stamped = self.wall(now);
        let own = is_own(source.origin, message);
        let mut tickets = Tickets::None;
        for index in 0..self.logs.len() {
            let Some(log) = self.logs.get(index) else {
                break;
            };
            let Some(route) = log.takes(source.origin, &message.topic) else {
                continue;
            };
            // A copy from before a restart may be in the other lane now.
            let is_there = |log: LogId| source.marked.contains(&log);
            if is_there(log.id) || log.live.is_some_and(is_there) {
                continue;
            }
            let (of, lane) = (log.id, self.lane_of(log, route));
            let open = self.open_lane(log, route);
            let message = match mapped(route, message) {
                Ok(message) => message,
                Err(error) => {
                    self.note_unmapped(index, message, &error);
                    continue;
                }
            };
            let Some(log) = self.logs.get_mut(open.unwrap_or(index)) else {
                continue;
            };
            if log.is_missing() || (log.is_passed_by && source.origin.has_no_resender()) {
                self.stats.dropped += u64::from(!own);
                if !own && !log.is_missing() {
                    let (log, is_lost) = (log.id, true);
                    self.effects.push(Effect::NotTaken { log, is_lost });
                }
                continue;
            }
            if own {
                self.effects.push(Effect::Latest { log: of, message });
                continue;
            }
            if log.is_full && !source.is_answered && message.qos > QoS::AtMostOnce {
                self.stats.dropped += 1;
                let (log, is_lost) = (log.id, true);
                self.effects.push(Effect::NotTaken { log, is_lost });
                continue;
            }
            let message = match (lane, open) {
                (Some(_), None) => late(message, stamped),
                _ => message,
            };
            let (log, seq) = (log.id, log.watermark.take());
            let mut mark = None;
            if message.qos > QoS::AtMostOnce {
                tickets.push(log, seq);
                mark = source.mark;
            }
            let record = Record { message, stamped };
            self.effects.push(Effect::Append {
                log,
                seq,
                record,
                mark,
            });
        }
        tickets
    }
}

/// The gateway's own `$` topics, which are published anew at each start.
pub(super) fn is_own(origin: Origin, message: &Message) -> bool {
    matches!(origin, Origin::Device | Origin::Gateway)
        && message.topic.levels().any(|level| level.starts_with('$'))
}

/// The rules that a PUBLISH can break by itself.
fn check(
    publish: &Publish,
    topic: &TopicName,
    version: ProtocolVersion,
    limits: &Limits,
) -> Result<(), ReasonCode> {
    if publish.qos > limits.maximum_qos {
        return Err(ReasonCode::QoSNotSupported); // [MQTT-3.2.2-11]
    }
    if publish.retain && limits.retained_messages == 0 && version.is_v5() {
        return Err(ReasonCode::RetainNotSupported); // [MQTT-3.2.2-14]
    }
    let has_id = publish.packet_id.is_some();
    if has_id != (publish.qos > QoS::AtMostOnce) || !publish.subscription_ids.is_empty() {
        return Err(ReasonCode::ProtocolError); // [MQTT-2.2.1-2, MQTT-3.3.4-6]
    }
    // Only MQTT 5 can be told so in the answer. What is acknowledged must not be dropped [MQTT-3.3.5-2 of 3.1.1].
    if has_id && !version.is_v5() && topic.is_deeper_than(limits.topic_levels) {
        return Err(ReasonCode::TopicNameInvalid);
    }
    Ok(())
}

/// Whether the payload is UTF-8 where its Payload Format Indicator says so. The standard leaves it to us to look (section
/// 3.3.2.3.2). We do: what is stored and carried to a cloud fails there, out of sight of the device at fault, while here
/// its publisher is told. Only who sets the indicator pays for it.
pub(super) fn is_as_told(message: &Message) -> bool {
    let properties = message.properties.as_ref();
    let is_text = properties.is_some_and(|properties| properties.payload_is_utf8);
    !is_text || std::str::from_utf8(&message.payload).is_ok()
}
