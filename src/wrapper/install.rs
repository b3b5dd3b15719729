//! The folder of wrappers that a build has on its `PATH`.

use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use super::WrapperError;
use super::config::{Config, FILE, Tools};
use super::step::Tool;

/// The folder of the host compiler that nvcc calls: its calls belong to nvcc's own action.
pub(super) const NESTED: &str = "nested";
/// The tracer.
pub(crate) const TRACE: &str = "trace";
/// The folder that nvcc is run from, with wrappers in the place of the tools that it calls.
const FRONT: &str = "front";
/// Where nvcc reads its paths, beside itself.
const PROFILE: &str = "nvcc.profile";
/// The folder that is `CUDA_HOME` for a build.
const CUDA: &str = "cuda";
/// What CMake reads at the start of each project.
const PROJECT: &str = "project.cmake";
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

impl Installed {
    /// The same folders, as a sandbox shows them.
    pub fn renamed(&self, rename: impl Fn(&Path) -> PathBuf) -> Self {
        Self { folder: rename(&self.folder), cuda: rename(&self.cuda) }
    }
}

/// The CUDA toolkit as this process calls it, which the build may call otherwise: [`Config`] has
/// the build's names.
#[derive(Debug, Clone, Copy)]
pub struct Toolkit<'a> {
    /// The toolkit.
    pub root: &'a Path,
    /// Folders with headers that it has not, in the order of those in [`Config`].
    pub include: &'a [PathBuf],
}

/// Places the wrappers and `tools.json` in a folder, in place of what is there. The executable is
/// crosswheel's own.
pub fn install(
    folder: &Path,
    executable: &Path,
    config: &Config,
    toolkit: Toolkit<'_>,
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
    names.extend(["nvcc", "ninja", "sandbox", TRACE].map(str::to_owned));
    // Scripts look whether there is one.
    names.extend(config.tools.cmake.as_ref().map(|_| "cmake".to_owned()));
    names.push(format!("{NESTED}/{triple}-g++"));
    names.push(format!("{CUDA}/bin/nvcc"));
    if config.tools.rust.is_some() {
        names.push("rustc".to_owned());
        names.push(format!("{NESTED}/{triple}-gcc"));
    }
    if make_front(&folder.join(FRONT), &toolkit, &config.tools.cuda)? {
        names.extend(Tool::ALL.map(|tool| format!("{FRONT}/bin/{}", tool.name())));
    }
    let mut original = executable.to_owned();
    for name in names {
        let path = folder.join(name);
        if place(&original, &path)? {
            // Across file systems one copy serves all.
            original = path;
        }
    }
    link_binutils(folder, config)?;
    link_cuda(&installed.cuda, &toolkit, &config.tools)?;
    fs_err::write(folder.join(PROJECT), include_str!("project.cmake"))?;
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

/// The machine's C compiler driver, by its name in the folder of wrappers.
pub(crate) const BUILD_CC: &str = "build-cc";

/// The host compiler for nvcc, from the folder of the nvcc wrapper.
pub(super) fn nested_cxx(folder: &Path, config: &Config) -> PathBuf {
    let root = if folder.ends_with(Path::new(CUDA).join("bin")) {
        folder.ancestors().nth(2).unwrap_or(folder)
    } else {
        folder
    };
    root.join(NESTED).join(format!("{}-g++", config.triple))
}

/// What CMake reads at the start of each project, from the folder of the cmake wrapper.
pub(super) fn project_file(folder: &Path) -> PathBuf {
    folder.join(PROJECT)
}

/// The nvcc whose tools are stood in for, by the path of its host compiler.
pub(super) fn front_nvcc(nested: &Path) -> PathBuf {
    let folder = nested.ancestors().nth(2).unwrap_or(nested);
    folder.join(FRONT).join("bin/nvcc")
}

/// All that nvcc looks for beside itself, but for the tools that are stood in for. It takes their
/// folders from its profile, and everything else from where it really is. Says whether that is so of
/// this nvcc.
fn make_front(front: &Path, toolkit: &Toolkit<'_>, inside: &Path) -> io::Result<bool> {
    let here = toolkit.root.join("bin");
    let Ok(profile) = fs_err::read_to_string(here.join(PROFILE)) else { return Ok(false) };
    let (mut top, mut cicc) = (false, false);
    let lines = profile.lines().map(|line| match line.split_once('=').map(|(n, _)| n.trim()) {
        Some("TOP") => {
            top = true;
            format!("TOP = {}/..\n", inside.join("bin").display())
        }
        Some("CICC_PATH") => {
            cicc = true;
            "CICC_PATH = $(_HERE_)\n".to_owned()
        }
        _ => format!("{line}\n"),
    });
    let profile: String = lines.collect();
    if !top || !cicc {
        return Ok(false);
    }
    let but: Vec<&str> = Tool::ALL.iter().map(|tool| tool.name()).chain([PROFILE]).collect();
    let bin = Seen { here: &here, inside: &inside.join("bin") };
    bin.link_all(&front.join("bin"), &but)?;
    fs_err::write(front.join("bin").join(PROFILE), profile)?;
    symlink(inside.join("targets"), front.join("targets"))?;
    Ok(true)
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

/// Folders as this process calls them and as the build does.
struct Seen<'a> {
    here: &'a Path,
    inside: &'a Path,
}

impl Seen<'_> {
    /// Links to what is in this folder, but for some names and what is there already.
    fn link_all(&self, links: &Path, but: &[&str]) -> io::Result<()> {
        fs_err::create_dir_all(links)?;
        for entry in fs_err::read_dir(self.here)? {
            let name = entry?.file_name();
            let link = links.join(&name);
            if !but.iter().any(|but| name == *but) && link.symlink_metadata().is_err() {
                symlink(self.inside.join(&name), link)?;
            }
        }
        Ok(())
    }

    fn join(&self, path: &str) -> (PathBuf, PathBuf) {
        (self.here.join(path), self.inside.join(path))
    }
}

