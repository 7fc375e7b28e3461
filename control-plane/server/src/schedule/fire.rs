//! Carrying out what the core decides about one schedule: a row is read, decided, and written by who has seen its newest
//! version; an order in it is carried out, and written off.

use downbeat_core::{
    id::{ScheduleNo, TaskId, TenantNo},
    reject::Reject,
    schedule::{Order, Schedule},
    time::Time,
};
use downbeat_store::{ScheduleRecord, StoreError};

use super::calendar;
use crate::{
    engine::{Engine, Submission},
    failure::Failure,
    wire::{self, schedule::Asked},
};

/// Decisions and orders in one go; what is left comes with the next look.
const STEPS_MAX: u32 = 64;
/// Ids tried for one task, where others have them: `nightly-20261130T020000Z`, and then `...-2` and so on.
const IDS_MAX: u32 = 9;

impl Engine {
    /// Does what is due about a schedule; gives when something is to be done next.
    ///
    /// # Errors
    /// `Unavailable`, `Internal`: somebody has to come back.
    pub(crate) async fn see_to(&self, no: ScheduleNo) -> Result<Option<Time>, Failure> {
        for _ in 0..STEPS_MAX {
            let Some(mut record) = self.store.schedule_numbered(no).await? else { return Ok(None) };
            let now = self.database_time()?;
            let wake_at = record.schedule.wake_at;
            if !record.schedule.is_due(now) {
                return Ok(wake_at);
            }
            if record.schedule.state.order.is_none() && !self.decide_due(&mut record.schedule, now).await? {
                // Another replica was first, and goes on with it.
                continue;
            }
            self.carry_out(record).await?;
        }
        Ok(None)
    }

    /// Decides what is due and writes it down; gives whether nobody else was first.
    async fn decide_due(&self, schedule: &mut Schedule, now: Time) -> Result<bool, Failure> {
        match calendar(&schedule.spec) {
            Ok(calendar) => {
                let running = match schedule.asks() {
                    Some(task) => self.runs(schedule.tenant, task).await?,
                    None => false,
                };
                schedule.decide(&calendar, running, now);
            }
            Err(failure) => {
                tracing::error!(schedule = schedule.name, %failure, "paused");
                schedule.pause(String::new(), failure.to_string(), now);
            }
        }
        self.write(schedule).await
    }

    /// Carries out the order of a schedule, if there is one, and writes that down.
    async fn carry_out(&self, mut record: ScheduleRecord) -> Result<(), Failure> {
        let Some(order) = record.schedule.state.order.clone() else { return Ok(()) };
        if let Some(task) = &order.cancels {
            self.cancel_before(&record.schedule, task).await?;
        }
        let started = self.start_scheduled(&record, &order).await;
        let now = self.database_time()?;
        let schedule = &mut record.schedule;
        match started {
            Ok(task) => {
                tracing::info!(schedule = schedule.name, task_id = task, "started");
                schedule.carried_out(task, now);
            }
            Err(failure @ (Failure::Unavailable { .. } | Failure::Reject(Reject::BatchFull))) => {
                return Err(failure);
            }
            Err(failure) => {
                let why = wire::schedule::refusal(&failure);
                tracing::warn!(schedule = schedule.name, why, "its task is refused");
                schedule.refused(&why, now);
            }
        }
        // Whoever was first has seen the same task, or sees it when the order is carried out again.
        self.write(schedule).await.map(drop)
    }

    /// Starts the task of an order, or finds that it is there.
    ///
    /// # Errors
    /// `Invalid` and what else makes the task refused; `Unavailable`.
    pub(crate) async fn start_scheduled(
        &self,
        record: &ScheduleRecord,
        order: &Order,
    ) -> Result<TaskId, Failure> {
        let first = order.task_id(&record.schedule.name);
        let digest = order.digest(&record.schedule);
        for nth in 1..=IDS_MAX {
            let id = if nth == 1 { first.clone() } else { format!("{first}-{nth}") };
            let begun = match wire::schedule::asked(record, order, &id, self.database_time()?)? {
                Asked::Task(submission) => self.submit(Submission { digest, ..*submission }).await,
                Asked::Run(start) => self.run(wire::workflow::run::asked(*start)?.known_by(digest)).await,
            };
            match begun {
                Ok(_) => return Ok(id),
                Err(Failure::Reject(Reject::TaskConflict(_))) => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Reject::TaskConflict(first).into())
    }

    async fn cancel_before(&self, schedule: &Schedule, task: &str) -> Result<(), Failure> {
        let reason = format!("schedule {} starts the next one", schedule.name);
        match self.cancel(schedule.tenant, task, reason, false).await {
            Ok(_) | Err(Failure::Reject(Reject::TaskFinished(_)) | Failure::NotFound { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Whether a task has not ended.
    async fn runs(&self, tenant: TenantNo, id: &str) -> Result<bool, Failure> {
        let Some(task) = self.docs.named(&*self.store, tenant, id).await? else { return Ok(false) };
        Ok(self.store.task(task).await?.is_some_and(|record| !record.task.status.is_terminal()))
    }

    /// Writes a schedule and takes it a version further; gives whether it was still the one that was read.
    async fn write(&self, schedule: &mut Schedule) -> Result<bool, Failure> {
        match self.store.change_schedule(schedule, None).await {
            Ok(()) => {
                schedule.version += 1;
                Ok(true)
            }
            Err(StoreError::Conflict(_)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// # Errors
    /// `Unavailable` until the first look: due times go by the database's clock.
    pub(crate) fn database_time(&self) -> Result<Time, Failure> {
        self.registry.seen_time().ok_or_else(|| Failure::Unavailable {
            message: "this control plane has just started".into(),
            retry_after_ms: crate::failure::RETRY_AFTER_MS,
        })
    }
}
