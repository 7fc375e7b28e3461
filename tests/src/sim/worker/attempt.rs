//! One attempt in a worker's hands.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use downbeat_core::{id::LeaseAt, session::WorkerDeclaration};
use downbeat_proto::v1::{self, result::Outcome};
use tokio::time::Instant;

use super::write::Write;
use crate::sim::{World, audit::Offer, cluster::AGENTS};

/// Levels of keys below which no further children are added.
const DEPTH_MAX: usize = 3;
/// One subtask in so many adds children.
const SPAWNER_EVERY: u64 = 6;

/// Once it is calm, agents are quick.
const CALM_WORK_MS: u64 = 500;

#[derive(Debug)]
pub(super) enum Stage {
    /// `None`: until it is told to stop.
    Running {
        until: Option<Instant>,
    },
    Forgetting {
        at: Instant,
    },
    Stopping {
        until: Instant,
    },
    /// Its write to the shared context is sent; what else it does comes after the answer.
    Writing,
    /// Its children are sent; the result comes after their acknowledgement.
    Spawning,
    /// The result waits for its acknowledgement.
    Finished,
    Stopped,
    Forgotten,
}

#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) at: LeaseAt,
    pub(super) stage: Stage,
    pub(super) acked: bool,
    /// Mentioned in heartbeats.
    pub(super) admitted: bool,
    /// The result was sent on this stream.
    pub(super) sent: bool,
    pub(super) dead_since_ms: Option<u64>,
    ack_at: Instant,
    progress_every: Option<Duration>,
    progress_at: Instant,
    /// What it writes to the shared context before anything else.
    write: Option<Write>,
    /// What it adds before it ends; and whether it waits until that is acknowledged.
    children: Vec<v1::PlannedSubtask>,
    patient: bool,
    result: Outcome,
}

impl Attempt {
    /// An agent takes it up, and what will come of it is decided.
    pub(super) fn begin(
        world: &Arc<World>,
        declaration: &WorkerDeclaration,
        at: LeaseAt,
        brief: &v1::Brief,
        now: Instant,
    ) -> Attempt {
        let habits = &world.settings.habits;
        let declared = declaration.agents.iter().find(|agent| agent.name == brief.agent);
        let silence_ms = declared.and_then(|agent| agent.progress_timeout_ms).map(u64::from);
        let bounded = brief.deadline_ms > 0 || silence_ms.is_some();
        let work_ms = if world.is_calm() { CALM_WORK_MS } else { habits.work_ms };
        let later = |ms| now + Duration::from_millis(ms);
        let until = later(world.draw(|rng| rng.between(1, work_ms)));
        let hangs = bounded && world.strikes(|_| habits.hangs);
        let stage = if hangs {
            Stage::Running { until: None }
        } else if world.strikes(|_| habits.forgets) {
            Stage::Forgetting { at: until }
        } else {
            Stage::Running { until: Some(until) }
        };
        let late_ms = if world.strikes(|_| habits.acks_late) {
            world.draw(|rng| rng.between(0, world.settings.liveness.assign_ack_ms * 2))
        } else {
            0
        };
        let (children, result) = match children(world, at, brief) {
            children if children.is_empty() => (children, result(world, at)),
            children if world.draw(|rng| rng.per_mille(600)) => {
                (children, Outcome::Suspended(v1::Suspended {}))
            }
            children => (children, result(world, at)),
        };
        let patient = matches!(result, Outcome::Suspended(_)) || world.draw(|rng| rng.per_mille(700));
        Attempt {
            at,
            stage,
            acked: false,
            admitted: false,
            sent: false,
            dead_since_ms: None,
            ack_at: later(late_ms),
            // One that hangs is silent too.
            progress_every: silence_ms.filter(|_| !hangs).map(|ms| Duration::from_millis(ms / 3)),
            progress_at: now,
            write: Write::draw(world),
            children,
            patient,
            result,
        }
    }

    pub(super) fn is_running(&self) -> bool {
        match self.stage {
            Stage::Running { .. }
            | Stage::Forgetting { .. }
            | Stage::Stopping { .. }
            | Stage::Writing
            | Stage::Spawning => true,
            Stage::Finished | Stage::Stopped | Stage::Forgotten => false,
        }
    }

    /// What time has done to it.
    pub(super) fn advance(&mut self, now: Instant) {
        match self.stage {
            Stage::Running { until: Some(until) } if until <= now => {
                self.stage = if self.write.is_some() { Stage::Writing } else { self.written() };
            }
            Stage::Stopping { until } if until <= now => self.stage = Stage::Stopped,
            Stage::Forgetting { at } if at <= now => self.stage = Stage::Forgotten,
            Stage::Running { .. }
            | Stage::Stopping { .. }
            | Stage::Forgetting { .. }
            | Stage::Writing
            | Stage::Spawning
            | Stage::Finished
            | Stage::Stopped
            | Stage::Forgotten => {}
        }
    }

    /// What comes after what it writes.
    fn written(&self) -> Stage {
        if self.children.is_empty() { Stage::Finished } else { Stage::Spawning }
    }

    /// The write, if it has to be sent on this stream. Whoever sends it admits the lease.
    pub(super) fn take_write(&mut self, world: &World) -> Option<v1::ContextWrite> {
        if !matches!(self.stage, Stage::Writing) || self.sent {
            return None;
        }
        (self.sent, self.acked, self.admitted) = (true, true, true);
        Some(self.write.as_mut()?.message(world, self.at))
    }

