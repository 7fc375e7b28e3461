//! What a value may be, known before there is one. Each type is a set of values; what is not known is in the set, so that
//! nothing is ever said to be wrong that may be right. No JSON Schema (`schema`), and no expressions (`infer`).

use std::{collections::BTreeMap, collections::BTreeSet, fmt, sync::Arc};

use serde_json::Value as Json;

use super::value::Value;

/// Strings that are told apart; of more, nothing is known but that they are strings.
const WORDS: usize = 100;

/// A set of values: which kinds there may be, and what is known of those inside.
#[derive(Clone, Debug, PartialEq)]
pub struct Type {
    kinds: u8,
    /// The only strings; `None`: any.
    words: Option<Arc<BTreeSet<String>>>,
    /// What the elements of lists are; `None`: anything.
    element: Option<Arc<Type>>,
    /// What the members of objects are; `None`: anything.
    members: Option<Arc<Members>>,
}

#[derive(Debug, PartialEq)]
struct Members {
    known: BTreeMap<String, Type>,
    /// Of those with another name; no value: there are none.
    rest: Type,
}

pub(super) const NULL: u8 = 1;
pub(super) const TRUE: u8 = 2;
pub(super) const FALSE: u8 = 4;
pub(super) const BOOL: u8 = TRUE | FALSE;
pub(super) const NUMBER: u8 = 8;
pub(super) const TEXT: u8 = 16;
pub(super) const LIST: u8 = 32;
pub(super) const OBJECT: u8 = 64;
const ALL: u8 = NULL | BOOL | NUMBER | TEXT | LIST | OBJECT;

/// In the order they are told in.
const KINDS: [(u8, &str); 6] = [
    (NULL, "null"),
    (BOOL, "a boolean"),
    (NUMBER, "a number"),
    (TEXT, "a string"),
    (LIST, "a list"),
    (OBJECT, "an object"),
];

impl Type {
    /// Anything.
    pub const ANY: Type = Type::kinds(ALL);
    /// No value at all: what always fails.
    pub const NONE: Type = Type::kinds(0);
    pub const NULL: Type = Type::kinds(NULL);
    pub const BOOL: Type = Type::kinds(BOOL);
    pub const NUMBER: Type = Type::kinds(NUMBER);
    pub const TEXT: Type = Type::kinds(TEXT);

    /// All values of these kinds.
    pub(super) const fn kinds(kinds: u8) -> Type {
        Type { kinds, words: None, element: None, members: None }
    }

    /// One of these strings.
    pub fn words<S: Into<String>>(words: impl IntoIterator<Item = S>) -> Type {
        let words: BTreeSet<String> = words.into_iter().map(Into::into).collect();
        if words.is_empty() {
            return Type::NONE;
        }
        let words = (words.len() <= WORDS).then(|| Arc::new(words));
        Type { words, ..Type::TEXT }
    }

    /// A list of such elements.
    pub fn list(element: Type) -> Type {
        Type { element: Some(Arc::new(element)), ..Type::kinds(LIST) }
    }

    /// An object with these members, each of which may be missing, and others that are of the type `rest`.
    pub fn object<S: Into<String>>(known: impl IntoIterator<Item = (S, Type)>, rest: Type) -> Type {
        let known = known.into_iter().map(|(name, of)| (name.into(), of)).collect();
        Type { members: Some(Arc::new(Members { known, rest })), ..Type::kinds(OBJECT) }
    }

    /// Also null.
    #[must_use]
    pub fn or_null(mut self) -> Type {
        self.kinds |= NULL;
        self
    }

