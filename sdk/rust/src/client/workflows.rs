//! Stored workflows: keep them in versions, compare them, run them. Who does it is said by [`Client::by`].

use futures::stream::{self, BoxStream};
use tonic::transport::Channel;

use super::tasks::{Submitted, flatten};
use crate::{
    Client, Error, RunWorkflow, Workflow,
    client::RESPONSE_BYTES_MAX,
    proto::{
        self, CreateWorkflowRequest, DeleteWorkflowRequest, DiffWorkflowRequest, DiffWorkflowResponse,
        GetWorkflowRequest, ListWorkflowVersionsRequest, ListWorkflowsRequest, RollBackWorkflowRequest,
        UpdateWorkflowRequest, workflow_service_client::WorkflowServiceClient,
    },
};

/// The answer to a change of a stored workflow.
#[derive(Debug, Clone, PartialEq)]
pub struct Stored {
    /// The newest version.
    pub workflow: proto::Workflow,
    /// Whether it was that before: nothing has changed.
    pub existed: bool,
}

impl Client {
    /// Stores a workflow as version 1, or, where its name was deleted, as the version after the last. The same again
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::Rejected`] with everything that is wrong with it; `WORKFLOW_EXISTS` when there is one of that name that
    /// says something else.
    pub async fn create_workflow(&self, workflow: Workflow) -> Result<Stored, Error> {
        let (name, definition) = workflow.into_definition()?;
        let request = CreateWorkflowRequest { name, definition: Some(definition), by: self.by.to_string() };
        let answer =
            self.call(request, |to, request| async { workflows(to).create_workflow(request).await }).await?;
        stored("CreateWorkflow", answer.workflow, answer.existed)
    }

    /// Adds a version. What says the same as the newest one changes nothing. With `expected_version`, it is refused when
    /// another version is the newest.
    ///
    /// # Errors
    /// As [`Client::create_workflow`]; `WORKFLOW_UNKNOWN`, `WORKFLOW_VERSION_CONFLICT`.
    pub async fn update_workflow(
        &self,
        workflow: Workflow,
        expected_version: Option<u32>,
    ) -> Result<Stored, Error> {
        let (name, definition) = workflow.into_definition()?;
        let request = UpdateWorkflowRequest {
            name,
            definition: Some(definition),
            expected_version: expected_version.unwrap_or(0),
            by: self.by.to_string(),
        };
        let answer =
            self.call(request, |to, request| async { workflows(to).update_workflow(request).await }).await?;
        stored("UpdateWorkflow", answer.workflow, answer.existed)
    }

    /// Goes back to an older version: adds one with its content. With `expected_version`, it is refused when another
    /// version is the newest.
    ///
    /// # Errors
    /// [`Error::Rejected`]: `WORKFLOW_UNKNOWN`, `WORKFLOW_VERSION_CONFLICT`.
    pub async fn roll_back_workflow(
        &self,
        name: impl Into<String>,
        version: u32,
        expected_version: Option<u32>,
    ) -> Result<Stored, Error> {
        let request = RollBackWorkflowRequest {
            name: name.into(),
            version,
            expected_version: expected_version.unwrap_or(0),
            by: self.by.to_string(),
        };
        let answer =
            self.call(request, |to, request| async { workflows(to).roll_back_workflow(request).await });
        let answer = answer.await?;
        stored("RollBackWorkflow", answer.workflow, answer.existed)
    }

    /// A version of a workflow, the newest where none is named.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is none.
    pub async fn workflow(
        &self,
        name: impl Into<String>,
        version: Option<u32>,
    ) -> Result<proto::Workflow, Error> {
        let request = GetWorkflowRequest { name: name.into(), version: version.unwrap_or(0) };
        let answer =
            self.call(request, |to, request| async { workflows(to).get_workflow(request).await }).await?;
        answer.workflow.ok_or(Error::Incomplete { rpc: "GetWorkflow", missing: "the workflow" })
    }

    /// All workflows by name, each in its newest version and without its plan, fetched page by page as they are taken.
    /// Ends after an error.
    pub fn workflows(&self) -> BoxStream<'static, Result<proto::Workflow, Error>> {
        let client = self.clone();
        flatten(stream::try_unfold(Some(String::new()), move |page_token| {
            let client = client.clone();
            async move {
                let Some(page_token) = page_token else { return Ok(None) };
                let request = ListWorkflowsRequest { page_size: 0, page_token };
                let send = |to, request| async { workflows(to).list_workflows(request).await };
                let page = client.call(request, send).await?;
                Ok(Some((page.workflows, Some(page.next_page_token).filter(|token| !token.is_empty()))))
            }
        }))
    }

    /// All versions of a workflow, newest first and without their plans, fetched page by page as they are taken. Ends
    /// after an error.
    pub fn workflow_versions(
        &self,
        name: impl Into<String>,
    ) -> BoxStream<'static, Result<proto::Workflow, Error>> {
        let (client, name) = (self.clone(), name.into());
        flatten(stream::try_unfold(Some(String::new()), move |page_token| {
            let (client, name) = (client.clone(), name.clone());
            async move {
                let Some(page_token) = page_token else { return Ok(None) };
                let request = ListWorkflowVersionsRequest { name, page_size: 0, page_token };
                let send = |to, request| async { workflows(to).list_workflow_versions(request).await };
                let page = client.call(request, send).await?;
                Ok(Some((page.versions, Some(page.next_page_token).filter(|token| !token.is_empty()))))
            }
        }))
    }

    /// How two versions differ, line by line: `to` is the newest unless said, `from` the one before it.
    ///
    /// # Errors
    /// [`Error::Rejected`] when one of them does not exist.
    pub async fn diff_workflow(
        &self,
        name: impl Into<String>,
        from: Option<u32>,
        to: Option<u32>,
    ) -> Result<DiffWorkflowResponse, Error> {
        let (from, to) = (from.unwrap_or(0), to.unwrap_or(0));
        let request = DiffWorkflowRequest { name: name.into(), from, to };
        self.call(request, |to, request| async { workflows(to).diff_workflow(request).await }).await
    }

    /// Lets nothing be started from a workflow any more; tasks that run go on. Answers with the last version.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is none.
    pub async fn delete_workflow(&self, name: impl Into<String>) -> Result<u32, Error> {
        let request = DeleteWorkflowRequest { name: name.into() };
        let answer =
            self.call(request, |to, request| async { workflows(to).delete_workflow(request).await }).await?;
        Ok(answer.version)
    }

    /// Submits a task with the plan of a workflow. The same run again answers with the present task (`existed`).
    ///
    /// # Errors
    /// [`Error::InvalidJson`] or [`Error::TooLarge`] before anything is sent; [`Error::Rejected`] when the parameters
    /// are not what the workflow wants, or when the id is taken by another task (`TASK_CONFLICT`).
    pub async fn run_workflow(&self, run: RunWorkflow) -> Result<Submitted, Error> {
        let request = run.into_request()?;
        let answer =
            self.call(request, |to, request| async { workflows(to).run_workflow(request).await }).await?;
        let task = answer.task.ok_or(Error::Incomplete { rpc: "RunWorkflow", missing: "the task" })?;
        Ok(Submitted { task, existed: answer.existed })
    }
}

fn stored(rpc: &'static str, workflow: Option<proto::Workflow>, existed: bool) -> Result<Stored, Error> {
    let workflow = workflow.ok_or(Error::Incomplete { rpc, missing: "the workflow" })?;
    Ok(Stored { workflow, existed })
}

/// The generated client of the workflow service, with our limits.
fn workflows(to: Channel) -> WorkflowServiceClient<Channel> {
    WorkflowServiceClient::new(to).max_decoding_message_size(RESPONSE_BYTES_MAX)
}
