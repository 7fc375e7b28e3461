//! Row locks: many may share a session, one alone may have it or a task.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::id::{SessionNo, TaskNo};

/// What can be locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lock {
    Session(SessionNo),
    Task(TaskNo),
}

#[derive(Debug)]
enum Holders {
    One(u64),
    Many(BTreeSet<u64>),
}

/// Who holds what.
#[derive(Debug, Default)]
pub(super) struct Locks {
    held: BTreeMap<Lock, Holders>,
    by: BTreeMap<u64, Vec<Lock>>,
    newest: u64,
}

impl Locks {
    /// A new transaction.
    pub(super) fn begin(&mut self) -> u64 {
        self.newest += 1;
        self.newest
    }

    /// Takes a lock if it can be had at once.
    pub(super) fn take(&mut self, transaction: u64, what: Lock, exclusive: bool) -> bool {
        match self.held.get_mut(&what) {
            Some(Holders::One(holder)) => return *holder == transaction,
            Some(Holders::Many(_)) if exclusive => return false,
            Some(Holders::Many(holders)) => drop(holders.insert(transaction)),
            None if exclusive => drop(self.held.insert(what, Holders::One(transaction))),
            None => drop(self.held.insert(what, Holders::Many(BTreeSet::from([transaction])))),
        }
        self.by.entry(transaction).or_default().push(what);
        true
    }

    /// Gives back all that the transaction holds.
    pub(super) fn end(&mut self, transaction: u64) {
        for what in self.by.remove(&transaction).unwrap_or_default() {
            let free = match self.held.get_mut(&what) {
                Some(Holders::Many(holders)) => {
                    holders.remove(&transaction);
                    holders.is_empty()
                }
                Some(Holders::One(_)) => true,
                None => false,
            };
            if free {
                self.held.remove(&what);
            }
        }
    }
}
