//! The one time that all members of a wheel carry.

use zip::DateTime;

use super::PackageError;

/// 1980-01-01, the first day that a zip archive can hold, in seconds since 1970.
const FIRST: u64 = 315_532_800;
/// The last second of 2107, the last year that a zip archive can hold.
const LAST: u64 = 4_354_819_199;
const SECONDS_PER_DAY: u64 = 86_400;

/// A time that a zip archive can hold: whole seconds since 1970, from 1980 on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveTime(u64);

impl Default for ArchiveTime {
    /// 1980-01-01.
    fn default() -> Self {
        Self(FIRST)
    }
}

impl ArchiveTime {
    /// Reads the value of `SOURCE_DATE_EPOCH`, where it is set; 1980-01-01 where it is not, or
    /// where it is earlier. Anything but a number that a zip archive can hold is an error.
    pub fn from_source_date_epoch(value: Option<&str>) -> Result<Self, PackageError> {
        let Some(value) = value else { return Ok(Self::default()) };
        let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
        match value.parse::<u64>() {
            Ok(seconds) if digits && seconds <= LAST => Ok(Self(seconds.max(FIRST))),
            _ => Err(PackageError::SourceDateEpoch(value.to_owned())),
        }
    }

    /// Seconds since 1970.
    pub fn seconds(self) -> u64 {
        self.0
    }

    /// As the zip archive's members carry it, in UTC.
    pub(super) fn to_zip(self) -> DateTime {
        let (year, month, day) = civil(self.0 / SECONDS_PER_DAY);
        let second = self.0 % SECONDS_PER_DAY;
        let part = |n: u64| u8::try_from(n % 60).unwrap_or(0);
        let hour = u8::try_from(second / 3600).unwrap_or(0);
        DateTime::from_date_and_time(year, month, day, hour, part(second / 60), part(second))
            .unwrap_or_default()
    }
}

/// Year, month and day of a number of days since 1970, in the Gregorian calendar.
fn civil(mut days: u64) -> (u16, u8, u8) {
    let leap = |year: u16| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let february = 28 + u64::from(leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    (year, month, u8::try_from(days + 1).unwrap_or(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(value: &str) -> String {
        let time = ArchiveTime::from_source_date_epoch(Some(value)).expect("a time").to_zip();
        let (y, m, d) = (time.year(), time.month(), time.day());
        format!("{y}-{m:02}-{d:02} {:02}:{:02}:{:02}", time.hour(), time.minute(), time.second())
    }

    #[test]
    fn times_are_utc_dates() {
        // Compared with `date -u -d @N`; zip archives count in steps of two seconds.
        assert_eq!(written("1709210096"), "2024-02-29 12:34:56");
        assert_eq!(written("1704067199"), "2023-12-31 23:59:58");
        assert_eq!(written("4107542400"), "2100-03-01 00:00:00");
        assert_eq!(written("4354819199"), "2107-12-31 23:59:58");
    }

    #[test]
    fn what_is_unset_or_too_early_is_the_first_day() {
        assert_eq!(ArchiveTime::from_source_date_epoch(None).expect("a time"), ArchiveTime(FIRST));
        assert_eq!(written("0"), "1980-01-01 00:00:00");
    }

    #[test]
    fn a_malformed_value_is_an_error() {
        for value in ["", "now", "-1", "+1", "1.5", " 1", "4354819200", "99999999999999999999"] {
            assert!(ArchiveTime::from_source_date_epoch(Some(value)).is_err(), "{value}");
        }
    }
}
