//! Submit, execute, signal, rerun and read tasks. Following a task live is in `watch`.

use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use tonic::transport::Channel;
use uuid::Uuid;

use crate::{
    Client, Error, EventStream, ExecuteTask, ForkTask, ListTasks, Plan, RerunTask, Retry, SignalTask,
    SubmitTask,
    client::RESPONSE_BYTES_MAX,
    proto::{
        CancelTaskRequest, ExecuteTaskResponse, GetOutputRequest, GetOutputResponse, GetTaskRequest,
        LintPlanRequest, LintPlanResponse, ListEventsRequest, ListEventsResponse, ListSnapshotsRequest,
        ListTasksResponse, PauseTaskRequest, RerunTaskResponse, RestoreTaskRequest, RestoreTaskResponse,
        Snapshot, SnapshotTaskRequest, Task, TaskStatus, TaskSummary, task_service_client::TaskServiceClient,
    },
};

/// The answer to a submitted task.
#[derive(Debug, Clone, PartialEq)]
pub struct Submitted {
    /// The task as it is now.
    pub task: Task,
    /// Whether the very same task had been submitted before.
    pub existed: bool,
}

impl Client {
    /// Submits a task. The same task again answers with the present one (`existed`).
    ///
    /// # Errors
    /// [`Error::InvalidJson`] or [`Error::TooLarge`] before anything is sent; [`Error::Rejected`] when the plan is
    /// not valid, or when the id is taken by another task (`TASK_CONFLICT`).
    pub async fn submit(&self, task: impl Into<SubmitTask>) -> Result<Submitted, Error> {
        let request = task.into().into_request()?;
        let answer = self.call(request, |to, request| async { tasks(to).submit_task(request).await }).await?;
        let task = answer.task.ok_or(Error::Incomplete { rpc: "SubmitTask", missing: "the task" })?;
        Ok(Submitted { task, existed: answer.existed })
    }

    /// Starts a planned task, resumes a paused one, or lets held subtasks go on. A task id will do as argument.
    ///
    /// # Errors
    /// [`Error::Rejected`], for example when the task has ended.
    pub async fn execute(&self, execution: impl Into<ExecuteTask>) -> Result<ExecuteTaskResponse, Error> {
        let request = execution.into().request;
        self.call(request, |to, request| async { tasks(to).execute_task(request).await }).await
    }

    /// The task with all its subtasks and their outputs.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such task.
    pub async fn get(&self, task_id: impl Into<String>) -> Result<Task, Error> {
        self.get_task(GetTaskRequest { task_id: task_id.into(), ..Default::default() }).await
    }

    /// The task with all its subtasks, without inputs and outputs that may be large.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such task.
    pub async fn get_without_outputs(&self, task_id: impl Into<String>) -> Result<Task, Error> {
        let request = GetTaskRequest { task_id: task_id.into(), omit_outputs: true, ..Default::default() };
        self.get_task(request).await
    }

    /// The task with all its subtasks and their outputs, those included that ran again since, and what belonged to
    /// them.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such task.
    pub async fn get_with_replaced(&self, task_id: impl Into<String>) -> Result<Task, Error> {
        let request = GetTaskRequest { task_id: task_id.into(), replaced: true, ..Default::default() };
        self.get_task(request).await
    }

    async fn get_task(&self, request: GetTaskRequest) -> Result<Task, Error> {
        let answer = self.call(request, |to, request| async { tasks(to).get_task(request).await }).await?;
        answer.task.ok_or(Error::Incomplete { rpc: "GetTask", missing: "the task" })
    }

    /// One page of tasks, newest first.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the page token is not valid.
    pub async fn list(&self, filter: ListTasks) -> Result<ListTasksResponse, Error> {
        self.call(filter.request, |to, request| async { tasks(to).list_tasks(request).await }).await
    }

