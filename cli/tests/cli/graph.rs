//! Decisions, signals, repetitions: what a client may do to a graph that runs.

use serde_json::{Value, json};

use crate::house::{Answer, Dev, wait_for};

fn submit(dev: &Dev, task_id: &str, subtasks: Value) -> Answer {
    let task = json!({"task_id": task_id, "plan": {"subtasks": subtasks}}).to_string();
    dev.feed(&["submit", "-", "--execute", "--follow"], &task)
}

fn subtask(dev: &Dev, task_id: &str, key: &str) -> Value {
    let task = dev.task(task_id);
    let found = task["subtasks"].as_array().unwrap().iter().find(|subtask| subtask["key"] == key);
    found.cloned().unwrap_or_default()
}

#[test]
fn an_approval_is_decided_by_those_it_names() {
    let dev = Dev::new("approvers");
    let approval =
        json!({"message": "Go?", "approvers": [{"names": ["ada"], "roles": ["boss"]}], "quorum": 2});
    submit(&dev, "a", json!([{"key": "go", "approval": approval}]))
        .exits(5)
        .says("waits for approval by ada, role boss, 0 of 2: downbeat approve a go")
        .complains("`downbeat approve a go`, or reject");
    dev.run(&["approve", "a", "go", "--yes"]).exits(2).complains("--by NAME");
    dev.run(&["approve", "a", "go", "--by", "ada"]).exits(2).complains("--yes");
    dev.run(&["approve", "a", "go", "--by", "eve", "--yes"]).exits(3).complains("NOT_AN_APPROVER");
    let option = ["approve", "a", "go", "--by", "ada", "--yes", "--option", "perhaps"];
    dev.run(&option).exits(3).complains("OPTION_UNKNOWN");
    dev.run(&["approve", "a", "no-go", "--by", "ada", "--yes"]).exits(3).complains("downbeat status a");
    let first = dev.run(&["approve", "a", "go", "--by", "ada", "--yes"]).ok();
    first.says("go of a is waiting: `approve` was chosen; more people have to choose the same");
    let args = ["approve", "a", "go", "--by", "bob", "--role", "boss", "--yes", "--json"];
    assert_eq!(dev.run(&args).ok().json()["state"], "completed");
    dev.run(&["follow", "a"]).ok();
    dev.run(&["reject", "a", "go", "--by", "ada", "--yes"]).exits(3).complains("it is approval, completed");
    let gate = subtask(&dev, "a", "go");
    assert_eq!(gate["outputs"]["option"], "approve");
    dev.run(&["events", "a"]).ok().says("go voted `approve`; by bob");
}

#[test]
fn a_rejected_approval_runs_again() {
    let dev = Dev::new("rejected");
    let _worker = dev.worker(&["ok"], "echo 1");
    let subtasks = json!([
        {"key": "build", "agent": "ok"},
        {"key": "go", "approval": {}, "depends_on": ["build"]},
        {"key": "release", "agent": "ok", "input": "release", "depends_on": ["go"]},
    ]);
    submit(&dev, "r", subtasks).exits(5);
    dev.run(&["reject", "r", "go", "--by", "ada", "--comment", "red", "--yes"])
        .ok()
        .says("go of r is failed");
    dev.run(&["follow", "r"]).exits(1);
    let build = subtask(&dev, "r", "build")["subtask_id"].clone();
    let again = dev.run(&["rerun", "r", "go", "--by", "ada", "--reason", "green now", "--json"]).ok().json();
    assert_eq!((&again["status"], again["subtask_ids"].as_array().unwrap().len()), (&json!("running"), 2));
    dev.run(&["follow", "r"]).exits(5);
    dev.run(&["approve", "r", "go", "--by", "ada", "--yes"]).ok();
    let followed = dev.run(&["follow", "r", "--after", "0"]).ok();
    followed.says("task failed").says("2 added").says("task completed");
    assert_eq!(subtask(&dev, "r", "build")["subtask_id"], build, "what was built is used again");
    dev.run(&["rerun", "r", "--input", "build={\"ref\": 2}"]).ok().says("run(s) again");
    assert_eq!(subtask(&dev, "r", "build")["input"], json!({"ref": 2}));
    dev.run(&["rerun", "r"]).exits(2);
    dev.run(&["rerun", "r", "--input", "nonsense"]).exits(2).complains("SUBTASK=JSON");
}

