"""A session keyring of the container's own, so that it never sees the keys of the host's session.

Source: session-keyring(7), keyctl(2); docs/runc-compat/init.md#order-of-init.
"""

from __future__ import annotations

import errno

from ocirun.errors import doing
from ocirun.kernel.keyctl import (
    KEY_SPEC_SESSION_KEYRING,
    describe_permissions,
    join_session_keyring,
    set_permissions,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

OWNER_SEARCH: Final = 0x80000
OTHER_SEARCH: Final = 0x8  # in a user namespace the owner's uid is not the container's


def join_new_keyring(container_id: str, userns: bool) -> None:
    """Join the session keyring `_ses.ID` and let its owner search it.

    A kernel without keyrings is the one thing that is tolerated: then there is nothing to hide.
    """
    with doing("joining a new session keyring"):
        try:
            join_session_keyring(f"_ses.{container_id}")
        except OSError as error:
            if error.errno == errno.ENOSYS:
                return
            raise
        permissions = describe_permissions(KEY_SPEC_SESSION_KEYRING)
        set_permissions(
            KEY_SPEC_SESSION_KEYRING, permissions | (OTHER_SEARCH if userns else OWNER_SEARCH)
        )
