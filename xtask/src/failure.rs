//! Errors as they are printed, and builds that failed while others went on.

use serde::Serialize;

use crate::exit_codes;

/// Prints an error with its causes and its hint, and returns its exit code.
pub fn print_error(error: &anyhow::Error) -> u8 {
    eprintln!("error: {error}");
    for cause in error.chain().skip(1) {
        eprintln!("  caused by: {cause}");
    }
    let known = error.downcast_ref::<crosswheel::Error>();
    if let Some(hint) = known.and_then(crosswheel::Error::hint) {
        eprintln!("hint: {hint}");
    }
    known.map_or(exit_codes::INTERNAL, |e| exit_codes::of(e.class()))
}

/// A build that failed.
#[derive(Debug, Serialize)]
pub struct Failure {
    /// As asked for.
    pub request: String,
    /// The target's name.
    pub target: String,
    /// What went wrong, and why.
    error: Vec<String>,
    /// What can be done about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
    /// The exit code, had it been the only build.
    exit_code: u8,
    #[serde(skip)]
    source: anyhow::Error,
}

impl Failure {
    /// The failure of one build.
    pub fn new(request: String, target: String, error: crosswheel::Error) -> Self {
        let (hint, exit_code) = (error.hint(), exit_codes::of(error.class()));
        let source = anyhow::Error::from(error);
        let error = source.chain().map(ToString::to_string).collect();
        let source = source.context(format!("{request} could not be built for {target}"));
        Self { request, target, error, hint, exit_code, source }
    }

    /// Prints it as an error that ends the run.
    pub fn print(&self) {
        print_error(&self.source);
    }
}

/// The exit code of the first failure.
pub fn exit_code(failures: &[Failure]) -> u8 {
    failures.first().map_or(exit_codes::SUCCESS, |failure| failure.exit_code)
}
