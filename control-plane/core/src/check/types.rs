//! What subtasks deliver, and whether expressions over that can be meant. What nobody declared may be anything.

use std::{cell::OnceCell, collections::BTreeMap};

use serde_json::Value;

use super::{Code, Violation, group_word};
use crate::{
    draft::{Approval, Does, Draft, Loop, Then},
    expr::{self, Type},
    session::AgentDeclaration,
    subtask::SubtaskState,
};

/// What agents declared of their inputs and outputs.
#[derive(Debug, Default)]
pub struct Schemas<'a> {
    agents: BTreeMap<&'a str, (Type, Type)>,
}

impl<'a> Schemas<'a> {
    pub fn of(agents: impl IntoIterator<Item = &'a AgentDeclaration>) -> Schemas<'a> {
        let read = |schema: &str| if schema.is_empty() { Type::ANY } else { Type::from_schema(schema) };
        let said =
            |agent: &&AgentDeclaration| !(agent.input_schema.is_empty() && agent.output_schema.is_empty());
        let types = |agent: &'a AgentDeclaration| {
            (agent.name.as_str(), (read(&agent.input_schema), read(&agent.output_schema)))
        };
        Schemas { agents: agents.into_iter().filter(said).map(types).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.agents.is_empty()
    }

    /// What whoever may do the subtask declared: its agent, and those that it falls back to.
    fn agent(&self, draft: &Draft, of: impl Fn(&(Type, Type)) -> Type) -> Type {
        let all = std::iter::once(&draft.agent).chain(&draft.fallback);
        let known = all.map(|agent| self.agents.get(agent.as_str()).map_or(Type::ANY, &of));
        known.fold(Type::NONE, |all, one| all.or(&one))
    }
}

/// What the types of a plan say.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) errors: Vec<Violation>,
    pub(super) doubts: Vec<Violation>,
}

/// Judges every expression of these subtasks and their bodies, and every input by what its agent declared.
pub(super) fn judge(path: &str, drafts: &[Draft], schemas: &Schemas<'_>) -> Found {
    let mut found = Found::default();
    Level::new(drafts, schemas, None).judge(path, &mut found);
    found
}

/// Subtasks that may depend on each other, and the types of what they deliver.
struct Level<'a> {
    drafts: &'a [Draft],
    places: BTreeMap<&'a str, usize>,
    /// Made when it is asked for: most of them never are.
    delivered: Vec<OnceCell<Type>>,
    schemas: &'a Schemas<'a>,
    outer: Option<&'a Level<'a>>,
    /// The element of the map around it.
    item: Type,
    /// What the round before delivered, in a loop.
    previous: Option<Type>,
}

impl<'a> Level<'a> {
    fn new(drafts: &'a [Draft], schemas: &'a Schemas<'a>, outer: Option<&'a Level<'a>>) -> Level<'a> {
        Level {
            drafts,
            places: drafts.iter().map(|draft| draft.key.as_str()).zip(0..).collect(),
            delivered: drafts.iter().map(|_| OnceCell::new()).collect(),
            schemas,
            outer,
            // Also of what a worker adds, which may stand within a map.
            item: outer.map_or(Type::ANY, |outer| outer.item.clone()),
            previous: None,
        }
    }

    fn judge(&self, path: &str, found: &mut Found) {
        for (i, draft) in self.drafts.iter().enumerate() {
            let at = |field: &str| format!("{path}[{i}].{field}");
            if let Some(input) = &draft.input {
                self.judge_input(&at("input"), draft, input.get(), found);
            }
            if let Some(when) = &draft.when {
                let of = expect_bool(&at("when"), when, &self.variables(draft), found);
                if !of.may_be_true() {
                    let issue = "is never true, so the subtask is always skipped";
                    found.doubts.push(Violation::coded(Code::NeverRuns, at("when"), issue));
                }
            }
            let body = at(&format!("{}.subtasks", group_word(&draft.does)));
            match &draft.does {
                Does::Work | Does::Approval(_) | Does::Timer(_) | Does::Round => {}
                Does::Signal(gate) => {
                    if let Some(matches) = &gate.matches {
                        let mut variables = self.variables(draft);
                        variables.insert("signal", declared(draft).unwrap_or(Type::ANY));
                        expect_bool(&at("signal.matches"), matches, &variables, found);
                    }
                }
                Does::Workflow(call) => {
                    if let Some(text) = &call.parameters_from {
                        let from = at("workflow.parameters_from");
                        let of = judged(&from, text, &self.variables(draft), found);
                        expect(&from, &of, of.may_be_object(), "an object", found);
                    }
                }
                Does::Group(parts) => Level::new(parts, self.schemas, Some(self)).judge(&body, found),
                Does::Map(map) => {
                    let over = judged(&at("map.over"), &map.over, &self.variables(draft), found);
                    expect(&at("map.over"), &over, over.may_be_list(), "a list", found);
                    let level = Level::new(&map.body, self.schemas, Some(self));
                    Level { item: over.element(), ..level }.judge(&body, found);
                }
                Does::Loop(of) => {
                    let level = Level::new(&of.body, self.schemas, Some(self));
                    let previous = Some(level.parts().or_null());
                    let level = Level { previous, ..level };
                    level.judge(&body, found);
                    self.judge_until(&at("loop.until"), of, &level, found);
                }
            }
        }
    }

    fn judge_until(&self, at: &str, of: &Loop<Vec<Draft>>, body: &Level<'_>, found: &mut Found) {
        let state = states();
        let states = of.body.iter().map(|part| (part.key.as_str(), state.clone()));
        let variables = BTreeMap::from([
            ("outputs", body.parts()),
            ("states", Type::object(states, Type::ANY)),
            ("item", self.item.clone()),
            ("iteration", Type::NUMBER),
        ]);
        let of = expect_bool(at, &of.until, &variables, found);
        if !of.may_be_true() {
            let issue = "is never true, so the loop only ends at max_iterations";
            found.doubts.push(Violation::coded(Code::NeverEnds, at, issue));
        }
    }

    fn judge_input(&self, at: &str, draft: &Draft, input: &str, found: &mut Found) {
        if !draft.does.is_work() || self.schemas.is_empty() || draft.agent.is_empty() {
            return;
        }
        let takes = self.schemas.agent(draft, |(input, _)| input.clone());
        let refused = serde_json::from_str::<Value>(input).ok().and_then(|input| takes.refuses(at, &input));
        if let Some((at, issue)) = refused {
            let issue = format!("{issue}, as `{}` declares its input", draft.agent);
            found.errors.push(Violation::coded(Code::Type, at, issue));
        }
    }

    /// What the expressions of a subtask may name.
    fn variables(&self, draft: &Draft) -> BTreeMap<&'static str, Type> {
        let on = draft.depends_on.iter().map(String::as_str);
        let outputs = on.clone().map(|key| (key, self.output(key)));
        let previous = self.previous.iter().map(|of| ("previous", of.clone()));
        let named = on.chain(self.previous.iter().map(|_| "previous"));
        let state = states();
        BTreeMap::from([
            ("outputs", Type::object(outputs.chain(previous), Type::ANY)),
            ("states", Type::object(named.map(|key| (key, state.clone())), Type::ANY)),
            ("item", self.item.clone()),
        ])
    }

