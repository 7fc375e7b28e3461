//! Reads of committed rows.

use downbeat_core::{
    effect::Queued,
    id::{LeaseAt, LeaseId, RouteNo, SessionNo, TaskNo, TenantNo},
    plan::RouteSpec,
    rows::{Changes, SubtaskRow},
    subtask::{Subtask, SubtaskState},
    task::{Priority, TaskStatus},
    time::Time,
};
use downbeat_store::{Leased, ListTasks, Store, TaskPage};

use crate::build::{self, TENANT, in_line, subtask_row, write};

pub(crate) async fn the_line_is_in_order_and_starts_at_the_cursor(store: &dyn Store) {
    let subtasks = vec![
        subtask_row(1, 0, in_line(70, Priority::Normal, 30)),
        subtask_row(1, 1, in_line(70, Priority::Normal, 20)),
        subtask_row(1, 2, in_line(70, Priority::Critical, 40)),
        subtask_row(2, 0, in_line(70, Priority::Normal, 20)),
        subtask_row(2, 1, in_line(70, Priority::Low, 10)),
        subtask_row(2, 2, in_line(71, Priority::Critical, 10)),
        subtask_row(2, 3, Subtask { queued: None, ..in_line(70, Priority::Critical, 0) }),
        subtask_row(2, 4, Subtask { state: SubtaskState::Blocked, ..in_line(70, Priority::High, 50) }),
    ];
    write(store, &Changes { new_subtasks: subtasks, ..Changes::default() }).await;

    let place = |priority, queued, task, index| Queued {
        route: RouteNo(70),
        priority,
        queued,
        task: TaskNo(task),
        index,
    };
    let line = [
        place(Priority::Critical, 40, 1, 2),
        place(Priority::High, 50, 2, 4),
        place(Priority::Normal, 20, 1, 1),
        place(Priority::Normal, 20, 2, 0),
        place(Priority::Normal, 30, 1, 0),
        place(Priority::Low, 10, 2, 1),
    ];
    assert!(line.is_sorted());
    let ready = async |route, from, limit| store.ready(RouteNo(route), from, limit).await.unwrap();
    assert_eq!(ready(70, [0; 4], 100).await, line);
    assert_eq!(ready(70, [0; 4], 3).await, line[..3]);
    assert_eq!(ready(70, [0; 4], 0).await, []);
    assert_eq!(ready(70, [30; 4], 100).await, [line[0], line[1], line[4]]);
    // Low, normal, high, critical.
    assert_eq!(ready(70, [10, 21, 51, 40], 100).await, [line[0], line[4], line[5]]);
    assert_eq!(ready(70, [51; 4], 100).await, []);
    assert_eq!(ready(72, [0; 4], 100).await, []);
}

pub(crate) async fn the_stuck_are_found(store: &dyn Store) {
    let since = |index, state, since| {
        let place = i64::from(index) + 1;
        let row = Subtask { state, since: Time(since), ..in_line(70, Priority::Normal, place) };
        subtask_row(1, index, row)
    };
    let subtasks = vec![
        since(0, SubtaskState::Ready, 100),
        since(1, SubtaskState::Ready, 200),
        since(2, SubtaskState::Blocked, 100),
        since(3, SubtaskState::Blocked, 900),
        subtask_row(1, 4, Subtask { queued: None, since: Time(0), ..in_line(70, Priority::Normal, 0) }),
        subtask_row(1, 5, Subtask { since: Time(0), ..in_line(71, Priority::Normal, 1) }),
    ];
    write(store, &Changes { new_subtasks: subtasks, ..Changes::default() }).await;

    let stuck = async |blocked, before, limit| {
        let found = store.stuck(RouteNo(70), blocked, Time(before), limit).await.unwrap();
        found.into_iter().map(|(_, index)| index).collect::<Vec<_>>()
    };
    assert_eq!(stuck(false, 100, 10).await, [] as [u32; 0]);
    assert_eq!(stuck(false, 101, 10).await, [0]);
    assert_eq!(stuck(false, 1_000, 10).await, [0, 1]);
    assert_eq!(stuck(false, 1_000, 1).await, [0]);
    assert_eq!(stuck(true, 0, 10).await, [2, 3]);
}

