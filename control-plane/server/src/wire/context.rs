//! Requests to a task's shared context, of people on both faces and of workers; and what is answered in proto.

use bytes::Bytes;
use downbeat_core::{check::Violation, check::name_issue, limits};
use downbeat_proto::v1 as pb;
use serde_json::value::RawValue;

use super::{
    check,
    fields::Fields,
    json::{self, Document, bytes_of},
    past,
    problems::Problems,
    words::Word,
};
use crate::{
    engine::{ContextChange, ContextEntry, Difference, SubtaskDifference},
    failure::Failure,
};

/// The fields of the body; whatever else comes is refused.
pub(crate) const PUT: &[&str] = &["value", "expected_version", "by"];

/// Versions are numbered as databases count.
pub(crate) const VERSION_MAX: u64 = check::EVENT_MAX;

/// `PUT /tasks/{task_id}/context/{key}`. `null` is a value.
///
/// # Errors
/// `Invalid` with every problem.
pub fn put_body(key: String, body: &RawValue) -> Result<ContextChange, Failure> {
    let mut problems = Problems::default();
    let fields = Fields::read("", body, PUT, &mut problems);
    let value = match fields.raw("value") {
        Some(raw) => json::document("value", raw, &mut problems),
        None if fields.has("value") => json::read("value", b"null", &mut problems),
        None => {
            problems.add("value", "is required; it may be null");
            None
        }
    };
    let expected_version = fields.number("expected_version", 0..=VERSION_MAX, "", &mut problems);
    let by = fields.text("by", &mut problems);
    change(key, Some(value), expected_version, by, problems)
}

/// A deletion: what the query of REST says.
///
/// # Errors
/// `Invalid` with every problem.
pub(crate) fn deletion(
    key: String,
    expected_version: Option<u64>,
    by: String,
    problems: Problems,
) -> Result<ContextChange, Failure> {
    change(key, None, expected_version, by, problems)
}

/// # Errors
/// `Invalid` with every problem.
pub fn put(request: pb::PutContextRequest) -> Result<(String, ContextChange), Failure> {
    let pb::PutContextRequest { task_id, key, value, expected_version, by } = request;
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(&task_id, found));
    let value = read_value(&value, &mut problems);
    Ok((task_id, change(key, Some(value), expected_version, by, problems)?))
}

/// # Errors
/// `Invalid` with every problem.
pub fn delete(request: pb::DeleteContextRequest) -> Result<(String, ContextChange), Failure> {
    let pb::DeleteContextRequest { task_id, key, expected_version, by } = request;
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(&task_id, found));
    Ok((task_id, change(key, None, expected_version, by, problems)?))
}

/// Whether a key of a task may be asked for.
///
/// # Errors
/// `Invalid` with every problem.
pub fn named(task: &str, key: &str) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.check(|found| {
        check::task_id(task, found);
        check::name("key", key, found);
    });
    problems.finish(())
}

/// What a worker writes: the value, `None` where the key is deleted.
///
/// # Errors
/// `Invalid` with every problem.
pub fn under_lease(key: &str, value: Option<&Bytes>) -> Result<Option<Bytes>, Failure> {
    let mut problems = Problems::default();
    let value = value.map(|value| read_value(value, &mut problems));
    let change = change(key.to_owned(), value, None, String::new(), problems)?;
    Ok(change.value)
}

/// The snapshots to compare; the second one may be left out.
///
/// # Errors
/// `Invalid` with every problem.
pub fn diff(task: &str, from: &str, to: &str) -> Result<(), Failure> {
    let mut problems = Problems::default();
    problems.check(|found| check::task_id(task, found));
    past::checked_snapshot("from", from, &mut problems);
    if !to.is_empty() {
        past::checked_snapshot("to", to, &mut problems);
    }
    problems.finish(())
}

/// Nothing is null.
fn read_value(text: &[u8], problems: &mut Problems) -> Option<Document> {
    json::read("value", if text.is_empty() { b"null" } else { text }, problems)
}

/// `value`: `None` for a deletion, `Some(None)` where it could not be read.
fn change(
    key: String,
    value: Option<Option<Document>>,
    expected_version: Option<u64>,
    by: String,
    mut problems: Problems,
) -> Result<ContextChange, Failure> {
    let value = value.map(|read| read.map(|document| bytes_of(document.text)).unwrap_or_default());
    problems.check(|found| {
        found.extend(name_issue(&key).map(|issue| Violation::new("key", issue)));
        let (most, got) = (limits::CONTEXT_VALUE_BYTES, value.as_ref().map_or(0, Bytes::len));
        if got > most {
            let issue = format!("at most {most} bytes (CONTEXT_VALUE_BYTES), got {got}");
            found.push(Violation::new("value", issue));
        }
    });
    let by = check::by(by, &mut problems);
    problems.finish(ContextChange { key, value, expected_version, by })
}

