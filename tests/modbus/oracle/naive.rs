//! A client as many are: takes the first bytes that have the unit, the function and the count of what it asked for, and the
//! checksum; after a timeout it asks again, on the same line.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::field::Field;

const TIMEOUT: Duration = Duration::from_millis(200);
/// Unit 1, holding register 200, one of them, with its checksum: the group "word".
const REQUEST: [u8; 8] = [1, 3, 0, 200, 0, 1, 0x05, 0xF4];
/// Unit, function, count, data, checksum.
const REPLY_BYTES: usize = 7;

/// Opens with `open`, and again where the device closed.
pub async fn read(open: impl Fn() -> DuplexStream, field: Arc<Mutex<Field>>, readings: u64) {
    let mut stream = open();
    while field.lock().unwrap().readings() < readings {
        let mut reply = [0; REPLY_BYTES];
        if stream.write_all(&REQUEST).await.is_err() {
            stream = open();
            continue;
        }
        let reading = tokio::time::timeout(TIMEOUT, stream.read_exact(&mut reply));
        let message = match reading.await {
            Ok(Ok(_)) if reply[..3] == [1, 3, 2] => {
                json!({"values": {"i16": i16::from_be_bytes([reply[3], reply[4]])}})
            }
            Ok(Err(_)) => {
                stream = open();
                json!({"bad": {"i16": "connection_closed"}})
            }
            _ => json!({"bad": {"i16": "timeout"}}),
        };
        field.lock().unwrap().judge(1, "word", &message);
    }
}
