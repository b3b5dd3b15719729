//! What CMake made of a project: its File API (cmake-file-api(7), object kind `codemodel`).

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Our folder among those of the clients that ask.
const CLIENT: &str = "client-crosswheel";
/// What is asked for: the targets, in the second version of their description.
const KIND: &str = "codemodel-v2";

/// The targets of a build folder: by name, whether something is compiled or linked for them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Graph(BTreeMap<String, bool>);

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
}

/// Has CMake describe the targets when it generates into this folder.
pub(super) fn ask(build: &Path) -> io::Result<()> {
    let folder = api(build).join("query").join(CLIENT);
    fs_err::create_dir_all(&folder)?;
    fs_err::write(folder.join(KIND), "")
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
            let Target { name, kind } = serde_json::from_slice(&target)?;
            targets.insert(name, kind != "UTILITY" && kind != "INTERFACE_LIBRARY");
        }
        Ok(Self(targets))
    }

    /// Whether there is a target of this name for which something is compiled or linked.
    pub(super) fn compiles(&self, target: &str) -> bool {
        self.0.get(target) == Some(&true)
    }

    /// All such targets.
    pub(super) fn compiled(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter(|(_, compiles)| **compiles).map(|(name, _)| name.as_str())
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
            let target = serde_json::json!({ "name": name, "type": kind, "paths": {} });
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
        answer(build.path(), &[("_C", "MODULE_LIBRARY"), ("files", "UTILITY")]);
        let old = build.path().join(".cmake/api/v1/reply/index-2025-12-31.json");
        fs_err::write(old, "{}").unwrap();
        let graph = Graph::read(build.path()).unwrap();
        assert_eq!(graph.compiled().collect::<Vec<_>>(), ["_C"]);
        assert!(!graph.compiles("files") && !graph.compiles("other"));
    }
}
