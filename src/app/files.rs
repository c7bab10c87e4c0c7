//! What is inside the files that a configuration names: certificates, keys, users. `config` knows whether they are there.

use crate::auth::Users;
use crate::config::Config;
use crate::listener::ListenError;
use crate::net;

use super::StartError;

/// Every fault in them, each with file and remedy. Reads them all; blocks for milliseconds.
#[must_use]
pub fn faults(config: &Config) -> Vec<StartError> {
    let users = config.users_file.as_deref().map(Users::read);
    let users = users.and_then(Result::err).map(StartError::from);
    let listeners = config.listeners.iter().filter_map(|listener| {
        let source = net::server_config(listener.tls.as_ref()?).err()?;
        let name = listener.name.clone();
        Some(ListenError::Tls { name, source }.into())
    });
    let bridges = config.bridges.iter().filter_map(|bridge| {
        let source = net::client_config(bridge.options.tls.as_ref()?).err()?;
        let name = bridge.options.name.clone();
        Some(StartError::Bridge {
            name,
            source: source.into(),
        })
    });
    users.into_iter().chain(listeners).chain(bridges).collect()
}
