//! Topic aliases that a client has set (MQTT 5 section 3.3.2.3.4). They last as long as the connection.

use crate::mqtt::ReasonCode;
use crate::topic::TopicName;

/// What the topics behind the aliases of a connection may weigh, for each alias that was granted. Whoever stands names far
/// longer than any topic in use behind them is closed: quota exceeded.
const BYTES_PER_ALIAS: usize = 1 << 10;

/// The topics behind the aliases of one connection; nothing is allocated before the first.
#[derive(Debug, Default)]
pub(super) struct TopicAliases {
    /// Alias 1 first.
    topics: Vec<Option<TopicName>>,
    bytes: usize,
}

impl TopicAliases {
    /// The topic of a PUBLISH, which may set an alias for it or name it by one. `maximum` were granted.
    ///
    /// # Errors
    /// What the client is closed with: 0x94 where the alias is 0 or above the maximum [MQTT-3.3.2-8, MQTT-3.3.2-9], 0x82
    /// where nothing is known behind it, 0x97 where too much was put behind the aliases.
    pub(super) fn resolve(
        &mut self,
        topic: Option<TopicName>,
        alias: Option<u16>,
        maximum: u16,
    ) -> Result<TopicName, ReasonCode> {
        let Some(alias) = alias else {
            return topic.ok_or(ReasonCode::ProtocolError);
        };
        if alias > maximum {
            return Err(ReasonCode::TopicAliasInvalid);
        }
        let place = usize::from(alias)
            .checked_sub(1)
            .ok_or(ReasonCode::TopicAliasInvalid)?;
        let Some(topic) = topic else {
            let known = self.topics.get(place).cloned().flatten();
            return known.ok_or(ReasonCode::ProtocolError);
        };
        if place >= self.topics.len() {
            self.topics.resize(place + 1, None);
        }
        if let Some(behind) = self.topics.get_mut(place) {
            self.bytes -= behind.as_ref().map_or(0, |old| old.as_str().len());
            self.bytes += topic.as_str().len();
            if self.bytes > usize::from(maximum) * BYTES_PER_ALIAS {
                return Err(ReasonCode::QuotaExceeded);
            }
            *behind = Some(topic.compact());
        }
        Ok(topic)
    }
}
