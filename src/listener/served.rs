//! What the handshakes of a listener are answered with: its files as they were last read. New ones take their place while
//! it accepts; they count from the next handshake on, and connections that are there stay.

use std::sync::{Arc, Mutex, PoisonError};

use rustls::ServerConfig;

use super::file_watch::FileWatch;
use crate::net::ServerSetup;

/// All clones are one.
#[derive(Clone, Debug)]
pub(super) struct Served {
    files: Arc<Mutex<Arc<Files>>>,
}

/// Files that were read.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) config: Arc<ServerConfig>,
    pub(super) watch: FileWatch,
}

impl Served {
    pub(super) fn new(setup: &ServerSetup) -> Self {
        Self {
            files: Arc::new(Mutex::new(Files::new(setup))),
        }
    }

    pub(super) fn now(&self) -> Arc<Files> {
        Arc::clone(&self.files.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn replace(&self, setup: &ServerSetup) {
        *self.files.lock().unwrap_or_else(PoisonError::into_inner) = Files::new(setup);
    }
}

impl Files {
    fn new(setup: &ServerSetup) -> Arc<Self> {
        Arc::new(Self {
            config: Arc::clone(&setup.config),
            watch: FileWatch::new(setup),
        })
    }
}
