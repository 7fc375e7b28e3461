//! Random plans and random commands, also stale, doubled, invented and lost ones. The world checks its laws
//! after every batch; here is what must hold of whole runs. `PROPTEST_CASES` asks for more of them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use downbeat_core::{
    command::{Action, Command, Decision, Reply, Rerun, Sent, Verdict, WorkResult},
    draft::{Compensate, Does, Failures, OnFailure, OnLimit, OnTimeout, RunIf},
    id::{Index, LeaseAt, LeaseId, ReplicaNo, RouteNo, SessionNo, TaskNo, TenantNo},
    note::{Gate, NoteKey},
    session::{AgentDeclaration, SessionState},
    subtask::SubtaskState,
    task::{Mode, Priority, TaskStatus},
};
use proptest::prelude::*;

use crate::{
    ask::{Sketch, agent, completed, failed, open_as, sketch, token},
    world::{HERE, World},
};

const AGENTS: [&str; 3] = ["coder", "painter", "nobody"];
const TASKS: usize = 3;

/// One of what there is, whatever that is when the command is sent.
type Pick = u8;

#[derive(Clone, Copy, Debug)]
enum LeasePick {
    /// One that runs.
    Current(Pick),
    /// One that was ever given.
    Given(Pick),
    Invented(Pick),
}

#[derive(Clone, Debug)]
enum Op {
    Submit {
        which: Pick,
        changed: bool,
    },
    Execute {
        task: Pick,
        manual: bool,
        checkpoints: u8,
        served: u8,
    },
    Pause(Pick),
    Cancel {
        task: Pick,
        compensate: bool,
    },
    Review {
        subtask: Pick,
        action: u8,
    },
    Route {
        subtask: Pick,
        agent: u8,
    },
    Finish {
        lease: LeasePick,
        sender: Option<Pick>,
        result: u8,
    },
    Report {
        lease: LeasePick,
        sender: Option<Pick>,
        speaks: bool,
    },
    Return {
        lease: LeasePick,
        connection: u8,
    },
    Lose(LeasePick),
    Silence(LeasePick),
    Wake(Pick),
    Deadline(Pick),
    Block(Pick),
    Unblock(Pick),
    Open {
        worker: Pick,
        slots: u8,
        agents: u8,
    },
    Resume {
        session: Pick,
        genuine: bool,
        connection: u8,
    },
    Detach {
        session: Pick,
        replica: Pick,
    },
    Expire {
        session: Pick,
        overdue: bool,
    },
    Drain(Pick),
    Forget(Pick),
    Decide {
        subtask: Pick,
        option: u8,
        genuine: bool,
    },
    Signal {
        task: Pick,
        what: u8,
    },
    Spawn {
        lease: LeasePick,
        children: u8,
    },
    Attend {
        subtask: Pick,
        begin: Option<(u32, u32)>,
    },
    Rerun {
        subtask: Pick,
        also: Option<Pick>,
    },
    /// All that is due, as a tick finds it.
    Tick,
    /// Something that was sent before, word for word.
    Again(Pick),
}

#[derive(Clone, Debug)]
struct Batch {
    ops: Vec<(Op, bool)>,
    replica: i64,
    later_ms: u64,
    /// The commit fails, and the same commands come again.
    in_vain: bool,
    /// No hinted task could be locked.
    hintless: bool,
    /// What effects asked for is lost.
    forgetful: bool,
}

#[derive(Clone, Debug)]
struct Script {
    tasks: Vec<Sketch>,
    batches: Vec<Batch>,
}

fn lease_pick() -> impl Strategy<Value = LeasePick> {
    prop_oneof![
        8 => any::<Pick>().prop_map(LeasePick::Current),
        2 => any::<Pick>().prop_map(LeasePick::Given),
        1 => any::<Pick>().prop_map(LeasePick::Invented),
    ]
}

