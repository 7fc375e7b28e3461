//! What is known of an expression before there are values: mistakes with their places, and nothing that is not so.

use std::collections::BTreeMap;

use downbeat_core::expr::{Scope, Type, judge, list, schema_issue};
use proptest::prelude::*;
use serde_json::{Value, json};

const REVIEW: &str = r##"{
    "type": "object", "additionalProperties": false, "required": ["ok", "score"],
    "properties": {
        "ok": {"type": "boolean"},
        "score": {"type": "integer"},
        "verdict": {"enum": ["approved", "rejected"]},
        "note": {"type": ["string", "null"]},
        "files": {"type": "array", "items": {"$ref": "#/$defs/File"}},
        "extra": {}
    },
    "$defs": {"File": {"type": "object", "properties": {"path": {"type": "string"}}, "additionalProperties": false}}
}"##;

fn variables() -> BTreeMap<&'static str, Type> {
    let outputs = [("review", Type::from_schema(REVIEW).or_null())];
    let states = [("review", Type::words(["completed", "failed"]))];
    BTreeMap::from([
        ("outputs", Type::object(outputs, Type::ANY)),
        ("states", Type::object(states, Type::ANY)),
        ("iteration", Type::NUMBER),
        ("input", Type::ANY),
    ])
}

/// What cannot be meant.
const WRONG: &[(&str, &str)] = &[
    (
        "outputs.review.scroe > 3",
        "line 1, column 16: `outputs.review` has no member `scroe`; did you mean `score`? there is `extra`, `files`, \
         `note`, `ok`, `score`, `verdict`",
    ),
    (
        "true &&\n  outputs['review'].files[0].name == 'a'",
        "line 2, column 30: `outputs.review.files[0]` has no member `name`; there is `path`",
    ),
    (
        "outputs.review.ok.really",
        "line 1, column 19: `outputs.review.ok` is a boolean, and has no member `really`",
    ),
    (
        "outputs.review.score == '3'",
        "line 1, column 16: `outputs.review.score` is a number and '3' is a string: these are never equal",
    ),
    (
        "outputs.review.score > 3 && outputs.review.score != true",
        "line 1, column 44: `outputs.review.score` is a number and true is a boolean: these are never equal",
    ),
    (
        "outputs.review.verdict == 'aproved'",
        "line 1, column 16: `outputs.review.verdict` is never `aproved`; did you mean `approved`? it is one of \
         `approved`, `rejected`",
    ),
    (
        "'done' == states.review",
        "line 1, column 18: `states.review` is never `done`; it is one of `completed`, `failed`",
    ),
    (
        "outputs.review.note < 3",
        "line 1, column 16: `outputs.review.note` is a string or null and 3 is a number: these have no order",
    ),
    (
        "outputs.review.ok + 1 > 2",
        "line 1, column 16: `outputs.review.ok` is a boolean and 1 is a number: these cannot be calculated with",
    ),
    ("!outputs.review.score", "line 1, column 17: `outputs.review.score` is a number; expected a boolean"),
    (
        "outputs.review.files.exists(f, f.paht == 'a')",
        "line 1, column 34: `f` has no member `paht`; did you mean `path`? there is `path`",
    ),
    ("iteration.startsWith('1')", "line 1, column 1: `iteration` is a number; expected a string"),
    (
        "outputs.review.score in ['1', '2']",
        "line 1, column 16: `outputs.review.score` is a number and is never in what stands there",
    ),
    (
        "outputs.review.ok.all(x, x)",
        "line 1, column 16: `outputs.review.ok` is a boolean; expected a list or an object",
    ),
];

/// What may be meant, however little is known.
const RIGHT: &[&str] = &[
    "outputs.review.ok && outputs.review.score >= 3.5",
    "outputs.review == null || outputs.review.verdict == 'approved'",
    "outputs.review.score != null",
    "outputs.review.note == 'x' && size(outputs.review.note) > 1",
    "outputs.review.extra.anything.at[3].all == 'x'",
    "has(outputs.review.old) && outputs.review.old > 1",
    "'old' in outputs.review && outputs.review.old > 1",
    "input.x == 1 || input.x == 'a' || input.y",
    "outputs.review.files.all(f, f.path.startsWith('src'))",
    "states.review == 'failed' || states.other == 'anything'",
    "outputs[input.which].score > 1",
    "1 == 2 || 'a' == 'b'",
    "[].all(x, x.y == 1 && x == 'a')",
];

