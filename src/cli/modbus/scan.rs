//! `fieldgate scan`: which units answer at a host or on a serial line, and at which speed.
//!
//! Each unit is asked for holding register 0, and where it is silent for input register 0. Any reply, a refusal too, proves
//! that it is there. On a serial port every speed and parity is tried, until somebody answers: all on a line have the same.

use std::io::{self, IsTerminal as _};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::register::Register;
use super::target::{WireArguments, load};
use super::through::Gateway;
use super::{Asked, Fault, gateway_with};
use crate::adapter::by_hand::{Answer, ByHand, Question, Unanswered};
use crate::adapter::{Parity, Reason, Table, UnitId, WireOptions};
use crate::cli::words::duration;
use crate::cli::{is_confirmed, say};
use crate::config;

/// The numbers that the standard has for units.
const UNITS: RangeInclusive<u8> = 1..=247;
/// Lines rarely have more, and each silent unit takes its time.
const UNITS_ON_LINE: RangeInclusive<u8> = 1..=32;
const BAUDS: [u32; 4] = [9600, 19_200, 38_400, 115_200];
const PARITIES: [Parity; 3] = [Parity::None, Parity::Even, Parity::Odd];
/// A gateway takes its time to find that nobody is behind it.
const TIMEOUT: Duration = Duration::from_secs(1);
const TIMEOUT_ON_LINE: Duration = Duration::from_millis(200);
const TABLES: [Table; 2] = [Table::HoldingRegisters, Table::InputRegisters];
/// A request and a reply of one register.
const BYTES: u32 = 15;
/// Back to the beginning of a line of the terminal, and that empty.
const CLEAR_LINE: &str = "\r\x1b[K";
/// What a line is left alone for after a silence.
const QUIET: Duration = Duration::from_millis(50);

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    /// `HOST[:PORT]`, or a serial port such as /dev/ttyUSB0.
    target: String,
    /// HOST:PORT is a converter to a serial line, which speaks Modbus RTU.
    #[arg(long)]
    rtu: bool,
    /// Which units; default: 1-247, on lines 1-32.
    #[arg(long, value_name = "FIRST-LAST", value_parser = units)]
    units: Option<RangeInclusive<u8>>,
    /// Speeds to try; default: 9600,19200,38400,115200.
    #[arg(long, value_delimiter = ',', value_parser = clap::value_parser!(u32).range(110..=4_000_000))]
    bauds: Vec<u32>,
    /// Parities to try; default: none,even,odd.
    #[arg(long, value_delimiter = ',', value_parser = config::parity)]
    parity: Vec<Parity>,
    /// 1 or 2; default: 1.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=2))]
    stop_bits: Option<u8>,
    /// How long to wait for each reply; default: 1s, on lines 200ms.
    #[arg(long, value_parser = config::duration)]
    timeout: Option<Duration>,
    /// Do not ask whether to disturb a line.
    #[arg(long)]
    yes: bool,
    /// As JSON, a line for each unit.
    #[arg(long)]
    json: bool,
    /// The configuration of the gateway that may be running; default as for `run`, where there is one.
    #[arg(short, long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// What is asked, in this order.
#[derive(Debug)]
struct Plan {
    wires: Vec<WireOptions>,
    units: RangeInclusive<u8>,
    timeout: Duration,
    json: bool,
}

/// What shows that a unit is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sign {
    /// It has a register.
    Register(Register, u16),
    /// It refuses.
    Refusal(Reason),
    /// Something came, but no whole reply of this unit.
    Noise(Reason),
}

