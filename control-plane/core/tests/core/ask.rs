//! Commands in a line. Names are resolved when the row runs, against the world as it is then.
//!
//! A subtask is `key` in task `t`, or `task/key`. A lease is a subtask, with `#2` for its second lease (the
//! newest is meant otherwise), `#x` for an invented one, and `@w2` where another worker sends the message.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use bytes::Bytes;
use downbeat_core::{
    check::{check, check_at},
    command::{Action, Command, Decision, Request, Rerun, Sent, Submit, WorkResult, WriteContext, Writer},
    context::keys_at,
    draft::{
        Approval, Call, Choice, Does, Draft, Failures, Loop, Map, OnFailure, OnLimit, OnTimeout, RunIf,
        SignalGate, Then, Timer,
    },
    event::AttemptError,
    id::{Index, LeaseAt, LeaseId, ReplicaNo, RouteNo, SessionNo, TaskNo, TenantNo},
    nested::{self, Begin, Nesting},
    note::{Gate, NoteKey},
    plan::{self, Node, Plan, RouteSpec},
    session::{AgentDeclaration, WorkerDeclaration},
    subtask::Subtask,
    task::{Mode, Priority},
    time::Time,
};
use serde_json::value::RawValue;

use crate::world::{HERE, World};

type Make = Box<dyn FnOnce(&mut World) -> Vec<Command>>;

/// One batch to be.
pub(crate) struct Ask {
    pub(crate) later_ms: u64,
    pub(crate) replica: ReplicaNo,
    make: Vec<Make>,
}

impl Ask {
    /// In the same batch.
    pub(crate) fn and(mut self, other: Ask) -> Ask {
        self.make.extend(other.make);
        self
    }

    /// After a while.
    pub(crate) fn later(mut self, ms: u64) -> Ask {
        self.later_ms += ms;
        self
    }

    /// Decided by another replica.
    pub(crate) fn at(mut self, replica: i64) -> Ask {
        self.replica = ReplicaNo(replica);
        self
    }

    pub(crate) fn commands(self, world: &mut World) -> Vec<Command> {
        self.make.into_iter().flat_map(|make| make(world)).collect()
    }
}

fn ask(make: impl FnOnce(&mut World) -> Command + 'static) -> Ask {
    several(move |world| vec![make(world)])
}

fn several(make: impl FnOnce(&mut World) -> Vec<Command> + 'static) -> Ask {
    Ask { later_ms: 0, replica: HERE, make: vec![Box::new(make)] }
}

/// What effects asked for at once.
pub(crate) fn follow() -> Ask {
    several(|world| std::mem::take(&mut world.prompts).into_values().collect())
}

/// What a tick finds, after effects were lost.
pub(crate) fn tick() -> Ask {
    several(|world| {
        world.prompts.clear();
        world.due()
    })
}

/// A batch without commands: the replica only looks at its line.
pub(crate) fn look() -> Ask {
    Ask { later_ms: 0, replica: HERE, make: Vec::new() }
}

/// A task as a test draws it: `a, b < a, c < a b`.
#[derive(Clone, Debug)]
pub(crate) struct Sketch {
    pub(crate) id: String,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) priority: Priority,
    pub(crate) deadline_ms: Option<u64>,
    pub(crate) digest: u8,
    pub(crate) served: Option<&'static str>,
    /// The subtask that it is.
    pub(crate) begin: Option<Begin>,
    /// What the request gave, and what a fork takes over.
    pub(crate) given: &'static str,
    pub(crate) taken: BTreeMap<String, Option<Bytes>>,
}

pub(crate) fn sketch(id: &str, graph: &str) -> Sketch {
    let drafts = graph.split(',').map(|node| {
        let (key, before) = node.split_once('<').unwrap_or((node, ""));
        Draft {
            key: key.trim().to_owned(),
            agent: "coder".to_owned(),
            depends_on: before.split_whitespace().map(str::to_owned).collect(),
            ..Draft::default()
        }
    });
    Sketch {
        id: id.to_owned(),
        drafts: drafts.collect(),
        priority: Priority::Normal,
        deadline_ms: None,
        digest: 1,
        served: None,
        begin: None,
        given: "",
        taken: BTreeMap::new(),
    }
}

