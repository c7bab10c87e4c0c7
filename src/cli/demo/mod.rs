//! `fieldgate demo`: the whole path with no hardware and no cloud, over real sockets on loopback, and a verdict that
//! is computed from what the stand-in upstream received.
//!
//! ```text
//! simulated devices       --> gateway --> a link that can be cut --> stand-in upstream, mutual TLS
//! numbered MQTT publisher -->
//! ```
//!
//! The gateway is started from a YAML file like anybody's; only the devices, the publisher, the link and the upstream
//! are the demo's own. The upstream is our broker a second time, on another port.

mod certificates;
mod devices;
mod publisher;
mod relay;
mod story;
mod tally;
mod upstream;

use std::process::ExitCode;
use std::time::Duration;

use super::{EXIT_USAGE, say};
use crate::app::logging;
use crate::mqtt::QoS;

/// What the demo may be told.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How long messages flow, in seconds; the backlog is drained after that.
    #[arg(long = "for", value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(3..=86_400))]
    seconds: u64,
    /// How long the link to the upstream is cut, in the middle of it; 0: not at all.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    cut: u64,
    /// Delivery guarantee of every message. At QoS 0 what the cut costs is lost, as the standard has it.
    #[arg(long, value_name = "0|1|2", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=2))]
    qos: u8,
}

impl Arguments {
    fn qos(&self) -> QoS {
        QoS::from_bits(self.qos).unwrap_or_default()
    }

    fn cut(&self) -> Duration {
        Duration::from_secs(self.cut)
    }
}

/// Runs the demo. Exit status 0: nothing was lost and nothing duplicated (at QoS 0: nothing duplicated; at QoS 1: nothing
/// but what was sent again under its `fieldgate-id`).
pub(super) fn demo(arguments: &Arguments) -> ExitCode {
    if arguments.cut > 0 && arguments.cut + 2 > arguments.seconds {
        eprintln!(
            "fieldgate demo: a cut of {} s needs --for {} at least",
            arguments.cut,
            arguments.cut + 2
        );
        return ExitCode::from(EXIT_USAGE);
    }
    logging::start(
        logging::Verbosity::Error,
        logging::Format::of_stderr(),
        None,
    );
    let told = super::runtime()
        .map_err(story::DemoError::Threads)
        .and_then(|runtime| runtime.block_on(story::tell(arguments)));
    match told {
        Ok(verdict) => {
            say(verdict);
            if verdict.is_clean(arguments.qos()) {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
        Err(error) => {
            eprintln!("fieldgate demo: {error}");
            ExitCode::FAILURE
        }
    }
}