fn op() -> impl Strategy<Value = Op> {
    let sender = || prop::option::weighted(0.1, any::<Pick>());
    prop_oneof![
        8 => (any::<Pick>(), prop::bool::weighted(0.1))
            .prop_map(|(which, changed)| Op::Submit { which, changed }),
        12 => (any::<Pick>(), prop::bool::weighted(0.2), prop_oneof![2 => Just(0), 1 => any::<u8>()], any::<u8>())
            .prop_map(|(task, manual, checkpoints, served)| Op::Execute { task, manual, checkpoints, served }),
        2 => any::<Pick>().prop_map(Op::Pause),
        2 => (any::<Pick>(), any::<bool>()).prop_map(|(task, compensate)| Op::Cancel { task, compensate }),
        10 => (any::<Pick>(), 0..5_u8).prop_map(|(subtask, action)| Op::Review { subtask, action }),
        4 => (any::<Pick>(), 0..3_u8).prop_map(|(subtask, agent)| Op::Route { subtask, agent }),
        48 => (lease_pick(), sender(), 0..8_u8)
            .prop_map(|(lease, sender, result)| Op::Finish { lease, sender, result }),
        10 => (lease_pick(), sender(), any::<bool>())
            .prop_map(|(lease, sender, speaks)| Op::Report { lease, sender, speaks }),
        4 => (lease_pick(), 0..3_u8).prop_map(|(lease, connection)| Op::Return { lease, connection }),
        6 => lease_pick().prop_map(Op::Lose),
        4 => lease_pick().prop_map(Op::Silence),
        14 => any::<Pick>().prop_map(Op::Wake),
        2 => any::<Pick>().prop_map(Op::Deadline),
        4 => any::<Pick>().prop_map(Op::Block),
        4 => any::<Pick>().prop_map(Op::Unblock),
        8 => (any::<Pick>(), 0..5_u8, 1..8_u8)
            .prop_map(|(worker, slots, agents)| Op::Open { worker, slots, agents }),
        4 => (any::<Pick>(), prop::bool::weighted(0.8), 0..3_u8)
            .prop_map(|(session, genuine, connection)| Op::Resume { session, genuine, connection }),
        4 => (any::<Pick>(), 0..2_u8).prop_map(|(session, replica)| Op::Detach { session, replica }),
        4 => (any::<Pick>(), any::<bool>()).prop_map(|(session, overdue)| Op::Expire { session, overdue }),
        2 => any::<Pick>().prop_map(Op::Drain),
        2 => any::<Pick>().prop_map(Op::Forget),
        8 => any::<Pick>().prop_map(Op::Again),
        8 => (any::<Pick>(), 0..8_u8, prop::bool::weighted(0.9))
            .prop_map(|(subtask, option, genuine)| Op::Decide { subtask, option, genuine }),
        8 => (any::<Pick>(), 0..8_u8).prop_map(|(task, what)| Op::Signal { task, what }),
        8 => (lease_pick(), 0..6_u8).prop_map(|(lease, children)| Op::Spawn { lease, children }),
        4 => (any::<Pick>(), prop::option::of((0..3_u32, 0..4_u32)))
            .prop_map(|(subtask, begin)| Op::Attend { subtask, begin: begin.map(|(at, n)| (at, at + n)) }),
        4 => (any::<Pick>(), prop::option::of(any::<Pick>()))
            .prop_map(|(subtask, also)| Op::Rerun { subtask, also }),
        8 => Just(Op::Tick),
    ]
}

fn batch() -> impl Strategy<Value = Batch> {
    let op = || (op(), prop::bool::weighted(0.1));
    (
        prop::collection::vec(op(), 0..5),
        prop_oneof![3 => Just(1), 1 => Just(2)],
        prop_oneof![Just(0), Just(5), Just(2_000), Just(20_000)],
        prop::bool::weighted(0.05),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
    )
        .prop_map(|(ops, replica, later_ms, in_vain, hintless, forgetful)| Batch {
            ops,
            replica,
            later_ms,
            in_vain,
            hintless,
            forgetful,
        })
}

