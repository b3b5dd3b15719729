//! A torch wheel that is small enough for tests.

use std::collections::BTreeSet;
use std::io::{Cursor, Write as _};
use std::path::Path;

use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use crate::symbols::library::{Binding, Kind, Library, Symbol};
use crate::symbols::write_stub;
use crate::target::{Arch, Floors, Sm, Target};

/// The name under which an index has it.
pub const FILE: &str = "torch-2.14.0-cp311-cp311-manylinux_2_28_aarch64.whl";

/// A target with this CUDA.
pub fn target(cuda: &str) -> Target {
    Target {
        name: "thor".to_owned(),
        description: String::new(),
        arch: Arch::Aarch64,
        cuda: cuda.to_owned(),
        sm: vec![Sm(110)],
        python: vec!["3.11".to_owned()],
        torch: "2.14.0".to_owned(),
        floors: Floors {
            glibc: "2.39".to_owned(),
            glibcxx: "3.4.33".to_owned(),
            cxxabi: "1.3.15".to_owned(),
        },
    }
}

/// The interface of a library that needs OpenMP and has `std::string` in a signature.
pub fn library(soname: &str) -> Library {
    let function = Symbol {
        kind: Kind::Function,
        binding: Binding::Global,
        other: 0,
        version: None,
        name: "_ZN3c104failENSt7__cxx1112basic_stringIcSt11char_traitsIcESaIcEEE".to_owned(),
        size: 0,
    };
    Library {
        soname: Some(soname.to_owned()),
        needed: vec!["libgomp.so.1".to_owned()],
        symbols: BTreeSet::from([function]),
    }
}

/// The members of a wheel whose `version.py` says `cuda = <cuda>`, with libraries for `arch`.
pub fn members(cuda: &str, arch: Arch) -> Vec<(String, Vec<u8>)> {
    let mut members = vec![
        ("torch/__init__.py".to_owned(), b"raise ImportError('of the target')".to_vec()),
        ("torch/include/c10/Error.h".to_owned(), b"#pragma once\n".to_vec()),
    ];
    for name in ["libc10.so", "libtorch_cpu.so"] {
        // What a real library has beyond its interface.
        let mut bytes = write_stub(&library(name), name, arch).unwrap();
        bytes.extend([0xcc; 4096]);
        members.push((format!("torch/lib/{name}"), bytes));
    }
    let version = format!("__version__ = '2.14.0+cu'\ncuda: Optional[str] = {cuda}\n");
    let metadata =
        "Name: torch\nRequires-Dist: typing-extensions>=4.10.0\nRequires-Dist: sympy\n\n";
    members.extend([
        ("torch/utils/__init__.py".to_owned(), b"import torch.nn".to_vec()),
        ("torch/utils/cpp_extension.py".to_owned(), b"CUDA_HOME = None\n".to_vec()),
        ("torch/version.py".to_owned(), version.into_bytes()),
        ("torch-2.14.0.dist-info/METADATA".to_owned(), metadata.as_bytes().to_vec()),
    ]);
    members
}

/// Those members as a wheel.
pub fn wheel(members: &[(String, Vec<u8>)]) -> Cursor<Vec<u8>> {
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in members {
        writer.start_file(path.as_str(), SimpleFileOptions::default()).unwrap();
        writer.write_all(content).unwrap();
    }
    writer.finish().unwrap()
}

/// Those members unpacked.
pub fn unpack(members: &[(String, Vec<u8>)], into: &Path) {
    for (path, content) in members {
        let path = into.join(path);
        fs_err::create_dir_all(path.parent().unwrap()).unwrap();
        fs_err::write(path, content).unwrap();
    }
}
