//! The JSON Schema of the plan document: what editors check a task file against, and what the OpenAPI document says of
//! plans. Descriptions only; `json` reads what comes, and a test holds the two together.

use std::sync::LazyLock;

use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::{OpenApi, ToSchema};

use crate::wire::answer::{OnFailureWord, OnLimitWord, OnTimeoutWord, PriorityWord, RunIfWord, ThenWord};

const COMPONENTS: &str = "#/components/schemas/";
const DEFINITIONS: &str = "#/$defs/";

/// Printed once. `# yaml-language-server: $schema=http://HOST/schemas/plan.json` at the head of a task file lets an
/// editor use it.
pub(crate) static DOCUMENT: LazyLock<Bytes> = LazyLock::new(|| document().to_string().into());

/// A task graph.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Plan, example = json!({"subtasks": [
    {"key": "code", "agent": "feature-dev", "input": {"branch": "pdf-export"}},
    {"key": "review", "capabilities": ["code-review", "rust"], "depends_on": ["code"], "sla_seconds": 900},
    {"key": "ship", "depends_on": ["review"], "when": "outputs.review.ok",
     "approval": {"message": "Ship it?", "approvers": [{"roles": ["lead"]}], "timeout_seconds": 3600}},
]}))]
pub struct PlanBody {
    /// What it is to reach. Each has to be served by a subtask; whether it is, only `POST /plans/lint` says.
    #[schema(max_items = 100)]
    pub goals: Option<Vec<GoalBody>>,
    #[schema(min_items = 1, max_items = 10000, no_recursion)]
    pub subtasks: Vec<SubtaskBody>,
}

/// What a plan is to reach.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Goal)]
pub struct GoalBody {
    #[schema(max_length = 100, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    pub name: String,
    /// For people.
    #[schema(max_length = 4096)]
    pub description: Option<String>,
}

/// One subtask of a plan. A worker does it, and then it names an agent, capabilities, or both; or it does one of
/// `approval`, `signal`, `timer`, `workflow`, `group`, `map` and `loop`.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PlannedSubtask)]
pub struct SubtaskBody {
    /// Unique in the plan, or in the group.
    #[schema(max_length = 100, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    pub key: String,
    /// Absent: any agent with the capabilities.
    pub agent: Option<String>,
    #[schema(max_items = 64)]
    pub capabilities: Option<Vec<String>>,
    /// Any JSON.
    pub input: Option<Value>,
    /// What it delivers, as JSON Schema: expressions over its output are checked against it. Absent: what its agent
    /// declared.
    pub output_schema: Option<Value>,
    /// Goals of the plan, by name.
    #[schema(max_items = 100)]
    pub serves: Option<Vec<String>>,
    /// Keys.
    pub depends_on: Option<Vec<String>>,
    /// Start to close; absent: the agent's own.
    #[schema(minimum = 1, maximum = 2592000)]
    pub sla_seconds: Option<u32>,
    /// 3 unless given.
    #[schema(minimum = 1, maximum = 100)]
    pub max_attempts: Option<u16>,
    pub retry: Option<RetryBody>,
    /// Agents that do it, one after the other, when whoever is before could not: its attempts are used up, or no live
    /// worker serves it.
    #[schema(max_items = 10)]
    pub fallback: Option<Vec<String>>,
    /// The task's unless given.
    #[schema(value_type = Option<PriorityWord>)]
    pub priority: Option<String>,
    /// Which ends of its dependencies let it run; otherwise it is skipped. `all_succeeded` unless given.
    #[schema(value_type = Option<RunIfWord>)]
    pub run_if: Option<String>,
    /// A CEL expression over `outputs` and `states` (of `depends_on`, by key), `input`, `context` and `item`; where it
    /// is not true the subtask is skipped.
    #[schema(max_length = 2000, example = "outputs.draft.risk > 3")]
    pub when: Option<String>,
    /// What becomes of it when it has failed for good. `review` unless given; within a map `fail`.
    #[schema(value_type = Option<OnFailureWord>)]
    pub on_failure: Option<String>,
    pub compensate: Option<CompensateBody>,
    /// Which keys of the shared context the worker is handed in its brief, as they are when it gets the lease: `true` (all)
    /// or a list. Absent: what the request gave as `metadata.context`.
    pub context: Option<ContextKeysBody>,
    pub approval: Option<ApprovalBody>,
    pub signal: Option<SignalGateBody>,
    pub timer: Option<TimerBody>,
    pub workflow: Option<WorkflowBody>,
    #[schema(no_recursion)]
    pub group: Option<GroupBody>,
    #[schema(no_recursion)]
    pub map: Option<MapBody>,
    #[schema(no_recursion)]
    pub r#loop: Option<LoopBody>,
}

/// All keys (`true`), or these.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[schema(as = ContextKeys)]
pub enum ContextKeysBody {
    All(bool),
    Keys(Vec<String>),
}

