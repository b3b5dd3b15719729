"""The backends that build scripts ask for."""

from torch import _crosswheel
from torch.backends import cuda, cudnn, mps, openmp

__getattr__ = _crosswheel.missing(__name__)
