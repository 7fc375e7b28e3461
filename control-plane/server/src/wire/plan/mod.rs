//! The plan document: a task graph as a client, a task file or a worker writes it down. `json` and `proto` read the
//! two forms of it into the same entries, and from there on nobody knows which it was; `digest` tells two plans apart;
//! `schema` describes the JSON form, whose fields are these:
//!
//! ```json
//! {"goals": [{"name": "printed", "description": "It is in the shops."}], "subtasks": [
//!   {"key": "draft", "agent": "writer", "capabilities": ["prose"], "input": {"tone": "dry"}, "depends_on": [],
//!    "serves": ["printed"], "output_schema": {"type": "object"},
//!    "sla_seconds": 900, "max_attempts": 3, "priority": "high",
//!    "retry": {"backoff_seconds": 5, "max_backoff_seconds": 60, "non_retryable": ["NO_SUCH_FILE"]},
//!    "fallback": ["editor"], "compensate": {"agent": "eraser", "capabilities": [], "input": null}},
//!   {"key": "ok", "depends_on": ["draft"], "run_if": "all_done", "when": "outputs.draft.risk > 3",
//!    "on_failure": "fail",
//!    "approval": {"message": "Ship?", "approvers": [{"names": ["ann"], "roles": ["lead"]}], "quorum": 2,
//!                 "options": [{"name": "ship", "then": "complete"}, {"name": "stop", "then": "fail"}, "later"],
//!                 "timeout_seconds": 3600, "on_timeout": "reject"}},
//!   {"key": "deployed", "signal": {"name": "deployed", "matches": "signal.env == 'prod'", "timeout_seconds": 60}},
//!   {"key": "rest", "timer": {"seconds": 30}},
//!   {"key": "year", "timer": {"until": "2027-01-01T00:00:00Z"}},
//!   {"key": "release", "input": {"env": "prod"},
//!    "workflow": {"name": "release", "version": 3, "parameters_from": "{'repo': outputs.draft.repo}"}},
//!   {"key": "both", "group": {"subtasks": []}},
//!   {"key": "each", "map": {"over": "outputs.list.items", "max_parallel": 10, "failures": {"tolerate": 3},
//!                           "subtasks": []}},
//!   {"key": "polish", "loop": {"until": "outputs.review.ok", "max_iterations": 5, "on_limit": "complete",
//!                              "subtasks": []}}
//! ]}
//! ```
//!
//! A subtask does one of `approval`, `signal`, `timer`, `workflow`, `group`, `map` and `loop`, or a worker does it.
//! `failures` is `fail_fast`, `continue` or `{"tolerate": n}`; an option that is only a name completes the approval.
//!
//! What a plan must be to be accepted is decided by the core's validator, not here; only what its texts may not hold.

pub(crate) mod digest;
pub(crate) mod json;
pub(crate) mod proto;
pub mod schema;

use downbeat_core::{
    check::{self, Violation},
    draft::{Approval, Call, Choice, Compensate, Does, Draft, Goal, Loop, Map, SignalGate, Then, Timer},
    limits,
};

use super::{check::person, json::Document, problems::Problems};

/// Where a client's own plan stands in its request.
pub(crate) const PLAN: &str = "plan.subtasks";
/// Where a worker's additions stand in its message.
pub(crate) const CHILDREN: &str = "children";
/// What a subtask does without a worker, as the document says it.
pub(crate) const DOES: [&str; 7] = ["approval", "signal", "timer", "workflow", "group", "map", "loop"];

/// A plan as it was read.
#[derive(Debug, Default)]
pub(crate) struct Written {
    pub(crate) goals: Vec<Goal>,
    pub(crate) subtasks: Vec<Entry>,
}

/// One subtask as it was read.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    /// Without its documents, what undoes it, and what it does.
    pub(crate) draft: Draft,
    pub(crate) input: Option<Document>,
    pub(crate) output_schema: Option<Document>,
    pub(crate) undo: Option<Undo>,
    pub(crate) does: Does<Vec<Entry>>,
}

/// What undoes a subtask, as it was read.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    /// Without its input.
    pub(crate) draft: Compensate,
    pub(crate) input: Option<Document>,
}

/// How much of a plan may still be read: a request of its largest size could say far more than any plan may hold.
#[derive(Debug)]
pub(crate) struct Reader<'p> {
    /// Of the outermost list.
    root: &'static str,
    subtasks: usize,
    /// Levels of groups around what is read.
    depth: usize,
    pub(crate) problems: &'p mut Problems,
}

