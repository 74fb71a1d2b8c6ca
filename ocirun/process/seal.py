"""From here on no import, no library, and no descriptor that was not asked for.

After pivot_root or setns, `sys.path` names folders of the container: a late import would run the
image's code with the host's privileges (the mistake of CVE-2019-14271 with NSS libraries). Init
therefore imports what its plan needs, then seals.
"""

from __future__ import annotations

import gc
import posix
import sys

from ocirun.kernel import process
from ocirun.kernel.process import close_range


def seal_imports() -> None:
    """Make every further import of a module that is not loaded fail.

    With the finders gone, `import x` raises ModuleNotFoundError and no file is looked for. The one
    library that the launcher loads late is not loaded either.
    """
    sys.meta_path.clear()
    sys.path.clear()
    sys.path_hooks.clear()
    sys.path_importer_cache.clear()
    process.forbid_libm()
    # Memory: a collection would touch, and so copy into the container's cgroup, pages that we
    # share with the parent; init is gone before garbage matters.
    gc.disable()


def forget_caller() -> None:
    """Overwrite the arguments and the environment of our caller, in this process alone.

    Security: everybody who sees us can read /proc/PID/cmdline, and those who may trace us can read
    environ and memory. Order: the environment cannot be read afterwards.
    """
    process.forget_arguments(b"ocirun init")
    for name, value in posix.environ.items():
        process.wipe(name, value)
    posix.environ.clear()


def keep_only(fds: list[int]) -> None:
    """Close every descriptor from 3 on that is not in `fds`.

    Security: CVE-2024-21626. What the caller of the runtime leaked to us (a directory of the
    host, say) must not be there when the container is entered.
    """
    first = 3
    for fd in sorted(fds):
        close_range(first, fd - 1)
        first = max(first, fd + 1)
    close_range(first)