#[test]
fn a_signal_that_comes_early_is_kept_and_counts_once() {
    let dev = Dev::new("early");
    let _worker = dev.worker(&["ok"], "echo 1");
    let subtasks = json!([
        {"key": "go", "approval": {}},
        {"key": "paid", "signal": {"name": "paid"}, "depends_on": ["go"]},
        {"key": "again", "signal": {"name": "paid"}, "depends_on": ["paid"]},
    ]);
    submit(&dev, "s", subtasks).exits(5);
    let signal = ["signal", "s", "paid", "--payload", "{\"n\": 1}", "--id", "p-1", "--by", "ada"];
    dev.run(&signal).ok().says("it is kept");
    dev.run(&signal).ok();
    dev.run(&["signal", "s", "paid", "--payload", "done"]).exits(2).complains("quotes of its own");
    dev.run(&["approve", "s", "go", "--by", "ada", "--yes"]).ok();
    wait_for("the signal", || (subtask(&dev, "s", "paid")["state"] == "completed").then_some(()));
    assert_eq!(subtask(&dev, "s", "paid")["outputs"], json!({"n": 1}));
    assert_eq!(subtask(&dev, "s", "again")["state"], "waiting");
    dev.run(&["status", "s"]).ok().says("again waits for the signal `paid`: `downbeat signal s NAME`");
}

#[test]
fn a_task_goes_back_to_a_snapshot_and_is_forked_from_it() {
    let dev = Dev::new("snapshots");
    let _worker = dev.worker(&["ok"], "echo 1");
    submit(
        &dev,
        "t",
        json!([{"key": "go", "approval": {}}, {"key": "a", "agent": "ok", "depends_on": ["go"]}]),
    )
    .exits(5);
    dev.run(&["snapshot", "t", "here", "--by", "ada"]).ok().says("here is t as it is after event");
    dev.run(&["approve", "t", "go", "--by", "ada", "--yes"]).ok();
    dev.run(&["follow", "t"]).ok();
    dev.run(&["snapshot", "t"]).ok().says("before go").says("here");
    let fork = dev.run(&["fork", "t", "u", "--snapshot", "here", "--execute", "--json"]).ok().json();
    assert_eq!((&fork["task_id"], &fork["existed"]), (&json!("u"), &json!(false)));
    dev.run(&["follow", "u"]).exits(5);
    dev.run(&["restore", "t", "here", "--by", "ada"]).ok().says("t is running, back at here");
    dev.run(&["follow", "t"]).exits(5);
    dev.run(&["restore", "t", "nowhere"]).exits(3);
}

#[test]
fn a_context_is_read_written_and_compared() {
    let dev = Dev::new("context");
    let subtasks = json!([{"key": "go", "approval": {}}]);
    let task = json!({"task_id": "t", "metadata": {"context": {"a": 1}}, "plan": {"subtasks": subtasks}});
    dev.feed(&["submit", "-", "--execute", "--follow"], &task.to_string()).exits(5);
    dev.run(&["context", "t"]).ok().says("a    1        1");
    dev.run(&["snapshot", "t", "here", "--by", "ada"]).ok();
    dev.run(&["context", "t", "put", "a", "{\"n\": 2}", "--expect", "1"]).ok().says("a has version 2");
    dev.run(&["context", "t", "put", "a", "3", "--expect", "1"]).exits(3).complains("VERSION_CONFLICT");
    let put = ["context", "t", "put", "b", "\"text\"", "--expect", "0", "--by", "ada", "--json"];
    assert_eq!(dev.run(&put).ok().json(), json!({"key": "b", "version": 1}));
    assert_eq!(dev.run(&["context", "t", "get", "b"]).ok().stdout, "text\n");
    let entry = json!({"key": "a", "value": {"n": 2}, "version": 2});
    assert_eq!(dev.run(&["context", "t", "get", "a", "--json"]).ok().json(), entry);
    let changed = dev.run(&["snapshot", "t", "--diff", "here", "--json"]).ok().json();
    let context = json!([{"key": "a", "from": 1, "to": {"n": 2}}, {"key": "b", "to": "text"}]);
    assert_eq!(changed, json!({"context": context, "subtasks": []}));
    dev.run(&["snapshot", "t", "--diff", "here"]).ok().says("context b  -     \"text\"");
    dev.run(&["snapshot", "t", "--diff", "before go", "here"]).ok().says("subtask go  pending  waiting");
    dev.run(&["context", "t", "delete", "b"]).ok().says("b was deleted, and had version 2");
    dev.run(&["context", "t", "get", "b"]).exits(3);
    dev.run(&["context", "t", "put", "a b", "1"]).exits(3).complains("is not a name");
    for bad in
        [&["put", "a"][..], &["get"], &["list", "a"], &["get", "a", "--expect", "1"], &["put", "a", "{"]]
    {
        dev.run(&[&["context", "t"], bad].concat()).exits(2);
    }
    dev.run(&["restore", "t", "here", "--by", "ada"]).ok();
    assert_eq!(
        dev.run(&["context", "t", "--json"]).ok().json()["entries"],
        json!([{"key": "a", "value": 1, "version": 3}])
    );
    dev.run(&["events", "t"]).ok().says("task put restored to `here`; context `a` version 3; by ada");
}

