//! Stored workflows: kept in versions that never change, compared, and started from.

use downbeat_core::{id::TenantNo, task::Priority, time::Time};
use downbeat_store::{StoreError, WorkflowChange, WorkflowHead, WorkflowRecord, WorkflowVersion};
use serde_json::value::RawValue;

use super::Engine;
use crate::{
    failure::Failure,
    view::{Stored, Submitted, WorkflowDiff, WorkflowPage, WorkflowView},
    wire::workflow::{
        NewVersion, Rollback,
        run::{Asked, asked, submission},
    },
    workflow::{
        Definition,
        diff::{self, Side},
    },
};

/// How often a change is tried that somebody else keeps coming before.
const TRIES: usize = 10;

/// A run of a stored workflow: everything but the plan.
#[derive(Clone, Debug)]
pub struct Start {
    pub tenant: TenantNo,
    pub workflow: String,
    /// `None`: the newest.
    pub version: Option<u32>,
    pub task_id: String,
    /// Empty: the workflow's name.
    pub title: String,
    /// A JSON object by parameter; `None`: empty.
    pub parameters: Option<Box<RawValue>>,
    /// As a submission has it; the parameters are added as `context.params`.
    pub metadata: Option<Box<RawValue>>,
    pub priority: Priority,
    pub deadline: Option<Time>,
    /// Start it at once, in mode auto.
    pub execute: bool,
}

/// A step that is asked for.
enum Step {
    /// Another version is the newest from now on.
    Add(Box<WorkflowVersion>),
    /// It is so already.
    Stay(WorkflowRecord),
}

impl Engine {
    /// Starts workflow NAME, of a version or the newest, with parameters, as task T. The same request again finds the
    /// task, whatever versions there are by then.
    ///
    /// # Errors
    /// `NotFound` for the workflow or the version; `Invalid` with everything that is wrong with the parameters, or with
    /// the plan they make; otherwise as [`submit`](Engine::submit).
    pub async fn start(&self, start: Start) -> Result<Submitted, Failure> {
        self.run(asked(start)?).await
    }

    /// As [`start`](Engine::start), of what was checked as far as it can be without the workflow.
    ///
    /// # Errors
    /// As there.
    pub(crate) async fn run(&self, asked: Asked) -> Result<Submitted, Failure> {
        let (tenant, execute) = (asked.start.tenant, asked.start.execute);
        if let Some(task) = self.docs.named(&*self.store, tenant, &asked.start.task_id).await? {
            return self.found(task, asked.digest, execute).await;
        }
        let record = self.stored(tenant, &asked.start.workflow, asked.start.version).await?;
        self.submit(submission(asked, &record.version)?).await
    }

