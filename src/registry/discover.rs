//! Which index and which mirror this machine's own clients use.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use url::Url;

use super::apt::{AptRepository, origin_and_label};
use super::apt_sources::{self, Source};
use super::error::RegistryError;
use super::signature::Keyring;
use super::{DEBIAN, DEBIAN_SECURITY};
use crate::environment::Environment;
use crate::net::pip_conf::PipConf;
use crate::net::{Http, NetError, redact};

/// A registry that the configuration describes: `[registries.<name>]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegistryTable {
    /// Its URL, or a local folder that holds the same.
    pub url: String,
    /// Of an apt repository, the file with the keys that may sign it; only locking needs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyring: Option<PathBuf>,
    /// Of an apt repository, the areas that are read.
    #[serde(default = "main_only")]
    pub components: Vec<String>,
}

fn main_only() -> Vec<String> {
    vec!["main".to_owned()]
}

impl RegistryTable {
    /// The apt repository that it describes.
    pub(super) fn apt(
        &self,
        name: &str,
        environment: &Environment,
        root: &Path,
    ) -> Result<AptRepository, RegistryError> {
        let keyring = self.keyring.as_ref().map(|path| environment.current_dir().join(path));
        let keyrings = match keyring {
            Some(path) => vec![Keyring::File(path)],
            None if matches!(name, DEBIAN | DEBIAN_SECURITY) => debian_keyrings(root),
            None => Vec::new(),
        };
        Ok(AptRepository {
            name: name.to_owned(),
            base: base_url(&self.url, environment)?,
            keyrings,
            components: self.components.clone(),
        })
    }
}

/// The environment variable that names a mirror of this registry.
pub(super) fn mirror_variable(registry: &str) -> &'static str {
    match registry {
        DEBIAN_SECURITY => "CROSSWHEEL_DEBIAN_SECURITY_MIRROR",
        _ => "CROSSWHEEL_DEBIAN_MIRROR",
    }
}

/// A URL, or a local folder, as a URL that ends in a slash.
pub(super) fn base_url(text: &str, environment: &Environment) -> Result<Url, RegistryError> {
    let text = text.trim();
    let bad = |reason: String| NetError::BadUrl { url: redact(text), reason };
    let mut url = if text.contains("://") || text.starts_with("file:") {
        Url::parse(text).map_err(|error| bad(error.to_string()))?
    } else {
        let folder = environment.current_dir().join(text);
        if !folder.is_dir() {
            return Err(bad("it is neither a URL nor a folder".to_owned()).into());
        }
        Url::from_directory_path(&folder).map_err(|()| bad("it is no absolute path".to_owned()))?
    };
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    Ok(url)
}

/// The index that pip's and uv's configuration names: `PIP_INDEX_URL`, `UV_DEFAULT_INDEX`,
/// `UV_INDEX_URL`, `index-url` of pip's configuration files.
pub(super) fn configured_index(environment: &Environment, root: &Path) -> Option<String> {
    ["PIP_INDEX_URL", "UV_DEFAULT_INDEX", "UV_INDEX_URL"]
        .into_iter()
        .find_map(|name| environment.text(name))
        .map(|value| index_location(value).to_owned())
        .or_else(|| PipConf::load(environment, root).global("index-url").map(str::to_owned))
}

/// uv writes an index with a name as `name=url`.
fn index_location(value: &str) -> &str {
    match value.split_once('=') {
        Some((name, url)) if !name.contains(['/', ':']) => url,
        _ => value,
    }
}

