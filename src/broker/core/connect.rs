//! CONNECT: admitted or refused, a session resumed or made, an older connection of the same client taken over.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU16;
use std::time::Instant;

use bytestring::ByteString;

use super::alias::TopicAliases;
use super::answers::Answers;
use super::durable::Durable;
use super::effect::{Act, CloseCause, ConnId, Effect, Refused};
use super::explain::explain;
use super::publish::is_as_told;
use super::session::{Connection, KeepAlive, Presence, Session, SessionKey};
use super::timeouts::Timeout;
use super::{Core, Limits, Origin, Slot};
use crate::auth::Principal;
use crate::mqtt::{Connack, Connect, Packet, PacketType, ProtocolVersion, ReasonCode, Will};

/// Why whoever checked the credentials does not let a client in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthRefusal {
    /// 0x8C: the authentication method is not known here.
    #[error("unknown authentication method")]
    BadAuthenticationMethod,
    /// 0x86.
    #[error("bad user name or password")]
    BadUserNameOrPassword,
    /// 0x87: for example an anonymous client where a user is asked for.
    #[error("not authorized")]
    NotAuthorized,
    /// 0x89: too many passwords wait to be checked; the client may try again.
    #[error("too many logins at a time")]
    ServerBusy,
}

impl AuthRefusal {
    /// What the CONNACK says.
    #[must_use]
    pub fn reason(self) -> ReasonCode {
        match self {
            Self::BadAuthenticationMethod => ReasonCode::BadAuthenticationMethod,
            Self::BadUserNameOrPassword => ReasonCode::BadUserNameOrPassword,
            Self::NotAuthorized => ReasonCode::NotAuthorized,
            Self::ServerBusy => ReasonCode::ServerBusy,
        }
    }
}

impl Core {
    /// The first packet of a connection, a CONNECT, after its credentials were checked. A refusal is told with the right
    /// code of the client's version, then the connection is closed.
    ///
    /// `principal` says who the client of this ClientId is: of one that came without, that of the name that it is given.
    pub fn connect(
        &mut self,
        now: Instant,
        conn: ConnId,
        origin: Origin,
        principal: impl FnOnce(&str) -> Result<Principal, AuthRefusal>,
        connect: Connect,
    ) {
        self.now = Some(now);
        if let Slot::Open(key) = self.slot(conn) {
            // [MQTT-3.1.0-2]
            return self.end(now, key, CloseCause::Violated(ReasonCode::ProtocolError));
        }
        let client_id = if connect.client_id.is_empty() {
            self.new_name()
        } else {
            ByteString::from(&*connect.client_id)
        };
        let admitted = principal(&client_id)
            .map_err(AuthRefusal::reason)
            .and_then(|principal| {
                self.admit(origin, &connect)?;
                self.check_will(conn, &principal, &client_id, &connect)?;
                Ok(principal)
            });
        match admitted {
            Ok(principal) => self.accept(now, conn, origin, principal, client_id, connect),
            Err(reason) => {
                let connack = Connack {
                    reason_string: explain(PacketType::Connack, reason),
                    ..Connack::new(reason, false)
                };
                let packet = Packet::Connack(Box::new(connack));
                self.effects.push(Effect::Send { conn, packet });
                self.close(conn, connect.version, CloseCause::Refused(reason));
            }
        }
    }

    /// Whether the client may come in.
    fn admit(&self, origin: Origin, connect: &Connect) -> Result<(), ReasonCode> {
        if connect.authentication_method.is_some() {
            return Err(ReasonCode::BadAuthenticationMethod); // none is offered [MQTT-4.12.0-1]
        }
        self.check_client_id(origin, connect)?;
        let known = self.clients.find(&self.sessions, &connect.client_id);
        let known = known.and_then(|key| self.sessions.get(key.0));
        let takes_over = known.is_some_and(|session| session.connection().is_some());
        if origin == Origin::Client && connect.session_expiry > 0 {
            self.may_keep_sessions()?;
        }
        let limits = &self.limits;
        if origin == Origin::Client && !takes_over && self.stats.clients >= limits.connections {
            return Err(ReasonCode::ServerBusy);
        }
        let adds = connect.session_expiry > 0 && known.is_none_or(|session| session.expiry == 0);
        // They are counted only where there may be too many: a scan of all on each CONNECT would be felt.
        let may_be_full = || self.sessions.len() >= limits.sessions;
        let is_full = || may_be_full() && self.kept_sessions() >= limits.sessions;
        if adds && origin == Origin::Client && is_full() {
            return Err(ReasonCode::QuotaExceeded);
        }
        Ok(())
    }

    fn kept_sessions(&self) -> usize {
        let sessions = self.sessions.iter();
        // One that has ended and waits for its will to be kept is kept so long.
        let kept = sessions.filter(|(_, session)| session.expiry > 0 || session.durable.is_some());
        kept.count()
    }

