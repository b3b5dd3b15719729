//! What comes out of the cache, and what becomes of entries that are not as they were.

use super::place::Cache;

const CXX: &str = "-c a.cpp -o a.o -MD -MF a.d -Wall";
const NVCC: &str = "-c k.cu -o k.o -MD -MF k.d -gencode arch=compute_110,code=sm_110 -Xptxas -v";

#[test]
fn outputs_and_words_are_the_same_in_another_folder() {
    let cache = Cache::new();
    let fill = |name: &str| {
        let place = cache.place(name);
        place.write("v.h", "#define VALUE 1\n");
        place.write("a.cpp", "#include \"v.h\"\nstatic int unused() { return VALUE; }\n");
        place.write("k.cu", "#include \"v.h\"\n__global__ void k(int *o) { *o = VALUE; }\n");
        place
    };
    let (first, second) = (fill("first"), fill("second"));
    let mut hits = 0;
    for (tool, args, outputs) in [("g++", CXX, ["a.o", "a.d"]), ("nvcc", NVCC, ["k.o", "k.d"])] {
        let ran = first.compile(tool, args);
        assert!(!ran.is_hit());
        assert!(!ran.said.is_empty(), "{tool} says something");
        let again = second.compile(tool, args);
        // Without a fixed path, results hold the folder's name.
        let same = first.inside() == second.inside();
        assert_eq!(again.is_hit(), same);
        if !same {
            continue;
        }
        hits += 1;
        assert_eq!(again.said, ran.said);
        for output in outputs {
            assert!(first.read(output) == second.read(output), "{output}");
        }
        assert_eq!(fs_err::read_dir(second.path("incoming")).map_or(0, Iterator::count), 0);
        let (cost, saved) = (ran.action.unwrap(), again.action.unwrap().restored.unwrap());
        assert_eq!((cost.wall_ms, cost.cpu_ms), (saved.wall_ms, saved.cpu_ms));
    }
    assert!(hits == 2 || first.inside() != second.inside());
}

#[test]
fn a_file_that_was_only_touched_is_the_same() {
    let cache = Cache::new();
    let place = cache.place("build");
    place.write("a.cpp", "int v;\n");
    place.compile("g++", CXX);
    place.write("a.cpp", "int v;\n");
    assert!(place.compile("g++", CXX).is_hit());
}

#[test]
fn what_failed_is_not_kept() {
    let cache = Cache::new();
    let place = cache.place("build");
    place.write("a.cpp", "no C++\n");
    for _ in 0..2 {
        let failed = place.run("g++", CXX);
        assert_eq!(failed.code, 1);
        assert!(failed.said.iter().any(|line| line.contains("error:")), "{:?}", failed.said);
    }
    assert_eq!(cache.objects().measure().results, 0);
}

#[test]
fn a_damaged_result_is_dropped_and_made_again() {
    let cache = Cache::new();
    let place = cache.place("build");
    place.write("a.cpp", "int v = 1;\n");
    place.compile("g++", CXX);
    let object = place.read("a.o");
    let results = cache.objects().root().join("results");
    let all = walkdir::WalkDir::new(&results).into_iter().flatten();
    let mut files = all.filter(|entry| entry.file_type().is_file());
    let result = files.next().unwrap().into_path();
    let mut bytes = fs_err::read(&result).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&result, bytes).unwrap();
    fs_err::remove_file(place.path("a.o")).unwrap();

    let again = place.compile("g++", CXX);
    assert!(!again.is_hit());
    assert_eq!(place.read("a.o"), object);
    let warnings = cache.reporter.warnings();
    assert!(warnings.iter().any(|text| text.contains("was damaged")), "{warnings:?}");
    assert!(place.compile("g++", CXX).is_hit());
    assert_eq!(place.read("a.o"), object);
}

#[test]
fn an_entry_without_its_result_is_a_miss() {
    let cache = Cache::new();
    let place = cache.place("build");
    place.write("a.cpp", "int v = 1;\n");
    place.compile("g++", CXX);
    let removed = cache.objects().gc(0).unwrap();
    assert_eq!((removed.results, removed.actions), (1, 1));
    assert!(!place.compile("g++", CXX).is_hit());
    assert!(place.compile("g++", CXX).is_hit());
}

#[test]
fn two_builds_at_once_keep_what_both_made() {
    let cache = Cache::new();
    let places: Vec<_> = ["one", "two"].map(|name| cache.place(name)).into();
    std::thread::scope(|scope| {
        for (index, place) in places.iter().enumerate() {
            scope.spawn(move || {
                for file in 0..3 {
                    place.write("a.cpp", format!("int both_{file};\n"));
                    place.compile("g++", CXX);
                    place.write("a.cpp", format!("int own_{index}_{file};\n"));
                    place.compile("g++", CXX);
                }
            });
        }
    });
    for (index, place) in places.iter().enumerate() {
        for name in [format!("both_{index}"), format!("own_{index}_{index}")] {
            place.write("a.cpp", format!("int {name};\n"));
            assert!(place.compile("g++", CXX).is_hit(), "{name}");
        }
    }
    assert_eq!(cache.objects().verify().unwrap().results, 0);
}
