//! The workers connected to this replica: what they hold, how many slots are free, when they were heard.
//!
//! Heartbeats end here and touch no row. What they lead to (a silent worker, a lease nobody took up)
//! becomes a command.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use downbeat_core::{
    command::Command,
    effect::Assignment,
    id::{LeaseAt, LeaseId, RouteNo, SessionNo, TenantNo},
    limits,
    session::{Seat, Skill, WorkerDeclaration},
};
use downbeat_store::Route;

use super::LeaseLook;

/// Milliseconds of a clock that only goes forward; its zero is the shell's own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mono(pub u64);

impl Mono {
    /// Milliseconds since `earlier`.
    pub fn since_ms(self, earlier: Mono) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// How long who may be silent. All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Liveness {
    /// How often a worker shall be heard.
    pub heartbeat_interval_ms: u64,
    /// Silent for so long: the stream is closed, and the grace time begins.
    pub lease_ms: u64,
    /// A brief not acknowledged for so long goes to the next worker.
    pub assign_ack_ms: u64,
    /// Acknowledgements and progress are written together, once in this time.
    pub report_ms: u64,
}

impl Default for Liveness {
    fn default() -> Liveness {
        Liveness { heartbeat_interval_ms: 5_000, lease_ms: 30_000, assign_ack_ms: 10_000, report_ms: 1_000 }
    }
}

/// How often everybody is looked at: no deadline of a worker is exact to less than this.
const SWEEP_MS: u64 = 250;
/// A replica that did not look at its clock for this part of the lease time was frozen, or waited for the
/// database: its workers' silence is its own.
const DEAF_SHARE: u64 = 4;
/// So that no route with a free seat is left out.
const SEATS_PER_ROUTE_MIN: usize = 2;
/// A lease that two heartbeats in a row do not mention was forgotten by its worker.
const MISSED_HEARTBEATS_MAX: u8 = 2;

/// A connected worker.
#[derive(Debug)]
pub struct Member {
    pub tenant: TenantNo,
    pub declaration: Arc<WorkerDeclaration>,
    /// Which of the session's streams this is, as its worker counts them.
    pub connection: u32,
    worker: Arc<str>,
    skills: Arc<BTreeMap<RouteNo, Skill>>,
    flights: BTreeMap<LeaseId, Flight>,
    /// What it said last that it works on and this replica did not send; since when the rows do not know it.
    strangers: BTreeMap<LeaseId, (LeaseAt, Option<Mono>)>,
    pub(super) connected: Mono,
    last_heard: Mono,
    draining: bool,
    /// Its row said something else than we believe: no new leases until the rows were looked at.
    doubted: bool,
}

/// A lease on its way, at work, or coming back.
#[derive(Debug)]
struct Flight {
    at: LeaseAt,
    acked: bool,
    /// `running` was written, or is about to be.
    reported: bool,
    message: Option<String>,
    /// Taken from the worker; the slot is free once it confirms.
    revoked: bool,
    missed: u8,
    since: Mono,
    heard: Mono,
    silence_ms: Option<u64>,
    /// When the rows were first found not to know it.
    unknown: Option<Mono>,
    /// Of a lease that came with a resumed worker, until its agent is known.
    route: Option<RouteNo>,
}

/// A lease that a resumed worker brings with it, and the route that tells which of its agents works on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    pub at: LeaseAt,
    pub route: RouteNo,
}

impl Member {
    /// A worker that holds these leases and has acknowledged them.
    pub fn new(
        tenant: TenantNo,
        declaration: Arc<WorkerDeclaration>,
        connection: u32,
        holds: &[Held],
        now: Mono,
    ) -> Member {
        let flight = |held: &Held| {
            let flight = Flight::new(held.at, None, now);
            (held.at.lease, Flight { acked: true, route: Some(held.route), ..flight })
        };
        Member {
            tenant,
            worker: Arc::from(declaration.worker.as_str()),
            declaration,
            connection,
            skills: Arc::default(),
            flights: holds.iter().map(flight).collect(),
            strangers: BTreeMap::new(),
            connected: now,
            last_heard: now,
            draining: false,
            doubted: false,
        }
    }

    /// Whether the worker holds the lease, as far as this replica knows.
    pub fn holds(&self, lease: LeaseId) -> bool {
        self.flights.get(&lease).is_some_and(|flight| !flight.revoked)
    }

    /// Whether the lease was sent to the worker and not answered, revoked or not.
    pub(super) fn knows(&self, lease: LeaseId) -> bool {
        self.flights.contains_key(&lease)
    }

