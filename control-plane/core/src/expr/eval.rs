//! Evaluating a parsed expression over a scope, within a number of steps. No syntax, and no JSON of its own.
//!
//! Errors are values here, as CEL wants it: `false && error` is false, and so is `error && false`. Only running
//! out of steps ends everything.

use std::{
    borrow::Cow,
    cell::{Cell, RefCell},
    cmp::Ordering,
    collections::BTreeMap,
    rc::Rc,
};

use serde_json::value::RawValue;

use super::{
    Entry, Scope, clip,
    number::{arithmetic, compare_numbers, negate, to_double, to_int, whole},
    syntax::{Function, Loop, LoopKind, Node, Operator},
    value::{Step, Value, equal, missing, not_inside, step_raw},
};
use crate::limits::EXPRESSION_STEPS;

/// Why there is no value.
#[derive(Clone, Debug)]
pub(super) enum Fault {
    /// There is no such member or element: what `has` asks.
    Missing(String),
    Wrong(String),
    /// The steps are used up.
    Spent,
}

impl Fault {
    fn of(self, what: &str) -> Fault {
        match self {
            Fault::Missing(issue) => Fault::Missing(format!("`{what}`: {issue}")),
            Fault::Wrong(issue) => Fault::Wrong(format!("`{what}`: {issue}")),
            Fault::Spent => Fault::Spent,
        }
    }
}

impl From<Fault> for String {
    fn from(fault: Fault) -> String {
        match fault {
            Fault::Missing(issue) | Fault::Wrong(issue) => issue,
            Fault::Spent => format!("took more than {EXPRESSION_STEPS} steps (EXPRESSION_STEPS)"),
        }
    }
}

/// The steps that are left.
pub(super) struct Fuel {
    left: Cell<u64>,
    is_spent: Cell<bool>,
}

/// Bytes that are read in a step: JSON that is searched for a member is passed over at some hundred megabytes a
/// second.
const READ_BYTES: usize = 64;
/// Bytes that are written in a step: they are also kept.
const WRITTEN_BYTES: usize = 16;

impl Fuel {
    pub(super) fn of(steps: u64) -> Fuel {
        Fuel { left: Cell::new(steps), is_spent: Cell::new(false) }
    }

    /// None once it failed.
    pub(super) fn left(&self) -> u64 {
        if self.is_spent.get() { 0 } else { self.left.get() }
    }

    /// Takes steps; after it failed once it always fails.
    pub(super) fn spend(&self, steps: u64) -> Result<(), Fault> {
        match self.left.get().checked_sub(steps) {
            Some(left) if !self.is_spent.get() => {
                self.left.set(left);
                Ok(())
            }
            _ => {
                self.is_spent.set(true);
                Err(Fault::Spent)
            }
        }
    }

    pub(super) fn read(&self, bytes: usize) -> Result<(), Fault> {
        self.spend((bytes / READ_BYTES) as u64)
    }

    pub(super) fn write(&self, bytes: usize) -> Result<(), Fault> {
        self.spend((bytes / WRITTEN_BYTES) as u64 + 1)
    }
}

/// What loops have bound, the innermost first.
struct Bound<'n> {
    name: &'n str,
    value: Value,
    outer: Option<&'n Bound<'n>>,
}

/// What a path leads to.
pub(super) enum Found<'s> {
    Raw(&'s RawValue),
    Value(Value),
}

pub(super) struct Evaluation<'s> {
    scope: &'s Scope<'s>,
    pub(super) fuel: Fuel,
    /// By path: a loop must not look for the same thing again.
    known: RefCell<BTreeMap<Path, Result<Value, Fault>>>,
}

type Path = (String, Vec<Step>);

