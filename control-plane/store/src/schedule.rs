//! Schedules as rows, for both stores.

use bytes::Bytes;
use downbeat_core::{
    id::{ScheduleNo, TenantNo},
    schedule::Schedule,
    time::Time,
};

use crate::{
    Result, StoreError,
    rows::{Cells, decode, encode},
};

/// A schedule with what it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScheduleRecord {
    pub schedule: Schedule,
    /// [`Starts`](downbeat_core::schedule::Starts) as JSON; not looked into here.
    pub starts: Bytes,
}

/// `no, tenant, version, wake_at, name, spec, state`
pub(crate) fn schedule(cells: &mut dyn Cells) -> Result<Schedule> {
    Ok(Schedule {
        no: ScheduleNo(cells.long()?),
        tenant: TenantNo(cells.number()?),
        version: cells.long()?,
        wake_at: cells.integer()?.map(Time),
        name: cells.text()?,
        spec: decode(&cells.bytes()?)?,
        state: decode(&cells.bytes()?)?,
    })
}

/// As [`schedule`], and `starts`.
pub(crate) fn record(cells: &mut dyn Cells) -> Result<ScheduleRecord> {
    Ok(ScheduleRecord { schedule: schedule(cells)?, starts: cells.bytes()?.into() })
}

/// `spec` and `state`.
pub(crate) fn encoded(schedule: &Schedule) -> Result<(Vec<u8>, Vec<u8>)> {
    Ok((encode(&schedule.spec)?, encode(&schedule.state)?))
}

/// Why a new one is not written.
pub(crate) fn taken(name: &str) -> StoreError {
    StoreError::Conflict(format!("there is a schedule {name}"))
}

/// Why it is not written.
pub(crate) fn changed(name: &str) -> StoreError {
    StoreError::Conflict(format!("schedule {name} has changed"))
}
