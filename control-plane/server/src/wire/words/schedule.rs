//! Words and numbers of schedules.

use downbeat_core::schedule::{Cause, Fired, Overlap};
use downbeat_proto::v1 as pb;

use super::Word;

impl Word for Overlap {
    const NAME: &'static str = "OverlapPolicy";
    const ALL: &'static [Overlap] = &Overlap::ALL;

    fn word(self) -> &'static str {
        Overlap::word(self)
    }

    fn proto(self) -> i32 {
        let number = match self {
            Overlap::Skip => pb::OverlapPolicy::Skip,
            Overlap::Queue => pb::OverlapPolicy::Queue,
            Overlap::CancelRunning => pb::OverlapPolicy::CancelRunning,
            Overlap::Allow => pb::OverlapPolicy::Allow,
        };
        number.into()
    }
}

impl Word for Fired {
    const NAME: &'static str = "FiringOutcome";
    const ALL: &'static [Fired] = &Fired::ALL;

    fn word(self) -> &'static str {
        Fired::word(self)
    }

    fn proto(self) -> i32 {
        let number = match self {
            Fired::Started => pb::FiringOutcome::Started,
            Fired::Skipped => pb::FiringOutcome::Skipped,
            Fired::Missed => pb::FiringOutcome::Missed,
            Fired::Refused => pb::FiringOutcome::Refused,
        };
        number.into()
    }
}

impl Word for Cause {
    const NAME: &'static str = "FiringCause";
    const ALL: &'static [Cause] = &Cause::ALL;

    fn word(self) -> &'static str {
        Cause::word(self)
    }

    fn proto(self) -> i32 {
        let number = match self {
            Cause::Time => pb::FiringCause::Time,
            Cause::Trigger => pb::FiringCause::Trigger,
            Cause::Backfill => pb::FiringCause::Backfill,
        };
        number.into()
    }
}