pub(super) async fn scan(arguments: &Arguments) -> Result<(), Fault> {
    let mut plan = arguments.plan()?;
    let config = load(arguments.config.as_deref(), true)?;
    // The settings of a port differ, not the port.
    let gateway = match plan.wires.first() {
        Some(wire) => gateway_with(&arguments.target, wire, config.as_ref())?,
        None => None,
    };
    if let Some(gateway) = &gateway {
        if matches!(gateway.wire, WireOptions::ModbusRtu(..)) && arguments.says_no_settings() {
            plan.wires = vec![gateway.wire.clone()];
        } else {
            plan.wires.retain(|wire| gateway.has(wire));
        }
        if plan.wires.is_empty() {
            return Err(Fault::OtherSettings(gateway.wire.to_string()));
        }
        eprintln!("{}", gateway.note());
    }
    // Through the gateway a line keeps its one master.
    let may_disturb = gateway.is_none() && plan.wires.iter().any(|wire| !is_tcp(wire));
    if may_disturb && !arguments.yes && !io::stdin().is_terminal() {
        return Err(Fault::NobodyToAsk);
    }
    let announcement = plan.announcement(&arguments.target);
    let beside = gateway.as_ref().map_or("", |_| ", and what its polls take");
    eprintln!("{announcement}{beside}");
    if may_disturb
        && !arguments.yes
        && !is_confirmed("Nobody else may use the line meanwhile. Go on? [y/N] ")?
    {
        return Err(Fault::Declined);
    }
    for wire in &plan.wires {
        if plan.ask_all(wire, gateway.as_ref()).await? > 0 {
            return Ok(());
        }
    }
    Err(Fault::Nobody(plan.what_to_try()))
}

fn is_tcp(wire: &WireOptions) -> bool {
    matches!(wire, WireOptions::ModbusTcp(_))
}

/// `1-32`, `5`.
fn units(text: &str) -> Result<RangeInclusive<u8>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse(), last.trim().parse()) {
        (Ok(first), Ok(last)) if first <= last => Ok(first..=last),
        _ => Err("write FIRST-LAST, such as 1-32, or one number from 0 to 255".to_owned()),
    }
}

impl Arguments {
    fn plan(&self) -> Result<Plan, Fault> {
        let how = WireArguments {
            rtu: self.rtu,
            stop_bits: self.stop_bits,
            ..WireArguments::default()
        };
        let wires = if self.target.starts_with('/') && !self.rtu {
            let bauds = or(&self.bauds, &BAUDS);
            let parities = or(&self.parity, &PARITIES);
            let settings = bauds
                .iter()
                .flat_map(|baud| parities.iter().map(move |parity| (*baud, *parity)));
            settings
                .map(|(baud, parity)| WireArguments {
                    baud: Some(baud),
                    parity: Some(parity),
                    ..how.clone()
                })
                .map(|how| how.wire(&self.target))
                .collect::<Result<_, _>>()?
        } else {
            let how = WireArguments {
                baud: self.bauds.first().copied(),
                parity: self.parity.first().copied(),
                ..how
            };
            vec![how.wire(&self.target)?]
        };
        let is_tcp = wires.iter().all(is_tcp);
        let units = if is_tcp { UNITS } else { UNITS_ON_LINE };
        let timeout = if is_tcp { TIMEOUT } else { TIMEOUT_ON_LINE };
        Ok(Plan {
            wires,
            units: self.units.clone().unwrap_or(units),
            timeout: self.timeout.unwrap_or(timeout),
            json: self.json,
        })
    }
}

impl Arguments {
    /// Of a port; then it is asked with those that the gateway has.
    fn says_no_settings(&self) -> bool {
        self.bauds.is_empty() && self.parity.is_empty() && self.stop_bits.is_none()
    }
}

fn or<'a, T>(said: &'a [T], default: &'a [T]) -> &'a [T] {
    if said.is_empty() { default } else { said }
}

impl Plan {
    fn announcement(&self, target: &str) -> String {
        let (first, last) = (self.units.start(), self.units.end());
        let settings = match self.wires.len() {
            1 => String::new(),
            settings => format!(" with {settings} settings of the port"),
        };
        let longest = self
            .wires
            .iter()
            .map(|wire| self.longest(wire))
            .sum::<Duration>();
        format!(
            "asking units {first} to {last} at {target}{settings}: only reads, {} at most",
            duration(
                longest
                    .as_millis()
                    .div_ceil(1000)
                    .try_into()
                    .unwrap_or(u64::MAX)
            )
        )
    }

