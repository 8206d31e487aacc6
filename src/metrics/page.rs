//! The text that Prometheus reads: version 0.0.4 of its exposition format.
//!
//! Names and help texts are words of this program; only values of labels may come from elsewhere, and
//! those are escaped.

use std::fmt::{Display, Write};

use super::histogram::{Bounds, Counted};

/// What its content type says.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A label's name and value.
pub type Label<'a> = (&'static str, &'a str);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// A page on its way: families, one after the other, each with its samples.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    family: &'static str,
}

/// A number of microseconds as seconds.
pub struct Seconds(pub u64);

impl Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        decimal(f, self.0, 1_000_000, 6)
    }
}

/// A number of milliseconds as seconds.
pub struct Millis(pub u64);

impl Display for Millis {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        decimal(f, self.0, 1_000, 3)
    }
}

/// `number` hundredths, thousandths and so on, without zeros at the end.
fn decimal(
    f: &mut std::fmt::Formatter<'_>,
    number: u64,
    one: u64,
    digits: usize,
) -> std::fmt::Result {
    let (whole, rest) = (number / one, number % one);
    if rest == 0 {
        return write!(f, "{whole}");
    }
    let rest = format!("{rest:0digits$}");
    write!(f, "{whole}.{}", rest.trim_end_matches('0'))
}

impl Page {
    /// Begins a family; its samples follow.
    pub fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> &mut Self {
        self.family = name;
        // Writing to a string does not fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.name());
        self
    }

    /// One sample of the family.
    pub fn sample(&mut self, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        self.line("", labels, None, value);
        self
    }

    /// A family of one sample without labels.
    pub fn single(
        &mut self,
        name: &'static str,
        kind: Kind,
        help: &'static str,
        value: impl Display,
    ) {
        self.family(name, kind, help).sample(&[], value);
    }

    /// One histogram of the family.
    pub fn histogram(&mut self, labels: &[Label<'_>], bounds: Bounds, counted: &Counted) {
        let (up_to, all) = counted.up_to(bounds);
        for (bound, count) in bounds.iter().zip(up_to) {
            let bound = Seconds(*bound).to_string();
            self.line("_bucket", labels, Some(("le", &bound)), count);
        }
        self.line("_bucket", labels, Some(("le", "+Inf")), all);
        self.line("_sum", labels, None, Seconds(counted.sum_us()));
        self.line("_count", labels, None, all);
    }

    fn line(
        &mut self,
        ending: &str,
        labels: &[Label<'_>],
        last: Option<Label<'_>>,
        value: impl Display,
    ) {
        self.text.push_str(self.family);
        self.text.push_str(ending);
        let mut mark = '{';
        for (name, text) in labels.iter().chain(last.as_ref()) {
            self.text.push(mark);
            self.text.push_str(name);
            self.text.push_str("=\"");
            for c in text.chars() {
                match c {
                    '\\' => self.text.push_str(r"\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str(r"\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
            mark = ',';
        }
        if mark == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }

    pub fn finish(self) -> String {
        self.text
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::histogram::{Histogram, WAITING};
    use super::*;

    #[test]
    fn what_a_label_says_cannot_break_the_page() {
        let mut page = Page::default();
        page.family("a_total", Kind::Counter, "What.");
        page.sample(&[("key", "a\"b\\c\nd"), ("model", "ß")], 7).sample(&[], 8);
        let expected = "# HELP a_total What.\n# TYPE a_total counter\n\
            a_total{key=\"a\\\"b\\\\c\\nd\",model=\"ß\"} 7\na_total 8\n";
        assert_eq!(page.finish(), expected);
    }

    #[test]
    fn a_histogram_adds_up() {
        let histogram = Histogram::default();
        histogram.observe(WAITING, Duration::from_micros(1_500));
        histogram.observe(WAITING, Duration::from_mins(5));
        let mut page = Page::default();
        page.family("w_seconds", Kind::Histogram, "W.");
        page.histogram(&[("a", "b")], WAITING, &histogram.counted());
        let text = page.finish();
        for line in [
            "w_seconds_bucket{a=\"b\",le=\"0.001\"} 0",
            "w_seconds_bucket{a=\"b\",le=\"0.005\"} 1",
            "w_seconds_bucket{a=\"b\",le=\"60\"} 1",
            "w_seconds_bucket{a=\"b\",le=\"+Inf\"} 2",
            "w_seconds_sum{a=\"b\"} 300.0015",
            "w_seconds_count{a=\"b\"} 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }

    #[test]
    fn durations_are_seconds_without_needless_digits() {
        let shown = [0, 50, 1_000_000, 1_500_000, 102_400].map(|us| Seconds(us).to_string());
        assert_eq!(shown, ["0", "0.00005", "1", "1.5", "0.1024"]);
        assert_eq!(Millis(1_795_427_077_120).to_string(), "1795427077.12");
    }
}
