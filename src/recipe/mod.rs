//! Recipes: what one package needs beyond the defaults, in `patches/<name>/recipe.toml`.
//!
//! In: a file as written, with tables for versions and targets. Out: a
//! [`Recipe`], resolved for one version and one target, whose content is part of what a build is
//! made from. Nothing here looks at a source tree or runs anything.

mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use pep440_rs::Version;
use pep508_rs::PackageName;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::actions::Foretold;
use crate::artifact::Sha256;
use crate::audit::Waiver;
use crate::error::{Class, Diagnose};
use crate::pins::{CratePin, PinRule};
use written::Written;

/// A recipe, resolved for one version and one target. A package without one has the default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Recipe {
    /// Variables of the build's processes, beside and over those that crosswheel sets.
    pub environment: BTreeMap<String, String>,
    /// PEP 508 requirements of the build, beyond those that the package declares.
    pub requires: Vec<String>,
    /// CUDA libraries whose headers are wanted beside those of the libraries that it includes.
    pub cuda: BTreeSet<String>,
    /// What the backend is told with every hook (PEP 517's `config_settings`).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config_settings: BTreeMap<String, String>,
    /// Entries of CMake's cache.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub cmake: BTreeMap<String, String>,
    /// Targets of CMake that are not built.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leave_out: Vec<String>,
    /// Whether the package's crates are left out, which it can be built without.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub without_rust: bool,
    /// Source trees that the build needs beside the package's own.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceTree>,
    /// What becomes of version requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pins: Vec<PinRule>,
    /// What becomes of requirements on crates, as `Cargo.toml` writes them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub crates: BTreeMap<String, CratePin>,
    /// Globs, each of which some member of the wheel must match.
    pub contract: Vec<String>,
    /// Violations of the audit that may pass.
    pub waivers: Vec<Waiver>,
    /// What files take that were never compiled here. It decides when they are, and no byte of the
    /// wheel: no record has it.
    #[serde(skip)]
    pub costs: Vec<Foretold>,
}

/// A source tree that a build needs beside the package's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct SourceTree {
    /// What the build calls it: of CMake's FetchContent, the name that is declared.
    pub name: String,
    /// Where it comes from.
    #[serde(flatten)]
    pub origin: Origin,
    /// The environment variable that tells the build where it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variable: Option<String>,
    /// The folder in it that the build is told of, where it is not all of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub folder: Option<PathBuf>,
}

/// Where a source tree comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Origin {
    /// A commit of a git repository, with its submodules.
    Git {
        /// What git clones.
        git: String,
        /// A commit, or a tag.
        commit: String,
    },
    /// A source distribution of the Python index.
    Pypi {
        /// `name==version`.
        pypi: String,
    },
    /// A folder, relative to the recipe's.
    Path {
        /// Where it lies.
        path: PathBuf,
    },
    /// Nothing: for this version and target the build takes no file of it, but wants a folder.
    Empty {
        /// Why nothing of it is needed.
        empty: String,
    },
}

impl Recipe {
    /// The digest of what decides the build requirements: a backend may ask for others in another
    /// environment, or for what it is told. `None` where the recipe says nothing of either.
    pub fn requirements_digest(&self) -> Option<Sha256> {
        let Self { environment, requires, pins, crates, config_settings, .. } = self;
        let mut parts = vec![
            json!(environment),
            json!(requires),
            json!(pins),
            json!(crates),
            json!(config_settings),
        ];
        let is_empty = |part: &Value| *part == json!([]) || *part == json!({});
        let said = parts.iter().rposition(|part| !is_empty(part))?;
        // Recipes that do not use a later key have the digest that they had before there was one.
        parts.truncate(said.max(1) + 1);
        Some(Sha256::of(Value::from(parts).to_string()))
    }
}

/// Which package a recipe is looked up for, as far as its source tells.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// The project's name, however it is spelt.
    pub name: Option<&'a str>,
    /// The project's version.
    pub version: Option<&'a str>,
    /// The target's name.
    pub target: &'a str,
}

/// What [`find`] found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// The recipe; the default where there is no file.
    pub recipe: Recipe,
    /// Whether its tables for versions were passed over, because the source tells none.
    pub version_untold: bool,
}

