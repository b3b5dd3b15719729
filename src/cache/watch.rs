//! What an action read, and what it wrote: collected while it runs.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use super::input::{Input, Print, Seen, State};
use super::scope::Scope;
use crate::exec::trace::{Access, plain};

/// Hears of every access of an action, before it is made.
pub(crate) struct Watch<'a> {
    scope: &'a Scope,
    seen: BTreeMap<PathBuf, First>,
    /// What the action itself made, whether it is still there or not.
    made: BTreeSet<PathBuf>,
    /// What it removed that was there before.
    removed: BTreeSet<PathBuf>,
    /// Why the action cannot be kept.
    flaw: Option<String>,
}

/// A path as it was when the action first asked for it.
struct First {
    seen: Seen,
    /// Whether its content was read, or only its presence.
    read: bool,
}

/// What an action depends on, and what it made.
pub(crate) struct Watched {
    pub inputs: Vec<Input>,
    pub outputs: Vec<PathBuf>,
}

impl<'a> Watch<'a> {
    pub(crate) fn new(scope: &'a Scope) -> Self {
        let (seen, made, removed) = Default::default();
        Self { scope, seen, made, removed, flaw: None }
    }

    /// Takes one access.
    pub(crate) fn hear(&mut self, access: Access) {
        if access.path().is_some_and(|path| self.scope.is_own(&plain(path))) {
            return;
        }
        match access {
            Access::Connect(path) if path.is_some() && path == self.scope.server => {}
            Access::Connect(_) => self.spoil(|| "it talks to another process".to_owned()),
            Access::Look(path) => self.look(path, false),
            Access::Read(path) => self.look(path, true),
            Access::Write(path) => self.write(plain(&path)),
            Access::Update(path) => self.update(plain(&path)),
            Access::Remove(path) => self.remove(plain(&path)),
            Access::List(path) => self.list(&plain(&path)),
            Access::Escape(what) => self.spoil(|| what.to_owned()),
        }
    }

    /// Of several flaws, the first is told.
    fn spoil(&mut self, flaw: impl FnOnce() -> String) {
        self.flaw.get_or_insert_with(flaw);
    }

    fn look(&mut self, path: PathBuf, read: bool) {
        let path = plain(&path);
        if self.scope.is_special(&path) {
            return self.spoil(|| format!("it reads `{}`", path.display()));
        }
        if self.scope.is_fixed(&path) || self.is_made(&path) {
            return;
        }
        if let Some(first) = self.seen.get_mut(&path) {
            first.read |= read;
            return;
        }
        match Seen::at(&path, self.scope) {
            Ok(seen) => drop(self.seen.insert(path, First { seen, read })),
            Err(error) => self.spoil(|| format!("`{}` cannot be read: {error}", path.display())),
        }
    }

    /// Whether the action made it, or a folder that it is in.
    fn is_made(&self, path: &Path) -> bool {
        !self.made.is_empty() && path.ancestors().any(|path| self.made.contains(path))
    }

    fn write(&mut self, path: PathBuf) {
        // A folder that is there is not made by `mkdir`, nor opened for writing.
        if !self.scope.is_machines(&path) && !path.is_dir() {
            self.made.insert(path);
        }
    }

    fn update(&mut self, path: PathBuf) {
        if self.scope.is_machines(&path) || self.is_made(&path) {
            return;
        }
        if path.exists() {
            self.spoil(|| format!("it changes `{}`, which was there before", path.display()));
        } else {
            self.made.insert(path);
        }
    }

    fn remove(&mut self, path: PathBuf) {
        if !self.is_made(&path) && path.symlink_metadata().is_ok() {
            self.removed.insert(path.clone());
            self.made.insert(path);
        }
    }

    fn list(&mut self, path: &Path) {
        // Of the folder for temporary files, only its own can matter to a compiler.
        if !self.scope.is_fixed(path) && !self.is_made(path) && !self.scope.is_temporary(path) {
            self.spoil(|| format!("it lists the folder `{}`", path.display()));
        }
    }

    /// When the action has ended: what it depends on and made, or why it cannot be kept.
    pub(crate) fn finish(mut self) -> Result<Watched, String> {
        let outputs = self.outputs();
        if let Some(flaw) = self.flaw {
            return Err(flaw);
        }
        let mut inputs = BTreeSet::new();
        for (path, First { seen, read }) in self.seen {
            let subject = seen.path.clone().unwrap_or_else(|| path.clone());
            if self.made.contains(&path) || self.made.contains(&subject) {
                // An output that was looked at is not read: it is there or not, and is made anew.
                if read && matches!(seen.print, Print::File(_)) {
                    return Err(format!("it read `{}`, and then wrote it", path.display()));
                }
                continue;
            }
            let input = seen.settle(&path, self.scope).map_err(|error| match error.kind() {
                io::ErrorKind::Other => error.to_string(),
                _ => format!("`{}` cannot be read: {error}", path.display()),
            })?;
            inputs.insert(input);
        }
        Ok(Watched { inputs: inputs.into_iter().collect(), outputs })
    }

    fn outputs(&mut self) -> Vec<PathBuf> {
        let mut outputs = Vec::new();
        for path in std::mem::take(&mut self.made) {
            let found = path.symlink_metadata();
            if found.is_err() && self.removed.contains(&path) {
                self.spoil(|| format!("it removes `{}`", path.display()));
            }
            if let Ok(found) = found {
                if !found.is_file() || !self.scope.is_writable(&path) {
                    self.spoil(|| format!("it makes `{}`", path.display()));
                }
                outputs.push(path.clone());
            }
            self.made.insert(path);
        }
        outputs
    }
}

/// Whether every input is as it was.
pub(crate) fn unchanged(inputs: &[Input], scope: &Scope, known: &mut Known) -> bool {
    inputs.iter().all(|input| known.state(&input.path, scope) == Some(&input.state))
}

/// States of paths that were found out already, for several entries of one key.
#[derive(Default)]
pub(crate) struct Known(BTreeMap<PathBuf, Option<State>>);

impl Known {
    fn state(&mut self, path: &Path, scope: &Scope) -> Option<&State> {
        let state = self.0.entry(path.to_owned()).or_insert_with(|| {
            let input = Seen::at(path, scope).ok()?.settle(path, scope).ok()?;
            Some(input.state)
        });
        state.as_ref()
    }
}
