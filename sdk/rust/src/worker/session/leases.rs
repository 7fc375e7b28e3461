//! The leases this worker has something to do with, each in one stage, and the timers that belong to them.
//!
//! | stage | event | becomes | and |
//! |---|---|---|---|
//! | running, overdue | finished | finished | the result is sent |
//! | running | deadline passed | overdue | stopped |
//! | running, overdue, abandoned | cancelled | cancelling | stopped, unless it was already |
//! | running, overdue | abandoned | abandoned | stopped, unless it was already |
//! | abandoned | finished with an output, or suspended | finished | the result is sent |
//! | abandoned | finished without | - | counted as unfinished |
//! | cancelling | finished | - | the cancel is acknowledged |
//! | any with a handler | lost | lost | stopped, unless it was already |
//! | lost | finished | - | the result is dropped |
//! | finished | acknowledged, or lost | - | |

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use prost::Message as _;

use crate::{
    HandlerError, REQUEST_BYTES_MAX,
    proto::{Completed, Failed, LeaseRef, Result as AttemptResult, Suspended, result},
};

/// How a handler ended.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    Completed(Completed),
    Failed(Failed),
    /// It gave the subtask back until its children have ended.
    Suspended,
    /// It was dropped before it had a result.
    Stopped,
}

#[derive(Debug, Default)]
pub(super) struct Leases {
    all: BTreeMap<i64, Lease>,
    /// How many have a handler.
    running: usize,
    /// How many are in the stage `Lost`.
    lost: usize,
    abort_at: BTreeSet<(Instant, i64)>,
    deadlines: BTreeSet<(Instant, i64)>,
}

#[derive(Debug)]
struct Lease {
    reference: LeaseRef,
    stage: Stage,
    abort_at: Option<Instant>,
    deadline: Option<Instant>,
}

#[derive(Debug)]
enum Stage {
    Running,
    /// Its deadline passed while the stream was down: it was asked to stop.
    Overdue,
    /// The worker ends without it: it was asked to stop.
    Abandoned,
    /// The control plane cancelled it: it was asked to stop.
    Cancelling,
    /// No longer ours: it was asked to stop.
    Lost,
    /// No handler any more; the result waits for its acknowledgement.
    Finished(AttemptResult),
}

/// What follows when a handler has ended.
#[derive(Debug, PartialEq)]
pub(super) enum Finish {
    SendResult,
    AckCancel(LeaseRef),
    Unfinished,
    Nothing,
}

/// What follows from a cancel.
#[derive(Debug, PartialEq)]
pub(super) enum Cancelled {
    Stop,
    /// It was asked to stop already; acknowledge when it has.
    Stopping,
    /// Nothing runs: acknowledge at once.
    Idle,
}

/// What was lost.
#[derive(Debug, PartialEq)]
pub(super) enum Loss {
    Running,
    Stopping,
    Result,
    Unknown,
}

impl Leases {
    /// How many handlers there are, those that shall stop included.
    pub(super) fn running(&self) -> usize {
        self.running
    }

    /// How many leases are ours still: with a handler, or with an unacknowledged result.
    pub(super) fn open(&self) -> usize {
        self.all.len() - self.lost
    }

    /// The leases that are ours still.
    pub(super) fn in_flight(&self) -> Vec<LeaseRef> {
        let ours = self.all.values().filter(|lease| !matches!(lease.stage, Stage::Lost));
        ours.map(|lease| lease.reference).collect()
    }

    pub(super) fn ids(&self) -> Vec<i64> {
        self.all.keys().copied().collect()
    }

    /// The leases whose result is not acknowledged.
    pub(super) fn unacked(&self) -> Vec<i64> {
        let finished = self.all.iter().filter(|(_, lease)| matches!(lease.stage, Stage::Finished(_)));
        finished.map(|(lease_id, _)| *lease_id).collect()
    }

    pub(super) fn contains(&self, lease_id: i64) -> bool {
        self.all.contains_key(&lease_id)
    }

    /// The unacknowledged result of a lease.
    pub(super) fn result(&self, lease_id: i64) -> Option<&AttemptResult> {
        match &self.all.get(&lease_id)?.stage {
            Stage::Finished(result) => Some(result),
            Stage::Running | Stage::Overdue | Stage::Abandoned | Stage::Cancelling | Stage::Lost => None,
        }
    }

