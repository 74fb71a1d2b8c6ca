"""The devices every container gets: nodes for rootfs, rules for cgroups.

Source: runtime-spec config-linux.md#default-devices; docs/runc-compat/cgroups.md#device-rules.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.spec.types import Config, Device, DeviceRule

# /dev/ptmx and /dev/console are not here: the one is a link, the other comes with a terminal.
DEFAULT_DEVICES: Final[list[Device]] = [
    {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o666},
    {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o666},
    {"path": "/dev/full", "type": "c", "major": 1, "minor": 7, "fileMode": 0o666},
    {"path": "/dev/random", "type": "c", "major": 1, "minor": 8, "fileMode": 0o666},
    {"path": "/dev/urandom", "type": "c", "major": 1, "minor": 9, "fileMode": 0o666},
    {"path": "/dev/tty", "type": "c", "major": 5, "minor": 0, "fileMode": 0o666},
]

# Appended after the rules of config.json, and so not to be switched off by them. mknod(2) alone
# gives no access; 136 are the pty slaves, 5:2 is ptmx; 10:200 is tun, which VPN users lost when
# runc 1.2 dropped it and got back.
DEFAULT_RULES: Final[list[DeviceRule]] = [
    {"allow": True, "type": "c", "access": "m"},
    {"allow": True, "type": "b", "access": "m"},
    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"},
    {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "rwm"},
    {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "rwm"},
    {"allow": True, "type": "c", "major": 1, "minor": 8, "access": "rwm"},
    {"allow": True, "type": "c", "major": 1, "minor": 9, "access": "rwm"},
    {"allow": True, "type": "c", "major": 5, "minor": 0, "access": "rwm"},
    {"allow": True, "type": "c", "major": 5, "minor": 2, "access": "rwm"},
    {"allow": True, "type": "c", "major": 136, "access": "rwm"},
    {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwm"},
]


def implied_rules(config: Config) -> list[DeviceRule]:
    """Return the rules to append: those of the usual nodes that `linux.devices` leaves as they are.

    A node that the config makes itself, say its own /dev/null, is allowed by the config's rules or
    not at all; runc does the same.
    """
    taken = {device["path"] for device in config.get("linux", {}).get("devices", [])}
    replaced = [
        (device["type"], device["major"], device["minor"])
        for device in DEFAULT_DEVICES
        if device["path"] in taken
    ]
    return [
        rule
        for rule in DEFAULT_RULES
        if (rule.get("type"), rule.get("major"), rule.get("minor")) not in replaced
    ]


def devices_of(config: Config) -> list[Device]:
    """Return the nodes to make: the usual six, then `linux.devices`, which win on the same path.

    The dicts belong to the config and to this module; do not change them.
    """
    wanted = config.get("linux", {}).get("devices", [])
    taken = {device["path"] for device in wanted}
    return [device for device in DEFAULT_DEVICES if device["path"] not in taken] + wanted
