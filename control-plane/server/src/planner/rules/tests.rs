//! What the built-in rules make of requests, and what the reader of rules refuses.

use downbeat_core::{check, draft::Draft, session::AgentDeclaration, task::Priority};
use serde_json::{Value, json};

use super::RulePlanner;
use crate::planner::PlanRequest;

/// Who is registered: names, each with capability tags after a colon.
fn agents(list: &str) -> Vec<AgentDeclaration> {
    list.split_whitespace()
        .map(|agent| {
            let (name, tags) = agent.split_once(':').unwrap_or((agent, ""));
            AgentDeclaration {
                name: name.to_owned(),
                capabilities: tags.split(',').filter(|tag| !tag.is_empty()).map(str::to_owned).collect(),
                ..AgentDeclaration::default()
            }
        })
        .collect()
}

fn plan(
    planner: &RulePlanner,
    title: &str,
    description: &str,
    metadata: &Value,
    registered: &str,
) -> Vec<Draft> {
    let drafts = planner
        .decompose(&PlanRequest {
            task_id: "t-1",
            title,
            description,
            priority: Priority::High,
            metadata: metadata.to_string().as_bytes(),
            agents: &agents(registered),
        })
        .unwrap();
    assert_eq!(check::check(&drafts), Ok(()), "{title}");
    drafts
}

/// `key@agent+tag<dependency,dependency`, one per subtask.
fn shape(drafts: &[Draft]) -> String {
    let one = |draft: &Draft| {
        let agent = if draft.agent == draft.key { String::new() } else { format!("@{}", draft.agent) };
        let tags: String = draft.capabilities.iter().map(|tag| format!("+{tag}")).collect();
        let after = if draft.depends_on.is_empty() {
            String::new()
        } else {
            format!("<{}", draft.depends_on.join(","))
        };
        format!("{}{agent}{tags}{after}", draft.key)
    };
    drafts.iter().map(one).collect::<Vec<_>>().join(" ")
}

fn input(drafts: &[Draft], key: &str) -> Value {
    let draft = drafts.iter().find(|draft| draft.key == key).unwrap();
    draft.input.as_ref().map_or(Value::Null, |input| serde_json::from_str(input.get()).unwrap())
}

#[test]
fn the_built_in_rules_plan_what_a_request_says() {
    let feature = "feature-development code-review<feature-development testing<feature-development";
    let table = [
        (
            "Implement invoice PDF export",
            "Add PDF export support to the billing dashboard including automated regression tests.",
            feature.to_owned(),
        ),
        ("Fix the crash on empty carts", "", "feature-development code-review<feature-development".to_owned()),
        ("Code review of the parser", "Look at naming and errors.", "code-review".to_owned()),
        ("Review pull request 42", "", "code-review".to_owned()),
        ("Add regression tests for the parser", "", "testing".to_owned()),
        ("Document the REST API", "", "documentation".to_owned()),
        ("Implement document upload", "", "feature-development code-review<feature-development".to_owned()),
        ("Write the release notes of 2.4", "", "documentation".to_owned()),
        ("Update the docs", "The readme is out of date.", "documentation".to_owned()),
        ("Security audit of the login flow", "", "security-review".to_owned()),
        ("Release 2.4", "Roll out to all regions.", "release".to_owned()),
        ("Research vector databases", "Which one fits us?", "research".to_owned()),
        ("Churn by region", "Analyze the data of the last quarter.", "data-analysis".to_owned()),
        ("Analyse churn by region", "", "data-analysis".to_owned()),
        ("Order pizza for Friday", "For twelve people.", "general".to_owned()),
        (
            "Research PDF libraries, then implement the export",
            "With tests, documentation, a security review, and release it.",
            "research feature-development<research code-review<feature-development testing<feature-development \
             security-review<feature-development documentation<code-review,testing,security-review \
             release<documentation,code-review,testing,security-review"
                .to_owned(),
        ),
        ("Review and test the parser", "", "code-review testing".to_owned()),
        ("Implement the import", "Without tests.", "feature-development code-review<feature-development".to_owned()),
        // What is left out between two subtasks does not undo their order.
        (
            "Implement the import and deploy it",
            "",
            "feature-development code-review<feature-development release<code-review,feature-development".to_owned(),
        ),
    ];
    let planner = RulePlanner::builtin();
    for (title, description, expected) in table {
        let drafts = plan(&planner, title, description, &json!({}), "");
        assert_eq!(shape(&drafts), expected, "{title}");
    }
}

