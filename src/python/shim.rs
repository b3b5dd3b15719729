//! The Python sources that make the build Python answer as the target's.

use std::path::Path;

use super::answers::Answers;
use super::nvidia_smi;
use crate::artifact::Sha256;

/// The package's name: nothing that a project would take.
pub const PACKAGE: &str = "_crosswheel";

/// The package's files.
const FILES: [(&str, &str); 7] = [
    ("__init__.py", include_str!("shim/__init__.py")),
    ("cargo.py", include_str!("shim/cargo.py")),
    ("cmake.py", include_str!("shim/cmake.py")),
    ("compiles.py", include_str!("shim/compiles.py")),
    ("hook.py", include_str!("shim/hook.py")),
    ("patches.py", include_str!("shim/patches.py")),
    ("wheel.py", include_str!("shim/wheel.py")),
];

/// The module that CPython's own cross-building switch is given
/// (`_PYTHON_SYSCONFIGDATA_NAME`). Not by the name that a target's own one would have: where that
/// is the build Python's machine, the standard library has it, and comes first.
pub fn sysconfigdata(multiarch: &str) -> String {
    format!("_sysconfigdata__crosswheel_{multiarch}")
}

/// Digest of the shims' sources, which an environment is made of.
pub(super) fn digest() -> Sha256 {
    let sources = FILES.iter().map(|(_, source)| *source);
    let further = [include_str!("shim/sysconfigdata.py"), nvidia_smi::SCRIPT];
    Sha256::of(sources.chain(further).collect::<String>())
}

/// Writes the shims into a site-packages folder, to be loaded by every Python that uses it.
pub(super) fn install(site: &Path, answers: &Answers) -> std::io::Result<()> {
    let package = site.join(PACKAGE);
    fs_err::create_dir(&package)?;
    for (name, source) in FILES {
        fs_err::write(package.join(name), source)?;
    }
    fs_err::write(package.join("answers.json"), serde_json::to_string_pretty(answers)? + "\n")?;
    let data = format!("{}.py", sysconfigdata(answers.multiarch));
    fs_err::write(site.join(data), include_str!("shim/sysconfigdata.py"))?;
    // Python's `site` reads such files in the order of their names: this one comes before
    // setuptools' own. Its first line becomes a part of `sys.path`.
    let torch = answers.torch.root.display();
    fs_err::write(site.join(format!("{PACKAGE}.pth")), format!("{torch}\nimport {PACKAGE}\n"))
}

/// A project whose programs crosswheel provides itself, as a Python package and its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToolProject {
    /// `ninja`, whose package tells where its program is.
    Ninja,
}

impl ToolProject {
    /// Its name on the index, and of its Python package.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ninja => "ninja",
        }
    }

    /// Writes the package and its metadata, so that imports and checks of versions find it.
    pub(super) fn install(self, site: &Path, version: &str) -> std::io::Result<()> {
        let name = self.name();
        let source = match self {
            Self::Ninja => include_str!("shim/ninja_package.py"),
        };
        let package = site.join(name);
        fs_err::create_dir(&package)?;
        fs_err::write(
            package.join("__init__.py"),
            format!("{source}\n__version__ = \"{version}\"\n"),
        )?;
        let info = site.join(format!("{name}-{version}.dist-info"));
        fs_err::create_dir(&info)?;
        let metadata = format!("Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n");
        fs_err::write(info.join("METADATA"), metadata)?;
        fs_err::write(info.join("INSTALLER"), "crosswheel\n")?;
        let record = format!(
            "{name}/__init__.py,,\n{name}-{version}.dist-info/METADATA,,\n\
             {name}-{version}.dist-info/INSTALLER,,\n{name}-{version}.dist-info/RECORD,,\n"
        );
        fs_err::write(info.join("RECORD"), record)
    }
}
