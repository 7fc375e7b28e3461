//! Reads JSON objects member by member and collects every problem with its path, where a derived reader
//! would stop at the first.
//!
//! Values stay texts until they are asked for, so a body costs little more memory than its bytes.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive};

use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{
    check,
    problems::{Problems, WHOLE_BODY},
    words::Word,
};

/// The members of one object of a request. `null` is the same as absent.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    path: String,
    members: BTreeMap<&'static str, &'a RawValue>,
}

/// A list, cut off where there are too many elements; each with its path.
pub(crate) type Elements<'a> = Vec<(String, &'a RawValue)>;

impl<'a> Fields<'a> {
    /// Reads an object at a path (empty: the body itself). Members that are not known are problems.
    pub(crate) fn read(
        path: &str,
        raw: &'a RawValue,
        known: &'static [&'static str],
        problems: &mut Problems,
    ) -> Fields<'a> {
        let mut fields = Fields { path: path.to_owned(), members: BTreeMap::new() };
        if !raw.get().starts_with('{') {
            problems.add(shown_path(path), format!("must be an object, got {}", kind(raw)));
            return fields;
        }
        let members = Members { path, known, problems };
        match serde_json::Deserializer::from_str(raw.get()).deserialize_map(members) {
            Ok(members) => fields.members = members,
            Err(error) => problems.add(shown_path(path), format!("cannot be read: {error}")),
        }
        fields
    }

    /// A member's own path.
    pub(crate) fn at(&self, name: &str) -> String {
        join(&self.path, name)
    }

    /// A member as it stands.
    pub(crate) fn raw(&self, name: &str) -> Option<&'a RawValue> {
        self.members.get(name).copied().filter(|raw| raw.get() != "null")
    }

    /// A member as it stands, `null` too.
    pub(crate) fn given(&self, name: &str) -> Option<&'a RawValue> {
        self.members.get(name).copied()
    }

    /// Whether a member is there at all, and be it `null`.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.members.contains_key(name)
    }

    /// A string; empty when absent.
    pub(crate) fn text(&self, name: &str, problems: &mut Problems) -> String {
        self.raw(name).and_then(|raw| text(&self.at(name), raw, problems)).unwrap_or_default()
    }

    /// A list of strings. One that cannot be read is left empty, so that the others keep their places.
    pub(crate) fn texts(&self, name: &str, max: usize, what: &str, problems: &mut Problems) -> Vec<String> {
        let elements = self.list(name, max, what, problems).unwrap_or_default();
        elements.into_iter().map(|(path, raw)| text(&path, raw, problems).unwrap_or_default()).collect()
    }

    /// A list of anything; nothing of one that is too long is looked at. `what` names the elements and the
    /// limit, as in `tags (CAPABILITIES)`.
    pub(crate) fn list(
        &self,
        name: &str,
        max: usize,
        what: &str,
        problems: &mut Problems,
    ) -> Option<Elements<'a>> {
        match self.elements(name, max, problems)? {
            Ok(elements) => Some(elements),
            Err(count) => {
                problems.add(self.at(name), format!("at most {max} {what}, got {count}"));
                None
            }
        }
    }

    /// As [`list`](Fields::list); of one that is too long, how long it is, which is for the caller to tell.
    pub(crate) fn elements(
        &self,
        name: &str,
        max: usize,
        problems: &mut Problems,
    ) -> Option<Result<Elements<'a>, usize>> {
        let raw = self.raw(name)?;
        let path = self.at(name);
        if !raw.get().starts_with('[') {
            problems.add(path, format!("must be a list, got {}", kind(raw)));
            return None;
        }
        match serde_json::Deserializer::from_str(raw.get()).deserialize_seq(List { max }) {
            Ok((_, count)) if count > max => Some(Err(count)),
            Ok((elements, _)) => {
                let path_of = |i: usize| format!("{path}[{i}]");
                Some(Ok(elements.into_iter().enumerate().map(|(i, raw)| (path_of(i), raw)).collect()))
            }
            Err(error) => {
                problems.add(path, format!("cannot be read: {error}"));
                None
            }
        }
    }

    /// `true` or `false`.
    pub(crate) fn flag(&self, name: &str, problems: &mut Problems) -> Option<bool> {
        let raw = self.raw(name)?;
        match raw.get() {
            "true" => Some(true),
            "false" => Some(false),
            _ => {
                problems.add(self.at(name), format!("must be `true` or `false`, got {}", kind(raw)));
                None
            }
        }
    }

    /// A whole number within a range; `limit` names where the range comes from, as in ` (ATTEMPTS)`.
    pub(crate) fn number<T: TryFrom<u64>>(
        &self,
        name: &str,
        range: RangeInclusive<u64>,
        limit: &str,
        problems: &mut Problems,
    ) -> Option<T> {
        check::number(&self.at(name), self.raw(name)?.get(), range, limit, problems)
    }

    /// One of a closed set, by its word.
    pub(crate) fn choice<T: Word>(&self, name: &str, problems: &mut Problems) -> Option<T> {
        let raw = self.raw(name)?;
        let path = self.at(name);
        let word = text(&path, raw, problems)?;
        let value = T::from_word(&word);
        if value.is_none() {
            problems.add(path, format!("must be {}, got `{}`", T::choice(), word.escape_debug()));
        }
        value
    }
}

/// A string; `None` when it is none.
pub(crate) fn text(path: &str, raw: &RawValue, problems: &mut Problems) -> Option<String> {
    if !raw.get().starts_with('"') {
        problems.add(path, format!("must be a string, got {}", kind(raw)));
        return None;
    }
    match serde_json::from_str(raw.get()) {
        Ok(text) => Some(text),
        Err(_) => {
            problems.add(path, "holds an escaped surrogate without its other half");
            None
        }
    }
}

fn kind(raw: &RawValue) -> &'static str {
    match raw.get().as_bytes().first() {
        Some(b'{') => "an object",
        Some(b'[') => "a list",
        Some(b'"') => "a string",
        Some(b't' | b'f') => "a boolean",
        Some(b'n') => "null",
        _ => "a number",
    }
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Every problem names a field; those of the body as a whole name the body.
fn shown_path(path: &str) -> &str {
    if path.is_empty() { WHOLE_BODY } else { path }
}

struct Members<'p> {
    path: &'p str,
    known: &'static [&'static str],
    problems: &'p mut Problems,
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = BTreeMap<&'static str, &'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let value = map.next_value::<&RawValue>()?;
            if let Some(known) = self.known.iter().find(|known| **known == name) {
                members.insert(*known, value);
            } else {
                let issue = match self.known {
                    [] => "unknown field; there are none here".to_owned(),
                    known => format!("unknown field; known are: {}", known.join(", ")),
                };
                self.problems.add(join(self.path, &name), issue);
            }
        }
        Ok(members)
    }
}

struct List {
    max: usize,
}

impl<'de> Visitor<'de> for List {
    /// The first elements, and how many there are.
    type Value = (Vec<&'de RawValue>, usize);

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut elements = Vec::new();
        while elements.len() < self.max {
            match seq.next_element()? {
                Some(element) => elements.push(element),
                None => break,
            }
        }
        let mut count = elements.len();
        while seq.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok((elements, count))
    }
}