    fn check_client_id(&self, origin: Origin, connect: &Connect) -> Result<(), ReasonCode> {
        let id = &connect.client_id;
        let allowed = if id.is_empty() {
            // 3.1 knows no empty one; 3.1.1 only with a clean session [MQTT-3.1.3-8].
            self.limits.empty_client_id
                && match connect.version {
                    ProtocolVersion::V31 => false,
                    ProtocolVersion::V311 => connect.clean_start,
                    ProtocolVersion::V5 => true,
                }
        } else {
            // `$` is for fieldgate's own parts.
            origin != Origin::Client || !id.starts_with('$')
        };
        if allowed {
            Ok(())
        } else {
            Err(ReasonCode::ClientIdentifierNotValid)
        }
    }

    fn check_will(
        &mut self,
        conn: ConnId,
        principal: &Principal,
        client_id: &ByteString,
        connect: &Connect,
    ) -> Result<(), ReasonCode> {
        let Some(will) = &connect.will else {
            return Ok(());
        };
        let topic = &will.message.topic;
        if will.message.qos > self.limits.maximum_qos {
            return Err(ReasonCode::QoSNotSupported); // [MQTT-3.2.2-12]
        }
        if will.message.retain && self.limits.retained_messages == 0 && connect.version.is_v5() {
            return Err(ReasonCode::RetainNotSupported); // [MQTT-3.2.2-13]
        }
        if topic.levels().count() > self.limits.topic_levels {
            return Err(ReasonCode::TopicNameInvalid);
        }
        if !is_as_told(&will.message) {
            return Err(ReasonCode::PayloadFormatInvalid);
        }
        let rights = principal.rights.as_ref();
        if rights.is_some_and(|rights| !rights.may_publish(topic)) {
            self.stats.denied += 1;
            self.effects.push(Effect::Refused(Box::new(Refused {
                conn: Some(conn),
                client_id: client_id.clone(),
                user: principal.user.clone(),
                act: Act::Will(topic.clone()),
                untold: 0,
            })));
            return Err(ReasonCode::NotAuthorized);
        }
        Ok(())
    }

    fn accept(
        &mut self,
        now: Instant,
        conn: ConnId,
        origin: Origin,
        principal: Principal,
        client_id: ByteString,
        mut connect: Connect,
    ) {
        let before = self.store.state.last();
        let is_assigned = connect.client_id.is_empty();
        let assigned = is_assigned.then(|| client_id.clone());
        let resumed = self.take_over(now, &client_id, connect.clean_start);
        let key = resumed.unwrap_or_else(|| {
            let session = Session::new(client_id);
            let key = SessionKey(self.sessions.insert(session));
            self.clients.insert(&self.sessions, key);
            key
        });

        self.assume(key, principal);
        let (keep_alive, server_keep_alive) = keep_alive(&self.limits, origin, &connect);
        let expiry = match origin {
            Origin::Client => session_expiry(&self.limits, connect.session_expiry),
            // Of a bridge: until the upstream begins anew.
            _ => connect.session_expiry,
        };
        let may_be_kept = matches!(origin, Origin::Client | Origin::Bridge(_));
        if resumed.is_none() && expiry > 0 && may_be_kept {
            self.keep_session(key, connect.version);
        }
        let will = connect.will.take().map(|will| {
            Box::new(Will {
                message: will.message.compact(),
                delay: will.delay,
            })
        });
        let connection = Connection {
            conn,
            since: now,
            version: connect.version,
            origin,
            maximum_packet_size: connect
                .maximum_packet_size
                .and_then(|size| usize::try_from(size).ok())
                .unwrap_or(usize::MAX),
            congested: false,
            greeted: false,
            paused: false,
            unread: false,
            will,
            keep_alive: keep_alive.and_then(|seconds| self.watch(now, key, seconds)),
            answers: Answers::default(),
            aliases: TopicAliases::default(),
            takes_aliases: connect.topic_alias_maximum > 0,
            wants_reasons: connect.request_problem_information,
        };
        self.set_slot(conn, Slot::Open(key));
        self.stats.connections += 1;
        self.stats.clients += usize::from(origin == Origin::Client);
        let connack = Connack {
            session_expiry: (expiry != connect.session_expiry).then_some(expiry),
            assigned_client_id: assigned,
            server_keep_alive,
            ..self.offer_of_server(resumed.is_some())
        };
        self.go_online(key, connection, expiry, connect.receive_maximum);
        if let Some(session) = self.sessions.get_mut(key.0)
            && let Some(durable) = &mut session.durable
        {
            durable.version = connect.version;
        }
        self.put_session(now, key);
        let tickets = self.state_since(before);
        self.greet(now, key, connack, tickets);
    }