    /// All tasks, newest first, fetched page by page as they are taken. Ends after an error.
    pub fn list_all(&self, filter: ListTasks) -> BoxStream<'static, Result<TaskSummary, Error>> {
        let client = self.clone();
        let pages = stream::try_unfold(Some(filter), move |filter| {
            let client = client.clone();
            async move {
                let Some(filter) = filter else { return Ok(None) };
                let page = client.list(filter.clone()).await?;
                let token = page.next_page_token;
                let next = if token.is_empty() { None } else { Some(filter.page_token(token)) };
                Ok(Some((page.tasks, next)))
            }
        });
        flatten(pages)
    }

    /// Cancels a task for good: what is unfinished becomes `cancelled`, workers are told to stop.
    ///
    /// # Errors
    /// [`Error::Rejected`], for example when the task has ended otherwise.
    pub async fn cancel(
        &self,
        task_id: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<TaskStatus, Error> {
        self.end(task_id.into(), reason.into(), false).await
    }

    /// As [`Client::cancel`], once what was completed and says how is undone: until then the task is
    /// [`Running`](TaskStatus::Running), or waits for people. Gives the status.
    ///
    /// # Errors
    /// As [`Client::cancel`].
    pub async fn cancel_compensating(
        &self,
        task_id: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<TaskStatus, Error> {
        self.end(task_id.into(), reason.into(), true).await
    }

    async fn end(&self, task_id: String, reason: String, compensate: bool) -> Result<TaskStatus, Error> {
        let request = CancelTaskRequest { task_id, reason, compensate };
        let answer = self.call(request, |to, request| async { tasks(to).cancel_task(request).await }).await?;
        Ok(answer.status())
    }

    /// Pauses a task: nothing new is leased, what runs may finish. [`Client::execute`] resumes it.
    ///
    /// # Errors
    /// [`Error::Rejected`], for example when the task has ended.
    pub async fn pause(&self, task_id: impl Into<String>) -> Result<TaskStatus, Error> {
        let request = PauseTaskRequest { task_id: task_id.into() };
        let answer = self.call(request, |to, request| async { tasks(to).pause_task(request).await }).await?;
        Ok(answer.status())
    }

    /// Tells a task that something happened. Answers with whether a subtask waited for it; otherwise the signal is kept.
    ///
    /// A signal without an id is given one, so that a call that has to be sent again counts once.
    ///
    /// ```no_run
    /// use downbeat_sdk::SignalTask;
    /// use serde_json::json;
    ///
    /// # async fn example(client: downbeat_sdk::Client) -> Result<(), downbeat_sdk::Error> {
    /// client.signal(SignalTask::new("order-7", "paid").payload(&json!({"amount": 100}))).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidJson`] before anything is sent; [`Error::Rejected`] when the task has ended
    /// (`TASK_FINISHED`), or too many signals wait already that nobody has taken (`TOO_MANY_SIGNALS`).
    pub async fn signal(&self, signal: SignalTask) -> Result<bool, Error> {
        let mut request = signal.into_request()?;
        request.by = self.or_by(request.by);
        if request.signal_id.is_empty() {
            request.signal_id = Uuid::now_v7().to_string();
        }
        let answer = self.call(request, |to, request| async { tasks(to).signal_task(request).await }).await?;
        Ok(answer.taken)
    }

    /// Runs subtasks again, and all that depends on them, also of a task that has ended. What others delivered is used
    /// again.
    ///
    /// It is sent once, whatever the client's [`Retry`]: a second time, they would run again twice. After an error
    /// other than [`Error::Rejected`], look at the task first.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] before anything is sent; [`Error::Rejected`], for example when a subtask belongs to a
    /// group that has ended (`SUBTASK_STATE`).
    pub async fn rerun(&self, rerun: RerunTask) -> Result<RerunTaskResponse, Error> {
        let mut request = rerun.into_request()?;
        request.by = self.or_by(request.by);
        let send = |to, request| async { tasks(to).rerun_task(request).await };
        self.call_with(&Retry::none(), request, send).await
    }

    /// Names the present state of a task, to come back to it; at most 100 bytes, unique among the task's.
    ///
    /// # Errors
    /// [`Error::Rejected`], for example when there is no such task.
    pub async fn snapshot(
        &self,
        task_id: impl Into<String>,
        name: impl Into<String>,
    ) -> Result<Snapshot, Error> {
        let request =
            SnapshotTaskRequest { task_id: task_id.into(), name: name.into(), by: self.by.to_string() };
        let answer =
            self.call(request, |to, request| async { tasks(to).snapshot_task(request).await }).await?;
        answer.snapshot.ok_or(Error::Incomplete { rpc: "SnapshotTask", missing: "the snapshot" })
    }

    /// The snapshots of a task, oldest first; one is taken before each approval, too.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such task.
    pub async fn snapshots(&self, task_id: impl Into<String>) -> Result<Vec<Snapshot>, Error> {
        let request = ListSnapshotsRequest { task_id: task_id.into() };
        let answer =
            self.call(request, |to, request| async { tasks(to).list_snapshots(request).await }).await?;
        Ok(answer.snapshots)
    }

    /// Goes back to a snapshot: what was completed then keeps its output, all else runs again. Sent once, as
    /// [`Client::rerun`].
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such task or snapshot.
    pub async fn restore(
        &self,
        task_id: impl Into<String>,
        snapshot: impl Into<String>,
    ) -> Result<RestoreTaskResponse, Error> {
        let request = RestoreTaskRequest {
            task_id: task_id.into(),
            snapshot: snapshot.into(),
            by: self.by.to_string(),
        };
        let send = |to, request| async { tasks(to).restore_task(request).await };
        self.call_with(&Retry::none(), request, send).await
    }

    /// Makes a new task from any point of an old one's history. The same fork again answers with the present one
    /// (`existed`).
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such task, event or snapshot, or when the new id is taken.
    pub async fn fork(&self, fork: ForkTask) -> Result<Submitted, Error> {
        let answer =
            self.call(fork.request, |to, request| async { tasks(to).fork_task(request).await }).await?;
        let task = answer.task.ok_or(Error::Incomplete { rpc: "ForkTask", missing: "the task" })?;
        Ok(Submitted { task, existed: answer.existed })
    }

    /// What is wrong with a plan (`errors`), and what looks like a mistake (`warnings`). Nothing is submitted.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] or [`Error::TooLarge`] before anything is sent.
    pub async fn lint(&self, plan: Plan) -> Result<LintPlanResponse, Error> {
        let request = LintPlanRequest { plan: Some(plan.into_message()?) };
        self.call(request, |to, request| async { tasks(to).lint_plan(request).await }).await
    }

    /// One page of the events numbered above `after`; `page_size` 0 means 200, and 1,000 is the most. The
    /// `next_after` of the answer is the `after` of the next page, and 0 at the end.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such task.
    pub async fn events(
        &self,
        task_id: impl Into<String>,
        after: u64,
        page_size: u32,
    ) -> Result<ListEventsResponse, Error> {
        let request = ListEventsRequest { task_id: task_id.into(), after, page_size };
        self.call(request, |to, request| async { tasks(to).list_events(request).await }).await
    }

    /// All events so far that are numbered above `after`, fetched page by page as they are taken. Ends after
    /// an error.
    pub fn events_all(&self, task_id: impl Into<String>, after: u64) -> EventStream {
        let (client, task_id) = (self.clone(), task_id.into());
        let pages = stream::try_unfold(Some(after), move |after| {
            let (client, task_id) = (client.clone(), task_id.clone());
            async move {
                let Some(after) = after else { return Ok(None) };
                let page = client.events(task_id, after, 0).await?;
                let next = if page.next_after == 0 { None } else { Some(page.next_after) };
                Ok(Some((page.events, next)))
            }
        });
        flatten(pages)
    }

    /// The whole output of a finished subtask, named by id or key, and its artifacts. An empty output means
    /// `null`.
    ///
    /// # Errors
    /// [`Error::Rejected`] when the subtask does not exist or has no output yet.
    pub async fn output(
        &self,
        task_id: impl Into<String>,
        subtask: impl Into<String>,
    ) -> Result<GetOutputResponse, Error> {
        let request = GetOutputRequest { task_id: task_id.into(), subtask_id: subtask.into() };
        self.call(request, |to, request| async { tasks(to).get_output(request).await }).await
    }
}

/// The generated client of the task service, with our limits.
pub(super) fn tasks(to: Channel) -> TaskServiceClient<Channel> {
    TaskServiceClient::new(to).max_decoding_message_size(RESPONSE_BYTES_MAX)
}

/// The items of all pages, one after the other.
pub(super) fn flatten<T: Send + 'static>(
    pages: impl Stream<Item = Result<Vec<T>, Error>> + Send + 'static,
) -> BoxStream<'static, Result<T, Error>> {
    pages.map_ok(|page| stream::iter(page).map(Ok)).try_flatten().boxed()
}
