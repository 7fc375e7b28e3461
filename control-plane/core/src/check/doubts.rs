//! What is allowed and still looks like a mistake: only what is certain is told.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Code, Schemas, Violation, goals::unserved, group_word, types};
use crate::draft::{Does, Draft, Goal, RunIf};

/// What is allowed in a plan that passed the check and still looks like a mistake: subtasks that would do the same work
/// twice, that never run, or loops that only their limit ends, and goals that no subtask serves.
pub fn warnings(goals: &[Goal], drafts: &[Draft], schemas: &Schemas<'_>) -> Vec<Violation> {
    let mut found = unserved(goals, drafts);
    warn("plan.subtasks", drafts, false, &mut found);
    found.extend(types::judge("plan.subtasks", drafts, schemas).doubts);
    found
}

fn warn(path: &str, drafts: &[Draft], in_loop: bool, found: &mut Vec<Violation>) {
    let mut seen: BTreeMap<_, &str> = BTreeMap::new();
    for (i, draft) in drafts.iter().enumerate() {
        if draft.does.is_work() {
            let dependencies: BTreeSet<&str> = draft.depends_on.iter().map(String::as_str).collect();
            let same = (&draft.agent, &draft.capabilities, meaning(draft), dependencies, &draft.when);
            if let Some(first) = seen.get(&same) {
                let issue = format!("does the same as `{first}`: same agent, input and dependencies");
                found.push(Violation::coded(Code::SameWork, format!("{path}[{i}]"), issue));
            } else {
                seen.insert(same, &draft.key);
            }
        }
        // Those that begin a round of a loop depend on the one before.
        if draft.depends_on.is_empty() && !in_loop {
            match draft.run_if {
                RunIf::AllSucceeded | RunIf::AllDone => {}
                RunIf::AnySucceeded | RunIf::AnyFailed => {
                    let issue =
                        "it depends on nothing, so this never holds, and the subtask is always skipped";
                    found.push(Violation::coded(Code::NeverRuns, format!("{path}[{i}].run_if"), issue));
                }
            }
        }
        if let Some(body) = draft.does.body() {
            let in_loop = matches!(draft.does, Does::Loop(_));
            warn(&format!("{path}[{i}].{}.subtasks", group_word(&draft.does)), body, in_loop, found);
        }
    }
}

/// The input, the same however it is written.
fn meaning(draft: &Draft) -> String {
    let Some(input) = &draft.input else { return String::new() };
    serde_json::from_str(input.get())
        .map_or_else(|_| input.get().to_owned(), |input: Value| input.to_string())
}
