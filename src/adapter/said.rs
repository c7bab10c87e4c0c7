//! Which readings of a group are published: all, or those that say something new. No I/O; `now` is an argument.
//!
//! What is decided about is a message: the one of a group with all its tags, or that of one tag. Invariants: a tag that
//! turns bad, good, or bad for another reason is a change whatever its deadband; a change waits for nothing but the end
//! of `min_interval`, and then is published as it was read, or not if it was undone in the meantime; two messages are
//! never less than `min_interval` apart, nor, while readings come, more than `max_interval`.

use std::time::Instant;

use super::options::{GroupOptions, Payload, TagOptions};
use super::publish::Reading;
use crate::clock::WallTime;

/// What was last published of a group, and what waits.
#[derive(Debug)]
pub(super) struct Said {
    /// By message: when, and which readings.
    messages: Vec<Option<(Instant, Vec<Reading>)>>,
    held: Option<Held>,
}

/// The newest reading, of which something changed too early to be published.
#[derive(Debug)]
struct Held {
    readings: Vec<Reading>,
    at: WallTime,
    until: Instant,
}

/// What is to be published.
#[derive(Debug)]
pub(super) struct Report {
    /// Of all tags of the group.
    pub(super) readings: Vec<Reading>,
    /// Their stamp.
    pub(super) at: WallTime,
    /// By message: whether it is one of those to publish.
    pub(super) messages: Vec<bool>,
}

enum Verdict {
    Publish,
    Hold(Instant),
    Nothing,
}

impl Said {
    pub(super) fn new(group: &GroupOptions) -> Self {
        let messages = match group.payload {
            Payload::Json(_) => 1,
            Payload::JsonPerTag | Payload::Value => group.tags.len(),
        };
        Self {
            messages: vec![None; messages],
            held: None,
        }
    }

    /// What to publish of new readings.
    pub(super) fn report(
        &mut self,
        group: &GroupOptions,
        readings: Vec<Reading>,
        at: WallTime,
        now: Instant,
    ) -> Report {
        let of_message = group.tags.len().div_ceil(self.messages.len().max(1)).max(1);
        let parts = readings
            .chunks(of_message)
            .zip(group.tags.chunks(of_message));
        let mut messages = Vec::with_capacity(self.messages.len());
        let mut held_until: Option<Instant> = None;
        for (said, (readings, tags)) in self.messages.iter_mut().zip(parts) {
            let verdict = verdict(group, tags, said.as_ref(), readings, now);
            if let Verdict::Hold(until) = verdict {
                held_until = Some(held_until.map_or(until, |other| other.min(until)));
            }
            let publish = matches!(verdict, Verdict::Publish);
            if publish && group.publish.on_change {
                *said = Some((now, readings.to_vec()));
            }
            messages.push(publish);
        }
        self.held = held_until.map(|until| Held {
            readings: readings.clone(),
            at,
            until,
        });
        Report {
            readings,
            at,
            messages,
        }
    }

    /// When something that is held may be published.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.held.as_ref().map(|held| held.until)
    }

    /// What to publish of that.
    pub(super) fn release(&mut self, group: &GroupOptions, now: Instant) -> Option<Report> {
        let held = self.held.take_if(|held| held.until <= now)?;
        Some(self.report(group, held.readings, held.at, now))
    }
}

fn verdict(
    group: &GroupOptions,
    tags: &[TagOptions],
    said: Option<&(Instant, Vec<Reading>)>,
    readings: &[Reading],
    now: Instant,
) -> Verdict {
    let options = &group.publish;
    let Some((said_at, said)) = said else {
        return Verdict::Publish;
    };
    let age = now.saturating_duration_since(*said_at);
    let changed = readings
        .iter()
        .zip(said)
        .zip(tags)
        .any(|((reading, said), tag)| is_change(said, reading, tag));
    if age < options.min_interval {
        return if changed {
            Verdict::Hold(*said_at + options.min_interval)
        } else {
            Verdict::Nothing
        };
    }
    // Not later than `max_interval`: if the next reading would be, it is now.
    if changed || age.saturating_add(group.interval) > options.max_interval {
        Verdict::Publish
    } else {
        Verdict::Nothing
    }
}

