//! The gateway's end of the control socket.
//!
//! Bounded: connections, the length of a request, the time that a peer may take for its request and for each line of the
//! answer. A peer that fails in any of these costs itself its answer and nobody anything else.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::unix::UCred;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::members::is_member;
use super::protocol::{BROKEN_OFF, Line, REQUEST_BYTES_MAX, Request};
use crate::net::{SocketFile, SocketFileError, is_gone_or_speaks, listen_unix};
use crate::shutdown::Stop;

/// Commands that are answered at a time; others wait in the kernel's queue. More than people have terminals open, in each of
/// which `sub` may run for long.
const CONNECTIONS_MAX: usize = 16;
/// For the request to come.
const REQUEST_TIME: Duration = Duration::from_secs(5);
/// For a line of the answer to be taken: a person may have paused what shows it.
const LINE_TIME: Duration = Duration::from_secs(300);
/// Lines that wait for a peer.
const LINES: usize = 64;
/// After an accept that failed, as without file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// A request, and where its answer goes. Dropped before [`Line::End`] or [`Line::Fault`], the peer is told that there was a fault.
#[derive(Debug)]
pub struct Asked {
    /// What.
    pub request: Request,
    /// The user who asks, by number.
    pub user: u32,
    /// Takes the answer; closed when the peer has gone.
    pub answer: mpsc::Sender<Line>,
}

/// A control socket that listens.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    /// User and group that the file belongs to, which are this process's.
    owner: (u32, u32),
    /// Removed with the socket.
    _file: SocketFile,
}

impl ControlSocket {
    /// Listens at `path`, whose folder must be there. Within a tokio runtime.
    ///
    /// # Errors
    /// Where another process listens there, or the file cannot be made.
    pub fn open(path: &Path) -> Result<Self, SocketFileError> {
        let (listener, _file) = listen_unix(path)?;
        let made = UnixListener::from_std(listener).and_then(|listener| {
            let found = fs::symlink_metadata(path)?;
            Ok((listener, (found.uid(), found.gid())))
        });
        let (listener, owner) = made.map_err(|source| SocketFileError::Io {
            path: PathBuf::from(path),
            source,
        })?;
        Ok(Self {
            listener,
            owner,
            _file,
        })
    }

    /// Hands requests on until `stop`, or until nobody takes them. Whoever waits for the end of it finds no file any more.
    pub async fn serve(self, requests: mpsc::Sender<Asked>, mut stop: Stop) {
        self.hand_on(requests, &mut stop).await;
        drop(self);
        drop(stop);
    }

