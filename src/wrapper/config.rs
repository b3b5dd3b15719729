//! What a wrapper is told: `tools.json`, beside the wrappers of one build.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::standard::Torch;
use crate::cache::Caching;
use crate::rust::RustTools;
use crate::target::Sm;
use crate::toolchain::Toolchain;

/// The file's name.
pub const FILE: &str = "tools.json";

/// Everything that the wrappers of one build know. All paths are as the build sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Config {
    /// The socket of the action server; without one, tools run unadmitted and unrecorded.
    pub socket: Option<PathBuf>,
    /// The build folder.
    pub build: PathBuf,
    /// The store.
    pub store: PathBuf,
    /// The target's GNU triple.
    pub triple: String,
    /// The real tools.
    pub tools: Tools,
    /// The target's C library and headers.
    pub sysroot: Option<PathBuf>,
    /// The folder of the binutils.
    pub binutils: Option<PathBuf>,
    /// The target's torch, where there is one.
    pub torch: Option<Torch>,
    /// The target's SMs.
    pub sms: Vec<Sm>,
    /// How many tools run at once.
    pub jobs: usize,
    /// Whether ninja goes on with what does not need an action that failed.
    pub keep_going: bool,
    /// Paths and what stands for them in outputs and records, the most special first.
    pub prefix_map: Vec<(PathBuf, PathBuf)>,
    /// What is built of a CMake project.
    pub targets: Selection,
    /// Entries of CMake's cache, which are there before the project's own lines.
    pub entries: BTreeMap<String, String>,
    /// Flags added to every C and C++ compile.
    pub compile_flags: Vec<String>,
    /// Flags added to every link.
    pub link_flags: Vec<String>,
    /// Flags added to every nvcc call that compiles.
    pub nvcc_flags: Vec<String>,
    /// Where results of earlier actions are; without it, every tool runs.
    pub cache: Option<Caching>,
}

/// The real executables.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Tools {
    /// The C compiler driver.
    pub cc: PathBuf,
    /// The C++ compiler driver.
    pub cxx: PathBuf,
    /// The CUDA toolkit, with `bin/nvcc`.
    pub cuda: PathBuf,
    /// Folders with headers of CUDA libraries that the toolkit has not.
    pub cuda_include: Vec<PathBuf>,
    /// ninja.
    pub ninja: PathBuf,
    /// Rust, where there are crates.
    pub rust: Option<Rust>,
    /// cmake, where the build environment has it.
    pub cmake: Option<PathBuf>,
}

/// rustc, and what stands for the folder that it is installed in: no other tool reads from there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rust {
    /// The compiler.
    pub rustc: PathBuf,
    /// Its folder, and the folder's name in outputs and records.
    pub named: (PathBuf, PathBuf),
}

/// Which targets of a CMake project are built; with two empty lists, all.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Selection {
    /// These and no others of those that are compiled.
    pub only: Vec<String>,
    /// All but these.
    pub without: Vec<String>,
}

/// The build folder's name in outputs and records.
pub const CANONICAL_BUILD: &str = crate::exec::sandbox::BUILD;
/// The store's name in outputs and records.
pub const CANONICAL_STORE: &str = crate::exec::sandbox::STORE;
/// The name of the machine's own Rust in outputs and records.
const CANONICAL_RUST: &str = "/crosswheel/rust";
/// The torch SDK's name in outputs and records.
pub const CANONICAL_TORCH: &str = crate::exec::sandbox::TORCH;

/// What every link gets after its own options: the driver's libraries, which a system has in its
/// own folder, and where libraries find those that they need.
fn link_flags(cuda: &Path) -> Vec<String> {
    let libraries = cuda.join("lib64");
    let stubs = libraries.join("stubs");
    let rpath_link = format!("-Wl,-rpath-link,{}", libraries.display());
    vec![format!("-L{}", stubs.display()), rpath_link]
}

