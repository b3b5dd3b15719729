//! The table of a dry run.

use std::collections::BTreeSet;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use crosswheel::plan::{Plan, PlannedDownload};
use indicatif::HumanBytes;

use crate::screen::minutes;

/// Prints what would be built on stdout, and what it would take.
pub fn print(plans: &[Plan]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["package", "target", "Python", "torch", "to download", "actions", "time"]);
    for plan in plans {
        let (actions, time) = match (&plan.up_to_date, plan.actions, plan.estimate_ms) {
            (Some(_), ..) => ("0".to_owned(), "up to date".to_owned()),
            (None, Some(actions), Some(ms)) => {
                (actions.to_string(), minutes(Duration::from_millis(ms)))
            }
            _ => ("?".to_owned(), "not known".to_owned()),
        };
        table.add_row([
            plan.source.clone(),
            plan.target.clone(),
            plan.python.clone(),
            plan.torch.clone(),
            amount(&plan.downloads.iter().collect()),
            actions,
            time,
        ]);
    }
    println!("{table}");
    // What builds have in common is downloaded once.
    let all: BTreeSet<&PlannedDownload> = plans.iter().flat_map(|plan| &plan.downloads).collect();
    let builds = plans.iter().filter(|plan| plan.up_to_date.is_none()).count();
    println!("to build: {builds}; to download in all: {}", amount(&all));
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
