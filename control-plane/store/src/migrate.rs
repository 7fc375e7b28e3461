//! Which schema a database has, and which one this binary knows. Both dialects have the same numbers and
//! names; a migration that was shipped is never edited, and its digest proves it.

use crate::{Result, StoreError};

/// One step of the schema, compiled in.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// Counted from 1 without gaps.
    pub number: i32,
    pub name: &'static str,
    pub sql: &'static str,
}

/// One step that a database says it has taken: a row of `schema_migrations`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub number: i32,
    pub name: String,
    pub digest: String,
}

macro_rules! migrations {
    ($dialect:literal: $($number:literal $name:literal)*) => {
        &[$(Migration {
            number: $number,
            name: $name,
            sql: include_str!(concat!("../../../migrations/", $dialect, "/", $name, ".sql")),
        }),*]
    };
}

/// The schema of Postgres, oldest step first.
pub const POSTGRES: &[Migration] =
    migrations!("postgres": 1 "0001_foundation" 2 "0002_graph" 3 "0003_workflows" 4 "0004_schedules");
/// The schema of SQLite, oldest step first.
pub const SQLITE: &[Migration] =
    migrations!("sqlite": 1 "0001_foundation" 2 "0002_graph" 3 "0003_workflows" 4 "0004_schedules");

impl Migration {
    /// Blake3 of the SQL, in hex.
    pub fn digest(&self) -> String {
        blake3::hash(self.sql.as_bytes()).to_hex().to_string()
    }
}

/// What is still to be applied, oldest first.
///
/// # Errors
/// [`StoreError::Schema`] when the database was migrated by a newer Downbeat, or by other steps than these.
pub fn missing<'a>(known: &'a [Migration], applied: &[Applied]) -> Result<&'a [Migration]> {
    let newest = known.last().map_or(0, |step| step.number);
    if let Some(beyond) = applied.iter().map(|row| row.number).filter(|number| *number > newest).max() {
        return Err(StoreError::Schema(format!(
            "the database has schema {beyond}, this downbeat knows up to {newest}: use a newer downbeat"
        )));
    }
    for (place, row) in applied.iter().enumerate() {
        let step = known.get(place).filter(|step| step.number == row.number).ok_or_else(|| {
            StoreError::Schema(format!(
                "schema_migrations: {} stands where {} belongs",
                row.number,
                place + 1
            ))
        })?;
        if step.digest() != row.digest {
            return Err(StoreError::Schema(format!(
                "migration {} ({}) was applied with other content than this downbeat's {}: \
                 the database belongs to another build",
                row.number, row.name, step.name
            )));
        }
    }
    Ok(&known[applied.len()..])
}

/// Whether a database with these steps is up to date.
///
/// # Errors
/// [`StoreError::Schema`]: see [`missing`]; or steps are missing and `downbeat migrate` was not run.
pub fn check(known: &[Migration], applied: &[Applied]) -> Result<()> {
    match missing(known, applied)? {
        [] => Ok(()),
        steps => Err(StoreError::Schema(format!(
            "the database has schema {}, this downbeat needs {}: run `downbeat migrate`",
            applied.len(),
            applied.len() + steps.len()
        ))),
    }
}
