//! `downbeat workflow create|update|rollback|delete`.

use downbeat_sdk::Stored;
use serde_json::json;

use super::{show, templates};
use crate::{args::Connection, failure::Result, out::Out, review::By, task_file};

/// Store a workflow as a file says it, or one that ships with this binary
///
/// The same again changes nothing; one of that name that says something else is not overwritten.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat workflow create release.yaml
  downbeat workflow create --template plan-execute-review
  downbeat workflow create --template map-reduce --name count-words")]
pub(super) struct Create {
    /// The workflow, or `-` for standard input
    #[arg(value_name = "FILE", required_unless_present = "template", conflicts_with = "template")]
    file: Option<String>,
    /// One that ships; `downbeat workflow templates` lists them
    #[arg(long, value_name = "NAME", value_parser = templates::find)]
    template: Option<templates::Template>,
    /// Another name than the file's or the template's
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    connection: Connection,
}

impl Create {
    pub(super) async fn run(self, out: &mut Out) -> Result {
        let mut document = match (&self.template, &self.file) {
            (Some(template), _) => template.document()?,
            (None, file) => task_file::read_document(file.as_deref().unwrap_or("-"))?,
        };
        if let (Some(name), Some(members)) = (self.name, document.1.as_object_mut()) {
            members.insert("name".into(), name.into());
        }
        let workflow = task_file::workflow(&document)?;
        let client = self.connection.client().await?.by(self.by.name());
        answer(out, &client.create_workflow(workflow).await?, "exists and says the same")
    }
}

/// Add a version to a workflow
///
/// What says the same as the newest version changes nothing.
#[derive(Debug, clap::Args)]
pub(super) struct Update {
    /// The workflow, or `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// Refuse when another version is the newest
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    expected_version: Option<u32>,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    connection: Connection,
}

impl Update {
    pub(super) async fn run(self, out: &mut Out) -> Result {
        let workflow = task_file::workflow(&task_file::read_document(&self.file)?)?;
        let client = self.connection.client().await?.by(self.by.name());
        let stored = client.update_workflow(workflow, self.expected_version).await?;
        answer(out, &stored, "says the same")
    }
}

/// Go back to an older version: a new one says what it said
#[derive(Debug, clap::Args)]
pub(super) struct Rollback {
    /// Its name
    #[arg(value_name = "WORKFLOW")]
    name: String,
    /// The version to go back to
    #[arg(value_name = "VERSION", value_parser = clap::value_parser!(u32).range(1..))]
    version: u32,
    /// Refuse when another version is the newest
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    expected_version: Option<u32>,
    #[command(flatten)]
    by: By,
    #[command(flatten)]
    connection: Connection,
}

impl Rollback {
    pub(super) async fn run(self, out: &mut Out) -> Result {
        let client = self.connection.client().await?.by(self.by.name());
        let stored = client.roll_back_workflow(self.name, self.version, self.expected_version).await?;
        answer(out, &stored, "says that already")
    }
}

/// Start nothing from a workflow any more
///
/// Tasks that run go on. Created again, it goes on counting its versions.
#[derive(Debug, clap::Args)]
pub(super) struct Delete {
    /// Its name
    #[arg(value_name = "WORKFLOW")]
    name: String,
    #[command(flatten)]
    connection: Connection,
}

impl Delete {
    pub(super) async fn run(self, out: &mut Out) -> Result {
        let version = self.connection.client().await?.delete_workflow(&self.name).await?;
        let name = &self.name;
        out.either(
            || json!({"name": name, "version": version}),
            |_| vec![format!("{name} is deleted; its last version was {version}")],
        )
    }
}

/// Says which version is the newest now.
fn answer(out: &mut Out, stored: &Stored, existed: &str) -> Result {
    let workflow = &stored.workflow;
    out.either(
        || {
            let mut document = show::whole(workflow);
            document["existed"] = stored.existed.into();
            document
        },
        |_| {
            let (name, version) = (&workflow.name, workflow.version);
            vec![match stored.existed {
                true => format!("version {version} of {name} {existed}"),
                false => format!("version {version} of {name} is stored"),
            }]
        },
    )
}
