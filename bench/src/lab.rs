//! What all workloads on one engine share: the database server, the binaries, the amounts.

use std::{
    env, fmt,
    path::PathBuf,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{
    Options,
    ceiling::Ceiling,
    children::Nursery,
    database::{self, Database},
    postgres::Postgres,
    proc,
};

/// How long one workload may take: the longest has two runs of five minutes.
const LIMIT: Duration = Duration::from_secs(30 * 60);
const LIMIT_SHORT: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Engine {
    Postgres,
    Sqlite,
}

impl fmt::Display for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Engine::Postgres => "postgres",
            Engine::Sqlite => "sqlite",
        })
    }
}

/// One engine, ready for beds.
pub(crate) struct Lab {
    pub(crate) engine: Engine,
    pub(crate) short: bool,
    pub(crate) nursery: Nursery,
    /// The control plane's binary.
    pub(crate) downbeat: PathBuf,
    /// This binary, for workers.
    pub(crate) bench: PathBuf,
    postgres: Option<Postgres>,
    /// Where databases are created, on Postgres.
    server_url: Option<String>,
    databases: AtomicU32,
}

impl Lab {
    /// Starts what the engine needs.
    ///
    /// # Errors
    /// When a binary is missing or Postgres does not start.
    pub(crate) async fn open(engine: Engine, options: &Options) -> Result<Lab> {
        allow_many_files()?;
        let bench = env::current_exe()?;
        let downbeat = options.downbeat.clone().unwrap_or_else(|| bench.with_file_name("downbeat"));
        ensure!(downbeat.is_file(), "{} is missing: `cargo build -p downbeat`", downbeat.display());
        let nursery = Nursery::new(&options.dir.clone().unwrap_or_else(env::temp_dir), &engine.to_string())?;
        let (postgres, server_url) = match (engine, &options.database_url) {
            (Engine::Sqlite, _) => (None, None),
            (Engine::Postgres, Some(url)) => (None, Some(url.clone())),
            (Engine::Postgres, None) => {
                let postgres = Postgres::start(&nursery, &options.postgres_settings).await?;
                let url = postgres.url.clone();
                (Some(postgres), Some(url))
            }
        };
        let (short, databases) = (options.short, AtomicU32::new(0));
        Ok(Lab { engine, short, nursery, downbeat, bench, postgres, server_url, databases })
    }

    /// The amount for this run.
    pub(crate) fn pick<T>(&self, full: T, short: T) -> T {
        if self.short { short } else { full }
    }

    /// How long one workload may take.
    pub(crate) fn limit(&self) -> Duration {
        self.pick(LIMIT, LIMIT_SHORT)
    }

    /// An empty database.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(crate) async fn database(&self) -> Result<Database> {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        match &self.server_url {
            Some(url) => {
                let name = format!("downbeat_bench_{}_{number}", std::process::id());
                Database::postgres(url, name).await
            }
            None => Database::sqlite(self.nursery.dir().join(format!("data-{number}"))),
        }
    }

    /// The bare database to compare with.
    ///
    /// # Errors
    /// When it cannot be created.
    pub(crate) async fn ceiling(&self) -> Result<Ceiling> {
        Ceiling::open(self.database().await?, self.short).await
    }

    /// Processor time of a database that is a server of ours, in seconds.
    pub(crate) fn database_cpu_s(&self) -> Option<f64> {
        self.postgres.as_ref().map(|postgres| proc::family_cpu_s(postgres.pid()))
    }

    /// What the figures were measured on, for people.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn about(&self) -> Result<String> {
        let cores = std::thread::available_parallelism().map_or(0, usize::from);
        let place = self.nursery.dir().display();
        let database = match &self.server_url {
            None => format!("SQLite {}, WAL, synchronous=FULL", rusqlite::version()),
            Some(url) => {
                let client = database::connect(url).await.context("the database server")?;
                let mut said = Vec::new();
                let settings =
                    ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers"];
                for setting in settings {
                    let value: String = client.query_one(&format!("show {setting}"), &[]).await?.get(0);
                    said.push(format!("{setting}={value}"));
                }
                format!("Postgres {}", said.join(" "))
            }
        };
        Ok(format!("{database}; {cores} cores, load {:.2}; data in {place}", proc::load()))
    }

    /// What Postgres said last, if it is ours.
    pub(crate) fn log_tails(&self) -> String {
        let Ok(entries) = std::fs::read_dir(self.nursery.dir()) else { return String::new() };
        let mut text = String::new();
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|ending| ending == "log") {
                let log = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(5).collect();
                let lines: Vec<&str> = lines.into_iter().rev().collect();
                text += &format!("\n--- {}\n{}", path.display(), lines.join("\n"));
            }
        }
        text
    }

    /// Stops what was started.
    ///
    /// # Errors
    /// When it does not stop.
    pub(crate) async fn close(self) -> Result<()> {
        match self.postgres {
            Some(postgres) => postgres.stop().await,
            None => Ok(()),
        }
    }
}

/// Thousands of connections, here and in what is started here.
fn allow_many_files() -> Result<()> {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(())
}
