//! Control planes of tests: processes of the real binary, or the same server within the test where its times
//! have to be shorter than any operator would want them.

use std::{path::PathBuf, process::Command, sync::Arc};

use downbeat_sdk::{Client, Retry};
use downbeat_server::Config;
use downbeat_store::{PostgresStore, SqliteStore, Store};

use super::{
    Dir, Http, LIMIT, Process, Wire,
    process::{Signal, downbeat},
};
use crate::{port, postgres::Postgres};

/// Connections that read, of a control plane within the test.
const READERS: usize = 4;

/// A database of a test's own.
#[derive(Debug)]
pub enum Database {
    Sqlite(Dir),
    /// Its URL.
    Postgres(String),
}

impl Database {
    /// An empty directory.
    pub fn sqlite() -> Database {
        Database::Sqlite(Dir::new("data"))
    }

    /// An empty database on the server that all tests share.
    pub fn postgres() -> Database {
        Database::Postgres(Postgres::shared().create_database())
    }

    /// An existing database on Postgres, by a wire of its own.
    ///
    /// # Panics
    /// When it is no URL of one.
    pub async fn behind_wire(url: &str) -> (Database, Wire) {
        let (user, place) = url.split_once('@').expect("a user");
        let (server, name) = place.split_once('/').expect("a name");
        let wire = Wire::to(server).await;
        (Database::Postgres(format!("{user}@{}/{name}", wire.addr())), wire)
    }

    fn sqlite_file(dir: &Dir) -> PathBuf {
        dir.path().join("downbeat.db")
    }
}

/// A control plane and where it is.
pub struct ControlPlane {
    running: Running,
    /// `http://127.0.0.1:8083`
    pub http: String,
    /// `http://127.0.0.1:9083`
    pub grpc: String,
}

enum Running {
    Process { process: Process, database: Args },
    Here(Box<downbeat_server::ControlPlane>),
}

/// The subcommand and what it says of the database.
#[derive(Clone, Debug)]
struct Args(Vec<String>);

impl Args {
    fn of(database: &Database) -> Args {
        let args = match database {
            Database::Sqlite(dir) => {
                vec!["dev".to_owned(), "--data".to_owned(), dir.path().display().to_string()]
            }
            Database::Postgres(url) => {
                vec!["serve".to_owned(), "--migrate".to_owned(), "--database-url".to_owned(), url.clone()]
            }
        };
        Args(args)
    }
}

impl ControlPlane {
    /// A process of the real binary, once it serves.
    pub async fn start(database: &Database) -> ControlPlane {
        ControlPlane::serving(ControlPlane::launch(database, &[]), Args::of(database)).await
    }

    /// The process, whatever becomes of it; `more` are arguments.
    pub fn launch(database: &Database, more: &[&str]) -> Process {
        launch(downbeat(), &Args::of(database), &new_addr(), &new_addr(), more)
    }

    /// The control plane that a process is about to be.
    ///
    /// # Panics
    /// When it ends instead.
    pub async fn from(process: Process, database: &Database) -> ControlPlane {
        ControlPlane::serving(process, Args::of(database)).await
    }

    /// A process started by a wrapper (a shell that sets limits, say) that ends in `exec "$@"`.
    pub async fn start_wrapped(wrapper: Command, database: &Database) -> ControlPlane {
        let mut command = wrapper;
        command.arg(downbeat().get_program());
        let args = Args::of(database);
        ControlPlane::serving(launch(command, &args, &new_addr(), &new_addr(), &[]), args).await
    }

