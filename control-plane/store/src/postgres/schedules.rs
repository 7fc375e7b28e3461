//! Schedules. Each write is one statement on the pool: it is never part of a batch.

use bytes::Bytes;
use downbeat_core::{
    id::{ScheduleNo, TenantNo},
    schedule::Schedule,
};
use tokio_postgres::types::ToSql;

use super::PostgresStore;
use crate::{
    Result, ScheduleRecord,
    rows::Cells,
    schedule::{changed, encoded, record, schedule, taken},
};

impl PostgresStore {
    pub(super) async fn read_schedule(&self, tenant: TenantNo, name: &str) -> Result<Option<ScheduleRecord>> {
        let params: [&(dyn ToSql + Sync); 2] = [&tenant.0, &name];
        let found = self.query(include_str!("sql/schedule.sql"), &params, |cells| record(cells)).await?;
        Ok(found.into_iter().next())
    }

    pub(super) async fn read_schedule_numbered(&self, no: ScheduleNo) -> Result<Option<ScheduleRecord>> {
        let sql = include_str!("sql/schedule_numbered.sql");
        Ok(self.query(sql, &[&no.0], |cells| record(cells)).await?.into_iter().next())
    }

    pub(super) async fn read_schedules(
        &self,
        tenant: TenantNo,
        after: &str,
        limit: u32,
    ) -> Result<Vec<Schedule>> {
        let params: [&(dyn ToSql + Sync); 3] = [&tenant.0, &after, &i64::from(limit)];
        self.query(include_str!("sql/schedules.sql"), &params, |cells| schedule(cells)).await
    }

    pub(super) async fn insert_schedule(&self, new: &ScheduleRecord) -> Result<ScheduleNo> {
        let ScheduleRecord { schedule, starts } = new;
        let (spec, state) = encoded(schedule)?;
        let wake_at = schedule.wake_at.map(|at| at.0);
        let params: [&(dyn ToSql + Sync); 7] = [
            &schedule.version,
            &wake_at,
            &schedule.tenant.0,
            &schedule.name,
            &spec,
            &state,
            &starts.as_ref(),
        ];
        let number = |cells: &mut dyn Cells| cells.long().map(ScheduleNo);
        let written = self.query(include_str!("sql/insert_schedules.sql"), &params, number).await?;
        written.into_iter().next().ok_or_else(|| taken(&schedule.name))
    }

    pub(super) async fn update_schedule(&self, schedule: &Schedule, starts: Option<&Bytes>) -> Result<()> {
        let (spec, state) = encoded(schedule)?;
        let (wake_at, starts) = (schedule.wake_at.map(|at| at.0), starts.map(Bytes::as_ref));
        let params: [&(dyn ToSql + Sync); 6] =
            [&schedule.no.0, &schedule.version, &wake_at, &spec, &state, &starts];
        let written = self.query(include_str!("sql/update_schedules.sql"), &params, |_| Ok(())).await?;
        if written.is_empty() { Err(changed(&schedule.name)) } else { Ok(()) }
    }

    pub(super) async fn remove_schedule(&self, no: ScheduleNo) -> Result<()> {
        self.query(include_str!("sql/delete_schedules.sql"), &[&no.0], |_| Ok(())).await.map(drop)
    }
}
