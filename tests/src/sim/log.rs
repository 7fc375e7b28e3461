//! What production logs, in the record of a seed. An ERROR means that a person must look, so it breaks the seed.

use std::{
    io,
    sync::{Arc, Weak},
};

use tracing_subscriber::{
    filter::LevelFilter,
    fmt::{MakeWriter, format::Format},
    util::SubscriberInitExt,
};

use super::World;

/// Takes in what is logged on this thread, until it is dropped.
pub(super) fn listen(world: &Arc<World>) -> impl Drop + use<> {
    let level = if world.is_traced() { LevelFilter::INFO } else { LevelFilter::ERROR };
    tracing_subscriber::fmt()
        .with_max_level(level)
        .event_format(Format::default().without_time().with_ansi(false).with_target(false))
        .with_writer(Lines(Arc::downgrade(world)))
        .set_default()
}

struct Lines(Weak<World>);

/// One line while it is written.
struct Line {
    world: Weak<World>,
    is_error: bool,
    text: Vec<u8>,
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line { world: Weak::clone(&self.0), is_error: false, text: Vec::new() }
    }

    fn make_writer_for(&'a self, meta: &tracing::Metadata<'_>) -> Line {
        let mut line = self.make_writer();
        line.is_error = *meta.level() == tracing::Level::ERROR;
        line
    }
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Some(world) = self.world.upgrade() else { return };
        let text = String::from_utf8_lossy(&self.text).trim().to_owned();
        if self.is_error {
            world.fail(text);
        } else {
            world.note(|| text);
        }
    }
}
