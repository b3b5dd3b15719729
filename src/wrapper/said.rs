//! What a tool says: handed on as it comes, and remembered.

use std::collections::VecDeque;
use std::io::{self, PipeReader, Read as _, Write};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use serde::Deserialize;

/// How many lines are remembered.
const LINES: usize = 12;
/// Longer lines are cut: templates have names of many kilobytes.
const LONGEST: usize = 400;
/// How many bytes of one stream are remembered.
const MOST: usize = 4 << 20;
/// How long a process that the tool left behind may keep its standard error open.
const DRAIN: Duration = Duration::from_secs(2);

/// Listens to one tool.
pub(super) struct Said(Receiver<Hearing>);

/// What a tool said.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// The first lines that tell of an error, or else the last.
    pub lines: Vec<String>,
    /// All of it, where it is no more than [`MOST`] and the stream was closed.
    pub whole: Option<Vec<u8>>,
}

#[derive(Debug, Default)]
struct Hearing {
    lines: Lines,
    whole: Option<Vec<u8>>,
}

impl Said {
    /// Begins to hand on.
    pub(super) fn listen(mut stream: PipeReader, mut to: impl Write + Send + 'static) -> Self {
        let (sender, receiver) = channel();
        thread::spawn(move || {
            let mut lines = Lines::default();
            let mut whole = Some(Vec::new());
            let mut buffer = vec![0; 16 * 1024];
            loop {
                match stream.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(n) => {
                        lines.push(&buffer[..n]);
                        // Where nobody reads it any more, the tool still has to end.
                        let _ = to.write_all(&buffer[..n]).and_then(|()| to.flush());
                        whole = whole.take_if(|whole| whole.len() + n <= MOST);
                        if let Some(whole) = &mut whole {
                            whole.extend_from_slice(&buffer[..n]);
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(_) => break,
                }
            }
            // Nobody waits where the tool was stopped.
            let _ = sender.send(Hearing { lines, whole });
        });
        Self(receiver)
    }

    /// When the tool has ended.
    pub(super) fn end(self) -> Heard {
        let Hearing { lines, whole } = self.0.recv_timeout(DRAIN).unwrap_or_default();
        Heard { lines: lines.finish(), whole }
    }
}

/// A message of rustc's to cargo, a JSON object on a line of its own (The rustc book, "JSON Output").
#[derive(Deserialize)]
struct Message {
    level: Option<String>,
    rendered: Option<String>,
}

impl Message {
    fn read(line: &[u8]) -> Option<Self> {
        line.starts_with(b"{\"$message_type\"").then(|| serde_json::from_slice(line).ok())?
    }
}

/// The lines from the first that tells of an error on, and the last.
#[derive(Debug, Default)]
struct Lines {
    partial: Vec<u8>,
    first: Vec<String>,
    last: VecDeque<String>,
}

impl Lines {
    fn push(&mut self, bytes: &[u8]) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                self.complete();
            }
        }
    }

    fn complete(&mut self) {
        let bytes = std::mem::take(&mut self.partial);
        match Message::read(&bytes) {
            Some(Message { level: Some(level), rendered: Some(rendered) }) if level == "error" => {
                without_colours(&rendered).lines().for_each(|line| self.line(line));
            }
            Some(_) => {}
            None => self.line(&String::from_utf8_lossy(&bytes)),
        }
    }

    fn line(&mut self, line: &str) {
        let line: String = line.trim_end().chars().take(LONGEST).collect();
        if line.is_empty() {
            return;
        }
        let begun = !self.first.is_empty();
        if self.first.len() < LINES && (begun || tells_error(&line)) {
            self.first.push(line.clone());
        }
        if self.last.len() == LINES {
            self.last.pop_front();
        }
        self.last.push_back(line);
    }

    fn finish(mut self) -> Vec<String> {
        self.complete();
        if self.first.is_empty() { self.last.into() } else { self.first }
    }
}

/// Text without the sequences that select colours (ECMA-48, "SGR"): cargo asks rustc for them, and
/// leaves them out itself where nobody sees them.
fn without_colours(text: &str) -> String {
    let mut pieces = text.split("\x1b[");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |plain, piece| plain + piece.split_once('m').map_or("", |(_, rest)| rest))
}

/// Whether a line begins to tell what went wrong: `x.c:1:2: error: …`, `ptxas fatal   : …`,
/// `error #20014-D: …`, and ld, which has no word for it.
fn tells_error(line: &str) -> bool {
    let before_colons = line.rsplit_once(':').map_or("", |(before, _)| before);
    let word = |part: &str| {
        let part = part.trim_end().to_ascii_lowercase();
        part.ends_with("error")
            || part.ends_with("fatal")
            || part.contains("error #")
            || part.starts_with("error[")
    };
    before_colons.split(':').any(word)
        || ["undefined reference to", "cannot find -l"].iter().any(|words| line.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finish(text: &str) -> Vec<String> {
        let mut lines = Lines::default();
        // However the bytes arrive.
        for bytes in text.as_bytes().chunks(7) {
            lines.push(bytes);
        }
        lines.finish()
    }

    #[test]
    fn the_first_error_is_remembered_and_what_follows_it() {
        let long = "note\n".repeat(100);
        let said = format!("{long}a.c:1:1: warning: w\na.c:2:1: error: first\n  2 | x\n{long}");
        let lines = finish(&said);
        assert_eq!(lines[..2], ["a.c:2:1: error: first", "  2 | x"]);
        assert_eq!(lines.len(), LINES);
        assert_eq!(finish("one\n\ntwo"), ["one", "two"]);
        assert_eq!(finish(&long).len(), LINES);
    }

    #[test]
    fn what_rustc_tells_cargo_is_read() {
        let message = |level: &str, rendered: &str| {
            let message = serde_json::json!({
                "$message_type": "diagnostic", "level": level, "rendered": rendered
            });
            format!("{message}\n")
        };
        let artifact = "{\"$message_type\":\"artifact\",\"artifact\":\"/a/error: x\"}\n";
        let error = message(
            "error",
            "\x1b[1m\x1b[91merror[E0433]\x1b[0m: cannot find `x`\n --> src/lib.rs:1:1\n",
        );
        let said = artifact.to_owned() + &message("warning", "warning: unused\n") + &error;
        assert_eq!(finish(&said), ["error[E0433]: cannot find `x`", " --> src/lib.rs:1:1"]);
    }

    #[test]
    fn lines_that_tell_of_errors() {
        for line in [
            "a.c:1:1: error: expected",
            "k.cu(3): error: identifier \"x\" is undefined",
            "k.cu(3): error #20014-D: calling",
            "a.cc:1:10: fatal error: b.h: No such file or directory",
            "ptxas fatal   : Unresolved extern function 'f'",
            "nvcc error   : 'cicc' died due to signal 9 (Kill signal)",
            "x.c:(.text+0x8): undefined reference to `f'",
            "ld: cannot find -lfoo: No such file or directory",
        ] {
            assert!(tells_error(line), "{line}");
        }
        for line in ["error.h:1:1: warning: unused", "In file included from error.h:1:", "error"] {
            assert!(!tells_error(line), "{line}");
        }
    }
}
