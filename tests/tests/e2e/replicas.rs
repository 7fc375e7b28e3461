//! Several replicas on one Postgres, and one database under several versions.

use std::time::{Duration, Instant};

use downbeat_sdk::proto::TaskStatus;
use downbeat_tests::{
    harness::{
        ControlPlane, Database, Gate, Ledger, RawWorker, SdkWorker, Watcher, Wire, control_plane,
        plans::{chain, diamond},
        served, until,
    },
    postgres::Postgres,
};
use tokio_postgres::NoTls;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn task_of_one_replica_runs_on_workers_of_the_other_and_killing_either_loses_nothing() {
    let database = Database::postgres();
    let (mut one, mut two) = (ControlPlane::start(&database).await, ControlPlane::start(&database).await);
    let both = format!("{},{}", one.grpc, two.grpc);
    let (ledger, gate) = (Ledger::default(), Gate::closed());
    // Its home is the second replica; it goes to the first when it has to.
    let _worker = SdkWorker::start(&format!("{},{}", two.grpc, one.grpc), &["maker"], 64, &ledger, &gate);
    let client = control_plane::client(&both);
    served(&client, "maker").await;
    let mut watcher = Watcher::new(&[&one.grpc, &two.grpc]);
    let submit = async |watcher: &mut Watcher, range: std::ops::Range<usize>| {
        for i in range {
            let id = format!("r-{i}");
            client.submit(diamond(&id, "maker")).await.unwrap();
            watcher.follow(&id);
            client.execute(id).await.unwrap();
        }
    };
    // Submitted to the first, done by the worker of the second.
    submit(&mut watcher, 0..20).await;
    ledger.begun(20).await;
    gate.let_through(30);
    let completed = |event: &downbeat_sdk::proto::Event| event.kind == "subtask.completed";
    watcher.counts("subtask.completed", 15, completed).await;
    one.kill();
    submit(&mut watcher, 20..30).await;
    gate.let_through(20);
    watcher.counts("subtask.completed", 40, completed).await;
    one.restart().await;
    two.kill();
    submit(&mut watcher, 30..40).await;
    gate.open_for_all();
    two.restart().await;
    let tasks = watcher.verify(&ledger).await;
    assert_eq!(tasks.len(), 40);
    assert!(tasks.iter().all(|task| task.status() == TaskStatus::Completed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn work_of_one_replica_reaches_workers_of_the_other() {
    let database = Database::postgres();
    let (one, two) = (ControlPlane::start(&database).await, ControlPlane::start(&database).await);
    let (ledger, gate) = (Ledger::default(), Gate::open());
    let _odd = SdkWorker::start(&one.grpc, &["odd"], 8, &ledger, &gate);
    let _even = SdkWorker::start(&two.grpc, &["even"], 8, &ledger, &gate);
    let client = one.client();
    served(&client, "odd").await;
    served(&client, "even").await;
    // Every hop is to the other replica.
    let sub = |i: usize| {
        let sub = downbeat_sdk::Subtask::new(format!("s{i}")).agent(if i.is_multiple_of(2) {
            "even"
        } else {
            "odd"
        });
        if i == 0 { sub } else { sub.depends_on([format!("s{}", i - 1)]) }
    };
    let plan = downbeat_sdk::Plan::new().subtasks((0..10).map(sub));
    client.submit(downbeat_sdk::SubmitTask::new("hops").title("hops").plan(plan)).await.unwrap();
    let mut watcher = Watcher::new(&[&two.grpc]);
    watcher.follow("hops");
    let executed = one.client().execute("hops").await.unwrap();
    assert!(executed.blocked.is_empty(), "the other replica's workers count");
    let task = watcher.verify(&ledger).await.remove(0);
    assert_eq!(task.status(), TaskStatus::Completed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_replicas_started_at_once_on_an_empty_database_both_migrate() {
    for _ in 0..3 {
        let database = Database::postgres();
        let launched = [ControlPlane::launch(&database, &[]), ControlPlane::launch(&database, &[])];
        let [one, two] = launched.map(|process| ControlPlane::from(process, &database));
        let (one, two) = tokio::join!(one, two);
        one.client().submit(chain("m", "a", 2)).await.unwrap();
        assert!(two.client().submit(chain("m", "a", 2)).await.unwrap().existed);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_requests_on_a_new_database_are_taken() {
    for _ in 0..3 {
        let database = Database::postgres();
        // The second one starts while the first is at work already.
        let one = ControlPlane::start_here(&database, |_| {}).await;
        let client = one.impatient_client();
        let first = async {
            for i in 0..20 {
                let together = (0..4).map(|j| client.submit(diamond(&format!("first-{i}-{j}"), "a")));
                futures::future::try_join_all(together).await.unwrap();
            }
        };
        let (two, ()) = tokio::join!(ControlPlane::start_here(&database, |_| {}), first);
        two.stop().await;
        one.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn binary_refuses_a_schema_it_does_not_know() {
    let newer = "insert into schema_migrations (number, name, digest) values (9999, '9999_future', 'x')";
    let database = Database::postgres();
    let Database::Postgres(url) = &database else { unreachable!("asked for Postgres") };
    // Without --migrate an empty database is refused as well.
    let mut serve = downbeat_tests::harness::process::downbeat();
    serve.args(["serve", "--json", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--database-url", url]);
    let mut process = downbeat_tests::harness::Process::start("unmigrated", serve);
    assert!(!process.end().await.success());
    assert!(process.log().contains("downbeat migrate"), "says what to do:\n{}", process.log());

    ControlPlane::start(&database).await.stop().await;
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute(newer).await.unwrap();
    let mut process = ControlPlane::launch(&database, &[]);
    assert!(!process.end().await.success());
    assert!(process.log().contains("newer downbeat"), "{}", process.log());
    let left: i64 = client.query_one("select count(*) from replicas", &[]).await.unwrap().get(0);
    assert_eq!(left, 0, "it did not join");

    let database = Database::sqlite();
    ControlPlane::start(&database).await.stop().await;
    let Database::Sqlite(dir) = &database else { unreachable!("asked for SQLite") };
    rusqlite::Connection::open(dir.path().join("downbeat.db")).unwrap().execute(newer, []).unwrap();
    let mut process = ControlPlane::launch(&database, &[]);
    assert!(!process.end().await.success());
    assert!(process.log().contains("newer downbeat"), "{}", process.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_row_belongs_to_a_tenant() {
    // What belongs to the installation, not to anybody in it.
    const SHARED: [&str; 3] = ["replicas", "schema_migrations", "tenants"];
    let database = Database::postgres();
    let Database::Postgres(url) = &database else { unreachable!("asked for Postgres") };
    let plane = ControlPlane::start(&database).await;
    let ledger = Ledger::default();
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &Gate::open());
    served(&plane.client(), "maker").await;
    plane.client().submit(diamond("mine", "maker")).await.unwrap();
    let mut watcher = Watcher::new(&[&plane.grpc]);
    watcher.follow("mine");
    plane.client().execute("mine").await.unwrap();
    watcher.verify(&ledger).await;
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    let tables = "select table_name::text from information_schema.tables where table_schema = 'public'";
    for row in client.query(tables, &[]).await.unwrap() {
        let table: String = row.get(0);
        if SHARED.contains(&table.as_str()) {
            continue;
        }
        let others = format!("select count(*) from {table} where tenant is distinct from 1");
        let others: i64 = client.query_one(&others, &[]).await.unwrap().get(0);
        assert_eq!(others, 0, "{table} holds rows that are not of the default tenant");
    }
}

/// How long an idle replica is listened to: several of its ticks.
const WINDOW: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_replica_asks_at_most_one_query_a_second() {
    let postgres = Postgres::shared();
    let url = postgres.create_database();
    let server = url.split_once('@').and_then(|(_, rest)| rest.split_once('/')).expect("a URL with a host");
    let wire = Wire::to(server.0).await;
    let through_the_wire = Database::Postgres(format!("postgres://postgres@{}/{}", wire.addr(), server.1));
    let plane = ControlPlane::start(&through_the_wire).await;
    // Not empty: something has happened, somebody is connected, something waits for nobody.
    let (client, ledger) = (plane.client(), Ledger::default());
    let _worker = SdkWorker::start(&plane.grpc, &["maker"], 4, &ledger, &Gate::open());
    served(&client, "maker").await;
    let mut watcher = Watcher::new(&[&plane.grpc]);
    client.submit(diamond("idle", "maker")).await.unwrap();
    watcher.follow("idle");
    client.execute("idle").await.unwrap();
    watcher.verify(&ledger).await;
    let gone = RawWorker::start(&plane.grpc, &["quiet"], 4).await;
    gone.goodbye().await;
    until("its session is forgotten", || async {
        (client.workers("").await.unwrap().len() == 1).then_some(())
    })
    .await;
    // A window over which queries are counted, no wait for anything: at least so much time has passed.
    let (begin, before) = (Instant::now(), wire.queries());
    tokio::time::sleep(WINDOW).await;
    let (asked, seconds) = (wire.queries() - before, begin.elapsed().as_secs_f64());
    assert!(asked as f64 <= seconds, "{asked} queries in {seconds} s");
    assert!(asked > 0, "it beats");
}
