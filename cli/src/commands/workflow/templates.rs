//! `downbeat workflow templates`: workflows that ship with the binary.

use serde_json::{Value, json};

use crate::{
    failure::Result,
    out::Out,
    table::{self, cell},
    task_file,
};

macro_rules! templates {
    ($($name:literal)*) => {
        &[$(Template {
            name: $name,
            text: include_str!(concat!("../../../../examples/workflows/", $name, ".yaml")),
        }),*]
    };
}

const ALL: &[Template] = templates!(
    "coordinator"
    "generate-approve-execute"
    "hierarchical-coordinators"
    "map-reduce"
    "plan-execute-review"
    "think-act-observe"
);

/// A workflow that ships.
#[derive(Debug, Clone, Copy)]
pub(super) struct Template {
    name: &'static str,
    text: &'static str,
}

impl Template {
    /// What it is called, and what it says.
    pub(super) fn document(self) -> Result<(String, Value)> {
        let name = format!("template {}", self.name);
        let document = task_file::parse_yaml(&name, self.text)?;
        Ok((name, document))
    }
}

/// The template of that name.
pub(super) fn find(name: &str) -> std::result::Result<Template, String> {
    let known = || ALL.iter().map(|template| template.name).collect::<Vec<_>>().join(", ");
    let found = ALL.iter().find(|template| template.name == name).copied();
    found.ok_or_else(|| format!("expected one of {}", known()))
}

/// List the workflows that ship with this binary, or show one
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat workflow templates
  downbeat workflow templates map-reduce > mine.yaml
  downbeat workflow create --template map-reduce")]
pub(super) struct Args {
    /// The one to show, with the commands to try it
    #[arg(value_name = "NAME", value_parser = find)]
    name: Option<Template>,
}

impl Args {
    pub(super) fn run(self, out: &mut Out) -> Result {
        if let Some(template) = self.name {
            return if out.json { out.json(&template.document()?.1) } else { out.text(template.text) };
        }
        let mut all = Vec::new();
        for template in ALL {
            let (_, document) = template.document()?;
            all.push((template.name, document["description"].as_str().unwrap_or_default().to_owned()));
        }
        if out.json {
            let each = all.iter().map(|(name, said)| json!({"name": name, "description": said}));
            return out.json(&json!({"templates": each.collect::<Vec<_>>()}));
        }
        let rows = all.into_iter().map(|(name, said)| vec![cell(name), cell(said)]).collect();
        let lines = table::titled(&out.term, &["template", "description"], rows);
        lines.into_iter().try_for_each(|line| out.line(line))
    }
}
