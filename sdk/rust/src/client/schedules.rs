//! Schedules: what starts tasks by time. Who pauses is said by [`Client::by`].

use std::time::SystemTime;

use tonic::transport::Channel;
use uuid::Uuid;

use crate::{
    Client, Error, ScheduleSpec, Timing,
    client::RESPONSE_BYTES_MAX,
    proto::{
        BackfillScheduleRequest, CreateScheduleRequest, DeleteScheduleRequest, GetScheduleRequest,
        ListSchedulesRequest, PauseScheduleRequest, PreviewScheduleRequest, ResumeScheduleRequest, Schedule,
        TriggerScheduleRequest, UpdateScheduleRequest, preview_schedule_request::Of,
        schedule_service_client::ScheduleServiceClient,
    },
    request::millis,
};

impl Client {
    /// Creates a schedule; gives whether the very same one existed.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] before anything is sent; [`Error::Rejected`] when it is not valid, or there is another one
    /// of that name (`SCHEDULE_EXISTS`).
    pub async fn create_schedule(
        &self,
        name: impl Into<String>,
        spec: ScheduleSpec,
    ) -> Result<(Schedule, bool), Error> {
        let request = CreateScheduleRequest { name: name.into(), spec: Some(spec.into_message()?) };
        let answer =
            self.call(request, |to, request| async { schedules(to).create_schedule(request).await }).await?;
        Ok((complete("CreateSchedule", answer.schedule)?, answer.existed))
    }

    /// A schedule with its newest firings.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such schedule.
    pub async fn schedule(&self, name: impl Into<String>) -> Result<Schedule, Error> {
        let request = GetScheduleRequest { name: name.into() };
        let answer =
            self.call(request, |to, request| async { schedules(to).get_schedule(request).await }).await?;
        complete("GetSchedule", answer.schedule)
    }

    /// All schedules by name, without what they start and their firings.
    ///
    /// # Errors
    /// [`Error::Unavailable`] and the like.
    pub async fn schedules(&self) -> Result<Vec<Schedule>, Error> {
        let (mut all, mut request) = (Vec::new(), ListSchedulesRequest::default());
        loop {
            let sent = request.clone();
            let page = self.call(sent, |to, sent| async { schedules(to).list_schedules(sent).await }).await?;
            all.extend(page.schedules);
            if page.next_page_token.is_empty() {
                return Ok(all);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Puts another spec in place of the present one. What was due before stays as it was decided.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such schedule, or the spec is not valid.
    pub async fn update_schedule(
        &self,
        name: impl Into<String>,
        spec: ScheduleSpec,
    ) -> Result<Schedule, Error> {
        let request = UpdateScheduleRequest { name: name.into(), spec: Some(spec.into_message()?) };
        let answer =
            self.call(request, |to, request| async { schedules(to).update_schedule(request).await }).await?;
        complete("UpdateSchedule", answer.schedule)
    }

    /// Nothing is due until it is resumed.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such schedule.
    pub async fn pause_schedule(
        &self,
        name: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<Schedule, Error> {
        let (name, reason, by) = (name.into(), reason.into(), self.by.to_string());
        let request = PauseScheduleRequest { name, reason, by };
        let answer =
            self.call(request, |to, request| async { schedules(to).pause_schedule(request).await }).await?;
        complete("PauseSchedule", answer.schedule)
    }

    /// Goes on with the next due time.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such schedule.
    pub async fn resume_schedule(&self, name: impl Into<String>) -> Result<Schedule, Error> {
        let request = ResumeScheduleRequest { name: name.into() };
        let answer =
            self.call(request, |to, request| async { schedules(to).resume_schedule(request).await }).await?;
        complete("ResumeSchedule", answer.schedule)
    }

    /// Starts its task now, whatever runs; gives the task's id. `trigger_id` is the caller's own, part of that id: the
    /// same one again starts nothing. An empty one is made, so that a call that has to be sent again counts once.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such schedule, or its task is not accepted.
    pub async fn trigger_schedule(
        &self,
        name: impl Into<String>,
        trigger_id: impl Into<String>,
    ) -> Result<String, Error> {
        let mut request = TriggerScheduleRequest { name: name.into(), trigger_id: trigger_id.into() };
        if request.trigger_id.is_empty() {
            request.trigger_id = Uuid::now_v7().to_string();
        }
        let answer =
            self.call(request, |to, request| async { schedules(to).trigger_schedule(request).await }).await?;
        Ok(answer.task_id)
    }

    /// Starts a task for each due time from `from` to before `until`, at most 100; gives their ids. What has been filled
    /// in under the same `backfill_id` is not again.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such schedule, or the range is not in the past or too long.
    pub async fn backfill_schedule(
        &self,
        name: impl Into<String>,
        from: SystemTime,
        until: SystemTime,
        backfill_id: impl Into<String>,
    ) -> Result<Vec<String>, Error> {
        let request = BackfillScheduleRequest {
            name: name.into(),
            from_ms: millis(from),
            until_ms: millis(until),
            backfill_id: backfill_id.into(),
        };
        let answer = self
            .call(request, |to, request| async { schedules(to).backfill_schedule(request).await })
            .await?;
        Ok(answer.task_ids)
    }

    /// The next due times of a schedule, in milliseconds since 1970; none while it is paused.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such schedule.
    pub async fn preview_schedule(&self, name: impl Into<String>, count: u32) -> Result<Vec<i64>, Error> {
        self.preview(Of::Name(name.into()), count).await
    }

    /// The next due times of a schedule that does not exist yet, in milliseconds since 1970.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the timing is not valid.
    pub async fn preview_timing(&self, timing: Timing, count: u32) -> Result<Vec<i64>, Error> {
        self.preview(Of::Timing(timing.timing), count).await
    }

    async fn preview(&self, of: Of, count: u32) -> Result<Vec<i64>, Error> {
        let request = PreviewScheduleRequest { of: Some(of), count };
        let answer =
            self.call(request, |to, request| async { schedules(to).preview_schedule(request).await }).await?;
        Ok(answer.due_ms)
    }

    /// Deletes a schedule. Its tasks go on.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such schedule.
    pub async fn delete_schedule(&self, name: impl Into<String>) -> Result<(), Error> {
        let request = DeleteScheduleRequest { name: name.into() };
        self.call(request, |to, request| async { schedules(to).delete_schedule(request).await })
            .await
            .map(drop)
    }
}

fn complete(rpc: &'static str, schedule: Option<Schedule>) -> Result<Schedule, Error> {
    schedule.ok_or(Error::Incomplete { rpc, missing: "the schedule" })
}

fn schedules(to: Channel) -> ScheduleServiceClient<Channel> {
    ScheduleServiceClient::new(to).max_decoding_message_size(RESPONSE_BYTES_MAX)
}
