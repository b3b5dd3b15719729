//! The build environment and the hooks of a backend that is in the source tree.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};

use crosswheel::exec::View;
use crosswheel::python::answers::TorchAnswers;
use crosswheel::python::backend::{Backend, BackendError};
use crosswheel::python::environment::{BuildEnvironment, Parts, Tools};
use crosswheel::python::pyproject::Project;
use crosswheel::python::shim::ToolProject;
use crosswheel::target::{Arch, Floors, Sm, Target};
use crosswheel::toolchain::{TargetPython, Toolchain};

use crate::support::python::{launch, python};

/// A toolchain of empty folders, but for its Python.
struct Fixture {
    folder: tempfile::TempDir,
    environment: BuildEnvironment,
}

impl Fixture {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for name in ["cuda/bin", "tools", "torch-sdk/torch", "include/python3.12"] {
            fs_err::create_dir_all(path(name)).unwrap();
        }
        let sdk = "import _crosswheel\nversion = _crosswheel.answers()['torch']['version']\n";
        fs_err::write(path("torch-sdk/torch/__init__.py"), sdk).unwrap();
        // As `packaging` does: the tags of this Python, unless it is asked for another's.
        let tags = "import sys\ndef cpython_tags(python_version=None, *, warn=False):\n    return python_version or sys.version_info[:2]\ncompatible_tags = cpython_tags\n";
        fs_err::create_dir(path("torch-sdk/packaging")).unwrap();
        fs_err::write(path("torch-sdk/packaging/tags.py"), tags).unwrap();
        let toolchain = toolchain(folder.path());
        let tools =
            Tools { folder: path("tools"), cuda: path("cuda"), arch: toolchain.target.arch };
        let torch = TorchAnswers { root: path("torch-sdk"), version: "2.14.0+cu130".to_owned() };
        let parts = Parts {
            view: &View::default(),
            toolchain: &toolchain,
            tools: &tools,
            torch: &torch,
            wheels: &[],
            environments: None,
            provided: &[(ToolProject::Ninja, "1.13.0".to_owned())],
            jobs: NonZeroUsize::new(3).unwrap(),
            source_date_epoch: 1_700_000_000,
        };
        let environment = BuildEnvironment::create(&path("env"), parts, &launch).unwrap();
        Self { folder, environment }
    }

    /// A source tree with a backend of its own, whose `build_wheel` is this body.
    fn with_backend(
        &self,
        body: &str,
        act: impl FnOnce(Backend<'_>, &Path) -> Result<PathBuf, BackendError>,
    ) -> Result<String, BackendError> {
        let source = self.folder.path().join("source");
        fs_err::create_dir_all(source.join("backend")).unwrap();
        let pyproject = "[build-system]\nrequires = []\nbuild-backend = 'own:backend'\nbackend-path = ['backend']\n";
        fs_err::write(source.join("pyproject.toml"), pyproject).unwrap();
        let body = body.replace('\n', "\n        ");
        let own = format!(
            "class Backend:\n    def build_wheel(self, wheel_directory, config_settings=None):\n        {body}\n\
             \ndef write(folder, text):\n    open(folder + '/a.whl', 'w').write(str(text))\n    return 'a.whl'\n\
             \nbackend = Backend()\n"
        );
        fs_err::write(source.join("backend/own.py"), own).unwrap();
        let project = Project::read(&source).unwrap();
        let settings = BTreeMap::from([("key".to_owned(), "value".to_owned())]);
        let backend = Backend {
            environment: &self.environment,
            system: &project.build_system,
            source: &source,
            settings: &settings,
            log: &self.folder.path().join("build.log"),
            launch: &launch,
        };
        let dist = self.folder.path().join("dist");
        let wheel = act(backend, &dist)?;
        assert_eq!(wheel, dist.join("a.whl"));
        Ok(fs_err::read_to_string(wheel).unwrap())
    }

    /// Runs `build_wheel` with this body.
    fn build(&self, body: &str) -> Result<String, BackendError> {
        self.with_backend(body, |backend, dist| backend.build_wheel(dist))
    }

    /// What an expression is worth to a build script.
    fn evaluate(&self, imports: &str, expression: &str) -> String {
        self.evaluate_all(&[(imports, expression)]).remove(0)
    }

    /// What expressions are worth to one build script.
    fn evaluate_all(&self, expressions: &[(&str, &str)]) -> Vec<String> {
        let expressions = serde_json::to_string(expressions).unwrap();
        let body = format!(
            "import json\nvalues = []\nscope = dict(config_settings=config_settings)\nfor imports, expression in {expressions}:\n    \
             exec('import ' + imports, scope)\n    values.append(str(eval(expression, scope)))\n\
             return write(wheel_directory, json.dumps(values))"
        );
        serde_json::from_str(&self.build(&body).unwrap()).unwrap()
    }
}