#[test]
fn the_built_in_rules_look_at_who_is_registered() {
    let table = [
        ("", "feature-development code-review<feature-development"),
        ("testing", "feature-development code-review<feature-development testing<feature-development"),
        (
            "documentation",
            "feature-development code-review<feature-development documentation<code-review,feature-development",
        ),
        // Nobody is called code-review, but somebody can do it.
        ("sam:review,python", "feature-development code-review@+review<feature-development"),
        ("code-review sam:review", "feature-development code-review<feature-development"),
        ("coder:code", "feature-development@+code code-review<feature-development"),
        (
            "security-review",
            "feature-development code-review<feature-development security-review<feature-development",
        ),
    ];
    for (registered, expected) in table {
        let drafts = plan(&RulePlanner::builtin(), "Implement password reset", "", &json!({}), registered);
        assert_eq!(shape(&drafts), expected, "registered: {registered}");
    }
}

#[test]
fn words_are_whole_and_the_repository_is_not_read() {
    let planner = RulePlanner::builtin();
    let metadata = json!({"repository": "git@example.com:acme/release-tests.git"});
    let drafts = plan(&planner, "Latest contest addendum", "", &metadata, "");
    assert_eq!(shape(&drafts), "general");
    let drafts = plan(&planner, "Parser", "", &json!({"labels": ["Documentation"]}), "");
    assert_eq!(shape(&drafts), "documentation");
}

#[test]
fn inputs_are_filled_from_the_request() {
    let planner = RulePlanner::from_yaml(
        r#"
        rules:
          - name: all
            subtasks:
              - key: work
                agent: worker
                input:
                  text: "{{title}}: {{metadata.count}} of {{ task_id }} ({{metadata.absent}})"
                  whole: "{{metadata.nested.list}}"
                  absent: "{{metadata.absent}}"
                  once: "{{description}}"
                  list: ["{{metadata.absent}}", 1, "{{priority}}"]
        "#,
    )
    .unwrap();
    let metadata = json!({"count": 3, "nested": {"list": [1, {"a": null}]}});
    let drafts = plan(&planner, "Title", "{{title}}", &metadata, "");
    assert_eq!(
        input(&drafts, "work"),
        json!({
            "text": "Title: 3 of t-1 ()",
            "whole": [1, {"a": null}],
            "once": "{{title}}",
            "list": [null, 1, "high"],
        })
    );
}

#[test]
fn the_first_rule_that_fits_wins() {
    let planner = RulePlanner::from_yaml(
        r#"
        in: [title]
        rules:
          - name: needs-a-robot
            requires: [robot]
            subtasks: [{key: weld, agent: robot}]
          - name: nothing-wanted
            match: [{any: [paint]}]
            subtasks: [{key: never, agent: x, when: [{registered: [nobody]}]}]
          - name: paint
            match: [{all: [paint, "two coats"], none: [primer]}, {any: [varnish], in: [metadata]}]
            subtasks:
              - {key: first, agent: painter, input: 1}
              - {key: second, agent: painter, input: 2, depends_on: [first], when: [{with: [first]}]}
          - name: rest
            subtasks: [{key: rest, capabilities: [hands]}]
        "#,
    )
    .unwrap();
    let table = [
        ("Paint, two coats", json!({}), "", "first@painter second@painter<first"),
        ("Paint with primer, two  COATS", json!({}), "", "rest@+hands"),
        ("Door", json!({"finish": ["varnish"]}), "", "first@painter second@painter<first"),
        ("Door", json!({}), "", "rest@+hands"),
        ("Door", json!({}), "robot", "weld@robot"),
        ("Door", json!({}), "arm:robot", "weld@+robot"),
    ];
    for (title, metadata, registered, expected) in table {
        assert_eq!(
            shape(&plan(&planner, title, "", &metadata, registered)),
            expected,
            "{title} {registered}"
        );
    }
}

