"""The lock that cpp_extension.load() takes around a build that it then imports."""


class FileLock:
    """Says why that cannot be done here; a package's own build never comes by."""

    def __init__(self, path):
        self.path = path

    def __enter__(self):
        raise RuntimeError(
            "`torch.utils.cpp_extension.load` imports what it builds, and crosswheel builds "
            "for another machine: use `CUDAExtension` and `BuildExtension`"
        )

    def __exit__(self, *exception):
        return None
