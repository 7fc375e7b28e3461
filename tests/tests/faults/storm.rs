//! Every fault under a steady load: what clients were promised is counted against what came of it. `make test`
//! runs the short form, a few tasks and one disturbance each, side by side; `make faults` the long one, which
//! prints the table row by row.

mod load;
mod site;
mod table;

use std::{
    any::Any,
    env,
    time::{Duration, Instant},
};

use futures::{StreamExt, stream};

use self::{
    site::{Outcome, Site},
    table::{FAULTS, Fault},
};

/// How much of it.
#[derive(Clone, Copy)]
struct Form {
    /// How often each fault happens.
    rounds: usize,
    /// A task is submitted this often.
    pace: Duration,
    /// Tasks that end before it happens (again).
    between: usize,
    /// Tasks that end while something is wrong, before it is put right.
    meanwhile: usize,
    /// Sites at the same time.
    at_once: usize,
}

const SHORT: Form =
    Form { rounds: 1, pace: Duration::from_millis(200), between: 5, meanwhile: 15, at_once: 6 };
/// `ROUNDS` says how many, and `FAULT` which of the faults when it shall not be all.
/// Of `meanwhile` for longer than it takes to give up a replica.
const LONG: Form =
    Form { rounds: 3, pace: Duration::from_millis(100), between: 50, meanwhile: 150, at_once: 2 };

/// A fault's line of the table.
#[derive(Default)]
struct Row {
    outcome: Outcome,
    recovery: Duration,
    backlog: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_fault_under_a_steady_load() {
    let number = |name: &str| env::var(name).ok().map(|text| text.parse().expect("a number"));
    let form = number("ROUNDS").map_or(SHORT, |rounds| Form { rounds, ..LONG });
    let only = env::var("FAULT").unwrap_or_default();
    let chosen: Vec<&Fault> = FAULTS.iter().filter(|fault| fault.name.contains(&only)).collect();
    assert!(!chosen.is_empty(), "no fault is called {only:?}");

    println!("\nrecovery_ms: from the end of the fault until a task submitted then has completed");
    println!("backlog_ms: from the end of the fault until all that was accepted before it has completed");
    println!("both: the longest of {} round(s)\n", form.rounds);
    println!(
        "{:<24} {:>8} {:>8} {:>5} {:>7} {:>11} {:>10}",
        "fault", "accepted", "finished", "lost", "doubled", "recovery_ms", "backlog_ms"
    );
    let wrong: Vec<String> = stream::iter(chosen)
        .map(|fault| async move {
            // A panic is the end of this fault only.
            let rode = tokio::spawn(ride(fault, form)).await;
            rode.map_or_else(|error| failed(fault, &*error.into_panic()), |row| judged(fault, &row))
        })
        .buffer_unordered(form.at_once)
        .flat_map(stream::iter)
        .collect()
        .await;
    assert!(wrong.is_empty(), "{} problem(s):\n{}", wrong.len(), wrong[..wrong.len().min(60)].join("\n"));
}

async fn ride(fault: &Fault, form: Form) -> Row {
    let mut site = Site::build(fault.ground, form).await;
    let mut row = Row::default();
    for round in 0..form.rounds {
        site.is_whole().await;
        site.goes_on(form.between).await;
        (fault.strike)(&mut site, round).await;
        let over = Instant::now();
        let before = site.load.accepted();
        let sight = site.load.sight();
        let fresh = async {
            let name = site.load.submit_now().await;
            sight.ended(&[name]).await;
            over.elapsed()
        };
        let backlog = async {
            sight.ended(&before).await;
            over.elapsed()
        };
        let (fresh, backlog) = tokio::join!(fresh, backlog);
        (row.recovery, row.backlog) = (row.recovery.max(fresh), row.backlog.max(backlog));
    }
    row.outcome = site.end().await;
    row
}

/// Prints the row, and says what is wrong with it.
fn judged(fault: &Fault, row: &Row) -> Vec<String> {
    let Outcome { accepted, finished, lost, doubled, errors, wrong } = &row.outcome;
    println!(
        "{:<24} {accepted:>8} {finished:>8} {lost:>5} {doubled:>7} {:>11} {:>10}",
        fault.name,
        row.recovery.as_millis(),
        row.backlog.as_millis()
    );
    let mut wrong = wrong.clone();
    if accepted != finished {
        wrong.push(format!("{accepted} tasks were accepted, {finished} have ended"));
    }
    if fault.hidden {
        wrong.extend(errors.iter().map(|error| format!("the SDK's retries did not hide: {error}")));
    }
    wrong.into_iter().map(|issue| format!("{}: {issue}", fault.name)).collect()
}

fn failed(fault: &Fault, panic: &(dyn Any + Send)) -> Vec<String> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words");
    println!("{:<24} failed: {}", fault.name, text.lines().next().unwrap_or_default());
    vec![format!("{}: {text}", fault.name)]
}
