//! Edits after which an older object must not come back, each with the real compilers. Each edit
//! is one that changes the object, or the test says so.

use std::os::unix::fs::{PermissionsExt as _, symlink};

use crosswheel::target::Sm;

use super::place::{Cache, Place, toolchain};

const NVCC: &str = "-c k.cu -o k.o -gencode arch=compute_110,code=sm_110";
const CXX: &str = "-c a.cpp -o a.o -O2";

/// Compiles, edits and compiles again: what comes back is what the compiler makes of the edited
/// files, and not what was there. Then the edit is undone, and the first result comes back.
#[track_caller]
fn is_never_stale(
    tool: &str,
    output: &str,
    place: &mut Place<'_>,
    (before, after): (&str, &str),
    edit: impl FnOnce(&mut Place<'_>),
    undo: impl FnOnce(&mut Place<'_>),
) {
    let first = place.compile(tool, before);
    assert!(!first.is_hit());
    assert_eq!(first.unkept(), None);
    let original = place.read(output);
    fs_err::remove_file(place.path(output)).unwrap();
    assert!(place.compile(tool, before).is_hit(), "nothing changed");
    assert_eq!(place.read(output), original);

    edit(place);
    let edited = place.compile(tool, after);
    let object = place.read(output);
    place.cached = false;
    place.compile(tool, after);
    place.cached = true;
    assert!(object == place.read(output), "a stale object came back");
    assert!(!edited.is_hit());
    assert!(object != original, "the edit changes nothing");

    undo(place);
    assert!(place.compile(tool, before).is_hit(), "it is as it was");
    assert_eq!(place.read(output), original);
}

/// With an edit of one file, or its coming.
#[track_caller]
fn edit_is_seen(tool: &str, args: &str, files: &[(&str, &str)], edit: (&str, &str)) {
    let cache = Cache::new();
    let mut place = cache.place("build");
    if args.contains("compute_90") {
        place.sms = vec![Sm(90), Sm(110)];
    }
    for (name, text) in files {
        place.write(name, text);
    }
    let (name, text) = edit;
    let before = files.iter().find(|file| file.0 == name).map(|file| file.1);
    let output = args.split(' ').skip_while(|arg| *arg != "-o").nth(1).unwrap();
    let folder = place.path(name).parent().unwrap().to_owned();
    let is_new = !folder.exists();
    is_never_stale(
        tool,
        output,
        &mut place,
        (args, args),
        |place| place.write(name, text),
        |place| match before {
            Some(before) => place.write(name, before),
            None => {
                fs_err::remove_file(place.path(name)).unwrap();
                if is_new {
                    fs_err::remove_dir(folder).unwrap();
                }
            }
        },
    );
}

const KERNEL: &str = "__global__ void kernel(int *out) { *out = VALUE; }\n\
                      int host() { return HOST; }\n";

#[test]
fn code_for_the_host_alone() {
    let file = |value: &str| {
        format!(
            "#ifndef __CUDA_ARCH__\n#define HOST {value}\n#else\n#define HOST 0\n#endif\n\
             #define VALUE 1\n{KERNEL}"
        )
    };
    edit_is_seen("nvcc", NVCC, &[("k.cu", &file("1"))], ("k.cu", &file("2")));
}

#[test]
fn code_for_one_of_two_architectures() {
    let args = "-c k.cu -o k.o -gencode arch=compute_90,code=sm_90 \
                -gencode arch=compute_110,code=sm_110";
    for those in [">= 1100", "< 1100"] {
        let file = |value: &str| {
            format!(
                "#define HOST 0\n#if defined __CUDA_ARCH__ && __CUDA_ARCH__ {those}\n\
                 #define VALUE {value}\n#else\n#define VALUE 1\n#endif\n{KERNEL}"
            )
        };
        edit_is_seen("nvcc", args, &[("k.cu", &file("2"))], ("k.cu", &file("3")));
    }
}

#[test]
fn a_header_of_one_pass_only() {
    let file = format!(
        "#ifdef __CUDA_ARCH__\n#include \"device.h\"\n#else\n#include \"host.h\"\n#endif\n\
         #ifndef VALUE\n#define VALUE 0\n#endif\n#ifndef HOST\n#define HOST 0\n#endif\n{KERNEL}"
    );
    let files =
        [("k.cu", &file[..]), ("device.h", "#define VALUE 1\n"), ("host.h", "#define HOST 1\n")];
    edit_is_seen("nvcc", NVCC, &files, ("device.h", "#define VALUE 2\n"));
    edit_is_seen("nvcc", NVCC, &files, ("host.h", "#define HOST 2\n"));
}

#[test]
fn a_new_header_that_shadows_another() {
    let args = format!("{NVCC} -Ifirst -Isecond");
    let file = format!("#include <v.h>\n#define HOST 0\n{KERNEL}");
    let files = [("k.cu", &file[..]), ("first/other.h", ""), ("second/v.h", "#define VALUE 1\n")];
    edit_is_seen("nvcc", &args, &files, ("first/v.h", "#define VALUE 2\n"));
    // In a folder that is not there yet.
    let files = [("k.cu", &file[..]), ("second/v.h", "#define VALUE 1\n")];
    edit_is_seen("nvcc", &args, &files, ("first/v.h", "#define VALUE 2\n"));
    // Beside the file, where quotes look first.
    let quoted = "#include \"v.h\"\nint v = VALUE;\n";
    let files = [("src/a.cpp", quoted), ("second/v.h", "#define VALUE 1\n")];
    let args = "-c src/a.cpp -o a.o -Isecond";
    edit_is_seen("g++", args, &files, ("src/v.h", "#define VALUE 2\n"));
}

#[test]
fn a_header_that_is_asked_for() {
    let file = format!(
        "#if __has_include(\"new.h\")\n#define HOST 1\n#else\n#define HOST 2\n#endif\n\
         #define VALUE 0\n{KERNEL}"
    );
    edit_is_seen("nvcc", NVCC, &[("k.cu", &file)], ("new.h", ""));
}

#[test]
fn what_the_assembler_includes() {
    let file = "asm(\".section .rodata\\n.globl data\\ndata: .incbin \\\"data.bin\\\"\\n.text\");\n\
                asm(\".include \\\"more.s\\\"\");\n";
    let files = [("a.cpp", file), ("data.bin", "one"), ("more.s", ".set more, 1\n.globl more\n")];
    edit_is_seen("g++", CXX, &files, ("data.bin", "two"));
    edit_is_seen("g++", CXX, &files, ("more.s", ".set more, 2\n.globl more\n"));
    let kernel = format!("#define VALUE 1\n#define HOST 1\n{KERNEL}{file}");
    let files = [("k.cu", &kernel[..]), files[1], files[2]];
    edit_is_seen("nvcc", NVCC, &files, ("data.bin", "two"));
}

#[test]
fn what_is_embedded() {
    // gcc knows it from 15 on; an older one that cannot read it keeps nothing.
    let cache = Cache::new();
    let place = cache.place("build");
    place.write("a.c", "const char data[] = {\n#embed \"data.bin\"\n};\n");
    place.write("data.bin", "one");
    let args = "-c a.c -o a.o";
    if place.run("gcc", args).code != 0 {
        assert_eq!(cache.objects().measure().results, 0);
        return;
    }
    let first = place.read("a.o");
    place.write("data.bin", "two");
    assert!(!place.compile("gcc", args).is_hit());
    assert_ne!(place.read("a.o"), first);
}

#[test]
fn a_macro_on_the_command_line() {
    let cache = Cache::new();
    let mut place = cache.place("build");
    place.write("k.cu", KERNEL);
    let with = |value: u8| format!("{NVCC} -DHOST=0 -DVALUE={value}");
    let commands = (&with(1)[..], &with(2)[..]);
    is_never_stale("nvcc", "k.o", &mut place, commands, |_| (), |_| ());
}

#[test]
fn flags_in_the_environment() {
    for name in ["NVCC_APPEND_FLAGS", "NVCC_PREPEND_FLAGS"] {
        let cache = Cache::new();
        let mut place = cache.place("build");
        place.write("k.cu", format!("#ifndef VALUE\n#define VALUE 1\n#endif\n{KERNEL}"));
        let args = &format!("{NVCC} -DHOST=0")[..];
        let set = |place: &mut Place<'_>| place.variables.push((name, "-DVALUE=2".to_owned()));
        let unset = |place: &mut Place<'_>| drop(place.variables.pop());
        is_never_stale("nvcc", "k.o", &mut place, (args, args), set, unset);
    }
}

#[test]
fn a_link_to_a_folder_that_leads_elsewhere() {
    let cache = Cache::new();
    let mut place = cache.place("build");
    place.write("k.cu", format!("#include \"inc/v.h\"\n#define HOST 0\n{KERNEL}"));
    place.write("one/v.h", "#define VALUE 1\n");
    place.write("two/v.h", "#define VALUE 2\n");
    let lead = |place: &mut Place<'_>, to: &str| {
        let _ = fs_err::remove_file(place.path("inc"));
        symlink(to, place.path("inc")).unwrap();
    };
    lead(&mut place, "one");
    let (edit, undo) = (|p: &mut Place<'_>| lead(p, "two"), |p: &mut Place<'_>| lead(p, "one"));
    is_never_stale("nvcc", "k.o", &mut place, (NVCC, NVCC), edit, undo);
}

#[test]
fn another_torch_at_the_path_that_all_have() {
    let cache = Cache::new();
    let mut place = cache.place("build");
    place.write("a.cpp", "int v;\n");
    place.compile("g++", CXX);
    assert!(place.compile("g++", CXX).is_hit());
    place.torch = "components/torch-2";
    assert!(!place.compile("g++", CXX).is_hit());
}

#[test]
fn another_compiler_under_the_same_name() {
    let (_, toolchain) = toolchain();
    let cache = Cache::new();
    let mut place = cache.place("build");
    let compiler = |place: &mut Place<'_>, value: u8| {
        let script =
            format!("#!/bin/sh\nexec '{}' -DVALUE={value} \"$@\"\n", toolchain.cxx.display());
        place.write("compiler", script);
        let mode = std::fs::Permissions::from_mode(0o755);
        fs_err::set_permissions(place.path("compiler"), mode).unwrap();
    };
    compiler(&mut place, 1);
    place.stand_ins = vec![("cxx", place.path("compiler"))];
    place.write("a.cpp", "int v = VALUE;\n");
    let (edit, undo) = (|p: &mut Place<'_>| compiler(p, 2), |p: &mut Place<'_>| compiler(p, 1));
    is_never_stale("g++", "a.o", &mut place, (CXX, CXX), edit, undo);
}

