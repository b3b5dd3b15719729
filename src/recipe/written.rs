//! A recipe as its file has it.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use pep440_rs::{Version, VersionSpecifiers};
use pep508_rs::Requirement;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use super::{Origin, Recipe, SourceTree};
use crate::actions::Foretold;
use crate::audit::{self, Waiver};
use crate::pins::{self, CratePin, PinRule};
use crate::python::pep508;
use crate::request::Request;

/// `recipe.toml`: the package's own layer, then tables by version and by target.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub(super) struct Written {
    environment: BTreeMap<Variable, String>,
    #[serde(deserialize_with = "pep508::deserialize_all")]
    requires: Vec<Requirement>,
    cuda: Vec<String>,
    config_settings: BTreeMap<String, String>,
    cmake: BTreeMap<String, String>,
    leave_out: Vec<String>,
    without_rust: bool,
    source: Vec<WrittenTree>,
    pin: Vec<Checked>,
    crates: BTreeMap<String, CratePin>,
    contract: Vec<Glob>,
    waivers: Vec<WrittenWaiver>,
    cost: Vec<WrittenCost>,
    version: Vec<VersionLayer>,
    target: BTreeMap<String, Layer>,
}

/// One layer.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct Layer {
    environment: BTreeMap<Variable, String>,
    #[serde(deserialize_with = "pep508::deserialize_all")]
    requires: Vec<Requirement>,
    cuda: Vec<String>,
    config_settings: BTreeMap<String, String>,
    cmake: BTreeMap<String, String>,
    leave_out: Vec<String>,
    without_rust: bool,
    source: Vec<WrittenTree>,
    pin: Vec<Checked>,
    crates: BTreeMap<String, CratePin>,
    contract: Vec<Glob>,
    waivers: Vec<WrittenWaiver>,
    cost: Vec<WrittenCost>,
}

/// A layer for some versions. Serde cannot both flatten a layer and deny unknown keys, so the
/// keys stand here again.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct VersionLayer {
    when: VersionSpecifiers,
    #[serde(default)]
    environment: BTreeMap<Variable, String>,
    #[serde(default, deserialize_with = "pep508::deserialize_all")]
    requires: Vec<Requirement>,
    #[serde(default)]
    cuda: Vec<String>,
    #[serde(default)]
    config_settings: BTreeMap<String, String>,
    #[serde(default)]
    cmake: BTreeMap<String, String>,
    #[serde(default)]
    leave_out: Vec<String>,
    #[serde(default)]
    without_rust: bool,
    #[serde(default)]
    source: Vec<WrittenTree>,
    #[serde(default)]
    pin: Vec<Checked>,
    #[serde(default)]
    crates: BTreeMap<String, CratePin>,
    #[serde(default)]
    contract: Vec<Glob>,
    #[serde(default)]
    waivers: Vec<WrittenWaiver>,
    #[serde(default)]
    cost: Vec<WrittenCost>,
}

impl Written {
    pub(super) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }

    /// The targets that have a table.
    pub(super) fn targets(&self) -> impl Iterator<Item = &str> {
        self.target.keys().map(String::as_str)
    }

    /// Whether there are tables for versions.
    pub(super) fn has_versions(&self) -> bool {
        !self.version.is_empty()
    }

    /// Lays the package's layer, those of the versions that fit, in the file's order, and the
    /// target's over one another.
    pub(super) fn resolve(mut self, version: Option<&Version>, target: &str) -> Recipe {
        let versions = std::mem::take(&mut self.version);
        let own = self.target.remove(target);
        let mut layers = vec![Layer::from(self)];
        let fits = |layer: &VersionLayer| version.is_some_and(|v| layer.when.contains(v));
        layers.extend(versions.into_iter().filter(fits).map(Layer::from));
        layers.extend(own);
        let mut recipe = Recipe::default();
        for layer in layers {
            layer.lay_over(&mut recipe);
        }
        recipe
    }
}

/// Takes over the keys that layers have in common.
macro_rules! layer_from {
    ($written:ty) => {
        impl From<$written> for Layer {
            fn from(layer: $written) -> Self {
                Self {
                    environment: layer.environment,
                    requires: layer.requires,
                    cuda: layer.cuda,
                    config_settings: layer.config_settings,
                    cmake: layer.cmake,
                    leave_out: layer.leave_out,
                    without_rust: layer.without_rust,
                    source: layer.source,
                    pin: layer.pin,
                    crates: layer.crates,
                    contract: layer.contract,
                    waivers: layer.waivers,
                    cost: layer.cost,
                }
            }
        }
    };
}

layer_from!(Written);
layer_from!(VersionLayer);

impl Layer {
    /// Variables, and sources of one name, win over earlier ones; lists add up.
    fn lay_over(self, recipe: &mut Recipe) {
        let Self { environment, requires, cuda, config_settings, cmake, leave_out, .. } = self;
        let Self { without_rust, source, pin, crates, contract, waivers, cost, .. } = self;
        recipe.environment.extend(environment.into_iter().map(|(name, value)| (name.0, value)));
        recipe.requires.extend(requires.iter().map(ToString::to_string));
        recipe.cuda.extend(cuda);
        recipe.config_settings.extend(config_settings);
        recipe.cmake.extend(cmake);
        recipe.leave_out.extend(leave_out);
        recipe.without_rust |= without_rust;
        for WrittenTree(tree) in source {
            recipe.sources.retain(|earlier| earlier.name != tree.name);
            recipe.sources.push(tree);
        }
        pins::overlay(&mut recipe.pins, pin.into_iter().map(|pin| pin.0));
        recipe.crates.extend(crates);
        recipe.contract.extend(contract.into_iter().map(|glob| glob.0));
        recipe.waivers.extend(waivers.into_iter().map(Waiver::from));
        recipe.costs.extend(cost.into_iter().map(Foretold::from));
    }
}

