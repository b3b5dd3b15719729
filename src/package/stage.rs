//! The stage: names the backend's wheel after what is in it, and writes it anew.

use std::path::PathBuf;

use pep440_rs::Version;

use super::{Identity, PackageError, Packaged, WheelContents};
use super::{local_version, version, write_wheel};
use crate::Result;
use crate::audit::{Inspection, inspect};
use crate::compile::Built;
use crate::pins;
use crate::resolve::Resolved;

/// Writes the wheel into the build's folder.
pub fn package(built: &Built) -> Result<Packaged> {
    let inspection = inspect(&built.wheel)?;
    let mut contents = WheelContents::from_wheel(&built.wheel)?;
    let metadata = contents.dist_info("METADATA")?.unwrap_or_default();
    let (metadata, pins) = pins::of_wheel(built, &inspection, &metadata)?;
    contents.insert_dist_info("METADATA", metadata);
    let identity = Identity {
        version: full_version(built, &contents, &inspection)?,
        tags: inspection.fitting_tags().ok_or_else(|| PackageError::Tags(built.wheel.clone()))?,
        time: built.locked.resolved.time,
    };
    let packaged = write_wheel(&contents, &identity, &built.folder.packaged())?;
    Ok(Packaged { pins, ..packaged })
}

/// The package's version, with the local version that tells this product from others.
fn full_version(
    built: &Built,
    contents: &WheelContents,
    inspection: &Inspection,
) -> Result<Version, PackageError> {
    let Resolved { variant, local_version: chosen, .. } = &built.locked.resolved;
    let text = contents.metadata_field("Version")?;
    let version = parse(&text)?;
    let torch = &built.torch.facts;
    let local = match chosen {
        Some(chosen) => chosen.clone(),
        // Only of crates it is known: what C++ takes of torch may come without torch's name.
        None if built.locked.rust.is_some() && !has_to_do_with_torch(inspection) => {
            let cuda = has_to_do_with_cuda(inspection).then_some(torch.cuda.as_str());
            version::local_version_without_torch(cuda, variant)
        }
        None => local_version(&torch.cuda, &parse(&torch.version)?, variant),
    };
    version::with_local(&version, &local)
        .map_err(|source| PackageError::Version { version: local, source })
}

fn has_to_do_with_torch(inspection: &Inspection) -> bool {
    let requires = inspection.wheel.iter().flat_map(|wheel| &wheel.requires);
    // What is only wanted with an extra is another's to install.
    let always = requires.filter(|r| !r.contains("extra =="));
    let mut names = always.map(|r| r.split(|c: char| !c.is_ascii_alphanumeric()).next());
    let mut needed = inspection.files.iter().flat_map(|file| &file.elf.needed);
    names.any(|name| name == Some("torch"))
        || needed.any(|library| library.starts_with("libtorch") || library.starts_with("libc10"))
}

fn has_to_do_with_cuda(inspection: &Inspection) -> bool {
    !inspection.cuda_majors.is_empty()
        || inspection.files.iter().any(|file| !file.device_code.is_empty())
}

fn parse(version: &str) -> Result<Version, PackageError> {
    let invalid = |source| PackageError::Version { version: version.to_owned(), source };
    version.parse().map_err(invalid)
}

impl crate::configure::BuildFolder {
    /// Where the wheel is written before it has passed the audit.
    pub fn packaged(&self) -> PathBuf {
        self.root().join("packaged")
    }
}
