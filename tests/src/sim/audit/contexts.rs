//! What was written to shared contexts, and what was told of it.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use downbeat_core::{
    context::{Entry, Held, Written},
    event::{Event, What},
    id::{LeaseAt, LeaseId, TaskNo},
    invariant,
    note::NoteKey,
    plan::Plan,
};
use downbeat_proto::v1::{self, context_answer::Verdict};
use downbeat_server::engine::{ContextChange, ContextEntry};
use downbeat_store::Store;

use super::{Known, look};

/// The account of shared contexts.
#[derive(Debug, Default)]
pub struct Contexts {
    pub(super) found: Vec<String>,
    /// What the holders of leases sent, by lease and number.
    sent: BTreeMap<(LeaseId, u64), v1::ContextWrite>,
    /// Of those, what counts, and the version that it made.
    counted: BTreeMap<(LeaseId, u64), u64>,
    /// Of those that delete, each by the version that it made.
    deleted: BTreeSet<(LeaseId, u64)>,
    /// What people sent.
    asked: BTreeSet<(TaskNo, String, Option<Bytes>)>,
    /// What each version is; `None`: nothing.
    versions: BTreeMap<(TaskNo, String), Vec<Option<Bytes>>>,
}

impl Contexts {
    /// The holder of a lease sends a write, perhaps again.
    pub fn writing(&mut self, at: LeaseAt, write: &v1::ContextWrite) {
        self.sent.insert((at.lease, write.request), write.clone());
    }

    /// A person is about to write.
    pub fn asking(&mut self, task: TaskNo, change: &ContextChange) {
        self.asked.insert((task, change.key.clone(), change.value.clone()));
    }

    /// A batch that wrote to the context of a task is durable.
    pub(super) fn committed(&mut self, store: &dyn Store, task: TaskNo, plan: &Plan, events: &[Event]) {
        let note = look(store.notes_at(task, &[NoteKey::Context])).map(|mut notes| notes.pop());
        let written = match note {
            Ok(Some((_, body))) => serde_json::from_slice::<Written>(&body).map_err(|e| e.to_string()),
            Ok(None) => Ok(Written::default()),
            Err(error) => Err(error),
        };
        match written {
            Ok(written) => {
                let broken = invariant::broken_context(plan, &written, events);
                self.found.extend(broken.into_iter().map(|what| format!("task {task}: {what}")));
            }
            Err(error) => self.found.push(format!("task {task}: {error}")),
        }
    }

    /// A write counts, says the database.
    pub(super) fn written(&mut self, store: &dyn Store, task: TaskNo, event: &Event) {
        let What::Context { lease, key, entry: Entry { version, held, .. }, by, .. } = &event.what else {
            return;
        };
        let value = match held {
            Held::Write(number) => {
                let found = look(store.notes_at(task, &[NoteKey::ContextValue(*number)]));
                found.ok().and_then(|mut notes| notes.pop()).map(|(_, body)| body)
            }
            Held::Seed | Held::Deleted => None,
        };
        if matches!(held, Held::Write(_)) && value.is_none() {
            self.found.push(format!("task {task}: version {version} of `{key}` has no value"));
        }
        let versions = self.versions.entry((task, key.clone())).or_default();
        let before = versions.last().cloned().flatten();
        versions.push(value.clone());
        if let Some(lease) = lease {
            self.under_lease(task, *lease, (key, &value), *version, before.is_some());
        } else if !by.is_empty() && !self.asked.contains(&(task, key.clone(), value.clone())) {
            self.found.push(format!("task {task}: nobody sent {value:?} for `{key}`"));
        }
    }

    fn under_lease(
        &mut self,
        task: TaskNo,
        lease: LeaseId,
        (key, value): (&str, &Option<Bytes>),
        version: u64,
        there_was: bool,
    ) {
        // Values are all different; of several deletions nobody knows which one counts.
        let same =
            |(_, write): &(&(LeaseId, u64), &v1::ContextWrite)| write.key == key && write.value == *value;
        let fits = |write: &v1::ContextWrite| match write.expected_version {
            None => true,
            Some(0) => !there_was,
            Some(expected) => there_was && version == expected + 1,
        };
        let sent: Vec<_> = self.sent.range((lease, 0)..=(lease, u64::MAX)).filter(same).collect();
        if !sent.iter().any(|(_, write)| fits(write)) {
            let text = format!(
                "task {task}: {value:?} counts as version {version} of `{key}`; {lease} sent {sent:?}"
            );
            self.found.push(text);
        }
        let counts = match (value, sent.first()) {
            (Some(_), Some((place, _))) => self.counted.insert(**place, version).is_none(),
            (Some(_), None) => true,
            (None, _) => self.deleted.insert((lease, version)),
        };
        if !counts {
            self.found.push(format!("task {task}: {value:?} for `{key}` under {lease} counts twice"));
        }
    }

    /// A worker is told what became of a write.
    pub fn told(&mut self, known: &Known<'_>, at: LeaseAt, answer: &v1::ContextAnswer) {
        let LeaseAt { task, index, lease } = at;
        let place = (lease, answer.request);
        let deletes = self.sent.get(&place).is_some_and(|write| write.value.is_none());
        let counted = if deletes {
            Some(&answer.version)
                .filter(|version| **version == 0 || self.deleted.contains(&(lease, **version)))
        } else {
            self.counted.get(&place)
        };
        let wrong = match answer.verdict() {
            // Of one that was not the newest, the version is not known.
            Verdict::Done => counted.is_none() || answer.version > 0 && counted != Some(&answer.version),
            Verdict::Stale => known
                .subtask(task, index)
                .is_some_and(|row| row.lease == Some(lease) && row.session.is_some()),
            Verdict::Conflict | Verdict::Refused | Verdict::Unspecified => false,
        };
        if wrong {
            self.found.push(format!("{task}/{index}: a write got {answer:?}, and counts as {counted:?}"));
        }
    }

    /// A client is shown the context of a task.
    pub fn shown(&mut self, task: TaskNo, entries: &[ContextEntry]) {
        for ContextEntry { key, value, version } in entries {
            let versions = self.versions.get(&(task, key.clone()));
            let place = usize::try_from(*version).ok().and_then(|version| version.checked_sub(1));
            let was = place.and_then(|place| versions?.get(place).cloned().flatten());
            if was.as_ref() != Some(value) {
                self.found.push(format!("task {task}: `{key}` is shown as {value:?}, and was {was:?}"));
            }
        }
    }
}
