//! Who is to blame that there is no answer, and what to do about it, in words. No I/O.

use std::time::Duration;

use super::register::Register;
use crate::adapter::by_hand::Unanswered;
use crate::adapter::{Reason, UnitId, WireOptions};

/// What was asked in vain.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli) struct Asked<'a> {
    pub(in crate::cli) wire: &'a WireOptions,
    pub(in crate::cli) unit: UnitId,
    pub(in crate::cli) timeout: Duration,
    /// `None`: several, by the configuration.
    pub(in crate::cli) register: Option<Register>,
    /// The function that was to write; `None`: it was to read.
    pub(in crate::cli) write: Option<u8>,
}

impl Asked<'_> {
    /// What happened, and on the next line what to do.
    pub(in crate::cli) fn explain(&self, fault: &Unanswered) -> String {
        match fault {
            Unanswered::NotOpen(said) => self.not_open(said),
            Unanswered::Reason(reason) => {
                format!(
                    "{}\n  help: {}",
                    self.happened(*reason),
                    self.remedy(*reason)
                )
            }
            Unanswered::Busy => format!(
                "the gateway that runs has no time for it on {}\n  help: ask again; `fieldgate check` says how much of the time of \
                 a line is booked",
                self.wire
            ),
            Unanswered::Ended => format!(
                "the gateway that ran has given up {}: it stops, or takes up another configuration\n  help: ask again",
                self.wire
            ),
            Unanswered::Refused(why) => format!("the gateway that runs does not ask there: {why}"),
            Unanswered::Lost(how) => format!(
                "the gateway that runs has not said what came of it: {how}\n  help: `fieldgate status` says how it is",
            ),
        }
    }

    fn not_open(&self, said: &str) -> String {
        match self.wire {
            // The port says what to do by itself.
            WireOptions::ModbusRtu(..) => said.to_owned(),
            WireOptions::ModbusTcp(tcp) | WireOptions::ModbusRtuOverTcp(tcp, _) => format!(
                "cannot connect to {tcp}: {said}\n  help: is the address right, and the device on? does it speak {}{} on port {}? \
                 a device that takes few connections refuses one more, and a firewall may be in between",
                self.protocol(),
                if tcp.tls.is_some() { " over TLS" } else { "" },
                tcp.port
            ),
        }
    }

    fn protocol(&self) -> &'static str {
        match self.wire {
            WireOptions::ModbusTcp(_) => "Modbus TCP",
            WireOptions::ModbusRtu(..) | WireOptions::ModbusRtuOverTcp(..) => "Modbus RTU",
        }
    }

    fn happened(&self, reason: Reason) -> String {
        let (unit, wire) = (self.unit.0, self.wire);
        let what = self
            .register
            .map_or_else(String::new, |register| format!(" to {register}"));
        match reason {
            Reason::Timeout => format!(
                "unit {unit} at {wire} does not answer within {} ms (timeout)",
                self.timeout.as_millis()
            ),
            Reason::ConnectionClosed if self.is_serial() => {
                format!("{wire} is gone: the adapter was unplugged (connection_closed)")
            }
            Reason::ConnectionClosed => {
                format!("{wire} closes the connection instead of answering (connection_closed)")
            }
            Reason::Exception(0x0A | 0x0B) => {
                format!("the gateway at {wire} has no answer from unit {unit} behind it ({reason})")
            }
            Reason::Exception(_) => format!("unit {unit} at {wire} says no{what} ({reason})"),
            _ => format!("what came from unit {unit} at {wire} is no answer{what} ({reason})"),
        }
    }

    fn remedy(&self, reason: Reason) -> String {
        match reason {
            Reason::Timeout if self.is_line() => format!(
                "is it unit {}? are speed and parity those of the device, A and B the right way round, is it on, is the line \
                 terminated? `fieldgate scan` finds out who answers",
                self.unit.0
            ),
            Reason::Timeout => format!(
                "is it unit {}? a device with a socket of its own is mostly 1 or 255, one behind a gateway has its number on \
                 the line; `fieldgate scan` finds out who answers; a slow one needs a longer timeout",
                self.unit.0
            ),
            Reason::ConnectionClosed if self.is_serial() => "plug it in again".to_owned(),
            Reason::ConnectionClosed => format!(
                "does it speak {}? it may take fewer connections, or only from addresses that it knows",
                self.protocol()
            ),
            Reason::Exception(code) => self.remedy_of(code),
            Reason::WrongChecksum => "noise, a missing terminator, or two devices with one number".to_owned(),
            Reason::WrongUnit | Reason::WrongTransaction => {
                "an answer to another: two masters on one line, or a gateway that mixes them up".to_owned()
            }
            Reason::WrongCount | Reason::WrongFunction => {
                "the device, or the gateway before it, does not keep to the standard: ask for one register alone".to_owned()
            }
            _ if self.is_line() => "are speed and parity those of the device?".to_owned(),
            _ => format!("does it speak {} there?", self.protocol()),
        }
    }

    fn remedy_of(&self, code: u8) -> String {
        if let (Some(function), 1..=3) = (self.write, code) {
            return remedy_of_write(code, function);
        }
        let other_table = self.register.map_or("another table", |register| {
            use crate::adapter::Table::{Coils, DiscreteInputs, HoldingRegisters, InputRegisters};
            match register.table {
                HoldingRegisters => "`input` in place of `holding`",
                InputRegisters => "`holding` in place of `input`",
                Coils => "`discrete` in place of `coil`",
                DiscreteInputs => "`coil` in place of `discrete`",
            }
        });
        let number = match self.register {
            Some(Register { address, .. }) => format!(
                "manuals that count from 1 mean the address before: try {}",
                address.saturating_sub(1)
            ),
            None => "manuals that count from 1 mean the address before".to_owned(),
        };
        match code {
            0x01 => format!("the device lacks this kind of register: try {other_table}"),
            0x02 => format!(
                "it has no such register, or not as many in a row. Is the address off by one? {number}. Or try {other_table}"
            ),
            0x03 => "it does not take as many at once, or not this many: values of two registers want both".to_owned(),
            0x06 => "it has no time now: ask again".to_owned(),
            0x0A => "is the line of the gateway set up for this unit?".to_owned(),
            0x0B => "is the device on and wired to the gateway, the number its own, the speed of the gateway's line right?".to_owned(),
            _ => "see the manual of the device for this code".to_owned(),
        }
    }

    fn is_serial(&self) -> bool {
        matches!(self.wire, WireOptions::ModbusRtu(..))
    }

    fn is_line(&self) -> bool {
        !matches!(self.wire, WireOptions::ModbusTcp(_))
    }
}

