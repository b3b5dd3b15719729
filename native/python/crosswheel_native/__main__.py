"""`python -m crosswheel_native` tells what is there; the exit code is 1 where something is not."""

import sys

from . import CudaError, check, driver_version, gpus


def main():
    try:
        print("driver: CUDA %d.%d" % driver_version())
        for gpu in gpus():
            print(f"GPU: {gpu!r}")
        print(f"kernel: {check()} numbers as on the CPU")
    except CudaError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
