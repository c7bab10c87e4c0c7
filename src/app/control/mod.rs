//! What the control socket is answered. Requests that ask for something to be done, and not only told, are logged with who
//! asked.

mod backlog;
mod messages;
mod modbus;
mod values;

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::Outcome;
use super::observe::Observer;
use super::seen::SeenConnection;
use crate::control::{Asked, ControlSocket, Line, Request};
use crate::shutdown::Stop;

/// Requests that wait to be looked at.
const REQUESTS: usize = 8;

/// What requests are answered from.
#[derive(Clone, Debug)]
pub(super) struct Desk {
    pub(super) observer: Observer,
    pub(super) reloads: mpsc::Sender<ReloadRequest>,
}

/// Somebody wants the configuration to be read again. Answered with what became of it.
#[derive(Debug)]
pub struct ReloadRequest(oneshot::Sender<Outcome>);

impl ReloadRequest {
    /// Tells who asked.
    pub fn answer(self, outcome: Outcome) {
        if self.0.send(outcome).is_err() {
            tracing::debug!("who asked for the reload did not wait for it");
        }
    }
}

/// Listens at `path`. Where it cannot, the gateway runs without, and says so.
pub(super) fn open(path: &Path) -> Option<ControlSocket> {
    ControlSocket::open(path)
        .inspect_err(
            |error| tracing::warn!(%error, "no control socket: commands cannot ask this gateway"),
        )
        .ok()
}

/// Answers until `stop`.
pub(super) async fn serve(socket: ControlSocket, desk: Desk, stop: Stop) {
    let (sender, requests) = mpsc::channel(REQUESTS);
    tokio::join!(socket.serve(sender, stop), answer_all(requests, &desk));
}

/// Ends when nobody can ask any more.
async fn answer_all(mut requests: mpsc::Receiver<Asked>, desk: &Desk) {
    // As many as the socket has connections.
    let mut answers = JoinSet::new();
    while let Some(asked) = requests.recv().await {
        answers.spawn(answer(asked, desk.clone()));
        while answers.try_join_next().is_some() {}
    }
}

async fn answer(asked: Asked, desk: Desk) {
    let Asked {
        request,
        user,
        answer,
    } = asked;
    let bridges = desk.observer.backlogs();
    let last = match request {
        Request::State => one(json!(desk.observer.state()), &answer).await,
        Request::Events { count } => events(&desk.observer, count, &answer).await,
        Request::Reload => desk.reload(user, &answer).await,
        Request::Backlog { bridge } => backlog::standings(&bridges, bridge, &answer).await,
        Request::Export {
            bridge,
            dead_letter,
        } => backlog::messages(&bridges, &bridge, dead_letter, &answer).await,
        Request::Purge { bridge, older_ms } => {
            let age = Duration::from_millis(older_ms);
            backlog::purge(&bridges, &bridge, age, user, &answer).await
        }
        Request::Values { device } => {
            values::values(&desk.observer.connections(), device, &answer).await
        }
        Request::Subscribe { filter } => {
            messages::subscribe(desk.observer.handle(), user, &filter, &answer).await
        }
        Request::Publish {
            topic,
            payload,
            qos,
            retain,
            answer: is_answered,
        } => match messages::message(&topic, payload, qos, retain) {
            Ok(message) => {
                let broker = desk.observer.handle();
                let is_answered = is_answered && desk.has_device_at(&topic);
                messages::publish(broker, user, message, is_answered, &answer).await
            }
            Err(why) => Err(why),
        },
        Request::Modbus {
            connection,
            to,
            unit,
            timeout_ms,
            what,
        } => {
            let wire = modbus::Wire { connection, to };
            let timeout = Duration::from_millis(timeout_ms);
            let connections = desk.observer.connections();
            modbus::make(&connections, &wire, (unit, timeout, what), user, &answer).await
        }
    };
    // The peer may have gone; then nobody misses it.
    let told = answer.send(last.unwrap_or_else(Line::Fault)).await;
    tracing::trace!(told = told.is_ok(), "a command was answered");
}

async fn events(
    observer: &Observer,
    count: usize,
    answer: &mpsc::Sender<Line>,
) -> Result<Line, String> {
    let events = observer.events().ok_or("this gateway keeps no events")?;
    for entry in events.recent(count, 0) {
        if answer.send(Line::Item(json!(entry))).await.is_err() {
            break; // nobody waits for more
        }
    }
    Ok(Line::End)
}

/// An answer of one item.
async fn one(item: Value, answer: &mpsc::Sender<Line>) -> Result<Line, String> {
    let told = answer.send(Line::Item(item)).await;
    tracing::trace!(told = told.is_ok(), "the answer to a command");
    Ok(Line::End)
}

impl Desk {
    /// Whether `GATEWAY/DEVICE/...` is of a device here. What only looks like that is nobody's to answer.
    fn has_device_at(&self, topic: &str) -> bool {
        let mut levels = topic.split('/');
        let is_ours = levels.next() == Some(self.observer.gateway());
        let connections = self.observer.connections();
        let mut devices = connections.iter().flat_map(SeenConnection::device_names);
        let device = levels.next().unwrap_or_default();
        is_ours && devices.any(|name| name == device)
    }

    async fn reload(&self, user: u32, answer: &mpsc::Sender<Line>) -> Result<Line, String> {
        tracing::info!(
            user,
            "reading the configuration again, as asked on the control socket"
        );
        let (sender, outcome) = oneshot::channel();
        let asked = self.reloads.send(ReloadRequest(sender)).await;
        let outcome = match asked {
            Ok(()) => outcome.await.ok(),
            Err(_) => None,
        };
        let outcome = outcome.ok_or("the gateway stops, or is in no state to reload")?;
        one(json!(outcome), answer).await
    }
}
