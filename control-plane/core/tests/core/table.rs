//! Runs rows against a world and says in text what came of each.
//!
//! A row is a batch and `replies | states | events | effects`, where trailing empty parts are left out:
//! - replies of its commands, `;` between them: `accepted`, `executed running blocked a`, `TASK_UNKNOWN`;
//! - whatever is new or moved, and where to: `t running, a leased, w1 detached`;
//! - the new events: `t running, a leased(1)`, with the attempt in parentheses;
//! - the effects: `assign a w1 by +5000`, `revoke a w1`, `queued a`, `wake a +4`, `gone w1`. That a task
//!   changed is told for every task with new events, as a law of the world, and is left out here.

use downbeat_core::{
    command::{Command, Reply, Verdict},
    context::{Entry, Held},
    effect::{Effect, Wake},
    event::What,
    id::{Index, SessionNo, TaskNo},
    nested::Nesting,
    reject::Reject,
    subtask::Subtask,
    task::Task,
};

use crate::{
    ask::{Ask, Sketch, execute, open, sketch, submit},
    world::{Outcome, World},
};

/// Runs the rows one after the other; all that differs is shown at once.
#[track_caller]
pub(crate) fn check<const N: usize>(world: &mut World, rows: [(Ask, &str); N]) {
    let mut differ = Vec::new();
    for (i, (ask, expected)) in rows.into_iter().enumerate() {
        let (commands, told) = world.tell(ask);
        let expected = expected.split_whitespace().collect::<Vec<_>>().join(" ");
        if told != expected {
            differ.push(format!("row {i}: {commands:?}\n  expected: {expected}\n       got: {told}"));
        }
    }
    assert!(differ.is_empty(), "\n{}", differ.join("\n"));
}

/// Runs what a test needs but does not look at. Nothing of it may be refused.
#[track_caller]
pub(crate) fn given<const N: usize>(world: &mut World, asks: [Ask; N]) {
    for ask in asks {
        let outcome = world.ask(ask);
        assert!(outcome.replies.iter().all(Result::is_ok), "{:?}", outcome.replies);
    }
}

/// Runs what a test needs, each to its end: `late` loses what effects ask for, and a tick finds it.
#[track_caller]
pub(crate) fn settled<const N: usize>(world: &mut World, late: bool, asks: [Ask; N]) {
    for ask in asks {
        given(world, [ask]);
        world.rest(late);
    }
}

/// Each way in which what is left to a command of its own comes about.
pub(crate) const WAYS: [bool; 2] = [false, true];

impl World {
    /// A world in which `t` was submitted and executed, while `w1` has so many free slots, and all is quiet.
    pub(crate) fn rested(task: Sketch, slots: u32, late: bool) -> World {
        let mut world = World::with_sketch(task, slots);
        world.rest(late);
        world
    }

    pub(crate) fn rest(&mut self, late: bool) {
        if late { self.settle_late() } else { self.settle() }
    }

    /// A world in which `t` was submitted and executed, while `w1` has so many free slots (none: nobody).
    pub(crate) fn with(graph: &str, slots: u32) -> World {
        World::with_sketch(sketch("t", graph), slots)
    }

    pub(crate) fn with_sketch(task: Sketch, slots: u32) -> World {
        let mut world = World::new();
        if slots > 0 {
            given(&mut world, [open("w1", slots)]);
        }
        let id = task.id.clone();
        given(&mut world, [submit(task), execute(&id)]);
        world
    }

    pub(crate) fn ask(&mut self, ask: Ask) -> Outcome {
        self.now = self.now.plus_ms(ask.later_ms);
        let replica = ask.replica;
        let commands = ask.commands(self);
        self.run(replica, &commands)
    }

    /// Runs a batch and says what came of it.
    fn tell(&mut self, ask: Ask) -> (Vec<Command>, String) {
        self.now = self.now.plus_ms(ask.later_ms);
        let replica = ask.replica;
        let commands = ask.commands(self);
        let before = self.clone();
        let outcome = self.run(replica, &commands);
        let replies: Vec<String> = outcome.replies.iter().map(|reply| self.reply(reply)).collect();
        let parts = [
            replies.join("; "),
            self.moves(&before, &outcome).join(", "),
            self.events(&outcome).join(", "),
            outcome.effects.iter().filter_map(|effect| self.effect(effect)).collect::<Vec<_>>().join(", "),
        ];
        let used = parts.iter().rposition(|part| !part.is_empty()).map_or(0, |last| last + 1);
        let told = parts[..used].join(" | ");
        (commands, told.split_whitespace().collect::<Vec<_>>().join(" "))
    }

    pub(crate) fn task(&self, id: &str) -> &Task {
        &self.tasks[&self.task_no(id)]
    }

