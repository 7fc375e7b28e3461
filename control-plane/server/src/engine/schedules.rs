//! What people do with schedules. What time does with them stands in [`schedule`](crate::schedule).

use bytes::Bytes;
use downbeat_core::{
    check::Violation,
    id::{TaskId, TenantNo},
    limits,
    schedule::{Cause, Order, Schedule, Spec, Timing, compact},
    time::Time,
};
use downbeat_store::{ScheduleRecord, StoreError};
use futures::{StreamExt, TryStreamExt, stream};

use super::Engine;
use crate::{
    failure::Failure,
    schedule::calendar,
    wire::{self, workflow::run},
};

/// A change is applied again so often where the schedule fires meanwhile.
const CHANGES_MAX: u32 = 20;
/// Tasks of one backfill that are submitted beside each other.
const FILLED_AT_ONCE: usize = 8;

/// A schedule as it is asked for, checked at the wire.
#[derive(Clone, Debug)]
pub struct ScheduleRequest {
    pub name: String,
    /// Its timing is a [`Calendar`](downbeat_core::schedule::Calendar).
    pub spec: Spec,
    /// [`Starts`](downbeat_core::schedule::Starts) as JSON.
    pub starts: Bytes,
}

/// Due times to start tasks for, from the first one at `from` to the last one before `until`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Backfill {
    pub from: Time,
    pub until: Time,
    /// The caller's own: what has been filled in under it is not again.
    pub id: String,
}

impl Engine {
    /// Creates a schedule, or finds (`true`) that the same one exists.
    ///
    /// # Errors
    /// `Invalid` for a single time that has passed or a workflow that cannot be run, `Conflict` (`SCHEDULE_EXISTS`), `Unavailable`.
    pub async fn create_schedule(
        &self,
        tenant: TenantNo,
        request: ScheduleRequest,
    ) -> Result<(ScheduleRecord, bool), Failure> {
        let ScheduleRequest { name, spec, starts } = request;
        if let Some(found) = self.store.schedule(tenant, &name).await? {
            return existing(found, &spec, &starts);
        }
        let now = self.database_time()?;
        lies_ahead(&spec, now)?;
        self.can_run(tenant, &starts).await?;
        let schedule = Schedule::new(tenant, name, spec.clone(), &calendar(&spec)?, now);
        let mut new = ScheduleRecord { schedule, starts };
        match self.store.create_schedule(&new).await {
            Ok(no) => {
                new.schedule.no = no;
                Ok((new, false))
            }
            Err(StoreError::Conflict(_)) => {
                let found = self.schedule(tenant, &new.schedule.name).await?;
                existing(found, &spec, &new.starts)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a workflow that is to be started could be as it is now.
    async fn can_run(&self, tenant: TenantNo, starts: &[u8]) -> Result<(), Failure> {
        let Some(start) = wire::schedule::run_of(tenant, starts)? else { return Ok(()) };
        let record = match self.stored(tenant, &start.workflow, start.version).await {
            Err(Failure::NotFound { name, .. }) => {
                return Err(Failure::invalid(
                    "task.workflow.name",
                    format!("no workflow is called `{name}`"),
                ));
            }
            found => found?,
        };
        match run::asked(start).and_then(|asked| run::submission(asked, &record.version)) {
            Ok(_) => Ok(()),
            Err(Failure::Invalid(found)) => {
                let found = found.into_iter().map(wire::schedule::within_run);
                let within = |v: Violation| Violation::coded(v.code, format!("task.{}", v.field), v.issue);
                Err(Failure::Invalid(found.map(within).collect()))
            }
            Err(failure) => Err(failure),
        }
    }

    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn schedule(&self, tenant: TenantNo, name: &str) -> Result<ScheduleRecord, Failure> {
        let unknown = || Failure::NotFound { what: "schedule", name: name.to_owned() };
        self.store.schedule(tenant, name).await?.ok_or_else(unknown)
    }

    /// A page of schedules by name, and whether there are more.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn schedules(
        &self,
        tenant: TenantNo,
        after: &str,
        limit: u32,
    ) -> Result<(Vec<Schedule>, bool), Failure> {
        let mut found = self.store.schedules(tenant, after, limit + 1).await?;
        let more = found.len() > limit as usize;
        found.truncate(limit as usize);
        Ok((found, more))
    }

    /// Puts another spec in place of the present one.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` for a single time that has passed and is not the present one or a workflow that cannot be
    /// run, `Unavailable`.
    pub async fn update_schedule(
        &self,
        tenant: TenantNo,
        request: ScheduleRequest,
    ) -> Result<ScheduleRecord, Failure> {
        let ScheduleRequest { name, spec, starts } = request;
        let calendar = calendar(&spec)?;
        self.can_run(tenant, &starts).await?;
        let change = |schedule: &mut Schedule, now: Time| {
            if schedule.spec.timing != spec.timing {
                lies_ahead(&spec, now)?;
            }
            schedule.change(spec.clone(), &calendar, now);
            Ok(())
        };
        self.change_schedule(tenant, &name, Some(&starts), change).await
    }

    /// Nothing is due until it is resumed.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn pause_schedule(
        &self,
        tenant: TenantNo,
        name: &str,
        by: String,
        reason: String,
    ) -> Result<ScheduleRecord, Failure> {
        let pause = |schedule: &mut Schedule, now: Time| {
            schedule.pause(by.clone(), reason.clone(), now);
            Ok(())
        };
        self.change_schedule(tenant, name, None, pause).await
    }

    /// Goes on with the next due time.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn resume_schedule(&self, tenant: TenantNo, name: &str) -> Result<ScheduleRecord, Failure> {
        let resume = |schedule: &mut Schedule, now: Time| {
            schedule.resume(&calendar(&schedule.spec)?, now);
            Ok(())
        };
        self.change_schedule(tenant, name, None, resume).await
    }