    fn free(&self) -> u32 {
        if self.draining || self.doubted {
            return 0;
        }
        self.declaration.slots.saturating_sub(u32::try_from(self.flights.len()).unwrap_or(u32::MAX))
    }

    fn skill(&self, route: &Route) -> Option<Skill> {
        if route.tenant != self.tenant {
            return None;
        }
        let serves = |agent: &&downbeat_core::session::AgentDeclaration| {
            route.spec.served_by(&agent.name, &agent.capabilities)
        };
        let agent = self.declaration.agents.iter().find(serves)?;
        Some(Skill { agent: super::agent_name(&agent.name), sla_ms: agent.sla_ms })
    }

    /// Finds out how long the agents of the leases it brought may be silent.
    fn learn_silences(&mut self) {
        let agent_of = |route: RouteNo| self.skills.get(&route).map(|skill| Arc::clone(&skill.agent));
        let agents: Vec<(LeaseId, Arc<str>)> = self
            .flights
            .iter()
            .filter_map(|(lease, flight)| Some((*lease, agent_of(flight.route?)?)))
            .collect();
        for (lease, agent) in agents {
            let silence_ms = self.silence_ms(&agent);
            if let Some(flight) = self.flights.get_mut(&lease) {
                flight.silence_ms = silence_ms;
            }
        }
    }

    /// What is overdue among its leases; says whether it fails to acknowledge.
    fn sweep(
        &mut self,
        session: SessionNo,
        liveness: &Liveness,
        report: bool,
        now: Mono,
        commands: &mut Vec<Command>,
    ) -> bool {
        let mut deaf = false;
        let connection = self.connection;
        for flight in self.flights.values_mut().filter(|flight| !flight.revoked) {
            let at = flight.at;
            if !flight.acked && now.since_ms(flight.since) >= liveness.assign_ack_ms {
                commands.push(Command::Return { at, session, connection });
                flight.since = now;
                deaf = true;
            } else if flight.silence_ms.is_some_and(|ms| now.since_ms(flight.heard) >= ms) {
                commands.push(Command::Silence { at });
                flight.heard = now;
            } else if report && flight.acked && (!flight.reported || flight.message.is_some()) {
                flight.reported = true;
                commands.push(Command::Report { at, session, message: flight.message.take() });
            }
        }
        deaf
    }

    fn silence_ms(&self, agent: &str) -> Option<u64> {
        let agent = self.declaration.agents.iter().find(|declared| declared.name == agent)?;
        agent.progress_timeout_ms.map(u64::from)
    }
}

impl Flight {
    fn new(at: LeaseAt, silence_ms: Option<u64>, now: Mono) -> Flight {
        Flight {
            at,
            acked: false,
            reported: false,
            message: None,
            revoked: false,
            missed: 0,
            since: now,
            heard: now,
            silence_ms,
            unknown: None,
            route: None,
        }
    }
}

#[derive(Debug)]
pub(super) struct Roster {
    members: BTreeMap<SessionNo, Member>,
    liveness: Liveness,
    next_report: Option<Mono>,
    next_sweep: Mono,
    /// When the clock was last looked at.
    looked_at: Mono,
}

impl Roster {
    pub(super) fn new(liveness: Liveness) -> Roster {
        Roster {
            members: BTreeMap::new(),
            liveness,
            next_report: None,
            next_sweep: Mono(0),
            looked_at: Mono(0),
        }
    }

    pub(super) fn connect(
        &mut self,
        session: SessionNo,
        mut member: Member,
        routes: &BTreeMap<RouteNo, Route>,
        now: Mono,
    ) -> Vec<Command> {
        let connection = member.connection;
        let skills = routes.values().filter_map(|route| Some((route.no, member.skill(route)?))).collect();
        member.skills = Arc::new(skills);
        member.learn_silences();
        (member.connected, member.last_heard) = (now, now);
        if member.flights.values().any(|flight| !flight.reported) {
            self.ask_report(now);
        }
        let held: BTreeSet<LeaseId> = member.flights.keys().copied().collect();
        let before = self.members.insert(session, member);
        let sent_before = before.into_iter().flat_map(|member| member.flights.into_values());
        sent_before
            .filter(|flight| !flight.revoked && !held.contains(&flight.at.lease))
            .map(|flight| Command::Return { at: flight.at, session, connection })
            .collect()
    }

    pub(super) fn learn_route(&mut self, route: &Route) {
        for member in self.members.values_mut() {
            if let Some(skill) = member.skill(route) {
                Arc::make_mut(&mut member.skills).insert(route.no, skill);
            }
        }
    }

