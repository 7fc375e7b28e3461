//! The way of a task, as a client sees it.

use serde_json::{Value, json};

use crate::house::{Dev, scratch};

/// The request of the contract's own example.
const FEATURE: &str = r#"{"task_id":"feature-1087","title":"Implement invoice PDF export","description":"Add PDF export support to the billing dashboard including automated regression tests.","priority":"high","metadata":{"repository":"git@github.com:appsmithery/dev-tools.git","requester":"product-management","due_date":"2025-11-22"}}"#;

fn plan(task_id: &str, subtasks: Value) -> String {
    json!({"task_id": task_id, "plan": {"subtasks": subtasks}}).to_string()
}

fn states(task: &Value) -> Vec<(&str, &str)> {
    let subtasks = task["subtasks"].as_array().unwrap().iter();
    subtasks.map(|sub| (sub["key"].as_str().unwrap(), sub["state"].as_str().unwrap())).collect()
}

#[test]
fn a_request_without_a_plan_runs_to_its_end() {
    let dev = Dev::new("feature");
    let _worker =
        dev.worker(&["feature-development", "code-review", "testing"], "cat >&2; echo '{\"done\":true}'");
    let answer = dev.feed(&["submit", "-", "--execute", "--follow"], FEATURE).ok();
    answer.says("task completed").says("completed · 3 of 3 subtasks");
    let task = dev.task("feature-1087");
    assert_eq!(task["status"], "completed");
    assert_eq!(task["metrics"]["on_time"], false);
    let keys = [("feature-development", "completed"), ("code-review", "completed"), ("testing", "completed")];
    assert_eq!(states(&task), keys);
    assert_eq!(task["subtasks"][1]["depends_on"], json!(["feature-development"]));
    dev.run(&["output", "feature-1087", "testing"]).ok().says("\"done\": true");
    dev.run(&["status", "feature-1087"]).ok().says("late");
}

#[test]
fn a_task_is_read_from_yaml_and_submitted_once() {
    let dev = Dev::new("yaml");
    let file = scratch("yaml-file").join("task.yaml");
    std::fs::write(&file, "task_id: y\nplan:\n  subtasks:\n    - {key: a, agent: nobody, input: {n: 1}}\n")
        .unwrap();
    let file = file.to_str().unwrap();
    dev.run(&["submit", file]).ok().says("start it with `downbeat execute y`");
    let again = dev.run(&["submit", file, "--json"]).ok().json();
    assert_eq!((&again["existed"], &again["status"]), (&json!(true), &json!("planned")));
    assert_eq!(again["subtasks"][0]["input"], json!({"n": 1}));
    dev.run(&["execute", "y"]).ok().says("a waits: no live worker can do it").says("--agent nobody");
    dev.run(&["tasks", "--status", "running"]).ok().says("y ");
    assert_eq!(dev.run(&["tasks", "--status", "failed", "--json"]).ok().json(), json!({"tasks": []}));
}

#[test]
fn following_ends_where_a_person_is_needed() {
    let dev = Dev::new("review");
    let _worker = dev.worker(&["picky"], "echo 'cannot read it' >&2; exit 65");
    let _worker = dev.worker(&["joiner"], "cat");
    let task = plan(
        "r",
        json!([{"key": "a", "agent": "picky"}, {"key": "b", "agent": "joiner", "depends_on": ["a"]}]),
    );
    let answer = dev.feed(&["submit", "-", "--execute", "--follow"], &task).exits(5);
    answer.complains("task r waits for a person").complains("`downbeat retry r a`");
    dev.run(&["complete", "r", "a", "--output", "{\"by\": \"hand\"}"]).ok().says("a of r is completed");
    dev.run(&["follow", "r"]).ok();
    assert_eq!(dev.task("r")["subtasks"][1]["outputs"]["dependencies"]["a"]["output"]["by"], "hand");
    let error = &dev.task("r")["subtasks"][0]["attempts"][0]["error"];
    assert_eq!(
        (&error["code"], error["message"].as_str().unwrap().contains("cannot read it")),
        (&json!("EXIT_65"), true)
    );
}