    /// Starts its task now, whatever runs; gives the task's id. `id` is the caller's own, empty: one is made.
    ///
    /// # Errors
    /// `NotFound`, what makes the task refused, `Unavailable`.
    pub async fn trigger_schedule(
        &self,
        tenant: TenantNo,
        name: &str,
        id: String,
    ) -> Result<TaskId, Failure> {
        let record = self.schedule(tenant, name).await?;
        let due = self.database_time()?;
        let id = if id.is_empty() { format!("manual-{}", compact(due)) } else { id };
        let order = Order { due, cancels: None, by: Cause::Trigger, name: id };
        let task = self.start_scheduled(&record, &order).await?;
        self.note_started(tenant, name, &[(order, task.clone())]).await?;
        Ok(task)
    }

    /// Starts a task for each due time of a range; gives their ids.
    ///
    /// # Errors
    /// `NotFound`; `Invalid` when there are too many, or the range does not lie in the past; what makes a task refused;
    /// `Unavailable`, after which the same call goes on.
    pub async fn backfill_schedule(
        &self,
        tenant: TenantNo,
        name: &str,
        Backfill { from, until, id }: Backfill,
    ) -> Result<Vec<TaskId>, Failure> {
        let record = self.schedule(tenant, name).await?;
        let now = self.database_time()?;
        if until > now {
            let issue = format!("must not lie in the future, which begins at {}", wire::times::text(now));
            return Err(Failure::invalid("until", issue));
        }
        let before = Time(from.0.saturating_sub(1));
        let calendar = calendar(&record.schedule.spec)?;
        let due = calendar.upcoming(before).take_while(|due| *due < until);
        let due: Vec<Time> = due.take(limits::BACKFILL + 1).collect();
        if due.len() > limits::BACKFILL {
            let (most, last) = (limits::BACKFILL, wire::times::text(due[limits::BACKFILL]));
            let issue = format!("at most {most} due times (BACKFILL), got more; up to {last} would do");
            return Err(Failure::invalid("until", issue));
        }
        let orders =
            due.into_iter().map(|due| Order { due, cancels: None, by: Cause::Backfill, name: id.clone() });
        let record = &record;
        let started = stream::iter(orders).map(|order| async move {
            let task = self.start_scheduled(record, &order).await?;
            Ok::<_, Failure>((order, task))
        });
        let started: Vec<(Order, TaskId)> = started.buffered(FILLED_AT_ONCE).try_collect().await?;
        self.note_started(tenant, name, &started).await?;
        Ok(started.into_iter().map(|(_, task)| task).collect())
    }

