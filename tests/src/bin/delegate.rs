//! A worker as a process of its own, to be killed: `boss` adds two children and gives its subtask back, `maker` does
//! them. What begins is written down as stock workers do it; where `HALT` names a moment, it says so there on standard
//! output, and goes no further.
#![allow(clippy::print_stdout)]

use std::{env, fs::OpenOptions, future::pending, io::Write};

use downbeat_sdk::{Agent, Context, Error, HandlerError, Output, Subtask, Worker};
use serde_json::{Value, json};

/// Between adding children and giving the subtask back.
const ADDED: &str = "added";
/// While a child runs.
const WORKING: &str = "working";

async fn lead(context: Context) -> Result<Output, HandlerError> {
    note(&context)?;
    let ended =
        |key: &str| context.children().iter().any(|child| child.key == key && !child.output.is_empty());
    if ended("one") && ended("two") {
        let (one, two): (Value, Value) = (context.child("one").await?, context.child("two").await?);
        return Output::json(&json!([one, two]));
    }
    let one = Subtask::new("one").agent("maker");
    let two = Subtask::new("two").agent("maker").depends_on(["one"]);
    context.spawn(vec![one, two]).await?;
    halt(ADDED).await;
    Ok(Output::suspend())
}

async fn make(context: Context) -> Result<Output, HandlerError> {
    note(&context)?;
    halt(WORKING).await;
    Output::json(&context.brief().key)
}

/// One line is one write, so several workers may share the file.
fn note(context: &Context) -> Result<(), HandlerError> {
    let brief = context.brief();
    let line =
        format!("{} {} {} {}\n", brief.task_id, brief.subtask_id, context.lease_id(), context.attempt());
    let write =
        |path: String| OpenOptions::new().create(true).append(true).open(path)?.write_all(line.as_bytes());
    let path = env::var("LEDGER").map_err(|error| HandlerError::fatal("NO_LEDGER", error.to_string()))?;
    write(path).map_err(|error| HandlerError::fatal("NO_LEDGER", error.to_string()))
}

async fn halt(moment: &str) {
    if env::var("HALT").is_ok_and(|wanted| wanted == moment) {
        println!("{moment}");
        pending::<()>().await;
    }
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let worker = Worker::builder()
        .addr(env::var("DOWNBEAT_ADDR").unwrap_or_default())
        .slots(1)
        .agent(Agent::new("boss"), lead)
        .agent(Agent::new("maker"), make)
        .build()?;
    worker.run().await.map(drop)
}
