//! The demo's specialists: each reads one thing out of a source tree, for real. They run as processes of their
//! own below `downbeat worker`, get the brief on standard input and print their result.
//!
//! None of them trusts what it reads: files may be huge, binary, unreadable or gone.

pub(crate) mod dependencies;
pub(crate) mod ignore;
pub(crate) mod languages;
pub(crate) mod large_files;
pub(crate) mod report;
pub(crate) mod survey;
pub(crate) mod test_inventory;
pub(crate) mod todo_scan;
pub(crate) mod walk;

use std::path::PathBuf;

use clap::ValueEnum;
use serde_json::Value;

use self::walk::Source;
use crate::demo::brief::Brief;

/// Which specialist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Survey,
    TodoScan,
    DependencyAudit,
    TestInventory,
    LargeFiles,
    Synthesis,
}

impl Kind {
    pub(crate) const ALL: [Kind; 6] = [
        Kind::Survey,
        Kind::TodoScan,
        Kind::DependencyAudit,
        Kind::TestInventory,
        Kind::LargeFiles,
        Kind::Synthesis,
    ];
    /// What the survey opens the way for, and the synthesis joins.
    pub(crate) const AUDITS: [Kind; 4] =
        [Kind::TodoScan, Kind::DependencyAudit, Kind::TestInventory, Kind::LargeFiles];

    /// The agent, and the key of its subtask.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Survey => "survey",
            Kind::TodoScan => "todo-scan",
            Kind::DependencyAudit => "dependency-audit",
            Kind::TestInventory => "test-inventory",
            Kind::LargeFiles => "large-files",
            Kind::Synthesis => "synthesis",
        }
    }

    /// What it does, for `downbeat agents`.
    pub(crate) fn skill(self) -> &'static str {
        match self {
            Kind::Survey => "counts files and lines by language",
            Kind::TodoScan => "finds TODO, FIXME, HACK and XXX marks",
            Kind::DependencyAudit => "reads the manifests of five ecosystems",
            Kind::TestInventory => "counts tests by language",
            Kind::LargeFiles => "finds the largest files and the longest sources",
            Kind::Synthesis => "joins findings into a report",
        }
    }

    /// Does the work of one brief.
    pub(crate) fn run(self, brief: &Brief, progress: &mut dyn FnMut(&str)) -> Result<Value, String> {
        if self == Kind::Synthesis {
            return report::write(brief, progress);
        }
        let root = root(brief)?;
        if self == Kind::Survey {
            return survey::run(&root, progress);
        }
        let sources = sources(brief, root, progress)?;
        Ok(match self {
            Kind::TodoScan => todo_scan::run(&sources, progress),
            Kind::DependencyAudit => dependencies::run(&sources, progress),
            Kind::TestInventory => test_inventory::run(&sources, progress),
            Kind::LargeFiles | Kind::Survey | Kind::Synthesis => large_files::run(&sources),
        })
    }
}

fn root(brief: &Brief) -> Result<PathBuf, String> {
    let root = brief.input["root"].as_str().ok_or("the input has no `root`: the directory to look at")?;
    Ok(PathBuf::from(root))
}

/// The files that the survey listed; where they were too many to hand over, the tree is walked again.
fn sources(brief: &Brief, root: PathBuf, progress: &mut dyn FnMut(&str)) -> Result<Source, String> {
    match survey::listed(brief.output("survey")) {
        Some(files) => Ok(Source { root, files, ..Source::default() }),
        None => walk::walk(root, progress),
    }
}
