//! How one unit stands: online, degraded or offline, and what its `$status` topic says. No I/O.
//!
//! Offline is told by count AND time: `offline_after` failures in a row over at least 3 s, so that neither a short
//! interval nor one long timeout alone condemns a device. Anything that the device itself said, an exception too,
//! proves it alive. Degraded is a device whose groups did not all come in whole the last time; each group is
//! remembered, so a device with one bad group stays degraded instead of swinging with each reading.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::options::{DeviceOptions, ProbeBackoff};
use super::reason::Reason;
use crate::clock::WallTime;
use crate::metrics::Histogram;

/// Failures must have lasted this long before a device is offline.
const OFFLINE_AFTER_AT_LEAST: Duration = Duration::from_secs(3);
/// A status without change is repeated this often.
const STATUS_INTERVAL: Duration = Duration::from_secs(60);
/// Two changes of state closer than this are told as one.
const STATUS_SPACING: Duration = Duration::from_secs(1);

/// The state of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// Every group came in whole the last time.
    Online,
    /// Some reading failed the last time.
    Degraded,
    /// Silent; only probed.
    Offline,
}

/// What `$status` says of a device, and what others may show of it. Counters count since the start.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct DeviceStatus {
    /// `None` before the first reading.
    pub state: Option<DeviceState>,
    /// When it came to this state.
    pub since: WallTime,
    /// When the last whole reply arrived.
    pub last_ok: Option<WallTime>,
    /// Why it is not online.
    pub error: Option<Reason>,
    /// Requests sent, with retries and probes.
    pub requests: u64,
    /// As many of them were answered whole and without an exception; `$status` does not tell it.
    #[serde(skip)]
    pub answered: u64,
    /// Requests without a whole reply in time.
    pub timeouts: u64,
    /// Frames with a wrong checksum; 0 over TCP, which has its own.
    pub crc_errors: u64,
    /// Replies to another request.
    pub late_replies: u64,
    /// Replies of another unit, function or length, and bytes that are no reply.
    pub invalid_replies: u64,
    /// Exception replies.
    pub exceptions: u64,
    /// The same by their codes; `$status` does not tell it.
    #[serde(skip)]
    pub exception_codes: ExceptionCodes,
    /// From the sending of a request to the end of its reply, of those that were answered; `$status` does not tell it.
    #[serde(skip)]
    pub reply_times: Histogram,
    /// Deadlines that passed without a reading.
    pub overruns: u64,
}

/// The last exception code of the specification. Devices send others, too, so these have a count together: whatever a device
/// says, there are no more counts than that.
const LAST_CODE: u8 = 0x0B;

/// How often each exception code came.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ExceptionCodes([u64; LAST_CODE as usize + 1]);

impl ExceptionCodes {
    fn count(&mut self, code: u8) {
        // There is no code 0, so its place is that of all others.
        let place = if code > LAST_CODE { 0 } else { code };
        if let Some(count) = self.0.get_mut(usize::from(place)) {
            *count += 1;
        }
    }

    /// Those that came, as readings and figures name them: `exception_02`, or `exception_other`.
    pub fn named(&self) -> impl Iterator<Item = (String, u64)> {
        let counts = (0..=LAST_CODE).zip(self.0);
        counts
            .filter(|(_, count)| *count > 0)
            .map(|(code, count)| match code {
                0 => ("exception_other".to_owned(), count),
                code => (Reason::Exception(code).to_string(), count),
            })
    }
}

/// The health of one unit.
#[derive(Debug)]
pub struct Health {
    offline_after: u32,
    backoff: ProbeBackoff,
    status: DeviceStatus,
    failures: u32,
    failing_since: Option<Instant>,
    probe_wait: Duration,
    /// Why each group did not come in whole the last time.
    groups: Vec<Option<Reason>>,
    told: Option<(DeviceState, Instant)>,
}

impl Health {
    /// Of a device that was not asked yet.
    #[must_use]
    pub fn new(device: &DeviceOptions) -> Self {
        Self::with(
            device.offline_after,
            device.probe_backoff,
            device.groups.len(),
        )
    }

    /// Of a device with so many groups, or an instrument, which has one.
    #[must_use]
    pub fn with(offline_after: u32, backoff: ProbeBackoff, groups: usize) -> Self {
        Self {
            offline_after,
            backoff,
            status: DeviceStatus::default(),
            failures: 0,
            failing_since: None,
            probe_wait: backoff.min,
            groups: vec![None; groups],
            told: None,
        }
    }

