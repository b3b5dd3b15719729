"""How the target's torch was built, as far as its wheel says."""

from torch import _crosswheel

__getattr__ = _crosswheel.missing(__name__)


def show():
    """A description for people."""
    sdk = _crosswheel.SDK
    openmp = "ON" if sdk["openmp"] else "OFF"
    return (
        "PyTorch built with:\n"
        f"  - CUDA Runtime {sdk['cuda']}\n"
        f"  - Build settings: CUDA_VERSION={sdk['cuda']}, TORCH_VERSION={sdk['version']}, "
        f"USE_CUDA=ON, USE_OPENMP={openmp}\n"
    )


def parallel_info():
    """The parallel backend, in the words that build scripts look for."""
    if _crosswheel.SDK["openmp"]:
        return "ATen/Parallel:\nATen parallel backend: OpenMP\n"
    return "ATen/Parallel:\nOpenMP not found\nATen parallel backend: native thread pool\n"
