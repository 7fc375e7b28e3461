//! One replica's part of the engine: what it keeps in memory, and the step that decides a batch.
//!
//! Everything here may be lost: rows are the truth, and [`Replica`] is filled again from them. There is no
//! clock, channel or task in this module, so the simulation drives the very same code over virtual time.

mod line;
mod pace;
mod roster;
mod step;
mod timers;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use downbeat_core::{
    command::Command,
    effect::{Assignment, Effect, Next, Queued, Wake},
    id::{Index, LeaseAt, LeaseId, ReplicaNo, RouteNo, SessionNo, TaskNo},
    nested::Nesting,
    policy::Policy,
    session::{Session, SessionState},
    subtask::Outcome,
    time::Time,
};
use downbeat_store::{Leased, Route, Tick};

pub(crate) use self::pace::Pace;
use self::{line::Line, roster::Roster, timers::Timers};
pub use self::{
    line::Scan,
    roster::{Held, Liveness, Member, Mono},
    step::{Created, Failure, Step},
};

/// What the shell has to do after a step. Each may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outbound {
    Assign(Assignment),
    /// Tell the session to stop this one, wherever it is connected.
    Revoke {
        session: SessionNo,
        at: LeaseAt,
        outcome: Outcome,
    },
    /// Tell the session to finish and go.
    Drain {
        session: SessionNo,
    },
    /// Close the session's stream: it lives elsewhere or no more.
    Evict {
        session: SessionNo,
    },
    /// Something is to be done for a task within a task.
    Nest(Nesting),
    /// Somebody is in line whom no seat here could take: other replicas may want to know.
    Unplaced {
        route: RouteNo,
    },
}

/// What the rows said of all sessions.
#[derive(Clone, Debug)]
pub struct SessionLook {
    pub sessions: Vec<Session>,
    /// The replicas whose beat is fresh.
    pub live: Vec<ReplicaNo>,
    /// Before the rows were read.
    pub read: Mono,
}

/// What the rows said of the leases of some sessions.
#[derive(Clone, Debug)]
pub struct LeaseLook {
    /// Those of this replica before and after the leases were read.
    pub of: Vec<SessionNo>,
    pub leases: Vec<Leased>,
    /// Before the rows were read.
    pub read: Mono,
}

/// The in-memory state of one replica.
#[derive(Debug)]
pub struct Replica {
    pub no: ReplicaNo,
    pub policy: Policy,
    roster: Roster,
    line: Line,
    timers: Timers,
    /// What a batch left to commands of their own, to be given with the next one.
    prompt: BTreeMap<(TaskNo, Index), Command>,
    routes: BTreeMap<RouteNo, Route>,
    /// Sessions that are this replica's by their rows, and were not connected at the last look.
    unconnected: BTreeSet<SessionNo>,
    /// Database time minus the shell's monotonic time, as of the last batch or tick.
    skew_ms: i64,
}

impl Replica {
    /// A replica that knows nothing yet.
    pub fn new(no: ReplicaNo, policy: Policy, liveness: Liveness) -> Replica {
        Replica {
            no,
            policy,
            roster: Roster::new(liveness),
            line: Line::default(),
            timers: Timers::default(),
            prompt: BTreeMap::new(),
            routes: BTreeMap::new(),
            unconnected: BTreeSet::new(),
            skew_ms: 0,
        }
    }

    /// Learns routes; members get the skills that match.
    pub fn learn_routes(&mut self, routes: impl IntoIterator<Item = Route>) {
        for route in routes {
            self.roster.learn_route(&route);
            self.routes.insert(route.no, route);
        }
    }

    /// A session's stream is connected here. An earlier connection is replaced; what was sent into that one
    /// and does not count as held is handed back.
    pub fn connect(&mut self, session: SessionNo, member: Member, now: Mono) -> Vec<Command> {
        let unsent = self.roster.connect(session, member, &self.routes, now);
        self.line.look_again(self.roster.routes_of(session));
        unsent
    }

    /// The stream is gone: the member's seat is empty until it comes back.
    pub fn disconnect(&mut self, session: SessionNo) -> Option<Command> {
        self.roster.remove(session).map(|_| Command::DetachSession { session, replica: self.no })
    }

    /// Whether the session is connected here.
    pub fn has(&self, session: SessionNo) -> bool {
        self.roster.member(session).is_some()
    }

    /// The session that holds this lease here, if it does.
    pub fn holds(&self, session: SessionNo, lease: LeaseId) -> bool {
        self.roster.member(session).is_some_and(|member| member.holds(lease))
    }

    /// The worker said it is alive, and what it works on.
    pub fn heartbeat(&mut self, session: SessionNo, in_flight: &[LeaseAt], now: Mono) -> Vec<Command> {
        self.roster.heartbeat(session, in_flight, now)
    }

    /// The worker took these up.
    pub fn acknowledge(&mut self, session: SessionNo, leases: &[LeaseAt], now: Mono) {
        self.roster.acknowledge(session, leases, now);
    }

