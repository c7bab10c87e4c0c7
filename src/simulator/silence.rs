//! How simulated devices fall silent so that all knows what of their answers was received: the last one was when the next
//! question comes, as long as one is asked at a time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;

/// Whoever asks more seldom, or no more, is not waited for.
const QUESTION_WAIT: Duration = Duration::from_secs(5);

/// Whether there are answers, and how many questions there were.
#[derive(Debug)]
pub(super) struct Silence {
    fallen: AtomicBool,
    questions: watch::Sender<u64>,
}

impl Default for Silence {
    fn default() -> Self {
        Self {
            fallen: AtomicBool::new(false),
            questions: watch::Sender::new(0),
        }
    }
}

impl Silence {
    /// A question came. True: it gets no answer.
    pub(super) fn question(&self) -> bool {
        self.questions.send_modify(|questions| *questions += 1);
        self.fallen.load(Ordering::SeqCst)
    }

    /// From now on questions get no answer; returns when one has come.
    pub(super) async fn fall(&self) {
        self.fallen.store(true, Ordering::SeqCst);
        let mut questions = self.questions.subscribe();
        let before = *questions.borrow_and_update();
        let next = questions.wait_for(|questions| *questions > before);
        if timeout(QUESTION_WAIT, next).await.is_err() {
            tracing::debug!("nobody asks any more");
        }
    }
}
