//! What CMake made of a project: its File API (cmake-file-api(7), object kind `codemodel`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use walkdir::WalkDir;

/// Our folder among those of the clients that ask.
const CLIENT: &str = "client-crosswheel";
/// What is asked for: the targets, in the second version of their description.
const KIND: &str = "codemodel-v2";

/// The targets of a build folder, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Graph(BTreeMap<String, Node>);

/// A target.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    /// Whether something is compiled or linked for it by CMake.
    compiles: bool,
    /// Whether commands of the project make files for it, as where a script compiles.
    makes: bool,
    /// Its files, where it is a module: what nothing links to.
    modules: Vec<PathBuf>,
}

#[derive(Deserialize)]
struct Index {
    reply: BTreeMap<String, BTreeMap<String, Reply>>,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(rename = "jsonFile")]
    file: PathBuf,
}

#[derive(Deserialize)]
struct Codemodel {
    configurations: Vec<Configuration>,
}

#[derive(Deserialize)]
struct Configuration {
    targets: Vec<Reply>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    artifacts: Vec<Artifact>,
    #[serde(default)]
    sources: Vec<Artifact>,
}

#[derive(Deserialize)]
struct Artifact {
    path: PathBuf,
}

impl Artifact {
    /// Whether a source stands for a command that makes a file: the target's own are
    /// `CMakeFiles/<name>` and `CMakeFiles/<name>.rule`.
    fn is_rule_of(&self, target: &str) -> bool {
        let own = Path::new("CMakeFiles").join(format!("{target}.rule"));
        self.path.extension().is_some_and(|e| e == "rule") && !self.path.ends_with(own)
    }
}

/// Has CMake describe the targets when it generates into this folder.
pub(super) fn ask(build: &Path) -> io::Result<()> {
    let folder = api(build).join("query").join(CLIENT);
    fs_err::create_dir_all(&folder)?;
    fs_err::write(folder.join(KIND), "")
}

/// Has files of targets that were left out missing from what is installed, instead of ending it:
/// the install scripts that CMake generated are told what `install(… OPTIONAL)` tells them.
pub(super) fn allow_absent(build: &Path) -> io::Result<()> {
    const KINDS: [&str; 4] = ["MODULE", "SHARED_LIBRARY", "STATIC_LIBRARY", "EXECUTABLE"];
    for entry in WalkDir::new(build) {
        let entry = entry?;
        if entry.file_name() != "cmake_install.cmake" {
            continue;
        }
        let script = fs_err::read_to_string(entry.path())?;
        let told = KINDS.iter().fold(script.clone(), |script, kind| {
            script
                .replace(&format!(" TYPE {kind} FILES "), &format!(" TYPE {kind} OPTIONAL FILES "))
        });
        if told != script {
            fs_err::write(entry.path(), told)?;
        }
    }
    Ok(())
}

fn api(build: &Path) -> PathBuf {
    build.join(".cmake/api/v1")
}

impl Graph {
    /// Reads the last answer.
    pub(super) fn read(build: &Path) -> io::Result<Self> {
        let folder = api(build).join("reply");
        // Of several indices the last by name is current (cmake-file-api(7)).
        let mut indices = Vec::new();
        for entry in fs_err::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            indices.extend(name.starts_with("index-").then_some(path));
        }
        let Some(index) = indices.into_iter().max() else {
            return Err(io::Error::other("CMake described no targets"));
        };
        let index: Index = serde_json::from_slice(&fs_err::read(index)?)?;
        let found = index.reply.get(CLIENT).and_then(|replies| replies.get(KIND));
        let file = &found.ok_or_else(|| io::Error::other("CMake described no targets"))?.file;
        let model: Codemodel = serde_json::from_slice(&fs_err::read(folder.join(file))?)?;
        let mut targets = BTreeMap::new();
        for target in model.configurations.iter().flat_map(|one| &one.targets) {
            let target = fs_err::read(folder.join(&target.file))?;
            let Target { name, kind, artifacts, sources } = serde_json::from_slice(&target)?;
            let modules = artifacts.into_iter().filter(|_| kind == "MODULE_LIBRARY");
            let node = Node {
                compiles: kind != "UTILITY" && kind != "INTERFACE_LIBRARY",
                makes: kind == "UTILITY" && sources.iter().any(|source| source.is_rule_of(&name)),
                modules: modules.map(|artifact| build.join(artifact.path)).collect(),
            };
            targets.insert(name, node);
        }
        Ok(Self(targets))
    }

    /// Whether there is a target of this name for which something is compiled, linked or made.
    pub(super) fn works(&self, target: &str) -> bool {
        self.0.get(target).is_some_and(|node| node.compiles || node.makes)
    }

    /// All targets for which CMake compiles or links.
    pub(super) fn compiled(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, node)| node.compiles).map(|(name, _)| name.as_str())
    }

    /// The files of these modules.
    pub(super) fn modules(&self, target: &str) -> &[PathBuf] {
        self.0.get(target).map_or(&[], |node| &node.modules)
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes an answer as CMake does.
    pub(in crate::wrapper) fn answer(build: &Path, targets: &[(&str, &str)]) {
        let folder = build.join(".cmake/api/v1/reply");
        fs_err::create_dir_all(&folder).unwrap();
        let mut files = Vec::new();
        for (name, kind) in targets {
            let file = format!("target-{name}.json");
            let (kind, made) = kind.split_once(' ').unwrap_or((kind, "CMakeFiles/NAME.rule"));
            let made = made.replace("NAME", name);
            let target = serde_json::json!({
                "name": name,
                "type": kind,
                "artifacts": [{ "path": format!("lib/{name}.so") }],
                "sources": [{ "path": made, "isGenerated": true }],
            });
            fs_err::write(folder.join(&file), target.to_string()).unwrap();
            files.push(serde_json::json!({ "name": name, "jsonFile": file }));
        }
        let model = serde_json::json!({ "configurations": [{ "targets": files }] });
        fs_err::write(folder.join("codemodel.json"), model.to_string()).unwrap();
        let reply = serde_json::json!({ KIND: { "jsonFile": "codemodel.json" } });
        let index = serde_json::json!({ "reply": { CLIENT: reply } });
        fs_err::write(folder.join("index-2026-01-02.json"), index.to_string()).unwrap();
    }

    #[test]
    fn the_last_answer_counts_and_what_compiles_nothing_is_told_apart() {
        let build = tempfile::tempdir().unwrap();
        ask(build.path()).unwrap();
        let query = build.path().join(".cmake/api/v1/query/client-crosswheel/codemodel-v2");
        assert!(query.is_file());
        assert!(Graph::read(build.path()).is_err());
        let script = ("script", "UTILITY lib/.built.rule");
        answer(build.path(), &[("_C", "MODULE_LIBRARY"), ("files", "UTILITY"), script]);
        let old = build.path().join(".cmake/api/v1/reply/index-2025-12-31.json");
        fs_err::write(old, "{}").unwrap();
        let graph = Graph::read(build.path()).unwrap();
        assert_eq!(graph.compiled().collect::<Vec<_>>(), ["_C"]);
        assert!(graph.works("_C") && graph.works("script"));
        assert!(!graph.works("files") && !graph.works("other"));
        assert_eq!(graph.modules("_C"), [build.path().join("lib/_C.so")]);
        assert!(graph.modules("files").is_empty());
    }
}
