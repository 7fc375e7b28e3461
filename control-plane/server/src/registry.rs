//! Who can do what, over all replicas: routes by number, and the sessions as of the last look.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{PoisonError, RwLock},
};

use downbeat_core::{
    id::{RouteNo, TenantNo},
    plan::RouteSpec,
    session::{Session, SessionState},
    time::Time,
};
use downbeat_store::{Route, Store, StoreError};

use crate::clock::Clock;

/// What this process knows of the others; a cache.
#[derive(Debug)]
pub struct Registry {
    known: RwLock<Known>,
    clock: Clock,
}

#[derive(Debug, Default)]
struct Known {
    routes: BTreeMap<RouteNo, Route>,
    numbers: BTreeMap<(TenantNo, RouteSpec), RouteNo>,
    /// Every route up to this one was read from the store. Not the highest known: what this replica interned
    /// itself may be ahead of what others interned before.
    read_up_to: Option<RouteNo>,
    sessions: Vec<Session>,
    /// Database time minus the process's; `None` before the first look.
    skew_ms: Option<i64>,
}

impl Registry {
    pub(crate) fn new(clock: Clock) -> Registry {
        Registry { known: RwLock::default(), clock }
    }

    /// Database time, as of the last look and the time passed since.
    pub fn now(&self) -> Time {
        self.seen_time().unwrap_or_else(|| Time(self.elapsed_ms()))
    }

    /// As [`now`](Registry::now); `None` before the first look.
    pub(crate) fn seen_time(&self) -> Option<Time> {
        self.read(|known| known.skew_ms).map(|skew_ms| Time(skew_ms + self.elapsed_ms()))
    }

    pub(crate) fn see_time(&self, now: Time) {
        let elapsed = self.elapsed_ms();
        self.write(|known| known.skew_ms = Some(now.0 - elapsed));
    }

    /// The committer is told before: what is known here, nobody asks for again.
    pub(crate) fn learn_routes(&self, routes: &[Route]) {
        self.write(|known| {
            for route in routes {
                known.numbers.insert((route.tenant, route.spec.clone()), route.no);
                known.routes.insert(route.no, route.clone());
            }
        });
    }

    /// What has to be read to know these routes; to be taken in with [`read_routes`](Registry::read_routes). Numbers
    /// may become visible out of order, so what is not above the newest one is looked for from the beginning.
    ///
    /// # Errors
    /// The store's.
    pub(crate) async fn find_routes(
        &self,
        store: &dyn Store,
        wanted: &BTreeSet<RouteNo>,
    ) -> Result<Vec<Route>, StoreError> {
        let mut unknown: BTreeSet<RouteNo> =
            wanted.iter().filter(|route| !self.knows_route(**route)).copied().collect();
        if unknown.is_empty() {
            return Ok(Vec::new());
        }
        let newer = store.routes_after(self.routes_read()).await?;
        unknown.retain(|no| newer.iter().all(|route| route.no != *no));
        if unknown.is_empty() { Ok(newer) } else { store.routes_after(RouteNo(0)).await }
    }

    /// The committer is told before: what is known here, nobody asks for again.
    pub(crate) fn read_routes(&self, routes: &[Route]) {
        self.learn_routes(routes);
        let newest = routes.iter().map(|route| route.no).max();
        self.write(|known| known.read_up_to = known.read_up_to.max(newest));
    }

    pub(crate) fn learn_sessions(&self, sessions: Vec<Session>) {
        self.write(|known| known.sessions = sessions);
    }

    /// All numbers, when every one is known.
    pub(crate) fn known_routes(&self, tenant: TenantNo, specs: &[RouteSpec]) -> Option<Vec<RouteNo>> {
        self.read(|known| {
            specs.iter().map(|spec| known.numbers.get(&(tenant, spec.clone())).copied()).collect()
        })
    }

    /// Which of the routes an open session can do, as of the last look.
    pub(crate) fn served_now(&self, routes: &BTreeSet<RouteNo>) -> BTreeSet<RouteNo> {
        self.read(|known| {
            let serves = |no: &&RouteNo| {
                known.routes.get(no).is_some_and(|route| {
                    known
                        .sessions
                        .iter()
                        .filter(|row| row.state == SessionState::Open && row.tenant == route.tenant)
                        .flat_map(|row| &row.declaration.agents)
                        .any(|agent| route.spec.served_by(&agent.name, &agent.capabilities))
                })
            };
            routes.iter().filter(serves).copied().collect()
        })
    }

    /// Whether a worker of the tenant declares what one of its agents takes, as of the last look.
    pub(crate) fn inputs_declared(&self, tenant: TenantNo) -> bool {
        self.read(|known| {
            let ours = known.sessions.iter().filter(|row| row.tenant == tenant);
            ours.flat_map(|row| &row.declaration.agents).any(|agent| !agent.input_schema.is_empty())
        })
    }

    /// Routes above this one have to be asked for.
    fn routes_read(&self) -> RouteNo {
        self.read(|known| known.read_up_to.unwrap_or(RouteNo(0)))
    }

    fn knows_route(&self, route: RouteNo) -> bool {
        self.read(|known| known.routes.contains_key(&route))
    }

    fn elapsed_ms(&self) -> i64 {
        i64::try_from(self.clock.now().0).unwrap_or(i64::MAX)
    }

    fn read<T>(&self, look: impl FnOnce(&Known) -> T) -> T {
        look(&self.known.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Known) -> T) -> T {
        change(&mut self.known.write().unwrap_or_else(PoisonError::into_inner))
    }
}
