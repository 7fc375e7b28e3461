//! The stored workflows that plans name, kept before anything begins.

use bytes::Bytes;
use downbeat_core::{draft::Call, time::Time};
use downbeat_store::{Result, Store, WorkflowChange, WorkflowHead, WorkflowVersion};
use serde_json::{Value, json};

use super::{rng::Rng, server::TENANT};

/// What plans name; the last one is not there.
const NAMES: [&str; 6] = ["pair", "asks", "deeper", "given", "endless", "missing"];

/// A task of one of them. Some cannot be begun.
pub(super) fn call(rng: &mut Rng) -> Call {
    // What is not there, or has no end, is rarer.
    let known = if rng.per_mille(100) { &NAMES[..] } else { &NAMES[..4] };
    let name = rng.pick(known).copied().unwrap_or_default().to_owned();
    let parameters_from = (name == "given" && rng.coin()).then(|| "{'n': 1 + 1}".to_owned());
    Call { name, version: rng.per_mille(200).then_some(1), parameters_from }
}

/// Keeps all that are there.
///
/// # Errors
/// The store's.
pub(super) async fn keep(store: &dyn Store) -> Result<()> {
    for name in &NAMES[..5] {
        let added = WorkflowVersion {
            name: (*name).to_owned(),
            version: 1,
            restores: None,
            created_at: Time(0),
            created_by: String::new(),
            description: String::new(),
            digest: [0; 32],
            definition: Bytes::from(definition(name).to_string()),
        };
        let becomes = WorkflowHead { version: 1, deleted: false };
        let (name, was) = ((*name).to_owned(), WorkflowHead::default());
        store
            .change_workflow(&WorkflowChange { tenant: TENANT, name, was, becomes, added: Some(added) })
            .await?;
    }
    Ok(())
}

fn definition(name: &str) -> Value {
    let subtasks = match name {
        "pair" => json!([
            {"key": "one", "agent": "survey"},
            {"key": "two", "agent": "build", "depends_on": ["one"], "on_failure": "fail"},
        ]),
        "asks" => json!([
            {"key": "ok", "approval": {}},
            {"key": "then", "agent": "write", "depends_on": ["ok"]},
        ]),
        "deeper" => json!([
            {"key": "in", "workflow": {"name": "pair"}, "max_attempts": 2, "on_failure": "fail"},
            {"key": "asked", "workflow": {"name": "asks"}},
            {"key": "end", "agent": "check", "depends_on": ["in", "asked"], "run_if": "all_done"},
        ]),
        "given" => json!([{"key": "it", "agent": "check", "input": {"n": {"$param": "n"}}}]),
        _ => json!([{"key": "again", "workflow": {"name": "endless"}, "on_failure": "fail"}]),
    };
    let mut definition = json!({"plan": {"subtasks": subtasks}});
    if name == "given" {
        definition["parameters"] =
            json!({"type": "object", "properties": {"n": {"type": "integer", "default": 1}}});
    }
    definition
}
