//! The shared context of a task: JSON values by key, each with a version that only grows, also over a deletion. What
//! the request gave (`metadata.context`) is there from the start, at version 1.
//!
//! A note tells which keys were written. The values are notes of their own, each under the number of its write, and
//! never change: the history names the write, so that what the context was at any event can be told, restored and
//! forked. Rows, commands and events in, rows and events out; what a value says is looked at only by expressions.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    command::{Reply, Verdict, WriteContext, Writer},
    event::{Event, What},
    expr::Scope,
    flow::plan,
    id::{LeaseAt, LeaseId, SessionNo, TaskNo},
    limits,
    note::{self, NoteKey},
    plan::Plan,
    reject::Reject,
    rows::Rows,
    time::Frame,
};

/// What a write counts for beside its key and value: a row, and an event.
const WRITE_BYTES: u64 = 100;
const FORKED: &str = "taken over from the task that it was forked from";

/// Where the value of a key is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Held {
    /// In what the task was given.
    Seed,
    /// In the note of the write with this number: [`NoteKey::ContextValue`].
    Write(u32),
    /// Nowhere: it was deleted.
    Deleted,
}

/// A key as it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// 1, 2, ...
    #[serde(rename = "v")]
    pub version: u64,
    #[serde(rename = "h")]
    pub held: Held,
    /// Of the value's JSON text; 0 where it was deleted.
    #[serde(rename = "b")]
    pub bytes: u64,
}

/// Keys as they stand, with those that were deleted.
pub type Keys = BTreeMap<String, Entry>;

/// What was written of a task's context.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Written {
    pub keys: Keys,
    /// How many values were ever kept.
    pub values: u32,
    /// What all writes took.
    pub bytes: u64,
}

/// The newest write that the worker of a subtask has made, to recognise it when it comes again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LastWrite {
    lease: LeaseId,
    request: u64,
    version: u64,
}

/// The values that a task was given, by key: JSON texts. None where what it was given is no object.
pub fn seed(plan: &Plan) -> BTreeMap<String, &RawValue> {
    serde_json::from_slice(plan.context()).unwrap_or_default()
}

/// All keys: what the task was given, and over it what was written.
pub fn keys(plan: &Plan, written: &Written) -> Keys {
    let mut keys = seeded(plan);
    keys.extend(written.keys.iter().map(|(key, entry)| (key.clone(), *entry)));
    keys
}

/// All keys right after the event with that number. `events` is the whole history.
pub fn keys_at(plan: &Plan, events: &[Event], number: u64) -> Keys {
    let mut keys = seeded(plan);
    for event in events.iter().filter(|event| event.number <= number) {
        if let What::Context { key, entry, .. } = &event.what {
            keys.insert(key.clone(), *entry);
        }
    }
    keys
}

fn seeded(plan: &Plan) -> Keys {
    let entry = |value: &RawValue| Entry { version: 1, held: Held::Seed, bytes: value.get().len() as u64 };
    seed(plan).into_iter().map(|(key, value)| (key, entry(value))).collect()
}