fn is_change(said: &Reading, reading: &Reading, tag: &TagOptions) -> bool {
    match (said, reading, tag.deadband) {
        (Ok(said), Ok(value), Some(deadband)) => deadband.is_exceeded(said, value),
        _ => said != reading,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::fixture;
    use super::super::options::{PublishOptions, Table};
    use super::super::reason::Reason;
    use super::*;
    use crate::value::{Deadband, TagType, Value};

    fn group(payload: Payload, (min, max): (u64, u64), deadband: Option<Deadband>) -> GroupOptions {
        let tags = ["a", "b"].map(|name| TagOptions {
            deadband,
            ..fixture::tag(name, Table::HoldingRegisters, 0, TagType::Int16)
        });
        GroupOptions {
            payload,
            publish: PublishOptions {
                on_change: true,
                min_interval: Duration::from_millis(min),
                max_interval: Duration::from_millis(max),
            },
            ..fixture::group("g", 10, tags.to_vec())
        }
    }

    fn json() -> Payload {
        Payload::Json(fixture::topic("g/d/g"))
    }

    fn good(number: i128) -> Reading {
        Ok(Value::Integer(number))
    }

    const AT: WallTime = WallTime(1);

    #[test]
    fn every_reading_is_published_unless_changes_alone_are_wanted() {
        let start = crate::clock::now();
        let mut every = group(json(), (1000, 1000), None);
        every.publish.on_change = false;
        let mut said = Said::new(&every);
        for _ in 0..3 {
            let report = said.report(&every, vec![good(1), good(1)], AT, start);
            assert_eq!(report.messages, [true]);
        }
        assert_eq!(said.held_until(), None);
    }

    #[test]
    fn a_tag_alone_is_published_where_it_has_a_message_of_its_own() {
        let start = crate::clock::now();
        for payload in [Payload::JsonPerTag, Payload::Value] {
            let group = group(payload, (0, 60_000), None);
            let mut said = Said::new(&group);
            let mut report = |a, b| said.report(&group, vec![a, b], AT, start).messages;
            assert_eq!(report(good(1), good(1)), [true, true]);
            assert_eq!(report(good(1), good(2)), [false, true]);
            assert_eq!(report(good(1), good(2)), [false, false]);
            assert_eq!(report(Err(Reason::Timeout), good(2)), [true, false]);
            assert_eq!(report(Err(Reason::Offline), good(2)), [true, false]);
            assert_eq!(report(Err(Reason::Offline), good(2)), [false, false]);
        }
    }

    #[test]
    fn what_is_held_is_published_as_it_was_read_when_its_time_comes() {
        let start = crate::clock::now();
        let after = |millis| start + Duration::from_millis(millis);
        let group = group(json(), (100, 60_000), None);
        let mut said = Said::new(&group);
        said.report(&group, vec![good(1), good(1)], AT, start);
        let gone = vec![Err(Reason::Offline), Err(Reason::Offline)];
        let report = said.report(&group, gone.clone(), WallTime(2), after(10));
        assert_eq!(report.messages, [false]);
        assert_eq!(said.held_until(), Some(after(100)));
        assert!(said.release(&group, after(99)).is_none());
        let report = said.release(&group, after(100)).unwrap();
        assert_eq!((report.readings, report.at), (gone, WallTime(2)));
        assert_eq!(report.messages, [true]);
        assert_eq!(said.held_until(), None);
    }

    /// Each reading twice: when it is read, and 5 ms later.
    fn steps(readings: &[Reading]) -> impl Iterator<Item = (u64, &Reading)> {
        (0..).zip(readings.iter().flat_map(|reading| [reading, reading]))
    }

    /// One tag, a reading every 10 ms, a look at what is held every 5 ms; what is published and when.
    fn published(options: &GroupOptions, readings: &[Reading]) -> Vec<(u64, Reading)> {
        let start = crate::clock::now();
        let (mut said, mut published) = (Said::new(options), Vec::new());
        for (step, reading) in steps(readings) {
            let now = start + Duration::from_millis(step * 5);
            let report = if step % 2 == 0 {
                let both = vec![reading.clone(), good(0)];
                Some(said.report(options, both, AT, now))
            } else {
                said.release(options, now)
            };
            if let Some(report) = report.filter(|report| report.messages == [true]) {
                published.push((step * 5, report.readings[0].clone()));
            }
        }
        published
    }

    /// The same by the words of the reference.
    fn expected(min: u64, max: u64, band: i128, readings: &[Reading]) -> Vec<(u64, Reading)> {
        let mut published: Vec<(u64, Reading)> = Vec::new();
        for (step, reading) in steps(readings) {
            let now = step * 5;
            let publish = match published.last() {
                None => true,
                Some((at, last)) => {
                    let new = match (last, reading) {
                        (Ok(Value::Integer(last)), Ok(Value::Integer(value))) => {
                            (last - value).abs() > band
                        }
                        (last, reading) => last != reading,
                    };
                    let too_late = step % 2 == 0 && now + 10 - at > max;
                    now - at >= min && (new || too_late)
                }
            };
            if publish {
                published.push((now, reading.clone()));
            }
        }
        published
    }

    proptest! {
        #[test]
        fn what_is_published_is_what_the_reference_says(
            min in 0_u64..40,
            longer in 0_u64..100,
            band in 0_u8..3,
            readings in proptest::collection::vec(
                prop_oneof![
                    4 => (0_i128..5).prop_map(good),
                    1 => Just(Err(Reason::Timeout)),
                    1 => Just(Err(Reason::Offline)),
                ],
                1..60,
            ),
        ) {
            let max = min + longer;
            let deadband = (band > 0).then(|| Deadband::Absolute(f64::from(band)));
            let options = group(json(), (min, max), deadband);
            let found = published(&options, &readings);
            let expected = expected(min, max, i128::from(band), &readings);
            prop_assert_eq!(&found, &expected);
            for pair in found.windows(2) {
                prop_assert!(pair[1].0 - pair[0].0 >= min);
            }
        }
    }
}
