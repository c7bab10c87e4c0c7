//! The beginning of a connection: CONNECT within its time, and who it is. Until then the core does not know it.

use std::future::poll_fn;
use std::io;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::time::{timeout, timeout_at};

use super::connection::{FAREWELL_MAX, Serving, poll_input};
use super::core::AuthRefusal;
use super::peer::{Address, Side, Socket};
use super::shell::Shell;
use super::{IncomingConnection, Origin, Stream};
use crate::auth::{Identity, Login, LoginRefusal};
use crate::clock;
use crate::mqtt::{Connack, Connect, DecodeError, Decoder, Packet, ProtocolVersion, ReasonCode};

/// A client that had to wait until the broker's thread came to it, as one of a thousand that came back at once, may have sent
/// its CONNECT long ago: it is read for so long, whatever the limit says.
const READ_MIN: Duration = Duration::from_secs(1);

/// CONNECT, and who it is. `None`: there is nothing to serve; the reason is logged.
pub(super) async fn greet(
    shell: Rc<Shell>,
    incoming: IncomingConnection,
    busy: bool,
) -> Option<Serving> {
    let IncomingConnection {
        mut stream,
        listener,
        peer,
        certified,
        anonymous,
        accepted,
        has_ended,
    } = incoming;
    let address = Address { listener, peer };
    if let Err(fault) = stream.rehome() {
        tracing::warn!(%address, %fault, "the socket cannot be served");
        return None;
    }
    let mut decoder = Decoder::new(None, shell.limits.packet_size);
    let mut stop = shell.stop.clone();
    let deadline = accepted + shell.limits.connect_timeout;
    let deadline = deadline.max(clock::now() + READ_MIN);
    let first = tokio::select! {
        () = stop.requested() => return None,
        first = timeout_at(deadline.into(), first_packet(&shell, stream.as_mut(), &mut decoder)) => first,
    };
    let connect = match first {
        Ok(Ok(connect)) => connect,
        Ok(Err(fault)) => {
            complain(&address, &fault);
            turn_away(stream.as_mut(), &address, &fault).await;
            return None;
        }
        Err(_) => {
            complain(&address, &NoConnect::Slow);
            return None;
        }
    };
    let login = Login {
        client_id: connect.client_id.clone(),
        listener: address.listener.clone(),
        peer,
        certified,
        anonymous,
        user_name: connect.user_name.clone(),
        password: connect.password.clone(),
    };
    // Nothing is read while this waits, so no packet overtakes it.
    let identity = if busy {
        Err(AuthRefusal::ServerBusy)
    } else if connect.authentication_method.is_some() {
        Err(AuthRefusal::BadAuthenticationMethod)
    } else {
        let identity = authenticate(&shell, login).await;
        let is_open = !has_ended.load(Ordering::Relaxed);
        identity.and_then(|it| is_open.then_some(it).ok_or(AuthRefusal::ServerBusy))
    };
    let socket = Socket::new(address, &connect, stream);
    let peer = shell.join(Side::Socket(socket));
    let told = shell.guarded(|| {
        shell.turn(shell.moment(), |core, at| {
            // The newest rules: what is replaced from now on finds the client in the core.
            let access = &shell.authenticator.credentials().access;
            let principal = |client_id: &str| Ok(identity?.with_rights(access, client_id));
            core.connect(at.now, peer.conn, Origin::Client, principal, *connect);
        });
    });
    if told.is_none() {
        shell.leave(&peer);
        return None;
    }
    Some(Serving::new(shell, peer, decoder))
}

async fn authenticate(shell: &Shell, login: Login) -> Result<Identity, AuthRefusal> {
    let checked = shell.authenticator.check(login).await;
    checked.map_err(|refusal| match refusal {
        LoginRefusal::BadUserNameOrPassword => AuthRefusal::BadUserNameOrPassword,
        LoginRefusal::NotAuthorized => AuthRefusal::NotAuthorized,
        LoginRefusal::Busy => AuthRefusal::ServerBusy,
    })
}

/// Why there was no CONNECT.
#[derive(Debug, thiserror::Error)]
enum NoConnect {
    #[error("{0}")]
    Garbage(#[from] DecodeError),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the client closed before CONNECT")]
    Eof,
    #[error("no CONNECT within `connect_timeout`")]
    Slow,
}

async fn first_packet(
    shell: &Shell,
    stream: &mut dyn Stream,
    decoder: &mut Decoder,
) -> Result<Box<Connect>, NoConnect> {
    loop {
        let bytes = poll_fn(|context| poll_input(shell, stream, context)).await?;
        if bytes.is_empty() {
            return Err(NoConnect::Eof);
        }
        decoder.push(bytes);
        let packet = decoder.next_packet()?;
        if let Some(packet) = &packet {
            shell.traffic.received(packet);
        }
        match packet {
            None => {}
            Some(Packet::Connect(connect)) => return Ok(connect),
            Some(other) => {
                let packet = other.packet_type();
                return Err(DecodeError::NotConnect { packet }.into());
            }
        }
    }
}

/// Says why a connection ended before it began.
fn complain(address: &Address, fault: &NoConnect) {
    tracing::info!(%address, %fault, "closed before CONNECT");
}

/// Garbage is closed without a word: nobody knows what would understand it. A version that we do not speak is told so in
/// the form of 3.1.1, which asks for it [MQTT-3.1.2-2]; MQTT 5 leaves it open.
async fn turn_away(stream: &mut dyn Stream, address: &Address, fault: &NoConnect) {
    if !matches!(
        fault,
        NoConnect::Garbage(DecodeError::UnsupportedVersion { .. })
    ) {
        return;
    }
    let connack = Connack::new(ReasonCode::UnsupportedProtocolVersion, false);
    let connack = Packet::Connack(Box::new(connack));
    let mut frame = BytesMut::new();
    if let Err(fault) = connack.encode(ProtocolVersion::V311, &mut frame) {
        tracing::error!(%fault, "a CONNACK cannot be encoded; this is a fault of fieldgate");
    }
    let farewell = async {
        stream.write_all(&frame).await?;
        stream.shutdown().await
    };
    match timeout(FAREWELL_MAX, farewell).await {
        Ok(Ok(())) => {}
        Ok(Err(fault)) => tracing::debug!(%address, %fault, "the client was gone"),
        Err(_) => tracing::debug!(%address, "the client did not take its farewell"),
    }
}