impl Sketch {
    pub(crate) fn draft(mut self, key: &str, change: impl FnOnce(&mut Draft)) -> Sketch {
        change(self.drafts.iter_mut().find(|draft| draft.key == key).expect("the key is drawn"));
        self
    }

    pub(crate) fn sla(self, key: &str, seconds: u32) -> Sketch {
        self.draft(key, |draft| draft.sla_seconds = Some(seconds))
    }

    pub(crate) fn attempts(self, key: &str, max: u16) -> Sketch {
        self.draft(key, |draft| draft.max_attempts = Some(max))
    }

    pub(crate) fn agent(self, key: &str, agent: &str) -> Sketch {
        let agent = agent.to_owned();
        self.draft(key, |draft| draft.agent = agent)
    }

    /// What a subtask does without a worker.
    pub(crate) fn does(self, key: &str, does: Does<Vec<Draft>>) -> Sketch {
        self.draft(key, |draft| {
            draft.agent = String::new();
            draft.does = does;
        })
    }

    pub(crate) fn run_if(self, key: &str, run_if: RunIf) -> Sketch {
        self.draft(key, |draft| draft.run_if = run_if)
    }

    pub(crate) fn when(self, key: &str, when: &str) -> Sketch {
        self.draft(key, |draft| draft.when = Some(when.to_owned()))
    }

    pub(crate) fn on_failure(self, key: &str, on_failure: OnFailure) -> Sketch {
        self.draft(key, |draft| draft.on_failure = Some(on_failure))
    }

    /// These have failed when they have, without a person.
    pub(crate) fn failing(self, keys: &str) -> Sketch {
        keys.split_whitespace().fold(self, |task, key| task.on_failure(key, OnFailure::Fail))
    }

    pub(crate) fn input(self, key: &str, json: &str) -> Sketch {
        let json = RawValue::from_string(json.to_owned()).expect("tests draw JSON");
        self.draft(key, |draft| draft.input = Some(json))
    }

    pub(crate) fn group(self, key: &str, body: Sketch) -> Sketch {
        self.does(key, Does::Group(body.drafts))
    }

    /// Runs a body for each element, so many at the same time.
    pub(crate) fn map(self, key: &str, over: &str, max_parallel: Option<u32>, body: Sketch) -> Sketch {
        self.map_with(key, over, max_parallel, Failures::FailFast, body)
    }

    pub(crate) fn map_with(
        self,
        key: &str,
        over: &str,
        max_parallel: Option<u32>,
        failures: Failures,
        body: Sketch,
    ) -> Sketch {
        let map = Map { over: over.to_owned(), max_parallel, failures, body: body.drafts };
        self.does(key, Does::Map(map))
    }

    pub(crate) fn repeat(self, key: &str, until: &str, max: u32, on_limit: OnLimit, body: Sketch) -> Sketch {
        let of = Loop { until: until.to_owned(), max_iterations: max, on_limit, body: body.drafts };
        self.does(key, Does::Loop(of))
    }

    pub(crate) fn signal(self, key: &str, name: &str, matches: Option<&str>, seconds: Option<u32>) -> Sketch {
        let (name, matches) = (name.to_owned(), matches.map(str::to_owned));
        self.does(key, Does::Signal(SignalGate { name, matches, timeout_seconds: seconds }))
    }

    pub(crate) fn timer(self, key: &str, seconds: u32) -> Sketch {
        self.does(key, Does::Timer(Timer::Seconds(seconds)))
    }

    /// A task of the workflow `w`, so many times at most.
    pub(crate) fn workflow(self, key: &str, attempts: u16, parameters_from: Option<&str>) -> Sketch {
        let call =
            Call { name: "w".into(), version: None, parameters_from: parameters_from.map(str::to_owned) };
        self.does(key, Does::Workflow(call)).attempts(key, attempts)
    }

    pub(crate) fn approval(self, key: &str, change: impl FnOnce(&mut Approval)) -> Sketch {
        let option = |name: &str, then| Choice { name: name.to_owned(), then };
        let mut approval = Approval {
            message: "may it?".into(),
            approvers: Vec::new(),
            quorum: 1,
            options: vec![
                option("yes", Then::Complete),
                option("no", Then::Fail),
                option("drop", Then::Skip),
            ],
            timeout_seconds: None,
            on_timeout: OnTimeout::Fail,
        };
        change(&mut approval);
        self.does(key, Does::Approval(approval))
    }

