//! Snapshots: names for states of a task. The history is complete, so that a name needs no more than the number of an
//! event; how to come back to one is told by a [`Rerun`](crate::command::Rerun).

use crate::{
    command::Reply,
    event::What,
    id::TaskNo,
    limits,
    note::{self, NoteKey, Snapshot, Snapshots},
    reject::Reject,
    rows::Rows,
    time::Frame,
};

/// Somebody names the present state.
pub(crate) fn take(
    rows: &mut Rows,
    frame: &Frame<'_>,
    task: TaskNo,
    name: &str,
    by: &str,
) -> Result<Reply, Reject> {
    let event = add(rows, frame, task, name, by)?;
    rows.record(frame, task, What::Snapshot { name: name.to_owned(), by: by.to_owned() });
    Ok(Reply::Snapshot { event })
}

/// The control plane keeps the state before something that people decide. Where there is no room, it does not.
pub(crate) fn keep(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, name: &str) {
    let _ = add(rows, frame, task, name, "");
}

/// Gives the number of the last event that belongs to it.
fn add(rows: &mut Rows, frame: &Frame<'_>, task: TaskNo, name: &str, by: &str) -> Result<u64, Reject> {
    let event = rows.task(task).ok_or(Reject::TaskUnknown)?.events;
    let mut kept: Snapshots = note::get(rows, task, NoteKey::Snapshots).unwrap_or_default();
    if kept.0.iter().any(|known| known.name == name) {
        return Err(Reject::SnapshotTaken(name.to_owned()));
    }
    if kept.0.len() >= limits::SNAPSHOTS {
        return Err(Reject::TooManySnapshots(kept.0.len()));
    }
    kept.0.push(Snapshot { name: name.to_owned(), event, at: frame.now, by: by.to_owned() });
    note::put(rows, task, NoteKey::Snapshots, &kept);
    Ok(event)
}