    /// The worker said how far it is. Kept until the next [`due`](Replica::due); newest wins.
    pub fn progress(&mut self, session: SessionNo, at: LeaseAt, message: String, now: Mono) {
        self.roster.progress(session, at, message, now);
    }

    /// The worker is done with these, whatever comes of it: their slots are free.
    pub fn free(&mut self, session: SessionNo, leases: &[LeaseAt], now: Mono) {
        self.roster.free(session, leases, now);
    }

    /// What time asks for: overdue timers, silent workers, unacknowledged leases, collected reports.
    /// Sessions that acknowledge nothing come back beside it: their streams are to be closed.
    pub fn due(&mut self, now: Mono, limit: usize) -> (Vec<Command>, Vec<SessionNo>) {
        let (mut commands, sick) = self.roster.due(now);
        let prompt = self.prompt.keys().take(limit).copied().collect::<Vec<_>>();
        commands.extend(prompt.iter().filter_map(|place| self.prompt.remove(place)));
        let database_now = Time(now.0 as i64 + self.skew_ms);
        commands.extend(self.timers.due(database_now, limit).into_iter().map(wake_command));
        (commands, sick)
    }

    /// When a route's line is to be looked at again; `None`: not before somebody says so.
    pub fn next_look(&self, now: Mono) -> Option<Mono> {
        self.line
            .next_look()
            .filter(|(route, _)| self.roster.free_for(*route) > 0)
            .map(|(_, at)| at.max(now))
            .min()
    }

    /// Somebody may be in line for these.
    pub fn look_again(&mut self, routes: impl IntoIterator<Item = RouteNo>) {
        self.line.look_again(routes);
    }

    /// The leases that the rows gave to these sessions when they were read. What nobody sent out is handed back.
    /// What a worker holds and the rows do not know, at two looks in a row, is taken from it.
    pub fn reconcile_leases(&mut self, look: &LeaseLook, now: Mono) -> (Vec<Command>, Vec<Outbound>) {
        let unsent = |Leased { session, at, .. }: &Leased| {
            let settled = |member: &&Member| member.connected < look.read && look.of.contains(session);
            let member = self.roster.member(*session).filter(settled).filter(|m| !m.knows(at.lease))?;
            Some(Command::Return { at: *at, session: *session, connection: member.connection })
        };
        let commands = look.leases.iter().filter_map(unsent).collect();
        let gone = self.roster.settle(look, now).into_iter();
        let revoke = |(session, at)| Outbound::Revoke { session, at, outcome: Outcome::Lost };
        (commands, gone.map(revoke).collect())
    }

    /// The lease was taken from the session: by this replica, or by one that does not have its stream.
    pub fn revoke(&mut self, session: SessionNo, at: LeaseAt, outcome: Outcome) -> Option<Outbound> {
        let to_tell = self.roster.revoked(session, at) || !self.has(session);
        to_tell.then_some(Outbound::Revoke { session, at, outcome })
    }

    /// When [`due`](Replica::due) has something to say, at the latest; `None`: nothing waits.
    pub fn next_due(&self) -> Option<Mono> {
        let timer = self.timers.next().map(|at| Mono(u64::try_from(at.0 - self.skew_ms).unwrap_or(0)));
        [timer, self.roster.next_due()].into_iter().flatten().min()
    }

    /// Whether a batch left something to be done at once.
    pub fn is_prompted(&self) -> bool {
        !self.prompt.is_empty()
    }

    /// What the periodic look found. Gives commands for what is due; [`wants`](Replica::wants) says what to
    /// scan for next.
    pub fn tick(&mut self, tick: &Tick, now: Mono) -> Vec<Command> {
        self.see_time(tick.now, now);
        self.line.look_again(tick.in_line.iter().flatten().copied());
        tick.due.iter().map(|due| wake_command(due.wake)).collect()
    }

