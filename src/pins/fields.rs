//! `Requires-Dist` of `METADATA` and `PKG-INFO`.

use std::collections::BTreeSet;

use pep508_rs::PackageName;

use super::listed::lines_of;
use super::site::{Place, Site};
use crate::package::metadata;

/// Looks for requirements on packages of these names.
pub(super) fn find(text: &str, place: Place, names: &BTreeSet<PackageName>) -> Vec<Site> {
    let fields = metadata::places(text.as_bytes(), "Requires-Dist");
    let site = |span: std::ops::Range<usize>| {
        let raw = &text[span.clone()];
        let start = span.start + (raw.len() - raw.trim_start().len());
        let span = start..start + raw.trim().len();
        let site = Site::requirement(text[span.clone()].to_owned(), span.clone(), place, names)?;
        Some(site.within(lines_of(text, span)))
    };
    fields.into_iter().filter_map(site).collect()
}
