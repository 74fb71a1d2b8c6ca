"""linux.sysctl: kernel parameters of the container's own namespaces.

Which names are allowed is a rule of the configuration (spec/rules.py); here they are written.

Source: runtime-spec config-linux.md#sysctl; sysctl(8) for the two spellings of a name.
"""

from __future__ import annotations

from ocirun.errors import doing
from ocirun.kernel.procfs import write_below


def write_sysctls(procfs_fd: int, sysctls: dict[str, str]) -> None:
    """Write each parameter below `procfs_fd`, a private procfs (borrowed).

    Raises:
        SetupError: the kernel has no such parameter, or refuses the value.
    """
    for name, value in sysctls.items():
        with doing(f"writing sysctl {name}={value}"):
            write_below(procfs_fd, f"sys/{sysctl_path(name)}", value)


def sysctl_path(name: str) -> str:
    """Turn either spelling into a path below /proc/sys.

    The first separator decides: `net.ipv4.conf.eth0/1.x` has dots for levels and a slash for a
    dot inside a name, `net/ipv4/conf/eth0.1/x` is a path already.
    """
    for character in name:
        if character == "/":
            return name
        if character == ".":
            return name.translate({ord("."): "/", ord("/"): "."})
    return name