/// The name of a variable that a recipe may set.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Variable(String);

/// What keeps a build apart from the machine, repeatable, or within its jobs.
const OWN: [&str; 12] = [
    "CARGO_BUILD_JOBS",
    "CMAKE_BUILD_PARALLEL_LEVEL",
    "HOME",
    "LANG",
    "LC_ALL",
    "MAKEFLAGS",
    "MAX_JOBS",
    "PATH",
    "SOURCE_DATE_EPOCH",
    "TMPDIR",
    "TZ",
    "VIRTUAL_ENV",
];
/// The same, by how the name begins: the loader's, Python's, crosswheel's.
const OWN_PREFIXES: [&str; 4] = ["CROSSWHEEL_", "LD_", "PYTHON", "_PYTHON"];

impl<'de> Deserialize<'de> for Variable {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let letter = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if !name.chars().all(letter) || !name.starts_with(|c: char| letter(c) && !c.is_numeric()) {
            return Err(D::Error::custom(format!("`{name}` is no name of a variable")));
        }
        let own = OWN.contains(&name.as_str())
            || OWN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if own {
            let message = format!("`{name}` is crosswheel's own: a recipe cannot set it");
            return Err(D::Error::custom(message));
        }
        Ok(Self(name))
    }
}

/// A source tree. `git` with `commit`, `pypi`, `path` and `empty` exclude one another.
#[derive(Debug)]
struct WrittenTree(SourceTree);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeKeys {
    name: String,
    git: Option<String>,
    commit: Option<String>,
    pypi: Option<String>,
    path: Option<PathBuf>,
    empty: Option<String>,
    variable: Option<Variable>,
    folder: Option<PathBuf>,
}

impl<'de> Deserialize<'de> for WrittenTree {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let keys = TreeKeys::deserialize(deserializer)?;
        let TreeKeys { name, git, commit, pypi, path, empty, variable, folder } = keys;
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if !name.starts_with(|c: char| c.is_ascii_alphanumeric()) || !name.chars().all(plain) {
            return Err(D::Error::custom(format!("`{name}` is no name of a folder")));
        }
        let origin = match (git, commit, pypi, path, empty) {
            (Some(git), Some(commit), None, None, None) => {
                let request = Request::parse(&format!("git+{git}@{commit}"), Path::new("/"));
                request.map_err(D::Error::custom)?;
                Origin::Git { git, commit }
            }
            (Some(_), None, None, None, None) => {
                return Err(D::Error::custom(format!("`{name}` has no `commit`")));
            }
            (None, None, Some(pypi), None, None) => match Request::parse(&pypi, Path::new("/")) {
                Ok(Request::Index { version: Some(_), .. }) => Origin::Pypi { pypi },
                _ => {
                    let message = format!("`{pypi}` is not `name==version`");
                    return Err(D::Error::custom(message));
                }
            },
            (None, None, None, Some(path), None) => Origin::Path { path },
            (None, None, None, None, Some(reason)) => Origin::Empty { empty: reason },
            _ => {
                let message =
                    format!("`{name}` needs one of `git` with `commit`, `pypi`, `path`, `empty`");
                return Err(D::Error::custom(message));
            }
        };
        let climbs =
            |folder: &Path| folder.components().any(|c| !matches!(c, Component::Normal(_)));
        if let Some(folder) = folder.as_deref().filter(|folder| climbs(folder)) {
            let message = format!("`{}` is no folder in a source tree", folder.display());
            return Err(D::Error::custom(message));
        }
        let variable = variable.map(|variable| variable.0);
        Ok(Self(SourceTree { name, origin, variable, folder }))
    }
}

/// A rule on pins that can be kept.
#[derive(Debug)]
struct Checked(PinRule);

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rule = PinRule::deserialize(deserializer)?;
        rule.check().map_err(D::Error::custom)?;
        Ok(Self(rule))
    }
}

/// A glob over paths in a wheel.
#[derive(Debug)]
struct Glob(String);

impl<'de> Deserialize<'de> for Glob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pattern = String::deserialize(deserializer)?;
        audit::check::matcher(&pattern).map_err(D::Error::custom)?;
        Ok(Self(pattern))
    }
}

/// A waiver. Each field is checked on its own, so that an error has the field's line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenWaiver {
    code: CodeName,
    file: Glob,
    reason: Reason,
}

impl From<WrittenWaiver> for Waiver {
    fn from(WrittenWaiver { code, file, reason }: WrittenWaiver) -> Self {
        Self { code: code.0, file: file.0, reason: reason.0 }
    }
}

/// What files take, by the names of what is made of them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenCost {
    output: Glob,
    seconds: u64,
    mebibytes: u64,
}

impl From<WrittenCost> for Foretold {
    fn from(WrittenCost { output, seconds, mebibytes }: WrittenCost) -> Self {
        Self { output: output.0, wall_ms: seconds * 1000, peak_memory: mebibytes << 20 }
    }
}

/// The name of a violation that there is.
#[derive(Debug)]
struct CodeName(String);

impl<'de> Deserialize<'de> for CodeName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        let known: Vec<&str> = audit::Code::ALL.iter().map(|code| code.name()).collect();
        if !known.contains(&name.as_str()) {
            let message = format!("`{name}` is no violation: there are {}", known.join(", "));
            return Err(D::Error::custom(message));
        }
        Ok(Self(name))
    }
}

/// Why a violation may pass.
#[derive(Debug)]
struct Reason(String);

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reason = String::deserialize(deserializer)?;
        if reason.trim().is_empty() {
            return Err(D::Error::custom("a waiver needs a reason"));
        }
        Ok(Self(reason))
    }
}