/// All of the toolkit but nvcc, by links: what looks for `CUDA_HOME/include` finds it. With headers
/// of further libraries, its folders of headers are folders of links to both.
fn link_cuda(links: &Path, toolkit: &Toolkit<'_>, tools: &Tools) -> io::Result<()> {
    let cuda = Seen { here: toolkit.root, inside: &tools.cuda };
    let (here, inside) = cuda.join("bin");
    Seen { here: &here, inside: &inside }.link_all(&links.join("bin"), &["nvcc"])?;
    if toolkit.include.is_empty() {
        return cuda.link_all(links, &["bin"]);
    }
    cuda.link_all(links, &["bin", "include", "targets"])?;
    let include = links.join("include");
    let (here, inside) = cuda.join("include");
    Seen { here: &here, inside: &inside }.link_all(&include, &[])?;
    for (here, inside) in toolkit.include.iter().zip(&tools.cuda_include) {
        Seen { here, inside }.link_all(&include, &[])?;
    }
    let (here, inside) = cuda.join("targets");
    if !here.is_dir() {
        return Ok(());
    }
    for entry in fs_err::read_dir(&here)? {
        let name = entry?.file_name();
        let (here, inside) = (here.join(&name), inside.join(&name));
        let target = links.join("targets").join(&name);
        Seen { here: &here, inside: &inside }.link_all(&target, &["include"])?;
        symlink("../../include", target.join("include"))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::config::tests::config;
    use super::*;

    #[test]
    fn further_headers_stand_beside_the_toolkits() {
        let folder = tempfile::tempdir().unwrap();
        let at = |path: &str| folder.path().join(path);
        for file in [
            "cuda/bin/nvcc",
            "cuda/bin/ptxas",
            "cuda/include/cuda.h",
            "cuda/include/thrust/sort.h",
            "cuda/lib/libcudart.so",
            "cudnn/include/cudnn.h",
            "cudnn/include/cuda.h",
        ] {
            fs_err::create_dir_all(at(file).parent().unwrap()).unwrap();
            fs_err::write(at(file), file).unwrap();
        }
        fs_err::create_dir_all(at("cuda/targets/aarch64-linux")).unwrap();
        for name in ["include", "lib"] {
            let link = at("cuda/targets/aarch64-linux").join(name);
            symlink(Path::new("../..").join(name), link).unwrap();
        }
        let mut tools = config().tools;
        (tools.cuda, tools.cuda_include) = (at("cuda"), vec![at("cudnn/include")]);
        let (root, include) = (at("cuda"), tools.cuda_include.clone());
        let link = |name: &str, include: &[PathBuf]| {
            link_cuda(&at(name), &Toolkit { root: &root, include }, &tools).unwrap();
        };
        let read = |path: &str| fs_err::read_to_string(at(path)).ok();

        link("with", &include);
        for folder in ["with/include", "with/targets/aarch64-linux/include"] {
            for (file, content) in [
                ("cudnn.h", "cudnn/include/cudnn.h"),
                ("cuda.h", "cuda/include/cuda.h"),
                ("thrust/sort.h", "cuda/include/thrust/sort.h"),
            ] {
                assert_eq!(read(&format!("{folder}/{file}")).as_deref(), Some(content));
            }
        }
        link("without", &[]);
        assert_eq!(read("without/include/cudnn.h"), None);
        for name in ["with", "without"] {
            assert_eq!(read(&format!("{name}/bin/nvcc")), None, "it is wrapped");
            for (file, content) in [
                ("bin/ptxas", "cuda/bin/ptxas"),
                ("include/cuda.h", "cuda/include/cuda.h"),
                ("targets/aarch64-linux/lib/libcudart.so", "cuda/lib/libcudart.so"),
            ] {
                assert_eq!(read(&format!("{name}/{file}")).as_deref(), Some(content), "{name}");
            }
        }
    }
}
