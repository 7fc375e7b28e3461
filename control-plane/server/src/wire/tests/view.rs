//! What is shown of a task: the same on both faces.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use downbeat_core::{
    command::Request,
    draft::{Approval, Approvers, Choice, Does, Draft, Then},
    event::{Event, What},
    id::{Index, RouteNo, TaskNo, TenantNo},
    note::NoteKey,
    plan::{Node, Plan},
    subtask::{Subtask, SubtaskState},
    task::{Course, Priority, Task, TaskStatus},
    time::Time,
};
use downbeat_proto::v1 as pb;
use downbeat_store::PlanRecord;
use serde_json::{Value, json};

use crate::{
    view::TaskView,
    wire::{answer, proto},
};

/// `a`, a group `g` of `x`, and the approval `ok`; then all but `ok` ran again.
fn plan() -> Plan {
    let work = |key: &str| Draft { key: key.into(), agent: "x".into(), ..Draft::default() };
    let level = |name: &str| Approvers { names: vec![name.into()], roles: Vec::new() };
    let approval = Approval {
        message: "Ship?".into(),
        approvers: vec![level("ann"), level("bo"), level("cy")],
        quorum: 1,
        options: vec![Choice { name: "ship".into(), then: Then::Complete }],
        timeout_seconds: Some(60),
        on_timeout: Default::default(),
    };
    let drafts = [
        work("a"),
        Draft { does: Does::Group(vec![work("x")]), key: "g".into(), ..Draft::default() },
        Draft { does: Does::Approval(approval), key: "ok".into(), ..Draft::default() },
    ];
    let mut plan = Plan::build("t", Priority::Normal, 3, &drafts, |_| RouteNo(1));
    let like =
        |index: Index, key: &str| Node { key: key.into(), ..plan.node(index).expect("is there").clone() };
    let nodes = vec![
        Node { parent: Some(1), ..like(0, "g.x") },
        Node { replaces: Some(0), ..like(0, "a") },
        Node { replaces: Some(1), ..like(1, "g") },
        Node { parent: Some(5), nth: Some(2), when: Some("true".into()), ..like(0, "g.x") },
    ];
    plan.grow("t", nodes);
    plan
}

fn view(events: &[What]) -> TaskView {
    let plan = plan();
    let row = Subtask {
        state: SubtaskState::Pending,
        route: RouteNo(1),
        priority: Priority::Normal,
        pending: 0,
        failed: 0,
        skipped: 0,
        failures: 0,
        attempts: 0,
        losses: 0,
        held: false,
        waived: false,
        queued: None,
        lease: None,
        session: None,
        outcome: None,
        wake_at: None,
        since: Time(0),
    };
    let rows = vec![row; plan.nodes().len()];
    let total = plan.len();
    let task = Task {
        no: TaskNo(1),
        tenant: TenantNo::DEFAULT,
        id: "t".into(),
        digest: [0; 32],
        status: TaskStatus::Running,
        course: Course::Auto,
        priority: Priority::Normal,
        total,
        unfinished: total,
        failed: 0,
        in_review: 0,
        asking: 0,
        events: 0,
        created_at: Time(0),
        started_at: None,
        ended_at: None,
        deadline: None,
        stopped_at: None,
        due_at: None,
        wake_at: None,
        reason: String::new(),
    };
    let request = Request::default();
    let record =
        PlanRecord { task: task.no, tenant: task.tenant, id: task.id.clone(), request, plan: Arc::new(plan) };
    let gate = r#"{"digest":"d1","level":1,"votes":[{"by":"ann","option":"ship","at":5}]}"#;
    let notes = [(NoteKey::Gate(2), Bytes::from_static(gate.as_bytes()))];
    let event = |(number, what): (u64, &What)| Event { number, at: Time(0), what: what.clone() };
    let events: Vec<Event> = (1..).zip(events).map(event).collect();
    TaskView::new(task, rows, Arc::new(record), BTreeMap::new(), &notes, &events, Time(0))
}

