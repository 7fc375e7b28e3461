//! Logs: to standard error, so that standard output stays what was asked for.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;

use crate::{
    args::{Global, LogFormat},
    out, term,
};

/// Starts logging. A filter that cannot be read is told, and the default taken.
pub(crate) fn init(global: &Global, is_server: bool) {
    let default = if is_server { "info" } else { "warn" };
    let given = global.log.as_deref().filter(|filter| !filter.trim().is_empty());
    let filter = given.map_or_else(
        || EnvFilter::new(default),
        |given| {
            EnvFilter::try_new(given).unwrap_or_else(|error| {
                out::complain(&format!("downbeat: the log filter {given:?} cannot be read: {error}\n"));
                EnvFilter::new(default)
            })
        },
    );
    let tty = io::stderr().is_terminal();
    let format = global.log_format.unwrap_or(if tty { LogFormat::Human } else { LogFormat::Json });
    let logs = tracing_subscriber::fmt().with_writer(io::stderr).with_env_filter(filter);
    match format {
        LogFormat::Human => logs.with_ansi(tty && term::colors_wanted()).with_target(is_server).init(),
        LogFormat::Json => logs.json().flatten_event(true).init(),
    }
}
