//! Schedules in a map.

use std::collections::BTreeMap;

use bytes::Bytes;
use downbeat_core::{
    id::{ScheduleNo, TenantNo},
    schedule::Schedule,
    time::Time,
};
use downbeat_store::{Result, ScheduleRecord, StoreError, query::SCHEDULES_AHEAD_MS};

/// The rows, and the newest number.
#[derive(Default)]
pub(super) struct Schedules {
    rows: BTreeMap<ScheduleNo, ScheduleRecord>,
    newest: i64,
}

impl Schedules {
    pub(super) fn named(&self, tenant: TenantNo, name: &str) -> Option<ScheduleRecord> {
        let is_it = |row: &&ScheduleRecord| (row.schedule.tenant, &*row.schedule.name) == (tenant, name);
        self.rows.values().find(is_it).cloned()
    }

    pub(super) fn numbered(&self, no: ScheduleNo) -> Option<ScheduleRecord> {
        self.rows.get(&no).cloned()
    }

    pub(super) fn list(&self, tenant: TenantNo, after: &str, limit: usize) -> Vec<Schedule> {
        let rows = self.rows.values().map(|row| &row.schedule);
        let mut found: Vec<Schedule> =
            rows.filter(|row| row.tenant == tenant && *row.name > *after).cloned().collect();
        found.sort_by(|a, b| a.name.cmp(&b.name));
        found.truncate(limit);
        found
    }

    pub(super) fn due(&self, now: Time, limit: usize) -> Vec<(Time, ScheduleNo)> {
        let until = Time(now.0 + SCHEDULES_AHEAD_MS);
        let rows = self.rows.values().filter_map(|row| Some((row.schedule.wake_at?, row.schedule.no)));
        let mut due: Vec<(Time, ScheduleNo)> = rows.filter(|(at, _)| *at <= until).collect();
        due.sort_unstable();
        due.truncate(limit);
        due
    }

    pub(super) fn create(&mut self, new: &ScheduleRecord) -> Result<ScheduleNo> {
        if self.named(new.schedule.tenant, &new.schedule.name).is_some() {
            return Err(StoreError::Conflict("the name is taken".into()));
        }
        self.newest += 1;
        let no = ScheduleNo(self.newest);
        let schedule = Schedule { no, ..new.schedule.clone() };
        self.rows.insert(no, ScheduleRecord { schedule, starts: new.starts.clone() });
        Ok(no)
    }

    pub(super) fn change(&mut self, schedule: &Schedule, starts: Option<&Bytes>) -> Result<()> {
        let seen = |row: &&mut ScheduleRecord| row.schedule.version == schedule.version;
        let Some(row) = self.rows.get_mut(&schedule.no).filter(seen) else {
            return Err(StoreError::Conflict("the schedule has changed".into()));
        };
        row.schedule = Schedule { version: schedule.version + 1, ..schedule.clone() };
        if let Some(starts) = starts {
            row.starts = starts.clone();
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, no: ScheduleNo) {
        self.rows.remove(&no);
    }
}
