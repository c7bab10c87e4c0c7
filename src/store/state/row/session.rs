//! The stored form of sessions and subscriptions in a row of `state.redb`.

use std::time::Duration;

use super::super::super::varint::{self, Input};
use super::super::super::{StoredPresence, StoredSession, StoredSubscription};
use super::{message, text};
use crate::mqtt::{ProtocolVersion, QoS, Will};

const USER: u8 = 0b1;
const AWAY: u8 = 0b10;
const EXPIRES: u8 = 0b100;
const WILL_IN: u8 = 0b1000;
const WILL: u8 = 0b1_0000;
/// Since version 2.
const CERTIFIED: u8 = 0b10_0000;
const SESSION_FLAGS: u8 = USER | AWAY | EXPIRES | WILL_IN | WILL | CERTIFIED;

const QOS_BITS: u8 = 0b11;
const NO_LOCAL: u8 = 0b100;
const RETAIN_AS_PUBLISHED: u8 = 0b1000;
const REPLAYING: u8 = 0b1_0000;
const IDENTIFIER: u8 = 0b10_0000;
const SUBSCRIPTION_FLAGS: u8 = QOS_BITS | NO_LOCAL | RETAIN_AS_PUBLISHED | REPLAYING | IDENTIFIER;

pub(super) fn encode_session(out: &mut Vec<u8>, session: &StoredSession) {
    let (away, expires_in, will_in) = match session.presence {
        StoredPresence::Connected => (false, None, None),
        StoredPresence::Away {
            expires_in,
            will_in,
        } => (true, expires_in, will_in),
    };
    let flags = [
        (USER, session.user.is_some()),
        (AWAY, away),
        (EXPIRES, expires_in.is_some()),
        (WILL_IN, will_in.is_some()),
        (WILL, session.will.is_some()),
        (CERTIFIED, session.certified),
    ];
    out.push(set(&flags));
    out.push(session.version.level());
    varint::put(out, u64::from(session.expiry));
    varint::put_bytes(out, session.client_id.as_bytes());
    if let Some(user) = &session.user {
        varint::put_bytes(out, user.as_bytes());
    }
    for remaining in [expires_in, will_in].into_iter().flatten() {
        let millis = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        varint::put(out, millis);
    }
    if let Some(will) = &session.will {
        varint::put(out, u64::from(will.delay));
        message::encode(out, &will.message);
    }
}

/// `None`: not what [`encode_session`] writes.
pub(super) fn decode_session(input: &mut Input) -> Option<StoredSession> {
    let flags = input.byte()?;
    if flags & !SESSION_FLAGS != 0 {
        return None;
    }
    let level = input.byte()?;
    let version = ProtocolVersion::ALL
        .into_iter()
        .find(|version| version.level() == level)?;
    let expiry = u32::try_from(input.varint()?).ok()?;
    let client_id = text(input)?;
    let user = if flags & USER != 0 {
        Some(text(input)?)
    } else {
        None
    };
    let expires_in = remaining(input, flags & EXPIRES != 0)?;
    let will_in = remaining(input, flags & WILL_IN != 0)?;
    let will = if flags & WILL != 0 {
        Some(Will {
            delay: u32::try_from(input.varint()?).ok()?,
            message: message::decode(input)?,
        })
    } else {
        None
    };
    let presence = if flags & AWAY != 0 {
        StoredPresence::Away {
            expires_in,
            will_in,
        }
    } else {
        StoredPresence::Connected
    };
    Some(StoredSession {
        client_id,
        user,
        certified: flags & CERTIFIED != 0,
        version,
        expiry,
        presence,
        will,
    })
}

/// The outer `None`: damaged.
#[allow(clippy::option_option, reason = "absent is not damaged")]
fn remaining(input: &mut Input, is_there: bool) -> Option<Option<Duration>> {
    if !is_there {
        return Some(None);
    }
    Some(Some(Duration::from_millis(input.varint()?)))
}

pub(super) fn encode_subscription(out: &mut Vec<u8>, subscription: StoredSubscription) {
    let flags = [
        (subscription.qos as u8, true),
        (NO_LOCAL, subscription.no_local),
        (RETAIN_AS_PUBLISHED, subscription.retain_as_published),
        (REPLAYING, subscription.replaying),
        (IDENTIFIER, subscription.id.is_some()),
    ];
    out.push(set(&flags));
    if let Some(id) = subscription.id {
        varint::put(out, u64::from(id));
    }
}

/// `None`: not what [`encode_subscription`] writes.
pub(super) fn decode_subscription(input: &mut Input) -> Option<StoredSubscription> {
    let flags = input.byte()?;
    if flags & !SUBSCRIPTION_FLAGS != 0 {
        return None;
    }
    let id = if flags & IDENTIFIER != 0 {
        Some(u32::try_from(input.varint()?).ok()?)
    } else {
        None
    };
    Some(StoredSubscription {
        qos: QoS::from_bits(flags & QOS_BITS)?,
        no_local: flags & NO_LOCAL != 0,
        retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
        id,
        replaying: flags & REPLAYING != 0,
    })
}

fn set(flags: &[(u8, bool)]) -> u8 {
    let given = flags.iter().filter(|(_, given)| *given);
    given.fold(0, |all, (flag, _)| all | flag)
}
