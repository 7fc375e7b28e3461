//! Doing it again: rerun, snapshots, restore, fork.

use std::sync::Arc;

use downbeat_core::{
    command::{Command, Done, Reply, Request, Rerun, Submit},
    context::{differing, keys_at},
    event::Event,
    id::{Index, TaskNo, TenantNo},
    note::{NoteKey, Snapshot, Snapshots},
    plan::Plan,
    task::{Task, TaskStatus},
};
use downbeat_store::PlanRecord;

use super::{Engine, Point, RerunRequest, unexpected};
use crate::{
    docs::Delivered,
    failure::Failure,
    past::{Fork, Past, Restoration},
    view::Submitted,
};

impl Engine {
    /// Runs subtasks and all that depends on them again; gives the status, and the new full ids.
    ///
    /// # Errors
    /// `NotFound`, `Reject` (`TaskNotStarted`, `SubtaskState`, `InputUnused`, `ApprovalRequired`, `TooManySubtasks`),
    /// `Unavailable`.
    pub async fn rerun(
        &self,
        tenant: TenantNo,
        id: &str,
        request: RerunRequest,
    ) -> Result<(TaskStatus, Vec<String>), Failure> {
        let RerunRequest { subtasks, inputs, by, reason } = request;
        let mut rerun = Rerun { by, reason, ..Rerun::default() };
        let (task, _) = self.find(tenant, id).await?;
        for name in &subtasks {
            rerun.from.insert(self.find_subtask(tenant, id, name).await?.1);
        }
        for (name, input) in inputs {
            let (_, index, record) = self.find_subtask(tenant, id, &name).await?;
            self.approved(&record, index, Some(&input), None)?;
            rerun.from.insert(index);
            rerun.inputs.insert(index, input);
        }
        self.run_again(task, rerun).await
    }

    async fn run_again(&self, task: TaskNo, rerun: Rerun) -> Result<(TaskStatus, Vec<String>), Failure> {
        match self.decide(Command::Rerun { task, rerun: Arc::new(rerun) }).await? {
            Reply::Rerun { status, subtasks } => Ok((status, self.ids(task, &subtasks).await?)),
            other => Err(unexpected(&other)),
        }
    }

    /// The full ids of subtasks.
    pub(super) async fn ids(&self, task: TaskNo, indexes: &[Index]) -> Result<Vec<String>, Failure> {
        let least = indexes.iter().max().map_or(0, |index| index + 1);
        let record = self.docs.record_of(&*self.store, task, least).await?;
        let plan = record.as_ref().map(|record| &record.plan);
        let id = |index: &Index| plan.and_then(|plan| plan.node(*index)).map(|node| node.id.clone());
        Ok(indexes.iter().filter_map(id).collect())
    }

    /// Names the present state of a task.
    ///
    /// # Errors
    /// `NotFound`, `Reject` (`SnapshotTaken`, `TooManySnapshots`), `Unavailable`.
    pub async fn snapshot(
        &self,
        tenant: TenantNo,
        id: &str,
        name: &str,
        by: String,
    ) -> Result<Snapshot, Failure> {
        let (task, _) = self.find(tenant, id).await?;
        self.decide(Command::Snapshot { task, name: name.to_owned(), by }).await?;
        self.find_snapshot(task, name).await
    }

