//! Errors teach, and the exit code says whose they are.

use crate::house::{Dev, binary};

#[test]
fn an_unreachable_control_plane_is_4() {
    let output = binary().args(["tasks", "--addr", "http://127.0.0.1:1"]).output().unwrap();
    assert_eq!(output.status.code(), Some(4));
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("http://127.0.0.1:1") && said.contains("downbeat dev"), "{said}");
}

#[test]
fn refusals_are_3_and_name_the_reason() {
    let dev = Dev::new("refusals");
    dev.run(&["status", "nope"]).exits(3).complains("no task `nope`").complains("downbeat tasks");
    dev.feed(&["submit", "-"], r#"{"task_id":"t","title":"Fix it"}"#).ok();
    dev.feed(&["submit", "-"], r#"{"task_id":"t","title":"Fix that"}"#).exits(3).complains("TASK_CONFLICT");
    dev.run(&["retry", "t", "nope"]).exits(3).complains("SUBTASK_UNKNOWN");
    dev.run(&["drain", "nobody"]).exits(3).complains("downbeat workers");
    let plan =
        r#"{"task_id":"p","plan":{"subtasks":[{"key":"a","agent":"x","depends_on":["b"]},{"key":"c"}]}}"#;
    dev.feed(&["submit", "-"], plan)
        .exits(3)
        .complains("2 problem(s)")
        .complains("plan.subtasks[0].depends_on[0]: no subtask of this plan has the key `b`")
        .complains("plan.subtasks[1].agent: name an agent");
}

#[test]
fn what_cannot_be_read_is_2_and_nothing_is_sent() {
    let dev = Dev::new("usage");
    let table = [
        (r#"{"task_id":"x""#, "is not JSON"),
        ("task_id: [x", "is not YAML"),
        (r#"{"task_id":"x","titel":"y"}"#, "titel: unknown field; there are task_id, title"),
        (r#"{"title":"y"}"#, "task_id: is missing"),
        (
            r#"{"task_id":"x","plan":{"subtasks":[{"key":"a","agnt":"b"}]}}"#,
            "plan.subtasks[0].agnt: unknown field",
        ),
        (
            r#"{"task_id":"x","plan":{"subtasks":[{"key":"a","loop":{"untill":"x"}}]}}"#,
            "plan.subtasks[0].loop.untill: unknown field",
        ),
        (r#"{"task_id":"x","priority":"urgent"}"#, "priority: expected one of low, normal, high, critical"),
    ];
    for (text, expected) in table {
        dev.feed(&["submit", "-"], text).exits(2).complains(expected);
    }
    dev.run(&["submit", "no-such-file.yaml"]).exits(2).complains("no-such-file.yaml");
    dev.run(&["tasks", "--status", "done"]).exits(2).complains("needs_review");
    dev.run(&["tasks", "--addr", "ftp://x:1"]).exits(2).complains("only \"http\"");
    dev.run(&["complete", "x", "a", "--output", "done"]).exits(2).complains("quotes of its own");
    dev.run(&["nonsense"]).exits(2).complains("unrecognized subcommand");
    assert_eq!(dev.run(&["tasks", "--json"]).ok().json()["tasks"].as_array().unwrap().len(), 0);
}

#[test]
fn a_worker_that_cannot_work_is_2() {
    let dev = Dev::new("bad-worker");
    dev.run(&["worker", "--agent", "a"]).exits(2).complains("--http <URL>|COMMAND");
    dev.run(&["worker", "--", "true"]).exits(2).complains("--agent");
    dev.run(&["worker", "--agent", "a", "--", "no-such-command"]).exits(2).complains("no-such-command");
    dev.run(&["worker", "--agent", "A B", "--", "true"]).exits(2).complains("A B");
    dev.run(&["worker", "--agent", "a", "--label", "x", "--", "true"]).exits(2).complains("KEY=VALUE");
    dev.run(&["worker", "--agent", "a", "--http", "ftp://x"]).exits(2).complains("ftp");
}
