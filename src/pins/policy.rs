//! What becomes of a pin.

use std::fmt;
use std::str::FromStr;

use pep440_rs::{Operator, Version, VersionSpecifier, VersionSpecifiers};
use pep508_rs::{PackageName, VersionOrUrl};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::target::{Known, TargetTorch};

/// What a requirement on one package becomes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Policy {
    /// Exactly what the target has.
    Target,
    /// What fits the target, and whatever else the ABI of what was built allows.
    #[default]
    Compatible,
    /// Nothing: the requirement goes.
    Drop,
    /// This.
    Specifier(VersionSpecifiers),
}

impl FromStr for Policy {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.trim() {
            "target" => Ok(Self::Target),
            "compatible" => Ok(Self::Compatible),
            "drop" => Ok(Self::Drop),
            specifier => match specifier.parse::<VersionSpecifiers>() {
                Ok(specifiers) if !specifiers.is_empty() => Ok(Self::Specifier(specifiers)),
                _ => Err(format!(
                    "`{specifier}` is neither `target`, `compatible` nor `drop`, nor a version \
                     specifier such as `>=2.9,<2.10`"
                )),
            },
        }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Target => f.write_str("target"),
            Self::Compatible => f.write_str("compatible"),
            Self::Drop => f.write_str("drop"),
            Self::Specifier(specifiers) => specifiers.fmt(f),
        }
    }
}

impl Serialize for Policy {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Policy {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What of torch's interface a wheel is bound to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Abi {
    /// C++ symbols, which one minor release has.
    Minor,
    /// The stable interface, as this release and later ones have it, and what tells so.
    Stable(Version, &'static str),
    /// None.
    Unbound,
}

/// When a requirement is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Moment {
    /// Before configuring: what the build itself asks for.
    Build,
    /// Before configuring: what the package asks for when it runs, as far as its source tells.
    Source,
    /// At packaging.
    Wheel(Abi),
}

/// What becomes of a requirement, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Decision {
    /// It stays.
    Stays(String),
    /// Its version part becomes another.
    Becomes(VersionSpecifiers, String),
    /// It goes.
    Goes(String),
    /// The target cannot satisfy it, and it must not be relaxed.
    Refused(String),
}

/// Decides about a requirement that applies on the target. `policy` is one that was chosen for this
/// package; without one, [`Policy::Compatible`] holds, and what tells of another CUDA is refused.
pub(super) fn decide(
    name: &PackageName,
    wanted: Option<&VersionOrUrl>,
    policy: Option<&Policy>,
    moment: &Moment,
    torch: &TargetTorch,
) -> Decision {
    let known = torch.knows(name);
    let empty = VersionSpecifiers::empty();
    let (specifiers, is_url) = match wanted {
        Some(VersionOrUrl::VersionSpecifier(specifiers)) => (specifiers, false),
        Some(VersionOrUrl::Url(_)) => (&empty, true),
        None => (&empty, false),
    };
    let Some(known) = known else {
        return match policy {
            Some(Policy::Drop) => Decision::Goes("asked for".to_owned()),
            Some(Policy::Specifier(asked)) => become_asked(specifiers, is_url, asked),
            _ => Decision::Stays(format!("nothing is known of the target's {name}")),
        };
    };
    if policy.is_none()
        && let Some(major) = other_cuda(wanted, torch)
    {
        return Decision::Refused(format!(
            "it is for CUDA {major}, and {} has {}",
            torch, torch.cuda
        ));
    }
    match policy.unwrap_or(&Policy::Compatible) {
        Policy::Drop => Decision::Goes("asked for".to_owned()),
        Policy::Specifier(asked) if known.refuses(asked) => {
            Decision::Refused(format!("`{}` was asked for, and {}", text(asked), known.says(name)))
        }
        Policy::Specifier(asked) => become_asked(specifiers, is_url, asked),
        Policy::Target => exactly(name, specifiers, is_url, &known),
        Policy::Compatible => match (moment, &known) {
            (Moment::Build, Known::Version(version)) => {
                // A build has no choice: it gets what there is.
                match !is_url && admits(specifiers, version) {
                    true => Decision::Stays(known.says(name)),
                    false => Decision::Becomes(equal(version), known.says(name)),
                }
            }
            (Moment::Wheel(abi), Known::Version(version)) if name.as_ref() == TORCH => {
                by_abi(specifiers, is_url, version, abi)
            }
            _ => match !is_url && !known.refuses(specifiers) {
                true => Decision::Stays(known.says(name)),
                false => Decision::Becomes(minor(known.version()), known.says(name)),
            },
        },
    }
}

pub(super) const TORCH: &str = "torch";

fn become_asked(now: &VersionSpecifiers, is_url: bool, asked: &VersionSpecifiers) -> Decision {
    match !is_url && now == asked {
        true => Decision::Stays("asked for".to_owned()),
        false => Decision::Becomes(asked.clone(), "asked for".to_owned()),
    }
}

fn exactly(name: &PackageName, now: &VersionSpecifiers, is_url: bool, known: &Known) -> Decision {
    match known {
        Known::Version(version) if !is_url && *now == equal(version) => {
            Decision::Stays(known.says(name))
        }
        Known::Version(version) => Decision::Becomes(equal(version), known.says(name)),
        Known::Minor(_) => Decision::Refused(format!(
            "which {name} the target has is not known, only that {}",
            known.says(name)
        )),
    }
}