    /// A version of a workflow, the newest where none is named.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn workflow(
        &self,
        tenant: TenantNo,
        name: &str,
        version: Option<u32>,
    ) -> Result<WorkflowView, Failure> {
        view(self.stored(tenant, name, version).await?.version)
    }

    /// The newest version of each workflow, by name, from the first after `after`.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn workflows(
        &self,
        tenant: TenantNo,
        after: &str,
        limit: u32,
    ) -> Result<WorkflowPage, Failure> {
        let found = self.store.workflows(tenant, after, limit.saturating_add(1)).await?;
        Ok(WorkflowPage::cut(found, limit))
    }

    /// The versions of one below `before`, newest first.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn workflow_versions(
        &self,
        tenant: TenantNo,
        name: &str,
        before: u32,
        limit: u32,
    ) -> Result<WorkflowPage, Failure> {
        self.stored(tenant, name, None).await?;
        let found = self.store.workflow_versions(tenant, name, before, limit.saturating_add(1)).await?;
        Ok(WorkflowPage::cut(found, limit))
    }

    /// How a version differs from another one: `to` is the newest unless said, `from` the one before it.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn diff_workflow(
        &self,
        tenant: TenantNo,
        name: &str,
        from: Option<u32>,
        to: Option<u32>,
    ) -> Result<WorkflowDiff, Failure> {
        let new = self.workflow(tenant, name, to).await?;
        let from = from.unwrap_or_else(|| (new.version.version - 1).max(1));
        let old = self.workflow(tenant, name, Some(from)).await?;
        Ok(WorkflowDiff { from, to: new.version.version, diff: diff::unified(&side(&old), &side(&new)) })
    }

    /// Creates a workflow. What says the same as its newest version changes nothing.
    ///
    /// # Errors
    /// `Conflict` (`WORKFLOW_EXISTS`) when there is one that says something else; `Unavailable`.
    pub async fn create_workflow(&self, tenant: TenantNo, new: NewVersion) -> Result<Stored, Failure> {
        let (name, step) = (new.name.clone(), |newest: Option<&WorkflowRecord>| match newest {
            Some(newest) if newest.head.deleted => self.version(&new, newest.head.version).map(Step::Add),
            Some(newest) if newest.version.digest == new.digest => Ok(Step::Stay(newest.clone())),
            Some(newest) => Err(Failure::Conflict {
                code: "WORKFLOW_EXISTS",
                message: format!(
                    "workflow `{}` exists and says something else; its version {} is the newest: add a version",
                    new.name, newest.head.version
                ),
            }),
            None => self.version(&new, 0).map(Step::Add),
        });
        self.change(tenant, &name, step).await
    }

    /// Adds a version. What says the same as the newest one changes nothing.
    ///
    /// # Errors
    /// `NotFound`; `Conflict` (`WORKFLOW_VERSION_CONFLICT`) when another version is the newest than was expected;
    /// `Unavailable`.
    pub async fn update_workflow(&self, tenant: TenantNo, new: NewVersion) -> Result<Stored, Failure> {
        let (name, step) = (new.name.clone(), |newest: Option<&WorkflowRecord>| {
            let newest = current(newest, &new.name)?;
            if newest.version.digest == new.digest {
                return Ok(Step::Stay(newest.clone()));
            }
            expect(newest, new.expected)?;
            self.version(&new, newest.head.version).map(Step::Add)
        });
        self.change(tenant, &name, step).await
    }

    /// Adds a version that says what an older one said. Nothing changes where the newest says that.
    ///
    /// # Errors
    /// As [`update_workflow`](Engine::update_workflow).
    pub async fn roll_back_workflow(
        &self,
        tenant: TenantNo,
        name: &str,
        to: Rollback,
    ) -> Result<Stored, Failure> {
        let old = self.stored(tenant, name, Some(to.version)).await?.version;
        let step = |newest: Option<&WorkflowRecord>| {
            let newest = current(newest, name)?;
            if newest.version.digest == old.digest {
                return Ok(Step::Stay(newest.clone()));
            }
            expect(newest, to.expected)?;
            Ok(Step::Add(Box::new(WorkflowVersion {
                version: newest.head.version + 1,
                restores: Some(to.version),
                created_at: self.registry.now(),
                created_by: to.by.clone(),
                ..old.clone()
            })))
        };
        self.change(tenant, name, step).await
    }

    /// Nothing is started from it any more; its versions stay for those that go on. Gives the last version.
    ///
    /// # Errors
    /// `NotFound`, `Unavailable`.
    pub async fn delete_workflow(&self, tenant: TenantNo, name: &str) -> Result<u32, Failure> {
        for _ in 0..TRIES {
            let was = self.stored(tenant, name, None).await?.head;
            let becomes = WorkflowHead { deleted: true, ..was };
            let change = WorkflowChange { tenant, name: name.to_owned(), was, becomes, added: None };
            match self.store.change_workflow(&change).await {
                Ok(()) => return Ok(was.version),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict(format!("workflow {name} changes all the time")).into())
    }

    /// Takes a step, decided on the newest version; once more where somebody else took one meanwhile.
    async fn change(
        &self,
        tenant: TenantNo,
        name: &str,
        step: impl Fn(Option<&WorkflowRecord>) -> Result<Step, Failure>,
    ) -> Result<Stored, Failure> {
        for _ in 0..TRIES {
            let newest = self.store.workflow(tenant, name, None).await?;
            let added = match step(newest.as_ref())? {
                Step::Stay(record) => return Ok(Stored { view: view(record.version)?, existed: true }),
                Step::Add(added) => *added,
            };
            let was = newest.map(|newest| newest.head).unwrap_or_default();
            let becomes = WorkflowHead { version: added.version, deleted: false };
            let change =
                WorkflowChange { tenant, name: name.to_owned(), was, becomes, added: Some(added.clone()) };
            match self.store.change_workflow(&change).await {
                Ok(()) => return Ok(Stored { view: view(added)?, existed: false }),
                Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict(format!("workflow {name} changes all the time")).into())
    }

    /// The row of a new version after the `last` one.
    fn version(&self, new: &NewVersion, last: u32) -> Result<Box<WorkflowVersion>, Failure> {
        let definition =
            serde_json::to_vec(&new.definition).map_err(|error| Failure::Internal(error.to_string()))?;
        Ok(Box::new(WorkflowVersion {
            name: new.name.clone(),
            version: last + 1,
            restores: None,
            created_at: self.registry.now(),
            created_by: new.by.clone(),
            description: new.description.clone(),
            digest: new.digest,
            definition: definition.into(),
        }))
    }

    /// A version of a workflow that is not deleted.
    pub(crate) async fn stored(
        &self,
        tenant: TenantNo,
        name: &str,
        version: Option<u32>,
    ) -> Result<WorkflowRecord, Failure> {
        let found = self.store.workflow(tenant, name, version).await?.filter(|record| !record.head.deleted);
        let asked = version.map_or_else(|| name.to_owned(), |version| format!("{name}@{version}"));
        found.ok_or(Failure::NotFound { what: "workflow", name: asked })
    }
}

fn current<'r>(newest: Option<&'r WorkflowRecord>, name: &str) -> Result<&'r WorkflowRecord, Failure> {
    let unknown = || Failure::NotFound { what: "workflow", name: name.to_owned() };
    newest.filter(|newest| !newest.head.deleted).ok_or_else(unknown)
}

fn expect(newest: &WorkflowRecord, expected: Option<u32>) -> Result<(), Failure> {
    let is = newest.head.version;
    match expected.filter(|expected| *expected != is) {
        None => Ok(()),
        Some(expected) => Err(Failure::Conflict {
            code: "WORKFLOW_VERSION_CONFLICT",
            message: format!(
                "version {expected} of workflow `{}` was expected to be the newest, and {is} is: look at what has \
                 changed and try again",
                newest.version.name
            ),
        }),
    }
}

fn view(version: WorkflowVersion) -> Result<WorkflowView, Failure> {
    let definition: Definition = serde_json::from_slice(&version.definition)
        .map_err(|error| Failure::Internal(format!("workflow {}: {error}", version.name)))?;
    Ok(WorkflowView { version, definition })
}

fn side(view: &WorkflowView) -> Side<'_> {
    let WorkflowVersion { name, version, description, .. } = &view.version;
    Side { label: format!("{name}@{version}"), description, definition: &view.definition }
}
