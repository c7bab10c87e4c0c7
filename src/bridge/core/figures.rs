//! What a bridge counts.

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Acknowledged by the upstream; QoS 0: sent.
    pub delivered: u64,
    /// Larger than the upstream takes, or than MQTT can say.
    pub too_large: u64,
    /// Refused by the upstream for good.
    pub refused: u64,
    /// Older than their Message Expiry Interval.
    pub expired: u64,
    /// Refused by the upstream for now and sent again.
    pub retried: u64,
    /// Sent at a lower QoS because the upstream takes no higher one.
    pub qos_lowered: u64,
    /// Sent without their RETAIN flag because the upstream retains nothing.
    pub retain_cleared: u64,
    /// Sent again without being sure that the first copy did not arrive.
    pub maybe_duplicated: u64,
    /// QoS 2 messages that the upstream had received and at PUBREL no longer knew (0x92): it had passed them on and its PUBCOMP
    /// was lost, or it forgot them and did not say so.
    pub in_doubt: u64,
    /// Connections that the upstream accepted.
    pub connects: u64,
    /// Acknowledgements of nothing that is in flight, and messages nobody asked for.
    pub unexpected: u64,
    /// Messages of the upstream that the local broker has taken; QoS 0: that were handed to it.
    pub received: u64,
    /// Messages of the upstream that went nowhere: refused by the local broker, too large, without a topic here, or commands
    /// with RETAIN set.
    pub not_received: u64,
    /// Messages that came down from an upstream too often.
    pub too_many_hops: u64,
}
