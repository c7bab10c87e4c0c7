//! One connection of a client: from the first byte to the last.
//!
//! Until CONNECT is through, the connection is unknown to the core (`greeting`). Then its task is one hand-written poll
//! ([`Serving::poll`]): read into the thread's one buffer, run every packet of it through the core, write to each touched
//! connection once. Others write to this connection's stream from their own tasks; this task is woken only when the
//! stream could not take it all. An idle connection holds no buffer.
//!
//! What each client can make us do is bounded: packets and bytes in a turn, an unfinished frame by the packet limit, answers that it
//! does not read by a multiple of the outbox limit (then it is not read either), silence before CONNECT and a farewell it does
//! not take by time.

use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::core::CloseCause;
use super::greeting::greet;
use super::peer::{Peer, Side, Socket, Wire};
use super::shell::Shell;
use super::thread::Attendance;
use super::{IncomingConnection, Stream};
use crate::clock;
use crate::mqtt::Decoder;

/// The thread's read buffer, and what must be free of it for a read.
const INPUT_BYTES: usize = 64 << 10;
const INPUT_BYTES_MIN: usize = 16 << 10;

/// Packets of one turn; then others have theirs. One step of everybody's latency.
const PACKETS_AT_ONCE: usize = 200;
/// Effects that wait before they are carried out: what a batch of packets may take in memory.
const EFFECTS_AT_ONCE: usize = 64;
/// Bytes read in one turn: payloads so large that they never make 200 packets.
const BYTES_AT_ONCE: usize = 256 << 10;

/// For a client to take its last packets, such as why it is closed.
pub(super) const FAREWELL_MAX: Duration = Duration::from_secs(2);

/// Serves a connection to its end. `busy`: more are there than allowed, so it is told that and no more.
pub(super) fn serve(
    shell: Rc<Shell>,
    incoming: IncomingConnection,
    busy: bool,
    attendance: Attendance,
) -> impl Future<Output = ()> {
    Task {
        stage: Stage::Greeting(Box::pin(greet(shell, incoming, busy))),
        _attendance: attendance,
    }
}

/// The task of a connection. Written by hand so that it weighs no more than [`Serving`]: what is needed at the beginning
/// and at the end is boxed.
struct Task {
    stage: Stage,
    _attendance: Attendance,
}

enum Stage {
    Greeting(Pin<Box<dyn Future<Output = Option<Serving>>>>),
    Serving(Serving),
    Parting(Pin<Box<dyn Future<Output = ()>>>),
    Over,
}

impl Future for Task {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let next = match &mut self.stage {
                Stage::Greeting(greeting) => match ready!(greeting.as_mut().poll(context)) {
                    Some(serving) => Stage::Serving(serving),
                    None => Stage::Over,
                },
                Stage::Serving(serving) => {
                    let end = ready!(serving.poll_guarded(context));
                    match mem::replace(&mut self.stage, Stage::Over) {
                        Stage::Serving(serving) => Stage::Parting(Box::pin(part(serving, end))),
                        other => other,
                    }
                }
                Stage::Parting(parting) => {
                    ready!(parting.as_mut().poll(context));
                    Stage::Over
                }
                Stage::Over => return Poll::Ready(()),
            };
            self.stage = next;
        }
    }
}

/// How a connection comes to its end.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum End {
    /// By the core's decision, which may have a last packet for the client.
    #[error("{0}")]
    Closed(CloseCause),
    #[error("the client went away without a DISCONNECT")]
    Eof,
    #[error("the connection broke: {0}")]
    Broken(io::ErrorKind),
    #[error("a fault of fieldgate")]
    Panicked,
}

/// What the stream has, as a slice of the thread's buffer; empty at its end.
pub(super) fn poll_input(
    shell: &Shell,
    stream: &mut dyn Stream,
    context: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    let mut input = shell.input.borrow_mut();
    if input.capacity() < INPUT_BYTES_MIN {
        input.reserve(INPUT_BYTES); // the same memory again, where no packet holds on to it
    }
    let read = pin!(stream.read_buf(&mut *input));
    let count = ready!(read.poll(context))?;
    shell.traffic.bytes_received(count);
    Poll::Ready(Ok(input.split().freeze()))
}

/// A connection that the core knows.
pub(super) struct Serving {
    shell: Rc<Shell>,
    peer: Rc<Peer>,
    decoder: Decoder,
    /// The decoder may have whole packets left.
    undecoded: bool,
    /// A log that this client feeds is full: it is not read until there is room.
    room: Option<Pin<Box<dyn Future<Output = ()>>>>,
    /// The core knows that it is not read.
    unread: bool,
}

impl Serving {
    pub(super) fn new(shell: Rc<Shell>, peer: Rc<Peer>, decoder: Decoder) -> Self {
        Self {
            shell,
            peer,
            decoder,
            undecoded: true,
            room: None,
            unread: false,
        }
    }

    fn poll_guarded(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let shell = Rc::clone(&self.shell);
        let polled = shell.guarded(|| self.poll(context));
        polled.unwrap_or(Poll::Ready(End::Panicked))
    }