/// What is to be done about a refusal of what was written.
fn remedy_of_write(code: u8, function: u8) -> String {
    match (code, function) {
        (1, 5 | 6) => format!(
            "it does not write by function {function}: try --multiple, or of a tag `write: {{ function: multiple }}`, which is {}",
            function + 10
        ),
        (1, 15 | 16) => format!(
            "it does not write by function {function}: where the value is one register or coil leave --multiple out, which \
             is {}",
            function - 10
        ),
        (1, _) => format!("it does not write single bits (function {function}): write the whole register"),
        (2, _) => "it has no such register, or it is only read. Is the address off by one?".to_owned(),
        (..) => {
            "it does not take this value, or not now: a device may have to be unlocked or switched to remote first".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapter::{Table, TcpOptions};

    fn explained(fault: &Unanswered) -> String {
        let wire = WireOptions::ModbusTcp(TcpOptions {
            host: "plc".to_owned(),
            port: 502,
            connect_timeout: Duration::from_secs(3),
            tls: None,
        });
        let asked = Asked {
            wire: &wire,
            unit: UnitId(3),
            timeout: Duration::from_millis(800),
            register: Some(Register {
                table: Table::HoldingRegisters,
                address: 101,
            }),
            write: None,
        };
        asked.explain(fault)
    }

    #[test]
    fn a_fault_says_who_is_to_blame_and_what_to_try() {
        for (reason, words) in [
            (
                Reason::Timeout,
                &[
                    "unit 3 at plc:502",
                    "800 ms",
                    "is it unit 3?",
                    "fieldgate scan",
                ][..],
            ),
            (
                Reason::Exception(1),
                &["`input` in place of `holding`", "exception_01"],
            ),
            (
                Reason::Exception(2),
                &["holding 101 (reference 40102)", "off by one", "try 100"],
            ),
            (
                Reason::Exception(0x0B),
                &["gateway at plc:502", "unit 3 behind it"],
            ),
            (
                Reason::ConnectionClosed,
                &["closes the connection", "Modbus TCP"],
            ),
        ] {
            let told = explained(&Unanswered::Reason(reason));
            for word in words {
                assert!(told.contains(word), "{told}");
            }
            assert!(told.contains("\n  help: "), "{told}");
        }
        for (fault, words) in [
            (Unanswered::Busy, "no time for it on plc:502\n  help: "),
            (Unanswered::Ended, "given up plc:502"),
            (Unanswered::Refused("it stops".to_owned()), "it stops"),
            (Unanswered::Lost("cut".to_owned()), "cut\n  help: "),
        ] {
            let told = explained(&fault);
            assert!(told.contains(words), "{told}");
        }
        let told = explained(&Unanswered::NotOpen("refused".to_owned()));
        assert!(
            told.starts_with("cannot connect to plc:502: refused\n  help: "),
            "{told}"
        );
    }
}
