"""What build scripts read, and sometimes set, of torch's compiled module."""

from torch import _crosswheel

_GLIBCXX_USE_CXX11_ABI = _crosswheel.SDK["cxx11_abi"]

# Until 2.8, cpp_extension hands these to the compiler where they are not None.
_PYBIND11_COMPILER_TYPE, _PYBIND11_STDLIB, _PYBIND11_BUILD_ABI = _crosswheel.SDK["pybind11"] or (
    None,
    None,
    None,
)


def parse_schema(schema):
    """Imported by xformers' setup.py, which asks it nothing with the settings of its recipe."""
    raise NotImplementedError("this torch has no operators, and reads no schemas of them")


__getattr__ = _crosswheel.missing(__name__)
