//! What a writer read or wrote last, so that it need not read it again. Nothing here is trusted: a batch that was
//! decided on remembered rows is written by a statement that proves, under the locks, that they still are so.
//!
//! What makes the proof: whoever changes anything of a task or a session writes its stamp.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use downbeat_core::{
    id::{Index, SessionNo, TaskNo},
    reads::Reads,
    rows::{Changes, Rows},
    session::Session,
    subtask::Subtask,
    task::Task,
    time::Time,
};

use crate::Loaded;

/// Subtasks remembered, about 40 MB; with one more, all is forgotten and begins anew.
const SUBTASKS_MAX: usize = 1 << 18;
/// Sessions remembered; far more than one replica has.
const SESSIONS_MAX: usize = 1 << 16;
/// How long the database's last word about the time is good enough.
const CLOCK_MAX: Duration = Duration::from_secs(1);
/// An answer that took so long does not tell what time it is.
const CLOCK_ERROR_MAX: Duration = Duration::from_millis(50);
/// Batches that read their rows after one was refused: where another replica writes the same tasks, the attempts
/// in vain shall cost at most a hundredth.
const REST: u32 = 100;

/// Rows as they were last seen.
#[derive(Default)]
pub(super) struct Memory {
    tasks: BTreeMap<TaskNo, Known>,
    subtasks: usize,
    sessions: BTreeMap<SessionNo, (Session, i64)>,
    clock: Option<Clock>,
    rest: u32,
}

struct Known {
    head: Task,
    stamp: i64,
    /// Those that were seen.
    subtasks: BTreeMap<Index, Subtask>,
}

/// What the database said last, and when. The stamp is good for one batch.
struct Clock {
    now: Time,
    stamp: i64,
    heard: Instant,
}

/// The stamps of what was recalled.
#[derive(Default)]
pub(super) struct Proof {
    pub(super) sessions: Vec<i64>,
    pub(super) session_stamps: Vec<i64>,
    pub(super) tasks: Vec<i64>,
    pub(super) task_stamps: Vec<i64>,
}

impl Memory {
    /// The rows of a batch, if all of them are remembered, with a time and a stamp.
    pub(super) fn recall(&mut self, reads: &Reads) -> Option<(Loaded, Proof)> {
        // Sessions to be changed are not remembered, and neither are notes. Names are taken for new ones, and proven
        // to be.
        if reads.locks || !reads.sessions.is_empty() || !reads.notes.is_empty() {
            return None;
        }
        if let Some(rest) = self.rest.checked_sub(1) {
            self.rest = rest;
            return None;
        }
        let (mut rows, mut proof) = (Rows::default(), Proof::default());
        for no in &reads.seats {
            let (session, stamp) = self.sessions.get(no)?;
            rows.load_session(session.clone());
            proof.sessions.push(no.0);
            proof.session_stamps.push(*stamp);
        }
        let mut newest = 0;
        for no in tasks(reads) {
            let known = self.tasks.get(&no)?;
            rows.load_task(known.head.clone());
            proof.tasks.push(no.0);
            proof.task_stamps.push(known.stamp);
            newest = known.stamp.max(newest);
        }
        for no in &reads.whole {
            let known = &self.tasks[no];
            if known.subtasks.len() != known.head.total as usize {
                return None;
            }
            known.subtasks.iter().for_each(|(index, row)| rows.load_subtask(*no, *index, row.clone()));
        }
        let places = reads.subtasks.union(&reads.hints).filter(|(task, _)| !reads.whole.contains(task));
        for (no, index) in places {
            rows.load_subtask(*no, *index, self.tasks[no].subtasks.get(index)?.clone());
        }
        if proof.tasks.is_empty() && reads.ids.is_empty() {
            return None;
        }
        // Leases and places in line come from the stamp: of one task, each is above those before it.
        let clock = self.clock.take_if(|clock| newest < clock.stamp && clock.heard.elapsed() < CLOCK_MAX)?;
        let since = i64::try_from(clock.heard.elapsed().as_millis()).unwrap_or(0);
        let (now, stamp) = (Time(clock.now.0 + since), clock.stamp);
        Some((Loaded { now, stamp, rows }, proof))
    }

