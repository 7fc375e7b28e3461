//! Stored workflows on the wire: what a client says of a version (here), and a run of one (`run`). `json` and `proto`
//! fill the same forms, so that a workflow means the same on either face.
//!
//! A version is judged when it is created, as far as that is possible without its parameters: with their defaults, and
//! with samples for those that have none. What is only wrong with a sample is not told; a run judges everything.

pub mod json;
pub mod proto;
pub(crate) mod run;

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::{check::Violation, limits};
use serde_json::value::RawValue;

use super::{
    check,
    json::Document,
    plan::{self, Reader, Written, digest::Encoding},
    problems::Problems,
};
use crate::{
    failure::Failure,
    workflow::{
        Definition,
        schema::Schema,
        template::{self, Names},
    },
};

/// Changes whenever the encoding below does: a digest is compared with stored ones.
const DIGEST_CONTEXT: &str = "downbeat 2026 workflow 1";
/// Where the plan's document stands in a request.
const PLAN: &str = "plan";
const PARAMETERS: &str = "parameters";

/// What a client says of a version, as far as it could be read.
#[derive(Debug, Default)]
pub(crate) struct Form {
    pub(crate) name: String,
    pub(crate) description: String,
    pub(crate) parameters: Option<Document>,
    pub(crate) secrets: Vec<String>,
    pub(crate) plan: Option<Document>,
    pub(crate) expected: Option<u32>,
    pub(crate) by: String,
}

/// A version to be added, checked.
#[derive(Clone, Debug)]
pub struct NewVersion {
    pub(crate) name: String,
    /// Of its content.
    pub(crate) digest: [u8; 32],
    pub(crate) description: String,
    pub(crate) definition: Definition,
    /// The newest version that the client knows of.
    pub(crate) expected: Option<u32>,
    pub(crate) by: String,
}

/// A version to go back to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rollback {
    pub(crate) version: u32,
    pub(crate) expected: Option<u32>,
    pub(crate) by: String,
}

/// Checks a form. `problems` are those of reading it.
///
/// # Errors
/// `Invalid` with everything that is wrong, each with its field.
pub(crate) fn check(form: Form, mut problems: Problems) -> Result<NewVersion, Failure> {
    let digest = digest(&form);
    let Form { name, description, parameters, secrets, plan, expected, by } = form;
    problems.check(|found| {
        check::name("name", &name, found);
        check::text("description", &description, limits::MESSAGE_BYTES, "MESSAGE_BYTES", found);
        check_secrets(&secrets, found);
        if plan.is_none() {
            found.push(Violation::new(PLAN, "is required"));
        }
    });
    let by = check::by(by, &mut problems);
    let text = |document: Option<Document>| document.map(|document| document.text);
    let plan = text(plan).unwrap_or_else(|| RawValue::NULL.to_owned());
    let definition = Definition { parameters: text(parameters), secrets, plan };
    let bytes =
        definition.plan.get().len() + definition.parameters.as_ref().map_or(0, |text| text.get().len());
    if bytes > limits::WORKFLOW_BYTES {
        let most = limits::WORKFLOW_BYTES;
        problems.add(PLAN, format!("at most {most} bytes with its parameters (WORKFLOW_BYTES), got {bytes}"));
    } else {
        judge(&definition, &mut problems);
    }
    problems.finish(NewVersion { name, digest, description, definition, expected, by })
}

/// The schema of the parameters; where there are none, of an object without members.
fn schema(definition: &Definition, problems: &mut Problems) -> Schema {
    let mut schema = match &definition.parameters {
        Some(raw) => Schema::read(PARAMETERS, raw, problems),
        None => Schema::default(),
    };
    if !schema.is_of_objects() {
        problems.add(format!("{PARAMETERS}.type"), "must be `object`: its properties are the parameters");
    }
    for name in schema.properties.keys() {
        problems.check(|found| check::name(&format!("{PARAMETERS}.properties.{name}"), name, found));
    }
    schema.close();
    schema
}

/// Tells what is wrong with a version whatever its parameters are.
fn judge(definition: &Definition, problems: &mut Problems) {
    let schema = schema(definition, problems);
    if let Some(parameters) = &definition.parameters {
        template::refuse_references(PARAMETERS, parameters, problems);
    }
    if definition.plan.get() == RawValue::NULL.get() {
        return;
    }
    let value = |property: &Schema| match &property.default {
        Some(default) => default.clone(),
        None => {
            serde_json::value::to_raw_value(&property.sample()).unwrap_or_else(|_| RawValue::NULL.to_owned())
        }
    };
    let values: BTreeMap<String, Box<RawValue>> =
        schema.properties.iter().map(|(name, property)| (name.clone(), value(property))).collect();
    let names = Names { parameters: &values, secrets: &definition.secrets };
    let filled = template::fill(PLAN, &definition.plan, &names, problems);
    let mut found = Problems::default();
    let written = read_plan(&filled.text, &mut found);
    plan::finish_plan(written, &mut found);
    let Err(Failure::Invalid(found)) = found.finish(()) else { return };
    let sampled = |name: &str| schema.properties.get(name).is_some_and(|property| property.default.is_none());
    let samples: BTreeSet<&str> =
        filled.places.iter().filter(|(_, name)| sampled(name)).map(|(path, _)| path.as_str()).collect();
    problems
        .merge(found.into_iter().filter(|violation| !samples.contains(violation.field.as_str())).collect());
}

/// A filled plan.
fn read_plan(text: &str, problems: &mut Problems) -> Written {
    match serde_json::from_str::<&RawValue>(text) {
        Ok(raw) => plan::json::read(raw, &mut Reader::new(plan::PLAN, problems)),
        Err(error) => {
            problems.add(PLAN, format!("cannot be read: {error}"));
            Written::default()
        }
    }
}

fn check_secrets(secrets: &[String], found: &mut Vec<Violation>) {
    if secrets.len() > limits::SECRETS {
        let issue = format!("at most {} secrets (SECRETS), got {}", limits::SECRETS, secrets.len());
        found.push(Violation::new("secrets", issue));
    }
    for (i, name) in secrets.iter().enumerate() {
        let field = format!("secrets[{i}]");
        let inner = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.starts_with(|c: char| c.is_ascii_alphabetic()) || !name.chars().all(inner) {
            let name = name.escape_debug();
            let issue =
                format!("`{name}` is no name of a secret: letters, digits and `_`, starting with a letter");
            found.push(Violation::new(&field, issue));
        }
        check::bytes(&field, name, limits::NAME_BYTES, "NAME_BYTES", found);
    }
}

/// The same for the same content, whatever face it came through and however its JSON was written.
fn digest(form: &Form) -> [u8; 32] {
    let mut encoding = Encoding::new(DIGEST_CONTEXT);
    encoding.text(&form.description);
    encoding.document(form.parameters.as_ref());
    encoding.texts(&form.secrets);
    encoding.document(form.plan.as_ref());
    encoding.finish()
}
