//! What workers and clients were told, which must stay true for ever.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use downbeat_core::{
    command::Verdict,
    event::AttemptError,
    id::{Index, LeaseAt, LeaseId, TaskNo, TenantNo},
    subtask::{Outcome, SubtaskState},
    task::TaskStatus,
};
use downbeat_proto::v1::{self, result::Outcome as Result};
use downbeat_store::Store;

use super::{Known, look};
use crate::sim::worker::lease_at;

/// A result as a worker sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offer {
    Completed(Bytes),
    Failed(String),
    Suspended,
}

impl From<&Result> for Offer {
    fn from(result: &Result) -> Offer {
        match result {
            Result::Completed(completed) => Offer::Completed(completed.output.clone()),
            Result::Suspended(_) => Offer::Suspended,
            Result::Failed(failed) => {
                Offer::Failed(failed.error.as_ref().map(|error| error.code.clone()).unwrap_or_default())
            }
        }
    }
}

/// The account of promises.
#[derive(Debug, Default)]
pub struct Promises {
    pub(super) found: Vec<String>,
    /// What the holder of a lease sent under it.
    offers: BTreeMap<LeaseId, Vec<Offer>>,
    /// What was delivered and is durable.
    delivered: BTreeMap<(TaskNo, Index), Delivered>,
    /// Leases whose holder was told `Accepted`.
    accepted: BTreeSet<LeaseId>,
    /// Outputs that a person was about to give.
    by_hand: BTreeMap<(TaskNo, Index), Vec<Bytes>>,
    tasks: BTreeMap<(TenantNo, String), TaskNo>,
    cancelled: BTreeSet<TaskNo>,
    decided: BTreeMap<(TaskNo, Index), SubtaskState>,
}

#[derive(Clone, Debug)]
struct Delivered {
    lease: Option<LeaseId>,
    output: Option<Bytes>,
}

impl Promises {
    /// The holder of a lease sends a result under it.
    pub fn offer(&mut self, lease: LeaseId, offer: Offer) {
        self.offers.entry(lease).or_default().push(offer);
    }

    /// A result counts, says the database.
    pub(super) fn delivered(&mut self, task: TaskNo, index: Index, lease: LeaseId, output: Option<Bytes>) {
        let offered = Offer::Completed(output.clone().unwrap_or_default());
        if !self.offers.get(&lease).is_some_and(|offers| offers.contains(&offered)) {
            self.found.push(format!(
                "{task}/{index}: completed under lease {lease} with {output:?}; its holder sent {:?}",
                self.offers.get(&lease)
            ));
        }
        if let Some(before) = self.delivered.insert((task, index), Delivered { lease: Some(lease), output }) {
            self.found.push(format!("{task}/{index}: completed twice, first under {:?}", before.lease));
        }
    }

    /// A failure counts, says the database.
    pub(super) fn failed(&mut self, lease: LeaseId, error: Option<&AttemptError>) {
        let offered = Offer::Failed(error.map(|error| error.code.clone()).unwrap_or_default());
        if !self.offers.get(&lease).is_some_and(|offers| offers.contains(&offered)) {
            self.found.push(format!("lease {lease} failed with {offered:?}, which its holder never sent"));
        }
    }

    /// A person's output counts, says the database.
    pub(super) fn completed_by_hand(&mut self, task: TaskNo, index: Index, output: Option<Bytes>) {
        let body = output.clone().unwrap_or_default();
        if !self.by_hand.get(&(task, index)).is_some_and(|asked| asked.contains(&body)) {
            self.found
                .push(format!("{task}/{index}: completed by hand with {body:?}, which nobody asked for"));
        }
        if self.delivered.insert((task, index), Delivered { lease: None, output }).is_some() {
            self.found.push(format!("{task}/{index}: completed twice, the second time by hand"));
        }
    }

    /// A worker is told what became of its result. `own`: it held the lease once.
    pub fn told(&mut self, known: &Known<'_>, at: LeaseAt, offer: &Offer, own: bool, verdict: Verdict) {
        let LeaseAt { task, index, lease } = at;
        let mut say = |what: &str| {
            let state = known.subtask(task, index).map(|row| row.state.word());
            let text =
                format!("{task}/{index} is {state:?}; under lease {lease} it was told {verdict:?}: {what}");
            self.found.push(text);
        };
        if !own {
            if verdict == Verdict::Accepted {
                say("the lease is not its own");
            }
            return;
        }
        let outcome = known.ended(task, lease);
        match (verdict, offer) {
            (Verdict::Accepted | Verdict::Duplicate, Offer::Completed(_)) => {
                let row = known.subtask(task, index);
                let holds = row.is_some_and(|r| r.state == SubtaskState::Completed && r.lease == Some(lease));
                if !holds || outcome != Some(Outcome::Completed) {
                    say("it did not count");
                }
            }
            (Verdict::Accepted | Verdict::Duplicate, Offer::Failed(_)) => {
                if outcome != Some(Outcome::Failed) {
                    say("the failure did not count");
                }
            }
            (Verdict::Accepted | Verdict::Duplicate, Offer::Suspended) => {
                if outcome != Some(Outcome::Suspended) {
                    say("it was not given back");
                }
            }
            (Verdict::Stale, Offer::Completed(_)) => {
                if outcome == Some(Outcome::Completed) {
                    say("it did count");
                }
            }
            // What counted and was no end is stale once the subtask was handed out again.
            (Verdict::Stale, Offer::Failed(_) | Offer::Suspended) => {}
        }
        if verdict == Verdict::Accepted && !self.accepted.insert(lease) {
            self.found.push(format!("{task}/{index}: lease {lease} was accepted twice"));
        }
    }