pub(crate) async fn events_come_in_pages(store: &dyn Store) {
    write(store, &Changes { new_tasks: vec![build::task(1), build::task(2)], ..Changes::default() }).await;
    // Batches of 3, 1 and 4 events; another task's in between.
    for (first, last) in [(1, 3), (4, 4), (5, 8)] {
        let history = vec![build::history(1, first, last), build::history(2, first, last)];
        write(store, &Changes { history, ..Changes::default() }).await;
    }
    let page = async |after, limit| {
        let found = store.events(TaskNo(1), after, limit).await.unwrap();
        found.into_iter().map(|event| event.number).collect::<Vec<_>>()
    };
    assert_eq!(page(0, 100).await, [1, 2, 3, 4, 5, 6, 7, 8]);
    // A page is never empty where there is more, and never cuts a batch short of its limit.
    assert_eq!(page(0, 1).await, [1, 2, 3]);
    assert_eq!(page(0, 3).await, [1, 2, 3]);
    assert_eq!(page(0, 4).await, [1, 2, 3, 4]);
    assert_eq!(page(2, 1).await, [3]);
    assert_eq!(page(2, 3).await, [3, 4, 5, 6, 7, 8]);
    assert_eq!(page(8, 10).await, [] as [u64; 0]);
    assert_eq!(page(u64::MAX, 10).await, [] as [u64; 0]);
    assert!(store.events(TaskNo(3), 0, 10).await.unwrap().is_empty());
}

/// Tasks 1 to 9: odd ones planned, even ones completed, `9` of another tenant.
async fn nine_tasks(store: &dyn Store) {
    let ids = ["", "run%1", "run_1", "runx1", "Run%1", "", "ä%b", "ä_b", "run%1"];
    let mut new_tasks = Vec::new();
    for (no, id) in (1..).zip(ids) {
        let mut task = build::task(no);
        task.id = if id.is_empty() { task.id } else { id.to_owned() };
        task.status = if no % 2 == 0 { TaskStatus::Completed } else { TaskStatus::Planned };
        task.tenant = if no == 9 { TenantNo(2) } else { TENANT };
        new_tasks.push(task);
    }
    let new_plans = new_tasks.iter().map(|task| build::plan(task.no.0)).collect();
    write(store, &Changes { new_tasks, new_plans, ..Changes::default() }).await;
}

fn all_tasks() -> ListTasks {
    ListTasks { tenant: TENANT, statuses: Vec::new(), id_prefix: String::new(), before: None, limit: 100 }
}

fn numbers(page: &TaskPage) -> Vec<i64> {
    page.tasks.iter().map(|task| task.no.0).collect()
}