/// What stands for folders of this machine. A component's folder is called by its name alone: the
/// key behind it depends on where the store is, as relocated executables do.
fn prefix_map(
    toolchain: &Toolchain,
    build: &Path,
    store: &Path,
    torch: &Path,
) -> Vec<(PathBuf, PathBuf)> {
    let paths = [&toolchain.cxx, &toolchain.sysroot, &toolchain.cuda].into_iter();
    let paths = paths.chain(&toolchain.cuda_include).chain(&toolchain.target_python.include);
    let named: BTreeSet<_> = paths.filter_map(|path| component(path, store)).collect();
    let mut map = vec![
        (build.to_owned(), PathBuf::from(CANONICAL_BUILD)),
        (torch.to_owned(), PathBuf::from(CANONICAL_TORCH)),
    ];
    map.extend(named);
    map.push((store.to_owned(), PathBuf::from(CANONICAL_STORE)));
    map
}

/// The component's folder that a path is in, and that folder's name.
fn component(path: &Path, store: &Path) -> Option<(PathBuf, PathBuf)> {
    let components = store.join("components");
    let key = path.strip_prefix(&components).ok()?.iter().next()?.to_str()?;
    let (name, _) = key.rsplit_once('-')?;
    let canonical = Path::new(CANONICAL_STORE).join("components").join(name);
    Some((components.join(key), canonical))
}

impl Rust {
    fn of(tools: &RustTools, store: &Path) -> Self {
        // The machine's own is no component: its folder's name tells where it is installed.
        let elsewhere = || (tools.root.clone(), PathBuf::from(CANONICAL_RUST));
        let named = component(&tools.root, store).unwrap_or_else(elsewhere);
        Self { rustc: tools.rustc(), named }
    }
}

impl Config {
    /// What wraps these tools in a build folder and adds nothing to what they are told: no sysroot, no
    /// torch, no cache, and one tool at a time.
    pub fn plain(tools: Tools, triple: &str, sms: Vec<Sm>, build: &Path, store: &Path) -> Self {
        Self {
            socket: None,
            build: build.to_owned(),
            store: store.to_owned(),
            triple: triple.to_owned(),
            tools,
            sysroot: None,
            binutils: None,
            torch: None,
            sms,
            jobs: 1,
            keep_going: false,
            prefix_map: vec![(build.to_owned(), PathBuf::from(CANONICAL_BUILD))],
            targets: Selection::default(),
            entries: BTreeMap::new(),
            compile_flags: Vec::new(),
            link_flags: Vec::new(),
            nvcc_flags: Vec::new(),
            cache: None,
        }
    }

    /// The configuration for a provisioned toolchain, with the build folder, the store and the
    /// torch SDK, all as the build calls them.
    pub fn new(
        toolchain: &Toolchain,
        build: &Path,
        store: &Path,
        torch: Torch,
        jobs: usize,
    ) -> Self {
        let tools = Tools {
            cc: toolchain.cc.clone(),
            cxx: toolchain.cxx.clone(),
            cuda: toolchain.cuda.clone(),
            cuda_include: toolchain.cuda_include.clone(),
            ninja: toolchain.ninja.clone(),
            rust: toolchain.rust.as_ref().map(|tools| Rust::of(tools, store)),
            cmake: None,
        };
        let (triple, sms) = (toolchain.target.arch.gnu_triple(), toolchain.target.sm.clone());
        Self {
            sysroot: Some(toolchain.sysroot.clone()),
            binutils: Some(toolchain.binutils.clone()),
            jobs,
            prefix_map: prefix_map(toolchain, build, store, &torch.root),
            link_flags: link_flags(&toolchain.cuda),
            torch: Some(torch),
            ..Self::plain(tools, triple, sms, build, store)
        }
    }

    /// The real nvcc.
    pub fn nvcc(&self) -> PathBuf {
        self.tools.cuda.join("bin/nvcc")
    }

    /// Paths and what stands for them, Rust's too, the most special first.
    pub(super) fn names(&self) -> impl DoubleEndedIterator<Item = &(PathBuf, PathBuf)> {
        self.tools.rust.iter().map(|rust| &rust.named).chain(&self.prefix_map)
    }

    /// Text with this machine's folders replaced by their canonical names.
    pub fn canonical(&self, text: &str) -> String {
        self.names().fold(text.to_owned(), |text, (real, canonical)| {
            match (real.to_str(), canonical.to_str()) {
                (Some(real), Some(canonical)) if real != canonical => text.replace(real, canonical),
                _ => text,
            }
        })
    }

