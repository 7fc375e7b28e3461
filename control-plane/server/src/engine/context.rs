//! The shared context of a task: reading it, writing it, by people and under a lease; and what differs between two
//! points of a task's history.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use downbeat_core::{
    command::{Command, Reply, Verdict, WriteContext, Writer},
    context::{Held, Keys, Written, differing, keys, keys_at, seed},
    draft::ContextKeys,
    event::Event,
    id::{LeaseAt, SessionNo, TaskNo, TenantNo},
    note::NoteKey,
    plan::Plan,
    subtask::SubtaskState,
};

use super::{Engine, unexpected};
use crate::{failure::Failure, past};

/// A key of the shared context as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextEntry {
    pub key: String,
    /// JSON text.
    pub value: Bytes,
    pub version: u64,
}

/// What a person writes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContextChange {
    pub key: String,
    /// JSON text; `None`: the key is deleted.
    pub value: Option<Bytes>,
    /// 0: only where there is none.
    pub expected_version: Option<u64>,
    pub by: String,
}

/// What differs between two points of a task's history.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// By key; `None`: it was not there.
    pub context: BTreeMap<String, (Option<Bytes>, Option<Bytes>)>,
    /// In the order of the plan.
    pub subtasks: Vec<SubtaskDifference>,
}

/// A subtask that is in another state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubtaskDifference {
    pub id: String,
    pub key: String,
    /// `None`: it was not there.
    pub from: Option<SubtaskState>,
    pub to: Option<SubtaskState>,
}

impl Engine {
    /// A task's shared context, by key; `key`: only that one.
    ///
    /// # Errors
    /// `NotFound`, also where there is no such key; `Unavailable`.
    pub async fn context(
        &self,
        tenant: TenantNo,
        id: &str,
        key: Option<&str>,
    ) -> Result<Vec<ContextEntry>, Failure> {
        let (task, record) = self.find(tenant, id).await?;
        let mut found = keys(&record.plan, &self.written(task).await?);
        found.retain(|name, _| key.is_none_or(|key| key == name));
        let entries = self.entries(task, &record.plan, &found).await?;
        match key {
            Some(key) if entries.is_empty() => {
                Err(Failure::NotFound { what: "context key", name: key.to_owned() })
            }
            Some(_) | None => Ok(entries),
        }
    }

    /// Writes one key; gives the version that it has by it.
    ///
    /// # Errors
    /// `NotFound`, `Reject` (`VersionConflict`, `ContextFull`, `TaskFinished`), `Unavailable`.
    pub async fn write_context(
        &self,
        tenant: TenantNo,
        id: &str,
        change: ContextChange,
    ) -> Result<u64, Failure> {
        let (task, _) = self.find(tenant, id).await?;
        let ContextChange { key, value, expected_version, by } = change;
        let writer = Writer::Person { by };
        self.write_value(task, WriteContext { key, value, expected_version, writer })
            .await
            .map(|(_, version)| version)
    }

    async fn write_value(&self, task: TaskNo, write: WriteContext) -> Result<(Verdict, u64), Failure> {
        match self.decide(Command::WriteContext { task, write: Arc::new(write) }).await? {
            Reply::ContextWritten { verdict, version } => Ok((verdict, version)),
            other => Err(unexpected(&other)),
        }
    }

    /// A worker writes one key under its lease; gives the version that it has by it. Asked again it is recognised.
    ///
    /// # Errors
    /// `Reject` (`VersionConflict`, `ContextFull`), `Unavailable`.
    pub(crate) async fn write_context_under(
        &self,
        tenant: TenantNo,
        at: LeaseAt,
        write: WriteContext,
    ) -> Result<(Verdict, u64), Failure> {
        if self.is_of(tenant, at.task).await? {
            self.write_value(at.task, write).await
        } else {
            Ok((Verdict::Stale, 0))
        }
    }

    /// What a worker reads under its lease; `None`: that is not current.
    ///
    /// # Errors
    /// `Unavailable`.
    pub(crate) async fn read_context_under(
        &self,
        tenant: TenantNo,
        session: SessionNo,
        at: LeaseAt,
        key: Option<String>,
    ) -> Result<Option<Vec<ContextEntry>>, Failure> {
        if !self.is_of(tenant, at.task).await? {
            return Ok(None);
        }
        match self.decide(Command::ReadContext { at, session, key }).await? {
            Reply::Context { verdict: Verdict::Accepted, keys } => {
                let record = self.docs.record(&*self.store, at.task).await?;
                let plan = record.map(|record| Arc::clone(&record.plan)).unwrap_or_default();
                self.entries(at.task, &plan, &keys).await.map(Some)
            }
            Reply::Context { verdict: Verdict::Stale | Verdict::Duplicate, .. } => Ok(None),
            other => Err(unexpected(&other)),
        }
    }

