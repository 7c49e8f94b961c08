//! When something is due, and how the case file writes it and other spans of wall time.

use std::time::Duration;

use toml::{Table, Value as Toml};

use super::keys::Value;
use crate::error::Result;

/// When an output or a checkpoint is due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Schedule {
    /// Never.
    Never,
    /// After every so many steps.
    Steps(u64),
    /// Whenever this much simulated time has gone by.
    Time {
        /// The simulated time from one to the next, in the model's unit of time.
        interval: f64,
        /// Whether steps are shortened so that they end at these times exactly: this changes the bits. Otherwise it is due
        /// after the first step that ends at or beyond such a time.
        exact: bool,
    },
    /// Whenever this much wall time has gone by; never changes the bits.
    Wall(Duration),
}

impl Schedule {
    /// The schedule as written: `"never"`, or a table with one of `steps`, `time` (and `exact`), `wall`.
    pub(super) fn read(value: &Value<'_>) -> Result<Schedule> {
        if value.is("never") {
            return Ok(Schedule::Never);
        }
        if !value.is_table() {
            let error = value.wrong("is no schedule; it must be a table with one of steps, time, wall, or \"never\"");
            return Err(error.hint("as in { steps = 100 }, { time = 0.01 } or { wall = \"10 min\" }"));
        }
        let table = value.table(&["steps", "time", "wall", "exact"])?;
        let (key, every) = table.need_one(&["steps", "time", "wall"])?;
        let exact = table.get("exact").map(|exact| Ok((exact.truth()?, exact))).transpose()?;
        match (key, exact) {
            ("wall", Some((true, exact))) => {
                Err(exact.wrong("cannot go with wall: wall time must not change the result").hint("leave exact out"))
            }
            ("steps", Some((true, exact))) => {
                Err(exact.wrong("cannot go with steps, which always fall on the end of a step").hint("leave exact out"))
            }
            ("steps", _) => Ok(Schedule::Steps(every.whole(1)?)),
            ("time", exact) => {
                Ok(Schedule::Time { interval: every.positive()?, exact: exact.is_some_and(|(exact, _)| exact) })
            }
            (_, _) => Ok(Schedule::Wall(read_duration(&every)?)),
        }
    }

    /// The schedule as the case file writes it.
    pub(super) fn written(self) -> Toml {
        let entry = |key: &str, value: Toml| Table::from_iter([(key.to_owned(), value)]);
        match self {
            Schedule::Never => "never".into(),
            Schedule::Steps(steps) => entry("steps", Toml::Integer(steps as i64)).into(),
            Schedule::Time { interval, exact: false } => entry("time", interval.into()).into(),
            Schedule::Time { interval, exact: true } => {
                Table::from_iter([("time".into(), interval.into()), ("exact".into(), true.into())]).into()
            }
            Schedule::Wall(duration) => entry("wall", write_duration(duration).into()).into(),
        }
    }
}

/// The units of wall time and their length in milliseconds, the longest first.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];

/// The longest span of wall time, in milliseconds: a hundred years, so that sums of them are dates still.
const LONGEST: f64 = 100.0 * 365.25 * 86_400_000.0;

/// Reads a span of wall time, as in `250 ms`, `90 s`, `10 min`, `2 h`; to the millisecond.
///
/// # Errors
/// The rule that the text breaks.
///
/// # Example
/// ```
/// use std::time::Duration;
/// assert_eq!(steadfast::config::parse_duration("1.5 min"), Ok(Duration::from_secs(90)));
/// assert!(steadfast::config::parse_duration("10").is_err());
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, &'static str> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_alphabetic()).unwrap_or(text.len()));
    let number: f64 = number.trim().parse().map_err(|_| "is no span of time; it must begin with a number")?;
    let length = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, length)| *length);
    from_milliseconds(number * length.ok_or("is no span of time; it must end with one of ms, s, min, h, d")? as f64)
}

fn from_milliseconds(milliseconds: f64) -> Result<Duration, &'static str> {
    let milliseconds = milliseconds.round();
    let fits = (1.0..=LONGEST).contains(&milliseconds);
    fits.then(|| Duration::from_millis(milliseconds as u64)).ok_or("must be at least 1 ms and at most 100 years")
}

