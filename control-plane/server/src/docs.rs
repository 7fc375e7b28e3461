//! What never changes, kept in memory: plans, requests, outputs of finished subtasks, and values of shared contexts. A
//! cache by bytes; what is not in it is read from the store.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use downbeat_core::{
    event::Artifact,
    id::{Index, TaskId, TaskNo, TenantNo},
    note::NoteKey,
    plan::Plan,
    rows::{Growth, Output},
};
use downbeat_store::{PlanRecord, Store, StoreError};

/// Half of what plans may take; a plan of 10,000 subtasks with small inputs is about 4 MB.
const PLAN_BYTES: usize = 64 << 20;
/// Half of what outputs may take.
const OUTPUT_BYTES: usize = 64 << 20;
/// Half of what values of shared contexts may take.
const VALUE_BYTES: usize = 32 << 20;
/// Half of what names of tasks may take.
const NAME_BYTES: usize = 8 << 20;
/// What a node and its dependents take beside their texts.
const NODE_BYTES: usize = 300;

/// What a subtask delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// JSON text; empty: null.
    pub body: Bytes,
    pub artifacts: Vec<Artifact>,
}

/// The cache, shared by the committer, the sessions and the faces.
#[derive(Debug)]
pub struct Docs {
    plans: Mutex<Generations<TaskNo, Arc<PlanRecord>>>,
    outputs: Mutex<Generations<(TaskNo, Index), Delivered>>,
    /// Values of shared contexts, by the number of the write.
    values: Mutex<Generations<(TaskNo, u32), Bytes>>,
    names: Mutex<Generations<(TenantNo, TaskId), TaskNo>>,
}

impl Default for Docs {
    fn default() -> Docs {
        Docs {
            plans: Mutex::new(Generations::new(PLAN_BYTES)),
            outputs: Mutex::new(Generations::new(OUTPUT_BYTES)),
            values: Mutex::new(Generations::new(VALUE_BYTES)),
            names: Mutex::new(Generations::new(NAME_BYTES)),
        }
    }
}

impl Docs {
    /// The plans of those tasks that exist.
    ///
    /// # Errors
    /// The store's.
    pub async fn plans(
        &self,
        store: &dyn Store,
        tasks: &BTreeSet<TaskNo>,
    ) -> Result<BTreeMap<TaskNo, Arc<Plan>>, StoreError> {
        let mut found = BTreeMap::new();
        let mut missing = Vec::new();
        {
            let mut plans = lock(&self.plans);
            for task in tasks {
                match plans.get(task) {
                    Some(record) => drop(found.insert(*task, Arc::clone(&record.plan))),
                    None => missing.push(*task),
                }
            }
        }
        if !missing.is_empty() {
            for record in store.plans(&missing).await? {
                found.insert(record.task, Arc::clone(&record.plan));
                self.learn_plan(record);
            }
        }
        Ok(found)
    }

    /// The task of that name, if it exists.
    ///
    /// # Errors
    /// The store's.
    pub async fn named(
        &self,
        store: &dyn Store,
        tenant: TenantNo,
        id: &str,
    ) -> Result<Option<TaskNo>, StoreError> {
        let key = (tenant, id.to_owned());
        let known = lock(&self.names).get(&key);
        if known.is_some() {
            return Ok(known);
        }
        let found = store.find_task(tenant, id).await?;
        if let Some(task) = found {
            self.learn_name(key, task);
        }
        Ok(found)
    }

    fn learn_name(&self, key: (TenantNo, TaskId), task: TaskNo) {
        let bytes = key.1.len() + NODE_BYTES;
        lock(&self.names).insert(key, task, bytes);
    }

    /// A task's plan with its request.
    ///
    /// # Errors
    /// The store's.
    pub async fn record(
        &self,
        store: &dyn Store,
        task: TaskNo,
    ) -> Result<Option<Arc<PlanRecord>>, StoreError> {
        if let Some(record) = lock(&self.plans).get(&task) {
            return Ok(Some(record));
        }
        let Some(record) = store.plans(&[task]).await?.pop() else { return Ok(None) };
        Ok(Some(self.learn_plan(record)))
    }

    /// As [`record`](Docs::record), with a plan of at least so many nodes: one that is shorter has grown since.
    ///
    /// # Errors
    /// The store's.
    pub async fn record_of(
        &self,
        store: &dyn Store,
        task: TaskNo,
        at_least: Index,
    ) -> Result<Option<Arc<PlanRecord>>, StoreError> {
        let known = self.record(store, task).await?;
        if known.as_ref().is_none_or(|record| record.plan.len() >= at_least) {
            return Ok(known);
        }
        self.forget_plan(task);
        self.record(store, task).await
    }

    /// The plan has grown elsewhere: it is read anew.
    pub fn forget_plan(&self, task: TaskNo) {
        lock(&self.plans).remove(&task);
    }

