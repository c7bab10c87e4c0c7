//! Modbus by hand through the gateway that runs: it has the wire, and makes each request there between its polls. Asked on its
//! control socket.
//!
//! Invariant: a request is sent to it once; where its answer is lost after that, it is in doubt what became of it.

use std::io;
use std::path::PathBuf;

use serde_json::{Value, json};

use crate::adapter::WireOptions;
use crate::adapter::by_hand::{Call, Data, Keeper, Unanswered};
use crate::control::{AskError, Request, ask};

/// The gateway that runs, as the one that has a wire.
#[derive(Clone, Debug)]
pub(in crate::cli) struct Gateway {
    pub(super) socket: PathBuf,
    /// Under this name.
    pub(super) connection: String,
    /// As it has it.
    pub(super) wire: WireOptions,
}

impl Gateway {
    /// What a person is told first.
    pub(super) fn note(&self) -> String {
        let Self {
            connection, wire, ..
        } = self;
        format!(
            "note: through the gateway that runs, between its polls: it has {wire}, as `{connection}`"
        )
    }

    /// Whether it speaks there as `wanted` would.
    pub(super) fn has(&self, wanted: &WireOptions) -> bool {
        use WireOptions::{ModbusRtu, ModbusRtuOverTcp, ModbusTcp};
        match (&self.wire, wanted) {
            (ModbusTcp(_), ModbusTcp(_)) | (ModbusRtuOverTcp(..), ModbusRtuOverTcp(..)) => true,
            (ModbusRtu(own, _), ModbusRtu(wanted, _)) => {
                (own.baud_rate, own.parity, own.stop_bits)
                    == (wanted.baud_rate, wanted.parity, wanted.stop_bits)
            }
            _ => false,
        }
    }

    fn ask(&self, call: &Call) -> Result<Value, AskError> {
        let request = Request::Modbus {
            connection: self.connection.clone(),
            to: self.wire.to_string(),
            unit: call.unit.0,
            timeout_ms: u64::try_from(call.timeout.as_millis()).unwrap_or(u64::MAX),
            what: json!(call.what),
        };
        let answer = ask(&self.socket, &request)?.next();
        answer.unwrap_or_else(|| Err(AskError::Broken(io::ErrorKind::UnexpectedEof.into())))
    }
}

impl Keeper for Gateway {
    fn make(&self, call: &Call) -> Result<Data, Unanswered> {
        let answer = self.ask(call).map_err(unasked)?;
        let made: Result<Data, Unanswered> = serde_json::from_value(answer)
            .map_err(|fault| Unanswered::Lost(format!("it is of another version: {fault}")))?;
        made.map_err(|fault| match fault {
            // What is said of a port is of that user's rights, not of this one's.
            Unanswered::NotOpen(said) => {
                Unanswered::NotOpen(format!("the gateway that runs says: {said}"))
            }
            fault => fault,
        })
    }
}

fn unasked(error: AskError) -> Unanswered {
    match error {
        AskError::NotRunning => Unanswered::Ended,
        AskError::NotPermitted | AskError::TooLong | AskError::Fault(_) => {
            Unanswered::Refused(error.to_string())
        }
        AskError::Silent(_) | AskError::Broken(_) => Unanswered::Lost(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;
    use std::thread;
    use std::time::Duration;

    use super::*;
    use crate::adapter::by_hand::What;
    use crate::adapter::{Reason, Table, TcpOptions, UnitId};

    const READ: What = What::Read {
        table: Table::HoldingRegisters,
        address: 7,
        quantity: 1,
    };

    /// What comes of it where the gateway says `line` to the request, and then closes.
    fn made(line: &'static str) -> Result<Data, Unanswered> {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("control.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let gateway = Gateway {
            socket,
            connection: "net".to_owned(),
            wire: WireOptions::ModbusTcp(TcpOptions {
                host: "plc".to_owned(),
                port: 502,
                connect_timeout: Duration::from_secs(1),
                tls: None,
            }),
        };
        let answering = thread::spawn(move || {
            let (mut peer, _) = listener.accept().unwrap();
            let mut asked = String::new();
            BufReader::new(&peer).read_line(&mut asked).unwrap();
            peer.write_all(line.as_bytes()).unwrap();
            asked
        });
        let made = gateway.make(&Call {
            unit: UnitId(3),
            timeout: Duration::from_millis(800),
            what: READ,
        });
        let asked: Value = serde_json::from_str(&answering.join().unwrap()).unwrap();
        let wanted = json!({ "modbus": { "connection": "net", "to": "plc:502", "unit": 3, "timeout_ms": 800,
            "what": { "read": { "table": "holding_registers", "address": 7, "quantity": 1 } } } });
        assert_eq!(asked, wanted);
        made
    }

    #[test]
    fn what_the_gateway_answers_is_told_from_that_it_does_not() {
        assert_eq!(
            made("{\"item\":{\"Ok\":{\"registers\":[7]}}}\n\"end\"\n"),
            Ok(Data::Registers(vec![7]))
        );
        assert_eq!(
            made("{\"item\":{\"Err\":{\"reason\":\"timeout\"}}}\n"),
            Err(Unanswered::Reason(Reason::Timeout))
        );
        let said = made("{\"item\":{\"Err\":{\"not_open\":\"no such port\"}}}\n");
        let Err(Unanswered::NotOpen(said)) = said else {
            panic!("{said:?}");
        };
        assert_eq!(said, "the gateway that runs says: no such port");
        let refused = made("{\"fault\":\"only root may ask\"}\n");
        assert_eq!(
            refused,
            Err(Unanswered::Refused("only root may ask".to_owned()))
        );
        for lost in [
            "",
            "{\"item\":7}\n",
            "{\"fault\":\"the answer broke off\"}\n",
            "\"end\"\n",
        ] {
            let made = made(lost);
            assert!(matches!(made, Err(Unanswered::Lost(_))), "{lost}: {made:?}");
        }
    }

    #[test]
    fn where_nobody_listens_nothing_was_made() {
        let fault = unasked(AskError::NotRunning);
        assert!(fault == Unanswered::Ended && !fault.leaves_in_doubt());
        let fault = unasked(AskError::Silent(Duration::from_secs(1)));
        assert!(fault.leaves_in_doubt());
    }
}
