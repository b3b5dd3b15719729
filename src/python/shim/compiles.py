"""Lets ninja run distutils' compiles: side by side, and only those that are due.

distutils compiles one file after the other, and after any change all of them. Here what
`compile()` would start is collected and becomes a ninja file, with the command as it was plus a
dependency file. An extension that goes through ninja already never comes here.
"""

import os
import shlex
import subprocess

# Below the folder of the objects. One log for all extensions: two of them may compile one object
# with different options, and then the later one's command is what that object was made by.
_FOLDER = ".crosswheel"


# On a compiler whose compiles are only collected: the list that they go to.
_COLLECTED = "_crosswheel_collected"


class _NotCollectable(Exception):
    """Something must be run before the next compile is known."""


def all_extensions_ahead(build_ext):
    """Has the files of all extensions compiled side by side, before the extensions are built.

    distutils builds one extension after the other, and many have few files. What an extension's
    own turn finds compiled by the same command is not compiled again; whatever goes wrong ahead of
    it goes wrong in its turn, where it is told.
    """
    build_extensions = build_ext.build_extensions

    def build_extensions_ahead(self):
        # A package's own `build_extension` may do anything, and must do it once.
        own = type(self).build_extension.__module__
        if len(self.extensions) > 1 and own.startswith(("setuptools.", "distutils.")):
            _compile_ahead(self)
        return build_extensions(self)

    build_ext.build_extensions = build_extensions_ahead


def _compile_ahead(command):
    compiler = command.compiler
    if compiler.compiler_type != "unix" or "compile" in compiler.__dict__:
        # torch puts its own `compile` there, which goes through ninja already.
        return
    edges = []
    own_link = compiler.__dict__.get("link")
    setattr(compiler, _COLLECTED, edges)
    compiler.link = lambda *args, **kwargs: None
    try:
        for extension in command.extensions:
            try:
                command.build_extension(extension)
            except Exception:
                continue
    finally:
        delattr(compiler, _COLLECTED)
        del compiler.link
        if own_link is not None:
            compiler.link = own_link
    first = {}
    for edge in edges:
        first.setdefault(edge[0], edge)
    _run(list(first.values()), command.build_temp)


def through_ninja(compiler):
    """Replaces `compile()` of distutils' compiler class."""
    compile_files = compiler.compile
    # What starts a process: `spawn`, of which setuptools 84 made `call`.
    starters = [name for name in ("call", "spawn") if hasattr(compiler, name)]

    def compile_together(self, sources, output_dir=None, *args, **kwargs):
        if self.compiler_type != "unix":
            return compile_files(self, sources, output_dir, *args, **kwargs)
        collected = self.__dict__.get(_COLLECTED)
        edges = [] if collected is None else collected

        def flush():
            # What is no compile may need what was compiled before it.
            if collected is not None:
                raise _NotCollectable
            _flush(edges, output_dir)

        def collecting(start):
            def collect(command, *rest, **options):
                edge = None if rest or options else _edge(command)
                if edge is not None:
                    edges.append(edge)
                    return None
                flush()
                return start(command, *rest, **options)

            return collect

        before = {name: self.__dict__.get(name) for name in starters}
        for name in starters:
            setattr(self, name, collecting(getattr(self, name)))
        try:
            objects = compile_files(self, sources, output_dir, *args, **kwargs)
        finally:
            for name, own in before.items():
                delattr(self, name)
                if own is not None:
                    setattr(self, name, own)
        if collected is None:
            _flush(edges, output_dir)
        return objects

    compiler.compile = compile_together


def _edge(command):
    """The object, source and dependency file of a compile, and its command; None for others."""
    command = [os.fspath(word) for word in command]
    if "-c" not in command[:-1] or "-o" not in command[:-1]:
        return None
    output = command[command.index("-o") + 1]
    source = command[command.index("-c") + 1]
    if not os.path.isfile(source) or any(word.startswith("-M") for word in command):
        return None
    depfile = output + ".d"
    return output, source, depfile, [*command, "-MD", "-MF", depfile]


def _flush(edges, output_dir):
    """Runs what was collected, and forgets it."""
    code = _run(edges, output_dir)
    edges.clear()
    if code != 0:
        from distutils.errors import CompileError

        raise CompileError(f"command 'ninja' failed with exit code {code}")


def _run(edges, output_dir):
    """Lets ninja run what is due of these, and returns its exit code."""
    if not edges:
        return 0
    folder = os.path.join(output_dir or "", _FOLDER)
    os.makedirs(folder, exist_ok=True)
    lines = [
        f"builddir = {_path(folder)}",
        "rule compile",
        "  command = $words",
        "  depfile = $depfile",
        "  deps = gcc",
    ]
    for output, source, depfile, command in edges:
        lines += [
            f"build {_path(output)}: compile {_path(source)}",
            f"  words = {_value(shlex.join(command))}",
            f"  depfile = {_value(depfile)}",
        ]
    file = os.path.join(folder, "build.ninja")
    with open(file, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    return subprocess.run(["ninja", "-v", "-f", file]).returncode


def _value(text):
    """Text as ninja reads it in a variable."""
    return text.replace("$", "$$").replace("\n", " ")


def _path(text):
    """Text as ninja reads it in a list of paths."""
    return _value(text).replace(" ", "$ ").replace(":", "$:")
