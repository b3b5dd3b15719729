//! Turns the downloads of one component into its folder in the store.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path, PathBuf};

use globset::GlobSet;

use super::error::ToolchainError;
use super::relocate::{Relocation, run_tool};
use super::sources::Source;
use super::spec::Layout;
use super::stubs;
use crate::artifact::{Input, Sha256};
use crate::unpack::{self, Limits, Tree, deb, members, wheel};

/// Which unpacked files belong to the component.
struct Filter<'a> {
    layout: &'a Layout,
    include: GlobSet,
    exclude: GlobSet,
}

/// Unpacks all inputs into `root`, makes the layout's links, and relocates what is to be.
///
/// `destination` is where `root` will be moved.
pub(super) fn install(
    source: &Source,
    blobs: &BTreeMap<Sha256, PathBuf>,
    root: &Path,
    destination: &Path,
    relocation: Option<&Relocation>,
) -> crate::Result<()> {
    let layout = &source.spec.layout;
    let filter = Filter {
        layout,
        include: members::globs(&layout.include)?,
        exclude: members::globs(&layout.exclude)?,
    };
    let inputs: Vec<Input> = source.locked.inputs().collect();
    let select_wheel = |path: &Path| filter.wheel(path);
    let select_package = |path: &Path| filter.wanted(path.to_owned());
    let mut tree = Tree::new(root, Limits::COMPONENT);
    let paths: Vec<PathBuf> =
        inputs.iter().map(|input| blob(blobs, input)).collect::<Result<_, _>>()?;
    for (input, path) in inputs.iter().zip(&paths) {
        let name = Path::new(input.artifact().file_name());
        let file = fs_err::File::open(path).map_err(ToolchainError::Io)?;
        let is_package = name.extension().is_some_and(|extension| extension == "deb");
        match input {
            Input::Whole(_) if is_package => {
                tree.begin(name, &select_package);
                deb::unpack(file, &mut tree)?;
            }
            Input::Whole(_) => {
                tree.begin(name, &select_wheel);
                wheel::unpack(io::BufReader::new(file), &mut tree)?;
            }
            Input::Partial(_) => {
                tree.begin(name, &select_wheel);
                members::unpack(io::BufReader::new(file), &mut tree)?;
            }
        }
    }
    make_links(source, root)?;
    stubs::install(source, root)?;
    if let Some(relocation) = relocation.filter(|_| layout.relocate) {
        relocation.apply(root, destination)?;
    }
    compile_python(layout, root, destination)?;
    Ok(())
}

/// Compiles Python modules, as if they lay in `destination` already. The compiled ones are never
/// checked against their sources, because both are read-only.
fn compile_python(layout: &Layout, root: &Path, destination: &Path) -> Result<(), ToolchainError> {
    if layout.compile_python.is_empty() {
        return Ok(());
    }
    let python = root.join("usr/bin/python3");
    let mut args: Vec<OsString> =
        ["-I", "-B", "-m", "compileall", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash"]
            .map(OsString::from)
            .to_vec();
    args.extend(["-s".into(), root.into(), "-p".into(), destination.into()]);
    args.extend(layout.compile_python.iter().map(|folder| root.join(folder).into_os_string()));
    run_tool(&python, args)
}

fn blob(blobs: &BTreeMap<Sha256, PathBuf>, input: &Input) -> Result<PathBuf, ToolchainError> {
    blobs.get(&input.sha256()).cloned().ok_or_else(|| {
        let message = format!("`{}` was not fetched", input.artifact().file_name());
        ToolchainError::Io(io::Error::new(io::ErrorKind::NotFound, message))
    })
}

impl Filter<'_> {
    fn wheel(&self, member: &Path) -> Option<PathBuf> {
        self.wanted(wheel::installed_path(member, self.layout.strip.as_deref())?)
    }

    fn wanted(&self, path: PathBuf) -> Option<PathBuf> {
        let included = self.layout.include.is_empty() || self.include.is_match(&path);
        (included && !self.exclude.is_match(&path)).then_some(path)
    }
}

/// Makes the layout's links, in place of what is there.
fn make_links(source: &Source, root: &Path) -> Result<(), ToolchainError> {
    for (link, destination) in &source.spec.layout.link {
        let plain =
            |path: &str| Path::new(path).components().all(|c| matches!(c, Component::Normal(_)));
        if !plain(link) {
            let component = source.spec.key.to_string();
            return Err(ToolchainError::Link { link: link.clone(), component });
        }
        let at = root.join(link);
        if let Some(folder) = at.parent() {
            fs_err::create_dir_all(folder)?;
        }
        if at.symlink_metadata().is_ok() {
            fs_err::remove_file(&at)?;
        }
        symlink(destination, &at)?;
    }
    Ok(())
}

/// Unpacks an archive that the user gave, by the ending of its name.
pub(super) fn unpack_given(archive: &Path, root: &Path) -> crate::Result<()> {
    let mut tree = Tree::new(root, Limits::SOURCE);
    tree.begin(archive, &|path| Some(path.to_owned()));
    if archive.extension().is_some_and(|extension| extension == "deb") {
        deb::unpack(fs_err::File::open(archive).map_err(ToolchainError::Io)?, &mut tree)?;
    } else {
        unpack::sdist::any(archive, &mut tree)?;
    }
    Ok(())
}