    pub(crate) fn sub(&self, name: &str) -> &Subtask {
        &self.subtasks[&self.place(name)]
    }

    /// The word for the state of each subtask of a task, in the order of the plan.
    pub(crate) fn states(&self, id: &str) -> String {
        let no = self.task_no(id);
        let rows = self.subtasks.range((no, 0)..=(no, Index::MAX));
        rows.map(|((_, index), row)| format!("{} {}", self.name(no, *index), row.state.word()))
            .collect::<Vec<_>>()
            .join(", ")
    }

    /// The states that are not final, or all of them.
    pub(crate) fn open(&self) -> String {
        let open = self.subtasks.iter().filter(|(_, row)| !row.state.is_terminal());
        let named =
            open.map(|((task, index), row)| format!("{} {}", self.name(*task, *index), row.state.word()));
        named.collect::<Vec<_>>().join(", ")
    }

    /// The newest code that the history gives for a subtask.
    pub(crate) fn code(&self, name: &str) -> &str {
        let (task, place) = self.place(name);
        let events = self.history[&task].iter().rev();
        let codes = events.filter_map(|event| match &event.what {
            What::Subtask { index, code, .. } if *index == place => Some(code.as_str()),
            _ => None,
        });
        codes.take(1).next().unwrap_or("")
    }

    /// Who stands in line, first comes first.
    pub(crate) fn in_line(&self) -> String {
        let names = self.line().into_iter().map(|place| self.name(place.task, place.index));
        names.collect::<Vec<_>>().join(" ")
    }

    /// The reason that the newest event of a task gives.
    pub(crate) fn reason(&self, id: &str) -> &str {
        match self.history[&self.task_no(id)].last().map(|event| &event.what) {
            Some(What::Task { reason, .. } | What::Subtask { reason, .. } | What::Ended { reason, .. }) => {
                reason
            }
            Some(What::Grown { reason, .. }) => reason,
            Some(
                What::Leased { .. }
                | What::Returned { .. }
                | What::Voted { .. }
                | What::Signalled { .. }
                | What::Snapshot { .. }
                | What::Context { .. }
                | What::Progress { .. },
            )
            | None => "",
        }
    }

    /// Its key, with `~` for each that has taken its place since.
    fn name(&self, task: TaskNo, index: Index) -> String {
        let plan = &self.plans[&task];
        let key = plan.node(index).map_or("?", |node| node.key.as_str());
        let newer = (index + 1..plan.len()).filter(|at| plan.node(*at).is_some_and(|node| node.key == key));
        let key = format!("{key}{}", "~".repeat(newer.count()));
        match self.tasks[&task].id.as_str() {
            "t" => key,
            id => format!("{id}/{key}"),
        }
    }

    fn worker(&self, no: SessionNo) -> String {
        let known = self.sessions.get(&no).map(|row| &row.declaration);
        known.map_or_else(|| format!("session {no}"), |worker| worker.worker.clone())
    }

    fn reply(&self, reply: &Result<Reply, Reject>) -> String {
        match reply {
            Ok(Reply::Submitted { status, existed, .. }) => {
                format!("{} {}", if *existed { "existed" } else { "submitted" }, status.word())
            }
            Ok(Reply::Executed { status, blocked }) => {
                let blocked: Vec<String> = blocked.iter().map(|index| format!(" #{index}")).collect();
                let blocked =
                    if blocked.is_empty() { String::new() } else { format!(" blocked{}", blocked.concat()) };
                format!("executed {}{blocked}", status.word())
            }
            Ok(Reply::Status(status)) => status.word().into(),
            Ok(Reply::State(state)) => state.word().into(),
            Ok(Reply::Verdict(Verdict::Accepted)) => "accepted".into(),
            Ok(Reply::Verdict(Verdict::Duplicate)) => "duplicate".into(),
            Ok(Reply::Verdict(Verdict::Stale)) => "stale".into(),
            Ok(Reply::Signalled { taken }) => if *taken { "taken" } else { "kept" }.into(),
            Ok(Reply::Snapshot { event }) => format!("snapshot {event}"),
            Ok(Reply::Rerun { status, subtasks }) => {
                format!("rerun {} {}", status.word(), subtasks.len())
            }
            Ok(Reply::Spawned { verdict: Verdict::Accepted, children }) => {
                format!("spawned {}", children.len())
            }
            Ok(Reply::Spawned { .. }) => "stale".into(),
            Ok(
                Reply::ContextWritten { verdict: Verdict::Stale, .. }
                | Reply::Context { verdict: Verdict::Stale, .. },
            ) => "stale".into(),
            Ok(Reply::ContextWritten { verdict: Verdict::Accepted, version }) => format!("version {version}"),
            Ok(Reply::ContextWritten { verdict: Verdict::Duplicate, version }) => format!("again {version}"),
            Ok(Reply::Context { keys, .. }) => {
                let keys = keys.iter().map(|(key, entry)| format!("{key}={}", entry.version));
                keys.collect::<Vec<_>>().join(" ")
            }
            Ok(Reply::Session(no)) => format!("session {}", self.worker(*no)),
            Ok(Reply::Done) => "done".into(),
            Err(reject) => reject.code().into(),
        }
    }