    /// The next due times of a schedule; none while it is paused.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn preview_schedule(
        &self,
        tenant: TenantNo,
        name: &str,
        count: u32,
    ) -> Result<Vec<Time>, Failure> {
        let Schedule { spec, state, .. } = self.schedule(tenant, name).await?.schedule;
        let calendar = calendar(&spec)?;
        let due = std::iter::successors(state.next_due, |due| calendar.next(*due));
        Ok(due.take(count as usize).collect())
    }

    /// The next due times of a timing.
    ///
    /// # Errors
    /// `Unavailable`.
    pub fn preview_timing(&self, timing: Timing, count: u32) -> Result<Vec<Time>, Failure> {
        let spec = Spec { timing, overlap: Default::default(), catch_up_seconds: 0 };
        Ok(calendar(&spec)?.upcoming(self.database_time()?).take(count as usize).collect())
    }

    /// Deletes a schedule. Its tasks go on.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_schedule(&self, tenant: TenantNo, name: &str) -> Result<(), Failure> {
        let found = self.schedule(tenant, name).await?;
        Ok(self.store.delete_schedule(found.schedule.no).await?)
    }

    async fn note_started(
        &self,
        tenant: TenantNo,
        name: &str,
        started: &[(Order, TaskId)],
    ) -> Result<(), Failure> {
        let note = |schedule: &mut Schedule, now: Time| {
            started.iter().for_each(|(order, task)| schedule.note(order, task.clone(), now));
            Ok(())
        };
        match self.change_schedule(tenant, name, None, note).await {
            // Deleted meanwhile: nobody asks for its firings.
            Ok(_) | Err(Failure::NotFound { .. }) => Ok(()),
            Err(failure) => Err(failure),
        }
    }

    /// Changes a schedule as it is now, again where somebody else was first.
    async fn change_schedule(
        &self,
        tenant: TenantNo,
        name: &str,
        starts: Option<&Bytes>,
        change: impl Fn(&mut Schedule, Time) -> Result<(), Failure>,
    ) -> Result<ScheduleRecord, Failure> {
        for _ in 0..CHANGES_MAX {
            let mut record = self.schedule(tenant, name).await?;
            let before = record.schedule.clone();
            change(&mut record.schedule, self.database_time()?)?;
            if let Some(starts) = starts {
                record.starts.clone_from(starts);
            } else if record.schedule == before {
                return Ok(record);
            }
            match self.store.change_schedule(&record.schedule, starts).await {
                Ok(()) => {
                    record.schedule.version += 1;
                    return Ok(record);
                }
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(Failure::Unavailable {
            message: format!("schedule {name} changes all the time"),
            retry_after_ms: crate::failure::RETRY_AFTER_MS,
        })
    }
}

fn existing(found: ScheduleRecord, spec: &Spec, starts: &Bytes) -> Result<(ScheduleRecord, bool), Failure> {
    if found.schedule.spec == *spec && wire::schedule::same(&found.starts, starts) {
        return Ok((found, true));
    }
    let message = format!("there is another schedule `{}`; update it, or delete it", found.schedule.name);
    Err(Failure::Conflict { code: "SCHEDULE_EXISTS", message })
}

fn lies_ahead(spec: &Spec, now: Time) -> Result<(), Failure> {
    match spec.timing {
        Timing::Once { at } if at <= now => {
            let (at, now) = (wire::times::text(at), wire::times::text(now));
            Err(Failure::invalid("once.at", format!("must lie in the future, got {at}, and it is {now}")))
        }
        Timing::Once { .. } | Timing::Cron { .. } | Timing::Interval { .. } => Ok(()),
    }
}
