//! Requests about a task's past: snapshots, restoring, forking. Both faces.

use downbeat_core::limits;
use downbeat_proto::v1::fork_task_request::At;
use serde_json::value::RawValue;

use super::{check, fields::Fields, problems::Problems};
use crate::{engine::Point, failure::Failure};

/// The fields of each body; whatever else comes is refused.
pub(crate) const SNAPSHOT: &[&str] = &["name", "by"];
pub(crate) const RESTORATION: &[&str] = &["snapshot", "by"];
pub(crate) const FORK: &[&str] = &["task_id", "event", "snapshot", "execute"];

/// A fork as REST asks for it.
#[derive(Debug, PartialEq, Eq)]
pub struct Fork {
    pub task_id: String,
    pub point: Point,
    pub execute: bool,
}

/// Whether a snapshot may have this name; gives who takes it.
///
/// # Errors
/// `Invalid` with every problem.
pub fn snapshot(task: &str, name: &str, by: &str) -> Result<String, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(task, found));
    problems.check(|found| check::name("name", name, found));
    let by = check::by(by.to_owned(), &mut problems);
    problems.finish(by)
}

/// Whether a restoration names a snapshot; gives who asks for it.
///
/// # Errors
/// `Invalid` with every problem.
pub fn restoration(task: &str, snapshot: &str, by: &str) -> Result<String, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(task, found));
    checked_snapshot("snapshot", snapshot, &mut problems);
    let by = check::by(by.to_owned(), &mut problems);
    problems.finish(by)
}

/// The point that a fork begins at.
///
/// # Errors
/// `Invalid` with every problem.
pub fn fork(task: &str, new_task: &str, at: Option<At>) -> Result<Point, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(task, found));
    problems.check(|found| {
        let before = found.len();
        check::task_id(new_task, found);
        found[before..].iter_mut().for_each(|violation| violation.field = "new_task_id".into());
    });
    let point = match at {
        None => Point::Now,
        Some(At::Event(number)) => {
            check::after(number, &mut problems);
            Point::Event(number)
        }
        Some(At::Snapshot(name)) => {
            checked_snapshot("snapshot", &name, &mut problems);
            Point::Snapshot(name)
        }
    };
    problems.finish(point)
}

/// `POST /tasks/{task_id}/snapshots`: the name, and who takes it.
///
/// # Errors
/// `Invalid` with every problem.
pub fn snapshot_body(body: &RawValue) -> Result<(String, String), Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, SNAPSHOT, &mut problems);
    let name = fields.text("name", &mut problems);
    problems.check(|found| check::name("name", &name, found));
    let by = check::by(fields.text("by", &mut problems), &mut problems);
    problems.finish((name, by))
}

/// `POST /tasks/{task_id}/restore`: the snapshot, and who asks for it.
///
/// # Errors
/// `Invalid` with every problem.
pub fn restoration_body(body: &RawValue) -> Result<(String, String), Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, RESTORATION, &mut problems);
    let snapshot = fields.text("snapshot", &mut problems);
    checked_snapshot("snapshot", &snapshot, &mut problems);
    let by = check::by(fields.text("by", &mut problems), &mut problems);
    problems.finish((snapshot, by))
}

/// `POST /tasks/{task_id}/fork`.
///
/// # Errors
/// `Invalid` with every problem.
pub fn fork_body(body: &RawValue) -> Result<Fork, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, FORK, &mut problems);
    let task_id = fields.text("task_id", &mut problems);
    problems.check(|found| check::task_id(&task_id, found));
    let event = fields.number("event", 0..=check::EVENT_MAX, "", &mut problems);
    let snapshot = fields.raw("snapshot").map(|_| fields.text("snapshot", &mut problems));
    let execute = fields.flag("execute", &mut problems).unwrap_or_default();
    let point = match (event, snapshot) {
        (None, None) => Point::Now,
        (Some(number), None) => Point::Event(number),
        (None, Some(name)) => {
            checked_snapshot("snapshot", &name, &mut problems);
            Point::Snapshot(name)
        }
        (Some(_), Some(_)) => {
            problems.add("snapshot", "say either `event` or `snapshot`, not both");
            Point::Now
        }
    };
    problems.finish(Fork { task_id, point, execute })
}

/// Those that the control plane takes have names of their own form: `before KEY`.
pub(crate) fn checked_snapshot(field: &str, name: &str, problems: &mut Problems) {
    let most = limits::NAME_BYTES * 2;
    if name.is_empty() {
        problems.add(field, "must not be empty");
    } else if name.len() > most {
        problems.add(field, format!("at most {most} bytes, got {}", name.len()));
    }
}