    pub(crate) fn priority(mut self, priority: Priority) -> Sketch {
        self.priority = priority;
        self
    }

    pub(crate) fn deadline(mut self, ms: u64) -> Sketch {
        self.deadline_ms = Some(ms);
        self
    }

    pub(crate) fn digest(mut self, digest: u8) -> Sketch {
        self.digest = digest;
        self
    }

    /// What the request gave as context.
    pub(crate) fn given(mut self, json: &'static str) -> Sketch {
        self.given = json;
        self
    }

    /// What it takes over as a fork; `None`: not that key.
    pub(crate) fn takes(mut self, key: &str, json: Option<&'static str>) -> Sketch {
        self.taken.insert(key.to_owned(), json.map(|json| Bytes::from_static(json.as_bytes())));
        self
    }

    /// Starts at once, while only these agents are served.
    pub(crate) fn at_once(mut self, agents: &'static str) -> Sketch {
        self.served = Some(agents);
        self
    }

    /// As a worker's children; they pass the same check as any other.
    pub(crate) fn body(self, world: &mut World) -> Arc<Vec<Node>> {
        check_at("children", &self.drafts, &[]).expect("tests draw valid children");
        let (priority, attempts_max) = (Priority::Normal, world.policy.attempts_max);
        let route = &mut |spec: &RouteSpec| world.route(spec);
        Arc::new(plan::body(priority, attempts_max, OnFailure::Review, &self.drafts, &[], route))
    }

    /// The command; the plan passes the same check as any other.
    pub(crate) fn submit(self, world: &mut World, tenant: TenantNo) -> Command {
        check(&self.drafts).expect("tests draw valid plans");
        let attempts_max = world.policy.attempts_max;
        let plan = Plan::build(&self.id, self.priority, attempts_max, &self.drafts, |spec| world.route(spec));
        let route = |agents: &str| agents.split_whitespace().map(|agent| world.agent_route(agent)).collect();
        let served = self.served.map(route);
        let deadline = self.deadline_ms.map(|ms| world.now.plus_ms(ms));
        let deadline = self.begin.as_ref().map_or(deadline, |begin| begin.deadline);
        let inside = self.begin.map(|begin| Arc::new(begin.inside));
        Command::Submit(Arc::new(Submit {
            tenant,
            id: self.id,
            digest: [self.digest; 32],
            priority: self.priority,
            deadline,
            due_at: deadline,
            request: Request { title: "a title".into(), inside: inside.clone(), ..Request::default() },
            served,
            done: BTreeMap::new(),
            context: self.taken,
            plan: Arc::new(plan.with_context(Bytes::from_static(self.given.as_bytes())).with_inside(inside)),
        }))
    }
}

pub(crate) fn submit(sketch: Sketch) -> Ask {
    ask(move |world| sketch.submit(world, TenantNo::DEFAULT))
}

pub(crate) fn submit_for(tenant: TenantNo, sketch: Sketch) -> Ask {
    ask(move |world| sketch.submit(world, tenant))
}

/// Executes while somebody serves every route.
pub(crate) fn execute(task: &str) -> Ask {
    execute_with(task, Mode::Auto, "", None)
}

pub(crate) fn execute_manual(task: &str) -> Ask {
    execute_with(task, Mode::Manual, "", None)
}

/// Executes and stops before the subtasks.
pub(crate) fn execute_until(task: &str, checkpoints: &str) -> Ask {
    execute_with(task, Mode::Auto, checkpoints, None)
}

/// Executes while only these agents are served.
pub(crate) fn execute_served(task: &str, agents: &'static str) -> Ask {
    execute_with(task, Mode::Auto, "", Some(agents))
}

