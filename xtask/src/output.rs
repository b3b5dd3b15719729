//! `println!`, `print!` and `eprintln!` that outlive their reader.
//!
//! The standard library's panic when the other end of a pipe is closed, as `head` does. Nobody
//! reads any more then, but the work goes on, and the exit code still tells how it ended.

use std::fmt::Arguments;
use std::io::{self, ErrorKind, Write};

/// Prints on standard output.
pub fn stdout(text: Arguments<'_>) {
    write(io::stdout().lock(), "stdout", text);
}

/// Prints on standard error.
pub fn stderr(text: Arguments<'_>) {
    write(io::stderr().lock(), "stderr", text);
}

fn write(mut stream: impl Write, name: &str, text: Arguments<'_>) {
    match stream.write_fmt(text).and_then(|()| stream.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            panic!("{name} cannot be written: {error}");
        }
        _ => {}
    }
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
