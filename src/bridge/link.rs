//! One connection: bytes in and out, the log read and told, timers. It decides nothing; the core does.
//!
//! All packets of a read go through the core before anything is written, and what they caused leaves in one write. While
//! the write buffer is full the log is not read.

use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::AsyncWriteExt;
use tokio::time::{Interval, sleep_until, timeout};

use super::certificates::{Certificates, Looking, News, Successor};
use super::core::{Cause, Core, Demand, Effect, Lane};
use super::dead_letters::DeadLetters;
use super::dial::Stream;
use super::down::{Down, DownEvent};
use super::lanes::{AllDone, Followed, Lanes};
use super::report::Report;
use super::wire::{Reading, Wire, read_some, write_some};
use super::{BridgeOptions, LinkError};
use crate::broker::Latest;
use crate::clock;
use crate::mqtt::Incoming;
use crate::shutdown::Stop;
use crate::status::LinkState;
use crate::store::{Entry, LinkHealth, Log, Seq, StoreError};

/// Bytes that may wait to be written before no more are made.
const WRITE_BUFFER: usize = 256 << 10;
/// What the last packets get to leave, when a connection is closed.
const FAREWELL: Duration = Duration::from_secs(1);
/// What messages in flight get to be acknowledged, when the program stops.
const DRAIN: Duration = Duration::from_secs(2);
/// The same, when the bridge moves to another connection; what is not acknowledged by then is sent again there.
const MOVE: Duration = Duration::from_secs(10);
/// Wait after the log could not be read.
const READ_AGAIN: Duration = Duration::from_secs(1);

/// What a connection needs from the bridge.
pub(super) struct Link<'a> {
    pub(super) name: &'a str,
    pub(super) options: &'a BridgeOptions,
    pub(super) core: &'a mut Core,
    pub(super) logs: &'a Lanes,
    /// For the logs, at the end of a round.
    pub(super) done: AllDone,
    pub(super) letters: &'a mut DeadLetters,
    pub(super) latest: &'a Latest,
    pub(super) report: &'a mut Report,
    pub(super) ticks: &'a mut Interval,
    pub(super) stop: &'a mut Stop,
    pub(super) certificates: &'a mut Certificates,
    /// Where the bridge moves to, when [`Cause::Moved`] ends this connection.
    pub(super) successor: Option<Successor>,
    pub(super) ca: Option<&'a PathBuf>,
    /// When CONNACK came.
    pub(super) up_since: Option<Instant>,
    pub(super) progress: Followed,
    pub(super) down: Down<'a>,
    pub(super) out: BytesMut,
}

/// What happened.
enum Event {
    Read(usize),
    Written,
    Progress,
    Entries(Demand, Result<Vec<Entry>, StoreError>),
    Latest,
    Buried(Lane, Seq),
    Down(DownEvent),
    Timeout,
    Tick,
    RenewalAsked,
    Certificates(News),
    Stop,
    LogClosed,
}