/// How attempts follow each other; what is absent is as the control plane is set.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Retry)]
pub struct RetryBody {
    /// Before the second attempt; doubles with each further one.
    #[schema(minimum = 0, maximum = 2592000)]
    pub backoff_seconds: Option<u32>,
    #[schema(minimum = 0, maximum = 2592000)]
    pub max_backoff_seconds: Option<u32>,
    /// Codes of errors after which trying again is no use.
    #[schema(max_items = 100)]
    pub non_retryable: Option<Vec<String>>,
}

/// Undoes a subtask that was completed, should the task fail: before it has failed, the last one first. The worker finds
/// what the subtask delivered among the dependencies. It names an agent, capabilities, or both.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Compensation)]
pub struct CompensateBody {
    pub agent: Option<String>,
    #[schema(max_items = 64)]
    pub capabilities: Option<Vec<String>>,
    /// Any JSON; absent: the input of the subtask.
    pub input: Option<Value>,
}

/// Waits until people have decided. Its output: `{"option", "expired", "votes"}`.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Approval)]
pub struct ApprovalBody {
    /// For people.
    #[schema(max_length = 4096)]
    pub message: Option<String>,
    /// Who may decide: those of the first level; after each timeout also those of the next. None: anybody.
    #[schema(max_items = 10)]
    pub approvers: Option<Vec<ApproversBody>>,
    /// So many different people have to choose the same; 1 unless given.
    #[schema(minimum = 1, maximum = 100)]
    pub quorum: Option<u32>,
    /// None: `approve`, which completes, and `reject`, which fails.
    #[schema(max_items = 20)]
    pub options: Option<Vec<OptionBody>>,
    /// Of each level; absent: for ever.
    #[schema(minimum = 1, maximum = 2592000)]
    pub timeout_seconds: Option<u32>,
    /// When the last level's time is over. `fail` (as `on_failure` says) unless given.
    #[schema(value_type = Option<OnTimeoutWord>)]
    pub on_timeout: Option<String>,
}

/// Some people: each of these names, and whoever has one of these roles.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Approvers)]
pub struct ApproversBody {
    #[schema(max_items = 100)]
    pub names: Option<Vec<String>>,
    #[schema(max_items = 100)]
    pub roles: Option<Vec<String>>,
}

/// What can be chosen: a name that completes the approval, or a name with what follows.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[schema(as = ApprovalOption)]
pub enum OptionBody {
    Name(String),
    Option(NamedOptionBody),
}

/// An option with what follows when it is chosen.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NamedApprovalOption)]
pub struct NamedOptionBody {
    #[schema(max_length = 100, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    pub name: String,
    /// `complete` unless given.
    #[schema(value_type = Option<ThenWord>)]
    pub then: Option<String>,
}

/// Waits for a signal of that name. Its output: what the signal carries.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = SignalGate)]
pub struct SignalGateBody {
    #[schema(max_length = 100, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    pub name: String,
    /// A CEL expression, with `signal` beside the usual ones; absent: any signal of the name.
    #[schema(max_length = 2000, example = "signal.env == 'prod'")]
    pub matches: Option<String>,
    /// Absent: for ever.
    #[schema(minimum = 1, maximum = 2592000)]
    pub timeout_seconds: Option<u32>,
}

/// Waits for a time: so many seconds from when it may run, or until then.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Timer)]
pub struct TimerBody {
    #[schema(minimum = 1, maximum = 2592000)]
    pub seconds: Option<u32>,
    #[schema(format = DateTime)]
    pub until: Option<String>,
}

/// A whole task of a stored workflow, begun when its turn comes. Parameters are the subtask's input, an object. It has one
/// attempt unless `max_attempts` says otherwise; each is a task of its own, with `sla_seconds` as its deadline. Its
/// output: the outputs of that task's subtasks by key.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WorkflowCall)]
pub struct WorkflowBody {
    #[schema(max_length = 100, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    pub name: String,
    /// Absent: the newest when it begins.
    #[schema(minimum = 1)]
    pub version: Option<u32>,
    /// A CEL expression that gives an object: more parameters, before those of the input.
    #[schema(max_length = 2000, example = "{'repo': outputs.plan.repo}")]
    pub parameters_from: Option<String>,
}

/// Runs its subtasks once. They may depend on each other, and on what the group depends on. Its output: theirs by key.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Group)]
pub struct GroupBody {
    #[schema(min_items = 1, max_items = 10000, no_recursion)]
    pub subtasks: Vec<SubtaskBody>,
}

/// Runs its subtasks for each element of a list, which each of them finds as `item`, and as its input where it has none.
/// Its output: those of the elements in their order, null for what failed.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Map)]
pub struct MapBody {
    /// A CEL expression that gives a list.
    #[schema(max_length = 2000, example = "outputs.list.items")]
    pub over: String,
    /// Elements at the same time; absent: all.
    #[schema(minimum = 1)]
    pub max_parallel: Option<u32>,
    /// How many elements may fail; `fail_fast` unless given.
    pub failures: Option<FailuresBody>,
    #[schema(min_items = 1, max_items = 10000, no_recursion)]
    pub subtasks: Vec<SubtaskBody>,
}

