//! What is to be heard on a worker's stream, at the replica's end of it: the auditor's ear, and the place where
//! bugs of the glue are planted.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex},
};

use downbeat_core::id::{LeaseId, ReplicaNo, SessionNo};
use downbeat_proto::v1::{
    self, result_ack::Verdict, session_request::Message as FromWorker, session_response::Message as ToWorker,
};
use tokio::sync::mpsc;

use super::{Plant, World, audit::Stream, plant, process::lock, worker::lease_at};

/// One stream's tap; copies are the same.
#[derive(Clone)]
pub(super) struct Tap(Arc<Inner>);

struct Inner {
    world: Arc<World>,
    stream: Stream,
    /// Whose it is, and since when: known once the Welcome has passed.
    session: Mutex<Option<(SessionNo, u64)>>,
    forged: mpsc::Sender<v1::SessionResponse>,
}

impl Tap {
    pub(super) fn new(
        world: &Arc<World>,
        replica: ReplicaNo,
        forged: mpsc::Sender<v1::SessionResponse>,
    ) -> Tap {
        let stream = Stream { number: world.number(), replica };
        let world = Arc::clone(world);
        Tap(Arc::new(Inner { world, stream, session: Mutex::default(), forged }))
    }

    /// The replica takes in what the worker says.
    pub(super) async fn inward(&self, request: &mut v1::SessionRequest) {
        let Inner { world, stream, .. } = &*self.0;
        let Some(message) = &mut request.message else { return };
        if let FromWorker::Spawn(spawn) = message {
            plant::forget_children(world, spawn);
        }
        if let FromWorker::ContextWrite(write) = message
            && world.has(Plant::AnyVersion)
        {
            write.expected_version = None;
        }
        let session = lock(&self.0.session).map(|(session, _)| session);
        if let FromWorker::Hello(v1::Hello { resume: Some(resume), .. }) = message {
            let in_flight = leases(&resume.in_flight);
            world.audit(|auditor| {
                auditor.hello(*stream, SessionNo(resume.session_id), resume.connection, in_flight);
            });
        }
        let Some(session) = session else { return };
        let mentioned = match message {
            FromWorker::Heartbeat(beat) => leases(&beat.in_flight),
            FromWorker::AssignAck(ack) => leases(&ack.leases),
            FromWorker::Progress(progress) => {
                progress.lease.iter().map(|lease| LeaseId(lease.lease_id)).collect()
            }
            FromWorker::Hello(_)
            | FromWorker::Results(_)
            | FromWorker::Spawn(_)
            | FromWorker::ContextWrite(_)
            | FromWorker::ContextRead(_)
            | FromWorker::CancelAck(_)
            | FromWorker::Goodbye(_) => BTreeSet::new(),
        };
        let (now_ms, moment) = (world.elapsed_ms(), world.number());
        world.audit(|auditor| {
            auditor.heard(session, stream.replica, now_ms);
            auditor.heard_of(mentioned, moment, now_ms);
            if matches!(message, FromWorker::Goodbye(_)) {
                auditor.goodbye(session);
            }
        });
        if let FromWorker::Results(results) = message {
            self.tamper(session, results).await;
        }
    }

    async fn tamper(&self, session: SessionNo, results: &v1::Results) {
        let world = &self.0.world;
        let leases = results.results.iter().filter_map(|result| result.lease.as_ref());
        if world.has(Plant::SpeakThenSave) {
            let verdict = Verdict::Accepted.into();
            let ack = |lease: &v1::LeaseRef| v1::ResultAck {
                lease: Some(*lease),
                verdict,
                ..v1::ResultAck::default()
            };
            let acks = v1::ResultAcks { acks: leases.clone().map(ack).collect() };
            let message = Some(ToWorker::ResultAcks(acks));
            // Nobody is there to be told once the stream has ended.
            let _ = self.0.forged.send(v1::SessionResponse { message }).await;
        }
        if world.has(Plant::NoFence) {
            leases.for_each(|lease| world.planted().take_down_fence(lease_at(lease), session));
        }
    }

    /// The replica says something to the worker. False: it is not to arrive.
    pub(super) fn outward(&self, response: &v1::SessionResponse) -> bool {
        let Inner { world, stream, .. } = &*self.0;
        match &response.message {
            Some(ToWorker::Welcome(welcome)) => {
                let session = SessionNo(welcome.session_id);
                *lock(&self.0.session) = Some((session, world.elapsed_ms()));
                if welcome.resumed {
                    world.count(|tally| tally.resumed += 1);
                }
                world.note(|| format!("session {session} at {}: lost {:?}", stream.replica, welcome.lost));
                let (now_ms, moment, lost) = (world.elapsed_ms(), world.number(), leases(&welcome.lost));
                world.audit(|auditor| {
                    auditor.heard(session, stream.replica, now_ms);
                    auditor.welcome(*stream, welcome.resumed, &lost, moment, now_ms);
                });
            }
            Some(ToWorker::Assign(assign)) => world.audit(|auditor| {
                let (promises, known) = auditor.promises();
                assign.briefs.iter().for_each(|brief| promises.briefed(&known, brief));
            }),
            Some(ToWorker::Cancel(_)) if world.has(Plant::NoLeaseLost) => return false,
            Some(
                ToWorker::ResultAcks(_)
                | ToWorker::SpawnAck(_)
                | ToWorker::ContextAnswer(_)
                | ToWorker::Cancel(_)
                | ToWorker::Drain(_),
            )
            | None => {}
        }
        true
    }

    /// The replica closed the stream, and not the worker.
    pub(super) fn evicted(&self) {
        let Inner { world, stream, .. } = &*self.0;
        let Some((session, since_ms)) = *lock(&self.0.session) else { return };
        let now_ms = world.elapsed_ms();
        world.note(|| format!("replica {} closed the stream of session {session}", stream.replica));
        if world.audit(|auditor| auditor.closed(*stream, session, since_ms, now_ms)) {
            world.count(|tally| tally.evicted += 1);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.world.audit(|auditor| auditor.stream_over(self.stream));
    }
}

fn leases(named: &[v1::LeaseRef]) -> BTreeSet<LeaseId> {
    named.iter().map(|lease| LeaseId(lease.lease_id)).collect()
}
