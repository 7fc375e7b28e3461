//! The bare database: the fewest durable row writes a subtask takes (insert it ready, claim it, complete it),
//! set-wise in batches of 500, by one backend that has no client and decides nothing. Nobody who keeps
//! subtasks in this database can be faster; how much slower Downbeat is, is what the ratios say.

use std::time::Instant;

use anyhow::{Context, Result};
use rusqlite::{Connection, TransactionBehavior, params};

use crate::{
    database::{Database, connect},
    figures::{quantile, sorted},
};

const BATCH: u32 = 500;
const COMMITS: usize = 500;

const POSTGRES_TABLE: &str = "
    drop table if exists bare;
    create table bare (
        task_id uuid not null, idx int not null, state smallint not null, attempt smallint not null default 0,
        pending int not null default 0, route int not null, priority smallint not null default 0,
        lease uuid, lease_until timestamptz, input bytea, output bytea,
        created timestamptz not null default now(), updated timestamptz,
        primary key (task_id, idx)
    ) with (fillfactor = 70);
    create index bare_ready on bare (route, priority desc, created) where state = 1;
    checkpoint";

/// Three transactions a batch: ready, claimed, completed.
const POSTGRES_PROCEDURE: &str = r"
    create or replace procedure bare_queued(total int, batch int) language plpgsql as $$
    declare
        done int := 0;
        task uuid;
        claimed_tasks uuid[];
        claimed_idxs int[];
    begin
        while done < total loop
            task := gen_random_uuid();
            insert into bare (task_id, idx, state, route, input)
                select task, n, 1, 1, '\x7b7d' from generate_series(1, batch) n;
            commit;
            with head as (
                select task_id, idx from bare where state = 1 and route = 1
                order by priority desc, created limit batch for update skip locked
            ), claimed as (
                update bare set state = 2, attempt = attempt + 1, lease = task,
                    lease_until = now() + interval '30 s'
                from head where bare.task_id = head.task_id and bare.idx = head.idx
                returning bare.task_id, bare.idx
            )
            select array_agg(task_id), array_agg(idx) into claimed_tasks, claimed_idxs from claimed;
            commit;
            update bare set state = 3, output = '\x7b7d', updated = now()
                from unnest(claimed_tasks, claimed_idxs) as c(t, i)
                where bare.task_id = c.t and bare.idx = c.i;
            commit;
            done := done + batch;
        end loop;
    end $$";

const SQLITE_TABLE: &str = "
    drop table if exists bare;
    create table bare (
        task_id blob not null, idx int not null, state int not null, attempt int not null default 0,
        pending int not null default 0, route int not null, priority int not null default 0,
        lease blob, lease_until int, input blob, output blob, created int not null, updated int,
        primary key (task_id, idx)
    ) without rowid;
    create index bare_ready on bare (route, priority desc, created) where state = 1";

const SQLITE_CLAIM: &str = "
    update bare set state = 2, attempt = attempt + 1, lease = ?1, lease_until = ?2
    where (task_id, idx) in (
        select task_id, idx from bare where state = 1 and route = 1 order by priority desc, created limit ?3
    )
    returning task_id, idx";

/// The bare database, for as many measurements as there are workloads.
pub(crate) struct Ceiling {
    database: Database,
    subtasks: u32,
}

impl Ceiling {
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn open(database: Database, short: bool) -> Result<Ceiling> {
        Ok(Ceiling { database, subtasks: if short { 5_000 } else { 60_000 } })
    }

