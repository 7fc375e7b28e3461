//! What workers and clients were told, which must stay true for ever.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use downbeat_core::{
    command::Verdict,
    draft::{Does, Then},
    event::AttemptError,
    id::{Index, LeaseAt, LeaseId, TaskNo, TenantNo},
    plan::Plan,
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
    /// Signals that were sent, and those that a gate has taken.
    signals: BTreeSet<(TaskNo, Bytes)>,
    taken: BTreeMap<(TaskNo, Bytes), Index>,
    /// Votes that were given on what was shown; and those that count, by person.
    votes: BTreeSet<(TaskNo, Index, String, String)>,
    counted: BTreeMap<(TaskNo, Index), BTreeMap<String, String>>,
    /// Children that the holder of a lease sent, by parent and key.
    spawned: BTreeSet<(TaskNo, Index, String)>,
    /// Full ids of children whose worker was told that they are there, with their parents and keys.
    children: BTreeMap<(TaskNo, Index, String), String>,
    tasks: BTreeMap<(TenantNo, String), TaskNo>,
    cancelled: BTreeSet<TaskNo>,
    /// Tasks of which something was to run again: their end may be taken back.
    repeated: BTreeSet<TaskNo>,
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

    /// A result counts, says the database. `over`: so the subtask is completed; else its children come first.
    pub(super) fn delivered(
        &mut self,
        task: TaskNo,
        index: Index,
        lease: LeaseId,
        output: Option<Bytes>,
        over: bool,
    ) {
        let offered = Offer::Completed(output.clone().unwrap_or_default());
        if !self.offers.get(&lease).is_some_and(|offers| offers.contains(&offered)) {
            self.found.push(format!(
                "{task}/{index}: completed under lease {lease} with {output:?}; its holder sent {:?}",
                self.offers.get(&lease)
            ));
        }
        if over {
            self.complete(task, index, Some(lease), output);
        }
    }

    fn complete(&mut self, task: TaskNo, index: Index, lease: Option<LeaseId>, output: Option<Bytes>) {
        if let Some(before) = self.delivered.insert((task, index), Delivered { lease, output }) {
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

    /// It was completed without a worker, says the database: by a person, or because of what it does.
    pub(super) fn completed(
        &mut self,
        plan: &Plan,
        (task, index): (TaskNo, Index),
        output: Option<Bytes>,
        code: &str,
        inner: Option<(TaskNo, &Plan)>,
    ) {
        let body = output.clone().unwrap_or_default();
        let by_hand = self.by_hand.get(&(task, index)).is_some_and(|asked| asked.contains(&body));
        let of_inner = code == "TASK_COMPLETED"
            && inner.is_some_and(|(no, plan)| self.result(no, plan).as_bytes() == &body[..]);
        if !by_hand
            && !of_inner
            && let Err(why) = self.check_completed(plan, task, index, &body, code)
        {
            self.found.push(format!("{task}/{index}: completed with {body:?}: {why}"));
        }
        self.complete(task, index, None, output);
    }

    fn check_completed(
        &mut self,
        plan: &Plan,
        task: TaskNo,
        index: Index,
        body: &Bytes,
        code: &str,
    ) -> std::result::Result<(), String> {
        let node = plan.node(index).ok_or("no plan has it")?;
        if code == "RESTORED" {
            let before = std::iter::successors(node.replaces, |at| plan.node(*at)?.replaces);
            let mut outputs = before.filter_map(|at| self.delivered.get(&(task, at)));
            let known = outputs.any(|old| old.output.clone().unwrap_or_default() == *body);
            return known.then_some(()).ok_or("nothing before it delivered that".into());
        }
        if code == "TAKEN_OVER" {
            let mut known = self.delivered.iter().filter(|((of, _), _)| *of < task).map(|(_, old)| old);
            let known = known.any(|old| old.output.clone().unwrap_or_default() == *body);
            return known.then_some(()).ok_or("no task before it delivered that".into());
        }
        let parts =
            || plan.children(index).map(|child| (plan.local_key(child).to_owned(), self.text(task, child)));
        let expected = match &node.does {
            Does::Work => return Err("nobody asked for it".into()),
            Does::Timer(_) => String::new(),
            Does::Workflow(_) => return Err("no task within it delivered that".into()),
            Does::Signal(_) => {
                if !self.signals.contains(&(task, body.clone())) {
                    return Err("nobody sent such a signal".into());
                }
                let first = self.taken.insert((task, body.clone()), index);
                return first.map_or(Ok(()), |first| Err(format!("{first} took that signal before")));
            }
            Does::Approval(approval) => {
                let expired = code == "EXPIRED";
                let chosen: serde_json::Value = serde_json::from_slice(body).map_err(|e| e.to_string())?;
                let option = chosen["option"].as_str().unwrap_or_default();
                let counted = self.counted.get(&(task, index)).into_iter().flatten();
                let votes = counted.filter(|(_, chosen)| *chosen == option).count();
                let completes =
                    approval.options.iter().any(|known| known.name == option && known.then == Then::Complete);
                let enough = expired || votes >= approval.quorum as usize;
                return (completes && enough).then_some(()).ok_or(format!("{votes} votes for `{option}`"));
            }
            Does::Group(_) | Does::Round => {
                let parts: Vec<String> = parts().map(|(key, body)| format!("\"{key}\":{body}")).collect();
                format!("{{{}}}", parts.join(","))
            }
            Does::Map(_) => {
                let by_place: BTreeMap<Option<u32>, String> = plan
                    .children(index)
                    .map(|child| (plan.node(child).and_then(|node| node.nth), self.text(task, child)))
                    .collect();
                format!("[{}]", by_place.into_values().collect::<Vec<_>>().join(","))
            }
            Does::Loop(_) => {
                let round = plan.children(index).next_back();
                let last = round.and_then(|round| self.delivered.get(&(task, round)));
                let output = last.and_then(|delivered| delivered.output.as_deref());
                output.map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default()
            }
        };
        (expected.as_bytes() == body).then_some(()).ok_or(format!("its parts make {expected}"))
    }

    /// What a whole task delivered, as it stands in the output of the subtask that it is.
    fn result(&self, task: TaskNo, plan: &Plan) -> String {
        let top = (0..).zip(plan.nodes()).filter(|(index, node)| {
            node.parent.is_none() && node.compensates.is_none() && !plan.is_replaced(*index)
        });
        let parts: Vec<String> =
            top.map(|(index, node)| format!("\"{}\":{}", node.key, self.text(task, index))).collect();
        format!("{{{}}}", parts.join(","))
    }

    /// What it delivered, as it stands in the output of its group.
    fn text(&self, task: TaskNo, index: Index) -> String {
        let output = self.delivered.get(&(task, index)).and_then(|delivered| delivered.output.as_ref());
        let text = output.map(|body| String::from_utf8_lossy(body).into_owned()).unwrap_or_default();
        if text.is_empty() { "null".to_owned() } else { text }
    }

    /// A vote counts, says the database.
    pub(super) fn voted(&mut self, task: TaskNo, index: Index, by: &str, option: &str) {
        if !self.votes.contains(&(task, index, by.to_owned(), option.to_owned())) {
            self.found.push(format!("{task}/{index}: `{by}` never chose `{option}` on what was shown"));
        }
        self.counted.entry((task, index)).or_default().insert(by.to_owned(), option.to_owned());
    }

    /// A person is about to vote. `shown`: on what the approval is about.
    pub fn voting(&mut self, task: TaskNo, index: Index, (by, option): (String, String), shown: bool) {
        if shown {
            self.votes.insert((task, index, by, option));
        }
    }

    /// The holder of a lease adds children.
    pub fn spawning(&mut self, at: LeaseAt, children: &[v1::PlannedSubtask]) {
        let keys = children.iter().map(|child| (at.task, at.index, child.key.clone()));
        self.spawned.extend(keys);
    }

    /// A worker is told what became of the children that it sent.
    pub fn spawned(&mut self, known: &Known<'_>, at: LeaseAt, ack: &v1::SpawnAck) {
        let LeaseAt { task, index, lease } = at;
        let Some(plan) = known.plan(task) else { return };
        if ack.verdict() == v1::result_ack::Verdict::Stale
            && known.subtask(task, index).is_some_and(|row| row.lease == Some(lease) && row.session.is_some())
        {
            self.found.push(format!("{task}/{index}: children under the current lease {lease} are stale"));
        }
        for id in &ack.subtask_ids {
            let place = plan.find(id).filter(|child| plan.node(*child).is_some_and(|node| node.id == *id));
            let Some(child) =
                place.filter(|child| plan.node(*child).and_then(|node| node.parent) == Some(index))
            else {
                self.found.push(format!("{task}/{index}: it was told of a child `{id}`, which no plan has"));
                continue;
            };
            let key = plan.local_key(child).to_owned();
            let before = self.children.insert((task, index, key), id.clone());
            if before.as_ref().is_some_and(|before| before != id) {
                self.found.push(format!("{task}/{index}: a child was {before:?}, and is `{id}`"));
            }
        }
    }

    /// Nodes were added to a plan, says the database: those that belong to a worker's subtask were sent by a worker,
    /// once each.
    pub(super) fn grown(&mut self, task: TaskNo, plan: &Plan, from: Index) {
        for index in from..plan.len() {
            let Some((node, parent)) = plan.node(index).and_then(|node| Some((node, node.parent?))) else {
                continue;
            };
            if !plan.node(parent).is_some_and(|parent| parent.does.is_work()) {
                continue;
            }
            let key = plan.local_key(index).to_owned();
            let twins =
                plan.nodes().iter().filter(|twin| twin.parent == Some(parent) && twin.key == node.key);
            if twins.count() > 1 {
                self.found.push(format!("{task}/{parent} has the child `{key}` twice"));
            }
            if !self.spawned.contains(&(task, parent, key)) {
                self.found.push(format!("{task}/{parent} has the child `{}`, which nobody sent", node.key));
            }
        }
    }

    /// A client is about to send a signal.
    pub fn signalling(&mut self, task: TaskNo, payload: Bytes) {
        self.signals.insert((task, payload));
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
                let parent = known.plan(task).is_some_and(|plan| !plan.descendants(index).is_empty());
                let holds = row.is_some_and(|r| r.state == SubtaskState::Completed && r.lease == Some(lease));
                if !holds && !parent || outcome != Some(Outcome::Completed) {
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
        let plan = known.plan(task).into_iter();
        let children = plan.flat_map(|plan| plan.children(index).filter_map(|child| plan.node(child)));
        let (got, expected): (Vec<&str>, Vec<&str>) = (
            brief.children.iter().map(|child| &*child.subtask_id).collect(),
            children.map(|child| &*child.id).collect(),
        );
        if got != expected && known.subtask(task, index).is_some_and(|row| row.lease == Some(lease)) {
            self.found.push(format!("{task}/{index} was handed the children {got:?}, and has {expected:?}"));
        }
        for (dependency, got) in node.depends_on.iter().zip(&brief.dependencies) {
            let delivered = self.delivered.get(&(task, *dependency));
            let state = known.subtask(task, *dependency).map(|row| row.state);
            let said = match got.state() {
                v1::SubtaskState::Completed => Some(SubtaskState::Completed),
                v1::SubtaskState::Skipped => Some(SubtaskState::Skipped),
                v1::SubtaskState::Failed => Some(SubtaskState::Failed),
                v1::SubtaskState::Cancelled => Some(SubtaskState::Cancelled),
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

    /// A client is about to have something of a task run again.
    pub fn repeating(&mut self, task: TaskNo) {
        self.repeated.insert(task);
    }

    /// Whether the end of a task may have been taken back.
    pub(super) fn may_repeat(&self, task: TaskNo) -> bool {
        self.repeated.contains(&task)
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
        for task in self.cancelled.difference(&self.repeated) {
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
