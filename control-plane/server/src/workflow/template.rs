//! A plan with references where values will stand. A whole JSON value `{"$param": "env"}` becomes the parameter's value,
//! with its type. Texts are never put together, and expressions take no references: what somebody gives as a parameter
//! can be no more than a value. Expressions find parameters as `context.params.env`.
//!
//! `{"$secret": "TOKEN"}` stays what it is: who has the secret, a worker, puts it in. It may stand in inputs only, names
//! what the workflow declares, and no parameter may carry one.

use std::collections::BTreeMap;

use downbeat_core::limits;
use serde_json::value::RawValue;

use super::text::{elements, members, quoted, separated};
use crate::wire::problems::Problems;

const PARAM: &str = "$param";
const SECRET: &str = "$secret";
/// Members of a plan's document that hold expressions.
const EXPRESSIONS: [&str; 4] = ["when", "over", "until", "matches"];
/// One whose `until` is a time.
const TIMER: &str = "timer";
/// The one that holds a document of its own.
const INPUT: &str = "input";

/// What references may name.
#[derive(Debug)]
pub(crate) struct Names<'a> {
    pub(crate) parameters: &'a BTreeMap<String, Box<RawValue>>,
    pub(crate) secrets: &'a [String],
}

/// A plan with values in the place of parameters.
#[derive(Debug, Default)]
pub(crate) struct Filled {
    pub(crate) text: String,
    /// Where each parameter was put in: its path and its name.
    pub(crate) places: Vec<(String, String)>,
}

/// Puts parameters in. `path` is where the document stands in its request.
pub(crate) fn fill(path: &str, plan: &RawValue, names: &Names<'_>, problems: &mut Problems) -> Filled {
    let mut walk = Walk { names, problems, places: Vec::new() };
    let mut text = String::with_capacity(plan.get().len());
    walk.value(&mut text, path, plan, Within::Plan);
    Filled { text, places: walk.places }
}

/// Tells references within a value that somebody gives: they would be taken for the workflow's own.
pub(crate) fn refuse_references(path: &str, value: &RawValue, problems: &mut Problems) {
    for (name, value) in members(value).unwrap_or_default() {
        if name == PARAM || name == SECRET {
            problems
                .add(path, format!("must not hold `{name}`: only a workflow's own plan refers to something"));
        } else {
            refuse_references(&format!("{path}.{name}"), value, problems);
        }
    }
    for (i, value) in elements(value).unwrap_or_default().into_iter().enumerate() {
        refuse_references(&format!("{path}[{i}]"), value, problems);
    }
}

/// What a value is a part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Within {
    Plan,
    Timer,
    Expression,
    Input,
}

struct Walk<'a, 'p> {
    names: &'a Names<'a>,
    problems: &'p mut Problems,
    places: Vec<(String, String)>,
}

impl Walk<'_, '_> {
    fn value(&mut self, out: &mut String, path: &str, raw: &RawValue, within: Within) {
        if let Some(members) = members(raw) {
            match members.iter().find(|(name, _)| name == PARAM || name == SECRET) {
                Some((name, of)) if members.len() == 1 => self.reference(out, path, (name, of), within),
                Some((name, _)) => {
                    self.problems.add(path, format!("`{name}` must be the only member of its object"));
                    out.push_str("null");
                }
                None => separated(out, ['{', '}'], members, |out, (name, value)| {
                    out.push_str(&quoted(&name));
                    out.push(':');
                    self.value(out, &format!("{path}.{name}"), value, within.member(&name));
                }),
            }
        } else if let Some(elements) = elements(raw) {
            separated(out, ['[', ']'], elements.into_iter().enumerate(), |out, (i, value)| {
                self.value(out, &format!("{path}[{i}]"), value, within);
            });
        } else {
            out.push_str(raw.get());
        }
    }

    fn reference(&mut self, out: &mut String, path: &str, (kind, of): (&str, &RawValue), within: Within) {
        match self.referred(path, kind, of, within) {
            // Few references to a long value may make a plan that no request could hold.
            Ok(text) if out.len() + text.len() > limits::REQUEST_BYTES => {
                let most = limits::REQUEST_BYTES;
                self.problems.add(path, format!("makes the plan larger than {most} bytes (REQUEST_BYTES)"));
                out.push_str("null");
            }
            Ok(text) => out.push_str(&text),
            Err(issue) => {
                self.problems.add(path, issue);
                out.push_str("null");
            }
        }
    }

    /// What stands in the place of a reference.
    fn referred(&mut self, path: &str, kind: &str, of: &RawValue, within: Within) -> Result<String, String> {
        let name: String =
            serde_json::from_str(of.get()).map_err(|_| format!("`{kind}` must name one, as a string"))?;
        if kind == SECRET {
            return match within {
                Within::Input if self.names.secrets.contains(&name) => {
                    Ok(format!("{{\"{SECRET}\":{}}}", quoted(&name)))
                }
                Within::Input => Err(undeclared("secret", &name, self.names.secrets.iter())),
                Within::Plan | Within::Timer | Within::Expression => {
                    Err("a secret may stand within an `input` only".into())
                }
            };
        }
        let Some(value) = self.names.parameters.get(&name) else {
            return Err(undeclared("parameter", &name, self.names.parameters.keys()));
        };
        self.places.push((path.to_owned(), name.clone()));
        let whole = value.get().starts_with(['{', '[']);
        match within {
            Within::Plan | Within::Timer if whole => Err(format!(
                "outside of an `input` a parameter must be a text, a number or a boolean, and `{name}` is not"
            )),
            Within::Plan | Within::Timer | Within::Input => Ok(value.get().to_owned()),
            Within::Expression => {
                Err(format!("an expression takes no reference: say `context.params.{name}` in it"))
            }
        }
    }
}

