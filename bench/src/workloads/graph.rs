//! Plans that grow: a map over many elements beside as many subtasks that were planned one by one, and a large plan of
//! every construct.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use downbeat_sdk::{Approval, Loop, Map, Plan, SignalGate, SignalTask, SubmitTask, Subtask, Timer, proto};

use crate::{
    bed::{Bed, Crew},
    figures::{Cost, Figures},
    lab::Lab,
    run,
    worker::Brief,
};

/// Attempts at the same time.
const SLOTS: usize = 1_000;
/// Tasks at the same time.
const AT_ONCE: usize = 2;
/// Every so many subtasks of the mixed plan is one after the other of its constructs.
const PIECE: usize = 20;

/// How much of it.
#[derive(Clone, Copy)]
struct Amount {
    tasks: usize,
    elements: usize,
}

/// A map's elements cost as much as planned subtasks, or nearly.
pub(super) async fn map(lab: &Lab) -> Result<Vec<Figures>> {
    let amount = lab.pick(Amount { tasks: 10, elements: 10_000 }, Amount { tasks: 2, elements: 100 });
    let planned = one(lab, "planned", amount, |elements| run::wide("noop", elements)).await?;
    let mut all = Vec::new();
    for (variant, window) in [("map", None), ("window", Some(500))] {
        let mut grown = one(lab, variant, amount, |elements| mapped(elements, window)).await?;
        grown.ratio_to_base =
            grown.subtasks_per_s.zip(planned.subtasks_per_s).map(|(grown, planned)| grown / planned);
        all.push(grown);
    }
    all.insert(0, planned);
    Ok(all)
}

async fn one(lab: &Lab, variant: &str, amount: Amount, plan: impl Fn(usize) -> Plan) -> Result<Figures> {
    let mut figures = Figures::new("map", lab.engine);
    figures.variant = Some(variant.to_owned());
    let ceiling = lab.ceiling().await?;
    let before = ceiling.per_s().await?;
    let mut bed = Bed::start(lab, 1, &[]).await?;
    bed.hire(&Crew::idle(SLOTS)).await?;
    let clients = bed.clients()?;
    run::closed(&clients, &run::ids("warm", 2), AT_ONCE, |_| run::wide("noop", 200)).await?;

    let ids = run::ids("map", amount.tasks);
    let began = bed.usage().await?;
    let seconds = run::closed(&clients, &ids, AT_ONCE, |_| plan(amount.elements)).await?;
    let count = (amount.tasks * amount.elements) as u64;
    figures.cost = Some(Cost::between(&began, &bed.usage().await?, count));
    run::check_ended(&clients[0], "map-", amount.tasks).await?;
    bed.stop().await?;
    figures.throughput(count, seconds, (before + ceiling.per_s().await?) / 2.0);
    ceiling.close().await?;
    Ok(figures)
}

/// A list, and a subtask for each of its elements.
fn mapped(elements: usize, window: Option<u32>) -> Plan {
    let mut map = Map::over("outputs.list.items").subtask(Subtask::new("work").agent("noop"));
    if let Some(window) = window {
        map = map.max_parallel(window);
    }
    let list = Brief { items: elements, ..Brief::default() };
    Plan::new()
        .subtask(Subtask::new("list").agent("noop").input(&list))
        .subtask(Subtask::map("each", map).depends_on(["list"]))
}

/// How long a large plan of everything takes to be accepted, and to its end.
pub(super) async fn everything(lab: &Lab) -> Result<Vec<Figures>> {
    let mut figures = Figures::new("everything", lab.engine);
    let mut bed = Bed::start(lab, 1, &[]).await?;
    bed.hire(&Crew::idle(SLOTS)).await?;
    let client = bed.client()?;
    let count = lab.pick(10_000, 200);
    let began = bed.usage().await?;
    let begin = Instant::now();
    client.submit(SubmitTask::new("everything").plan(mixed(count))).await?;
    let accepted_s = begin.elapsed().as_secs_f64();
    for n in 0..count / PIECE {
        // Those that come before anybody waits for them are kept, up to a limit.
        if n < 50 {
            client.signal(SignalTask::new("everything", format!("go{n}"))).await?;
        }
    }
    let begin = Instant::now();
    client.execute("everything").await?;
    run::follow(&client, "everything").await?;
    let seconds = begin.elapsed().as_secs_f64();
    let task = client.get("everything").await?;
    ensure!(task.status() == proto::TaskStatus::Completed, "it is {}", task.status().as_str_name());
    let done = task.subtasks.len() as u64;
    ensure!(done >= count as u64, "{done} subtasks of {count}");
    figures.cost = Some(Cost::between(&began, &bed.usage().await?, done));
    figures.subtasks = Some(done);
    figures.seconds = Some(seconds);
    figures.subtasks_per_s = Some(done as f64 / seconds);
    figures.task_ms_p50 = Some(accepted_s * 1e3);
    bed.stop().await?;
    Ok(vec![figures])
}

/// A plan of so many subtasks, pieces of every construct beside each other.
fn mixed(count: usize) -> Plan {
    (0..count / PIECE).fold(Plan::new(), |plan, n| plan.subtasks(piece(n)))
}

/// Twenty subtasks, bodies counted once.
fn piece(n: usize) -> Vec<Subtask> {
    let key = |name: &str| format!("{name}{n}");
    let work = |name: &str| Subtask::new(key(name)).agent("noop");
    let part = |name: &str| Subtask::new(name).agent("noop");
    let items = Brief { items: 5, ..Brief::default() };
    let each = Map::over(format!("outputs.list{n}.items")).max_parallel(3).subtask(part("work"));
    let rounds =
        Loop::until("iteration >= 2", 3).subtasks([part("draft"), part("review").depends_on(["draft"])]);
    let mut piece = vec![
        work("first"),
        work("yes").depends_on([key("first")]).when(format!("outputs.first{n}.value == 1")),
        work("no").depends_on([key("first")]).when(format!("outputs.first{n}.value == 2")),
        work("join").depends_on([key("yes"), key("no")]).run_if(proto::RunIf::AllDone),
        work("list").input(&items),
        Subtask::map(key("each"), each).depends_on([key("list")]),
        Subtask::repeat(key("rounds"), rounds).depends_on([key("join")]),
        Subtask::group(key("group"), [part("a"), part("b").depends_on(["a"])]).depends_on([key("first")]),
        Subtask::timer(key("timer"), Timer::after(Duration::from_secs(1))),
        work("late").depends_on([key("timer")]),
    ];
    piece.push(if n < 50 {
        Subtask::signal(key("gate"), SignalGate::new(format!("go{n}")))
    } else {
        let in_time = Approval::new().timeout(Duration::from_secs(1), proto::OnTimeout::Approve);
        Subtask::approval(key("gate"), in_time)
    });
    piece.extend([work("w1"), work("w2"), work("w3"), work("w4").depends_on([key("gate")])]);
    piece
}
