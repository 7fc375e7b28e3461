//! JSON Schema, as much of it as parameters need (of draft 2020-12): types, choices, ranges, lengths, lists, objects.
//!
//! A closed subset of our own, and not a crate: the smallest one with the whole of it brings some fifty others into the
//! control plane, among them regular expressions that a client would choose. What is not known is refused, so that no
//! keyword is taken for one that holds. `format` and what only describes is let pass.

use std::collections::BTreeMap;

use serde_json::{Value, value::RawValue};

use super::text::{members, quoted, separated};
use crate::wire::{fields::Fields, problems::Problems};

const KEYWORDS: &[&str] = &[
    "type",
    "enum",
    "const",
    "default",
    "minimum",
    "maximum",
    "exclusiveMinimum",
    "exclusiveMaximum",
    "minLength",
    "maxLength",
    "items",
    "minItems",
    "maxItems",
    "properties",
    "required",
    "additionalProperties",
    "title",
    "description",
    "examples",
    "format",
    "$schema",
];
/// Members that a schema may name, and values of one `enum`.
const NAMED_MAX: usize = 1_000;
/// Characters of what stands for a long text while a plan is judged without its parameters.
const SAMPLE_MAX: u64 = 100;

/// What a value has to be.
#[derive(Debug, Default)]
pub(crate) struct Schema {
    /// Empty: any.
    kinds: Vec<Kind>,
    /// Empty: any.
    choices: Vec<Value>,
    pub(crate) default: Option<Box<RawValue>>,
    least: Option<Bound>,
    most: Option<Bound>,
    /// Characters.
    length: Count,
    items: Option<Box<Schema>>,
    size: Count,
    pub(crate) properties: BTreeMap<String, Schema>,
    required: Vec<String>,
    /// No other members.
    closed: bool,
}

/// The kinds of values that a schema tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Null,
    Boolean,
    Integer,
    Number,
    String,
    Array,
    Object,
}

#[derive(Clone, Copy, Debug)]
struct Bound {
    value: f64,
    exclusive: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Count {
    least: Option<u64>,
    most: Option<u64>,
}

impl Kind {
    const ALL: [Kind; 7] =
        [Kind::Null, Kind::Boolean, Kind::Integer, Kind::Number, Kind::String, Kind::Array, Kind::Object];

    fn word(self) -> &'static str {
        match self {
            Kind::Null => "null",
            Kind::Boolean => "boolean",
            Kind::Integer => "integer",
            Kind::Number => "number",
            Kind::String => "string",
            Kind::Array => "array",
            Kind::Object => "object",
        }
    }

    fn of(self, value: &Value) -> bool {
        match self {
            Kind::Null => value.is_null(),
            Kind::Boolean => value.is_boolean(),
            Kind::Integer => {
                value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|n| n.fract() == 0.0)
            }
            Kind::Number => value.is_number(),
            Kind::String => value.is_string(),
            Kind::Array => value.is_array(),
            Kind::Object => value.is_object(),
        }
    }
}

// Reading one.
impl Schema {
    /// Reads a schema that stands at `path`.
    pub(crate) fn read(path: &str, raw: &RawValue, problems: &mut Problems) -> Schema {
        let fields = Fields::read(path, raw, KEYWORDS, problems);
        let mut schema = Schema {
            kinds: kinds(&fields, problems),
            choices: choices(&fields, problems),
            default: fields.given("default").map(RawValue::to_owned),
            least: bound(&fields, ["minimum", "exclusiveMinimum"], problems),
            most: bound(&fields, ["maximum", "exclusiveMaximum"], problems),
            length: count(&fields, ["minLength", "maxLength"], problems),
            items: None,
            size: count(&fields, ["minItems", "maxItems"], problems),
            properties: BTreeMap::new(),
            required: fields.texts("required", NAMED_MAX, "names", problems),
            closed: fields.flag("additionalProperties", problems) == Some(false),
        };
        if let Some(raw) = fields.raw("items") {
            schema.items = Some(Box::new(Schema::read(&fields.at("items"), raw, problems)));
        }
        if let Some(raw) = fields.raw("properties") {
            let at = fields.at("properties");
            match members(raw) {
                Some(members) => {
                    for (name, raw) in members {
                        let property = Schema::read(&format!("{at}.{name}"), raw, problems);
                        schema.properties.insert(name, property);
                    }
                }
                None => problems.add(at, "must be an object of schemas"),
            }
        }
        let listed = fields.at("required");
        for name in schema.required.iter().filter(|name| !schema.properties.contains_key(*name)) {
            problems.add(&listed, format!("there is no property `{}`", name.escape_debug()));
        }
        if let Some(default) = &schema.default {
            schema.check(&fields.at("default"), &value(default), problems);
        }
        schema
    }

