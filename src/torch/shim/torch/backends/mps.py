"""Apple's GPUs, which no target has."""

from torch import _crosswheel

__getattr__ = _crosswheel.missing(__name__)


def is_built():
    """Never."""
    return False


def is_available():
    """Never."""
    return False
