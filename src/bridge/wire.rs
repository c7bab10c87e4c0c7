//! The bytes of one connection, and what is under way on it. It knows no packet.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::BridgeOptions;
use super::certificates::Looking;
use super::core::Demand;
use super::dial::Stream;
use crate::mqtt::Decoder;
use crate::store::{Entry, StoreError};

/// Bytes read at a time.
const READ_BUFFER: usize = 16 << 10;

pub(super) type Reading =
    Pin<Box<dyn Future<Output = (Demand, Result<Vec<Entry>, StoreError>)> + Send>>;

/// The connection itself, and what is under way on it.
pub(super) struct Wire {
    pub(super) reader: ReadHalf<Box<dyn Stream>>,
    pub(super) writer: WriteHalf<Box<dyn Stream>>,
    pub(super) decoder: Decoder,
    pub(super) input: BytesMut,
    /// Which of the addresses it goes to.
    pub(super) address: usize,
    /// TLS may hold back bytes that were taken from `out`.
    pub(super) unflushed: bool,
    /// A read of the log that is under way.
    pub(super) reading: Option<Reading>,
    /// No read before, because the last one failed.
    pub(super) read_after: Option<Instant>,
    /// A look at the certificate files that is under way.
    pub(super) looking: Option<Looking>,
    pub(super) stopping: bool,
}

impl Wire {
    pub(super) fn new(stream: Box<dyn Stream>, options: &BridgeOptions, address: usize) -> Self {
        let (reader, writer) = tokio::io::split(stream);
        Self {
            reader,
            writer,
            decoder: Decoder::new(Some(options.protocol), options.packet_size),
            input: BytesMut::with_capacity(READ_BUFFER),
            address,
            unflushed: false,
            reading: None,
            read_after: None,
            looking: None,
            stopping: false,
        }
    }

    /// A write that fails hides what the upstream said before it closed, such as the TLS alert about our certificate.
    pub(super) async fn last_word(&mut self, within: Duration, error: io::Error) -> io::Error {
        match timeout(within, read_some(&mut self.reader, &mut self.input)).await {
            Ok(Err(said)) if said.get_ref().is_some() => said,
            _ => error,
        }
    }

    /// Reads until the upstream has closed the connection, too.
    pub(super) async fn until_end(&mut self) -> io::Result<()> {
        while read_some(&mut self.reader, &mut self.input).await? > 0 {
            self.input.clear();
        }
        Ok(())
    }
}

/// Cancel safe: what was read is in `input`.
pub(super) async fn read_some(
    reader: &mut ReadHalf<Box<dyn Stream>>,
    input: &mut BytesMut,
) -> io::Result<usize> {
    input.reserve(READ_BUFFER);
    reader.read_buf(input).await
}

/// One write, and whatever TLS holds back. Cancel safe: what was written is gone from `out`.
pub(super) async fn write_some(
    writer: &mut WriteHalf<Box<dyn Stream>>,
    out: &mut BytesMut,
    unflushed: &mut bool,
) -> io::Result<()> {
    if !out.is_empty() {
        writer.write_buf(out).await?;
        *unflushed = true;
    }
    writer.flush().await?;
    *unflushed = false;
    Ok(())
}