    /// Where nobody answers.
    fn what_to_try(&self) -> &'static str {
        if self.wires.iter().all(is_tcp) {
            "something takes connections there, but none of these units answers. Some devices answer to 255 or 0 only: --units \
             255. Is it a converter to a serial line: --rtu?"
        } else {
            "are A and B the right way round, is the device on and wired? Other speeds: --bauds 2400,4800,57600; two stop \
             bits: --stop-bits 2; slow devices: --timeout 1s; other numbers: --units 33-247"
        }
    }

    /// How long it takes where nobody answers.
    fn longest(&self, wire: &WireOptions) -> Duration {
        let line = if is_tcp(wire) {
            Duration::ZERO
        } else {
            wire.byte() * BYTES + QUIET.max(wire.frame_gap())
        };
        let questions = u32::try_from(self.units.len() * TABLES.len()).unwrap_or(u32::MAX);
        (self.timeout + line) * questions
    }

    /// Asks every unit on one wire; gives how many are there.
    async fn ask_all(&self, wire: &WireOptions, gateway: Option<&Gateway>) -> Result<usize, Fault> {
        let mut by_hand = ByHand::unknown(wire.clone());
        if let Some(gateway) = gateway {
            by_hand = by_hand.through(gateway.clone());
        }
        let progress = io::stderr().is_terminal();
        let mut there = 0;
        for unit in self.units.clone() {
            if progress {
                eprint!("{CLEAR_LINE}{wire}: unit {unit} ... ");
            }
            let sign = self.ask(&mut by_hand, wire, UnitId(unit)).await?;
            let Some(sign) = sign else {
                continue;
            };
            if progress {
                eprint!("{CLEAR_LINE}");
            }
            there += usize::from(!matches!(sign, Sign::Noise(_)));
            say(if self.json {
                sign.json(wire, unit).to_string()
            } else {
                sign.tell(wire, unit)
            });
        }
        if progress {
            eprint!("{CLEAR_LINE}");
        }
        if is_tcp(wire) && there == self.units.len() && there > 2 {
            eprintln!("note: every unit answers: this device seems not to look at the number");
        }
        Ok(there)
    }

    async fn ask(
        &self,
        by_hand: &mut ByHand,
        wire: &WireOptions,
        unit: UnitId,
    ) -> Result<Option<Sign>, Fault> {
        let mut noise = None;
        for table in TABLES {
            let register = Register { table, address: 0 };
            let question = Question {
                unit,
                table,
                address: register.address,
                quantity: 1,
                timeout: self.timeout,
                retries: 0,
            };
            match by_hand.ask(question).await {
                Ok(Answer::Registers(words)) => {
                    let word = words.first().copied().unwrap_or_default();
                    return Ok(Some(Sign::Register(register, word)));
                }
                Ok(Answer::Bits(_)) => {}
                Err(Unanswered::Reason(reason)) => match Sign::of(reason) {
                    Some(Sign::Noise(reason)) => noise = Some(Sign::Noise(reason)),
                    Some(sign) => return Ok(Some(sign)),
                    None => {}
                },
                Err(fault) => {
                    let asked = Asked {
                        wire,
                        unit,
                        timeout: self.timeout,
                        register: None,
                        write: None,
                    };
                    return Err(Fault::Unanswered(asked.explain(&fault)));
                }
            }
        }
        Ok(noise)
    }
}

