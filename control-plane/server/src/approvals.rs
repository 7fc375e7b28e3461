//! The operator's approval rules, read from their file. What they do is told in `downbeat_core::guard`.
//!
//! ```yaml
//! rules:
//!   - name: production deploys
//!     when: "'deploy' in capabilities && input.environment == 'production'"
//!     approval: {message: "Deploy to production?", approvers: [{roles: [release-manager]}], timeout_seconds: 86400}
//! ```

use std::{path::Path, sync::Arc};

use downbeat_core::guard::{self, Rule};
use serde_json::{Value, value::RawValue};

use crate::wire::{
    fields::Fields,
    plan::{Reader, json},
    problems::{Problems, summary},
};

const FILE: &[&str] = &["rules"];
const RULE: &[&str] = &["name", "when", "approval"];
/// Each is asked about every subtask of every plan.
const RULES_MAX: usize = 100;

/// The rules of a file.
///
/// # Errors
/// Why it cannot be read, or what is wrong in it.
pub(crate) async fn read(path: &Path) -> Result<Arc<[Rule]>, String> {
    let named = |issue: String| format!("{}: {issue}", path.display());
    let text = tokio::fs::read_to_string(path).await.map_err(|error| named(error.to_string()))?;
    parse(&text).map_err(named)
}

fn parse(text: &str) -> Result<Arc<[Rule]>, String> {
    let options = serde_saphyr::options! { strict_booleans: true };
    let value: Value =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    let raw = serde_json::value::to_raw_value(&value).map_err(|error| error.to_string())?;
    let mut problems = Problems::default();
    let fields = Fields::read("", &raw, FILE, &mut problems);
    let listed = fields.list("rules", RULES_MAX, "rules (RULES_MAX)", &mut problems).unwrap_or_default();
    let rules: Vec<Rule> = listed.into_iter().map(|(path, raw)| rule(&path, raw, &mut problems)).collect();
    for (i, rule) in rules.iter().enumerate() {
        problems.merge(guard::check(&format!("rules[{i}]"), rule));
    }
    match problems.finish(()) {
        Ok(()) => Ok(rules.into()),
        Err(crate::failure::Failure::Invalid(found)) => Err(summary(&found)),
        Err(other) => Err(other.to_string()),
    }
}

fn rule(path: &str, raw: &RawValue, problems: &mut Problems) -> Rule {
    let fields = Fields::read(path, raw, RULE, problems);
    let (name, when) = (fields.text("name", problems), fields.text("when", problems));
    let path = fields.at("approval");
    let given = fields.raw("approval").unwrap_or(RawValue::NULL);
    let approval = json::approval(&path, given, &mut Reader::new("rules", problems));
    Rule { name, when, approval }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_or_their_problems_told() {
        let text = "rules:\n  - {name: a, when: \"agent == 'x'\", approval: {quorum: 2}}\n";
        let rules = parse(text).expect("a good file");
        assert_eq!((rules.len(), rules[0].name.as_str(), rules[0].approval.quorum), (1, "a", 2));
        for (text, told) in [
            ("rules: 5", "rules: must be a list, got a number"),
            ("rulse: []", "rulse: unknown field; known are: rules"),
            ("rules:\n  - {name: a, when: \"agnet == 'x'\", approval: {}}", "rules[0].when: "),
            (
                "rules:\n  - {name: a, when: \"true\", approval: {on_timeout: never}}",
                "rules[0].approval.on_timeout: must be `fail`, `approve` or `reject`, got `never`",
            ),
        ] {
            let issue = parse(text).expect_err(text);
            assert!(issue.starts_with(told), "{text}: {issue}");
        }
    }
}