fn execute_with(task: &str, mode: Mode, checkpoints: &str, agents: Option<&'static str>) -> Ask {
    let (task, checkpoints) = (task.to_owned(), checkpoints.to_owned());
    ask(move |world| {
        let no = world.task_no(&task);
        let checkpoints = checkpoints.split_whitespace().map(|key| world.place(&format!("{task}/{key}")).1);
        let checkpoints: BTreeSet<Index> = checkpoints.collect();
        let served = match agents {
            Some(agents) => agents.split_whitespace().map(|agent| world.agent_route(agent)).collect(),
            None => world.all_routes(),
        };
        Command::Execute { task: no, mode, checkpoints, served }
    })
}

pub(crate) fn pause(task: &str) -> Ask {
    let task = task.to_owned();
    ask(move |world| Command::Pause { task: world.task_no(&task) })
}

pub(crate) fn cancel(task: &str) -> Ask {
    let task = task.to_owned();
    ask(move |world| {
        let task = world.task_no(&task);
        Command::Cancel { task, reason: "not needed".into(), compensate: false }
    })
}

/// Cancels once what was done is undone.
pub(crate) fn cancel_undoing(task: &str) -> Ask {
    let task = task.to_owned();
    ask(move |world| {
        let task = world.task_no(&task);
        Command::Cancel { task, reason: "not needed".into(), compensate: true }
    })
}

fn review(subtask: &str, action: Action) -> Ask {
    let subtask = subtask.to_owned();
    ask(move |world| {
        let (task, index) = world.place(&subtask);
        Command::Review { task, index, action, by: "ann".into() }
    })
}

pub(crate) fn retry(subtask: &str) -> Ask {
    review(subtask, Action::Retry)
}

pub(crate) fn skip(subtask: &str) -> Ask {
    review(subtask, Action::Skip { reason: "by hand".into() })
}

pub(crate) fn give_up(subtask: &str) -> Ask {
    review(subtask, Action::Fail { reason: "by hand".into() })
}

pub(crate) fn complete(subtask: &str) -> Ask {
    review(subtask, Action::Complete { output: Bytes::from_static(b"\"by hand\"") })
}

pub(crate) fn release(subtask: &str) -> Ask {
    review(subtask, Action::Release)
}

/// Does what effects asked for of inner tasks; one that begins is like this, and starts while `coder` is served.
pub(crate) fn nest(inner: Sketch) -> Ask {
    several(move |world| {
        let asked = std::mem::take(&mut world.nestings);
        asked.into_iter().map(|nesting| nested(world, nesting, inner.clone())).collect()
    })
}

fn nested(world: &mut World, nesting: Nesting, inner: Sketch) -> Command {
    match nesting {
        Nesting::Begin(begin) => {
            let id = begin.id.clone();
            let inner = Sketch { id, priority: begin.priority, begin: Some(*begin), ..inner };
            inner.at_once("coder").submit(world, TenantNo::DEFAULT)
        }
        Nesting::Pass { task, index, inner, .. } => {
            Command::Pass { task, index, inner: world.task_no(&inner), served: world.all_routes() }
        }
        Nesting::Tell { inner } => {
            let plan = Arc::clone(&world.plans[&inner]);
            let inside = plan.inside().expect("only those within others tell");
            let range = (inner, 0)..=(inner, Index::MAX);
            let rows: Vec<Subtask> =
                world.subtasks.range(range.clone()).map(|(_, row)| row.clone()).collect();
            let outputs =
                world.outputs.range(range).map(|((_, index), output)| (*index, output.body.clone()));
            let result = nested::result(&plan, &rows, &outputs.collect());
            Command::Join { task: inside.task, index: inside.index, inner, result }
        }
    }
}

/// The task that a subtask would be cannot be begun.
pub(crate) fn refuse(subtask: &str, attempt: u16) -> Ask {
    let subtask = subtask.to_owned();
    ask(move |world| {
        let (task, index) = world.place(&subtask);
        let (code, reason) = ("WORKFLOW_UNKNOWN".into(), "no workflow `w`".into());
        Command::Refuse { task, index, attempt, code, reason }
    })
}

/// What was asked for of inner tasks is lost.
pub(crate) fn forgets(world: &mut World) {
    world.nestings.clear();
}