pub(crate) async fn tasks_are_listed_newest_first_in_pages(store: &dyn Store) {
    nine_tasks(store).await;
    let page = store.list_tasks(&all_tasks()).await.unwrap();
    assert_eq!(numbers(&page), [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(page.next, None);
    let line = &page.tasks[7];
    let task = build::task(1);
    assert_eq!((line.id.as_str(), line.title.as_str()), ("task-1", "Title of 1 🎼"));
    assert_eq!((line.priority, line.status), (task.priority, TaskStatus::Planned));
    assert_eq!((line.total, line.unfinished), (task.total, task.unfinished));
    let times = (line.created_at, line.started_at, line.ended_at);
    assert_eq!(times, (task.created_at, task.started_at, task.ended_at));

    let mut list = ListTasks { limit: 3, ..all_tasks() };
    let mut pages = Vec::new();
    loop {
        let page = store.list_tasks(&list).await.unwrap();
        pages.push(numbers(&page));
        list.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!(pages, [vec![8, 7, 6], vec![5, 4, 3], vec![2, 1]]);
    let full = store.list_tasks(&ListTasks { limit: 8, ..all_tasks() }).await.unwrap();
    assert_eq!((full.tasks.len(), full.next), (8, None));
    let elsewhere = store.list_tasks(&ListTasks { tenant: TenantNo(2), ..all_tasks() }).await.unwrap();
    assert_eq!(numbers(&elsewhere), [9]);
}

pub(crate) async fn tasks_are_listed_by_status_and_prefix(store: &dyn Store) {
    nine_tasks(store).await;
    let find = async |statuses: &[TaskStatus], prefix: &str| {
        let list = ListTasks { statuses: statuses.to_vec(), id_prefix: prefix.to_owned(), ..all_tasks() };
        numbers(&store.list_tasks(&list).await.unwrap())
    };
    use TaskStatus::{Completed, Planned, Running};
    assert_eq!(find(&[Planned], "").await, [7, 5, 3, 1]);
    assert_eq!(find(&[Completed, Planned, Completed], "").await, [8, 7, 6, 5, 4, 3, 2, 1]);
    assert_eq!(find(&[Running], "").await, [] as [i64; 0]);
    assert_eq!(find(&[], "run").await, [4, 3, 2]);
    assert_eq!(find(&[], "run%").await, [2]);
    assert_eq!(find(&[], "run_").await, [3]);
    assert_eq!(find(&[], "Run").await, [5]);
    assert_eq!(find(&[], "ä").await, [8, 7]);
    assert_eq!(find(&[Planned], "ä%").await, [7]);
    assert_eq!(find(&[], "run%1").await, [2]);
    assert_eq!(find(&[], "run%1x").await, [] as [i64; 0]);
    assert_eq!(find(&[], "\\").await, [] as [i64; 0]);
    let list = ListTasks { id_prefix: "run".into(), limit: 2, ..all_tasks() };
    let page = store.list_tasks(&list).await.unwrap();
    assert_eq!((numbers(&page), page.next), (vec![4, 3], Some(TaskNo(3))));
}

pub(crate) async fn plans_of_unknown_tasks_are_left_out(store: &dyn Store) {
    let changes = Changes {
        new_tasks: vec![build::task(1), build::task(2)],
        new_plans: vec![build::plan(1), build::plan(2)],
        ..Changes::default()
    };
    write(store, &changes).await;
    let found = store.plans(&[TaskNo(2), TaskNo(3), TaskNo(1)]).await.unwrap();
    let mut found: Vec<_> = found.into_iter().map(|plan| plan.task.0).collect();
    found.sort_unstable();
    assert_eq!(found, [1, 2]);
    assert!(store.plans(&[]).await.unwrap().is_empty());
}

pub(crate) async fn outputs_are_found(store: &dyn Store) {
    let outputs = vec![build::output(1, 0), build::output(1, 2), build::output(2, 0)];
    write(store, &Changes { outputs: outputs.clone(), ..Changes::default() }).await;
    let of = [(TaskNo(2), 0), (TaskNo(1), 1), (TaskNo(1), 2), (TaskNo(3), 0)];
    let found = store.outputs(&of).await.unwrap();
    assert_eq!(found, [outputs[2].clone(), outputs[1].clone()]);
    assert_eq!(store.outputs(&[]).await.unwrap(), []);
    assert_eq!(store.outputs_of(TaskNo(1)).await.unwrap(), outputs[..2]);
    assert_eq!(store.outputs_of(TaskNo(3)).await.unwrap(), []);
}

pub(crate) async fn a_task_comes_with_its_subtasks(store: &dyn Store) {
    let subtasks: Vec<SubtaskRow> =
        (0..12).map(|index| subtask_row(1, index, in_line(70, Priority::Normal, i64::from(index)))).collect();
    let changes = Changes {
        new_tasks: vec![build::task(1), build::task(2)],
        new_subtasks: subtasks.iter().rev().cloned().collect(),
        ..Changes::default()
    };
    write(store, &changes).await;
    let record = store.task(TaskNo(1)).await.unwrap().expect("the task");
    assert_eq!(record.subtasks, subtasks.into_iter().map(|sub| sub.row).collect::<Vec<_>>());
    assert!(store.task(TaskNo(2)).await.unwrap().expect("the task").subtasks.is_empty());
}

pub(crate) async fn leases_belong_to_sessions(store: &dyn Store) {
    let held = |task, index, session, lease| {
        let row =
            Subtask { session: Some(SessionNo(session)), lease: Some(LeaseId(lease)), ..build::subtask() };
        subtask_row(task, index, row)
    };
    let mut elsewhere = held(3, 0, 9, 14);
    elsewhere.tenant = TenantNo(2);
    let free = subtask_row(1, 2, Subtask { session: None, ..build::subtask() });
    let subtasks = vec![held(2, 0, 7, 13), held(1, 0, 7, 11), held(1, 1, 8, 12), free, elsewhere];
    write(store, &Changes { new_subtasks: subtasks, ..Changes::default() }).await;

    let at = |task, index, lease| LeaseAt { task: TaskNo(task), index, lease: LeaseId(lease) };
    let found = store.leases(&[SessionNo(7), SessionNo(8), SessionNo(6)]).await.unwrap();
    let leased = |session, at| Leased { session: SessionNo(session), at, route: RouteNo(70) };
    let expected = [leased(7, at(1, 0, 11)), leased(7, at(2, 0, 13)), leased(8, at(1, 1, 12))];
    assert_eq!(found, expected);
    assert_eq!(store.lease_counts(TENANT).await.unwrap(), [(SessionNo(7), 2), (SessionNo(8), 1)]);
    assert_eq!(store.lease_counts(TenantNo(2)).await.unwrap(), [(SessionNo(9), 1)]);
}

fn spec(agent: &str, capabilities: &[&str]) -> RouteSpec {
    RouteSpec::new(agent, &capabilities.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>())
}

pub(crate) async fn routes_are_interned_once(store: &dyn Store) {
    let specs = [spec("a", &["x", "y"]), spec("", &["x"]), spec("a", &["y", "x"]), spec("a", &[])];
    let numbers = store.intern_routes(TENANT, &specs).await.unwrap();
    assert_eq!(numbers[0], numbers[2]);
    assert_eq!(store.intern_routes(TENANT, &specs).await.unwrap(), numbers);
    assert_eq!(store.intern_routes(TENANT, &[]).await.unwrap(), []);
    let elsewhere = store.intern_routes(TenantNo(2), &specs[..1]).await.unwrap();
    assert!(!numbers.contains(&elsewhere[0]));

    let all = store.routes_after(RouteNo(0)).await.unwrap();
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted_by_key(|route| route.no));
    for (spec, no) in specs.iter().zip(&numbers) {
        let route = all.iter().find(|route| route.no == *no).expect("every number is listed");
        assert_eq!((route.tenant, &route.spec), (TENANT, spec));
    }
    assert_eq!(store.routes_after(all[2].no).await.unwrap(), all[3..]);
}

pub(crate) async fn routes_interned_at_once_agree(store: &dyn Store) {
    let specs: Vec<RouteSpec> = (0..20).map(|n| spec(&format!("agent-{n}"), &[])).collect();
    let turned: Vec<RouteSpec> = specs.iter().rev().cloned().collect();
    let (one, two) =
        futures::join!(store.intern_routes(TENANT, &specs), store.intern_routes(TENANT, &turned));
    let (one, mut two) = (one.unwrap(), two.unwrap());
    two.reverse();
    assert_eq!(one, two);
    assert_eq!(store.routes_after(RouteNo(0)).await.unwrap().len(), 20);
}

pub(crate) async fn long_routes_are_interned(store: &dyn Store) {
    let tags: Vec<String> = (0..64).map(|n| format!("{n:0>100}")).collect();
    let specs = [RouteSpec::new("a", &tags), RouteSpec::new("a", &tags[1..])];
    let numbers = store.intern_routes(TENANT, &specs).await.unwrap();
    assert_ne!(numbers[0], numbers[1]);
    assert_eq!(store.intern_routes(TENANT, &specs).await.unwrap(), numbers);
    let found = store.routes_after(RouteNo(0)).await.unwrap();
    assert!(specs.iter().all(|spec| found.iter().any(|route| route.spec == *spec)));
}
