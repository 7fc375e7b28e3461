//! `downbeat migrate`.

use serde_json::json;

use super::serve::Database;
use crate::{failure::Result, out::Out};

/// Bring a Postgres database to the schema that this binary knows
///
/// Running it again changes nothing; several at once wait for each other. A newer schema than this binary
/// knows is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat migrate --database-url postgres://downbeat@db/downbeat
  DOWNBEAT_DATABASE_URL=postgres://downbeat@db/downbeat downbeat migrate")]
pub(crate) struct Args {
    #[command(flatten)]
    database: Database,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        self.database.migrate().await?;
        out.either(|| json!({"migrated": true}), |_| vec!["the schema is up to date".to_owned()])
    }
}