/// Writes one key, or finds that its worker has written it before.
pub(crate) fn write(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    asked: &WriteContext,
) -> Result<Reply, Reject> {
    let WriteContext { key, value, expected_version, writer } = asked;
    let head = rows.task(task).ok_or(Reject::TaskUnknown)?;
    match writer {
        Writer::Person { .. } if head.status.is_terminal() => return Err(Reject::TaskFinished(head.status)),
        Writer::Person { .. } => {}
        Writer::Worker { at, session, request } => {
            if !rows.subtask(task, at.index).is_some_and(|sub| sub.is_held_by(at.lease, *session)) {
                return Ok(Reply::ContextWritten { verdict: Verdict::Stale, version: 0 });
            }
            let last: Option<LastWrite> = note::get(rows, task, NoteKey::ContextWrite(at.index));
            if let Some(last) = last.filter(|last| last.lease == at.lease && *request <= last.request) {
                let version = if last.request == *request { last.version } else { 0 };
                return Ok(Reply::ContextWritten { verdict: Verdict::Duplicate, version });
            }
        }
    }
    let mut written: Written = note::get(rows, task, NoteKey::Context).unwrap_or_default();
    let plan = plan(rows, task);
    let keys = keys(&plan, &written);
    let present = keys.get(key).copied();
    check_version(key, present, *expected_version)?;
    check_room(&keys, &written, asked)?;
    let version = present.map_or(0, |entry| entry.version) + 1;
    let entry = set(rows, task, &mut written, key, value.as_ref(), version);
    note::put(rows, task, NoteKey::Context, &written);
    let (index, lease, by) = match writer {
        Writer::Person { by } => (None, None, by.clone()),
        Writer::Worker { at, request, .. } => {
            let last = LastWrite { lease: at.lease, request: *request, version };
            note::put(rows, task, NoteKey::ContextWrite(at.index), &last);
            (Some(at.index), Some(at.lease), String::new())
        }
    };
    let (key, digest, reason) = (key.clone(), digest(value.as_ref()), String::new());
    rows.record(frame, task, What::Context { index, lease, key, entry, digest, by, reason });
    Ok(Reply::ContextWritten { verdict: Verdict::Accepted, version })
}

/// Keeps a value under the number of its write, and points its key to it.
fn set(
    rows: &mut Rows,
    task: TaskNo,
    written: &mut Written,
    key: &str,
    value: Option<&Bytes>,
    version: u64,
) -> Entry {
    let held = match value {
        Some(value) => {
            written.values += 1;
            rows.add_note(task, NoteKey::ContextValue(written.values), value.clone());
            Held::Write(written.values)
        }
        None => Held::Deleted,
    };
    let entry = Entry { version, held, bytes: value.map_or(0, |value| value.len() as u64) };
    written.keys.insert(key.to_owned(), entry);
    written.bytes += cost(key, value);
    entry
}

fn cost(key: &str, value: Option<&Bytes>) -> u64 {
    WRITE_BYTES + (key.len() + value.map_or(0, Bytes::len)) as u64
}

fn digest(value: Option<&Bytes>) -> String {
    value.map_or_else(String::new, |value| blake3::hash(value).to_hex().to_string())
}

/// A deleted key is as one that never was, but for its version.
fn check_version(key: &str, present: Option<Entry>, expected: Option<u64>) -> Result<(), Reject> {
    let version = match present {
        None | Some(Entry { held: Held::Deleted, .. }) => 0,
        Some(entry) => entry.version,
    };
    match expected {
        Some(expected) if expected != version => {
            Err(Reject::VersionConflict { key: key.to_owned(), version, expected })
        }
        Some(_) | None => Ok(()),
    }
}

fn check_room(keys: &Keys, written: &Written, asked: &WriteContext) -> Result<(), Reject> {
    let WriteContext { key, value, .. } = asked;
    let (most, got) = (limits::CONTEXT_KEYS, keys.len() + 1);
    if !keys.contains_key(key) && got > most {
        let issue =
            format!("key: at most {most} keys of one task, deleted ones too (CONTEXT_KEYS), got {got}");
        return Err(Reject::ContextFull(issue));
    }
    let others: u64 = keys.iter().filter(|(name, _)| *name != key).map(|(_, entry)| entry.bytes).sum();
    let (most, got) = (limits::CONTEXT_BYTES as u64, others + value.as_ref().map_or(0, Bytes::len) as u64);
    if value.is_some() && got > most {
        let issue = format!("value: at most {most} bytes of all values (CONTEXT_BYTES), got {got}");
        return Err(Reject::ContextFull(issue));
    }
    let (most, got) = (limits::CONTEXT_HISTORY_BYTES, written.bytes + cost(key, value.as_ref()));
    if got > most {
        let issue = format!("value: at most {most} bytes of all writes (CONTEXT_HISTORY_BYTES), got {got}");
        return Err(Reject::ContextFull(issue));
    }
    Ok(())
}