/// Gives a draft one of the shapes that a plan may hold. `flags` vary it.
fn shape(task: Sketch, key: &str, shape: u8, flags: u8) -> Sketch {
    let body = |flags: u8| {
        let body = match flags % 8 {
            0 | 1 => sketch("", "x"),
            2 => sketch("", "x, y < x"),
            3 => sketch("", "x, y < x").failing("x").run_if("y", RunIf::AnyFailed),
            4 => sketch("", "x, y").failing("x y"),
            5 => sketch("", "x, y < x").approval("x", |_| {}),
            6 => sketch("", "x, y < x").signal("x", "go", None, None).when("y", "false"),
            _ => sketch("", "x, y < x").map("y", "[1,2]", Some(1), sketch("", "p, q < p")),
        };
        let inner = body.draft("x", |draft| draft.max_attempts = draft.does.is_work().then_some(1));
        if flags >= 0x80 { sketch("", "x").group("x", inner) } else { inner }
    };
    let window = [None, Some(1), Some(2)][usize::from(flags >> 3) % 3];
    match shape {
        0 => task.approval(key, |approval| {
            approval.quorum = 1 + u32::from(flags & 1);
            approval.timeout_seconds = (flags & 2 > 0).then_some(15);
            approval.on_timeout = OnTimeout::ALL[usize::from(flags >> 2) % 3];
        }),
        1 => task.signal(key, "go", (flags & 1 > 0).then_some("signal > 1"), (flags & 2 > 0).then_some(15)),
        2 => task.timer(key, 1 + u32::from(flags) % 30),
        3 | 4 => task.group(key, body(flags)),
        5 | 6 => {
            let over = ["[1,2,3]", "[1,2,3,4,5]", "[]", "input"][usize::from(flags) % 4];
            let failures = [Failures::FailFast, Failures::Tolerate(1), Failures::Continue];
            task.map_with(key, over, window, failures[usize::from(flags >> 2) % 3], body(flags >> 1))
        }
        7 | 8 => {
            // Whatever `x` is: the validator cannot know.
            let of_any = "(iteration > 0 ? outputs : input).x.n > 1";
            let until = ["iteration >= 2", "false", of_any, "true"][usize::from(flags) % 4];
            let on_limit = OnLimit::ALL[usize::from(flags >> 2) % 2];
            task.repeat(key, until, 1 + u32::from(flags) % 3, on_limit, body(flags >> 1))
        }
        _ if flags & 3 == 0 => task.draft(key, |draft| {
            draft.compensate = Some(Compensate { agent: "coder".into(), ..Compensate::default() });
        }),
        _ => task,
    }
}

/// What a worker adds.
fn children(n: u8) -> Sketch {
    match n {
        0 | 1 => sketch("", "c"),
        2 => sketch("", "c, d < c"),
        3 => sketch("", "c, d < c, e").failing("c e"),
        4 => sketch("", "c, f < c").group("f", sketch("", "x, y < x").failing("x")),
        _ => sketch("", "g, h < g").approval("g", |_| {}).map("h", "[1,2,3]", Some(2), sketch("", "x")),
    }
}

/// A random graph: bit `j` of a subtask's mask makes it wait for the `j`-th.
fn task(n: usize) -> impl Strategy<Value = Sketch> {
    let node = (any::<u8>(), any::<u8>(), prop::bool::weighted(0.3), 0..3_u16, 0..12_u8, 0..6_u8);
    let node = (node, (0..20_u8, any::<u8>(), 0..16_u8, 0..16_u8));
    let deadline = prop::option::weighted(0.2, 10_000..100_000_u64);
    (prop::collection::vec(node, 1..8), deadline, 0..4_u8).prop_map(move |(nodes, deadline_ms, priority)| {
        let keys: Vec<String> = (0..nodes.len()).map(|i| format!("n{i}")).collect();
        let mut task = sketch(&format!("t{n}"), &keys.join(","));
        for (i, (draft, (node, (_, _, run_if, when)))) in task.drafts.iter_mut().zip(&nodes).enumerate() {
            // Two masks at once: most graphs are sparse enough to have some width.
            let mask = node.0 & node.1;
            draft.depends_on = (0..i).filter(|j| mask >> j & 1 == 1).map(|j| keys[j].clone()).collect();
            draft.sla_seconds = node.2.then_some(10);
            draft.max_attempts = (node.3 > 0).then_some(node.3);
            draft.agent = AGENTS[usize::from(node.4 > 8)].into();
            draft.priority = Priority::from_number(node.5);
            draft.run_if = RunIf::ALL[usize::from(run_if.saturating_sub(12))];
            draft.on_failure = (run_if & 1 > 0).then_some(OnFailure::Fail);
            draft.when =
                ["true", "false", "input.x > 1"].get(usize::from(*when)).map(|&when| when.to_owned());
        }
        for (key, (_, (kind, flags, ..))) in keys.iter().zip(&nodes) {
            task = shape(task, key, *kind, *flags);
            task = task.draft(key, |draft| {
                if !draft.does.is_work() {
                    (draft.sla_seconds, draft.max_attempts) = (None, None);
                }
            });
        }
        task.priority = Priority::from_number(priority).unwrap_or_default();
        task.deadline_ms = deadline_ms;
        task
    })
}