    /// From now on the store keeps a session that is new, if there is a store.
    fn keep_session(&mut self, key: SessionKey, version: ProtocolVersion) {
        if !self.store.is_attached() {
            return;
        }
        let number = self.store.new_session(key);
        if let Some(session) = self.sessions.get_mut(key.0) {
            session.durable = Some(Box::new(Durable::new(number, version)));
        }
    }

    fn go_online(
        &mut self,
        key: SessionKey,
        connection: Connection,
        expiry: u32,
        receive_maximum: u16,
    ) {
        let is_bridge = matches!(connection.origin, Origin::Bridge(_));
        let inbound_maximum = if connection.version.is_v5() && !is_bridge {
            self.limits.receive_maximum
        } else {
            u16::MAX // 3.1.1 cannot be told of a lower one; a bridge tells its upstream its own
        };
        let Some(session) = self.sessions.get_mut(key.0) else {
            return;
        };
        self.lanes.forget();
        session.presence = Presence::Online(Box::new(connection));
        session.expiry = expiry;
        session
            .outbound
            .set_window(receive_maximum.min(self.limits.inflight));
        session.inbound.reconnected(inbound_maximum);
        session.send_all_again();
    }

    /// What this server offers; a 3.1.1 CONNACK carries nothing of it. Never a Server Reference: a gateway knows no other
    /// broker for its devices. Nor Response Information: request and response agree on topics by the access rules.
    fn offer_of_server(&self, session_present: bool) -> Connack {
        Connack {
            receive_maximum: self.limits.receive_maximum,
            maximum_qos: self.limits.maximum_qos,
            retain_available: self.limits.retained_messages > 0,
            maximum_packet_size: Some(self.limits.packet_size),
            topic_alias_maximum: self.limits.topic_alias_maximum,
            ..Connack::new(ReasonCode::Success, session_present)
        }
    }

    /// Closes an older connection of this client and settles its will; returns the session where it goes on.
    fn take_over(
        &mut self,
        now: Instant,
        client_id: &ByteString,
        clean_start: bool,
    ) -> Option<SessionKey> {
        let key = self.clients.find(&self.sessions, client_id)?;
        let detached = self.hang_up(key, CloseCause::TakenOver);
        let session = self.sessions.get_mut(key.0)?;
        let goes_on = !clean_start && session.expiry > 0;
        let will = match detached {
            Some(connection) => connection.will.map(|will| (will, connection.origin)),
            None => self.stop_waiting_for_client(key),
        };
        // A will with a delay is void once the session goes on [MQTT-3.1.3-9].
        let will = will.filter(|(will, _)| {
            (!goes_on || will.delay == 0) && self.may_leave_will(now, key, will)
        });
        if !goes_on {
            self.remove_session(now, key);
        }
        if let Some((will, origin)) = will {
            self.publish_will(now, origin, client_id.clone(), &will);
        }
        goes_on.then_some(key)
    }

    /// Watches over the silence of a client.
    fn watch(&mut self, now: Instant, key: SessionKey, seconds: NonZeroU16) -> Option<KeepAlive> {
        let set = now.checked_add(KeepAlive::limit(seconds))?;
        self.timeouts.set(set, Timeout::KeepAlive(key));
        Some(KeepAlive {
            seconds,
            last_seen: now,
            set,
        })
    }

    /// A name for a client without one: 128 bits that only who knows the seed can tell, and that nobody has.
    fn new_name(&mut self) -> ByteString {
        loop {
            self.names_given += 1;
            let half = |part: u8| {
                let mut hasher = DefaultHasher::new();
                (self.seed, self.names_given, part).hash(&mut hasher);
                hasher.finish()
            };
            let name = format!("auto-{:016x}{:016x}", half(0), half(1));
            if self.clients.find(&self.sessions, &name).is_none() {
                return ByteString::from(name);
            }
        }
    }
}

/// The Keep Alive that holds, and what the CONNACK says where it is not the client's own
/// [MQTT-3.1.2-21]. Parts of fieldgate are not watched.
fn keep_alive(
    limits: &Limits,
    origin: Origin,
    connect: &Connect,
) -> (Option<NonZeroU16>, Option<u16>) {
    if origin != Origin::Client {
        return (None, None);
    }
    let maximum = limits.keep_alive_maximum.as_secs();
    let maximum = u16::try_from(maximum).unwrap_or(u16::MAX);
    let asked = connect.keep_alive;
    let too_long = maximum > 0 && (asked == 0 || asked > maximum);
    let shortened = (too_long && connect.version.is_v5()).then_some(maximum);
    (NonZeroU16::new(shortened.unwrap_or(asked)), shortened)
}

/// Seconds that a session outlives its connection here.
pub(super) fn session_expiry(limits: &Limits, asked: u32) -> u32 {
    let maximum = limits.session_expiry_maximum.as_secs();
    asked.min(u32::try_from(maximum).unwrap_or(u32::MAX))
}
