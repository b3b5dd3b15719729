//! Narrowing of `-gencode`: each of the target's SMs gets SASS that runs on it, nothing else is
//! compiled.
//!
//! Sources of the rules: NVIDIA's nvcc manual, "GPU Compilation", and the CUDA programming guide,
//! "Compute Capabilities", on which code runs where:
//!
//! - `sm_100` runs on 10.0 and later minor versions; `sm_100a` on 10.0 alone; `sm_100f` on the
//!   later minor versions of its family, which is the major version;
//! - `compute_80` can be assembled for every later architecture, `compute_90a` for 9.0 alone.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

use crate::target::Sm;

/// The architecture for which nvcc 13 compiles when it is told none, which is the oldest that it
/// knows (nvcc manual, `--gpu-architecture`).
pub const NVCC_DEFAULT: Sm = Sm(75);

/// Which chips an architecture's features are common to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Variant {
    /// No suffix: this one and all later ones.
    Plain,
    /// `f`: its family.
    Family,
    /// `a`: this one alone.
    Specific,
}

/// An architecture with its variant, such as the `110a` of `sm_110a` and `compute_110a`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Arch {
    /// The number.
    pub sm: Sm,
    /// The suffix.
    pub variant: Variant,
}

/// What is made from a virtual architecture.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Code {
    /// `sm_…`: SASS.
    Sass(Arch),
    /// `compute_…` or `lto_…`: an intermediate form that the driver or linker compiles.
    Intermediate(Arch),
}

/// One virtual architecture and what is made from it: `arch=compute_80,code=[sm_80,compute_80]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gencode {
    /// The virtual architecture, which sets `__CUDA_ARCH__`.
    pub arch: Arch,
    /// What is made from it.
    pub codes: Vec<Code>,
}

/// Text that names no architecture.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` names no GPU architecture that crosswheel knows")]
pub struct InvalidArch(pub String);

/// What was asked for holds nothing from which a target's code can be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "nothing that runs on {target} can be made: only {} asked for, which {target} cannot run, and \
     no plain `compute_X` up to {target} to make it from",
    list(asked)
)]
pub struct NotCovered {
    /// The SM without code.
    pub target: Sm,
    /// All that was asked for.
    pub asked: Vec<String>,
}

fn list(asked: &[String]) -> String {
    let quoted: Vec<_> = asked.iter().map(|name| format!("`{name}`")).collect();
    format!("{} {}", quoted.join(", "), if quoted.len() == 1 { "was" } else { "were" })
}

impl Arch {
    /// An architecture without suffix.
    pub const fn plain(sm: Sm) -> Self {
        Self { sm, variant: Variant::Plain }
    }

    /// Whether SASS for this runs on a chip, and is what a fatbin for exactly it should hold.
    ///
    /// Plain SASS of an earlier minor version would run too, but another chip's code is not what
    /// a target is given: `sm_86` is no substitute for `sm_87`.
    fn serves(self, chip: Sm) -> bool {
        match self.variant {
            Variant::Plain | Variant::Specific => self.sm == chip,
            Variant::Family => self.sm.major() == chip.major() && self.sm <= chip,
        }
    }
}

impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let suffix = match self.variant {
            Variant::Plain => "",
            Variant::Family => "f",
            Variant::Specific => "a",
        };
        write!(f, "{}{suffix}", self.sm.0)
    }
}

impl FromStr for Arch {
    type Err = InvalidArch;

    fn from_str(text: &str) -> Result<Self, InvalidArch> {
        let (digits, variant) = match text.strip_suffix(['a', 'f']) {
            Some(digits) if text.ends_with('a') => (digits, Variant::Specific),
            Some(digits) => (digits, Variant::Family),
            None => (text, Variant::Plain),
        };
        let number = digits.bytes().all(|b| b.is_ascii_digit()).then_some(digits);
        let sm = number.and_then(|digits| digits.parse().ok());
        sm.map(|sm| Self { sm, variant }).ok_or_else(|| InvalidArch(text.to_owned()))
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sass(arch) => write!(f, "sm_{arch}"),
            Self::Intermediate(arch) => write!(f, "compute_{arch}"),
        }
    }
}

impl FromStr for Code {
    type Err = InvalidArch;

    fn from_str(text: &str) -> Result<Self, InvalidArch> {
        let invalid = |_| InvalidArch(text.to_owned());
        match text.split_once('_') {
            Some(("sm", arch)) => arch.parse().map(Self::Sass).map_err(invalid),
            Some(("compute" | "lto", arch)) => {
                arch.parse().map(Self::Intermediate).map_err(invalid)
            }
            _ => Err(InvalidArch(text.to_owned())),
        }
    }
}

impl Code {
    /// Its architecture.
    pub fn arch(self) -> Arch {
        match self {
            Self::Sass(arch) | Self::Intermediate(arch) => arch,
        }
    }
}

impl fmt::Display for Gencode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let codes: Vec<_> = self.codes.iter().map(Code::to_string).collect();
        match &codes[..] {
            [code] => write!(f, "arch=compute_{},code={code}", self.arch),
            codes => write!(f, "arch=compute_{},code=[{}]", self.arch, codes.join(",")),
        }
    }
}

