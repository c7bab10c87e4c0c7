//! Opens the port of an instrument, lets it work there, and opens the port again when it is gone: an adapter that was
//! unplugged is looked for every 1 to 10 s, by the name that it had.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::figures::WireFigures;
use super::health::DeviceStatus;
use super::latest::{Latest, Readings};
use super::outbox::Outbox;
use super::reason::Reason;
use super::serial::{Audience, Command, FieldReading, Instrument, InstrumentConnection};
use super::serial_port::SerialPort;
use super::start::AdapterStatus;
use crate::clock::{self, WallTime};
use crate::mqtt::Message;
use crate::shutdown::Pulse;

const BACKOFF_MIN: Duration = Duration::from_secs(1);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// The task of one instrument's connection.
#[derive(Debug)]
pub(super) struct Attendant {
    options: Arc<InstrumentConnection>,
    instrument: Instrument<Told>,
    outbox: Outbox,
    status: watch::Sender<AdapterStatus>,
    pulse: Pulse,
    figures: Arc<WireFigures>,
}

/// What the instrument says goes into the outbox, and how it stands into the status.
#[derive(Debug)]
struct Told {
    outbox: Outbox,
    status: watch::Sender<AdapterStatus>,
}

impl Audience for Told {
    fn message(&mut self, message: Message) {
        self.outbox.push(message);
    }

    fn status(&mut self, now: &DeviceStatus) {
        self.status.send_modify(|status| {
            status.outbox = self.outbox.stats();
            for device in &mut status.devices {
                device.status.clone_from(now);
            }
        });
    }

    fn readings(&mut self, readings: Vec<FieldReading>, at: WallTime) {
        let latest = Latest {
            at,
            read: clock::now(),
            readings: Readings::Fields(readings),
        };
        self.status.send_if_modified(|status| {
            if let Some(device) = status.devices.first_mut() {
                device.note(0, latest);
            }
            false // whoever watches is told with the status, which follows
        });
    }
}

impl Attendant {
    /// The task, and the way for commands to the instrument.
    pub(super) fn new(
        options: Arc<InstrumentConnection>,
        outbox: Outbox,
        status: watch::Sender<AdapterStatus>,
        pulse: Pulse,
        figures: Arc<WireFigures>,
    ) -> (Self, mpsc::Sender<Command>) {
        let told = Told {
            outbox: outbox.clone(),
            status: status.clone(),
        };
        let seed = fastrand::u64(..);
        let (instrument, commands) = Instrument::new(options.instrument.clone(), seed, told);
        let instrument = instrument.with_pulse(pulse.clone());
        let attendant = Self {
            options,
            instrument,
            outbox,
            status,
            pulse,
            figures,
        };
        (attendant, commands)
    }

    /// Never ends; may be dropped at any point, which closes the port.
    pub(super) async fn run(mut self) {
        let connection = &self.options.name;
        let mut pause = BACKOFF_MIN;
        loop {
            self.pulse.beat(clock::now());
            match SerialPort::open(&self.options.port, &self.figures.line_errors) {
                Ok(port) => {
                    self.status.send_modify(|status| {
                        status.connected = true;
                        status.connects += 1;
                        status.error = None;
                    });
                    tracing::info!(%connection, to = %self.options.port, "connected");
                    let error = self.instrument.run(port).await;
                    tracing::warn!(%connection, %error, "the port is gone; opening it again with back-off");
                    pause = BACKOFF_MIN;
                    self.status.send_modify(|status| status.connected = false);
                }
                Err(error) => {
                    let text = error.to_string();
                    let known = self.status.borrow().error.as_ref() == Some(&text);
                    if !known {
                        tracing::warn!(%connection, %error, "cannot connect; trying again with back-off");
                    }
                    self.status.send_modify(|status| status.error = Some(text));
                    self.instrument.unreachable(Reason::ConnectFailed);
                }
            }
            self.status
                .send_modify(|status| status.outbox = self.outbox.stats());
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(BACKOFF_MAX);
        }
    }
}
