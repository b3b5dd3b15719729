//! What readers of foreign text and archives give back, for any input that could be thought of.
//!
//! Cases are generated, and few enough for the default run. `fuzz/` looks longer, by the same
//! rules: its targets are a module of this binary, which gives them their seeds.

mod archive;
mod index;
mod metadata;
mod pins;
mod request;

#[path = "../../fuzz/src/lib.rs"]
mod fuzz;

use crate::support::xtask::repository;

#[test]
fn every_fuzz_target_has_seeds_and_passes_them() {
    let folder = repository().join("fuzz");
    let names = |path: &str| {
        let entries = fs_err::read_dir(folder.join(path)).unwrap();
        let mut names: Vec<_> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    };
    let targets = fuzz::TARGETS.map(|(name, _)| name.to_owned());
    assert_eq!(names("fuzz_targets"), targets.clone().map(|name| format!("{name}.rs")));
    assert_eq!(names("seeds"), targets);
    for (target, run) in fuzz::TARGETS {
        for seed in names(&format!("seeds/{target}")) {
            run(&fs_err::read(folder.join("seeds").join(target).join(seed)).unwrap());
        }
    }
}
