//! The end of a connection, whoever ends it, and of a session.

use std::mem;
use std::time::Instant;

use super::answers::Reply;
use super::connect::session_expiry;
use super::durable::Durable;
use super::effect::{CloseCause, ConnId, Effect};
use super::explain::explain;
use super::refuse::Obstacle;
use super::session::{Away, Connection, Presence, SessionKey};
use super::store::stop_waiting;
use super::timeouts::Timeout;
use super::{Core, LogId, Slot};
use crate::clock::WallTime;
use crate::mqtt::{Connack, Disconnect, Packet, PacketType, ProtocolVersion, ReasonCode};
use crate::store::{Mark, StateChange};

impl Core {
    /// The decoder refused what a client sent. MQTT 5: DISCONNECT with `reason`; then the connection is closed and its will
    /// published. Before CONNECT: a version that is not served is told by a CONNACK of 3.1.1, anything else just closed.
    pub fn violated(&mut self, now: Instant, conn: ConnId, reason: ReasonCode) {
        self.now = Some(now);
        match self.slot(conn) {
            Slot::Open(key) => self.end(now, key, CloseCause::Violated(reason)),
            Slot::Closing(_) => {}
            Slot::Empty => {
                if reason == ReasonCode::UnsupportedProtocolVersion {
                    let packet = Packet::Connack(Box::new(Connack::new(reason, false)));
                    self.effects.push(Effect::Send { conn, packet });
                }
                self.close(conn, ProtocolVersion::V311, CloseCause::Violated(reason));
            }
        }
    }

    /// The socket is gone. To be called for every connection, those that the core had closed too; the number may be used
    /// again afterwards. Without a DISCONNECT before, the will is published [MQTT-3.1.2-8].
    pub fn closed(&mut self, now: Instant, wall: WallTime, conn: ConnId) {
        self.tell_time(now, wall);
        if let Slot::Open(key) = self.slot(conn)
            && let Some(connection) = self.detach(key)
        {
            self.leave(now, key, *connection);
        }
        self.set_slot(conn, Slot::Empty);
    }

    /// The broker ends: all are told and closed. Sessions that the store keeps stay as they are, and with them wills that
    /// have a delay. All others end, and with them every will is published (section 3.1.2.5 allows to defer that only to a
    /// restart that still knows them): what is of use in it reaches the logs, so that an upstream learns that these
    /// clients are gone.
    pub fn shutdown(&mut self, now: Instant) {
        self.now = Some(now);
        let keys: Vec<_> = self
            .sessions
            .iter()
            .map(|(key, _)| SessionKey(key))
            .collect();
        let mut gone = Vec::new();
        for key in keys {
            let Some(session) = self.sessions.get(key.0) else {
                continue;
            };
            if session.durable.is_some() {
                self.end(now, key, CloseCause::ShuttingDown);
                self.settle_will_now(now, key);
                continue;
            }
            let client_id = session.client_id.clone();
            let will = match self.hang_up(key, CloseCause::ShuttingDown) {
                Some(connection) => connection.will.map(|will| (will, connection.origin)),
                None => self.stop_waiting_for_client(key),
            };
            let will = will.filter(|(will, _)| self.may_leave_will(now, key, will));
            gone.push((key, client_id, will));
        }
        for (_, client_id, will) in &gone {
            if let Some((will, origin)) = will {
                self.publish_will(now, *origin, client_id.clone(), will);
            }
        }
        for (key, ..) in gone {
            self.remove_session(now, key);
        }
    }

