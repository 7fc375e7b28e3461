//! A run of a stored workflow: from a client's request, and the version it means, to a submission like any other.

use std::collections::BTreeMap;

use bytes::Bytes;
use downbeat_core::command::WorkflowAt;
use downbeat_store::WorkflowVersion;
use serde_json::value::RawValue;

use super::{PARAMETERS, PLAN, read_plan, schema};
use crate::{
    engine::{Start, Submission},
    failure::Failure,
    wire::{
        check,
        json::{self, Document},
        plan::digest::Encoding,
        problems::Problems,
        submission::{self, Form},
        words::Word,
    },
    workflow::{
        Definition, PARAMS,
        template::{self, Names},
        text::{members, quoted, separated},
    },
};

/// Changes whenever the encoding below does: a digest is compared with stored ones.
const DIGEST_CONTEXT: &str = "downbeat 2026 workflow run 1";
const METADATA: &str = "metadata";
/// The member of a task's metadata that becomes its context.
const CONTEXT: &str = "context";

/// A run as it is asked for, whatever version it means in the end.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) start: Start,
    parameters: Option<Document>,
    metadata: Option<Document>,
    /// Of the request, and not of the plan: the same request means the same task, also when there is a newer version.
    pub(crate) digest: [u8; 32],
}

impl Asked {
    /// The same, known by another digest than that of what it says.
    pub(crate) fn known_by(self, digest: [u8; 32]) -> Asked {
        Asked { digest, ..self }
    }
}

/// Checks what can be checked without the workflow.
///
/// # Errors
/// `Invalid` with everything that is wrong.
pub(crate) fn asked(start: Start) -> Result<Asked, Failure> {
    let mut problems = Problems::default();
    problems.check(|found| {
        check::name("name", &start.workflow, found);
        check::task_id(&start.task_id, found);
    });
    let mut document =
        |field: &str, raw: &Option<Box<RawValue>>| json::document(field, raw.as_deref()?, &mut problems);
    let (parameters, metadata) =
        (document(PARAMETERS, &start.parameters), document(METADATA, &start.metadata));
    let mut encoding = Encoding::new(DIGEST_CONTEXT);
    encoding.text(&start.task_id);
    encoding.text(&start.workflow);
    encoding.number(start.version.map(i64::from));
    encoding.text(&start.title);
    encoding.document(parameters.as_ref());
    encoding.document(metadata.as_ref());
    encoding.number(Some(start.priority.proto().into()));
    encoding.number(start.deadline.map(|deadline| deadline.0));
    problems.finish(Asked { parameters, metadata, digest: encoding.finish(), start })
}

/// The submission that a run means.
///
/// # Errors
/// `Invalid` with everything that is wrong with the parameters, or with the plan that they make.
pub(crate) fn submission(asked: Asked, version: &WorkflowVersion) -> Result<Submission, Failure> {
    let Asked { start, parameters, metadata, digest } = asked;
    let definition: Definition = serde_json::from_slice(&version.definition)
        .map_err(|error| Failure::Internal(format!("workflow {}: {error}", version.name)))?;
    let given = parameters.map_or_else(empty, |document| document.text);
    let given = values(&definition, &given)?;
    let mut problems = Problems::default();
    let names = Names { parameters: &given, secrets: &definition.secrets };
    let filled = template::fill(PLAN, &definition.plan, &names, &mut problems);
    let metadata = match &definition.parameters {
        Some(_) => with_params(metadata, &given, &mut problems),
        None => metadata,
    };
    let plan = Some(read_plan(&filled.text, &mut problems));
    let form = Form {
        task_id: start.task_id,
        title: if start.title.is_empty() { version.name.clone() } else { start.title },
        description: version.description.clone(),
        priority: Some(start.priority),
        metadata,
        deadline: start.deadline,
        plan,
        execute: start.execute,
    };
    let checked = submission::check(start.tenant, form, problems)?;
    let workflow = Some(WorkflowAt { name: version.name.clone(), version: version.version });
    Ok(Submission { digest, workflow, ..checked })
}

