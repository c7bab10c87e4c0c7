//! Who publishes a message, and what is known of its copies.

use std::sync::Arc;

use bytestring::ByteString;

use super::session::Session;
use super::{LogId, Origin};
use crate::auth::{Principal, Rights};
use crate::mqtt::{Message, PacketId, Publish};
use crate::store::Mark;

/// Who publishes.
#[derive(Clone, Debug)]
pub(super) struct Source {
    pub(super) origin: Origin,
    pub(super) client_id: ByteString,
    pub(super) principal: Principal,
    /// Kept with each copy, where a resend after a restart shall find out who has one.
    pub(super) mark: Option<Mark>,
    /// The logs that have a copy from before a restart, and their mark of it.
    pub(super) marked: Vec<LogId>,
    /// It will be answered, so it was asked for before whether anything is full. What is not passes a full backlog by.
    pub(super) is_answered: bool,
    /// It has sent this before and knows of no answer (DUP); or a will that may have been published before a restart.
    pub(super) sends_again: bool,
}

impl Source {
    pub(super) fn new(origin: Origin, client_id: ByteString) -> Self {
        Self {
            origin,
            client_id,
            principal: Principal::default(),
            mark: None,
            marked: Vec::new(),
            is_answered: false,
            sends_again: false,
        }
    }

    /// Of a will. Nobody is there any more who could be answered elsewhere than usual, so it has no rights.
    pub(super) fn of_will(origin: Origin, client_id: ByteString, may_be_again: bool) -> Self {
        Self {
            principal: Principal {
                rights: Some(Arc::new(Rights::new(Vec::new(), false))),
                ..Principal::default()
            },
            sends_again: may_be_again,
            ..Self::new(origin, client_id)
        }
    }

    pub(super) fn of(origin: Origin, session: &Session, publish: &Publish) -> Self {
        Self {
            principal: session.principal.clone(),
            is_answered: publish.packet_id.is_some() && !origin.has_no_resender(),
            sends_again: publish.dup,
            ..Self::new(origin, session.client_id.clone())
        }
    }

    /// What it sent.
    pub(super) fn packet(&self, message: Message, id: PacketId) -> Publish {
        Publish {
            dup: self.sends_again,
            ..message.into_publish(Some(id))
        }
    }
}
