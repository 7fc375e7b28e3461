//! What an expression computes with, and its way in from JSON and out to it. No operators: those are in `eval`.
//!
//! An object is a sorted list of its members, so that going through it has one order everywhere.

use std::{borrow::Cow, fmt, rc::Rc};

use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    eval::{Fault, Fuel},
    number::compare_numbers,
};

/// A value. Copying one is cheap, whatever it holds.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Double(f64),
    Text(Rc<str>),
    List(Rc<Vec<Value>>),
    /// Sorted by name, without doubles.
    Object(Rc<Vec<(Rc<str>, Value)>>),
}

/// One step of a path: `.name`, `['name']` or `[0]`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Name(String),
    At(usize),
}

impl Value {
    pub(super) fn text(text: &str) -> Value {
        Value::Text(text.into())
    }

    /// Of members in any order; of two with one name the later counts, as in JSON.
    pub(super) fn object(mut members: Vec<(Rc<str>, Value)>) -> Value {
        members.reverse();
        members.sort_by(|a, b| a.0.cmp(&b.0));
        members.dedup_by(|later, kept| later.0 == kept.0);
        members.shrink_to_fit();
        Value::Object(Rc::new(members))
    }

    /// The kind, with its article, for messages.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Value::Null => "null",
            Value::Bool(_) => "a boolean",
            Value::Int(_) => "an int",
            Value::Double(_) => "a double",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Object(_) => "an object",
        }
    }

    /// A member of an object.
    pub(super) fn member(&self, name: &str) -> Option<&Value> {
        let Value::Object(members) = self else { return None };
        let place = members.binary_search_by(|(key, _)| key.as_ref().cmp(name)).ok()?;
        Some(&members[place].1)
    }

    /// From JSON text; every element is a step.
    pub(super) fn from_json(json: &str, fuel: &Fuel) -> Result<Value, Fault> {
        fuel.read(json.len())?;
        let mut parser = serde_json::Deserializer::from_str(json);
        match (Reader { fuel }).deserialize(&mut parser) {
            Ok(value) => Ok(value),
            Err(error) => {
                fuel.spend(0)?;
                Err(Fault::Wrong(format!("cannot be read: {error}")))
            }
        }
    }

    /// To JSON text. What is not a number there, is an error.
    pub(super) fn write_json(&self, out: &mut String, fuel: &Fuel) -> Result<(), Fault> {
        fuel.spend(1)?;
        match self {
            Value::Null => out.push_str("null"),
            Value::Bool(true) => out.push_str("true"),
            Value::Bool(false) => out.push_str("false"),
            Value::Int(n) => out.push_str(&n.to_string()),
            Value::Double(n) => match serde_json::Number::from_f64(*n) {
                Some(n) => out.push_str(&n.to_string()),
                None => return Err(Fault::Wrong(format!("{n} is not a number in JSON"))),
            },
            Value::Text(text) => write_text(text, out, fuel)?,
            Value::List(items) => {
                out.push('[');
                for (i, item) in items.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    item.write_json(out, fuel)?;
                }
                out.push(']');
            }
            Value::Object(members) => {
                out.push('{');
                for (i, (name, value)) in members.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    write_text(name, out, fuel)?;
                    out.push(':');
                    value.write_json(out, fuel)?;
                }
                out.push('}');
            }
        }
        Ok(())
    }
}

/// Whether two values are the same: numbers by what they count, everything else only within its kind.
pub(super) fn equal(a: &Value, b: &Value, fuel: &Fuel) -> Result<bool, Fault> {
    fuel.spend(1)?;
    Ok(match (a, b) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Int(_) | Value::Double(_), Value::Int(_) | Value::Double(_)) => {
            compare_numbers(a, b).is_some_and(std::cmp::Ordering::is_eq)
        }
        (Value::Text(a), Value::Text(b)) => {
            fuel.read(a.len().min(b.len()))?;
            a == b
        }
        (Value::List(a), Value::List(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for (a, b) in a.iter().zip(b.iter()) {
                if !equal(a, b, fuel)? {
                    return Ok(false);
                }
            }
            true
        }
        (Value::Object(a), Value::Object(b)) => {
            if a.len() != b.len() {
                return Ok(false);
            }
            for ((a_name, a), (b_name, b)) in a.iter().zip(b.iter()) {
                fuel.read(a_name.len())?;
                if a_name != b_name || !equal(a, b, fuel)? {
                    return Ok(false);
                }
            }
            true
        }
        _ => false,
    })
}