impl Sign {
    /// Of a request that was not answered as asked; `None`: by nobody.
    fn of(reason: Reason) -> Option<Self> {
        match reason {
            Reason::Timeout | Reason::ConnectionClosed => None,
            Reason::Exception(_) if reason.proves_alive() => Some(Self::Refusal(reason)),
            // What a gateway says in the name of one that is not there.
            Reason::Exception(_) => None,
            _ => Some(Self::Noise(reason)),
        }
    }

    fn tell(self, wire: &WireOptions, unit: u8) -> String {
        match self {
            Self::Register(register, word) => {
                format!("{wire}: unit {unit} answers: {register} is {word}")
            }
            Self::Refusal(reason) => format!("{wire}: unit {unit} answers: {reason}"),
            Self::Noise(reason) => format!(
                "{wire}: unit {unit}: something comes, but no whole reply ({reason}): two with one number, or noise?"
            ),
        }
    }

    fn json(self, wire: &WireOptions, unit: u8) -> Json {
        let mut json = match self {
            Self::Register(register, word) => json!({
                "unit": unit, "answers": true, "register": config::table_word(register.table),
                "address": register.address, "value": word,
            }),
            Self::Refusal(reason) => json!({ "unit": unit, "answers": true, "reason": reason }),
            Self::Noise(reason) => json!({ "unit": unit, "answers": false, "reason": reason }),
        };
        if let (WireOptions::ModbusRtu(port, _), Some(fields)) = (wire, json.as_object_mut()) {
            fields.insert("baud_rate".to_owned(), json!(port.baud_rate));
            fields.insert("parity".to_owned(), json!(config::parity_word(port.parity)));
        }
        json
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    fn plan(words: &[&str]) -> Plan {
        let line = Line::try_parse_from([&["scan"], words].concat()).unwrap();
        line.arguments.plan().unwrap()
    }

    #[test]
    fn units_are_a_range_or_one() {
        assert_eq!(units("1-32"), Ok(1..=32));
        assert_eq!(units("255"), Ok(255..=255));
        for wrong in ["", "5-1", "1-256", "a", "1-2-3", "-1"] {
            assert!(units(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_port_is_tried_with_every_speed_and_parity() {
        let told: Vec<_> = plan(&[
            "/dev/ttyS0",
            "--bauds",
            "9600,19200",
            "--parity",
            "none,even",
        ])
        .wires
        .iter()
        .map(ToString::to_string)
        .collect();
        assert_eq!(
            told,
            [
                "/dev/ttyS0 at 9600 8N1",
                "/dev/ttyS0 at 9600 8E1",
                "/dev/ttyS0 at 19200 8N1",
                "/dev/ttyS0 at 19200 8E1"
            ]
        );
        assert_eq!(plan(&["/dev/ttyS0"]).wires.len(), 12);
        assert_eq!(plan(&["plc"]).wires.len(), 1);
    }

    #[test]
    fn it_says_how_long_it_may_take() {
        // 247 units, two questions each, a second each
        assert_eq!(
            plan(&["plc"]).announcement("plc"),
            "asking units 1 to 247 at plc: only reads, 8 min 14 s at most"
        );
        // 15 bytes of 10 bits at 9600 baud take 15.6 ms, the silence 50, the timeout 200: 64 times, rounded up
        let line = plan(&["/dev/ttyS0", "--bauds", "9600", "--parity", "none"]);
        assert_eq!(
            line.announcement("/dev/ttyS0"),
            "asking units 1 to 32 at /dev/ttyS0: only reads, 17 s at most"
        );
    }

    #[test]
    fn what_a_gateway_says_for_a_silent_unit_is_no_sign_of_it() {
        assert_eq!(Sign::of(Reason::Exception(0x0B)), None);
        assert_eq!(Sign::of(Reason::Timeout), None);
        let refusal = Reason::Exception(2);
        assert_eq!(Sign::of(refusal), Some(Sign::Refusal(refusal)));
        let noise = Reason::WrongChecksum;
        assert_eq!(Sign::of(noise), Some(Sign::Noise(noise)));
    }
}
