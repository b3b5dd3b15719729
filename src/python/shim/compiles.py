"""Lets ninja run the compiles of one extension: side by side, and only those that are due.

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


def through_ninja(compiler):
    """Replaces `compile()` of distutils' compiler class."""
    compile_files = compiler.compile
    # What starts a process: `spawn`, of which setuptools 84 made `call`.
    starters = [name for name in ("call", "spawn") if hasattr(compiler, name)]

    def compile_together(self, sources, output_dir=None, *args, **kwargs):
        if self.compiler_type != "unix":
            return compile_files(self, sources, output_dir, *args, **kwargs)
        edges = []

        def collecting(start):
            def collect(command, *rest, **options):
                edge = None if rest or options else _edge(command)
                if edge is not None:
                    edges.append(edge)
                    return None
                # What is no compile may need what was compiled before it.
                _flush(edges, output_dir)
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
    if not edges:
        return
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
    edges.clear()
    file = os.path.join(folder, "build.ninja")
    with open(file, "w", encoding="utf-8") as out:
        out.write("\n".join(lines) + "\n")
    code = subprocess.run(["ninja", "-v", "-f", file]).returncode
    if code != 0:
        from distutils.errors import CompileError

        raise CompileError(f"command 'ninja' failed with exit code {code}")


def _value(text):
    """Text as ninja reads it in a variable."""
    return text.replace("$", "$$").replace("\n", " ")


def _path(text):
    """Text as ninja reads it in a list of paths."""
    return _value(text).replace(" ", "$ ").replace(":", "$:")
