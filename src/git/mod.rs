//! Source trees out of git repositories, by the machine's own git.
//!
//! In: a repository and a commit or tag. Out: the commit, and its tree in the store, submodules
//! included, without git's own files. Access to private repositories is git's business: its
//! configuration, credential helpers and ssh agent are left to it; it never asks on the terminal.
//!
//! ```text
//! git/<digest of the URL>/repository   a bare repository with what was fetched so far
//! git/<digest of the URL>/<commit>/    the tree of a commit
//! ```

mod error;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

use walkdir::WalkDir;

pub use error::GitError;

use crate::Result;
use crate::artifact::Sha256;
use crate::context::Context;
use crate::environment::Environment;
use crate::exec::{Command, Interrupt, capture};
use crate::net::PROXY_VARIABLES;
use crate::patch::tree_digest;
use crate::report::{Reporter, Step};
use crate::request::{GitRequest, is_local};
use crate::store::Store;

/// Variables that git may need to reach a repository, beside those of proxies; none other reaches it.
const PASSED: [&str; 12] = [
    "GIT_ASKPASS",
    "GIT_CONFIG_COUNT",
    "GIT_CONFIG_GLOBAL",
    "GIT_CONFIG_NOSYSTEM",
    "GIT_EXEC_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GIT_SSL_CAINFO",
    "HOME",
    "PATH",
    "SSH_AUTH_SOCK",
    "XDG_CONFIG_HOME",
];

/// What must not depend on the user: how files are written, hooks, and work behind our back.
pub(crate) const SETTINGS: [&str; 6] = [
    "core.autocrlf=false",
    "core.symlinks=true",
    "core.hooksPath=/dev/null",
    "gc.auto=0",
    "maintenance.auto=false",
    "advice.detachedHead=false",
];

/// The depth that git takes for all of a history (git-fetch(1), and shallow.h's `INFINITE_DEPTH`).
const WHOLE_HISTORY: &str = "--depth=2147483647";

/// A repository as the store keeps it.
pub struct Repository<'a> {
    git: PathBuf,
    url: &'a str,
    /// Where the configuration says that repositories are, by their URLs.
    mirrors: BTreeMap<&'a str, String>,
    folder: PathBuf,
    store: &'a Store,
    environment: &'a Environment,
    interrupt: &'a Interrupt,
    reporter: &'a dyn Reporter,
    offline: bool,
}

impl<'a> Repository<'a> {
    /// The repository of this URL; asks no network.
    ///
    /// # Errors
    /// [`GitError::Missing`] where there is no `git` on the `PATH`.
    pub fn open(context: &'a Context, url: &'a str) -> Result<Self, GitError> {
        let environment = &context.environment;
        let mirrors = mirrors(context);
        Ok(Self {
            git: capture::find(environment, "git").ok_or(GitError::Missing)?,
            url,
            folder: folder(&context.store, url),
            offline: context.offline && !is_local(mirrors.get(url).map_or(url, |mirror| mirror)),
            mirrors,
            store: &context.store,
            environment,
            interrupt: &context.interrupt,
            reporter: context.reporter.as_ref(),
        })
    }

    /// The whole commit that a reference means: a tag of the repository, or a commit's digits.
    /// Branches are refused, because they move.
    pub fn resolve(&self, reference: &str) -> Result<String> {
        let _guard = self.prepare()?;
        let digits = reference.bytes().all(|b| b.is_ascii_hexdigit()) && reference.len() >= 4;
        if digits && let Some(commit) = self.whole_commit(reference)? {
            return Ok(commit);
        }
        if self.offline {
            return Err(GitError::Offline { url: self.url.to_owned() }.into());
        }
        if let Some(commit) = self.tag(reference)? {
            self.fetch(&["--depth=1", self.url, &commit])
                .or_else(|_| self.fetch(&["--depth=1", self.url, &tag_ref(reference)]))?;
            return Ok(commit);
        }
        if digits {
            // Most servers give a commit by its whole name; for less of one, all is needed.
            let one =
                reference.len() >= 40 && self.fetch(&["--depth=1", self.url, reference]).is_ok();
            if !one {
                let all = ["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"];
                self.fetch(&[WHOLE_HISTORY, self.url, all[0], all[1]])?;
            }
            if let Some(commit) = self.whole_commit(reference)? {
                return Ok(commit);
            }
        }
        let (url, reference) = (self.url.to_owned(), reference.to_owned());
        Err(GitError::Unknown { url, reference }.into())
    }

