//! What is allowed and still looks like a mistake.

use std::collections::{BTreeMap, BTreeSet};

use super::{Violation, group_word};
use crate::draft::Draft;

/// What is allowed and still looks like a mistake: subtasks that would do the same work twice.
pub fn warnings(drafts: &[Draft]) -> Vec<Violation> {
    let mut found = Vec::new();
    warn("plan.subtasks", drafts, &mut found);
    found
}

fn warn(path: &str, drafts: &[Draft], found: &mut Vec<Violation>) {
    let mut seen: BTreeMap<_, &str> = BTreeMap::new();
    for (i, draft) in drafts.iter().enumerate() {
        if draft.does.is_work() {
            let input = draft.input.as_ref().map_or("", |input| input.get());
            let dependencies: BTreeSet<&str> = draft.depends_on.iter().map(String::as_str).collect();
            let same = (&draft.agent, &draft.capabilities, input, dependencies, &draft.when);
            if let Some(first) = seen.get(&same) {
                let issue = format!(
                    "does the same as `{first}`: same agent, input and dependencies; \
                     give them different inputs, or drop one"
                );
                found.push(Violation::new(format!("{path}[{i}]"), issue));
            } else {
                seen.insert(same, &draft.key);
            }
        }
        if let Some(body) = draft.does.body() {
            warn(&format!("{path}[{i}].{}.subtasks", group_word(&draft.does)), body, found);
        }
    }
}
