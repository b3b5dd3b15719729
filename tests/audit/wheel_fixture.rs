//! Wheels made member by member, so that a test can ask for any fault.

use std::io::Write;
use std::path::{Path, PathBuf};

use crosswheel::artifact::Sha256;
use crosswheel::package::record;
use zip::write::SimpleFileOptions;

use super::elf_fixture::ElfFixture;

/// What the wheel shall hold. The default is a good wheel for Thor.
pub struct WheelFixture {
    pub file_name: String,
    pub metadata: String,
    pub wheel: String,
    pub elf: ElfFixture,
    pub elf_path: &'static str,
    pub extra: Vec<(String, Vec<u8>)>,
    /// Changes the finished `RECORD`.
    pub edit_record: fn(String) -> String,
}

const DIST_INFO: &str = "demo-1.0.dist-info";

impl Default for WheelFixture {
    fn default() -> Self {
        let tag = "cp311-cp311-manylinux_2_34_aarch64";
        Self {
            file_name: format!("demo-1.0-{tag}.whl"),
            metadata: "Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n\nText\n".to_owned(),
            wheel: format!("Wheel-Version: 1.0\nRoot-Is-Purelib: false\nTag: {tag}\n"),
            elf: ElfFixture::default(),
            elf_path: "demo/_C.cpython-311-aarch64-linux-gnu.so",
            extra: vec![("demo/__init__.py".to_owned(), b"import demo._C\n".to_vec())],
            edit_record: |record| record,
        }
    }
}

impl WheelFixture {
    /// Writes the wheel into a folder.
    pub fn write(&self, folder: &Path) -> PathBuf {
        let mut members = self.extra.clone();
        members.push((self.elf_path.to_owned(), self.elf.build()));
        members.push((format!("{DIST_INFO}/METADATA"), self.metadata.clone().into_bytes()));
        members.push((format!("{DIST_INFO}/WHEEL"), self.wheel.clone().into_bytes()));
        let record_path = format!("{DIST_INFO}/RECORD");
        let digests: Vec<Sha256> = members.iter().map(|(_, bytes)| Sha256::of(bytes)).collect();
        let lines = members.iter().zip(&digests);
        let lines =
            lines.map(|((path, bytes), digest)| (path.as_str(), digest, bytes.len() as u64));
        let record = record::write(lines, &record_path).expect("a record");
        let record = (self.edit_record)(String::from_utf8(record).expect("UTF-8"));
        members.push((record_path, record.into_bytes()));

        let path = folder.join(&self.file_name);
        let mut zip = zip::ZipWriter::new(fs_err::File::create(&path).expect("a file"));
        for (name, bytes) in members {
            zip.start_file(name, SimpleFileOptions::default()).expect("a member");
            zip.write_all(&bytes).expect("its bytes");
        }
        zip.finish().expect("a wheel");
        path
    }
}
