"""Apple's GPUs, which no target has."""

from torch import _crosswheel

__getattr__ = _crosswheel.missing(__name__)


def is_available():
    """Never."""
    return False


def device_count():
    """Never any."""
    return 0


def current_allocated_memory():
    """Refused as torch does it; scripts call it to learn whether there is such a GPU."""
    raise RuntimeError("Cannot execute currentAllocatedMemory() without MPS backend.")


def driver_allocated_memory():
    """Refused likewise."""
    raise RuntimeError("Cannot execute driverAllocatedMemory() without MPS backend.")