fn toolchain(folder: &Path) -> Toolchain {
    let path = |name: &str| folder.join(name);
    Toolchain {
        target: Target {
            name: "thor".to_owned(),
            description: String::new(),
            arch: Arch::Aarch64,
            cuda: "13.0".to_owned(),
            sm: vec![Sm(90), Sm(110)],
            python: vec!["3.12".to_owned()],
            torch: "2.14.0".to_owned(),
            floors: Floors {
                glibc: "2.39".to_owned(),
                glibcxx: "3.4.33".to_owned(),
                cxxabi: "1.3.15".to_owned(),
            },
        },
        build: Arch::X86_64,
        cc: PathBuf::new(),
        cxx: PathBuf::new(),
        binutils: PathBuf::new(),
        sysroot: PathBuf::new(),
        cuda: path("cuda"),
        cuda_include: Vec::new(),
        python: python(),
        target_python: TargetPython {
            version: "3.12".to_owned(),
            include: vec![path("include/python3.12")],
            source: "fixture".to_owned(),
        },
        rust: None,
        ninja: PathBuf::new(),
        uv: PathBuf::new(),
        components: Vec::new(),
        device_compilers: crosswheel::artifact::Sha256::of([]),
        aliases: Default::default(),
    }
}

#[test]
fn a_build_script_sees_the_target() {
    let fixture = Fixture::new();
    let include = fixture.folder.path().join("include/python3.12");
    let include = include.to_str().unwrap();
    let cases = [
        ("sysconfig", "sysconfig.get_platform()", "linux-aarch64"),
        (
            "sysconfig",
            "sysconfig.get_config_var('EXT_SUFFIX')",
            ".cpython-312-aarch64-linux-gnu.so",
        ),
        ("sysconfig", "sysconfig.get_config_var('py_version_nodot')", "312"),
        ("sysconfig", "sysconfig.get_config_var('LDSHARED')", "aarch64-linux-gnu-gcc -shared"),
        ("sysconfig", "sysconfig.get_path('include')", include),
        ("sysconfig", "sysconfig.get_path('platinclude', 'posix_prefix')", include),
        (
            "sysconfig, sys",
            "sysconfig.get_path('purelib').endswith('python%d.%d/site-packages' % sys.version_info[:2])",
            "True",
        ),
        (
            "platform",
            "(platform.machine(), platform.processor(), platform.uname().machine)",
            "('aarch64', 'aarch64', 'aarch64')",
        ),
        (
            "platform",
            "platform.architecture() + platform.libc_ver()",
            "('64bit', 'ELF', 'glibc', '2.39')",
        ),
        (
            "os",
            "(os.uname().machine, os.confstr('CS_GNU_LIBC_VERSION'))",
            "('aarch64', 'glibc 2.39')",
        ),
        (
            "os, multiprocessing",
            "(os.cpu_count(), multiprocessing.cpu_count(), len(os.sched_getaffinity(0)))",
            "(3, 3, 3)",
        ),
        ("torch", "torch.version", "2.14.0+cu130"),
        ("importlib.metadata", "importlib.metadata.version('ninja')", "1.13.0"),
        ("subprocess", "subprocess.check_output(['uname', '-sm'], text=True)", "Linux aarch64\n"),
        ("subprocess", "subprocess.check_output('nproc', text=True)", "3\n"),
        (
            "subprocess",
            "subprocess.check_output(['uname', '-a'], text=True)",
            "Linux crosswheel 6.8.0 #1 SMP aarch64 aarch64 aarch64 GNU/Linux\n",
        ),
        ("subprocess", "subprocess.call(['uname', '-z'])", "1"),
        ("packaging.tags", "packaging.tags.cpython_tags(warn=True)", "(3, 12)"),
        ("packaging.tags", "packaging.tags.compatible_tags((3, 9))", "(3, 9)"),
        ("os", "config_settings", "{'key': 'value'}"),
    ];
    let values = fixture.evaluate_all(&cases.map(|(imports, expression, _)| (imports, expression)));
    for ((_, expression, expected), value) in cases.iter().zip(values) {
        assert_eq!(value, *expected, "{expression}");
    }
}

#[test]
fn hooks_that_a_backend_lacks_have_empty_answers() {
    let wheel = Fixture::new().with_backend("return write(wheel_directory, 1)", |backend, dist| {
        assert!(backend.get_requires_for_build_wheel()?.is_empty());
        assert_eq!(backend.prepare_metadata_for_build_wheel(dist)?, None);
        backend.build_wheel(dist)
    });
    assert_eq!(wheel.unwrap(), "1");
}

