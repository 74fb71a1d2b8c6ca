#!/usr/bin/env python3
"""Build dist/ocirun-VERSION-linux-MACHINE: interpreter, modules and snapshot in one program.

    tools/onefile/build.py [DIRECTORY]    # `make onefile` calls it; DIRECTORY is dist/ by default

It needs a Python that can be linked in (docs/fast-start.md): the python3 of Debian 12. The program
is linked from the launcher's sources, with an archive of the modules that are not frozen
(archive.py). Then it writes its own snapshot, which is appended: padding to a page, the image,
sixteen bytes that say where it begins.

Two builds of one commit, with the same release and the same packages of PyPI, have the same bytes.

Source: docs/one-file.md.
"""

from __future__ import annotations

import os
import platform
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / "tools"))

from debian.build import KEPT, PYTHON, copyright_text, install, python_version, run  # noqa: E402

SOURCES = REPO / "ocirun/_build"
PROGRAM = (
    "launcher.c", "seal.c", "embed.c", "json.c", "json_write.c",
    "onefile/start.c", "onefile/archive.c",
    "snapshot/build_id.c", "snapshot/thaw.c", "snapshot/dump.c", "snapshot/audit.c",
    "snapshot/heap.c", "snapshot/libm.c", "snapshot/left_out.c",
)  # fmt: skip
PAGE_BYTES = 4096
CHECKED = "3.11"  # a later one needs OpenSSL for hashlib, which is not in the program
TRAILER = b"ocirun 1"  # onefile/start.c has it too


def link_arguments() -> list[str]:
    """Return how the interpreter is linked in; a Python that cannot be ends the build."""
    if python_version() != CHECKED:
        sys.exit(f"tools/onefile: only Python {CHECKED} was checked, {PYTHON} is another")
    answer, *rest = run(PYTHON, SOURCES / "snapshot/support.py").splitlines()
    if answer != "yes":
        sys.exit(f"tools/onefile: {rest[0]}")
    return rest


def write_config(scratch: Path) -> None:
    """Write launcher_config.h, as meson does."""
    lines = ['#define NO_FAST_START ""']
    for line in run(PYTHON, SOURCES / "interpreter.py").splitlines():
        name, _, value = line.partition("=")
        lines.append(f'#define {name} "{value}"')
    (scratch / "launcher_config.h").write_text("\n".join(lines) + "\n")


def generate(scratch: Path, venv: Path) -> None:
    """Write the generated C files and the archive."""
    write_config(scratch)
    python = venv / "bin/python"
    packages = venv / f"lib/python{python_version()}/site-packages"
    run(python, SOURCES / "freeze.py", "--one-file", REPO / "ocirun", scratch / "frozen.c",
        scratch / "frozen.id")  # fmt: skip
    run(python, SOURCES / "linked.py", scratch / "linked.c")
    run(python, SOURCES / "snapshot/library.py", scratch / "libpython.a")
    run(python, REPO / "tools/onefile/archive.py", scratch / "archive", packages, *sorted(KEPT))


def link(scratch: Path) -> Path:
    """Compile and link the program; return its path."""
    program = scratch / "ocirun"
    include = run(PYTHON, "-c", "import sysconfig; print(sysconfig.get_path('include'))").strip()
    run(
        *os.environ.get("CC", "cc").split(),
        *("-std=gnu11", "-O3", "-g0", "-fno-pie", "-Wall", "-Wextra"),
        *(f"-ffile-prefix-map={place}=." for place in (REPO, scratch)),
        *("-DPYTHON_LINKED", "-DONE_FILE", f'-DARCHIVE="{scratch / "archive"}"'),
        *(f"-I{place}" for place in (include, SOURCES, scratch)),
        *("-o", program),
        *(SOURCES / name for name in PROGRAM),
        *(scratch / name for name in ("frozen.c", "linked.c")),
        f"-Wl,--whole-archive,{scratch / 'libpython.a'},--no-whole-archive",
        "-Wl,--wrap=PyThread_get_thread_ident,--wrap=PyThread_get_thread_native_id",
        *link_arguments(),
        *("-ldl", "-lpthread"),
    )  # fmt: skip
    run("strip", "--strip-unneeded", program)
    return program


def make_image(program: Path, image: Path) -> bytes:
    """Have the program write its snapshot; return that."""
    version = run(PYTHON, "-c", "import sys; print(sys.version)").strip("\n")
    with image.open("w+b") as file:
        done = subprocess.run(
            [str(program), f"--write-snapshot={file.fileno()}", version],
            cwd=REPO,  # where it finds ocirun/cli/placement.txt
            env={},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,  # Python looks at what its streams are
            stderr=subprocess.PIPE,
            pass_fds=[file.fileno()],
            check=False,
        )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip()
        sys.exit(f"tools/onefile: the program could not write its snapshot: {said}")
    return image.read_bytes()


def build(output: Path) -> Path:
    """Build the program and return its path."""
    own = run(sys.executable, SOURCES / "version.py").strip()
    with tempfile.TemporaryDirectory(prefix="ocirun-onefile-") as name:
        scratch = Path(name)
        venv = install(scratch)
        generate(scratch, venv)
        program = link(scratch)
        content = program.read_bytes()
        content += bytes(-len(content) % PAGE_BYTES)
        offset = len(content)
        content += make_image(program, scratch / "image") + struct.pack("<8sQ", TRAILER, offset)
        licences = copyright_text(venv)
    output.mkdir(parents=True, exist_ok=True)
    made = output / f"ocirun-{own}-linux-{platform.machine()}"
    made.unlink(missing_ok=True)
    made.write_bytes(content)
    made.chmod(0o755)
    made.with_name(made.name + ".licences").write_text(licences)
    return made


if __name__ == "__main__":
    os.umask(0o022)
    print(build(Path(sys.argv[1] if len(sys.argv) > 1 else REPO / "dist")))
