//! Secrets that an input names: `{"$secret": "DEPLOY_TOKEN"}` anywhere within it becomes the text of the worker's own
//! environment variable `DOWNBEAT_SECRET_DEPLOY_TOKEN`. The control plane knows only the name. No other variable can be
//! asked for, and nothing but the input is looked through: what other agents delivered may not ask.

use std::fmt;

use downbeat_sdk::HandlerError;
use serde::{
    Deserialize,
    de::{Deserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// What the variables of secrets begin with: whatever else is in the environment is nobody's to ask for.
const PREFIX: &str = "DOWNBEAT_SECRET_";
const REFERENCE: &str = "$secret";
/// The control plane lets no deeper document through.
const DEPTH_MAX: usize = 128;

/// The input with secrets in the place of their names; `None` where it names none.
///
/// # Errors
/// `SECRET_MISSING` with every variable that is not set, `INVALID_SECRET` for what is no reference. Neither is
/// retryable: trying again would find the same environment.
pub(crate) fn put_in(
    input: &RawValue,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Box<RawValue>>, HandlerError> {
    if !input.get().contains('$') && !input.get().contains("\\u") {
        return Ok(None);
    }
    let mut walk = Walk { variable, missing: Vec::new(), found: false };
    let mut text = String::with_capacity(input.get().len());
    walk.value(&mut text, input, 0).map_err(|issue| HandlerError::fatal("INVALID_SECRET", issue))?;
    if !walk.missing.is_empty() {
        walk.missing.dedup();
        let missing = walk.missing.join(", ");
        let message =
            format!("the input names secrets that this worker does not have: {missing} must be set");
        return Err(HandlerError::fatal("SECRET_MISSING", message));
    }
    if !walk.found {
        return Ok(None);
    }
    let read = RawValue::from_string(text).map(Some);
    read.map_err(|error| HandlerError::fatal("INVALID_SECRET", error.to_string()))
}

/// A variable of this process.
pub(crate) fn of_environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

struct Walk<V> {
    variable: V,
    missing: Vec<String>,
    found: bool,
}

impl<V: Fn(&str) -> Option<String>> Walk<V> {
    fn value(&mut self, out: &mut String, raw: &RawValue, depth: usize) -> Result<(), String> {
        let text = raw.get();
        if depth > DEPTH_MAX {
            return Err(format!("the input is nested more than {DEPTH_MAX} levels deep"));
        }
        let broken = |error: serde_json::Error| error.to_string();
        if text.starts_with('{') {
            let Members(members) = serde_json::from_str(text).map_err(broken)?;
            if let Some((_, name)) = members.iter().find(|(name, _)| name == REFERENCE) {
                return self.reference(out, name, members.len());
            }
            out.push('{');
            for (i, (name, value)) in members.into_iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                out.push_str(&quoted(&name));
                out.push(':');
                self.value(out, value, depth + 1)?;
            }
            out.push('}');
        } else if text.starts_with('[') {
            let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(broken)?;
            out.push('[');
            for (i, value) in elements.into_iter().enumerate() {
                out.push_str(if i > 0 { "," } else { "" });
                self.value(out, value, depth + 1)?;
            }
            out.push(']');
        } else {
            out.push_str(text);
        }
        Ok(())
    }

    fn reference(&mut self, out: &mut String, name: &RawValue, members: usize) -> Result<(), String> {
        let named = serde_json::from_str::<String>(name.get()).ok().filter(|_| members == 1);
        let name =
            named.ok_or_else(|| format!("expected {{\"{REFERENCE}\": \"NAME\"}} and nothing beside it"))?;
        let variable = format!("{PREFIX}{name}");
        // The environment takes no name with these, and would panic over some.
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        self.found = true;
        match is_name.then(|| (self.variable)(&variable)).flatten() {
            Some(secret) => out.push_str(&quoted(&secret)),
            None => self.missing.push(variable.escape_debug().to_string()),
        }
        Ok(())
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The members of an object, in their order.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Members<'a>, D::Error> {
        struct InOrder;

        impl<'de> Visitor<'de> for InOrder {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(members)
            }
        }

        deserializer.deserialize_map(InOrder).map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(input: &str) -> Result<Option<String>, HandlerError> {
        let input = RawValue::from_string(input.to_owned()).expect("JSON");
        let variable = |name: &str| (name == "DOWNBEAT_SECRET_TOKEN").then(|| "a\"b".to_owned());
        put_in(&input, variable).map(|found| found.map(|raw| raw.get().to_owned()))
    }

    #[test]
    fn secrets_stand_where_they_are_named() {
        for (input, expected) in [
            (r#"{"$secret":"TOKEN"}"#, Some(r#""a\"b""#)),
            (
                r#"{"n":1.50,"l":[{"$secret":"TOKEN"},"$secret"]}"#,
                Some(r#"{"n":1.50,"l":["a\"b","$secret"]}"#),
            ),
            (r#"{"\u0024secret":"TOKEN"}"#, Some(r#""a\"b""#)),
            (r#"{"$other":"TOKEN"}"#, None),
            (r#""$secret""#, None),
            ("null", None),
        ] {
            assert_eq!(put(input).expect("no failure").as_deref(), expected, "{input}");
        }
    }

    #[test]
    fn what_is_not_there_fails_for_good() {
        let failed = put(r#"[{"$secret":"A"},{"$secret":"TOKEN"},{"$secret":"B=\u0000"},{"$secret":"A"}]"#);
        let failed = failed.expect_err("two are missing");
        assert_eq!((failed.code.as_str(), failed.retryable), ("SECRET_MISSING", false));
        assert!(failed.message.contains("DOWNBEAT_SECRET_A, DOWNBEAT_SECRET_B"), "{}", failed.message);
        for input in [r#"{"$secret":"TOKEN","x":1}"#, r#"{"$secret":5}"#] {
            let failed = put(input).expect_err("no reference");
            assert_eq!((failed.code.as_str(), failed.retryable), ("INVALID_SECRET", false), "{input}");
        }
    }
}
