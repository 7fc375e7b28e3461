//! The examples: the commands that stand in the head of each do what they say.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

use crate::house::{Answer, Dev, Process, wait_for, without_settings};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// One that runs: its control plane, its workers, and the commands that are left.
struct Example {
    dev: Dev,
    commands: std::vec::IntoIter<String>,
    _workers: Vec<Process>,
}

fn example(name: &str) -> Example {
    let text = fs::read_to_string(root().join(format!("examples/{name}.yaml"))).unwrap();
    let name = Path::new(name).file_name().unwrap().to_str().unwrap();
    let dev = Dev::new(name);
    let commands = text.lines().filter_map(|line| line.strip_prefix("#   ")).map(str::to_owned);
    let (workers, commands): (Vec<String>, Vec<String>) =
        commands.partition(|command| command.contains("downbeat worker"));
    let start =
        |command: &String| Process::start(shell(&dev, command).stdout(Stdio::null()).stderr(Stdio::null()));
    let workers: Vec<Process> = workers.iter().map(start).collect();
    wait_for("the workers", || {
        let connected = dev.run(&["workers", "--json"]).ok().json();
        (connected["workers"].as_array().unwrap().len() == workers.len()).then_some(())
    });
    Example { commands: commands.into_iter(), _workers: workers, dev }
}

fn shell(dev: &Dev, command: &str) -> Command {
    let binary = Path::new(env!("CARGO_BIN_EXE_downbeat")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut shell = without_settings("sh");
    shell.env("DOWNBEAT_ADDR", &dev.grpc).env("PATH", path).current_dir(root());
    shell.arg("-c").arg(format!("exec {command}"));
    shell
}

impl Example {
    /// Runs the next command.
    fn next(&mut self) -> Answer {
        let command = self.commands.next().unwrap();
        Answer::of(shell(&self.dev, &command).output().unwrap())
    }

    fn subtask(&self, task_id: &str, at: usize) -> Value {
        self.dev.task(task_id)["subtasks"][at].clone()
    }
}

#[test]
fn each_is_run_here() {
    let here = include_str!("examples.rs");
    for folder in ["", "workflows/"] {
        for name in names(folder) {
            let name = name.trim_end_matches(".yaml");
            assert!(here.contains(&format!("example(\"{folder}{name}\")")), "{folder}{name} is not run");
        }
    }
}

fn names(folder: &str) -> Vec<String> {
    let files = fs::read_dir(root().join("examples").join(folder)).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.ends_with(".yaml")).collect()
}

/// The body of an answer, which is there.
fn get(http: &str, path: &str) -> Value {
    let mut stream = TcpStream::connect(http.strip_prefix("http://").unwrap()).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    serde_json::from_str(body).unwrap()
}

#[test]
fn each_is_as_the_served_schema_says_and_linted_without_a_finding() {
    let dev = Dev::new("schema");
    let schema = jsonschema::validator_for(&get(&dev.http, "/schemas/plan.json")).unwrap();
    let problems = |plan: &Value| schema.iter_errors(plan).map(|e| e.to_string()).collect::<Vec<String>>();
    for name in names("") {
        let text = fs::read_to_string(root().join("examples").join(&name)).unwrap();
        let document: Value = serde_saphyr::from_str(&text).unwrap();
        // A task, or a schedule that starts one.
        let plan = &document.get("task").unwrap_or(&document)["plan"];
        assert_eq!(problems(plan), Vec::<String>::new(), "{name}");
        let found = dev.feed(&["lint", "-", "--json"], &plan.to_string()).ok().json();
        assert_eq!(found["errors"], json!([]), "{name}");
        // Nobody is connected here.
        let unknown = |issue: &Value| issue["code"] == "AGENT_UNKNOWN";
        assert!(found["warnings"].as_array().unwrap().iter().all(unknown), "{name}: {found}");
    }
    for wrong in [
        json!({"subtasks": []}),
        json!({"subtasks": [{"key": "a", "agnet": "x"}]}),
        json!({"subtasks": [{"key": "a b", "agent": "x"}]}),
        json!({"goals": ["a"], "subtasks": [{"key": "a", "agent": "x"}]}),
        json!({"subtasks": [{"key": "a", "loop": {"until": "true", "subtasks": []}}]}),
    ] {
        assert!(!problems(&wrong).is_empty(), "{wrong}");
    }
}

#[test]
fn goals() {
    let mut example = example("goals");
    example.next().ok().says("nothing is wrong with this plan");
    example.next().ok().says("publish completed");
}

#[test]
fn conditions() {
    let mut example = example("conditions");
    example.next().ok().says("thorough skipped its condition does not hold");
    assert_eq!(example.subtask("conditions-1", 2)["code"], "CONDITION_FALSE");
}

#[test]
fn errors() {
    example("errors").next().ok().says("celebrate skipped").says("tell completed");
}