    /// Counts one attempt of a request: what was sent, and how it failed if it did.
    pub fn count(&mut self, failure: Option<Reason>) {
        let status = &mut self.status;
        status.requests += 1;
        match failure {
            None => status.answered += 1,
            Some(Reason::Timeout) => status.timeouts += 1,
            Some(Reason::Exception(code)) => {
                status.exceptions += 1;
                status.exception_codes.count(code);
            }
            Some(Reason::WrongTransaction) => status.late_replies += 1,
            Some(Reason::WrongChecksum) => status.crc_errors += 1,
            Some(
                Reason::WrongCount
                | Reason::WrongUnit
                | Reason::WrongFunction
                | Reason::Garbled
                | Reason::NoMatch
                | Reason::OtherUnit,
            ) => status.invalid_replies += 1,
            _ => {}
        }
    }

    /// A reply was so long in coming.
    pub fn took(&mut self, time: Duration) {
        self.status.reply_times.observe(time);
    }

    /// A reply arrived that nobody waited for any more.
    pub fn replied_late(&mut self) {
        self.status.late_replies += 1;
    }

    /// A whole reply arrived.
    pub fn replied(&mut self, at: WallTime) {
        self.alive();
        self.status.last_ok = Some(at);
    }

    /// A request failed for good, with its retries. True where this makes the device offline.
    pub fn failed(&mut self, reason: Reason, now: Instant, at: WallTime) -> bool {
        if reason.proves_alive() {
            self.alive();
            return false;
        }
        self.failures = self.failures.saturating_add(1);
        let since = *self.failing_since.get_or_insert(now);
        let long = now.saturating_duration_since(since) >= OFFLINE_AFTER_AT_LEAST;
        let offline = self.failures >= self.offline_after && long;
        let turned = offline && !self.is_offline();
        if offline {
            self.status.error = Some(reason);
            self.enter(DeviceState::Offline, at);
        }
        turned
    }

    /// A group has been read: what of it failed first, if anything.
    pub fn group_read(&mut self, group: usize, failure: Option<Reason>, at: WallTime) {
        if let Some(entry) = self.groups.get_mut(group) {
            *entry = failure;
        }
        if self.is_offline() {
            return;
        }
        self.status.error = self.groups.iter().flatten().next().copied();
        let state = match self.status.error {
            None => DeviceState::Online,
            Some(_) => DeviceState::Degraded,
        };
        self.enter(state, at);
    }

    /// A probe was answered: degraded until every group has been read.
    pub fn revived(&mut self, at: WallTime) {
        if self.is_offline() {
            self.enter(DeviceState::Degraded, at);
        }
    }

    /// When to probe next: the waits double from `min` to `max`.
    pub fn next_probe(&mut self, now: Instant) -> Instant {
        let wait = self.probe_wait.min(self.backoff.max);
        self.probe_wait = wait
            .saturating_mul(2)
            .clamp(self.backoff.min, self.backoff.max);
        now + wait
    }

    /// Whether the device is offline.
    #[must_use]
    pub fn is_offline(&self) -> bool {
        self.status.state == Some(DeviceState::Offline)
    }

