"""The root disk: a Debian with systemd, from packages only.

`tree` is the folder it is made from. It stays: ocirun is built inside (payload.py), and kernels
come through its apt (kernel.py).
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from lab.cache import DEFINITION, GUEST, LabError, NoMirror, make_part, run, run_inside, say

UNITS = Path("etc/systemd/system")
# Documents are not installed, and dpkg does not wait for the disk.
DPKG = """force-unsafe-io
path-exclude=/usr/share/doc/*
path-exclude=/usr/share/man/*
path-exclude=/usr/share/locale/*
"""


def tree(cache: Path) -> Path:
    """The system as a folder.

    Raises:
        LabError: no Debian mirror answers, or a package is not there.
    """
    return make_part(cache, "tree", _build_tree)


def root_disk(cache: Path) -> Path:
    """The system as an ext4 disk.

    Raises:
        LabError: see `tree`.
    """
    source = tree(cache)

    def build(scratch: Path) -> None:
        make_disk(scratch, source, DEFINITION["disk"])

    return make_part(cache, "root.img", build)


def make_disk(path: Path, source: Path, size: str) -> None:
    """Write the folder `source` to a new ext4 disk; a sparse file of that size.

    Raises:
        LabError: no space, or no mke2fs.
    """
    run("making a disk", "truncate", "--size", size, path)
    options = ("-q", "-t", "ext4", "-O", "^has_journal", "-m", "0")
    lazy = ("-E", "lazy_itable_init=0,root_owner=0:0")
    run("making a disk", "mke2fs", *options, *lazy, "-d", source, path)


def mirrors() -> tuple[str, str]:
    """The archive and its security updates: those of this machine, if it is the same Debian."""
    wanted = DEFINITION["suite"]
    found = {wanted: DEFINITION["mirror"], f"{wanted}-security": DEFINITION["security"]}
    if shutil.which("apt-get"):
        form = "$(CODENAME) $(REPO_URI)"
        words = ["apt-get", "indextargets", "--format", form, "Created-By: Packages"]
        listed = subprocess.run(words, capture_output=True, text=True, check=False).stdout
        for line in reversed(listed.splitlines()):  # the first one named counts
            codename, _, uri = line.partition(" ")
            if codename in found and uri.startswith("http"):
                found[codename] = uri.rstrip("/")
    return found[wanted], found[f"{wanted}-security"]


def check_mirror(cache: Path, series: str) -> None:
    """Ask for what is not in the cache yet, before anything is begun.

    Raises:
        NoMirror: nobody answers, or has not this Debian.
    """
    if all((cache / part).exists() for part in ("tree", f"kernel-{series}")):
        return
    mirror, suite = mirrors()[0], DEFINITION["suite"]
    # As debootstrap does it, with the same settings of proxies.
    asking = ["wget", "-nv", "--spider", "--tries=1", "--timeout=20"]
    try:
        run(f"asking {mirror} for Debian {suite}", *asking, f"{mirror}/dists/{suite}/Release")
    except LabError as error:
        raise NoMirror(str(error)) from error


def _build_tree(scratch: Path) -> None:
    if not shutil.which("debootstrap"):
        raise LabError("no debootstrap here; tools/prepare lab installs it where there is apt-get")
    mirror, security = mirrors()
    suite = DEFINITION["suite"]
    say(f"installing Debian {suite} from {mirror}")
    include = "--include=" + ",".join(DEFINITION["base"])
    doing = f"installing Debian from {mirror} (is there a network?)"
    run(doing, "debootstrap", "--variant=minbase", include, suite, scratch, mirror)
    (scratch / "etc/dpkg/dpkg.cfg.d/lab").write_text(DPKG)
    sources = [f"deb {mirror} {suite} main", f"deb {security} {suite}-security main"]
    (scratch / "etc/apt/sources.list").write_text("\n".join(sources) + "\n")
    resolver = Path("/etc/resolv.conf").read_text()
    (scratch / "etc/resolv.conf").write_text(resolver)
    run_inside("asking for Debian's lists", scratch, ["apt-get", "update", "-qq"])
    install = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
    run_inside("installing Debian packages", scratch, [*install, *DEFINITION["packages"]])
    run_inside("clearing up", scratch, ["apt-get", "clean"])
    _configure(scratch)


def _configure(root: Path) -> None:
    """Make of the packages a machine that is up in seconds and does what the agent is told."""
    for name, text in {
        "hostname": "lab\n",
        "hosts": "127.0.0.1 localhost lab\n",
        "fstab": "",
        "machine-id": "",
    }.items():
        (root / "etc" / name).write_text(text)
    for folder in ("host", "out", "opt/lab"):
        (root / folder).mkdir(parents=True)
    shutil.copy(GUEST / "agent.py", root / "usr/local/sbin/lab-agent")
    (root / "usr/local/sbin/lab-agent").chmod(0o755)
    shutil.copy(GUEST / "agent.service", root / UNITS / "lab-agent.service")
    _add_user(root)
    systemctl = ["systemctl", f"--root={root}"]
    run("configuring systemd", *systemctl, "enable", "lab-agent.service")
    run("configuring systemd", *systemctl, "mask", *DEFINITION["masked"])
    run("configuring systemd", *systemctl, "set-default", "multi-user.target")


def _add_user(root: Path) -> None:
    """An ordinary user with subordinate ids, whose systemd manager runs and may delegate."""
    user = DEFINITION["user"]
    name = user["name"]
    adding = ["useradd", "--create-home", "--uid", str(user["uid"]), "--shell", "/bin/bash", name]
    run_inside("adding a user", root, adding)
    first, count = user["subordinate"]
    for file in ("subuid", "subgid"):
        (root / "etc" / file).write_text(f"{name}:{first}:{count}\n")
    linger = root / "var/lib/systemd/linger"
    linger.mkdir(parents=True, exist_ok=True)
    (linger / name).touch()
    drop_in = root / UNITS / "user@.service.d"
    drop_in.mkdir(parents=True)
    (drop_in / "delegate.conf").write_text("[Service]\nDelegate=cpu cpuset io memory pids\n")
