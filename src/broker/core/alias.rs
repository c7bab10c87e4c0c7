//! Topic aliases that a client has set (MQTT 5 section 3.3.2.3.4). They last as long as the connection.

use crate::mqtt::ReasonCode;
use crate::topic::TopicName;

/// What the topics behind the aliases of a connection may weigh, for each alias that was granted. Whoever stands names far
/// longer than any topic in use behind them is closed: quota exceeded.
const BYTES_PER_ALIAS: usize = 1 << 10;

/// The topics behind the aliases of one connection; before the first it is no more than a pointer, as most set none.
#[derive(Debug, Default)]
pub(super) struct TopicAliases(Option<Box<Known>>);

#[derive(Debug, Default)]
struct Known {
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
        let known = self.0.get_or_insert_default();
        let Some(topic) = topic else {
            let topic = known.topics.get(place).cloned().flatten();
            return topic.ok_or(ReasonCode::ProtocolError);
        };
        if place >= known.topics.len() {
            known.topics.resize(place + 1, None);
        }
        if let Some(behind) = known.topics.get_mut(place) {
            known.bytes -= behind.as_ref().map_or(0, |old| old.as_str().len());
            known.bytes += topic.as_str().len();
            if known.bytes > usize::from(maximum) * BYTES_PER_ALIAS {
                return Err(ReasonCode::QuotaExceeded);
            }
            *behind = Some(topic.compact());
        }
        Ok(topic)
    }
}
