//! Expressions: conditions, lists to go through, and keys, written in CEL. What they may look at is a [`Scope`]
//! of JSON documents; when they are evaluated, and what for, is decided elsewhere.
//!
//! The syntax is that of the `cel` crate's parser; evaluating is our own, because it happens inside the one
//! committer: every evaluation is bounded by [`EXPRESSION_STEPS`](crate::limits::EXPRESSION_STEPS), and nothing
//! in it panics, recurses without a bound, knows a time or has an order of its own: going through an object
//! goes by name. Beside what a JSON document can hold there is nothing: no bytes, unsigned numbers, timestamps,
//! durations, types or regular expressions.
//!
//! A number is an int when it fits 64 bits, else a double. Ints and doubles compare exactly, and other
//! than in CEL may be calculated with together. Documents stay raw until a path in them is asked for.

mod eval;
mod infer;
mod number;
mod place;
mod schema;
mod syntax;
mod types;
mod value;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
};

use serde_json::value::RawValue;

use self::{
    eval::{Evaluation, Found, Fuel, printed},
    infer::Inference,
    syntax::{Node, Operator},
    value::{Step, Value, elements_raw},
};
pub use self::{schema::schema_issue, types::Type};

/// What an expression may look at, by name. It borrows, so what is not looked at costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Scope<'a> {
    entries: BTreeMap<&'a str, Entry<'a>>,
}

#[derive(Clone, Debug)]
enum Entry<'a> {
    Json(&'a [u8]),
    Members(BTreeMap<Cow<'a, str>, &'a [u8]>),
    Value(Plain<'a>),
}

#[derive(Clone, Debug)]
enum Plain<'a> {
    Int(i64),
    Text(&'a str),
    Words(BTreeMap<&'a str, &'a str>),
}

impl<'a> Scope<'a> {
    pub fn new() -> Scope<'a> {
        Scope::default()
    }

    /// One JSON document. Empty bytes: null.
    pub fn set(&mut self, name: &'a str, json: &'a [u8]) {
        self.entries.insert(name, Entry::Json(json));
    }

    /// An object with a JSON document for each member: `outputs.review.ok`.
    pub fn set_members<K: Into<Cow<'a, str>>>(
        &mut self,
        name: &'a str,
        members: impl IntoIterator<Item = (K, &'a [u8])>,
    ) {
        let members = members.into_iter().map(|(member, json)| (member.into(), json));
        self.entries.insert(name, Entry::Members(members.collect()));
    }

    /// An object with a word for each member: `states.review == 'completed'`.
    pub fn set_words(&mut self, name: &'a str, words: impl IntoIterator<Item = (&'a str, &'a str)>) {
        self.entries.insert(name, Entry::Value(Plain::Words(words.into_iter().collect())));
    }

    pub fn set_text(&mut self, name: &'a str, text: &'a str) {
        self.entries.insert(name, Entry::Value(Plain::Text(text)));
    }

    pub fn set_int(&mut self, name: &'a str, value: i64) {
        self.entries.insert(name, Entry::Value(Plain::Int(value)));
    }
}

/// Whether a text is an expression that may be kept: parses, within limits, and names only these variables.
///
/// # Errors
/// What is wrong and where, in a sentence for who wrote it.
pub fn check(text: &str, variables: &[&str]) -> Result<(), String> {
    let node = syntax::parse(text)?;
    let mut known: Vec<&str> = variables.to_vec();
    let Some(name) = unknown(&node, &mut known) else { return Ok(()) };
    let mut issue = format!("{}no variable `{}`", syntax::place(text, name), clip(name));
    if let Some(near) = nearest(name, variables) {
        issue.push_str(&format!(", did you mean `{near}`?"));
    }
    let listed: Vec<String> = variables.iter().map(|name| format!("`{name}`")).collect();
    match listed.as_slice() {
        [] => issue.push_str("; there are none here"),
        listed => issue.push_str(&format!("; there are {}", listed.join(", "))),
    }
    Err(issue)
}

/// The members of a variable that an expression names: `a` and `b` in `outputs.a.ok && outputs['b'] > 1`. `None`:
/// it uses the variable as a whole, as in `size(outputs)` or `outputs[input.which]`. A text that is no
/// expression names nothing; saying that is for [`check`].
pub fn members(text: &str, root: &str) -> Option<BTreeSet<String>> {
    let mut found = BTreeSet::new();
    match syntax::parse(text) {
        Ok(node) => collect(&node, root, &mut found).then_some(found),
        Err(_) => Some(found),
    }
}

/// What an expression gives, as far as it is known, and what about it cannot be meant.
#[derive(Clone, Debug, PartialEq)]
pub struct Judged {
    /// Whatever it evaluates to is of this type; where there is none, it fails.
    pub of: Type,
    /// Each with its place: a member that is not there, a comparison of unlike values, a kind that does not fit.
    pub issues: Vec<String>,
}

/// Judges an expression by the types of its variables; one that is not named may be anything. A text that is no
/// expression may be anything too; saying that is for [`check`].
pub fn judge(text: &str, variables: &BTreeMap<&str, Type>) -> Judged {
    let Ok(node) = syntax::parse(text) else { return Judged { of: Type::ANY, issues: Vec::new() } };
    let mut inference = Inference::new(text, &node, variables);
    let of = inference.infer(&node);
    Judged { of, issues: inference.issues }
}

/// Evaluates to true or false.
///
/// # Errors
/// What went wrong: no such key, or something else than a boolean.
pub fn is_true(text: &str, scope: &Scope<'_>) -> Result<bool, String> {
    let node = syntax::parse(text)?;
    boolean(Evaluation::new(scope).value(&node)?)
}

