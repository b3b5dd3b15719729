//! The tables of a comparison of two wheels, in Markdown, so that a document can have them.

use std::collections::BTreeMap;

use crosswheel::audit::compare::{Comparison, OnTarget, Side};
use indicatif::HumanBytes;

/// Names of members that one line lists.
const LISTED: usize = 4;

/// Prints a comparison on stdout.
pub fn print(comparison: &Comparison) {
    let Comparison { wheels, sizes, target, files, common, only_first, only_second } = comparison;
    for (index, (wheel, size)) in wheels.iter().zip(sizes).enumerate() {
        println!("{}. `{wheel}`, {}", index + 1, HumanBytes(*size));
    }
    println!("\n| file | 1: size | device code | 2: size | device code |");
    println!("| --- | ---: | --- | ---: | --- |");
    for pair in files {
        let [first, second] = [&pair.first, &pair.second].map(|side| cells(side.as_ref()));
        println!("| {} | {first} | {second} |", pair.file);
    }
    if let Some(target) = target {
        println!("\nOn `{target}`:\n");
        println!("| | 1 | 2 |\n| --- | ---: | ---: |");
        let sum = |side: fn(&Comparison, usize) -> Vec<&Side>, index| {
            let sides = side(comparison, index).into_iter();
            sides.filter_map(|side| side.on_target).fold(OnTarget::default(), add)
        };
        let [first, second] = [sum(sides, 0), sum(sides, 1)];
        let rows = [
            ("object files with machine code that runs", first.sass, second.sass),
            (
                "object files that the driver compiles at the first start",
                first.compiled_at_start,
                second.compiled_at_start,
            ),
            ("object files that do not run", first.missing, second.missing),
        ];
        for (what, first, second) in rows {
            println!("| {what} | {first} | {second} |");
        }
        let [first, second] = [first.useless, second.useless].map(HumanBytes);
        println!("| device code for other GPUs | {first} | {second} |");
    }
    println!("\nOf other members both have {common}.");
    for (index, folders) in [only_first, only_second].into_iter().enumerate() {
        let count: usize = folders.values().map(Vec::len).sum();
        println!("\nOnly {} has {count}{}", index + 1, if count == 0 { "." } else { ":\n" });
        print_folders(folders);
    }
    println!();
}

fn print_folders(folders: &BTreeMap<String, Vec<String>>) {
    for (folder, files) in folders {
        let names: Vec<_> = files.iter().take(LISTED).map(|file| format!("`{file}`")).collect();
        let further = files.len() - names.len();
        let rest = if further > 0 { format!(" and {further} more") } else { String::new() };
        let folder = if folder.is_empty() { String::new() } else { format!("`{folder}/`: ") };
        println!("- {folder}{}{rest}", names.join(", "));
    }
}

fn sides(comparison: &Comparison, index: usize) -> Vec<&Side> {
    let of = comparison.files.iter();
    of.filter_map(|pair| if index == 0 { &pair.first } else { &pair.second }.as_ref()).collect()
}

fn add(sum: OnTarget, one: OnTarget) -> OnTarget {
    OnTarget {
        sass: sum.sass + one.sass,
        compiled_at_start: sum.compiled_at_start + one.compiled_at_start,
        missing: sum.missing + one.missing,
        useless: sum.useless + one.useless,
    }
}

/// The size, and in how many object files each architecture is.
fn cells(side: Option<&Side>) -> String {
    let Some(side) = side else { return "– | –".to_owned() };
    let listed = |counts: &BTreeMap<String, usize>| {
        counts.iter().map(|(arch, count)| format!("{arch}×{count}")).collect::<Vec<_>>()
    };
    // PTX is for a virtual architecture, as nvcc calls it.
    let ptx = listed(&side.ptx).into_iter().map(|ptx| ptx.replacen("sm_", "compute_", 1));
    let code: Vec<_> = listed(&side.sass).into_iter().chain(ptx).collect();
    let code = code.join(" ");
    let code = if code.is_empty() { "none" } else { &code };
    format!("{} | {code}", HumanBytes(side.size))
}