/// The Debian mirror, or the one of its security suites.
pub(super) fn debian(
    registry: &str,
    http: &Http,
    environment: &Environment,
    root: &Path,
) -> Result<AptRepository, RegistryError> {
    let repository = |base, keyring: Option<Keyring>| AptRepository {
        name: registry.to_owned(),
        base,
        keyrings: keyring.into_iter().chain(debian_keyrings(root)).collect(),
        components: main_only(),
    };
    if let Some(mirror) = environment.text(mirror_variable(registry)) {
        return Ok(repository(base_url(mirror, environment)?, None));
    }
    let security = registry == DEBIAN_SECURITY;
    // A mirror that was named wins over the machine's own sources, for its security suites too.
    if security && let Some(mirror) = environment.text(mirror_variable(DEBIAN)) {
        return Ok(repository(sibling(&base_url(mirror, environment)?), None));
    }
    let sources = apt_sources::load(root);
    if let Some(source) = first_of_debian(&sources, security, http, environment) {
        return Ok(repository(base_url(&source.uri, environment)?, source.signed_by.clone()));
    }
    if security {
        let main = debian(DEBIAN, http, environment, root)?;
        return Ok(AptRepository { base: sibling(&main.base), ..repository(main.base, None) });
    }
    let found = sources.into_iter().flat_map(|source| source.suites).collect();
    Err(RegistryError::NoMirror { registry: registry.to_owned(), found })
}

/// Mirrors keep the security suites beside the others: `…/debian/` and `…/debian-security/`.
fn sibling(base: &Url) -> Url {
    base.join("../debian-security/").unwrap_or_else(|_| base.clone())
}

/// Debian's releases that are in use, and the names that move from one to the next.
const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "trixie",
    "forky",
    "duke",
    "sid",
    "oldoldstable",
    "oldstable",
    "stable",
    "testing",
    "unstable",
];

/// The first source that is Debian's own.
///
/// Others use Debian's suite names too, so the name only makes a candidate. Debian's keyring
/// proves it; without, the repository is asked for its `Origin` and `Label`.
fn first_of_debian<'a>(
    sources: &'a [Source],
    security: bool,
    http: &Http,
    environment: &Environment,
) -> Option<&'a Source> {
    let candidates = || sources.iter().filter(|source| debian_suite(source, security).is_some());
    let label = if security { "Debian-Security" } else { "Debian" };
    let asked = |source: &&Source| {
        let Some(suite) = debian_suite(source, security) else { return false };
        let said = base_url(&source.uri, environment)
            .and_then(|base| origin_and_label(http, &base, suite));
        said.is_ok_and(|said| said == ("Debian".to_owned(), label.to_owned()))
    };
    candidates().find(|source| has_debian_keyring(source)).or_else(|| candidates().find(asked))
}

fn has_debian_keyring(source: &Source) -> bool {
    match &source.signed_by {
        Some(Keyring::File(path)) => {
            let name = path.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with("debian-archive"))
        }
        _ => false,
    }
}

/// The suite of a source that is named like one of Debian's, with the area `main`.
fn debian_suite(source: &Source, security: bool) -> Option<&str> {
    if !source.components.iter().any(|component| component == "main") {
        return None;
    }
    let named = |suite: &&String| {
        let release = suite.strip_suffix("-security").or_else(|| suite.strip_suffix("/updates"));
        match (security, release) {
            (true, Some(release)) => SUITES.contains(&release),
            (false, None) => SUITES.contains(&suite.as_str()),
            _ => false,
        }
    };
    source.suites.iter().find(named).map(String::as_str)
}

/// Debian's keys where its packages `debian-archive-keyring` put them.
fn debian_keyrings(root: &Path) -> Vec<Keyring> {
    let whole = ["debian-archive-keyring.pgp", "debian-archive-keyring.gpg"]
        .map(|name| root.join("usr/share/keyrings").join(name));
    let whole: Vec<_> = whole.into_iter().filter(|path| path.is_file()).take(1).collect();
    let mut paths = whole;
    if paths.is_empty() {
        let parts = fs_err::read_dir(root.join("etc/apt/trusted.gpg.d"));
        let parts = parts.into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
        paths = parts.filter(|path| is_debian_key(path)).collect();
        paths.sort();
    }
    paths.into_iter().map(Keyring::File).collect()
}

