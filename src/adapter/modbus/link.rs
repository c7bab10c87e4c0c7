//! What a wire is at the moment: a Modbus TCP connection, which no failure survives, or a line, which survives its port.

use std::time::Duration;

use super::super::options::UnitId;
use super::super::reason::Reason;
use super::super::wire_options::WireOptions;
use super::ask::{Ask, Reply};
use super::connection::Connection;
use super::line::{Line, Timing};
use super::open::Port;

/// Open or not.
#[derive(Debug)]
pub(super) enum Link {
    Tcp(Option<Connection>),
    Line(Line),
}

impl Link {
    /// Not open.
    pub(super) fn new(options: &WireOptions) -> Self {
        match options {
            WireOptions::ModbusTcp(_) => Self::Tcp(None),
            WireOptions::ModbusRtu(_, rtu) | WireOptions::ModbusRtuOverTcp(_, rtu) => {
                Self::Line(Line::new(Timing {
                    gap: options.frame_gap(),
                    byte: options.byte(),
                    discards_echo: rtu.discard_echo,
                }))
            }
        }
    }

    /// The same where another may have been asking until now. A Modbus TCP connection hears nobody else's answers.
    pub(super) fn hearing_out(self, first: Duration) -> Self {
        match self {
            Self::Tcp(connection) => Self::Tcp(connection),
            Self::Line(line) => Self::Line(line.hearing_out(first)),
        }
    }

    pub(super) fn is_open(&self) -> bool {
        match self {
            Self::Tcp(connection) => connection.is_some(),
            Self::Line(line) => line.is_plugged(),
        }
    }

    /// Goes on over a port that was opened anew.
    pub(super) fn plug(&mut self, port: Box<dyn Port>) {
        match self {
            Self::Tcp(connection) => *connection = Some(Connection::over(port)),
            Self::Line(line) => line.plug(port),
        }
    }

    pub(super) fn close(&mut self) {
        match self {
            Self::Tcp(connection) => *connection = None,
            Self::Line(line) => line.unplug(),
        }
    }

    pub(super) fn take_late(&mut self) -> Vec<UnitId> {
        match self {
            Self::Tcp(_) => Vec::new(),
            Self::Line(line) => line.take_late(),
        }
    }

    /// One transaction; whether it is still open afterwards is up to what happened.
    pub(super) async fn ask(
        &mut self,
        unit: UnitId,
        ask: Ask<'_>,
        limit: Duration,
    ) -> Result<Reply, Reason> {
        match self {
            Self::Tcp(connection) => {
                let open = connection.take().ok_or(Reason::ConnectionClosed)?;
                let (result, kept) = open.ask(unit, ask, limit).await;
                *connection = kept;
                result
            }
            Self::Line(line) => line.ask(unit, ask, limit).await,
        }
    }
}
