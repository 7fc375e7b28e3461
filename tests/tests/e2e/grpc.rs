//! What every gRPC server should have: health, reflection, rich error details.

use downbeat_sdk::proto::{
    GetTaskRequest, RetrySubtaskRequest, SubmitTaskRequest, review_service_client::ReviewServiceClient,
    task_service_client::TaskServiceClient,
};
use downbeat_tests::harness::{ControlPlane, Database, plans::single, soon};
use tonic::Code;
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};
use tonic_types::StatusExt;

const SERVICES: [&str; 6] = [
    "downbeat.v1.TaskService",
    "downbeat.v1.ReviewService",
    "downbeat.v1.AgentService",
    "downbeat.v1.WorkerService",
    "downbeat.v1.ScheduleService",
    "downbeat.v1.WorkflowService",
];

#[tokio::test]
async fn health_is_told_by_service_and_ends_with_the_process() {
    let database = Database::sqlite();
    let plane = ControlPlane::start(&database).await;
    let mut health = HealthClient::new(plane.channel());
    for service in ["", "grpc.health.v1.Health"].into_iter().chain(SERVICES) {
        let asked = health.check(HealthCheckRequest { service: service.into() }).await;
        if service == "grpc.health.v1.Health" && asked.is_err() {
            continue;
        }
        assert_eq!(asked.unwrap().into_inner().status(), ServingStatus::Serving, "{service}");
    }
    let unknown = health.check(HealthCheckRequest { service: "nobody".into() }).await.unwrap_err();
    assert_eq!(unknown.code(), Code::NotFound);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    let first = soon("the health", watch.message()).await.unwrap().unwrap();
    assert_eq!(first.status(), ServingStatus::Serving);
    let told = tokio::spawn(async move {
        // Whatever ends the stream has told enough.
        soon("the end is told", watch.message()).await.ok().flatten().map(|answer| answer.status())
    });
    plane.stop().await;
    assert!(matches!(
        told.await.unwrap(),
        None | Some(ServingStatus::NotServing | ServingStatus::ServiceUnknown)
    ));
}

#[tokio::test]
async fn reflection_describes_every_service() {
    let database = Database::sqlite();
    let plane = ControlPlane::start(&database).await;
    let ask = |message: MessageRequest| {
        let channel = plane.channel();
        async move {
            let request = ServerReflectionRequest { host: String::new(), message_request: Some(message) };
            let mut client = ServerReflectionClient::new(channel);
            let asked = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
            soon("an answer", asked.into_inner().message()).await.unwrap().unwrap().message_response.unwrap()
        }
    };
    let MessageResponse::ListServicesResponse(listed) =
        ask(MessageRequest::ListServices(String::new())).await
    else {
        panic!("expected a list");
    };
    let names: Vec<&str> = listed.service.iter().map(|service| service.name.as_str()).collect();
    for service in SERVICES {
        assert!(names.contains(&service), "{service} in {names:?}");
        let answer = ask(MessageRequest::FileContainingSymbol(service.into())).await;
        let MessageResponse::FileDescriptorResponse(files) = answer else { panic!("{service}: {answer:?}") };
        assert!(!files.file_descriptor_proto.is_empty());
    }
}

#[tokio::test]
async fn errors_carry_their_details() {
    let database = Database::sqlite();
    let plane = ControlPlane::start(&database).await;
    plane.client().submit(single("e-1", "a")).await.unwrap();
    let (mut tasks, mut review) =
        (TaskServiceClient::new(plane.channel()), ReviewServiceClient::new(plane.channel()));
    let bad = tasks.submit_task(SubmitTaskRequest::default()).await.unwrap_err();
    let details = bad.get_error_details();
    let violations = &details.bad_request().expect("BadRequest").field_violations;
    assert!(violations.iter().any(|violation| violation.field == "task_id"), "{violations:?}");
    let info = details.error_info().expect("ErrorInfo");
    assert_eq!((info.reason.as_str(), info.domain.as_str()), ("INVALID_REQUEST", "downbeat"));
    let unknown = GetTaskRequest { task_id: "nobody".into(), ..Default::default() };
    let unknown = tasks.get_task(unknown).await.unwrap_err();
    assert_eq!(unknown.get_error_details().error_info().expect("ErrorInfo").reason, "TASK_UNKNOWN");
    let request =
        RetrySubtaskRequest { task_id: "e-1".into(), subtask_id: "only".into(), ..Default::default() };
    let state = review.retry_subtask(request).await.unwrap_err();
    assert_eq!(state.code(), Code::FailedPrecondition);
    assert_eq!(state.get_error_details().error_info().expect("ErrorInfo").reason, "SUBTASK_STATE");
}
