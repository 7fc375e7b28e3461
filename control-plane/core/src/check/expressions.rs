//! Expressions: whether they can be read, and what they name.

use super::{Code, Scope, Violation, hint};
use crate::{
    draft::{Draft, Loop},
    expr,
};

/// What every expression may name.
pub(super) const COMMON: [&str; 5] = ["outputs", "states", "input", "context", "item"];

impl Scope<'_> {
    /// An expression over what the subtask depends on.
    pub(super) fn check_expression(
        &self,
        i: usize,
        name: &str,
        text: &str,
        draft: &Draft,
        variables: &[&str],
        found: &mut Vec<Violation>,
    ) {
        let field = self.at(i, name);
        check_text(&field, text, variables, found);
        let mut keys: Vec<&str> = draft.depends_on.iter().map(String::as_str).collect();
        if self.in_loop {
            keys.push(super::PREVIOUS);
        }
        for root in ["outputs", "states"] {
            for name in expr::members(text, root).unwrap_or_default() {
                if !keys.contains(&name.as_str()) {
                    let hint = hint(found, &name, || keys.clone());
                    let issue = format!("`{root}.{name}`: `{name}` is not in its depends_on{hint}");
                    found.push(Violation::coded(Code::Expression, &field, issue));
                }
            }
        }
    }

    /// The end of a loop looks at its own subtasks.
    pub(super) fn check_until(&self, i: usize, of: &Loop<Vec<Draft>>, found: &mut Vec<Violation>) {
        let known = ["outputs", "states", "input", "context", "item", "iteration"];
        let field = self.at(i, "loop.until");
        check_text(&field, &of.until, &known, found);
        if let Some(members) = expr::members(&of.until, "outputs") {
            let keys: Vec<&str> = of.body.iter().map(|inner| inner.key.as_str()).collect();
            let unknown = members.iter().filter(|name| !keys.contains(&name.as_str()));
            for name in unknown {
                let hint = hint(found, name, || keys.clone());
                let issue = format!("`{name}` is no subtask of the loop, so it has no output here{hint}");
                found.push(Violation::coded(Code::Expression, &field, issue));
            }
        }
    }
}

fn check_text(field: &str, text: &str, variables: &[&str], found: &mut Vec<Violation>) {
    if let Err(issue) = expr::check(text, variables) {
        found.push(Violation::coded(Code::Expression, field, issue));
    }
}
