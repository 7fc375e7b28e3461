//! Who gets what: order of the line, free slots, seats that are gone, ids that run out, deadlines.

use downbeat_core::{
    draft::Draft,
    effect::Effect,
    id::{ReplicaNo, TaskNo, TenantNo},
    session::AgentDeclaration,
    task::Priority,
    time::MINTS_MAX,
};

use crate::{
    ask::{
        agent, block, detach, done, drain, execute, hand_back, look, open, open_as, open_at, pause, resume,
        resume_as, sketch, submit,
    },
    table::{check, given},
    world::{HERE, World},
};

#[test]
fn priority_goes_first_and_then_who_came_first() {
    let mut world = World::new();
    for (id, priority) in [
        ("low", Priority::Low),
        ("first", Priority::Normal),
        ("high", Priority::High),
        ("second", Priority::Normal),
        ("critical", Priority::Critical),
    ] {
        given(&mut world, [submit(sketch(id, "a").priority(priority)), execute(id)]);
    }
    assert_eq!(world.in_line(), "critical/a high/a first/a second/a low/a");
    given(&mut world, [open("w1", 1)]);
    let mut order = Vec::new();
    let mut batch = look();
    for _ in 0..5 {
        let outcome = world.ask(batch);
        let assigned = outcome.effects.iter().find_map(|effect| match effect {
            Effect::Assign(to) => Some(world.tasks[&to.at.task].id.clone()),
            _ => None,
        });
        let id = assigned.expect("one free slot, one lease");
        batch = done(&format!("{id}/a"));
        order.push(id);
    }
    assert_eq!(order, ["critical", "high", "first", "second", "low"]);
}

#[test]
fn a_subtask_may_have_a_priority_of_its_own() {
    let task = sketch("t", "a, b, c").draft("b", |draft| draft.priority = Some(Priority::Critical));
    let world = World::with_sketch(task.priority(Priority::Low), 0);
    assert_eq!(world.in_line(), "b a c");
}

#[test]
fn of_one_batch_the_earlier_task_and_place_go_first() {
    let mut world = World::new();
    given(&mut world, [submit(sketch("t", "a, b")).and(submit(sketch("u", "a, b")))]);
    given(&mut world, [execute("u").and(execute("t"))]);
    assert_eq!(world.in_line(), "a b u/a u/b");
}

#[test]
fn no_more_than_the_free_slots() {
    let mut world = World::with("a, b, c, d, e", 0);
    given(&mut world, [open("w1", 2)]);
    check(
        &mut world,
        [
            (look(), "| a leased, b leased | a leased(1), b leased(1) | assign a w1, assign b w1"),
            (look(), ""),
            (done("a"), "accepted | a completed, c leased | a completed(1), c leased(1) | assign c w1"),
            (look(), ""),
        ],
    );
    assert_eq!(world.in_line(), "d e");
}

#[test]
fn what_does_not_fit_is_named() {
    let mut world = World::new();
    given(&mut world, [open("w1", 1), submit(sketch("t", "a, b, c"))]);
    let told = "executed running | t running, a leased, b ready, c ready | t running, a leased(1)
        | assign a w1, queued b, queued c";
    check(&mut world, [(execute("t"), told)]);
}

#[test]
fn the_seat_with_the_most_free_slots() {
    let mut world = World::with("a, b, c, d, e", 0);
    given(&mut world, [open("w1", 1).and(open("w2", 3))]);
    let told = "| a leased, b leased, c leased, d leased
        | a leased(1), b leased(1), c leased(1), d leased(1)
        | assign a w2, assign b w2, assign c w1, assign d w2";
    check(&mut world, [(look(), told)]);
}

#[test]
fn only_who_can_do_it() {
    let mut world = World::with_sketch(sketch("t", "a, b").agent("b", "painter"), 0);
    given(&mut world, [open_as("w1", 5, &[agent("painter")]).and(open("w2", 1))]);
    let told = "| a leased, b leased | a leased(1), b leased(1) | assign a w2, assign b w1";
    check(&mut world, [(look(), told)]);
}

#[test]
fn one_worker_with_many_agents_is_told_which() {
    let mut world = World::with_sketch(sketch("t", "a, b").agent("b", "painter"), 0);
    given(&mut world, [open_as("w1", 5, &[agent("painter"), agent("coder")])]);
    let outcome = world.ask(look());
    let agents: Vec<&str> = outcome
        .effects
        .iter()
        .filter_map(|effect| match effect {
            Effect::Assign(to) => Some(&*to.agent),
            _ => None,
        })
        .collect();
    assert_eq!(agents, ["coder", "painter"]);
}

#[test]
fn capabilities_without_a_name() {
    let needs = |draft: &mut Draft| {
        draft.agent.clear();
        draft.capabilities = vec!["rust".into(), "sql".into()];
    };
    let can = |tags: &[&str]| AgentDeclaration {
        capabilities: tags.iter().map(|tag| (*tag).to_owned()).collect(),
        ..agent("anybody")
    };
    let mut world = World::with_sketch(sketch("t", "a").draft("a", needs), 0);
    given(
        &mut world,
        [open_as("w1", 9, &[can(&["rust"])]).and(open_as("w2", 1, &[can(&["sql", "c", "rust"])]))],
    );
    check(&mut world, [(look(), "| a leased | a leased(1) | assign a w2")]);
}

