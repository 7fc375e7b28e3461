//! The shared context of the tasks that a worker has something of: its reads and writes, each answered on its stream.

use std::time::Duration;

use downbeat_core::{
    command::{self, WriteContext, Writer},
    id::{SessionNo, TenantNo},
    reject::Reject,
};
use downbeat_proto::v1::{self, context_answer::Verdict, session_response::Message as ToWire};
use tokio::sync::mpsc;
use tonic::Status;

use super::{message, told};
use crate::{engine::Engine, failure::Failure, wire};

/// Reads and writes for one session.
pub(super) struct SharedContext {
    pub(super) engine: Engine,
    pub(super) tenant: TenantNo,
    pub(super) session: SessionNo,
    pub(super) out: mpsc::Sender<Result<v1::SessionResponse, Status>>,
}

impl SharedContext {
    /// However long the database is away: the worker waits for the answer, and does not ask again on this stream.
    pub(super) async fn write(&self, asked: v1::ContextWrite) {
        let Some(lease) = asked.lease else { return };
        let request = asked.request;
        let (verdict, message, version) = match wire::context::under_lease(&asked.key, asked.value.as_ref()) {
            Ok(value) => {
                let at = wire::session::lease(&lease);
                let writer = Writer::Worker { at, session: self.session, request };
                let (key, expected_version) = (asked.key, asked.expected_version);
                self.written(at, WriteContext { key, value, expected_version, writer }).await
            }
            Err(failure) => (Verdict::Refused, told(&failure), 0),
        };
        let (lease, entries) = (Some(lease), Vec::new());
        self.answer(v1::ContextAnswer { lease, request, verdict: verdict.into(), message, version, entries })
            .await;
    }

    async fn written(&self, at: downbeat_core::id::LeaseAt, write: WriteContext) -> (Verdict, String, u64) {
        loop {
            match self.engine.write_context_under(self.tenant, at, write.clone()).await {
                Ok((command::Verdict::Accepted | command::Verdict::Duplicate, version)) => {
                    return (Verdict::Done, String::new(), version);
                }
                Ok((command::Verdict::Stale, _)) => return (Verdict::Stale, STALE.into(), 0),
                Err(Failure::Reject(reject)) => {
                    let message = reject.to_string();
                    return match reject {
                        Reject::VersionConflict { version, .. } => (Verdict::Conflict, message, version),
                        _ => (Verdict::Refused, message, 0),
                    };
                }
                Err(Failure::Unavailable { retry_after_ms, .. }) => pause(retry_after_ms).await,
                Err(failure) => return (Verdict::Refused, told(&failure), 0),
            }
        }
    }

    /// As [`write`](SharedContext::write).
    pub(super) async fn read(&self, asked: v1::ContextRead) {
        let v1::ContextRead { lease, request, key } = asked;
        let Some(lease) = lease else { return };
        let at = wire::session::lease(&lease);
        let (verdict, message, entries) = loop {
            let key = Some(key.clone()).filter(|key| !key.is_empty());
            match self.engine.read_context_under(self.tenant, self.session, at, key).await {
                Ok(Some(entries)) => break (Verdict::Done, String::new(), entries),
                Ok(None) => break (Verdict::Stale, STALE.into(), Vec::new()),
                Err(Failure::Unavailable { retry_after_ms, .. }) => pause(retry_after_ms).await,
                Err(failure) => break (Verdict::Refused, told(&failure), Vec::new()),
            }
        };
        let entries = entries.into_iter().map(wire::context::entry).collect();
        let (lease, version) = (Some(lease), 0);
        self.answer(v1::ContextAnswer { lease, request, verdict: verdict.into(), message, version, entries })
            .await;
    }

    async fn answer(&self, answer: v1::ContextAnswer) {
        // A stream that has ended has nobody to be told.
        let _ = self.out.send(Ok(message(ToWire::ContextAnswer(answer)))).await;
    }
}

const STALE: &str = "the lease is no longer current";

async fn pause(ms: u64) {
    tokio::time::sleep(Duration::from_millis(ms)).await;
}
