//! Models `registry.rs`: routes by number, and the sessions as of the last look.

use std::collections::{BTreeMap, BTreeSet};

use downbeat_core::{
    id::{RouteNo, TenantNo},
    plan::RouteSpec,
    session::{Session, SessionState},
};
use downbeat_store::Route;

#[derive(Debug, Default)]
pub(super) struct Registry {
    routes: BTreeMap<RouteNo, Route>,
    numbers: BTreeMap<(TenantNo, RouteSpec), RouteNo>,
    sessions: Vec<Session>,
    read_up_to: Option<RouteNo>,
}

impl Registry {
    pub(super) fn learn_routes(&mut self, routes: &[Route]) {
        for route in routes {
            self.numbers.insert((route.tenant, route.spec.clone()), route.no);
            self.routes.insert(route.no, route.clone());
        }
    }

    pub(super) fn learn_sessions(&mut self, sessions: Vec<Session>) {
        self.sessions = sessions;
    }

    pub(super) fn known_routes(&self, tenant: TenantNo, specs: &[RouteSpec]) -> Option<Vec<RouteNo>> {
        specs.iter().map(|spec| self.numbers.get(&(tenant, spec.clone())).copied()).collect()
    }

    pub(super) fn served_now(&self, routes: &BTreeSet<RouteNo>) -> BTreeSet<RouteNo> {
        let serves = |no: &&RouteNo| {
            self.routes.get(no).is_some_and(|route| {
                self.sessions
                    .iter()
                    .filter(|row| row.state == SessionState::Open && row.tenant == route.tenant)
                    .flat_map(|row| &row.declaration.agents)
                    .any(|agent| route.spec.served_by(&agent.name, &agent.capabilities))
            })
        };
        routes.iter().filter(serves).copied().collect()
    }

    /// Takes in what the store gave for [`routes_read`](Registry::routes_read).
    pub(super) fn read_routes(&mut self, routes: &[Route]) {
        self.learn_routes(routes);
        let newest = routes.iter().map(|route| route.no).max();
        self.read_up_to = self.read_up_to.max(newest);
    }

    /// Routes above this one have to be asked for.
    pub(super) fn routes_read(&self) -> RouteNo {
        self.read_up_to.unwrap_or(RouteNo(0))
    }

    pub(super) fn knows_route(&self, route: RouteNo) -> bool {
        self.routes.contains_key(&route)
    }
}
