//! The HTTP handshake on a socket: reads the request, bounded, and answers it. Whoever calls sets the time it may take.

use std::io;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::WebSocketOptions;
use super::request::{self, Refusal};

/// The head of a request. Browsers send a few hundred bytes, and cookies.
const HEAD_BYTES_MAX: usize = 8 << 10;
const READ_BYTES: usize = 1 << 10;

/// What is read and thrown away after a refusal, so that the client reads why: closing with unread bytes in our buffer would throw
/// the answer away on its side.
const REST_BYTES_MAX: usize = 64 << 10;

/// Why there is no WebSocket. The client is to blame, and was told where it speaks HTTP.
#[derive(Debug, thiserror::Error)]
pub(in crate::listener) enum UpgradeFault {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("the client closed before its request was whole")]
    Eof,
    #[error("the client speaks TLS; give it a ws:// URL, or the listener a `tls` section")]
    Tls,
    #[error(
        "the client does not speak HTTP; for MQTT without WebSocket, use a listener without `websocket`"
    )]
    NotHttp,
    #[error("the head of the request is longer than {HEAD_BYTES_MAX} bytes")]
    TooLong,
    #[error("{0}")]
    Refused(#[from] Refusal),
}

/// The handshake; gives what came right behind it. A client that is refused is told why.
pub(in crate::listener) async fn upgrade(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    options: &WebSocketOptions,
) -> Result<Bytes, UpgradeFault> {
    let (head, ahead) = match read_head(stream).await {
        Ok(read) => read,
        Err(UpgradeFault::TooLong) => {
            let response = "HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
            refuse(stream, response).await?;
            return Err(UpgradeFault::TooLong);
        }
        Err(fault) => return Err(fault),
    };
    match request::answer(&head, options) {
        Ok(response) => {
            stream.write_all(response.as_bytes()).await?;
            stream.flush().await?;
            Ok(ahead)
        }
        Err((refusal, response)) => {
            refuse(stream, &response).await?;
            Err(refusal.into())
        }
    }
}

/// The head with its empty line, and what came behind it.
async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Bytes, Bytes), UpgradeFault> {
    let mut read = BytesMut::new();
    loop {
        let before = read.len();
        read.reserve(READ_BYTES);
        if stream.read_buf(&mut read).await? == 0 {
            return Err(UpgradeFault::Eof);
        }
        match read.first() {
            Some(b'A'..=b'Z') => {}
            Some(0x16) => return Err(UpgradeFault::Tls),
            _ => return Err(UpgradeFault::NotHttp),
        }
        // What was searched before is not searched again, but for an end that was cut.
        let from = before.saturating_sub(3);
        let mut windows = read.get(from..).unwrap_or_default().windows(4);
        if let Some(at) = windows.position(|window| window == b"\r\n\r\n") {
            let head = read.split_to(from + at + 4).freeze();
            // Copied, so that the buffer of the request is not kept for it.
            return Ok((head, Bytes::copy_from_slice(&read)));
        }
        if read.len() > HEAD_BYTES_MAX {
            return Err(UpgradeFault::TooLong);
        }
    }
}

async fn refuse<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    response: &str,
) -> io::Result<()> {
    stream.write_all(response.as_bytes()).await?;
    stream.shutdown().await?;
    let mut rest = [0; READ_BYTES];
    for _ in 0..REST_BYTES_MAX / READ_BYTES {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}
