"""The one function of it that cpp_extension needs."""

import os

from torch import _crosswheel

__getattr__ = _crosswheel.missing(__name__)


def get_file_path(*components):
    """A path below the folder that torch lies in."""
    return os.path.join(os.path.dirname(_crosswheel.ROOT), *components)
