//! Following one task live. A broken stream is taken up again at the last number seen, so that the caller sees
//! every event once and in order, whatever happens to connections and replicas.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff};
use futures::{StreamExt, stream, stream::BoxStream};
use tokio::time::timeout;
use tonic::{Request, Streaming};

use super::tasks::tasks;
use crate::{
    Client, Error,
    client::delay_before_retry,
    proto::{Event, Task, TaskStatus, WatchTaskRequest, WatchTaskResponse},
};

/// The events of one task. Ends after the final event, or after an error.
pub type EventStream = BoxStream<'static, Result<Event, Error>>;

/// How often in a row the stream is opened again without a new event before the watch gives up: a few minutes
/// with the default delays, longer than any restart.
const RESUMES_MAX: usize = 50;
/// After the event that ended a task the control plane closes the stream at once, unless the task went on since:
/// subtasks ran again. Where it does neither, nobody waits for longer.
const FINAL_WAIT: Duration = Duration::from_secs(1);

impl Client {
    /// The events of a task numbered above `after` (0: from the first), those so far and then live, until the
    /// task has ended. Resumes by itself. Of a task that had ended before, and in which subtasks ran again since, the
    /// events of both are told.
    ///
    /// An error is the last item: [`Error::Rejected`] when there is no such task, [`Error::Unavailable`] when
    /// the control plane stays away for minutes (or, before it ever answered, for the usual retries).
    ///
    /// ```no_run
    /// # async fn example(client: downbeat_sdk::Client) -> Result<(), downbeat_sdk::Error> {
    /// use futures::TryStreamExt;
    ///
    /// let mut events = client.watch("release-42", 0);
    /// while let Some(event) = events.try_next().await? {
    ///     println!("{} {} {}", event.number, event.kind, event.key);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, task_id: impl Into<String>, after: u64) -> EventStream {
        let watch = Watch {
            client: self.clone(),
            task_id: task_id.into(),
            after,
            delays: self.shared.retry.delays(self.shared.retry.attempts.saturating_sub(1)).build(),
            link: Link::New,
        };
        stream::unfold(watch, |mut watch| async { watch.next().await.map(|item| (item, watch)) }).boxed()
    }

    /// Waits until the task has ended and returns it with its outputs. There is no deadline: wrap it in
    /// `tokio::time::timeout` where one is needed.
    ///
    /// # Errors
    /// As [`Client::watch`].
    pub async fn wait(&self, task_id: impl Into<String>) -> Result<Task, Error> {
        let task_id = task_id.into();
        let task = self.get_without_outputs(&task_id).await?;
        if !is_final(task.status()) {
            let mut events = self.watch(&task_id, task.last_event);
            while let Some(event) = events.next().await {
                event?;
            }
        }
        self.get(task_id).await
    }
}

/// Whether a task in this status has ended. It goes on only where somebody runs a part of it again
/// ([`Client::rerun`]).
pub fn is_final(status: TaskStatus) -> bool {
    matches!(status, TaskStatus::Completed | TaskStatus::Failed | TaskStatus::Cancelled)
}

struct Watch {
    client: Client,
    task_id: String,
    /// The number of the last event handed out.
    after: u64,
    /// What is left of the delays; renewed by every event.
    delays: ExponentialBackoff,
    link: Link,
}

enum Link {
    /// Never opened: a failure is final after the usual retries.
    New,
    Open {
        /// The peer it goes to.
        at: usize,
        stream: Box<Streaming<WatchTaskResponse>>,
        /// The last event that was handed out ended the task.
        ended: bool,
    },
    Broken,
    /// The last item was handed out.
    Ended,
}

impl Watch {
    /// The next item, or `None` after the last.
    async fn next(&mut self) -> Option<Result<Event, Error>> {
        while !matches!(self.link, Link::Ended) {
            match self.advance().await {
                Ok(Some(event)) => {
                    self.after = event.number;
                    self.delays = self.patience();
                    if let Link::Open { ended, .. } = &mut self.link {
                        *ended = is_final(event.task_status());
                    }
                    return Some(Ok(event));
                }
                Ok(None) => {}
                Err(error) => {
                    let delay = if error.is_retryable() { self.delays.next() } else { None };
                    let Some(delay) = delay_before_retry(&error, delay) else {
                        self.link = Link::Ended;
                        return Some(Err(error));
                    };
                    if !matches!(self.link, Link::New) {
                        self.link = Link::Broken;
                    }
                    let Self { task_id, after, .. } = self;
                    tracing::debug!(task_id, after, %error, ?delay, "watch broke, resuming");
                    tokio::time::sleep(delay).await;
                }
            }
        }
        None
    }

    /// One step: opens the stream, or takes one message from it. `None`: nothing to hand out, step again.
    async fn advance(&mut self) -> Result<Option<Event>, Error> {
        match &mut self.link {
            Link::Ended => Ok(None),
            Link::Open { stream, ended: true, .. } => {
                let next = timeout(FINAL_WAIT, stream.message()).await;
                if let Ok(Ok(Some(message))) = next {
                    return Ok(message.event.filter(|event| event.number > self.after));
                }
                self.link = Link::Ended;
                Ok(None)
            }
            Link::New => {
                self.link = self.open().await?;
                self.delays = self.patience();
                Ok(None)
            }
            Link::Broken => {
                self.link = self.open().await?;
                Ok(None)
            }
            Link::Open { at, stream, ended: false } => match stream.message().await {
                // An event seen before is no news, should the server send one.
                Ok(Some(message)) => Ok(message.event.filter(|event| event.number > self.after)),
                Ok(None) => {
                    self.link = self.after_end().await?;
                    Ok(None)
                }
                Err(status) => {
                    let at = *at;
                    Err(self.client.failed(at, &status))
                }
            },
        }
    }

    async fn open(&self) -> Result<Link, Error> {
        let (at, peer) = self.client.preferred();
        let deadline = self.client.shared.deadline;
        let request = Request::new(WatchTaskRequest { task_id: self.task_id.clone(), after: self.after });
        let mut to = tasks(peer.channel.clone());
        // Not `set_timeout`: the server would end the whole stream by it.
        match timeout(deadline, to.watch_task(request)).await {
            Ok(Ok(answer)) => Ok(Link::Open { at, stream: Box::new(answer.into_inner()), ended: false }),
            Ok(Err(status)) => Err(self.client.failed(at, &status)),
            Err(_) => Err(Error::DeadlineExceeded { addr: peer.addr.clone(), after: deadline }),
        }
    }

    /// A stream that ends in order and without the final event was either opened behind that event, or its
    /// replica is going away.
    async fn after_end(&self) -> Result<Link, Error> {
        let task = self.client.get_without_outputs(&self.task_id).await?;
        if is_final(task.status()) && task.last_event <= self.after {
            return Ok(Link::Ended);
        }
        let addr = self.client.preferred().1.addr.clone();
        Err(Error::Unavailable { addr, problem: "the stream ended before the task did".to_owned() })
    }

    fn patience(&self) -> ExponentialBackoff {
        self.client.shared.retry.delays(RESUMES_MAX).build()
    }
}