    /// Whether the last request was not answered: then a timeout is to be expected and not worth a retry.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.failures > 0
    }

    /// How it stands.
    #[must_use]
    pub fn status(&self) -> &DeviceStatus {
        &self.status
    }

    /// Takes over the count of the schedule.
    pub fn set_overruns(&mut self, overruns: u64) {
        self.status.overruns = overruns;
    }

    /// So many frames with a wrong checksum came.
    pub fn add_crc_errors(&mut self, count: u64) {
        self.status.crc_errors += count;
    }

    /// When `$status` is to be told: a change at once but not within a second of the last, else after a minute. `None`
    /// before the first reading.
    #[must_use]
    pub fn status_at(&self, now: Instant) -> Option<Instant> {
        let state = self.status.state?;
        Some(match self.told {
            None => now,
            Some((told, at)) if told != state => at + STATUS_SPACING,
            Some((_, at)) => at + STATUS_INTERVAL,
        })
    }

    /// When a change of state that waits for its second is to be told.
    #[must_use]
    pub fn change_at(&self, now: Instant) -> Option<Instant> {
        let told = self.told.map(|(state, _)| state);
        let at = self.status_at(now)?;
        (told != self.status.state).then_some(at)
    }

    /// `$status` has been told.
    pub fn status_told(&mut self, now: Instant) {
        self.told = self.status.state.map(|state| (state, now));
    }

    fn alive(&mut self) {
        self.failures = 0;
        self.failing_since = None;
        self.probe_wait = self.backoff.min;
    }

    fn enter(&mut self, state: DeviceState, at: WallTime) {
        if self.status.state != Some(state) {
            self.status.state = Some(state);
            self.status.since = at;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixture;
    use super::*;

    const AT: WallTime = WallTime(1_800_000_000_000);

    fn health(groups: usize) -> Health {
        let groups = (0..groups)
            .map(|_| fixture::group("g", 1000, vec![]))
            .collect();
        Health::new(&fixture::device("d", 1, groups))
    }

    #[test]
    fn a_device_is_offline_by_count_and_by_time() {
        let now = crate::clock::now();
        let mut quick = health(1);
        for _ in 0..100 {
            assert!(!quick.failed(Reason::Timeout, now, AT));
        }
        let later = now + Duration::from_secs(3);
        assert!(quick.failed(Reason::Timeout, later, AT), "enough of both");
        assert!(!quick.failed(Reason::Timeout, later, AT), "told once");
        let mut slow = health(1);
        assert!(!slow.failed(Reason::Timeout, now, AT));
        assert!(
            !slow.failed(Reason::Timeout, later, AT),
            "two failures are not three"
        );
        slow.replied(AT);
        assert!(
            !slow.failed(Reason::Timeout, later, AT),
            "counted anew after a reply"
        );
    }

    #[test]
    fn an_exception_proves_the_device_alive_unless_a_gateway_sent_it() {
        let now = crate::clock::now();
        let mut device = health(1);
        for second in 0..10 {
            let now = now + Duration::from_secs(second);
            assert!(!device.failed(Reason::Exception(2), now, AT));
        }
        let offline = (0..10).any(|second| {
            device.failed(
                Reason::Exception(0x0B),
                now + Duration::from_secs(second),
                AT,
            )
        });
        assert!(offline);
    }

    #[test]
    fn a_device_with_one_bad_group_stays_degraded() {
        let mut device = health(2);
        device.group_read(0, None, AT);
        assert_eq!(device.status().state, Some(DeviceState::Online));
        device.group_read(1, Some(Reason::Exception(2)), AT);
        for _ in 0..3 {
            device.group_read(0, None, AT);
            assert_eq!(device.status().state, Some(DeviceState::Degraded));
            assert_eq!(device.status().error, Some(Reason::Exception(2)));
        }
        device.group_read(1, None, AT);
        assert_eq!(device.status().state, Some(DeviceState::Online));
        assert_eq!(device.status().error, None);
    }

    #[test]
    fn probes_back_off_and_start_over_after_a_reply() {
        let now = crate::clock::now();
        let mut device = health(1);
        let waits: Vec<_> = (0..7)
            .map(|_| (device.next_probe(now) - now).as_secs())
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        device.replied(AT);
        assert_eq!(device.next_probe(now), now + Duration::from_secs(1));
    }

    #[test]
    fn a_status_is_told_on_change_and_every_minute() {
        let now = crate::clock::now();
        let mut device = health(1);
        assert_eq!(device.status_at(now), None);
        device.group_read(0, None, AT);
        assert_eq!(device.status_at(now), Some(now));
        device.status_told(now);
        assert_eq!(device.status_at(now), Some(now + Duration::from_secs(60)));
        device.group_read(0, Some(Reason::Timeout), AT);
        assert_eq!(device.status_at(now), Some(now + Duration::from_secs(1)));
        device.group_read(0, None, AT);
        assert_eq!(device.status_at(now), Some(now + Duration::from_secs(60)));
    }

    #[test]
    fn exceptions_are_counted_by_code_and_those_of_no_specification_together() {
        let mut device = health(1);
        for code in [2, 0x0B, 2, 0, 0x0C, 0xFF] {
            device.count(Some(Reason::Exception(code)));
        }
        let named: Vec<_> = device.status().exception_codes.named().collect();
        let expected = [
            ("exception_other", 3),
            ("exception_02", 2),
            ("exception_0B", 1),
        ];
        assert_eq!(
            named,
            expected.map(|(name, count)| (name.to_owned(), count))
        );
        let sum: u64 = named.iter().map(|(_, count)| count).sum();
        assert_eq!(device.status().exceptions, sum);
    }

    #[test]
    fn a_status_has_the_fields_of_the_contract() {
        let mut device = health(1);
        device.count(Some(Reason::Timeout));
        device.group_read(0, Some(Reason::Timeout), AT);
        let json: serde_json::Value = serde_json::to_value(device.status()).unwrap();
        assert_eq!(json["state"], "degraded");
        assert_eq!(json["since"], AT.0);
        assert_eq!(json["error"], "timeout");
        assert_eq!(json["timeouts"], 1);
        for field in [
            "last_ok",
            "requests",
            "crc_errors",
            "late_replies",
            "exceptions",
            "overruns",
        ] {
            assert!(json.get(field).is_some(), "{field}");
        }
    }
}
