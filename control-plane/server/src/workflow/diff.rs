//! How two versions differ, line by line, as people read it.

use std::time::Duration;

use serde_json::value::RawValue;
use similar::TextDiff;

use super::{
    Definition,
    text::{elements, members, quoted},
};

/// Lines around each change.
const CONTEXT: usize = 3;
/// Levels that are indented: in deep documents the indentation would be most of the text.
const INDENTED: usize = 16;
/// After so long what is left is told as one change: a diff of two large plans that have nothing in common.
const PATIENCE: Duration = Duration::from_millis(200);

/// A version, as it is compared.
#[derive(Debug)]
pub(crate) struct Side<'a> {
    /// At the head of the diff, as in `release@3`.
    pub(crate) label: String,
    pub(crate) description: &'a str,
    pub(crate) definition: &'a Definition,
}

/// A unified diff; empty where both say the same.
pub(crate) fn unified(from: &Side<'_>, to: &Side<'_>) -> String {
    let (old, new) = (printed(from), printed(to));
    let diff = TextDiff::configure().timeout(PATIENCE).diff_lines(&old, &new);
    diff.unified_diff().context_radius(CONTEXT).header(&from.label, &to.label).to_string()
}

/// JSON, a member or an element a line, members by their names: the order in which they were written says nothing.
fn printed(side: &Side<'_>) -> String {
    let Definition { parameters, secrets, plan } = side.definition;
    let mut out = format!("description: {}\n", quoted(side.description));
    let mut part = |name: &str, write: &dyn Fn(&mut String)| {
        out.push_str(name);
        out.push_str(": ");
        write(&mut out);
        out.push('\n');
    };
    if let Some(parameters) = parameters {
        part("parameters", &|out| print(out, parameters, 0));
    }
    if !secrets.is_empty() {
        part("secrets", &|out| out.push_str(&secrets.join(", ")));
    }
    part("plan", &|out| print(out, plan, 0));
    out
}

fn print(out: &mut String, raw: &RawValue, level: usize) {
    if let Some(mut members) = members(raw).filter(|members| !members.is_empty()) {
        members.sort_by(|a, b| a.0.cmp(&b.0));
        lines(out, ["{", "}"], level, members, |out, (name, value)| {
            out.push_str(&quoted(&name));
            out.push_str(": ");
            print(out, value, level + 1);
        });
    } else if let Some(elements) = elements(raw).filter(|elements| !elements.is_empty()) {
        lines(out, ["[", "]"], level, elements, |out, element| print(out, element, level + 1));
    } else {
        out.push_str(raw.get());
    }
}

fn lines<T>(
    out: &mut String,
    [open, close]: [&str; 2],
    level: usize,
    items: Vec<T>,
    mut write: impl FnMut(&mut String, T),
) {
    out.push_str(open);
    let last = items.len() - 1;
    for (i, item) in items.into_iter().enumerate() {
        out.push('\n');
        out.push_str(&indent(level + 1));
        write(out, item);
        if i < last {
            out.push(',');
        }
    }
    out.push('\n');
    out.push_str(&indent(level));
    out.push_str(close);
}

fn indent(level: usize) -> String {
    "  ".repeat(level.min(INDENTED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn definition(plan: &str) -> Definition {
        let plan = RawValue::from_string(plan.to_owned()).expect("JSON");
        Definition { parameters: None, secrets: Vec::new(), plan }
    }

    fn diff(old: &str, new: &str) -> String {
        let (old, new) = (definition(old), definition(new));
        let side = |label: &str, definition| Side { label: label.to_owned(), description: "", definition };
        unified(&side("w@1", &old), &side("w@2", &new))
    }

    #[test]
    fn what_is_the_same_in_another_order_is_no_difference() {
        assert_eq!(diff(r#"{"a":1,"b":[1,{}]}"#, r#"{"b":[1,{}],"a":1}"#), "");
    }

    #[test]
    fn a_change_is_told_with_its_lines() {
        let expected = "--- w@1\n+++ w@2\n@@ -3,7 +3,7 @@\n   \"subtasks\": [\n     {\n       \"agent\": \"a\",\n\
                        -      \"key\": \"one\"\n+      \"key\": \"two\"\n     }\n   ]\n }\n";
        let plan = |key: &str| format!(r#"{{"subtasks":[{{"key":"{key}","agent":"a"}}]}}"#);
        assert_eq!(diff(&plan("one"), &plan("two")), expected);
    }

    #[test]
    fn numbers_are_compared_as_they_are_written() {
        assert!(
            diff("[12345678901234567890123]", "[12345678901234567890124]")
                .contains("+  12345678901234567890124")
        );
    }
}
