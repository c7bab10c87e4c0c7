//! The newest readings, for whoever looks at a device without subscribing to it. No I/O.
//!
//! They are those that were made to be published anyway, kept until the next ones instead of being dropped: nothing is read,
//! copied or said for this. A reading that failed takes the place of the value before it: a value never outlives its reply.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::options::ConnectionOptions;
use super::publish::Reading;
use super::reason::Reason;
use super::serial::{FieldReading, InstrumentConnection, Mode};
use super::start::{AdapterStatus, NamedStatus};
use super::{DeviceState, Payload};
use crate::clock::WallTime;
use crate::value::Value;

/// A value that was to be read again by now, and so long ago, is not shown.
const STALE_INTERVALS: u32 = 3;
/// At least: a slow line is no reason to show nothing.
const STALE_AFTER_AT_LEAST: Duration = Duration::from_secs(10);

/// What was read together, the last time.
#[derive(Clone, Debug, PartialEq)]
pub struct Latest {
    /// Stamp of the reply, as it is published.
    pub at: WallTime,
    /// The same by the monotonic clock.
    pub read: Instant,
    /// In the order of the options.
    pub readings: Readings,
}

/// By kind of device.
#[derive(Clone, Debug, PartialEq)]
pub enum Readings {
    /// Of a Modbus device.
    Tags(Vec<Reading>),
    /// Of an instrument.
    Fields(Vec<FieldReading>),
}

/// One tag as it was last read.
#[derive(Clone, Debug, PartialEq)]
pub struct LatestTag {
    /// The device.
    pub device: String,
    /// Its group; an instrument has none.
    pub group: Option<String>,
    /// Its name.
    pub tag: String,
    /// What was read, or why there is nothing.
    pub value: Result<Value, NoValue>,
    /// The instrument itself says that the value is not to be relied on.
    pub uncertain: bool,
    /// Integers are published as texts.
    pub quoted: bool,
    /// Its unit.
    pub unit: Option<String>,
    /// Stamp and age of the reading; `None` before the first.
    pub read: Option<(WallTime, Duration)>,
    /// When the device last answered.
    pub device_seen: Option<WallTime>,
    /// Where it is published.
    pub topic: String,
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoValue {
    /// It was not read yet.
    NotRead,
    /// The last one is too old to stand for the present.
    Stale,
    /// It could not be read.
    Bad(Reason),
}

impl std::fmt::Display for NoValue {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRead => formatter.write_str("not_read_yet"),
            Self::Stale => formatter.write_str("stale"),
            Self::Bad(reason) => reason.fmt(formatter),
        }
    }
}

/// The tags of a wire, in the order of the configuration.
#[must_use]
pub fn latest_tags(
    options: &ConnectionOptions,
    status: &AdapterStatus,
    now: Instant,
) -> Vec<LatestTag> {
    let mut tags = Vec::new();
    for (device, named) in options.devices.iter().zip(&status.devices) {
        for (number, group) in device.groups.iter().enumerate() {
            let latest = named.latest.get(number).and_then(Option::as_deref);
            for (place, tag) in group.tags.iter().enumerate() {
                let reading = latest.and_then(|latest| match &latest.readings {
                    Readings::Tags(readings) => readings.get(place),
                    Readings::Fields(_) => None,
                });
                let topic = match &group.payload {
                    Payload::Json(topic) => topic,
                    Payload::JsonPerTag | Payload::Value => &tag.topic,
                };
                let value = present(reading, named, latest, Some(group.interval), now);
                tags.push(LatestTag {
                    device: device.name.clone(),
                    group: Some(group.name.clone()),
                    tag: tag.name.clone(),
                    value,
                    uncertain: false,
                    quoted: tag.quoted,
                    unit: tag.unit.clone(),
                    read: read(latest, now),
                    device_seen: named.status.last_ok,
                    topic: topic.as_str().to_owned(),
                });
            }
        }
    }
    tags
}

/// The fields of an instrument.
#[must_use]
pub fn latest_fields(
    options: &InstrumentConnection,
    status: &AdapterStatus,
    now: Instant,
) -> Vec<LatestTag> {
    let instrument = &options.instrument;
    let Some(named) = status.devices.first() else {
        return Vec::new();
    };
    let latest = named.latest.first().and_then(Option::as_deref);
    let interval = match &instrument.dialect.mode {
        Mode::Poll { interval, .. } => Some(*interval),
        Mode::Listen { .. } => None, // it tells its silence by itself
    };
    let fields = instrument.dialect.parse.fields.iter().enumerate();
    let tags = fields.map(|(place, field)| {
        let reading = latest.and_then(|latest| match &latest.readings {
            Readings::Fields(readings) => readings.get(place),
            Readings::Tags(_) => None,
        });
        let topic = match &instrument.payload {
            Payload::Json(topic) => Some(topic),
            Payload::JsonPerTag | Payload::Value => instrument.topics.get(place),
        };
        let value = reading.map(|reading| &reading.value);
        LatestTag {
            device: instrument.name.clone(),
            group: None,
            tag: field.name.clone(),
            value: present(value, named, latest, interval, now),
            uncertain: reading.is_some_and(|reading| reading.uncertain),
            quoted: false,
            unit: reading.and_then(|reading| reading.unit.clone()),
            read: read(latest, now),
            device_seen: named.status.last_ok,
            topic: topic
                .map(|topic| topic.as_str().to_owned())
                .unwrap_or_default(),
        }
    });
    tags.collect()
}

