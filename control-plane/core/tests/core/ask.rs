//! Commands in a line. Names are resolved when the row runs, against the world as it is then.
//!
//! A subtask is `key` in task `t`, or `task/key`. A lease is a subtask, with `#2` for its second lease (the
//! newest is meant otherwise), `#x` for an invented one, and `@w2` where another worker sends the message.

use std::{collections::BTreeSet, sync::Arc};

use bytes::Bytes;
use downbeat_core::{
    command::{Action, Command, Request, Submit, WorkResult},
    event::AttemptError,
    id::{Index, LeaseAt, LeaseId, ReplicaNo, RouteNo, SessionNo, TaskNo, TenantNo},
    plan::{Draft, Plan, RouteSpec},
    session::{AgentDeclaration, WorkerDeclaration},
    task::{Mode, Priority},
    time::Time,
};

use crate::world::{HERE, World};

type Make = Box<dyn FnOnce(&mut World) -> Command>;

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
        self.make.into_iter().map(|make| make(world)).collect()
    }
}

fn ask(make: impl FnOnce(&mut World) -> Command + 'static) -> Ask {
    Ask { later_ms: 0, replica: HERE, make: vec![Box::new(make)] }
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

    /// Starts at once, while only these agents are served.
    pub(crate) fn at_once(mut self, agents: &'static str) -> Sketch {
        self.served = Some(agents);
        self
    }

    /// The command; the plan passes the same check as any other.
    pub(crate) fn submit(self, world: &mut World, tenant: TenantNo) -> Command {
        Plan::check(&self.drafts).expect("tests draw valid plans");
        let attempts_max = world.policy.attempts_max;
        let plan = Plan::build(&self.id, self.priority, attempts_max, &self.drafts, |spec| world.route(spec));
        let route = |agents: &str| agents.split_whitespace().map(|agent| world.agent_route(agent)).collect();
        let served = self.served.map(route);
        let deadline = self.deadline_ms.map(|ms| world.now.plus_ms(ms));
        Command::Submit(Arc::new(Submit {
            tenant,
            id: self.id,
            digest: [self.digest; 32],
            priority: self.priority,
            deadline,
            due_at: deadline,
            request: Request { title: "a title".into(), ..Request::default() },
            served,
            plan: Arc::new(plan),
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
    ask(move |world| Command::Cancel { task: world.task_no(&task), reason: "not needed".into() })
}

fn review(subtask: &str, action: Action) -> Ask {
    let subtask = subtask.to_owned();
    ask(move |world| {
        let (task, index) = world.place(&subtask);
        Command::Review { task, index, action }
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
