//! `println!`, `print!` and `eprintln!` that outlive their reader, and a full disk.
//!
//! The standard library's panic when the other end of a pipe is closed, as `head` does. Nobody
//! reads any more then, but the work goes on, and the exit code still tells how it ended. Where
//! standard output is a file on a full disk, the work goes on too, and [`check`] tells at the end.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};
use std::sync::OnceLock;

use crosswheel::{Class, Diagnose};

/// The first error of standard output.
static FAILURE: OnceLock<io::Error> = OnceLock::new();

/// Standard output cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("standard output cannot be written")]
struct OutputError(#[source] &'static io::Error);

impl Diagnose for OutputError {
    fn class(&self) -> Class {
        Class::Io
    }
}

/// Whether all that was printed on standard output arrived there.
pub fn check() -> crosswheel::Result<()> {
    FAILURE.get().map_or(Ok(()), |error| Err(OutputError(error).into()))
}

/// Prints on standard output.
pub fn stdout(text: Arguments<'_>) {
    let mut stream = io::stdout().lock();
    if let Err(error) = stream.write_fmt(text).and_then(|()| stream.flush())
        && error.kind() != ErrorKind::BrokenPipe
    {
        // A later one says nothing new.
        let _ = FAILURE.set(error);
    }
}

/// Prints on standard error. Where that cannot be written, nobody can be told.
pub fn stderr(text: Arguments<'_>) {
    let mut stream = io::stderr().lock();
    let _ = stream.write_fmt(text).and_then(|()| stream.flush());
}

macro_rules! print {
    ($($text:tt)*) => { $crate::output::stdout(format_args!($($text)*)) };
}

macro_rules! println {
    () => { print!("\n") };
    ($format:literal $($rest:tt)*) => { print!("{}\n", format_args!($format $($rest)*)) };
}

macro_rules! eprintln {
    ($format:literal $($rest:tt)*) => {
        $crate::output::stderr(format_args!("{}\n", format_args!($format $($rest)*)))
    };
}
