"""Calls one hook of a PEP 517 build backend: `python -P -m _crosswheel.hook REQUEST RESULT`.

REQUEST is a JSON object: `backend` (`module` or `module:object`), `backend_path` (folders),
`hook`, `arguments` (keyword arguments), `source` (the source tree, which is the working folder).
RESULT becomes `{"value": …}`, with null where the backend lacks an optional hook, or
`{"error": …}`. Without a RESULT the process ended in some other way.
"""

import importlib
import json
import os
import sys
import traceback

# Parts the build's own output from the traceback; crosswheel looks for it.
MARKER = "crosswheel: the build hook raised an exception"


def main(request_path, result_path):
    with open(request_path, encoding="utf-8") as file:
        request = json.load(file)
    if sys.version_info >= (3, 13):
        let_exec_set_locals()
    write_wheels_quickly()
    try:
        result = {"value": call(request)}
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        if isinstance(error, SystemExit) and error.code in (None, 0):
            error = RuntimeError("the build script ended before the wheel was built")
        else:
            sys.stdout.flush()
            print(MARKER, file=sys.stderr)
            traceback.print_exc()
        result = {"error": describe(error, request["source"])}
    sys.stdout.flush()
    with open(result_path, "w", encoding="utf-8") as file:
        json.dump(result, file)
    return 1 if "error" in result else 0


def let_exec_set_locals():
    """Lets `exec` set names that a later `locals()` has, as Pythons before 3.13 did (PEP 667).

    Many a setup.py reads its version that way, and the target's Python may be one of those.
    """
    import builtins

    python_exec = builtins.exec

    def exec(source, *namespaces, **options):
        if namespaces or "globals" in options or "locals" in options:
            return python_exec(source, *namespaces, **options)
        caller = sys._getframe(1)
        return python_exec(source, caller.f_globals, caller.f_locals, **options)

    builtins.exec = exec


def write_wheels_quickly():
    """Keeps zipfile from compressing wheels: crosswheel reads them once, and writes them anew."""
    import zipfile

    # Public since Python 3.13.
    level = next(name for name in ("compress_level", "_compresslevel") if hasattr(zipfile.ZipInfo, name))
    zipfile_open = zipfile.ZipFile.open

    def open(self, name, mode="r", *arguments, **options):
        is_member = isinstance(name, zipfile.ZipInfo)
        if mode == "w" and is_member and str(self.filename).endswith(".whl"):
            setattr(name, level, 0)
        return zipfile_open(self, name, mode, *arguments, **options)

    zipfile.ZipFile.open = open


def call(request):
    """Imports the backend as PEP 517 says, and calls the hook."""
    sys.path[:0] = request["backend_path"]
    module_name, _, attributes = request["backend"].partition(":")
    backend = importlib.import_module(module_name)
    in_tree = [os.path.realpath(path) for path in request["backend_path"]]
    if in_tree and not is_below(getattr(backend, "__file__", None), in_tree):
        raise ImportError(f"`{module_name}` is not in the folders of `backend-path`")
    for attribute in filter(None, attributes.split(".")):
        backend = getattr(backend, attribute)
    hook = getattr(backend, request["hook"], None)
    if hook is None:
        if request["hook"] == "build_wheel":
            raise AttributeError(f"the build backend `{request['backend']}` has no `build_wheel`")
        return None
    return hook(**request["arguments"])


def is_below(file, folders):
    """Whether a module's file lies in one of the folders."""
    if file is None:
        return False
    file = os.path.realpath(file)
    return any(os.path.commonpath([file, folder]) == folder for folder in folders)


def describe(error, source):
    """The exception, and the line of the package's own scripts that it came through."""
    kind = type(error).__name__
    message = str(error.code) if isinstance(error, SystemExit) else str(error)
    return {"kind": kind, "message": message, "script": script_line(error, source)}


def script_line(error, source):
    """The innermost line in the source tree, of this exception or of what it came from."""
    while error is not None:
        found = None
        for frame, line in traceback.walk_tb(error.__traceback__):
            file = script_file(frame, source)
            if file is not None:
                found = {"file": file, "line": line}
        if found is not None:
            return {**found, "text": text_of(source, found)}
        error = error.__cause__ or error.__context__
    return None


def script_file(frame, source):
    """The frame's file, relative to the source tree; None for one outside of it."""
    file = frame.f_code.co_filename
    names = frame.f_globals
    if file == "<string>" and names.get("__name__") == "__main__":
        # setuptools runs setup.py from a string, under that name.
        file = names.get("__file__") or file
    if file.startswith("<"):
        return None
    file = os.path.realpath(file)
    source = os.path.realpath(source)
    return os.path.relpath(file, source) if is_below(file, [source]) else None


def text_of(source, place):
    """The line itself."""
    try:
        with open(os.path.join(source, place["file"]), encoding="utf-8") as file:
            return file.read().splitlines()[place["line"] - 1].strip()
    except (OSError, UnicodeError, IndexError):
        return ""


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
