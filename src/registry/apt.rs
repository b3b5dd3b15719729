//! An apt repository: its signed indexes, and where its files are.

use std::collections::BTreeMap;
use std::io::Read as _;

use url::Url;

use super::apt_index::PackageIndex;
use super::deb822::{Paragraph, paragraphs};
use super::error::RegistryError;
use super::signature::{Keyring, verify};
use crate::artifact::Sha256;
use crate::environment::Environment;
use crate::net::{Http, NetError, redact};
use crate::target::Arch;

/// The largest Packages file that is unpacked: Debian's are 60 MB.
const INDEX_LIMIT: u64 = 1 << 30;

/// Where an apt repository is, and whose signature its indexes bear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AptRepository {
    /// The registry's name in the lock, such as `debian`.
    pub name: String,
    /// The folder that holds `dists` and `pool`; ends in a slash.
    pub base: Url,
    /// Keys that may sign; only locking needs them.
    pub keyrings: Vec<Keyring>,
    /// The areas that are read, such as `main`.
    pub components: Vec<String>,
}

/// A suite's signed list of its indexes.
struct Release {
    /// Path below the suite's folder to digest.
    files: BTreeMap<String, Sha256>,
    /// Whether files are also kept under their digests, where a mirror that is being updated
    /// cannot mix old and new.
    by_hash: bool,
}

impl AptRepository {
    /// Where a file of the pool is.
    pub fn file_url(&self, path: &str) -> Result<String, RegistryError> {
        let malformed = |reason: String| RegistryError::MalformedIndex {
            url: redact(self.base.as_str()),
            reason,
        };
        // Versions hold characters such as `+` and `~`, which paths may; `%` and `#` they may not.
        let plain = path.bytes().all(|b| b.is_ascii_graphic() && !b"%#?\\\"<>".contains(&b));
        if !plain || path.starts_with('/') || path.split('/').any(|part| part == "..") {
            return Err(malformed(format!("`{path}` is not a path of a pool")));
        }
        self.base.join(&format!("./{path}")).map(Url::into).map_err(|e| malformed(e.to_string()))
    }

    /// Reads the packages of a suite: InRelease, whose signature must be valid, and the Packages
    /// files that it vouches for.
    pub fn packages(
        &self,
        http: &Http,
        environment: &Environment,
        suite: &str,
        arch: Arch,
    ) -> Result<PackageIndex, RegistryError> {
        let folder = self.file_url(&format!("dists/{suite}/"))?;
        let url = format!("{folder}InRelease");
        let signed = http.page(&url, "*/*")?.body;
        let text = verify(environment, &self.keyrings, &redact(&url), &signed)?;
        let release = Release::parse(&url, &text)?;
        let mut index = PackageIndex::new(suite);
        for component in &self.components {
            let path = format!("{component}/binary-{}/Packages.xz", arch.debian());
            index.add(&release.fetch(http, &folder, &path)?);
        }
        Ok(index)
    }
}

/// Reads `Origin` and `Label` of a suite, without a look at its signature: enough to know whose
/// repository it says that it is.
pub fn origin_and_label(
    http: &Http,
    base: &Url,
    suite: &str,
) -> Result<(String, String), RegistryError> {
    let url = base.join(&format!("dists/{suite}/InRelease")).map_err(|error| {
        RegistryError::MalformedIndex { url: redact(base.as_str()), reason: error.to_string() }
    })?;
    let page = http.page(url.as_str(), "*/*")?;
    let text = String::from_utf8_lossy(&page.body);
    let release = paragraphs(&text).find(|paragraph| paragraph.get("origin").is_some());
    let field = |name| {
        let value = release.as_ref().and_then(|release| release.get(name));
        value.unwrap_or_default().to_owned()
    };
    Ok((field("origin"), field("label")))
}

impl Release {
    fn parse(url: &str, text: &str) -> Result<Self, RegistryError> {
        let release: Option<Paragraph> = paragraphs(text).find(|p| p.get("sha256").is_some());
        let release = release.ok_or_else(|| RegistryError::MalformedIndex {
            url: redact(url),
            reason: "it lists no files by sha256".to_owned(),
        })?;
        let line = |line: &str| {
            let mut words = line.split_whitespace();
            let digest = words.next()?.parse().ok()?;
            Some((words.nth(1)?.to_owned(), digest))
        };
        let files = release.get("sha256").unwrap_or_default().lines().filter_map(line).collect();
        Ok(Self { files, by_hash: release.get("acquire-by-hash") == Some("yes") })
    }

    /// Fetches a listed file, checks it and unpacks it.
    fn fetch(&self, http: &Http, folder: &str, path: &str) -> Result<String, RegistryError> {
        let url = format!("{folder}{path}");
        let malformed =
            |reason: String| RegistryError::MalformedIndex { url: redact(&url), reason };
        let expected = *self
            .files
            .get(path)
            .ok_or_else(|| malformed(format!("the Release file does not list `{path}`")))?;
        let by_hash = path.rsplit_once('/').filter(|_| self.by_hash).map(|(parent, _)| {
            http.page(&format!("{folder}{parent}/by-hash/SHA256/{expected}"), "*/*")
        });
        let page = match by_hash {
            None | Some(Err(NetError::NotFound { .. })) => http.page(&url, "*/*")?,
            Some(page) => page?,
        };
        let actual = Sha256::of(&page.body);
        if actual != expected {
            return Err(RegistryError::IndexMismatch { url: redact(&url), expected, actual });
        }
        let mut text = String::new();
        lzma_rust2::XzReader::new(page.body.as_slice(), true)
            .take(INDEX_LIMIT)
            .read_to_string(&mut text)
            .map_err(|error| malformed(error.to_string()))?;
        Ok(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repository(base: &str) -> AptRepository {
        AptRepository {
            name: "debian".to_owned(),
            base: Url::parse(base).unwrap(),
            keyrings: Vec::new(),
            components: vec!["main".to_owned()],
        }
    }

    #[test]
    fn pool_paths_stay_below_the_base() {
        let debian = repository("http://mirror.example/debian/");
        let url = |path| debian.file_url(path);
        assert_eq!(
            url("pool/main/g/gcc-14/g++-14_14.2.0-19_amd64.deb").unwrap(),
            "http://mirror.example/debian/pool/main/g/gcc-14/g++-14_14.2.0-19_amd64.deb"
        );
        for path in ["/etc/passwd", "a/../../b", "a%2e%2e/b", "a b", "a?b"] {
            assert!(url(path).is_err(), "{path}");
        }
        assert_eq!(url("https:x").unwrap(), "http://mirror.example/debian/https:x");
    }

    #[test]
    fn a_release_lists_files_by_sha256() {
        let digest = Sha256::of("x");
        let text = format!(
            "Origin: Debian\nAcquire-By-Hash: yes\nMD5Sum:\n 00 1 main/a\nSHA256:\n {digest}  1 main/a\n"
        );
        let release = Release::parse("u", &text).unwrap();
        assert_eq!(release.files.get("main/a"), Some(&digest));
        assert!(release.by_hash);
        assert!(Release::parse("u", "Origin: Debian\n").is_err());
    }
}
