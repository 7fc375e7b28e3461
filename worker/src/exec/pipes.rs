//! The three pipes of a process. Each is served until it is closed, or for a moment after the process has ended: a
//! descendant that left the process group may hold a pipe open for ever, and must not hold up the attempt.

use std::{io, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    process::{ChildStderr, ChildStdin, ChildStdout},
    time::sleep,
};
use tokio_util::sync::CancellationToken;

/// What was written before the end is in the pipe by then; only descendants that got away keep it open.
const CLOSE_WAIT: Duration = Duration::from_secs(1);
/// As much as a pipe of Linux holds.
const CHUNK_BYTES: usize = 64 * 1024;
/// A progress message holds no more.
const LINE_BYTES_MAX: usize = 4096;
/// The last of stderr, for the message of a failure: 4 KiB less the words before it.
const TAIL_BYTES_MAX: usize = 4096 - 96;

/// Writes all of `input` and closes the pipe. A process that does not read it is none of our business.
pub(super) async fn feed(stdin: Option<ChildStdin>, input: &[u8], exited: &CancellationToken) {
    let Some(mut stdin) = stdin else { return };
    tokio::select! {
        written = stdin.write_all(input) => {
            if let Err(error) = written.or_else(|error| match error.kind() {
                io::ErrorKind::BrokenPipe => Ok(()),
                _ => Err(error),
            }) {
                tracing::warn!(%error, "cannot hand the brief to the command");
            }
        }
        () = exited.cancelled() => {}
    }
}

/// Reads everything; `None` when it is more than `limit`, and then `over` is called at once.
pub(super) async fn collect(
    stdout: Option<ChildStdout>,
    limit: usize,
    over: impl Fn(),
    exited: &CancellationToken,
) -> Option<Vec<u8>> {
    let mut output = Some(Vec::new());
    each_chunk(stdout, exited, |chunk| {
        if let Some(collected) = &mut output {
            if collected.len() + chunk.len() > limit {
                over();
                output = None;
            } else {
                collected.extend_from_slice(chunk);
            }
        }
    })
    .await;
    output
}

/// Hands over every line; answers with the last of it all.
pub(super) async fn follow(
    stderr: Option<ChildStderr>,
    mut on_line: impl FnMut(String),
    exited: &CancellationToken,
) -> String {
    let mut tail = Vec::new();
    let mut line = Vec::new();
    let mut end_line = |line: &mut Vec<u8>| {
        let text = String::from_utf8_lossy(line).trim().to_owned();
        line.clear();
        if !text.is_empty() {
            on_line(text);
        }
    };
    each_chunk(stderr, exited, |chunk| {
        tail.extend_from_slice(chunk);
        let excess = tail.len().saturating_sub(TAIL_BYTES_MAX);
        tail.drain(..excess);
        for byte in chunk {
            // Progress bars end their lines with a carriage return.
            if matches!(byte, b'\n' | b'\r') {
                end_line(&mut line);
            } else if line.len() < LINE_BYTES_MAX {
                line.push(*byte);
            }
        }
    })
    .await;
    end_line(&mut line);
    String::from_utf8_lossy(&tail).into_owned()
}

async fn each_chunk<R: AsyncRead + Unpin>(
    pipe: Option<R>,
    exited: &CancellationToken,
    mut on_chunk: impl FnMut(&[u8]),
) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = vec![0; CHUNK_BYTES];
    let closed = async {
        loop {
            match pipe.read(&mut buffer).await {
                Ok(0) => return,
                Ok(length) => on_chunk(&buffer[..length]),
                Err(error) => return tracing::warn!(%error, "cannot read from the command"),
            }
        }
    };
    let given_up = async {
        exited.cancelled().await;
        sleep(CLOSE_WAIT).await;
    };
    tokio::select! {
        () = closed => {}
        () = given_up => tracing::warn!("a descendant of the command holds its pipes open"),
    }
}
