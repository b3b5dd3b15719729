"""What is changed in modules of the standard library and of `packaging`, by module."""

import sys

from _crosswheel import answers

_OFFLINE = "crosswheel builds without network"


def patch_platform(module):
    """`machine()` and `uname()` follow `os.uname()`; the rest would look at this machine."""
    module._Processor.get = classmethod(lambda cls: answers()["machine"])
    module.libc_ver = lambda *args, **kwargs: ("glibc", answers()["glibc"])
    module.architecture = lambda *args, **kwargs: ("64bit", "ELF")


def patch_cmake(module):
    """Who asks the `cmake` project where its program is, gets the one that is in the `PATH`."""
    import os
    import shutil

    program = shutil.which("cmake")
    if program is not None:
        module.CMAKE_BIN_DIR = os.path.dirname(program)


def patch_ccompiler(module):
    """Compiles go through ninja. Where the class is another module's, that one is completed."""
    compiler = getattr(module, "Compiler", None) or getattr(module, "CCompiler", None)
    if compiler is not None and compiler.__module__ == module.__name__:
        from _crosswheel.compiles import through_ninja

        through_ninja(compiler)


def patch_build_ext(module):
    """No extension is skipped because its sources are old: headers and flags count too. What need
    not be compiled again, ninja knows. Several extensions are compiled together."""
    finalize_options = module.build_ext.finalize_options

    def finalize_and_force(self):
        finalize_options(self)
        self.force = True

    from _crosswheel.compiles import all_extensions_ahead

    module.build_ext.finalize_options = finalize_and_force
    all_extensions_ahead(module.build_ext)


def patch_sysconfig(module):
    """The target's headers, and this Python's own folders.

    The configuration's variables come from the module that `_PYTHON_SYSCONFIGDATA_NAME` names,
    and with them the target's version. What is expanded to a folder of this environment must not
    take the target's version from there.
    """
    version = "%d.%d" % sys.version_info[:2]
    include = answers()["python"]["include"]
    headers = {"include": include[0], "platinclude": include[-1]}
    for scheme in module._INSTALL_SCHEMES.values():
        for key, path in scheme.items():
            if key in headers:
                scheme[key] = headers[key].replace("{", "{{").replace("}", "}}")
            else:
                path = path.replace("{py_version_short}", version)
                scheme[key] = path.replace("{py_version_nodot}", version.replace(".", ""))


def patch_packaging_tags(module):
    """The tags that the target's Python would list; `packaging` asks `sys.version_info`."""
    target = tuple(int(part) for part in answers()["python"]["version"].split("."))
    cpython_tags = module.cpython_tags
    compatible_tags = module.compatible_tags

    def target_cpython_tags(python_version=None, *args, **kwargs):
        return cpython_tags(python_version or target, *args, **kwargs)

    def target_compatible_tags(python_version=None, *args, **kwargs):
        return compatible_tags(python_version or target, *args, **kwargs)

    module.cpython_tags = target_cpython_tags
    module.compatible_tags = target_compatible_tags


def patch_urllib_request(module):
    """Answers every request with 404, as a server that has no such file does.

    Build scripts that look for a prebuilt wheel expect that answer and go on to build;
    few of them expect that there is no network.
    """
    do_open = module.AbstractHTTPHandler.do_open

    def offline_do_open(self, http_class, request, **kwargs):
        from email.message import Message
        from io import BytesIO
        from urllib.error import HTTPError
        from urllib.parse import urlsplit

        # `host` is a proxy's where there is one.
        if _is_loopback(urlsplit(request.full_url).hostname or ""):
            return do_open(self, http_class, request, **kwargs)

        raise HTTPError(request.full_url, 404, _OFFLINE, Message(), BytesIO())

    module.AbstractHTTPHandler.do_open = offline_do_open


def patch_socket(module):
    """Refuses at once what would otherwise wait for an answer that cannot come."""
    import errno

    connect = module.socket.connect
    connect_ex = module.socket.connect_ex
    internet = (module.AF_INET, module.AF_INET6)

    def is_outside(socket, address):
        return socket.family in internet and not _is_loopback(address[0])

    def offline_connect(self, address):
        if is_outside(self, address):
            message = f"{_OFFLINE}: `{address[0]}` cannot be reached"
            raise OSError(errno.ENETUNREACH, message)
        return connect(self, address)

    def offline_connect_ex(self, address):
        if is_outside(self, address):
            return errno.ENETUNREACH
        return connect_ex(self, address)

    def offline(resolve):
        def offline_resolve(host, *args, **kwargs):
            if host is not None and not _is_loopback(host):
                message = f"{_OFFLINE}: `{host}` cannot be reached"
                raise module.gaierror(module.EAI_FAIL, message)
            return resolve(host, *args, **kwargs)

        return offline_resolve

    module.socket.connect = offline_connect
    module.socket.connect_ex = offline_connect_ex
    module.getaddrinfo = offline(module.getaddrinfo)
    module.gethostbyname = offline(module.gethostbyname)


def _host_name(host):
    """`host` or `host:port`, without the port."""
    if host.startswith("["):
        return host[1:].split("]")[0]
    return host.split(":")[0]


def _is_loopback(host):
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    return host in ("", "localhost", "::1", "0.0.0.0", "::") or host.startswith("127.")
