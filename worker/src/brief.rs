//! The JSON that executors hand over and take back; described at the top of the crate.

use std::collections::BTreeMap;

use downbeat_sdk::{
    Artifact, Context, HandlerError, Output,
    proto::{Brief, SubtaskState},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The key of an output object that holds its artifacts.
const ARTIFACTS_KEY: &str = "$artifacts";

#[derive(Serialize)]
struct BriefJson<'a> {
    task_id: &'a str,
    subtask_id: &'a str,
    key: &'a str,
    agent: &'a str,
    attempt: u32,
    lease_id: i64,
    title: &'a str,
    description: &'a str,
    input: &'a RawValue,
    dependencies: BTreeMap<&'a str, DependencyJson<'a>>,
    context: &'a RawValue,
    /// RFC 3339.
    deadline: Option<String>,
}

#[derive(Serialize)]
struct DependencyJson<'a> {
    state: String,
    output: Box<RawValue>,
    artifacts: Vec<ArtifactJson<'a>>,
}

#[derive(Serialize)]
struct ArtifactJson<'a> {
    name: &'a str,
    uri: &'a str,
    media_type: &'a str,
    size_bytes: u64,
    digest: &'a str,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ArtifactOutput {
    name: String,
    uri: String,
    #[serde(default)]
    media_type: String,
    #[serde(default)]
    size_bytes: u64,
    #[serde(default)]
    digest: String,
}

/// The brief of an attempt as JSON text, with every output of a dependency, however large.
pub(crate) async fn to_json(context: &Context) -> Result<Vec<u8>, HandlerError> {
    let brief = context.brief();
    let mut dependencies = BTreeMap::new();
    for dependency in &brief.dependencies {
        let output = context.dependency_output(&dependency.key).await?;
        let artifacts = dependency.artifacts.iter().map(|artifact| ArtifactJson {
            name: &artifact.name,
            uri: &artifact.uri,
            media_type: &artifact.media_type,
            size_bytes: artifact.size_bytes,
            digest: &artifact.digest,
        });
        let json = DependencyJson {
            state: state_name(dependency.state()),
            output: raw("the output of a dependency", &output, "null")?.to_owned(),
            artifacts: artifacts.collect(),
        };
        dependencies.insert(dependency.key.as_str(), json);
    }
    let Brief { task_id, subtask_id, key, agent, attempt, title, description, .. } = brief;
    let json = BriefJson {
        task_id,
        subtask_id,
        key,
        agent,
        attempt: *attempt,
        lease_id: context.lease_id(),
        title,
        description,
        input: raw("the input", &brief.input, "null")?,
        dependencies,
        context: raw("the context", &brief.context, "{}")?,
        deadline: deadline(brief.deadline_ms),
    };
    serde_json::to_vec(&json).map_err(|error| invalid_brief("the brief", &error))
}

/// Reads what an executor put out.
pub(crate) fn to_output(text: &[u8]) -> Result<Output, String> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(Output::null());
    }
    if text.starts_with(b"{") {
        let mut members: BTreeMap<String, &RawValue> =
            serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if let Some(artifacts) = members.remove(ARTIFACTS_KEY) {
            let artifacts: Vec<ArtifactOutput> = serde_json::from_str(artifacts.get())
                .map_err(|error| format!("{ARTIFACTS_KEY:?} is not a list of artifacts: {error}"))?;
            let output = serde_json::to_vec(&members).map_err(|error| error.to_string())?;
            return Ok(Output::from_json_text(output).artifacts(artifacts.into_iter().map(artifact)));
        }
    } else {
        serde_json::from_slice::<&RawValue>(text).map_err(|error| error.to_string())?;
    }
    Ok(Output::from_json_text(text.to_vec()))
}

fn artifact(artifact: ArtifactOutput) -> Artifact {
    let ArtifactOutput { name, uri, media_type, size_bytes, digest } = artifact;
    Artifact::new(name, uri).media_type(media_type).size_bytes(size_bytes).digest(digest)
}

/// JSON text as it is; `empty` stands for no text.
fn raw<'a>(what: &str, text: &'a [u8], empty: &'static str) -> Result<&'a RawValue, HandlerError> {
    let text = if text.is_empty() { empty.as_bytes() } else { text };
    serde_json::from_slice(text).map_err(|error| invalid_brief(what, &error))
}

fn invalid_brief(what: &str, error: &serde_json::Error) -> HandlerError {
    HandlerError::fatal("INVALID_BRIEF", format!("{what} is not JSON: {error}"))
}

/// The state as the rest of the world writes it: `completed`.
fn state_name(state: SubtaskState) -> String {
    state.as_str_name().trim_start_matches("SUBTASK_STATE_").to_ascii_lowercase()
}

fn deadline(deadline_ms: i64) -> Option<String> {
    let at = Timestamp::from_millisecond(deadline_ms).ok().filter(|_| deadline_ms > 0)?;
    Some(at.to_string())
}
