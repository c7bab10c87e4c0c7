//! The commands a person types, and their exit status: 0 well, 1 failed, 2 usage, 3 no gateway is running, 78 the
//! configuration is at fault.
//!
//! Prints for people: results to stdout, faults and logs to stderr.

mod asking;
mod backlog;
mod cert;
mod check;
mod demo;
mod diag;
mod events;
mod installed;
mod messages;
mod modbus;
mod probe;
mod reload;
mod replace;
mod run;
mod screen;
mod simulate;
mod status;
mod user;
mod values;
mod words;

use std::fmt::Display;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};

use crate::config;

use crate::app::logging::Format;

/// The configuration is at fault; a unit file does not restart on it (EX_CONFIG of sysexits.h).
const EXIT_CONFIG: u8 = 78;

/// The command line is at fault; clap uses the same.
const EXIT_USAGE: u8 = 2;

/// No gateway is running.
const EXIT_NOT_RUNNING: u8 = 3;

/// Where the configuration is looked for when none is named, in order.
const CONFIG_FILES: [&str; 2] = [installed::CONFIGURATION, "config/fieldgate.yaml"];

/// IoT edge gateway: a local MQTT broker, field devices by YAML, a store-and-forward bridge to the cloud.
#[derive(Debug, Parser)]
#[command(name = "fieldgate", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway until it is told to stop (SIGINT or SIGTERM).
    Run {
        /// The configuration; default: /etc/fieldgate/fieldgate.yaml, else config/fieldgate.yaml.
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// How the log looks: text, journal or json; default: $FIELDGATE_LOG_FORMAT, else as who reads stderr wants it.
        #[arg(long, value_name = "FORM")]
        log_format: Option<Format>,
    },
    /// Tell every fault of a configuration with its place and remedy, and what it would do.
    Check(check::Arguments),
    /// Tell whether all is well, and if not which side is broken and what to do. Status 1 where something is broken.
    Status(status::Arguments),
    /// Have the gateway that runs read its configuration again, and tell what it took up. A fault changes nothing.
    Reload(reload::Arguments),
    /// Show what the devices say now, as it was last read, with quality and age.
    Values(values::Arguments),
    /// Show messages of the local broker as they pass, with who published them. Needs no login.
    Sub(messages::SubArguments),
    /// Publish a message on the local broker. Needs no login; on a set topic it waits for the answer of the device.
    Pub(messages::PubArguments),
    /// Print the JSON Schema of the configuration, for editors.
    Schema,
    /// Show what happened lately, over restarts, too.
    Events(events::Arguments),
    /// Show what waits for the upstreams, print it, or purge what is old.
    Backlog(backlog::Arguments),
    /// Let people and programs log in with a password, or no more.
    User(user::Arguments),
    /// Show the gateway's certificates, ask for new ones, and put them in place.
    Cert(cert::Arguments),
    /// Pack what somebody who helps from afar needs to see, without secrets, and say what is inside.
    Diag(diag::Arguments),
    /// Read registers of a device by hand, or tags of one that the configuration knows.
    Read(modbus::ReadArguments),
    /// Show what registers could mean: every type and byte order, the most plausible first.
    Guess(modbus::GuessArguments),
    /// Write to a register of a device by hand, or to a tag of one that the configuration knows.
    ///
    /// Where a gateway that runs has the wire, it writes, between its polls.
    Write(modbus::WriteArguments),
    /// Find out which units answer at a host, or on a serial line and at which speed.
    Scan(modbus::ScanArguments),
    /// Show the whole path with no hardware and no cloud: simulated devices, the gateway, a stand-in upstream.
    Demo(demo::Arguments),
    /// Stand in for the devices of a configuration, without hardware, until told to stop.
    Simulate(simulate::Arguments),
}

/// Runs the command that the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Run { config, log_format } => {
            run::run(&config.unwrap_or_else(default_config), log_format)
        }
        Command::Check(arguments) => check::check(&arguments),
        Command::Schema => {
            say(config::SCHEMA.trim_end());
            ExitCode::SUCCESS
        }
        Command::User(arguments) => user::user(&arguments),
        Command::Cert(arguments) => cert::cert(&arguments),
        Command::Diag(arguments) => diag::diag(&arguments),
        Command::Read(arguments) => modbus::read(&arguments),
        Command::Guess(arguments) => modbus::guess(&arguments),
        Command::Write(arguments) => modbus::write(&arguments),
        Command::Scan(arguments) => modbus::scan(&arguments),
        Command::Status(arguments) => status::status(&arguments),
        Command::Reload(arguments) => reload::reload(&arguments),
        Command::Values(arguments) => values::values(&arguments),
        Command::Sub(arguments) => messages::sub(&arguments),
        Command::Pub(arguments) => messages::publish(&arguments),
        Command::Events(arguments) => events::events(&arguments),
        Command::Backlog(arguments) => backlog::backlog(&arguments),
        Command::Demo(arguments) => demo::demo(&arguments),
        Command::Simulate(arguments) => simulate::simulate(&arguments),
    }
}

/// All that may be typed, for man pages and completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}

/// The first of [`CONFIG_FILES`] that exists, else the last of them, so that the error names a file that can be made.
fn default_config() -> PathBuf {
    let [installed, local] = CONFIG_FILES.map(PathBuf::from);
    if installed::is_there(&installed) {
        installed
    } else {
        local
    }
}

/// Asks the person at the terminal.
fn is_confirmed(question: &str) -> io::Result<bool> {
    eprint!("{question}");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

/// Prints a line. A reader who went away (`| head`) is no fault.
fn say(line: impl Display) {
    if let Err(error) = writeln!(io::stdout(), "{line}") {
        tracing::debug!(%error, "nobody reads what is printed");
    }
}

/// The runtime of everything but the broker, which has a thread of its own.
fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("fieldgate")
        .enable_all()
        .build()
}
