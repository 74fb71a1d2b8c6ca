"""`python -m tests.bench`: every measurement. See lifecycle.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# `python -m` looks in the working directory first, where ocirun has not been built: the library
# that is measured is the installed one.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bench.footprint import print_footprint, print_modules  # the path comes first
from bench.library import print_library
from bench.lifecycle import Field, arguments, print_race, race


def main() -> int:
    options = arguments()
    if os.geteuid() != 0:
        print("containers need root: sudo", *sys.argv)
        return 1
    field = Field(options.runtimes.split(","))
    try:
        print_race(race(field, options.rounds))
        print_footprint(field)
        print_modules()
        print_library(options.rounds)
    finally:
        field.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
