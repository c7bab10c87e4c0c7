//! Who wants what of one generation, taken at one moment: what a rewrite of its file must keep. No I/O.
//!
//! What is to be skipped is kept too: only its count is stored, and that must go on to fit the file.

use std::collections::{BTreeMap, BTreeSet};

use super::super::SessionNumber;
use super::super::ranges::Ranges;
use super::session::Session;

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub(in crate::store) struct Survivors {
    sessions: BTreeMap<SessionNumber, Known>,
}

#[derive(Clone, Debug)]
struct Known {
    horizon: u64,
    gone: Ranges,
    open: BTreeSet<u64>,
}

impl Survivors {
    pub(super) fn new<'a>(
        sessions: impl IntoIterator<Item = (&'a SessionNumber, &'a Session)>,
    ) -> Self {
        let known = sessions.into_iter().map(|(number, session)| {
            let known = Known {
                horizon: session.horizon,
                gone: session.gone.clone(),
                open: session.open.keys().copied().collect(),
            };
            (*number, known)
        });
        Self {
            sessions: known.collect(),
        }
    }

    /// Whether `session` wants the message at `seq`.
    pub(in crate::store) fn want(&self, seq: u64, session: SessionNumber) -> bool {
        self.sessions.get(&session).is_some_and(|known| {
            known.open.contains(&seq) || seq > known.horizon && !known.gone.contains(seq)
        })
    }
}
