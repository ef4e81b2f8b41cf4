//! What a process complains about.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::ChildStderr,
};

/// Lines that are kept.
const LINES: usize = 100;
/// Bytes of one line that are kept.
const LINE_BYTES: usize = 4 * 1024;
/// Lines, and characters of each, that stand in an error.
const SHOWN_LINES: usize = 5;
const SHOWN_CHARS: usize = 300;

/// The last lines of standard error.
#[derive(Debug)]
pub(super) struct Tail {
    name: String,
    lines: Mutex<VecDeque<String>>,
}

impl Tail {
    pub(super) const fn new(name: String) -> Self {
        Self {
            name,
            lines: Mutex::new(VecDeque::new()),
        }
    }

    pub(super) fn lines(&self) -> Vec<String> {
        self.lock().iter().cloned().collect()
    }

    /// The very last lines, for the end of an error's message; empty where there are none.
    pub(super) fn excerpt(&self) -> String {
        let lines = self.lock();
        let mut text = String::new();
        for line in lines.iter().skip(lines.len().saturating_sub(SHOWN_LINES)) {
            text.push_str(if text.is_empty() {
                "; it said: "
            } else {
                " | "
            });
            let plain = line.chars().take(SHOWN_CHARS);
            text.extend(plain.map(|c| if c.is_control() { ' ' } else { c }));
        }
        text
    }

    fn push(&self, line: &[u8]) {
        let line = String::from_utf8_lossy(line);
        let line = line.trim_end();
        if line.is_empty() {
            return;
        }
        tracing::debug!(server = %self.name, ?line, "standard error");
        let mut lines = self.lock();
        if lines.len() >= LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<String>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads lines until there are no more; what is too much of one is thrown away.
pub(super) async fn read(stderr: ChildStderr, tail: Arc<Tail>) {
    let mut input = BufReader::new(stderr);
    let mut line = Vec::new();
    loop {
        let chunk = match input.fill_buf().await {
            Ok(chunk) if !chunk.is_empty() => chunk,
            Ok(_) => break,
            Err(error) => {
                tracing::debug!(%error, "standard error cannot be read");
                break;
            }
        };
        let end = chunk.iter().position(|b| *b == b'\n');
        let part = chunk.get(..end.unwrap_or(chunk.len())).unwrap_or_default();
        let space = LINE_BYTES.saturating_sub(line.len());
        line.extend_from_slice(part.get(..space).unwrap_or(part));
        let used = end.map_or(chunk.len(), |at| at + 1);
        input.consume(used);
        if end.is_some() {
            tail.push(&line);
            line.clear();
        }
    }
    tail.push(&line);
}
