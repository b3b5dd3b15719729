"""OpenMP, where the target's torch is linked against a runtime of it."""

from torch import _crosswheel

__getattr__ = _crosswheel.missing(__name__)


def is_available():
    """Whether libtorch_cpu needs an OpenMP runtime."""
    return _crosswheel.SDK["openmp"]
