//! Read and write the shared context of a task from outside, and see what changed between two snapshots.

use serde::Serialize;
use tonic::transport::Channel;

use super::tasks::tasks;
use crate::{
    Client, Error, Retry,
    client::RESPONSE_BYTES_MAX,
    proto::{
        ContextEntry, DeleteContextRequest, DiffSnapshotsRequest, DiffSnapshotsResponse, GetContextRequest,
        ListContextRequest, PutContextRequest, context_service_client::ContextServiceClient,
    },
    request::json,
};

impl Client {
    /// The shared context of a task, by key; values are JSON texts.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such task.
    pub async fn context(&self, task_id: impl Into<String>) -> Result<Vec<ContextEntry>, Error> {
        let request = ListContextRequest { task_id: task_id.into() };
        let answer =
            self.call(request, |to, request| async { contexts(to).list_context(request).await }).await?;
        Ok(answer.entries)
    }

    /// One key of the shared context of a task.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such task or key.
    pub async fn context_key(
        &self,
        task_id: impl Into<String>,
        key: impl Into<String>,
    ) -> Result<ContextEntry, Error> {
        let request = GetContextRequest { task_id: task_id.into(), key: key.into() };
        let answer =
            self.call(request, |to, request| async { contexts(to).get_context(request).await }).await?;
        answer.entry.ok_or(Error::Incomplete { rpc: "GetContext", missing: "the entry" })
    }

    /// Sets a key of the shared context of a task; with a version only where it has that (0: where there is none). Gives
    /// the version that it has now.
    ///
    /// With a version it is sent once, whatever the client's [`Retry`]: a second time, it would find what it wrote itself.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] before anything is sent; [`Error::Rejected`] with `VERSION_CONFLICT`, `CONTEXT_FULL`
    /// when a limit is reached, or `TASK_FINISHED`.
    pub async fn put_context<T: Serialize + ?Sized>(
        &self,
        task_id: impl Into<String>,
        key: impl Into<String>,
        value: &T,
        expected_version: Option<u64>,
    ) -> Result<u64, Error> {
        let (task_id, key) = (task_id.into(), key.into());
        let value = json(&format!("the value of {key:?}"), value)?;
        let by = self.by.to_string();
        let request = PutContextRequest { task_id, key, value, expected_version, by };
        let send = |to, request| async { contexts(to).put_context(request).await };
        let answer = self.call_with(&self.retry_of(expected_version), request, send).await?;
        Ok(answer.version)
    }

    /// Deletes a key of the shared context of a task. Otherwise as [`Client::put_context`].
    ///
    /// # Errors
    /// [`Error::Rejected`] with `VERSION_CONFLICT` or `TASK_FINISHED`.
    pub async fn delete_context(
        &self,
        task_id: impl Into<String>,
        key: impl Into<String>,
        expected_version: Option<u64>,
    ) -> Result<u64, Error> {
        let (task_id, key, by) = (task_id.into(), key.into(), self.by.to_string());
        let request = DeleteContextRequest { task_id, key, expected_version, by };
        let send = |to, request| async { contexts(to).delete_context(request).await };
        let answer = self.call_with(&self.retry_of(expected_version), request, send).await?;
        Ok(answer.version)
    }

    fn retry_of(&self, expected_version: Option<u64>) -> Retry {
        if expected_version.is_some() { Retry::none() } else { self.shared.retry.clone() }
    }

    /// What has changed from one snapshot of a task to another, or to its present state: the shared context, and the
    /// states of subtasks.
    ///
    /// # Errors
    /// [`Error::Rejected`] when there is no such task or snapshot.
    pub async fn diff_snapshots(
        &self,
        task_id: impl Into<String>,
        from: impl Into<String>,
        to: Option<&str>,
    ) -> Result<DiffSnapshotsResponse, Error> {
        let to = to.unwrap_or_default().to_owned();
        let request = DiffSnapshotsRequest { task_id: task_id.into(), from: from.into(), to };
        self.call(request, |to, request| async { tasks(to).diff_snapshots(request).await }).await
    }
}

/// The generated client of the context service, with our limits.
fn contexts(to: Channel) -> ContextServiceClient<Channel> {
    ContextServiceClient::new(to).max_decoding_message_size(RESPONSE_BYTES_MAX)
}
