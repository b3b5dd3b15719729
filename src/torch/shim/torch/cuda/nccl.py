"""NCCL, of which the target's torch is linked against the version that it requires."""

import importlib.metadata
import re

from torch import _crosswheel

__getattr__ = _crosswheel.missing(__name__)


def version():
    """Major, minor and patch; refused where torch's metadata do not tell."""
    for requirement in importlib.metadata.requires("torch") or ():
        found = re.match(r"nvidia-nccl-cu\d+==(\d+)\.(\d+)\.(\d+)", requirement)
        if found:
            return tuple(int(part) for part in found.groups())
    raise RuntimeError("crosswheel's torch SDK does not know which NCCL its torch is linked against")
