//! A gateway on one screen: the way of the data from the field to the cloud, a line for each part of it, then what needs
//! attention and what to do. No I/O.
//!
//! Never more than [`LINES_MAX`] lines, whatever there is: what does not fit is counted.

use crate::cli::words::{counted, date, duration, shown, size};
use crate::clock::WallTime;
use crate::status::{
    BridgeState, CertificateState, GatewayState, Health, LinkState, Problem, Severity,
};

/// As many lines fit on every screen.
pub(super) const LINES_MAX: usize = 15;
/// Bridges with a line of their own each.
const BRIDGES_MAX: usize = 3;
/// A problem and what to do.
const LINES_OF_PROBLEM: usize = 2;

/// How a line is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Plain,
    Warning,
    Error,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) tone: Tone,
    pub(super) text: String,
}

/// What to show of `state`.
pub(super) fn lines(state: &GatewayState) -> Vec<Line> {
    let mut lines = vec![head(state), field(state), broker(state)];
    bridges(state, &mut lines);
    lines.extend([store(state), certificates(state), clock(state)]);
    problems(&state.problems, &mut lines);
    lines
}

fn plain(text: String) -> Line {
    toned(Tone::Plain, text)
}

fn toned(tone: Tone, text: String) -> Line {
    Line { tone, text }
}

/// A part under its name. Its problems are told below, so a line of figures is only coloured where it is what is wrong.
fn part(name: &str, is_well: bool, text: &str) -> Line {
    let tone = if is_well { Tone::Plain } else { Tone::Error };
    toned(tone, format!("  {name:<8} {text}"))
}

fn head(state: &GatewayState) -> Line {
    let problems = match state.problems.len() {
        0 => "all is well".to_owned(),
        count => counted(count as u64, "problem"),
    };
    plain(format!(
        "fieldgate {}  {}  up {}  {problems}",
        shown(&state.version),
        shown(&state.gateway),
        duration(state.uptime_s)
    ))
}

fn field(state: &GatewayState) -> Line {
    let devices = || state.connections.iter().flat_map(|it| &it.devices);
    let of = |health| devices().filter(|it| it.state == health).count();
    let (all, online) = (devices().count(), of(Health::Online));
    if all == 0 {
        return part("field", true, "no devices");
    }
    let mut told = format!("{online} of {} ok", counted(all as u64, "device"));
    let others = [
        (of(Health::Degraded), "degraded"),
        (of(Health::Offline), "offline"),
        (of(Health::Unknown), "not asked yet"),
    ];
    for (count, word) in others.iter().filter(|(count, _)| *count > 0) {
        told += &format!(", {count} {word}");
    }
    part("field", of(Health::Offline) == 0, &told)
}

fn broker(state: &GatewayState) -> Line {
    let broker = &state.broker;
    let told = format!(
        "{}, {} messages/s in, {} out, {} dropped",
        counted(broker.clients, "client"),
        rate(broker.received_per_s),
        rate(broker.sent_per_s),
        broker.dropped
    );
    part("broker", true, &told)
}

/// Small rates with a digit after the point: 0.2 is not nothing.
fn rate(per_second: f64) -> String {
    if per_second > 0.0 && per_second < 9.95 {
        format!("{per_second:.1}")
    } else {
        format!("{per_second:.0}")
    }
}

/// One bridge: its queue and its link. Several: a line each, the worst first.
fn bridges(state: &GatewayState, lines: &mut Vec<Line>) {
    match &*state.bridges {
        [] => lines.push(part("cloud", true, "no bridge")),
        [only] => {
            lines.push(part("queue", !only.status.refusing, &queue(only, state.at)));
            let is_up = only.status.link == LinkState::Up;
            lines.push(part("cloud", is_up, &link(only, state.at)));
        }
        several => {
            let mut sorted: Vec<_> = several.iter().collect();
            sorted.sort_by_key(|it| {
                let status = &it.status;
                let is_well = status.link == LinkState::Up && !status.refusing;
                (is_well, u64::MAX - status.backlog_messages)
            });
            let is_up = |it: &&BridgeState| it.status.link == LinkState::Up;
            let up = several.iter().filter(is_up).count();
            let mut told = format!("{up} of {} links up", several.len());
            let hidden = several.len().saturating_sub(BRIDGES_MAX);
            if hidden > 0 {
                told += &format!("; {hidden} not shown here: fieldgate backlog");
            }
            lines.push(part("cloud", up == several.len(), &told));
            for bridge in sorted.into_iter().take(BRIDGES_MAX) {
                let told = format!("{}; {}", link(bridge, state.at), queue(bridge, state.at));
                lines.push(part("", is_up(&bridge), &told));
            }
        }
    }
}

