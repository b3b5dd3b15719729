"""A PEP 517 backend for a crate that is no Python project: the shared library that it makes, in a
wheel."""

import json
import os
import subprocess
import sys

from _crosswheel import wheel


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    package, library = _build()
    version = package["version"].replace("-", "")
    return wheel.write(wheel_directory, package["name"], version, {os.path.basename(library): library})


def _build():
    """Builds the crate of the working folder; returns its package and its one shared library."""
    command = ["cargo", "build", "--release", "--locked"]
    if "CROSSWHEEL_CRATE" in os.environ:
        command += ["--package", os.environ["CROSSWHEEL_CRATE"]]
    messages = _cargo(command + ["--message-format", "json-render-diagnostics"])
    packages = _cargo(["cargo", "metadata", "--no-deps", "--format-version", "1"])[0]["packages"]
    by_manifest = {package["manifest_path"]: package for package in packages}
    libraries = []
    for message in messages:
        package = by_manifest.get(message.get("manifest_path"))
        if package and "cdylib" in message.get("target", {}).get("crate_types", []):
            libraries += [(package, file) for file in message["filenames"] if file.endswith(".so")]
    if not libraries:
        sys.exit('no crate makes a shared library: `crate-type = ["cdylib"]` of `[lib]` does')
    if len(libraries) > 1:
        names = ", ".join(sorted(f"`{package['name']}`" for package, _ in libraries))
        sys.exit(f"several crates make a shared library ({names}): `--package` chooses one")
    return libraries[0]


def _cargo(command):
    """The JSON objects that cargo prints."""
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if finished.returncode:
        raise subprocess.CalledProcessError(finished.returncode, command)
    return [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
