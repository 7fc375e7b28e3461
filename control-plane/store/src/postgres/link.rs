//! Connections: how they are made, and how they behave.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Config, Error, NoTls, config::SslMode};

use super::error;
use crate::{Result, StoreError};

/// How long to wait for a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long a peer may leave what was sent unacknowledged: a network that swallows everything looks like this.
const SILENCE: Duration = Duration::from_secs(20);
/// How long to wait for an answer: longer than what the server itself allows a statement.
pub(super) const ANSWER: Duration = Duration::from_secs(30);

/// Every statement goes by an index, whatever the statistics of a young table say: a plan that scans would
/// stay until somebody analyses the table. Each is planned once: it goes by keys, so the values do not matter. A
/// frozen process must not keep its locks.
pub(super) const SETTINGS: &str = "
    set default_transaction_isolation = 'read committed';
    set enable_seqscan = off;
    set enable_hashjoin = off;
    set enable_mergejoin = off;
    set jit = off;
    set plan_cache_mode = force_generic_plan;
    set lock_timeout = '10s';
    set statement_timeout = '20s';
    set idle_in_transaction_session_timeout = '10s'";

/// Reads a libpq URL or key-value string.
///
/// # Errors
/// `Config` when it cannot be read, or asks for TLS.
pub(super) fn config(url: &str) -> Result<Config> {
    let mut config: Config = url
        .parse()
        .map_err(|error| StoreError::Config(format!("the database URL cannot be read: {error}")))?;
    if config.get_ssl_mode() == SslMode::Require {
        return Err(StoreError::Config(
            "the database URL asks for TLS (sslmode=require), which this downbeat cannot do yet: \
             use sslmode=disable on a network you trust"
                .into(),
        ));
    }
    config.ssl_mode(SslMode::Disable);
    if config.get_application_name().is_none() {
        config.application_name("downbeat");
    }
    if config.get_connect_timeout().is_none() {
        config.connect_timeout(CONNECT);
    }
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(SILENCE);
    }
    Ok(config)
}

/// A connection of one's own, with the task that drives it.
pub(super) struct Link {
    pub(super) client: Client,
    driver: JoinHandle<()>,
}

impl Link {
    pub(super) async fn open(config: &Config) -> std::result::Result<Link, Error> {
        let (client, connection) = config.connect(NoTls).await?;
        let driver = tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to Postgres broke");
            }
        });
        let link = Link { client, driver };
        link.client.batch_execute(SETTINGS).await?;
        Ok(link)
    }

    /// The first connection to a database: may find that there is none, or that it is not for us.
    pub(super) async fn first(config: &Config) -> Result<Link> {
        answer(async { Link::open(config).await.map_err(error::of_opening) }).await
    }
}

impl Drop for Link {
    /// Closes the socket even where the server does not answer any more; it rolls back what was open.
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Waits for an answer, but not for ever.
pub(super) async fn answer<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    match tokio::time::timeout(ANSWER, work).await {
        Ok(answer) => answer,
        Err(_) => Err(StoreError::unavailable(format!("no answer for {} seconds", ANSWER.as_secs()))),
    }
}
