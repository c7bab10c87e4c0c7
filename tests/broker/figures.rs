//! What the broker counts.

use fieldgate::broker::Traffic;

use crate::support::*;

#[tokio::test]
async fn packets_and_bytes_of_sockets_are_counted_both_ways() {
    let gateway = Gateway::start();
    let mut client = gateway.client(V311, "c").await; // CONNECT 15 bytes, CONNACK 4
    client.subscribe("a", QOS1).await; // SUBSCRIBE 8, SUBACK 5
    client.publish(message("x", "12345", QOS1), 1).await; // PUBLISH 12, PUBACK 4
    client.send_publish(message("a", "123", QOS0), 0).await; // PUBLISH 8, and back
    assert_eq!(client.take_payload().await, "123");
    client.ping().await; // 2, and back
    let expected = Traffic {
        connections: 1,
        connects: 1,
        bytes_received: 15 + 8 + 12 + 8 + 2,
        bytes_sent: 4 + 5 + 4 + 8 + 2,
        packets_received: 5,
        packets_sent: 5,
        publishes_received: 2,
        publishes_sent: 1,
        payload_bytes_received: 8,
        payload_bytes_sent: 3,
    };
    // The figures of a turn are shown after its last write.
    let counted = async {
        while gateway.broker.stats().traffic != expected {
            tokio::task::yield_now().await;
        }
    };
    if tokio::time::timeout(PATIENCE, counted).await.is_err() {
        assert_eq!(gateway.broker.stats().traffic, expected);
    }
    assert_eq!(gateway.broker.stats().clients_maximum, 1);
}