/// Runs subtasks again, and what depends on them.
pub(crate) fn rerun(subtasks: &str) -> Ask {
    let subtasks = subtasks.to_owned();
    ask(move |world| {
        let places: Vec<(TaskNo, Index)> =
            subtasks.split_whitespace().map(|name| world.place(name)).collect();
        let task = places.first().expect("something is named").0;
        let from = places.into_iter().map(|(_, index)| index).collect();
        let rerun = Rerun { from, by: "ann".into(), reason: "again".into(), ..Rerun::default() };
        Command::Rerun { task, rerun: Arc::new(rerun) }
    })
}

/// Runs one subtask again with another input.
pub(crate) fn rerun_with(subtask: &str, json: &str) -> Ask {
    let subtask = subtask.to_owned();
    let json = RawValue::from_string(json.to_owned()).expect("tests draw JSON");
    ask(move |world| {
        let (task, index) = world.place(&subtask);
        let (from, inputs) = (BTreeSet::from([index]), BTreeMap::from([(index, json)]));
        Command::Rerun { task, rerun: Arc::new(Rerun { from, inputs, ..Rerun::default() }) }
    })
}

/// Runs one subtask again, with the same other input for some.
pub(crate) fn rerun_with_inputs(subtask: &str, inputs: &[&str]) -> Ask {
    let subtask = subtask.to_owned();
    let inputs: Vec<String> = inputs.iter().map(|&name| name.to_owned()).collect();
    ask(move |world| {
        let (task, index) = world.place(&subtask);
        let json = || RawValue::from_string("9".to_owned()).expect("it is JSON");
        let inputs = inputs.iter().map(|name| (world.place(name).1, json())).collect();
        let rerun = Rerun { from: BTreeSet::from([index]), inputs, ..Rerun::default() };
        Command::Rerun { task, rerun: Arc::new(rerun) }
    })
}

/// One subtask takes over what an earlier one in its place delivered.
pub(crate) fn restore(subtask: &str, earlier: &str) -> Ask {
    let (subtask, earlier) = (subtask.to_owned(), earlier.to_owned());
    ask(move |world| {
        let ((task, index), (_, earlier)) = (world.place(&subtask), world.place(&earlier));
        let restored = BTreeMap::from([(index, earlier)]);
        let (from, inputs_of) = (BTreeSet::from([index]), restored.clone());
        Command::Rerun { task, rerun: Arc::new(Rerun { from, restored, inputs_of, ..Rerun::default() }) }
    })
}

/// Somebody chooses, having seen what is to be approved: `ann`, or `ann/role role`.
pub(crate) fn decide(subtask: &str, option: &str, by: &str) -> Ask {
    decide_on(subtask, option, by, None)
}

/// Somebody chooses, having seen something else.
pub(crate) fn decide_on(subtask: &str, option: &str, by: &str, digest: Option<&str>) -> Ask {
    let (subtask, digest) = (subtask.to_owned(), digest.map(str::to_owned));
    let (by, roles) = by.split_once('/').unwrap_or((by, ""));
    let mut decision = Decision {
        by: by.to_owned(),
        roles: roles.split_whitespace().map(str::to_owned).collect(),
        option: option.to_owned(),
        ..Decision::default()
    };
    ask(move |world| {
        let (task, index) = world.place(&subtask);
        let gate = world.gate(&subtask).map(|gate| gate.digest).unwrap_or_default();
        decision.digest = digest.unwrap_or(gate);
        Command::Decide { task, index, decision: Arc::new(decision) }
    })
}

/// A signal to task `t`: its name, what it carries, and the sender's id of it.
pub(crate) fn signal(name: &str, json: &'static str, id: &str) -> Ask {
    let (name, id) = (name.to_owned(), id.to_owned());
    ask(move |world| {
        let sent = Sent { name, payload: Bytes::from_static(json.as_bytes()), by: "ann".into(), id };
        Command::Signal { task: world.task_no("t"), signal: Arc::new(sent) }
    })
}

fn change(key: &str, json: Option<&'static str>, expected: Option<u64>, writer: Writer) -> WriteContext {
    let value = json.map(|json| Bytes::from_static(json.as_bytes()));
    WriteContext { key: key.to_owned(), value, expected_version: expected, writer }
}

