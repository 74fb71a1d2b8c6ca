"""What a run brings along: ocirun and pytest for the guest's Python, and the compiled probe.

Wheels are downloaded by this checkout's pip, as this machine is set up for; the rest happens
inside the image's tree with its compiler and its Python, at full speed, without a network. What
has not changed is not done again. All of it becomes a disk, /opt/lab in the guest.
"""

from __future__ import annotations

import hashlib
import shutil
import sys
import tomllib
from pathlib import Path

from lab.cache import DEFINITION, REPO, digest, locked, make_part, remove, run, run_inside, say
from lab.image import make_disk, tree
from lab.snapshot import PAYLOAD_BYTES

SOURCES = ("ocirun", "schemas", "meson.build", "pyproject.toml", "README.md", "LICENSE")
PLACE = "/opt/lab"
# What the guest's C library can load, glibc 2.36 or newer.
PLATFORMS = (
    "manylinux_2_34",
    "manylinux_2_28",
    "manylinux_2_17",
    "manylinux2014",
    "manylinux1",
    "linux",
)
NO_LEFTOVERS = shutil.ignore_patterns("__pycache__", "*.so", "*.pyc")


def payload(cache: Path, folder: Path) -> Path:
    """The disk, up to date with the checkout; what it is made of stays in `folder`.

    Raises:
        LabError: no wheels can be downloaded, or ocirun does not build.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        return _payload(cache, folder)


def _payload(cache: Path, folder: Path) -> Path:
    root = tree(cache)
    requirements = _requirements()
    wheels = make_part(
        cache, f"wheels-{digest(*requirements)}", lambda at: _download(at, requirements)
    )
    venv_key = digest(str(wheels), *requirements)
    disk = folder / "payload.img"
    key = f"{venv_key} {_hash_of_sources()}"
    stamp = folder / "payload.key"
    if disk.exists() and stamp.exists() and stamp.read_text() == key:
        return disk
    say("installing ocirun for the guest")
    stamp.unlink(missing_ok=True)
    place = folder / "payload"
    binds = {PLACE: place, "/lab-wheels": wheels, "/lab-sources": folder / "sources"}
    if not (place / venv_key).exists():
        remove(place)
        place.mkdir()
        _pip_install(root, binds, requirements)
        (place / venv_key).touch()
    _copy_sources(folder / "sources")
    built = ["--no-deps", "--no-build-isolation", "--force-reinstall", "/lab-sources"]
    _pip_install(root, binds, built)
    shutil.copytree(REPO / "tests/probe", place / "probe-sources", dirs_exist_ok=True)
    compiling = f"gcc -static -O1 -o {PLACE}/probe {PLACE}/probe-sources/*.c"
    run_inside("compiling the probe", root, ["sh", "-c", compiling], binds)
    remove(disk)
    make_disk(disk, place, str(PAYLOAD_BYTES))
    stamp.write_text(key)
    return disk


def _requirements() -> list[str]:
    """What ocirun, its build, its tests and those of clients ask for, but for the linters."""
    project = tomllib.loads((REPO / "pyproject.toml").read_text())
    asked = project["build-system"]["requires"] + project["project"]["dependencies"]
    optional = project["project"]["optional-dependencies"]
    tests = optional["test"] + optional["clients"]
    outside = tuple(DEFINITION["guest"]["without"])
    return ["ninja", *asked, *(name for name in tests if not name.startswith(outside))]


def _download(scratch: Path, requirements: list[str]) -> None:
    words = ["-m", "pip", "download", "-qq", "--disable-pip-version-check", "--dest", str(scratch)]
    version = DEFINITION["python"]
    words += ["--only-binary=:all:", "--implementation=cp", f"--python-version={version}"]
    words += [f"--abi=cp{version.replace('.', '')}", "--abi=abi3", "--abi=none"]
    words += [f"--platform={name}_x86_64" for name in PLATFORMS]
    doing = "downloading wheels with pip (is there a network?)"
    run(doing, sys.executable, *words, *requirements)


def _pip_install(root: Path, binds: dict[str, Path], words: list[str]) -> None:
    for place in binds.values():
        place.mkdir(exist_ok=True)
    if not (binds[PLACE] / "bin/pip").exists():
        run_inside("making a venv", root, ["python3", "-m", "venv", PLACE], binds)
    pip = [f"{PLACE}/bin/pip", "install", "-qq", "--disable-pip-version-check", "--no-index"]
    path = ["env", f"PATH={PLACE}/bin:/usr/bin:/bin"]  # meson and ninja are in the venv
    doing = "installing " + ("ocirun" if "/lab-sources" in words else "wheels")
    run_inside(doing, root, [*path, *pip, "--find-links=/lab-wheels", *words], binds)


def _copy_sources(folder: Path) -> None:
    remove(folder)
    folder.mkdir()
    for name in SOURCES:
        source = REPO / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=NO_LEFTOVERS)
        else:
            shutil.copy(source, folder / name)


def _hash_of_sources() -> str:
    found = hashlib.sha256()
    for name in (*SOURCES, "tests/probe"):
        top = REPO / name
        for path in sorted(top.rglob("*")) if top.is_dir() else [top]:
            if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".so":
                found.update(f"{path.relative_to(REPO)}\0".encode() + path.read_bytes())
    return found.hexdigest()
