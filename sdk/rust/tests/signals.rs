//! The signals that end a worker. They are the whole process's, so this file has one test.
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests")]
#![cfg(unix)]

mod support;

use std::process::{self, Command};

use downbeat_sdk::{Agent, CancelReason, Context, Ended, HandlerError, Worker};
use support::{ControlPlane, brief, soon};
use tokio::sync::mpsc;

fn signal(name: &str) {
    let sent = Command::new("kill").args([name, &process::id().to_string()]).status().unwrap();
    assert!(sent.success());
}

#[tokio::test]
async fn first_signal_drains_and_the_second_ends() {
    let mut control_plane = ControlPlane::start().await;
    let (stopped_tx, mut stopped) = mpsc::channel(1);
    let agent = Agent::new("echo");
    let worker = Worker::builder().addr(&control_plane.addr).agent(agent, move |context: Context| {
        let stopped = stopped_tx.clone();
        async move {
            context.cancelled().await;
            stopped.send(context.cancel_reason().cloned()).await.unwrap();
            Err(HandlerError::retryable("STOPPED", "as asked"))
        }
    });
    let worker = tokio::spawn(worker.build().unwrap().run());
    let mut stream = control_plane.welcome().await;
    stream.start(brief(1, "")).await;
    signal("-TERM");
    assert_eq!(soon(control_plane.drains.recv()).await, Some(7));
    signal("-INT");
    assert_eq!(soon(stopped.recv()).await, Some(Some(CancelReason::Shutdown)));
    assert_eq!(stream.goodbye().await, "shutdown");
    drop(stream);
    assert_eq!(soon(worker).await.unwrap().unwrap(), Ended::TimedOut { unfinished: 1 });
}
