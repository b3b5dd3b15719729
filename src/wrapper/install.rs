//! The folder of wrappers that a build has on its `PATH`.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::WrapperError;
use super::config::{Config, FILE};

/// The folder of the host compiler that nvcc calls: its calls belong to nvcc's own action.
pub(super) const NESTED: &str = "nested";
/// The folder that is `CUDA_HOME` for a build.
const CUDA: &str = "cuda";
/// What a build may call beside compilers; they need no wrapping.
const BINUTILS: [&str; 12] = [
    "addr2line",
    "ar",
    "as",
    "c++filt",
    "ld",
    "nm",
    "objcopy",
    "objdump",
    "ranlib",
    "readelf",
    "size",
    "strip",
];

/// Where the wrappers of a build are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// For `PATH`.
    pub folder: PathBuf,
    /// For `CUDA_HOME`: the toolkit with the wrapped nvcc.
    pub cuda: PathBuf,
}

/// Places the wrappers and `tools.json` in a folder, in place of what is there. The executable is
/// crosswheel's own. `cuda` is the CUDA toolkit as this process calls it, which the build may call
/// otherwise: [`Config`] has the build's names.
pub fn install(
    folder: &Path,
    executable: &Path,
    config: &Config,
    cuda: &Path,
) -> Result<Installed, WrapperError> {
    match fs_err::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let triple = &config.triple;
    let installed = Installed { folder: folder.to_owned(), cuda: folder.join(CUDA) };
    fs_err::create_dir_all(folder.join(NESTED))?;
    fs_err::create_dir_all(installed.cuda.join("bin"))?;
    let mut names: Vec<String> = ["cc", "c++", "gcc", "g++"].map(str::to_owned).into();
    names.extend(["gcc", "g++", "cc", "c++"].map(|tool| format!("{triple}-{tool}")));
    names.extend(["nvcc", "ninja", "sandbox"].map(str::to_owned));
    names.push(format!("{NESTED}/{triple}-g++"));
    names.push(format!("{CUDA}/bin/nvcc"));
    let mut original = executable.to_owned();
    for name in names {
        let path = folder.join(name);
        if place(&original, &path)? {
            // Across file systems one copy serves all.
            original = path;
        }
    }
    link_binutils(folder, config)?;
    link_cuda(&installed.cuda, cuda, &config.tools.cuda)?;
    let text = serde_json::to_vec_pretty(config).map_err(io::Error::from)?;
    fs_err::write(folder.join(FILE), text)?;
    Ok(installed)
}

/// Places the `sandbox` executable alone, to find out what the kernel allows.
pub fn install_sandbox(folder: &Path, executable: &Path) -> Result<PathBuf, WrapperError> {
    fs_err::create_dir_all(folder)?;
    let path = folder.join("sandbox");
    match fs_err::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    place(executable, &path)?;
    Ok(path)
}

/// The host compiler for nvcc, from the folder of the nvcc wrapper.
pub(super) fn nested_cxx(folder: &Path, config: &Config) -> PathBuf {
    let root = if folder.ends_with(Path::new(CUDA).join("bin")) {
        folder.ancestors().nth(2).unwrap_or(folder)
    } else {
        folder
    };
    root.join(NESTED).join(format!("{}-g++", config.triple))
}

/// Hard link, or else copy; a symbolic link would hide the name. Says whether it copied.
fn place(original: &Path, path: &Path) -> io::Result<bool> {
    if fs_err::hard_link(original, path).is_ok() {
        return Ok(false);
    }
    fs_err::copy(original, path)?;
    Ok(true)
}

fn link_binutils(folder: &Path, config: &Config) -> io::Result<()> {
    let Some(binutils) = &config.binutils else { return Ok(()) };
    for name in BINUTILS {
        let tool = binutils.join(name);
        symlink(&tool, folder.join(name))?;
        symlink(&tool, folder.join(format!("{}-{name}", config.triple)))?;
    }
    Ok(())
}

/// All of the toolkit but nvcc, by links: what looks for `CUDA_HOME/include` finds it.
fn link_cuda(links: &Path, here: &Path, inside: &Path) -> io::Result<()> {
    for (folder, wrapped) in [("", "bin"), ("bin", "nvcc")] {
        for entry in fs_err::read_dir(here.join(folder))? {
            let name = Path::new(folder).join(entry?.file_name());
            if name != Path::new(folder).join(wrapped) {
                symlink(inside.join(&name), links.join(&name))?;
            }
        }
    }
    Ok(())
}
