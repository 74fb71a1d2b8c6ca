"""An nftables table for each bridge and state root; no other program has rules in it.

    table inet ocirun-BRIDGE-OWNER {
        comment "net.ipv4.ip_forward=0"
        chain guard {
            type filter hook prerouting priority raw
            iifname "BRIDGE" ip daddr 127.0.0.0/8 drop
            iifname "BRIDGE" ip saddr 127.0.0.0/8 drop
        }
        chain prerouting {
            type nat hook prerouting priority dstnat
            fib daddr type local tcp dport 8080 dnat ip to 10.83.0.2:80
        }
        chain output { the same, for packets from the host; comment "tcp 0.0.0.0 8080-8080" }
        chain postrouting {
            type nat hook postrouting priority srcnat
            ip saddr 10.83.0.0/16 oifname != "BRIDGE" masquerade
            oifname "BRIDGE" ip saddr 127.0.0.0/8 masquerade
            oifname "BRIDGE" ip saddr 10.83.0.0/16 ct status dnat masquerade
        }
    }

The table is replaced in one transaction whenever a container is created or deleted, and removed
with the last. Its comment records the sysctls that it needs, for other state roots.

Source: nft(8); kernel include/uapi/linux/netfilter/nf_tables.h.
"""

from __future__ import annotations

import ipaddress
import time
from errno import EEXIST, EPERM, EPROTONOSUPPORT

from ocirun.errors import doing
from ocirun.network import nft_messages as nft
from ocirun.network.netlink import NLM_F_CREATE, NLM_F_EXCL, Netlink

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.network.ports import Redirection

    Subnet = ipaddress.IPv4Network | ipaddress.IPv6Network

NLM_F_APPEND: Final = 0x800
NFT_MSG_NEWTABLE: Final = nft.NFNL_SUBSYS_NFTABLES << 8
NFT_MSG_GETTABLE: Final = NFT_MSG_NEWTABLE | 1
NFT_MSG_DELTABLE: Final = NFT_MSG_NEWTABLE | 2
NFT_MSG_NEWCHAIN: Final = NFT_MSG_NEWTABLE | 3
NFT_MSG_NEWRULE: Final = NFT_MSG_NEWTABLE | 6
NFT_MSG_GETRULE: Final = NFT_MSG_NEWTABLE | 7
NFTA_TABLE_NAME: Final = 1
NFTA_TABLE_FLAGS: Final = 2
NFTA_TABLE_USERDATA: Final = 6
NFTA_RULE_USERDATA: Final = 7
NFT_TABLE_F_OWNER: Final = 2

PREFIX: Final = "ocirun-"
LOCK: Final = "ocirun-lock"
LOCK_WAIT_S: Final = 20.0
LOCK_PAUSE_S: Final = 0.005

# Each chain: its name, type, hook of netfilter, and priority.
GUARD: Final = ("guard", "filter", 0, -300)
PREROUTING: Final = ("prerouting", "nat", 0, -100)
OUTPUT: Final = ("output", "nat", 3, -100)
POSTROUTING: Final = ("postrouting", "nat", 4, 100)
CHAINS: Final = (GUARD, PREROUTING, OUTPUT, POSTROUTING)

LOOPBACK: Final = ipaddress.IPv4Network("127.0.0.0/8")


class Table:
    """The table for the containers of one state root on one bridge.

    `masqueraded` are the subnets to masquerade, `subnets` those of containers with ports.
    """

    __slots__ = ("bridge", "masqueraded", "name", "redirections", "subnets", "sysctls")

    def __init__(self, bridge: str, owner: str) -> None:
        self.bridge = bridge
        self.name = table_name(bridge, owner)
        self.masqueraded: list[Subnet] = []
        self.subnets: list[Subnet] = []
        self.redirections: list[Redirection] = []
        self.sysctls: dict[str, str] = {}

    def write(self) -> None:
        """Replace the table; one without rules is removed.

        Raises:
            SetupError: the kernel refused, or has no nftables.
        """
        named = nft.text(1, self.name)
        rules = self._rules()
        # Order: create the table first, so that removing it cannot fail.
        messages = [(NFT_MSG_NEWTABLE, NLM_F_CREATE, named), (NFT_MSG_DELTABLE, 0, named)]
        if rules:
            words = " ".join(f"{key}={value}" for key, value in self.sysctls.items())
            noted = nft.attribute(NFTA_TABLE_USERDATA, nft.comment(words))
            messages.append((NFT_MSG_NEWTABLE, NLM_F_CREATE, named + noted))
        for name, kind, hook, priority in CHAINS:
            if any(chain == name for chain, _, _ in rules):
                where = nft.nested(4, nft.number(1, hook) + nft.number(2, priority))
                body = named + nft.text(3, name) + where + nft.text(7, kind)
                messages.append((NFT_MSG_NEWCHAIN, NLM_F_CREATE, body))
        for chain, rule, words in rules:
            noted = nft.attribute(NFTA_RULE_USERDATA, nft.comment(words)) if words else b""
            body = named + nft.text(2, chain) + nft.nested(4, rule) + noted
            messages.append((NFT_MSG_NEWRULE, NLM_F_CREATE | NLM_F_APPEND, body))
        with doing(f"writing the nftables table {self.name}"):
            _transact(messages, may_lack=not rules)

    def _rules(self) -> list[tuple[str, bytes, str]]:
        """Return each rule: its chain, expressions and comment."""
        has_ipv4 = any(each.address.version == 4 for each in self.redirections)
        into, inward = nft.goes_to(self.bridge), nft.comes_from(self.bridge)
        found: list[tuple[str, bytes, str]] = []
        if has_ipv4:
            spoofed = (nft.is_to(LOOPBACK), nft.is_from(LOOPBACK))
            found += [("guard", inward + where + nft.drop(), "") for where in spoofed]
        for each in self.redirections:
            for rule in each.rules():
                found.append(("output", rule, each.words))
                if not each.is_of_loopback:
                    # Security: a neighbour can send packets to 127.0.0.1 of this host. Without this
                    # they would be redirected before the kernel drops them.
                    found.append(("prerouting", rule, ""))
        leaving = [
            *(nft.is_from(net) + nft.goes_to(self.bridge, equal=False) for net in self.masqueraded),
            *([into + nft.is_from(LOOPBACK)] if has_ipv4 else ()),
            # Packets from one container to another through a port of the host.
            *(into + nft.is_from(net) + nft.is_redirected() for net in self.subnets),
        ]
        return [*found, *(("postrouting", match + nft.masquerade(), "") for match in leaving)]


