//! The CUDA file that is compiled.

use std::path::{Path, PathBuf};

use super::super::common::Session;
use super::peers::Compilers;

/// Which file, and how.
#[derive(Debug, clap::Args)]
pub(super) struct CudaFile {
    /// The CUDA file; without one, a small one with CUB
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Further words for nvcc, such as `-I DIR`
    #[arg(long = "flag", value_name = "WORD", allow_hyphen_values = true)]
    flags: Vec<String>,
}

impl CudaFile {
    /// The file, which is written into a folder where none is given, and nvcc's words for it, but for
    /// the architectures.
    pub(super) fn words(
        &self,
        session: &Session,
        compilers: &Compilers<'_>,
        folder: &Path,
    ) -> anyhow::Result<(PathBuf, Vec<String>)> {
        let path = match &self.file {
            Some(file) => session.context.environment.current_dir().join(file),
            None => {
                let path = folder.join("sum.cu");
                fs_err::write(&path, super::cache::source(0).0)?;
                path
            }
        };
        let mut words = compilers.nvcc(&path.display().to_string(), "sum.o");
        words.extend(self.flags.clone());
        Ok((path, words))
    }
}
