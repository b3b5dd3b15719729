//! What nvcc's tools made before is not made again, and gives the same objects.

use crosswheel::cache::Uses;
use crosswheel::target::Sm;

use super::place::{Cache, Compiled, Place};

const NVCC: &str = "-c k.cu -o k.o -O2 -Xptxas -v -gencode arch=compute_90,code=sm_90 \
    -gencode arch=compute_110,code=sm_110";

const SOURCE: &str = "static __device__ int bias = 2;\n\
    namespace { __global__ void k(int *out) { *out = bias; } }\n\
    void run(int *out) {\n\
    #ifndef __CUDA_ARCH__\n\
    k<<<1, 1>>>(out);\n\
    #endif\n\
    }\n";

/// Hits and runs of cudafe++, cicc and ptxas.
fn steps(compiled: &Compiled) -> [(u64, u64); 3] {
    ["cudafe++", "cicc", "ptxas"].map(|tool| {
        let Uses { hits, runs, .. } = compiled.layers.0.get(tool).copied().unwrap_or_default();
        (hits, runs)
    })
}

/// Compiles, and asserts that the object is what it is without a cache.
#[track_caller]
fn compile(place: &mut Place<'_>, args: &str) -> Compiled {
    let output = args.split_once("-o ").unwrap().1.split(' ').next().unwrap();
    let compiled = place.compile("nvcc", args);
    assert!(!compiled.is_hit(), "{args}");
    assert_eq!(compiled.unkept(), None);
    let object = place.read(output);
    place.cached = false;
    let alone = place.compile("nvcc", args);
    place.cached = true;
    assert!(object == place.read(output), "another object than without a cache");
    // ptxas says how long it took.
    let said = |compiled: &Compiled| -> Vec<String> {
        compiled.said.iter().filter(|line| !line.contains("Compile time")).cloned().collect()
    };
    assert_eq!(said(&compiled), said(&alone));
    compiled
}

#[test]
fn threads_that_are_lent_decide_nothing() {
    const ARGS: &str = "-c k.cu -o k.o -O2 -gencode arch=compute_90,code=sm_90 \
        -gencode arch=compute_100,code=sm_100 -gencode arch=compute_110,code=sm_110";
    let sms = vec![Sm(90), Sm(100), Sm(110)];
    let (cache, other) = (Cache::new(), Cache::new());
    let (mut alone, mut lent) = (cache.place("build"), other.place("build"));
    for place in [&mut alone, &mut lent] {
        place.sms.clone_from(&sms);
        place.write("k.cu", SOURCE);
    }
    lent.jobs = 3;
    let (one, three) = (compile(&mut alone, ARGS), compile(&mut lent, ARGS));
    assert_eq!((steps(&one), steps(&three)), ([(0, 1), (0, 3), (0, 3)], [(0, 1), (0, 3), (0, 3)]));
    assert!(alone.read("k.o") == lent.read("k.o"), "other bytes with threads");
    // Both caches know of it, whoever asks.
    lent.jobs = 1;
    assert!(lent.compile("nvcc", ARGS).is_hit());
    alone.jobs = 3;
    alone.write("k.cu", SOURCE.replace("<<<1, 1>>>", "<<<2, 1>>>"));
    assert_eq!(steps(&compile(&mut alone, ARGS)), [(0, 1), (3, 0), (3, 0)]);
}

#[test]
fn of_an_architecture_that_is_added_only_its_own_code_is_compiled() {
    let cache = Cache::new();
    let mut place = cache.place("build");
    place.write("k.cu", SOURCE);
    assert_eq!(steps(&compile(&mut place, NVCC)), [(0, 1), (0, 1), (0, 1)]);
    place.sms = vec![Sm(90), Sm(110)];
    let both = compile(&mut place, NVCC);
    assert_eq!(steps(&both), [(1, 0), (1, 1), (1, 1)]);
    place.sms = vec![Sm(90)];
    assert_eq!(steps(&compile(&mut place, NVCC)), [(1, 0), (1, 0), (1, 0)]);
}

