//! pip's built-in default index, read out of pip, so that no host is written down here.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use zip::ZipArchive;

use super::error::RegistryError;
use crate::environment::Environment;
use crate::exec::capture::{capture, find};
use crate::unpack::{self, Limits, Tree};

/// The module of pip that holds the constant.
const MODULE: &str = "_internal/models/index.py";
/// How much of it is read, in bytes: it has 1,000.
const MODULE_LIMIT: u64 = 1 << 20;

/// The constant's definition; pip's `PackageIndex.simple_url` is this URL and `simple`.
static DEFINITION: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?m)^PyPI\s*=\s*PackageIndex\(\s*["']([^"'\s]+)["']"#).expect("a valid pattern")
});

/// The simple index that this source text of pip names.
pub fn simple_url(module: &str) -> Option<String> {
    let base = DEFINITION.captures(module)?.get(1)?.as_str();
    Some(format!("{}/simple/", base.trim_end_matches('/')))
}

/// Asks the pip on the `PATH` where its code is, and reads its default there.
pub fn of_installed_pip(environment: &Environment) -> Option<String> {
    let pip = find(environment, "pip").or_else(|| find(environment, "pip3"))?;
    let said = capture(&pip, ["--version"]).ok().filter(|said| said.success)?;
    let package = package_folder(std::str::from_utf8(&said.stdout).ok()?)?;
    simple_url(&fs_err::read_to_string(package.join(MODULE)).ok()?)
}

/// The folder in `pip 24.0 from /usr/lib/python3/dist-packages/pip (python 3.11)`.
fn package_folder(version: &str) -> Option<PathBuf> {
    let (_, rest) = version.trim().split_once(" from ")?;
    let (folder, _) = rest.rsplit_once(" (python")?;
    Some(PathBuf::from(folder))
}

/// The default of the pip whose wheel is in Debian's package `python3-pip-whl`.
pub fn of_package(package: &Path) -> crate::Result<String> {
    let none = || RegistryError::NoDefaultIndex { path: package.to_owned() };
    let fail = |source| RegistryError::File { path: package.to_owned(), source };
    let folder = tempfile::tempdir().map_err(fail)?;
    let is_pip = |path: &Path| {
        let name = path.file_name()?.to_str()?;
        (name.starts_with("pip-") && name.ends_with(".whl")).then(|| PathBuf::from("pip.whl"))
    };
    let mut tree = Tree::new(folder.path(), Limits::SOURCE);
    tree.begin(package, &is_pip);
    unpack::deb::unpack(fs_err::File::open(package).map_err(fail)?, &mut tree)?;
    let module = module_of_wheel(&folder.path().join("pip.whl"));
    Ok(module.ok().and_then(|module| simple_url(&module)).ok_or_else(none)?)
}

fn module_of_wheel(wheel: &Path) -> io::Result<String> {
    let mut archive = ZipArchive::new(fs_err::File::open(wheel)?).map_err(io::Error::other)?;
    let member = archive.by_name(&format!("pip/{MODULE}")).map_err(io::Error::other)?;
    let mut text = String::new();
    member.take(MODULE_LIMIT).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "import x\n\nPyPI = PackageIndex(\n    \"https://index.example/\", \
                        file_storage_domain=\"files.example\"\n)\nTestPyPI = PackageIndex(\"https://no\")\n";

    #[test]
    fn the_constant_is_found_in_pips_source() {
        assert_eq!(simple_url(TEXT).as_deref(), Some("https://index.example/simple/"));
        assert_eq!(simple_url("TestPyPI = PackageIndex(\"https://no\")"), None);
    }

    #[test]
    fn pip_says_where_its_code_is() {
        let said = "pip 24.0 from /opt/my (python 3) libs/pip (python 3.11)\n";
        assert_eq!(package_folder(said), Some(PathBuf::from("/opt/my (python 3) libs/pip")));
        assert_eq!(package_folder("pip 24.0"), None);
    }

    #[test]
    fn the_default_of_debians_package() {
        use std::io::Write as _;
        let mut wheel = zip::ZipWriter::new(io::Cursor::new(Vec::new()));
        wheel
            .start_file(format!("pip/{MODULE}"), zip::write::SimpleFileOptions::default())
            .unwrap();
        wheel.write_all(TEXT.as_bytes()).unwrap();
        let wheel = wheel.finish().unwrap().into_inner();
        let mut data = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(wheel.len() as u64);
        header.set_mode(0o644);
        let path = "./usr/share/python-wheels/pip-1-py3-none-any.whl";
        data.append_data(&mut header, path, wheel.as_slice()).unwrap();
        let options = lzma_rust2::XzOptions::default();
        let mut xz = lzma_rust2::XzWriter::new(Vec::new(), options).unwrap();
        xz.write_all(&data.into_inner().unwrap()).unwrap();
        let data = xz.finish().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pip.deb");
        let header = format!("{:<48}{:<10}`\n", "data.tar.xz", data.len());
        fs_err::write(&path, [b"!<arch>\n", header.as_bytes(), &data].concat()).unwrap();
        assert_eq!(of_package(&path).unwrap(), "https://index.example/simple/");
    }
}