fn script() -> impl Strategy<Value = Script> {
    let tasks = (task(0), task(1), task(2)).prop_map(|(a, b, c)| vec![a, b, c]);
    (tasks, prop::collection::vec(batch(), 1..100)).prop_map(|(tasks, batches)| Script { tasks, batches })
}

/// Picks names out of a world as it is, and sends.
struct Driver {
    world: World,
    tasks: Vec<Sketch>,
    sent: Vec<Command>,
    /// Results that were accepted, as the workers count them.
    accepted: BTreeMap<LeaseAt, u32>,
    told: Vec<String>,
}

impl Driver {
    fn new(tasks: &[Sketch]) -> Driver {
        let mut world = World::new();
        for agent in AGENTS {
            world.agent_route(agent);
        }
        Driver { world, tasks: tasks.to_vec(), sent: Vec::new(), accepted: BTreeMap::new(), told: Vec::new() }
    }

    /// The world after the whole script.
    fn play(script: &Script) -> Driver {
        let mut driver = Driver::new(&script.tasks);
        // Something to begin with, so that short scripts are not about nothing.
        let first = Op::Open { worker: 0, slots: 4, agents: 3 };
        let begin = [first, Op::Submit { which: 0, changed: false }];
        driver.run(1, begin.iter().flat_map(|op| driver.command(op, 1)).collect(), false);
        let execute = Op::Execute { task: 0, manual: false, checkpoints: 0, served: 7 };
        driver.run(1, driver.command(&execute, 1).into_iter().collect(), false);
        for batch in &script.batches {
            driver.world.now = driver.world.now.plus_ms(batch.later_ms);
            let prompts = std::mem::take(&mut driver.world.prompts).into_values();
            let mut commands: Vec<Command> = prompts.filter(|_| !batch.forgetful).collect();
            for (op, twice) in &batch.ops {
                let command = driver.command(op, batch.replica);
                commands.extend(command.clone().filter(|_| *twice));
                commands.extend(command);
                if matches!(op, Op::Tick) {
                    commands.extend(driver.world.due());
                }
            }
            if batch.in_vain {
                driver.world.run_in_vain(ReplicaNo(batch.replica), &commands);
            }
            driver.run(batch.replica, commands, batch.hintless);
        }
        driver
    }

    fn run(&mut self, replica: i64, commands: Vec<Command>, hintless: bool) {
        let outcome = if hintless {
            self.world.run_with(ReplicaNo(replica), &commands, &[])
        } else {
            self.world.run(ReplicaNo(replica), &commands)
        };
        for (command, reply) in commands.iter().zip(&outcome.replies) {
            if let (Command::Finish { at, .. }, Ok(Reply::Verdict(Verdict::Accepted))) = (command, reply) {
                *self.accepted.entry(*at).or_default() += 1;
            }
        }
        self.told.push(format!("{outcome:?}"));
        self.sent.extend(commands);
    }

