//! `fieldgate guess`: a few registers as every type and byte order, the most plausible first.

use serde_json::json;

use super::Fault;
use super::read::{hex, json_value, plain};
use super::register::RegisterArguments;
use super::target::Reach;
use crate::adapter::by_hand::{Answer, Question};
use crate::adapter::plan::REGISTERS_MAX;
use crate::cli::say;
use crate::config;
use crate::value::{Guess, guesses};

/// As many as the longest number has.
const COUNT: u16 = 4;
const COUNT_MAX: i64 = REGISTERS_MAX as i64;
/// More are hardly what is looked for.
const SHOWN: usize = 12;

#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Arguments {
    #[command(flatten)]
    reach: Reach,
    /// TABLE (input or holding) and ADDRESS as on the wire, from 0.
    #[arg(value_name = "REGISTER")]
    what: Vec<String>,
    #[command(flatten)]
    register: RegisterArguments,
    /// How many registers are looked at.
    #[arg(long, default_value_t = COUNT, value_parser = clap::value_parser!(u16).range(1..=COUNT_MAX))]
    count: u16,
    /// Everything that they could mean, not only the most plausible.
    #[arg(long)]
    all: bool,
    /// As JSON, a line for each guess.
    #[arg(long)]
    json: bool,
}

pub(super) async fn guess(arguments: &Arguments) -> Result<(), Fault> {
    let target = arguments.reach.resolve()?;
    let Some(register) = arguments.register.register(&arguments.what)? else {
        return Err(Fault::Usage(
            "which register? say TABLE ADDRESS, such as `holding 100`, or --reference 40101"
                .to_owned(),
        ));
    };
    if register.table.holds_bits() {
        return Err(Fault::Usage(
            "there is nothing to guess about bits: `fieldgate read` shows them".to_owned(),
        ));
    }
    let question = Question {
        unit: target.unit,
        table: register.table,
        address: register.address,
        quantity: arguments.count,
        timeout: target.timeout,
        retries: target.retries,
    };
    let answer = target.by_hand()?.ask(question).await;
    let words = match answer {
        Ok(Answer::Registers(words)) => words,
        Ok(Answer::Bits(_)) => Vec::new(),
        Err(fault) => return Err(target.unanswered(&fault, Some(register))),
    };
    let mut found = guesses(&words);
    if !arguments.all {
        found.truncate(SHOWN);
    }
    if !arguments.json {
        say(format_args!("{register}: {}", hex(&words)));
    }
    for guess in &found {
        let Some(at) = register.after(guess.offset) else {
            continue;
        };
        let Guess {
            kind,
            byte_order,
            value,
            points,
            ..
        } = guess;
        let kind = config::type_word(*kind);
        if arguments.json {
            say(json!({
                "register": config::table_word(at.table), "address": at.address, "type": kind,
                "byte_order": format!("{byte_order:?}"), "value": json_value(value), "points": points,
            }));
        } else {
            let address = at.address;
            say(format_args!(
                "{points:>3}  {kind:<7}  {byte_order:?}  at {address:<5}  {}",
                plain(value)
            ));
        }
    }
    Ok(())
}
