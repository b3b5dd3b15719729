//! `cargo xtask patch`, from an index to a series and on to the next version.

use serde_json::Value;

use super::{Place, lines};
use crate::support::schema::assert_conforms;
use crate::support::xtask::Run;

/// What a verb printed as JSON, which must be as its schema says.
#[track_caller]
fn json(run: &Run, code: i32, schema: &str) -> Value {
    assert_eq!(run.code, Some(code), "{}", run.stderr);
    let printed = serde_json::from_str(&run.stdout).unwrap();
    assert_conforms(&printed, &format!("{schema}.schema.json"));
    printed
}

#[test]
fn an_edit_becomes_a_patch_and_a_new_tree_has_it() {
    let place = Place::new();
    let tree = place.first(10, "line ten");
    assert_eq!(place.listing("foo/1.0"), ["0001-Change-a-line.patch", "series.toml"]);
    let patch = place.patches("foo/1.0/0001-Change-a-line.patch");
    let text = fs_err::read_to_string(&patch).unwrap();
    assert!(text.contains("\n-line 10\n+line ten\n") && text.contains("[PATCH] Change a line"));
    let description = fs_err::read_to_string(place.patches("foo/1.0/series.toml")).unwrap();
    assert!(description.contains("when = \"==1.0\"") && description.contains("foo-1.0.tar.gz"));

    let again = place.patch(&["commit", "-m", "Nothing"]);
    again.fails(2, &["nothing in `", "differs from its series", "hint: edit a file first"]);
    place.patch(&["start", "foo==1.0"]).fails(2, &["is there already", "`--dir`"]);
    let other = place.path("other");
    place.done(&["start", "foo==1.0", "--dir", other.to_str().unwrap()]);
    let of = |tree: &std::path::Path| fs_err::read_to_string(tree.join("a.txt")).unwrap();
    assert_eq!(of(&other), of(&tree));
    assert_eq!(of(&other), lines(10, "line ten"));
    assert_eq!(place.done(&["show", "foo", "1"]), text);

    let listed = json(&place.patch(&["list", "--format", "json"]), 0, "patch-list");
    assert_eq!(
        (listed[0]["when"].as_str(), listed[0]["package"].as_str()),
        (Some("==1.0"), Some("foo"))
    );
    assert_eq!(listed[0]["subject"], "Change a line");
    let checked = json(&place.patch(&["check", "--format", "json"]), 0, "patch-check");
    assert_eq!((&checked[0]["applies"], &checked[0]["source"]), (&true.into(), &"1.0".into()));
    assert_eq!(checked[0]["changes"][0]["hunks"][0]["result"], "exact");
}

#[test]
fn all_kinds_of_changes_come_through_whatever_the_users_git_is_set_to() {
    let place = Place::new();
    let config = "[diff]\nnoprefix = true\nmnemonicPrefix = true\ncontext = 0\n[core]\nautocrlf = true\n\
                  [format]\nsignature = me\nattach = true\n[commit]\ngpgSign = true\n\
                  [user]\nname = Grüße\nemail = me@example.com\n";
    fs_err::write(place.path(".gitconfig"), config).unwrap();
    let tree = place.start("foo==1.0");
    fs_err::write(tree.join("crlf"), "1\r\n2\r\n").unwrap();
    fs_err::write(tree.join("bytes"), [0, 255, 10, 13]).unwrap();
    fs_err::write(tree.join(".gitattributes"), "* text=auto eol=lf\n").unwrap();
    fs_err::rename(tree.join("a.txt"), tree.join("d/b.txt")).unwrap();
    std::os::unix::fs::symlink("d/b.txt", tree.join("link")).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs_err::set_permissions(tree.join("setup.py"), mode).unwrap();
    fs_err::write(tree.join("d/ignored.o"), "").unwrap();
    let run = place.patch(&["commit", "-m", "Everything"]);
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stderr.contains("keeps out: d/ignored.o"), "{}", run.stderr);
    let other = place.path("other");
    place.done(&["start", "foo==1.0", "--dir", other.to_str().unwrap()]);
    fs_err::remove_file(tree.join("d/ignored.o")).unwrap();
    let digest = |tree| crosswheel::patch::tree_digest(tree).unwrap();
    assert_eq!(digest(&other), digest(&tree));
    let listed = json(&place.patch(&["list", "--format", "json"]), 0, "patch-list");
    assert_eq!(listed[0]["author"], "Grüße <me@example.com>");
}