class Claim:
    """A lock against other state roots that change shared state, in a with statement.

    It is a table that the kernel removes with the socket that created it, also when we are killed.
    """

    __slots__ = ("_netlink",)

    def __enter__(self) -> Claim:
        end = time.monotonic() + LOCK_WAIT_S
        with doing("waiting for another change of masquerading and ports"):
            self._netlink = Netlink(protocol=nft.NETLINK_NETFILTER)
            flags = nft.number(NFTA_TABLE_FLAGS, NFT_TABLE_F_OWNER)
            message = (NFT_MSG_NEWTABLE, NLM_F_CREATE | NLM_F_EXCL, nft.text(1, LOCK) + flags)
            try:
                while True:
                    try:
                        _send(self._netlink, [message])
                    except OSError as error:
                        # Kernel: EPERM, the table has another owner.
                        if error.errno not in (EPERM, EEXIST) or time.monotonic() > end:
                            raise
                        time.sleep(LOCK_PAUSE_S)
                    else:
                        return self
            except BaseException:
                self._netlink.close()
                raise

    def __exit__(self, *_: object) -> None:
        self._netlink.close()


def table_name(bridge: str, owner: str) -> str:
    """Return the name of the table of a bridge and a state root (its short form `owner`)."""
    return f"{PREFIX}{bridge}-{owner}"


def tables() -> dict[str, dict[str, str]]:
    """Return the tables of all state roots by name, each with its sysctls' previous values."""
    found = {}
    for body in _dump(NFT_MSG_GETTABLE):
        attributes = nft.attributes_of(body)
        name = attributes.get(NFTA_TABLE_NAME, b"").rstrip(b"\0").decode(errors="replace")
        if name.startswith(PREFIX) and name != LOCK:
            words = nft.comment_of(attributes.get(NFTA_TABLE_USERDATA, b"")).split()
            found[name] = dict(word.split("=", 1) for word in words if "=" in word)
    return found


def remove_table(name: str) -> None:
    """Remove a table; a missing one is no error.

    Raises:
        SetupError: the kernel refused.
    """
    named = nft.text(1, name)
    with doing(f"removing the nftables table {name}"):
        _transact(
            [(NFT_MSG_NEWTABLE, NLM_F_CREATE, named), (NFT_MSG_DELTABLE, 0, named)], may_lack=True
        )


def redirections_in(name: str) -> list[str]:
    """Return the comments of the rules for ports in a table: "PROTOCOL ADDRESS FIRST-LAST"."""
    found = []
    for body in _dump(NFT_MSG_GETRULE, nft.text(1, name)):
        words = nft.comment_of(nft.attributes_of(body).get(NFTA_RULE_USERDATA, b""))
        if words:
            found.append(words)
    return found


def _dump(kind: int, body: bytes = b"") -> list[bytes]:
    with doing("reading nftables tables"):
        try:
            netlink = Netlink(protocol=nft.NETLINK_NETFILTER)
        except OSError as error:
            if error.errno == EPROTONOSUPPORT:
                return []  # a kernel without nftables has no tables
            raise
        with netlink:
            return netlink.dump_raw(*nft.message(kind, 0, body))


def _transact(messages: list[tuple[int, int, bytes]], *, may_lack: bool) -> None:
    """Send all `messages`; with `may_lack` a kernel without nftables is no error."""
    try:
        netlink = Netlink(protocol=nft.NETLINK_NETFILTER)
    except OSError as error:
        if error.errno == EPROTONOSUPPORT and may_lack:
            return
        raise
    with netlink:
        _send(netlink, messages)


def _send(netlink: Netlink, messages: list[tuple[int, int, bytes]]) -> None:
    begin, end = nft.message(nft.NFNL_MSG_BATCH_BEGIN), nft.message(nft.NFNL_MSG_BATCH_END)
    netlink.transact(begin, [nft.message(*each) for each in messages], end)
