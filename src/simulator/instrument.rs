//! A serial instrument that says what it is told to, unasked or as an answer.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval};

use super::silence::Silence;
use super::trouble::{Trouble, Troubles};
use crate::clock;

/// What is kept of what it hears: more than any question.
const HEARD_BYTES_MAX: usize = 4096;
/// What comes in place of a frame.
const GARBAGE: [u8; 12] = [0xA5; 12];

/// When it speaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Each time that so long has passed.
    Unasked(Duration),
    /// Each time that these bytes have come.
    Asked(Vec<u8>),
}

/// A running instrument; dropping it ends it.
#[derive(Debug)]
pub struct SimulatedInstrument {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Shared {
    said: AtomicU64,
    silence: Silence,
}

impl SimulatedInstrument {
    /// Speaks on `line`: `frame` makes the bytes of each frame, by its number from 1 on. Where `trouble` is given, that goes
    /// wrong each time that so many frames were due.
    pub fn on_line(
        line: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        manner: Manner,
        trouble: Option<(Trouble, u32)>,
        frame: impl FnMut(u64) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let shared = Arc::<Shared>::default();
        let troubles = trouble.map(|(trouble, every)| Troubles::new(trouble, every));
        let voice = Voice {
            line,
            frame,
            troubles,
            shared: Arc::clone(&shared),
        };
        let task = tokio::spawn(async move {
            if let Err(error) = voice.speak(manner).await {
                tracing::debug!(%error, "the line of the simulated instrument ended");
            }
        });
        Self { shared, task }
    }

    /// How many frames it has said.
    #[must_use]
    pub fn said(&self) -> u64 {
        self.shared.said.load(Ordering::Acquire)
    }

    /// Says nothing more, and waits for a question that shows that the last frame was received.
    pub async fn fall_silent(&self) {
        self.shared.silence.fall().await;
    }
}

impl Drop for SimulatedInstrument {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Voice<L, F> {
    line: L,
    frame: F,
    troubles: Option<Troubles>,
    shared: Arc<Shared>,
}

impl<L: AsyncRead + AsyncWrite + Unpin, F: FnMut(u64) -> Vec<u8>> Voice<L, F> {
    async fn speak(mut self, manner: Manner) -> io::Result<()> {
        let started = clock::now();
        match manner {
            Manner::Unasked(every) => {
                let mut tick = interval(every);
                tick.set_missed_tick_behavior(MissedTickBehavior::Skip);
                loop {
                    tick.tick().await;
                    self.say(clock::now() - started).await?;
                }
            }
            Manner::Asked(question) => {
                let mut heard = Vec::new();
                loop {
                    let mut bytes = [0; 256];
                    let read = self.line.read(&mut bytes).await?;
                    if read == 0 {
                        return Ok(());
                    }
                    heard.extend(bytes.iter().take(read));
                    while let Some(at) = find(&heard, &question) {
                        heard.drain(..at + question.len());
                        self.say(clock::now() - started).await?;
                    }
                    let beyond = heard.len().saturating_sub(HEARD_BYTES_MAX);
                    heard.drain(..beyond);
                }
            }
        }
    }

    async fn say(&mut self, elapsed: Duration) -> io::Result<()> {
        let trouble = self
            .troubles
            .as_mut()
            .and_then(|troubles| troubles.of_question(elapsed));
        if self.shared.silence.question() || trouble == Some(Trouble::Dead) {
            return Ok(());
        }
        // Before it is written: who has read it finds it counted.
        let number = self.shared.said.fetch_add(1, Ordering::AcqRel) + 1;
        let mut frame = (self.frame)(number);
        match trouble {
            Some(Trouble::Late(delay)) => tokio::time::sleep(delay).await,
            Some(Trouble::Garbage) => frame = GARBAGE.to_vec(),
            Some(Trouble::Short) => frame.truncate(frame.len() / 2),
            _ => {}
        }
        self.line.write_all(&frame).await
    }
}

fn find(heard: &[u8], question: &[u8]) -> Option<usize> {
    let length = question.len().max(1);
    heard.windows(length).position(|bytes| bytes == question)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_answers_each_question_once_however_it_arrives() {
        let (mut asker, line) = tokio::io::duplex(64);
        let manner = Manner::Asked(b"SI\r\n".to_vec());
        let frame = |number| format!("<{number}>").into_bytes();
        let instrument = SimulatedInstrument::on_line(line, manner, None, frame);
        for piece in [&b"xS"[..], b"I\r\nSI", b"\r\n"] {
            asker.write_all(piece).await.unwrap();
        }
        let mut answers = [0; 6];
        asker.read_exact(&mut answers).await.unwrap();
        assert_eq!(&answers, b"<1><2>");
        assert_eq!(instrument.said(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn unasked_it_speaks_at_its_times_but_for_the_troubles() {
        let (mut listener, line) = tokio::io::duplex(64);
        let manner = Manner::Unasked(Duration::from_secs(1));
        let frame = |number| format!("<{number}>").into_bytes();
        let trouble = Some((Trouble::Short, 2));
        let instrument = SimulatedInstrument::on_line(line, manner, trouble, frame);
        let mut heard = [0; 7];
        listener.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"<1><<3>");
        assert_eq!(instrument.said(), 3);
    }
}
