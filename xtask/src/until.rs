//! `--until`: a time of the clock, or one from now.

use std::str::FromStr;
use std::time::{Duration, Instant};

use crosswheel::resolve::MaxSilence;
use jiff::civil::Time;
use jiff::{SignedDuration, ToSpan as _, ZonedDateTime};

/// When compilers shall have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// So long from now.
    In(Duration),
    /// When the machine's clock next says so.
    At(Time),
}

impl FromStr for Until {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "0s" {
            return Ok(Self::In(Duration::ZERO));
        }
        if let Ok(MaxSilence(Some(duration))) = text.parse() {
            return Ok(Self::In(duration));
        }
        let time = text.contains(':').then(|| Time::strptime("%H:%M", text).ok()).flatten();
        time.map(Self::At).ok_or_else(|| {
            "a time such as `90s`, `30m` or `2h` is expected, or one of the clock like `22:30`"
                .to_owned()
        })
    }
}

impl Until {
    /// The moment, where this is said now.
    pub fn moment(self) -> Instant {
        let left = match self {
            Self::In(duration) => duration,
            Self::At(time) => time_to(&ZonedDateTime::now(), time),
        };
        Instant::now() + left
    }
}

/// How long it takes until the clock says so.
fn time_to(now: &ZonedDateTime, time: Time) -> Duration {
    let today = now.with().time(time).build();
    let tomorrow = || now.checked_add(1.day())?.with().time(time).build();
    let next = today.and_then(|today| if &today > now { Ok(today) } else { tomorrow() });
    let left = next.map_or(SignedDuration::ZERO, |next| now.duration_until(&next));
    left.unsigned_abs()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_one_of_the_clock_or_moment() {
        let parse = |text: &str| text.parse::<Until>();
        assert_eq!(parse("2h"), Ok(Until::In(Duration::from_secs(7200))));
        assert_eq!(parse("0s"), Ok(Until::In(Duration::ZERO)));
        assert_eq!(parse("07:05"), Ok(Until::At(Time::constant(7, 5, 0, 0))));
        for text in ["", "never", "24:00", "7", "12:60", "2 h", "12:00:00"] {
            let error = parse(text).unwrap_err();
            assert!(error.contains("`22:30`"), "{text}: {error}");
        }
    }

    #[test]
    fn a_time_of_the_clock_that_was_is_tomorrows() {
        let zone = jiff::tz::TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        let now = jiff::civil::date(2026, 3, 28).at(22, 0, 0, 0).to_zoned_datetime(zone).unwrap();
        let hours = |hour| time_to(&now, Time::constant(hour, 0, 0, 0)).as_secs() / 3600;
        assert_eq!(hours(23), 1);
        // The night in which an hour is left out.
        assert_eq!(hours(21), 22);
        assert_eq!(hours(22), 23);
    }
}
