//! The schema of a Postgres database: checked when a store is opened, migrated when an operator says so, and
//! its partitions kept ahead of time.

use tokio_postgres::{Client, error::SqlState};

use super::{
    PostgresStore,
    link::{self, Link, answer},
    rows::{all, one},
};
use crate::{
    Result, StoreError,
    migrate::{self, Applied, POSTGRES},
};

impl PostgresStore {
    /// Brings a database up to date, in one transaction. Safe to be called by many at once.
    ///
    /// # Errors
    /// `Config` when the URL is wrong, `Schema` when a newer Downbeat was there, `Unavailable` when nobody
    /// answers.
    pub async fn migrate(url: &str) -> Result<()> {
        let mut link = Link::first(&link::config(url)?).await?;
        // A migration takes as long as it takes, and so does the other one that is waited for.
        link.client.batch_execute("set statement_timeout = 0; set lock_timeout = 0").await?;
        let transaction = link.client.transaction().await?;
        transaction.batch_execute(include_str!("sql/lock_migrations.sql")).await?;
        transaction.batch_execute(include_str!("sql/create_migrations.sql")).await?;
        let applied = applied(transaction.client()).await?;
        for step in migrate::missing(POSTGRES, &applied)? {
            transaction.batch_execute(step.sql).await?;
            let insert = include_str!("sql/insert_migrations.sql");
            transaction.execute(insert, &[&step.number, &step.name, &step.digest()]).await?;
        }
        Ok(transaction.commit().await?)
    }

    /// Whether the database has the schema that this binary was built with.
    ///
    /// # Errors
    /// `Schema` when not, with what to do about it; otherwise as [`connect`](PostgresStore::connect).
    pub async fn check(&self) -> Result<()> {
        answer(async {
            let client = self.pool.get().await?;
            check(&client).await
        })
        .await
    }

    /// Creates the partitions of today and the days ahead that are not there yet.
    pub(super) async fn create_partitions(&self, days_ahead: i64) -> Result<()> {
        let partitions = self
            .query(include_str!("sql/partitions.sql"), &[&days_ahead], |cells| {
                Ok((cells.long()?, cells.text()?, cells.long()? != 0))
            })
            .await?;
        for (day, name, _) in partitions.into_iter().filter(|(_, _, exists)| !exists) {
            answer(self.create_partition(day, &name)).await?;
        }
        Ok(())
    }

    async fn create_partition(&self, day: i64, name: &str) -> Result<()> {
        let create = include_str!("sql/create_partition.sql")
            .replace("{name}", name)
            .replace("{day}", &day.to_string())
            .replace("{next}", &(day + 1).to_string());
        let mut client = self.pool.get().await?;
        let transaction = client.transaction().await?;
        transaction.batch_execute(include_str!("sql/lock_partitions.sql")).await?;
        match transaction.batch_execute(&create).await {
            Ok(()) => Ok(transaction.commit().await?),
            Err(error) if error.code() == Some(&SqlState::DUPLICATE_TABLE) => {
                Ok(transaction.rollback().await?)
            }
            Err(error) if error.code() == Some(&SqlState::CHECK_VIOLATION) => {
                tracing::warn!(partition = name, "history of that day is already in the default partition");
                Ok(transaction.rollback().await?)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Whether what is behind the connection has this binary's schema.
pub(super) async fn check(client: &Client) -> Result<()> {
    let found = client.query(include_str!("sql/find_migrations.sql"), &[]).await?;
    let exists = found.first().map_or(Ok(false), |row| one(row, |cells| Ok(cells.long()? != 0)))?;
    let applied = if exists { applied(client).await? } else { Vec::new() };
    migrate::check(POSTGRES, &applied)
}

async fn applied(client: &Client) -> Result<Vec<Applied>> {
    let rows = client.query(include_str!("sql/migrations.sql"), &[]).await?;
    all(&rows, |cells| Ok(Applied { number: cells.number()?, name: cells.text()?, digest: cells.text()? }))
        .map_err(|error| StoreError::Schema(format!("schema_migrations cannot be read: {error}")))
}