    async fn hand_on(&self, requests: mpsc::Sender<Asked>, stop: &mut Stop) {
        let mut peers = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.requested() => return,
                () = requests.closed() => return,
                Some(ended) = peers.join_next() => {
                    if let Err(fault) = ended {
                        tracing::error!(%fault, "a control connection failed in an unforeseen way; this is a fault of fieldgate");
                    }
                }
                accepted = self.listener.accept(), if peers.len() < CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => {
                        let peer = stream.peer_cred().ok().filter(|peer| self.lets_in(peer));
                        let user = peer.map(|peer| peer.uid());
                        peers.spawn(converse(stream, user, requests.clone()));
                    }
                    Err(error) => {
                        tracing::warn!(%error, "the control socket cannot accept");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }

    /// Root, the user that the gateway runs as, and the members of that user's group.
    fn lets_in(&self, peer: &UCred) -> bool {
        let (user, group) = self.owner;
        peer.uid() == 0 || peer.uid() == user || peer.gid() == group || is_member(peer.uid(), group)
    }
}

/// `user`: who asks, if they may.
async fn converse(mut stream: UnixStream, user: Option<u32>, requests: mpsc::Sender<Asked>) {
    let conversed = async {
        // Of strangers, too: who is closed while it writes does not see why.
        let request = match timeout(REQUEST_TIME, read(&mut stream)).await {
            Ok(request) => request?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        let Some(user) = user else {
            let refusal = "only root and the user and group that fieldgate runs as may ask";
            return send(&mut stream, &Line::Fault(refusal.to_owned())).await;
        };
        match request {
            Ok(request) => answer(&mut stream, request, user, &requests).await,
            Err(fault) => send(&mut stream, &Line::Fault(fault)).await,
        }
    };
    if let Err(error) = conversed.await {
        tracing::debug!(%error, "a control connection ended early");
    }
}

/// The request, or what is wrong with it.
async fn read(stream: &mut UnixStream) -> io::Result<Result<Request, String>> {
    let mut line = Vec::new();
    let mut limited = BufReader::new(stream).take(REQUEST_BYTES_MAX as u64);
    limited.read_until(b'\n', &mut line).await?;
    Ok(serde_json::from_slice(&line).map_err(|fault| {
        format!(
            "this gateway does not know the request ({fault}); is the command of another version?"
        )
    }))
}

async fn answer(
    stream: &mut UnixStream,
    request: Request,
    user: u32,
    requests: &mpsc::Sender<Asked>,
) -> io::Result<()> {
    // Who has closed already is seen only here: nothing shall be begun for them.
    if is_gone_or_speaks(stream) {
        return Ok(());
    }
    let (answer, mut lines) = mpsc::channel(LINES);
    let asked = Asked {
        request,
        user,
        answer,
    };
    if requests.send(asked).await.is_err() {
        return send(stream, &Line::Fault("the gateway stops".to_owned())).await;
    }
    loop {
        // Nothing may come for long, and then whoever goes shall not keep the place of another.
        let line = tokio::select! {
            line = lines.recv() => line,
            () = gone(stream) => return Ok(()),
        };
        let Some(line) = line else { break };
        send(stream, &line).await?;
        if matches!(line, Line::End | Line::Fault(_)) {
            return Ok(());
        }
    }
    send(stream, &Line::Fault(BROKEN_OFF.to_owned())).await
}

/// Returns when the peer has closed, or says what nobody asked for.
async fn gone(stream: &UnixStream) {
    loop {
        let ready = stream.readable().await;
        let read = ready.and_then(|()| stream.try_read(&mut [0]));
        if !matches!(&read, Err(error) if error.kind() == io::ErrorKind::WouldBlock) {
            return;
        }
    }
}

async fn send(stream: &mut UnixStream, line: &Line) -> io::Result<()> {
    match timeout(LINE_TIME, stream.write_all(line.encode().as_bytes())).await {
        Ok(sent) => sent,
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};

    use serde_json::json;

    use super::super::{AskError, ask};
    use super::*;
    use crate::shutdown::Shutdown;

    /// Answers `backlog` with two items, and drops everything else.
    async fn app(mut requests: mpsc::Receiver<Asked>) {
        while let Some(Asked {
            request, answer, ..
        }) = requests.recv().await
        {
            if matches!(request, Request::Backlog { .. }) {
                for line in [Line::Item(json!(1)), Line::Item(json!(2)), Line::End] {
                    answer.send(line).await.unwrap();
                }
            }
        }
    }

    struct Running {
        path: PathBuf,
        shutdown: Shutdown,
        _folder: tempfile::TempDir,
    }

    fn start() -> Running {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let shutdown = Shutdown::default();
        let (sender, receiver) = mpsc::channel(1);
        let socket = ControlSocket::open(&path).unwrap();
        tokio::spawn(socket.serve(sender, shutdown.stop()));
        tokio::spawn(app(receiver));
        Running {
            path,
            shutdown,
            _folder: folder,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn requests_are_answered_line_by_line_and_a_broken_answer_is_no_answer() {
        let running = start();
        let path = running.path.clone();
        let asked = tokio::task::spawn_blocking(move || {
            let whole: Result<Vec<_>, _> = ask(&path, &Request::Backlog { bridge: None })
                .unwrap()
                .collect();
            assert_eq!(whole.unwrap(), [json!(1), json!(2)]);
            let export = Request::Export {
                dead_letter: false,
                bridge: "cloud".to_owned(),
            };
            let broken: Result<Vec<_>, _> = ask(&path, &export).unwrap().collect();
            assert!(
                matches!(&broken, Err(AskError::Broken(why)) if why.to_string().contains("broke off")),
                "{broken:?}"
            );
        });
        asked.await.unwrap();
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn what_is_no_request_is_told_so_and_an_endless_one_is_cut() {
        let running = start();
        for request in [&b"{\"reboot\":{}}\n"[..], &[b'x'; 100_000]] {
            let path = running.path.clone();
            let said = tokio::task::spawn_blocking(move || {
                let mut stream = std::os::unix::net::UnixStream::connect(path).unwrap();
                let mut said = Vec::new();
                // The end may come before all of an endless request is written, or read.
                let written = stream.write_all(request);
                let read = stream.read_to_end(&mut said);
                (written.is_ok() || read.is_err(), said)
            });
            let (_, said) = said.await.unwrap();
            let said = String::from_utf8(said).unwrap();
            assert!(said.contains("does not know the request"), "{said}");
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_peer_that_goes_is_noticed_though_nothing_is_said_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let shutdown = Shutdown::default();
        let (sender, mut requests) = mpsc::channel(1);
        let socket = ControlSocket::open(&path).unwrap();
        tokio::spawn(socket.serve(sender, shutdown.stop()));
        let answers = tokio::task::spawn_blocking(move || ask(&path, &Request::State).unwrap());
        let asked = requests.recv().await.unwrap();
        let answers = answers.await.unwrap();
        assert!(!asked.answer.is_closed());
        drop(answers);
        asked.answer.closed().await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_request_of_who_has_closed_already_is_not_handed_on() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let shutdown = Shutdown::default();
        let (sender, mut requests) = mpsc::channel(2);
        let socket = ControlSocket::open(&path).unwrap();
        for _ in 0..8 {
            // They wait to be accepted.
            drop(ask(&path, &Request::Backlog { bridge: None }).unwrap());
        }
        let state = path.clone();
        let stays = tokio::task::spawn_blocking(move || ask(&state, &Request::State).unwrap());
        let stays = stays.await.unwrap();
        tokio::spawn(socket.serve(sender, shutdown.stop()));
        let asked = requests.recv().await.unwrap();
        assert_eq!(asked.request, Request::State);
        drop(stays);
        asked.answer.closed().await;
        let other = requests.try_recv();
        assert!(other.is_err(), "{other:?}");
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_socket_that_stopped_leaves_no_file_and_says_that_nothing_runs() {
        let Running {
            path,
            shutdown,
            _folder,
        } = start();
        shutdown.request();
        shutdown.finished().await;
        let asked = ask(&path, &Request::Backlog { bridge: None });
        assert!(matches!(asked, Err(AskError::NotRunning)), "{asked:?}");
        assert!(!path.exists());
    }
}