    fn moves(&self, before: &World, outcome: &Outcome) -> Vec<String> {
        let changes = &outcome.changes;
        let mut said = Vec::new();
        for task in changes.new_tasks.iter().chain(&changes.tasks) {
            if before.tasks.get(&task.no).is_none_or(|old| old.status != task.status) {
                said.push(format!("{} {}", task.id, task.status.word()));
            }
        }
        for row in &changes.subtasks {
            if before.subtasks[&(row.task, row.index)].state != row.row.state {
                said.push(format!("{} {}", self.name(row.task, row.index), row.row.state.word()));
            }
        }
        for row in changes.new_sessions.iter().chain(&changes.sessions) {
            if before.sessions.get(&row.no).is_none_or(|old| old.state != row.state) {
                said.push(format!("{} {}", row.declaration.worker, row.state.word()));
            }
        }
        said.extend(changes.dead_sessions.iter().map(|no| format!("{} forgotten", before.worker(*no))));
        said
    }

    fn events(&self, outcome: &Outcome) -> Vec<String> {
        let rows = outcome.changes.history.iter();
        let events = rows.flat_map(|more| more.events.iter().map(|event| (more.task, &event.what)));
        events
            .map(|(task, what)| {
                let name = what.index().map_or_else(|| self.tasks[&task].id.clone(), |i| self.name(task, i));
                match what {
                    What::Task { status, .. } => format!("{name} {}", status.word()),
                    What::Subtask { state, .. } => format!("{name} {}", state.word()),
                    What::Leased { attempt, .. } => format!("{name} leased({attempt})"),
                    What::Returned { .. } => format!("{name} returned"),
                    What::Ended { attempt, outcome, error: None, .. } => {
                        format!("{name} {}({attempt})", outcome.word())
                    }
                    What::Ended { attempt, outcome, error: Some(error), .. } => {
                        format!("{name} {}({attempt}) {}", outcome.word(), error.code)
                    }
                    What::Progress { message, .. } => format!("{name} says {message}"),
                    What::Context { key, entry: Entry { version, held: Held::Deleted, .. }, .. } => {
                        format!("{name} deletes {key}({version})")
                    }
                    What::Context { key, entry, .. } => format!("{name} writes {key}({})", entry.version),
                    What::Grown { count, .. } => format!("{name} grown({count})"),
                    What::Voted { option, by, .. } => format!("{name} {option} by {by}"),
                    What::Snapshot { name: snapshot, .. } => format!("{name} snapshot {snapshot}"),
                    What::Signalled { name: signal, .. } => format!("{name} signalled {signal}"),
                }
            })
            .collect()
    }

    fn effect(&self, effect: &Effect) -> Option<String> {
        Some(match effect {
            Effect::Assign(to) => {
                let by = to.deadline.map_or_else(String::new, |at| format!(" by +{}", self.ahead_ms(at)));
                format!("assign {} {}{by}", self.name(to.at.task, to.at.index), self.worker(to.session))
            }
            Effect::Revoke { session, at, .. } => {
                format!("revoke {} {}", self.name(at.task, at.index), self.worker(*session))
            }
            Effect::Queued(place) => format!("queued {}", self.name(place.task, place.index)),
            Effect::Wake { at, wake } => {
                let name = match wake {
                    Wake::Task(no) => self.tasks[no].id.clone(),
                    Wake::Subtask(no, index) => self.name(*no, *index),
                    Wake::Session(no) => self.worker(*no),
                };
                format!("wake {name} {:+}", self.ahead_ms(*at))
            }
            Effect::Next(next) => {
                let begin = next.begin.map_or_else(String::new, |(from, to)| format!(" {from}..{to}"));
                format!("next {}{begin}", self.name(next.task, next.index))
            }
            Effect::Nest(Nesting::Begin(begin)) => {
                let by = begin.deadline.map_or_else(String::new, |at| format!(" by +{}", self.ahead_ms(at)));
                format!("begin {}{by}", self.name(begin.inside.task, begin.inside.index))
            }
            Effect::Nest(Nesting::Pass { task, index, .. }) => format!("pass {}", self.name(*task, *index)),
            Effect::Nest(Nesting::Tell { inner }) => format!("tell {}", self.tasks[inner].id),
            Effect::SeatGone { session } => format!("gone {}", self.worker(*session)),
        })
    }
}
