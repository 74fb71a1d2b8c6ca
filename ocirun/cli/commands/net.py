"""`ocirun net`: list networks, inspect those of one container, and prune leftovers."""

from __future__ import annotations

from ocirun.cli.output import write
from ocirun.errors import UsageError, warn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ocirun.cli.call import Call

COLUMNS = ("ID", "STATUS", "TYPE", "DEVICE", "HOST", "ADDRESSES", "PORTS")


def run(call: Call) -> int:
    """Run the subcommand: ls, inspect or prune."""
    act, *ids = call.arguments
    if act not in {"ls", "inspect", "prune"}:
        raise UsageError(f'"net {act}": expected "ls", "inspect" or "prune"')
    if (act == "inspect") != bool(ids):
        words = "expected the ID of a container" if act == "inspect" else "takes no ID"
        raise UsageError(f'"net {act}" {words}')
    if act == "prune":
        from ocirun.container.network_prune import prune

        for line in prune(call.store()):
            write(f"{line}\n")
        return 0
    from ocirun.container.network_list import inspect_networks, list_networks

    if act == "inspect":
        found = [inspect_networks(call.store(), ids[0])]
        text = "\n".join(_paragraph(network) for network in found[0]["networks"])
    else:
        found, broken = list_networks(call.store())
        for failure in broken:
            warn(failure)
        text = _table(found)
    if call.text("format") == "json":
        from ocirun.spec.jsontext import indented

        text = indented(found[0] if act == "inspect" else found, "  ") + "\n"
    write(text)
    return 0


def _table(entries: list[dict[str, Any]]) -> str:
    rows = [list(COLUMNS)]
    rows += [_row(entry, network) for entry in entries for network in entry["networks"]]
    widths = [max(len(row[at]) for row in rows) + 2 for at in range(len(COLUMNS))]
    return "".join(
        "".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n"
        for row in rows
    )


def _row(entry: dict[str, Any], network: dict[str, Any]) -> list[str]:
    return [
        entry["id"],
        entry["status"],
        network["type"],
        network.get("name", ""),
        _on_host(network),
        ",".join(network.get("addresses", ())),
        ",".join(_ports(network)),
    ]


def _on_host(network: dict[str, Any]) -> str:
    """Return its part on the host: DEVICE@BRIDGE, the parent device, or the previous name."""
    host, bridge = network.get("host", ""), network.get("bridge")
    return f"{host}@{bridge}" if bridge else host or network.get("parent", "")


def _ports(network: dict[str, Any]) -> list[str]:
    from ocirun.spec.ports import Port

    return [str(Port(port)) for port in network.get("ports", ())]


def _paragraph(network: dict[str, Any]) -> str:
    shown = {**network, "ports": _ports(network)}
    lines = []
    for name, value in shown.items():
        text = " ".join(value) if isinstance(value, list) else value
        if isinstance(value, dict):
            text = " ".join(f"{key}={each}" for key, each in value.items())
        if text not in ("", 0, False) or name == "present":
            lines.append(f"{name:<17} {text}\n")
    return "".join(lines)