    /// A task was read under its lock.
    pub(super) fn read_task(&mut self, head: Task, stamp: i64) {
        if self.tasks.get(&head.no).is_none_or(|known| known.stamp != stamp) {
            self.forget(head.no);
            self.tasks.insert(head.no, Known { head, stamp, subtasks: BTreeMap::new() });
        }
    }

    /// A subtask was read under the lock of its task.
    pub(super) fn read_subtask(&mut self, task: TaskNo, index: Index, row: Subtask) {
        if let Some(known) = self.tasks.get_mut(&task)
            && known.subtasks.insert(index, row).is_none()
        {
            self.subtasks += 1;
        }
        if self.subtasks > SUBTASKS_MAX {
            self.tasks.clear();
            self.subtasks = 0;
        }
    }

    /// A session was read under its lock, without its declaration.
    pub(super) fn read_session(&mut self, session: Session, stamp: i64) {
        if self.sessions.len() >= SESSIONS_MAX {
            self.sessions.clear();
        }
        self.sessions.insert(session.no, (session, stamp));
    }

    /// A batch is durable.
    pub(super) fn wrote(&mut self, changes: &Changes, stamp: i64) {
        for head in &changes.new_tasks {
            self.read_task(head.clone(), stamp);
        }
        for head in &changes.tasks {
            if let Some(known) = self.tasks.get_mut(&head.no) {
                known.head.clone_from(head);
                known.stamp = stamp;
            }
        }
        for sub in changes.new_subtasks.iter().chain(&changes.subtasks) {
            self.read_subtask(sub.task, sub.index, sub.row.clone());
        }
        for head in changes.tasks.iter().filter(|head| head.status.is_terminal()) {
            self.forget(head.no);
        }
        let changed = changes.sessions.iter().map(|session| session.no);
        for no in changed.chain(changes.dead_sessions.iter().copied()) {
            self.sessions.remove(&no);
        }
    }

    /// The database said what time it is, in an answer to what was sent at `asked`.
    pub(super) fn heard(&mut self, now: Time, stamp: i64, asked: Instant) {
        let heard = Instant::now();
        self.clock = (heard - asked < CLOCK_ERROR_MAX).then_some(Clock { now, stamp, heard });
    }

    /// Not all rows were as they are remembered: forgets those that are not among the ones that were. If all were, a
    /// name was taken, which the next batch finds.
    pub(super) fn disproved(&mut self, proof: &Proof, sessions: &[i64], tasks: &[i64]) {
        if (sessions.len(), tasks.len()) == (proof.sessions.len(), proof.tasks.len()) {
            return self.rest();
        }
        self.rest = REST;
        let gone = |all: &[i64], held: &[i64]| -> Vec<i64> {
            all.iter().copied().filter(|no| !held.contains(no)).collect()
        };
        let strangers = gone(&proof.sessions, sessions);
        for no in &strangers {
            self.sessions.remove(&SessionNo(*no));
        }
        // With a session in doubt the tasks were not even looked at.
        if strangers.is_empty() {
            gone(&proof.tasks, tasks).into_iter().for_each(|no| self.forget(TaskNo(no)));
        }
    }

    /// The next batch reads its rows.
    pub(super) fn rest(&mut self) {
        self.rest = self.rest.max(1);
    }

    fn forget(&mut self, task: TaskNo) {
        if let Some(known) = self.tasks.remove(&task) {
            self.subtasks -= known.subtasks.len();
        }
    }
}

/// Every task that a batch reads anything of.
fn tasks(reads: &Reads) -> BTreeSet<TaskNo> {
    let places = reads.subtasks.iter().chain(&reads.hints).map(|(task, _)| *task);
    reads.tasks.iter().chain(&reads.whole).copied().chain(places).collect()
}
