//! What an attempt writes to the shared context of its task: one key, which it compares and sets until it is through.

use bytes::Bytes;
use downbeat_core::id::LeaseAt;
use downbeat_proto::v1::{self, context_answer::Verdict};

use crate::sim::{World, plans};

/// So often a write that was too late is tried again.
const TRIES: u32 = 3;

#[derive(Debug)]
pub(super) struct Write {
    key: String,
    deletes: bool,
    expected: Option<u64>,
    /// Of the message that is under way.
    request: Option<u64>,
    tries: u32,
}

impl Write {
    /// What one attempt in three writes.
    pub(super) fn draw(world: &World) -> Option<Write> {
        world.draw(|rng| {
            let key = rng.pick(&plans::KEYS).copied().unwrap_or_default().to_owned();
            let expected = rng.per_mille(700).then(|| rng.below(4));
            let write = Write { key, deletes: rng.per_mille(150), expected, request: None, tries: TRIES };
            rng.per_mille(330).then_some(write)
        })
    }

    /// The message; the same again as long as it was not answered.
    pub(super) fn message(&mut self, world: &World, at: LeaseAt) -> v1::ContextWrite {
        let request = *self.request.get_or_insert_with(|| world.number());
        let LeaseAt { task, index, lease } = at;
        let value = format!("{{\"lease\":{lease},\"request\":{request}}}");
        v1::ContextWrite {
            lease: Some(v1::LeaseRef { lease_id: lease.0, task_no: task.0, index }),
            request,
            key: self.key.clone(),
            value: (!self.deletes).then(|| Bytes::from(value)),
            expected_version: self.expected,
        }
    }

    /// Whether this is the number of the message under way.
    pub(super) fn is(&self, request: u64) -> bool {
        self.request == Some(request)
    }

    /// Whether there is another message to be sent, after this answer.
    pub(super) fn tries_again(&mut self, answer: &v1::ContextAnswer) -> bool {
        let again = answer.verdict() == Verdict::Conflict && self.tries > 0;
        if again {
            self.tries -= 1;
            self.request = None;
            self.expected = Some(answer.version);
        }
        again
    }
}