/// Finds the recipe of a package below `patches`. `targets` are the names that its target tables
/// may have.
pub fn find(
    patches: &Path,
    subject: Subject<'_>,
    targets: &[String],
) -> Result<Found, RecipeError> {
    // A name that no index would take has no recipe, and names no path.
    let Some(name) = subject.name.and_then(|name| PackageName::from_str(name).ok()) else {
        return Ok(Found::default());
    };
    let path = patches.join(name.to_string()).join("recipe.toml");
    let text = match fs_err::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return match misnamed(patches, &name)? {
                Some(folder) => Err(RecipeError::Misnamed { folder, name: name.to_string() }),
                None => Ok(Found::default()),
            };
        }
        Err(error) => return Err(error.into()),
    };
    let written = Written::parse(&text).map_err(|source| {
        let line = source.span().map_or(1, |span| 1 + text[..span.start].matches('\n').count());
        RecipeError::Malformed { path: path.clone(), line, source: Box::new(source) }
    })?;
    if let Some(target) = written.targets().find(|name| !targets.iter().any(|t| t == name)) {
        let (target, known) = (target.to_owned(), targets.to_vec());
        return Err(RecipeError::UnknownTarget { path, target, known });
    }
    let version = subject.version.and_then(|version| Version::from_str(version).ok());
    let version_untold = version.is_none() && written.has_versions();
    Ok(Found { recipe: written.resolve(version.as_ref(), subject.target), version_untold })
}

/// The name of a package's folder below `patches`.
pub(crate) fn folder_name(package: &str) -> Option<String> {
    PackageName::from_str(package).ok().map(|name| name.to_string())
}

