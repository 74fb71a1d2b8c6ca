"""The rtnetlink messages of pyroute2: links, addresses, routes.

`import pyroute2` loads all its protocols, asyncio and TLS, which takes 20 times as long as the
messages alone. So they are imported with an empty package in place of pyroute2, and removed from
sys.modules again: a later `import pyroute2` is not affected.

Source: docs.pyroute2.org; rtnetlink(7).
"""

from __future__ import annotations

import sys
from _thread import _count as count_threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _load() -> tuple[Any, Any, Any, type[Exception]]:
    from pyroute2.netlink.exceptions import NetlinkDecodeError
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    return ifaddrmsg, ifinfmsg, rtmsg, NetlinkDecodeError


def _load_alone() -> tuple[Any, Any, Any, type[Exception]]:
    from importlib.util import find_spec

    spec = find_spec("pyroute2")
    if "pyroute2" in sys.modules or count_threads() or spec is None:
        # Another thread must not see our empty package as pyroute2.
        return _load()
    package = type(sys)("pyroute2")
    package.__path__ = spec.submodule_search_locations or []
    before = set(sys.modules)
    sys.modules["pyroute2"] = package
    try:
        return _load()
    finally:
        for name in set(sys.modules) - before:
            if name.partition(".")[0] == "pyroute2":
                del sys.modules[name]


ifaddrmsg, ifinfmsg, rtmsg, NetlinkDecodeError = _load_alone()
