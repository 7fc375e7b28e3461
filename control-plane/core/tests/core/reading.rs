//! What each command has locked and loaded. That it is enough, the world proves: it loads no more.

use std::collections::BTreeMap;

use downbeat_core::{
    id::TenantNo,
    reads::{Reads, reads, task_of},
};

use crate::{
    ask::{
        Ask, ack, block, cancel, complete, deadline, detach, done, drain, execute, expire, fails, forget,
        hand_back, lose, open, overdue, pause, put, put_under, read_under, resume, retry, route, silence,
        sketch, submit, submit_for, unblock, wake,
    },
    table::given,
    world::World,
};

/// In text: `t: a b` are subtasks of a task, `t: all` the whole of it, `t` its own row alone; `seat` is a session that
/// is not changed.
fn declared(world: &mut World, ask: Ask) -> String {
    let mut into = Reads::default();
    for command in ask.commands(world) {
        let no = task_of(&command);
        let plans: BTreeMap<_, _> =
            no.and_then(|no| Some((no, world.plans.get(&no)?.clone()))).into_iter().collect();
        reads(&command, &plans, &mut into);
    }
    assert!(into.hints.is_empty(), "placement declares these");
    let mut said: Vec<String> = Vec::new();
    for no in &into.tasks {
        let id = world.tasks.get(no).map_or("nobody", |task| task.id.as_str());
        let places = into.subtasks.iter().filter(|place| place.0 == *no);
        let keys = places.map(|place| format!(" {}", world.plans[no].nodes()[place.1 as usize].key));
        let rows = if into.whole.contains(no) { " all".into() } else { keys.collect::<String>() };
        said.push(if rows.is_empty() { id.into() } else { format!("{id}:{rows}") });
    }
    said.extend(into.ids.iter().map(|(tenant, id)| format!("named {tenant}/{id}")));
    said.extend(into.sessions.iter().map(|no| format!("session {}", world.sessions[no].declaration.worker)));
    said.extend(into.seats.iter().map(|no| format!("seat {}", world.sessions[no].declaration.worker)));
    said.join(", ")
}

#[test]
fn each_command_declares_its_rows() {
    let mut world = World::with("a, b < a, c < a, d < b c", 1);
    given(&mut world, [submit(sketch("u", "a"))]);
    let rows = [
        (submit(sketch("new", "a, b")), "named 1/new"),
        (submit_for(TenantNo(2), sketch("t", "a")), "named 2/t"),
        (execute("t"), "t: all"),
        (pause("t"), "t: all"),
        (cancel("t"), "t: all"),
        (deadline("t"), "t: all"),
        (retry("a"), "t: all"),
        (complete("d"), "t: all"),
        (done("a"), "t: a b c"),
        (fails("a"), "t: a b c"),
        (done("d#x"), "t: d"),
        (ack("a"), "t: a"),
        (hand_back("a"), "t: a, seat w1"),
        (lose("a"), "t: a"),
        (silence("a"), "t: a"),
        (wake("b"), "t: b"),
        (block("b"), "t: b"),
        (unblock("b"), "t: b"),
        (route("b", "coder"), "t: b"),
        (put("k", None, None), "t"),
        (put_under("a", 1, "k", None, None), "t: a"),
        (put_under("z", 1, "k", None, None), "t"),
        (read_under("a", None), "t: a"),
        (done("z#x"), "t"),
        (wake("z"), "t"),
        (pause("nobody"), "nobody: all"),
        (done("nobody/a"), "nobody"),
        (open("w2", 1), ""),
        (resume("w1"), "session w1"),
        (detach("w1"), "session w1"),
        (expire("w1"), "session w1"),
        (overdue("w1"), "session w1"),
        (drain("w1"), "session w1"),
        (forget("w1"), "session w1"),
        (ack("a").and(wake("u/a")).and(drain("w1")), "t: a, u: a, session w1"),
    ];
    for (ask, expected) in rows {
        assert_eq!(declared(&mut world, ask), expected);
    }
}
