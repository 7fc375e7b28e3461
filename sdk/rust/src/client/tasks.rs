//! Submit, execute and read tasks. Following a task live is in `watch`.

use futures::{
    Stream, StreamExt, TryStreamExt,
    stream::{self, BoxStream},
};
use tonic::transport::Channel;

use crate::{
    Client, Error, EventStream, ExecuteTask, ListTasks, SubmitTask,
    client::RESPONSE_BYTES_MAX,
    proto::{
        CancelTaskRequest, ExecuteTaskResponse, GetOutputRequest, GetOutputResponse, GetTaskRequest,
        ListEventsRequest, ListEventsResponse, ListTasksResponse, PauseTaskRequest, Task, TaskStatus,
        TaskSummary, task_service_client::TaskServiceClient,
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
        self.get_task(task_id.into(), false).await
    }

    /// The task with all its subtasks, without inputs and outputs that may be large.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such task.
    pub async fn get_without_outputs(&self, task_id: impl Into<String>) -> Result<Task, Error> {
        self.get_task(task_id.into(), true).await
    }

    async fn get_task(&self, task_id: String, omit_outputs: bool) -> Result<Task, Error> {
        let request = GetTaskRequest { task_id, omit_outputs };
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
        let request = CancelTaskRequest { task_id: task_id.into(), reason: reason.into() };
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
fn flatten<T: Send + 'static>(
    pages: impl Stream<Item = Result<Vec<T>, Error>> + Send + 'static,
) -> BoxStream<'static, Result<T, Error>> {
    pages.map_ok(|page| stream::iter(page).map(Ok)).try_flatten().boxed()
}
