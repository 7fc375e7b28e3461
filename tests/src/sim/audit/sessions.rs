//! The account of sessions: who was heard when, and whether a session ended for a reason.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::{
    id::{ReplicaNo, SessionNo},
    rows::Changes,
    session::{Session, SessionState},
    time::Time,
};

use super::Settings;

#[derive(Debug)]
pub(super) struct Sessions {
    pub(super) found: Vec<String>,
    pub(super) expired: u64,
    rows: BTreeMap<SessionNo, Seen>,
    said_goodbye: BTreeSet<SessionNo>,
    lease_ms: u64,
    clock_jumps: bool,
}

#[derive(Debug)]
struct Seen {
    row: Session,
    /// When its own replica took in a message of its worker, by the world's clock.
    heard_ms: u64,
}

impl Sessions {
    pub(super) fn new(settings: &Settings, clock_jumps: bool) -> Sessions {
        Sessions {
            found: Vec::new(),
            expired: 0,
            rows: BTreeMap::new(),
            said_goodbye: BTreeSet::new(),
            lease_ms: settings.liveness.lease_ms,
            clock_jumps,
        }
    }

    pub(super) fn committed(&mut self, changes: &Changes, now_ms: u64, database_now: Time) {
        for row in &changes.new_sessions {
            self.rows.insert(row.no, Seen { row: row.clone(), heard_ms: now_ms });
        }
        for row in &changes.sessions {
            let Some(seen) = self.rows.get_mut(&row.no) else {
                self.found.push(format!("session {} is written, and is not there", row.no));
                continue;
            };
            let was = seen.row.state;
            if was == SessionState::Expired && row.state != SessionState::Expired {
                self.found.push(format!("session {} was over, and is {}", row.no, row.state.word()));
            }
            if was != SessionState::Expired && row.state == SessionState::Expired {
                self.expired += 1;
                // A stream that is gone has an end of its grace time.
                let over = |at| self.clock_jumps || at <= database_now;
                let detached = seen.row.wake_at.is_some_and(over);
                let silent = now_ms.saturating_sub(seen.heard_ms) >= self.lease_ms;
                if !detached && !silent && !self.said_goodbye.contains(&row.no) {
                    let ms = now_ms.saturating_sub(seen.heard_ms);
                    self.found.push(format!(
                        "session {} ({}) expired, though its replica {} heard its worker {ms} ms ago",
                        row.no,
                        was.word(),
                        seen.row.replica
                    ));
                }
            }
            if row.replica != seen.row.replica {
                seen.heard_ms = now_ms;
            }
            seen.row = Session { declaration: seen.row.declaration.clone(), ..row.clone() };
        }
        for no in &changes.dead_sessions {
            match self.rows.remove(no).map(|seen| seen.row.state) {
                Some(SessionState::Expired) => {}
                state => self.found.push(format!("session {no} is forgotten while {state:?}")),
            }
        }
    }

    pub(super) fn heard(&mut self, session: SessionNo, replica: ReplicaNo, now_ms: u64) {
        if let Some(seen) = self.rows.get_mut(&session).filter(|seen| seen.row.replica == replica) {
            seen.heard_ms = now_ms;
        }
    }

    pub(super) fn goodbye(&mut self, session: SessionNo) {
        self.said_goodbye.insert(session);
    }

    pub(super) fn state(&self, session: SessionNo) -> Option<SessionState> {
        self.rows.get(&session).map(|seen| seen.row.state)
    }

    pub(super) fn open(&self) -> Vec<SessionNo> {
        let open = self.rows.values().filter(|seen| seen.row.state == SessionState::Open);
        open.map(|seen| seen.row.no).collect()
    }

    pub(super) fn states(&self) -> Vec<(SessionNo, SessionState)> {
        self.rows.iter().map(|(no, seen)| (*no, seen.row.state)).collect()
    }

    pub(super) fn belongs(&self, session: SessionNo, replica: ReplicaNo) -> bool {
        self.rows.get(&session).is_some_and(|seen| {
            seen.row.replica == replica
                && seen.row.wake_at.is_none()
                && seen.row.state != SessionState::Expired
        })
    }

    /// Whether there is a reason to close the session's stream: its worker said goodbye, or nothing for too long.
    pub(super) fn may_close(&self, session: SessionNo, now_ms: u64) -> bool {
        let silent = |seen: &Seen| now_ms.saturating_sub(seen.heard_ms) >= self.lease_ms;
        self.said_goodbye.contains(&session) || self.rows.get(&session).is_none_or(silent)
    }

    /// Expired, or forgotten since.
    pub(super) fn is_over(&self, session: SessionNo) -> bool {
        self.state(session).is_none_or(|state| state == SessionState::Expired)
    }

    pub(super) fn close(&mut self, rows: &[Session]) {
        let accounted: Vec<&Session> = self.rows.values().map(|seen| &seen.row).collect();
        if !accounted.iter().copied().eq(rows) {
            self.found.push(format!("sessions are {rows:?}, accounted for are {accounted:?}"));
        }
    }
}
