# Writes an archive of the torch of this Python to standard output: its version, headers, cmake
# files, the sources of torch.utils, and of each library the symbol tables, without code.
#
#     python3 - < this > torch.tar.gz
#
# It needs Python 3.8 and nothing else, imports no torch, and writes nothing else anywhere. What it
# does is told on standard error. `cargo xtask torch import` reads the archive.

import importlib.util
import io
import os
import struct
import sys
import tarfile

# Section types of ELF: its dynamic tables, and what they refer to.
DYNAMIC, DYNSYM, STRTAB = 6, 11, 3
VERDEF, VERNEED, VERSYM = 0x6FFFFFFD, 0x6FFFFFFE, 0x6FFFFFFF
KEPT = (DYNAMIC, DYNSYM, VERDEF, VERNEED, VERSYM)
HEADER = "<16sHHIQQQIHHHHHH"
SECTION = "<IIQQQQIIQQ"


def say(text):
    print(text, file=sys.stderr, flush=True)


def tables(path):
    """The file as an ELF file that has nothing but its dynamic tables."""
    with open(path, "rb") as file:
        header = list(struct.unpack(HEADER, file.read(64)))
        if header[0][:6] != b"\x7fELF\x02\x01":
            raise SystemExit("%s is no 64-bit little-endian ELF file" % path)
        offset, size, count = header[6], header[11], header[12]
        file.seek(offset)
        sections = [struct.unpack(SECTION, file.read(size)) for _ in range(count)]
        wanted = [i for i, section in enumerate(sections) if section[1] in KEPT]
        linked = {sections[i][6] for i in wanted}
        wanted = sorted(set(wanted) | {i for i in linked if sections[i][1] == STRTAB})
        if not any(sections[i][1] == DYNSYM for i in wanted):
            raise SystemExit("%s has no table of its symbols" % path)
        places = {old: new + 1 for new, old in enumerate(wanted)}
        body, table = bytearray(64), [bytes(64)]
        for i in wanted:
            section = list(sections[i])
            body.extend(bytes(-len(body) % 16))
            file.seek(section[4])
            section[0], section[4] = 0, len(body)
            section[6] = places.get(section[6], 0)
            body.extend(file.read(section[5]))
            table.append(struct.pack(SECTION, *section))
    # A table of section names, with no name in it.
    body.extend(bytes(-len(body) % 16))
    table.append(struct.pack(SECTION, 0, STRTAB, 0, 0, len(body), 1, 0, 0, 1, 0))
    body.extend(bytes(16))
    header[4] = header[5] = header[9] = header[10] = 0
    header[6], header[12], header[13] = len(body), len(table), len(table) - 1
    body[:64] = struct.pack(HEADER, *header)
    return bytes(body + b"".join(table))


def is_wanted(path):
    python = path.endswith(".py")
    return (
        path.startswith(("include/", "share/cmake/"))
        or path in ("version.py", "torch_version.py", "_appdirs.py", "_vendor/__init__.py")
        or python and path.startswith(("utils/", "_vendor/packaging/"))
    )


def is_library(path):
    name = path[len("lib/") :]
    shared = name.endswith(".so") or ".so." in name
    return path.startswith("lib/lib") and "/" not in name and shared


def files(torch):
    for folder, names, found in os.walk(torch, followlinks=True):
        names.sort()
        for name in sorted(found):
            path = os.path.join(folder, name)
            yield os.path.relpath(path, torch).replace(os.sep, "/"), path


def metadata():
    """The METADATA of torch and of what a target fixes with it."""
    for site in sys.path:
        if not os.path.isdir(site):
            continue
        for name in sorted(os.listdir(site)):
            package = name.split("-")[0]
            path = os.path.join(site, name, "METADATA")
            if package in ("torch", "torchvision", "torchaudio") and os.path.isfile(path):
                if name.endswith(".dist-info"):
                    yield package, name + "/METADATA", path


def main():
    spec = importlib.util.find_spec("torch")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("%s has no torch" % sys.executable)
    torch = spec.submodule_search_locations[0]
    say("reading %s" % torch)
    count = 0
    with tarfile.open(fileobj=sys.stdout.buffer, mode="w|gz", format=tarfile.PAX_FORMAT) as archive:

        def add(name, content):
            member = tarfile.TarInfo(name)
            member.size, member.mode = len(content), 0o644
            archive.addfile(member, io.BytesIO(content))

        seen = set()
        for package, name, path in metadata():
            # The first on the path is the one that is imported.
            if package not in seen:
                seen.add(package)
                with open(path, "rb") as file:
                    add("torch-export/" + name, file.read())
        for name, path in files(torch):
            if is_library(name):
                content = tables(path)
                say("%s: %d bytes of tables" % (name, len(content)))
            elif is_wanted(name):
                with open(path, "rb") as file:
                    content = file.read()
            else:
                continue
            add("torch-export/torch/" + name, content)
            count += 1
    say("%d files" % count)


main()
