//! The JSON that executors hand over and take back; described at the top of the crate. What an executor asks for beside
//! its output, children and to be run again, is done here.

use std::collections::BTreeMap;

use downbeat_sdk::{
    Artifact, Context, HandlerError, Output, Subtask,
    proto::{Brief, Dependency, SubtaskState},
};
use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Value, value::RawValue};

use crate::secrets;

/// The key of an output object that holds its artifacts.
const ARTIFACTS_KEY: &str = "$artifacts";
/// The one that holds children to add.
const SPAWN_KEY: &str = "$spawn";
/// The one that holds writes to the shared context.
const CONTEXT_KEY: &str = "$context";
/// The one that asks to be run again when the children have ended.
const SUSPEND_KEY: &str = "$suspend";

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
    /// Null outside maps, as `nth` outside of maps and loops.
    item: &'a RawValue,
    nth: Option<u32>,
    dependencies: BTreeMap<&'a str, DependencyJson<'a>>,
    children: BTreeMap<&'a str, DependencyJson<'a>>,
    context: &'a RawValue,
    /// Of the keys in `context`, where the plan says which.
    context_versions: BTreeMap<&'a str, u64>,
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

/// A write to the shared context.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Write<'a> {
    key: String,
    #[serde(borrow, default, deserialize_with = "present")]
    value: Option<&'a RawValue>,
    #[serde(default)]
    delete: bool,
    expected_version: Option<u64>,
}

/// A write that says either what or that nothing is to be there.
#[derive(Debug)]
struct Change {
    key: String,
    /// `None`: the key is deleted.
    value: Option<Box<RawValue>>,
    expected_version: Option<u64>,
}

/// What an executor put out.
#[derive(Debug)]
pub(crate) struct Said {
    output: Output,
    spawn: Vec<Subtask>,
    writes: Vec<Change>,
}

impl Said {
    fn output(output: Output) -> Self {
        Self { output, spawn: Vec::new(), writes: Vec::new() }
    }

    /// Writes to the shared context, adds the children, and gives what the attempt hands back.
    pub(crate) async fn done(self, context: &Context) -> Result<Output, HandlerError> {
        for Change { key, value, expected_version } in self.writes {
            let shared = context.shared();
            match (value, expected_version) {
                (Some(value), Some(version)) => shared.compare_and_set(&key, version, &value).await?,
                (Some(value), None) => shared.put(&key, &value).await?,
                (None, expected_version) => shared.delete(&key, expected_version).await?,
            };
        }
        if !self.spawn.is_empty() {
            context.spawn(self.spawn).await?;
        }
        Ok(self.output)
    }
}

/// The brief of an attempt as JSON text, with every output of a dependency or child, however large.
pub(crate) async fn to_json(context: &Context) -> Result<Vec<u8>, HandlerError> {
    let brief = context.brief();
    let mut dependencies = BTreeMap::new();
    for dependency in &brief.dependencies {
        let output = context.dependency_output(&dependency.key).await?;
        dependencies.insert(dependency.key.as_str(), delivered(dependency, &output)?);
    }
    let mut children = BTreeMap::new();
    for child in context.children() {
        let output = context.child_output(&child.key).await?;
        children.insert(child.key.as_str(), delivered(child, &output)?);
    }
    let Brief { task_id, subtask_id, key, agent, attempt, title, description, .. } = brief;
    let input = raw("the input", &brief.input, "null")?;
    // An element of a map that stands for the input comes from another agent.
    let is_own = brief.item.is_empty() || brief.item != brief.input;
    let with_secrets = if is_own { secrets::put_in(input, secrets::of_environment)? } else { None };
    let json = BriefJson {
        task_id,
        subtask_id,
        key,
        agent,
        attempt: *attempt,
        lease_id: context.lease_id(),
        title,
        description,
        input: with_secrets.as_deref().unwrap_or(input),
        item: raw("the item", &brief.item, "null")?,
        nth: brief.nth,
        dependencies,
        children,
        context: raw("the context", &brief.context, "{}")?,
        context_versions: brief
            .context_versions
            .iter()
            .map(|(key, version)| (key.as_str(), *version))
            .collect(),
        deadline: deadline(brief.deadline_ms),
    };
    serde_json::to_vec(&json).map_err(|error| invalid_brief("the brief", &error))
}

