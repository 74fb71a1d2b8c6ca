"""The helper of this program, which clones the first process of each container.

Source: docs/library.md#the-helper.
"""

from __future__ import annotations

from ocirun.process.helper import close


def close_helper() -> None:
    """End this program's helper, if it has one; the next container starts another.

    Containers that run are not affected. For a program that waits for all of its children until
    there are none, and before the program is measured for leaks.
    """
    close()