/// A person writes a key of the context of `t`; `None`: deletes it.
pub(crate) fn put(key: &str, json: Option<&'static str>, expected: Option<u64>) -> Ask {
    let write = change(key, json, expected, Writer::Person { by: "ann".into() });
    ask(move |world| Command::WriteContext { task: world.task_no("t"), write: Arc::new(write) })
}

/// A worker writes a key under its lease, with its own number.
pub(crate) fn put_under(
    lease: &str,
    request: u64,
    key: &str,
    json: Option<&'static str>,
    expected: Option<u64>,
) -> Ask {
    let (lease, key) = (lease.to_owned(), key.to_owned());
    ask(move |world| {
        let (at, session) = world.lease(&lease);
        let write = change(&key, json, expected, Writer::Worker { at, session, request });
        Command::WriteContext { task: at.task, write: Arc::new(write) }
    })
}

/// A worker reads the context under its lease.
pub(crate) fn read_under(lease: &str, key: Option<&str>) -> Ask {
    let (lease, key) = (lease.to_owned(), key.map(str::to_owned));
    ask(move |world| {
        let (at, session) = world.lease(&lease);
        Command::ReadContext { at, session, key }
    })
}

/// Brings the context of `t` to what it was after an event; runs these again.
pub(crate) fn back_to(event: u64, subtasks: &str) -> Ask {
    let subtasks = subtasks.to_owned();
    ask(move |world| {
        let task = world.task_no("t");
        let from = subtasks.split_whitespace().map(|name| world.place(name).1).collect();
        let context = Some(keys_at(&world.plans[&task], &world.history[&task], event));
        let rerun = Rerun { from, context, by: "ann".into(), reason: "back".into(), ..Rerun::default() };
        Command::Rerun { task, rerun: Arc::new(rerun) }
    })
}

/// A worker adds children to what it has.
pub(crate) fn spawn(lease: &str, children: Sketch) -> Ask {
    let lease = lease.to_owned();
    ask(move |world| {
        let (at, session) = world.lease(&lease);
        Command::Spawn { at, session, children: children.body(world) }
    })
}

pub(crate) fn suspend(lease: &str) -> Ask {
    finish(lease, WorkResult::Suspended)
}

/// Delivers a certain output.
pub(crate) fn gives(lease: &str, json: &'static str) -> Ask {
    let output = Bytes::from_static(json.as_bytes());
    finish(lease, WorkResult::Completed { output, artifacts: Vec::new() })
}

/// A group is seen to.
pub(crate) fn attend(subtask: &str, begin: Option<(u32, u32)>) -> Ask {
    let subtask = subtask.to_owned();
    ask(move |world| {
        let (task, index) = world.place(&subtask);
        Command::Attend { task, index, begin }
    })
}

/// Sends a subtask to another agent.
pub(crate) fn route(subtask: &str, agent: &'static str) -> Ask {
    let subtask = subtask.to_owned();
    ask(move |world| {
        let (task, index) = world.place(&subtask);
        Command::Route { task, index, route: world.agent_route(agent) }
    })
}

pub(crate) fn finish(lease: &str, result: WorkResult) -> Ask {
    let lease = lease.to_owned();
    ask(move |world| {
        let (at, session) = world.lease(&lease);
        Command::Finish { at, session, result }
    })
}

pub(crate) fn done(lease: &str) -> Ask {
    finish(lease, completed())
}

pub(crate) fn completed() -> WorkResult {
    WorkResult::Completed { output: Bytes::from_static(b"{}"), artifacts: Vec::new() }
}

pub(crate) fn fails(lease: &str) -> Ask {
    finish(lease, failed(true))
}

/// Fails, and trying again is no use.
pub(crate) fn fails_for_good(lease: &str) -> Ask {
    finish(lease, failed(false))
}

pub(crate) fn failed(retryable: bool) -> WorkResult {
    let error = AttemptError { code: "BROKEN".into(), message: "it broke".into() };
    WorkResult::Failed { error, retryable }
}

pub(crate) fn ack(lease: &str) -> Ask {
    report(lease, None)
}

pub(crate) fn progress(lease: &str, message: &str) -> Ask {
    report(lease, Some(message.to_owned()))
}

