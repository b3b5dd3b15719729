//! The tool wrappers, the action server and the sandbox, with fake tools.

use std::io::{BufReader, ErrorKind, Read as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use crosswheel::actions::protocol::{Reply, Request, receive, send};
use crosswheel::actions::{Action, CostBook, Kind, Server, ServerOptions};
use crosswheel::exec::{Command, Finished, Interrupt, Isolation, Sandbox};
use crosswheel::report::{Event, Reporter};
use crosswheel::target::Sm;
use crosswheel::wrapper::{self, Config, Toolkit, Tools};
use fs_err::os::unix::fs::OpenOptionsExt as _;
use nix::sys::stat::Mode;

const XTASK: &str = env!("CARGO_BIN_EXE_xtask");

/// A fake tool that writes its arguments, one a line, beside itself, and then does more.
fn fake_tool(path: &Path, more: &str) {
    let script = format!("#!/bin/sh\nprintf '%s\\n' \"$@\" >> '{}.args'\n{more}\n", path.display());
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(path, script).unwrap();
    fs_err::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[derive(Default)]
struct Recorder(Mutex<Vec<Event>>);

impl Reporter for Recorder {
    fn report(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

/// A build folder with wrappers before fake tools.
struct Build {
    folder: tempfile::TempDir,
    reporter: Arc<Recorder>,
}

impl Build {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let build = Self { folder, reporter: Arc::default() };
        for (tool, more) in [
            ("cc", ""),
            ("cxx", ""),
            ("cuda/bin/nvcc", ""),
            ("ninja", "case \"$*\" in *-n*) echo '[1/1] g++ -c a.c -o out/a.o';; *) exit 7;; esac"),
        ] {
            fake_tool(&build.real(tool), more);
        }
        fs_err::create_dir_all(build.real("cuda/include")).unwrap();
        let (tools, cuda) = (build.path("tools"), build.real("cuda"));
        let toolkit = Toolkit { root: &cuda, include: &[] };
        wrapper::install(&tools, Path::new(XTASK), &build.config(), toolkit).unwrap();
        build
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn real(&self, name: &str) -> PathBuf {
        self.path("store").join(name)
    }

    fn config(&self) -> Config {
        let tools = Tools {
            cc: self.real("cc"),
            cxx: self.real("cxx"),
            cuda: self.real("cuda"),
            cuda_include: Vec::new(),
            rust: None,
            ninja: self.real("ninja"),
            cmake: None,
        };
        let (build, store) = (self.folder.path(), self.path("store"));
        Config {
            socket: Some(self.path("socket")),
            jobs: 3,
            ..Config::plain(tools, "aarch64-linux-gnu", vec![Sm(110)], build, &store)
        }
    }

    fn serve(&self) -> Server {
        let options = ServerOptions {
            socket: self.path("socket"),
            log: self.path("actions.jsonl"),
            jobs: 1,
            memory: None,
            running: None,
            reporter: Arc::clone(&self.reporter) as Arc<dyn Reporter>,
            until: None,
            costs: CostBook::load(Path::new("/nonexistent")),
            package: "test".to_owned(),
            cache: None,
        };
        Server::start(options).unwrap()
    }

    fn tool(&self, name: &str, args: &str) -> Command {
        Command::new(self.path("tools").join(name), self.folder.path())
            .args(args.split_ascii_whitespace())
            .variable("PATH", "/usr/bin:/bin")
    }

    fn run(&self, name: &str, args: &str) -> Finished {
        self.tool(name, args).run(&Interrupt::new()).unwrap()
    }

    /// What a real tool was given, of all its calls.
    fn given(&self, tool: &str) -> Vec<String> {
        let text = fs_err::read_to_string(self.real(&format!("{tool}.args"))).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }
}

#[test]
fn nvcc_is_narrowed_and_recorded() {
    let build = Build::new();
    let server = build.serve();
    let asked = "-c k.cu -o out/k.o -gencode arch=compute_80,code=sm_80 \
                 -gencode=arch=compute_90a,code=sm_90a --threads 4";
    let finished = build.run("cuda/bin/nvcc", asked);
    assert!(finished.status.success(), "{:?}", finished.tail);
    let actions = server.finish().actions;

    let given = build.given("cuda/bin/nvcc");
    let ccbin = build.path("tools/nested/aarch64-linux-gnu-g++");
    assert_eq!(given[..2], ["-ccbin", ccbin.to_str().unwrap()]);
    let gencodes: Vec<_> = given.iter().filter(|arg| arg.contains("compute_")).collect();
    assert_eq!(gencodes, ["-gencode=arch=compute_80,code=sm_110"]);
    assert!(!given.contains(&"--threads".to_owned()));

    let [action] = &actions[..] else { panic!("{actions:?}") };
    assert_eq!((action.kind, action.label.as_str(), action.exit), (Kind::CompileCuda, "k.o", 0));
    assert_eq!(action.sms, ["sm_110"]);
    assert_eq!(action.cwd, "/crosswheel/build");
    assert_eq!(action.command[0], "/crosswheel/build/store/cuda/bin/nvcc");
    assert_eq!(Action::read_log(&build.path("actions.jsonl")).unwrap(), actions);
}

#[test]
fn what_cannot_run_on_the_target_is_refused_before_nvcc_runs() {
    let build = Build::new();
    let server = build.serve();
    let finished = build.run("nvcc", "-c k.cu -o k.o -arch=sm_90a");
    assert_eq!(finished.code(), 125);
    assert!(finished.tail[0].contains("`k.cu`"), "{:?}", finished.tail);
    assert!(finished.tail.last().unwrap().starts_with("hint: "), "{:?}", finished.tail);
    assert!(server.finish().actions.is_empty());
    assert!(build.given("cuda/bin/nvcc").is_empty());
}

#[test]
fn queries_need_no_server() {
    let build = Build::new();
    assert!(build.run("nvcc", "--version").status.success());
    assert!(build.run("g++", "-dumpmachine").status.success());
    assert_eq!(build.given("cuda/bin/nvcc"), ["--version"]);
    assert_eq!(build.given("cxx"), ["-dumpmachine"]);
    let compile = build.run("g++", "-c a.c");
    assert_eq!(compile.code(), 125);
    assert!(compile.tail[0].contains("does not answer"), "{:?}", compile.tail);
}

#[test]
fn the_compiler_below_nvcc_is_no_action_of_its_own() {
    let build = Build::new();
    let server = build.serve();
    assert!(build.run("nested/aarch64-linux-gnu-g++", "-c a.c").status.success());
    assert!(build.run("aarch64-linux-gnu-gcc", "-c b.c").status.success());
    let labels: Vec<_> = server.finish().actions.into_iter().map(|action| action.label).collect();
    assert_eq!(labels, ["b.c"]);
    assert!(build.given("cxx").contains(&"a.c".to_owned()));
}

#[test]
fn cuda_home_is_the_toolkit_with_another_nvcc() {
    let build = Build::new();
    let include = build.path("tools/cuda/include");
    assert_eq!(fs_err::read_link(include).unwrap(), build.real("cuda/include"));
    let nvcc = fs_err::symlink_metadata(build.path("tools/cuda/bin/nvcc")).unwrap();
    assert!(nvcc.is_file());
}

#[test]
fn ninja_tells_its_plan_and_gets_the_job_number() {
    let build = Build::new();
    let server = build.serve();
    assert_eq!(build.run("ninja", "-C . -j 64").code(), 7);
    server.finish();
    let given = build.given("ninja");
    assert_eq!(given, ["-n", "-v", "-C", ".", "-j88", "-C", "."]);
    let events = build.reporter.0.lock().unwrap();
    let planned = events.iter().find_map(|event| match event {
        Event::ActionsPlanned { labels, .. } => Some(labels.clone()),
        _ => None,
    });
    assert_eq!(planned.unwrap(), ["a.o"]);
}

/// A tool that keeps a pipe open until it dies, and says so if it lives for long.
const LONG: &str = "exec 9> pipe; echo begun >&9; (sleep 30; echo survived >&9) & wait";

#[test]
fn the_end_of_the_server_is_the_end_of_its_tools() {
    let build = Build::new();
    fake_tool(&build.real("cc"), LONG);
    let pipe = build.path("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    let listener = UnixListener::bind(build.path("socket")).unwrap();
    let finished = std::thread::scope(|scope| {
        let run = scope.spawn(|| build.run("cc", "-c a.c"));
        let (stream, _) = listener.accept().unwrap();
        let start = receive::<Request>(&mut BufReader::new(&stream)).unwrap();
        assert!(matches!(start, Some(Request::Start(start)) if start.label == "a.c"));
        send(&stream, &Reply::Go).unwrap();
        let mut output = fs_err::File::open(&pipe).unwrap();
        let mut begun = [0; 6];
        output.read_exact(&mut begun).unwrap();
        drop(stream);
        let mut rest = String::new();
        output.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "", "the tool outlived the server");
        run.join().unwrap()
    });
    assert_eq!(finished.code(), 137);
}

#[test]
fn what_is_killed_for_want_of_memory_runs_again_alone() {
    let build = Build::new();
    let server = build.serve();
    // As the kernel does it: to the compiler, or to what the driver started.
    fake_tool(&build.real("cc"), "[ -e once ] || { touch once; kill -9 $$; }; echo made > a.o");
    let finished = build.run("gcc", "-c a.c -o a.o");
    assert!(finished.status.success(), "{:?}", finished.tail);
    let says = "g++: fatal error: Killed signal terminated program cc1plus";
    fake_tool(
        &build.real("cxx"),
        &format!("[ -e twice ] || {{ touch twice; echo '{says}' >&2; exit 1; }}"),
    );
    assert!(build.run("g++", "-c b.cpp -o b.o").status.success());
    assert!(server.failures().is_empty());
    let actions = server.finish().actions;
    let ended: Vec<_> = actions.iter().map(|action| (action.label.as_str(), action.exit)).collect();
    assert_eq!(ended, [("a.o", 137), ("a.o", 0), ("b.o", 1), ("b.o", 0)]);
    let note = "was killed for want of memory, and ran again alone";
    assert!(actions[1].notes.contains(&note.to_owned()), "{:?}", actions[1].notes);
    let events = build.reporter.0.lock().unwrap();
    let warned = events.iter().filter(|event| matches!(event, Event::Warning(_))).count();
    assert_eq!(warned, 2);
}

#[test]
fn what_is_killed_alone_too_has_failed() {
    let build = Build::new();
    let server = build.serve();
    fake_tool(&build.real("cc"), "kill -9 $$");
    assert_eq!(build.run("gcc", "-c a.c -o a.o").code(), 137);
    assert_eq!(server.failures().len(), 1);
    assert_eq!(server.finish().actions.len(), 2);
}

/// A sandbox around a folder of its own, and the strongest isolation that this machine allows.
struct Cell {
    folder: tempfile::TempDir,
    supervisor: PathBuf,
    isolation: Isolation,
}

impl Cell {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let tools = folder.path().join("tools");
        let supervisor = wrapper::install_sandbox(&tools, Path::new(XTASK)).unwrap();
        let scratch = folder.path().join("scratch");
        fs_err::create_dir_all(&scratch).unwrap();
        let isolation = Isolation::detect(&supervisor, &scratch, &Interrupt::new()).unwrap();
        Self { folder, supervisor, isolation }
    }

    fn sandbox(&self, isolation: Isolation) -> Sandbox {
        Sandbox::new(&self.supervisor, isolation, self.folder.path())
    }

    fn run(&self, isolation: Isolation, script: &str) -> Finished {
        let command = self.sandbox(isolation).command("/bin/sh", self.folder.path()).unwrap();
        let command = command.args(["-c", script]).variable("PATH", "/usr/bin:/bin");
        command.run(&Interrupt::new()).unwrap()
    }

    /// What is tested beside what the machine allows: the fallback is never left out.
    fn isolations(&self) -> [Isolation; 2] {
        [self.isolation.clone(), Isolation::None { reason: "a test".to_owned() }]
    }
}

#[test]
fn a_sandbox_has_no_network() {
    let cell = Cell::new();
    for isolation in cell.isolations() {
        let closed = isolation.has_no_network();
        let script = "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '; echo $https_proxy";
        let finished = cell.run(isolation, script);
        if closed {
            assert_eq!(finished.tail, ["lo", ""]);
        } else {
            assert_eq!(finished.tail.last().unwrap(), "http://127.0.0.1:9");
        }
    }
}

#[test]
fn a_build_has_its_fixed_path_and_not_the_users_files() {
    let cell = Cell::new();
    let private = tempfile::tempdir().unwrap();
    fs_err::write(private.path().join("token"), "secret").unwrap();
    let folder = cell.folder.path().canonicalize().unwrap();
    for isolation in cell.isolations() {
        let fixed = isolation.has_fixed_path();
        let token = private.path().join("token");
        let script = format!("pwd -P; id -u; echo made > made; cat {}", token.display());
        let finished = cell.run(isolation, &script);
        let uid = nix::unistd::geteuid().to_string();
        assert_eq!(finished.tail[1], uid);
        assert_eq!(fs_err::read_to_string(folder.join("made")).unwrap(), "made\n");
        if fixed {
            assert_eq!(finished.tail[0], "/crosswheel/build");
            assert!(!finished.status.success(), "{:?}", finished.tail);
        } else {
            assert_eq!(finished.tail[0], folder.to_str().unwrap());
            assert_eq!(finished.tail[2], "secret");
        }
    }
}

#[test]
fn what_is_given_to_read_cannot_be_written() {
    let cell = Cell::new();
    let store = tempfile::tempdir().unwrap();
    fs_err::write(store.path().join("file"), "stored").unwrap();
    let sandbox = cell.sandbox(cell.isolation.clone()).readable(store.path());
    let script = format!("cat {0}/file; echo changed > {0}/file", store.path().display());
    let command = sandbox.command("/bin/sh", cell.folder.path()).unwrap().args(["-c", &script]);
    let finished = command.variable("PATH", "/usr/bin:/bin").run(&Interrupt::new()).unwrap();
    assert!(finished.tail[0].starts_with("stored"), "{:?}", finished.tail);
    assert_eq!(finished.status.success(), !cell.isolation.has_fixed_path());
}

#[test]
fn exit_codes_come_through() {
    let cell = Cell::new();
    for isolation in cell.isolations() {
        assert_eq!(cell.run(isolation.clone(), "exit 42").code(), 42);
        assert_eq!(cell.run(isolation, "kill -9 $$").code(), 137);
    }
}

/// Whether someone still holds the writing end of a pipe.
fn is_held(pipe: &Path) -> bool {
    let mut options = fs_err::OpenOptions::new();
    let mut reader =
        options.read(true).custom_flags(nix::fcntl::OFlag::O_NONBLOCK.bits()).open(pipe).unwrap();
    match reader.read(&mut [0; 64]) {
        Ok(n) => n > 0,
        Err(error) => error.kind() == ErrorKind::WouldBlock,
    }
}

#[test]
fn daemons_end_with_the_command_that_left_them() {
    let cell = Cell::new();
    let pipe = cell.folder.path().join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    // Opened for both, it does not wait for a reader.
    let script = "exec 9<> pipe; setsid sleep 1000 > /dev/null 2>&1 & exit 0";
    for isolation in cell.isolations() {
        assert!(cell.run(isolation.clone(), script).status.success());
        assert!(!is_held(&pipe), "a daemon outlived {isolation:?}");
    }
}

#[test]
fn a_sandbox_ends_when_the_one_who_started_it_is_killed() {
    let cell = Cell::new();
    let folder = cell.folder.path();
    let pipe = folder.join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::S_IRWXU).unwrap();
    for isolation in cell.isolations() {
        // The shell stands for crosswheel: it starts the sandbox as its own child and is killed.
        let spec = serde_json::json!({
            "isolation": isolation,
            "parent": "PARENT",
            "mounts": [{
                "from": folder,
                "to": cell.sandbox(isolation.clone()).inside(folder),
                "writable": true,
            }],
            "dir": cell.sandbox(isolation.clone()).inside(folder),
        });
        let spec = spec.to_string().replace("\"PARENT\"", "'$$'");
        let script = format!(
            "'{}' '{spec}' /bin/sh -c 'setsid sh -c \"{LONG}\" & wait' & wait",
            cell.supervisor.display()
        );
        let command =
            Command::new("/bin/sh", folder).args(["-c", &script]).variable("PATH", "/usr/bin:/bin");
        let interrupt = Interrupt::new();
        std::thread::scope(|scope| {
            let run = scope.spawn(|| command.run(&interrupt));
            let mut output = fs_err::File::open(&pipe).unwrap();
            let mut begun = [0; 6];
            output.read_exact(&mut begun).unwrap();
            kill_shell(&cell.supervisor);
            let mut rest = String::new();
            output.read_to_string(&mut rest).unwrap();
            assert_eq!(rest, "", "{isolation:?} outlived its parent");
            assert_eq!(run.join().unwrap().unwrap().code(), 137);
        });
    }
}

/// Kills the parent of the sandbox process, which is found by its executable.
fn kill_shell(supervisor: &Path) {
    let name = supervisor.to_str().unwrap();
    let this = std::process::id().to_string();
    let children = fs_err::read_dir("/proc").unwrap().flatten().filter_map(|entry| {
        let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        let parent = stat.rsplit_once(") ")?.1.split(' ').nth(1)?.to_owned();
        let command = fs_err::read_to_string(format!("/proc/{pid}/cmdline")).ok()?;
        (parent == this && command.contains(name)).then_some(pid)
    });
    for pid in children {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::SIGKILL).unwrap();
    }
}