/// As [`is_true`], for one of many: takes the steps from those that are left for all of them. An expression counts for
/// what it is to read, and once they are used up there are none left.
///
/// # Errors
/// As [`is_true`], and where the steps are used up.
pub fn is_true_within(text: &str, scope: &Scope<'_>, steps: &mut u64) -> Result<bool, String> {
    let evaluation = Evaluation::within(scope, Fuel::of(*steps));
    let read = evaluation.fuel.spend(text.len() as u64).map_err(String::from);
    let value = read.and_then(|()| syntax::parse(text)).and_then(|node| Ok(evaluation.value(&node)?));
    *steps = evaluation.fuel.left();
    boolean(value?)
}

/// Evaluates to a list; its elements as JSON texts. A plain path (`outputs['plan'].items`) gives them as they
/// were written; of what was computed, members are in the order of their names, and numbers that fit no 64
/// bits are rounded.
///
/// # Errors
/// What went wrong, also something else than a list.
pub fn list(text: &str, scope: &Scope<'_>) -> Result<Vec<Box<RawValue>>, String> {
    let node = syntax::parse(text)?;
    let evaluation = Evaluation::new(scope);
    if let Some((root, steps)) = node.path()
        && let Found::Raw(json) = evaluation.find(root, &steps)?
        && let Some(elements) = elements_raw(json)
    {
        return Ok(elements);
    }
    let items = match evaluation.value(&node)? {
        Value::List(items) => items,
        other => return Err(format!("expected a list, got {}", other.kind())),
    };
    let mut texts = Vec::with_capacity(items.len());
    for item in items.iter() {
        let mut json = String::new();
        item.write_json(&mut json, &evaluation.fuel)?;
        texts.push(RawValue::from_string(json).map_err(|error| format!("cannot be written: {error}"))?);
    }
    Ok(texts)
}

/// Evaluates to any value, as a JSON text: written as those of [`list`] are.
///
/// # Errors
/// What went wrong.
pub fn json(text: &str, scope: &Scope<'_>) -> Result<Box<RawValue>, String> {
    let node = syntax::parse(text)?;
    let evaluation = Evaluation::new(scope);
    if let Some((root, steps)) = node.path()
        && let Found::Raw(json) = evaluation.find(root, &steps)?
    {
        return Ok(json.to_owned());
    }
    let mut json = String::new();
    evaluation.value(&node)?.write_json(&mut json, &evaluation.fuel)?;
    RawValue::from_string(json).map_err(|error| format!("cannot be written: {error}"))
}

/// Evaluates to a text; numbers and booleans are printed, a whole double as an int.
///
/// # Errors
/// What went wrong, also null, a list or an object.
pub fn text(text: &str, scope: &Scope<'_>) -> Result<String, String> {
    let node = syntax::parse(text)?;
    Ok(printed(&Evaluation::new(scope).value(&node)?)?)
}

fn boolean(value: Value) -> Result<bool, String> {
    match value {
        Value::Bool(value) => Ok(value),
        other => Err(format!("expected a boolean, got {}", other.kind())),
    }
}

impl Plain<'_> {
    fn value(&self) -> Value {
        match self {
            Plain::Int(n) => Value::Int(*n),
            Plain::Text(text) => Value::text(text),
            Plain::Words(words) => {
                Value::object(words.iter().map(|(name, word)| (Rc::from(*name), Value::text(word))).collect())
            }
        }
    }
}

/// The first variable that is neither known nor a loop's own.
fn unknown<'n>(node: &'n Node, known: &mut Vec<&'n str>) -> Option<&'n str> {
    if let Node::Variable(name) = node {
        return (!known.contains(&name.as_str())).then_some(name);
    }
    for (part, variable) in node.parts() {
        let before = known.len();
        known.extend(variable);
        let found = unknown(part, known);
        known.truncate(before);
        if found.is_some() {
            return found;
        }
    }
    None
}

/// Adds the members of `root` that are named; false: it is used as a whole.
fn collect(node: &Node, root: &str, found: &mut BTreeSet<String>) -> bool {
    if let Some((name, steps)) = node.path()
        && name == root
    {
        let Some(Step::Name(member)) = steps.first() else { return false };
        found.insert(member.clone());
        return true;
    }
    match node {
        Node::Has(of, member) if is_variable(of, root) => {
            found.insert(member.clone());
            return true;
        }
        Node::Binary(Operator::In, left, right) if is_variable(right, root) => {
            if let Node::Constant(Value::Text(member)) = left.as_ref() {
                found.insert(member.to_string());
                return true;
            }
        }
        _ => {}
    }
    // Where a loop's variable has the root's name, the root itself cannot be named.
    node.parts().into_iter().all(|(part, variable)| variable == Some(root) || collect(part, root, found))
}

fn is_variable(node: &Node, root: &str) -> bool {
    matches!(node, Node::Variable(name) if name == root)
}

/// The known name that differs least, if it differs little.
fn nearest<'v>(name: &str, variables: &[&'v str]) -> Option<&'v str> {
    let near = variables.iter().map(|known| (distance(name, known), *known)).min()?;
    (near.0 <= 2 && near.0 < near.1.len()).then_some(near.1)
}

/// The letters to add, drop or change to get from one name to the other.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Bytes of a name or a piece of text in a message; the rest of it says nothing more.
const SHOWN_BYTES: usize = 100;

fn clip(text: &str) -> Cow<'_, str> {
    if text.len() <= SHOWN_BYTES {
        return Cow::Borrowed(text);
    }
    Cow::Owned(format!("{}..", &text[..text.floor_char_boundary(SHOWN_BYTES)]))
}
