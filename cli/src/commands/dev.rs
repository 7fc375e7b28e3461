//! `downbeat dev`.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use downbeat_store::{StoreError, sqlite::SqliteStore};

use crate::{
    failure::{Failure, Result},
    out::Out,
    server::{self, Faces},
};

/// Somebody looks on, and the database is near: progress is written sooner than a large installation would.
const REPORT_MS: u64 = 200;

/// Run a control plane with an embedded database in one process
///
/// Everything is kept below the data directory; delete it to start anew. The addresses are printed once the
/// control plane serves. SIGTERM or Ctrl-C ends it; nothing that was acknowledged is lost, however it ends.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat dev
  downbeat dev --data /tmp/try --http 127.0.0.1:0 --grpc 127.0.0.1:0
  downbeat dev --json          {\"grpc\":\"http://127.0.0.1:9083\",\"http\":\"http://127.0.0.1:8083\"}")]
pub(crate) struct Args {
    /// Where the database is kept
    #[arg(long, value_name = "DIR", default_value = "./.downbeat")]
    data: PathBuf,
    #[command(flatten)]
    faces: Faces,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        let store = open(&self.data)?;
        let mut config = self.faces.config();
        config.liveness.report_ms = REPORT_MS;
        server::run(config, Arc::new(store), out).await
    }
}

/// Opens the database of a data directory.
pub(crate) fn open(data: &Path) -> Result<SqliteStore> {
    fs::create_dir_all(data).map_err(|error| {
        Failure::failed(format!("cannot create the data directory {}: {error}", data.display()))
    })?;
    SqliteStore::open(data.join("downbeat.db")).map_err(|error| match &error {
        StoreError::Unavailable { .. } => Failure::failed(error.to_string())
            .hint("another downbeat may use this data directory: stop it, or name another one with --data"),
        _ => Failure::failed(error.to_string()),
    })
}
