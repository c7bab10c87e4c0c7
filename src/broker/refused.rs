//! What the log says when a client tries what it may not do: who, what, and how to allow it.
//!
//! The core has one of these a minute for each session. All of them together have the room that other faults of clients
//! have: one that comes back again and again has a new session each time.

use super::core::{Act, Refused};
use super::peer::Side;
use super::shell::Shell;

impl Shell {
    pub(super) fn tell_refused(&self, refused: &Refused) {
        if !self.may_complain() {
            return;
        }
        let peer = refused.conn.and_then(|conn| self.peer(conn));
        let address = peer.as_ref().and_then(|peer| match &peer.side {
            Side::Socket(socket) => Some(socket.address.to_string()),
            Side::Link(_) => None,
        });
        let Refused {
            client_id, untold, ..
        } = refused;
        let user = refused.user.as_deref().unwrap_or("anonymous");
        let address = address.as_deref().unwrap_or("away");
        match &refused.act {
            Act::Publish(topic) => tracing::warn!(
                %client_id, user, address, %topic, untold,
                "PUBLISH refused and the message dropped: no access rule lets this client publish to the topic; to allow it, name the topic under `publish` of the user's entry in `broker.access`, or in the Mosquitto ACL file"
            ),
            Act::Will(topic) => tracing::warn!(
                %client_id, user, address, %topic, untold,
                "will refused: no access rule lets this client publish to the topic; to allow it, name the topic under `publish` of the user's entry in `broker.access`, or in the Mosquitto ACL file"
            ),
            Act::Subscribe(filter) => tracing::warn!(
                %client_id, user, address, %filter, untold,
                "SUBSCRIBE refused: no access rule lets this client read a topic that the filter matches; to allow it, name the topics under `subscribe` of the user's entry in `broker.access`, or in the Mosquitto ACL file"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::{Arc, Mutex};

    use super::super::{BrokerOptions, Stores};
    use super::*;
    use crate::auth::{Authenticator, Users};
    use crate::metrics::LogBudget;
    use crate::shutdown::Shutdown;
    use crate::topic::TopicFilter;

    /// What was logged.
    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn sessions_that_come_and_go_with_what_is_refused_do_not_flood_the_log() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
        let _logging = tracing::subscriber::set_default(subscriber.finish());
        let shell = Shell::new(
            BrokerOptions::default(),
            Stores::default(),
            Authenticator::new(Users::default()),
            Arc::default(),
            Shutdown::default().stop(),
        );
        let refused = |session: u64| Refused {
            conn: None,
            client_id: format!("session-{session}").into(),
            user: None,
            act: Act::Subscribe(TopicFilter::try_from("secret/#").unwrap()),
            untold: 0,
        };
        let told = || {
            let log = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
            log.matches("SUBSCRIBE refused").count() as u64
        };
        shell.tell_refused(&refused(0));
        assert_eq!(told(), 1);
        for session in 1..1000 {
            shell.tell_refused(&refused(session));
        }
        assert_eq!(told(), LogBudget::LINES);
    }
}
