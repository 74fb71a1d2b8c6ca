"""The messages of rtnetlink, as pyroute2 writes and reads them: links, addresses, routes.

`import pyroute2` loads every protocol it knows, asyncio and TLS, which takes 20 times as long as
the messages. So these are imported as if the package itself were empty, and taken out of
sys.modules again: whoever imports pyroute2 later finds nothing of this.

Source: docs.pyroute2.org; rtnetlink(7).
"""

from __future__ import annotations

import sys
from _thread import _count as count_threads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def _load() -> tuple[Any, Any, Any]:
    from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg
    from pyroute2.netlink.rtnl.ifinfmsg import ifinfmsg
    from pyroute2.netlink.rtnl.rtmsg import rtmsg

    return ifaddrmsg, ifinfmsg, rtmsg


def _load_alone() -> tuple[Any, Any, Any]:
    from importlib.util import find_spec

    spec = find_spec("pyroute2")
    if "pyroute2" in sys.modules or count_threads() or spec is None:
        # A thread must not find our package in the place of its own.
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


ifaddrmsg, ifinfmsg, rtmsg = _load_alone()
