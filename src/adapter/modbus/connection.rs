//! One Modbus TCP connection and one transaction on it.
//!
//! Invariant: [`Connection::ask`] takes the connection and gives it back only where the reply was whole and right, or a
//! whole exception. A connection that saw a timeout, a foreign reply or a byte too many is dropped with whatever may
//! still arrive on it; so a late reply has nobody to be taken for a later one by.

use std::fmt;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::slave::SlaveContext;
use tokio_modbus::{Error, ExceptionCode, ProtocolError, Response, Slave};

use super::super::data::Data;
use super::super::options::UnitId;
use super::super::reason::Reason;
use super::ask::{Ask, Reply};
use super::tap::{Exchange, Observer, Tap};
use crate::clock;

/// Transaction, protocol, length and unit.
const MBAP_BYTES: usize = 7;
/// An exception reply: function and code.
const EXCEPTION_BYTES: usize = MBAP_BYTES + 2;

/// A connection on which nothing has gone wrong.
pub(super) struct Connection {
    context: Context,
    observer: Observer,
}

impl fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Connection").finish_non_exhaustive()
    }
}

impl Connection {
    pub(super) fn over<S>(stream: S) -> Self
    where
        S: AsyncRead + AsyncWrite + fmt::Debug + Send + Unpin + 'static,
    {
        let (tap, observer) = Tap::new(stream);
        Self {
            context: tcp::attach(tap),
            observer,
        }
    }

    /// One transaction within `limit`.
    pub(super) async fn ask(
        mut self,
        unit: UnitId,
        ask: Ask<'_>,
        limit: Duration,
    ) -> (Result<Reply, Reason>, Option<Self>) {
        self.observer.start();
        self.context.set_slave(Slave(unit.0));
        let sent = clock::now();
        let call = self.context.call(ask.function());
        let Ok(outcome) = tokio::time::timeout(limit, call).await else {
            return (Err(Reason::Timeout), None);
        };
        let (at, took) = (clock::wall(), clock::now() - sent);
        let exchange = self.observer.exchange();
        let result = match outcome {
            Ok(Ok(response)) => {
                check(ask, response, &exchange).map(|data| Reply { data, at, took })
            }
            Ok(Err(code)) if exchange.reply.bytes == EXCEPTION_BYTES => {
                return (Err(exception(code)), Some(self));
            }
            Ok(Err(_)) => Err(Reason::Garbled),
            Err(error) => Err(reason(&error, &exchange)),
        };
        let kept = result.is_ok().then_some(self);
        (result, kept)
    }
}

fn exception(code: ExceptionCode) -> Reason {
    Reason::Exception(code.into())
}

/// The crate has not matched the count with the bytes that came.
fn check(ask: Ask<'_>, response: Response, exchange: &Exchange) -> Result<Data, Reason> {
    let data = ask.data(response)?;
    // A peer that sends back what it gets seems to answer a read of three bytes of bits from 0x0300 to 0x03FF.
    if !ask.is_write() && exchange.is_echo() {
        return Err(Reason::Echo);
    }
    if exchange.reply.bytes == MBAP_BYTES + ask.reply_bytes() {
        Ok(data)
    } else {
        Err(Reason::WrongCount)
    }
}

