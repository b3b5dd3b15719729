//! `cargo xtask toolchain lock`: from what components and torches are to the files they are made of.

use std::path::Path;

use crosswheel::artifact::Input;
use crosswheel::registry::file_name::WheelName;
use crosswheel::target::Arch;
use crosswheel::toolchain::relock::{Relock, changes, load, render};
use crosswheel::torch;
use indicatif::HumanBytes;
use serde::Serialize;

use super::common::{Format, Session, print_json};
use crate::exit_codes;

/// The processors that torch is locked for.
const ARCHES: [Arch; 2] = [Arch::Aarch64, Arch::X86_64];

/// What to lock.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The components to lock anew, by name; the others stay as they are. All where none is named
    #[arg(value_name = "COMPONENT", conflicts_with = "torch")]
    components: Vec<String>,
    /// Lock this release of torch instead, with the symbols of its libraries: reads whole wheels
    #[arg(long, value_name = "VERSION")]
    torch: Option<String>,
    /// The Pythons whose wheels of torch are locked
    #[arg(
        long,
        value_name = "X.Y",
        requires = "torch",
        value_delimiter = ',',
        default_value = "3.11,3.12,3.13"
    )]
    pythons: Vec<String>,
    /// text, or one JSON object on stdout: what is another than before
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

/// What was locked; `docs/schemas/toolchain-lock.schema.json` describes its JSON.
#[derive(Debug, Default, Serialize)]
struct Output {
    changes: Vec<Changed>,
    skipped: Vec<Skipped>,
    torch: Vec<Torch>,
}

/// A package of a component with other files than before.
#[derive(Debug, Serialize)]
struct Changed {
    component: String,
    package: String,
    before: Vec<String>,
    after: Vec<String>,
}

/// A component that was left as it is.
#[derive(Debug, Serialize)]
struct Skipped {
    component: String,
    registry: String,
}

/// A wheel of torch that was locked.
#[derive(Debug, Serialize)]
struct Torch {
    version: String,
    python: String,
    arch: Arch,
    cuda: String,
}

/// Runs the verb, and prints what changed.
pub fn run(args: &Args, session: &Session) -> anyhow::Result<u8> {
    let mut output = Output::default();
    match &args.torch {
        Some(version) => output.torch = lock_torch(session, version, args)?,
        None => lock_components(session, args, &mut output)?,
    }
    if args.format == Format::Json {
        print_json(&output)?;
    }
    let received = session.context.registries.http().bytes_received();
    eprintln!("{} were read", HumanBytes(received));
    Ok(exit_codes::SUCCESS)
}

fn lock_components(session: &Session, args: &Args, output: &mut Output) -> anyhow::Result<()> {
    let context = &session.context;
    let folder = context.project.toolchains();
    let (spec, previous) = load(&folder).map_err(crosswheel::Error::from)?;
    let reporter = context.reporter.as_ref();
    let (registries, store) = (&context.registries, &context.store);
    let relock = Relock { folder: &folder, registries, store, reporter };
    let relocked = relock.relock(&spec, &previous, &args.components)?;
    session.screen.clear();
    for (component, registry) in &relocked.skipped {
        eprintln!(
            "note: {component} is left as it is: the registry `{registry}` is not configured"
        );
        let (component, registry) = (component.to_string(), registry.clone());
        output.skipped.push(Skipped { component, registry });
    }
    for change in changes(&previous, &relocked.lock) {
        if args.format == Format::Text {
            println!("{change}");
        }
        output.changes.push(Changed {
            component: change.component.to_string(),
            package: change.name,
            before: change.before,
            after: change.after,
        });
    }
    for (path, index) in &relocked.indices {
        write_changed(path, index)?;
    }
    let text = render(&relocked.lock).map_err(crosswheel::Error::from)?;
    write_changed(&folder.join("components.lock"), text.as_bytes())?;
    eprintln!("{} components are locked", relocked.lock.component.len());
    Ok(())
}

fn write_changed(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    if fs_err::read(path).ok().as_deref() != Some(content) {
        if let Some(folder) = path.parent() {
            fs_err::create_dir_all(folder)?;
        }
        crosswheel::manifest::write_together(&[(path, content)])?;
    }
    Ok(())
}

fn lock_torch(session: &Session, version: &str, args: &Args) -> anyhow::Result<Vec<Torch>> {
    let context = &session.context;
    let pypi = context.registries.pypi()?;
    let project = pypi.project("torch").map_err(crosswheel::Error::from)?;
    let mut locked = Vec::new();
    for arch in ARCHES {
        for python in &args.pythons {
            let tag = torch::lock::python_tag(python);
            let wanted = project.files.iter().find(|file| {
                WheelName::parse(&file.name).is_some_and(|wheel| {
                    wheel.version.to_string() == version && wheel.glibc(arch).is_some()
                }) && file.name.contains(&format!("-{tag}-{tag}-"))
            });
            let Some(choice) = wanted.and_then(|file| project.file(&file.name)) else { continue };
            let artifact = pypi.artifact(&project, &choice).map_err(crosswheel::Error::from)?;
            let found = context.fetch(&[Input::Whole(artifact.clone())])?;
            let wheel = &found[&artifact.sha256];
            let entry = torch::relock::relock(&context.project.toolchains(), wheel, &artifact)
                .map_err(crosswheel::Error::from)?;
            session.screen.clear();
            let (version, python, cuda) = (entry.version, entry.python, entry.cuda);
            if args.format == Format::Text {
                println!("torch {version} for {python} on {arch}: CUDA {cuda}");
            }
            locked.push(Torch { version, python, arch, cuda });
        }
    }
    anyhow::ensure!(
        !locked.is_empty(),
        "the index has no wheel of torch {version} for these Pythons"
    );
    Ok(locked)
}
