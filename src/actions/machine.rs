//! How much memory the machine, or the part of it that this process may use, has left.

use std::path::{Path, PathBuf};

/// What is never given away, beside what the kernel keeps: other programs grow too.
const MARGIN: u64 = 256 << 20;
/// Above so many hundredths of the last ten seconds in which some process waited for memory,
/// nothing more is started.
const PRESSURE: f64 = 10.0;

/// Reads the kernel's files below a root, which tests put elsewhere.
#[derive(Debug, Clone)]
pub(super) struct Kernel {
    root: PathBuf,
}

impl Default for Kernel {
    fn default() -> Self {
        Self { root: "/".into() }
    }
}

impl Kernel {
    /// One whose files are below another folder.
    #[cfg(test)]
    pub(super) fn below(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    fn read(&self, path: impl AsRef<Path>) -> Option<String> {
        fs_err::read_to_string(self.root.join(path)).ok()
    }

    /// Bytes that are free, as far as is known: of the machine, and below the limit of each control
    /// group (cgroups(7), of either version) that this process is in.
    pub(super) fn free(&self) -> u64 {
        let machine = self.read("proc/meminfo").and_then(|text| meminfo(&text));
        let groups = self.read("proc/self/cgroup").unwrap_or_default();
        let free = groups.lines().flat_map(|line| self.group(line)).chain(machine).min();
        free.unwrap_or(u64::MAX).saturating_sub(MARGIN)
    }

    /// A line of `/proc/self/cgroup`: what is left of each group's limit, up to the root.
    fn group(&self, line: &str) -> Vec<u64> {
        let mut parts = line.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            return Vec::new();
        };
        let version = match controllers {
            "" => &V2,
            list if list.split(',').any(|name| name == "memory") => &V1,
            _ => return Vec::new(),
        };
        let path = Path::new(path.trim_start_matches('/'));
        path.ancestors().filter_map(|group| self.left(version, group)).collect()
    }

    fn left(&self, version: &Version, group: &Path) -> Option<u64> {
        let folder = Path::new(version.root).join(group);
        let number = |name: &str| self.read(folder.join(name))?.trim().parse::<u64>().ok();
        // `max` of version 2 is no number; version 1 has a number that no machine has.
        let limit = number(version.limit)?;
        let used = number(version.used)?;
        let stat = self.read(folder.join("memory.stat")).unwrap_or_default();
        let cached = stat.lines().find_map(|line| line.strip_prefix(version.reclaimable));
        let cached: u64 = cached.and_then(|number| number.trim().parse().ok()).unwrap_or(0);
        Some(limit.saturating_sub(used.saturating_sub(cached)))
    }

    /// Whether processes wait for memory (PSI, the kernel's `accounting/psi.rst`).
    pub(super) fn is_pressed(&self) -> bool {
        let text = self.read("proc/pressure/memory").unwrap_or_default();
        let some = text.lines().find_map(|line| line.strip_prefix("some avg10="));
        let share = some.and_then(|rest| rest.split(' ').next()?.parse::<f64>().ok());
        share.is_some_and(|share| share > PRESSURE)
    }
}

/// The names of files of the memory controller.
struct Version {
    root: &'static str,
    limit: &'static str,
    used: &'static str,
    reclaimable: &'static str,
}

const V1: Version = Version {
    root: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    used: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file ",
};

const V2: Version = Version {
    root: "sys/fs/cgroup",
    limit: "memory.max",
    used: "memory.current",
    reclaimable: "inactive_file ",
};

/// `MemAvailable`, which is in kB.
fn meminfo(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok().map(|kb| kb * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn kernel(files: &[(&str, String)]) -> (tempfile::TempDir, Kernel) {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        }
        let root = folder.path().to_owned();
        (folder, Kernel { root })
    }

    fn available(mib: u64) -> (&'static str, String) {
        ("proc/meminfo", format!("MemTotal: 9 kB\nMemAvailable:   {} kB\n", mib * 1024))
    }

    fn bytes(mib: u64) -> String {
        format!("{}\n", mib * MIB)
    }

    #[test]
    fn without_groups_the_machine_is_the_limit() {
        let (_folder, machine) = kernel(&[available(8192)]);
        assert_eq!(machine.free(), (8192 - 256) * MIB);
        let (_folder, unknown) = kernel(&[]);
        assert!(unknown.free() > 1 << 60);
    }

    #[test]
    fn the_smallest_limit_above_counts_in_either_version() {
        let (_folder, v2) = kernel(&[
            available(8192),
            ("proc/self/cgroup", "0::/outer/inner\n".to_owned()),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n".to_owned()),
            ("sys/fs/cgroup/outer/inner/memory.current", bytes(100)),
            ("sys/fs/cgroup/outer/memory.max", bytes(6144)),
            ("sys/fs/cgroup/outer/memory.current", bytes(2048)),
            ("sys/fs/cgroup/outer/memory.stat", format!("inactive_file {}\n", 1024 * MIB)),
        ]);
        assert_eq!(v2.free(), (6144 - 1024 - 256) * MIB);
        let (_folder, v1) = kernel(&[
            available(8192),
            ("proc/self/cgroup", "5:cpu:/x\n4:memory:/job\n0::/\n".to_owned()),
            ("sys/fs/cgroup/memory/job/memory.limit_in_bytes", bytes(4096)),
            ("sys/fs/cgroup/memory/job/memory.usage_in_bytes", bytes(1024)),
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n".to_owned()),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", bytes(20_000)),
        ]);
        assert_eq!(v1.free(), (4096 - 1024 - 256) * MIB);
    }

    #[test]
    fn pressure_is_a_share_of_the_last_seconds() {
        for (text, pressed) in [
            ("some avg10=35.10 avg60=1.00 avg300=0.00 total=1\nfull avg10=0.00\n", true),
            ("some avg10=0.40 avg60=50.00 avg300=0.00 total=1\n", false),
            ("", false),
        ] {
            let (_folder, kernel) = kernel(&[("proc/pressure/memory", text.to_owned())]);
            assert_eq!(kernel.is_pressed(), pressed, "{text}");
        }
    }
}
