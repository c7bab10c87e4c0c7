//! The end of a connection, whoever ends it, and of a session.

use std::mem;
use std::time::Instant;

use super::ack_queue::Kind;
use super::connect::session_expiry;
use super::effect::{CloseCause, ConnId, Effect};
use super::session::{Away, Connection, Presence, SessionKey};
use super::timeouts::{Timeout, Timeouts};
use super::trie::Trie;
use super::{Core, Slot};
use crate::clock::WallTime;
use crate::mqtt::{Connack, Disconnect, Packet, ProtocolVersion, ReasonCode};

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

    /// The broker ends: all are told and closed. Then all sessions end, since they live in memory, and with them every
    /// will is published (section 3.1.2.5 allows to defer that only to a restart that still knows them): what is of use in
    /// it reaches the bridges' logs, so that an upstream learns that these clients are gone.
    pub fn shutdown(&mut self, now: Instant) {
        self.now = Some(now);
        let keys: Vec<_> = self
            .sessions
            .iter()
            .map(|(key, _)| SessionKey(key))
            .collect();
        let mut wills = Vec::new();
        for key in keys {
            let detached = self.hang_up(key, CloseCause::ShuttingDown);
            if let Some(Connection { will, origin, .. }) = detached.map(|connection| *connection) {
                wills.extend(will.map(|will| (key, origin, will)));
            } else if let Some(session) = self.sessions.get_mut(key.0)
                && let Presence::Offline(away) = &mut session.presence
            {
                let will = mem::take(away).will;
                wills.extend(will.map(|delayed| (key, delayed.origin, delayed.will)));
            }
        }
        for (key, origin, will) in wills {
            let session = self.sessions.get(key.0);
            let client_id = session.map(|session| session.client_id.clone());
            self.publish_will(now, origin, client_id.unwrap_or_default(), &will);
        }
        self.sessions.clear();
        self.by_client.clear();
        self.subscriptions = Trie::default();
        self.timeouts = Timeouts::default();
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
        if let Some(reason) = cause.reason()
            && version.is_v5()
        {
            let packet = Packet::Disconnect(Disconnect::new(reason));
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
        self.stats.connections -= 1;
        self.stats.clients -= usize::from(connection.origin == super::Origin::Client);
        self.replaying.remove(&key);
        if let Some(keep_alive) = connection.keep_alive.take() {
            let timeout = Timeout::KeepAlive(key);
            self.timeouts.cancel(keep_alive.set, timeout);
        }
        let answers = mem::take(&mut connection.answers);
        if let Some(front) = answers.front() {
            for &(id, seq) in front.tickets.as_slice() {
                if let Some(log) = self.logs.iter_mut().find(|log| log.id == id) {
                    log.stop_waiting(seq, key);
                }
            }
        }
        for answer in answers.into_answers() {
            if answer.kind == Kind::Pubrec {
                let owed = (answer.reason, answer.tickets);
                session.owed.insert(answer.id, owed);
            }
        }
        Some(connection)
    }

    /// The client has left: its session waits for it or ends, its will is published now or later.
    fn leave(&mut self, now: Instant, key: SessionKey, connection: Connection) {
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        let (expiry, client_id) = (session.expiry, session.client_id.clone());
        if expiry > 0 {
            self.expire_later(now, key, expiry);
        } else {
            self.remove_session(key);
        }
        if let Some(will) = connection.will {
            // The end of the session comes first where that is earlier [MQTT-3.1.3-9].
            if will.delay.min(expiry) > 0 {
                self.delay_will(now, key, connection.origin, will);
            } else {
                self.publish_will(now, connection.origin, client_id, &will);
            }
        }
    }

    /// Ends a session that has no connection and no timeout any more.
    pub(super) fn remove_session(&mut self, key: SessionKey) {
        let Some(session) = self.sessions.try_remove(key.0) else {
            return;
        };
        self.by_client.remove(&session.client_id);
        self.replaying.remove(&key);
        for filter in &session.filters {
            self.subscriptions.remove(filter, key);
        }
    }
}
