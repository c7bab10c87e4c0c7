//! Topic Aliases towards one client (MQTT 5 section 3.3.2.3.4): the first topics that it gets are told with a number,
//! and from then on only the number is sent.
//!
//! Bounded by what the client grants and by [`ALIASES_MAX`]. The connection's outbox drops nothing and keeps the order, so
//! the client knows what it was told.

use crate::mqtt::{EncodedPublish, Extra};
use crate::session::{self, Alias};
use crate::topic::TopicName;

/// Topics that one connection has aliases for.
const ALIASES_MAX: u16 = 16;

/// Which topics the client knows by number.
#[derive(Debug, Default)]
pub(super) struct TopicAliases {
    known: session::TopicAliases,
    /// Maximum Packet Size of the client.
    packet_size_max: u32,
}

impl TopicAliases {
    /// `granted`: the client's Topic Alias Maximum; `None` where it takes no alias.
    pub(super) fn new(granted: u16, packet_size_max: u32) -> Option<Box<Self>> {
        let aliases = Self {
            known: session::TopicAliases::new(granted.min(ALIASES_MAX)),
            packet_size_max,
        };
        (granted > 0).then(|| Box::new(aliases))
    }

    /// Sends the topic by its alias where that saves bytes, now or from the next time on.
    pub(super) fn apply(
        &mut self,
        topic: &TopicName,
        encoded: &EncodedPublish<'_>,
        extra: &mut Extra<'_>,
    ) {
        match self.known.find(topic) {
            Some(Alias::Known(alias)) => {
                extra.topic_alias = Some(alias);
                extra.alias_known = true;
            }
            Some(Alias::New(alias)) => {
                let told = Extra {
                    topic_alias: Some(alias),
                    ..*extra
                };
                // The core compared the packet without the alias with what the client takes.
                let fits = |len| len <= self.packet_size_max as usize;
                if encoded.wire_len(&told).is_ok_and(fits) {
                    *extra = told;
                    self.known.told(topic);
                }
            }
            None => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::mqtt::{Message, Packet, PropertyBlock, ProtocolVersion, QoS, decode};

    /// (topic, alias) as the client reads them.
    fn told(aliases: &mut TopicAliases, text: &str) -> (Option<String>, Option<u16>) {
        let topic = TopicName::try_from(text).unwrap();
        let message = Message::new(topic.clone(), Bytes::new(), QoS::AtMostOnce, false);
        let properties = PropertyBlock::new(ProtocolVersion::V5, &message).unwrap();
        let encoded = EncodedPublish::new(&properties, &message, QoS::AtMostOnce, false);
        let mut extra = Extra::default();
        aliases.apply(&topic, &encoded, &mut extra);
        let mut out = BytesMut::new();
        encoded.write_head(false, None, &extra, &mut out).unwrap();
        let packet = decode(&mut out.freeze(), Some(ProtocolVersion::V5), 1000);
        let Ok(Some(Packet::Publish(publish))) = packet else {
            panic!("no PUBLISH")
        };
        let topic = publish.topic.map(|topic| topic.as_str().to_owned());
        (topic, publish.topic_alias)
    }

    fn with(topic: &str, alias: Option<u16>) -> (Option<String>, Option<u16>) {
        (Some(topic.to_owned()), alias)
    }

    #[test]
    fn mqtt_3_3_2_12_a_topic_is_told_once_and_then_its_alias() {
        let mut aliases = TopicAliases::new(2, u32::MAX).unwrap();
        assert_eq!(
            told(&mut aliases, "a/long/topic"),
            with("a/long/topic", Some(1))
        );
        assert_eq!(told(&mut aliases, "another"), with("another", Some(2)));
        assert_eq!(told(&mut aliases, "a/long/topic"), (None, Some(1)));
        assert_eq!(told(&mut aliases, "another"), (None, Some(2)));
    }

    #[test]
    fn mqtt_3_1_2_26_no_more_aliases_than_the_client_takes_and_we_keep() {
        let mut aliases = TopicAliases::new(1, u32::MAX).unwrap();
        told(&mut aliases, "first");
        assert_eq!(told(&mut aliases, "second"), with("second", None));
        let mut aliases = TopicAliases::new(u16::MAX, u32::MAX).unwrap();
        for number in 0..ALIASES_MAX {
            told(&mut aliases, &format!("topic/{number}"));
        }
        assert_eq!(told(&mut aliases, "one/more"), with("one/more", None));
        assert_eq!(told(&mut aliases, "topic/0"), (None, Some(1)));
    }

    #[test]
    fn a_topic_no_longer_than_an_alias_is_sent_as_it_is() {
        let mut aliases = TopicAliases::new(9, u32::MAX).unwrap();
        assert_eq!(told(&mut aliases, "a/b"), with("a/b", None));
    }

    #[test]
    fn mqtt_3_1_2_24_an_alias_makes_no_packet_too_large() {
        // Header 2, topic 7, no properties 1.
        let mut aliases = TopicAliases::new(9, 10).unwrap();
        assert_eq!(told(&mut aliases, "topic"), with("topic", None));
        let mut aliases = TopicAliases::new(9, 13).unwrap();
        assert_eq!(told(&mut aliases, "topic"), with("topic", Some(1)));
    }
}