    fn output(&self, key: &str) -> Type {
        match (self.places.get(key), self.outer) {
            (Some(&i), _) => self.delivered[i].get_or_init(|| self.deliver(&self.drafts[i])).clone(),
            (None, Some(outer)) => outer.output(key),
            (None, None) => Type::ANY,
        }
    }

    /// What a subtask delivers; null where it was skipped, or went wrong.
    fn deliver(&self, draft: &Draft) -> Type {
        let inner = |body| Level::new(body, self.schemas, Some(self));
        let of = match &draft.does {
            Does::Work => {
                declared(draft).unwrap_or_else(|| self.schemas.agent(draft, |(_, output)| output.clone()))
            }
            Does::Signal(_) | Does::Workflow(_) => declared(draft).unwrap_or(Type::ANY),
            Does::Approval(approval) => decision(approval),
            Does::Timer(_) => Type::NULL,
            Does::Group(body) => inner(body).parts(),
            Does::Map(map) => match map.body.as_slice() {
                [only] => Type::list(inner(&map.body).output(&only.key)),
                body => Type::list(inner(body).parts().or_null()),
            },
            Does::Loop(of) => inner(&of.body).parts(),
            Does::Round => Type::ANY,
        };
        of.or_null()
    }

    /// What all of them deliver, by key.
    fn parts(&self) -> Type {
        Type::object(self.drafts.iter().map(|part| (part.key.as_str(), self.output(&part.key))), Type::NONE)
    }
}

/// What the plan itself says of an output.
fn declared(draft: &Draft) -> Option<Type> {
    draft.output_schema.as_ref().map(|schema| Type::from_schema(schema.get()))
}

fn decision(approval: &Approval) -> Type {
    let completes = approval.options.iter().filter(|option| option.then == Then::Complete);
    let members = [
        ("option", Type::words(completes.map(|option| option.name.as_str()))),
        ("expired", Type::BOOL),
        ("votes", Type::list(Type::ANY)),
    ];
    Type::object(members, Type::NONE)
}

fn states() -> Type {
    Type::words(SubtaskState::ALL.map(SubtaskState::word))
}

/// Judges an expression; gives anything where something was said of it.
fn judged(at: &str, text: &str, variables: &BTreeMap<&'static str, Type>, found: &mut Found) -> Type {
    let judged = expr::judge(text, variables);
    if judged.issues.is_empty() {
        return judged.of;
    }
    let issues = judged.issues.into_iter().map(|issue| Violation::coded(Code::Type, at, issue));
    found.errors.extend(issues);
    Type::ANY
}

fn expect_bool(at: &str, text: &str, variables: &BTreeMap<&'static str, Type>, found: &mut Found) -> Type {
    let of = judged(at, text, variables, found);
    if expect(at, &of, of.may_be_bool(), "a boolean", found) { of } else { Type::ANY }
}

fn expect(at: &str, of: &Type, fits: bool, expected: &str, found: &mut Found) -> bool {
    if !fits {
        let issue =
            if of.is_none() { "always fails".to_owned() } else { format!("expected {expected}, got {of}") };
        found.errors.push(Violation::coded(Code::Type, at, issue));
    }
    fits
}
