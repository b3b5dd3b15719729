"""What a CUDA machine has, and a kernel that is run on it and checked against the CPU."""

from ._native import CudaError, Gpu, check, driver_version, gpus

__all__ = ["CudaError", "Gpu", "check", "driver_version", "gpus"]
