//! Whether device code runs on a GPU.
//!
//! Source: the CUDA C++ Programming Guide, "Application Compatibility" and "Feature Set Compiler
//! Targets". Machine code runs on GPUs of its major version with the same or a later minor one;
//! PTX is compiled for any later GPU; `f` code keeps to its family and `a` code to its GPU.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::fatbin::{Compression, Entry, Fatbin, GpuArch, Kind, Variant};
use crate::target::Sm;

/// How one GPU is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Coverage {
    /// By machine code.
    Sass,
    /// Only by PTX, which the driver compiles when the program first starts.
    PtxOnly,
    /// Only by `a` or `f` code for other GPUs: kernels that were written for them alone.
    OtherGpusOnly,
    /// By nothing.
    Missing,
}

/// Whether this entry runs on the GPU, compiled by the driver or not.
pub fn runs_on(entry: &Entry, gpu: Sm) -> bool {
    let GpuArch { sm, variant } = entry.arch;
    // 10.1 was Thor's number before CUDA 13; it was never of the family of 10.0 and 10.3.
    let same_family = sm.major() == gpu.major() && (sm == gpu || gpu != Sm(101)) && sm <= gpu;
    match (entry.kind, variant) {
        (Kind::Intermediate, _) => false,
        (_, Variant::Specific) => sm == gpu,
        (_, Variant::Family) | (Kind::Sass, Variant::Plain) => same_family,
        (Kind::Ptx, Variant::Plain) => sm <= gpu,
    }
}

/// How the device code of one object file serves a GPU; `entries` is not empty.
pub fn coverage(entries: &[Entry], gpu: Sm) -> Coverage {
    let by = |kind| entries.iter().any(|e| e.kind == kind && runs_on(e, gpu));
    if by(Kind::Sass) {
        Coverage::Sass
    } else if by(Kind::Ptx) {
        Coverage::PtxOnly
    } else if entries.iter().all(|e| e.arch.variant != Variant::Plain) {
        Coverage::OtherGpusOnly
    } else {
        Coverage::Missing
    }
}

/// Device code of one form for one architecture, summed over a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceCode {
    /// Its form.
    pub kind: Kind,
    /// What it was compiled for, such as `sm_110a`.
    pub arch: GpuArch,
    /// How it is stored.
    pub compression: Compression,
    /// How many object files have it.
    pub count: usize,
    /// Bytes as stored.
    pub stored: u64,
    /// Bytes once decompressed.
    pub size: u64,
}

/// The device code of a file: one line for each form, architecture and compression.
pub fn summary(fatbins: &[Fatbin]) -> Vec<DeviceCode> {
    let mut lines: BTreeMap<_, DeviceCode> = BTreeMap::new();
    for entry in fatbins.iter().flat_map(|f| &f.entries) {
        let Entry { kind, arch, compression, stored, size } = *entry;
        let line = lines.entry((kind, arch, compression)).or_insert(DeviceCode {
            kind,
            arch,
            compression,
            count: 0,
            stored: 0,
            size: 0,
        });
        line.count += 1;
        line.stored = line.stored.saturating_add(stored);
        line.size = line.size.saturating_add(size);
    }
    lines.into_values().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: Kind, sm: u16, variant: Variant) -> Entry {
        let arch = GpuArch { sm: Sm(sm), variant };
        Entry { kind, arch, compression: Compression::None, stored: 8, size: 8 }
    }

    #[test]
    fn code_runs_where_the_guide_says() {
        use Kind::{Intermediate, Ptx, Sass};
        use Variant::{Family, Plain, Specific};
        for (kind, sm, variant, gpu, expected) in [
            (Sass, 110, Plain, 110, true),
            (Sass, 80, Plain, 89, true),
            (Sass, 89, Plain, 80, false),
            (Sass, 90, Plain, 100, false),
            (Sass, 100, Plain, 110, false),
            (Sass, 120, Plain, 121, true),
            (Sass, 100, Specific, 103, false),
            (Sass, 100, Specific, 100, true),
            (Sass, 100, Family, 103, true),
            (Sass, 103, Family, 100, false),
            (Sass, 100, Family, 101, false),
            (Sass, 100, Family, 110, false),
            (Ptx, 80, Plain, 110, true),
            (Ptx, 120, Plain, 110, false),
            (Ptx, 90, Specific, 100, false),
            (Ptx, 120, Family, 121, true),
            (Intermediate, 110, Plain, 110, false),
        ] {
            let code = entry(kind, sm, variant);
            assert_eq!(runs_on(&code, Sm(gpu)), expected, "{kind:?} {} on {gpu}", code.arch);
        }
    }

    #[test]
    fn coverage_prefers_machine_code() {
        let ptx = entry(Kind::Ptx, 80, Variant::Plain);
        let sass = entry(Kind::Sass, 110, Variant::Plain);
        let hopper = entry(Kind::Sass, 90, Variant::Specific);
        let thor = Sm(110);
        assert_eq!(coverage(&[ptx, sass], thor), Coverage::Sass);
        assert_eq!(coverage(&[ptx, hopper], thor), Coverage::PtxOnly);
        assert_eq!(coverage(&[hopper], thor), Coverage::OtherGpusOnly);
        assert_eq!(
            coverage(&[entry(Kind::Sass, 90, Variant::Plain), hopper], thor),
            Coverage::Missing
        );
    }
}
