//! Writes events, when there are some. The only part that waits for the disk.

use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep_until;

use super::file::{EventFile, Found};
use super::pace::Pace;
use super::{Events, EventsError};
use crate::clock;
use crate::shutdown::Stop;

/// Keeps events until `stop`, and then all that there are. What is wrong with the disk is logged once, and costs only that. Returns how many bytes
/// were written.
pub async fn keep(events: Events, mut file: EventFile, mut stop: Stop) -> u64 {
    if !tell(&file.found()) {
        return 0;
    }
    let mut newest = events.follow();
    let (mut pace, mut kept, mut is_failing) = (Pace::default(), events.kept(), false);
    while wait(&mut newest, kept, &pace, &mut stop).await || *newest.borrow() > kept {
        let is_last = stop.is_requested();
        let (up_to, lines, is_whole) = events.to_be_written(kept, &file);
        let written = spawn_blocking(move || {
            let result = if is_whole {
                file.replace(&lines)
            } else {
                file.append(&lines)
            };
            (file, result)
        });
        let result;
        (file, result) = match written.await {
            Ok(written) => written,
            Err(fault) => {
                tracing::error!(%fault, "events are kept in memory only; this is a fault of fieldgate");
                return 0;
            }
        };
        pace.written(clock::now());
        match result {
            Ok(()) => {
                kept = up_to;
                if std::mem::take(&mut is_failing) {
                    tracing::info!("events are kept again");
                }
            }
            Err(error) if !is_failing => {
                is_failing = true;
                tracing::warn!(%error, "events are not kept");
            }
            Err(error) => tracing::debug!(%error, "events are still not kept"),
        }
        if is_last {
            break;
        }
    }
    file.written()
}

/// Waits until something is to be written; false: `stop` was requested.
async fn wait(newest: &mut watch::Receiver<u64>, kept: u64, pace: &Pace, stop: &mut Stop) -> bool {
    let due = async {
        if newest.wait_for(|newest| *newest > kept).await.is_err() {
            // The sender is in the events, which live as long as we do.
            std::future::pending::<()>().await;
        }
        sleep_until(pace.due(clock::now()).into()).await;
    };
    tokio::select! {
        () = due => true,
        () = stop.requested() => false,
    }
}

/// What was found when the file was read. False: it is not to be written.
fn tell(found: &Found) -> bool {
    if found.damaged > 0 {
        let lines = found.damaged;
        tracing::warn!(
            lines,
            "the file of events was damaged; so many lines of it are lost"
        );
    }
    match &found.fault {
        None => true,
        Some(error) => {
            tracing::warn!(%error, "events of earlier starts are not known");
            !matches!(error, EventsError::Newer { .. })
        }
    }
}
