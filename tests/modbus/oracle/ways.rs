//! How the devices are reached: in memory, where time stands still, or over sockets and pseudo terminals.

use std::any::Any;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use fieldgate::adapter::{Opener, RtuOptions, WireOptions};
use fieldgate::simulator::{FaultyDevice, Framing, Script, Terminal};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadHalf, WriteHalf};
use tokio::sync::{Notify, mpsc};

use crate::support::{LOOPBACK, line, tcp};

/// Until a device is given up in memory, where it costs nothing.
const TIMEOUT: Duration = Duration::from_millis(200);
/// The same where time goes by. On a busy machine some right replies come later; that is one more fault.
const TIMEOUT_IN_REALITY: Duration = Duration::from_millis(60);
/// Bytes under way.
const MEMORY_BYTES: usize = 4096;

/// How the devices are reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Tcp,
    /// RTU through a converter that forgets what is under way when the connection ends.
    Converter,
    /// RTU on a line that is unplugged; what is under way then comes when it is plugged in again.
    Line,
}

impl Way {
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Converter, Self::Line];

    pub fn framing(self) -> Framing {
        match self {
            Self::Tcp => Framing::Tcp,
            Self::Converter | Self::Line => Framing::Rtu,
        }
    }
}

/// What the adapter needs to know.
pub struct Reached {
    pub opener: Opener,
    pub wire: WireOptions,
    pub timeout: Duration,
    /// The smaller, the more often the devices are asked.
    pub step_ms: u64,
    /// What is there as long as this is.
    _kept: Box<dyn Any + Send>,
}

/// Unplugs a line.
#[derive(Clone, Default)]
pub struct Cut(Arc<Notify>);

impl Cut {
    pub fn cut(&self) {
        self.0.notify_one();
    }
}

pub fn in_memory<S: Script>(way: Way, script: impl FnOnce(Cut) -> S) -> Reached {
    let cut = Cut::default();
    let device = FaultyDevice::new(script(cut.clone()));
    let framing = way.framing();
    let opener: Arc<dyn Fn() -> io::Result<DuplexStream> + Send + Sync> = match way {
        Way::Tcp | Way::Converter => Arc::new(move || Ok(device.connect(framing))),
        Way::Line => {
            let (sender, mut plugs) = mpsc::channel(1);
            tokio::spawn(async move {
                let mut halves = tokio::io::split(device.connect(framing));
                while let Some(plug) = plugs.recv().await {
                    carry(&mut halves, plug, &cut).await;
                }
            });
            Arc::new(move || {
                let (ours, theirs) = tokio::io::duplex(MEMORY_BYTES);
                let full = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
                sender.try_send(ours).map_err(full)?;
                Ok(theirs)
            })
        }
    };
    let wire = match way {
        Way::Tcp => WireOptions::ModbusTcp(tcp(LOOPBACK)),
        Way::Converter => WireOptions::ModbusRtuOverTcp(tcp(LOOPBACK), RtuOptions::default()),
        Way::Line => line("memory".as_ref()),
    };
    Reached {
        opener: Opener::Memory(opener),
        wire,
        timeout: TIMEOUT,
        step_ms: 20,
        _kept: Box::new(()),
    }
}

pub async fn in_reality<S: Script>(way: Way, script: impl FnOnce(Cut) -> S) -> Reached {
    let cut = Cut::default();
    let device = FaultyDevice::new(script(cut.clone()));
    let (wire, kept): (_, Box<dyn Any + Send>) = match way {
        Way::Tcp => {
            let address = device.listen(LOOPBACK, Framing::Tcp).await.unwrap();
            (WireOptions::ModbusTcp(tcp(address)), Box::new(device))
        }
        Way::Converter => {
            let address = device.listen(LOOPBACK, Framing::Rtu).await.unwrap();
            let rtu = RtuOptions::default();
            let wire = WireOptions::ModbusRtuOverTcp(tcp(address), rtu);
            (wire, Box::new(device))
        }
        Way::Line => {
            let folder = TempDir::new().unwrap();
            let name = folder.path().join("adapter");
            let wire = line(&name);
            tokio::spawn(plug_in_again_and_again(device, name, cut));
            (wire, Box::new(folder))
        }
    };
    Reached {
        opener: Opener::Machine(fieldgate::net::TlsTime::default()),
        wire,
        timeout: TIMEOUT_IN_REALITY,
        step_ms: 1,
        _kept: kept,
    }
}

async fn plug_in_again_and_again(device: FaultyDevice, name: PathBuf, cut: Cut) {
    let mut halves = tokio::io::split(device.connect(Framing::Rtu));
    // Until its folder goes.
    while let Ok(terminal) = Terminal::plug_in(&name) {
        carry(&mut halves, terminal, &cut).await;
    }
}

/// Carries bytes between the device's line and the plug until it is unplugged at either end.
async fn carry(
    (from_line, to_line): &mut (ReadHalf<DuplexStream>, WriteHalf<DuplexStream>),
    plug: impl AsyncRead + AsyncWrite,
    cut: &Cut,
) {
    let (mut from_plug, mut to_plug) = tokio::io::split(plug);
    // How they end does not matter: the plug is gone.
    let ended = tokio::select! {
        biased;
        () = cut.0.notified() => Ok(0),
        ended = tokio::io::copy(&mut from_plug, to_line) => ended,
        ended = tokio::io::copy(from_line, &mut to_plug) => ended,
    };
    drop(ended);
}
