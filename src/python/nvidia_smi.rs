//! `nvidia-smi` as the target would have it: some build scripts ask it what to build for.

use std::path::Path;

use super::programs::write_script;
use crate::target::Target;

/// What answers, below the facts.
pub(super) const SCRIPT: &str = include_str!("shim/nvidia-smi.sh");

/// The oldest drivers of CUDA's major versions (CUDA Toolkit Release Notes, "CUDA Toolkit and
/// Minimum Required Driver Version for CUDA Minor Version Compatibility").
fn driver(cuda: &str) -> &'static str {
    match cuda.split('.').next() {
        Some("12") => "525.60.13",
        _ => "580.65.06",
    }
}

/// Writes the program. GPUs are called as the torch SDK calls them (`torch.cuda.get_device_name`).
pub(super) fn write(bin: &Path, target: &Target) -> std::io::Result<()> {
    let gpu = |(index, sm): (usize, &crate::target::Sm)| {
        let (name, capability) = (&target.name, (sm.major(), sm.minor()));
        format!("{index}|crosswheel target {name} ({sm})|{}.{}", capability.0, capability.1)
    };
    let gpus: Vec<_> = target.sm.iter().enumerate().map(gpu).collect();
    let (cuda, driver) = (&target.cuda, driver(&target.cuda));
    let facts = format!("driver={driver}\ncuda={cuda}\ngpus='{}'\n\n", gpus.join("\n"));
    write_script(&bin.join("nvidia-smi"), &(facts + SCRIPT))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::{Command, Interrupt};

    fn ask(bin: &Path, args: &[&str]) -> (u8, String) {
        let command = Command::new(bin.join("nvidia-smi"), bin).args(args);
        let finished = command.variable("PATH", "/usr/bin:/bin").run(&Interrupt::new()).unwrap();
        (finished.code(), finished.tail.join("\n"))
    }

    #[test]
    fn it_says_what_the_target_is() {
        let bin = tempfile::tempdir().unwrap();
        let targets = Path::new(env!("CARGO_MANIFEST_DIR")).join("toolchains/targets");
        write(bin.path(), &Target::load(&targets, "sbsa").unwrap()).unwrap();
        let query = "--query-gpu=name,compute_cap,driver_version,memory.total";
        let rows: Vec<_> = [("90", "9.0"), ("100", "10.0"), ("103", "10.3")]
            .iter()
            .map(|(sm, cap)| format!("crosswheel target sbsa (sm_{sm}), {cap}, 580.65.06, [N/A]"))
            .collect();
        assert_eq!(ask(bin.path(), &[query, "--format=csv,noheader"]), (0, rows.join("\n")));
        assert_eq!(
            ask(bin.path(), &[query, "--format=csv", "-i", "1"]).1,
            format!("name, compute_cap, driver_version, memory.total [MiB]\n{}", rows[1])
        );
        let (code, table) = ask(bin.path(), &[]);
        assert_eq!(code, 0);
        assert!(
            table.contains("Driver Version: 580.65.06 ") && table.contains("CUDA Version: 13.0 ")
        );
        assert!(table.contains("crosswheel target sbsa (sm_103)"), "{table}");
        assert!(table.lines().all(|line| line.len() == 91), "{table}");
        assert_eq!(ask(bin.path(), &["-L"]).1.lines().count(), 3);
        assert_eq!(ask(bin.path(), &["--query-gpu=name,moon"]).0, 2);
        assert_eq!(ask(bin.path(), &["--moon"]).0, 2);
    }
}
