"""The target's GPUs.

Device `i` is the target's architecture `i`, in the order of the target's file: a target with
three architectures has three devices, whatever number of GPUs its machines have.
"""

from torch import _crosswheel
from torch.cuda import nccl

__getattr__ = _crosswheel.missing(__name__)


class _DeviceProperties:
    """Name and capability; what else a real device has is not known here."""

    def __init__(self, name, capability):
        self.name = name
        self.major, self.minor = capability


def _index(device):
    if device is None:
        index = current_device()
    elif isinstance(device, str):
        _, _, number = device.partition(":")
        index = int(number or 0)
    elif isinstance(device, int):
        index = device
    else:
        index = device.index or 0
    if not 0 <= index < device_count():
        raise AssertionError("Invalid device id")
    return index


def _is_compiled():
    return True


def is_available():
    """The target has CUDA, or this SDK would not have been made."""
    return True


def is_initialized():
    """Nothing runs here."""
    return False


def device_count():
    """How many architectures the target has."""
    return len(_crosswheel.target()["capabilities"])


def current_device():
    """The target's first architecture."""
    return 0


def get_device_capability(device=None):
    """Major and minor version."""
    major, minor = _crosswheel.target()["capabilities"][_index(device)]
    return major, minor


def get_device_name(device=None):
    """The target and the architecture, for a script that prints it."""
    major, minor = get_device_capability(device)
    return f"crosswheel target {_crosswheel.target()['target']} (sm_{major}{minor})"


def get_device_properties(device=None):
    """`name`, `major` and `minor`."""
    return _DeviceProperties(get_device_name(device), get_device_capability(device))


def get_arch_list():
    """The target's architectures: what a build should be for, not what torch was built for."""
    return [f"sm_{major}{minor}" for major, minor in _crosswheel.target()["capabilities"]]


def is_bf16_supported(including_emulation=True):
    """From compute capability 8.0 on, or anywhere by emulation."""
    return including_emulation or get_device_capability() >= (8, 0)
