"""Which configuration file CRIU reads beside its own defaults.

Source: criu.org/Configuration_files; docs/runc-compat/checkpoint.md#criu.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

ANNOTATION: Final = "org.criu.config"
FILES: Final = ("/etc/criu/ocirun.conf", "/etc/criu/runc.conf")


def config_file(annotations: Mapping[str, str]) -> str:
    """Return its path, "" for none: that of the annotation, else the first existing one."""
    if ANNOTATION in annotations:
        return annotations[ANNOTATION]
    return next((path for path in FILES if os.path.exists(path)), "")
