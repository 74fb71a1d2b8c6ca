"""In init: the filter is loaded, and from then on it holds for init itself.

Source: seccomp(2); docs/runc-compat/seccomp.md#when-the-filter-is-loaded,
docs/runc-compat/security.md#invariants.
"""

from __future__ import annotations

from ocirun.errors import doing
from ocirun.kernel import seccomp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def load_filter(prepared: dict[str, Any]) -> int | None:
    """Load what prepare_filter has made.

    Returns:
        The descriptor for the agent, where calls are to be decided by one: the caller closes it.

    Raises:
        SetupError: the kernel refuses; EACCES says that neither no_new_privs nor CAP_SYS_ADMIN is
            there.
    """
    flags = prepared["flags"]
    with doing("loading the seccomp filter"):
        result = seccomp.load_filter(bytes.fromhex(prepared["program"]), flags)
    return result if flags & seccomp.SECCOMP_FILTER_FLAG_NEW_LISTENER else None