    /// Whether it may say what parameters there are: they are the properties of an object.
    pub(crate) fn is_of_objects(&self) -> bool {
        matches!(self.kinds.as_slice(), [] | [Kind::Object])
    }

    /// That the object has no other members.
    pub(crate) fn close(&mut self) {
        self.closed = true;
    }
}

// Judging values.
impl Schema {
    /// Tells everything that is wrong with a value that stands at `path`.
    pub(crate) fn check(&self, path: &str, value: &Value, problems: &mut Problems) {
        if !self.kinds.is_empty() && !self.kinds.iter().any(|kind| kind.of(value)) {
            let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.word()).collect();
            problems.add(path, format!("must be of type {}, got {}", kinds.join(" or "), shown(value)));
            return;
        }
        if !self.choices.is_empty() && !self.choices.iter().any(|choice| same(choice, value)) {
            let choices: Vec<String> = self.choices.iter().map(ToString::to_string).collect();
            problems.add(path, format!("must be one of {}, got {}", choices.join(", "), shown(value)));
        }
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => self.check_number(path, number.as_f64().unwrap_or(f64::NAN), problems),
            Value::String(text) => {
                self.length.check(
                    path,
                    text.chars().count(),
                    "characters",
                    ["minLength", "maxLength"],
                    problems,
                );
            }
            Value::Array(elements) => {
                self.size.check(path, elements.len(), "elements", ["minItems", "maxItems"], problems);
                for (i, element) in elements.iter().enumerate() {
                    if let Some(items) = &self.items {
                        items.check(&format!("{path}[{i}]"), element, problems);
                    }
                }
            }
            Value::Object(members) => self.check_members(path, members, problems),
        }
    }

    fn check_number(&self, path: &str, number: f64, problems: &mut Problems) {
        if let Some(Bound { value, exclusive }) = self.least
            && (number < value || exclusive && number == value)
        {
            let than = if exclusive { "above" } else { "at least" };
            problems.add(path, format!("must be {than} {value}, got {number}"));
        }
        if let Some(Bound { value, exclusive }) = self.most
            && (number > value || exclusive && number == value)
        {
            let than = if exclusive { "below" } else { "at most" };
            problems.add(path, format!("must be {than} {value}, got {number}"));
        }
    }

    fn check_members(&self, path: &str, members: &serde_json::Map<String, Value>, problems: &mut Problems) {
        for name in self.required.iter().filter(|name| !members.contains_key(*name)) {
            problems.add(format!("{path}.{name}"), "is required");
        }
        for (name, value) in members {
            let at = format!("{path}.{name}");
            match self.properties.get(name) {
                Some(property) => property.check(&at, value, problems),
                None if self.closed => {
                    let known: Vec<&str> = self.properties.keys().map(String::as_str).collect();
                    let known = match known.as_slice() {
                        [] => "there are none".to_owned(),
                        known => format!("there are: {}", known.join(", ")),
                    };
                    problems.add(at, format!("is unknown; {known}"));
                }
                None => {}
            }
        }
    }

    /// A value with the defaults of what it leaves out.
    pub(crate) fn filled(&self, raw: &RawValue) -> Box<RawValue> {
        let mut out = String::with_capacity(raw.get().len());
        self.fill(&mut out, raw);
        RawValue::from_string(out).unwrap_or_else(|_| raw.to_owned())
    }

    fn fill(&self, out: &mut String, raw: &RawValue) {
        let Some(given) = members(raw).filter(|_| !self.properties.is_empty()) else {
            return out.push_str(raw.get());
        };
        let is_absent = |name: &str| given.iter().all(|(known, _)| known != name);
        let absent = self.properties.iter().filter(|(name, _)| is_absent(name));
        let defaults: Vec<(String, &RawValue)> = absent
            .filter_map(|(name, property)| Some((name.clone(), property.default.as_deref()?)))
            .collect();
        separated(out, ['{', '}'], given.into_iter().chain(defaults), |out, (name, value)| {
            out.push_str(&quoted(&name));
            out.push(':');
            match self.properties.get(&name) {
                Some(property) => property.fill(out, value),
                None => out.push_str(value.get()),
            }
        });
    }

    /// Some value that it lets pass, as far as that is easily found: what stands for a parameter that nobody has given
    /// yet.
    pub(crate) fn sample(&self) -> Value {
        if let Some(default) = &self.default {
            return value(default);
        }
        if let Some(choice) = self.choices.first() {
            return choice.clone();
        }
        match self.kinds.first() {
            None | Some(Kind::Null) => Value::Null,
            Some(Kind::Boolean) => Value::Bool(false),
            Some(Kind::Integer | Kind::Number) => self.sample_number(),
            Some(Kind::String) => {
                let length = self.length.least.unwrap_or(0).clamp(1, SAMPLE_MAX);
                Value::from("x".repeat(usize::try_from(length).unwrap_or(1)))
            }
            // Within an input anything may stand; elements of elements would only be many.
            Some(Kind::Array) => Value::Array(Vec::new()),
            Some(Kind::Object) => Value::Object(serde_json::Map::new()),
        }
    }

    fn sample_number(&self) -> Value {
        let step = |bound: Bound, by: f64| if bound.exclusive { bound.value + by } else { bound.value };
        let least = self.least.map(|bound| step(bound, 1.0).ceil());
        let most = self.most.map(|bound| step(bound, -1.0).floor());
        let number = least.unwrap_or_else(|| most.map_or(1.0, |most| most.min(1.0)));
        // Whole, and within what a double counts exactly.
        Value::from(number.clamp(-9e15, 9e15) as i64)
    }
}