    fn command(&self, op: &Op, replica: i64) -> Option<Command> {
        let replica = ReplicaNo(replica);
        Some(match op {
            Op::Submit { which, changed } => {
                let mut task = self.tasks[usize::from(*which) % TASKS].clone();
                task.digest += u8::from(*changed);
                task.submit(&mut self.world.clone(), TenantNo::DEFAULT)
            }
            Op::Execute { task, manual, checkpoints, served } => Command::Execute {
                task: self.task(*task),
                mode: if *manual { Mode::Manual } else { Mode::Auto },
                checkpoints: (0..8).filter(|i| checkpoints >> i & 1 == 1).collect(),
                served: self.routes(*served),
            },
            Op::Pause(task) => Command::Pause { task: self.task(*task) },
            Op::Cancel { task, compensate } => {
                Command::Cancel { task: self.task(*task), reason: "enough".into(), compensate: *compensate }
            }
            Op::Review { subtask, action } => {
                let (task, index) = self.subtask(*subtask);
                Command::Review { task, index, action: review_action(*action), by: String::new() }
            }
            Op::Route { subtask, agent } => {
                let (task, index) = self.subtask(*subtask);
                let route = self.world.clone().agent_route(AGENTS[usize::from(*agent)]);
                Command::Route { task, index, route }
            }
            Op::Finish { lease, sender, result } => {
                let (at, holder) = self.lease(*lease)?;
                let session = sender.map_or(holder, |pick| self.session(pick));
                Command::Finish { at, session, result: result_of(*result) }
            }
            Op::Report { lease, sender, speaks } => {
                let (at, holder) = self.lease(*lease)?;
                let session = sender.map_or(holder, |pick| self.session(pick));
                Command::Report { at, session, message: speaks.then(|| "half".to_owned()) }
            }
            Op::Return { lease, connection } => {
                let (at, session) = self.lease(*lease)?;
                Command::Return { at, session, connection: self.connection(session, *connection) }
            }
            Op::Lose(lease) => Command::Lose { at: self.lease(*lease)?.0 },
            Op::Silence(lease) => Command::Silence { at: self.lease(*lease)?.0 },
            Op::Wake(subtask) => {
                let (task, index) = self.subtask(*subtask);
                Command::Wake { task, index: Some(index) }
            }
            Op::Deadline(task) => Command::Wake { task: self.task(*task), index: None },
            Op::Block(subtask) => {
                let (task, index) = self.subtask(*subtask);
                Command::Block { task, index }
            }
            Op::Unblock(subtask) => {
                let (task, index) = self.subtask(*subtask);
                Command::Unblock { task, index }
            }
            Op::Open { worker, slots, agents } => {
                let named = AGENTS.iter().enumerate().filter(|(i, _)| agents >> i & 1 == 1);
                let agents: Vec<AgentDeclaration> = named.map(|(_, name)| agent(name)).collect();
                let name = format!("w{worker}");
                open_as(&name, u32::from(*slots), &agents).commands(&mut self.world.clone()).pop()?
            }
            Op::Resume { session, genuine, connection } => {
                let session = self.session(*session);
                let row = self.world.sessions.get(&session);
                let token = row.filter(|_| *genuine).map_or(token("nobody"), |row| row.token);
                let connection = self.connection(session, *connection);
                Command::ResumeSession { tenant: TenantNo::DEFAULT, session, replica, token, connection }
            }
            Op::Detach { session, replica } => {
                let replica = ReplicaNo(i64::from(*replica) + 1);
                Command::DetachSession { session: self.session(*session), replica }
            }
            Op::Expire { session, overdue } => {
                Command::ExpireSession { session: self.session(*session), overdue: *overdue }
            }
            Op::Drain(session) => Command::DrainSession { session: self.session(*session) },
            Op::Forget(session) => Command::ForgetSession { session: self.session(*session) },
            Op::Decide { subtask, option, genuine } => {
                let (task, index) = self.gate(*subtask);
                let note = self.world.notes.get(&(task, NoteKey::Gate(index)));
                let gate: Option<Gate> = note.and_then(|note| serde_json::from_slice(note).ok());
                let digest = gate.filter(|_| *genuine).map(|gate| gate.digest).unwrap_or_default();
                let by = if option & 1 > 0 { "ann" } else { "bob" }.to_owned();
                let option = ["yes", "yes", "no", "drop"][usize::from(*option >> 1)].to_owned();
                let decision = Decision { by, option, digest, ..Decision::default() };
                Command::Decide { task, index, decision: Arc::new(decision) }
            }
            Op::Signal { task, what } => {
                let id = if what & 1 > 0 { String::new() } else { format!("s{what}") };
                let name = if *what < 7 { "go" } else { "no" }.to_owned();
                let sent = Sent { name, payload: what.to_string().into(), by: String::new(), id };
                Command::Signal { task: self.task(*task), signal: Arc::new(sent) }
            }
            Op::Spawn { lease, children: which } => {
                let (at, session) = self.lease(*lease)?;
                let mut world = self.world.clone();
                Command::Spawn { at, session, children: children(*which).body(&mut world) }
            }
            Op::Attend { subtask, begin } => {
                let (task, index) = self.subtask(*subtask);
                Command::Attend { task, index, begin: *begin }
            }
            Op::Rerun { subtask, also } => {
                let (task, index) = self.subtask(*subtask);
                let also = also.map(|also| self.subtask(also)).filter(|(of, _)| *of == task);
                let from = BTreeSet::from_iter([index].into_iter().chain(also.map(|(_, index)| index)));
                Command::Rerun { task, rerun: Arc::new(Rerun { from, ..Rerun::default() }) }
            }
            Op::Tick => return None,
            Op::Again(pick) => pick_of(&self.sent, *pick)?.clone(),
        })
    }

