//! Builders for stored workflows: a definition, and a run of one.

use std::time::SystemTime;

use serde::Serialize;

use super::{json, millis};
use crate::{
    Error,
    proto::{self, Priority},
};

/// A workflow to store: a plan with parameters, under a name.
///
/// ```
/// use downbeat_sdk::Workflow;
/// use serde_json::json;
///
/// let workflow = Workflow::new("greet", &json!({"subtasks": [
///     {"key": "say", "agent": "greeter", "input": {"name": {"$param": "name"}, "token": {"$secret": "TOKEN"}}},
/// ]}))
/// .description("Greets somebody")
/// .parameters(&json!({"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}))
/// .secret("TOKEN");
/// ```
#[derive(Debug)]
#[must_use = "a workflow does nothing until it is stored"]
pub struct Workflow {
    pub(crate) name: String,
    definition: proto::WorkflowDefinition,
    problem: Option<Error>,
}

impl Workflow {
    /// A workflow with this plan, a document as [`Plan::from_document`](crate::Plan::from_document) reads it, where
    /// `{"$param": "name"}` stands for a parameter and `{"$secret": "NAME"}` for a secret that the worker has.
    pub fn new<T: Serialize + ?Sized>(name: impl Into<String>, plan: &T) -> Self {
        let workflow = Self { name: name.into(), definition: Default::default(), problem: None };
        workflow.with("the plan", plan, |definition, text| definition.plan = text)
    }

    pub(super) fn of(name: String, definition: proto::WorkflowDefinition) -> Self {
        Self { name, definition, problem: None }
    }

    /// What it is for, in a line for lists.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.definition.description = description.into();
        self
    }

    /// What parameters there are: a JSON Schema of an object whose properties they are. `default` fills what a run does
    /// not give.
    pub fn parameters<T: Serialize + ?Sized>(self, schema: &T) -> Self {
        self.with("the parameters", schema, |definition, text| definition.parameters = text)
    }

    /// Adds a secret that inputs may name.
    pub fn secret(mut self, name: impl Into<String>) -> Self {
        self.definition.secrets.push(name.into());
        self
    }

    fn with<T: Serialize + ?Sized>(
        mut self,
        what: &str,
        value: &T,
        set: impl FnOnce(&mut proto::WorkflowDefinition, bytes::Bytes),
    ) -> Self {
        match json(what, value) {
            Ok(text) => set(&mut self.definition, text),
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }

    /// The name and the message.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] for the first value that could not be written.
    pub(crate) fn into_definition(self) -> Result<(String, proto::WorkflowDefinition), Error> {
        self.problem.map_or(Ok((self.name, self.definition)), Err)
    }
}

/// A task with the plan of a stored workflow.
///
/// ```
/// use downbeat_sdk::RunWorkflow;
/// use serde_json::json;
///
/// let run = RunWorkflow::new("greet", "greet-1").parameters(&json!({"name": "ada"})).execute();
/// ```
#[derive(Debug)]
#[must_use = "a workflow does not run until it is sent"]
pub struct RunWorkflow {
    request: proto::RunWorkflowRequest,
    problem: Option<Error>,
}

impl RunWorkflow {
    /// Runs the newest version of a workflow, under the client's own name for the task. The same again changes nothing,
    /// also when there is a newer version by then.
    pub fn new(workflow: impl Into<String>, task_id: impl Into<String>) -> Self {
        let (name, task_id) = (workflow.into(), task_id.into());
        Self { request: proto::RunWorkflowRequest { name, task_id, ..Default::default() }, problem: None }
    }

    /// Another version than the newest.
    pub fn version(mut self, version: u32) -> Self {
        self.request.version = version;
        self
    }

    /// A title for people; the workflow's name otherwise.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.request.title = title.into();
        self
    }

    /// The parameters, a JSON object.
    pub fn parameters<T: Serialize + ?Sized>(mut self, parameters: &T) -> Self {
        match json("the parameters", parameters) {
            Ok(text) => self.request.parameters = text,
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }

    /// Metadata, as [`SubmitTask::metadata`](crate::SubmitTask::metadata). The parameters are added as `context.params`.
    pub fn metadata<T: Serialize + ?Sized>(mut self, metadata: &T) -> Self {
        match json("metadata", metadata) {
            Ok(text) => self.request.metadata = text,
            Err(problem) => self.problem = self.problem.or(Some(problem)),
        }
        self
    }

    /// The priority of all subtasks that have none of their own.
    pub fn priority(mut self, priority: Priority) -> Self {
        self.request.set_priority(priority);
        self
    }

    /// When the task fails if it has not ended. Rounded down to milliseconds.
    pub fn deadline(mut self, deadline: SystemTime) -> Self {
        self.request.deadline_ms = millis(deadline);
        self
    }

    /// Starts it, too, in the same commit.
    pub fn execute(mut self) -> Self {
        self.request.execute = true;
        self
    }

    /// The message to send.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] for the first value that could not be written.
    pub fn into_request(self) -> Result<proto::RunWorkflowRequest, Error> {
        self.problem.map_or(Ok(self.request), Err)
    }
}
