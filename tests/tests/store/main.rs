//! Conformance: what every store must do, each case on Postgres, on SQLite in a file and in memory, and on the
//! simulation's maps; and what only one of them can be asked.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod batches;
mod build;
mod graphs;
mod lists;
mod migrated;
mod on_postgres;
mod on_sqlite;
mod remembered;
mod schedules;
mod ticks;
mod workflows;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU32, Ordering},
    },
};

use downbeat_core::time::Time;
use downbeat_store::{Clock, PostgresStore, SqliteStore};
use downbeat_tests::postgres::Postgres;

/// Runs every case on every store.
macro_rules! conformance {
    ($($module:ident { $($case:ident)* })*) => {
        mod conformance {
            mod postgres {
                $($(
                    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                    async fn $case() {
                        let store = crate::open_postgres().await;
                        crate::$module::$case(&store).await;
                    }
                )*)*
            }
            mod sqlite_file {
                $($(
                    #[tokio::test]
                    async fn $case() {
                        let place = crate::Place::new();
                        let store = crate::open_sqlite(&place.file());
                        crate::$module::$case(&store).await;
                    }
                )*)*
            }
            mod sqlite_memory {
                $($(
                    #[tokio::test]
                    async fn $case() {
                        let store = crate::open_memory();
                        crate::$module::$case(&store).await;
                    }
                )*)*
            }
            mod simulated {
                $($(
                    #[tokio::test]
                    async fn $case() {
                        let store = downbeat_tests::sim::database::Database::new(crate::clock());
                        crate::$module::$case(&store).await;
                    }
                )*)*
            }
        }
    };
}

conformance! {
    batches {
        every_row_comes_back_as_it_was_written
        changed_rows_come_back_changed
        extreme_values_survive
        missing_rows_are_left_out
        tasks_are_loaded_by_id
        only_declared_subtasks_are_loaded
        seats_come_without_their_declaration
        the_same_task_id_twice_is_a_conflict
        stamps_only_grow
        a_rollback_leaves_nothing
        a_batch_given_up_leaves_nothing
        a_batch_without_changes_is_fine
        a_refused_batch_leaves_nothing_and_the_writer_usable
        dead_sessions_are_deleted
        the_last_word_of_an_agent_counts
        a_writer_is_dropped_in_the_middle
    }
    graphs {
        a_plan_grows_with_its_task
        a_new_task_grows_in_the_batch_that_creates_it
        each_plan_has_its_own_parts
        a_place_of_a_plan_is_taken_once
        a_plan_has_the_context_of_the_metadata
        notes_come_back_as_they_were_written notes_are_read_by_their_keys
        a_note_is_overwritten
        notes_of_a_task_that_is_not_there_are_absent
    }
    lists {
        the_line_is_in_order_and_starts_at_the_cursor
        the_stuck_are_found
        events_come_in_pages
        tasks_are_listed_newest_first_in_pages
        tasks_are_listed_by_status_and_prefix
        plans_of_unknown_tasks_are_left_out
        outputs_are_found
        a_task_comes_with_its_subtasks
        leases_belong_to_sessions
        routes_are_interned_once
        routes_interned_at_once_agree
        long_routes_are_interned
    }
    schedules {
        a_schedule_comes_back_as_it_was_written
        a_schedule_is_written_by_who_has_seen_it
        a_name_is_taken_once_and_a_number_never_again
        schedules_are_listed_by_name
        a_look_sees_schedules_that_are_due_soon
    }
    ticks {
        what_is_due_comes_oldest_first
        the_next_time_is_told_with_what_is_due
        a_silent_replica_is_dead
        a_replica_that_leaves_is_gone
        the_mark_changes_with_every_session
        routes_with_somebody_in_line_are_named
        upkeep_may_be_repeated
    }
    workflows {
        versions_come_back_as_they_were_written
        a_step_from_elsewhere_is_a_conflict
        deleted_workflows_keep_their_versions
        workflows_are_listed_by_name_in_pages
    }
}

/// A migrated database of its own on the shared server.
async fn open_postgres() -> PostgresStore {
    let url = new_database().await;
    PostgresStore::connect(&url, 2).await.expect("a migrated database")
}

/// The URL of a migrated database of its own on the shared server.
async fn new_database() -> String {
    let url = tokio::task::spawn_blocking(|| Postgres::shared().create_database()).await.expect("a database");
    PostgresStore::migrate(&url).await.expect("an empty database");
    url
}

fn open_sqlite(file: &Path) -> SqliteStore {
    SqliteStore::open_with(file, clock()).expect("a database file")
}

fn open_memory() -> SqliteStore {
    SqliteStore::memory(clock()).expect("a database in memory")
}

/// A clock that moves on by a millisecond each time it is looked at.
fn clock() -> Clock {
    let now = AtomicI64::new(1_700_000_000_000);
    Arc::new(move || Time(now.fetch_add(1, Ordering::Relaxed)))
}

/// A directory that is removed when the test is over.
struct Place(PathBuf);

impl Place {
    fn new() -> Place {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("downbeat-store-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::create_dir(&path).expect("a new directory");
        Place(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("downbeat.db")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
