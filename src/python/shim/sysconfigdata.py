"""The target Python's build variables, as `sysconfig` reads them.

Only what build tools ask for, and flags that make the same object on any machine: no debug
information, no path of the machine where some distribution built its Python.
"""

from _crosswheel import answers


def _variables():
    facts = answers()
    python, tools = facts["python"], facts["tools"]
    version = python["version"]
    nodot = version.replace(".", "")
    multiarch = facts["multiarch"]
    soabi = f"cpython-{nodot}-{multiarch}"
    include = python["include"]
    cflags = "-fwrapv -Wall -O2 -DNDEBUG"
    libdir = f"/usr/lib/{multiarch}"
    return {
        "ABIFLAGS": "",
        # setuptools links libpython unless this is 0.
        "ANDROID_API_LEVEL": 0,
        "AR": tools["ar"],
        "ARFLAGS": "rcs",
        "BASECFLAGS": "",
        "BINDIR": "/usr/bin",
        "BINLIBDEST": f"/usr/lib/python{version}",
        "BLDSHARED": f"{tools['cc']} -shared",
        "BUILD_GNU_TYPE": multiarch,
        "CC": tools["cc"],
        "CCSHARED": "-fPIC",
        "CFLAGS": cflags,
        "CONFIG_ARGS": "",
        "CONFINCLUDEDIR": "/usr/include",
        "CONFINCLUDEPY": include[-1],
        "CPPFLAGS": "",
        "CXX": tools["cxx"],
        "EXE": "",
        "EXT_SUFFIX": f".{soabi}.so",
        "HOST_GNU_TYPE": multiarch,
        "INCLUDEDIR": "/usr/include",
        "INCLUDEPY": include[0],
        "INSTSONAME": f"libpython{version}.so.1.0",
        "LDCXXSHARED": f"{tools['cxx']} -shared",
        "LDFLAGS": "",
        "LDLIBRARY": f"libpython{version}.so",
        "LDSHARED": f"{tools['cc']} -shared",
        "LDVERSION": version,
        "LIBDEST": f"/usr/lib/python{version}",
        "LIBDIR": libdir,
        "LIBPL": f"/usr/lib/python{version}/config-{version}-{multiarch}",
        "LIBPYTHON": "",
        "LIBRARY": f"libpython{version}.a",
        "LIBS": "",
        "LINKCC": tools["cc"],
        "LINKFORSHARED": "",
        "MACHDEP": "linux",
        "MODLIBS": "",
        "MULTIARCH": multiarch,
        "OPT": "-O2 -DNDEBUG",
        "PLATLIBDIR": "lib",
        "PY_CFLAGS": cflags,
        "PY_LDFLAGS": "",
        "Py_DEBUG": 0,
        # An extension takes Python's symbols from the process that loads it.
        "Py_ENABLE_SHARED": 0,
        "Py_GIL_DISABLED": 0,
        "SHELL": "/bin/sh",
        "SHLIBS": "",
        "SHLIB_SUFFIX": ".so",
        "SIZEOF_LONG": 8,
        "SIZEOF_SIZE_T": 8,
        "SIZEOF_VOID_P": 8,
        "SOABI": soabi,
        "SYSLIBS": "",
        "VERSION": version,
        "WITH_PYMALLOC": 1,
        "py_version_nodot": nodot,
        "py_version_short": version,
    }


build_time_vars = _variables()