/// The keys as they stand, for the worker that has the subtask; `key`: only that one.
pub(crate) fn read(rows: &Rows, at: LeaseAt, session: SessionNo, key: Option<&str>) -> Reply {
    if !rows.subtask(at.task, at.index).is_some_and(|sub| sub.is_held_by(at.lease, session)) {
        return Reply::Context { verdict: Verdict::Stale, keys: Keys::new() };
    }
    let written = note::get(rows, at.task, NoteKey::Context).unwrap_or_default();
    let mut keys = keys(&plan(rows, at.task), &written);
    keys.retain(|name, _| key.is_none_or(|key| key == name));
    Reply::Context { verdict: Verdict::Accepted, keys }
}

/// Brings the context to what it was: each key that differs gets a new version. Values stay where they are.
pub(crate) fn restore(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    target: &Keys,
    by: &str,
    reason: &str,
) {
    let mut written: Written = note::get(rows, task, NoteKey::Context).unwrap_or_default();
    let present = keys(&plan(rows, task), &written);
    for key in differing(&present, target) {
        let version = present.get(key).map_or(0, |entry| entry.version) + 1;
        let gone = Entry { version, held: Held::Deleted, bytes: 0 };
        let entry = target.get(key).map_or(gone, |entry| Entry { version, ..*entry });
        written.keys.insert(key.to_owned(), entry);
        written.bytes += cost(key, None);
        let (key, by, reason, digest) = (key.to_owned(), by.to_owned(), reason.to_owned(), String::new());
        rows.record(frame, task, What::Context { index: None, lease: None, key, entry, digest, by, reason });
    }
    note::put(rows, task, NoteKey::Context, &written);
}

/// Which keys have other values in the one than in the other.
pub fn differing<'a>(one: &'a Keys, other: &'a Keys) -> BTreeSet<&'a str> {
    let held = |keys: &Keys, name: &str| keys.get(name).map_or(Held::Deleted, |entry| entry.held);
    let names = one.keys().chain(other.keys()).map(String::as_str);
    names.filter(|name| held(one, name) != held(other, name)).collect()
}

/// What a new task takes over from the one that it was forked from, as its first writes.
pub(crate) fn take_over(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    values: &BTreeMap<String, Option<Bytes>>,
) {
    if values.is_empty() {
        return;
    }
    let seeded = seeded(&plan(rows, task));
    let mut written = Written::default();
    for (key, value) in values {
        let version = seeded.get(key).map_or(0, |entry| entry.version) + 1;
        let entry = set(rows, task, &mut written, key, value.as_ref(), version);
        let (index, lease, by) = (None, None, String::new());
        let (key, digest, reason) = (key.clone(), digest(value.as_ref()), FORKED.to_owned());
        rows.record(frame, task, What::Context { index, lease, key, entry, digest, by, reason });
    }
    rows.add_note(task, NoteKey::Context, Bytes::from(serde_json::to_vec(&written).expect("plain data")));
}

/// What expressions see of it: what was written, if that was loaded, over what the task was given.
pub(crate) fn show<'a>(scope: &mut Scope<'a>, rows: &'a Rows, plan: &'a Plan, task: TaskNo) {
    let Some(written) = note::loaded::<Written>(rows, task, NoteKey::Context) else {
        return scope.set("context", plan.context());
    };
    let seed = seed(plan);
    let of = |(key, entry): (String, Entry)| {
        let value = match entry.held {
            Held::Seed => seed.get(&key)?.get().as_bytes(),
            Held::Write(number) => rows.loaded_note(task, NoteKey::ContextValue(number))?,
            Held::Deleted => return None,
        };
        Some((Cow::Owned(key), value))
    };
    let members: Vec<(Cow<'a, str>, &'a [u8])> = keys(plan, &written).into_iter().filter_map(of).collect();
    scope.set_members("context", members);
}
