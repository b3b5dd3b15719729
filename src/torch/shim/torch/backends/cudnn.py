"""cuDNN, where the target's torch is linked against it."""

from torch import _crosswheel

__getattr__ = _crosswheel.missing(__name__)

enabled = True


def is_available():
    """Whether libtorch_cuda needs libcudnn."""
    return _crosswheel.SDK["cudnn"]