#[test]
fn words_in_a_response_file() {
    let file = format!("#define HOST 0\n{KERNEL}");
    let files = [("k.cu", &file[..]), ("flags", "-DVALUE=1")];
    edit_is_seen("nvcc", &format!("{NVCC} --options-file flags"), &files, ("flags", "-DVALUE=2"));
    let files = [("a.cpp", "int v = VALUE;\n"), files[1]];
    edit_is_seen("g++", &format!("{CXX} @flags"), &files, ("flags", "-DVALUE=2"));
}

#[test]
fn what_a_link_reads() {
    let cache = Cache::new();
    let mut place = cache.place("build");
    place.write("a.cpp", "int one() { return 1; }\n");
    place.compile("g++", CXX);
    let object = place.read("a.o");
    place.write("a.cpp", "int one() { return 2; }\n");
    place.compile("g++", CXX);
    let other = place.read("a.o");
    place.write("a.o", &object);
    place.write("map", "{ global: *; };\n");
    let args = "-shared -nostdlib a.o -o a.so -Wl,--version-script=map";
    let (edit, undo) =
        (|p: &mut Place<'_>| p.write("a.o", &other), |p: &mut Place<'_>| p.write("a.o", &object));
    is_never_stale("g++", "a.so", &mut place, (args, args), edit, undo);
    place.write("map", "{ local: *; };\n");
    let before = place.read("a.so");
    assert!(!place.compile("g++", args).is_hit());
    assert_ne!(place.read("a.so"), before);
}

