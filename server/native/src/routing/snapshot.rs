//! The immutable routing state. An engine serves from one snapshot until the control plane publishes the next.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;

use crate::encodings::methods::{METHODS, Method, Path};
use crate::encodings::typed_schema::TypedService;
use crate::routing::source::RecordedSource;
use crate::routing::split;
use crate::routing::version::Version;
use crate::statistics::RouteShards;

/// The control plane's own snapshot, which it needs to word failures.
pub(crate) type Origin = Arc<dyn Any + Send + Sync>;

/// One version of a split.
pub(crate) struct Target {
    pub version: Arc<Version>,
    pub weight: u32,
    pub seed: u64,
    pub counts: Arc<RouteShards>,
    /// What is recorded of its predictions; `None`: nothing.
    pub source: Option<RecordedSource>,
}

/// A version that gets copies of a share of a route's calls.
pub(crate) struct Shadow {
    /// The name of the route.
    pub route: Arc<str>,
    pub version: Arc<Version>,
    pub share: f64,
    pub counts: Arc<RouteShards>,
    /// What is recorded of the copies' predictions; `None`: nothing.
    pub source: Option<RecordedSource>,
}

/// The versions that a name of a model leads to: at least one.
pub(crate) struct Route {
    /// A version, an alias, or "" for calls that name no version.
    pub name: Arc<str>,
    pub targets: Vec<Target>,
    pub shadow: Option<Shadow>,
}

impl Route {
    /// The index of the target that answers. A routing key always leads to the same target; calls without a
    /// key are spread at random by weight.
    #[inline]
    pub(crate) fn pick(&self, routing_key: &str) -> usize {
        if self.targets.len() == 1 {
            return 0;
        }
        let point = if routing_key.is_empty() { split::random_point() } else { split::point_of(routing_key) };
        split::pick(point, self.targets.iter().map(|target| (target.seed, target.weight)))
    }
}

/// A method of a typed service, and the service.
pub(crate) type TypedMethod = (&'static Method, Arc<TypedService>);

/// All routes and typed services.
#[derive(Default)]
pub(crate) struct Snapshot {
    models: HashMap<String, HashMap<String, Arc<Route>, RandomState>, RandomState>,
    /// The methods of typed services by their paths.
    methods: HashMap<Vec<u8>, TypedMethod, RandomState>,
    /// The routes of typed calls that name no version, by model and major.
    majors: HashMap<String, HashMap<u64, Arc<Route>, RandomState>, RandomState>,
    pub origin: Option<Origin>,
}

/// A typed service: its full name, its model and major, and the name of the route for calls that name no
/// version.
pub(crate) type ServiceParts = (String, TypedService, String);

impl Snapshot {
    /// A snapshot of routes, each with its model and its name (a version, an alias or ""), and of typed services.
    pub(crate) fn new(
        routes: Vec<(String, String, Route)>,
        services: Vec<ServiceParts>,
        origin: Origin,
    ) -> Self {
        let mut snapshot = Self { origin: Some(origin), ..Self::default() };
        for (model, name, route) in routes {
            snapshot.models.entry(model).or_default().insert(name, Arc::new(route));
        }
        for (full_name, service, route) in services {
            if let Some(route) = snapshot.route(&service.model, &route).map(Arc::clone) {
                snapshot.majors.entry(service.model.clone()).or_default().insert(service.major, route);
            }
            let service = Arc::new(service);
            for method in &METHODS {
                if let Path::Typed(name) = method.path {
                    let path = format!("/{full_name}/{name}");
                    snapshot.methods.insert(path.into_bytes(), (method, Arc::clone(&service)));
                }
            }
        }
        snapshot
    }

    /// The typed method of a path.
    pub(crate) fn typed_method(&self, path: &[u8]) -> Option<&TypedMethod> {
        self.methods.get(path)
    }

    /// The route of a typed call. `None` where there is no route of that name, or a version of it has another
    /// major.
    pub(crate) fn major_route(&self, service: &TypedService, name: &str) -> Option<&Arc<Route>> {
        if name.is_empty() {
            let found = self.majors.get(&service.model).and_then(|majors| majors.get(&service.major));
            if found.is_some() {
                return found;
            }
        }
        let fits = |route: &&Arc<Route>| route.targets.iter().all(|each| each.version.major == service.major);
        self.route(&service.model, name).filter(fits)
    }

    /// The route of a name of a model.
    #[inline]
    pub(crate) fn route(&self, model: &str, name: &str) -> Option<&Arc<Route>> {
        self.models.get(model)?.get(name)
    }
}
