//! The database of one bed: made, looked at from outside, and removed. What it says about itself comes from
//! Postgres' statistics; of SQLite there are only files.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde::Serialize;
use tokio_postgres::{Client, NoTls};

/// How long it takes until Postgres' statistics count what a connection did that has become idle: PGSTAT_IDLE_INTERVAL,
/// 10 seconds in PostgreSQL 15.
pub(crate) const STATISTICS_DELAY: Duration = Duration::from_secs(11);

/// An empty database, and what a control plane has to be told of it.
#[allow(clippy::large_enum_variant, reason = "there is one at a time")]
pub(crate) enum Database {
    Postgres { url: String, name: String, server: Client, client: Client },
    Sqlite { dir: PathBuf },
}

/// What a database has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: i64,
    pub(crate) rows_written: i64,
    pub(crate) log_bytes: i64,
}

/// A table, or a file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Table {
    pub(crate) name: String,
    /// With indexes and large values.
    pub(crate) bytes: i64,
    pub(crate) dead_rows: i64,
}

impl Database {
    /// A new database on a server.
    ///
    /// # Errors
    /// When the server's user may not create databases.
    pub(crate) async fn postgres(server_url: &str, name: String) -> Result<Database> {
        let server = connect(server_url).await?;
        server.batch_execute(&format!("create database {name}")).await.context("cannot create a database")?;
        let url = with_database(server_url, &name)?;
        let client = connect(&url).await?;
        for setting in ["fsync", "synchronous_commit"] {
            let value: String = client.query_one(&format!("show {setting}"), &[]).await?.get(0);
            ensure!(
                value == "on",
                "{setting} is {value}: figures of a database that may lose data say nothing"
            );
        }
        Ok(Database::Postgres { url, name, server, client })
    }

    /// A new directory.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn sqlite(dir: PathBuf) -> Result<Database> {
        fs::create_dir(&dir)?;
        Ok(Database::Sqlite { dir })
    }

    /// Subcommand and arguments of a control plane.
    pub(crate) fn args(&self) -> Vec<String> {
        let args: &[&str] = match self {
            Database::Postgres { url, .. } => &["serve", "--migrate", "--database-url", url],
            Database::Sqlite { dir } => &["dev", "--data", &dir.to_string_lossy()],
        };
        args.iter().map(|arg| (*arg).to_owned()).collect()
    }

    /// `None` where nobody counts.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn counters(&self) -> Result<Option<Counters>> {
        let Database::Postgres { client, .. } = self else { return Ok(None) };
        let counted = "select xact_commit, tup_inserted + tup_updated + tup_deleted,
                              (pg_current_wal_insert_lsn() - '0/0')::bigint
                       from pg_stat_database where datname = current_database()";
        let row = client.query_one(counted, &[]).await?;
        Ok(Some(Counters { commits: row.get(0), rows_written: row.get(1), log_bytes: row.get(2) }))
    }

    /// Size and dead rows of every table, by name; partitions count to the table they belong to.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn tables(&self) -> Result<Vec<Table>> {
        match self {
            Database::Postgres { client, .. } => {
                let listed = "select coalesce(i.inhparent, s.relid)::regclass::text,
                                     sum(pg_total_relation_size(s.relid))::bigint, sum(n_dead_tup)::bigint
                              from pg_stat_user_tables s left join pg_inherits i on i.inhrelid = s.relid
                              group by 1 order by 1";
                let rows = client.query(listed, &[]).await?;
                let table = |row: &tokio_postgres::Row| Table {
                    name: row.get(0),
                    bytes: row.get(1),
                    dead_rows: row.get(2),
                };
                Ok(rows.iter().map(table).collect())
            }
            Database::Sqlite { dir } => {
                let mut files = BTreeMap::new();
                for entry in fs::read_dir(dir)? {
                    let entry = entry?;
                    files.insert(entry.file_name().to_string_lossy().into_owned(), entry.metadata()?.len());
                }
                let table = |(name, bytes)| Table {
                    name,
                    bytes: i64::try_from(bytes).unwrap_or(i64::MAX),
                    dead_rows: 0,
                };
                Ok(files.into_iter().map(table).collect())
            }
        }
    }

    /// Does at once what a database does in the background after many rows have come.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn settle(&self) -> Result<()> {
        if let Database::Postgres { client, .. } = self {
            client.batch_execute("vacuum analyze").await?;
            client.batch_execute("checkpoint").await?;
        }
        Ok(())
    }

    /// Opens a transaction that sees the database as it is now, for as long as the guard lives.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn hold_snapshot(&self) -> Result<Snapshot> {
        match self {
            Database::Postgres { url, .. } => {
                let client = connect(url).await?;
                // Its own transaction number keeps both horizons back, not only its snapshot.
                let begin = "begin isolation level repeatable read; select pg_current_xact_id()";
                client.batch_execute(begin).await?;
                Ok(Snapshot::Postgres { _client: client })
            }
            Database::Sqlite { dir } => {
                let connection = rusqlite::Connection::open(file(dir))?;
                connection.execute_batch("begin")?;
                connection.query_row("select count(*) from tasks", [], |_| Ok(()))?;
                Ok(Snapshot::Sqlite { _connection: connection })
            }
        }
    }

    /// Removes it. The control planes are gone by now.
    ///
    /// # Errors
    /// When it is in use.
    pub(crate) async fn remove(self) -> Result<()> {
        match self {
            Database::Postgres { name, server, client, .. } => {
                drop(client);
                server.batch_execute(&format!("drop database {name} with (force)")).await?;
            }
            Database::Sqlite { dir } => fs::remove_dir_all(dir)?,
        }
        Ok(())
    }
}

/// An open transaction; ends when dropped.
pub(crate) enum Snapshot {
    Postgres { _client: Client },
    Sqlite { _connection: rusqlite::Connection },
}

/// Connects, with a task that drives the connection until the client is dropped.
///
/// # Errors
/// When nobody answers.
pub(crate) async fn connect(url: &str) -> Result<Client> {
    let (client, connection) =
        tokio_postgres::connect(url, NoTls).await.context("cannot connect to Postgres")?;
    // Its end shows as an error of the client.
    tokio::spawn(async move { drop(connection.await) });
    Ok(client)
}

fn file(dir: &Path) -> PathBuf {
    dir.join("downbeat.db")
}

/// The same server, another database.
fn with_database(url: &str, name: &str) -> Result<String> {
    let (scheme, rest) =
        url.split_once("://").context("a database URL looks like postgres://user@host/name")?;
    let (place, options) =
        rest.split_once('?').map_or((rest, None), |(place, options)| (place, Some(options)));
    let host = place.split('/').next().unwrap_or_default();
    let options = options.map(|options| format!("?{options}")).unwrap_or_default();
    Ok(format!("{scheme}://{host}/{name}{options}"))
}
