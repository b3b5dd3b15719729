"""Stands for the `ninja` project: the program is crosswheel's own."""

import os
import shutil

_PROGRAM = shutil.which("ninja") or "ninja"

BIN_DIR = os.path.dirname(_PROGRAM)
