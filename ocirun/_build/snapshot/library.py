"""Write a copy of libpython.a that can be linked into the launcher.

Two things are taken out:

- `sha2module.o` of 3.12 and 3.13: the functions it calls are in another archive, which CPython
  does not install. `left_out.c` has a module in its place that cannot be imported; `random` then
  uses `hashlib`, and that uses OpenSSL.
- from `obmalloc.o` of 3.13, the constructor of mimalloc. It would run at each start: it allocates
  the first pthread key, reads from /proc, and follows variables of the environment before `main`
  drops them. mimalloc is used only with PYTHONMALLOC=mimalloc, and initialises itself when it is
  first called.

Run by meson: `python library.py OUTPUT.a`.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile

from support import static_library, variable  # type: ignore[import-not-found]  # beside this file

WITH_CONSTRUCTOR = "obmalloc.o"
CONSTRUCTORS = (".init_array", ".rela.init_array")


def run(*words: str) -> None:
    """Run a program of binutils; exits with its message when it fails."""
    try:
        done = subprocess.run(words, check=False)  # noqa: S603  # no shell
    except OSError as error:
        sys.exit(f"{words[0]}: {error.strerror}")
    if done.returncode:
        sys.exit(f"{' '.join(words)} failed")


def main(output: str) -> None:
    """Write the archive."""
    archiver = os.environ.get("AR", "ar")
    shutil.copyfile(static_library(), output)
    if variable("LIBHACL_SHA2_A"):
        run(archiver, "d", output, "sha2module.o")
    with tempfile.TemporaryDirectory() as folder:
        member = os.path.join(folder, WITH_CONSTRUCTOR)
        run(archiver, "x", "--output", folder, output, WITH_CONSTRUCTOR)
        run("objcopy", *(f"--remove-section={name}" for name in CONSTRUCTORS), member)
        run(archiver, "r", output, member)


if __name__ == "__main__":
    main(os.path.abspath(sys.argv[1]))
