//! The symbol index and the stubs, on libraries made up at random.

use std::collections::BTreeSet;

use crosswheel::symbols::library::{Binding, Kind, Library, Symbol, Version};
use crosswheel::symbols::write_stub;
use crosswheel::symbols::{Product, SymbolIndex};
use crosswheel::target::Arch;
use proptest::prelude::*;

fn symbol() -> impl Strategy<Value = Symbol> {
    let kind = prop::sample::select(vec![
        Kind::NoType,
        Kind::Object,
        Kind::Function,
        Kind::Tls,
        Kind::Ifunc,
    ]);
    let binding = prop::sample::select(vec![Binding::Global, Binding::Weak, Binding::Unique]);
    let other = prop::sample::select(vec![0, 3, 0x80]);
    let version = prop::option::of(("V_[0-9]", any::<bool>()));
    // Few letters, so that names share prefixes; some beyond ASCII, so that borders matter.
    (kind, binding, other, version, "[_Zaé]{1,6}", 0..1u64 << 20).prop_map(
        |(kind, binding, other, version, name, size)| Symbol {
            kind,
            binding,
            other,
            version: version.map(|(name, default)| Version { name, default }),
            name,
            size: if kind.has_size() { size } else { 0 },
        },
    )
}

fn library() -> impl Strategy<Value = Library> {
    let soname = prop::option::of("lib[a-z]{1,5}\\.so");
    let needed = prop::collection::vec("lib[a-z]{1,5}\\.so\\.[0-9]", 0..4);
    (soname, needed, prop::collection::vec(symbol(), 0..40)).prop_map(
        |(soname, needed, symbols)| Library {
            soname,
            needed,
            symbols: BTreeSet::from_iter(symbols),
        },
    )
}

proptest! {
    #[test]
    fn an_index_reads_what_it_wrote(libraries in prop::collection::vec(library(), 0..4)) {
        let named = |skip: usize| {
            let numbered = libraries.iter().cloned().enumerate().skip(skip);
            numbered.map(|(at, library)| (format!("lib{at}.so"), library)).collect::<Vec<_>>()
        };
        let mut index = SymbolIndex::new(Product::Torch, "2.14.0", Arch::Aarch64);
        index.insert("cp311", named(0));
        index.insert("cp313", named(1));
        let read = SymbolIndex::from_xz(&index.to_xz()).unwrap();
        prop_assert_eq!(&read, &index);
        let of = |python: &str| -> Vec<Library> {
            read.libraries(python).map(|(_, library)| library.clone()).collect()
        };
        prop_assert_eq!(of("cp311"), libraries.clone());
        prop_assert_eq!(of("cp313"), libraries.iter().skip(1).cloned().collect::<Vec<_>>());
    }

    #[test]
    fn a_stub_reads_as_its_library(library in library()) {
        for arch in [Arch::Aarch64, Arch::X86_64] {
            let stub = write_stub(&library, "libany.so", arch).unwrap();
            prop_assert_eq!(Library::read(stub.as_slice(), arch).unwrap(), library.clone());
        }
    }

    #[test]
    fn any_text_or_bytes_are_read_or_refused(text in "(crosswheel symbols 1\ntorch 1\narch x86_64\npython p\nlibrary l\n)?[ -~\n]{0,200}", bytes: Vec<u8>) {
        let _ = SymbolIndex::from_text(&text);
        let _ = SymbolIndex::from_xz(&bytes);
        prop_assert!(Library::read(bytes.as_slice(), Arch::Aarch64).is_err());
    }
}