impl Within {
    fn member(self, name: &str) -> Within {
        match self {
            Within::Plan if name == INPUT => Within::Input,
            Within::Plan if name == TIMER => Within::Timer,
            Within::Plan if EXPRESSIONS.contains(&name) => Within::Expression,
            other => other,
        }
    }
}

fn undeclared<'n>(what: &str, name: &str, known: impl Iterator<Item = &'n String>) -> String {
    let known: Vec<&str> = known.map(String::as_str).collect();
    let name = name.escape_debug();
    match known.as_slice() {
        [] => format!("there is no {what} `{name}`; the workflow declares none"),
        known => format!("there is no {what} `{name}`; declared are: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{failure::Failure, wire::problems::refused};

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).expect("JSON")
    }

    fn filled(plan: &str) -> Result<Filled, Failure> {
        let of = [
            ("env", r#""a\" || true""#),
            ("n", "12345678901234567890123"),
            ("list", "[1,{}]"),
            ("flag", "true"),
        ];
        let parameters = of.map(|(name, value)| (name.to_owned(), raw(value))).into();
        let secrets = ["TOKEN".to_owned()];
        let mut problems = Problems::default();
        let names = Names { parameters: &parameters, secrets: &secrets };
        let filled = fill("plan", &raw(plan), &names, &mut problems);
        problems.finish(filled)
    }

    #[test]
    fn values_are_put_in_whole_and_with_their_types() {
        for (plan, expected) in [
            (
                r#"{"input": {"b": {"$param": "list"}, "a": [{"$param":"n"}, 1.50]}}"#,
                r#"{"input":{"b":[1,{}],"a":[12345678901234567890123,1.50]}}"#,
            ),
            (r#"{"input": {"$param": "env"}}"#, r#"{"input":"a\" || true"}"#),
            (
                r#"{"map": {"max_parallel": {"$param": "n"}}}"#,
                r#"{"map":{"max_parallel":12345678901234567890123}}"#,
            ),
            (
                r#"{"agent": {"$param": "env"}, "x": "$param", "when": "true"}"#,
                r#"{"agent":"a\" || true","x":"$param","when":"true"}"#,
            ),
            (r#"{"input": {"when": {"$param": "flag"}}}"#, r#"{"input":{"when":true}}"#),
            (r#"{"input": [{"$secret": "TOKEN"}]}"#, r#"{"input":[{"$secret":"TOKEN"}]}"#),
        ] {
            assert_eq!(filled(plan).map(|filled| filled.text), Ok(expected.to_owned()), "{plan}");
        }
        let places = filled(r#"{"s": [{"agent": {"$param": "env"}}]}"#).map(|filled| filled.places);
        assert_eq!(places, Ok(vec![("plan.s[0].agent".to_owned(), "env".to_owned())]));
    }

    #[test]
    fn what_may_not_stand_there_is_refused() {
        for (plan, field, issue) in [
            (
                r#"{"when": {"$param": "env"}}"#,
                "plan.when",
                "an expression takes no reference: say `context.params.env` in it",
            ),
            (
                r#"{"loop": {"until": {"$secret": "TOKEN"}}}"#,
                "plan.loop.until",
                "a secret may stand within an `input` only",
            ),
            (
                r#"{"subtasks": {"$param": "list"}}"#,
                "plan.subtasks",
                "outside of an `input` a parameter must be a text, a number or a boolean, and `list` is not",
            ),
            (r#"{"agent": {"$secret": "TOKEN"}}"#, "plan.agent", "a secret may stand within an `input` only"),
            (
                r#"{"input": {"$secret": "OTHER"}}"#,
                "plan.input",
                "there is no secret `OTHER`; declared are: TOKEN",
            ),
            (
                r#"{"input": {"a": {"$param": "nv"}}}"#,
                "plan.input.a",
                "there is no parameter `nv`; declared are: env, flag, list, n",
            ),
            (
                r#"{"input": {"$param": "env", "a": 1}}"#,
                "plan.input",
                "`$param` must be the only member of its object",
            ),
            (r#"{"input": {"$param": 5}}"#, "plan.input", "`$param` must name one, as a string"),
        ] {
            refused(filled(plan), &[(field, issue)], plan);
        }
    }

    #[test]
    fn a_plan_is_no_larger_than_a_request() {
        let long = raw(&format!("\"{}\"", "x".repeat(1 << 20)));
        let parameters = [("long".to_owned(), long)].into();
        let plan = raw(&format!("{{\"input\":[{}]}}", [r#"{"$param":"long"}"#; 17].join(",")));
        let mut problems = Problems::default();
        let filled = fill("plan", &plan, &Names { parameters: &parameters, secrets: &[] }, &mut problems);
        assert!(filled.text.len() <= limits::REQUEST_BYTES + 100);
        let issue = "makes the plan larger than 16777216 bytes (REQUEST_BYTES)";
        refused(problems.finish(()), &[("plan.input[15]", issue), ("plan.input[16]", issue)], "a large plan");
    }

    #[test]
    fn a_given_value_refers_to_nothing() {
        let mut problems = Problems::default();
        refuse_references(
            "p",
            &raw(r#"{"a": [0, {"$secret": "TOKEN"}], "b": {"$param": 1}}"#),
            &mut problems,
        );
        let issue =
            |name: &str| format!("must not hold `{name}`: only a workflow's own plan refers to something");
        refused(
            problems.finish(()),
            &[("p.a[1]", &issue("$secret")), ("p.b", &issue("$param"))],
            "references",
        );
    }
}
