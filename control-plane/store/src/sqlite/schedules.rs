//! Schedules. Plain functions on a connection; each write is a transaction of its own.

use bytes::Bytes;
use downbeat_core::{
    id::{ScheduleNo, TenantNo},
    schedule::Schedule,
    time::Time,
};
use rusqlite::{Connection, params};

use super::rows::{all, one, run};
use crate::{
    Result, ScheduleRecord,
    query::SCHEDULES_AHEAD_MS,
    schedule::{self, changed, encoded, record, taken},
};

pub(super) fn named(conn: &Connection, tenant: TenantNo, name: &str) -> Result<Option<ScheduleRecord>> {
    one(conn, include_str!("sql/schedule.sql"), params![tenant.0, name], record)
}

pub(super) fn numbered(conn: &Connection, no: ScheduleNo) -> Result<Option<ScheduleRecord>> {
    one(conn, include_str!("sql/schedule_numbered.sql"), [no.0], record)
}

pub(super) fn list(conn: &Connection, tenant: TenantNo, after: &str, limit: u32) -> Result<Vec<Schedule>> {
    all(conn, include_str!("sql/schedules.sql"), params![tenant.0, after, limit], schedule::schedule)
}

pub(super) fn due(conn: &Connection, now: Time, limit: u32) -> Result<Vec<(Time, ScheduleNo)>> {
    let until = now.0.saturating_add(SCHEDULES_AHEAD_MS);
    all(conn, include_str!("sql/schedules_due.sql"), params![until, limit], |cells| {
        Ok((Time(cells.long()?), ScheduleNo(cells.long()?)))
    })
}

pub(super) fn create(conn: &Connection, new: &ScheduleRecord) -> Result<ScheduleNo> {
    let ScheduleRecord { schedule, starts } = new;
    let (spec, state) = encoded(schedule)?;
    let wake_at = schedule.wake_at.map(|at| at.0);
    let params =
        params![schedule.version, wake_at, schedule.tenant.0, schedule.name, spec, state, starts.as_ref()];
    let number = one(conn, include_str!("sql/insert_schedules.sql"), params, |cells| cells.long())?;
    number.map(ScheduleNo).ok_or_else(|| taken(&schedule.name))
}

pub(super) fn change(conn: &Connection, schedule: &Schedule, starts: Option<&Bytes>) -> Result<()> {
    let (spec, state) = encoded(schedule)?;
    let (wake_at, starts) = (schedule.wake_at.map(|at| at.0), starts.map(Bytes::as_ref));
    let params = params![schedule.no.0, schedule.version, wake_at, spec, state, starts];
    let written = one(conn, include_str!("sql/update_schedules.sql"), params, |cells| cells.long())?;
    written.map(drop).ok_or_else(|| changed(&schedule.name))
}

pub(super) fn delete(conn: &Connection, no: ScheduleNo) -> Result<()> {
    run(conn, include_str!("sql/delete_schedules.sql"), [no.0])
}
