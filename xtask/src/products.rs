//! The table at the end of a build.

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};
use crosswheel::pipeline::Product;
use indicatif::HumanBytes;

use crate::commands::Session;
use crate::screen::minutes;

/// Prints what was built on stdout, and what it cost on stderr.
pub fn print(session: &Session, products: &[Product]) {
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
    let cp311 = products.iter().any(|product| product.python == "cp311");
    if cp311 && !session.context.config.python_headers.contains_key("3.12") {
        eprintln!(
            "note: cp311 wheels install on Python 3.11 only; JetPack 7 has 3.12, for which give \
             its headers: `--python 3.12 --python-headers 3.12=PATH`"
        );
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

fn duration(product: &Product) -> String {
    match product.up_to_date {
        true => "up to date".to_owned(),
        false => minutes(Duration::from_millis(product.wall_ms)),
    }
}