fn read(latest: Option<&Latest>, now: Instant) -> Option<(WallTime, Duration)> {
    let latest = latest?;
    Some((latest.at, now.saturating_duration_since(latest.read)))
}

/// What may be said of the present.
fn present(
    reading: Option<&Reading>,
    device: &NamedStatus,
    latest: Option<&Latest>,
    interval: Option<Duration>,
    now: Instant,
) -> Result<Value, NoValue> {
    let is_offline = device.status.state == Some(DeviceState::Offline);
    match reading {
        // A group that is read rarely has not been told yet.
        Some(Ok(_)) | None if is_offline => Err(NoValue::Bad(Reason::Offline)),
        None => Err(NoValue::NotRead),
        Some(Err(reason)) => Err(NoValue::Bad(*reason)),
        Some(Ok(value)) => {
            let age = latest.map(|latest| now.saturating_duration_since(latest.read));
            let limit =
                interval.map(|it| it.saturating_mul(STALE_INTERVALS).max(STALE_AFTER_AT_LEAST));
            match (age, limit) {
                (Some(age), Some(limit)) if age > limit => Err(NoValue::Stale),
                _ => Ok(value.clone()),
            }
        }
    }
}

impl NamedStatus {
    /// What was read together as the `group` of this number has come, or has failed.
    pub(super) fn note(&mut self, group: usize, latest: Latest) {
        if let Some(place) = self.latest.get_mut(group) {
            *place = Some(Arc::new(latest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::super::health::Health;
    use super::super::options::Table;
    use super::*;
    use crate::value::TagType;

    const AT: WallTime = WallTime(1_800_000_000_123);

    fn told(
        state: Option<DeviceState>,
        reading: Option<Reading>,
        age: Duration,
    ) -> (Result<Value, NoValue>, Option<Duration>) {
        let tag = fixture::tag("u", Table::HoldingRegisters, 0, TagType::Uint16);
        let group = fixture::group("g", 5000, vec![tag]);
        let device = fixture::device("d", 1, vec![group]);
        let start = crate::clock::now();
        let mut named = NamedStatus::new("d", &Health::new(&device), 1);
        named.status.state = state;
        if let Some(reading) = reading {
            let latest = Latest {
                at: AT,
                read: start,
                readings: Readings::Tags(vec![reading]),
            };
            named.note(0, latest);
        }
        let options = fixture::connection(vec![device]);
        let mut status = AdapterStatus::new("wire", vec![named]);
        status.connected = true;
        let mut tags = latest_tags(&options, &status, start + age);
        assert_eq!(tags.len(), 1);
        let tag = tags.remove(0);
        assert_eq!(
            (&*tag.device, tag.group.as_deref(), &*tag.tag),
            ("d", Some("g"), "u")
        );
        (tag.value, tag.read.map(|(_, age)| age))
    }

    #[test]
    fn no_value_is_shown_that_is_not_of_the_present() {
        let online = Some(DeviceState::Online);
        let good = || Some(Ok(Value::Integer(7)));
        let young = Duration::from_secs(14);
        assert_eq!(
            told(online, good(), young),
            (Ok(Value::Integer(7)), Some(young))
        );
        let old = Duration::from_secs(16);
        assert_eq!(told(online, good(), old), (Err(NoValue::Stale), Some(old)));
        let bad = Some(Err(Reason::Timeout));
        let of = |state, reading| told(state, reading, young).0;
        assert_eq!(of(online, bad), Err(NoValue::Bad(Reason::Timeout)));
        assert_eq!(of(None, None), Err(NoValue::NotRead));
        let offline = Some(DeviceState::Offline);
        assert_eq!(of(offline, good()), Err(NoValue::Bad(Reason::Offline)));
        assert_eq!(of(offline, None), Err(NoValue::Bad(Reason::Offline)));
    }

    #[test]
    fn a_reading_costs_what_it_is() {
        assert_eq!(size_of::<Reading>(), 32, "kept once a tag");
    }
}
