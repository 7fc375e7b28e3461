//! The planner's rules: any text as their file, and any request against the built-in ones.
//!
//! The first byte says which. After `f` stands a file; it meets a few plain requests. Anything else is a request,
//! its parts divided by NUL: title, description, metadata, and the agents, as in `testing:qa,test coder`.

use std::sync::LazyLock;

use downbeat_core::{check, draft::Draft, limits, session::AgentDeclaration, task::Priority};
use downbeat_server::{
    planner::{PlanRequest, rules::RulePlanner},
    wire,
};

use super::plan::is_name;

static BUILT_IN: LazyLock<RulePlanner> = LazyLock::new(RulePlanner::builtin);

/// The target.
pub fn run(data: &[u8]) {
    let Some((first, rest)) = data.split_first() else { return };
    if *first == b'f' {
        if let Ok(text) = std::str::from_utf8(rest) {
            file(text);
        }
        return;
    }
    let mut parts = rest.splitn(4, |byte| *byte == 0).map(String::from_utf8_lossy);
    let mut part = || parts.next().unwrap_or_default();
    let (title, description, metadata, agents) = (part(), part(), part(), part());
    // What faces hand over: an object without anything that cannot be kept.
    let object = metadata.trim_start().starts_with('{') && wire::json::check(metadata.as_bytes()).is_ok();
    let metadata = if object { metadata.as_bytes() } else { b"{}" };
    let agents = declared(&agents);
    let request = request(&title, &description, metadata, &agents);
    let planned = decompose(&BUILT_IN, &request);
    // The last built-in rule fits everything, so only a size can be in the way.
    assert!(planned || title.len() + metadata.len() > limits::INPUT_BYTES / 8, "no rule fits `{title}`");
}

fn file(text: &str) {
    let planner = match RulePlanner::from_yaml(text) {
        Ok(planner) => planner,
        Err(error) => {
            assert!(!error.problems.is_empty(), "refused without a reason");
            // YAML's line breaks, of which a lone carriage return is one.
            let breaks = ['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}'];
            let lines = 1 + text.chars().filter(|c| breaks.contains(c)).count() as u64;
            for problem in &error.problems {
                assert!(!problem.message.is_empty(), "{problem:?}");
                assert!(problem.line <= lines, "{problem:?} is behind the last line, {lines}");
            }
            assert!(error.problems.is_sorted(), "told in the order of the file");
            assert!(error.to_string().lines().count() >= error.problems.len());
            return;
        }
    };
    let agents = declared("testing:qa,test coder:coding,code review");
    let metadata = br#"{"type":"bug","labels":["a","security"],"repository":{"url":"x"},"n":[1,null]}"#;
    decompose(&planner, &request("Fix the login and write tests", "a b c", metadata, &agents));
    decompose(&planner, &request("", "", b"{}", &[]));
    decompose(&planner, &request("{{title}} {{metadata}}", "x", br#"{"a":"{{title}}"}"#, &[]));
}

fn request<'a>(
    title: &'a str,
    description: &'a str,
    metadata: &'a [u8],
    agents: &'a [AgentDeclaration],
) -> PlanRequest<'a> {
    PlanRequest { task_id: "t-1", title, description, priority: Priority::High, metadata, agents }
}

fn declared(text: &str) -> Vec<AgentDeclaration> {
    let agents = text.split_whitespace().take(20).map(|agent| {
        let (name, tags) = agent.split_once(':').unwrap_or((agent, ""));
        let capabilities = tags.split(',').filter(|tag| is_name(tag)).map(str::to_owned).collect();
        AgentDeclaration { name: name.to_owned(), capabilities, ..AgentDeclaration::default() }
    });
    agents.filter(|agent| is_name(&agent.name)).collect()
}

/// Whether there is a plan; whatever there is, is valid, and the same each time.
fn decompose(planner: &RulePlanner, request: &PlanRequest<'_>) -> bool {
    let planned = planner.decompose(request);
    assert_eq!(
        format!("{planned:?}"),
        format!("{:?}", planner.decompose(request)),
        "nothing is left to chance"
    );
    match planned {
        Ok(drafts) => {
            check(&drafts);
            true
        }
        Err(found) => {
            assert!(!found.is_empty() && found.iter().all(|v| !v.field.is_empty() && !v.issue.is_empty()));
            false
        }
    }
}

/// Only sums over the whole plan depend on the request, so only they may be exceeded.
fn check(drafts: &[Draft]) {
    let found = check::check(drafts).err().unwrap_or_default();
    let sums = ["PLAN_DEPENDENCIES", "PLAN_DEPTH", "REQUEST_BYTES"];
    let unexpected = found.iter().find(|violation| !sums.iter().any(|sum| violation.issue.contains(sum)));
    assert_eq!(unexpected, None, "{drafts:?}");
}