impl FromStr for Gencode {
    type Err = InvalidArch;

    /// Reads the value of `-gencode`: `arch=…,code=…`, where a list of codes may stand in
    /// brackets or quotes, and a missing `code` stands for the virtual architecture.
    fn from_str(text: &str) -> Result<Self, InvalidArch> {
        let invalid = || InvalidArch(text.to_owned());
        let bare: String = text.chars().filter(|c| !"[]\"'\\ ".contains(*c)).collect();
        let (mut arch, mut codes, mut in_codes) = (None, Vec::new(), false);
        for field in bare.split(',').filter(|field| !field.is_empty()) {
            let code = match field.split_once('=') {
                Some(("arch", name)) => {
                    in_codes = false;
                    arch = Some(name.parse::<Code>()?.arch());
                    continue;
                }
                Some(("code", name)) => {
                    in_codes = true;
                    name
                }
                None if in_codes => field,
                _ => return Err(invalid()),
            };
            codes.push(code.parse()?);
        }
        let arch = arch.ok_or_else(invalid)?;
        if codes.is_empty() {
            codes.push(Code::Intermediate(arch));
        }
        Ok(Self { arch, codes })
    }
}

/// What `-arch` without `-code` asks for (nvcc manual, `--gpu-architecture`): `sm_80` is short for
/// its SASS and PTX; `native` and `all` hold the target's own; `all-major` the first of each major
/// version, from the oldest that nvcc supports.
pub fn shorthand(value: &str, targets: &[Sm]) -> Result<Vec<Gencode>, InvalidArch> {
    let sass = |arch: Arch, chip: Sm| Gencode { arch, codes: vec![Code::Sass(Arch::plain(chip))] };
    Ok(match value {
        "native" | "all" => targets.iter().map(|chip| sass(Arch::plain(*chip), *chip)).collect(),
        "all-major" => targets
            .iter()
            .map(|chip| sass(Arch::plain(Sm(chip.major() * 10).max(NVCC_DEFAULT)), *chip))
            .collect(),
        _ => {
            let code: Code = value.parse()?;
            let arch = code.arch();
            let mut codes = vec![code];
            if matches!(code, Code::Sass(_)) {
                codes.push(Code::Intermediate(arch));
            }
            vec![Gencode { arch, codes }]
        }
    })
}

/// What is compiled instead of what was asked for.
///
/// For each SM of the target: what was asked for that serves it, with its virtual architecture;
/// else intermediate code of its own `a` or `f` variant, assembled; else the highest plain virtual
/// architecture not above it, so that the source sees the `__CUDA_ARCH__` that it would see in
/// upstream's build on that machine.
pub fn narrow(asked: &[Gencode], targets: &[Sm]) -> Result<Vec<Gencode>, NotCovered> {
    let pairs: Vec<(Arch, Code)> = asked
        .iter()
        .flat_map(|gencode| gencode.codes.iter().map(|code| (gencode.arch, *code)))
        .collect();
    let mut made: BTreeMap<Arch, BTreeSet<Code>> = BTreeMap::new();
    for &target in targets {
        let chosen = choose(&pairs, target);
        if chosen.is_empty() {
            let asked: BTreeSet<_> = pairs.iter().map(|(_, code)| code.to_string()).collect();
            return Err(NotCovered { target, asked: asked.into_iter().collect() });
        }
        for (arch, code) in chosen {
            made.entry(arch).or_default().insert(code);
        }
    }
    Ok(made
        .into_iter()
        .map(|(arch, codes)| Gencode { arch, codes: codes.into_iter().collect() })
        .collect())
}

