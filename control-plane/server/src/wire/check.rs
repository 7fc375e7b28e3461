//! Checks of single fields that several requests share.

use std::ops::RangeInclusive;

use bytes::Bytes;
use downbeat_core::{
    check::{Violation, name_issue},
    limits,
};

use super::{
    json::{Document, bytes_of},
    problems::{Problems, cut},
    words::Word,
};
use crate::failure::Failure;

/// `{agent or key}::{task_id}::{n}`, or a key.
const SUBTASK_ID_BYTES: usize = limits::NAME_BYTES + limits::TASK_ID_BYTES + 16;

/// What is wrong with a task's id.
pub(crate) fn task_id(id: &str, found: &mut Vec<Violation>) {
    if id.is_empty() {
        found.push(Violation::new("task_id", "must not be empty"));
    }
    bytes("task_id", id, limits::TASK_ID_BYTES, "TASK_ID_BYTES", found);
    control("task_id", id, found);
}

/// Events are numbered as databases count.
pub(crate) const EVENT_MAX: u64 = i64::MAX.unsigned_abs();

/// Whether a request may name this task, and this subtask of it.
///
/// # Errors
/// `Invalid` with every problem.
pub(crate) fn names(task: &str, subtask: Option<&str>) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.check(|found| task_id(task, found));
    if let Some(subtask) = subtask {
        problems.check(|found| subtask_id(subtask, found));
    }
    problems.finish(())
}

/// What is wrong with a text for people.
pub(crate) fn text(field: &str, value: &str, bytes_max: usize, limit: &str, found: &mut Vec<Violation>) {
    bytes(field, value, bytes_max, limit, found);
    if value.contains('\0') {
        found.push(Violation::new(field, "must not hold \\u0000"));
    }
}

/// What is wrong with the name of a subtask, full id or key.
pub(crate) fn subtask_id(id: &str, found: &mut Vec<Violation>) {
    if id.is_empty() {
        found.push(Violation::new("subtask_id", "must not be empty"));
    }
    bytes("subtask_id", id, SUBTASK_ID_BYTES, "SUBTASK_ID_BYTES", found);
}

/// What is wrong with an agent's name or a tag.
pub(crate) fn name(field: &str, name: &str, found: &mut Vec<Violation>) {
    found.extend(name_issue(name).map(|issue| Violation::new(field, issue)));
}

/// The name of a person or of a role, or the sender's own name for a signal.
const PERSON_BYTES: usize = 2 * limits::NAME_BYTES;

/// What is wrong with the name of a person or of a role.
pub(crate) fn person(field: &str, name: &str, found: &mut Vec<Violation>) {
    if name.is_empty() {
        found.push(Violation::new(field, "must not be empty"));
    }
    person_or_nobody(field, name, found);
}

/// As [`person`], where it may be left out.
pub(crate) fn person_or_nobody(field: &str, name: &str, found: &mut Vec<Violation>) {
    bytes(field, name, PERSON_BYTES, "PERSON_BYTES", found);
    control(field, name, found);
}

/// What is wrong with the beginning of a task's id, by which a list is filtered.
pub(crate) fn prefix(field: &str, prefix: &str, found: &mut Vec<Violation>) {
    bytes(field, prefix, limits::TASK_ID_BYTES, "TASK_ID_BYTES", found);
    control(field, prefix, found);
}

/// What is wrong with the number of an event.
pub(crate) fn after(number: u64, problems: &mut Problems) {
    if number > EVENT_MAX {
        problems.add("after", format!("must be a whole number from 0 to {EVENT_MAX}, got {number}"));
    }
}

/// A reason as it is kept; see [`message`].
pub(crate) fn reason(reason: &str, problems: &mut Problems) -> String {
    message("reason", reason, problems)
}

/// What a person says, as it is kept: cut to [`limits::MESSAGE_BYTES`].
pub(crate) fn message(field: &str, message: &str, problems: &mut Problems) -> String {
    if message.contains('\0') {
        problems.add(field, "must not hold \\u0000");
    }
    cut(message, limits::MESSAGE_BYTES)
}

/// Who does something, if that is said.
pub(crate) fn by(by: String, problems: &mut Problems) -> String {
    problems.check(|found| person_or_nobody("by", &by, found));
    by
}

/// An output as it is kept; `None` where it could not be read.
pub(crate) fn output(output: Option<Document>, problems: &mut Problems) -> Bytes {
    let output = output.map(|document| bytes_of(document.text)).unwrap_or_default();
    if output.len() > limits::OUTPUT_BYTES {
        let issue = format!("at most {} bytes (OUTPUT_BYTES), got {}", limits::OUTPUT_BYTES, output.len());
        problems.add("output", issue);
    }
    output
}

/// A proto enum's value; `None` for the unspecified one.
pub(crate) fn choice<T: Word>(field: &str, number: i32, problems: &mut Problems) -> Option<T> {
    let value = T::from_proto(number);
    if value.is_none() && number != 0 {
        problems.add(field, format!("must be {}, got the unknown number {number}", T::choice()));
    }
    value
}

/// What is wrong with a whole number: `None` when it is outside the range.
pub(crate) fn number<T: TryFrom<u64>>(
    field: &str,
    token: &str,
    range: RangeInclusive<u64>,
    limit: &str,
    problems: &mut Problems,
) -> Option<T> {
    let within = token.parse().ok().filter(|number| range.contains(number));
    let value = within.and_then(|number| T::try_from(number).ok());
    if value.is_none() {
        let (low, high) = (range.start(), range.end());
        problems.add(
            field,
            format!("must be a whole number from {low} to {high}{limit}, got {}", cut(token, 40)),
        );
    }
    value
}

pub(crate) fn bytes(field: &str, value: &str, bytes_max: usize, limit: &str, found: &mut Vec<Violation>) {
    if value.len() > bytes_max {
        found
            .push(Violation::new(field, format!("at most {bytes_max} bytes ({limit}), got {}", value.len())));
    }
}

pub(crate) fn control(field: &str, value: &str, found: &mut Vec<Violation>) {
    if let Some((at, c)) = value.char_indices().find(|(_, c)| c.is_control()) {
        let code = u32::from(c);
        found.push(Violation::new(
            field,
            format!("must not hold control characters, got U+{code:04X} at byte {at}"),
        ));
    }
}