    /// The lease, if progress under it is of interest.
    pub(super) fn reporting(&self, lease_id: i64) -> Option<LeaseRef> {
        let lease = self.all.get(&lease_id)?;
        match lease.stage {
            Stage::Running | Stage::Overdue | Stage::Abandoned => Some(lease.reference),
            Stage::Cancelling | Stage::Lost | Stage::Finished(_) => None,
        }
    }

    /// A handler starts under a new lease.
    pub(super) fn start(&mut self, reference: LeaseRef, deadline: Option<Instant>) {
        let lease_id = reference.lease_id;
        self.running += 1;
        self.deadlines.extend(deadline.map(|at| (at, lease_id)));
        self.all.insert(lease_id, Lease { reference, stage: Stage::Running, abort_at: None, deadline });
    }

    /// The handler under a lease has ended.
    pub(super) fn finish(&mut self, lease_id: i64, outcome: Outcome, output_bytes_max: usize) -> Finish {
        let Some(lease) = self.all.get_mut(&lease_id) else { return Finish::Nothing };
        let reference = lease.reference;
        let completed = |output| Some(completed(output, output_bytes_max));
        let failed = |failed| Some(result::Outcome::Failed(failed));
        let (outcome, otherwise) = match (&lease.stage, outcome) {
            (Stage::Finished(_), _) => return Finish::Nothing,
            (Stage::Running | Stage::Overdue | Stage::Abandoned, Outcome::Completed(output)) => {
                (completed(output), Finish::Nothing)
            }
            (Stage::Running | Stage::Overdue | Stage::Abandoned, Outcome::Suspended) => {
                (Some(result::Outcome::Suspended(Suspended {})), Finish::Nothing)
            }
            (Stage::Running | Stage::Overdue, Outcome::Failed(error)) => (failed(error), Finish::Nothing),
            (Stage::Running, Outcome::Stopped) => (
                failed(stopped("HANDLER_STOPPED", "the handler was dropped before it returned")),
                Finish::Nothing,
            ),
            (Stage::Overdue, Outcome::Stopped) => {
                let message = "the deadline passed while the control plane could not be reached";
                (failed(stopped("DEADLINE_EXCEEDED", message)), Finish::Nothing)
            }
            (Stage::Abandoned, Outcome::Failed(_) | Outcome::Stopped) => (None, Finish::Unfinished),
            (Stage::Cancelling, _) => (None, Finish::AckCancel(reference)),
            (Stage::Lost, _) => (None, Finish::Nothing),
        };
        self.running -= 1;
        disarm(&mut self.abort_at, lease_id, &mut lease.abort_at);
        disarm(&mut self.deadlines, lease_id, &mut lease.deadline);
        if outcome.is_some() {
            lease.stage = Stage::Finished(AttemptResult { lease: Some(reference), outcome });
            return Finish::SendResult;
        }
        self.remove(lease_id);
        otherwise
    }

    /// The control plane has acknowledged a result; false when none waits under this lease.
    pub(super) fn acked(&mut self, lease_id: i64) -> bool {
        let waits = self.result(lease_id).is_some();
        if waits {
            self.remove(lease_id);
        }
        waits
    }

    /// The control plane cancels an attempt.
    pub(super) fn cancel(&mut self, lease_id: i64) -> Cancelled {
        let Some(lease) = self.all.get_mut(&lease_id) else { return Cancelled::Idle };
        match lease.stage {
            Stage::Running => {
                lease.stage = Stage::Cancelling;
                Cancelled::Stop
            }
            Stage::Overdue | Stage::Abandoned | Stage::Cancelling => {
                lease.stage = Stage::Cancelling;
                Cancelled::Stopping
            }
            Stage::Lost | Stage::Finished(_) => Cancelled::Idle,
        }
    }

