//! The table at the end of a build.

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use crosswheel::cache::Layers;
use crosswheel::cache::shared::Traffic;
use crosswheel::pipeline::Product;
use crosswheel::target::Target;
use crosswheel::torch::lock::python_tag;
use indicatif::HumanBytes;
use serde::Serialize;

use crate::commands::{self, Session};
use crate::failure::Failure;
use crate::screen::minutes;

/// An entry of the JSON array: what was built or planned, then what failed.
#[derive(Serialize)]
#[serde(untagged)]
enum Entry<'a, T> {
    Done(&'a T),
    Failure(&'a Failure),
}

/// Prints one JSON array on stdout; it has failures only where the others went on.
pub fn print_json<T: Serialize>(done: &[T], failures: &[Failure]) -> anyhow::Result<()> {
    let done = done.iter().map(Entry::Done);
    let entries: Vec<_> = done.chain(failures.iter().map(Entry::Failure)).collect();
    commands::print_json(&entries)
}

/// Prints what was built on stdout, and what it cost on stderr.
pub fn print(session: &Session, products: &[Product], failures: &[Failure]) {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Dynamic);
    table.set_header(["wheel", "size", "target", "Python", "SASS", "needs", "files", "time"]);
    for product in products {
        table.add_row([
            product.wheel.file_name().unwrap_or_default().to_string_lossy().into_owned(),
            HumanBytes(product.size).to_string(),
            product.target.clone(),
            product.python.clone(),
            product.sass.join(" "),
            product.floors.join(" "),
            format!("{}/{}", product.ran, product.actions),
            duration(product),
        ]);
    }
    for failure in failures {
        let mut row = [const { String::new() }; 8];
        row[0].clone_from(&failure.request);
        row[2].clone_from(&failure.target);
        row[7] = "failed".to_owned();
        table.add_row(row);
    }
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    println!("{table}");
    if session.screen.is_quiet() {
        return;
    }
    for product in products.iter().filter(|product| product.up_to_date) {
        eprintln!("{} is up to date", product.wheel.display());
    }
    for product in products {
        note_python(session, product);
    }
    for product in products.iter().filter(|product| !product.up_to_date) {
        let seconds = |ms: u64| ms as f64 / 1000.0;
        eprintln!(
            "{}: compilers ran for {:.1} s and took {:.1} CPU s, up to {} each; the rest took {:.1} s",
            product.target,
            seconds(product.busy_ms),
            seconds(product.cpu_ms),
            HumanBytes(product.peak_memory),
            seconds(product.wall_ms.saturating_sub(product.busy_ms)),
        );
    }
    for product in products.iter().filter(|product| product.restored > 0) {
        eprintln!(
            "{}: the object cache had {} of {} and saved {:.1} CPU s",
            product.target,
            product.restored,
            product.restored + product.ran,
            product.saved_ms as f64 / 1000.0,
        );
    }
    for product in products {
        if let Some(below) = below_objects(&product.layers) {
            eprintln!("{}: {below}", product.target);
        }
        if let Some(shared) = &product.shared {
            eprintln!("{}: {}", product.target, traffic(shared));
        }
    }
    let received = session.context.registries.http().bytes_received();
    if received > 0 {
        let store = session.context.store.root();
        let used = crosswheel::store::disk_use(store).unwrap_or_default();
        eprintln!(
            "downloaded {} in all; the store takes {}",
            HumanBytes(received),
            HumanBytes(used)
        );
    }
}

/// What the cache had of objects that were compiled.
fn below_objects(layers: &Layers) -> Option<String> {
    let tools = ["cudafe++", "cicc", "ptxas"];
    let uses = tools.iter().filter_map(|tool| Some((tool, layers.0.get(*tool)?)));
    let uses: Vec<_> = uses.collect();
    let saved: u64 = uses.iter().map(|(_, uses)| uses.saved_ms).sum();
    let parts: Vec<String> = uses
        .iter()
        .map(|(tool, uses)| format!("{} of {} of {tool}", uses.hits, uses.hits + uses.runs))
        .collect();
    let seconds = saved as f64 / 1000.0;
    let text = format!("below objects it had {} and saved {seconds:.1} CPU s", parts.join(", "));
    (saved > 0).then_some(text)
}

/// What a build had of the shared cache, and what went wrong.
fn traffic(shared: &Traffic) -> String {
    let mut text = format!(
        "the shared cache gave {} ({}) and took {} ({})",
        shared.received,
        HumanBytes(shared.received_bytes),
        shared.sent,
        HumanBytes(shared.sent_bytes)
    );
    for (count, what) in [
        (shared.failed, "requests failed"),
        (shared.skipped, "were not made"),
        (shared.unsent, "results were not taken"),
        (shared.damaged, "entries were damaged"),
    ] {
        if count > 0 {
            text += &format!("; {count} {what}");
        }
    }
    text
}

fn duration(product: &Product) -> String {
    match product.up_to_date {
        true => "up to date".to_owned(),
        false => minutes(Duration::from_millis(product.wall_ms)),
    }
}

/// Says which setting gives a wheel for the Python that the target has, where this is for another.
fn note_python(session: &Session, product: &Product) {
    let targets = session.context.project.targets();
    let Ok(target) = Target::load(&targets, &product.target) else { return };
    let Some(preferred) = target.python.first() else { return };
    let tag = python_tag(preferred);
    let wheel = product.wheel.to_string_lossy();
    if wheel.contains("-abi3-") {
        return;
    }
    if product.python.starts_with("cp3") && product.python != tag {
        eprintln!(
            "note: {} wheels install on that Python only; `{}` has {preferred}, for which \
             `--python-headers {preferred}=PATH` takes the headers from a folder or archive",
            product.python, target.name,
        );
    }
}