impl<'s> Evaluation<'s> {
    pub(super) fn new(scope: &'s Scope<'s>) -> Evaluation<'s> {
        Evaluation::within(scope, Fuel::of(EXPRESSION_STEPS))
    }

    pub(super) fn within(scope: &'s Scope<'s>, fuel: Fuel) -> Evaluation<'s> {
        Evaluation { scope, fuel, known: RefCell::default() }
    }

    pub(super) fn value(&self, node: &Node) -> Result<Value, Fault> {
        self.eval(node, None)
    }

    /// Follows a path from a variable in the raw documents.
    pub(super) fn find(&self, root: &str, steps: &[Step]) -> Result<Found<'s>, Fault> {
        let Some(entry) = self.scope.entries.get(root) else {
            return Err(Fault::Wrong(format!("no variable `{}`", clip(root))));
        };
        let (json, done) = match entry {
            Entry::Value(word) => {
                let mut value = word.value();
                for (i, step) in steps.iter().enumerate() {
                    value = inside(&value, step).map_err(|fault| fault.of(&shown(root, &steps[..i])))?;
                }
                return Ok(Found::Value(value));
            }
            Entry::Json(json) => (*json, 0),
            Entry::Members(members) => match steps.first() {
                None => return self.whole(root, members).map(Found::Value),
                Some(Step::Name(name)) => match members.get(name.as_str()) {
                    Some(json) => (*json, 1),
                    None => return Err(missing(&steps[0]).of(root)),
                },
                Some(step) => return Err(not_inside("an object", step).of(root)),
            },
        };
        let mut at = self.document(json).map_err(|fault| fault.of(&shown(root, &steps[..done])))?;
        for (i, step) in steps.iter().enumerate().skip(done) {
            at = step_raw(at, step, &self.fuel).map_err(|fault| fault.of(&shown(root, &steps[..i])))?;
        }
        Ok(Found::Raw(at))
    }

    fn document(&self, json: &'s [u8]) -> Result<&'s RawValue, Fault> {
        if json.is_empty() {
            return Ok(RawValue::NULL);
        }
        self.fuel.read(json.len())?;
        serde_json::from_slice(json).map_err(|error| Fault::Wrong(format!("not JSON: {error}")))
    }

    fn whole(&self, root: &str, members: &BTreeMap<Cow<'s, str>, &'s [u8]>) -> Result<Value, Fault> {
        let converted = members.iter().map(|(name, json)| {
            let of = |fault: Fault| fault.of(&format!("{root}.{name}"));
            let raw = self.document(json).map_err(of)?;
            Ok((Rc::from(name.as_ref()), Value::from_json(raw.get(), &self.fuel).map_err(of)?))
        });
        Ok(Value::object(converted.collect::<Result<_, Fault>>()?))
    }

    /// The value a path leads to, converted once.
    fn at(&self, root: &str, steps: Vec<Step>) -> Result<Value, Fault> {
        let key = (root.to_owned(), steps);
        if let Some(known) = self.known.borrow().get(&key) {
            return known.clone();
        }
        let value = match self.find(root, &key.1) {
            Ok(Found::Value(value)) => Ok(value),
            Ok(Found::Raw(json)) => {
                Value::from_json(json.get(), &self.fuel).map_err(|fault| fault.of(&shown(root, &key.1)))
            }
            Err(fault) => Err(fault),
        };
        self.known.borrow_mut().insert(key, value.clone());
        value
    }

    fn eval(&self, node: &Node, bound: Option<&Bound<'_>>) -> Result<Value, Fault> {
        self.fuel.spend(1)?;
        if node.root().is_some_and(|root| lookup(bound, root).is_none())
            && let Some((root, steps)) = node.path()
        {
            self.fuel.spend(steps.len() as u64)?;
            return self.at(root, steps);
        }
        match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Variable(name) => lookup(bound, name)
                .cloned()
                .ok_or_else(|| Fault::Wrong(format!("no variable `{}`", clip(name)))),
            Node::Member(of, name) => inside(&self.eval(of, bound)?, &Step::Name(name.clone())),
            Node::Has(of, name) => self.has(of, name, bound),
            Node::Index(of, index) => self.index(of, index, bound),
            Node::Not(of) => Ok(Value::Bool(!self.truth(of, bound)?)),
            Node::Negate(of) => negate(&self.eval(of, bound)?),
            Node::And(left, right) => self.logic(left, right, false, bound),
            Node::Or(left, right) => self.logic(left, right, true, bound),
            Node::If(parts) => {
                let [condition, yes, no] = parts.as_ref();
                self.eval(if self.truth(condition, bound)? { yes } else { no }, bound)
            }
            Node::Binary(operator, left, right) => self.binary(*operator, left, right, bound),
            Node::List(parts) => {
                let items: Result<Vec<Value>, Fault> =
                    parts.iter().map(|part| self.eval(part, bound)).collect();
                items.map(|items| Value::List(Rc::new(items)))
            }
            Node::Object(members) => self.object(members, bound),
            Node::Call(function, arguments) => self.call(*function, arguments, bound),
            Node::Loop(of) => self.each(of, bound),
        }
    }

    fn truth(&self, node: &Node, bound: Option<&Bound<'_>>) -> Result<bool, Fault> {
        match self.eval(node, bound)? {
            Value::Bool(value) => Ok(value),
            other => Err(Fault::Wrong(format!("expected a boolean, got {}", other.kind()))),
        }
    }

    /// `&&` and `||`: the deciding value wins over an error, on either side.
    fn logic(
        &self,
        left: &Node,
        right: &Node,
        decides: bool,
        bound: Option<&Bound<'_>>,
    ) -> Result<Value, Fault> {
        let left = match self.truth(left, bound) {
            Ok(value) if value == decides => return Ok(Value::Bool(decides)),
            Err(Fault::Spent) => return Err(Fault::Spent),
            left => left,
        };
        match self.truth(right, bound) {
            Ok(value) if value == decides => Ok(Value::Bool(decides)),
            Err(Fault::Spent) => Err(Fault::Spent),
            right => left.and(right).map(Value::Bool),
        }
    }

    fn has(&self, of: &Node, name: &str, bound: Option<&Bound<'_>>) -> Result<Value, Fault> {
        let step = Step::Name(name.to_owned());
        let found = match of.path() {
            Some((root, mut steps)) if lookup(bound, root).is_none() => {
                // A member of something missing is an error, not an absence.
                if !steps.is_empty() {
                    self.find(root, &steps)?;
                }
                steps.push(step);
                self.find(root, &steps).map(|_| ())
            }
            _ => inside(&self.eval(of, bound)?, &step).map(|_| ()),
        };
        match found {
            Ok(()) => Ok(Value::Bool(true)),
            Err(Fault::Missing(_)) => Ok(Value::Bool(false)),
            Err(fault) => Err(fault),
        }
    }

    fn index(&self, of: &Node, index: &Node, bound: Option<&Bound<'_>>) -> Result<Value, Fault> {
        let step = match self.eval(index, bound)? {
            Value::Text(name) => Step::Name(name.to_string()),
            Value::Int(at) => element(at)?,
            Value::Double(n) => match whole(n) {
                Some(at) => element(at)?,
                None => return Err(Fault::Wrong(format!("expected a whole number as an index, got {n}"))),
            },
            other => {
                let kind = other.kind();
                return Err(Fault::Wrong(format!("expected a string or an int as an index, got {kind}")));
            }
        };
        // Of many documents only the one that is asked for is converted.
        if let Node::Variable(root) = of
            && lookup(bound, root).is_none()
            && matches!(self.scope.entries.get(root.as_str()), Some(Entry::Members(_)))
        {
            return self.at(root, vec![step]);
        }
        inside(&self.eval(of, bound)?, &step)
    }

    fn object(&self, members: &[(Node, Node)], bound: Option<&Bound<'_>>) -> Result<Value, Fault> {
        let mut evaluated: Vec<(Rc<str>, Value)> = Vec::with_capacity(members.len());
        for (name, value) in members {
            let name = match self.eval(name, bound)? {
                Value::Text(name) => name,
                other => {
                    return Err(Fault::Wrong(format!("expected a string as a key, got {}", other.kind())));
                }
            };
            if evaluated.iter().any(|(other, _)| *other == name) {
                return Err(Fault::Wrong(format!("key `{}` twice", clip(&name))));
            }
            evaluated.push((name, self.eval(value, bound)?));
        }
        Ok(Value::object(evaluated))
    }

    fn each(&self, of: &Loop, bound: Option<&Bound<'_>>) -> Result<Value, Fault> {
        let items = match self.eval(&of.over, bound)? {
            Value::List(items) => items,
            Value::Object(members) => {
                self.fuel.spend(members.len() as u64)?;
                Rc::new(members.iter().map(|(name, _)| Value::Text(Rc::clone(name))).collect())
            }
            other => {
                return Err(Fault::Wrong(format!("expected a list or an object, got {}", other.kind())));
            }
        };
        let (mut count, mut collected, mut error) = (0, Vec::new(), None);
        for item in items.iter() {
            self.fuel.spend(1)?;
            let here = Bound { name: &of.variable, value: item.clone(), outer: bound };
            let holds = of.condition.as_ref().map_or(Ok(true), |node| self.truth(node, Some(&here)));
            match (of.kind, holds) {
                (_, Err(Fault::Spent)) => return Err(Fault::Spent),
                (LoopKind::All, Ok(false)) => return Ok(Value::Bool(false)),
                (LoopKind::Exists, Ok(true)) => return Ok(Value::Bool(true)),
                // A later element may still decide.
                (LoopKind::All | LoopKind::Exists, Err(fault)) => error = error.or(Some(fault)),
                (LoopKind::ExistsOne | LoopKind::Collect, Err(fault)) => return Err(fault),
                (LoopKind::ExistsOne, Ok(true)) => count += 1,
                (LoopKind::Collect, Ok(true)) => {
                    if let Some(node) = &of.result {
                        collected.push(self.eval(node, Some(&here))?);
                    }
                }
                (LoopKind::All, Ok(true))
                | (LoopKind::Exists | LoopKind::ExistsOne | LoopKind::Collect, Ok(false)) => {}
            }
        }
        match (of.kind, error) {
            (_, Some(fault)) => Err(fault),
            (LoopKind::All, None) => Ok(Value::Bool(true)),
            (LoopKind::Exists, None) => Ok(Value::Bool(false)),
            (LoopKind::ExistsOne, None) => Ok(Value::Bool(count == 1)),
            (LoopKind::Collect, None) => Ok(Value::List(Rc::new(collected))),
        }
    }

    fn binary(
        &self,
        operator: Operator,
        left: &Node,
        right: &Node,
        bound: Option<&Bound<'_>>,
    ) -> Result<Value, Fault> {
        let left = self.eval(left, bound)?;
        if let (Operator::In, Value::Text(name), Node::Variable(root)) = (operator, &left, right)
            && lookup(bound, root).is_none()
            && let Some(Entry::Members(members)) = self.scope.entries.get(root.as_str())
        {
            return Ok(Value::Bool(members.contains_key(name.as_ref())));
        }
        let right = self.eval(right, bound)?;
        match operator {
            Operator::Equal => equal(&left, &right, &self.fuel).map(Value::Bool),
            Operator::NotEqual => equal(&left, &right, &self.fuel).map(|same| Value::Bool(!same)),
            Operator::In => self.contained(&left, &right).map(Value::Bool),
            Operator::Less => self.compare(&left, &right, &[Ordering::Less]),
            Operator::LessOrEqual => self.compare(&left, &right, &[Ordering::Less, Ordering::Equal]),
            Operator::Greater => self.compare(&left, &right, &[Ordering::Greater]),
            Operator::GreaterOrEqual => self.compare(&left, &right, &[Ordering::Greater, Ordering::Equal]),
            Operator::Add => self.add(&left, &right),
            Operator::Subtract | Operator::Multiply | Operator::Divide | Operator::Remainder => {
                arithmetic(operator, &left, &right)
            }
        }
    }

    fn contained(&self, item: &Value, within: &Value) -> Result<bool, Fault> {
        match (item, within) {
            (item, Value::List(items)) => {
                for other in items.iter() {
                    if equal(item, other, &self.fuel)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            (Value::Text(name), Value::Object(_)) => Ok(within.member(name).is_some()),
            (_, Value::Object(_)) => Ok(false),
            (_, other) => Err(Fault::Wrong(format!("expected a list or an object, got {}", other.kind()))),
        }
    }

    fn compare(&self, left: &Value, right: &Value, wanted: &[Ordering]) -> Result<Value, Fault> {
        let order = match (left, right) {
            (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => {
                compare_numbers(left, right)
            }
            (Value::Text(a), Value::Text(b)) => {
                self.fuel.read(a.len().min(b.len()))?;
                Some(a.cmp(b))
            }
            (Value::Bool(a), Value::Bool(b)) => Some(a.cmp(b)),
            _ => {
                return Err(Fault::Wrong(format!("{} and {} have no order", left.kind(), right.kind())));
            }
        };
        Ok(Value::Bool(order.is_some_and(|order| wanted.contains(&order))))
    }

    fn add(&self, left: &Value, right: &Value) -> Result<Value, Fault> {
        match (left, right) {
            (Value::Text(a), Value::Text(b)) => {
                self.fuel.write(a.len() + b.len())?;
                Ok(Value::Text([a.as_ref(), b.as_ref()].concat().into()))
            }
            (Value::List(a), Value::List(b)) => {
                self.fuel.spend((a.len() + b.len()) as u64)?;
                Ok(Value::List(Rc::new(a.iter().chain(b.iter()).cloned().collect())))
            }
            _ => arithmetic(Operator::Add, left, right),
        }
    }

    fn call(
        &self,
        function: Function,
        arguments: &[Node],
        bound: Option<&Bound<'_>>,
    ) -> Result<Value, Fault> {
        let mut values = Vec::with_capacity(arguments.len());
        for argument in arguments {
            values.push(self.eval(argument, bound)?);
        }
        match (function, values.as_slice()) {
            (Function::Size, [value]) => self.size(value),
            (Function::String, [value]) => Ok(Value::text(&printed(value)?)),
            (Function::Int, [value]) => to_int(value),
            (Function::Double, [value]) => to_double(value),
            (Function::Contains, [Value::Text(text), Value::Text(part)]) => {
                self.fuel.read(text.len() + part.len())?;
                Ok(Value::Bool(text.contains(part.as_ref())))
            }
            (Function::StartsWith, [Value::Text(text), Value::Text(part)]) => {
                self.fuel.read(part.len())?;
                Ok(Value::Bool(text.starts_with(part.as_ref())))
            }
            (Function::EndsWith, [Value::Text(text), Value::Text(part)]) => {
                self.fuel.read(part.len())?;
                Ok(Value::Bool(text.ends_with(part.as_ref())))
            }
            (_, values) => {
                let kinds: Vec<&str> = values.iter().map(Value::kind).collect();
                Err(Fault::Wrong(format!("expected strings, got {}", kinds.join(" and "))))
            }
        }
    }

    fn size(&self, value: &Value) -> Result<Value, Fault> {
        let size = match value {
            Value::Text(text) => {
                self.fuel.read(text.len())?;
                text.chars().count()
            }
            Value::List(items) => items.len(),
            Value::Object(members) => members.len(),
            other => return Err(Fault::Wrong(format!("{} has no size", other.kind()))),
        };
        Ok(Value::Int(i64::try_from(size).unwrap_or(i64::MAX)))
    }
}

/// A scalar as text: whole doubles without their fraction, so that 1 and 1.0 are the same key.
pub(super) fn printed(value: &Value) -> Result<String, Fault> {
    match value {
        Value::Text(text) => Ok(text.to_string()),
        Value::Int(n) => Ok(n.to_string()),
        Value::Double(n) => Ok(n.to_string()),
        Value::Bool(b) => Ok(b.to_string()),
        Value::Null | Value::List(_) | Value::Object(_) => {
            Err(Fault::Wrong(format!("expected a string, a number or a boolean, got {}", value.kind())))
        }
    }
}

fn lookup<'b>(mut bound: Option<&'b Bound<'b>>, name: &str) -> Option<&'b Value> {
    while let Some(here) = bound {
        if here.name == name {
            return Some(&here.value);
        }
        bound = here.outer;
    }
    None
}

fn inside(value: &Value, step: &Step) -> Result<Value, Fault> {
    match (value, step) {
        (Value::Object(_), Step::Name(name)) => value.member(name).cloned().ok_or_else(|| missing(step)),
        (Value::List(items), Step::At(at)) => items.get(*at).cloned().ok_or_else(|| missing(step)),
        _ => Err(not_inside(value.kind(), step)),
    }
}

fn element(at: i64) -> Result<Step, Fault> {
    usize::try_from(at).map(Step::At).map_err(|_| Fault::Missing(format!("no element {at}")))
}

/// A path, as it is written.
pub(super) fn shown(root: &str, steps: &[Step]) -> String {
    let mut path = root.to_owned();
    for step in steps {
        match step {
            Step::Name(name) => path.push_str(&format!(".{}", clip(name))),
            Step::At(at) => path.push_str(&format!("[{at}]")),
        }
    }
    path
}
