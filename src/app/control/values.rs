//! What is answered about values: each tag as it was last read.

use std::time::Instant;

use serde_json::{Map, Value, json};
use tokio::sync::mpsc;

use super::super::seen::{SeenConnection, SeenOptions};
use crate::adapter::{LatestTag, latest_fields, latest_tags};
use crate::clock::{self, WallTime};
use crate::control::Line;
use crate::value::{self, write_json_value};

/// An item for each tag, of one device or of all.
pub(super) async fn values(
    connections: &[SeenConnection],
    device: Option<String>,
    answer: &mpsc::Sender<Line>,
) -> Result<Line, String> {
    if let Some(device) = &device {
        let names: Vec<_> = connections
            .iter()
            .flat_map(SeenConnection::device_names)
            .collect();
        if !names.contains(device) {
            let known = names.join(", ");
            return Err(format!("there is no device `{device}`; there are: {known}"));
        }
    }
    let (now, wall) = (clock::now(), clock::wall());
    for connection in connections {
        // A wire at a time, so that many devices are never all held at once.
        let wanted = connection.latest(now).into_iter();
        for tag in wanted.filter(|tag| device.as_ref().is_none_or(|device| tag.device == *device)) {
            if answer.send(Line::Item(item(&tag, wall))).await.is_err() {
                return Ok(Line::End); // to nobody
            }
        }
    }
    Ok(Line::End)
}

impl SeenConnection {
    /// Each of its tags as it was last read.
    fn latest(&self, now: Instant) -> Vec<LatestTag> {
        let status = self.status.borrow();
        match &self.options {
            SeenOptions::Devices(options) => latest_tags(options, &status, now),
            SeenOptions::Instrument(options) => latest_fields(options, &status, now),
        }
    }

    /// What is on it.
    pub(super) fn device_names(&self) -> Vec<String> {
        let status = self.status.borrow();
        let names = status.devices.iter().map(|device| device.name.clone());
        names.collect()
    }
}

/// `{"device":"m","group":"g","tag":"u","value":230.2,"quality":"good","unit":"V","ts":...,"age_ms":400,"topic":"..."}`; bad
/// ones have `"value":null`, `reason` and `device_seen_s`.
fn item(tag: &LatestTag, wall: WallTime) -> Value {
    let mut fields = Map::new();
    let mut set = |name: &str, value: Value| fields.insert(name.to_owned(), value);
    set("device", json!(tag.device));
    if let Some(group) = &tag.group {
        set("group", json!(group));
    }
    set("tag", json!(tag.tag));
    match &tag.value {
        Ok(value) => {
            set("value", published(value, tag.quoted));
            let quality = if tag.uncertain { "uncertain" } else { "good" };
            set("quality", json!(quality));
        }
        Err(why) => {
            set("value", Value::Null);
            set("quality", json!("bad"));
            set("reason", json!(why.to_string()));
            let seen = tag.device_seen.filter(|seen| seen.is_plausible());
            if let Some(seen) = seen {
                set("device_seen_s", json!(wall.millis_since(seen) / 1000));
            }
        }
    }
    if let Some(unit) = &tag.unit {
        set("unit", json!(unit));
    }
    if let Some((at, age)) = tag.read {
        set("ts", json!(at.0));
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        set("age_ms", json!(age));
    }
    set("topic", json!(tag.topic));
    Value::Object(fields)
}

/// As its messages have it.
fn published(value: &value::Value, quoted: bool) -> Value {
    match value {
        value::Value::Integer(integer) if quoted => json!(integer.to_string()),
        value => {
            let mut text = String::new();
            write_json_value(&mut text, value);
            serde_json::from_str(&text).unwrap_or(Value::Null)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::adapter::{NoValue, Reason};

    const NOW: WallTime = WallTime(1_800_000_000_000);

    fn tag(value: Result<value::Value, NoValue>) -> LatestTag {
        LatestTag {
            device: "m".to_owned(),
            group: Some("g".to_owned()),
            tag: "u".to_owned(),
            value,
            uncertain: false,
            quoted: false,
            unit: Some("V".to_owned()),
            read: Some((WallTime(NOW.0 - 400), Duration::from_millis(400))),
            device_seen: Some(WallTime(NOW.0 - 360_000)),
            topic: "gw/m/g".to_owned(),
        }
    }

    #[test]
    fn a_value_is_told_as_it_is_published() {
        let good = item(&tag(Ok(value::Value::Float32(230.2))), NOW);
        let wanted = r#"{"age_ms":400,"device":"m","group":"g","quality":"good","tag":"u","topic":"gw/m/g","ts":1799999999600,"unit":"V","value":230.2}"#;
        assert_eq!(good.to_string(), wanted);
        let large = value::Value::Integer(i128::from(u64::MAX));
        assert_eq!(published(&large, false).to_string(), u64::MAX.to_string());
        assert_eq!(published(&large, true), json!(u64::MAX.to_string()));
        let flagged = LatestTag {
            uncertain: true,
            ..tag(Ok(value::Value::Bool(true)))
        };
        assert_eq!(item(&flagged, NOW)["quality"], "uncertain");
    }

    #[test]
    fn of_what_is_bad_only_the_reason_is_told_and_when_its_device_was_seen() {
        let told = item(&tag(Err(NoValue::Bad(Reason::Timeout))), NOW);
        assert_eq!(
            (&told["value"], &told["quality"]),
            (&Value::Null, &json!("bad"))
        );
        assert_eq!(
            (&told["reason"], &told["device_seen_s"]),
            (&json!("timeout"), &json!(360))
        );
        let never = LatestTag {
            read: None,
            device_seen: None,
            ..tag(Err(NoValue::NotRead))
        };
        let told = item(&never, NOW);
        assert_eq!(told["reason"], "not_read_yet");
        assert!(told.get("age_ms").is_none() && told.get("device_seen_s").is_none());
    }
}