    /// What these subtasks delivered, in the order asked; `None`: nothing that was kept.
    ///
    /// # Errors
    /// The store's.
    pub async fn outputs(
        &self,
        store: &dyn Store,
        task: TaskNo,
        indexes: &[Index],
    ) -> Result<Vec<Option<Delivered>>, StoreError> {
        let mut found: Vec<Option<Delivered>> = {
            let mut outputs = lock(&self.outputs);
            indexes.iter().map(|index| outputs.get(&(task, *index))).collect()
        };
        let missing: Vec<(TaskNo, Index)> = indexes
            .iter()
            .zip(&found)
            .filter(|(_, delivered)| delivered.is_none())
            .map(|(index, _)| (task, *index))
            .collect();
        if !missing.is_empty() {
            let mut read: HashMap<Index, Output> =
                store.outputs(&missing).await?.into_iter().map(|output| (output.index, output)).collect();
            for (index, delivered) in indexes.iter().zip(&mut found) {
                if delivered.is_none() {
                    *delivered =
                        read.remove(index).map(|o| Delivered { body: o.body, artifacts: o.artifacts });
                }
            }
        }
        Ok(found)
    }

    /// What these writes have written to the task's shared context, in the order asked.
    ///
    /// # Errors
    /// The store's, and `Corrupt` where one is not there.
    pub async fn context_values(
        &self,
        store: &dyn Store,
        task: TaskNo,
        writes: &[u32],
    ) -> Result<Vec<Bytes>, StoreError> {
        let mut found: BTreeMap<u32, Bytes> = {
            let mut values = lock(&self.values);
            writes.iter().filter_map(|write| Some((*write, values.get(&(task, *write))?))).collect()
        };
        let missing: Vec<NoteKey> = writes
            .iter()
            .filter(|write| !found.contains_key(write))
            .map(|write| NoteKey::ContextValue(*write))
            .collect();
        if !missing.is_empty() {
            for (key, body) in store.notes_at(task, &missing).await? {
                if let NoteKey::ContextValue(write) = key {
                    self.learn_context_value(task, write, body.clone());
                    found.insert(write, body);
                }
            }
        }
        let of = |write: &u32| {
            let lost = || StoreError::Corrupt(format!("task {task} has no value of its write {write}"));
            found.get(write).cloned().ok_or_else(lost)
        };
        writes.iter().map(of).collect()
    }

    /// Remembers a durable value of a shared context.
    pub fn learn_context_value(&self, task: TaskNo, write: u32, value: Bytes) {
        let bytes = NODE_BYTES + value.len();
        lock(&self.values).insert((task, write), value, bytes);
    }

    /// Remembers an accepted plan.
    pub fn learn_plan(&self, record: PlanRecord) -> Arc<PlanRecord> {
        let record = Arc::new(record);
        self.learn_name((record.tenant, record.id.clone()), record.task);
        self.keep(&record);
        record
    }

    /// Plans have grown, one perhaps several times: each is copied once.
    pub fn learn_growth(&self, growth: &[Growth]) {
        let mut by_task: BTreeMap<TaskNo, Vec<&Growth>> = BTreeMap::new();
        for part in growth {
            by_task.entry(part.task).or_default().push(part);
        }
        for (task, parts) in by_task {
            let Some(known) = lock(&self.plans).get(&task) else { continue };
            let mut record = PlanRecord::clone(&known);
            let plan = Arc::make_mut(&mut record.plan);
            let follows = |part: &&Growth| {
                let follows = plan.len() == part.first;
                if follows {
                    plan.extend(&part.nodes);
                }
                follows
            };
            if parts.iter().all(follows) {
                self.keep(&Arc::new(record));
            } else {
                self.forget_plan(task);
            }
        }
    }

    fn keep(&self, record: &Arc<PlanRecord>) {
        let texts: usize = record
            .plan
            .nodes()
            .iter()
            .map(|node| node.input.as_ref().map_or(0, |input| input.get().len()) + NODE_BYTES)
            .sum();
        let request = &record.request;
        let bytes = texts + request.title.len() + request.description.len() + request.metadata.len();
        lock(&self.plans).insert(record.task, Arc::clone(record), bytes);
    }

    /// Remembers a durable output.
    pub fn learn_output(&self, task: TaskNo, index: Index, body: Bytes, artifacts: Vec<Artifact>) {
        let bytes = NODE_BYTES + body.len() + artifacts.len() * NODE_BYTES;
        lock(&self.outputs).insert((task, index), Delivered { body, artifacts }, bytes);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Two generations: when the young one is full, the old one goes and the young one becomes old. What is
/// asked for moves back into the young one.
#[derive(Debug)]
struct Generations<K, V> {
    young: HashMap<K, (V, usize)>,
    old: HashMap<K, (V, usize)>,
    bytes: usize,
    bytes_max: usize,
}

impl<K: Eq + Hash + Clone, V: Clone> Generations<K, V> {
    fn new(bytes_max: usize) -> Generations<K, V> {
        Generations { young: HashMap::new(), old: HashMap::new(), bytes: 0, bytes_max }
    }

    fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (value, bytes) = self.old.remove(key)?;
        self.insert(key.clone(), value.clone(), bytes);
        Some(value)
    }

    fn remove(&mut self, key: &K) {
        self.old.remove(key);
        if let Some((_, bytes)) = self.young.remove(key) {
            self.bytes -= bytes;
        }
    }

    fn insert(&mut self, key: K, value: V, bytes: usize) {
        if self.bytes + bytes > self.bytes_max {
            self.old = std::mem::take(&mut self.young);
            self.bytes = 0;
        }
        if let Some((_, before)) = self.young.insert(key, (value, bytes)) {
            self.bytes -= before;
        }
        self.bytes += bytes;
    }
}