/// What the ABI allows: torch's C++ symbols change with every minor release, and its stable
/// interface only grows.
fn by_abi(now: &VersionSpecifiers, is_url: bool, version: &Version, abi: &Abi) -> Decision {
    let admitted = !is_url && admits(now, version);
    let within = |allowed: &VersionSpecifiers, outside: &[Version]| {
        admitted
            && !now.is_empty()
            && allowed.contains(version)
            && !outside.iter().any(|v| now.contains(v))
    };
    match abi {
        Abi::Minor => {
            let why = "built against the C++ ABI, which is that of one minor release".to_owned();
            let allowed = minor(version);
            match within(&allowed, &neighbours(version)) {
                true => Decision::Stays(why),
                false => Decision::Becomes(allowed, why),
            }
        }
        Abi::Stable(oldest, evidence) => {
            let why = format!("built against the stable ABI of torch {oldest}: {evidence}");
            if release_pair(version) < release_pair(oldest) {
                return Decision::Refused(format!("{why}; the target has {version}"));
            }
            let allowed = from(oldest, version);
            let below = neighbours(oldest)[0].clone();
            match within(&allowed, &[below]) {
                true => Decision::Stays(why),
                false => Decision::Becomes(allowed, why),
            }
        }
        Abi::Unbound => {
            let why = "no file of the wheel uses torch's ABI".to_owned();
            match admitted {
                true => Decision::Stays(why),
                false => Decision::Becomes(from(version, version), why),
            }
        }
    }
}

/// The CUDA of a local version such as `+cu128`, where it is another major version than the
/// target's.
fn other_cuda(wanted: Option<&VersionOrUrl>, torch: &TargetTorch) -> Option<u32> {
    let text = match wanted? {
        VersionOrUrl::VersionSpecifier(specifiers) => specifiers.to_string(),
        VersionOrUrl::Url(url) => url.to_string(),
    };
    let major = super::apart::cuda_major(&text)?;
    (Some(major) != torch.cuda_major()).then_some(major)
}

/// Whether a version satisfies a specifier as pip and uv see it: neither looks at a pre-release,
/// unless the specifier speaks of one.
pub(super) fn admits(specifiers: &VersionSpecifiers, version: &Version) -> bool {
    let speaks = || specifiers.iter().any(VersionSpecifier::any_prerelease);
    specifiers.contains(version) && (!version.any_prerelease() || specifiers.is_empty() || speaks())
}

/// `==version`, local part and all. Specifiers compare local parts only where they have one, and
/// then exactly.
pub(super) fn equal(version: &Version) -> VersionSpecifiers {
    VersionSpecifier::equals_version(version.clone()).into()
}

/// All of a minor release, the version itself included: `>=2.9.0a0, <2.10` for a pre-release of
/// 2.9. Without one, pre-releases are of no interest.
pub(super) fn minor(version: &Version) -> VersionSpecifiers {
    let (major, minor) = release_pair(version);
    let below = VersionSpecifier::less_than_version(Version::new([major, minor + 1]));
    let lower = from(&Version::new([major, minor]), version);
    lower.iter().cloned().chain([below]).collect()
}

/// `>=oldest`, or the pre-releases of it where `version` is one of those.
fn from(oldest: &Version, version: &Version) -> VersionSpecifiers {
    let (major, minor) = release_pair(oldest);
    let plain = Version::new([major, minor]);
    // The lowest of all pre-releases of a kind: `a0`, or `dev0`, which comes before it.
    let full = || Version::new([major, minor, 0]);
    let alpha = pep440_rs::Prerelease { kind: pep440_rs::PrereleaseKind::Alpha, number: 0 };
    let lowest = match (version.is_dev(), version.any_prerelease()) {
        (true, _) => full().with_dev(Some(0)),
        (false, true) => full().with_pre(Some(alpha)),
        (false, false) => plain,
    };
    VersionSpecifier::greater_than_equal_version(lowest).into()
}

/// A version of the minor release below, and one of the one above.
fn neighbours(version: &Version) -> [Version; 2] {
    let (major, minor) = release_pair(version);
    let below = match minor.checked_sub(1) {
        Some(below) => Version::new([major, below, u64::from(u32::MAX)]),
        None => Version::new([major.saturating_sub(1), u64::from(u32::MAX)]),
    };
    [below, Version::new([major, minor + 1])]
}

/// Major and minor.
pub(super) fn release_pair(version: &Version) -> (u64, u64) {
    let release = version.release();
    (release.first().copied().unwrap_or(0), release.get(1).copied().unwrap_or(0))
}

/// A specifier as people write it.
pub(super) fn text(specifiers: &VersionSpecifiers) -> String {
    super::requirement::specifier_text(specifiers, "")
}

/// Whether it names exactly one version, and which.
pub(super) fn one_version(specifiers: &VersionSpecifiers) -> Option<&Version> {
    match &specifiers[..] {
        [one] if matches!(one.operator(), Operator::Equal | Operator::ExactEqual) => {
            Some(one.version())
        }
        _ => None,
    }
}
