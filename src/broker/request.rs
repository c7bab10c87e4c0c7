//! What others ask of the running broker: its sessions as a table, to close a client, to take new users and rules, to give
//! back memory; and of bridges, see `attach`.
//!
//! Asked through the handle, answered on the broker's thread: in steps of [`AT_ONCE`] sessions, between which everybody else has
//! a turn. One request after the other.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytestring::ByteString;
use tokio::sync::oneshot;
use tokio::task::yield_now;

use super::core::SessionRow;
use super::handle::Arrival;
use super::peer::Side;
use super::shell::Shell;
use super::{Attachment, BrokerHandle, ForwardRoute, LinkClosed, attach};
use crate::auth::{Credentials, Revision};

/// Sessions looked at in one step, and so the most on a page.
const AT_ONCE: usize = 128;

/// Some of the broker's sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SessionPage {
    /// At most 128, in no order; none where many have ended.
    pub sessions: Vec<ListedSession>,
    /// What to ask for next; `None`: that was the last page.
    pub next: Option<usize>,
}

/// A session, and where its client is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedSession {
    /// The session.
    pub session: SessionRow,
    /// The listener that its client came in by; `None` where none is there, or it is a part of fieldgate.
    pub listener: Option<Arc<str>>,
    /// Its address; `None` on a unix socket, too.
    pub address: Option<SocketAddr>,
}

/// What is asked, and where the answer goes.
#[derive(Debug)]
pub(super) enum Request {
    Sessions {
        from: usize,
        answer: oneshot::Sender<SessionPage>,
    },
    Session {
        client_id: ByteString,
        answer: oneshot::Sender<Option<ListedSession>>,
    },
    Kick {
        client_id: ByteString,
        answer: oneshot::Sender<bool>,
    },
    Revise {
        revision: Revision,
        answer: oneshot::Sender<()>,
    },
    Shrink {
        answer: oneshot::Sender<()>,
    },
    Attach {
        attachment: Box<Attachment>,
        answer: oneshot::Sender<usize>,
    },
    Reroute {
        bridge: usize,
        routes: Vec<ForwardRoute>,
        answer: oneshot::Sender<()>,
    },
}

impl BrokerHandle {
    /// A page of the table of sessions, clients that are there and sessions that wait for theirs; the first is 0. Sessions
    /// that begin or end while pages are asked for may be missing.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn sessions(&self, page: usize) -> Result<SessionPage, LinkClosed> {
        self.ask(|answer| Request::Sessions { from: page, answer })
            .await
    }

    /// The session of one client.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn session(&self, client_id: &str) -> Result<Option<ListedSession>, LinkClosed> {
        let client_id = client_id.into();
        self.ask(|answer| Request::Session { client_id, answer })
            .await
    }

    /// Closes the connection of a client; an MQTT 5 client is told 0x98, administrative action. Its will is published and
    /// its session kept as if it had broken. It may come again: whom users and rules let in is another matter. False where no
    /// such client is there.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn kick(&self, client_id: &str) -> Result<bool, LinkClosed> {
        let client_id = client_id.into();
        self.ask(|answer| Request::Kick { client_id, answer }).await
    }

    /// From now on these users and rules count. When this returns, they do for all clients that are there as well: who is no
    /// user any more, or has another password, is closed (0x87); the others may do what the new rules say.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn replace_credentials(&self, credentials: Credentials) -> Result<(), LinkClosed> {
        let revision = self.authenticator.replace(credentials);
        self.ask(|answer| Request::Revise { revision, answer })
            .await
    }

    /// Makes tables small again that clients have left. Takes the broker a millisecond where ten thousand did.
    ///
    /// # Errors
    /// Where the broker has ended.
    pub async fn shrink(&self) -> Result<(), LinkClosed> {
        self.ask(|answer| Request::Shrink { answer }).await
    }

    pub(super) async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
    ) -> Result<T, LinkClosed> {
        let (sender, answer) = oneshot::channel();
        let arrival = Arrival::Request(request(sender));
        self.arrivals.send(arrival).await.map_err(|_| LinkClosed)?;
        answer.await.map_err(|_| LinkClosed)
    }
}

/// Does what is asked.
pub(super) async fn answer(shell: &Rc<Shell>, request: Request) {
    let now = shell.moment().now;
    match request {
        Request::Sessions { from, answer } => {
            let (rows, next) = shell.core.borrow().sessions(now, from, AT_ONCE);
            let sessions = rows.into_iter().map(|row| shell.located(row)).collect();
            tell(answer, SessionPage { sessions, next });
        }
        Request::Session { client_id, answer } => {
            let row = shell.core.borrow().session(now, &client_id);
            tell(answer, row.map(|row| shell.located(row)));
        }
        Request::Kick { client_id, answer } => {
            let mut kicked = false;
            shell.guarded(|| {
                shell.turn(shell.moment(), |core, at| {
                    kicked = core.kick(at.now, &client_id);
                });
                shell.finish(1);
            });
            tell(answer, kicked);
        }
        Request::Revise { revision, answer } => {
            revise(shell, &revision).await;
            tell(answer, ());
        }
        Request::Shrink { answer } => {
            shell.guarded(|| shell.core.borrow_mut().shrink());
            tell(answer, ());
        }
        Request::Attach { attachment, answer } => {
            tell(answer, attach::attach(shell, *attachment));
        }
        Request::Reroute {
            bridge,
            routes,
            answer,
        } => {
            attach::reroute(shell, bridge, routes);
            tell(answer, ());
        }
    }
}

pub(super) fn tell<T>(to: oneshot::Sender<T>, answer: T) {
    if to.send(answer).is_err() {
        tracing::debug!("who asked the broker did not wait for the answer");
    }
}

/// Gives everybody who is there its new rights.
async fn revise(shell: &Shell, revision: &Revision) {
    let mut from = Some(0_usize);
    while let Some(place) = from {
        // A fault with some must not leave the others what they may not do any more.
        from = Some(place.saturating_add(AT_ONCE));
        shell.guarded(|| {
            shell.turn(shell.moment(), |core, at| {
                from = core.revise(at.now, place, AT_ONCE, &mut |principal, client_id| {
                    revision.judge(principal, client_id)
                });
            });
            shell.finish(1);
        });
        yield_now().await;
    }
}

impl Shell {
    /// The session, with what the shell knows of its client.
    fn located(&self, session: SessionRow) -> ListedSession {
        let connection = session.connection;
        let peer = connection.and_then(|connection| self.peer(connection.conn));
        let address = peer.as_ref().and_then(|peer| match &peer.side {
            Side::Socket(socket) => Some(&socket.address),
            Side::Link(_) => None,
        });
        ListedSession {
            listener: address.map(|address| Arc::clone(&address.listener)),
            address: address.and_then(|address| address.peer),
            session,
        }
    }
}
