"""Imports what a wheel holds, on the emulated target, and writes down how that went.

The request is a JSON file; the answer is one JSON object a line, written as it comes, so that a
process that is killed leaves what it did until then, and at what it was.
"""

import importlib
import importlib.util
import json
import os
import sys

KERNELS = ["CPU", "CUDA", "Meta", "CompositeImplicitAutograd", "CompositeExplicitAutograd"]

with open(sys.argv[1], encoding="utf-8") as file:
    REQUEST = json.load(file)
ANSWER = open(REQUEST["answer"], "w", encoding="utf-8")


def tell(event, **facts):
    ANSWER.write(json.dumps({"event": event, **facts}) + "\n")
    ANSWER.flush()
    # Whoever waits hears that something goes on.
    print(REQUEST["mark"] + event, facts.get("name", ""), flush=True)


def describe(error):
    """The error, and what it was raised from."""
    lines, seen = [], []
    while error is not None and not any(error is one for one in seen):
        seen.append(error)
        text = str(error)
        name = type(error).__name__
        lines.append(f"{name}: {text}" if text else name)
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return lines


def attempt(name, act):
    tell("begin", name=name)
    try:
        facts = act() or {}
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # noqa: BLE001  (SystemExit too: a module may not end us)
        tell("end", name=name, error=describe(error))
    else:
        tell("end", name=name, **facts)


def functions(module):
    return sorted(
        name for name, value in vars(module).items() if not name.startswith("_") and callable(value)
    )


def import_package(name):
    importlib.import_module(name)


def import_extension(name, path):
    """As its package does it; or by its file alone, where the package around it fails."""
    try:
        if not REQUEST["apart"]:
            return {"functions": functions(importlib.import_module(name))}
    except BaseException:  # noqa: BLE001
        pass
    # Outside of the handler: what it fails with now is its own.
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {"functions": functions(module), "apart": True}


def load_library(path):
    if REQUEST["torch"]:
        import torch

        torch.ops.load_library(path)
    else:
        import ctypes

        ctypes.CDLL(path, mode=os.RTLD_NOW)


def load_in_child(path):
    """Loads a library in a process of its own, and returns how that failed; None where it did not.

    Of several libraries a package may load but one: torch ends the process where two of them
    register the same operators.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            load_library(path)
        except BaseException as error:  # noqa: BLE001
            os.write(writer, json.dumps(describe(error)).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    if said:
        return "\n".join(json.loads(said))
    return None if status == 0 else f"the process that loaded it ended with status {status}"


def is_loaded(path):
    """Whether a package that was imported has loaded a file."""
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        return any(line.rstrip("\n").endswith(path) for line in maps)


def settle_library(path, failure):
    if failure is not None and not is_loaded(path):
        raise OSError(failure)


def import_torch():
    import torch

    return {"version": str(torch.__version__), "cuda": torch.version.cuda or ""}


def operator_names():
    import torch

    return set(torch._C._dispatch_get_all_op_names())


def operators(before):
    import torch

    found = []
    for name in sorted(operator_names() - before):
        base, _, overload = name.partition(".")
        namespace, _, short = base.partition("::")
        schema = str(torch._C._get_schema(base, overload))
        # As a caller would find it.
        getattr(getattr(torch.ops, namespace), short)
        has = torch._C._dispatch_has_kernel_for_dispatch_key
        kernels = [key for key in KERNELS if has(name, key)]
        found.append({"name": name, "schema": schema, "kernels": kernels})
    return {"operators": found}


def main():
    sys.path[:0] = REQUEST["sites"]
    tell("python", version=sys.version.split()[0])
    before = set()
    if REQUEST["torch"]:
        attempt("(torch)", import_torch)
        before = operator_names()
    libraries = [module["path"] for module in REQUEST["modules"] if module["kind"] == "library"]
    # Before anything else of the wheel is loaded.
    failures = {path: load_in_child(path) for path in libraries}
    for module in REQUEST["modules"]:
        name, kind, path = module["name"], module["kind"], module["path"]
        if kind == "extension":
            attempt(name, lambda: import_extension(name, path))
        elif kind == "library":
            attempt(name, lambda: settle_library(path, failures[path]))
        else:
            attempt(name, lambda: import_package(name))
    if REQUEST["torch"]:
        attempt("(operators)", lambda: operators(before))
    tell("done")


main()
ANSWER.close()
# Threads and exit handlers of what was imported prove nothing more, and may hang.
sys.stdout.flush()
os._exit(0)
