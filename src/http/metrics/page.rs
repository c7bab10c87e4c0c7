//! The text format of Prometheus, version 0.0.4: families of samples, each family in one piece under its HELP and TYPE. No I/O.

use std::fmt::{self, Display, Write as _};

use crate::status::Durations;

/// What a family counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Grows from 0; begins again with the program.
    Counter,
    /// Goes up and down.
    Gauge,
    /// How long things took, a counter for each bound.
    Histogram,
}

/// A page of families.
#[derive(Debug, Default)]
pub(super) struct Page(String);

/// A family that takes samples. One without a sample is left out.
#[derive(Debug)]
pub(super) struct Family<'a> {
    page: &'a mut String,
    kind: Kind,
    name: &'static str,
    help: &'static str,
    is_begun: bool,
}

/// Milliseconds, written as seconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Seconds(pub(super) u64);

impl Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{:03}", self.0 / 1000, self.0 % 1000)
    }
}

impl Page {
    /// Begins a family; the last one has all its samples.
    pub(super) fn family(
        &mut self,
        kind: Kind,
        name: &'static str,
        help: &'static str,
    ) -> Family<'_> {
        Family {
            page: &mut self.0,
            kind,
            name,
            help,
            is_begun: false,
        }
    }

    /// A counter of one sample without labels.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, value: u64) {
        self.family(Kind::Counter, name, help).sample(&[], value);
    }

    /// A gauge of one sample without labels.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: impl Display) {
        self.family(Kind::Gauge, name, help).sample(&[], value);
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

impl Family<'_> {
    /// Label values may be any text.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        // Writing to a string cannot fail.
        self.try_sample("", labels, value).unwrap_or_default();
    }

    /// All samples of a histogram: those of its bounds, and what they are all together.
    pub(super) fn histogram(&mut self, labels: &[(&str, &str)], times: &Durations) {
        self.try_histogram(labels, times).unwrap_or_default();
    }

    fn try_histogram(&mut self, labels: &[(&str, &str)], times: &Durations) -> fmt::Result {
        for (bound, count) in &times.within_s {
            self.bucket(labels, &bound.to_string(), *count)?;
        }
        self.bucket(labels, "+Inf", times.count)?;
        self.try_sample("_sum", labels, format_args!("{:.6}", times.sum_s))?;
        self.try_sample("_count", labels, times.count)
    }

    fn bucket(&mut self, labels: &[(&str, &str)], bound: &str, count: u64) -> fmt::Result {
        let labels: Vec<_> = labels.iter().copied().chain([("le", bound)]).collect();
        self.try_sample("_bucket", &labels, count)
    }

    fn try_sample(
        &mut self,
        suffix: &str,
        labels: &[(&str, &str)],
        value: impl Display,
    ) -> fmt::Result {
        let Self { name, help, .. } = self;
        if !self.is_begun {
            let kind = match self.kind {
                Kind::Counter => "counter",
                Kind::Gauge => "gauge",
                Kind::Histogram => "histogram",
            };
            write!(self.page, "# HELP {name} {help}\n# TYPE {name} {kind}\n")?;
            self.is_begun = true;
        }
        write!(self.page, "{name}{suffix}")?;
        for (number, (label, text)) in labels.iter().enumerate() {
            let before = if number == 0 { '{' } else { ',' };
            write!(self.page, "{before}{label}=\"{}\"", Escaped(text))?;
        }
        let after = if labels.is_empty() { "" } else { "}" };
        writeln!(self.page, "{after} {value}")
    }
}

/// As the format has label values.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '\\' => formatter.write_str("\\\\")?,
                '"' => formatter.write_str("\\\"")?,
                '\n' => formatter.write_str("\\n")?,
                letter => formatter.write_char(letter)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_family_is_begun_once_and_an_empty_one_is_left_out() {
        let mut page = Page::default();
        page.family(Kind::Gauge, "none", "Nothing.");
        let mut family = page.family(Kind::Counter, "a_total", "Things.");
        family.sample(&[("device", "m1"), ("result", "ok")], 3);
        family.sample(&[("device", "m2"), ("result", "ok")], u64::MAX);
        page.gauge("age_seconds", "An age.", Seconds(61_007));
        assert_eq!(
            page.into_text(),
            "# HELP a_total Things.\n# TYPE a_total counter\n\
             a_total{device=\"m1\",result=\"ok\"} 3\n\
             a_total{device=\"m2\",result=\"ok\"} 18446744073709551615\n\
             # HELP age_seconds An age.\n# TYPE age_seconds gauge\nage_seconds 61.007\n"
        );
    }

    #[test]
    fn a_histogram_is_a_counter_for_each_bound_and_their_sum() {
        let mut page = Page::default();
        let times = Durations {
            count: 7,
            sum_s: 0.1 + 0.2,
            within_s: vec![(0.005, 2), (2.5, 6)],
        };
        page.family(Kind::Histogram, "took_seconds", "Took.")
            .histogram(&[("device", "m1")], &times);
        assert_eq!(
            page.into_text(),
            "# HELP took_seconds Took.\n# TYPE took_seconds histogram\n\
             took_seconds_bucket{device=\"m1\",le=\"0.005\"} 2\n\
             took_seconds_bucket{device=\"m1\",le=\"2.5\"} 6\n\
             took_seconds_bucket{device=\"m1\",le=\"+Inf\"} 7\n\
             took_seconds_sum{device=\"m1\"} 0.300000\n\
             took_seconds_count{device=\"m1\"} 7\n"
        );
    }

    #[test]
    fn a_label_cannot_break_out_of_its_line() {
        let mut page = Page::default();
        let name = "a\"} 1\nb\\é";
        page.family(Kind::Gauge, "up", "Up.")
            .sample(&[("x", name)], 1);
        let text = page.into_text();
        assert!(
            text.ends_with("\nup{x=\"a\\\"} 1\\nb\\\\é\"} 1\n"),
            "{text}"
        );
    }
}