    /// All snapshots of a task, oldest first.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn snapshots(&self, tenant: TenantNo, id: &str) -> Result<Vec<Snapshot>, Failure> {
        let (task, _) = self.find(tenant, id).await?;
        self.snapshots_of(task).await
    }

    async fn snapshots_of(&self, task: TaskNo) -> Result<Vec<Snapshot>, Failure> {
        let note = self.store.notes_at(task, &[NoteKey::Snapshots]).await?.pop();
        let Some((_, body)) = note else { return Ok(Vec::new()) };
        let Snapshots(kept) =
            serde_json::from_slice(&body).map_err(|error| Failure::Internal(error.to_string()))?;
        Ok(kept)
    }

    pub(super) async fn find_snapshot(&self, task: TaskNo, name: &str) -> Result<Snapshot, Failure> {
        let found = self.snapshots_of(task).await?.into_iter().find(|snapshot| snapshot.name == name);
        found.ok_or_else(|| Failure::NotFound { what: "snapshot", name: name.to_owned() })
    }

    /// Goes back to a snapshot, also with the shared context; gives the status, and the new full ids of what runs again or was restored.
    ///
    /// # Errors
    /// `NotFound`, `Invalid` where the task is in that state, `Reject`, `Unavailable`.
    pub async fn restore(
        &self,
        tenant: TenantNo,
        id: &str,
        snapshot: &str,
        by: String,
    ) -> Result<(TaskStatus, Vec<String>), Failure> {
        let (task, _) = self.find(tenant, id).await?;
        let event = self.find_snapshot(task, snapshot).await?.event;
        let (_, record, events) = self.whole_history(task).await?;
        let Restoration { from, restored, inputs_of } =
            Past::at(&record.plan, &events, event).restoration(&record.plan);
        let context = keys_at(&record.plan, &events, event);
        let unchanged = differing(&context, &keys_at(&record.plan, &events, u64::MAX)).is_empty();
        if from.is_empty() && unchanged {
            return Err(Failure::invalid(
                "snapshot",
                "nothing has changed since: there is nothing to restore",
            ));
        }
        let reason = format!("restored to `{snapshot}`");
        let rerun =
            Rerun { from, restored, inputs_of, context: Some(context), by, reason, ..Rerun::default() };
        self.run_again(task, rerun).await
    }

    /// A new task that goes on from a point of an old one's history.
    ///
    /// # Errors
    /// `NotFound`, `Reject(TaskConflict)` when the new id is taken by another request, `Unavailable`.
    pub async fn fork(
        &self,
        tenant: TenantNo,
        id: &str,
        new_id: &str,
        point: &Point,
        execute: bool,
    ) -> Result<Submitted, Failure> {
        let (task, _) = self.find(tenant, id).await?;
        let (head, record, events) = self.whole_history(task).await?;
        let event = match point {
            Point::Now => events.len() as u64,
            Point::Event(number) => *number,
            Point::Snapshot(name) => self.find_snapshot(task, name).await?.event,
        };
        let Fork { nodes, done } = Past::at(&record.plan, &events, event).fork(&record.plan);
        let old: Vec<Index> = done.values().copied().collect();
        let outputs = self.docs.outputs(&*self.store, task, &old).await?;
        let taken_over = |delivered: Option<Delivered>| {
            let Delivered { body, artifacts } = delivered.unwrap_or_default();
            Done { output: body, artifacts, from: id.to_owned() }
        };
        let done = done.into_keys().zip(outputs.into_iter().map(taken_over)).collect();
        let context = self.forked_context(task, &record.plan, &events, event).await?;
        let mut plan = Plan::default().with_context(downbeat_store::context(&record.request.metadata));
        plan.grow(new_id, nodes);
        let served = if execute { Some(self.served(&plan).await?) } else { None };
        let mut digest = blake3::Hasher::new_derive_key("downbeat 2026 fork 1");
        digest.update(&task.0.to_le_bytes()).update(&event.to_le_bytes()).update(new_id.as_bytes());
        let submit = Submit {
            tenant,
            id: new_id.to_owned(),
            digest: *digest.finalize().as_bytes(),
            priority: head.priority,
            deadline: None,
            due_at: head.due_at,
            // No subtask of another task, even where the old one is.
            request: Request { inside: None, ..record.request.clone() },
            plan: Arc::new(plan),
            served,
            done,
            context,
        };
        self.accept(submit, execute).await
    }

    /// A task's row, its plan, and all of its events.
    pub(super) async fn whole_history(
        &self,
        task: TaskNo,
    ) -> Result<(Task, Arc<PlanRecord>, Vec<Event>), Failure> {
        let unknown = || Failure::NotFound { what: "task", name: task.to_string() };
        let head = self.store.task(task).await?.ok_or_else(unknown)?;
        let events = self.all_events(task, head.task.events).await?;
        let record = self.docs.record_of(&*self.store, task, head.task.total).await?.ok_or_else(unknown)?;
        Ok((head.task, record, events))
    }
}