#[test]
fn mistakes_are_told_with_their_place() {
    for (text, issue) in WRONG {
        assert_eq!(judge(text, &variables()).issues, [*issue], "{text}");
    }
}

#[test]
fn what_may_be_meant_is_not() {
    for text in RIGHT {
        assert_eq!(judge(text, &variables()).issues, Vec::<String>::new(), "{text}");
    }
}

#[test]
fn what_is_no_expression_is_for_others_to_tell() {
    let judged = judge("outputs.", &variables());
    assert_eq!((judged.of, judged.issues), (Type::ANY, Vec::new()));
}

#[test]
fn schemas_are_read_as_far_as_types_go() {
    for (schema, of) in [
        (json!({"type": "string", "minLength": 3}), Type::TEXT),
        (json!({"type": ["integer", "null"]}), Type::NUMBER.or_null()),
        (json!({"type": "string", "nullable": true}), Type::TEXT.or_null()),
        (json!({"const": "a"}), Type::words(["a"])),
        (json!({"enum": ["a", 1]}), Type::words(["a"]).or(&Type::NUMBER)),
        (json!({"type": "array", "items": {"type": "string"}}), Type::list(Type::TEXT)),
        (json!({"anyOf": [{"type": "string"}, {"type": "null"}]}), Type::TEXT.or_null()),
        (json!({"$ref": "#/$defs/a", "$defs": {"a": {"type": "number"}}}), Type::NUMBER),
        (json!({"$ref": "#"}), Type::ANY),
        (json!({"$ref": "https://example.com/a.json"}), Type::ANY),
        (json!({"type": "object"}), Type::from_schema(r#"{"type": "object"}"#)),
        (json!(true), Type::ANY),
        (json!(false), Type::NONE),
        (json!({"type": "unheard-of"}), Type::ANY),
        (json!({"not": {"type": "string"}, "if": {"type": "number"}}), Type::ANY),
    ] {
        assert_eq!(Type::from_schema(&schema.to_string()), of, "{schema}");
    }
    let open = Type::from_schema(r#"{"type": "object", "properties": {"a": {"type": "string"}}}"#);
    assert_eq!((open.member("a"), open.member("b")), (Type::TEXT, Type::ANY));
    let by_pattern = r#"{"properties": {}, "patternProperties": {"^x": {}}, "additionalProperties": false}"#;
    assert_eq!(Type::from_schema(by_pattern).member("x1"), Type::ANY);
}

#[test]
fn what_is_no_schema() {
    let kinds = "`type` must be `null`, `boolean`, `integer`, `number`, `string`, `array` or `object`, or some of them, \
                 got `\"text\"`";
    for (schema, issue) in [
        ("{}", None),
        ("true", None),
        (r#"{"type": ["string", "null"]}"#, None),
        (r#"{"type": "text"}"#, Some(kinds.to_owned())),
        ("[]", Some("must be a JSON Schema: an object".into())),
    ] {
        assert_eq!(schema_issue(schema), issue, "{schema}");
    }
}

#[test]
fn a_schema_that_leads_around_or_multiplies_has_an_end() {
    let mut definitions = serde_json::Map::new();
    for n in 0..40 {
        let next = json!({"$ref": format!("#/$defs/d{}", n + 1)});
        definitions.insert(format!("d{n}"), json!({"properties": {"a": next, "b": next, "c": next}}));
    }
    let schema = json!({"$ref": "#/$defs/d0", "$defs": definitions});
    assert_eq!(Type::from_schema(&schema.to_string()).member("a").member("z"), Type::ANY);
}

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.roll(of.len())]
    }
}

const NAMES: [&str; 3] = ["x", "y", "z"];
const TEXTS: [&str; 3] = ["a", "b", "x"];

fn scalar(dice: &mut Dice) -> Value {
    match dice.roll(5) {
        0 => json!(null),
        1 => json!(dice.roll(2) == 0),
        2 => json!(dice.roll(3)),
        3 => json!(1.5),
        _ => json!(dice.pick(&TEXTS)),
    }
}

/// A schema; `$defs` of the whole has `d`.
fn schema(dice: &mut Dice, depth: usize) -> Value {
    let inner = |dice: &mut Dice| schema(dice, depth + 1);
    match dice.roll(if depth > 3 { 6 } else { 13 }) {
        0 => json!({"type": dice.pick(&["string", "integer", "number", "boolean", "null"])}),
        1 => json!({"type": ["string", "null"], "minLength": 0}),
        2 => json!({"enum": [scalar(dice), scalar(dice)]}),
        3 => json!({"const": scalar(dice)}),
        4 => json!({"type": "integer", "nullable": dice.roll(2) == 0}),
        5 => json!({"$ref": "#/$defs/d"}),
        6 => json!({"type": "array", "items": inner(dice)}),
        7 => json!({"anyOf": [inner(dice), inner(dice)]}),
        8 => json!({"oneOf": [inner(dice), {"type": "null"}]}),
        9 => json!({"allOf": [inner(dice)]}),
        10 => json!({"properties": {"x": inner(dice)}}),
        _ => {
            let mut of = json!({"type": "object", "properties": {}});
            for name in &NAMES[..dice.roll(3)] {
                of["properties"][*name] = inner(dice);
            }
            match dice.roll(3) {
                0 => of["additionalProperties"] = json!(false),
                1 => of["additionalProperties"] = inner(dice),
                _ => {}
            }
            of
        }
    }
}

/// A value that the schema allows, found without types.
fn draw(dice: &mut Dice, root: &Value, schema: &Value) -> Value {
    if schema["nullable"] == true && dice.roll(2) == 0 {
        return Value::Null;
    }
    let one_of = |word: &str| schema[word].as_array().cloned();
    if let Some(values) = one_of("enum") {
        return values[dice.roll(values.len())].clone();
    }
    if let Some(value) = schema.get("const") {
        return value.clone();
    }
    if schema.get("$ref").is_some() {
        return draw(dice, root, &root["$defs"]["d"]);
    }
    if let Some(some) = one_of("anyOf").or_else(|| one_of("oneOf")).or_else(|| one_of("allOf")) {
        let chosen = dice.roll(some.len());
        return draw(dice, root, &some[chosen]);
    }
    let kind = match &schema["type"] {
        Value::String(kind) => kind.clone(),
        Value::Array(kinds) => kinds[dice.roll(kinds.len())].as_str().unwrap_or_default().to_owned(),
        // Nothing is said of what is no object.
        _ if dice.roll(2) == 0 => return scalar(dice),
        _ => "object".to_owned(),
    };
    match kind.as_str() {
        "null" => Value::Null,
        "boolean" => json!(dice.roll(2) == 0),
        "integer" => json!(dice.roll(3)),
        "number" => json!(dice.pick(&[0.5, 1.0, 2.0])),
        "string" => json!(dice.pick(&TEXTS)),
        "array" => (0..dice.roll(3)).map(|_| draw(dice, root, &schema["items"])).collect(),
        _ => {
            let mut members = serde_json::Map::new();
            for name in NAMES {
                let of = match (&schema["properties"][name], &schema["additionalProperties"]) {
                    (Value::Null, Value::Bool(false)) => continue,
                    (Value::Null, Value::Null) => Some(scalar(dice)),
                    (Value::Null, rest) => Some(draw(dice, root, rest)),
                    (known, _) => Some(draw(dice, root, known)),
                };
                // None of them is required.
                members.extend(of.filter(|_| dice.roll(4) > 0).map(|of| (name.to_owned(), of)));
            }
            Value::Object(members)
        }
    }
}

/// An expression over `a`, `b` and what loops bind.
fn expression(dice: &mut Dice, depth: usize) -> String {
    let more = |dice: &mut Dice| expression(dice, depth + 1);
    let constants =
        ["1", "1.5", "'a'", "'b'", "'x'", "true", "false", "null", "[]", "['a', 'x']", "{'x': 1}"];
    match dice.roll(if depth > 3 { 5 } else { 19 }) {
        0 => dice.pick(&constants).to_owned(),
        1 => dice.pick(&["a", "b", "v"]).to_owned(),
        2 => format!("{}.{}", dice.pick(&["a", "b", "v"]), dice.pick(&NAMES)),
        3 => format!("{}['{}']", dice.pick(&["a", "b"]), dice.pick(&NAMES)),
        4 => format!("{}.{}.{}", dice.pick(&["a", "b"]), dice.pick(&NAMES), dice.pick(&NAMES)),
        5 | 6 => {
            let operator = dice.pick(&["==", "!=", "<", ">=", "+", "-", "*", "/", "%", " in "]);
            format!("({} {operator} {})", more(dice), more(dice))
        }
        7 | 8 => format!("({} {} {})", more(dice), dice.pick(&["&&", "||"]), more(dice)),
        9 => format!("!{}", more(dice)),
        10 => format!("-({})", more(dice)),
        11 => format!("({} ? {} : {})", more(dice), more(dice), more(dice)),
        12 => format!("({})[{}]", more(dice), more(dice)),
        13 => format!("({}).{}", more(dice), dice.pick(&NAMES)),
        14 => format!("has({}.{})", dice.pick(&["a", "b.x", "a.y"]), dice.pick(&NAMES)),
        15 => format!("{}({})", dice.pick(&["size", "string", "int", "double"]), more(dice)),
        16 => {
            format!("({}).{}({})", more(dice), dice.pick(&["contains", "startsWith", "endsWith"]), more(dice))
        }
        17 => {
            let call = dice.pick(&["all", "exists", "exists_one", "filter", "map"]);
            format!("({}).{call}(v, {})", more(dice), more(dice))
        }
        _ => format!("[{}, {}]", more(dice), more(dice)),
    }
}

/// One schema for each variable, values of them, and expressions over them; gives how many had a value, how many were
/// known to have none, and of how many the type said something.
fn compare(seed: u64) -> Result<[usize; 3], String> {
    let mut dice = Dice(seed | 1);
    let mut variables = BTreeMap::new();
    let mut values = Vec::new();
    for name in ["a", "b"] {
        let mut root = schema(&mut dice, 0);
        root["$defs"] = json!({"d": schema(&mut dice, 9).as_object().filter(|of| !of.contains_key("$ref"))});
        if root["$defs"]["d"].is_null() {
            root["$defs"]["d"] = json!({"type": "string"});
        }
        let value = draw(&mut dice, &root, &root);
        let of = Type::from_schema(&root.to_string());
        if let Some((at, issue)) = of.refuses(name, &value) {
            return Err(format!("{value} is of {root}, and is refused: {at} {issue}"));
        }
        variables.insert(name, of);
        values.push((name, value.to_string()));
    }
    variables.insert("v", Type::NULL);
    let mut scope = Scope::new();
    scope.set("v", b"null");
    values.iter().for_each(|(name, value)| scope.set(name, value.as_bytes()));
    let mut counts = [0; 3];
    for _ in 0..60 {
        let text = expression(&mut dice, 0);
        let of = judge(&text, &variables).of;
        counts[1] += usize::from(of.is_none());
        counts[2] += usize::from(of != Type::ANY);
        let Ok(mut values_of) = list(&format!("[{text}]"), &scope) else { continue };
        counts[0] += 1;
        let value: Value = values_of
            .pop()
            .and_then(|value| serde_json::from_str(value.get()).ok())
            .ok_or_else(|| format!("{text} gave no JSON"))?;
        if let Some((at, issue)) = of.refuses("value", &value) {
            return Err(format!("{text} over {values:?} gave {value}, inferred was {of}: {at} {issue}"));
        }
    }
    Ok(counts)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn whatever_has_a_value_has_the_type_inferred(seed in any::<u64>()) {
        let compared = compare(seed);
        prop_assert!(compared.is_ok(), "{}", compared.unwrap_err());
    }
}

#[test]
fn what_is_compared_has_values_and_types() {
    let mut counts = [0; 3];
    for seed in 0..200 {
        for (all, one) in counts.iter_mut().zip(compare(seed * 7919 + 3).expect("sound")) {
            *all += one;
        }
    }
    assert!(counts.iter().all(|count| *count > 1_000), "with a value, without a type, with one: {counts:?}");
}