#[test]
fn a_plan_is_linted_without_being_submitted() {
    let dev = Dev::new("lint");
    let bad =
        json!({"subtasks": [{"key": "a", "agent": "x", "depends_on": ["b"]}, {"key": "c"}]}).to_string();
    dev.feed(&["lint", "-"], &bad)
        .exits(3)
        .says("error plan.subtasks[0].depends_on[0]: no subtask of this plan has the key `b`")
        .says("Name the key of a subtask beside it, or of one that the group around it depends on.")
        .complains("this plan has 2 error(s)");
    let found = dev.feed(&["lint", "-", "--json"], &bad).exits(3).json();
    let fields: Vec<&str> =
        found["errors"].as_array().unwrap().iter().map(|issue| issue["field"].as_str().unwrap()).collect();
    assert!(fields.contains(&"plan.subtasks[1].agent"), "{fields:?}");
    let twice = json!({"task_id": "t", "plan": {"subtasks": [{"key": "a", "agent": "x"}, {"key": "b", "agent": "x"}]}});
    dev.feed(&["lint", "-"], &twice.to_string())
        .ok()
        .says("warning plan.subtasks[1]: does the same as `a`")
        .says("Give them different inputs, or drop one.");
    let typed = json!({"goals": [{"name": "done"}], "subtasks": [
        {"key": "a", "agent": "x", "output_schema": {"properties": {"score": {"type": "integer"}}, "additionalProperties": false}},
        {"key": "b", "agent": "x", "depends_on": ["a"], "when": "outputs.a.scroe > 3", "serves": ["doen"]},
    ]});
    dev.feed(&["lint", "-"], &typed.to_string())
        .exits(3)
        .says("plan.subtasks[1].when: line 1, column 11: `outputs.a` has no member `scroe`; did you mean `score`?")
        .says("the plan declares no goal `doen`; did you mean `done`?");
    let found = dev.feed(&["lint", "-", "--json"], &typed.to_string()).exits(3).json();
    assert_eq!(
        (&found["errors"][0]["code"], &found["errors"][1]["code"]),
        (&json!("TYPE"), &json!("GOAL_UNKNOWN"))
    );
    dev.feed(&["lint", "-"], r#"{"task_id":"t"}"#).exits(2).complains("has no plan");
    dev.feed(&["lint", "-"], r#"{"subtasks":[{"key":"a","map":{"ovr":"x"}}]}"#)
        .exits(2)
        .complains("plan.subtasks[0].map.ovr: unknown field");
    assert_eq!(dev.run(&["tasks", "--json"]).ok().json()["tasks"], json!([]));
    let nobody = ["lint", "-", "--addr", "http://127.0.0.1:1"];
    dev.feed(&nobody, &bad).exits(4).complains("cannot lint a plan without a control plane");
}

#[test]
fn of_many_subtasks_those_are_shown_that_say_most() {
    let dev = Dev::new("many");
    let _worker = dev.worker(&["ok"], "grep -q '\"item\":99' && exit 65; echo 1");
    let over = format!("{:?}", (0..100).collect::<Vec<_>>());
    let map = json!({"over": over, "failures": {"tolerate": 1}, "subtasks": [{"key": "x", "agent": "ok"}]});
    let answer = submit(&dev, "m", json!([{"key": "each", "map": map}])).ok();
    answer.says("map 100/100, 1 failed").says("... and 99 completed");
    let shown = dev.run(&["status", "m"]).ok();
    assert!(shown.stdout.lines().count() < 10, "{}", shown.stdout);
    let all = dev.run(&["status", "m", "--all"]).ok();
    assert!(all.stdout.lines().count() > 100, "{}", all.stdout);
}
