//! What the cache did, layer by layer: whole objects, links, and the tools below nvcc.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How often results of one layer were there, and how often they were made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Uses {
    /// Results that came out of the cache.
    pub hits: u64,
    /// Tools that ran.
    pub runs: u64,
    /// Processor time that the hits took when they ran, in milliseconds.
    pub saved_ms: u64,
}

impl Uses {
    /// Of one tool: what it cost once, where it did not run.
    pub(crate) fn of(saved_ms: Option<u64>) -> Self {
        match saved_ms {
            Some(saved_ms) => Self { hits: 1, runs: 0, saved_ms },
            None => Self { hits: 0, runs: 1, saved_ms: 0 },
        }
    }
}

/// By name: a kind of action, such as `compile-cuda`, or a tool below nvcc.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Layers(pub BTreeMap<String, Uses>);

impl Layers {
    /// Adds to one layer.
    pub(crate) fn add(&mut self, layer: &str, uses: Uses) {
        let sum = self.0.entry(layer.to_owned()).or_default();
        sum.hits += uses.hits;
        sum.runs += uses.runs;
        sum.saved_ms += uses.saved_ms;
    }

    /// Adds all of another one.
    pub(crate) fn extend(&mut self, other: &Self) {
        for (layer, uses) in &other.0 {
            self.add(layer, *uses);
        }
    }
}
