"""A PEP 517 backend for a crate that is no Python project: the shared library that it makes, in a
wheel, which is how crosswheel's other stages take what a build made."""

import json
import os
import subprocess
import sys
import zipfile

from _crosswheel import answers


def build_wheel(wheel_directory, config_settings=None, metadata_directory=None):
    package, library = _build()
    python = "cp" + answers()["python"]["version"].replace(".", "")
    name = package["name"].replace("-", "_")
    version = package["version"].replace("-", "")
    tag = f"{python}-{python}-linux_{answers()['machine']}"
    wheel = f"{name}-{version}-{tag}.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(os.path.join(wheel_directory, wheel), "w") as archive:
        archive.write(library, os.path.basename(library))
        metadata = f"Metadata-Version: 2.1\nName: {package['name']}\nVersion: {version}\n"
        archive.writestr(f"{info}/METADATA", metadata)
        wheel_file = f"Wheel-Version: 1.0\nGenerator: crosswheel\nRoot-Is-Purelib: false\nTag: {tag}\n"
        archive.writestr(f"{info}/WHEEL", wheel_file)
        archive.writestr(f"{info}/RECORD", "")
    return wheel


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
        names = ", ".join(f"`{package['name']}`" for package, _ in libraries)
        sys.exit(f"several crates make a shared library ({names}): `--package` chooses one")
    return libraries[0]


def _cargo(command):
    """The JSON objects that cargo prints."""
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if finished.returncode:
        raise subprocess.CalledProcessError(finished.returncode, command)
    return [json.loads(line) for line in finished.stdout.splitlines() if line.startswith("{")]
