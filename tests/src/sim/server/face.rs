//! Models `grpc/worker.rs`: takes up or opens a session, reads what the worker says into inputs, writes what
//! the committer tells the worker.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use downbeat_core::{
    command::{Command, Reply, Verdict, WorkResult},
    effect::Assignment,
    id::{LeaseAt, SessionNo, TenantNo},
    reject::Reject,
    session::WorkerDeclaration,
};
use downbeat_server::replica::Held;
use tokio::{sync::mpsc, time::timeout};

use super::{
    Engine,
    calls::Refusal,
    committer::{Connect, Input, ToWorker},
};
use crate::sim::wire::{Inlet, Outlet};

const HELLO_WAIT: Duration = Duration::from_secs(10);
const LINK_SPARE: usize = 256;

/// What a worker says.
#[derive(Clone, Debug)]
pub enum FromWorker {
    Hello { declaration: Arc<WorkerDeclaration>, resume: Option<Resume> },
    Heartbeat { in_flight: Vec<LeaseAt> },
    AssignAck { leases: Vec<LeaseAt> },
    Progress { at: LeaseAt, message: String },
    Results { results: Vec<(LeaseAt, WorkResult)> },
    CancelAck { leases: Vec<LeaseAt> },
    Goodbye,
}

/// The earlier session of a worker.
#[derive(Clone, Debug)]
pub struct Resume {
    pub session: SessionNo,
    pub token: [u8; 16],
    pub in_flight: Vec<LeaseAt>,
}

/// What a worker is told.
#[derive(Clone, Debug)]
pub enum ToWire {
    Welcome { session: SessionNo, token: [u8; 16], resumed: bool, lost: Vec<LeaseAt> },
    Assign { briefs: Vec<Brief> },
    ResultAcks { acks: Vec<(LeaseAt, Verdict)> },
    Cancel { leases: Vec<LeaseAt> },
    Drain,
}

/// What a worker is handed.
#[derive(Clone, Debug)]
pub struct Brief {
    pub at: LeaseAt,
    pub agent: Arc<str>,
    pub sla_ms: Option<u64>,
}

struct Opened {
    session: SessionNo,
    token: [u8; 16],
    resumed: bool,
    holds: Vec<Held>,
    lost: Vec<LeaseAt>,
}

/// Serves one worker's stream, from Hello to its end. Until the stream is connected, it is dropped as soon as
/// the worker is seen to be gone.
pub async fn serve(engine: Engine, mut from: Inlet<FromWorker>, to: Outlet<ToWire>) {
    // DIFFERS: production numbers streams when they are opened, and lets an older one replace a newer.
    let generation = engine.world.number();
    let closed = to.closed();
    let connected = tokio::select! {
        biased;
        () = closed => None,
        connected = connect(&engine, generation, &mut from, to) => connected,
    };
    let Some((session, told, mut to)) = connected else { return };
    tokio::select! {
        biased;
        () = read(&engine, session, &mut from) => {}
        () = write(&engine, told, &mut to) => {}
    }
    let _ = engine.send(Input::Disconnect { session, generation }).await;
}

type Connected = (SessionNo, mpsc::Receiver<ToWorker>, Outlet<ToWire>);

async fn connect(
    engine: &Engine,
    generation: u64,
    from: &mut Inlet<FromWorker>,
    mut to: Outlet<ToWire>,
) -> Option<Connected> {
    let Ok(Some(FromWorker::Hello { declaration, resume })) = timeout(HELLO_WAIT, from.next()).await else {
        return None;
    };
    let opened = open(engine, &declaration, resume, &to).await.ok()?;
    let Opened { session, token, resumed, holds, lost } = opened;
    let link_max = declaration.slots as usize * 2 + LINK_SPARE;
    let (link, told) = mpsc::channel(link_max);
    engine.world.note(|| format!("session {session} at {}: holds {holds:?}, lost {lost:?}", engine.replica));
    if resumed {
        engine.world.count(|tally| tally.resumed += 1);
    }
    engine.hear(session, holds.iter().map(|held| held.at.lease));
    let connect = Connect { session, generation, tenant: TenantNo::DEFAULT, declaration, holds, link };
    let sent = to.send(ToWire::Welcome { session, token, resumed, lost }).await;
    if !sent || engine.send(Input::Connect(connect)).await.is_err() {
        return None;
    }
    Some((session, told, to))
}

async fn open(
    engine: &Engine,
    declaration: &Arc<WorkerDeclaration>,
    resume: Option<Resume>,
    to: &Outlet<ToWire>,
) -> Result<Opened, Refusal> {
    let tenant = TenantNo::DEFAULT;
    let replica = engine.replica;
    let in_flight = resume.as_ref().map(|resume| resume.in_flight.clone()).unwrap_or_default();
    if let Some(Resume { session, token, .. }) = resume {
        match engine.decide(Command::ResumeSession { tenant, session, replica, token }).await {
            Ok(_) => return take_up(engine, session, token, &in_flight, to).await,
            Err(Refusal::Reject(Reject::SessionUnknown)) => {}
            Err(refusal) => return Err(refusal),
        }
    }
    let token = engine.world.draw(|rng| u128::from(rng.number()) << 64 | u128::from(rng.number()));
    let token = token.to_be_bytes();
    let declaration = Arc::clone(declaration);
    match engine.decide(Command::OpenSession { tenant, replica, token, declaration }).await? {
        Reply::Session(session) => {
            Ok(Opened { session, token, resumed: false, holds: Vec::new(), lost: in_flight })
        }
        other => Err(engine.unexpected(&other)),
    }
}