    /// A task, or now and then one that does not exist.
    fn task(&self, pick: Pick) -> TaskNo {
        let tasks: Vec<TaskNo> = self.world.tasks.keys().copied().collect();
        pick_of(&tasks, pick).copied().filter(|_| pick < 250).unwrap_or(TaskNo(404))
    }

    /// A subtask, or now and then one beyond the plan.
    fn subtask(&self, pick: Pick) -> (TaskNo, Index) {
        let places: Vec<(TaskNo, Index)> = self.world.subtasks.keys().copied().collect();
        let open: Vec<(TaskNo, Index)> = places
            .iter()
            .copied()
            .filter(|place| {
                let row = &self.world.subtasks[place];
                !row.state.is_terminal() && row.state != SubtaskState::Pending
            })
            .collect();
        // Mostly something that can move.
        let found = if pick.is_multiple_of(4) || open.is_empty() {
            pick_of(&places, pick)
        } else {
            pick_of(&open, pick / 4)
        };
        found.copied().filter(|_| pick < 250).unwrap_or((self.task(pick), 99))
    }

    /// An open approval, where there is one.
    fn gate(&self, pick: Pick) -> (TaskNo, Index) {
        let open = self.world.subtasks.iter().filter(|((task, index), row)| {
            let does = self.world.plans[task].node(*index).map(|node| &node.does);
            row.state == SubtaskState::Waiting && matches!(does, Some(Does::Approval(_)))
        });
        let open: Vec<(TaskNo, Index)> = open.map(|(place, _)| *place).collect();
        pick_of(&open, pick).copied().unwrap_or_else(|| self.subtask(pick))
    }

    fn session(&self, pick: Pick) -> SessionNo {
        let roster = self.world.roster.keys().map(|(_, no)| *no);
        let known: BTreeSet<SessionNo> = self.world.sessions.keys().copied().chain(roster).collect();
        let known: Vec<SessionNo> = known.into_iter().collect();
        pick_of(&known, pick).copied().unwrap_or(SessionNo(404))
    }

    /// The one before the session's own, that one, or the next.
    fn connection(&self, session: SessionNo, pick: u8) -> u32 {
        (self.world.connection(session) + u32::from(pick)).saturating_sub(1)
    }

    fn lease(&self, pick: LeasePick) -> Option<(LeaseAt, SessionNo)> {
        match pick {
            LeasePick::Current(pick) => {
                let rows = self.world.subtasks.iter();
                let current: Vec<(LeaseAt, SessionNo)> = rows
                    .filter_map(|(&(task, index), row)| {
                        Some((LeaseAt { task, index, lease: row.lease? }, row.session?))
                    })
                    .collect();
                pick_of(&current, pick).copied()
            }
            LeasePick::Given(pick) => {
                let given: Vec<(LeaseAt, SessionNo)> = self
                    .world
                    .given
                    .iter()
                    .flat_map(|(&(task, index), given)| {
                        given.iter().map(move |&(lease, session)| (LeaseAt { task, index, lease }, session))
                    })
                    .collect();
                pick_of(&given, pick).copied()
            }
            LeasePick::Invented(pick) => {
                let (task, index) = self.subtask(pick);
                Some((LeaseAt { task, index, lease: LeaseId(i64::from(pick) << 40) }, self.session(pick)))
            }
        }
    }

