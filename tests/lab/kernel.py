"""A Debian kernel for the lab: the program QEMU starts, a disk of modules, an initial RAM disk."""

from __future__ import annotations

import lzma
import re
import shutil
import subprocess
from pathlib import Path

from lab.cache import DEFINITION, GUEST, LabError, make_part, run_inside
from lab.image import make_disk, tree
from lab.vmlinux import extract

INIT_FOLDERS = ("bin", "proc", "sys", "dev", "newroot", "modules")


class Kernel:
    """The files of one kernel in the cache."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.image = folder / "vmlinux"
        self.initrd = folder / "initrd"
        self.modules = folder / "modules.img"

    @property
    def release(self) -> str:
        """What uname says."""
        return (self.folder / "release").read_text()


def kernel(cache: Path, series: str) -> Kernel:
    """The newest kernel of a series ("6.12") that this Debian has.

    Raises:
        LabError: it has none, or no mirror answers.
    """
    if not re.fullmatch(r"\d+\.\d+", series):
        raise LabError(f"KERNEL={series} is no series of kernels, such as 6.12")
    root = tree(cache)

    def build(scratch: Path) -> None:
        _build(scratch, root, series)

    return Kernel(make_part(cache, f"kernel-{series}", build))


def _build(scratch: Path, root: Path, series: str) -> None:
    scratch.mkdir()
    unpacked = scratch / "package"
    package = _newest_package(root, series)
    fetch = f"cd /lab-kernel && apt-get download -qq {package} && dpkg -x *.deb package"
    bind = {"/lab-kernel": scratch}
    run_inside(f"fetching {package}", root, ["sh", "-c", fetch], bind)
    release = package.removeprefix("linux-image-")
    made = Kernel(scratch)
    made.image.write_bytes(extract((unpacked / "boot" / f"vmlinuz-{release}").read_bytes()))
    modules = scratch / "modules"
    usr = "usr/" if (unpacked / "usr/lib/modules").exists() else ""  # from Debian 13 on
    _choose_modules(unpacked / f"{usr}lib/modules" / release, modules / release)
    run_inside("listing modules", root, ["depmod", release], {"/usr/lib/modules": modules})
    _make_initrd(scratch, root, release)
    make_disk(made.modules, modules, "512M")
    (scratch / "release").write_text(release)
    for leftover in (unpacked, modules, scratch / "early"):
        shutil.rmtree(leftover)
    for archive in scratch.glob("*.deb"):
        archive.unlink()


def _newest_package(root: Path, series: str) -> str:
    pattern = rf"^linux-image-{re.escape(series)}\.[0-9]+[^ ]*-amd64$"
    listed = run_inside(
        "looking for kernels", root, ["apt-cache", "search", "--names-only", pattern]
    )
    names = [line.split()[0] for line in listed.splitlines()]
    plain = [name for name in names if not re.search(r"-(cloud|rt|dbg|unsigned)-", name)]
    if not plain:
        raise LabError(f"Debian {DEFINITION['suite']} has no kernel {series} here")
    return max(plain, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])


def _choose_modules(source: Path, target: Path) -> None:
    """Copy what the definition names, without the drivers that no such machine has."""
    target.mkdir(parents=True)
    for file in source.glob("modules.*"):
        shutil.copy(file, target)
    for name in DEFINITION["kernel"]["modules"]:
        for found in source.glob(f"kernel/{name}*"):
            place = target / found.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            if found.is_dir():
                shutil.copytree(found, place)
            else:
                shutil.copy(found, place)


def _make_initrd(scratch: Path, root: Path, release: str) -> None:
    """What is needed to reach the disks and the agent's port, and nothing more."""
    early = scratch / "early"
    for name in INIT_FOLDERS:
        (early / name).mkdir(parents=True)
    shutil.copy(root / "bin/busybox", early / "bin/busybox")
    shutil.copy(GUEST / "init", early / "init")
    (early / "init").chmod(0o755)
    bind = {"/usr/lib/modules": scratch / "modules"}
    order: list[str] = []
    for name in DEFINITION["kernel"]["early"]:
        words = ["modprobe", "-S", release, "--show-depends", name]
        for line in run_inside(f"looking for the module {name}", root, words, bind).splitlines():
            kind, _, path = line.strip().partition(" ")
            if kind == "insmod":  # not "builtin"
                order += [path] if path not in order else []
    for number, path in enumerate(order):
        data = (scratch / "modules" / release / path.partition(f"/{release}/")[2]).read_bytes()
        plain = lzma.decompress(data) if path.endswith(".xz") else data
        (early / "modules" / f"{number:02d}.ko").write_bytes(plain)
    names = "\0".join(str(path.relative_to(early)) for path in sorted(early.rglob("*")))
    with (scratch / "initrd").open("wb") as file:
        words = ["cpio", "--null", "--create", "--format=newc", "--quiet"]
        subprocess.run(words, cwd=early, input=names.encode(), stdout=file, check=True)
