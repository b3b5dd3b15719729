"""The target's torch as a build script sees it: crosswheel's stand-in, which computes nothing.

`version`, `torch_version`, `utils.cpp_extension`, `utils.hipify`, the headers, the cmake files
and the libraries are the target's own; what else scripts ask is answered as the target would.
"""

from torch import _crosswheel, version
from torch.torch_version import __version__

from torch import __config__, _C, backends, cuda, distributed, mps, utils, xpu

__getattr__ = _crosswheel.missing(__name__)


# Names from before `torch.backends`, which torch answers still.
has_cuda = backends.cuda.is_built()
has_cudnn = backends.cudnn.is_available()
has_mps = backends.mps.is_built()


def compiled_with_cxx11_abi():
    """Whether torch was built with libstdc++'s C++11 ABI."""
    return _C._GLIBCXX_USE_CXX11_ABI
