//! A worker with two agents, for the example `submit`. Ctrl-C drains it.
//!
//! ```text
//! cargo run -p downbeat-sdk --example agent
//! ```
#![allow(clippy::print_stdout)]

use std::time::Duration;

use downbeat_sdk::{Agent, Context, Error, HandlerError, Output, Worker};
use serde::Deserialize;

#[derive(Deserialize)]
struct Greeting {
    name: String,
}

async fn greet(context: Context) -> Result<Output, HandlerError> {
    let Greeting { name } = context.input()?;
    if name.is_empty() {
        return Err(HandlerError::fatal("NO_NAME", "nobody to greet"));
    }
    context.progress("thinking of a greeting", 0.5);
    Output::json(&format!("hello, {name}"))
}

async fn shout(context: Context) -> Result<Output, HandlerError> {
    let greeting: String = context.dependency("greet").await?;
    Output::json(&greeting.to_uppercase())
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let greeter = Agent::new("greeter").description("Greets somebody by name.").sla(Duration::from_secs(30));
    let worker = Worker::builder()
        .slots(8)
        .agent(greeter, greet)
        .agent(Agent::new("shouter").capability("text"), shout)
        .build()?;
    let ended = worker.run().await?;
    println!("ended: {ended:?}");
    Ok(())
}