    /// The sessions as they stood in the database when they were read: settles what this replica believes
    /// against it. Of a session that was connected since then they say nothing.
    pub fn reconcile(&mut self, look: &SessionLook) -> (Vec<Command>, Vec<Outbound>) {
        let (mut commands, mut out) = (Vec::new(), Vec::new());
        // One that is just being opened has its row before its stream: detach it when it is seen twice.
        let unconnected_before = std::mem::take(&mut self.unconnected);
        for row in &look.sessions {
            if self.roster.member(row.no).is_some_and(|member| member.connected >= look.read) {
                continue;
            }
            let mine = row.replica == self.no && !self.is_superseded(row);
            let connected = self.has(row.no);
            match (row.state, row.wake_at) {
                (SessionState::Expired, _) => {
                    if connected {
                        out.push(Outbound::Evict { session: row.no });
                    }
                }
                // The row says that the stream is gone.
                (SessionState::Open | SessionState::Draining | SessionState::Detached, Some(at)) => {
                    if let Some(member) = self.roster.member(row.no).filter(|_| mine) {
                        commands.push(self.take_back(row, member));
                    } else if connected {
                        out.push(Outbound::Evict { session: row.no });
                    }
                    self.timers.arm(at, Wake::Session(row.no));
                }
                (SessionState::Open | SessionState::Draining | SessionState::Detached, None) => {
                    if mine && !connected {
                        self.unconnected.insert(row.no);
                    } else if !mine && connected {
                        out.push(Outbound::Evict { session: row.no });
                    } else if row.state == SessionState::Draining && self.roster.drain(row.no) {
                        out.push(Outbound::Drain { session: row.no });
                    }
                    let deserted = if mine {
                        unconnected_before.contains(&row.no)
                    } else {
                        !look.live.contains(&row.replica)
                    };
                    if deserted && !connected {
                        commands.push(Command::DetachSession { session: row.no, replica: row.replica });
                    }
                    self.roster.confirm(row.no);
                }
            }
        }
        let known: BTreeSet<SessionNo> = look.sessions.iter().map(|row| row.no).collect();
        let gone = self.roster.connected_before(look.read).filter(|no| !known.contains(no));
        out.extend(gone.map(|session| Outbound::Evict { session }));
        (commands, out)
    }

    /// Whether the worker has opened a later stream than the one that is here: as good as one elsewhere.
    fn is_superseded(&self, row: &Session) -> bool {
        self.roster.member(row.no).is_some_and(|member| member.connection < row.connection)
    }

    /// Somebody else believed that this replica was dead, and the stream is here.
    fn take_back(&self, row: &Session, member: &Member) -> Command {
        let Session { tenant, no: session, token, .. } = *row;
        let connection = member.connection;
        Command::ResumeSession { tenant, session, replica: self.no, token, connection }
    }

    /// What should be read of the lines in the database, while there is a free seat for it here.
    pub fn wants(&self, now: Mono) -> Vec<Scan> {
        self.line.wants(now).filter(|scan| self.roster.free_for(scan.route) > 0).collect()
    }

    /// What a scan found, asked for with `limit`.
    pub fn scanned(&mut self, scan: Scan, limit: usize, found: Vec<Queued>, began: Mono, ended: Mono) {
        self.line.scanned(scan, limit, found, began, ended);
    }

    /// Whether [`step`](Replica::step) has something to place even without a command.
    pub fn has_placeable(&self) -> bool {
        self.line.routes().any(|route| self.roster.free_for(route) > 0)
    }

    /// The database was away, so nobody could be heard: everybody counts as heard now.
    pub fn excuse(&mut self, now: Mono) {
        self.roster.excuse(now);
    }

    /// Connected sessions.
    pub fn sessions(&self) -> impl Iterator<Item = SessionNo> + '_ {
        self.roster.sessions()
    }

    fn see_time(&mut self, database: Time, now: Mono) {
        self.skew_ms = database.0 - now.0 as i64;
    }

    /// Takes up a step's effects.
    fn absorb(&mut self, effects: Vec<Effect>, now: Mono) -> Vec<Outbound> {
        let batch = Time(now.0 as i64 + self.skew_ms);
        let mut out = Vec::with_capacity(effects.len());
        for effect in effects {
            match effect {
                Effect::Assign(assignment) => {
                    self.line.remove(assignment.at.task, assignment.at.index);
                    self.roster.assigned(&assignment, now);
                    out.push(Outbound::Assign(assignment));
                }
                Effect::Revoke { session, at, outcome } => out.extend(self.revoke(session, at, outcome)),
                Effect::Queued(queued) => {
                    self.line.add(queued);
                    if self.roster.free_for(queued.route) == 0 {
                        out.push(Outbound::Unplaced { route: queued.route });
                    }
                }
                Effect::Wake { at, wake: Wake::Subtask(task, index) } if at <= batch => {
                    self.prompt.insert((task, index), Command::Wake { task, index: Some(index) });
                }
                Effect::Wake { at, wake } => self.timers.arm(at, wake),
                Effect::Next(Next { task, index, begin }) => {
                    self.prompt.insert((task, index), Command::Attend { task, index, begin });
                }
                Effect::Nest(nesting) => out.push(Outbound::Nest(nesting)),
                Effect::SeatGone { session } => self.roster.doubt(session),
            }
        }
        out
    }

    /// Sessions whose row did not say what this replica believed: look at the rows before trusting them.
    pub fn has_doubts(&self) -> bool {
        self.roster.has_doubts()
    }
}

fn wake_command(wake: Wake) -> Command {
    match wake {
        Wake::Task(task) => Command::Wake { task, index: None },
        Wake::Subtask(task, index) => Command::Wake { task, index: Some(index) },
        Wake::Session(session) => Command::ExpireSession { session, overdue: true },
    }
}

/// A worker's agents as placement sees them.
pub(crate) fn agent_name(name: &str) -> Arc<str> {
    Arc::from(name)
}