impl<'p> Reader<'p> {
    pub(crate) fn new(root: &'static str, problems: &'p mut Problems) -> Reader<'p> {
        Reader { root, subtasks: 0, depth: 0, problems }
    }

    /// Subtasks that may still come.
    fn room(&self) -> usize {
        limits::PLAN_SUBTASKS.saturating_sub(self.subtasks)
    }

    /// Whether so many more are looked at; what is too many is told once, of the plan as a whole.
    fn admit(&mut self, count: usize) -> bool {
        let fits = count <= self.room();
        if !fits && self.subtasks <= limits::PLAN_SUBTASKS {
            let (most, got) = (limits::PLAN_SUBTASKS, self.subtasks.saturating_add(count));
            self.problems.add(self.root, format!("at most {most} subtasks (PLAN_SUBTASKS), got {got}"));
        }
        self.subtasks = self.subtasks.saturating_add(count);
        fits
    }

    /// Reads a body one level further down. Of what is nested too deeply the validator needs to see only that it is: a
    /// group too many, which is left empty.
    fn body(&mut self, read: impl FnOnce(&mut Self) -> Vec<Entry>) -> Vec<Entry> {
        if self.depth >= limits::GROUP_DEPTH {
            return Vec::new();
        }
        self.depth += 1;
        let body = read(self);
        self.depth -= 1;
        body
    }
}

/// The drafts of a client's own plan with its goals, and everything else that is wrong with it.
pub(crate) fn finish_plan(plan: Written, problems: &mut Problems) -> (Vec<Goal>, Vec<Draft>) {
    let drafts = finish(PLAN, plan.subtasks, problems);
    problems.merge(check::check_goals(&plan.goals, &drafts).err().unwrap_or_default());
    for (i, _) in plan.goals.iter().enumerate().filter(|(_, goal)| goal.description.contains('\0')) {
        problems.add(format!("plan.goals[{i}].description"), "must not hold \\u0000");
    }
    (plan.goals, drafts)
}

/// The drafts of what was read at `root`, and everything else that is wrong with them.
pub(crate) fn finish(root: &'static str, entries: Vec<Entry>, problems: &mut Problems) -> Vec<Draft> {
    let drafts: Vec<Draft> = entries.into_iter().map(draft).collect();
    match check::check_at(root, &drafts, &[]) {
        Ok(()) => problems.check(|found| texts(root, &drafts, found)),
        Err(violations) => problems.merge(violations),
    }
    drafts
}

fn draft(entry: Entry) -> Draft {
    let body = |entries: Vec<Entry>| entries.into_iter().map(draft).collect();
    let does = match entry.does {
        Does::Work => Does::Work,
        Does::Approval(approval) => Does::Approval(approval),
        Does::Signal(signal) => Does::Signal(signal),
        Does::Timer(timer) => Does::Timer(timer),
        Does::Workflow(call) => Does::Workflow(call),
        Does::Round => Does::Round,
        Does::Group(of) => Does::Group(body(of)),
        Does::Map(Map { over, max_parallel, failures, body: of }) => {
            Does::Map(Map { over, max_parallel, failures, body: body(of) })
        }
        Does::Loop(Loop { until, max_iterations, on_limit, body: of }) => {
            Does::Loop(Loop { until, max_iterations, on_limit, body: body(of) })
        }
    };
    let text = |document: Option<Document>| document.map(|document| document.text);
    let undo = |undo: Undo| Compensate { input: text(undo.input), ..undo.draft };
    Draft {
        input: text(entry.input),
        output_schema: text(entry.output_schema),
        compensate: entry.undo.map(undo),
        does,
        ..entry.draft
    }
}

/// What a plan's texts may not hold, since databases and people could not read it.
fn texts(path: &str, drafts: &[Draft], found: &mut Vec<Violation>) {
    for (i, draft) in drafts.iter().enumerate() {
        let at = |field: &str| format!("{path}[{i}].{field}");
        let nul = |field: &str, text: &str, found: &mut Vec<Violation>| {
            if text.contains('\0') {
                found.push(Violation::new(at(field), "must not hold \\u0000"));
            }
        };
        nul("when", draft.when.as_deref().unwrap_or_default(), found);
        match &draft.does {
            Does::Work | Does::Timer(_) | Does::Round => {}
            Does::Approval(Approval { message, approvers, .. }) => {
                nul("approval.message", message, found);
                for (level, asked) in approvers.iter().enumerate() {
                    for (list, people) in [("names", &asked.names), ("roles", &asked.roles)] {
                        for (p, name) in people.iter().enumerate() {
                            person(&at(&format!("approval.approvers[{level}].{list}[{p}]")), name, found);
                        }
                    }
                }
            }
            Does::Signal(SignalGate { matches, .. }) => {
                nul("signal.matches", matches.as_deref().unwrap_or_default(), found);
            }
            Does::Workflow(Call { parameters_from, .. }) => {
                nul("workflow.parameters_from", parameters_from.as_deref().unwrap_or_default(), found);
            }
            Does::Group(body) => texts(&at("group.subtasks"), body, found),
            Does::Map(Map { over, body, .. }) => {
                nul("map.over", over, found);
                texts(&at("map.subtasks"), body, found);
            }
            Does::Loop(Loop { until, body, .. }) => {
                nul("loop.until", until, found);
                texts(&at("loop.subtasks"), body, found);
            }
        }
    }
}

/// Stands for a time that could not be read, so that nothing else is said of its subtask.
const UNREAD: Timer = Timer::Seconds(1);

/// What can be chosen where the plan says nothing.
fn default_options() -> Vec<Choice> {
    vec![
        Choice { name: "approve".into(), then: Then::Complete },
        Choice { name: "reject".into(), then: Then::Fail },
    ]
}

/// An expression, where nothing is the same as none.
fn expression(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}