    fn routes(&self, mask: u8) -> BTreeSet<RouteNo> {
        let mut world = self.world.clone();
        let routes = AGENTS.iter().enumerate().filter(|(i, _)| mask >> i & 1 == 1);
        routes.map(|(_, agent)| world.agent_route(agent)).collect()
    }

    /// The faults stop: old sessions end and are swept, a good worker comes, people answer. Gives the number
    /// of rounds until every executed task was final.
    fn settle(&mut self) -> usize {
        let sessions: Vec<SessionNo> = self.world.sessions.keys().copied().collect();
        for session in sessions {
            let mut sweep = vec![Command::ExpireSession { session, overdue: false }];
            for (&(task, index), row) in &self.world.subtasks {
                if let (Some(lease), true) = (row.lease, row.session == Some(session)) {
                    sweep.push(Command::Lose { at: LeaseAt { task, index, lease } });
                }
            }
            sweep.push(Command::ForgetSession { session });
            self.run(1, sweep, false);
        }
        assert!(self.world.sessions.is_empty(), "{:?}", self.world.sessions);
        let worker = open_as("good", 100, &AGENTS.map(agent)).commands(&mut self.world);
        self.run(1, worker, false);
        assert!(self.world.sessions.values().all(|row| row.state == SessionState::Open));
        for round in 0..ROUNDS_MAX {
            if self.executed().next().is_none() {
                return round;
            }
            self.world.now = self.world.now.plus_ms(self.world.policy.backoff_max_ms);
            let commands = self.answers(round);
            self.run(1, commands, false);
            // Until then, effects were lost now and then; a tick finds what they were for.
            let due = self.world.due();
            if !due.is_empty() {
                self.run(1, due, false);
            }
            self.world.settle();
        }
        panic!("not final after {ROUNDS_MAX} rounds: {:#?}\n{:#?}", self.world.tasks, self.world.subtasks);
    }

    /// Started and not final.
    fn executed(&self) -> impl Iterator<Item = TaskNo> {
        let open =
            self.world.tasks.values().filter(|task| task.started_at.is_some() && !task.status.is_terminal());
        open.map(|task| task.no)
    }

    /// What everybody does next: people, the worker, timers.
    fn answers(&self, round: usize) -> Vec<Command> {
        let mut commands = Vec::new();
        for task in self.executed() {
            let rows = self.world.subtasks.range((task, 0)..=(task, Index::MAX));
            let waits = rows.clone().any(|(_, row)| row.state == SubtaskState::Waiting);
            if waits || self.world.tasks[&task].status == TaskStatus::Paused {
                let (checkpoints, served) = (BTreeSet::new(), self.routes(7));
                commands.push(Command::Execute { task, mode: Mode::Auto, checkpoints, served });
            }
            if self.world.tasks[&task].wake_at.is_some_and(|at| at <= self.world.now) {
                commands.push(Command::Wake { task, index: None });
            }
            for (&(task, index), row) in rows {
                commands.extend(match row.state {
                    SubtaskState::Backoff => Some(Command::Wake { task, index: Some(index) }),
                    SubtaskState::Blocked => Some(Command::Unblock { task, index }),
                    SubtaskState::NeedsReview => {
                        // Some things fail as often as they are tried.
                        // An approval is never skipped by who was not asked.
                        let does = self.world.plans[&task].node(index).map(|node| &node.does);
                        let last = if matches!(does, Some(Does::Approval(_))) { 2 } else { 1 };
                        let action = if round < 3 { Action::Retry } else { review_action(last) };
                        Some(Command::Review { task, index, action, by: String::new() })
                    }
                    SubtaskState::Waiting => self.opens(task, index, round),
                    SubtaskState::Leased | SubtaskState::Running => {
                        let (lease, session) = row.lease.zip(row.session).expect("a lease has a holder");
                        Some(Command::Finish {
                            at: LeaseAt { task, index, lease },
                            session,
                            result: completed(),
                        })
                    }
                    _ => None,
                });
            }
        }
        commands
    }
}

