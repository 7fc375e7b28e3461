//! The one validator that every plan passes, whether a client, a rule, a template, a worker or a model wrote it. Here
//! is the whole; its parts look at the graph, at one subtask, at expressions, and at what only looks like a mistake.

mod code;
mod doubts;
mod expressions;
mod goals;
mod graph;
mod names;
mod subtask;
mod types;

use std::collections::BTreeMap;

pub use self::{
    code::Code,
    doubts::warnings,
    goals::check_goals,
    names::{check_capabilities, hint, name_issue, nearest},
    subtask::{check_approval, check_schema},
    types::Schemas,
};
use crate::{
    draft::{Does, Draft},
    limits,
};

/// What is wrong with a draft, and where: `plan.subtasks[2].depends_on[0]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub code: Code,
    pub field: String,
    pub issue: String,
}

impl Violation {
    pub fn new(field: impl Into<String>, issue: impl Into<String>) -> Violation {
        Violation::coded(Code::Field, field, issue)
    }

    pub fn coded(code: Code, field: impl Into<String>, issue: impl Into<String>) -> Violation {
        Violation { code, field: field.into(), issue: issue.into() }
    }
}

/// What the subtasks of a loop call the round before.
pub(crate) const PREVIOUS: &str = "previous";

/// Checks a plan and gives every problem at once, each naming its field below `plan`.
///
/// # Errors
/// All violations: duplicate, over-long or malformed keys; unknown, repeated, self-referring or
/// cyclic dependencies; expressions that cannot be read, name what is not there, or cannot be meant by the types of
/// outputs; a limit exceeded, with the limit's name and value. Of what is too many, that is all that is said: a problem weighs far more than an element,
/// and a request may hold millions of those.
pub fn check(drafts: &[Draft]) -> Result<(), Vec<Violation>> {
    check_at("plan.subtasks", drafts, &[])
}

/// As [`check`], of what a worker adds at `path`; `siblings` are keys that it added before.
///
/// # Errors
/// As [`check`].
pub fn check_at(path: &str, drafts: &[Draft], siblings: &[String]) -> Result<(), Vec<Violation>> {
    let mut found = Vec::new();
    let (subtasks, edges, depth) = measure(drafts);
    let mut limit = |value: usize, most: usize, what: &str| {
        if value > most {
            found.push(Violation::coded(Code::Limit, path, format!("at most {most} {what}, got {value}")));
        }
    };
    limit(subtasks, limits::PLAN_SUBTASKS, "subtasks (PLAN_SUBTASKS)");
    limit(edges, limits::PLAN_DEPENDENCIES, "dependencies (PLAN_DEPENDENCIES)");
    limit(depth, limits::GROUP_DEPTH, "levels of groups (GROUP_DEPTH)");
    if !found.is_empty() {
        return Err(found);
    }
    Scope { path: path.to_owned(), outside: siblings, in_loop: false }.check(drafts, &mut found);
    check_inputs(path, drafts, &mut found);
    found.extend(types::judge(path, drafts, &Schemas::default()).errors);
    if found.is_empty() { Ok(()) } else { Err(found) }
}

/// As [`check_at`], of a plan that passed it: what cannot be meant by what agents declared.
///
/// # Errors
/// Expressions over outputs that are otherwise, and inputs that an agent does not take.
pub fn check_types(path: &str, drafts: &[Draft], schemas: &Schemas<'_>) -> Result<(), Vec<Violation>> {
    let errors = if schemas.is_empty() { Vec::new() } else { types::judge(path, drafts, schemas).errors };
    if errors.is_empty() { Ok(()) } else { Err(errors) }
}

/// Subtasks, dependencies, and levels of groups, of all bodies together.
fn measure(drafts: &[Draft]) -> (usize, usize, usize) {
    let (mut subtasks, mut edges, mut depth) = (0, 0, 0);
    let mut level: Vec<&[Draft]> = vec![drafts];
    while !level.is_empty() {
        let mut next = Vec::new();
        for draft in level.into_iter().flatten() {
            subtasks += 1;
            edges += draft.depends_on.len();
            next.extend(draft.does.body().map(Vec::as_slice));
        }
        depth += usize::from(!next.is_empty());
        level = next;
    }
    (subtasks, edges, depth)
}

/// The field in which a group's body stands.
pub fn group_word<B>(does: &Does<B>) -> &'static str {
    match does {
        Does::Work
        | Does::Approval(_)
        | Does::Signal(_)
        | Does::Timer(_)
        | Does::Workflow(_)
        | Does::Round => "",
        Does::Group(_) => "group",
        Does::Map(_) => "map",
        Does::Loop(_) => "loop",
    }
}

/// Subtasks that may depend on each other.
struct Scope<'a> {
    path: String,
    /// Keys that are not among them and can be depended on: in a group, what the group depends on.
    outside: &'a [String],
    in_loop: bool,
}

impl Scope<'_> {
    fn check(&self, drafts: &[Draft], found: &mut Vec<Violation>) {
        if drafts.is_empty() {
            found.push(Violation::new(&self.path, "must hold at least one subtask"));
        }
        let mut places: BTreeMap<&str, usize> = BTreeMap::new();
        for (i, draft) in drafts.iter().enumerate() {
            self.check_draft(i, draft, found);
            let key = draft.key.escape_debug();
            if let Some(first) = places.get(draft.key.as_str()) {
                let issue = format!("`{key}` is already the key of {}[{first}]", self.path);
                found.push(Violation::coded(Code::KeyTaken, self.at(i, "key"), issue));
            } else {
                places.insert(&draft.key, i);
            }
            if self.outside.contains(&draft.key) {
                let issue =
                    format!("`{key}` is the key of something that the group depends on; choose another");
                found.push(Violation::coded(Code::KeyTaken, self.at(i, "key"), issue));
            }
        }
        self.check_prefixes(drafts, found);
        let edges = self.check_dependencies(drafts, &places, found);
        self.check_order(drafts, &edges, found);
    }

    fn at(&self, i: usize, field: &str) -> String {
        format!("{}[{i}].{field}", self.path)
    }
}

fn check_inputs(path: &str, drafts: &[Draft], found: &mut Vec<Violation>) {
    let (mut bytes, mut todo): (usize, Vec<&Draft>) = (0, drafts.iter().collect());
    while let Some(draft) = todo.pop() {
        let undo = draft.compensate.as_ref().and_then(|undo| undo.input.as_ref());
        bytes += draft.input.iter().chain(undo).map(|input| input.get().len()).sum::<usize>();
        todo.extend(draft.does.body().into_iter().flatten());
    }
    if bytes > limits::REQUEST_BYTES {
        let issue = format!(
            "inputs of at most {} bytes together (REQUEST_BYTES), got {bytes}",
            limits::REQUEST_BYTES
        );
        found.push(Violation::coded(Code::Limit, path, issue));
    }
}
