//! Which session a client id has. The index keeps no ids: those of the sessions are looked at, so that a client costs it a
//! number.

use std::hash::{BuildHasher as _, RandomState};

use hashbrown::HashTable;
use slab::Slab;

use super::session::{Session, SessionKey};
use super::shrink::is_sparse;

/// Sessions by client id. The hash is the standard library's keyed one: clients choose the ids.
#[derive(Debug, Default)]
pub(super) struct Clients {
    keys: HashTable<SessionKey>,
    hasher: RandomState,
}

impl Clients {
    pub(super) fn find(&self, sessions: &Slab<Session>, client_id: &str) -> Option<SessionKey> {
        let is_it = |key: &SessionKey| id_of(sessions, *key) == client_id;
        let found = self.keys.find(self.hasher.hash_one(client_id), is_it);
        found.copied()
    }

    /// Adds a session whose client id no other session has.
    pub(super) fn insert(&mut self, sessions: &Slab<Session>, key: SessionKey) {
        let hash = self.hasher.hash_one(id_of(sessions, key));
        let hasher = &self.hasher;
        self.keys
            .insert_unique(hash, key, |key| hasher.hash_one(id_of(sessions, *key)));
    }

    pub(super) fn shrink(&mut self, sessions: &Slab<Session>) {
        if is_sparse(self.keys.len(), self.keys.capacity()) {
            let hasher = &self.hasher;
            self.keys
                .shrink_to_fit(|key| hasher.hash_one(id_of(sessions, *key)));
        }
    }

    /// Takes out the session of this client id.
    pub(super) fn remove(&mut self, client_id: &str, key: SessionKey) {
        let hash = self.hasher.hash_one(client_id);
        if let Ok(entry) = self.keys.find_entry(hash, |known| *known == key) {
            entry.remove();
        }
    }
}

fn id_of(sessions: &Slab<Session>, key: SessionKey) -> &str {
    sessions.get(key.0).map_or("", |session| &session.client_id)
}
