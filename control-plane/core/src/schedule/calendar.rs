//! When something is due: cron expressions in time zones, intervals, single times. Pure: zones are those compiled in.
//!
//! A cron expression matches what the clock on the wall shows, and is due at the first moment at which that clock shows
//! the time or a later one. So each time of the wall is due once, also where clocks are changed: one that comes twice
//! is due the first time, and those that the clock leaves out are due together as it leaps.

use croner::{
    Cron,
    errors::CronError,
    parser::{CronParser, Seconds, Year},
};
use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase},
};
use serde::{Deserialize, Serialize};

use crate::{check::Violation, limits, time::Time};

/// What the fields of an expression are called, in their order, and what their numbers may be.
const FIELDS: [(&str, &str); 5] = [
    ("minute", "0-59"),
    ("hour", "0-23"),
    ("day of month", "1-31"),
    ("month", "1-12"),
    ("day of week", "0-7"),
];
/// Times on the wall that one search looks at: a clock that is set back makes it pass over those of the time between,
/// which was a day at most.
const SEARCH_MAX: u32 = 2 * 24 * 60;

/// When something is due, as it is said.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Timing {
    Cron {
        /// Minute, hour, day of month, month, day of week.
        expression: String,
        /// IANA, as in `Europe/Berlin`.
        time_zone: String,
    },
    /// Whenever the seconds since 1970 in UTC, less the offset, are a multiple.
    Interval {
        every_seconds: u32,
        offset_seconds: u32,
    },
    Once {
        at: Time,
    },
}

/// A timing that has been read.
#[derive(Clone, Debug)]
pub struct Calendar(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Cron(Box<Cron>, TimeZone),
    Interval { every_ms: i64, offset_ms: i64 },
    Once(Time),
}

impl Calendar {
    /// # Errors
    /// Everything that is wrong, each with its field.
    pub fn of(timing: &Timing) -> Result<Calendar, Vec<Violation>> {
        match timing {
            Timing::Cron { expression, time_zone } => {
                let zone = zone(time_zone);
                let cron = cron(expression);
                match (cron, zone) {
                    (Ok(cron), Ok(zone)) => Ok(Calendar(Kind::Cron(Box::new(cron), zone))),
                    (cron, zone) => Err(cron.err().into_iter().flatten().chain(zone.err()).collect()),
                }
            }
            Timing::Interval { every_seconds, offset_seconds } => interval(*every_seconds, *offset_seconds),
            Timing::Once { at } => Ok(Calendar(Kind::Once(*at))),
        }
    }

    /// The first due time after `after`, if there is one.
    pub fn next(&self, after: Time) -> Option<Time> {
        match &self.0 {
            Kind::Cron(cron, zone) => next_of(cron, zone, after),
            Kind::Interval { every_ms, offset_ms } => {
                let past = after.0.checked_sub(*offset_ms)?.div_euclid(*every_ms);
                let next = past.checked_add(1)?.checked_mul(*every_ms)?.checked_add(*offset_ms)?;
                Some(Time(next))
            }
            Kind::Once(at) => Some(*at).filter(|at| *at > after),
        }
    }

    /// The due times after `after`, in order.
    pub fn upcoming(&self, after: Time) -> impl Iterator<Item = Time> + '_ {
        std::iter::successors(self.next(after), |due| self.next(*due))
    }
}

/// A time as it stands in the ids of tasks: `20261130T020000Z`.
pub fn compact(time: Time) -> String {
    let Ok(timestamp) = Timestamp::from_millisecond(time.0) else { return time.0.to_string() };
    let at = timestamp.to_zoned(TimeZone::UTC).datetime();
    let day = format!("{:04}{:02}{:02}", at.year(), at.month(), at.day());
    let second = format!("{:02}{:02}{:02}", at.hour(), at.minute(), at.second());
    match at.millisecond() {
        0 => format!("{day}T{second}Z"),
        ms => format!("{day}T{second}.{ms:03}Z"),
    }
}