    /// The folder of a commit's tree, fetched and written where it is not there yet.
    pub fn tree(&self, commit: &str) -> Result<PathBuf> {
        let tree = self.folder.join(commit);
        if tree.is_dir() {
            return Ok(tree);
        }
        self.resolve(commit)?;
        let _guard = self.prepare()?;
        if tree.is_dir() {
            return Ok(tree);
        }
        let _step = Step::start(self.reporter, "checking out", self.url);
        let staging = tempfile::tempdir_in(&self.folder).map_err(GitError::Io)?;
        let fresh = staging.path().join("tree");
        let place = fresh.as_os_str();
        self.run(
            &self.bare(),
            ["worktree", "add", "--force", "--detach"],
            [place, commit.as_ref()],
        )?;
        if fresh.join(".gitmodules").is_file() {
            self.submodules(&fresh)?;
        }
        remove_git_files(&fresh).map_err(GitError::Io)?;
        fs_err::rename(&fresh, &tree).map_err(GitError::Io)?;
        self.run(&self.bare(), ["worktree", "prune"], [])?;
        Ok(tree)
    }

    fn submodules(&self, tree: &Path) -> Result<(), GitError> {
        if self.offline {
            return Err(GitError::Offline { url: self.url.to_owned() });
        }
        self.run(tree, ["submodule", "--quiet", "update", "--init", "--recursive"], [])
    }

    fn bare(&self) -> PathBuf {
        self.folder.join("repository")
    }

    /// Makes the bare repository where there is none, and keeps others out of it.
    fn prepare(&self) -> Result<crate::store::Guard> {
        let name = self.folder.file_name().unwrap_or_default().to_string_lossy();
        let guard = self.store.lock(&format!("git-{name}"))?;
        let bare = self.bare();
        if !bare.join("HEAD").is_file() {
            fs_err::create_dir_all(&bare).map_err(GitError::Io)?;
            self.run(&bare, ["init", "--quiet", "--bare"], [])?;
            // Relative URLs of submodules are relative to this.
            self.run(&bare, ["config", "remote.origin.url"], [self.url.as_ref()])?;
        }
        Ok(guard)
    }

    /// The one commit here that begins with these digits; none where there are several.
    fn whole_commit(&self, digits: &str) -> Result<Option<String>, GitError> {
        let wanted = format!("--disambiguate={}", digits.to_ascii_lowercase());
        let found = self.read(["rev-parse", &wanted])?;
        let mut commits = Vec::new();
        for object in found.lines() {
            if self.read(["cat-file", "-t", object])?.trim() == "commit" {
                commits.push(object.to_owned());
            }
        }
        Ok(commits.pop().filter(|_| commits.is_empty()))
    }

    /// The commit of the repository's tag of this name.
    fn tag(&self, name: &str) -> Result<Option<String>, GitError> {
        let tag = tag_ref(name);
        let peeled = format!("{tag}^{{}}");
        let listed =
            self.read(["ls-remote", self.url, &tag, &peeled]).map_err(|e| self.failed(e))?;
        // An annotated tag is an object of its own; the line with `^{}` has its commit.
        let of = |wanted: &str| {
            listed.lines().find_map(|line| line.strip_suffix(wanted)?.strip_suffix('\t'))
        };
        Ok(of(&peeled).or_else(|| of(&tag)).map(str::to_owned))
    }

    fn fetch(&self, what: &[&str]) -> Result<(), GitError> {
        let _step = Step::start(self.reporter, "fetching", self.url);
        let what = what.iter().map(OsString::from);
        let command = self.command(&self.bare(), ["fetch", "--quiet", "--no-tags"]).args(what);
        command.check(self.interrupt).map_err(|error| self.failed(error.into()))?;
        Ok(())
    }

    /// Git says why; that it was about this repository, and how to reach it, is ours to say.
    fn failed(&self, error: GitError) -> GitError {
        match error {
            GitError::Git(source) => GitError::Unreachable { url: self.url.to_owned(), source },
            other => other,
        }
    }

