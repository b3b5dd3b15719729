"""Stands for the `cmake` project: the programs are crosswheel's own."""

import os
import shutil

_PROGRAM = shutil.which("cmake") or "cmake"

CMAKE_BIN_DIR = os.path.dirname(_PROGRAM)
