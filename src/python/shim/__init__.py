"""Makes the build Python answer questions about the machine as the target would.

crosswheel writes this package into a build environment's site-packages, with `answers.json`
beside it, and a `.pth` file that imports it at the start of every Python of that environment.
`sys.path` and what the interpreter itself needs stay as they are, and so does
`sys.version_info`, unless it is asked for on the command line.

Only `os` is changed at once, because it is loaded by then. Other modules are changed when they
are first imported, so that a Python which does not use them starts as fast as ever.
"""

import os
import sys

_answers = None


def answers():
    """What is known of the target: `answers.json`, read once."""
    global _answers
    if _answers is None:
        import json

        path = os.path.join(os.path.dirname(__file__), "answers.json")
        with open(path, encoding="utf-8") as file:
            _answers = json.load(file)
    return _answers


def _patch_os():
    """Processor, C library and processor count. The kernel's name and version are fixed, so that
    no build depends on the machine that it ran on."""
    confstr = os.confstr

    def uname():
        return os.uname_result(
            ("Linux", "crosswheel", "6.8.0", "#1 SMP", answers()["machine"])
        )

    def target_confstr(name):
        if name == "CS_GNU_LIBC_VERSION":
            return "glibc " + answers()["glibc"]
        return confstr(name)

    def cpu_count():
        return answers()["jobs"]

    def sched_getaffinity(pid):
        return set(range(answers()["jobs"]))

    os.uname = uname
    os.confstr = target_confstr
    os.cpu_count = cpu_count
    os.process_cpu_count = cpu_count
    os.sched_getaffinity = sched_getaffinity


# Which function of `_crosswheel.patches` completes which module, once that is imported.
_PATCHES = {
    "cmake": "patch_cmake",
    "distutils.ccompiler": "patch_ccompiler",
    "distutils.command.build_ext": "patch_build_ext",
    "distutils.compilers.C.base": "patch_ccompiler",
    "setuptools._distutils.ccompiler": "patch_ccompiler",
    "setuptools._distutils.command.build_ext": "patch_build_ext",
    "setuptools._distutils.compilers.C.base": "patch_ccompiler",
    "platform": "patch_platform",
    "socket": "patch_socket",
    "sysconfig": "patch_sysconfig",
    "urllib.request": "patch_urllib_request",
    "packaging.tags": "patch_packaging_tags",
    "setuptools._vendor.packaging.tags": "patch_packaging_tags",
    "wheel.vendored.packaging.tags": "patch_packaging_tags",
    "wheel._vendor.packaging.tags": "patch_packaging_tags",
}


class _Finder:
    """Finds the modules of `_PATCHES` as the other finders do, and completes them."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        patch = _PATCHES.get(name)
        if patch is None:
            return None
        for finder in sys.meta_path:
            find_spec = getattr(finder, "find_spec", None)
            if finder is cls or find_spec is None:
                continue
            spec = find_spec(name, path, target)
            if spec is not None:
                _complete(spec.loader, patch)
                return spec
        return None


def _complete(loader, patch):
    """Lets a module's own loader call the patch after the module's code."""
    exec_module = loader.exec_module

    def exec_and_patch(module):
        del loader.exec_module
        exec_module(module)
        _patch(module, patch)

    loader.exec_module = exec_and_patch


def _patch(module, patch):
    from _crosswheel import patches

    getattr(patches, patch)(module)


def _answer_version():
    """The target's version, to a question on the command line: CMake's modules and shell scripts
    ask `python -c` which Python they build for, and do nothing else with it."""
    words = sys.orig_argv
    question = words[words.index("-c") + 1] if "-c" in words[:-1] else ""
    if "sys.version_info" not in question:
        return
    from collections import namedtuple

    fields = ("major", "minor", "micro", "releaselevel", "serial")
    major, minor = answers()["python"]["version"].split(".")
    sys.version_info = namedtuple("version_info", fields)(int(major), int(minor), 0, "final", 0)


_patch_os()
_answer_version()
sys.meta_path.insert(0, _Finder)
for _name in set(_PATCHES).intersection(sys.modules):
    _patch(sys.modules[_name], _PATCHES[_name])
