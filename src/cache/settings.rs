//! Whether there is a cache, and how large it may become.

use std::str::FromStr;

use super::CacheError;
use super::shared::{Remote, RemoteTable};
use crate::environment::Environment;

/// Bytes that a cache may take where nobody says otherwise.
const DEFAULT_LIMIT: Limit = Limit(20 << 30);

/// `off` builds without one.
const SWITCH: &str = "CROSSWHEEL_CACHE";
/// The [`Limit`].
const SIZE: &str = "CROSSWHEEL_CACHE_SIZE";

/// Bytes, written as `500M`, `20G` or `1T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub u64);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || format!("`{text}` is no size such as `500M`, `20G` or `1T`");
        let units = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
        let unit = units.into_iter().find_map(|(unit, shift)| {
            let upper = text.trim_end_matches('B').trim_end_matches('i').to_ascii_uppercase();
            Some((upper.strip_suffix(unit)?.trim().to_owned(), shift))
        });
        let (number, shift) = unit.unwrap_or_else(|| (text.trim().to_owned(), 0));
        let number: u64 = number.parse().map_err(|_| malformed())?;
        number.checked_mul(1 << shift).map(Self).ok_or_else(malformed)
    }
}

/// What a run does with the cache.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Whether builds use it.
    pub enabled: bool,
    /// How large it may become.
    pub limit: Limit,
    /// The server with entries of other machines.
    pub remote: Option<Remote>,
}

impl Settings {
    /// As the environment says, and the project.
    pub fn discover(environment: &Environment, table: &RemoteTable) -> Result<Self, CacheError> {
        let enabled = match environment.text(SWITCH) {
            None | Some("on") => true,
            Some("off") => false,
            Some(other) => {
                let reason = format!("`{other}` is neither `on` nor `off`");
                return Err(CacheError::Setting { name: SWITCH, reason });
            }
        };
        let limit = environment.text(SIZE).map_or(Ok(DEFAULT_LIMIT), str::parse);
        let limit = limit.map_err(|reason| CacheError::Setting { name: SIZE, reason })?;
        let remote = Remote::discover(environment, table)?;
        Ok(Self { enabled, limit, remote })
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn sizes_are_read_in_every_spelling() {
        for (text, size) in [
            ("0", Some(0)),
            ("500M", Some(500 << 20)),
            ("20G", Some(20 << 30)),
            ("20 GiB", Some(20 << 30)),
            ("1t", Some(1 << 40)),
            ("", None),
            ("G", None),
            ("-1G", None),
            ("99999999999T", None),
        ] {
            assert_eq!(text.parse().ok().map(|Limit(size)| size), size, "{text}");
        }
    }

    #[test]
    fn what_is_no_setting_is_refused() {
        let settings = |variables: &[(&str, &str)]| {
            let environment = Environment::new(variables.iter().copied(), Path::new("/"));
            Settings::discover(&environment, &RemoteTable::default())
        };
        assert!(settings(&[]).unwrap().enabled);
        assert!(!settings(&[(SWITCH, "off")]).unwrap().enabled);
        assert_eq!(settings(&[(SIZE, "1G")]).unwrap().limit, Limit(1 << 30));
        let error = settings(&[(SIZE, "much")]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "`CROSSWHEEL_CACHE_SIZE`: `much` is no size such as `500M`, `20G` or `1T`"
        );
        settings(&[(SWITCH, "no")]).unwrap_err();
    }
}