/// What the failure means, from what was seen on the wire: the crate's own errors do not say (end of stream is a left-over
/// errno).
fn reason(error: &Error, exchange: &Exchange) -> Reason {
    match error {
        Error::Protocol(ProtocolError::HeaderMismatch { .. }) => {
            if exchange.reply.unit() == exchange.request.unit() {
                Reason::WrongTransaction
            } else {
                Reason::WrongUnit
            }
        }
        Error::Protocol(ProtocolError::FunctionCodeMismatch { .. }) => Reason::WrongFunction,
        Error::Transport(_) if exchange.broken => Reason::ConnectionClosed,
        Error::Transport(_) => Reason::Garbled,
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::super::super::options::Table;
    use super::super::super::plan::ReadRequest;
    use super::*;

    const LIMIT: Duration = Duration::from_secs(30);
    const UNIT: UnitId = UnitId(17);

    fn request(table: Table, quantity: u16) -> ReadRequest {
        ReadRequest {
            table,
            address: 7,
            quantity,
            tags: vec![],
        }
    }

    /// The request is answered by these bytes, then the peer closes.
    async fn answered(request: &ReadRequest, reply: &[u8]) -> (Result<Data, Reason>, bool) {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let asked = Connection::over(ours).ask(UNIT, Ask::Read(request), LIMIT);
        let answering = async {
            theirs.read_exact(&mut [0; 12]).await.unwrap();
            theirs.write_all(reply).await.unwrap();
            drop(theirs);
        };
        let ((result, kept), ()) = tokio::join!(asked, answering);
        (result.map(|reply| reply.data), kept.is_some())
    }

    /// Transaction 0, as the first on every connection.
    const REGISTERS: [u8; 13] = [0, 0, 0, 0, 0, 7, 17, 3, 4, 0xAB, 0xCD, 0, 9];
    const BITS: [u8; 11] = [0, 0, 0, 0, 0, 5, 17, 1, 2, 0b1010_0101, 0b0000_0010];

    #[tokio::test]
    async fn a_right_reply_is_taken_and_the_connection_kept() {
        let registers = answered(&request(Table::HoldingRegisters, 2), &REGISTERS).await;
        assert_eq!(registers, (Ok(Data::Registers(vec![0xABCD, 9])), true));
        let (bits, kept) = answered(&request(Table::Coils, 10), &BITS).await;
        let low = [
            true, false, true, false, false, true, false, true, false, true,
        ];
        assert_eq!((bits, kept), (Ok(Data::Bits(low.to_vec())), true));
        let refusal = [0, 0, 0, 0, 0, 3, 17, 0x83, 2];
        let refused = answered(&request(Table::HoldingRegisters, 2), &refusal).await;
        assert_eq!(refused, (Err(Reason::Exception(2)), true));
    }

    #[tokio::test]
    async fn no_reply_with_any_wrong_byte_in_its_head_is_taken() {
        for (request, right) in [
            (request(Table::HoldingRegisters, 2), &REGISTERS[..]),
            (request(Table::Coils, 10), &BITS[..]),
        ] {
            for at in 0..9 {
                for wrong in 0..=u8::MAX {
                    let mut reply = right.to_vec();
                    if reply[at] == wrong {
                        continue;
                    }
                    reply[at] = wrong;
                    let (result, kept) = answered(&request, &reply).await;
                    assert!(result.is_err() && !kept, "{reply:?}: {result:?}");
                }
            }
        }
    }

    #[tokio::test]
    async fn a_read_that_is_sent_back_is_not_the_reply_though_it_looks_like_one() {
        let request = ReadRequest {
            address: 0x0313,
            ..request(Table::Coils, 20)
        };
        let echo = [0, 0, 0, 0, 0, 6, 17, 1, 3, 0x13, 0, 20];
        let (result, kept) = answered(&request, &echo).await;
        assert_eq!((result, kept), (Err(Reason::Echo), false));
    }

    #[tokio::test]
    async fn a_connection_that_saw_a_timeout_is_gone() {
        let (ours, mut theirs) = tokio::io::duplex(1024);
        let request = request(Table::HoldingRegisters, 2);
        let limit = Duration::from_millis(1);
        let (result, kept) = Connection::over(ours)
            .ask(UNIT, Ask::Read(&request), limit)
            .await;
        assert_eq!(result.map(|reply| reply.data), Err(Reason::Timeout));
        assert!(kept.is_none());
        let closed = theirs.read_to_end(&mut Vec::new()).await;
        assert_eq!(closed.unwrap(), 12, "the request, then the end");
        assert!(
            theirs.write_all(&REGISTERS).await.is_err(),
            "nobody is there for a late reply"
        );
    }

    #[tokio::test]
    async fn no_reply_that_is_cut_or_has_more_behind_it_is_taken() {
        let request = request(Table::HoldingRegisters, 2);
        for length in 0..REGISTERS.len() {
            let (result, kept) = answered(&request, &REGISTERS[..length]).await;
            assert_eq!(
                (result, kept),
                (Err(Reason::ConnectionClosed), false),
                "{length}"
            );
        }
        for more in 1..20 {
            let mut reply = REGISTERS.to_vec();
            reply.resize(REGISTERS.len() + more, 0);
            let (result, kept) = answered(&request, &reply).await;
            assert_eq!((result, kept), (Err(Reason::WrongCount), false), "{more}");
        }
    }

    #[tokio::test]
    async fn a_reply_to_more_or_less_than_was_asked_is_not_taken() {
        for quantity in [1, 3, 125] {
            let asked = request(Table::HoldingRegisters, quantity);
            let (result, kept) = answered(&asked, &REGISTERS).await;
            assert_eq!(
                (result, kept),
                (Err(Reason::WrongCount), false),
                "{quantity}"
            );
        }
        for quantity in [8, 17, 2000] {
            let (result, kept) = answered(&request(Table::Coils, quantity), &BITS).await;
            assert_eq!(
                (result, kept),
                (Err(Reason::WrongCount), false),
                "{quantity}"
            );
        }
    }
}