    /// One turn.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<End> {
        let peer = Rc::clone(&self.peer);
        let Side::Socket(socket) = &peer.side else {
            return Poll::Ready(End::Eof);
        };
        socket.served_by(context);
        if !socket.is_drained() {
            self.shell.touch(&peer, socket.waiting());
        }
        let mut packets = PACKETS_AT_ONCE;
        let end = self.take_in(socket, &mut packets, context);
        self.shell.finish(PACKETS_AT_ONCE - packets);
        match end.or_else(|| self.end(socket)) {
            Some(end) => Poll::Ready(end),
            None => Poll::Pending,
        }
    }

    /// Whether somebody wants this connection closed.
    fn end(&self, socket: &Socket) -> Option<End> {
        let closed = self.peer.closing.get().map(End::Closed);
        closed.or_else(|| socket.broken().map(End::Broken))
    }

    /// Reads and decodes until there is no more, the turn is used up, or something must be waited for. Whatever it waits
    /// for wakes the task.
    fn take_in(
        &mut self,
        socket: &Socket,
        packets: &mut usize,
        context: &mut Context<'_>,
    ) -> Option<End> {
        let mut bytes = BYTES_AT_ONCE;
        loop {
            if let Some(room) = &mut self.room {
                if room.as_mut().poll(context).is_pending() {
                    self.tell_unread(true);
                    return None;
                }
                self.room = None;
            }
            let end = self.end(socket);
            if end.is_some() {
                return end;
            }
            if self.peer.paused.get() {
                return None;
            }
            if *packets == 0 || bytes == 0 {
                context.waker().wake_by_ref();
                return None;
            }
            if self.undecoded {
                self.take_packets(socket, packets);
                continue;
            }
            if self.is_deaf(socket) {
                self.tell_unread(true);
                return None;
            }
            self.tell_unread(false);
            let read = socket
                .with_wire(|Wire { stream, .. }| poll_input(&self.shell, stream.as_mut(), context));
            match read {
                Poll::Pending => return None,
                Poll::Ready(Ok(input)) if input.is_empty() => return Some(End::Eof),
                Poll::Ready(Ok(input)) => {
                    bytes = bytes.saturating_sub(input.len());
                    self.decoder.push(input);
                    self.undecoded = true;
                }
                Poll::Ready(Err(fault)) => return Some(End::Broken(fault.kind())),
            }
        }
    }

    /// While we do not read it, its silence says nothing.
    fn tell_unread(&mut self, unread: bool) {
        if self.unread != unread {
            self.unread = unread;
            let conn = self.peer.conn;
            self.shell.turn(self.shell.moment(), |core, at| {
                core.unread(at.now, conn, unread);
            });
        }
    }

    /// It sends and does not read what it is answered. The write that it blocks wakes this task when it reads on.
    fn is_deaf(&self, socket: &Socket) -> bool {
        let limit = self.shell.outbox_max() * 2;
        if socket.waiting() > limit {
            self.shell.flush(socket, clock::now());
        }
        socket.waiting() > limit
    }

    /// One step of what was read: up to `packets` through the core, then what it decided.
    fn take_packets(&mut self, socket: &Socket, packets: &mut usize) {
        let Self {
            shell,
            peer,
            decoder,
            undecoded,
            ..
        } = self;
        let filled = shell.turn(shell.moment(), |core, at| {
            while *packets > 0 {
                if shell.express(core, at, peer.conn, decoder) {
                    *packets -= 1;
                    if shell.is_swollen() {
                        return;
                    }
                    continue;
                }
                let waiting = core.effects_waiting();
                match decoder.next_packet() {
                    Ok(Some(packet)) => {
                        shell.traffic.received(&packet);
                        core.receive(at.now, at.wall, peer.conn, packet);
                    }
                    Ok(None) => {
                        *undecoded = false;
                        return;
                    }
                    Err(fault) => {
                        let client_id = core.client_id(peer.conn).map(|id| &**id);
                        tracing::info!(address = %socket.address, client_id, %fault, "closed: what the client sent is not MQTT");
                        *undecoded = false;
                        return core.violated(at.now, peer.conn, fault.reason());
                    }
                }
                *packets -= 1;
                if core.must_carry_out(waiting) || core.effects_waiting() >= EFFECTS_AT_ONCE {
                    return;
                }
            }
        });
        self.room = filled.and_then(|log| self.shell.keeping.room(log));
    }
}

/// The core forgets the connection, and the client gets its farewell where there is one.
async fn part(serving: Serving, end: End) {
    let Serving {
        shell,
        peer,
        decoder,
        ..
    } = serving;
    drop(decoder);
    let Side::Socket(socket) = &peer.side else {
        return;
    };
    // Whom the core closed it has named.
    let (address, conn) = (&socket.address, peer.conn.0);
    let client_id = shell.core.borrow().client_id(peer.conn).cloned();
    tracing::debug!(%address, conn, client_id = client_id.as_deref(), %end, "connection closed");
    shell.leave(&peer);
    if let End::Closed(cause) = end
        && timeout(FAREWELL_MAX, say_farewell(&shell, socket, cause))
            .await
            .is_err()
    {
        tracing::debug!(%address, conn, "the client did not take its farewell");
    }
}

/// Gives the client what is left for it and closes. Who was told why it is closed gets the time to read it: closing with
/// unread bytes in our buffer would throw that away on its side.
async fn say_farewell(shell: &Shell, socket: &Socket, cause: CloseCause) {
    let written = poll_fn(|context| {
        socket.served_by(context);
        shell.flush(socket, clock::now());
        match socket.broken() {
            Some(kind) => Poll::Ready(Err(io::Error::from(kind))),
            None if socket.is_drained() => socket
                .with_wire(|Wire { stream, .. }| Pin::new(stream.as_mut()).poll_shutdown(context)),
            None => Poll::Pending,
        }
    });
    if written.await.is_err() || cause == CloseCause::Disconnected {
        return;
    }
    loop {
        let read = poll_fn(|context| {
            socket.with_wire(|Wire { stream, .. }| poll_input(shell, stream.as_mut(), context))
        });
        match read.await {
            Ok(bytes) if !bytes.is_empty() => {}
            _ => return,
        }
    }
}