fn printed(view: &TaskView) -> (Vec<pb::Subtask>, Vec<Value>) {
    let json = serde_json::to_value(answer::Task::new(view, false)).expect("prints");
    (proto::task(view).subtasks, json["subtasks"].as_array().cloned().expect("a list"))
}

#[test]
fn what_ran_again_is_shown_only_to_who_asks() {
    let mut view = view(&[]);
    let keys = |view: &TaskView| -> Vec<String> {
        view.shown().map(|(index, _)| view.node(index).id.clone()).collect()
    };
    assert_eq!(keys(&view), ["ok::t::1", "x::t::3", "g::t::2", "x::t::4"]);
    assert_eq!((view.metrics.total, view.metrics.finished), (4, 0));
    view.with_replaced = true;
    assert_eq!(keys(&view).len(), 7);
    let (proto, json) = printed(&view);
    let replaced: Vec<bool> = proto.iter().map(|sub| sub.replaced).collect();
    assert_eq!(replaced, [true, true, false, false, false, false, false]);
    assert_eq!(json.iter().map(|sub| sub["replaced"] == true).collect::<Vec<_>>(), replaced);
}

#[test]
fn what_belongs_to_a_group_says_so_on_both_faces() {
    let (proto, json) = printed(&view(&[]));
    let (part, shown) = (&proto[3], &json[3]);
    assert_eq!((part.parent.as_str(), part.when.as_str(), part.nth), ("g::t::2", "true", Some(2)));
    assert_eq!(
        (&shown["parent"], &shown["when"], &shown["nth"]),
        (&json!("g::t::2"), &json!("true"), &json!(2))
    );
    assert_eq!((proto[2].replaces.as_str(), &json[2]["replaces"]), ("g::t::1", &json!("g::t::1")));
    assert_eq!((proto[2].kind(), &json[2]["kind"]), (pb::SubtaskKind::Group, &json!("group")));
    assert_eq!((proto[2].run_if(), &json[2]["run_if"]), (pb::RunIf::AllSucceeded, &json!("all_succeeded")));
}

#[test]
fn a_gate_shows_who_is_asked_by_now() {
    let (proto, json) = printed(&view(&[]));
    let gate = proto[0].gate.as_ref().expect("an approval that was asked for");
    let asked: Vec<&str> = gate.approvers.iter().flat_map(|level| &level.names).map(String::as_str).collect();
    assert_eq!((gate.digest.as_str(), asked), ("d1", vec!["ann", "bo"]));
    assert_eq!((gate.votes[0].by.as_str(), gate.votes[0].at_ms), ("ann", 5));
    let expected = json!({
        "digest": "d1", "message": "Ship?", "quorum": 1,
        "approvers": [{"names": ["ann"], "roles": []}, {"names": ["bo"], "roles": []}],
        "options": [{"name": "ship", "then": "complete"}],
        "votes": [{"by": "ann", "option": "ship", "comment": "", "at": "1970-01-01T00:00:00.005Z"}],
    });
    assert_eq!(json[0]["gate"], expected);
    assert!(proto[1].gate.is_none() && json[1]["gate"].is_null());
}

#[test]
fn the_newest_event_says_why_and_who() {
    let entered = |state, reason: &str, code: &str, by: &str| What::Subtask {
        index: 3,
        state,
        reason: reason.into(),
        code: code.into(),
        by: by.into(),
    };
    let skipped = entered(SubtaskState::Skipped, "no need", "CONDITION_FALSE", "ann");
    let vote = What::Voted { index: 3, option: "ship".into(), by: "bo".into(), comment: String::new() };
    let mut view = view(&[skipped, vote, entered(SubtaskState::Running, "", "", "")]);
    view.with_replaced = true;
    let (proto, json) = printed(&view);
    let said = (proto[3].reason.as_str(), proto[3].code.as_str(), proto[3].by.as_str());
    assert_eq!(said, ("no need", "CONDITION_FALSE", "ann"));
    assert_eq!((&json[3]["code"], &json[3]["by"]), (&json!("CONDITION_FALSE"), &json!("ann")));
}