fn interval(every: u32, offset: u32) -> Result<Calendar, Vec<Violation>> {
    let mut found = Vec::new();
    if !(1..=limits::EVERY_SECONDS).contains(&every) {
        let most = limits::EVERY_SECONDS;
        let issue = format!("must be a whole number from 1 to {most} (EVERY_SECONDS), got {every}");
        found.push(Violation::new("interval.every_seconds", issue));
    } else if offset >= every {
        let issue = format!("must be below `every_seconds`, which is {every}, got {offset}");
        found.push(Violation::new("interval.offset_seconds", issue));
    }
    let ms = |seconds: u32| i64::from(seconds) * 1_000;
    let kind = Kind::Interval { every_ms: ms(every), offset_ms: ms(offset) };
    if found.is_empty() { Ok(Calendar(kind)) } else { Err(found) }
}

fn zone(name: &str) -> Result<TimeZone, Violation> {
    let unknown = || {
        let got = name.escape_debug();
        Violation::new("cron.time_zone", format!("must be an IANA zone, as in `Europe/Berlin`, got `{got}`"))
    };
    TimeZoneDatabase::bundled().get(name).map_err(|_| unknown())
}

fn parser() -> CronParser {
    CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build()
}

fn cron(expression: &str) -> Result<Cron, Vec<Violation>> {
    const FIELD: &str = "cron.expression";
    if expression.len() > limits::CRON_BYTES {
        let (most, got) = (limits::CRON_BYTES, expression.len());
        return Err(vec![Violation::new(FIELD, format!("at most {most} bytes (CRON_BYTES), got {got}"))]);
    }
    let parts: Vec<&str> = expression.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        let (names, got) = (FIELDS.map(|(name, _)| name).join(", "), parts.len());
        return Err(vec![Violation::new(FIELD, format!("must have 5 fields ({names}), got {got}"))]);
    }
    let bad = (0..FIELDS.len()).filter_map(|at| {
        let mut alone = ["*"; FIELDS.len()];
        alone[at] = parts[at];
        let why = reason(parser().parse(&alone.join(" ")).err()?);
        let ((name, numbers), got) = (FIELDS[at], parts[at].escape_debug());
        Some(Violation::new(FIELD, format!("the {name} `{got}` cannot be read ({numbers}): {why}")))
    });
    let bad: Vec<Violation> = bad.collect();
    if !bad.is_empty() {
        return Err(bad);
    }
    let cron = parser().parse(&parts.join(" "));
    let cron =
        cron.map_err(|error| vec![Violation::new(FIELD, format!("cannot be read: {}", reason(error)))])?;
    // A year with a leap day, and all the days of the week.
    let begin = DateTime::constant(2000, 1, 1, 0, 0, 0, 0);
    match cron.find_next_occurrence(&begin, true) {
        Ok(_) => Ok(cron),
        Err(_) => {
            let got = expression.escape_debug();
            Err(vec![Violation::new(FIELD, format!("no day is ever like that, got `{got}`"))])
        }
    }
}

fn reason(error: CronError) -> String {
    match error {
        CronError::InvalidPattern(why)
        | CronError::IllegalCharacters(why)
        | CronError::ComponentError(why) => why,
        CronError::EmptyPattern
        | CronError::InvalidDate
        | CronError::InvalidTime
        | CronError::TimeSearchLimitExceeded => error.to_string(),
    }
}

fn next_of(cron: &Cron, zone: &TimeZone, after: Time) -> Option<Time> {
    let after = Timestamp::from_millisecond(after.0).ok()?;
    let mut wall = zone.to_datetime(after);
    for _ in 0..SEARCH_MAX {
        wall = cron.find_next_occurrence(&wall, false).ok()?;
        let due = first_showing(zone, wall)?;
        if due > after {
            return Some(Time(due.as_millisecond()));
        }
    }
    None
}

/// The first moment at which the clock on the wall shows this time, or a later one.
fn first_showing(zone: &TimeZone, wall: DateTime) -> Option<Timestamp> {
    match zone.to_ambiguous_timestamp(wall).offset() {
        AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(wall).ok(),
        AmbiguousOffset::Fold { before, .. } => before.to_timestamp(wall).ok(),
        AmbiguousOffset::Gap { after, .. } => {
            // By the clock of afterwards it would have been before the leap.
            let earlier = after.to_timestamp(wall).ok()?;
            Some(zone.following(earlier).next()?.timestamp())
        }
    }
}
