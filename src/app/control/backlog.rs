//! What is answered about backlogs: how they stand, their messages, and that old ones are gone.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::super::export::Export;
use super::super::report::bridge_body;
use super::super::seen::SeenBridge;
use crate::bridge::Lanes;
use crate::clock;
use crate::control::Line;

pub(super) async fn standings(
    backlogs: &[SeenBridge],
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

fn standing(backlog: &SeenBridge) -> Value {
    let mut body = bridge_body(&backlog.status.borrow());
    if let Some(fields) = body.as_object_mut() {
        fields.insert("bridge".to_owned(), json!(backlog.name));
    }
    body
}

pub(super) async fn messages(
    backlogs: &[SeenBridge],
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
    print(Export::new(find_logs(backlogs, bridge)?), answer).await
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
pub(super) async fn purge(
    backlogs: &[SeenBridge],
    bridge: &str,
    age: Duration,
    user: u32,
    answer: &mpsc::Sender<Line>,
) -> Result<Line, String> {
    let logs = find_logs(backlogs, bridge)?;
    if !clock::wall().is_plausible() {
        return Err("the clock of this machine is not set, so no age is known".to_owned());
    }
    tracing::warn!(bridge, user, older_than = ?age, "purging the backlog, as asked on the control socket");
    let (mut purged, mut kept, mut commits) = (0, 0, Vec::new());
    let mut fault = None;
    for (_, log) in logs.all() {
        match log.purge(age).await {
            Ok(done) => {
                purged += done.purged;
                kept += done.kept;
                commits.push((log, done.commit));
            }
            Err(error) => fault = Some(error.to_string()),
        }
    }
    tracing::warn!(bridge, user, purged, kept, fault, "purged the backlog");
    if let Some(fault) = fault {
        return Err(fault);
    }
    let item = json!({ "purged": purged, "kept": kept });
    if answer.send(Line::Item(item)).await.is_err() {
        return Ok(Line::End); // to nobody
    }
    for (log, commit) in commits {
        let mut progress = log.progress();
        tokio::select! {
            waited = progress.wait_for(|progress| progress.commits >= commit) => {
                waited.map_err(|_| "the gateway stops".to_owned())?;
            }
            () = answer.closed() => break,
        }
    }
    Ok(Line::End)
}

fn find_logs(backlogs: &[SeenBridge], bridge: &str) -> Result<Lanes, String> {
    let backlog = find(backlogs, bridge)?;
    backlog.logs.clone().ok_or_else(|| {
        let error = backlog.status.borrow().store_error.clone();
        format!(
            "the backlog of `{bridge}` cannot be opened: {}",
            error.unwrap_or_default()
        )
    })
}

fn find<'a>(backlogs: &'a [SeenBridge], bridge: &str) -> Result<&'a SeenBridge, String> {
    let found = backlogs.iter().find(|backlog| backlog.name == bridge);
    found.ok_or_else(|| {
        let names = backlogs.iter().map(|backlog| backlog.name.as_str());
        let names = names.collect::<Vec<_>>().join(", ");
        format!("there is no bridge `{bridge}`; there are: {names}")
    })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use tokio::sync::watch;

    use super::*;
    use crate::clock::WallTime;
    use crate::mqtt::{Message, QoS};
    use crate::status::BridgeStatus;
    use crate::store::{Log, LogOptions, Record};
    use crate::topic::TopicName;

    const HOUR: Duration = Duration::from_secs(3600);

    fn append(log: &Log, text: &'static str, age: Duration) {
        let topic = TopicName::try_from("t").unwrap();
        let payload = Bytes::from_static(text.as_bytes());
        let stamped = WallTime(clock::wall().0 - u64::try_from(age.as_millis()).unwrap());
        let message = Message::new(topic, payload, QoS::AtLeastOnce, false);
        let record = Record { message, stamped };
        log.append(clock::now(), log.next_seq(), record, None);
    }

    /// What it answers, without the last line.
    async fn answer<F>(ask: impl FnOnce(mpsc::Sender<Line>) -> F) -> Vec<Value>
    where
        F: Future<Output = Result<Line, String>>,
    {
        let (sender, mut lines) = mpsc::channel(16);
        assert!(matches!(ask(sender).await, Ok(Line::End)));
        let mut items = Vec::new();
        while let Some(Line::Item(item)) = lines.recv().await {
            items.push(item);
        }
        items
    }

    #[tokio::test]
    async fn both_lanes_are_printed_and_purged() {
        let folder = tempfile::tempdir().unwrap();
        let options = LogOptions::new(folder.path().join("cloud"));
        let (backlog, live) = options.with_live_lane();
        let logs = Lanes {
            backlog: Log::open(backlog).unwrap(),
            live: Some(Log::open(live).unwrap()),
        };
        for (_, log) in logs.all() {
            append(log, "old", 2 * HOUR);
            append(log, "new", Duration::ZERO);
        }
        let (_teller, status) = watch::channel(BridgeStatus::default());
        let backlogs = [SeenBridge {
            name: "cloud".to_owned(),
            to: String::new(),
            certificate: None,
            status,
            logs: Some(logs.clone()),
            dead_letters: None,
            pulse: None,
        }];
        let printed = async || {
            let ask = async |sender| messages(&backlogs, "cloud", false, &sender).await;
            let items = answer(ask).await;
            let told = items
                .iter()
                .map(|item| format!("{} {}", item["lane"], item["payload"]));
            told.collect::<Vec<_>>()
        };
        let all = [
            r#""live" "old""#,
            r#""live" "new""#,
            r#"null "old""#,
            r#"null "new""#,
        ];
        assert_eq!(printed().await, all);
        let ask = async |sender| purge(&backlogs, "cloud", HOUR, 0, &sender).await;
        assert_eq!(answer(ask).await, [json!({ "purged": 2, "kept": 0 })]);
        assert_eq!(printed().await, [all[1], all[3]]);
        assert_eq!(logs.stats().purged, 2);
        logs.close();
    }
}
