//! Stored workflows as documents. Their plans are carried as they are: with references in the place of values they have
//! another shape than plans that run, and the control plane judges them.

use serde_json::Value;

use super::{Shape, json, read};
use crate::{Error, Workflow, proto::WorkflowDefinition};

const FIELDS: [&str; 5] = ["name", "description", "parameters", "secrets", "plan"];

impl Workflow {
    /// Reads a workflow as a document, of the same shape as the body of `POST /v1/workflows`.
    ///
    /// # Errors
    /// [`Error::InvalidDocument`] with everything that does not fit.
    pub fn from_document(document: &Value) -> Result<Self, Error> {
        read(|shape| shape.workflow(document))
    }
}

impl Shape {
    fn workflow(&mut self, document: &Value) -> Workflow {
        let empty = serde_json::Map::new();
        let fields = self.object("", document, &FIELDS).unwrap_or(&empty);
        let name = self.text("name", fields.get("name"));
        for missing in ["name", "plan"].iter().filter(|name| !fields.contains_key(**name)) {
            self.add(missing, "is missing");
        }
        for name in ["parameters", "plan"] {
            match fields.get(name) {
                None | Some(Value::Null | Value::Object(_)) => {}
                Some(other) => self.expected(name, "an object", other),
            }
        }
        let definition = WorkflowDefinition {
            description: self.text("description", fields.get("description")),
            parameters: json(fields.get("parameters")),
            secrets: self.texts("secrets", fields.get("secrets")),
            plan: json(fields.get("plan")),
        };
        Workflow::of(name, definition)
    }
}
