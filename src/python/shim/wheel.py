"""Writes a wheel, which is how crosswheel's other stages take what a build made. They write it
anew: times, modes and RECORD do not matter."""

import os
import zipfile

from _crosswheel import answers


def write(directory, name, version, files):
    """`files` are paths on disk by their names in the wheel. Returns the wheel's file name."""
    python = "cp" + answers()["python"]["version"].replace(".", "")
    tag = f"{python}-{python}-linux_{answers()['machine']}"
    escaped = name.replace("-", "_")
    wheel = f"{escaped}-{version}-{tag}.whl"
    info = f"{escaped}-{version}.dist-info"
    with zipfile.ZipFile(os.path.join(directory, wheel), "w") as archive:
        for member, path in sorted(files.items()):
            archive.write(path, member)
        metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        archive.writestr(f"{info}/METADATA", metadata)
        wheel_file = f"Wheel-Version: 1.0\nGenerator: crosswheel\nRoot-Is-Purelib: false\nTag: {tag}\n"
        archive.writestr(f"{info}/WHEEL", wheel_file)
        archive.writestr(f"{info}/RECORD", "")
    return wheel
