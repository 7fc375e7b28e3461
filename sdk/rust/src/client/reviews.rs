//! What a person may do with one subtask, named by its id or its key. Every call answers with the state that the
//! subtask is in afterwards. Who does it is said by [`Client::by`].

use serde::Serialize;
use tonic::transport::Channel;

use crate::{
    Client, DecideSubtask, Error,
    proto::{
        CompleteSubtaskRequest, FailSubtaskRequest, ReleaseSubtaskRequest, RetrySubtaskRequest,
        SkipSubtaskRequest, SubtaskState, review_service_client::ReviewServiceClient,
    },
    request::json,
};

impl Client {
    /// Gives a subtask that needs review another round of attempts.
    ///
    /// # Errors
    /// [`Error::Rejected`] when it does not need review.
    pub async fn retry_subtask(
        &self,
        task_id: impl Into<String>,
        subtask: impl Into<String>,
    ) -> Result<SubtaskState, Error> {
        let request = RetrySubtaskRequest {
            task_id: task_id.into(),
            subtask_id: subtask.into(),
            by: self.by.to_string(),
        };
        let answer =
            self.call(request, |to, request| async { reviews(to).retry_subtask(request).await }).await?;
        Ok(answer.state())
    }

    /// Goes on without a subtask: what depends on it sees a `null` output.
    ///
    /// # Errors
    /// [`Error::Rejected`] when it has ended.
    pub async fn skip_subtask(
        &self,
        task_id: impl Into<String>,
        subtask: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<SubtaskState, Error> {
        let request = SkipSubtaskRequest {
            task_id: task_id.into(),
            subtask_id: subtask.into(),
            reason: reason.into(),
            by: self.by.to_string(),
        };
        let answer =
            self.call(request, |to, request| async { reviews(to).skip_subtask(request).await }).await?;
        Ok(answer.state())
    }

    /// Gives a subtask up: it fails, what depends on it is skipped, the task ends as failed.
    ///
    /// # Errors
    /// [`Error::Rejected`] when it has ended.
    pub async fn fail_subtask(
        &self,
        task_id: impl Into<String>,
        subtask: impl Into<String>,
        reason: impl Into<String>,
    ) -> Result<SubtaskState, Error> {
        let request = FailSubtaskRequest {
            task_id: task_id.into(),
            subtask_id: subtask.into(),
            reason: reason.into(),
            by: self.by.to_string(),
        };
        let answer =
            self.call(request, |to, request| async { reviews(to).fail_subtask(request).await }).await?;
        Ok(answer.state())
    }

    /// Completes a subtask with an output supplied by hand.
    ///
    /// # Errors
    /// [`Error::InvalidJson`] or [`Error::TooLarge`] before anything is sent; [`Error::Rejected`] when it has ended.
    pub async fn complete_subtask<T: Serialize + ?Sized>(
        &self,
        task_id: impl Into<String>,
        subtask: impl Into<String>,
        output: &T,
    ) -> Result<SubtaskState, Error> {
        let request = CompleteSubtaskRequest {
            task_id: task_id.into(),
            subtask_id: subtask.into(),
            output: json("the output", output)?,
            by: self.by.to_string(),
        };
        let answer =
            self.call(request, |to, request| async { reviews(to).complete_subtask(request).await }).await?;
        Ok(answer.state())
    }

    /// Lets a held subtask go on.
    ///
    /// # Errors
    /// [`Error::Rejected`] when it is not held.
    pub async fn release_subtask(
        &self,
        task_id: impl Into<String>,
        subtask: impl Into<String>,
    ) -> Result<SubtaskState, Error> {
        let request = ReleaseSubtaskRequest {
            task_id: task_id.into(),
            subtask_id: subtask.into(),
            by: self.by.to_string(),
        };
        let answer =
            self.call(request, |to, request| async { reviews(to).release_subtask(request).await }).await?;
        Ok(answer.state())
    }
}

impl Client {
    /// Chooses an option of an approval. It is `waiting` afterwards while more people have to choose the same. The same
    /// person may choose again until it is decided; the newest counts.
    ///
    /// ```no_run
    /// use downbeat_sdk::DecideSubtask;
    ///
    /// # async fn example(client: downbeat_sdk::Client) -> Result<(), downbeat_sdk::Error> {
    /// let task = client.get("release-42").await?;
    /// let gate = task.subtasks.iter().find(|subtask| subtask.key == "go").and_then(|go| go.gate.clone());
    /// if let Some(gate) = gate {
    ///     println!("{}", gate.message);
    ///     client.by("ada").decide(DecideSubtask::new("release-42", "go", "approve").digest(gate.digest)).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`Error::Rejected`]: `DIGEST_MISMATCH` when what is to be approved has changed since it was looked at,
    /// `NOT_AN_APPROVER`, `OPTION_UNKNOWN`, `SUBTASK_STATE` when it is not open.
    pub async fn decide(&self, decision: DecideSubtask) -> Result<SubtaskState, Error> {
        let mut request = decision.request;
        request.by = self.or_by(request.by);
        let answer =
            self.call(request, |to, request| async { reviews(to).decide_subtask(request).await }).await?;
        Ok(answer.state())
    }
}

/// The generated client of the review service.
fn reviews(to: Channel) -> ReviewServiceClient<Channel> {
    ReviewServiceClient::new(to)
}