    /// The same server within this process, with short times; `tune` changes them further.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_here(database: &Database, tune: impl FnOnce(&mut Config)) -> ControlPlane {
        logs();
        let store: Arc<dyn Store> = match database {
            Database::Sqlite(dir) => {
                Arc::new(SqliteStore::open(Database::sqlite_file(dir)).expect("an SQLite database"))
            }
            Database::Postgres(url) => {
                PostgresStore::migrate(url).await.expect("a migrated database");
                Arc::new(PostgresStore::connect(url, READERS).await.expect("a Postgres database"))
            }
        };
        let mut config = brisk();
        tune(&mut config);
        let here = downbeat_server::start(config, store).await.expect("a control plane");
        let (http, grpc) = (format!("http://{}", here.http), format!("http://{}", here.grpc));
        ControlPlane { running: Running::Here(Box::new(here)), http, grpc }
    }

    /// As [`start_here`](ControlPlane::start_here), for workers that say something only when the test wants it.
    pub async fn start_patient(database: &Database) -> ControlPlane {
        ControlPlane::start_here(database, |config| {
            config.liveness.lease_ms = 600_000;
            config.liveness.assign_ack_ms = 600_000;
            config.policy.grace_ms = 600_000;
        })
        .await
    }

    async fn serving(mut process: Process, database: Args) -> ControlPlane {
        let Some(line) = process.line().await else {
            panic!("the control plane ended instead of serving:\n{}", process.log());
        };
        let said: serde_json::Value = serde_json::from_str(&line).expect("JSON as the first line");
        let addr = |face: &str| said[face].as_str().expect("an address").to_owned();
        ControlPlane {
            http: addr("http"),
            grpc: addr("grpc"),
            running: Running::Process { process, database },
        }
    }

    /// SIGKILL.
    ///
    /// # Panics
    /// When it runs within this process.
    pub fn kill(&mut self) {
        self.process_mut().kill();
    }

    /// Starts it again where it was, on the same database; kills it first where it runs.
    ///
    /// # Panics
    /// When it runs within this process.
    pub async fn restart(&mut self) {
        self.kill();
        *self = self.again().await;
    }

    /// Ends it as an operator does, and starts another one where it was.
    ///
    /// # Panics
    /// When it runs within this process.
    pub async fn replace(mut self) -> ControlPlane {
        self.terminate().await;
        self.again().await
    }

    async fn again(&self) -> ControlPlane {
        let Running::Process { database, .. } = &self.running else {
            panic!("this control plane is no process of its own");
        };
        let bare = |url: &str| url.trim_start_matches("http://").to_owned();
        let process = launch(downbeat(), database, &bare(&self.http), &bare(&self.grpc), &[]);
        ControlPlane::serving(process, database.clone()).await
    }

    /// Ends it as an operator does, and waits.
    pub async fn stop(mut self) {
        match self.running {
            Running::Process { .. } => self.terminate().await,
            Running::Here(here) => here.shutdown().await,
        }
    }

    async fn terminate(&mut self) {
        let process = self.process_mut();
        process.signal(Signal::Terminate);
        let ended = process.end().await;
        assert!(ended.success(), "{ended} after SIGTERM:\n{}", process.log());
    }

    /// # Panics
    /// When it runs within this process.
    pub fn process(&self) -> &Process {
        match &self.running {
            Running::Process { process, .. } => process,
            Running::Here(_) => panic!("this control plane is no process of its own"),
        }
    }

    fn process_mut(&mut self) -> &mut Process {
        match &mut self.running {
            Running::Process { process, .. } => process,
            Running::Here(_) => panic!("this control plane is no process of its own"),
        }
    }

    pub fn http(&self) -> Http {
        Http::new(&self.http)
    }

    /// A client that goes on through restarts.
    pub fn client(&self) -> Client {
        client(&self.grpc)
    }

    /// A client that takes the first answer, whatever it is.
    pub fn impatient_client(&self) -> Client {
        let client = Client::builder().addr(&self.grpc).deadline(LIMIT).retry(Retry::none());
        client.connect_lazy().expect("a valid address")
    }

    /// A connection for generated clients.
    pub fn channel(&self) -> tonic::transport::Channel {
        channel(&self.grpc)
    }
}

/// A client of all these addresses (separated by commas) that goes on through restarts.
pub fn client(addrs: &str) -> Client {
    let retry = Retry { attempts: 100, ..Retry::default() };
    let client = Client::builder().addr(addrs).deadline(LIMIT).retry(retry);
    client.connect_lazy().expect("a valid address")
}

/// A connection for generated clients.
///
/// # Panics
/// When it is no URL.
pub fn channel(url: &str) -> tonic::transport::Channel {
    tonic::transport::Endpoint::from_shared(url.to_owned()).expect("a URL").connect_lazy()
}

/// The defaults with everything that waits about a tenth as long.
fn brisk() -> Config {
    let mut config = Config {
        http: ([127, 0, 0, 1], 0).into(),
        grpc: ([127, 0, 0, 1], 0).into(),
        tick_ms: 200,
        dead_after_ms: 2_000,
        ..Config::default()
    };
    config.policy.backoff_base_ms = 50;
    config.policy.grace_ms = 1_500;
    config.policy.schedule_to_start_ms = 1_000;
    config.liveness.heartbeat_interval_ms = 200;
    config.liveness.lease_ms = 3_000;
    config.liveness.assign_ack_ms = 1_000;
    config.liveness.report_ms = 50;
    config
}

/// Logs of control planes within the test, for whoever sets `RUST_LOG`.
fn logs() {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_writer(std::io::stderr).with_env_filter(filter).try_init();
    }
}

fn new_addr() -> String {
    format!("127.0.0.1:{}", port::free())
}

fn launch(mut command: Command, database: &Args, http: &str, grpc: &str, more: &[&str]) -> Process {
    command.args(&database.0).args(["--json", "--http", http, "--grpc", grpc]).args(more);
    command.env_remove("DOWNBEAT_ADDR").env_remove("DOWNBEAT_DATABASE_URL").env_remove("RUST_LOG");
    Process::start("control-plane", command)
}
