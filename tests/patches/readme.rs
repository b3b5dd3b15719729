//! The README's section "Patch a dependency": what it shows is what is printed.

use super::Place;
use crate::releases::own_index;
use crate::support::xtask::repository;

#[test]
fn the_readme_shows_what_is_printed() {
    let readme = fs_err::read_to_string(repository().join("README.md")).unwrap();
    let section = readme.split_once("## Patch a dependency\n").unwrap().1;
    let section = section.split_once("\n## ").unwrap().0;
    let place = Place::new();
    place.index.send_on(&own_index());
    let project = place.path("project");
    let mut commands = 0;
    for block in section.split("```\n").skip(1).step_by(2).filter(|b| b.starts_with("$ ")) {
        for session in block.split("$ ").skip(1) {
            let (command, shown) = session.split_once('\n').unwrap();
            commands += 1;
            if command.starts_with("sed ") {
                duct::cmd!("sh", "-c", command).dir(&project).run().unwrap();
                continue;
            }
            let words = command.strip_prefix("cargo xtask ").unwrap();
            // Which takes minutes.
            let Some(words) = words.strip_prefix("patch ") else { continue };
            let words = words_of(words);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let run = place.patch_in(&project, &words);
            let printed = format!("{}{}", run.stdout, run.stderr);
            let printed = printed.replace(project.to_str().unwrap(), "…");
            for line in shown.lines() {
                assert!(printed.contains(line.trim_end()), "`{line}` of `{command}`:\n{printed}");
            }
        }
    }
    assert!(commands > 5, "{commands}");
    let toml = section.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let described = fs_err::read_to_string(place.patches("fussim/0.3.1/series.toml")).unwrap();
    for line in toml.lines() {
        let line = line.split(" #").next().unwrap().trim_end();
        assert!(described.contains(line), "`{line}` in:\n{described}");
    }
}

/// Words as a shell splits them.
fn words_of(text: &str) -> Vec<String> {
    let mut parts = text.split('"');
    let mut words = Vec::new();
    while let Some(plain) = parts.next() {
        words.extend(plain.split_whitespace().map(str::to_owned));
        words.extend(parts.next().map(str::to_owned));
    }
    words
}
