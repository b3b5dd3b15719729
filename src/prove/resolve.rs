//! What a wheel requires → locked wheels for the target, through uv; remembered, so that a later
//! proof takes the same ones.

use std::path::Path;

use pep508_rs::Requirement;
use serde::{Deserialize, Serialize};

use super::ProveError;
use crate::Result;
use crate::artifact::{Artifact, Sha256};
use crate::configure;
use crate::context::Context;
use crate::python::lock::{LockError, Resolver};
use crate::python::tags::Platform;

/// A resolution, as the store remembers it.
#[derive(Debug, Serialize, Deserialize)]
struct Remembered {
    requirements: Vec<String>,
    wheels: Vec<Artifact>,
}

/// How requirements are resolved for the target.
pub(super) struct Resolution<'a> {
    pub(super) context: &'a Context,
    pub(super) uv: &'a Path,
    /// A Python of this machine.
    pub(super) python: &'a Path,
    pub(super) platform: Platform,
    /// An existing folder.
    pub(super) scratch: &'a Path,
    /// Whether what is remembered does not count.
    pub(super) anew: bool,
}

impl Resolution<'_> {
    /// One wheel for each project, sorted by name.
    pub(super) fn lock(&self, requirements: &[Requirement]) -> Result<Vec<Artifact>> {
        let mut texts: Vec<String> = requirements.iter().map(ToString::to_string).collect();
        texts.sort();
        let Platform { major, minor, arch, glibc } = self.platform;
        let key = format!("{major}.{minor} {arch} {glibc:?} {texts:?}");
        let folder = self.context.store.root().join("resolved");
        let path = folder.join(format!("{}.json", Sha256::of(key).short()));
        let remembered = fs_err::read(&path).ok().filter(|_| !self.anew);
        let remembered = remembered.and_then(|t| serde_json::from_slice::<Remembered>(&t).ok());
        if let Some(known) = remembered.filter(|known| known.requirements == texts) {
            return Ok(known.wheels);
        }
        let wheels = self.resolve(requirements)?;
        let remembered = Remembered { requirements: texts, wheels };
        let text = serde_json::to_vec_pretty(&remembered).expect("strings and numbers serialise");
        fs_err::create_dir_all(&folder).map_err(ProveError::Io)?;
        crate::manifest::write_together(&[(&path, &text)])?;
        Ok(remembered.wheels)
    }

    fn resolve(&self, requirements: &[Requirement]) -> Result<Vec<Artifact>> {
        let context = self.context;
        let pypi = context.registries.pypi()?;
        let variables = crate::lock::uv_variables(context);
        let resolver = Resolver {
            uv: self.uv,
            python: self.python,
            platform: self.platform,
            foreign: true,
            index_url: &pypi.index(),
            offline: context.offline,
            cache: &context.store.root().join("uv-cache"),
            scratch: self.scratch,
            variables: &variables,
        };
        let size_of = |url: &str| Ok(context.registries.http().size(url)?);
        let locked = resolver.lock(requirements, &size_of, &configure::launcher(context));
        locked.map_err(|error| match error {
            LockError::Launch(source) => source,
            other => ProveError::Unresolved(other).into(),
        })
    }
}
