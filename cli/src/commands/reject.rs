//! `downbeat reject`.

use downbeat_sdk::proto::OptionOutcome;

use crate::{decision::Decision, failure::Result, out::Out};

/// Refuse an approval
///
/// As `approve`, with the first option that makes it fail.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat reject release-42 go --comment 'the tests are red'
  downbeat reject release-42 go --by ada --yes")]
pub(crate) struct Args {
    #[command(flatten)]
    decision: Decision,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        self.decision.run(out, OptionOutcome::Fail).await
    }
}
