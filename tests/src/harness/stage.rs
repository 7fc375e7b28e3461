//! A control plane on Postgres, and what a client sees of one task: for tests of what plans can say.

use downbeat_sdk::Client;
use serde_json::{Value, json};

use super::{ControlPlane, Database, Http, until};

/// A control plane, and both ways to it.
pub struct Stage {
    pub plane: ControlPlane,
    pub http: Http,
    pub client: Client,
}

impl Stage {
    /// On a Postgres of its own, with short times.
    pub async fn new() -> Stage {
        Stage::on(ControlPlane::start_here(&Database::postgres(), |_| {}).await)
    }

    pub fn on(plane: ControlPlane) -> Stage {
        let (http, client) = (plane.http(), plane.client());
        Stage { plane, http, client }
    }

    /// Submits a plan and starts it.
    ///
    /// # Panics
    /// When it is refused.
    pub async fn run(&self, task: &str, subtasks: Value) {
        let body = json!({"task_id": task, "title": task, "plan": {"subtasks": subtasks}});
        self.http.post("/orchestrate", &body).await.expect(201);
        self.client.execute(task).await.expect("it starts");
    }

    pub async fn view(&self, task: &str) -> Value {
        self.http.get(&format!("/tasks/{task}")).await.expect(200)
    }

    /// The subtask of that key, as it is now.
    ///
    /// # Panics
    /// When there is none.
    pub async fn subtask(&self, task: &str, key: &str) -> Value {
        of_key(&self.view(task).await, key).unwrap_or_else(|| panic!("no `{key}` in {task}"))
    }

    /// Waits until the subtask of that key is in a state, and shows it.
    pub async fn reaches(&self, task: &str, key: &str, state: &str) -> Value {
        until(&format!("`{key}` of {task} is {state}"), || async {
            of_key(&self.view(task).await, key).filter(|sub| sub["state"] == state)
        })
        .await
    }

    /// Waits until the task has a status, and shows it.
    pub async fn is(&self, task: &str, status: &str) -> Value {
        until(&format!("{task} is {status}"), || async {
            Some(self.view(task).await).filter(|view| view["status"] == status)
        })
        .await
    }

    /// What a subtask delivered, all of it.
    pub async fn output(&self, task: &str, key: &str) -> Value {
        self.http.get(&format!("/tasks/{task}/subtasks/{key}/output")).await.expect(200)["output"].clone()
    }

    /// Sends something to a task.
    pub async fn post(&self, path: &str, body: Value) -> super::http::Answer {
        self.http.post(path, &body).await
    }

    /// All events of a task.
    ///
    /// # Panics
    /// When their numbers have gaps.
    pub async fn history(&self, task: &str) -> Vec<Value> {
        let mut events: Vec<Value> = Vec::new();
        loop {
            let page =
                self.http.get(&format!("/tasks/{task}/events?page_size=500&after={}", events.len())).await;
            let page = page.expect(200);
            events.extend(page["events"].as_array().cloned().unwrap_or_default());
            if page["next_after"].is_null() {
                break;
            }
        }
        for (number, event) in (1..).zip(&events) {
            assert_eq!(event["number"], json!(number), "{task}: {event}");
        }
        events
    }
}

/// The subtask of that key in a view.
pub fn of_key(view: &Value, key: &str) -> Option<Value> {
    view["subtasks"].as_array()?.iter().find(|sub| sub["key"] == key).cloned()
}