impl Count {
    fn check(self, path: &str, got: usize, what: &str, [least, most]: [&str; 2], problems: &mut Problems) {
        let got = u64::try_from(got).unwrap_or(u64::MAX);
        if let Some(min) = self.least.filter(|min| got < *min) {
            problems.add(path, format!("at least {min} {what} ({least}), got {got}"));
        }
        if let Some(max) = self.most.filter(|max| got > *max) {
            problems.add(path, format!("at most {max} {what} ({most}), got {got}"));
        }
    }
}

fn kinds(fields: &Fields<'_>, problems: &mut Problems) -> Vec<Kind> {
    let words = match fields.raw("type") {
        Some(raw) if raw.get().starts_with('[') => fields.texts("type", Kind::ALL.len(), "types", problems),
        Some(_) => vec![fields.text("type", problems)],
        None => Vec::new(),
    };
    let kind = |word: &String| {
        let known = Kind::ALL.into_iter().find(|kind| kind.word() == word);
        if known.is_none() {
            let words = Kind::ALL.map(Kind::word).join(", ");
            problems.add(fields.at("type"), format!("must be of {words}, got `{}`", word.escape_debug()));
        }
        known
    };
    words.iter().filter_map(kind).collect()
}

fn choices(fields: &Fields<'_>, problems: &mut Problems) -> Vec<Value> {
    let listed = fields.list("enum", NAMED_MAX, "values", problems);
    if listed.as_ref().is_some_and(Vec::is_empty) {
        problems.add(fields.at("enum"), "must not be empty");
    }
    let listed = listed.unwrap_or_default().into_iter().map(|(_, raw)| value(raw));
    listed.chain(fields.given("const").map(value)).collect()
}

