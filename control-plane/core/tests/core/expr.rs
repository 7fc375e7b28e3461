//! Expressions: what they give, what is refused, and that none of them can hold up or end who evaluates it.

use std::{collections::BTreeSet, fmt::Write as _, thread};

use cel::{Context, Env, Value};
use downbeat_core::{
    expr::{Scope, check, is_true, list, members, text},
    limits::{EXPRESSION_BYTES, EXPRESSION_DEPTH},
};
use proptest::prelude::*;

const INPUT: &str = r#"{
    "n": 3, "d": 2.5, "whole": 4.0, "big": 9007199254740993, "huge": 18446744073709551615, "neg": -7,
    "s": "héllo", "t": true, "none": null, "list": [3, 1, 2], "empty": [], "twice": 1, "twice": 2,
    "items": [{"id": "a", "ok": true, "n": 1}, {"id": "b", "ok": false, "n": 2.5}, {"id": "c", "n": null}],
    "map": {"z": 1, "a": 2, "m": 3}, "raw": [1.50, 12345678901234567890123, {"z": 1, "a": 2}, "x"]
}"#;

const VARIABLES: [&str; 6] = ["input", "outputs", "states", "iteration", "who", "nothing"];

fn scope() -> Scope<'static> {
    let mut scope = Scope::new();
    scope.set("input", INPUT.as_bytes());
    scope.set("nothing", b"");
    let outputs: [(&str, &[u8]); 4] = [
        ("plan", br#"{"items": [1, 2], "ok": true}"#),
        ("code-review", br#"{"ok": true}"#),
        ("v1.2", b"7"),
        ("skipped", b""),
    ];
    scope.set_members("outputs", outputs);
    scope.set_words("states", [("plan", "completed"), ("code-review", "failed")]);
    scope.set_int("iteration", 2);
    scope.set_text("who", "ada");
    scope
}

fn truth(text: &str) -> Result<bool, String> {
    check(text, &VARIABLES)?;
    is_true(text, &scope())
}

/// What CEL says too: the crate's own evaluator is asked the same.
const STANDARD: &[(&str, bool)] = &[
    ("input.n > 1", true),
    ("input.d > 1", true),
    ("input.d > 2.4 && input.d < 3", true),
    ("input.whole == 4", true),
    ("4 == input.whole", true),
    ("input.n == 3.0", true),
    ("input.n != 4", true),
    ("input.neg < -6", true),
    ("input.neg / 2 == -3 && input.neg % 2 == -1", true),
    ("7 / 2 == 3 && 7.0 / 2.0 == 3.5", true),
    ("1 + 2 * 3 == 7 && (1 + 2) * 3 == 9", true),
    ("-input.n == -3 && - -3 == 3 && !!true", true),
    ("input.s == 'héllo'", true),
    ("size(input.s) == 5 && input.s.size() == 5", true),
    ("input.s + '!' == \"héllo!\"", true),
    ("input.s.startsWith('hé') && input.s.endsWith('o') && input.s.contains('ll')", true),
    ("input.s.contains('x')", false),
    ("'a' < 'b' && 'a' <= 'a' && 'b' > 'a' && false < true", true),
    ("input.none == null", true),
    ("input.none == 0", false),
    ("input.n == '3'", false),
    ("input.list == [3, 1, 2]", true),
    ("input.list == [1, 2, 3]", false),
    ("input.list + [4] == [3, 1, 2, 4]", true),
    ("input.list[0] == 3 && input.list[input.list[1]] == 1", true),
    ("2 in input.list && !(5 in input.list)", true),
    ("'a' in input.map && !('b' in input.map)", true),
    ("input.map == {'a': 2, 'm': 3, 'z': 1}", true),
    ("{'a': {'b': [1]}}.a.b[0] == 1", true),
    ("input['n'] == 3 && input['map']['a'] == 2", true),
    ("has(input.n) && !has(input.missing) && has(input.none)", true),
    ("input.t ? input.n == 3 : input.missing", true),
    ("false && input.missing", false),
    ("input.missing && false", false),
    ("true || input.missing", true),
    ("input.missing || true", true),
    ("input.missing == 1 || input.n == 3", true),
    ("input.items.all(i, has(i.id))", true),
    ("input.items.exists(i, i.id == 'b')", true),
    ("input.items.exists(i, i.ok)", true),
    ("input.items.exists(i, i.nope || i.id == 'c')", true),
    ("input.items.all(i, i.nope == 1 && i.id != 'a')", false),
    ("input.items.exists_one(i, i.n == 1)", true),
    ("input.items.filter(i, has(i.ok) && i.ok).size() == 1", true),
    ("input.items.map(i, i.id) == ['a', 'b', 'c']", true),
    ("input.list.map(i, i > 1, i * 2) == [6, 4]", true),
    ("input.list.map(i, input.list.map(j, i + j)).size() == 3", true),
    ("input.empty.all(i, false) && !input.empty.exists(i, true)", true),
    ("[1, 2].all(input, input > 0)", true),
    ("string(1) + string(true) + string('x') == '1truex'", true),
    ("int('12') == 12 && int(2.9) == 2 && double(2) == 2.0 && double('2.5') == 2.5", true),
    ("size([]) == 0 && size({}) == 0 && size(input.map) == 3", true),
    ("0x10 == 16 && 1e3 == 1000.0", true),
    ("1.0 / 0.0 > 1000.0 && 0.0 / 0.0 != 0.0 / 0.0", true),
    ("// a comment\n input.n == 3", true),
    ("r'\\d' == '\\\\d' && '\\u00e9' == 'é' && '''a'b''' == \"a'b\"", true),
];

/// What only holds here: numbers that may be mixed, objects in order, dependencies with dots and dashes.
const OURS: &[(&str, bool)] = &[
    ("input.n * 1.5 == 4.5 && input.d + 1 == 3.5 && 1 - input.d < 0", true),
    ("input.big == 9007199254740992.0", false),
    ("input.big > 9007199254740992.0 && 9007199254740992.0 < input.big", true),
    ("input.huge > 9223372036854775807", true),
    ("-9223372036854775808 == -9223372036854775808.0", true),
    ("input.twice == 2 && input == input", true),
    ("input.map.map(k, k) == ['a', 'm', 'z']", true),
    ("input.map.exists_one(k, input.map[k] == 2)", true),
    ("{'z': 1, 'a': 2}.map(k, k) == ['a', 'z']", true),
    ("outputs['code-review'].ok && outputs.`code-review`.ok && outputs['v1.2'] == 7", true),
    ("outputs.plan.items[1] == 2 && outputs['plan'].items[0] == 1", true),
    ("has(outputs.plan) && !has(outputs.other) && has(outputs.plan.ok)", true),
    ("'code-review' in outputs && !('x' in outputs)", true),
    ("outputs.skipped == null && nothing == null", true),
    ("size(outputs) == 4 && outputs.map(k, k) == ['code-review', 'plan', 'skipped', 'v1.2']", true),
    ("outputs[input.s == '' ? 'x' : 'plan'].ok", true),
    ("states.plan == 'completed' && states['code-review'] != 'completed'", true),
    ("states.all(k, states[k] in ['completed', 'failed']) && size(states) == 2", true),
    ("has(states.plan) && !has(states.other)", true),
    ("iteration < 3 && who == 'ada'", true),
];

#[test]
fn what_is_true() {
    for (text, expected) in STANDARD.iter().chain(OURS) {
        assert_eq!(truth(text), Ok(*expected), "{text}");
    }
}

/// A document as the crate's values.
fn known(json: &serde_json::Value) -> Value {
    match json {
        serde_json::Value::Null => Value::Null,
        serde_json::Value::Bool(value) => (*value).into(),
        serde_json::Value::Number(n) => {
            n.as_i64().map_or_else(|| Value::Float(n.as_f64().unwrap_or(f64::NAN)), Value::Int)
        }
        serde_json::Value::String(text) => text.as_str().into(),
        serde_json::Value::Array(items) => {
            Value::List(std::sync::Arc::new(items.iter().map(known).collect()))
        }
        serde_json::Value::Object(members) => {
            let members = members.iter().map(|(name, value)| (name.clone().into(), known(value))).collect();
            Value::Map(cel::objects::Map { map: std::sync::Arc::new(members) })
        }
    }
}

#[test]
fn the_standard_agrees() {
    let env = std::sync::Arc::new(Env::stdlib());
    let input: serde_json::Value = serde_json::from_str(INPUT).expect("JSON");
    for (text, expected) in STANDARD {
        let mut context = Context::with_env(std::sync::Arc::clone(&env));
        context.add_variable_from_value("input", known(&input));
        let value = env.compile(text).expect(text).execute(&context);
        assert_eq!(value, Ok((*expected).into()), "{text}");
    }
}

#[test]
fn what_goes_wrong() {
    let rows = [
        ("input.missing", "`input`: no such key `missing`"),
        ("input.map.b > 1", "`input.map`: no such key `b`"),
        ("input.none.x", "`input.none`: no such key `x`: it is null"),
        ("input.list.x", "`input.list`: no such key `x`: it is a list"),
        ("input.list[3] == 1", "`input.list`: no element 3"),
        ("input.list[-1] == 1", "no element -1"),
        ("input.map[0] == 1", "`input.map`: no element 0: it is an object"),
        ("outputs.other.ok", "`outputs`: no such key `other`"),
        ("outputs.plan.no", "`outputs.plan`: no such key `no`"),
        ("outputs[who]", "`outputs`: no such key `ada`"),
        ("states.x == ''", "`states`: no such key `x`"),
        ("input.items.all(i, i.n)", "expected a boolean, got an int"),
        ("input.items.all(i, i.nope == 1 || i.id == 'a')", "no such key `nope`"),
        ("input.items.map(i, i.ok) == []", "no such key `ok`"),
        ("input.n", "expected a boolean, got an int"),
        ("input.list", "expected a boolean, got a list"),
        ("!input.s", "expected a boolean, got a string"),
        ("input.n && true", "expected a boolean, got an int"),
        ("input.n ? true : false", "expected a boolean, got an int"),
        ("1 / 0 == 1", "1 divided by zero"),
        ("1 % 0 == 1", "1 divided by zero"),
        ("9223372036854775807 + 1 > 0", "an int too large"),
        ("-9223372036854775808 / -1 > 0", "an int too large"),
        ("-9223372036854775808 % -1 == 0", "an int too large"),
        ("9223372036854775807 * 9223372036854775807 > 0", "an int too large"),
        ("-(-9223372036854775807 - 1) > 0", "an int too large"),
        ("int(1e300) > 0", "expected an int"),
        ("int(0.0 / 0.0) > 0", "expected an int"),
        ("1.5 % 1 == 0.5", "expected ints for a remainder"),
        ("'a' + 1 == 'a1'", "cannot calculate with a string and an int"),
        ("'a' < 1", "a string and an int have no order"),
        ("1 in 2", "expected a list or an object, got an int"),
        ("input.n.all(i, true)", "expected a list or an object, got an int"),
        ("size(1) == 1", "an int has no size"),
        ("input.n.contains('x')", "expected strings, got an int and a string"),
        ("{1: 2} == {}", "expected a string as a key, got an int"),
        ("{'a': 1, 'a': 2} == {}", "key `a` twice"),
    ];
    for (text, expected) in rows {
        let issue = truth(text).expect_err(text);
        assert!(issue.contains(expected), "{text}: {issue}");
    }
    let mut broken = Scope::new();
    broken.set("input", b"{\"a\": ");
    assert!(is_true("input.a", &broken).expect_err("no JSON").starts_with("`input`: not JSON"));
}

#[test]
fn what_is_refused() {
    let rows = [
        ("", "expected an expression, got nothing"),
        (" \n ", "expected an expression, got nothing"),
        ("input.", "line 1, column 7: expected identifier after '.'"),
        ("1 +\n * 2", "line 2, column 2: unexpected token"),
        ("(input.n", "line 1, column 9: "),
        ("input.n = 3", "line 1, column 9: "),
        ("input.n == 'a", "line 1, column 12: "),
        (
            "inptu.n > 1",
            "line 1, column 1: no variable `inptu`, did you mean `input`?; there are `input`, `outputs`",
        ),
        ("true &&\n  output.a", "line 2, column 3: no variable `output`, did you mean `outputs`?"),
        ("x.input && input", "line 1, column 1: no variable `x`; there are "),
        ("[1].all(i, i > 0) && i == 1", "no variable `i`"),
        (".input.n == 3", "no variable `.input`"),
        ("now() > 1", "no function `now` like that; there are `size(x)`"),
        ("timestamp('2020-01-01T00:00:00Z') == null", "no function `timestamp`"),
        ("input.s.matches('a*')", "no function `matches`"),
        ("type(1) == int", "no function `type`"),
        ("[1].map(x)", "no function `map`"),
        ("[1].map(1, 2) == []", "argument must be a simple name"),
        ("has(input)", "invalid argument to has()"),
        ("input.?n == 3", "unsupported syntax '.?'"),
        ("b'x' == b'x'", "bytes"),
        ("1u == 1", "unsigned"),
        ("Thing{a: 1} == null", "no type `Thing`"),
        ("99999999999999999999 > 1", "invalid int literal"),
    ];
    for (text, expected) in rows {
        let issue = check(text, &VARIABLES).expect_err(text);
        assert!(issue.contains(expected), "{text}: {issue}");
    }
    assert_eq!(check("a", &[]), Err("line 1, column 1: no variable `a`; there are none here".into()));
}

#[test]
fn which_members_are_named() {
    let set = |names: &[&str]| Some(names.iter().map(|&name| name.to_owned()).collect::<BTreeSet<_>>());
    let rows = [
        ("outputs.a.ok && outputs['b'] > 1", set(&["a", "b"])),
        (
            "has(outputs.a) || 'b-c' in outputs || has(outputs.d.e) || outputs.`f.g`",
            set(&["a", "b-c", "d", "f.g"]),
        ),
        ("outputs.a.items.all(i, i > outputs.b.n)", set(&["a", "b"])),
        ("input.outputs.a", set(&[])),
        ("[1].all(outputs, outputs > 0)", set(&[])),
        ("not an expression", set(&[])),
        ("size(outputs) > 1", None),
        ("outputs[input.which]", None),
        ("outputs.all(k, outputs[k].ok)", None),
        ("outputs.a && outputs == {}", None),
        ("outputs[0]", None),
    ];
    for (text, expected) in rows {
        assert_eq!(members(text, "outputs"), expected, "{text}");
    }
}

#[test]
fn lists() {
    let rows = [
        // As written: no number rounded, no order lost.
        ("input.raw", r#"1.50|12345678901234567890123|{"z": 1, "a": 2}|"x""#),
        ("outputs['plan'].items", "1|2"),
        ("outputs.plan['items']", "1|2"),
        ("[input.raw][0]", r#"1.5|1.2345678901234568e+22|{"a":2,"z":1}|"x""#),
        ("input.items.filter(i, has(i.ok)).map(i, i.id)", r#""a"|"b""#),
        ("[1, 2.0, true, null, 'a\"\\n', {'b': [input.none]}]", r#"1|2.0|true|null|"a\"\n"|{"b":[null]}"#),
        ("input.empty", ""),
        ("states.map(k, k)", r#""code-review"|"plan""#),
    ];
    for (expression, expected) in rows {
        let items = list(expression, &scope()).expect(expression);
        let items: Vec<&str> = items.iter().map(|item| item.get()).collect();
        assert_eq!(items.join("|"), expected, "{expression}");
    }
    for (expression, expected) in [
        ("input.map", "expected a list, got an object"),
        ("input.nope", "`input`: no such key `nope`"),
        ("[0.0 / 0.0]", "NaN is not a number in JSON"),
        ("nothing", "expected a list, got null"),
    ] {
        assert_eq!(list(expression, &scope()).expect_err(expression), expected);
    }
}

#[test]
fn texts() {
    let rows = [
        ("input.s", "héllo"),
        ("who + '/' + string(iteration)", "ada/2"),
        ("iteration", "2"),
        ("input.whole", "4"),
        ("input.d", "2.5"),
        ("input.t", "true"),
    ];
    for (expression, expected) in rows {
        assert_eq!(text(expression, &scope()).as_deref(), Ok(expected), "{expression}");
    }
    assert_eq!(
        text("input.none", &scope()),
        Err("expected a string, a number or a boolean, got null".into())
    );
}

/// Runs it where a test's thread, or a worker of the runtime, has no more.
fn on_two_mebibytes(run: impl FnOnce() + Send) {
    thread::scope(|threads| {
        let small = thread::Builder::new().stack_size(2 * 1024 * 1024);
        small.spawn_scoped(threads, run).expect("a thread").join().expect("no panic");
    });
}

#[test]
fn shapes_that_recurse() {
    on_two_mebibytes(|| {
        let shapes: [(&str, &str, &str); 18] = [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{'a':", "1", "}"),
            ("!", "true", ""),
            ("-", "1", ""),
            ("!-", "1", ""),
            ("true?", "1", ":1"),
            ("true?1:", "1", ""),
            ("1+", "1", ""),
            ("true&&", "true", ""),
            ("true&&(", "true", ")"),
            ("true&&false||", "true", ""),
            ("size(", "[]", ")"),
            ("", "input", ".a"),
            ("", "input", "[0]"),
            ("", "input", ".f()"),
            ("", "input", ".map(x,x)"),
            ("input.map(x,", "x", ")"),
        ];
        for (before, middle, after) in shapes {
            for count in [EXPRESSION_DEPTH - 2, EXPRESSION_DEPTH + 2, 199, 333, 499, 999, 5_000] {
                for start in ["", "$ ", "'é"] {
                    let text = format!("{start}{}{middle}{}", before.repeat(count), after.repeat(count));
                    let checked = check(&text, &VARIABLES);
                    let (evaluated, _) = (is_true(&text, &scope()), list(&text, &scope()));
                    assert!(text.len() <= EXPRESSION_BYTES || checked.is_err());
                    assert!(checked.is_ok() || evaluated.is_err());
                    members(&text, "outputs");
                }
            }
        }
    });
    let long = vec!["iteration == 2"; 60].join(" && ");
    assert_eq!(truth(&long), Ok(true), "long chains of && are no nesting");
    let deep = format!("{}1{}", "[".repeat(EXPRESSION_DEPTH + 1), "]".repeat(EXPRESSION_DEPTH + 1));
    assert!(check(&deep, &[]).expect_err("deep").contains("EXPRESSION_DEPTH"));
    let many = format!("[{}]", vec!["1"; 700].join(","));
    assert!(check(&many, &[]).expect_err("many").contains("EXPRESSION_TOKENS"));
    let large = format!("'{}'", "x".repeat(EXPRESSION_BYTES));
    assert!(check(&large, &[]).expect_err("large").contains("EXPRESSION_BYTES"));
}

#[test]
fn documents_that_recurse() {
    on_two_mebibytes(|| {
        for depth in [100, 126, 130, 100_000] {
            let json = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            let mut scope = Scope::new();
            scope.set("input", json.as_bytes());
            assert_eq!(is_true("input == input", &scope).is_ok(), depth < 128);
            let _ = is_true("input[0] == [[[input]]]", &scope);
            let _ = list("[input]", &scope);
            assert_eq!(list("input", &scope).map(|items| items.len()), Ok(1), "followed without recursion");
        }
    });
}

#[test]
fn work_that_would_not_end() {
    let ones = format!("[{}1]", "1,".repeat(500_000));
    let mut many = String::from("[");
    for n in 0..2_000 {
        write!(many, "\"{n}\",").expect("a string");
    }
    many.push_str("\"last\"]");
    let page = format!("\"{}\"", "x".repeat(1_000_000));
    let mut scope = Scope::new();
    scope.set("ones", ones.as_bytes());
    scope.set("many", many.as_bytes());
    scope.set("page", page.as_bytes());
    let each: Vec<(String, &[u8])> = (0..200).map(|n| (format!("k{n}"), ones.as_bytes())).collect();
    scope.set_members("outputs", each.iter().map(|(name, json)| (name.as_str(), *json)));
    let input = format!("{{\"ones\": {ones}}}");
    scope.set("input", input.as_bytes());
    let paths: Vec<String> = (100..240).map(|n| format!("ones[{n}]==1")).collect();
    for text in [
        "ones.all(x, ones.all(y, x == y))",
        "many.map(x, many.map(y, many.map(z, x + y + z))) == []",
        "many.all(x, x in many)",
        "many.all(x, many == many)",
        "many.map(x, many + many) == []",
        "many.map(x, page + x) == []",
        "many.all(x, !page.contains(x))",
        "many.all(x, size(page) > 0)",
        "many.all(x, page == page)",
        "many.all(x, has(input.ones))",
        paths.join("&&").as_str(),
        "outputs.all(k, size(outputs[k]) > 0)",
        "size(outputs) == 0",
        "ones + ones + ones + ones == []",
    ] {
        let issue = is_true(text, &scope).expect_err(text);
        assert!(issue.contains("EXPRESSION_STEPS"), "{text}: {issue}");
    }
    let issue = list("many.map(x, many)", &scope).expect_err("a list of lists");
    assert!(issue.contains("EXPRESSION_STEPS"), "{issue}");
    // What is large, and not looked at, or only passed over, costs little.
    assert_eq!(
        is_true("size(ones) == 500001 && ones[499999] == 1 && outputs.k7[500000] == 1", &scope),
        Ok(true)
    );
    assert_eq!(is_true("many.all(x, size(x) < 5 && x != 'no') && many[2000] == 'last'", &scope), Ok(true));
    assert_eq!(list("ones", &scope).map(|items| items.len()), Ok(500_001));
}

fn fragments() -> impl Strategy<Value = String> {
    let words = prop::sample::select(vec![
        "input",
        "outputs",
        ".n",
        ".list",
        ".map",
        ".items",
        "['a']",
        "[0]",
        "(",
        ")",
        "[",
        "]",
        "{",
        "}",
        "?",
        ":",
        ",",
        "&&",
        "||",
        "!",
        "-",
        "+",
        "*",
        "/",
        "%",
        "==",
        "!=",
        "<",
        ">=",
        " in ",
        "'x'",
        "1",
        "2.5",
        "1e308",
        "9223372036854775807",
        "true",
        "null",
        ".all(x,",
        ".map(x,",
        ".filter(x,",
        ".exists_one(x,",
        "x",
        "has(",
        "size(",
        "int(",
        "string(",
        ".contains('l')",
        "`",
        "\"",
        "'",
        "é",
        "\n",
        "//",
        "\\",
        "b'",
        "r'",
        "0x",
        "u",
    ]);
    prop::collection::vec(words, 0..40).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_has_an_end(text in "\\PC{0,300}") {
        let checked = check(&text, &VARIABLES);
        prop_assert_ne!(checked.as_ref().err().map(String::as_str), Some("the parser gave up"));
        let _ = (is_true(&text, &scope()), list(&text, &scope()), members(&text, "outputs"));
    }

    #[test]
    fn any_fragments_have_an_end_and_the_same(text in fragments()) {
        let checked = check(&text, &VARIABLES);
        prop_assert_ne!(checked.as_ref().err().map(String::as_str), Some("the parser gave up"));
        let first = (is_true(&text, &scope()), list(&text, &scope()).map(|items| format!("{items:?}")));
        let again = (is_true(&text, &scope()), list(&text, &scope()).map(|items| format!("{items:?}")));
        prop_assert_eq!(first, again);
    }
}
