//! A plan beside what is registered: what cannot be meant by what agents declared, and what looks like a mistake in a plan
//! that passes the check: work done twice or never, goals that nothing serves, agents or capabilities that nobody ever
//! registered. Pure: drafts and declarations in, findings out. No warning is in the way of a plan: whoever can do the
//! work may register later.

use std::collections::BTreeSet;

use downbeat_core::{
    check::{self, Code, Schemas, Violation},
    draft::{Draft, Goal},
    session::AgentDeclaration,
};

use crate::{view::Findings, wire::problems::LISTED_MAX};

/// What is wrong with a plan that passed the check, and what looks like a mistake in it: of each no more than can be
/// told, and one more.
pub(crate) fn look(goals: &[Goal], drafts: &[Draft], agents: &[AgentDeclaration]) -> Findings {
    let names = agents.iter().map(|agent| agent.name.as_str()).collect();
    let tags = agents.iter().flat_map(|agent| &agent.capabilities).map(String::as_str).collect();
    let schemas = Schemas::of(agents);
    let mut errors = check::check_types("plan.subtasks", drafts, &schemas).err().unwrap_or_default();
    let mut warnings = check::warnings(goals, drafts, &schemas);
    Registered { names, tags }.look("plan.subtasks", drafts, &mut warnings);
    errors.truncate(LISTED_MAX + 1);
    warnings.truncate(LISTED_MAX + 1);
    Findings { errors, warnings }
}

/// Whether what agents declared can be in the way of a plan: it has expressions, or inputs, where those are declared.
pub(crate) fn asks_agents(drafts: &[Draft], inputs_declared: bool) -> bool {
    drafts.iter().any(|draft| {
        draft.when.is_some() || !draft.does.is_work() || inputs_declared && draft.input.is_some()
    })
}

/// What somebody registered.
struct Registered<'a> {
    names: BTreeSet<&'a str>,
    tags: BTreeSet<&'a str>,
}

impl Registered<'_> {
    fn look(&self, path: &str, drafts: &[Draft], found: &mut Vec<Violation>) {
        for (i, draft) in drafts.iter().enumerate() {
            if found.len() > LISTED_MAX {
                return;
            }
            let at = |field: &str| format!("{path}[{i}].{field}");
            self.agent(&at("agent"), &draft.agent, found);
            self.capabilities(&at("capabilities"), &draft.capabilities, found);
            for (f, name) in draft.fallback.iter().enumerate() {
                self.agent(&at(&format!("fallback[{f}]")), name, found);
            }
            if let Some(undo) = &draft.compensate {
                self.agent(&at("compensate.agent"), &undo.agent, found);
                self.capabilities(&at("compensate.capabilities"), &undo.capabilities, found);
            }
            if let Some(body) = draft.does.body() {
                let group = check::group_word(&draft.does);
                self.look(&at(&format!("{group}.subtasks")), body, found);
            }
        }
    }

    fn agent(&self, field: &str, name: &str, found: &mut Vec<Violation>) {
        if !name.is_empty() && !self.names.contains(name) {
            unknown(Code::AgentUnknown, field, name, &self.names, found);
        }
    }

    fn capabilities(&self, field: &str, tags: &[String], found: &mut Vec<Violation>) {
        for (t, tag) in tags.iter().enumerate().filter(|(_, tag)| !self.tags.contains(tag.as_str())) {
            unknown(Code::CapabilityUnknown, &format!("{field}[{t}]"), tag, &self.tags, found);
        }
    }
}

fn unknown(code: Code, field: &str, name: &str, known: &BTreeSet<&str>, found: &mut Vec<Violation>) {
    let what = if code == Code::AgentUnknown { "agent" } else { "agent with the capability" };
    let near = check::hint(found, name, || known.iter().copied().collect());
    found.push(Violation::coded(code, field, format!("no {what} `{name}` was ever registered{near}")));
}

#[cfg(test)]
mod tests {
    use downbeat_core::draft::{Compensate, Does};

    use super::*;

    fn told(drafts: &[Draft]) -> Vec<(String, String)> {
        let agent = |name: &str, tag: &str| AgentDeclaration {
            name: name.into(),
            capabilities: vec![tag.into()],
            ..AgentDeclaration::default()
        };
        let agents = [agent("code-review", "rust"), agent("writer", "prose")];
        look(&[], drafts, &agents).warnings.into_iter().map(|found| (found.field, found.issue)).collect()
    }

    fn draft(key: &str, agent: &str, tags: &[&str]) -> Draft {
        let capabilities = tags.iter().map(|tag| (*tag).to_owned()).collect();
        Draft { key: key.into(), agent: agent.into(), capabilities, ..Draft::default() }
    }

    #[test]
    fn who_is_registered_is_not_told() {
        assert_eq!(told(&[draft("a", "code-review", &["rust"]), draft("b", "", &["prose"])]), []);
    }

    #[test]
    fn who_is_not_is_told_with_the_nearest_who_is() {
        let within = Does::Group(vec![draft("c", "nobody", &[])]);
        let drafts = [
            draft("a", "code-reveiw", &["rusk"]),
            Draft { fallback: vec!["wrter".into()], ..draft("b", "writer", &[]) },
            Draft { key: "g".into(), does: within, ..Draft::default() },
            Draft {
                compensate: Some(Compensate { agent: "eraser".into(), ..Compensate::default() }),
                ..draft("d", "", &["rust"])
            },
        ];
        let agent = |name: &str, hint: &str| format!("no agent `{name}` was ever registered{hint}");
        let expected = [
            ("plan.subtasks[0].agent", agent("code-reveiw", "; did you mean `code-review`?")),
            (
                "plan.subtasks[0].capabilities[0]",
                "no agent with the capability `rusk` was ever registered; did you mean `rust`?".into(),
            ),
            ("plan.subtasks[1].fallback[0]", agent("wrter", "; did you mean `writer`?")),
            ("plan.subtasks[2].group.subtasks[0].agent", agent("nobody", "")),
            ("plan.subtasks[3].compensate.agent", agent("eraser", "")),
        ];
        assert_eq!(told(&drafts), expected.map(|(field, issue)| (field.to_owned(), issue)));
    }

    #[test]
    fn no_more_is_told_than_can_be() {
        let drafts: Vec<Draft> = (0..5_000).map(|i| draft(&format!("k{i}"), &format!("x{i}"), &[])).collect();
        assert_eq!(told(&drafts).len(), LISTED_MAX + 1);
    }
}
