//! What the control socket is answered.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::export::Export;
use super::report::bridge_body;
use crate::bridge::DeadLetterLog;
use crate::clock;
use crate::control::{Asked, ControlSocket, Line, Request};
use crate::shutdown::Stop;
use crate::status::BridgeStatus;
use crate::store::{Log, Purged};

/// Requests that wait to be looked at.
const REQUESTS: usize = 8;

/// A bridge as the control socket shows it.
#[derive(Clone, Debug)]
pub(super) struct Backlog {
    pub(super) bridge: String,
    pub(super) status: watch::Receiver<BridgeStatus>,
    /// `None`: it could not be opened.
    pub(super) log: Option<Log>,
    /// `None`: the bridge does not run.
    pub(super) dead_letters: Option<DeadLetterLog>,
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
pub(super) async fn serve(socket: ControlSocket, backlogs: Vec<Backlog>, stop: Stop) {
    let (sender, requests) = mpsc::channel(REQUESTS);
    tokio::join!(socket.serve(sender, stop), answer_all(requests, &backlogs));
}

/// Ends when nobody can ask any more.
async fn answer_all(mut requests: mpsc::Receiver<Asked>, backlogs: &[Backlog]) {
    // As many as the socket has connections.
    let mut answers = JoinSet::new();
    while let Some(asked) = requests.recv().await {
        let Asked {
            request,
            user,
            answer,
        } = asked;
        let backlogs = backlogs.to_vec();
        answers.spawn(async move {
            let last = match request {
                Request::Backlog { bridge } => standings(&backlogs, bridge, &answer).await,
                Request::Export {
                    bridge,
                    dead_letter,
                } => messages(&backlogs, &bridge, dead_letter, &answer).await,
                Request::Purge { bridge, older_ms } => {
                    let age = Duration::from_millis(older_ms);
                    purge(&backlogs, &bridge, age, user, &answer).await
                }
            };
            // The peer may have gone; then nobody misses it.
            let told = answer.send(last.unwrap_or_else(Line::Fault)).await;
            tracing::trace!(told = told.is_ok(), "a command was answered");
        });
        while answers.try_join_next().is_some() {}
    }
}

async fn standings(
    backlogs: &[Backlog],
    bridge: Option<String>,
    answer: &mpsc::Sender<Line>,
) -> Result<Line, String> {
    let wanted = match bridge {
        Some(name) => std::slice::from_ref(find(backlogs, &name)?),
        None => backlogs,
    };
    for backlog in wanted {
        let item = standing(backlog);
        if answer.send(Line::Item(item)).await.is_err() {
            break;
        }
    }
    Ok(Line::End)
}

fn standing(backlog: &Backlog) -> Value {
    let mut body = bridge_body(&backlog.status.borrow());
    if let Some(fields) = body.as_object_mut() {
        fields.insert("bridge".to_owned(), json!(backlog.bridge));
    }
    body
}

async fn messages(
    backlogs: &[Backlog],
    bridge: &str,
    dead_letter: bool,
    answer: &mpsc::Sender<Line>,
) -> Result<Line, String> {
    if dead_letter {
        let letters = find(backlogs, bridge)?.dead_letters.as_ref();
        return match letters.and_then(|letters| letters.borrow().clone()) {
            Some(log) => print(Export::of_dead_letters(log), answer).await,
            None => Ok(Line::End), // there has been none
        };
    }
    print(Export::new(find_log(backlogs, bridge)?), answer).await
}

async fn print(mut export: Export, answer: &mpsc::Sender<Line>) -> Result<Line, String> {
    loop {
        let items = export.next().await.map_err(|error| error.to_string())?;
        if items.is_empty() {
            return Ok(Line::End);
        }
        for item in items {
            if answer.send(Line::Item(item)).await.is_err() {
                return Ok(Line::End); // to nobody
            }
        }
    }
}

/// Tells who did what in the log, since what is gone cannot tell.
async fn purge(
    backlogs: &[Backlog],
    bridge: &str,
    age: Duration,
    user: u32,
    answer: &mpsc::Sender<Line>,
) -> Result<Line, String> {
    let log = find_log(backlogs, bridge)?;
    if !clock::wall().is_plausible() {
        return Err("the clock of this machine is not set, so no age is known".to_owned());
    }
    tracing::warn!(bridge, user, older_than = ?age, "purging the backlog, as asked on the control socket");
    let done = log.purge(age).await.map_err(|error| error.to_string())?;
    let Purged {
        purged,
        kept,
        commit,
    } = done;
    tracing::warn!(bridge, user, purged, kept, "purged the backlog");
    let item = json!({ "purged": purged, "kept": kept });
    if answer.send(Line::Item(item)).await.is_err() {
        return Ok(Line::End); // to nobody
    }
    let mut progress = log.progress();
    tokio::select! {
        waited = progress.wait_for(|progress| progress.commits >= commit) => match waited {
            Ok(_) => Ok(Line::End),
            Err(_) => Err("the gateway stops".to_owned()),
        },
        () = answer.closed() => Ok(Line::End),
    }
}

fn find_log(backlogs: &[Backlog], bridge: &str) -> Result<Log, String> {
    let backlog = find(backlogs, bridge)?;
    backlog.log.clone().ok_or_else(|| {
        let error = backlog.status.borrow().store_error.clone();
        format!(
            "the backlog of `{bridge}` cannot be opened: {}",
            error.unwrap_or_default()
        )
    })
}

fn find<'a>(backlogs: &'a [Backlog], bridge: &str) -> Result<&'a Backlog, String> {
    let found = backlogs.iter().find(|backlog| backlog.bridge == bridge);
    found.ok_or_else(|| {
        let names = backlogs.iter().map(|backlog| backlog.bridge.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        format!("there is no bridge `{bridge}`; there are: {names}")
    })
}