pub(crate) fn entry(entry: ContextEntry) -> pb::ContextEntry {
    let ContextEntry { key, value, version } = entry;
    pb::ContextEntry { key, value, version }
}

pub(crate) fn difference(found: Difference) -> pb::DiffSnapshotsResponse {
    let state = |state: Option<_>| state.map_or(0, Word::proto);
    let context = found.context.into_iter();
    pb::DiffSnapshotsResponse {
        context: context.map(|(key, (from, to))| pb::ContextDiff { key, from, to }).collect(),
        subtasks: found
            .subtasks
            .into_iter()
            .map(|SubtaskDifference { id, key, from, to }| pb::SubtaskDiff {
                subtask_id: id,
                key,
                from: state(from),
                to: state(to),
            })
            .collect(),
    }
}

/// A brief's context: an object of the keys that the plan names, and their versions.
pub(crate) fn handed(entries: &[ContextEntry]) -> (Bytes, std::collections::HashMap<String, u64>) {
    let mut body = b"{".to_vec();
    for (n, ContextEntry { key, value, .. }) in entries.iter().enumerate() {
        if n > 0 {
            body.push(b',');
        }
        // What the request gave may have any name.
        body.extend_from_slice(serde_json::Value::from(key.as_str()).to_string().as_bytes());
        body.push(b':');
        body.extend_from_slice(value);
    }
    body.push(b'}');
    let versions = entries.iter().map(|entry| (entry.key.clone(), entry.version)).collect();
    (Bytes::from(body), versions)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::problems::refused;

    fn put_of(body: &str) -> Result<ContextChange, Failure> {
        put_body("plan".into(), json::parse(body.as_bytes()).expect("the test's body is JSON"))
    }

    fn sent(value: &str, expected_version: Option<u64>) -> Result<ContextChange, Failure> {
        let (task_id, key, by) = ("t".into(), "plan".into(), "ann".into());
        let value = Bytes::copy_from_slice(value.as_bytes());
        put(pb::PutContextRequest { task_id, key, value, expected_version, by }).map(|(_, change)| change)
    }

    #[test]
    fn a_put_means_the_same_on_both_faces() {
        for (rest, grpc) in [
            (r#"{"value": {"a": [1]}, "by": "ann"}"#, sent(r#"{"a":[1]}"#, None)),
            (r#"{"value": null, "by": "ann", "expected_version": 0}"#, sent("", Some(0))),
        ] {
            assert_eq!(put_of(rest), grpc, "{rest}");
        }
        let change = put_of(r#"{"value": 7, "expected_version": 3}"#).expect("accepted");
        assert_eq!((change.value.as_deref(), change.expected_version), (Some(&b"7"[..]), Some(3)));
    }

    #[test]
    fn what_is_wrong_with_a_write_is_told() {
        refused(put_of("{}"), &[("value", "is required; it may be null")], "nothing");
        let large = serde_json::Value::from("x".repeat(limits::CONTEXT_VALUE_BYTES)).to_string();
        let issue = "at most 65536 bytes (CONTEXT_VALUE_BYTES), got 65538";
        refused(sent(&large, None), &[("value", issue)], "large");
        refused(
            under_lease("a b", Some(&Bytes::from_static(b"["))),
            &[
                ("value", "is not JSON: EOF while parsing a list at line 1 column 1"),
                (
                    "key",
                    "`a b` is not a name: letters, digits, `.`, `_` and `-`, starting with a letter or digit",
                ),
            ],
            "worker",
        );
        assert_eq!(under_lease("a", None), Ok(None));
        refused(diff("t", "", ""), &[("from", "must not be empty")], "diff");
    }

    #[test]
    fn a_brief_holds_an_object() {
        let entry = |key: &str, value: &'static str| ContextEntry {
            key: key.into(),
            value: Bytes::from_static(value.as_bytes()),
            version: 2,
        };
        let (body, versions) = handed(&[entry("a", "1"), entry("b \"c\"", "[null]")]);
        assert_eq!(&body[..], br#"{"a":1,"b \"c\"":[null]}"#);
        assert_eq!(versions.get("a"), Some(&2));
        assert_eq!(&handed(&[]).0[..], b"{}");
    }
}