fn write_text(text: &str, out: &mut String, fuel: &Fuel) -> Result<(), Fault> {
    fuel.write(text.len())?;
    out.push_str(&serde_json::Value::from(text).to_string());
    Ok(())
}

/// Follows one step in JSON text without converting it.
///
/// # Errors
/// Without what the value is called: that it has no such member or element, or is nothing to step into.
pub(super) fn step_raw<'j>(json: &'j RawValue, step: &Step, fuel: &Fuel) -> Result<&'j RawValue, Fault> {
    fuel.read(json.get().len())?;
    let mut parser = serde_json::Deserializer::from_str(json.get());
    let found = match (json.get().as_bytes().first(), step) {
        (Some(b'{'), Step::Name(name)) => parser.deserialize_map(FindMember(name)),
        (Some(b'['), Step::At(at)) => parser.deserialize_seq(FindElement(*at)),
        (first, step) => {
            let kind = match first {
                Some(b'{') => "an object",
                Some(b'[') => "a list",
                Some(b'"') => "a string",
                Some(b'n') => "null",
                Some(b't' | b'f') => "a boolean",
                _ => "a number",
            };
            return Err(not_inside(kind, step));
        }
    };
    match found {
        Ok(Some(value)) => Ok(value),
        Ok(None) => Err(missing(step)),
        Err(error) => Err(Fault::Wrong(format!("cannot be read: {error}"))),
    }
}

/// That a value has not got what a step asks for.
pub(super) fn missing(step: &Step) -> Fault {
    Fault::Missing(match step {
        Step::Name(name) => format!("no such key `{}`", super::clip(name)),
        Step::At(at) => format!("no element {at}"),
    })
}

/// That a value cannot be stepped into.
pub(super) fn not_inside(kind: &str, step: &Step) -> Fault {
    Fault::Wrong(match step {
        Step::Name(name) => format!("no such key `{}`: it is {kind}", super::clip(name)),
        Step::At(at) => format!("no element {at}: it is {kind}"),
    })
}

/// The elements of a JSON list, as they are written.
pub(super) fn elements_raw(json: &RawValue) -> Option<Vec<Box<RawValue>>> {
    if !json.get().starts_with('[') {
        return None;
    }
    serde_json::from_str(json.get()).ok()
}

struct FindMember<'f>(&'f str);

impl<'de> Visitor<'de> for FindMember<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(NameIs(self.0))? {
            if is_it {
                found = Some(map.next_value()?);
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

struct NameIs<'f>(&'f str);

impl<'de> DeserializeSeed<'de> for NameIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member's name")
    }

    fn visit_str<E>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

struct FindElement(usize);

impl<'de> Visitor<'de> for FindElement {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        for _ in 0..self.0 {
            if seq.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = seq.next_element()?;
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

struct Reader<'f> {
    fuel: &'f Fuel,
}

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.fuel.spend_in(1)?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Int(value))
    }

    #[expect(clippy::cast_precision_loss, reason = "what no int holds is a double")]
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(i64::try_from(value).map_or(Value::Double(value as f64), Value::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Double(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element_seed(Reader { fuel: self.fuel })? {
            items.push(item);
        }
        items.shrink_to_fit();
        Ok(Value::List(Rc::new(items)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = map.next_key::<Cow<'_, str>>()? {
            members.push((Rc::from(name.as_ref()), map.next_value_seed(Reader { fuel: self.fuel })?));
        }
        Ok(Value::object(members))
    }
}

impl Fuel {
    /// As [`Fuel::spend`], where only a parser's error can be returned; who called the parser asks again.
    fn spend_in<E: serde::de::Error>(&self, steps: u64) -> Result<(), E> {
        self.spend(steps).map_err(|_| E::custom("too much"))
    }
}