#[test]
fn a_python_that_the_build_starts_sees_it_too() {
    let fixture = Fixture::new();
    let child = "subprocess.check_output(['python3', '-I', '-c', 'import platform; print(platform.machine())'], text=True)";
    assert_eq!(fixture.evaluate("subprocess", child), "aarch64\n");
}

#[test]
fn nothing_of_the_machine_is_on_the_path() {
    let fixture = Fixture::new();
    let found = "[name for name in ('gcc', 'cc', 'g++', 'nvcc', 'pip', 'curl', 'git') if shutil.which(name)]";
    assert_eq!(fixture.evaluate("shutil", found), "[]");
    let outside = "[p for p in sys.path if 'dist-packages' in p or 'site-packages' in p]";
    let site = fixture.environment.layout().site.to_str().unwrap().to_owned();
    assert_eq!(fixture.evaluate("sys", outside), format!("['{site}']"));
    let names = "sorted(name for name in os.environ if 'TOKEN' in name or name == 'USER')";
    assert_eq!(fixture.evaluate("os", names), "[]");
}

#[test]
fn a_prebuilt_wheel_is_not_found() {
    let fixture = Fixture::new();
    let body = "import urllib.request, urllib.error\n\
                try:\n    urllib.request.urlretrieve('https://example.com/a.whl', 'a.whl')\n\
                except urllib.error.HTTPError as error:\n    return write(wheel_directory, error.code)";
    assert_eq!(fixture.build(body).unwrap(), "404");
    // As where no namespace keeps the build off the network.
    let proxied = format!("import os\nos.environ['https_proxy'] = 'http://127.0.0.1:9'\n{body}");
    assert_eq!(fixture.build(&proxied).unwrap(), "404");
}

#[test]
fn sockets_fail_at_once_and_say_why() {
    let fixture = Fixture::new();
    for call in [
        "socket.create_connection(('example.com', 80))",
        "socket.socket().connect(('192.0.2.1', 80))",
        "socket.gethostbyname('example.com')",
    ] {
        let error = fixture.build(&format!("import socket\n{call}")).unwrap_err();
        assert!(error.to_string().contains("crosswheel builds without network"), "{error}");
    }
    let loopback = "socket.create_server(('127.0.0.1', 0)).getsockname()[0]";
    assert_eq!(fixture.evaluate("socket", loopback), "127.0.0.1");
}

#[test]
fn an_exception_names_the_line_of_the_build_script() {
    let fixture = Fixture::new();
    let error = fixture.build("print('compiling', flush=True)\nimport no_such_module").unwrap_err();
    let BackendError::Raised(raised) = error else { panic!("{error}") };
    assert_eq!(raised.kind, "ModuleNotFoundError");
    let script = raised.script.unwrap();
    assert_eq!(script.file, Path::new("backend/own.py"));
    assert_eq!((script.line, script.text.as_str()), (4, "import no_such_module"));
    assert_eq!(raised.tail, ["compiling"]);
    let log = fs_err::read_to_string(raised.log).unwrap();
    assert!(log.contains("Traceback"), "{log}");
}

#[test]
fn a_script_that_ends_python_is_an_error() {
    let fixture = Fixture::new();
    let error = fixture.build("import sys\nsys.exit(0)").unwrap_err();
    assert!(error.to_string().contains("ended before the wheel was built"), "{error}");
    let error =
        fixture.build("import os\nprint('last words', flush=True)\nos._exit(7)").unwrap_err();
    let BackendError::Ended { code, tail, .. } = error else { panic!("{error}") };
    assert_eq!(code, 7);
    assert_eq!(tail.last().unwrap(), "last words");
}

#[test]
fn a_wheel_that_was_not_written_is_an_error() {
    let error = Fixture::new().build("return '../a.whl'").unwrap_err();
    assert!(matches!(error, BackendError::Value { .. }), "{error}");
}

#[test]
fn the_variables_tell_of_the_target_and_one_job_number() {
    let fixture = Fixture::new();
    let variables = fixture.environment.variables();
    assert_eq!(variables["TORCH_CUDA_ARCH_LIST"], "9.0;11.0");
    assert_eq!(variables["CXX"], "aarch64-linux-gnu-g++");
    assert_eq!(variables["CUDACXX"], fixture.folder.path().join("cuda/bin/nvcc").as_os_str());
    for name in ["MAX_JOBS", "CMAKE_BUILD_PARALLEL_LEVEL", "CARGO_BUILD_JOBS"] {
        assert_eq!(variables[name], "3");
    }
}
