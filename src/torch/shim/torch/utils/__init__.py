"""The package around the target's own cpp_extension and hipify, which are imported when asked."""

import os

from torch import _crosswheel

__getattr__ = _crosswheel.missing(__name__)

cmake_prefix_path = os.path.join(_crosswheel.ROOT, "share", "cmake")
