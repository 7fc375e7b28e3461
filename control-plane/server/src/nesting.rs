//! Tasks within tasks: does what the core asks for. Each thing is done by one command that changes both tasks, so that
//! doing it twice is the same as once; what fails because something is away is asked for again by the rows.

use std::sync::Arc;

use downbeat_core::{
    check::Violation,
    command::Command,
    id::{Index, TaskId, TaskNo, TenantNo},
    limits,
    nested::{self, Begin, Nesting},
    reject::Reject,
};
use futures::StreamExt;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::{
    engine::{Engine, Start, Submission},
    failure::Failure,
    wire::workflow::run,
};

/// Waiting to be done; what finds no room is asked for again.
pub(crate) const ASKED_MAX: usize = 4_096;
/// Done at the same time: each waits for the commit of its command, and those share batches.
const AT_ONCE: usize = 64;

/// Does what is asked for. Runs until it is dropped.
pub(crate) async fn run(engine: Engine, mut asked: mpsc::Receiver<Nesting>) {
    let asked = futures::stream::poll_fn(move |cx| asked.poll_recv(cx));
    let engine = &engine;
    let each = |nesting: Nesting| async move {
        if let Err(error) = engine.nest(nesting).await {
            tracing::debug!(%error, "a task within a task has to wait");
        }
    };
    asked.for_each_concurrent(AT_ONCE, each).await;
}

impl Engine {
    async fn nest(&self, nesting: Nesting) -> Result<(), Failure> {
        match nesting {
            Nesting::Begin(begin) => self.begin_inner(*begin).await,
            Nesting::Pass { tenant, task, index, inner } => self.pass(tenant, task, index, &inner).await,
            Nesting::Tell { inner } => self.join(inner).await,
        }
    }

    /// Submits an inner task, or says why there can be none.
    async fn begin_inner(&self, begin: Begin) -> Result<(), Failure> {
        let (task, index, attempt) = (begin.inside.task, begin.inside.index, begin.inside.attempt);
        let (code, reason) = match self.submit_inner(begin).await {
            Ok(()) | Err(Failure::Reject(Reject::NotAwaited)) => return Ok(()),
            Err(error @ (Failure::Unavailable { .. } | Failure::Reject(Reject::BatchFull))) => {
                return Err(error);
            }
            Err(Failure::NotFound { what, name }) => ("WORKFLOW_UNKNOWN", format!("no {what} `{name}`")),
            Err(Failure::Invalid(problems)) => ("INVALID_PARAMETERS", all(&problems)),
            Err(Failure::Reject(reject)) => (reject.code(), reject.to_string()),
            Err(Failure::Conflict { code, message }) => (code, message),
            Err(Failure::Internal(message)) => ("INTERNAL", message),
        };
        self.decide(Command::Refuse { task, index, attempt, code: code.into(), reason }).await?;
        Ok(())
    }

    async fn submit_inner(&self, begin: Begin) -> Result<(), Failure> {
        let Begin { tenant, id, inside, call, parameters, priority, deadline } = begin;
        let unknown = || Failure::NotFound { what: "task", name: inside.task_id.clone() };
        let outer = self.docs.record(&*self.store, inside.task).await?.ok_or_else(unknown)?;
        let asked = run::asked(Start {
            tenant,
            workflow: call.name,
            version: call.version,
            task_id: id,
            title: String::new(),
            parameters: raw(&parameters)?,
            metadata: raw(&run::without_params(&outer.request.metadata))?,
            priority,
            deadline,
            execute: true,
        })?;
        let stored = self.stored(tenant, &asked.start.workflow, asked.start.version).await?;
        let mut digest = blake3::Hasher::new_derive_key("downbeat 2026 inner task 1");
        digest.update(&inside.task.0.to_le_bytes());
        digest.update(&inside.index.to_le_bytes());
        digest.update(&inside.attempt.to_le_bytes());
        // Not of what is asked: another try finds the task, whatever version there is by then.
        let asked = asked.known_by(*digest.finalize().as_bytes());
        let submission =
            Submission { inside: Some(Arc::new(inside)), ..run::submission(asked, &stored.version)? };
        let submit = self.prepare(submission).await?;
        self.decide(Command::Submit(Arc::new(submit))).await?;
        Ok(())
    }

    /// Has an inner task follow the subtask that it is.
    async fn pass(
        &self,
        tenant: TenantNo,
        task: TaskNo,
        index: Index,
        inner: &TaskId,
    ) -> Result<(), Failure> {
        let (inner, record) = self.find(tenant, inner).await?;
        let served = self.served(&record.plan).await?;
        self.decide(Command::Pass { task, index, inner, served }).await?;
        Ok(())
    }

    /// Tells a subtask that the task that it is has ended.
    async fn join(&self, inner: TaskNo) -> Result<(), Failure> {
        let unknown = || Failure::NotFound { what: "task", name: inner.to_string() };
        let head = self.store.task(inner).await?.ok_or_else(unknown)?;
        let record = self.docs.record_of(&*self.store, inner, head.task.total).await?.ok_or_else(unknown)?;
        let Some(inside) = record.request.inside.as_ref().filter(|_| head.task.status.is_terminal()) else {
            return Ok(());
        };
        let outputs = self.store.outputs_of(inner).await?;
        let outputs = outputs.into_iter().map(|output| (output.index, output.body)).collect();
        let result = nested::result(&record.plan, &head.subtasks, &outputs);
        self.decide(Command::Join { task: inside.task, index: inside.index, inner, result }).await?;
        Ok(())
    }
}

/// What was kept as JSON text; nothing where it is empty.
fn raw(json: &[u8]) -> Result<Option<Box<RawValue>>, Failure> {
    if json.is_empty() {
        return Ok(None);
    }
    serde_json::from_slice(json).map(Some).map_err(|error| Failure::Internal(error.to_string()))
}

/// Every problem, as long as there is room.
fn all(problems: &[Violation]) -> String {
    let lines: Vec<String> =
        problems.iter().map(|Violation { field, issue, .. }| format!("{field}: {issue}")).collect();
    let mut text = lines.join("; ");
    text.truncate(text.floor_char_boundary(limits::MESSAGE_BYTES));
    text
}
