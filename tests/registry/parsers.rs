//! Readers of what registries and configurations say never panic.

use crosswheel::net::Page;
use crosswheel::net::pip_conf::PipConf;
use crosswheel::registry::apt_index::PackageIndex;
use crosswheel::registry::{apt_sources, deb822, file_name, simple};
use proptest::prelude::*;

/// Text that is likely to be in a grammar's corners.
fn odd(alphabet: &'static str) -> impl Strategy<Value = String> {
    let pieces: Vec<&str> = alphabet.split(' ').collect();
    let piece = prop_oneof![
        4 => prop::sample::select(pieces).prop_map(str::to_owned),
        1 => any::<char>().prop_map(String::from),
        1 => Just(" ".to_owned()),
        1 => Just("\n".to_owned()),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

fn page(content_type: &str, body: &str) -> Page {
    Page {
        url: "https://index.example/simple/foo/".parse().unwrap(),
        content_type: content_type.to_owned(),
        body: body.as_bytes().to_owned(),
    }
}

proptest! {
    #[test]
    fn html_pages(text in odd("<a <A <base href= > / \" ' & &amp; &#x41; &# ; # #sha256= <!-- --> = data-yanked ../ % %2B foo-1.0.tar.gz é")) {
        for file in simple::parse(&page("text/html", &text)).unwrap() {
            prop_assert!(file.url.starts_with("http"));
            prop_assert!(!file.name.contains('/') && !file.name.starts_with('.'));
        }
    }

    #[test]
    fn json_pages(text in odd("{ } [ ] \"files\" \"filename\" \"url\" : , null 1 true \"hashes\" \"yanked\" \"x\"")) {
        let _ = simple::parse(&page("application/json", &text));
        let _ = simple::parse(&page("application/json", &format!("{{\"files\": [{text}]}}")));
    }

    #[test]
    fn packages(text in odd("Package: Version: Filename: Size: SHA256: Depends: Provides: : , | ( ) a b pool/a.deb ../ 1 é # .")) {
        for paragraph in deb822::paragraphs(&text) {
            prop_assert_ne!(paragraph, deb822::Paragraph::default());
        }
        PackageIndex::new("s").add(&text);
        apt_sources::deb822(&text);
    }

    #[test]
    fn sources(text in odd("deb deb-src [ ] signed-by= # http://a/ main é = ,")) {
        apt_sources::one_line(&text);
    }

    #[test]
    fn pip_conf(text in odd("[ ] global [global] = : index-url # ; \t é \r\n")) {
        let value = PipConf::parse(&text).global("index-url").map(str::to_owned);
        prop_assert!(value.is_none_or(|value| !value.is_empty()));
    }

    #[test]
    fn file_names(text in odd("- _ . foo 1.0 1 py3 none any .whl .tar.gz manylinux_2_17_x86_64 é")) {
        let _ = file_name::WheelName::parse(&text);
        let _ = file_name::sdist_version("foo", &text);
        let normalized = file_name::normalize(&text);
        prop_assert_eq!(file_name::normalize(&normalized), normalized);
    }
}