/// The parameters by their names, with defaults for those that are not given.
fn values(definition: &Definition, given: &RawValue) -> Result<BTreeMap<String, Box<RawValue>>, Failure> {
    let mut problems = Problems::default();
    let schema = schema(definition, &mut problems);
    if !given.get().starts_with('{') {
        problems.add(PARAMETERS, "must be an object, with a member for each parameter");
        return problems.finish(BTreeMap::new());
    }
    let filled = schema.filled(given);
    let value = serde_json::from_str(filled.get()).unwrap_or_default();
    schema.check(PARAMETERS, &value, &mut problems);
    template::refuse_references(PARAMETERS, given, &mut problems);
    let owned = |(name, value): (String, &RawValue)| (name, value.to_owned());
    problems.finish(members(&filled).unwrap_or_default().into_iter().map(owned).collect())
}

/// Metadata whose context holds the parameters, for expressions and briefs.
fn with_params(
    metadata: Option<Document>,
    params: &BTreeMap<String, Box<RawValue>>,
    problems: &mut Problems,
) -> Option<Document> {
    let metadata = metadata.map_or_else(empty, |document| document.text);
    // What is no object is told by whoever checks the submission.
    let of_task = members(&metadata)?;
    let context = of_task.iter().find(|(name, _)| name == CONTEXT).map_or(RawValue::NULL, |(_, raw)| *raw);
    let of_context = members(context).unwrap_or_default();
    if of_context.iter().any(|(name, _)| name == PARAMS) {
        problems.add(
            format!("{METADATA}.{CONTEXT}.{PARAMS}"),
            "is where the parameters will stand: leave it out",
        );
    }
    let mut text = String::new();
    object(&mut text, params.iter().map(|(name, value)| (name.as_str(), value.get())));
    let mut inner = String::new();
    let members = of_context.iter().map(|(name, value)| (name.as_str(), value.get()));
    object(&mut inner, members.chain([(PARAMS, text.as_str())]));
    if !matches!(context.get().as_bytes().first(), Some(b'{' | b'n')) {
        context.get().clone_into(&mut inner);
    }
    let mut whole = String::new();
    let others = of_task.iter().filter(|(name, _)| name != CONTEXT);
    let members = others.map(|(name, value)| (name.as_str(), value.get()));
    object(&mut whole, members.chain([(CONTEXT, inner.as_str())]));
    json::read(METADATA, whole.as_bytes(), problems)
}

/// Metadata of a task for one within it: as it is, but for the parameters, of which the other one has its own.
pub(crate) fn without_params(metadata: &[u8]) -> Bytes {
    let stripped = || {
        let metadata: &RawValue = serde_json::from_slice(metadata).ok()?;
        let of_task = members(metadata)?;
        let (_, context) = of_task.iter().find(|(name, _)| name == CONTEXT)?;
        let of_context = members(context).filter(|members| members.iter().any(|(name, _)| name == PARAMS))?;
        let mut inner = String::new();
        let kept = of_context.iter().filter(|(name, _)| name != PARAMS);
        object(&mut inner, kept.map(|(name, value)| (name.as_str(), value.get())));
        let mut whole = String::new();
        let value = |(name, value)| if name == CONTEXT { inner.as_str() } else { value };
        let members = of_task.iter().map(|(name, value)| (name.as_str(), value.get()));
        object(&mut whole, members.map(|member| (member.0, value(member))));
        Some(Bytes::from(whole))
    };
    stripped().unwrap_or_else(|| Bytes::copy_from_slice(metadata))
}

fn object<'a>(out: &mut String, members: impl Iterator<Item = (&'a str, &'a str)>) {
    separated(out, ['{', '}'], members, |out, (name, value)| {
        out.push_str(&quoted(name));
        out.push(':');
        out.push_str(value);
    });
}

fn empty() -> Box<RawValue> {
    RawValue::from_string("{}".into()).unwrap_or_else(|_| RawValue::NULL.to_owned())
}
