//! Sessions as a table for whoever shows them, and what an operator may do to one.

use std::time::{Duration, Instant};

use bytestring::ByteString;

use super::effect::{CloseCause, ConnId};
use super::session::{Presence, Session, SessionKey};
use super::{Core, Origin};
use crate::mqtt::ProtocolVersion;

/// A session as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Whose.
    pub client_id: ByteString,
    /// The user that its client logged in as last; `None`: anonymous.
    pub user: Option<ByteString>,
    /// Present while the client is there.
    pub connection: Option<ConnectionRow>,
    /// Seconds that it outlives its connection; `u32::MAX`: for ever.
    pub session_expiry: u32,
    /// While the client is away: until the session ends.
    pub expires_in: Option<Duration>,
    /// Its subscriptions.
    pub subscriptions: usize,
    /// QoS 1 and 2 messages that the client has not acknowledged.
    pub in_flight: usize,
    /// Messages that wait to be sent.
    pub queued_messages: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Messages for it that were dropped by a declared policy, since the start.
    pub dropped: u64,
}

/// A connection as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionRow {
    /// Its number.
    pub conn: ConnId,
    /// A client, or a part of fieldgate.
    pub origin: Origin,
    /// What it speaks.
    pub version: ProtocolVersion,
    /// The keep alive that holds; zero: none.
    pub keep_alive: Duration,
    /// How long it has been there.
    pub age: Duration,
}

impl Core {
    /// The sessions at `count` places from `from` on, which is 0 for the first; and where to go on, `None` after the last.
    /// Sessions keep their places, so a listing shows each once that is there all the while.
    #[must_use]
    pub fn sessions(
        &self,
        now: Instant,
        from: usize,
        count: usize,
    ) -> (Vec<SessionRow>, Option<usize>) {
        let end = self.sessions.capacity();
        let to = from.saturating_add(count).min(end);
        let sessions = (from..to).filter_map(|place| self.sessions.get(place));
        let rows = sessions.map(|session| session.listed(now)).collect();
        (rows, (to < end).then_some(to))
    }

    /// The session of one client.
    #[must_use]
    pub fn session(&self, now: Instant, client_id: &str) -> Option<SessionRow> {
        let key = self.clients.find(&self.sessions, client_id)?;
        Some(self.sessions.get(key.0)?.listed(now))
    }

    /// Closes the connection of a client (0x98); its will is published, its session is kept as long as ever. False where no
    /// such client is there. fieldgate's own links are not closed.
    pub fn kick(&mut self, now: Instant, client_id: &str) -> bool {
        self.now = Some(now);
        let Some(key) = self.connected_client(client_id) else {
            return false;
        };
        self.end(now, key, CloseCause::Kicked);
        true
    }

    fn connected_client(&self, client_id: &str) -> Option<SessionKey> {
        let key = self.clients.find(&self.sessions, client_id)?;
        let connection = self.sessions.get(key.0)?.connection()?;
        (connection.origin == Origin::Client).then_some(key)
    }
}

impl Session {
    fn listed(&self, now: Instant) -> SessionRow {
        let (connection, expires) = match &self.presence {
            Presence::Online(connection) => {
                let keep_alive = connection.keep_alive.as_ref();
                let row = ConnectionRow {
                    conn: connection.conn,
                    origin: connection.origin,
                    version: connection.version,
                    keep_alive: Duration::from_secs(
                        keep_alive.map_or(0, |found| found.seconds.get().into()),
                    ),
                    age: now.saturating_duration_since(connection.since),
                };
                (Some(row), None)
            }
            Presence::Offline(away) => (None, away.expires),
        };
        SessionRow {
            client_id: self.client_id.clone(),
            user: self.principal.user.clone(),
            connection,
            session_expiry: self.expiry,
            expires_in: expires.map(|at| at.saturating_duration_since(now)),
            subscriptions: self.subscriptions.len(),
            in_flight: self.outbound.len(),
            queued_messages: self.queue.len() as u64,
            queued_bytes: self.queue.bytes() as u64,
            dropped: self.dropped,
        }
    }
}
