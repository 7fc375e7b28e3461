//! Stored workflows: plans with parameters, kept by name and version. Pure: what a definition says (`schema` of its
//! parameters, `template` of its plan), and how two of them differ (`diff`). Where versions are kept is the store's,
//! how requests say them is `wire`'s, and what is done with them the engine's.

pub(crate) mod diff;
pub(crate) mod schema;
pub(crate) mod template;
pub(crate) mod text;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The member of a task's context that holds the parameters it was started with: `context.params.env` in expressions.
pub(crate) const PARAMS: &str = "params";

/// What a version says, but for its description, which lists show and which is therefore kept beside it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Definition {
    /// A JSON Schema of an object. `None`: there are no parameters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) parameters: Option<Box<RawValue>>,
    /// The names that inputs may refer to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) secrets: Vec<String>,
    /// The plan document, with references to parameters and secrets where values will stand.
    pub(crate) plan: Box<RawValue>,
}