    fn run<'s, const N: usize, const M: usize>(
        &self,
        dir: &Path,
        args: [&'s str; N],
        more: [&'s std::ffi::OsStr; M],
    ) -> Result<(), GitError> {
        self.command(dir, args).args(more).check(self.interrupt)?;
        Ok(())
    }

    fn read<const N: usize>(&self, args: [&str; N]) -> Result<String, GitError> {
        Ok(self.command(&self.bare(), args).read(self.interrupt)?)
    }

    fn command<const N: usize>(&self, dir: &Path, args: [&str; N]) -> Command {
        let mirrors = self.mirrors.iter().map(|(url, at)| format!("url.{at}.insteadOf={url}"));
        let settings = SETTINGS.iter().map(|setting| (*setting).to_owned()).chain(mirrors);
        let settings = settings.flat_map(|setting| ["-c".to_owned(), setting]);
        let passed = PASSED.iter().chain(&PROXY_VARIABLES);
        let passed = passed.filter_map(|name| Some((*name, self.environment.get(name)?)));
        // A repository elsewhere may not make git read files of this machine by a submodule, unless
        // the configuration sends it there.
        let local = is_local(self.url) || self.mirrors.values().any(|mirror| is_local(mirror));
        let transports = match local {
            true => "file:git:http:https:ssh",
            false => "git:http:https:ssh",
        };
        Command::new(&self.git, dir)
            .args(settings)
            .args(args)
            .variables(passed)
            .variable("GIT_ALLOW_PROTOCOL", transports)
            .variable("GIT_TERMINAL_PROMPT", "0")
            .variable("LC_ALL", "C.UTF-8")
    }
}

/// The mirrors of `crosswheel.toml`; paths are relative to the project.
fn mirrors(context: &Context) -> BTreeMap<&str, String> {
    let configured = context.config.sources.iter().filter_map(|(url, substitute)| {
        let mirror = substitute.git.as_ref()?;
        let mirror = match mirror.contains("://") {
            true => mirror.clone(),
            false => context.project.root().join(mirror).display().to_string(),
        };
        Some((url.as_str(), mirror))
    });
    configured.collect()
}

/// The variables by which a git that another program runs goes to the mirrors too (git-config(1),
/// "ENVIRONMENT").
pub(crate) fn mirror_variables(context: &Context) -> Vec<(String, OsString)> {
    const COUNT: &str = "GIT_CONFIG_COUNT";
    let before = context.environment.text(COUNT).and_then(|count| count.parse().ok());
    let before: usize = before.unwrap_or(0);
    let mirrors = mirrors(context);
    let mut variables = vec![(COUNT.to_owned(), (before + mirrors.len()).to_string().into())];
    for (number, (url, at)) in (before..).zip(mirrors) {
        let key = format!("url.{at}.insteadOf").into();
        variables.push((format!("GIT_CONFIG_KEY_{number}"), key));
        variables.push((format!("GIT_CONFIG_VALUE_{number}"), url.into()));
    }
    variables
}

fn tag_ref(name: &str) -> String {
    format!("refs/tags/{name}")
}

/// Removes what git keeps in a tree: a file that points to the repository, in each submodule too.
fn remove_git_files(tree: &Path) -> std::io::Result<()> {
    for entry in WalkDir::new(tree) {
        let entry = entry?;
        if entry.file_name() == ".git" && entry.file_type().is_file() {
            fs_err::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// The folder of a repository in the store.
fn folder(store: &Store, url: &str) -> PathBuf {
    store.root().join("git").join(Sha256::of(url).short())
}

/// Where the tree of a whole commit is in the store, or would be; `None` for what is no commit.
pub fn tree_path(store: &Store, url: &str, commit: &str) -> Option<PathBuf> {
    let whole = commit.len() >= 40 && commit.bytes().all(|b| b.is_ascii_hexdigit());
    whole.then(|| folder(store, url).join(commit))
}

/// What a commit is: its whole name, and the digest of its tree, as [`tree_digest`] defines it.
pub fn lock(context: &Context, request: &GitRequest) -> Result<(String, Sha256)> {
    let repository = Repository::open(context, &request.url)?;
    let commit = repository.resolve(&request.reference)?;
    let digest = tree_digest(&repository.tree(&commit)?).map_err(GitError::Io)?;
    Ok((commit, digest))
}

/// The tree of a locked commit.
///
/// # Errors
/// Besides what git says: [`GitError::Changed`] where the tree is not the one that was locked.
pub fn tree(context: &Context, url: &str, commit: &str, digest: Sha256) -> Result<PathBuf> {
    // What is there needs no git.
    let tree = match tree_path(&context.store, url, commit).filter(|tree| tree.is_dir()) {
        Some(tree) => tree,
        None => Repository::open(context, url)?.tree(commit)?,
    };
    let actual = tree_digest(&tree).map_err(GitError::Io)?;
    if actual != digest {
        return Err(GitError::Changed { tree, expected: digest, actual }.into());
    }
    Ok(tree)
}

#[cfg(test)]
mod tests;
