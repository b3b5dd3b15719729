//! A plan as a patch.

use std::path::Path;

use super::{PinError, Plan};

/// What a plan changes in a tree, as a patch that `git apply` takes.
pub fn unified(tree: &Path, plan: &Plan) -> Result<String, PinError> {
    let mut patch = String::new();
    for (path, new) in &plan.files {
        let old = fs_err::read(tree.join(path))?;
        let name = path.display();
        let mut options = diffy::DiffOptions::new();
        options.set_original_filename(format!("a/{name}"));
        options.set_modified_filename(format!("b/{name}"));
        let (old, new) = (String::from_utf8_lossy(&old), String::from_utf8_lossy(new));
        patch += &options.create_patch(&old, &new).to_string();
    }
    Ok(patch)
}