async fn take_up(
    engine: &Engine,
    session: SessionNo,
    token: [u8; 16],
    in_flight: &[LeaseAt],
    to: &Outlet<ToWire>,
) -> Result<Opened, Refusal> {
    let leased: Vec<LeaseAt> = engine.store.leases(&[session]).await?.into_iter().map(|(_, at)| at).collect();
    let (holds, unsent): (Vec<LeaseAt>, Vec<LeaseAt>) =
        leased.into_iter().partition(|at| in_flight.contains(at));
    for at in unsent {
        // The worker may have gone on to another stream meanwhile, and have got leases there. Nobody can tell
        // which of two Hellos is the older, so an old one costs those leases; rare, and safe.
        let abandoned = to.is_abandoned();
        engine
            .world
            .audit(|auditor| if abandoned { auditor.forgot(at.lease) } else { auditor.returning(at) });
        engine.decide(Command::Return { at }).await?;
    }
    let lost = in_flight.iter().filter(|at| !holds.contains(at)).copied().collect();
    let tasks: Vec<_> = holds.iter().map(|at| at.task).collect();
    let plans = engine.store.plans(&tasks).await?;
    let route = |at: LeaseAt| {
        plans.iter().find(|record| record.task == at.task)?.plan.node(at.index).map(|node| node.route)
    };
    let holds = holds.into_iter().filter_map(|at| Some(Held { at, route: route(at)? })).collect();
    Ok(Opened { session, token, resumed: true, holds, lost })
}

async fn read(engine: &Engine, session: SessionNo, from: &mut Inlet<FromWorker>) {
    while let Some(message) = from.next().await {
        let mentioned = match &message {
            FromWorker::Heartbeat { in_flight } => in_flight.clone(),
            FromWorker::AssignAck { leases } => leases.clone(),
            FromWorker::Progress { at, .. } => vec![*at],
            FromWorker::Hello { .. }
            | FromWorker::Results { .. }
            | FromWorker::CancelAck { .. }
            | FromWorker::Goodbye => Vec::new(),
        };
        engine.hear(session, mentioned.iter().map(|at| at.lease));
        let input = match message {
            FromWorker::Goodbye => {
                engine.world.audit(|auditor| auditor.goodbye(session));
                let command = Command::ExpireSession { session, overdue: false };
                if engine.decide(command).await.is_ok() {
                    let _ = engine.send(Input::LookAtSessions).await;
                }
                return;
            }
            FromWorker::Hello { .. } => continue,
            FromWorker::Heartbeat { in_flight } => Input::Heartbeat { session, in_flight },
            FromWorker::AssignAck { leases } => Input::Acknowledge { session, leases },
            FromWorker::Progress { at, message } => Input::Progress { session, at, message },
            FromWorker::Results { results } => Input::Results { session, results },
            FromWorker::CancelAck { leases } => Input::Freed { session, leases },
        };
        if engine.inbox.send(input).await.is_err() {
            return;
        }
    }
}

async fn write(engine: &Engine, mut told: mpsc::Receiver<ToWorker>, to: &mut Outlet<ToWire>) {
    while let Some(what) = told.recv().await {
        let message = match what {
            ToWorker::Assign(assignments) => {
                let mut briefs = Vec::with_capacity(assignments.len());
                for assignment in assignments {
                    // Without its ack it goes to the next worker.
                    briefs.extend(brief(engine, &assignment).await);
                }
                ToWire::Assign { briefs }
            }
            ToWorker::Acks(acks) => ToWire::ResultAcks { acks },
            ToWorker::Cancel(leases) => ToWire::Cancel { leases },
            ToWorker::Drain => ToWire::Drain,
        };
        if !to.send(message).await {
            return;
        }
    }
}

async fn brief(engine: &Engine, assignment: &Assignment) -> Option<Brief> {
    let at = assignment.at;
    let record = engine.docs.record(&*engine.store, at.task).await.ok()??;
    let node = record.plan.node(at.index)?;
    let delivered = engine.docs.outputs(&*engine.store, at.task, &node.depends_on).await.ok()?;
    let outputs: Vec<Option<Bytes>> =
        delivered.into_iter().map(|delivered| delivered.map(|delivered| delivered.body)).collect();
    engine.world.audit(|auditor| {
        let (promises, known) = auditor.promises();
        promises.briefed(&known, at, &outputs);
    });
    let sla_ms = node.sla_seconds.map(|seconds| u64::from(seconds) * 1_000);
    Some(Brief { at, agent: Arc::clone(&assignment.agent), sla_ms })
}