#[test]
fn reviews_decide_how_a_task_ends() {
    let dev = Dev::new("reviews");
    let _worker = dev.worker(&["picky"], "exit 65");
    for (action, code) in [("skip", 0), ("fail", 1)] {
        let task = plan(action, json!([{"key": "a", "agent": "picky"}]));
        dev.feed(&["submit", "-", "--execute", "--follow"], &task).exits(5);
        dev.run(&[action, action, "a", "--reason", "tried"]).ok();
        dev.run(&["follow", action]).exits(code);
    }
    let task = plan("again", json!([{"key": "a", "agent": "picky"}]));
    dev.feed(&["submit", "-", "--execute", "--follow"], &task).exits(5);
    let _other = dev.worker(&["willing"], "echo 1");
    dev.run(&["retry", "again", "a", "--json"]).ok();
    dev.run(&["follow", "again"]).exits(5);
    assert_eq!(dev.task("again")["subtasks"][0]["attempts"].as_array().unwrap().len(), 2);
}

#[test]
fn held_subtasks_wait_to_be_released() {
    let dev = Dev::new("held");
    let _worker = dev.worker(&["ok"], "echo 1");
    let subtasks =
        json!([{"key": "a", "agent": "ok"}, {"key": "b", "agent": "ok", "input": 2, "depends_on": ["a"]}]);
    dev.feed(&["submit", "-"], &plan("h", subtasks)).ok();
    dev.run(&["execute", "h", "--checkpoint", "b", "--follow"]).exits(5).complains("b is held");
    assert_eq!(states(&dev.task("h")), [("a", "completed"), ("b", "waiting")]);
    dev.run(&["release", "h", "b"]).ok();
    dev.run(&["follow", "h"]).ok();
}

#[test]
fn a_task_is_paused_resumed_routed_and_cancelled() {
    let dev = Dev::new("ways");
    let task =
        plan("w", json!([{"key": "a", "agent": "nobody"}, {"key": "b", "agent": "nobody", "input": 2}]));
    dev.feed(&["submit", "-", "--execute"], &task).ok();
    dev.run(&["pause", "w"]).ok().says("w is paused");
    dev.run(&["follow", "w"]).exits(5).complains("`downbeat execute w`");
    dev.run(&["execute", "w"]).ok();
    let _worker = dev.worker(&["general"], "echo 1");
    dev.run(&["route", "w", "a", "general"]).ok().says("goes to general");
    let routed = || dev.task("w")["subtasks"][0]["state"] == "completed";
    crate::house::wait_for("the routed subtask", || routed().then_some(()));
    dev.run(&["cancel", "w", "--reason", "enough"]).ok().says("w is cancelled");
    dev.run(&["follow", "w"]).exits(1).complains("enough");
}

#[test]
fn programs_read_nothing_but_json() {
    let dev = Dev::new("json");
    let _worker = dev.worker(
        &["ok"],
        "echo working >&2; echo '{\"$artifacts\":[{\"name\":\"n\",\"uri\":\"file:///x\"}]}'",
    );
    let task = plan("j", json!([{"key": "a", "agent": "ok"}]));
    let lines = dev.feed(&["submit", "-", "--execute", "--follow", "--json"], &task).ok().lines();
    assert_eq!(lines.first().unwrap()["task"]["task_id"], "j");
    assert_eq!(lines.last().unwrap()["task"]["status"], "completed");
    let numbers: Vec<u64> = lines.iter().filter_map(|line| line["event"]["number"].as_u64()).collect();
    assert_eq!(numbers, (1..=numbers.len() as u64).collect::<Vec<_>>());
    let events = dev.run(&["events", "j", "--json"]).ok().lines();
    assert_eq!(events.len(), numbers.len());
    assert_eq!(dev.run(&["output", "j", "a", "--json"]).ok().json()["artifacts"][0]["uri"], "file:///x");
    assert_eq!(dev.run(&["agents", "--json"]).ok().json()["agents"][0]["name"], "ok");
    assert_eq!(dev.run(&["workers", "--json"]).ok().json()["workers"][0]["slots"], 4);
    assert_eq!(dev.run(&["tasks", "--json"]).ok().json()["tasks"][0]["status"], "completed");
    dev.run(&["follow", "j", "--after", "0", "--json"]).ok().lines();
}