    /// What is of either.
    #[must_use]
    pub fn or(&self, other: &Type) -> Type {
        let of = |kind: u8| match (self.may_be(kind), other.may_be(kind)) {
            (true, true) => (Some(self), Some(other)),
            (true, false) => (Some(self), None),
            (false, _) => (None, Some(other)),
        };
        let words = match of(TEXT) {
            (Some(a), Some(b)) => match (&a.words, &b.words) {
                (Some(a), Some(b)) if a == b => Some(Arc::clone(a)),
                (Some(a), Some(b)) => {
                    let both: BTreeSet<String> = a.union(b).cloned().collect();
                    (both.len() <= WORDS).then(|| Arc::new(both))
                }
                _ => None,
            },
            (one, another) => one.or(another).and_then(|one| one.words.clone()),
        };
        let element = match of(LIST) {
            (Some(a), Some(b)) => match (&a.element, &b.element) {
                (Some(a), Some(b)) => Some(Arc::new(a.or(b))),
                _ => None,
            },
            (one, another) => one.or(another).and_then(|one| one.element.clone()),
        };
        let members = match of(OBJECT) {
            (Some(a), Some(b)) => match (&a.members, &b.members) {
                (Some(a), Some(b)) => Some(Arc::new(a.or(b))),
                _ => None,
            },
            (one, another) => one.or(another).and_then(|one| one.members.clone()),
        };
        Type { kinds: self.kinds | other.kinds, words, element, members }
    }

    /// The same without all but these kinds.
    pub(super) fn only(&self, kinds: u8) -> Type {
        Type { kinds: self.kinds & kinds, ..self.clone() }
    }

    /// What is of both, or a little more.
    pub(super) fn narrowed(&self, by: &Type) -> Type {
        Type {
            kinds: self.kinds & by.kinds,
            words: self.words.clone().or_else(|| by.words.clone()),
            element: self.element.clone().or_else(|| by.element.clone()),
            members: self.members.clone().or_else(|| by.members.clone()),
        }
    }

    /// The same, its lists being of the other type.
    pub(super) fn with_list(self, list: &Type) -> Type {
        Type { element: list.element.clone(), ..self }
    }

    /// The same, its objects being of the other type.
    pub(super) fn with_object(self, object: &Type) -> Type {
        Type { members: object.members.clone(), ..self }
    }

    pub(super) fn may_be(&self, kinds: u8) -> bool {
        self.kinds & kinds != 0
    }

    /// Nothing but such kinds.
    pub(super) fn is_only(&self, kinds: u8) -> bool {
        self.kinds & !kinds == 0
    }

    pub(super) fn is_any(&self) -> bool {
        *self == Type::ANY
    }

    /// Whether there is no value of it.
    pub fn is_none(&self) -> bool {
        self.kinds == 0
    }

    /// Whether a value of it may be true or false.
    pub fn may_be_bool(&self) -> bool {
        self.may_be(BOOL)
    }

    /// Whether a value of it may be a list.
    pub fn may_be_list(&self) -> bool {
        self.may_be(LIST)
    }

    /// Whether a value of it may be an object, or null in its place.
    pub fn may_be_object(&self) -> bool {
        self.may_be(OBJECT | NULL)
    }

    /// Whether a value of it may be true.
    pub fn may_be_true(&self) -> bool {
        self.may_be(TRUE)
    }

    /// What the elements of a list of it are.
    pub fn element(&self) -> Type {
        match &self.element {
            _ if !self.may_be(LIST) => Type::NONE,
            Some(element) => (**element).clone(),
            None => Type::ANY,
        }
    }

    /// What a member of an object of it is.
    pub fn member(&self, name: &str) -> Type {
        match &self.members {
            _ if !self.may_be(OBJECT) => Type::NONE,
            Some(members) => members.member(name).clone(),
            None => Type::ANY,
        }
    }

    /// What any member of an object of it is.
    pub(super) fn any_member(&self) -> Type {
        match &self.members {
            _ if !self.may_be(OBJECT) => Type::NONE,
            Some(members) => members.known.values().fold(members.rest.clone(), |all, one| all.or(one)),
            None => Type::ANY,
        }
    }

    /// The names of the members, where there can be no others.
    pub(super) fn names(&self) -> Option<Vec<&str>> {
        let members = self.members.as_ref().filter(|members| members.rest.is_none())?;
        let present = members.known.iter().filter(|(_, of)| !of.is_none());
        Some(present.map(|(name, _)| name.as_str()).collect())
    }

    /// The strings, where there can be no others.
    pub(super) fn strings(&self) -> Option<&BTreeSet<String>> {
        self.words.as_deref().filter(|_| self.may_be(TEXT))
    }