    pub(super) fn remove(&mut self, session: SessionNo) -> Option<Member> {
        self.members.remove(&session)
    }

    pub(super) fn member(&self, session: SessionNo) -> Option<&Member> {
        self.members.get(&session)
    }

    pub(super) fn sessions(&self) -> impl Iterator<Item = SessionNo> + '_ {
        self.members.keys().copied()
    }

    /// Those whose streams were here before that time.
    pub(super) fn connected_before(&self, time: Mono) -> impl Iterator<Item = SessionNo> + '_ {
        self.members.iter().filter(move |(_, member)| member.connected < time).map(|(no, _)| *no)
    }

    /// What workers hold and the rows do not know, found for the second time: a lease that this replica has just
    /// given may be younger than what was read, but not if it was found missing before that reading began.
    pub(super) fn settle(&mut self, look: &LeaseLook, now: Mono) -> Vec<(SessionNo, LeaseAt)> {
        let known: BTreeSet<LeaseId> = look.leases.iter().map(|leased| leased.at.lease).collect();
        let mut gone = Vec::new();
        for session in &look.of {
            let Some(member) = self.members.get_mut(session) else { continue };
            let mut judge = |at: LeaseAt, unknown: &mut Option<Mono>| {
                if known.contains(&at.lease) {
                    *unknown = None;
                    return false;
                }
                let is_gone = unknown.get_or_insert(now).0 < look.read.0;
                if is_gone {
                    gone.push((*session, at));
                }
                is_gone
            };
            for flight in member.flights.values_mut().filter(|flight| !flight.revoked) {
                flight.revoked = judge(flight.at, &mut flight.unknown);
            }
            member.strangers.retain(|_, (at, unknown)| !judge(*at, unknown));
        }
        gone
    }

    pub(super) fn routes_of(&self, session: SessionNo) -> Vec<RouteNo> {
        self.members.get(&session).map(|member| member.skills.keys().copied().collect()).unwrap_or_default()
    }

    /// Free slots that could take this route.
    pub(super) fn free_for(&self, route: RouteNo) -> usize {
        self.members
            .values()
            .filter(|member| member.skills.contains_key(&route))
            .map(|member| member.free() as usize)
            .sum()
    }

    /// For each of the routes the seats with the most free slots, about `limit` in all.
    pub(super) fn seats(&self, routes: &BTreeSet<RouteNo>, limit: usize) -> Vec<Seat> {
        let each = (limit / routes.len().max(1)).max(SEATS_PER_ROUTE_MIN);
        let mut chosen: BTreeMap<SessionNo, Seat> = BTreeMap::new();
        for route in routes {
            let serving =
                |(_, member): &(&SessionNo, &Member)| member.free() > 0 && member.skills.contains_key(route);
            let mut seats: Vec<(&SessionNo, &Member)> = self.members.iter().filter(serving).collect();
            if seats.len() > each {
                seats.sort_by_key(|(_, member)| std::cmp::Reverse(member.free()));
                seats.truncate(each);
            }
            for (session, member) in seats {
                chosen.entry(*session).or_insert_with(|| Seat {
                    session: *session,
                    worker: Arc::clone(&member.worker),
                    free: member.free(),
                    skills: Arc::clone(&member.skills),
                });
            }
        }
        chosen.into_values().collect()
    }

    pub(super) fn assigned(&mut self, assignment: &Assignment, now: Mono) {
        if let Some(member) = self.members.get_mut(&assignment.session) {
            let silence_ms = member.silence_ms(&assignment.agent);
            member.flights.insert(assignment.at.lease, Flight::new(assignment.at, silence_ms, now));
        }
    }

    /// Whether the worker has to be told.
    pub(super) fn revoked(&mut self, session: SessionNo, at: LeaseAt) -> bool {
        let flight = self.members.get_mut(&session).and_then(|member| member.flights.get_mut(&at.lease));
        flight.map(|flight| flight.revoked = true).is_some()
    }

    pub(super) fn free(&mut self, session: SessionNo, leases: &[LeaseAt], now: Mono) {
        if let Some(member) = self.members.get_mut(&session) {
            member.last_heard = now;
            for at in leases {
                member.flights.remove(&at.lease);
            }
        }
    }

    pub(super) fn acknowledge(&mut self, session: SessionNo, leases: &[LeaseAt], now: Mono) {
        let Some(member) = self.members.get_mut(&session) else { return };
        member.last_heard = now;
        for at in leases {
            if let Some(flight) = member.flights.get_mut(&at.lease) {
                flight.acked = true;
                flight.heard = now;
            }
        }
        self.ask_report(now);
    }

    pub(super) fn progress(&mut self, session: SessionNo, at: LeaseAt, message: String, now: Mono) {
        let Some(member) = self.members.get_mut(&session) else { return };
        member.last_heard = now;
        if let Some(flight) = member.flights.get_mut(&at.lease) {
            flight.acked = true;
            flight.heard = now;
            if !message.is_empty() {
                flight.message = Some(message);
            }
        }
        self.ask_report(now);
    }

    /// Leases that the worker mentions are acknowledged; those it stopped mentioning are lost with it.
    pub(super) fn heartbeat(&mut self, session: SessionNo, in_flight: &[LeaseAt], now: Mono) -> Vec<Command> {
        let Some(member) = self.members.get_mut(&session) else { return Vec::new() };
        member.last_heard = now;
        let mentioned: BTreeSet<LeaseId> = in_flight.iter().map(|at| at.lease).collect();
        let mut forgotten = Vec::new();
        for flight in member.flights.values_mut() {
            if mentioned.contains(&flight.at.lease) {
                flight.acked = true;
                flight.missed = 0;
            } else if flight.acked || flight.revoked {
                flight.missed += 1;
                if flight.missed >= MISSED_HEARTBEATS_MAX {
                    forgotten.push((flight.at, flight.revoked));
                }
            }
        }
        let unknown = in_flight.iter().filter(|at| !member.flights.contains_key(&at.lease));
        let strangers = unknown.take(limits::WORKER_LEASES).map(|at| {
            let since = member.strangers.get(&at.lease).and_then(|(_, since)| *since);
            (at.lease, (*at, since))
        });
        member.strangers = strangers.collect();
        for (at, _) in &forgotten {
            member.flights.remove(&at.lease);
        }
        forgotten.into_iter().filter(|(_, revoked)| !revoked).map(|(at, _)| Command::Lose { at }).collect()
    }

    pub(super) fn drain(&mut self, session: SessionNo) -> bool {
        self.members.get_mut(&session).is_some_and(|member| !std::mem::replace(&mut member.draining, true))
    }

    pub(super) fn doubt(&mut self, session: SessionNo) {
        if let Some(member) = self.members.get_mut(&session) {
            member.doubted = true;
        }
    }

    pub(super) fn confirm(&mut self, session: SessionNo) {
        if let Some(member) = self.members.get_mut(&session) {
            member.doubted = false;
        }
    }

    pub(super) fn has_doubts(&self) -> bool {
        self.members.values().any(|member| member.doubted)
    }

    pub(super) fn excuse(&mut self, now: Mono) {
        for member in self.members.values_mut() {
            member.last_heard = now;
            for flight in member.flights.values_mut() {
                flight.since = now;
                flight.heard = now;
            }
        }
    }

    /// What the clock asks for, and the sessions that acknowledge nothing.
    pub(super) fn due(&mut self, now: Mono) -> (Vec<Command>, Vec<SessionNo>) {
        // Who did not look could not hear: what was said meanwhile is still to be read.
        let unheard_ms = now.since_ms(std::mem::replace(&mut self.looked_at, now));
        if unheard_ms > self.liveness.lease_ms / DEAF_SHARE {
            self.excuse(now);
        }
        let report = self.next_report.is_some_and(|at| at <= now);
        if now < self.next_sweep && !report {
            return (Vec::new(), Vec::new());
        }
        self.next_sweep = Mono(now.0 + SWEEP_MS);
        if report {
            self.next_report = None;
        }
        let (mut commands, mut sick) = (Vec::new(), Vec::new());
        for (session, member) in &mut self.members {
            if now.since_ms(member.last_heard) >= self.liveness.lease_ms {
                // Its stream is closed, and the grace time begins; it may live on elsewhere already.
                sick.push(*session);
                continue;
            }
            let deaf = member.sweep(*session, &self.liveness, report, now, &mut commands);
            if deaf {
                sick.push(*session);
            }
        }
        (commands, sick)
    }

    /// When [`due`](Roster::due) looks next; `None` while nobody is connected.
    pub(super) fn next_due(&self) -> Option<Mono> {
        let sweep = (!self.members.is_empty()).then_some(self.next_sweep);
        sweep.into_iter().chain(self.next_report).min()
    }

    fn ask_report(&mut self, now: Mono) {
        self.next_report.get_or_insert(Mono(now.0 + self.liveness.report_ms));
    }
}