#[test]
fn a_seat_whose_session_is_not_open_here_is_gone() {
    let elsewhere = ReplicaNo(2);
    let mut world = World::with("a", 0);
    given(&mut world, [open("w1", 1)]);
    check(
        &mut world,
        [
            (detach("w1"), "done | w1 detached | | wake w1 +15000, gone w1, queued a"),
            (resume_as("w1", TenantNo::DEFAULT, "w1", elsewhere), "session w1 | w1 open"),
            (look(), ""),
        ],
    );
    let declaration = world.roster[&(elsewhere, world.session_no("w1"))].clone();
    world.roster.insert((HERE, world.session_no("w1")), declaration);
    check(
        &mut world,
        [
            (look(), "| | | gone w1, queued a"),
            (look(), ""),
            (look().at(2), "| a leased | a leased(1) | assign a w1"),
        ],
    );
}

#[test]
fn a_draining_session_gets_nothing_new() {
    let mut world = World::with("a", 0);
    given(&mut world, [open("w1", 1)]);
    check(&mut world, [(drain("w1"), "done | w1 draining | | gone w1, queued a"), (look(), "")]);
}

#[test]
fn a_seat_that_was_deleted_is_gone() {
    let mut world = World::with("a", 0);
    given(&mut world, [open("w1", 1)]);
    let no = world.session_no("w1");
    world.sessions.remove(&no);
    let outcome = world.ask(look());
    assert_eq!(outcome.effects[0], Effect::SeatGone { session: no });
    assert_eq!(world.in_line(), "a");
}

#[test]
fn a_full_seat_is_not_looked_at() {
    let mut world = World::with("a, b", 1);
    check(&mut world, [(detach("w1"), "done | w1 detached | | wake w1 +15000")]);
}

#[test]
fn when_ids_run_out_the_rest_stays_in_line() {
    let mut world = World::with("a, b", 0);
    given(&mut world, [open("w1", 2)]);
    let filler = |n: u32| {
        let one = || open_at("idle", 0, &[], HERE);
        (1..n).fold(one(), |all, _| all.and(one()))
    };
    let outcome = world.ask(filler(MINTS_MAX - 1));
    assert!(outcome.replies.iter().all(Result::is_ok));
    assert_eq!(world.states("t"), "a leased, b ready");
    let outcome = world.ask(filler(MINTS_MAX));
    let b = world.line()[0];
    assert!(outcome.effects.contains(&Effect::Queued(b)), "{:?}", outcome.effects);
    assert_eq!(world.states("t"), "a leased, b ready");
    check(&mut world, [(look(), "| b leased | b leased(1) | assign b w1")]);
}

#[test]
fn a_hint_that_is_not_true_means_nothing() {
    let mut world = World::with("a, b < a", 2);
    given(&mut world, [submit(sketch("p", "a")), execute("p"), hand_back("p/a"), pause("p")]);
    let (a, b, p) = (world.place("a"), world.place("b"), world.place("p/a"));
    let hints = [a, b, p, (a.0, 99), (TaskNo(404), 0)];
    let outcome = world.run_with(HERE, &[], &hints);
    assert!(outcome.changes.is_empty() && outcome.effects.is_empty(), "{outcome:?}");
}

#[test]
fn a_doubled_hint_is_leased_once() {
    let mut world = World::with("a", 0);
    given(&mut world, [open("w1", 5)]);
    let a = world.place("a");
    world.now = world.now.plus_ms(1);
    world.run_with(HERE, &[], &[a, a, a]);
    assert_eq!(world.given[&a].len(), 1);
}

#[test]
fn a_blocked_subtask_is_leased_as_soon_as_somebody_can() {
    let mut world = World::with("a", 0);
    given(&mut world, [block("a"), open("w1", 1)]);
    check(&mut world, [(look(), "| a leased | a leased(1) | assign a w1")]);
}

#[test]
fn the_sla_comes_from_the_plan_and_else_from_the_agent() {
    let hurried = AgentDeclaration { sla_ms: Some(5_000), ..agent("coder") };
    let rows: [(Option<u32>, bool, Option<u64>, &str); 7] = [
        (None, false, None, "assign a w1"),
        (Some(60), false, None, "wake a +60000, assign a w1 by +60000"),
        (None, true, None, "wake a +5000, assign a w1 by +5000"),
        (Some(60), true, None, "wake a +60000, assign a w1 by +60000"),
        (None, false, Some(9_000), "assign a w1 by +9000"),
        (Some(60), true, Some(9_000), "wake a +60000, assign a w1 by +9000"),
        (None, true, Some(9_000), "wake a +5000, assign a w1 by +5000"),
    ];
    for (plan, hurry, deadline_ms, effects) in rows {
        let mut task = sketch("t", "a").draft("a", |draft| draft.sla_seconds = plan);
        task.deadline_ms = deadline_ms;
        let mut world = World::new();
        let worker = if hurry { hurried.clone() } else { agent("coder") };
        given(&mut world, [open_as("w1", 1, &[worker]), submit(task)]);
        let told = format!("executed running | t running, a leased | t running, a leased(1) | {effects}");
        check(&mut world, [(execute("t"), told.as_str())]);
    }
}

#[test]
fn a_session_that_comes_back_is_a_seat_again() {
    let mut world = World::with("a", 0);
    given(&mut world, [open("w1", 1), detach("w1")]);
    check(
        &mut world,
        [(resume("w1"), "session w1 | w1 open"), (look(), "| a leased | a leased(1) | assign a w1")],
    );
}