/// Reads what an executor put out.
pub(crate) fn read(text: &[u8]) -> Result<Said, String> {
    let text = text.trim_ascii();
    if text.is_empty() {
        return Ok(Said::output(Output::null()));
    }
    if !text.starts_with(b"{") {
        serde_json::from_slice::<&RawValue>(text).map_err(|error| error.to_string())?;
        return Ok(Said::output(Output::from_json_text(text.to_vec())));
    }
    let mut members: BTreeMap<String, &RawValue> =
        serde_json::from_slice(text).map_err(|error| error.to_string())?;
    let all = members.len();
    let spawn = members.remove(SPAWN_KEY).map_or(Ok(Vec::new()), children)?;
    let writes = members.remove(CONTEXT_KEY).map_or(Ok(Vec::new()), changes)?;
    let suspends = members.remove(SUSPEND_KEY).map_or(Ok(false), |said| truth(SUSPEND_KEY, said))?;
    if suspends {
        return match members.keys().next() {
            None => Ok(Said { output: Output::suspend(), spawn, writes }),
            Some(key) => Err(format!(
                "with {SUSPEND_KEY:?} there is no output yet: expected only {SPAWN_KEY:?} and {CONTEXT_KEY:?} beside it, \
                 got {key:?}"
            )),
        };
    }
    let artifacts: Vec<ArtifactOutput> = match members.remove(ARTIFACTS_KEY) {
        None if members.len() == all => {
            return Ok(Said { output: Output::from_json_text(text.to_vec()), spawn, writes });
        }
        None => Vec::new(),
        Some(artifacts) => serde_json::from_str(artifacts.get())
            .map_err(|error| format!("{ARTIFACTS_KEY:?} is not a list of artifacts: {error}"))?,
    };
    let output = serde_json::to_vec(&members).map_err(|error| error.to_string())?;
    let output = Output::from_json_text(output).artifacts(artifacts.into_iter().map(artifact));
    Ok(Said { output, spawn, writes })
}

fn children(said: &RawValue) -> Result<Vec<Subtask>, String> {
    let document: Value = serde_json::from_str(said.get()).map_err(|error| error.to_string())?;
    Subtask::list_from_document(SPAWN_KEY, &document).map_err(|error| error.to_string())
}

fn changes(said: &RawValue) -> Result<Vec<Change>, String> {
    let writes: Vec<Write<'_>> = serde_json::from_str(said.get())
        .map_err(|error| format!("{CONTEXT_KEY:?} is not a list of writes: {error}"))?;
    let change = |(n, write): (usize, Write<'_>)| {
        let Write { key, value, delete, expected_version } = write;
        if delete == value.is_some() {
            return Err(format!("{CONTEXT_KEY}[{n}]: expected either \"value\" or \"delete\": true"));
        }
        Ok(Change { key, value: value.map(ToOwned::to_owned), expected_version })
    };
    writes.into_iter().enumerate().map(change).collect()
}

/// `null` is a value.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<&'de RawValue>, D::Error> {
    Deserialize::deserialize(value).map(Some)
}

fn truth(key: &str, said: &RawValue) -> Result<bool, String> {
    serde_json::from_str(said.get()).map_err(|_| format!("{key:?}: expected true or false, got {said}"))
}

fn delivered<'a>(by: &'a Dependency, output: &[u8]) -> Result<DependencyJson<'a>, HandlerError> {
    let artifacts = by.artifacts.iter().map(|artifact| ArtifactJson {
        name: &artifact.name,
        uri: &artifact.uri,
        media_type: &artifact.media_type,
        size_bytes: artifact.size_bytes,
        digest: &artifact.digest,
    });
    Ok(DependencyJson {
        state: state_name(by.state()),
        output: raw(&format!("the output of {:?}", by.key), output, "null")?.to_owned(),
        artifacts: artifacts.collect(),
    })
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
