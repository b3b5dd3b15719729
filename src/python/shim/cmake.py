"""A PEP 517 backend for a CMake project that is no Python project: what it installs, or else the
modules that it makes, in a wheel."""

import glob
import json
import os
import shutil
import subprocess
import sys
import sysconfig

from _crosswheel import wheel

_BUILD = os.path.abspath("build/crosswheel")
_ROOT = os.path.abspath("build/crosswheel-root")
_PREFIX = "/prefix"


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    site = sysconfig.get_path("purelib")
    _cmake(
        *["-S", ".", "-B", _BUILD, "-G", "Ninja"],
        f"-DCMAKE_INSTALL_PREFIX={_PREFIX}",
        "-DCMAKE_BUILD_TYPE=Release",
        # FindPython's two generations, and what came before.
        *[f"-D{name}_EXECUTABLE={sys.executable}" for name in ("Python", "Python3", "PYTHON")],
        # Where the packages of the build environment have their CMake files, and torch.
        f"-DCMAKE_PREFIX_PATH={';'.join([site, *_torch()])}",
    )
    _cmake("--build", _BUILD)
    files = _installed() or _modules()
    if not files:
        sys.exit(
            "the CMake project makes nothing that Python loads: it installs no file, and no target "
            "is a module (`python_add_library(… MODULE …)`, `pybind11_add_module`, "
            "`nanobind_add_module`)"
        )
    cache = _cache()
    version = cache.get("CMAKE_PROJECT_VERSION") or "0"
    return wheel.write(wheel_directory, cache["CMAKE_PROJECT_NAME"], version, files)


def _torch():
    import torch

    return [os.path.dirname(os.path.dirname(torch.__file__))]


def _cmake(*arguments, **options):
    subprocess.run(["cmake", *arguments], check=True, **options)


def _installed():
    """What is installed: what lies in a folder of Python's packages, or else all that is there."""
    shutil.rmtree(_ROOT, ignore_errors=True)
    _cmake("--install", _BUILD, env={**os.environ, "DESTDIR": _ROOT})
    found = {}
    for folder, _, names in os.walk(_ROOT):
        for name in names:
            path = os.path.join(folder, name)
            found[os.path.relpath(path, _ROOT)] = path
    of_python = {}
    below_prefix = {}
    for member, path in found.items():
        head, separator, tail = member.partition("-packages/")
        if separator and head.endswith(("site", "dist")):
            of_python[tail] = path
        below_prefix[member.removeprefix(_PREFIX[1:] + "/")] = path
    return of_python or below_prefix


def _modules():
    """The modules that are built, by CMake's File API (cmake-file-api(7))."""
    files = {}
    for reply in glob.glob(os.path.join(_BUILD, ".cmake/api/v1/reply/target-*.json")):
        with open(reply, encoding="utf-8") as file:
            target = json.load(file)
        if target["type"] == "MODULE_LIBRARY":
            paths = [os.path.join(_BUILD, artifact["path"]) for artifact in target["artifacts"]]
            # Of targets that were left out there is none.
            files.update({os.path.basename(path): path for path in paths if os.path.exists(path)})
    return files


def _cache():
    """CMake's cache, by name."""
    entries = {}
    with open(os.path.join(_BUILD, "CMakeCache.txt"), encoding="utf-8") as file:
        for line in file:
            name, separator, value = line.rstrip("\n").partition("=")
            if separator and ":" in name:
                entries[name.partition(":")[0]] = value
    return entries