fn report(lease: &str, message: Option<String>) -> Ask {
    let lease = lease.to_owned();
    ask(move |world| {
        let (at, session) = world.lease(&lease);
        Command::Report { at, session, message }
    })
}

pub(crate) fn hand_back(lease: &str) -> Ask {
    hand_back_behind(lease, 0)
}

/// By who had the session's stream so many connections ago.
pub(crate) fn hand_back_behind(lease: &str, behind: u32) -> Ask {
    let lease = lease.to_owned();
    ask(move |world| {
        let (at, session) = world.lease(&lease);
        let connection = world.connection(session) - behind;
        Command::Return { at, session, connection }
    })
}

pub(crate) fn lose(lease: &str) -> Ask {
    let lease = lease.to_owned();
    ask(move |world| Command::Lose { at: world.lease(&lease).0 })
}

pub(crate) fn silence(lease: &str) -> Ask {
    let lease = lease.to_owned();
    ask(move |world| Command::Silence { at: world.lease(&lease).0 })
}

/// A subtask's timer fires.
pub(crate) fn wake(subtask: &str) -> Ask {
    let subtask = subtask.to_owned();
    ask(move |world| {
        let (task, index) = world.place(&subtask);
        Command::Wake { task, index: Some(index) }
    })
}

/// The task's deadline fires.
pub(crate) fn deadline(task: &str) -> Ask {
    let task = task.to_owned();
    ask(move |world| Command::Wake { task: world.task_no(&task), index: None })
}

pub(crate) fn block(subtask: &str) -> Ask {
    let subtask = subtask.to_owned();
    ask(move |world| {
        let (task, index) = world.place(&subtask);
        Command::Block { task, index }
    })
}

pub(crate) fn unblock(subtask: &str) -> Ask {
    let subtask = subtask.to_owned();
    ask(move |world| {
        let (task, index) = world.place(&subtask);
        Command::Unblock { task, index }
    })
}

pub(crate) fn agent(name: &str) -> AgentDeclaration {
    AgentDeclaration { name: name.to_owned(), ..AgentDeclaration::default() }
}

/// A worker with one agent, `coder`, connects.
pub(crate) fn open(worker: &str, slots: u32) -> Ask {
    open_as(worker, slots, &[agent("coder")])
}

pub(crate) fn open_as(worker: &str, slots: u32, agents: &[AgentDeclaration]) -> Ask {
    open_at(worker, slots, agents, HERE)
}

pub(crate) fn open_at(worker: &str, slots: u32, agents: &[AgentDeclaration], replica: ReplicaNo) -> Ask {
    let declaration = Arc::new(WorkerDeclaration {
        worker: worker.to_owned(),
        agents: agents.to_vec(),
        slots,
        ..WorkerDeclaration::default()
    });
    let token = token(worker);
    let mut batch =
        ask(move |_| Command::OpenSession { tenant: TenantNo::DEFAULT, replica, token, declaration });
    batch.replica = replica;
    batch
}

/// What proves to be the same worker.
pub(crate) fn token(worker: &str) -> [u8; 16] {
    let mut token = [0; 16];
    token.iter_mut().zip(worker.bytes()).for_each(|(byte, of)| *byte = of);
    token
}

pub(crate) fn resume(worker: &str) -> Ask {
    resume_as(worker, TenantNo::DEFAULT, worker, HERE)
}

/// Resumes with somebody's token.
pub(crate) fn resume_as(worker: &str, tenant: TenantNo, whose: &str, replica: ReplicaNo) -> Ask {
    let (worker, token) = (worker.to_owned(), token(whose));
    let mut batch = ask(move |world| {
        let session = world.session_no(&worker);
        let connection = world.connection(session) + 1;
        Command::ResumeSession { tenant, session, replica, token, connection }
    });
    batch.replica = replica;
    batch
}

/// Resumes with a number of the worker's own.
pub(crate) fn resume_at(worker: &str, connection: u32, replica: ReplicaNo) -> Ask {
    let (worker, token) = (worker.to_owned(), token(worker));
    let mut batch = ask(move |world| {
        let session = world.session_no(&worker);
        Command::ResumeSession { tenant: TenantNo::DEFAULT, session, replica, token, connection }
    });
    batch.replica = replica;
    batch
}

