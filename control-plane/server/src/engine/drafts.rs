//! Drafts on their way into a plan: decomposed, looked at, guarded by the operator's rules, and given the routes that
//! they need; those that come with a request, and those that a worker adds.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use downbeat_core::{
    check::{self, Schemas},
    command::{Command, Reply, Verdict},
    draft::{Draft, Goal, OnFailure},
    guard::{self, guard},
    id::{Index, LeaseAt, RouteNo, SessionNo, TenantNo},
    plan::{self, Plan, RouteSpec},
    reject::Reject,
    session::AgentDeclaration,
    task::Priority,
};

use downbeat_store::PlanRecord;
use serde_json::value::RawValue;

use super::{Engine, Submission, unexpected};
use crate::{committer::Input, failure::Failure, lint, planner::PlanRequest, view::Findings};

impl Engine {
    /// The drafts with the approvals that the operator's rules ask for.
    pub(super) fn guarded<'a>(
        &self,
        path: &str,
        drafts: &'a [Draft],
        metadata: &[u8],
    ) -> Result<Cow<'a, [Draft]>, Failure> {
        let guarded = guard(drafts, &self.rules, metadata);
        if let Cow::Owned(drafts) = &guarded {
            check::check_at(path, drafts, &[]).map_err(Failure::Invalid)?;
        }
        Ok(guarded)
    }

    /// Whether a subtask of a plan has the approvals that the operator's rules ask for, were it done with another input,
    /// or by another agent.
    pub(super) fn approved(
        &self,
        record: &PlanRecord,
        index: Index,
        input: Option<&RawValue>,
        agent: Option<&str>,
    ) -> Result<(), Failure> {
        match guard::missing(&record.plan, index, input, agent, &self.rules, &record.request.metadata) {
            Some(rule) => Err(Reject::ApprovalRequired(rule.name.clone()).into()),
            None => Ok(()),
        }
    }

    /// Refuses expressions and inputs that cannot be meant by what agents declared last.
    pub(super) async fn judged(&self, tenant: TenantNo, path: &str, drafts: &[Draft]) -> Result<(), Failure> {
        if !lint::asks_agents(drafts, self.registry.inputs_declared(tenant)) {
            return Ok(());
        }
        let agents = self.declared(tenant).await?;
        check::check_types(path, drafts, &Schemas::of(&agents)).map_err(Failure::Invalid)
    }

    /// All agents ever registered, as they declared themselves last.
    async fn declared(&self, tenant: TenantNo) -> Result<Vec<AgentDeclaration>, Failure> {
        Ok(self.store.agents(tenant).await?.into_iter().map(|seen| seen.declaration).collect())
    }

    pub(super) async fn decompose(&self, request: &Submission) -> Result<Vec<Draft>, Failure> {
        let agents = self.declared(request.tenant).await?;
        let asked = PlanRequest {
            task_id: &request.id,
            title: &request.title,
            description: &request.description,
            priority: request.priority,
            metadata: &request.metadata,
            agents: &agents,
        };
        let drafts = self.planner.plan(&asked).await.map_err(Failure::Invalid)?;
        check::check(&drafts).map_err(Failure::Invalid)?;
        Ok(drafts)
    }

    pub(super) async fn build(
        &self,
        tenant: TenantNo,
        id: &str,
        priority: Priority,
        drafts: &[Draft],
    ) -> Result<Plan, Failure> {
        let routes = self.routes_of(tenant, drafts).await?;
        Ok(Plan::build(id, priority, self.policy.attempts_max, drafts, |spec| routes[spec]))
    }

    /// What drafts need, interned.
    async fn routes_of(
        &self,
        tenant: TenantNo,
        drafts: &[Draft],
    ) -> Result<BTreeMap<RouteSpec, RouteNo>, Failure> {
        let specs: Vec<RouteSpec> = RouteSpec::all_of(drafts).into_iter().collect();
        let numbers = self.routes(tenant, &specs).await?;
        Ok(specs.into_iter().zip(numbers).collect())
    }

    /// Interns routes, and lets the committer know new ones.
    pub(super) async fn routes(
        &self,
        tenant: TenantNo,
        specs: &[RouteSpec],
    ) -> Result<Vec<RouteNo>, Failure> {
        if let Some(known) = self.registry.known_routes(tenant, specs) {
            return Ok(known);
        }
        let numbers = self.store.intern_routes(tenant, specs).await?;
        let routes: Vec<_> = specs
            .iter()
            .zip(&numbers)
            .map(|(spec, no)| downbeat_store::Route { no: *no, tenant, spec: spec.clone() })
            .collect();
        self.send(Input::Routes(routes.clone())).await?;
        self.registry.learn_routes(&routes);
        Ok(numbers)
    }

    /// The routes of a plan that an open session can do. Looks at the rows when the cache says that one is not.
    pub(crate) async fn served(&self, plan: &Plan) -> Result<BTreeSet<RouteNo>, Failure> {
        let routes = plan.routes();
        let served = self.registry.served_now(routes);
        if served.len() == routes.len() {
            return Ok(served);
        }
        self.learn(routes).await?;
        self.registry.learn_sessions(self.store.sessions().await?);
        Ok(self.registry.served_now(routes))
    }

    /// Reads routes that are not known yet, and lets the committer know them.
    pub(crate) async fn learn(&self, routes: &BTreeSet<RouteNo>) -> Result<(), Failure> {
        let read = self.registry.find_routes(&*self.store, routes).await?;
        if !read.is_empty() {
            self.send(Input::Routes(read.clone())).await?;
            self.registry.read_routes(&read);
        }
        Ok(())
    }

    /// Looks at a plan as a face read it: what is wrong with it, or what looks like a mistake.
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn lint(
        &self,
        tenant: TenantNo,
        read: Result<(Vec<Goal>, Vec<Draft>), Failure>,
    ) -> Result<Findings, Failure> {
        match read {
            Ok((goals, drafts)) => Ok(lint::look(&goals, &drafts, &self.declared(tenant).await?)),
            Err(Failure::Invalid(errors)) => Ok(Findings { errors, ..Findings::default() }),
            Err(failure) => Err(failure),
        }
    }

    /// A worker adds children to the subtask it has; gives their full ids. Once this fails as `Unavailable`, it may be
    /// asked again: children are found by their keys.
    ///
    /// # Errors
    /// `Invalid` with every problem, `Reject`, `Unavailable`.
    pub(crate) async fn spawn(
        &self,
        tenant: TenantNo,
        session: SessionNo,
        at: LeaseAt,
        drafts: &[Draft],
    ) -> Result<(Verdict, Vec<String>), Failure> {
        check::check_at("children", drafts, &[]).map_err(Failure::Invalid)?;
        let record = self.docs.record(&*self.store, at.task).await?;
        let Some(record) = record.filter(|record| record.tenant == tenant) else {
            return Ok((Verdict::Stale, Vec::new()));
        };
        let drafts = self.guarded("children", drafts, &record.request.metadata)?;
        self.judged(tenant, "children", &drafts).await?;
        let routes = self.routes_of(tenant, &drafts).await?;
        let priority = record.plan.node(at.index).map(|node| node.priority).unwrap_or_default();
        // Whoever adds children decides over what fails.
        let attempts_max = self.policy.attempts_max;
        let mut route = |spec: &RouteSpec| routes[spec];
        let children = plan::body(priority, attempts_max, OnFailure::Fail, &drafts, &[], &mut route);
        let command = Command::Spawn { at, session, children: Arc::new(children) };
        match self.decide(command).await? {
            Reply::Spawned { verdict, children } => Ok((verdict, self.ids(at.task, &children).await?)),
            other => Err(unexpected(&other)),
        }
    }
}