    /// A worker is handed a brief.
    pub fn briefed(&mut self, known: &Known<'_>, brief: &v1::Brief) {
        let Some(LeaseAt { task, index, lease }) = brief.lease.as_ref().map(lease_at) else {
            self.found.push(format!("`{}` was handed out without a lease", brief.subtask_id));
            return;
        };
        let Some(node) = known.plan(task).and_then(|plan| plan.node(index)) else {
            self.found.push(format!("{task}/{index} was handed out, and no plan has it"));
            return;
        };
        if known.subtask(task, index).is_none_or(|row| row.lease < Some(lease)) {
            self.found.push(format!("{task}/{index} was handed out under lease {lease}, which nobody gave"));
        }
        if (&brief.subtask_id, &brief.key) != (&node.id, &node.key) {
            self.found.push(format!("{task}/{index} was handed out as `{}`", brief.subtask_id));
        }
        let got: Vec<&str> = brief.dependencies.iter().map(|dependency| &*dependency.subtask_id).collect();
        let plan = known.plan(task).into_iter();
        let nodes = plan.flat_map(|plan| node.depends_on.iter().filter_map(|index| plan.node(*index)));
        let expected: Vec<&str> = nodes.map(|node| &*node.id).collect();
        if got != expected {
            self.found.push(format!("{task}/{index} was handed {got:?}, and depends on {expected:?}"));
        }
        for (dependency, got) in node.depends_on.iter().zip(&brief.dependencies) {
            let delivered = self.delivered.get(&(task, *dependency));
            let state = known.subtask(task, *dependency).map(|row| row.state);
            let said = match got.state() {
                v1::SubtaskState::Completed => Some(SubtaskState::Completed),
                v1::SubtaskState::Skipped => Some(SubtaskState::Skipped),
                _ => None,
            };
            // Nothing may be kept as nothing, or not at all.
            let output = delivered.and_then(|delivered| delivered.output.clone()).unwrap_or_default();
            if said != state || got.output != output {
                self.found.push(format!(
                    "{task}/{index} was handed {got:?} of dependency {dependency}, which is {state:?} and \
                     delivered {delivered:?}",
                ));
            }
        }
    }

    /// A client is shown what a subtask delivered.
    pub fn shown(&mut self, task: TaskNo, index: Index, state: SubtaskState, body: &Bytes) {
        let delivered = self.delivered.get(&(task, index));
        let output = delivered.and_then(|delivered| delivered.output.clone()).unwrap_or_default();
        if state == SubtaskState::Completed && (delivered.is_none() || *body != output) {
            self.found.push(format!("{task}/{index} is shown with {body:?}; it delivered {delivered:?}"));
        }
    }

    /// A person is about to complete a subtask.
    pub fn completing(&mut self, task: TaskNo, index: Index, output: Bytes) {
        self.by_hand.entry((task, index)).or_default().push(output);
    }

    /// A client was told that its task exists.
    pub fn submitted(&mut self, tenant: TenantNo, id: &str, task: TaskNo) {
        let before = self.tasks.insert((tenant, id.to_owned()), task);
        if before.is_some_and(|before| before != task) {
            self.found.push(format!("task `{id}` was {before:?}, and is {task}"));
        }
    }

    /// A client was told that its task is cancelled.
    pub fn cancelled(&mut self, task: TaskNo) {
        self.cancelled.insert(task);
    }

    /// A client was told that a subtask ended this way.
    pub fn decided(&mut self, task: TaskNo, index: Index, state: SubtaskState) {
        if state.is_terminal() {
            let before = self.decided.insert((task, index), state);
            if before.is_some_and(|before| before != state) {
                self.found.push(format!("{task}/{index} was decided {before:?}, then {state:?}"));
            }
        }
    }

    /// Every promise once more, against the database.
    pub(super) fn close(&mut self, store: &dyn Store, known: &Known<'_>) {
        for ((tenant, id), task) in &self.tasks {
            match look(store.find_task(*tenant, id)) {
                Ok(Some(found)) if found == *task => {}
                found => self.found.push(format!("task `{id}` was accepted as {task}, and is {found:?}")),
            }
        }
        for task in &self.cancelled {
            if known.status(*task) != Some(TaskStatus::Cancelled) {
                self.found.push(format!("task {task} was cancelled, and is {:?}", known.status(*task)));
            }
        }
        for ((task, index), state) in &self.decided {
            let is = known.subtask(*task, *index).map(|row| row.state);
            if is != Some(*state) {
                self.found.push(format!("{task}/{index} was decided {state:?}, and is {is:?}"));
            }
        }
        for ((task, index), delivered) in &self.delivered {
            let stored =
                look(store.outputs(&[(*task, *index)])).map(|mut rows| rows.pop().map(|row| row.body));
            if stored.as_ref() != Ok(&delivered.output) {
                self.found
                    .push(format!("{task}/{index} delivered {:?}, and has {stored:?}", delivered.output));
            }
        }
    }
}