#[test]
fn retry() {
    let mut example = example("retry");
    example.next().ok().says("falls back to `thorough`");
    assert_eq!(example.subtask("retry-1", 0)["attempts"].as_array().unwrap().len(), 3);
}

#[test]
fn compensation() {
    let answer = example("compensation").next().exits(1);
    answer.says("room.compensation completed").says("seat.compensation completed");
}

#[test]
fn approval() {
    let mut example = example("approval");
    example.next().exits(5).says("waits for approval by ada, role release-manager");
    example.next().ok().says("output of build: {\"version\":42}").says("`everybody` was chosen");
    example.next().ok();
    let go = example.subtask("approval-1", 1);
    assert_eq!((go["by"].as_str(), go["kind"].as_str()), (Some("ada"), Some("approval")));
}

#[test]
fn signal() {
    let mut example = example("signal");
    example.next().ok();
    example.next().ok().says("paid was sent to signal-1");
    example.next().ok();
    assert_eq!(example.subtask("signal-1", 0)["outputs"]["amount"], 100);
}

#[test]
fn timer() {
    example("timer").next().ok().says("cool-down completed");
}

#[test]
fn schedule() {
    let mut example = example("schedule");
    example.next().ok().says("nightly-report is created; next: ");
    assert_eq!(example.next().ok().stdout.lines().count(), 3);
    example.next().ok().says("started nightly-report-now");
    example.next().ok();
    example.next().ok().says("1 started, 0 skipped, 0 missed, 0 refused").says("trigger");
}

#[test]
fn group() {
    example("group").next().ok().says("group 3/3");
}

#[test]
fn map() {
    let mut example = example("map");
    example.next().ok().says("map 4/4");
    assert_eq!(example.next().ok().stdout.matches("\"read\"").count(), 4);
}

#[test]
fn loops() {
    example("loop").next().ok().says("loop, round 3").says("done after 3 rounds");
}

#[test]
fn context() {
    let mut example = example("context");
    example.next().ok().says("done after 3 rounds").says("enough skipped its condition does not hold");
    example.next().ok().says("count  4        3");
}

#[test]
fn children() {
    let mut example = example("children");
    example.next().ok().says("book waiting attempt 1 suspended");
    assert_eq!(example.next().ok().stdout.matches("some words").count(), 3);
}

#[test]
fn plan_execute_review() {
    let mut example = example("workflows/plan-execute-review");
    example.next().ok().says("version 1 of plan-execute-review is stored");
    example.next().ok().says("done after 2 rounds");
    example.next().ok().says("\"ok\": true");
    let task = example.dev.task("per-1");
    assert_eq!(task["workflow"]["name"], "plan-execute-review");
    assert_eq!(task["metadata"]["context"]["params"]["rounds"], 5);
}

#[test]
fn think_act_observe() {
    let mut example = example("workflows/think-act-observe");
    example.next().ok();
    example.next().ok().says("done after 3 rounds");
    example.next().ok().says("\"answer\": 42");
}

#[test]
fn generate_approve_execute() {
    let mut example = example("workflows/generate-approve-execute");
    example.next().ok();
    example.next().exits(5).says("waits for approval by role lead");
    example.next().ok();
    example.next().ok();
    let execute = example.subtask("gae-1", 2);
    assert_eq!(execute["outputs"]["done"], true, "the worker put the secret in");
    assert_eq!(execute["input"]["token"], serde_json::json!({"$secret": "DEPLOY_TOKEN"}));
}

#[test]
fn coordinator() {
    let mut example = example("workflows/coordinator");
    example.next().ok();
    example.next().ok().says("5 of 5 subtasks");
    example.next().ok().says("all in one");
}

#[test]
fn map_reduce() {
    let mut example = example("workflows/map-reduce");
    example.next().ok();
    example.next().ok().says("map 4/4");
    example.next().ok().says("\"total\": 4");
}

#[test]
fn workflow() {
    let mut example = example("workflow");
    example.next().ok().says("version 1 of coordinator is stored");
    example.next().ok().says("decide completed");
    example.next().ok().says("we stay");
    example.next().ok().says("the subtask decide::workflow-1::1 of the task workflow-1");
    let inner = example.dev.task("decide::workflow-1::1::1");
    assert_eq!(inner["metadata"]["context"]["params"]["goal"], "the coast");
    assert_eq!(inner["inside"]["task_id"], "workflow-1");
}

#[test]
fn hierarchical_coordinators() {
    let mut example = example("workflows/hierarchical-coordinators");
    example.next().ok();
    example.next().ok().says("map 2/2");
    example.next().ok().says("both halves");
    let all = example.next().ok();
    assert_eq!(all.stdout.matches("hierarchical-coordinators").count(), 3, "{}", all.stdout);
    let team = example.subtask("hc-1", 4);
    let inner = example.dev.task(team["inner_task_id"].as_str().unwrap());
    assert_eq!((&inner["inside"]["depth"], &inner["status"]), (&1.into(), &"completed".into()));
}