    /// Its write was answered: it goes on, or tries again with the version that it was told.
    pub(super) fn write_answered(&mut self, answer: &v1::ContextAnswer) {
        if !matches!(self.stage, Stage::Writing) || !self.write.as_ref().is_some_and(|w| w.is(answer.request))
        {
            return;
        }
        self.sent = false;
        if !self.write.as_mut().is_some_and(|write| write.tries_again(answer)) {
            self.write = None;
            self.stage = self.written();
        }
    }

    /// The children, if they have to be sent on this stream. Whoever sends them admits the lease.
    pub(super) fn take_children(&mut self) -> Option<Vec<v1::PlannedSubtask>> {
        if !matches!(self.stage, Stage::Spawning) || self.sent {
            return None;
        }
        (self.sent, self.acked, self.admitted) = (true, true, true);
        if !self.patient {
            (self.stage, self.sent) = (Stage::Finished, false);
        }
        Some(self.children.clone())
    }

    /// Its children were added, or it was told that they cannot be: the result is next.
    pub(super) fn children_answered(&mut self) {
        if matches!(self.stage, Stage::Spawning) {
            (self.stage, self.sent) = (Stage::Finished, false);
        }
    }

    /// It was told to stop, and will have by then.
    pub(super) fn stop(&mut self, until: Instant) {
        if self.is_running() {
            self.stage = Stage::Stopping { until };
        } else {
            self.stage = Stage::Stopped;
        }
    }

    /// It was told to stop, and sends its result by then instead.
    pub(super) fn hasten(&mut self, until: Instant) {
        // One that has asked for something goes on with the answer.
        if self.is_running() && !matches!(self.stage, Stage::Writing | Stage::Spawning) {
            self.stage = Stage::Running { until: Some(until) };
        }
    }

    pub(super) fn owes_ack(&self, now: Instant) -> bool {
        !self.acked && self.ack_at <= now
    }

    /// The result, if it has to be sent on this stream. Whoever sends it admits the lease.
    pub(super) fn take_result(&mut self) -> Option<Outcome> {
        let due = matches!(self.stage, Stage::Finished) && !self.sent;
        if !due {
            return None;
        }
        (self.sent, self.acked, self.admitted) = (true, true, true);
        Some(self.result.clone())
    }

    /// What it sent, if it did.
    pub(super) fn offer(&self) -> Option<Offer> {
        matches!(self.stage, Stage::Finished).then(|| Offer::from(&self.result))
    }

    /// A progress message, if one is due.
    pub(super) fn progress(&mut self, now: Instant) -> Option<String> {
        let every = self.progress_every?;
        if !self.acked || !self.is_running() || self.progress_at > now {
            return None;
        }
        self.progress_at = now + every;
        Some("on it".to_owned())
    }

    pub(super) fn next_timer(&self) -> Option<Instant> {
        let end = match self.stage {
            Stage::Running { until } => until,
            Stage::Stopping { until } => Some(until),
            Stage::Forgetting { at } => Some(at),
            Stage::Writing | Stage::Spawning | Stage::Finished | Stage::Stopped | Stage::Forgotten => None,
        };
        let ack = (!self.acked).then_some(self.ack_at);
        let progress =
            self.progress_every.filter(|_| self.acked && self.is_running()).map(|_| self.progress_at);
        [end, ack, progress].into_iter().flatten().min()
    }
}

/// What the agent adds to its subtask: the same in each attempt, though the first ones may not get to all of it.
fn children(world: &World, at: LeaseAt, brief: &v1::Brief) -> Vec<v1::PlannedSubtask> {
    let chosen = u64::try_from(at.task.0).unwrap_or(0) / 4_096 + u64::from(at.index);
    if !chosen.is_multiple_of(SPAWNER_EVERY) || brief.key.matches('.').count() >= DEPTH_MAX {
        return Vec::new();
    }
    let again = !brief.children.is_empty();
    if again && (world.is_calm() || world.draw(|rng| rng.coin())) {
        return Vec::new();
    }
    let all = at.index % 3 + 1;
    let now = world.draw(|rng| if rng.coin() { u64::from(all) } else { rng.between(1, all.into()) });
    let agents = AGENTS.iter().cycle().skip(at.index as usize);
    let child = |(i, agent): (u64, &&str)| {
        let timer = i == 2;
        v1::PlannedSubtask {
            key: format!("c{i}"),
            agent: if timer { String::new() } else { (*agent).to_owned() },
            depends_on: (i == 1).then(|| "c0".to_owned()).into_iter().collect(),
            does: timer.then(|| {
                let at = Some(v1::timer::At::Seconds(1));
                v1::planned_subtask::Does::Timer(v1::Timer { at })
            }),
            ..v1::PlannedSubtask::default()
        }
    };
    (0..now).zip(agents).map(child).collect()
}

/// What the agent will deliver: an output that nobody else would.
fn result(world: &World, at: LeaseAt) -> Outcome {
    let habits = &world.settings.habits;
    let fails = world.strikes(|_| habits.fails);
    let for_good = world.strikes(|_| habits.fails_for_good);
    if fails || for_good {
        let error = v1::AttemptError { code: format!("LEASE_{}", at.lease), message: "simulated".into() };
        return Outcome::Failed(v1::Failed { error: Some(error), retryable: !for_good });
    }
    let output = if world.draw(|rng| rng.per_mille(100)) {
        Bytes::new()
    } else {
        let (items, ok) = world.draw(|rng| (rng.below(4), rng.coin()));
        let items: Vec<u64> = (0..items).collect();
        let LeaseAt { index, lease, .. } = at;
        Bytes::from(format!("{{\"lease\":{lease},\"index\":{index},\"items\":{items:?},\"ok\":{ok}}}"))
    };
    Outcome::Completed(v1::Completed { output, artifacts: Vec::new() })
}