    /// A lease is no longer ours.
    pub(super) fn lose(&mut self, lease_id: i64) -> Loss {
        let Some(lease) = self.all.get_mut(&lease_id) else { return Loss::Unknown };
        let loss = match lease.stage {
            Stage::Lost => return Loss::Unknown,
            Stage::Finished(_) => {
                self.remove(lease_id);
                return Loss::Result;
            }
            Stage::Running => Loss::Running,
            Stage::Overdue | Stage::Abandoned | Stage::Cancelling => Loss::Stopping,
        };
        lease.stage = Stage::Lost;
        self.lost += 1;
        loss
    }

    /// The worker ends without what still runs; answers with what has to be asked to stop.
    pub(super) fn abandon(&mut self) -> Vec<i64> {
        let mut stop = Vec::new();
        for (lease_id, lease) in &mut self.all {
            match lease.stage {
                Stage::Running => {
                    lease.stage = Stage::Abandoned;
                    stop.push(*lease_id);
                }
                Stage::Overdue => lease.stage = Stage::Abandoned,
                Stage::Abandoned | Stage::Cancelling | Stage::Lost | Stage::Finished(_) => {}
            }
        }
        stop
    }

    /// Takes one running attempt whose deadline has passed, and makes it overdue.
    pub(super) fn pop_overdue(&mut self, now: Instant) -> Option<i64> {
        while let Some(lease_id) = pop_due(&mut self.deadlines, now) {
            if let Some(lease) = self.all.get_mut(&lease_id) {
                lease.deadline = None;
                if matches!(lease.stage, Stage::Running) {
                    lease.stage = Stage::Overdue;
                    return Some(lease_id);
                }
            }
        }
        None
    }

    /// The handler under a lease was asked to stop, and has until `at`.
    pub(super) fn abort_at(&mut self, lease_id: i64, at: Instant) {
        if let Some(lease) = self.all.get_mut(&lease_id) {
            lease.abort_at = Some(at);
            self.abort_at.insert((at, lease_id));
        }
    }

    /// Takes one lease whose handler was asked to stop and has not in time.
    pub(super) fn pop_abort(&mut self, now: Instant) -> Option<i64> {
        let lease_id = pop_due(&mut self.abort_at, now)?;
        if let Some(lease) = self.all.get_mut(&lease_id) {
            lease.abort_at = None;
        }
        Some(lease_id)
    }

    pub(super) fn next_abort(&self) -> Option<Instant> {
        self.abort_at.first().map(|(at, _)| *at)
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    fn remove(&mut self, lease_id: i64) {
        if let Some(lease) = self.all.remove(&lease_id)
            && matches!(lease.stage, Stage::Lost)
        {
            self.lost -= 1;
        }
    }
}

fn stopped(code: &str, message: &str) -> Failed {
    HandlerError::retryable(code, message).into_failed()
}

fn pop_due(timers: &mut BTreeSet<(Instant, i64)>, now: Instant) -> Option<i64> {
    timers
        .first()
        .is_some_and(|(at, _)| now >= *at)
        .then(|| timers.pop_first())?
        .map(|(_, lease_id)| lease_id)
}

fn disarm(timers: &mut BTreeSet<(Instant, i64)>, lease_id: i64, at: &mut Option<Instant>) {
    if let Some(at) = at.take() {
        timers.remove(&(at, lease_id));
    }
}

/// An output within the limits, or the failure to have one: what does not fit would be refused each time it is
/// sent.
fn completed(output: Completed, output_bytes_max: usize) -> result::Outcome {
    match too_large(&output, output_bytes_max) {
        Some(message) => {
            result::Outcome::Failed(HandlerError::fatal("OUTPUT_TOO_LARGE", message).into_failed())
        }
        None => result::Outcome::Completed(output),
    }
}

/// What is wrong with the size of an output, if anything; `output_bytes_max` 0 means that there is no limit.
fn too_large(output: &Completed, output_bytes_max: usize) -> Option<String> {
    let text = output.output.len();
    if output_bytes_max > 0 && text > output_bytes_max {
        return Some(format!(
            "the output has {text} bytes, and the limit is {output_bytes_max}: hand large data over by \
             reference, as an artifact"
        ));
    }
    let whole = output.encoded_len();
    (whole >= REQUEST_BYTES_MAX).then(|| {
        format!("the output and its artifacts have {whole} bytes, and the limit is {REQUEST_BYTES_MAX}")
    })
}
