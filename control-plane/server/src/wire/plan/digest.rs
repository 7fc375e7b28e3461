//! What two plans differ by, encoded so that no two of them have the same encoding.

use blake3::Hasher;
use downbeat_core::draft::{
    Approval, Approvers, Call, Choice, ContextKeys, Does, Draft, Failures, Goal, Loop, Map, Retry, RunIf,
    SignalGate, Timer,
};

use super::{Entry, Undo, Written};
use crate::wire::{json::Document, words::Word};

/// Changes whenever the encoding of [`more`] does: a digest is compared with stored ones.
const MORE_CONTEXT: &str = "downbeat 2026 subtask 1";
/// Stands where the next subtask's key would begin: no text is as long.
const MORE: u64 = u64::MAX;

/// Every part carries its length, so that no two requests have the same encoding.
pub(crate) struct Encoding {
    context: &'static str,
    /// Begun with the first part: most subtasks say nothing more, and a hasher is large.
    hasher: Option<Box<Hasher>>,
}

impl Encoding {
    pub(crate) fn new(context: &'static str) -> Encoding {
        Encoding { context, hasher: None }
    }

    pub(crate) fn finish(mut self) -> [u8; 32] {
        *self.hasher().finalize().as_bytes()
    }

    fn hasher(&mut self) -> &mut Hasher {
        self.hasher.get_or_insert_with(|| Box::new(Hasher::new_derive_key(self.context)))
    }

    pub(crate) fn text(&mut self, text: &str) {
        self.bytes(&(text.len() as u64).to_le_bytes());
        self.bytes(text.as_bytes());
    }

    pub(crate) fn texts(&mut self, texts: &[String]) {
        self.count(texts);
        texts.iter().for_each(|text| self.text(text));
    }

    pub(crate) fn number(&mut self, number: Option<i64>) {
        self.bytes(&[u8::from(number.is_some())]);
        self.bytes(&number.unwrap_or_default().to_le_bytes());
    }

    pub(crate) fn document(&mut self, document: Option<&Document>) {
        self.bytes(&[u8::from(document.is_some())]);
        self.bytes(document.map_or(&[0; 32], |document| &document.digest));
    }

    /// A plan: without goals as it was before there were any.
    pub(crate) fn plan(&mut self, plan: &Written) {
        self.entries(&plan.subtasks);
        if !plan.goals.is_empty() {
            self.text("goals");
            self.count(&plan.goals);
            for Goal { name, description } in &plan.goals {
                self.text(name);
                self.text(description);
            }
        }
    }

    /// Subtasks, with how many they are.
    pub(crate) fn entries(&mut self, entries: &[Entry]) {
        self.count(entries);
        entries.iter().for_each(|entry| self.entry(entry));
    }

    fn entry(&mut self, entry: &Entry) {
        let Entry { draft, input, .. } = entry;
        self.text(&draft.key);
        self.text(&draft.agent);
        self.texts(&draft.capabilities);
        self.document(input.as_ref());
        self.texts(&draft.depends_on);
        self.number(draft.sla_seconds.map(i64::from));
        self.number(draft.max_attempts.map(i64::from));
        self.number(draft.priority.map(|priority| priority.proto().into()));
        let more = more(entry);
        if more.hasher.is_some() {
            self.bytes(&MORE.to_le_bytes());
            self.bytes(&more.finish());
        }
    }

    fn count<T>(&mut self, items: &[T]) {
        self.number(Some(i64::try_from(items.len()).unwrap_or(i64::MAX)));
    }

    fn word(&mut self, word: impl Word) {
        self.number(Some(word.proto().into()));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.hasher().update(bytes);
    }
}

/// What says more than agent, input and dependencies, each part by its name. Of a subtask that says nothing more it is
/// empty, so that it is what it was before there was more to say.
fn more(Entry { draft, output_schema, undo, does, .. }: &Entry) -> Encoding {
    let mut more = Encoding::new(MORE_CONTEXT);
    let Draft { retry, fallback, run_if, when, on_failure, serves, context, .. } = draft;
    if *run_if != RunIf::default() {
        more.text("run_if");
        more.word(*run_if);
    }
    if let Some(when) = when {
        more.text("when");
        more.text(when);
    }
    if let Some(on_failure) = on_failure {
        more.text("on_failure");
        more.word(*on_failure);
    }
    if *retry != Retry::default() {
        more.text("retry");
        more.number(retry.backoff_seconds.map(i64::from));
        more.number(retry.max_backoff_seconds.map(i64::from));
        more.texts(&retry.non_retryable);
    }
    if !fallback.is_empty() {
        more.text("fallback");
        more.texts(fallback);
    }
    if output_schema.is_some() {
        more.text("output_schema");
        more.document(output_schema.as_ref());
    }
    if !serves.is_empty() {
        more.text("serves");
        more.texts(serves);
    }
    if let Some(Undo { draft, input }) = undo {
        more.text("compensate");
        more.text(&draft.agent);
        more.texts(&draft.capabilities);
        more.document(input.as_ref());
    }
    match context {
        ContextKeys::Given => {}
        ContextKeys::All => more.text("whole context"),
        ContextKeys::Only(keys) => {
            more.text("context");
            more.texts(keys);
        }
    }
    does_what(&mut more, does);
    more
}

fn does_what(more: &mut Encoding, does: &Does<Vec<Entry>>) {
    match does {
        Does::Work | Does::Round => {}
        Does::Approval(Approval { message, approvers, quorum, options, timeout_seconds, on_timeout }) => {
            more.text("approval");
            more.text(message);
            more.count(approvers);
            for Approvers { names, roles } in approvers {
                more.texts(names);
                more.texts(roles);
            }
            more.number(Some((*quorum).into()));
            more.count(options);
            for Choice { name, then } in options {
                more.text(name);
                more.word(*then);
            }
            more.number(timeout_seconds.map(i64::from));
            more.word(*on_timeout);
        }
        Does::Signal(SignalGate { name, matches, timeout_seconds }) => {
            more.text("signal");
            more.text(name);
            more.text(matches.as_deref().unwrap_or_default());
            more.number(timeout_seconds.map(i64::from));
        }
        Does::Timer(timer) => {
            let (after, until) = match timer {
                Timer::Seconds(seconds) => (Some(i64::from(*seconds)), None),
                Timer::Until(time) => (None, Some(time.0)),
            };
            more.text("timer");
            more.number(after);
            more.number(until);
        }
        Does::Workflow(Call { name, version, parameters_from }) => {
            more.text("workflow");
            more.text(name);
            more.number(version.map(i64::from));
            more.text(parameters_from.as_deref().unwrap_or_default());
        }
        Does::Group(body) => {
            more.text("group");
            more.entries(body);
        }
        Does::Map(Map { over, max_parallel, failures, body }) => {
            more.text("map");
            more.text(over);
            more.number(max_parallel.map(i64::from));
            more.number(match failures {
                Failures::FailFast => None,
                Failures::Tolerate(most) => Some(i64::from(*most)),
                Failures::Continue => Some(-1),
            });
            more.entries(body);
        }
        Does::Loop(Loop { until, max_iterations, on_limit, body }) => {
            more.text("loop");
            more.text(until);
            more.number(Some((*max_iterations).into()));
            more.word(*on_limit);
            more.entries(body);
        }
    }
}
