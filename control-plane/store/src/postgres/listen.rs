//! Hints from other replicas, over `LISTEN` on a connection of its own. They come back from one's own
//! `NOTIFY` too, and any of them may be lost.

use std::{future::poll_fn, time::Duration};

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Config, Connection, NoTls, Socket, tls::NoTlsStream};

use super::link::answer;
use crate::Result;

/// Hints that wait to be looked at. What comes beyond them is dropped: a poll stands behind every hint.
const HINTS_MAX: usize = 256;
/// Silence says nothing here: a connection that a link on the way has forgotten is as silent as one without hints.
const PROBE_EVERY: Duration = Duration::from_secs(10);

/// Listens until the receiver is dropped or the connection breaks, which closes the channel.
pub(super) async fn listen(config: &Config) -> Result<mpsc::Receiver<String>> {
    let (client, connection) = answer(async { Ok(config.connect(NoTls).await?) }).await?;
    let (sender, hints) = mpsc::channel(HINTS_MAX);
    let mut driver = tokio::spawn(forward(connection, sender.clone()));
    let listening = answer(async { Ok(client.batch_execute("listen downbeat").await?) }).await;
    if let Err(error) = listening {
        driver.abort();
        return Err(error);
    }
    // Keeps the client, which keeps the connection, as long as both ends are there.
    tokio::spawn(async move {
        let probes = async {
            loop {
                tokio::time::sleep(PROBE_EVERY).await;
                if answer(async { Ok(client.batch_execute("").await?) }).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = sender.closed() => driver.abort(),
            () = probes => driver.abort(),
            _ = &mut driver => {}
        }
    });
    Ok(hints)
}

async fn forward(mut connection: Connection<Socket, NoTlsStream>, hints: mpsc::Sender<String>) {
    while let Some(message) = poll_fn(|context| connection.poll_message(context)).await {
        match message {
            Ok(AsyncMessage::Notification(hint)) => drop(hints.try_send(hint.payload().to_owned())),
            Ok(_) => {}
            Err(error) => {
                tracing::debug!(%error, "the connection that listens for hints broke");
                return;
            }
        }
    }
}
