"""Intel's GPUs, which no target has."""

from torch import _crosswheel

__getattr__ = _crosswheel.missing(__name__)


def _is_compiled():
    return False


def is_available():
    """Never."""
    return False


def device_count():
    """Never any."""
    return 0
