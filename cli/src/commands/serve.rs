//! `downbeat serve`.

use std::{future::Future, sync::Arc, time::Duration};

use downbeat_store::{
    StoreError,
    postgres::{PostgresStore, READERS},
};

use crate::{
    failure::{Failure, Result},
    out::Out,
    server::{self, Faces, StopSignal},
};

/// The first wait for a database that is away; doubles up to [`WAIT_MAX`].
const WAIT_MIN: Duration = Duration::from_millis(500);
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Run a control plane on Postgres; several may share one database
///
/// Every replica that shares the database is equal: any of them answers any call. A database that is away at
/// the start is waited for. A schema that this binary does not know is refused; `--migrate`, or
/// `downbeat migrate` before, brings an older one up to date.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat serve --database-url postgres://downbeat@db/downbeat --migrate
  DOWNBEAT_DATABASE_URL=postgres://downbeat@db/downbeat downbeat serve --http 0.0.0.0:8083 --grpc 0.0.0.0:9083")]
pub(crate) struct Args {
    #[command(flatten)]
    database: Database,
    /// Bring the schema up to date first; safe when several replicas start at once
    #[arg(long)]
    migrate: bool,
    #[command(flatten)]
    faces: Faces,
}

/// Which database.
#[derive(Debug, clap::Args)]
pub(crate) struct Database {
    /// The Postgres database
    #[arg(long, value_name = "URL", env = "DOWNBEAT_DATABASE_URL", hide_env_values = true)]
    database_url: String,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        if self.migrate {
            self.database.migrate().await?;
        }
        let store =
            self.database.reached(|| PostgresStore::connect(&self.database.database_url, READERS)).await?;
        server::run(self.faces.config(), Arc::new(store), out).await
    }
}

impl Database {
    /// Brings the schema up to date, once the database is there.
    pub(crate) async fn migrate(&self) -> Result {
        self.reached(|| PostgresStore::migrate(&self.database_url)).await.map(drop)
    }

    /// Repeats a call until the database answers. Whatever else is wrong with it ends the wait.
    async fn reached<T, Call>(&self, call: impl Fn() -> Call) -> Result<T>
    where
        Call: Future<Output = downbeat_store::Result<T>>,
    {
        let mut stop = StopSignal::new()?;
        let mut wait = WAIT_MIN;
        loop {
            match call().await {
                Ok(done) => return Ok(done),
                Err(error @ StoreError::Unavailable { .. }) => {
                    tracing::warn!(%error, retry_in_ms = wait.as_millis() as u64, "waiting for the database");
                }
                Err(error) => return Err(refused(&error)),
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => wait = (wait * 2).min(WAIT_MAX),
                name = stop.wait() => return Err(Failure::failed(format!("{name} while waiting for the database"))),
            }
        }
    }
}

fn refused(error: &StoreError) -> Failure {
    match error {
        StoreError::Config(_) => {
            let place = "postgres://user:password@host:5432/name";
            Failure::usage(error.to_string()).hint(format!("--database-url looks like {place}"))
        }
        StoreError::Schema(_) => Failure::failed(error.to_string()),
        _ => Failure::failed(format!("cannot use the database: {error}")),
    }
}
