"""config.json: types, reading, validation, defaults, and the document of `features`."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

# What a container with networks of ours has (networks.py); verbs look for it before they load that.
NETWORKS: Final = "org.ocirun.networks"
# Writes go to an overlay (overlay.py).
OVERLAY: Final = "org.ocirun.overlay"
# Types of networks that a program of the host makes.
BY_PROGRAM: Final = frozenset(("cni", "user"))
# What the annotations that landlock.py reads begin with.
LANDLOCK: Final = "org.ocirun.landlock."
