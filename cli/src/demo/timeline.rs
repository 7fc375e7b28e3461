//! Who did what, when, and what became of it: every attempt of a task, in the order they began.

use downbeat_sdk::proto::{Attempt, Outcome, Subtask, Task};
use serde_json::{Value, json};

use crate::{
    table::{self, cell},
    term::{Paint, Term},
    words::{Word, span},
};

/// A bar is so many columns wide.
const BAR: usize = 24;

fn attempts(task: &Task) -> Vec<(&Subtask, &Attempt)> {
    let mut attempts: Vec<(&Subtask, &Attempt)> =
        task.subtasks.iter().flat_map(|subtask| subtask.attempts.iter().map(move |a| (subtask, a))).collect();
    attempts.sort_by_key(|(_, attempt)| (attempt.started_at_ms, attempt.lease_id));
    attempts
}

/// As a table with bars.
pub(crate) fn lines(term: &Term, task: &Task) -> Vec<String> {
    let (begin, end) = (task.started_at_ms, task.ended_at_ms.max(task.started_at_ms + 1));
    let rows = attempts(task).into_iter().map(|(subtask, attempt)| {
        let took = attempt.ended_at_ms - attempt.started_at_ms;
        let paint = match attempt.outcome() {
            Outcome::Completed => Paint::Green,
            Outcome::Unspecified | Outcome::Cancelled | Outcome::Suspended => Paint::Dim,
            Outcome::Failed | Outcome::TimedOut | Outcome::Lost => Paint::Red,
        };
        vec![
            cell(&subtask.key),
            cell(attempt.attempt.to_string()),
            cell(&attempt.worker),
            (paint, attempt.outcome().word()),
            cell(format!("+{}", span(attempt.started_at_ms - begin))),
            cell(span(took)),
            (Paint::Cyan, bar(attempt.started_at_ms - begin, took, end - begin)),
        ]
    });
    table::titled(term, &["subtask", "attempt", "worker", "outcome", "from", "took", ""], rows.collect())
}

/// Where it lies in the whole; at least one sign wide.
fn bar(from: i64, took: i64, whole: i64) -> String {
    let column = |ms: i64| usize::try_from(ms.max(0) * BAR as i64 / whole.max(1)).unwrap_or(0).min(BAR);
    let start = column(from).min(BAR - 1);
    let length = (column(from + took).saturating_sub(start)).max(1);
    " ".repeat(start) + &"=".repeat(length)
}

/// As a document.
pub(crate) fn document(task: &Task) -> Value {
    let one = |(subtask, attempt): (&Subtask, &Attempt)| {
        json!({
            "subtask": subtask.key,
            "attempt": attempt.attempt,
            "lease_id": attempt.lease_id,
            "worker": attempt.worker,
            "outcome": attempt.outcome().word(),
            "from_ms": attempt.started_at_ms - task.started_at_ms,
            "took_ms": attempt.ended_at_ms - attempt.started_at_ms,
        })
    };
    attempts(task).into_iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::{BAR, bar};

    #[test]
    fn bars_stay_within_the_whole() {
        assert_eq!(bar(0, 24, 24), "=".repeat(BAR));
        assert_eq!(bar(0, 0, 24), "=");
        assert_eq!(bar(24, 0, 24).len(), BAR);
        assert_eq!(bar(12, 6, 24), format!("{}{}", " ".repeat(12), "=".repeat(6)));
    }
}
