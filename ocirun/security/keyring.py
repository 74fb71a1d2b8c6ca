"""A session keyring of the container's own, so that it never sees the keys of the host's session.

Source: session-keyring(7), keyctl(2); docs/runc-compat/init.md#order-of-init.
"""

from __future__ import annotations

import errno
import os

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

RANDOM_BYTES: Final = 8
OWNER_SEARCH: Final = 0x80000
OTHER_SEARCH: Final = 0x8  # in a user namespace the owner's uid is not the container's


def new_name(container_id: str) -> str:
    """Return a name for the session keyring of a container.

    Security: a keyring of the name that exists already is joined, so that nobody must know it
    before. runc's is `_ses.ID`, which anybody can make first.
    """
    return f"_ses.{container_id}.{os.urandom(RANDOM_BYTES).hex()}"


def join_new_keyring(name: str, userns: bool) -> None:
    """Join the session keyring `name` and let its owner search it.

    A kernel without keyrings is the one thing that is tolerated: then there is nothing to hide.
    """
    with doing("joining a new session keyring"):
        try:
            join_session_keyring(name)
        except OSError as error:
            if error.errno == errno.ENOSYS:
                return
            raise
        permissions = describe_permissions(KEY_SPEC_SESSION_KEYRING)
        set_permissions(
            KEY_SPEC_SESSION_KEYRING, permissions | (OTHER_SEARCH if userns else OWNER_SEARCH)
        )
