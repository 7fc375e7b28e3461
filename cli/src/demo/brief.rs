//! A brief as an executable gets it from the stock worker on standard input; only what the demo's agents read.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

/// The part of a brief that matters here.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Brief {
    pub(crate) attempt: u32,
    #[serde(default)]
    pub(crate) input: Value,
    #[serde(default)]
    dependencies: BTreeMap<String, Dependency>,
}

#[derive(Debug, Default, Deserialize)]
struct Dependency {
    #[serde(default)]
    output: Value,
}

impl Brief {
    /// What a direct dependency delivered; null when there is none of this key.
    pub(crate) fn output(&self, key: &str) -> &Value {
        self.dependencies.get(key).map_or(&Value::Null, |dependency| &dependency.output)
    }
}
