//! In the broker's place: judges each message before the adapter asks for anything of it again. All run in one thread, in turn,
//! and the adapter makes a pause before each request; so whoever was ready then comes first.

use std::sync::{Arc, Mutex};

use fieldgate::adapter::Sink;
use fieldgate::broker::LinkClosed;
use fieldgate::mqtt::Message;
use tokio::sync::mpsc;

use super::field::Field;

pub struct Judge {
    field: Arc<Mutex<Field>>,
    readings: u64,
    enough: mpsc::Sender<()>,
}

impl Judge {
    /// Says in `enough` when there were so many.
    pub fn new(field: Arc<Mutex<Field>>, readings: u64, enough: mpsc::Sender<()>) -> Self {
        Self {
            field,
            readings,
            enough,
        }
    }
}

impl Sink for Judge {
    async fn publish(&mut self, message: Message) -> Result<(), LinkClosed> {
        let topic: Vec<_> = message.topic.as_str().split('/').collect();
        let [_, unit, group] = topic[..] else {
            panic!("{topic:?}");
        };
        if group == "$status" {
            return Ok(());
        }
        let json = serde_json::from_slice(&message.payload).unwrap();
        let mut field = self.field.lock().unwrap();
        field.judge(unit.parse().unwrap(), group, &json);
        if field.readings() >= self.readings {
            // Heard once.
            self.enough.try_send(()).ok();
        }
        Ok(())
    }
}
