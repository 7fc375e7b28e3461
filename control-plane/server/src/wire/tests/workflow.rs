//! Stored workflows: versions that are accepted and refused, and what runs of them become.

use downbeat_core::{
    command::WorkflowAt,
    draft::{Does, Timer},
};
use downbeat_store::WorkflowVersion;

use super::*;
use crate::{
    engine::Start,
    wire::workflow::{
        NewVersion, json as bodies, proto as messages,
        run::{self, asked},
    },
};

fn created(body: &Value) -> Result<NewVersion, Failure> {
    let written = body.to_string();
    let both = [
        bodies::creation(documents::parse(written.as_bytes()).expect("JSON")),
        messages::creation(pb::CreateWorkflowRequest {
            name: text(&body["name"]),
            by: text(&body["by"]),
            definition: Some(pb::WorkflowDefinition {
                description: text(&body["description"]),
                parameters: document(&body["parameters"]),
                secrets: texts(&body["secrets"]),
                plan: document(&body["plan"]),
            }),
        }),
    ];
    let [rest, grpc] = both;
    match (&rest, &grpc) {
        (Ok(a), Ok(b)) => assert_eq!(a.digest, b.digest, "{body}"),
        (Err(a), Err(b)) => assert_eq!(a, b, "{body}"),
        _ => panic!("{body}: {rest:?}, {grpc:?}"),
    }
    rest
}

fn release() -> Value {
    json!({
        "name": "release",
        "description": "Build and deploy",
        "parameters": {
            "type": "object",
            "properties": {
                "repo": {"type": "string"},
                "env": {"enum": ["staging", "prod"], "default": "staging"},
                "wait": {"type": "integer", "minimum": 1},
                "until": {"type": "string"},
            },
            "required": ["repo"],
        },
        "secrets": ["TOKEN"],
        "plan": {"subtasks": [
            {"key": "build", "agent": "builder", "input": {"repo": {"$param": "repo"}}},
            {"key": "rest", "timer": {"seconds": {"$param": "wait"}}},
            {"key": "year", "timer": {"until": {"$param": "until"}}},
            {"key": "deploy", "agent": {"$param": "env"}, "depends_on": ["build"],
             "when": "context.params.env == 'prod'", "input": {"token": {"$secret": "TOKEN"}}},
        ]},
    })
}

fn stored(body: &Value) -> WorkflowVersion {
    let NewVersion { name, digest, description, definition, .. } = created(body).expect("accepted");
    let definition = serde_json::to_vec(&definition).expect("JSON").into();
    let (created_at, created_by) = (Time(0), String::new());
    WorkflowVersion {
        name,
        version: 3,
        restores: None,
        created_at,
        created_by,
        description,
        digest,
        definition,
    }
}

fn started(body: &Value) -> Result<Start, Failure> {
    let written = body.to_string();
    bodies::run(TENANT, "release".into(), documents::parse(written.as_bytes()).expect("JSON"))
}

fn run(body: &Value) -> Result<Submission, Failure> {
    run::submission(asked(started(body)?)?, &stored(&release()))
}

#[test]
fn a_sample_for_a_parameter_is_nobodys_mistake() {
    assert_eq!(created(&release()).map(|new| new.name), Ok("release".into()));
    let mut body = release();
    body["parameters"]["properties"]["until"]["default"] = json!("tomorrow");
    let issue = crate::wire::times::EXPECTED;
    refused(created(&body), &[("plan.subtasks[2].timer.until", issue)], "a default");
    body["parameters"]["properties"]["until"] = json!({"default": {"$secret": "OTHER"}});
    let issue = "must not hold `$secret`: only a workflow's own plan refers to something";
    let Err(Failure::Invalid(found)) = created(&body) else { panic!("accepted") };
    assert_eq!(
        (found[0].field.as_str(), found[0].issue.as_str()),
        ("parameters.properties.until.default", issue)
    );
}

#[test]
fn a_version_is_refused_with_everything_that_is_wrong() {
    let body = json!({
        "name": "a b",
        "parameters": {"type": "array", "properties": {"x": {"typ": "string"}}},
        "secrets": ["A-B"],
        "plan": {"subtasks": [
            {"key": "a", "agent": "x", "when": "outputs.", "input": {"$param": "y"}},
            {"key": "a", "agent": "x"},
        ]},
    });
    let Err(Failure::Invalid(found)) = created(&body) else { panic!("accepted") };
    let fields: Vec<&str> = found.iter().map(|violation| violation.field.as_str()).collect();
    let expected = [
        "name",
        "secrets[0]",
        "parameters.properties.x.typ",
        "parameters.type",
        "plan.subtasks[0].input",
        "plan.subtasks[0].when",
        "plan.subtasks[1].key",
    ];
    assert_eq!(fields, expected, "{found:?}");
    refused(created(&json!({"name": "a"})), &[("plan", "is required")], "no plan");
    let large = json!({"name": "a", "plan": {"subtasks": [{"key": "a", "agent": "x", "input": "x".repeat(1 << 20)}]}});
    let Err(Failure::Invalid(found)) = created(&large) else { panic!("accepted") };
    assert!(found[0].issue.contains("WORKFLOW_BYTES"), "{found:?}");
}

