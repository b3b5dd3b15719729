//! pip's configuration files: which index this machine's own clients use, and what they trust.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::environment::Environment;

/// The options of all of pip's configuration files, the more specific file winning.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PipConf {
    /// Section (`global`, `install` …), then option (with hyphens), to value.
    sections: BTreeMap<String, BTreeMap<String, String>>,
}

impl PipConf {
    /// Reads the files in pip's order: global, user, the virtual environment's, `PIP_CONFIG_FILE`.
    ///
    /// `root` is the folder that `/etc` is looked for in: `/` but for tests. A file that cannot be
    /// read is left out, as pip does it.
    pub fn load(environment: &Environment, root: &Path) -> Self {
        let mut merged = Self::default();
        for path in Self::locations(environment, root) {
            if let Ok(text) = fs_err::read_to_string(&path) {
                merged.merge(Self::parse(&text));
            }
        }
        merged
    }

    /// Where pip looks, least specific first (pip's user guide, "Configuration Files").
    fn locations(environment: &Environment, root: &Path) -> Vec<PathBuf> {
        let asked = environment.path("PIP_CONFIG_FILE");
        if asked.as_deref() == Some(Path::new("/dev/null")) {
            return Vec::new();
        }
        let mut paths = Vec::new();
        let global = environment.text("XDG_CONFIG_DIRS").map(str::to_owned);
        match global {
            Some(folders) => paths.extend(folders.split(':').map(|f| Path::new(f).join("pip"))),
            None => paths.push(root.join("etc/xdg/pip")),
        }
        paths.push(root.join("etc"));
        paths.extend(environment.home().map(|home| home.join(".pip")));
        let user = environment.path("XDG_CONFIG_HOME");
        let user = user.or_else(|| environment.home().map(|home| home.join(".config")));
        paths.extend(user.map(|folder| folder.join("pip")));
        paths.extend(environment.path("VIRTUAL_ENV"));
        let mut files: Vec<_> = paths.into_iter().map(|folder| folder.join("pip.conf")).collect();
        files.extend(asked);
        files
    }

    /// Reads one file in the form of Python's configparser. Lines that are none of it are skipped.
    pub fn parse(text: &str) -> Self {
        let mut conf = Self::default();
        let mut section = None;
        let mut option: Option<String> = None;
        for line in text.lines() {
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if let Some(name) = trimmed.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
                section = Some(name.trim().to_lowercase());
                option = None;
                continue;
            }
            let Some(section) = &section else { continue };
            let values = conf.sections.entry(section.clone()).or_default();
            if let (true, Some(option)) = (line.starts_with([' ', '\t']), &option) {
                let value: &mut String = values.entry(option.clone()).or_default();
                value.push('\n');
                value.push_str(trimmed);
            } else if let Some((name, value)) = trimmed.split_once(['=', ':']) {
                let name = name.trim().to_lowercase().replace('_', "-");
                values.insert(name.clone(), value.trim().to_owned());
                option = Some(name);
            }
        }
        conf
    }

    fn merge(&mut self, other: Self) {
        for (section, values) in other.sections {
            self.sections.entry(section).or_default().extend(values);
        }
    }

    /// An option of `[global]`, where it is set and not empty; of several lines, the first.
    pub fn global(&self, option: &str) -> Option<&str> {
        let value = self.sections.get("global")?.get(option)?;
        value.lines().map(str::trim).find(|line| !line.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_configparser_reads() {
        let conf = PipConf::parse(
            "# a comment\nstray = 1\n[global]\nindex_url = https://a.example/simple \n\
             cert: /x.pem\nextra-index-url =\n    https://b.example\n    https://c.example\n\
             [install]\nindex-url = https://d.example\n",
        );
        assert_eq!(conf.global("index-url"), Some("https://a.example/simple"));
        assert_eq!(conf.global("cert"), Some("/x.pem"));
        assert_eq!(conf.global("extra-index-url"), Some("https://b.example"));
        assert_eq!(conf.global("stray"), None);
    }

    #[test]
    fn the_more_specific_file_wins() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            fs_err::create_dir_all(path.parent().unwrap()).unwrap();
            fs_err::write(path, text).unwrap();
        };
        write("etc/pip.conf", "[global]\nindex-url = https://etc.example\ncert = /etc.pem\n");
        write("home/.config/pip/pip.conf", "[global]\nindex-url = https://user.example\n");
        write("asked.conf", "[global]\nindex-url = https://asked.example\n");

        let home = root.join("home").into_os_string();
        let environment = Environment::new([("HOME", home.clone())], root);
        let conf = PipConf::load(&environment, root);
        assert_eq!(conf.global("index-url"), Some("https://user.example"));
        assert_eq!(conf.global("cert"), Some("/etc.pem"));

        let asked = [("HOME", home.clone()), ("PIP_CONFIG_FILE", "asked.conf".into())];
        let conf = PipConf::load(&Environment::new(asked, root), root);
        assert_eq!(conf.global("index-url"), Some("https://asked.example"));

        let none = [("HOME", home), ("PIP_CONFIG_FILE", "/dev/null".into())];
        assert_eq!(PipConf::load(&Environment::new(none, root), root), PipConf::default());
    }
}
