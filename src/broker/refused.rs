//! What the log says when a client tries what it may not do: who, what, and how to allow it.
//!
//! The core has one of these a minute for each session. One that comes back again and again has a new session each time, and
//! is held back by the room that the log has for each place.

use super::core::{Act, Refused};
use super::peer::Side;
use super::shell::Shell;

impl Shell {
    pub(super) fn tell_refused(&self, refused: &Refused) {
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