/// `minimum` and `exclusiveMinimum`, or the same for the other end.
fn bound(fields: &Fields<'_>, [inclusive, exclusive]: [&str; 2], problems: &mut Problems) -> Option<Bound> {
    let mut number = |name: &str| {
        let raw = fields.raw(name)?;
        let number = value(raw).as_f64();
        if number.is_none() {
            problems.add(fields.at(name), "must be a number");
        }
        number
    };
    let (inclusive_at, exclusive_at) = (number(inclusive), number(exclusive));
    if inclusive_at.is_some() && exclusive_at.is_some() {
        problems.add(fields.at(exclusive), format!("stands beside `{inclusive}`; say one of them"));
    }
    let exclusive = exclusive_at.map(|value| Bound { value, exclusive: true });
    exclusive.or(inclusive_at.map(|value| Bound { value, exclusive: false }))
}

fn count(fields: &Fields<'_>, [least, most]: [&str; 2], problems: &mut Problems) -> Count {
    let mut number = |name| fields.number(name, 0..=u64::MAX, "", problems);
    Count { least: number(least), most: number(most) }
}

/// A document that was checked to be JSON.
fn value(raw: &RawValue) -> Value {
    serde_json::from_str(raw.get()).unwrap_or_default()
}

/// JSON Schema takes 1 and 1.0 for the same.
fn same(a: &Value, b: &Value) -> bool {
    a == b || a.is_number() && a.as_f64() == b.as_f64()
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(truth) => truth.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => quoted(text),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{failure::Failure, wire::problems::refused};

    fn raw(value: &Value) -> Box<RawValue> {
        RawValue::from_string(value.to_string()).expect("JSON")
    }

    fn read(schema: &Value) -> Result<Schema, Failure> {
        let mut problems = Problems::default();
        let schema = Schema::read("schema", &raw(schema), &mut problems);
        problems.finish(schema)
    }

    fn check(schema: &Value, value: &Value) -> Result<(), Failure> {
        let schema = read(schema).expect("a schema");
        let mut problems = Problems::default();
        schema.check("v", value, &mut problems);
        problems.finish(())
    }

    #[test]
    fn values_are_judged() {
        for (schema, good, bad, issue) in [
            (json!({}), json!(null), None, ""),
            (json!({"type": "string"}), json!(""), Some(json!(1)), "must be of type string, got 1"),
            (
                json!({"type": ["null", "integer"]}),
                json!(null),
                Some(json!(1.5)),
                "must be of type null or integer, got 1.5",
            ),
            (json!({"type": "integer"}), json!(2.0), Some(json!("2")), "must be of type integer, got \"2\""),
            (json!({"type": "number"}), json!(0.5), Some(json!([])), "must be of type number, got an array"),
            (
                json!({"type": "boolean"}),
                json!(true),
                Some(json!({})),
                "must be of type boolean, got an object",
            ),
            (json!({"enum": ["a", 1]}), json!(1.0), Some(json!("b")), "must be one of \"a\", 1, got \"b\""),
            (json!({"const": "a"}), json!("a"), Some(json!(null)), "must be one of \"a\", got null"),
            (json!({"minimum": 1}), json!(1), Some(json!(0)), "must be at least 1, got 0"),
            (json!({"exclusiveMinimum": 1}), json!(1.5), Some(json!(1)), "must be above 1, got 1"),
            (json!({"maximum": 1}), json!("no number"), Some(json!(2)), "must be at most 1, got 2"),
            (json!({"exclusiveMaximum": 1}), json!(0), Some(json!(1)), "must be below 1, got 1"),
            (
                json!({"minLength": 2}),
                json!("éé"),
                Some(json!("é")),
                "at least 2 characters (minLength), got 1",
            ),
            (
                json!({"maxLength": 1}),
                json!("é"),
                Some(json!("ab")),
                "at most 1 characters (maxLength), got 2",
            ),
            (json!({"minItems": 1}), json!([0]), Some(json!([])), "at least 1 elements (minItems), got 0"),
            (json!({"maxItems": 1}), json!([0]), Some(json!([0, 1])), "at most 1 elements (maxItems), got 2"),
            (json!({"format": "uri"}), json!("no uri"), None, ""),
        ] {
            assert_eq!(check(&schema, &good), Ok(()), "{schema}");
            if let Some(bad) = bad {
                refused(check(&schema, &bad), &[("v", issue)], &schema.to_string());
            }
        }
    }

    #[test]
    fn everything_that_is_wrong_is_told_with_its_path() {
        let schema = json!({
            "type": "object",
            "properties": {
                "list": {"items": {"type": "object", "properties": {"n": {"minimum": 0}}, "required": ["n"]}},
                "name": {"type": "string"},
            },
            "required": ["name"],
            "additionalProperties": false,
        });
        refused(
            check(&schema, &json!({"list": [{"n": -1}, {}, 5], "nam": 1})),
            &[
                ("v.name", "is required"),
                ("v.list[0].n", "must be at least 0, got -1"),
                ("v.list[1].n", "is required"),
                ("v.list[2]", "must be of type object, got 5"),
                ("v.nam", "is unknown; there are: list, name"),
            ],
            "object",
        );
    }

    #[test]
    fn a_schema_says_nothing_that_is_not_known() {
        let schema = json!({
            "type": "text", "pattern": "a", "minimum": "1", "minLength": -1, "enum": [], "required": ["x"],
            "properties": {"p": {"default": 1, "type": "string"}, "q": 5},
        });
        let Err(Failure::Invalid(found)) = read(&schema) else { panic!("accepted") };
        let fields: Vec<&str> = found.iter().map(|violation| violation.field.as_str()).collect();
        let expected = [
            "schema.pattern",
            "schema.type",
            "schema.enum",
            "schema.minimum",
            "schema.minLength",
            "schema.properties.p.default",
            "schema.properties.q",
            "schema.required",
        ];
        assert_eq!(fields, expected, "{found:?}");
    }

    #[test]
    fn defaults_fill_what_is_left_out() {
        let schema = read(&json!({"properties": {
            "a": {"default": 12},
            "b": {"properties": {"c": {"default": [1]}}, "default": {}},
            "d": {"default": null},
            "e": {},
        }}))
        .expect("a schema");
        for (given, expected) in [
            ("{}", r#"{"a":12,"b":{"c":[1]},"d":null}"#),
            (r#"{"x":1.50,"b":{"c":2},"a":null}"#, r#"{"x":1.50,"b":{"c":2},"a":null,"d":null}"#),
            ("5", "5"),
        ] {
            let given = RawValue::from_string(given.to_owned()).expect("JSON");
            assert_eq!(schema.filled(&given).get(), expected);
        }
    }

    #[test]
    fn samples_pass() {
        for schema in [
            json!({"type": "string", "minLength": 7}),
            json!({"type": "integer", "exclusiveMinimum": 4, "maximum": 5}),
            json!({"type": "number", "maximum": -3}),
            json!({"type": "array", "items": {"type": "boolean"}}),
            json!({"type": "object", "properties": {"a": {"enum": [3]}}}),
            json!({"type": ["integer", "null"]}),
            json!({"default": "d"}),
        ] {
            let sample = read(&schema).expect("a schema").sample();
            assert_eq!(check(&schema, &sample), Ok(()), "{schema}: {sample}");
        }
    }
}
