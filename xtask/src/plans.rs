//! The table of a dry run.

use std::collections::BTreeSet;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use crosswheel::actions::Expected;
use crosswheel::plan::{Plan, PlannedDownload};
use indicatif::HumanBytes;

use crate::screen::minutes;

/// Prints what would be built on stdout, and what it would take.
pub fn print(plans: &[Plan]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header([
        "package",
        "target",
        "Python",
        "torch",
        "to download",
        "compilers",
        "CPU time",
        "memory",
        "time",
    ]);
    for plan in plans {
        let [actions, cpu, memory, time] = cost(plan);
        table.add_row([
            plan.source.clone(),
            plan.target.clone(),
            plan.python.clone(),
            plan.torch.clone(),
            amount(&plan.downloads.iter().collect()),
            actions,
            cpu,
            memory,
            time,
        ]);
    }
    println!("{table}");
    for (plan, left) in plans.iter().filter_map(|plan| Some((plan, plan.left?))) {
        let Expected { actions, known, .. } = left;
        if known < actions {
            let rest = "the others for the mean of their kind";
            println!("{}: {known} of {actions} are taken for what they took, {rest}", plan.source);
        }
    }
    // What builds have in common is downloaded once.
    let all: BTreeSet<&PlannedDownload> = plans.iter().flat_map(|plan| &plan.downloads).collect();
    let builds = plans.iter().filter(|plan| plan.up_to_date.is_none()).count();
    println!("to build: {builds}; to download in all: {}", amount(&all));
}

/// How many compiler calls are left of how many, and what they take.
fn cost(plan: &Plan) -> [String; 4] {
    let nothing = || "–".to_owned();
    match (&plan.up_to_date, plan.actions, &plan.left) {
        (Some(_), ..) => ["0".to_owned(), nothing(), nothing(), "up to date".to_owned()],
        (None, Some(all), Some(left)) => [
            if left.actions == all {
                all.to_string()
            } else {
                format!("{} of {all}", left.actions)
            },
            minutes(Duration::from_millis(left.cpu_ms)),
            HumanBytes(left.peak_memory).to_string(),
            minutes(left.wall()),
        ],
        _ => ["?".to_owned(), "?".to_owned(), "?".to_owned(), "not known".to_owned()],
    }
}

fn amount(downloads: &BTreeSet<&PlannedDownload>) -> String {
    match downloads.len() {
        0 => "nothing".to_owned(),
        files => {
            let bytes = downloads.iter().map(|download| download.bytes).sum();
            format!("{files} files, {}", HumanBytes(bytes))
        }
    }
}
