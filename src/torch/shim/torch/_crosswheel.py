"""What crosswheel's stand-in for torch knows of the target, and how it says what it lacks.

Two files answer: `_crosswheel_sdk.json` beside this one describes the torch that was unpacked
here, and the file that the variable CROSSWHEEL_TORCH_ANSWERS names describes the machine that is
built for.
"""

import json
import os
import sys

ROOT = os.path.dirname(os.path.abspath(__file__))
VARIABLE = "CROSSWHEEL_TORCH_ANSWERS"


def _load(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)


SDK = _load(os.path.join(ROOT, "_crosswheel_sdk.json"))

_target = None


def target():
    """The answers about the target, read when they are first asked for."""
    global _target
    if _target is None:
        path = os.environ.get(VARIABLE)
        if not path:
            raise RuntimeError(
                "crosswheel's torch SDK does not know the target's GPUs: "
                f"{VARIABLE} names no file, and {_asker()} asks for them"
            )
        _target = _load(path)
    return _target


def _asker():
    """The file and line of the build script: the innermost frame outside of this SDK."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        inside = os.path.abspath(name).startswith(ROOT + os.sep)
        if not inside and not name.startswith("<frozen"):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return "a build script"


def missing(module):
    """A module's `__getattr__`: `hasattr` is false, and an uncaught error says who asked."""

    def __getattr__(name):
        attribute = f"{module}.{name}"
        if name.startswith("__") and name.endswith("__"):
            raise AttributeError(attribute)
        raise AttributeError(
            f"crosswheel's torch SDK has no attribute `{attribute}`, which {_asker()} asks for"
        )

    return __getattr__
