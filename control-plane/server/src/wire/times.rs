//! Times as texts: RFC 3339, in UTC, with milliseconds.

use downbeat_core::time::Time;
use jiff::{Timestamp, civil::Date, tz::TimeZone};

/// The year 0: RFC 3339 knows none before.
const EARLIEST: Time = Time(-62_167_219_200_000);
/// The end of 9999-12-29 UTC: later times cannot be written in every zone.
const LATEST: Time = Time(253_402_127_999_999);
/// What a text that [`parse`] does not take should have been.
pub(crate) const EXPECTED: &str = "must be an RFC 3339 time, as in `2027-01-31T18:00:00Z`";
/// `2025-11-22`.
const DATE_BYTES: usize = 10;

/// Whether a time can be written.
pub(crate) fn is_writable(time: Time) -> bool {
    (EARLIEST..=LATEST).contains(&time)
}

/// `2025-11-22T23:59:59.999Z`.
pub(crate) fn text(time: Time) -> String {
    let ms = time.0.clamp(EARLIEST.0, LATEST.0);
    let timestamp = Timestamp::from_millisecond(ms).unwrap_or(Timestamp::UNIX_EPOCH);
    format!("{timestamp:.3}")
}

/// A time with its offset from UTC.
pub(crate) fn parse(text: &str) -> Option<Time> {
    let time = text.parse::<Timestamp>().ok().map(|timestamp| Time(timestamp.as_millisecond()))?;
    is_writable(time).then_some(time)
}

/// A time, or a date, which means the last millisecond of that day in UTC.
pub(crate) fn parse_or_date(text: &str) -> Option<Time> {
    if text.len() > DATE_BYTES {
        return parse(text);
    }
    let next = text.parse::<Date>().ok()?.tomorrow().and_then(|day| day.to_zoned(TimeZone::UTC));
    let end = next.map_or(LATEST, |midnight| Time(midnight.timestamp().as_millisecond() - 1));
    (end >= EARLIEST).then_some(end.min(LATEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_and_written() {
        for (given, written) in [
            ("2025-11-22", Some("2025-11-22T23:59:59.999Z")),
            ("2024-02-29", Some("2024-02-29T23:59:59.999Z")),
            ("2025-11-22T10:00:00Z", Some("2025-11-22T10:00:00.000Z")),
            ("2025-11-22T10:00:00.123456+02:00", Some("2025-11-22T08:00:00.123Z")),
            ("0000-01-01", Some("0000-01-01T23:59:59.999Z")),
            ("2025-02-30", None),
            ("2025-11-22T10:00:00", None),
            ("-000001-01-01T00:00:00Z", None),
            ("9999-12-31", Some("9999-12-29T23:59:59.999Z")),
            ("-000001-01-01", None),
            ("next friday", None),
            ("", None),
        ] {
            assert_eq!(parse_or_date(given).map(text).as_deref(), written, "{given}");
        }
    }

    #[test]
    fn a_date_alone_is_not_a_time() {
        assert_eq!(parse("2025-11-22"), None);
    }

    #[test]
    fn any_number_can_be_shown() {
        assert_eq!(text(Time(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(text(Time(i64::MAX)), "9999-12-29T23:59:59.999Z");
        assert_eq!(text(Time(i64::MIN)), "0000-01-01T00:00:00.000Z");
    }
}