#[test]
fn commits_and_rewritten_history_become_patches_too() {
    let place = Place::new();
    let tree = place.first(10, "line ten");
    let git = |words: &[&str]| {
        let identity = ["-c", "user.name=A", "-c", "user.email=a@b"];
        duct::cmd("git", identity.iter().chain(words)).dir(&tree).stdout_null().run().unwrap();
    };
    fs_err::write(tree.join("new"), "1\n").unwrap();
    git(&["add", "new"]);
    git(&["commit", "--quiet", "-m", "Add a file"]);
    fs_err::write(tree.join("new"), "2\n").unwrap();
    let status = json(&place.patch(&["status", "--format", "json"]), 0, "patch-status");
    assert_eq!(status[0]["commits"], serde_json::json!(["Add a file"]));
    assert_eq!(status[0]["changed"], serde_json::json!(["new"]));
    place.patch(&["commit"]).fails(2, &["no message says why", "`-m`"]);
    let made = place.patch_in(&tree.join("d"), &["commit", "-m", "Count on"]).stdout;
    assert_eq!(made.lines().count(), 2, "{made}");
    let three = ["0001-Change-a-line.patch", "0002-Add-a-file.patch", "0003-Count-on.patch"];
    assert_eq!(place.listing("foo/1.0")[..3], three);

    git(&["reset", "--quiet", "--hard", "HEAD~2"]);
    git(&["commit", "--quiet", "--amend", "-m", "Change one line"]);
    let status = json(&place.patch(&["status", "--format", "json"]), 0, "patch-status");
    assert_eq!(status[0]["rewritten"], true);
    let run = place.patch(&["commit"]);
    assert!(run.stderr.contains("the history was rewritten, and so was the series"), "{run:?}");
    assert_eq!(place.listing("foo/1.0"), ["0001-Change-one-line.patch", "series.toml"]);
}

#[test]
fn a_series_goes_on_to_a_version_that_it_fits_and_to_no_other() {
    let place = Place::new();
    place.releases(&[
        ("foo-1.0.tar.gz", "1.0", &lines(0, "")),
        ("foo-2.0.tar.gz", "2.0", &format!("new\n{}", lines(20, "line twenty"))),
        ("foo-3.0.tar.gz", "3.0", &lines(11, "line eleven")),
    ]);
    place.first(10, "line ten");
    let moved = json(
        &place.patch(&["refresh", "foo", "--to", "2.0", "--format", "json"]),
        0,
        "patch-refresh",
    );
    let hunk = &moved["checked"]["changes"][0]["hunks"][0];
    assert_eq!(
        (&hunk["result"], &hunk["to"], &hunk["line"]),
        (&"moved".into(), &8.into(), &7.into())
    );
    assert_eq!(place.listing("foo"), ["1.0", "2.0"]);
    // There, its numbers are those of that version.
    let text = place.done(&["show", "foo==2.0"]);
    assert!(text.contains("@@ -8,7 +8,7 @@"), "{text}");
    let checked = json(&place.patch(&["check", "foo==2.0", "--format", "json"]), 0, "patch-check");
    assert_eq!(checked[0]["changes"][0]["hunks"][0]["result"], "exact");

    place
        .patch(&["refresh", "foo", "--to", "3.0"])
        .fails(2, &["has several series: `foo 1.0`, `foo 2.0`"]);
    let refused = place.patch(&["refresh", "foo==1.0", "--to", "3.0", "--format", "json"]);
    let refused = json(&refused, 16, "patch-refresh");
    let nearest = &refused["checked"]["changes"][0]["hunks"][0]["nearest"];
    assert_eq!(
        (&nearest["line"], &nearest["same"], &nearest["of"]),
        (&7.into(), &6.into(), &7.into())
    );
    assert!(refused.get("written").is_none());
    assert_eq!(place.listing("foo"), ["1.0", "2.0"]);

    // A version that `when` names is noted, and its patches are those that there are.
    let description = place.patches("foo/1.0/series.toml");
    let text = fs_err::read_to_string(&description).unwrap();
    fs_err::write(&description, text.replace("==1.0", ">=1,<2")).unwrap();
    place.releases(&[("foo-1.5.tar.gz", "1.5", &format!("new\n{}", lines(0, "")))]);
    place.done(&["refresh", "foo==1.0", "--to", "1.5"]);
    assert_eq!(place.listing("foo"), ["1.0", "2.0"]);
    let text = fs_err::read_to_string(&description).unwrap();
    assert!(!text.contains("\"==1.0\"") && text.contains("version = \"1.5\""), "{text}");
}