fn choose(pairs: &[(Arch, Code)], target: Sm) -> Vec<(Arch, Code)> {
    let serving = |(_, code): &&(Arch, Code)| matches!(code, Code::Sass(a) if a.serves(target));
    let as_asked: Vec<_> = pairs.iter().filter(serving).copied().collect();
    if !as_asked.is_empty() {
        return as_asked;
    }
    let arches = || pairs.iter().map(|(arch, _)| *arch);
    let own = arches().filter(|a| a.variant != Variant::Plain && a.serves(target)).max();
    let plain = arches().filter(|a| a.variant == Variant::Plain && a.sm <= target).max();
    match (own, plain) {
        (Some(own), _) => vec![(own, Code::Sass(own))],
        // What nvcc compiles for no more is taken for the oldest that it does.
        (None, Some(plain)) => {
            let virtual_arch = Arch::plain(plain.sm.max(NVCC_DEFAULT));
            vec![(virtual_arch, Code::Sass(Arch::plain(target)))]
        }
        (None, None) => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn narrowed(asked: &[&str], targets: &[u16]) -> Result<String, NotCovered> {
        let asked: Vec<Gencode> = asked.iter().map(|text| text.parse().unwrap()).collect();
        let targets: Vec<_> = targets.iter().copied().map(Sm).collect();
        let made = narrow(&asked, &targets)?;
        Ok(made.iter().map(Gencode::to_string).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn each_target_is_covered_and_nothing_else() {
        const UPSTREAM: &[&str] = &[
            "arch=compute_75,code=sm_75",
            "arch=compute_80,code=sm_80",
            "arch=compute_90,code=sm_90",
            "arch=compute_100,code=sm_100",
            "arch=compute_120,code=[sm_120,compute_120]",
        ];
        for (asked, targets, want) in [
            // Asked for as it is.
            (&["arch=compute_110,code=sm_110"][..], &[110][..], "arch=compute_110,code=sm_110"),
            // Made from the highest below; the PTX of a later one is of no use.
            (UPSTREAM, &[110], "arch=compute_100,code=sm_110"),
            (UPSTREAM, &[121], "arch=compute_120,code=sm_121"),
            (
                UPSTREAM,
                &[90, 100, 103],
                "arch=compute_90,code=sm_90 arch=compute_100,code=[sm_100,sm_103]",
            ),
            // Older than nvcc 13 knows.
            (
                &["arch=compute_50,code=compute_50", "arch=compute_70,code=sm_70"],
                &[110],
                "arch=compute_75,code=sm_110",
            ),
            // PTX alone becomes SASS.
            (&["arch=compute_110,code=compute_110"], &[110], "arch=compute_110,code=sm_110"),
            (&["arch=compute_80,code=lto_80"], &[90], "arch=compute_80,code=sm_90"),
            // Variants of the target itself stay, with or without the plain one.
            (
                &["arch=compute_110a,code=sm_110a", "arch=compute_80,code=sm_80"],
                &[110],
                "arch=compute_110a,code=sm_110a",
            ),
            (
                &["arch=compute_90a,code=sm_90a", "arch=compute_90,code=sm_90"],
                &[90],
                "arch=compute_90,code=sm_90 arch=compute_90a,code=sm_90a",
            ),
            (&["arch=compute_110a,code=compute_110a"], &[110], "arch=compute_110a,code=sm_110a"),
            // A family's code runs on its later members.
            (&["arch=compute_100f,code=sm_100f"], &[100, 103], "arch=compute_100f,code=sm_100f"),
            (
                &["arch=compute_103f,code=sm_103f", "arch=compute_90,code=sm_90"],
                &[100],
                "arch=compute_90,code=sm_100",
            ),
            // Other chips' variants are dropped where a plain one is left.
            (
                &["arch=compute_90a,code=sm_90a", "arch=compute_80,code=sm_80"],
                &[110],
                "arch=compute_80,code=sm_110",
            ),
            // A lower virtual architecture that upstream chose for the target is kept.
            (
                &["arch=compute_80,code=sm_110", "arch=compute_90,code=sm_90"],
                &[110],
                "arch=compute_80,code=sm_110",
            ),
        ] {
            assert_eq!(narrowed(asked, targets).as_deref(), Ok(want), "{asked:?} {targets:?}");
        }
    }

    #[test]
    fn what_cannot_be_covered_is_said() {
        let error = narrowed(&["arch=compute_90a,code=sm_90a"], &[110]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "nothing that runs on sm_110 can be made: only `sm_90a` was asked for, which sm_110 \
             cannot run, and no plain `compute_X` up to sm_110 to make it from"
        );
        assert!(narrowed(&["arch=compute_120,code=compute_120"], &[110]).is_err());
        assert!(narrowed(&["arch=compute_100f,code=sm_100f"], &[110]).is_err());
        assert!(narrowed(&[], &[110]).is_err());
    }

    #[test]
    fn gencode_is_read_in_all_its_spellings() {
        for (text, want) in [
            ("arch=compute_90a,code=sm_90a", "arch=compute_90a,code=sm_90a"),
            (
                "arch=compute_80,code=\\\"sm_80,compute_80\\\"",
                "arch=compute_80,code=[sm_80,compute_80]",
            ),
            ("code=[sm_80, sm_86],arch=compute_80", "arch=compute_80,code=[sm_80,sm_86]"),
            ("arch=compute_80", "arch=compute_80,code=compute_80"),
            ("arch=compute_80,code=sm_80,code=sm_86", "arch=compute_80,code=[sm_80,sm_86]"),
        ] {
            assert_eq!(text.parse::<Gencode>().unwrap().to_string(), want, "{text}");
        }
        for wrong in ["", "code=sm_80", "arch=sm_,code=sm_80", "arch=compute_80,sm_80", "arch=80"] {
            assert!(wrong.parse::<Gencode>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn arch_shorthands_are_expanded() {
        let expand = |value: &str, targets: &[u16]| {
            let targets: Vec<_> = targets.iter().copied().map(Sm).collect();
            let gencodes = shorthand(value, &targets).unwrap();
            gencodes.iter().map(Gencode::to_string).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(expand("sm_90a", &[110]), "arch=compute_90a,code=[sm_90a,compute_90a]");
        assert_eq!(expand("compute_80", &[110]), "arch=compute_80,code=compute_80");
        assert_eq!(expand("native", &[110]), "arch=compute_110,code=sm_110");
        assert_eq!(
            expand("all-major", &[103, 121]),
            "arch=compute_100,code=sm_103 arch=compute_120,code=sm_121"
        );
        assert!(shorthand("host", &[]).is_err());
    }
}