pub(crate) fn detach(worker: &str) -> Ask {
    detach_from(worker, HERE)
}

pub(crate) fn detach_from(worker: &str, replica: ReplicaNo) -> Ask {
    let worker = worker.to_owned();
    ask(move |world| Command::DetachSession { session: world.session_no(&worker), replica })
}

pub(crate) fn expire(worker: &str) -> Ask {
    let worker = worker.to_owned();
    ask(move |world| Command::ExpireSession { session: world.session_no(&worker), overdue: false })
}

/// The grace time may be over.
pub(crate) fn overdue(worker: &str) -> Ask {
    let worker = worker.to_owned();
    ask(move |world| Command::ExpireSession { session: world.session_no(&worker), overdue: true })
}

pub(crate) fn drain(worker: &str) -> Ask {
    let worker = worker.to_owned();
    ask(move |world| Command::DrainSession { session: world.session_no(&worker) })
}

pub(crate) fn forget(worker: &str) -> Ask {
    let worker = worker.to_owned();
    ask(move |world| Command::ForgetSession { session: world.session_no(&worker) })
}

/// Names.
impl World {
    /// The task of that name, or one that does not exist.
    pub(crate) fn task_no(&self, id: &str) -> TaskNo {
        self.tasks.values().find(|task| task.id == id).map_or(TaskNo(404), |task| task.no)
    }

    /// The subtask of that name, or one beyond the plan.
    pub(crate) fn place(&self, name: &str) -> (TaskNo, Index) {
        let (task, key) = name.split_once('/').unwrap_or(("t", name));
        let task = self.task_no(task);
        (task, self.plans.get(&task).and_then(|plan| plan.find(key)).unwrap_or(99))
    }

    /// The approval of that name, once it is open.
    pub(crate) fn gate(&self, name: &str) -> Option<Gate> {
        let (task, index) = self.place(name);
        let note = self.notes.get(&(task, NoteKey::Gate(index)))?;
        Some(serde_json::from_slice(note).expect("a note is what it says"))
    }

    /// What a subtask delivered.
    pub(crate) fn output(&self, name: &str) -> &str {
        let output = self.outputs.get(&self.place(name));
        output.map_or("", |output| std::str::from_utf8(&output.body).expect("JSON is text"))
    }

    /// The newest session of that worker, or one that does not exist.
    pub(crate) fn session_no(&self, worker: &str) -> SessionNo {
        let rows = self.sessions.values().map(|row| (row.no, &row.declaration));
        let known = rows.chain(self.roster.iter().map(|((_, no), declaration)| (*no, declaration)));
        let named = known.filter(|(_, declaration)| declaration.worker == worker).map(|(no, _)| no);
        named.max().unwrap_or(SessionNo(404))
    }

    /// How often the session's worker has come back.
    pub(crate) fn connection(&self, session: SessionNo) -> u32 {
        self.sessions.get(&session).map_or(0, |row| row.connection)
    }

    /// The route to an agent, whatever its capabilities.
    pub(crate) fn agent_route(&mut self, agent: &str) -> RouteNo {
        self.route(&RouteSpec::new(agent, &[]))
    }

    /// The lease of that name, and the session that sends its messages.
    pub(crate) fn lease(&self, name: &str) -> (LeaseAt, SessionNo) {
        let (name, sender) = name.split_once('@').map_or((name, None), |(n, w)| (n, Some(w)));
        let (name, which) = name.split_once('#').map_or((name, None), |(n, w)| (n, Some(w)));
        let (task, index) = self.place(name);
        let given = self.given.get(&(task, index)).map_or(&[][..], Vec::as_slice);
        let found = match which {
            Some("x") => None,
            Some(n) => given.get(n.parse::<usize>().expect("leases are numbered") - 1),
            None => given.last(),
        };
        let (lease, holder) = found.copied().unwrap_or((LeaseId(1 << 60), SessionNo(404)));
        let session = sender.map_or(holder, |worker| self.session_no(worker));
        (LeaseAt { task, index, lease }, session)
    }

    /// Milliseconds from now on.
    pub(crate) fn ahead_ms(&self, at: Time) -> i64 {
        at.0 - self.now.0
    }
}