    /// The compiler flags that do the same to what compilers write into their outputs. gcc looks
    /// at the last one first.
    pub fn prefix_map_flags(&self) -> Vec<String> {
        let differing = self.prefix_map.iter().rev().filter(|(real, canonical)| real != canonical);
        differing
            .map(|(real, canonical)| {
                format!("-ffile-prefix-map={}={}", real.display(), canonical.display())
            })
            .collect()
    }

    /// Whether a path lies in a folder of the build's, and so does not exist on a target.
    pub fn is_local(&self, path: &Path) -> bool {
        let mapped = self.names().map(|(real, _)| real);
        mapped.chain([&self.build, &self.store]).any(|folder| path.starts_with(folder))
    }

    /// Whether a search path is one of the machine's own, which holds another machine's files.
    pub fn is_host(&self, path: &Path) -> bool {
        const HOST: [&str; 5] = ["/usr", "/lib", "/lib32", "/lib64", "/libx32"];
        let given = [Some(&self.build), Some(&self.store), Some(&self.tools.cuda)];
        let ours = given.into_iter().chain([self.sysroot.as_ref(), self.binutils.as_ref()]);
        HOST.iter().any(|host| path.starts_with(host))
            && !ours.flatten().any(|folder| path.starts_with(folder))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::wrapper) fn config() -> Config {
        Config {
            socket: None,
            build: "/real/build".into(),
            store: "/real/store".into(),
            triple: "aarch64-linux-gnu".to_owned(),
            tools: Tools {
                cc: "/real/store/gcc".into(),
                cxx: "/real/store/g++".into(),
                cuda: "/real/store/cuda".into(),
                cuda_include: vec!["/real/store/cudnn/include".into()],
                ninja: "/real/store/ninja".into(),
                rust: Some(Rust {
                    rustc: "/crosswheel/rust/bin/rustc".into(),
                    named: (CANONICAL_RUST.into(), CANONICAL_RUST.into()),
                }),
                cmake: None,
            },
            sysroot: Some("/real/store/sysroot".into()),
            binutils: Some("/real/store/binutils".into()),
            torch: None,
            sms: vec![Sm(110)],
            targets: Selection::default(),
            entries: BTreeMap::new(),
            jobs: 2,
            keep_going: false,
            prefix_map: vec![
                ("/real/build".into(), CANONICAL_BUILD.into()),
                ("/real/store".into(), CANONICAL_STORE.into()),
            ],
            compile_flags: Vec::new(),
            link_flags: Vec::new(),
            nvcc_flags: Vec::new(),
            cache: None,
        }
    }

    #[test]
    fn records_hold_no_path_of_this_machine() {
        let text = "-I/real/store/x:/real/build/y";
        assert_eq!(config().canonical(text), "-I/crosswheel/store/x:/crosswheel/build/y");
    }

    #[test]
    fn a_fixed_path_needs_no_map() {
        let mut config = config();
        config.prefix_map[0].0 = CANONICAL_BUILD.into();
        assert_eq!(config.prefix_map_flags(), ["-ffile-prefix-map=/real/store=/crosswheel/store"]);
    }

    #[test]
    fn other_compilers_know_nothing_of_rust() {
        let plain = config();
        let mut elsewhere = config();
        let named = ("/opt/rust".into(), CANONICAL_RUST.into());
        elsewhere.tools.rust = Some(Rust { rustc: "/opt/rust/bin/rustc".into(), named });
        assert_eq!(elsewhere.prefix_map_flags(), plain.prefix_map_flags());
        assert_eq!(elsewhere.canonical("/opt/rust/lib"), "/crosswheel/rust/lib");
    }

    #[test]
    fn a_component_is_called_by_its_name_alone() {
        let store = Path::new("/real/store");
        let tools = |root: &str| RustTools { root: root.into(), version: String::new() };
        let named = |root| Rust::of(&tools(root), store).named.1;
        assert_eq!(
            named("/real/store/components/rust-1/usr"),
            Path::new("/crosswheel/store/components/rust")
        );
        assert_eq!(named("/opt/rust"), Path::new("/crosswheel/rust"));
    }
}