fn queue(bridge: &BridgeState, at: WallTime) -> String {
    let status = &bridge.status;
    let mut told = counted(status.backlog_messages, "message");
    if status.backlog_messages > 0 {
        told += &format!(" ({}", size(status.backlog_bytes));
        if let Some(oldest) = status.oldest.filter(|it| it.is_plausible()) {
            let age = duration(at.millis_since(oldest) / 1000);
            told += &format!(", the oldest {age} old");
        }
        told += ")";
    }
    let flow = &status.flow;
    told += &format!(
        ", {}/s in, {} out",
        rate(flow.messages_in),
        rate(flow.messages_out)
    );
    if let Some(seconds) = flow.drained_in_s.filter(|_| status.backlog_messages > 0) {
        told += &format!(", drained in {}", duration(seconds));
    }
    if status.refusing {
        told += ", FULL";
    } else if let Some(seconds) = flow.full_in_s {
        told += &format!(", full in {}", duration(seconds));
    }
    if status.dropped > 0 {
        told += &format!(", {} dropped", status.dropped);
    }
    told
}

fn link(bridge: &BridgeState, at: WallTime) -> String {
    let state = match bridge.status.link {
        LinkState::Up => "up",
        LinkState::Connecting => "connecting",
        LinkState::Down => "down",
    };
    let mut told = format!("{} {state}", shown(&bridge.name));
    if bridge.status.since.is_plausible() {
        let age = at.millis_since(bridge.status.since) / 1000;
        told += &format!(" for {}", duration(age));
    }
    told
}

fn store(state: &GatewayState) -> Line {
    let store = &state.store;
    let free = store.free_bytes.map_or_else(
        || "free space is not known".to_owned(),
        |free| format!("{} free", size(free)),
    );
    let is_short = store
        .free_bytes
        .is_some_and(|free| free < store.free_bytes_minimum);
    let told = format!("{free} at {}", shown(&store.data_dir));
    part("store", store.error.is_none() && !is_short, &told)
}

fn certificates(state: &GatewayState) -> Line {
    let first = state.certificates.iter().min_by_key(|it| it.expires);
    let Some(first) = first else {
        return part("certs", true, "none");
    };
    let CertificateState {
        used_by, expires, ..
    } = first;
    let is_over = *expires < state.at && state.clock_is_set;
    let left = if is_over {
        "it has ended".to_owned()
    } else {
        let days = expires.millis_since(state.at) / 86_400_000;
        format!("in {}", counted(days, "day"))
    };
    let left = if state.clock_is_set {
        format!(" ({left})")
    } else {
        String::new()
    };
    let others = match state.certificates.len() {
        1 => String::new(),
        all => format!("{all}, the first: "),
    };
    let told = format!("{others}{} ends {}{left}", shown(used_by), date(*expires));
    part("certs", !is_over, &told)
}

fn clock(state: &GatewayState) -> Line {
    let told = if state.clock_is_set { "set" } else { "NOT SET" };
    let tone = if state.clock_is_set {
        Tone::Plain
    } else {
        Tone::Warning
    };
    toned(tone, format!("  {:<8} {told}", "clock"))
}

/// As many as there is room for.
fn problems(problems: &[Problem], lines: &mut Vec<Line>) {
    let room = LINES_MAX.saturating_sub(lines.len());
    let all_fit = problems.len() * LINES_OF_PROBLEM <= room;
    let fit = if all_fit {
        problems.len()
    } else {
        room.saturating_sub(1) / LINES_OF_PROBLEM // one line says how many more there are
    };
    for problem in problems.iter().take(fit) {
        let (tone, word) = match problem.severity {
            Severity::Error => (Tone::Error, "ERROR"),
            Severity::Warning => (Tone::Warning, "warning"),
        };
        let told = format!(
            "  {word:<8} {}: {}",
            shown(&problem.part),
            shown(&problem.what)
        );
        lines.push(toned(tone, told));
        lines.push(plain(format!("  {:<8} -> {}", "", shown(&problem.remedy))));
    }
    let hidden = problems.len() - fit;
    if hidden > 0 {
        lines.push(plain(format!("  and {hidden} more: --json")));
    }
}

#[cfg(test)]
mod tests;