#[test]
fn what_names_the_time_is_not_kept() {
    let cache = Cache::new();
    let place = cache.place("build");
    place.write("a.cpp", "const char *when = __TIMESTAMP__;\n");
    let compiled = place.compile("g++", CXX);
    let named = format!("`{}/a.cpp` names the time of the compile", place.inside());
    assert_eq!(compiled.unkept(), Some(&named[..]));
    assert!(!place.compile("g++", CXX).is_hit());
    // The time of day is what the key says.
    place.write("a.cpp", "const char *when = __DATE__ __TIME__;\n");
    place.compile("g++", CXX);
    assert!(place.compile("g++", CXX).is_hit());
}

#[test]
fn a_file_that_changes_while_it_is_compiled_is_not_kept() {
    let (_, toolchain) = toolchain();
    let cache = Cache::new();
    let mut place = cache.place("build");
    // The real compiler, and then somebody who saves the file again.
    let script =
        format!("#!/bin/sh\n'{}' \"$@\"; echo 'int v = 2;' > a.cpp\n", toolchain.cxx.display());
    place.write("compiler", script);
    let mode = std::fs::Permissions::from_mode(0o755);
    fs_err::set_permissions(place.path("compiler"), mode).unwrap();
    place.stand_ins = vec![("cxx", place.path("compiler"))];
    place.write("a.cpp", "int v = 1;\n");
    let compiled = place.compile("g++", CXX);
    assert!(compiled.unkept().is_some());
    assert_eq!(cache.objects().measure().results, 0);
}
