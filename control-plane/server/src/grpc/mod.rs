//! The gRPC face: every service of `downbeat.v1`, with health and reflection. Requests are read by `wire`,
//! decided by the engine, and answered; nothing is decided here.

mod agents;
mod context;
mod error;
pub(crate) mod listen;
mod review;
mod schedules;
pub mod session;
mod tasks;
mod worker;
mod workflows;

use downbeat_core::{id::TenantNo, limits};
use downbeat_proto::v1::{
    agent_service_server::AgentServiceServer, context_service_server::ContextServiceServer,
    review_service_server::ReviewServiceServer, schedule_service_server::ScheduleServiceServer,
    task_service_server::TaskServiceServer, worker_service_server::WorkerServiceServer,
    workflow_service_server::WorkflowServiceServer,
};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, server::NamedService, service::Routes};
use tonic_health::{ServingStatus, server::HealthReporter};
use tower_http::catch_panic::CatchPanicLayer;

use crate::engine::Engine;

/// The largest message taken: a request of the largest size with what proto adds to it.
const DECODE_BYTES_MAX: usize = limits::REQUEST_BYTES + 64 * 1024;
/// The largest message sent. A task of the largest plan fits without its outputs.
const ENCODE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Everything that is served, reported healthy until the process stops.
pub(crate) async fn services(engine: Engine) -> Routes {
    let (reporter, health) = tonic_health::server::health_reporter();
    for service in served() {
        reporter.set_service_status(service, ServingStatus::Serving).await;
    }
    tokio::spawn(report_stop(reporter, engine.stop.clone()));
    let mut routes = Routes::new(health)
        .add_service(tasks::service(engine.clone()))
        .add_service(review::service(engine.clone()))
        .add_service(agents::service(engine.clone()))
        .add_service(schedules::service(engine.clone()))
        .add_service(workflows::service(engine.clone()))
        .add_service(context::service(engine.clone()))
        .add_service(worker::service(engine));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(downbeat_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    match (reflection().build_v1(), reflection().build_v1alpha()) {
        (Ok(v1), Ok(v1alpha)) => routes = routes.add_service(v1).add_service(v1alpha),
        (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "gRPC reflection is off"),
    }
    let router = routes.into_axum_router();
    let router = router.layer(axum::middleware::map_response(error::typed));
    router.layer(CatchPanicLayer::custom(error::panicked)).into()
}

/// The names health is asked for; the empty one is the whole server.
fn served() -> [&'static str; 8] {
    [
        "",
        <TaskServiceServer<tasks::TaskFace> as NamedService>::NAME,
        <ReviewServiceServer<review::ReviewFace> as NamedService>::NAME,
        <WorkflowServiceServer<workflows::WorkflowFace> as NamedService>::NAME,
        <AgentServiceServer<agents::AgentFace> as NamedService>::NAME,
        <ScheduleServiceServer<schedules::ScheduleFace> as NamedService>::NAME,
        <ContextServiceServer<context::ContextFace> as NamedService>::NAME,
        <WorkerServiceServer<worker::WorkerFace> as NamedService>::NAME,
    ]
}

/// Tells those who watch, and then lets their streams end.
async fn report_stop(mut reporter: HealthReporter, stop: CancellationToken) {
    stop.cancelled().await;
    for service in served() {
        reporter.set_service_status(service, ServingStatus::NotServing).await;
        reporter.clear_service_status(service).await;
    }
}

/// Whose call it is. There is one tenant until callers have identities.
fn tenant<T>(_request: &Request<T>) -> TenantNo {
    TenantNo::DEFAULT
}

/// An answer, unless it is larger than a message may be.
fn answer<T: prost::Message>(message: T) -> Result<Response<T>, Status> {
    let bytes = message.encoded_len();
    if bytes > ENCODE_BYTES_MAX { Err(error::too_large(bytes)) } else { Ok(Response::new(message)) }
}
