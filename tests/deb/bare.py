"""A bare Debian in a folder, to install the package in: `debootstrap --variant=minbase`.

Commands run in it as root, in mount, pid, ipc and uts namespaces of their own, with a /dev of their
own; so a package that does the wrong thing does it in that folder. Cgroups and the network are this
machine's.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from pathlib import Path
from urllib.request import urlopen

import pytest
from lab.cache import choose_release
from lab.image import mirrors

# What makes the folder the root file system; then the command. A device is a copy of the node.
ENTER = """
set -e
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount -t tmpfs dev "$root/dev"
for name in null zero full random urandom tty; do cp -a "/dev/$name" "$root/dev/"; done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
cd "$root"
pivot_root . mnt
cd /
umount -l /mnt
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 "$@"
"""


class Bare:
    """A root file system of one release without anything that is not essential."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @classmethod
    def install(cls, root: Path) -> Bare:
        """Fill the folder `root` from the mirror that this machine uses.

        $RELEASE names the release of Debian; without it, it is this machine's.
        """
        own = platform.freedesktop_os_release()["VERSION_CODENAME"]
        suite = os.environ.get("RELEASE", own)
        if suite != own:
            choose_release(suite)
        archive, security = mirrors()
        try:
            urlopen(f"{archive}/dists/{suite}/Release", timeout=30).close()
        except OSError as error:
            pytest.skip(f"no mirror of Debian answers: {error}")
        words = ["debootstrap", "--variant=minbase", suite, str(root), archive]
        subprocess.run(words, check=True, stdout=subprocess.DEVNULL)
        (root / "etc/apt/sources.list").write_text(
            f"deb {archive} {suite} main\ndeb {security} {suite}-security main\n"
        )
        shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
        services = root / "usr/sbin/policy-rc.d"  # nothing is started by an installation
        services.write_text("#!/bin/sh\nexit 101\n")
        services.chmod(0o755)
        bare = cls(root)
        bare.run("apt-get", "update", "-qq")
        return bare

    def copy(self, root: Path) -> Bare:
        """Make a copy at `root`."""
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.root), str(root)], check=True)
        return Bare(root)

    def run(self, *words: str, status: int | None = 0) -> str:
        """Run a command in there and return its output; `status` None takes any exit status."""
        enter = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "--kill-child"]
        done = subprocess.run(
            [*enter, "sh", "-c", ENTER, "sh", str(self.root), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=600,
            check=False,
        )
        assert status is None or done.returncode == status, done.stdout
        return done.stdout

    def apt_install(self, package: Path) -> str:
        """Install a package file with what it depends on."""
        shutil.copy(package, self.root / "root" / package.name)
        words = ["apt-get", "install", "-y", "-qq", "--no-install-recommends"]
        return self.run(*words, f"/root/{package.name}")
