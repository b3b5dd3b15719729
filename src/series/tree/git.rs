//! The machine's own git, in a tree that people work in.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use crate::context::Context;
use crate::exec::{Command, Interrupt, capture};
use crate::git::{GitError, SETTINGS};

/// Who commits where nobody said who it is.
const NOBODY: (&str, &str) = ("crosswheel", "crosswheel@localhost");

/// Git for one tree. The user's configuration tells who the author is, and nothing else: what a
/// patch looks like must not depend on it.
pub(super) struct Git<'a> {
    program: PathBuf,
    tree: PathBuf,
    path: Option<OsString>,
    author: (String, String),
    interrupt: &'a Interrupt,
}

impl<'a> Git<'a> {
    pub(super) fn new(context: &'a Context, tree: &Path) -> Result<Self, GitError> {
        let environment = &context.environment;
        let program = capture::find(environment, "git").ok_or(GitError::Missing)?;
        let configured = |key: &str| {
            let passed = ["HOME", "XDG_CONFIG_HOME", "GIT_CONFIG_GLOBAL", "PATH"];
            let passed = passed.iter().filter_map(|name| Some((*name, environment.get(name)?)));
            // In the tree, whose own configuration may name another author.
            let asked = Command::new(&program, tree).args(["config", "--get", key]);
            let told = asked.variables(passed).read(&context.interrupt).ok()?;
            Some(told.trim().to_owned()).filter(|told| !told.is_empty())
        };
        let author = (
            configured("user.name").unwrap_or_else(|| NOBODY.0.to_owned()),
            configured("user.email").unwrap_or_else(|| NOBODY.1.to_owned()),
        );
        Ok(Self {
            program,
            tree: tree.to_owned(),
            path: environment.get("PATH").map(Into::into),
            author,
            interrupt: &context.interrupt,
        })
    }

    /// A command of git's.
    fn command<A: Into<OsString>>(&self, args: impl IntoIterator<Item = A>) -> Command {
        let (name, email) = &self.author;
        Command::new(&self.program, &self.tree)
            .args(SETTINGS.iter().flat_map(|setting| ["-c", setting]))
            .args(["-c", &format!("user.name={name}"), "-c", &format!("user.email={email}")])
            .args(["-c", "core.quotePath=false", "-c", "core.safecrlf=false"])
            .args(args)
            .variables(self.path.iter().map(|path| ("PATH", path)))
            .variable("GIT_CONFIG_GLOBAL", "/dev/null")
            .variable("GIT_CONFIG_NOSYSTEM", "1")
            .variable("LC_ALL", "C.UTF-8")
    }

    pub(super) fn run<A: Into<OsString>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<(), GitError> {
        self.command(args).check(self.interrupt)?;
        Ok(())
    }

    pub(super) fn read<A: Into<OsString>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<String, GitError> {
        Ok(self.command(args).read(self.interrupt)?)
    }

    /// Whether a command that asks something says yes.
    pub(super) fn says<A: Into<OsString>>(
        &self,
        args: impl IntoIterator<Item = A>,
    ) -> Result<bool, GitError> {
        Ok(self.command(args).run(self.interrupt)?.code() == 0)
    }

    /// Files that differ from the last commit, or are not in it; each with git's two letters.
    pub(super) fn changed(&self) -> Result<Vec<String>, GitError> {
        self.status(&["--untracked-files=all"])
    }

    /// Files that git does not look at, since the tree's `.gitignore` names them.
    pub(super) fn ignored(&self) -> Result<Vec<String>, GitError> {
        let all = self.status(&["--ignored"])?;
        Ok(all.iter().filter_map(|line| Some(line.strip_prefix("!! ")?.to_owned())).collect())
    }

    fn status(&self, more: &[&str]) -> Result<Vec<String>, GitError> {
        let listed = self.read(["status", "--porcelain", "-z"].iter().chain(more))?;
        // Of a rename the former name follows, as an entry without letters.
        let is_entry = |entry: &&str| entry.as_bytes().get(2) == Some(&b' ');
        Ok(listed.split('\0').filter(is_entry).map(str::to_owned).collect())
    }
}
