"""linux.sysctl: kernel parameters of the container's own namespaces.

Which names are allowed, and how they are spelt, is a rule of the configuration (spec/sysctls.py);
here they are written.

Source: runtime-spec config-linux.md#sysctl; sysctl(8) for the two spellings of a name.
"""

from __future__ import annotations

from ocirun.errors import doing
from ocirun.kernel.procfs import write_below
from ocirun.spec.sysctls import path_of


def write_sysctls(procfs_fd: int, sysctls: dict[str, str]) -> None:
    """Write each parameter below `procfs_fd`, a private procfs (borrowed).

    Raises:
        SetupError: the kernel has no such parameter, or refuses the value.
    """
    for name, value in sysctls.items():
        with doing(f"writing sysctl {name}={value}"):
            write_below(procfs_fd, f"sys/{path_of(name)}", value)