fn is_debian_key(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with("debian-archive-")
        && [".gpg", ".asc", ".pgp"].iter().any(|extension| name.ends_with(extension))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::Settings;

    fn machine(sources: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs_err::create_dir_all(folder.path().join("etc/apt")).unwrap();
        fs_err::write(folder.path().join("etc/apt/sources.list"), sources).unwrap();
        folder
    }

    fn found(
        registry: &str,
        sources: &str,
        variables: &[(&str, &str)],
    ) -> Result<String, RegistryError> {
        let machine = machine(sources);
        let environment = Environment::new(variables.iter().copied(), machine.path());
        let http = Http::new(Settings { attempts: 1, ..Settings::default() }).unwrap();
        debian(registry, &http, &environment, machine.path()).map(|r| r.base.to_string())
    }

    const KEY: &str = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg";

    #[test]
    fn debians_own_source_is_told_from_others() {
        let sources = format!(
            "deb http://vendor.invalid/apt bookworm stable\n\
             deb [signed-by=/v.gpg] file:///nonexistent/vendor bookworm main\n\
             deb [{KEY}] http://mirror.example/debian bookworm main\n\
             deb [{KEY}] http://mirror.example/sec bookworm-security main\n"
        );
        assert_eq!(found(DEBIAN, &sources, &[]).unwrap(), "http://mirror.example/debian/");
        assert_eq!(found(DEBIAN_SECURITY, &sources, &[]).unwrap(), "http://mirror.example/sec/");
    }

    #[test]
    fn without_its_keyring_the_repository_is_asked() {
        let mirror = tempfile::tempdir().unwrap();
        let suite = mirror.path().join("dists/trixie");
        fs_err::create_dir_all(&suite).unwrap();
        let source = format!("deb file://{} trixie main\n", mirror.path().display());
        fs_err::write(suite.join("InRelease"), "Hash: x\n\nOrigin: Vendor\nLabel: Debian\n")
            .unwrap();
        assert!(found(DEBIAN, &source, &[]).is_err());
        fs_err::write(suite.join("InRelease"), "Hash: x\n\nOrigin: Debian\nLabel: Debian\n")
            .unwrap();
        assert!(found(DEBIAN, &source, &[]).unwrap().starts_with("file:///"));
    }

    #[test]
    fn an_ubuntu_machine_is_told_which_variable_to_set() {
        use crate::error::Diagnose as _;
        let sources = "deb http://archive.invalid/ubuntu noble main universe\n";
        let error = found(DEBIAN, sources, &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the apt sources of this machine are not Debian's: they have the suites `noble`"
        );
        assert!(error.hint().unwrap().contains("`CROSSWHEEL_DEBIAN_MIRROR`"));
    }

    #[test]
    fn a_mirror_that_is_named_wins_for_security_too() {
        let mirror = [("CROSSWHEEL_DEBIAN_MIRROR", "http://m.example/pub/debian")];
        let security = [mirror[0], ("CROSSWHEEL_DEBIAN_SECURITY_MIRROR", "http://s.example")];
        assert_eq!(found(DEBIAN, "", &mirror).unwrap(), "http://m.example/pub/debian/");
        let sibling = found(DEBIAN_SECURITY, "", &mirror).unwrap();
        assert_eq!(sibling, "http://m.example/pub/debian-security/");
        assert_eq!(found(DEBIAN_SECURITY, "", &security).unwrap(), "http://s.example/");
        assert!(found(DEBIAN, "", &[("CROSSWHEEL_DEBIAN_MIRROR", "no/such/folder")]).is_err());
    }

    #[test]
    fn the_index_of_pip_and_uv() {
        let root = Path::new("/nonexistent");
        let index = |variables: &[(&str, &str)]| {
            configured_index(&Environment::new(variables.iter().copied(), root), root)
        };
        assert_eq!(index(&[]), None);
        let uv = ("UV_DEFAULT_INDEX", "mine=https://uv.example/simple?a=b");
        assert_eq!(index(&[uv]).as_deref(), Some("https://uv.example/simple?a=b"));
        let pip = ("PIP_INDEX_URL", "https://pip.example/simple?a=b");
        assert_eq!(index(&[uv, pip]).as_deref(), Some("https://pip.example/simple?a=b"));
    }
}
