//! Stored workflows.

use bytes::Bytes;
use downbeat_core::{id::TenantNo, time::Time};
use downbeat_store::{Store, StoreError, WorkflowChange, WorkflowHead, WorkflowVersion};

use crate::build::TENANT;

fn version(name: &str, number: u32) -> WorkflowVersion {
    WorkflowVersion {
        name: name.to_owned(),
        version: number,
        restores: (number > 1).then_some(number - 1),
        created_at: Time(1_700_000_000_000 + i64::from(number)),
        created_by: format!("ann {number}"),
        description: format!("The {number}th 🎼"),
        digest: [number as u8; 32],
        definition: Bytes::from(format!("{{\"n\": {number}}}")),
    }
}

/// From the version before, to that one.
fn adds(name: &str, number: u32) -> WorkflowChange {
    WorkflowChange {
        tenant: TENANT,
        name: name.to_owned(),
        was: WorkflowHead { version: number - 1, deleted: false },
        becomes: WorkflowHead { version: number, deleted: false },
        added: Some(version(name, number)),
    }
}

fn deletes(name: &str, number: u32) -> WorkflowChange {
    let was = WorkflowHead { version: number, deleted: false };
    let becomes = WorkflowHead { deleted: true, ..was };
    WorkflowChange { tenant: TENANT, name: name.to_owned(), was, becomes, added: None }
}

fn listed(name: &str, number: u32) -> WorkflowVersion {
    WorkflowVersion { definition: Bytes::new(), ..version(name, number) }
}

pub(crate) async fn versions_come_back_as_they_were_written(store: &dyn Store) {
    assert_eq!(store.workflow(TENANT, "a", None).await.unwrap(), None);
    for number in 1..=3 {
        store.change_workflow(&adds("a", number)).await.unwrap();
    }
    let elsewhere = WorkflowChange { tenant: TenantNo(2), ..adds("a", 1) };
    store.change_workflow(&elsewhere).await.unwrap();

    let newest = store.workflow(TENANT, "a", None).await.unwrap().expect("the newest");
    assert_eq!(newest.head, WorkflowHead { version: 3, deleted: false });
    assert_eq!(newest.version, version("a", 3));
    for number in 1..=3 {
        let found = store.workflow(TENANT, "a", Some(number)).await.unwrap().expect("a version");
        assert_eq!((found.head.version, found.version), (3, version("a", number)));
    }
    assert_eq!(store.workflow(TENANT, "a", Some(4)).await.unwrap(), None);
    assert_eq!(store.workflow(TenantNo(2), "a", Some(2)).await.unwrap(), None);

    let page = async |before, limit| store.workflow_versions(TENANT, "a", before, limit).await.unwrap();
    assert_eq!(page(u32::MAX, 9).await, [listed("a", 3), listed("a", 2), listed("a", 1)]);
    assert_eq!(page(u32::MAX, 2).await, [listed("a", 3), listed("a", 2)]);
    assert_eq!(page(2, 2).await, [listed("a", 1)]);
    assert_eq!(page(1, 2).await, []);
}

pub(crate) async fn a_step_from_elsewhere_is_a_conflict(store: &dyn Store) {
    store.change_workflow(&adds("a", 1)).await.unwrap();
    let conflict = async |change: WorkflowChange| {
        let refused = store.change_workflow(&change).await;
        assert!(matches!(refused, Err(StoreError::Conflict(_))), "{refused:?}");
    };
    let other = WorkflowVersion { created_by: "bob".into(), ..version("a", 1) };
    conflict(WorkflowChange { added: Some(other), ..adds("a", 1) }).await;
    conflict(adds("a", 3)).await;
    let deleted = WorkflowHead { version: 1, deleted: true };
    conflict(WorkflowChange { was: deleted, ..adds("a", 2) }).await;
    assert_eq!(store.workflow(TENANT, "a", None).await.unwrap().expect("kept").version, version("a", 1));

    // Of two at once, one wins.
    let second = adds("a", 2);
    let (one, two) = futures::join!(store.change_workflow(&second), store.change_workflow(&second));
    assert!(one.is_ok() != two.is_ok(), "{one:?}, {two:?}");
}

pub(crate) async fn deleted_workflows_keep_their_versions(store: &dyn Store) {
    store.change_workflow(&adds("a", 1)).await.unwrap();
    store.change_workflow(&deletes("a", 1)).await.unwrap();
    let found = store.workflow(TENANT, "a", None).await.unwrap().expect("the newest");
    assert_eq!((found.head.deleted, found.version), (true, version("a", 1)));
    assert_eq!(store.workflows(TENANT, "", 9).await.unwrap(), []);
    let was = WorkflowHead { version: 1, deleted: true };
    store.change_workflow(&WorkflowChange { was, ..adds("a", 2) }).await.unwrap();
    assert_eq!(store.workflows(TENANT, "", 9).await.unwrap(), [listed("a", 2)]);
    assert_eq!(store.workflow_versions(TENANT, "a", 9, 9).await.unwrap().len(), 2);
}

pub(crate) async fn workflows_are_listed_by_name_in_pages(store: &dyn Store) {
    for name in ["b", "B", "a-b", "a", "a.b"] {
        store.change_workflow(&adds(name, 1)).await.unwrap();
    }
    store.change_workflow(&adds("b", 2)).await.unwrap();
    store.change_workflow(&WorkflowChange { tenant: TenantNo(2), ..adds("c", 1) }).await.unwrap();
    let page = async |after, limit| store.workflows(TENANT, after, limit).await.unwrap();
    let all = [listed("B", 1), listed("a", 1), listed("a-b", 1), listed("a.b", 1), listed("b", 2)];
    assert_eq!(page("", 9).await, all);
    assert_eq!(page("", 2).await, all[..2]);
    assert_eq!(page("a", 2).await, all[2..4]);
    assert_eq!(page("b", 2).await, []);
}