impl Driver {
    /// What lets a gate go on.
    fn opens(&self, task: TaskNo, index: Index, round: usize) -> Option<Command> {
        let by = if round.is_multiple_of(2) { "ann" } else { "bob" }.to_owned();
        match &self.world.plans[&task].node(index)?.does {
            Does::Approval(_) => {
                let note = self.world.notes.get(&(task, NoteKey::Gate(index)))?;
                let digest = serde_json::from_slice::<Gate>(note).expect("a note is what it says").digest;
                let decision = Decision { by, option: "yes".into(), digest, ..Decision::default() };
                Some(Command::Decide { task, index, decision: Arc::new(decision) })
            }
            Does::Signal(_) => {
                let sent = Sent { name: "go".into(), payload: "9".into(), ..Sent::default() };
                Some(Command::Signal { task, signal: Arc::new(sent) })
            }
            Does::Work
            | Does::Timer(_)
            | Does::Workflow(_)
            | Does::Group(_)
            | Does::Map(_)
            | Does::Loop(_)
            | Does::Round => None,
        }
    }
}

/// A path of eight groups, with loops of maps in them, after people answered whatever was open.
const ROUNDS_MAX: usize = 300;

fn pick_of<T>(all: &[T], pick: Pick) -> Option<&T> {
    all.get(usize::from(pick) % all.len().max(1))
}

fn review_action(n: u8) -> Action {
    match n {
        0 => Action::Retry,
        1 => Action::Skip { reason: "by hand".into() },
        2 => Action::Fail { reason: "by hand".into() },
        3 => Action::Complete { output: "1".into() },
        _ => Action::Release,
    }
}

fn result_of(n: u8) -> WorkResult {
    match n {
        0 | 1 => failed(true),
        2 => failed(false),
        6 | 7 => WorkResult::Suspended,
        _ => completed(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 160, max_shrink_iters: 4_000, ..ProptestConfig::default() })]

    /// The laws of the world hold through any run; no result counts twice; and once the faults stop, every
    /// executed task reaches its end, and stays there.
    #[test]
    fn any_run_keeps_the_laws_and_reaches_an_end(script in script()) {
        let mut driver = Driver::play(&script);
        driver.settle();
        prop_assert!(driver.accepted.values().all(|&times| times == 1), "{:?}", driver.accepted);
        let (tasks, subtasks) = (driver.world.tasks.clone(), driver.world.subtasks.clone());
        let history = driver.world.history.clone();
        // Everything that was ever sent comes once more, late.
        let sent = std::mem::take(&mut driver.sent);
        for command in sent {
            let begins = matches!(
                command,
                Command::Submit(_) | Command::OpenSession { .. } | Command::Rerun { .. }
            );
            if !begins {
                driver.run(1, vec![command], false);
            }
        }
        for (no, task) in tasks.into_iter().filter(|(_, task)| task.status.is_terminal()) {
            prop_assert_eq!(&driver.world.tasks[&no], &task);
            prop_assert_eq!(&driver.world.history[&no], &history[&no]);
            let range = (no, 0)..=(no, Index::MAX);
            prop_assert!(driver.world.subtasks.range(range.clone()).eq(subtasks.range(range)));
        }
    }

    /// The same commands over the same rows at the same times come to the same, to the last byte.
    #[test]
    fn a_run_repeats_itself(script in script()) {
        let (one, other) = (Driver::play(&script), Driver::play(&script));
        prop_assert_eq!(one.told, other.told);
    }
}

#[test]
fn without_faults_the_longest_path_decides() {
    let chain = sketch("t0", "a, b < a, c < b, d < c, e < d, f < e, g < f, h < g");
    let mut driver = Driver::new(&[chain.clone(), chain.clone(), chain]);
    let submit = driver.command(&Op::Submit { which: 0, changed: false }, 1);
    driver.run(1, submit.into_iter().collect(), false);
    let execute = Op::Execute { task: 0, manual: false, checkpoints: 0, served: 7 };
    driver.run(1, driver.command(&execute, 1).into_iter().collect(), false);
    assert_eq!(driver.settle(), 1 + 8, "one look, and one commit per hop");
    assert!(driver.world.run(HERE, &[]).changes.is_empty());
}