/// A span of wall time as the case file writes it: as [`parse_duration`] reads it, or a number of seconds.
pub(super) fn read_duration(value: &Value<'_>) -> Result<Duration> {
    let duration = match value.text() {
        Ok(text) => parse_duration(text),
        Err(_) => {
            value.number().map_err(|_| "is no span of time").and_then(|seconds| from_milliseconds(1000.0 * seconds))
        }
    };
    duration.map_err(|rule| value.wrong(rule).hint("as in \"250 ms\", \"90 s\", \"10 min\", \"2 h\", or plain seconds"))
}

/// A span of wall time in the largest unit that gives a whole number.
pub(super) fn write_duration(duration: Duration) -> String {
    let milliseconds = duration.as_millis() as u64;
    let (unit, length) =
        UNITS.into_iter().find(|(_, length)| milliseconds.is_multiple_of(*length)).unwrap_or(("ms", 1));
    format!("{} {unit}", milliseconds / length)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Source;
    use crate::config::keys::Document;

    fn read<T>(text: &str, read: impl Fn(&Value<'_>) -> Result<T>) -> Result<T, String> {
        let source = Source::from_text("c.toml", format!("x = {text}")).unwrap();
        let document = Document::parse(&source).unwrap();
        read(&document.root(&["x"]).unwrap().get("x").unwrap()).map_err(|error| error.to_string())
    }

    #[test]
    fn spans_of_time_are_read_in_every_unit_and_written_back() {
        let cases = [
            ("'250 ms'", 250, "250 ms"),
            ("'90s'", 90_000, "90 s"),
            ("'1.5 h'", 5_400_000, "90 min"),
            ("'48 h'", 172_800_000, "2 d"),
            ("2", 2000, "2 s"),
            ("0.25", 250, "250 ms"),
        ];
        for (text, milliseconds, written) in cases {
            let duration = read(text, read_duration).unwrap();
            assert_eq!(duration, Duration::from_millis(milliseconds), "{text}");
            assert_eq!(write_duration(duration), written);
        }
    }

    #[test]
    fn what_is_no_span_of_time_is_refused() {
        for text in [
            "'10'",
            "'ten min'",
            "'10 minutes'",
            "'-1 s'",
            "0",
            "-3",
            "nan",
            "inf",
            "'1e999 s'",
            "true",
            "''",
            "'nan s'",
            "1e300",
        ] {
            let error = read(text, read_duration).unwrap_err();
            assert!(error.starts_with("c.toml:1: x = "), "{text}: {error}");
        }
    }

    #[test]
    fn schedules_are_read_as_written() {
        assert_eq!(read("'never'", Schedule::read), Ok(Schedule::Never));
        assert_eq!(read("{ steps = 5 }", Schedule::read), Ok(Schedule::Steps(5)));
        assert_eq!(read("{ time = 1 }", Schedule::read), Ok(Schedule::Time { interval: 1.0, exact: false }));
        assert_eq!(
            read("{ time = 0.5, exact = true }", Schedule::read),
            Ok(Schedule::Time { interval: 0.5, exact: true })
        );
        assert_eq!(read("{ wall = 3 }", Schedule::read), Ok(Schedule::Wall(Duration::from_secs(3))));
    }

    #[test]
    fn wall_time_may_not_change_the_result() {
        let error = read("{ wall = 3, exact = true }", Schedule::read).unwrap_err();
        assert!(error.contains("x.exact = true cannot go with wall: wall time must not change the result"), "{error}");
    }

    #[test]
    fn schedules_that_say_nothing_or_two_things_are_refused() {
        for (text, part) in [
            ("{}", "needs one of steps, time, wall"),
            ("{ steps = 1, wall = 2 }", "stands beside steps"),
            ("{ steps = 0 }", "x.steps = 0 must be at least 1"),
            ("{ step = 1 }", "did you mean steps?"),
            ("'nevr'", "as in { steps = 100 }"),
            ("3", "is no schedule"),
            ("{ time = 0.0 }", "must be above 0"),
            ("{ steps = 1, exact = true }", "cannot go with steps"),
        ] {
            let error = read(text, Schedule::read).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