    /// Whether a value of one can be equal to one of the other.
    pub(super) fn can_equal(&self, other: &Type) -> bool {
        let shared = self.kinds & other.kinds;
        let apart = matches!((&self.words, &other.words), (Some(a), Some(b)) if a.is_disjoint(b));
        shared & !TEXT != 0 || shared & TEXT != 0 && !apart
    }

    /// The type of one value.
    pub(super) fn of(value: &Value) -> Type {
        match value {
            Value::Null => Type::NULL,
            Value::Bool(true) => Type::kinds(TRUE),
            Value::Bool(false) => Type::kinds(FALSE),
            Value::Int(_) | Value::Double(_) => Type::NUMBER,
            Value::Text(text) => Type::words([text.as_ref()]),
            Value::List(items) => {
                Type::list(items.iter().fold(Type::NONE, |all, item| all.or(&Type::of(item))))
            }
            Value::Object(members) => {
                Type::object(members.iter().map(|(name, of)| (name.as_ref(), Type::of(of))), Type::NONE)
            }
        }
    }

    /// What of a document is not of this type, if something certainly is not: where it stands below `path`, and why.
    pub fn refuses(&self, path: &str, json: &Json) -> Option<(String, String)> {
        let (kind, got) = match json {
            Json::Null => (NULL, "null".to_owned()),
            Json::Bool(true) => (TRUE, "true".to_owned()),
            Json::Bool(false) => (FALSE, "false".to_owned()),
            Json::Number(_) => (NUMBER, "a number".to_owned()),
            Json::String(_) => (TEXT, "a string".to_owned()),
            Json::Array(_) => (LIST, "a list".to_owned()),
            Json::Object(_) => (OBJECT, "an object".to_owned()),
        };
        if !self.may_be(kind) {
            return Some((path.to_owned(), format!("expected {self}, got {got}")));
        }
        match json {
            Json::String(text) => {
                let words = self.strings().filter(|words| !words.contains(text))?;
                let listed: Vec<String> = words.iter().take(10).map(|word| format!("`{word}`")).collect();
                Some((
                    path.to_owned(),
                    format!("expected one of {}, got `{}`", listed.join(", "), super::clip(text)),
                ))
            }
            Json::Array(items) => {
                let element = self.element();
                items.iter().enumerate().find_map(|(i, item)| element.refuses(&format!("{path}[{i}]"), item))
            }
            Json::Object(members) => members.iter().find_map(|(name, of)| {
                let at = format!("{path}.{}", name.escape_debug());
                let member = self.member(name);
                if member.is_none() {
                    return Some((at, self.without(name)));
                }
                member.refuses(&at, of)
            }),
            Json::Null | Json::Bool(_) | Json::Number(_) => None,
        }
    }

    /// That there is no member of a name, and which there are.
    pub(super) fn without(&self, name: &str) -> String {
        let names = self.names().unwrap_or_default();
        let near = crate::check::nearest(name, &names);
        let listed: Vec<String> = names.iter().take(10).map(|name| format!("`{name}`")).collect();
        let listed = if listed.is_empty() { "nothing".to_owned() } else { listed.join(", ") };
        let then = if near.is_empty() { ";" } else { "" };
        format!("no member `{}`{near}{then} there is {listed}", super::clip(name))
    }
}

impl Members {
    fn member(&self, name: &str) -> &Type {
        self.known.get(name).unwrap_or(&self.rest)
    }

    fn or(&self, other: &Members) -> Members {
        let names = self.known.keys().chain(other.known.keys());
        let known = names.map(|name| (name.clone(), self.member(name).or(other.member(name)))).collect();
        Members { known, rest: self.rest.or(&other.rest) }
    }
}

/// The kinds, for messages: `a string or null`.
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.kinds == ALL {
            return f.write_str("anything");
        }
        let mut kinds: Vec<&str> =
            KINDS.iter().filter(|(kind, _)| self.may_be(*kind)).map(|(_, word)| *word).collect();
        if kinds.first() == Some(&"null") {
            kinds.rotate_left(1);
        }
        f.write_str(&if kinds.is_empty() { "nothing".to_owned() } else { kinds.join(" or ") })
    }
}