#[test]
fn an_edit_of_host_code_compiles_no_machine_code() {
    let cache = Cache::new();
    let mut place = cache.place("build");
    place.write("k.cu", SOURCE);
    compile(&mut place, NVCC);
    // What no device pass sees.
    place.write("k.cu", SOURCE.replace("k<<<1, 1>>>", "k<<<1, 2>>>"));
    assert_eq!(steps(&compile(&mut place, NVCC)), [(0, 1), (1, 0), (1, 0)]);
    // What one sees, and makes nothing of.
    place.write("k.cu", SOURCE.replace("void run(int *out) {", "void run(int *out) { ++out;"));
    assert_eq!(steps(&compile(&mut place, NVCC)), [(0, 1), (0, 1), (1, 0)]);
}

#[test]
fn names_of_outputs_and_options_of_later_tools_do_not_count() {
    let cache = Cache::new();
    let mut place = cache.place("build");
    place.write("k.cu", SOURCE);
    place.write("other/.keep", "");
    compile(&mut place, NVCC);
    let elsewhere = NVCC.replace("-o k.o", "-o other/cpython-312.o");
    assert_eq!(steps(&compile(&mut place, &elsewhere)), [(1, 0), (1, 0), (1, 0)]);
    let slower = NVCC.replace("-Xptxas -v", "-Xptxas -O1");
    assert_eq!(steps(&compile(&mut place, &slower)), [(1, 0), (1, 0), (0, 1)]);
}

#[test]
fn an_edit_of_device_code_is_compiled() {
    let cache = Cache::new();
    let mut place = cache.place("build");
    place.write("k.cu", SOURCE);
    compile(&mut place, NVCC);
    place.write("k.cu", SOURCE.replace("*out = bias", "*out = bias + 1"));
    assert_eq!(steps(&compile(&mut place, NVCC)), [(0, 1), (0, 1), (0, 1)]);
}

#[test]
fn line_tables_are_not_kept() {
    let cache = Cache::new();
    let mut place = cache.place("build");
    place.write("k.cu", SOURCE);
    let with_lines = format!("{NVCC} -lineinfo");
    compile(&mut place, &with_lines);
    place.write("k.cu", SOURCE.replace("k<<<1, 1>>>", "k<<<1, 2>>>"));
    let [_, _, ptxas] = steps(&compile(&mut place, &with_lines));
    assert_eq!(ptxas, (0, 0), "what holds names of sources is no part of the cache");
}

/// A source of which others see nothing.
const UNSEEN: &str = "static __device__ __noinline__ int twice(int v) { return 2 * v; }\n\
    template <class T> __global__ void k(T *out) { *out = twice(*out) + N; }\n\
    template <class T> static void run(T *out) { k<<<1, 1>>>(out); }\n\
    static void (*const used)(int *) = run<int>;\n\
    static const auto *address __attribute__((used)) = &used;\n";

#[test]
fn the_number_of_a_process_is_in_no_object() {
    let cache = Cache::new();
    let mut place = cache.place("build");
    place.write("k.cu", UNSEEN);
    let call = format!("{NVCC} -DN=1");
    // With a cache and without, other processes come before.
    compile(&mut place, &call);
    place.sms = vec![Sm(90), Sm(110)];
    compile(&mut place, &call);

    let mut elsewhere = cache.place_without_namespaces("elsewhere");
    elsewhere.sms = place.sms.clone();
    elsewhere.write("k.cu", UNSEEN);
    compile(&mut elsewhere, &call);
    assert!(elsewhere.read("k.o") == place.read("k.o"), "the folder is in an object");
}

#[test]
fn objects_of_one_source_that_nothing_is_seen_of_are_told_apart() {
    let cache = Cache::new();
    let place = cache.place("build");
    place.write("k.cu", UNSEEN);
    for n in ["1", "2"] {
        let call = NVCC.replace("k.o", &format!("k{n}.o"));
        assert_eq!(place.compile("nvcc", &format!("{call} -DN={n}")).code, 0);
    }
    let linked = place.compile("g++", "-shared -nostdlib k1.o k2.o -o k.so");
    assert_eq!(linked.code, 0, "{:?}", linked.said);
}
