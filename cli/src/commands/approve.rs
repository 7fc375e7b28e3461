//! `downbeat approve`.

use downbeat_sdk::proto::OptionOutcome;

use crate::{decision::Decision, failure::Result, out::Out};

/// Let an approval pass
///
/// Shows what is to be approved: the message, the input, and what it depends on has delivered. On a terminal you are
/// asked first. The decision names what was shown: where that has changed meanwhile, it is refused.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  downbeat approve release-42 go
  downbeat approve release-42 go --by ada --role release-manager --comment 'looks good' --yes
  downbeat approve release-42 go --option canary-only")]
pub(crate) struct Args {
    #[command(flatten)]
    decision: Decision,
}

impl Args {
    pub(crate) async fn run(self, out: &mut Out) -> Result {
        self.decision.run(out, OptionOutcome::Complete).await
    }
}
