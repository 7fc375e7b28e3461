//! What a plan is for: goals, and the subtasks that serve them.

use std::collections::BTreeSet;

use super::{Code, Violation, group_word, hint, name_issue};
use crate::{
    draft::{Draft, Goal},
    limits,
};

/// Checks the goals that a plan declares, and that its subtasks serve no others.
///
/// # Errors
/// All violations: what is no name, or named twice; a limit exceeded; a goal that is served and not declared.
pub fn check_goals(goals: &[Goal], drafts: &[Draft]) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    if goals.len() > limits::GOALS {
        let issue = format!("at most {} goals (GOALS), got {}", limits::GOALS, goals.len());
        return Err(vec![Violation::coded(Code::Limit, "plan.goals", issue)]);
    }
    let mut names = BTreeSet::new();
    for (i, Goal { name, description }) in goals.iter().enumerate() {
        let field = format!("plan.goals[{i}].name");
        if let Some(issue) = name_issue(name) {
            found.push(Violation::new(field, issue));
        } else if !names.insert(name.as_str()) {
            found.push(Violation::new(field, format!("`{name}` is named twice")));
        }
        if description.len() > limits::MESSAGE_BYTES {
            let issue =
                format!("at most {} bytes (MESSAGE_BYTES), got {}", limits::MESSAGE_BYTES, description.len());
            found.push(Violation::coded(Code::Limit, format!("plan.goals[{i}].description"), issue));
        }
    }
    each("plan.subtasks", drafts, &mut |field, name| {
        if !names.contains(name) {
            let near = hint(&found, name, || names.iter().copied().collect());
            let issue = format!("the plan declares no goal `{}`{near}", name.escape_debug());
            found.push(Violation::coded(Code::GoalUnknown, field, issue));
        }
    });
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// Goals that no subtask serves.
pub(super) fn unserved(goals: &[Goal], drafts: &[Draft]) -> Vec<Violation> {
    let mut served = BTreeSet::new();
    each("", drafts, &mut |_, name| {
        served.insert(name.to_owned());
    });
    let gaps = goals.iter().enumerate().filter(|(_, goal)| !served.contains(&goal.name));
    let told = gaps.map(|(i, goal)| {
        let issue = format!("no subtask serves the goal `{}`", goal.name);
        Violation::coded(Code::GoalUnserved, format!("plan.goals[{i}]"), issue)
    });
    told.collect()
}

/// Every goal that is served, with its field.
fn each(path: &str, drafts: &[Draft], look: &mut dyn FnMut(String, &str)) {
    for (i, draft) in drafts.iter().enumerate() {
        for (s, name) in draft.serves.iter().enumerate() {
            look(format!("{path}[{i}].serves[{s}]"), name);
        }
        if let Some(body) = draft.does.body() {
            each(&format!("{path}[{i}].{}.subtasks", group_word(&draft.does)), body, look);
        }
    }
}