/// With `fail_fast` the first failure cancels the others, and the map has failed; with `continue` all may fail.
#[derive(Debug, ToSchema)]
#[serde(untagged)]
#[schema(as = Failures)]
pub enum FailuresBody {
    Word(FailuresWord),
    Tolerate(TolerateBody),
}

/// All or nothing.
#[derive(Debug, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FailuresWord)]
pub enum FailuresWord {
    FailFast,
    Continue,
}

/// So many may fail.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Tolerate)]
pub struct TolerateBody {
    pub tolerate: u32,
}

/// Runs its subtasks again and again. Those that begin a round find the outputs of the one before as dependency
/// `previous`. Its output: that of the last round, by key.
#[derive(Debug, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = Loop)]
pub struct LoopBody {
    /// A CEL expression over `outputs` and `states` of the round, and `iteration` (from 1).
    #[schema(max_length = 2000, example = "outputs.review.ok")]
    pub until: String,
    #[schema(minimum = 1, maximum = 1000)]
    pub max_iterations: u32,
    /// What becomes of it when it has run so often; `fail` (as `on_failure` says) unless given.
    #[schema(value_type = Option<OnLimitWord>)]
    pub on_limit: Option<String>,
    #[schema(min_items = 1, max_items = 10000, no_recursion)]
    pub subtasks: Vec<SubtaskBody>,
}

/// All parts of it, also those that only a part of a part names.
#[derive(OpenApi)]
#[openapi(components(schemas(PlanBody, SubtaskBody, GroupBody, MapBody, LoopBody)))]
pub(crate) struct Parts;

/// The schema on its own, with all that it names below `$defs`.
fn document() -> Value {
    let mut parts = serde_json::to_value(Parts::openapi()).unwrap_or_default();
    rename(&mut parts);
    let definitions = parts.pointer_mut("/components/schemas").map(Value::take).unwrap_or_default();
    let head = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Downbeat plan",
        "$ref": format!("{DEFINITIONS}Plan"),
    });
    let mut members: Map<String, Value> = head.as_object().cloned().unwrap_or_default();
    members.insert("$defs".into(), definitions);
    Value::Object(members)
}

/// References lead below `$defs`, and examples are a list, as JSON Schema has them.
fn rename(value: &mut Value) {
    match value {
        Value::Object(members) => {
            if let Some(Value::String(reference)) = members.get_mut("$ref")
                && let Some(name) = reference.strip_prefix(COMPONENTS)
            {
                *reference = format!("{DEFINITIONS}{name}");
            }
            if members.contains_key("type")
                && let Some(example) = members.remove("example")
            {
                members.insert("examples".into(), json!([example]));
            }
            members.values_mut().for_each(rename);
        }
        Value::Array(elements) => elements.iter_mut().for_each(rename),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::wire::plan::json as read;

    fn schema() -> Value {
        serde_json::from_slice(&DOCUMENT).expect("the schema is JSON")
    }

    #[test]
    fn parts_are_described_as_they_are_read() {
        let schema = schema();
        for (part, fields) in [
            ("Plan", read::DOCUMENT),
            ("Goal", read::GOAL),
            ("PlannedSubtask", read::SUBTASK),
            ("Retry", read::RETRY),
            ("Compensation", read::COMPENSATE),
            ("Approval", read::APPROVAL),
            ("Approvers", read::APPROVERS),
            ("NamedApprovalOption", read::OPTION),
            ("SignalGate", read::SIGNAL),
            ("Timer", read::TIMER),
            ("WorkflowCall", read::WORKFLOW),
            ("Group", read::GROUP),
            ("Map", read::MAP),
            ("Tolerate", read::TOLERATE),
            ("Loop", read::LOOP),
        ] {
            let part = &schema["$defs"][part];
            let properties =
                part["properties"].as_object().unwrap_or_else(|| panic!("{part}: no properties"));
            let described: BTreeSet<&str> = properties.keys().map(String::as_str).collect();
            assert_eq!(described, fields.iter().copied().collect(), "{part}");
            assert_eq!(part["additionalProperties"], false, "{part}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        let schema = schema();
        let mut todo = vec![&schema];
        let mut references = 0;
        while let Some(value) = todo.pop() {
            match value {
                Value::Object(members) => {
                    if let Some(reference) = members.get("$ref").and_then(Value::as_str) {
                        let pointer = reference.strip_prefix('#').expect("references stay inside");
                        assert!(schema.pointer(pointer).is_some(), "{reference} leads nowhere");
                        references += 1;
                    }
                    todo.extend(members.values());
                }
                Value::Array(elements) => todo.extend(elements),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        assert!(references > 15, "got {references}");
    }
}