    /// What a worker finds in its brief where the plan says which keys; `None`: what the task was given.
    pub(crate) async fn handed_context(
        &self,
        task: TaskNo,
        plan: &Plan,
        asked: &ContextKeys,
    ) -> Result<Option<Vec<ContextEntry>>, Failure> {
        let only = match asked {
            ContextKeys::Given => return Ok(None),
            ContextKeys::All => None,
            ContextKeys::Only(names) => Some(names),
        };
        let mut found = keys(plan, &self.written(task).await?);
        found.retain(|name, _| only.is_none_or(|names| names.contains(name)));
        self.entries(task, plan, &found).await.map(Some)
    }

    async fn is_of(&self, tenant: TenantNo, task: TaskNo) -> Result<bool, Failure> {
        let record = self.docs.record(&*self.store, task).await?;
        Ok(record.is_some_and(|record| record.tenant == tenant))
    }

    async fn written(&self, task: TaskNo) -> Result<Written, Failure> {
        let note = self.store.notes_at(task, &[NoteKey::Context]).await?.pop();
        note.map_or(Ok(Written::default()), |(_, body)| {
            serde_json::from_slice(&body).map_err(|error| Failure::Internal(error.to_string()))
        })
    }

    /// The keys that are there, with their values.
    async fn entries(&self, task: TaskNo, plan: &Plan, keys: &Keys) -> Result<Vec<ContextEntry>, Failure> {
        let values = self.values(task, plan, keys).await?;
        let entry = |(key, value): (String, Bytes)| {
            let version = keys.get(&key).map_or(0, |entry| entry.version);
            ContextEntry { key, value, version }
        };
        Ok(values.into_iter().map(entry).collect())
    }

    /// The values of the keys that are there.
    pub(super) async fn values(
        &self,
        task: TaskNo,
        plan: &Plan,
        keys: &Keys,
    ) -> Result<BTreeMap<String, Bytes>, Failure> {
        let written: BTreeMap<&str, u32> = keys
            .iter()
            .filter_map(|(key, entry)| match entry.held {
                Held::Write(number) => Some((key.as_str(), number)),
                Held::Seed | Held::Deleted => None,
            })
            .collect();
        let writes: Vec<u32> = written.values().copied().collect();
        let found = self.docs.context_values(&*self.store, task, &writes).await?;
        let mut values: BTreeMap<String, Bytes> = written.into_keys().map(str::to_owned).zip(found).collect();
        let given = |key: &str| keys.get(key).is_some_and(|entry| entry.held == Held::Seed);
        let seed = seed(plan).into_iter().filter(|(key, _)| given(key));
        values.extend(seed.map(|(key, value)| (key, Bytes::copy_from_slice(value.get().as_bytes()))));
        Ok(values)
    }

    /// What a fork takes over: what differs from what the request gave.
    pub(super) async fn forked_context(
        &self,
        task: TaskNo,
        plan: &Plan,
        events: &[Event],
        number: u64,
    ) -> Result<BTreeMap<String, Option<Bytes>>, Failure> {
        let mut then = keys_at(plan, events, number);
        then.retain(|_, entry| entry.held != Held::Seed);
        let given = seed(plan);
        let values = self.values(task, plan, &then).await?;
        let mut taken: BTreeMap<String, Option<Bytes>> =
            then.into_keys().filter(|key| given.contains_key(key)).map(|key| (key, None)).collect();
        taken.extend(values.into_iter().map(|(key, value)| (key, Some(value))));
        Ok(taken)
    }

    /// What has changed from one snapshot to another, or (`None`) to the present state.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn diff(
        &self,
        tenant: TenantNo,
        id: &str,
        from: &str,
        to: Option<&str>,
    ) -> Result<Difference, Failure> {
        let (task, _) = self.find(tenant, id).await?;
        let (_, record, events) = self.whole_history(task).await?;
        let from = self.find_snapshot(task, from).await?.event;
        let to = match to {
            Some(name) => self.find_snapshot(task, name).await?.event,
            None => events.len() as u64,
        };
        let plan = &record.plan;
        let (mut before, mut after) = (keys_at(plan, &events, from), keys_at(plan, &events, to));
        let differ: Vec<String> = differing(&before, &after).into_iter().map(str::to_owned).collect();
        before.retain(|key, _| differ.contains(key));
        after.retain(|key, _| differ.contains(key));
        let mut was = self.values(task, plan, &before).await?;
        let mut is = self.values(task, plan, &after).await?;
        let both = differ.into_iter().map(|key| {
            let values = (was.remove(&key), is.remove(&key));
            (key, values)
        });
        // Written again with the same value, it is the same.
        let context = both.filter(|(_, (was, is))| was != is).collect();
        let (was, is) = (past::states(plan, &events, from), past::states(plan, &events, to));
        let change = |(index, node): (u32, &Arc<downbeat_core::plan::Node>)| SubtaskDifference {
            id: node.id.clone(),
            key: node.key.clone(),
            from: was.get(&index).copied(),
            to: is.get(&index).copied(),
        };
        let subtasks = (0..).zip(plan.nodes()).map(change).filter(|sub| sub.from != sub.to).collect();
        Ok(Difference { context, subtasks })
    }
}