#[test]
fn the_same_content_has_the_same_digest() {
    let digest = |body: &Value| created(body).expect("accepted").digest;
    let mut other = release();
    other["name"] = json!("other");
    other["by"] = json!("ann");
    assert_eq!(digest(&release()), digest(&other));
    for (field, value) in [("description", json!("x")), ("secrets", json!(["TOKEN", "T"]))] {
        let mut other = release();
        other[field] = value;
        assert_ne!(digest(&release()), digest(&other), "{field}");
    }
}

#[test]
fn a_run_puts_parameters_in() {
    let body = json!({
        "task_id": "t", "priority": "high", "execute": true,
        "parameters": {"repo": "billing", "wait": 5, "until": "2030-01-01T00:00:00Z"},
        "metadata": {"b": 1, "context": {"branch": "main"}},
    });
    let submission = run(&body).expect("accepted");
    let Submission { id, title, description, priority, metadata, plan, workflow, execute, .. } = submission;
    assert_eq!((id.as_str(), title.as_str(), description.as_str()), ("t", "release", "Build and deploy"));
    assert_eq!((priority, execute), (Priority::High, true));
    assert_eq!(workflow, Some(WorkflowAt { name: "release".into(), version: 3 }));
    let params = json!({"repo": "billing", "wait": 5, "until": "2030-01-01T00:00:00Z", "env": "staging"});
    let metadata: Value = serde_json::from_slice(&metadata).expect("JSON");
    assert_eq!(metadata, json!({"b": 1, "context": {"branch": "main", "params": params}}));
    let plan = plan.expect("a plan");
    let input = |at: usize| plan[at].input.as_ref().map(|raw| raw.get().to_owned()).expect("an input");
    assert_eq!(input(0), r#"{"repo":"billing"}"#);
    assert!(matches!(plan[1].does, Does::Timer(Timer::Seconds(5))), "{:?}", plan[1].does);
    assert_eq!((plan[3].agent.as_str(), input(3).as_str()), ("staging", r#"{"token":{"$secret":"TOKEN"}}"#));
}

#[test]
fn a_run_is_refused_with_everything_that_is_wrong() {
    let parameters = json!({"env": "dev", "wait": 0, "x": 1, "until": {"$secret": "TOKEN"}});
    refused(
        run(&json!({"task_id": "t", "parameters": parameters})),
        &[
            ("parameters.repo", "is required"),
            ("parameters.env", "must be one of \"staging\", \"prod\", got \"dev\""),
            ("parameters.until", "must be of type string, got an object"),
            ("parameters.wait", "must be at least 1, got 0"),
            ("parameters.x", "is unknown; there are: env, repo, until, wait"),
            ("parameters.until", "must not hold `$secret`: only a workflow's own plan refers to something"),
        ],
        "parameters",
    );
    // Those that are left out and have no default are told where the plan needs them.
    let Err(Failure::Invalid(found)) = run(&json!({"task_id": "t", "parameters": {"repo": "r"}})) else {
        panic!("accepted");
    };
    assert_eq!(found[0].field, "plan.subtasks[1].timer.seconds", "{found:?}");
    let body = json!({"task_id": "", "parameters": 5, "version": 0, "y": 1});
    let Err(Failure::Invalid(found)) = started(&body) else { panic!("accepted") };
    assert_eq!(found.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), ["y", "version"]);
    let parameters = json!({"repo": "r", "wait": 1, "until": "2030-01-01T00:00:00Z"});
    let metadata = json!({"context": {"params": {}}});
    let issue = "is where the parameters will stand: leave it out";
    refused(
        run(&json!({"task_id": "t", "parameters": parameters, "metadata": metadata})),
        &[("metadata.context.params", issue)],
        "context",
    );
}

#[test]
fn the_same_run_means_the_same_task_whatever_version_it_finds() {
    let digest = |body: Value| asked(started(&body).expect("read")).expect("accepted").digest;
    let first = digest(json!({"task_id": "t", "parameters": {"a": 1, "b": 2}}));
    assert_eq!(first, digest(json!({"task_id": "t", "execute": true, "parameters": {"b": 2, "a": 1}})));
    for other in [
        json!({"task_id": "t", "parameters": {"a": 1}}),
        json!({"task_id": "t", "version": 1, "parameters": {"a": 1, "b": 2}}),
        json!({"task_id": "t", "title": "x", "parameters": {"a": 1, "b": 2}}),
        json!({"task_id": "t", "metadata": {}, "parameters": {"a": 1, "b": 2}}),
    ] {
        assert_ne!(first, digest(other.clone()), "{other}");
    }
}
