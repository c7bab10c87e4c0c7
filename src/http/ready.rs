//! Whether the gateway does what it is for. No I/O.
//!
//! A link that is down and a device that is silent are no reason: the gateway is there for exactly that, and who restarts it
//! for them only makes it worse.

use crate::status::GatewayState;

/// Why it is not ready; empty where it is.
pub(super) fn reasons(state: &GatewayState) -> Vec<String> {
    let mut reasons = Vec::new();
    if state.broker.has_ended {
        reasons.push("the broker has ended".to_owned());
    }
    if let Some(error) = &state.store.error {
        reasons.push(format!("store: {error}"));
    }
    for bridge in &state.bridges {
        if let Some(error) = &bridge.status.store_error {
            reasons.push(format!("backlog of bridge {}: {error}", bridge.name));
        }
    }
    reasons
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{BridgeState, ConnectionState, DeviceState, Health, LinkState};

    #[test]
    fn a_cut_link_and_a_silent_device_are_no_reason() {
        let mut state = GatewayState::default();
        state.bridges.push(BridgeState::default());
        assert_eq!(state.bridges[0].status.link, LinkState::Down);
        state.connections.push(ConnectionState {
            devices: vec![DeviceState {
                state: Health::Offline,
                ..DeviceState::default()
            }],
            ..ConnectionState::default()
        });
        assert_eq!(reasons(&state), [""; 0]);
    }

    #[test]
    fn each_reason_is_told() {
        let mut state = GatewayState::default();
        state.broker.has_ended = true;
        state.store.error = Some("no folder".to_owned());
        let mut bridge = BridgeState {
            name: "cloud".to_owned(),
            ..BridgeState::default()
        };
        bridge.status.store_error = Some("disk full".to_owned());
        state.bridges.push(bridge);
        assert_eq!(
            reasons(&state),
            [
                "the broker has ended",
                "store: no folder",
                "backlog of bridge cloud: disk full"
            ]
        );
    }
}