impl Link<'_> {
    /// Runs the connection until it ends, and says why.
    pub(super) async fn run(&mut self, stream: Box<dyn Stream>, address: usize) -> LinkError {
        let mut wire = Wire::new(stream, self.options, address);
        self.progress.tell(self.core);
        let kept = self.logs.backlog.session();
        let live = self.logs.live.as_ref().and_then(Log::session);
        self.core
            .connect(clock::now(), address, kept.as_deref(), live.as_deref());
        let ended = self.exchange(&mut wire).await;
        if let Some(in_good_order) = ended.hang_up() {
            self.core.handle_hang_up(clock::now(), in_good_order);
        }
        self.core.handle_closed();
        // Only the log is left to be told.
        self.carry_out();
        self.logs.link(clock::now(), LinkHealth::Down);
        if let LinkError::Closed(_) = ended {
            let farewell = async {
                wire.writer.write_all_buf(&mut self.out).await?;
                wire.writer.shutdown().await?;
                if let LinkError::Closed(Cause::Moved) = ended {
                    // Else a CONNECT on the other connection might overtake the DISCONNECT.
                    wire.until_end().await?;
                }
                Ok::<_, io::Error>(())
            };
            if !matches!(timeout(FAREWELL, farewell).await, Ok(Ok(()))) {
                tracing::debug!(bridge = self.name, "the last packets did not leave");
            }
        }
        ended
    }

    async fn exchange(&mut self, wire: &mut Wire) -> LinkError {
        loop {
            if let Some(cause) = self.settle() {
                return LinkError::Closed(cause);
            }
            let room = self.out.len() < WRITE_BUFFER;
            if room && wire.reading.is_none() && wire.read_after.is_none() {
                wire.reading = self.core.demand().and_then(|demand| self.read(demand));
            }
            let event = match self.event(wire).await {
                Ok(event) => event,
                Err(error) => {
                    let error = wire.last_word(FAREWELL, error).await;
                    return LinkError::io(error, self.ca, clock::wall());
                }
            };
            if let Err(ended) = self.handle(wire, event) {
                return ended;
            }
        }
    }

    async fn event(&mut self, wire: &mut Wire) -> io::Result<Event> {
        let timeout = earliest(self.core.next_timeout(), wire.read_after);
        let readable = self.core.wants_packets() && !self.down.is_crowded();
        let unwritten = !self.out.is_empty() || wire.unflushed;
        tokio::select! {
            read = read_some(&mut wire.reader, &mut wire.input), if readable => read.map(Event::Read),
            written = write_some(&mut wire.writer, &mut self.out, &mut wire.unflushed), if unwritten => {
                written.map(|()| Event::Written)
            }
            (demand, entries) = resolved(&mut wire.reading) => Ok(Event::Entries(demand, entries)),
            changed = self.progress.changed() => Ok(match changed {
                Ok(()) => Event::Progress,
                Err(_) => Event::LogClosed,
            }),
            () = self.latest.changed(), if self.core.is_up() => Ok(Event::Latest),
            (lane, seq) = self.letters.kept() => Ok(Event::Buried(lane, seq)),
            down = self.down.event() => Ok(Event::Down(down)),
            () = until(timeout) => Ok(Event::Timeout),
            _ = self.ticks.tick() => Ok(Event::Tick),
            () = self.certificates.asked() => Ok(Event::RenewalAsked),
            news = looked(&mut wire.looking) => Ok(Event::Certificates(news)),
            () = self.stop.requested(), if !wire.stopping => Ok(Event::Stop),
        }
    }

    fn handle(&mut self, wire: &mut Wire, event: Event) -> Result<(), LinkError> {
        let now = clock::now();
        match event {
            Event::Read(0) => {
                return Err(LinkError::End {
                    before_connack: self.up_since.is_none(),
                });
            }
            Event::Read(_) => {
                #[cfg(test)]
                super::supervise::tests::fail_if_planted();
                wire.decoder.push(wire.input.split().freeze());
                self.core.heard(now);
                while let Some(incoming) = wire.decoder.next_or_oversized()? {
                    match incoming {
                        Incoming::Packet(packet) => self.core.handle_packet(now, packet),
                        Incoming::Oversized(message) => self.core.handle_oversized(now, message),
                    }
                }
            }
            Event::Entries(demand, entries) => {
                wire.reading = None;
                match entries {
                    Ok(entries) => self.core.handle_entries(demand, entries),
                    Err(error) => {
                        wire.read_after = Some(now + READ_AGAIN);
                        tracing::error!(bridge = self.name, %error, "the backlog cannot be read; trying again");
                    }
                }
            }
            Event::Down(DownEvent::Opened(maximum_qos)) => self.core.handle_inlet(now, maximum_qos),
            Event::Down(DownEvent::Answer(answer)) => self.core.handle_inlet_answer(now, &answer),
            Event::Down(DownEvent::Ended(with_broker)) => self.core.handle_inlet_ended(with_broker),
            Event::Buried(lane, seq) => self.core.handle_dead_letter(lane, seq),
            Event::Latest => self.core.handle_latest(self.latest.take_changed()),
            Event::Timeout => {
                wire.read_after.take_if(|after| *after <= now);
                self.core.handle_timeout(now);
            }
            Event::Tick => {
                self.report.figures(self.core);
                self.look_if_due(wire, now);
            }
            Event::RenewalAsked => {
                self.certificates.look_now(now);
                self.look_if_due(wire, now);
            }
            Event::Certificates(news) => {
                wire.looking = None;
                self.successor = self.certificates.heard(now, news);
                self.report.certificates(self.core, self.certificates);
                if self.successor.is_some() {
                    self.core.leave(now, now + MOVE);
                }
            }
            Event::Stop => {
                wire.stopping = true;
                self.core.stop(now, now + DRAIN);
            }
            Event::LogClosed => return Err(LinkError::Closed(Cause::Stopped)),
            Event::Written | Event::Progress | Event::Down(DownEvent::Passed) => {}
        }
        Ok(())
    }

    /// Looks at the certificate files, unless a look is under way or the bridge moves already.
    fn look_if_due(&mut self, wire: &mut Wire, now: Instant) {
        let is_free = wire.looking.is_none() && self.successor.is_none() && self.core.is_up();
        if is_free && self.certificates.is_due(now) {
            wire.looking = Some(self.certificates.look(now, wire.address));
        }
    }

    /// Lets the core do all it can without waiting; says why the connection is to be closed, if it is.
    fn settle(&mut self) -> Option<Cause> {
        let closed = self.carry_out();
        if closed.is_some() {
            return closed;
        }
        self.core.handle_not_taken(self.down.take_dropped());
        // Read after the log was told everything.
        self.progress.tell(self.core);
        let now = clock::now();
        let room = WRITE_BUFFER.saturating_sub(self.out.len());
        self.core.pump(now, clock::wall(), room);
        self.carry_out()
    }

    fn carry_out(&mut self) -> Option<Cause> {
        let now = clock::now();
        let mut closed = None;
        while let Some(effect) = self.core.poll_effect() {
            match effect {
                Effect::Send(packet) => {
                    if let Err(error) = packet.encode(self.options.protocol, &mut self.out) {
                        tracing::error!(bridge = self.name, %error, "a packet cannot be encoded");
                    }
                }
                Effect::Dropped {
                    lane,
                    seq,
                    topic,
                    reason,
                } => {
                    let bridge = self.name;
                    tracing::warn!(bridge, ?lane, seq = seq.0, %topic, %reason, "message dropped");
                }
                Effect::DeadLetter {
                    lane,
                    seq,
                    letter,
                    reason,
                } => {
                    let (bridge, topic) = (self.name, &letter.message.topic);
                    tracing::error!(bridge, ?lane, seq = seq.0, %topic, %reason, "message goes to the dead-letter");
                    self.letters.put(lane, seq, *letter);
                }
                Effect::OwnTopicRefused(topic) => {
                    tracing::error!(
                        bridge = self.name,
                        %topic,
                        "the upstream closes the connection each time this is said; it is said no more until the next start"
                    );
                }
                Effect::Done { lane, seq, outcome } => self.done.get_mut(lane).push((seq, outcome)),
                Effect::GapTold(..)
                | Effect::Received(..)
                | Effect::ForgetReceived
                | Effect::KeepSession(_) => {
                    // In the order of the core: a new session must not be on disk without what ended with the old one.
                    self.logs.done(now, &mut self.done);
                    self.logs.carry_out(now, effect, self.core);
                }
                Effect::Up {
                    session_present,
                    session_expiry,
                } => self.up(now, session_present, session_expiry),
                Effect::OpenInlet { clean_start } => self.down.open(self.options, clean_start),
                Effect::Pass(packet) => self.down.pass(packet),
                Effect::NotReceived { topic, why } => {
                    tracing::warn!(bridge = self.name, %topic, "a message of the upstream is not received: {why}");
                }
                Effect::SubscriptionRefused { filter, reason } => {
                    tracing::error!(
                        bridge = self.name,
                        filter = filter.as_str(),
                        ?reason,
                        "the upstream refused a subscription; see its rules for this client"
                    );
                }
                Effect::Close(cause) => closed = Some(cause),
            }
        }
        self.logs.done(now, &mut self.done);
        closed
    }

    fn up(&mut self, now: Instant, session_present: bool, session_expiry: Option<Duration>) {
        let bridge = self.name;
        tracing::info!(bridge, session_present, "connected to the upstream");
        if let Some(granted) = session_expiry.filter(|&kept| kept < self.options.session_expiry) {
            tracing::warn!(
                bridge,
                ?granted,
                "the upstream keeps our session for less than `session_expiry`: after a longer outage QoS 2 messages that were in flight may arrive twice"
            );
        }
        self.up_since = Some(now);
        self.certificates.accepted();
        self.report.certificates(self.core, self.certificates);
        self.logs.link(now, LinkHealth::Up);
        self.report.link(self.core, LinkState::Up, None);
        self.latest.mark_all();
        self.core.handle_latest(self.latest.take_changed());
    }

    fn read(&self, demand: Demand) -> Option<Reading> {
        let log = self.logs.get(demand.lane)?.clone();
        Some(Box::pin(async move {
            let read = log.read(demand.from, demand.messages, demand.bytes).await;
            (demand, read)
        }))
    }
}

/// Waits for the read under way; for ever, if there is none. Cancel safe.
async fn resolved(reading: &mut Option<Reading>) -> (Demand, Result<Vec<Entry>, StoreError>) {
    match reading {
        Some(reading) => reading.await,
        None => std::future::pending().await,
    }
}

/// Waits for the look under way; for ever, if there is none. Cancel safe.
async fn looked(looking: &mut Option<Looking>) -> News {
    match looking {
        Some(looking) => looking.await,
        None => std::future::pending().await,
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}
