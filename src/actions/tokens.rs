//! Leave for further threads of a compiler that runs already: nvcc's, where it compiles for several
//! architectures.
//!
//! What GNU make calls a jobserver: a pipe with a name, in which each byte is leave for one thread.
//! nvcc takes one where it finds one, before each of its steps that it could run beside another, and
//! puts it back after it.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::libc;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

/// The byte, which GNU make chose.
const TOKEN: u8 = b'+';

/// The pipe of a server, which lies beside its socket.
pub(crate) fn beside(socket: &Path) -> PathBuf {
    socket.with_file_name("tokens")
}

/// The same, where there is one.
pub(crate) fn find(socket: &Path) -> Option<PathBuf> {
    let path = beside(socket);
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_fifo()).then_some(path)
}

/// The server's side of the pipe.
#[derive(Debug)]
pub(super) struct Tokens {
    path: PathBuf,
    pipe: File,
    /// How many are in the pipe, or with a compiler.
    given: usize,
}

impl Tokens {
    /// Makes the pipe; one that a killed run left there is replaced.
    pub(super) fn open(path: PathBuf) -> io::Result<Self> {
        match fs_err::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        let mut options = fs_err::OpenOptions::new();
        let options = options.read(true).write(true).custom_flags(libc::O_NONBLOCK);
        let pipe = options.open(&path)?.into_parts().0;
        Ok(Self { path, pipe, given: 0 })
    }

    /// Takes back what no compiler took, and returns how many compilers have.
    pub(super) fn withdraw(&mut self) -> usize {
        let mut unused = [0; 64];
        while self.given > 0
            && let Ok(count @ 1..) = self.pipe.read(&mut unused)
        {
            self.given = self.given.saturating_sub(count);
        }
        self.given
    }

    /// Offers more.
    pub(super) fn offer(&mut self, count: usize) {
        // A pipe that is full has leave for more threads than there are processors.
        self.given += self.pipe.write(&vec![TOKEN; count]).unwrap_or_default();
    }

    /// To be called when no compiler runs: one that was killed put nothing back.
    pub(super) fn settle(&mut self) {
        self.withdraw();
        self.given = 0;
    }
}

impl Drop for Tokens {
    fn drop(&mut self) {
        // It may be gone with the build folder.
        let _ = fs_err::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_compiler_has_is_known_until_it_puts_it_back() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        assert_eq!(find(&socket), None);
        let mut tokens = Tokens::open(beside(&socket)).unwrap();
        assert_eq!(find(&socket), Some(beside(&socket)));
        assert_eq!(tokens.withdraw(), 0);
        tokens.offer(3);
        let mut compiler = File::options().read(true).write(true).open(beside(&socket)).unwrap();
        let mut taken = [0; 2];
        compiler.read_exact(&mut taken).unwrap();
        assert_eq!((taken, tokens.withdraw(), tokens.withdraw()), ([TOKEN; 2], 2, 2));
        compiler.write_all(&taken[..1]).unwrap();
        assert_eq!(tokens.withdraw(), 1);
        tokens.settle();
        assert_eq!(tokens.withdraw(), 0);
        drop(tokens);
        assert_eq!(find(&socket), None);
    }
}
