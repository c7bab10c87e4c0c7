//! How a device is asked: settings that a device and a template may say.

use std::time::Duration;

use crate::value::ByteOrder;

/// How a device is asked; a device's own settings count before its template's.
#[derive(Clone, Copy, Default)]
pub(super) struct Asking {
    pub(super) byte_order: Option<ByteOrder>,
    pub(super) max_registers: Option<u16>,
    pub(super) max_gap: Option<u16>,
    pub(super) response_timeout: Option<Duration>,
    pub(super) retries: Option<u32>,
    pub(super) request_delay: Option<Duration>,
}

/// The [`Asking`] of a device or a template.
macro_rules! asking {
    ($context:expr, $section:expr) => {{
        let (context, section) = (&mut *$context, &$section);
        let reply = Duration::from_millis(10)..=Duration::from_secs(60);
        let pause = Duration::ZERO..=Duration::from_secs(60);
        let count = |number: u16| number.to_string();
        Asking {
            byte_order: section.raw.byte_order.map(|word| word.0),
            max_registers: section.within(
                context,
                "max_registers",
                section.raw.max_registers,
                1..=REGISTERS_MAX,
                count,
            ),
            max_gap: section.within(
                context,
                "max_gap",
                section.raw.max_gap,
                0..=REGISTERS_MAX,
                count,
            ),
            response_timeout: time(
                context,
                section,
                "response_timeout",
                section.raw.response_timeout,
                reply,
            ),
            retries: section.within(context, "retries", section.raw.retries, 0..=10, |number| {
                number.to_string()
            }),
            request_delay: time(
                context,
                section,
                "request_delay",
                section.raw.request_delay,
                pause,
            ),
        }
    }};
}
pub(super) use asking;

impl Asking {
    /// These, and where they say nothing, `base`.
    pub(super) fn over(self, base: Self) -> Self {
        Self {
            byte_order: self.byte_order.or(base.byte_order),
            max_registers: self.max_registers.or(base.max_registers),
            max_gap: self.max_gap.or(base.max_gap),
            response_timeout: self.response_timeout.or(base.response_timeout),
            retries: self.retries.or(base.retries),
            request_delay: self.request_delay.or(base.request_delay),
        }
    }
}