    pub(super) fn disconnect(
        &mut self,
        now: Instant,
        key: SessionKey,
        disconnect: &Disconnect,
    ) -> Result<(), ReasonCode> {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return Ok(());
        };
        if let Some(asked) = disconnect.session_expiry {
            // A session that was to end with its connection cannot be kept now [MQTT-3.14.2-2].
            if session.expiry == 0 && asked > 0 {
                return Err(ReasonCode::ProtocolError);
            }
            session.expiry = session_expiry(&self.limits, asked);
        }
        if disconnect.reason == ReasonCode::Success
            && let Some(connection) = session.connection_mut()
        {
            connection.will = None; // [MQTT-3.14.4-3]
        }
        self.end(now, key, CloseCause::Disconnected);
        Ok(())
    }

    /// Ends a connection: the client is told where its version can be, the socket is closed, the will published.
    pub(super) fn end(&mut self, now: Instant, key: SessionKey, cause: CloseCause) {
        if let Some(connection) = self.hang_up(key, cause) {
            self.leave(now, key, *connection);
        }
    }

    /// Takes the connection off a session, tells the client why and closes. The session is left without a timeout.
    pub(super) fn hang_up(
        &mut self,
        key: SessionKey,
        cause: CloseCause,
    ) -> Option<Box<Connection>> {
        let connection = self.detach(key)?;
        let (conn, version) = (connection.conn, connection.version);
        if let Some(session) = self.sessions.get(key.0) {
            tracing::debug!(conn = conn.0, client_id = %session.client_id, %cause, "closing");
        }
        if let Some(reason) = cause.reason()
            && version.is_v5()
            && connection.greeted
        {
            // Never before the CONNACK [MQTT-3.14.0-1].
            let packet = Packet::Disconnect(Disconnect {
                reason_string: explain(PacketType::Disconnect, reason),
                ..Disconnect::new(reason)
            });
            self.effects.push(Effect::Send { conn, packet });
        }
        self.close(conn, version, cause);
        Some(connection)
    }

    /// Takes the connection off a session. Answers that were owed are dropped: the client has to ask again. For QoS 2 it is
    /// kept what they wait for, because the message must not be published again.
    fn detach(&mut self, key: SessionKey) -> Option<Box<Connection>> {
        let session = self.sessions.get_mut(key.0)?;
        let away = Presence::Offline(Away::default());
        let mut connection = match mem::replace(&mut session.presence, away) {
            Presence::Online(connection) => connection,
            offline @ Presence::Offline(_) => {
                session.presence = offline;
                return None;
            }
        };
        self.lanes.forget();
        self.stats.connections -= 1;
        self.stats.clients -= usize::from(connection.origin == super::Origin::Client);
        self.replaying.remove(&key);
        if let Some(keep_alive) = connection.keep_alive.take() {
            let timeout = Timeout::KeepAlive(key);
            self.timeouts.cancel(keep_alive.set, timeout);
        }
        let answers = mem::take(&mut connection.answers);
        if let Some(front) = answers.front() {
            stop_waiting(&mut self.logs, &mut self.store, key, &front.tickets);
        }
        for answer in answers.into_answers() {
            if let Reply::Pubrec(id, reason) = answer.reply {
                session.owed.insert(id, (reason, answer.tickets));
            }
        }
        if let Some(durable) = &mut session.durable {
            durable.go_away();
            drop(session.outbound.clear());
            session.queue.clear();
        }
        self.unpark(key);
        Some(connection)
    }

    /// The client has left: its session waits for it or ends, its will is published now or later.
    fn leave(&mut self, now: Instant, key: SessionKey, connection: Connection) {
        let Some(session) = self.sessions.get(key.0) else {
            return;
        };
        let expiry = session.expiry;
        let mut is_due = false;
        if let Some(will) = connection.will {
            is_due = will.delay == 0;
            self.delay_will(now, key, connection.origin, will);
        }
        if expiry == 0 {
            // It comes first where it is earlier than the will [MQTT-3.1.3-9].
            return self.end_session(now, key);
        }
        self.expire_later(now, key, expiry);
        if !is_due || !self.publish_delayed_will(now, key) {
            self.put_session(now, key);
        }
    }

    /// Ends the session of a client that is away, once its will is where it should be.
    pub(super) fn end_session(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let Presence::Offline(away) = &mut session.presence else {
            return;
        };
        session.expiry = 0;
        away.expires = Some(now);
        if away.will.is_none() {
            self.remove_session(now, key);
        } else if !self.publish_delayed_will(now, key) {
            self.put_session(now, key);
        }
    }

    /// Ends a session that has no connection and no timeout any more.
    pub(super) fn remove_session(&mut self, now: Instant, key: SessionKey) {
        let Some(session) = self.sessions.try_remove(key.0) else {
            return;
        };
        self.lanes.forget();
        self.clients.remove(&session.client_id, key);
        self.replaying.remove(&key);
        let estate = self.estate(&session);
        for subscription in &session.subscriptions {
            self.subscriptions.remove(*subscription, key);
        }
        let durable = session.durable.as_deref();
        if let Some((durable, number)) = durable.map(|durable| (durable, durable.number)) {
            self.forget_session(durable);
            match estate {
                Some(estate) => self.settle_estate(number, estate),
                None => self.effects.push(Effect::Forget { session: number }),
            }
        }
        self.hand_on(now, session);
        self.retry_parked(now, Obstacle::Queue(key));
    }

    /// What the state knows of a session that has ended goes, and its marks wherever the session log does not see to it.
    fn forget_session(&mut self, durable: &Durable) {
        let session = durable.number;
        self.store.forget_session(session);
        let gone = StateChange::SessionGone(session);
        self.store.put(&mut self.effects, gone, true);
        for (&packet_id, logs) in &durable.marks {
            for &log in logs.iter().filter(|log| **log != LogId::Sessions) {
                self.unmark(log, Mark { session, packet_id });
            }
        }
    }
}