#[test]
fn the_same_work_is_planned_once() {
    let planner = RulePlanner::from_yaml(
        r#"
        rules:
          - name: all
            subtasks:
              - {key: a, agent: x, input: "{{title}}"}
              - {key: b, agent: z}
              - {key: c, agent: x, input: "{{description}}", depends_on: [b]}
              - {key: d, agent: y, depends_on: [c]}
        "#,
    )
    .unwrap();
    let drafts = plan(&planner, "same", "same", &json!({}), "");
    assert_eq!(shape(&drafts), "a@x b@z d@y<a,b");
}

#[test]
fn a_request_that_no_rule_fits_is_told_what_to_do() {
    let planner =
        RulePlanner::from_yaml("rules: [{name: r, match: [{any: [x]}], subtasks: [{key: k, agent: a}]}]")
            .unwrap();
    let request = PlanRequest {
        task_id: "t",
        title: "y",
        description: "",
        priority: Priority::Normal,
        metadata: b"{}",
        agents: &[],
    };
    let violations = planner.decompose(&request).unwrap_err();
    assert_eq!(violations.len(), 1);
    assert!(violations[0].issue.contains("send a plan"), "{violations:?}");
}

#[test]
fn bad_files_are_refused_with_the_line() {
    let rule = "rules:\n  - name: r\n    subtasks:\n";
    let table = [
        ("rules: []".to_owned(), "line 1, column 8: `rules` holds no rule"),
        ("ruls: []".to_owned(), "line 1, column 1: unknown field `ruls`"),
        (format!("{rule}      - key: a\n        agnt: x\n"), "line 5, column 9: unknown field `agnt`"),
        (format!("{rule}      - agent: x\n"), "line 4, column 9: missing field `key`"),
        (
            format!("{rule}      - key: a\n"),
            "line 4, column 9: agent: name an agent, or at least one capability",
        ),
        (format!("{rule}      - {{key: a b, agent: x}}\n"), "line 4, column 9: key: `a b` is not a name"),
        (
            format!("{rule}      - {{key: a, agent: x}}\n      - {{key: a, agent: y}}\n"),
            "line 5, column 9: key: `a` is already the key of subtasks[0]",
        ),
        (
            format!("{rule}      - {{key: a, agent: x}}\n      - {{key: b, agent: y, depends_on: [c]}}\n"),
            "line 5, column 41: no subtask above this one has the key `c`: there are a",
        ),
        (
            format!("{rule}      - {{key: a, agent: x}}\n      - {{key: b, agent: x}}\n"),
            "line 5, column 9: `b` is the same work as a subtask above it",
        ),
        (
            format!(
                "{rule}      - key: a\n        agent: x\n        input:\n          say: \"{{{{titel}}}}\"\n"
            ),
            "line 7, column 11: no placeholder is called `titel`",
        ),
        (
            format!("{rule}      - key: a\n        agent: x\n        input: \"{{{{title\"\n"),
            "has no closing `}}`",
        ),
        (
            format!("{rule}      - key: a\n        agent: x\n        when: [{{any: [\"...\"]}}]\n"),
            "line 6, column 23: `...` holds no word",
        ),
        (
            format!("{rule}      - key: a\n        agent: x\n        when: [{{any: [q], in: [titel]}}]\n"),
            "line 6, column 32: `titel` is no part of a request",
        ),
        (
            format!(
                "{rule}      - {{key: a, agent: x}}\n  - name: r\n    subtasks: [{{key: b, agent: y}}]\n"
            ),
            "line 5, column 11: `r` is never reached",
        ),
        (
            format!("{rule}      - {{key: a, agent: x, sla_seconds: many}}\n"),
            "line 4, column 41: expected a whole number",
        ),
        ("rules: [".to_owned(), "line 1, column "),
    ];
    for (text, expected) in table {
        let error = RulePlanner::from_yaml(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}\nexpected: {expected}\ngot: {error}");
    }
}

#[test]
fn all_problems_of_a_file_are_told_at_once() {
    let text =
        "rules:\n  - name: r\n    match: [{any: [\"-\"]}]\n    subtasks:\n      - {key: a, agent: \"?\"}\n";
    let error = RulePlanner::from_yaml(text).unwrap_err();
    assert_eq!(error.problems.iter().map(|problem| problem.line).collect::<Vec<_>>(), [3, 5]);
}
