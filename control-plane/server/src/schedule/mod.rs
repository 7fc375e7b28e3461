//! Schedules at work: [`run`] looks after those that are due, and [`fire`] carries out what the core decides. The rules
//! stand in the core; what people do with schedules stands in the engine.

pub(crate) mod fire;
mod run;

use downbeat_core::{
    id::ScheduleNo,
    schedule::{Calendar, Spec},
    time::Time,
};

pub(crate) use self::run::run;
use crate::failure::Failure;

/// Schedules about which something is to be done soon, with the time.
pub(crate) type Upcoming = Vec<(Time, ScheduleNo)>;

/// The calendar of a stored schedule, which was one when it was stored.
///
/// # Errors
/// `Internal`.
pub(crate) fn calendar(spec: &Spec) -> Result<Calendar, Failure> {
    let unreadable = |found| Failure::Internal(format!("a stored timing cannot be read: {found:?}"));
    Calendar::of(&spec.timing).map_err(unreadable)
}
