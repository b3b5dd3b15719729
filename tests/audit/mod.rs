//! The audit of wheels and shared objects, on files made for each fault.

mod cache;
mod closure;
mod command;
mod elf_fixture;
mod hostile;
mod sarif;
mod schema;
mod seeded;
mod wheel_fixture;

use std::path::Path;

use crosswheel::target::Target;

/// The `thor` target of the repository.
fn thor() -> Target {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../toolchains/targets");
    Target::load(&folder, "thor").expect("the target")
}
