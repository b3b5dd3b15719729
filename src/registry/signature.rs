//! OpenPGP signatures of apt repositories, checked with gpgv.

use std::path::{Path, PathBuf};

use base64::Engine as _;

use super::error::RegistryError;
use crate::environment::Environment;
use crate::exec::capture::{capture, find};

/// Where a repository's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Keyring {
    /// A file of keys, binary or armoured.
    File(PathBuf),
    /// Armoured keys that stand in apt's sources themselves (`Signed-By:`).
    Inline(String),
}

/// Checks a text with a signature around it (InRelease), and returns what was signed.
pub fn verify(
    environment: &Environment,
    keyrings: &[Keyring],
    url: &str,
    signed: &[u8],
) -> Result<String, RegistryError> {
    let no_verifier =
        |reason: &str| RegistryError::NoVerifier { url: url.to_owned(), reason: reason.to_owned() };
    let gpgv =
        find(environment, "gpgv").ok_or_else(|| no_verifier("there is no `gpgv` on the PATH"))?;
    let folder = tempfile::tempdir().map_err(|source| RegistryError::File {
        path: PathBuf::from("temporary folder"),
        source,
    })?;
    let write = |path: &Path, bytes: &[u8]| {
        fs_err::write(path, bytes)
            .map_err(|source| RegistryError::File { path: path.to_owned(), source })
    };
    let mut arguments = Vec::new();
    for (number, keyring) in keyrings.iter().enumerate() {
        let Some(keys) = binary_keys(keyring) else { continue };
        let path = folder.path().join(format!("{number}.gpg"));
        write(&path, &keys)?;
        arguments.extend(["--keyring".into(), path.into_os_string()]);
    }
    if arguments.is_empty() {
        return Err(no_verifier("there is no keyring for it on this machine"));
    }
    let input = folder.path().join("signed");
    write(&input, signed)?;
    // Only what gpgv writes is read on: text outside of the signature must not count.
    arguments.extend(["--output".into(), "-".into(), input.into_os_string()]);
    let said = capture(&gpgv, arguments)
        .map_err(|source| RegistryError::File { path: gpgv.clone(), source })?;
    match String::from_utf8(said.stdout) {
        Ok(text) if said.success => Ok(text),
        _ => Err(RegistryError::BadSignature {
            url: url.to_owned(),
            said: said.stderr.trim().replace('\n', "; "),
        }),
    }
}

/// The keys in the binary form that every gpgv reads; nothing where they cannot be read.
fn binary_keys(keyring: &Keyring) -> Option<Vec<u8>> {
    match keyring {
        Keyring::Inline(text) => dearmor(text),
        Keyring::File(path) => {
            let bytes = fs_err::read(path).ok()?;
            if bytes.starts_with(b"-----BEGIN") {
                dearmor(std::str::from_utf8(&bytes).ok()?)
            } else {
                Some(bytes)
            }
        }
    }
}

/// ASCII armour (RFC 9580, 6.2) to binary. The checksum line is not checked: gpgv reads the keys.
fn dearmor(text: &str) -> Option<Vec<u8>> {
    let mut keys = Vec::new();
    // In deb822 an empty line is written as a full stop.
    let mut lines = text.lines().map(str::trim).map(|line| if line == "." { "" } else { line });
    while lines.any(|line| line.starts_with("-----BEGIN PGP PUBLIC KEY BLOCK")) {
        let body: String = lines
            .by_ref()
            .skip_while(|line| line.contains(": "))
            .take_while(|line| !line.starts_with("-----END"))
            .filter(|line| !line.starts_with('='))
            .collect();
        keys.extend(base64::engine::general_purpose::STANDARD.decode(body).ok()?);
    }
    (!keys.is_empty()).then_some(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn armour_is_taken_off() {
        let block = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: x\n.\n aGVs\n bG8=\n =abcd\n\
                     -----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(dearmor(block).as_deref(), Some(b"hello".as_slice()));
        assert_eq!(dearmor(&block.repeat(2)).as_deref(), Some(b"hellohello".as_slice()));
        assert_eq!(dearmor("no keys"), None);
    }

    #[test]
    fn a_machine_without_gpgv_or_keys_says_so() {
        let nothing = Environment::new([("PATH", "/nonexistent")], Path::new("/"));
        let error = verify(&nothing, &[], "u", b"").unwrap_err();
        assert!(error.to_string().contains("`gpgv`"), "{error}");
    }
}
