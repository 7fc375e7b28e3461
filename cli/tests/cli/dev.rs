//! `downbeat dev`: addresses, ends, and what is there after them.

use crate::house::{Answer, Dev, binary, scratch};

const TASK: &str = r#"{"task_id":"kept","plan":{"subtasks":[{"key":"a","agent":"later"}]}}"#;

#[test]
fn it_ends_in_order_when_it_is_told_to() {
    let mut dev = Dev::new("order");
    assert!(dev.http.starts_with("http://127.0.0.1:") && dev.grpc != dev.http);
    dev.process.terminate();
    assert!(dev.process.wait().success());
}

#[test]
fn what_it_acknowledged_survives_its_death() {
    let data = scratch("death");
    let mut dev = Dev::on(&data);
    dev.feed(&["submit", "-", "--execute"], TASK).ok();
    dev.process.kill();
    let dev = Dev::on(&data);
    assert_eq!(dev.task("kept")["status"], "running");
    let _worker = dev.worker(&["later"], "echo 1");
    dev.run(&["follow", "kept"]).ok();
}

#[test]
fn a_data_directory_is_used_by_one_at_a_time() {
    let data = scratch("one");
    let _dev = Dev::on(&data);
    let args = ["dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data"];
    let second = answer(binary().args(args).arg(&data));
    second.exits(1).complains("--data");
}

#[test]
fn a_taken_port_and_bad_rules_are_told() {
    let dev = Dev::new("taken");
    let taken = dev.grpc.strip_prefix("http://").unwrap();
    let data = scratch("taken-too");
    answer(binary().args(["dev", "--http", "127.0.0.1:0", "--grpc", taken, "--data"]).arg(&data))
        .exits(1)
        .complains(taken)
        .complains("--grpc 127.0.0.1:0");
    let rules = data.join("rules.yaml");
    std::fs::write(&rules, "rules:\n  - name: r\n    subtasks:\n      - {key: a, agnt: x}\n").unwrap();
    let args = ["dev", "--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--data"];
    answer(binary().args(args).arg(&data).arg("--rules").arg(&rules))
        .exits(1)
        .complains("line 4")
        .complains("agnt");
}

#[test]
fn serving_needs_a_database_that_makes_sense() {
    answer(binary().args(["serve"])).exits(2).complains("--database-url");
    answer(binary().args(["serve", "--database-url", "nonsense"])).exits(2).complains("postgres://");
    answer(binary().args(["migrate", "--database-url", "nonsense"])).exits(2).complains("postgres://");
}

fn answer(command: &mut std::process::Command) -> Answer {
    Answer::of(command.output().unwrap())
}
