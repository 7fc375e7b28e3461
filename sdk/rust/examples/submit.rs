//! Submits a small plan, starts it, follows it, and prints its outputs.
//!
//! Needs a control plane (`downbeat dev`) and the worker of the example `agent`:
//!
//! ```text
//! cargo run -p downbeat-sdk --example agent
//! cargo run -p downbeat-sdk --example submit -- greeting-1
//! ```
#![allow(clippy::print_stdout)]

use std::{env, error::Error};

use downbeat_sdk::{Client, Plan, SubmitTask, Subtask};
use futures::TryStreamExt;
use serde_json::json;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let task_id = env::args().nth(1).unwrap_or_else(|| "greeting-1".to_owned());
    let client = Client::builder().connect().await?;

    let plan = Plan::new()
        .subtask(Subtask::new("greet").agent("greeter").input(&json!({ "name": "world" })))
        .subtask(Subtask::new("shout").agent("shouter").depends_on(["greet"]));
    let submitted = client.submit(SubmitTask::new(&task_id).title("A greeting").plan(plan)).await?;
    if submitted.existed {
        println!("{task_id} was submitted before");
    }
    client.execute(&task_id).await?;

    let mut events = client.watch(&task_id, 0);
    while let Some(event) = events.try_next().await? {
        println!("{:>4} {:<24} {} {}", event.number, event.kind, event.key, event.message);
    }
    for subtask in client.get(&task_id).await?.subtasks {
        println!("{}: {}", subtask.key, String::from_utf8_lossy(&subtask.output));
    }
    Ok(())
}
