//! Stored workflows on the command line.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::house::{Dev, scratch};

const GREET: &str = "\
name: greet
description: Greets somebody
parameters:
  type: object
  properties:
    to: {type: string}
    times: {type: integer, minimum: 1, default: 1}
  required: [to]
plan:
  subtasks:
    - {key: say, agent: greeter, input: {to: {$param: to}, times: {$param: times}}}
";

struct File(PathBuf);

impl File {
    fn new(name: &str, text: &str) -> File {
        let path = scratch(name).join("greet.yaml");
        std::fs::write(&path, text).unwrap();
        File(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

#[test]
fn versions_come_and_go() {
    let dev = Dev::new("versions");
    let workflow = |args: &[&str]| dev.run(&[&["workflow"], args].concat());
    let (file, other) =
        (File::new("v1", GREET), File::new("v2", &GREET.replace("Greets somebody", "Greets everybody")));
    workflow(&["list"]).ok().says("no workflows");
    workflow(&["create", file.path(), "--by", "ann"]).ok().says("version 1 of greet is stored");
    workflow(&["create", file.path()]).ok().says("version 1 of greet exists and says the same");
    workflow(&["create", other.path()])
        .exits(3)
        .complains("WORKFLOW_EXISTS")
        .complains("workflow update FILE");
    workflow(&["update", other.path(), "--expected-version", "7"])
        .exits(3)
        .complains("WORKFLOW_VERSION_CONFLICT");
    workflow(&["update", other.path(), "--expected-version", "1"]).ok().says("version 2 of greet is stored");
    workflow(&["diff", "greet"]).ok().says("-description: \"Greets somebody\"").says("+++ greet@2");
    workflow(&["rollback", "greet", "1"]).ok().says("version 3 of greet is stored");
    workflow(&["diff", "greet", "--from", "1", "--to", "3"]).ok().says("say the same");
    workflow(&["list"]).ok().says("Greets somebody (back to version 1)");
    let versions = workflow(&["versions", "greet", "--json"]).ok().json();
    let restored: Vec<&Value> =
        versions["versions"].as_array().unwrap().iter().map(|version| &version["restores"]).collect();
    assert_eq!(restored, [&json!(1), &Value::Null, &Value::Null]);
    assert_eq!(versions["versions"][2]["by"], "ann");
    let got = workflow(&["get", "greet", "--version", "2"]).ok();
    // What is shown can be stored.
    let copy = File::new("copy", &got.stdout.replace("\"greet\"", "\"copy\""));
    workflow(&["create", copy.path()]).ok().says("version 1 of copy is stored");
    workflow(&["delete", "greet"]).ok().says("greet is deleted; its last version was 3");
    workflow(&["get", "greet"]).exits(3).complains("no workflow `greet`").complains("downbeat workflow list");
}

#[test]
fn a_workflow_runs_with_parameters() {
    let dev = Dev::new("params");
    let _worker = dev.worker(&["greeter"], "cat");
    let (file, params) = (File::new("run", GREET), File::new("params-file", "to: 5\ntimes: 3\n"));
    dev.run(&["workflow", "create", file.path()]).ok();
    let run = |task: &str, more: &[&str]| {
        dev.run(&[&["workflow", "run", "greet", task, "--execute", "--follow"], more].concat())
    };
    run("a", &["--param", "to=12", "--param", "times=2"]).ok().says("task completed");
    assert_eq!(dev.task("a")["subtasks"][0]["input"], json!({"to": "12", "times": 2}));
    assert_eq!(dev.task("a")["workflow"], json!({"name": "greet", "version": 1}));
    dev.run(&["status", "a"]).ok().says(" · greet@1");
    run("b", &["--params-file", params.path(), "--param", "to=bob"]).ok();
    assert_eq!(dev.task("b")["subtasks"][0]["input"], json!({"to": "bob", "times": 3}));
    let refused = run("c", &["--params-file", params.path(), "--param", "tims=1"]).exits(3);
    let refused = refused.complains("parameters.to: must be of type string, got 5");
    refused.complains("parameters.tims: is unknown; there are: times, to");
    run("d", &["--param", "to"]).exits(2).complains("expected NAME=VALUE");
}

#[test]
fn what_is_no_workflow_is_told() {
    let dev = Dev::new("no-workflow");
    let file = File::new("bad", "nam: x\nplan: [1]\n");
    let bad = dev.run(&["workflow", "create", file.path()]).exits(2);
    bad.complains("nam: unknown field").complains("name: is missing").complains("plan: expected an object");
    dev.run(&["workflow", "create", "--template", "x"]).exits(2).complains("map-reduce");
    dev.run(&["workflow", "templates"]).ok().says("plan-execute-review").says("think-act-observe");
    let shown = dev.run(&["workflow", "templates", "coordinator"]).ok();
    let copy = File::new("template", &shown.stdout);
    dev.run(&["workflow", "create", copy.path(), "--name", "mine"]).ok().says("version 1 of mine is stored");
}

#[test]
fn a_secret_that_nobody_has_fails_for_good() {
    let dev = Dev::new("secret");
    let _worker = dev.worker(&["greeter"], "cat");
    let plan = json!({"subtasks": [{"key": "a", "agent": "greeter", "input": {"$secret": "NOBODY_HAS_IT"}}]});
    let task = json!({"task_id": "s", "plan": plan}).to_string();
    dev.feed(&["submit", "-", "--execute", "--follow"], &task).exits(5);
    let attempts = dev.task("s")["subtasks"][0]["attempts"].clone();
    assert_eq!(attempts.as_array().unwrap().len(), 1);
    assert_eq!(attempts[0]["error"]["code"], "SECRET_MISSING");
    let message = attempts[0]["error"]["message"].as_str().unwrap();
    assert!(message.contains("DOWNBEAT_SECRET_NOBODY_HAS_IT"), "{message}");
}
