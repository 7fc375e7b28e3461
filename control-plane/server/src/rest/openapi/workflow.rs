//! Bodies of requests about stored workflows.

use utoipa::ToSchema;

use crate::wire::answer::PriorityWord;

/// A workflow to store.
#[derive(Debug, ToSchema)]
#[schema(as = CreateWorkflow, example = json!({
    "name": "release",
    "description": "Build and deploy one repository",
    "parameters": {
        "type": "object",
        "properties": {"repo": {"type": "string"}, "env": {"enum": ["staging", "prod"], "default": "staging"}},
        "required": ["repo"],
    },
    "secrets": ["DEPLOY_TOKEN"],
    "plan": {"subtasks": [
        {"key": "build", "agent": "builder", "input": {"repo": {"$param": "repo"}}},
        {"key": "ok", "depends_on": ["build"], "when": "context.params.env == 'prod'", "approval": {}},
        {"key": "deploy", "agent": "deployer", "depends_on": ["build", "ok"], "run_if": "all_done",
         "input": {"env": {"$param": "env"}, "token": {"$secret": "DEPLOY_TOKEN"}}},
    ]},
}))]
pub struct CreateWorkflowBody {
    #[schema(max_length = 100, pattern = "^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    pub name: String,
    #[schema(max_length = 4096)]
    pub description: Option<String>,
    /// JSON Schema (a subset of draft 2020-12) of an object whose properties are the parameters; absent: there are
    /// none. `default` fills what a run does not give.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<serde_json::Value>,
    /// Names that inputs refer to as `{"$secret": "NAME"}`. Never resolved by the control plane.
    #[schema(max_items = 100)]
    pub secrets: Option<Vec<String>>,
    /// A plan, where `{"$param": "NAME"}` stands for a parameter's value: within inputs, and in place of texts, numbers
    /// and booleans. Expressions find it as `context.params.NAME`.
    #[schema(value_type = Object)]
    pub plan: serde_json::Value,
    pub by: Option<String>,
}

/// A version to add.
#[derive(Debug, ToSchema)]
#[schema(as = UpdateWorkflow)]
pub struct UpdateWorkflowBody {
    #[schema(max_length = 4096)]
    pub description: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<serde_json::Value>,
    #[schema(max_items = 100)]
    pub secrets: Option<Vec<String>>,
    #[schema(value_type = Object)]
    pub plan: serde_json::Value,
    /// Refused when another version is the newest.
    #[schema(minimum = 1)]
    pub expected_version: Option<u32>,
    pub by: Option<String>,
}

/// A version to go back to.
#[derive(Debug, ToSchema)]
#[schema(as = RollBackWorkflow)]
pub struct RollBackWorkflowBody {
    #[schema(minimum = 1)]
    pub version: u32,
    /// Refused when another version is the newest.
    #[schema(minimum = 1)]
    pub expected_version: Option<u32>,
    pub by: Option<String>,
}

/// A run of a workflow.
#[derive(Debug, ToSchema)]
#[schema(as = RunWorkflow, example = json!({
    "task_id": "release-42", "parameters": {"repo": "billing", "env": "prod"}, "execute": true,
}))]
pub struct RunWorkflowBody {
    /// The client's own name for the task: the request may be repeated.
    #[schema(min_length = 1, max_length = 200)]
    pub task_id: String,
    /// The newest unless given.
    #[schema(minimum = 1)]
    pub version: Option<u32>,
    /// The workflow's name unless given.
    #[schema(max_length = 500)]
    pub title: Option<String>,
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<serde_json::Value>,
    /// As in a submission. The parameters are added as `context.params`.
    #[schema(value_type = Option<Object>)]
    pub metadata: Option<serde_json::Value>,
    #[schema(value_type = Option<PriorityWord>)]
    pub priority: Option<String>,
    /// As in a submission.
    #[schema(format = DateTime)]
    pub deadline: Option<String>,
    /// Start it at once.
    pub execute: Option<bool>,
}