    /// Subtasks a second, now.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn per_s(&self) -> Result<f64> {
        let seconds = match &self.database {
            Database::Postgres { url, .. } => {
                let client = connect(url).await?;
                client.batch_execute(POSTGRES_TABLE).await?;
                client.batch_execute(POSTGRES_PROCEDURE).await?;
                let call = format!("call bare_queued({}, {BATCH})", self.subtasks);
                let start = Instant::now();
                client.batch_execute(&call).await?;
                start.elapsed().as_secs_f64()
            }
            Database::Sqlite { dir } => {
                let (file, subtasks) = (dir.join("bare.db"), self.subtasks);
                tokio::task::spawn_blocking(move || sqlite(&open(&file)?, subtasks)).await??
            }
        };
        Ok(f64::from(self.subtasks) / seconds)
    }

    /// The median of one-row commits, in milliseconds.
    ///
    /// # Errors
    /// When the database does not answer.
    pub(crate) async fn commit_ms(&self) -> Result<f64> {
        let mut took = Vec::with_capacity(COMMITS);
        match &self.database {
            Database::Postgres { url, .. } => {
                let client = connect(url).await?;
                let make = "create table if not exists row (no int primary key, value bigint not null);
                            insert into row values (1, 0) on conflict do nothing";
                client.batch_execute(make).await?;
                let raise = client.prepare("update row set value = value + 1 where no = 1").await?;
                for _ in 0..COMMITS {
                    let start = Instant::now();
                    client.execute(&raise, &[]).await?;
                    took.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
            Database::Sqlite { dir } => {
                let connection = open(&dir.join("bare.db"))?;
                let make = "create table if not exists row (no integer primary key, value int not null);
                            insert into row values (1, 0) on conflict do nothing";
                connection.execute_batch(make)?;
                let mut raise = connection.prepare("update row set value = value + 1 where no = 1")?;
                for _ in 0..COMMITS {
                    let start = Instant::now();
                    raise.execute([])?;
                    took.push(start.elapsed().as_secs_f64() * 1e3);
                }
            }
        }
        Ok(quantile(&sorted(took), 0.5))
    }

    /// # Errors
    /// When the database is in use.
    pub(crate) async fn close(self) -> Result<()> {
        self.database.remove().await
    }
}

/// As durable as the control plane's own connection.
fn open(file: &std::path::Path) -> Result<Connection> {
    let connection = Connection::open(file)?;
    connection.pragma_update(None, "journal_mode", "wal")?;
    connection.pragma_update(None, "synchronous", "full")?;
    Ok(connection)
}

/// The same three transactions; gives seconds.
fn sqlite(connection: &Connection, subtasks: u32) -> Result<f64> {
    connection.execute_batch(SQLITE_TABLE)?;
    let mut insert = connection.prepare(
        "insert into bare (task_id, idx, state, route, input, created) values (?1, ?2, 1, 1, x'7b7d', ?3)",
    )?;
    let mut claim = connection.prepare(SQLITE_CLAIM)?;
    let mut complete = connection.prepare(
        "update bare set state = 3, output = x'7b7d', updated = ?3 where task_id = ?1 and idx = ?2",
    )?;
    let begin = || rusqlite::Transaction::new_unchecked(connection, TransactionBehavior::Immediate);
    let start = Instant::now();
    for batch in 0..subtasks / BATCH {
        let mut task = [0; 16];
        task[..4].copy_from_slice(&batch.to_le_bytes());
        let now = i64::from(batch);
        let transaction = begin()?;
        for idx in 0..BATCH {
            insert.execute(params![task, idx, now])?;
        }
        transaction.commit()?;
        let transaction = begin()?;
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, u32>(1)?));
        let claimed: Vec<(Vec<u8>, u32)> =
            claim.query_map(params![task, now + 30, BATCH], row)?.collect::<rusqlite::Result<_>>()?;
        transaction.commit()?;
        let transaction = begin()?;
        for (task, idx) in &claimed {
            complete.execute(params![task, idx, now])?;
        }
        transaction.commit()?;
    }
    let seconds = start.elapsed().as_secs_f64();
    let left: u32 =
        connection.query_row("select count(*) from bare where state <> 3", [], |row| row.get(0))?;
    (left == 0).then_some(seconds).context("the bare database lost a row")
}