/// A folder whose name means this package but is not spelt as the index normalises it, so that
/// its recipe would never be found.
fn misnamed(patches: &Path, name: &PackageName) -> Result<Option<PathBuf>, std::io::Error> {
    let entries = match fs_err::read_dir(patches) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let spelt = path.file_name().and_then(|n| n.to_str()).map(PackageName::from_str);
        let same = matches!(spelt, Some(Ok(spelt)) if spelt == *name);
        if same && path.join("recipe.toml").is_file() {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Why a recipe cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecipeError {
    /// Not TOML, an unknown key, or a value that means nothing.
    #[error("`{path}` is not a recipe: line {line}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// What is wrong there.
        source: Box<toml::de::Error>,
    },
    /// A table for a target that there is not.
    #[error("`{path}` has a table for the target `{target}`, which there is not")]
    UnknownTarget {
        /// The file.
        path: PathBuf,
        /// As written.
        target: String,
        /// The targets that there are.
        known: Vec<String>,
    },
    /// A folder that is not named as the index normalises names.
    #[error("`{folder}` holds a recipe that is never found: the package's name is `{name}`")]
    Misnamed {
        /// The folder.
        folder: PathBuf,
        /// The normalised name.
        name: String,
    },
    /// The file or the folder cannot be read.
    #[error("recipes cannot be read")]
    Io(#[from] std::io::Error),
}

impl Diagnose for RecipeError {
    fn class(&self) -> Class {
        match self {
            Self::Io(_) => Class::Io,
            _ => Class::Usage,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::UnknownTarget { known, .. } => {
                Some(format!("the targets are: {}", known.join(", ")))
            }
            Self::Misnamed { name, .. } => Some(format!("rename the folder to `{name}`")),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Patches(tempfile::TempDir);

    impl Patches {
        fn with(folder: &str, recipe: &str) -> Self {
            let patches = Self(tempfile::tempdir().unwrap());
            let folder = patches.0.path().join(folder);
            fs_err::create_dir(&folder).unwrap();
            fs_err::write(folder.join("recipe.toml"), recipe).unwrap();
            patches
        }

        fn find(&self, name: &str, version: &str, target: &str) -> Result<Found, RecipeError> {
            let version = Some(version).filter(|version| !version.is_empty());
            let subject = Subject { name: Some(name), version, target };
            find(self.0.path(), subject, &["sbsa".to_owned(), "thor".to_owned()])
        }
    }

    const LAYERED: &str = r#"
requires = ["packaging"]
contract = ["a/*.so"]

[environment]
A = "package"
B = "package"

[[version]]
when = ">=2"
requires = ["numpy<2"]
cuda = ["cudnn"]
environment = { A = "two", C = "two" }

[[version]]
when = ">=2.5, <3"
environment = { A = "two and a half" }

[target.sbsa]
contract = ["a/hopper*.so"]
cuda = ["cufft", "cudnn"]
environment = { B = "sbsa" }
"#;

    #[test]
    fn later_layers_add_to_and_win_over_earlier_ones() {
        let patches = Patches::with("some-package", LAYERED);
        let of = |version, target| patches.find("Some_Package", version, target).unwrap().recipe;
        let pairs = |recipe: &Recipe| {
            recipe.environment.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>()
        };
        let old = of("1.9", "thor");
        assert_eq!(pairs(&old), ["A=package", "B=package"]);
        assert_eq!(
            (old.requires.as_slice(), old.contract.as_slice()),
            (["packaging".to_owned()].as_slice(), ["a/*.so".to_owned()].as_slice(),)
        );
        let new = of("2.6", "sbsa");
        assert_eq!(pairs(&new), ["A=two and a half", "B=sbsa", "C=two"]);
        assert_eq!(new.requires, ["packaging", "numpy<2"]);
        assert_eq!(new.cuda.iter().collect::<Vec<_>>(), ["cudnn", "cufft"]);
        assert_eq!(new.contract, ["a/*.so", "a/hopper*.so"]);
        assert_eq!(pairs(&of("3.0", "thor")), ["A=two", "B=package", "C=two"]);
    }

    #[test]
    fn costs_are_told_and_recorded_nowhere() {
        let cost = |output: &str, seconds: u64| {
            format!("[[cost]]\noutput = \"{output}\"\nseconds = {seconds}\nmebibytes = 3\n")
        };
        let later = cost("b.o", 2).replace("[[cost", "[[target.thor.cost");
        let patches = Patches::with("p", &(cost("*.o", 1) + &later));
        let recipe = patches.find("p", "1", "thor").unwrap().recipe;
        let told = |output: &str, wall_ms| Foretold {
            output: output.to_owned(),
            wall_ms,
            peak_memory: 3 << 20,
        };
        assert_eq!(recipe.costs, [told("*.o", 1000), told("b.o", 2000)]);
        let json = |recipe: &Recipe| serde_json::to_string(recipe).unwrap();
        assert_eq!(json(&recipe), json(&Recipe::default()));
    }

    #[test]
    fn a_digest_is_what_it_was_before_there_were_later_keys() {
        let digest = |text: &str| {
            let patches = Patches::with("p", text);
            patches.find("p", "1", "thor").unwrap().recipe.requirements_digest()
        };
        assert_eq!(digest("contract = [\"a\"]"), None);
        for (text, parts) in [
            ("environment = { A = \"1\" }", r#"[{"A":"1"},[]]"#),
            ("requires = [\"numpy\"]", r#"[{},["numpy"]]"#),
            ("[crates]\na = \"1\"", r#"[{},[],[],{"a":"1"}]"#),
            ("[config-settings]\nk = \"v\"", r#"[{},[],[],{},{"k":"v"}]"#),
        ] {
            assert_eq!(digest(text), Some(Sha256::of(parts)), "{text}");
        }
    }

    #[test]
    fn tables_for_versions_are_passed_over_openly_where_no_version_is_told() {
        let patches = Patches::with("some-package", LAYERED);
        let found = patches.find("some-package", "", "thor").unwrap();
        assert!(found.version_untold);
        assert_eq!(found.recipe.requires, ["packaging"]);
        assert!(!patches.find("some-package", "1", "thor").unwrap().version_untold);
    }

    #[test]
    fn a_package_without_a_recipe_has_the_default() {
        let patches = Patches::with("some-package", LAYERED);
        assert_eq!(patches.find("another", "1", "thor").unwrap(), Found::default());
        assert_eq!(patches.find("../some-package", "1", "thor").unwrap(), Found::default());
        let nobody = Subject { name: None, version: None, target: "thor" };
        assert_eq!(find(patches.0.path(), nobody, &[]).unwrap(), Found::default());
        assert_eq!(find(Path::new("/nowhere"), nobody, &[]).unwrap(), Found::default());
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        for (line, mistake, reason) in [
            (2, "# why\nskip = true", "unknown field `skip`"),
            (3, "[environment]\nA = \"1\"\nPATH = \"/bin\"", "crosswheel's own"),
            (2, "[environment]\n\"A B\" = \"1\"", "no name of a variable"),
            (1, "requires = [\"a b\"]", "Expected"),
            (2, "\ncontract = [\"a/{b\"]", "glob"),
            (2, "[[version]]\nwhen = \"2\"", "perator"),
            (1, "[[version]]\nrequires = []", "missing field `when`"),
            (2, "[target.thor]\nversion = 1", "unknown field `version`"),
            (1, "[[source]]\nname = \"a\"\ngit = \"https://example.com/a\"", "has no `commit`"),
            (1, "[[source]]\nname = \"a\"\npath = \"b\"\npypi = \"c==1\"", "needs one of"),
            (1, "[[source]]\nname = \"a\"\npypi = \"c>=1\"", "`name==version`"),
            (1, "[[source]]\nname = \"../a\"\npath = \"b\"", "no name of a folder"),
            (1, "[[source]]\nname = \"a\"\npath = \"b\"\nfolder = \"../c\"", "no folder in"),
            (2, "[[waivers]]\ncode = \"no-such\"\nfile = \"*\"\nreason = \"\"", "`no-such`"),
            (2, "[[cost]]\noutput = \"a/{b\"\nseconds = 1\nmebibytes = 1", "glob"),
            (1, "[[cost]]\noutput = \"a\"\nseconds = 1", "missing field `mebibytes`"),
            (4, "[[waivers]]\ncode = \"ptx-only\"\nfile = \"*\"\nreason = \"\"", "a reason"),
        ] {
            let error = Patches::with("p", mistake).find("p", "1", "thor").unwrap_err();
            let text = std::error::Error::source(&error).map(ToString::to_string);
            let text = text.unwrap_or_default();
            assert!(text.contains(reason), "{mistake}: {text}");
            let RecipeError::Malformed { line: found, .. } = error else {
                panic!("{mistake}: {error}")
            };
            assert_eq!(found, line, "{mistake}: {text}");
        }
    }

    #[test]
    fn a_later_source_of_the_same_name_takes_the_place_of_the_earlier() {
        let recipe = "[[source]]\nname = \"a\"\ngit = \"https://example.com/a\"\ncommit = \"v1\"\n\
                      variable = \"A_DIR\"\nfolder = \"src\"\n[[source]]\nname = \"b\"\n\
                      pypi = \"b==1\"\n[[target.sbsa.source]]\nname = \"a\"\nempty = \"why\"";
        let patches = Patches::with("p", recipe);
        let names = |target| {
            let sources = patches.find("p", "1", target).unwrap().recipe.sources;
            let json = serde_json::to_string(&sources).unwrap();
            assert_eq!(serde_json::from_str::<Vec<SourceTree>>(&json).unwrap(), sources);
            sources.iter().map(|tree| (tree.name.clone(), tree.origin.clone())).collect::<Vec<_>>()
        };
        let git = Origin::Git { git: "https://example.com/a".into(), commit: "v1".into() };
        let b = ("b".to_owned(), Origin::Pypi { pypi: "b==1".into() });
        assert_eq!(names("thor"), [("a".to_owned(), git), b.clone()]);
        assert_eq!(names("sbsa"), [b, ("a".to_owned(), Origin::Empty { empty: "why".into() })]);
    }

    #[test]
    fn pins_are_layered_by_package() {
        let text = "[[pin]]\nname = 'Torch'\npolicy = 'target'\n[[pin]]\nname = 'numpy'\npolicy = '>=1.26'\n\
                    [[version]]\nwhen = '>=2'\n[[version.pin]]\nname = 'torch'\npolicy = 'drop'\n\
                    [[version.pin.literal]]\nfile = 'CMakeLists.txt'\npattern = '(?<version>x)'\nmatches = 2\n";
        let patches = Patches::with("p", text);
        let pins = |version| {
            let recipe = patches.find("p", version, "thor").unwrap().recipe;
            let rule = |rule: &PinRule| {
                let policy = rule.policy.as_ref().map(ToString::to_string);
                format!("{} {} {}", rule.name, policy.unwrap_or_default(), rule.literals.len())
            };
            (recipe.pins.iter().map(rule).collect::<Vec<_>>(), recipe.requirements_digest())
        };
        let (old, new) = (pins("1"), pins("2"));
        assert_eq!(old.0, ["torch target 0", "numpy >=1.26 0"]);
        assert_eq!(new.0, ["torch drop 1", "numpy >=1.26 0"]);
        assert!(old.1.is_some() && old.1 != new.1);
        for (mistake, reason) in [
            (
                "[[pin]]\nname = 'numpy'\npolicy = 'target'",
                "nothing is known of the target's numpy",
            ),
            ("[[pin]]\nname = 'torch'\npolicy = '2.9'", "nor a version specifier"),
            (
                "[[pin]]\nname = 'torch'\nliteral = [{ file = 'a', pattern = 'x', matches = 1 }]",
                "has a group",
            ),
            ("[[pin]]\npolicy = 'drop'", "missing field `name`"),
            ("[[pin]]\nname = 'a b'\npolicy = 'drop'", "a b"),
        ] {
            let error = Patches::with("p", mistake).find("p", "1", "thor").unwrap_err();
            let source = std::error::Error::source(&error).map(ToString::to_string);
            assert!(source.unwrap().contains(reason), "{mistake}");
        }
    }

    #[test]
    fn a_target_that_there_is_not_is_an_error() {
        let error = Patches::with("p", "[target.thorr]").find("p", "1", "thor").unwrap_err();
        assert!(error.to_string().contains("`thorr`"), "{error}");
        assert_eq!(error.hint().unwrap(), "the targets are: sbsa, thor");
    }

    #[test]
    fn a_folder_that_is_never_looked_into_is_an_error() {
        let error = Patches::with("Some_Package", "").find("some-package", "1", "thor");
        assert_eq!(error.unwrap_err().hint().unwrap(), "rename the folder to `some-package`");
    }

    #[test]
    fn only_what_reaches_the_backend_decides_the_requirements() {
        let patches =
            Patches::with("p", "contract = [\"*.so\"]\n[target.sbsa]\nrequires = [\"a\"]");
        let digest = |target| patches.find("p", "1", target).unwrap().recipe.requirements_digest();
        assert_eq!(digest("thor"), None);
        assert!(digest("sbsa").is_some());
    }
}