#[test]
fn a_patch_is_dropped_where_no_other_needs_it() {
    let place = Place::new();
    let tree = place.first(10, "line ten");
    fs_err::write(tree.join("a.txt"), lines(10, "line ten, again")).unwrap();
    place.done(&["commit", "-m", "Change it again"]);
    let says =
        ["the patch `0002-Change-it-again.patch` does not apply to foo-1.0 in `a.txt`: hunk 1"];
    place.patch(&["drop", "foo", "1"]).fails(16, &says);
    assert_eq!(place.listing("foo/1.0").len(), 3);
    place.patch(&["drop", "foo", "7"]).fails(2, &["has no patch `7`", "0001-Change-a-line.patch"]);
    place.patch(&["drop", "foo", "0002-Change-it-again.patch"]);
    place.patch(&["commit", "-m", "x"]).fails(16, &["are others than", "hint: make a new tree"]);
    place.patch(&["drop", "foo", "1"]);
    assert_eq!(place.listing("foo"), [""; 0]);
    let says =
        ["there is no series of patches for `foo`", "`cargo xtask patch start NAME==VERSION`"];
    place.patch(&["check", "foo"]).fails(3, &says);
}

#[test]
fn what_is_wrong_is_said_and_nothing_is_left() {
    let place = Place::new();
    let folder = place.path("folder");
    fs_err::create_dir(&folder).unwrap();
    place.patch(&["start", "./folder"]).fails(3, &["is a folder, which is built as it lies"]);
    place.patch(&["commit", "-m", "x"]).fails(2, &["which tree is meant?", "patch start REQUEST"]);
    place.patch(&["commit", "-m", "x", "folder"]).fails(2, &["is not a tree that `patch start`"]);
    place.patch(&["start", "foo==9"]).fails(3, &["`foo` has no version `9`"]);
    assert!(!place.path("project/work").exists());

    place.first(10, "line ten");
    let patch = place.patches("foo/1.0/0001-Change-a-line.patch");
    let text = fs_err::read_to_string(&patch).unwrap();
    fs_err::write(&patch, text.replace("-line 10", "-line X")).unwrap();
    let checked = place.patch(&["check"]);
    assert_eq!(checked.code, Some(16));
    let says = "hunk 1 (line 7) fits nowhere; nearest is line 7: 6 of 7 lines are there";
    assert!(checked.stdout.contains(says), "{}", checked.stdout);
    assert!(checked.stdout.contains("  |    10 - line X\n"), "{}", checked.stdout);
    let other = place.path("other");
    let start = ["start", "foo==1.0", "--dir", other.to_str().unwrap()];
    place.patch(&start).fails(16, &["does not apply to foo-1.0 in `a.txt`: hunk 1, for line 7"]);
    assert!(!other.exists());

    fs_err::write(&patch, &text).unwrap();
    let description = place.patches("foo/1.0/series.toml");
    let recorded = fs_err::read_to_string(&description).unwrap();
    let sha256 = recorded.split("sha256 = \"").nth(1).unwrap().split('"').next().unwrap();
    fs_err::write(&description, recorded.replace(sha256, &"0".repeat(64))).unwrap();
    let zeros = format!("were made on `{}`", "0".repeat(64));
    place.patch(&start).fails(5, &["the source of foo-1.0 has sha256 `", &zeros, "patch refresh"]);
    fs_err::write(&description, "when = 1\n").unwrap();
    place.patch(&["list"]).fails(2, &["series.toml` does not describe a series"]);
    fs_err::remove_file(&description).unwrap();
    place.patch(&["list"]).fails(2, &["holds patches, and no `series.toml` says for which"]);
}

#[test]
fn without_git_patches_can_be_checked_and_no_tree_made() {
    let place = Place::new();
    place.first(10, "line ten");
    let bare = |words: &[&str]| {
        let own = ["--project", "project", "--store", "store"];
        let command =
            crate::support::xtask::xtask(["patch"].iter().chain(words).chain(&own).copied());
        Run::of(
            &command
                .dir(place.path(""))
                .env("PATH", "/nonexistent")
                .env("PIP_INDEX_URL", place.index.simple()),
        )
    };
    assert_eq!(bare(&["check"]).code, Some(0));
    bare(&["start", "foo==1.0", "--dir", "other"]).fails(7, &["there is no `git` on the PATH"]);
    assert!(!place.path("other").exists());
}
