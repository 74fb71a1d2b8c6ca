"""Traces as one page of HTML that needs nothing else: no network, no other file.

Security: names, paths and arguments in a trace may be a container's. They are in the page as JSON,
in which `<` is an escape, so that nothing can end the element; the script shows them as text; and
the page's policy allows this style and this script, by their hashes, and no other.

Source: ocirun/trace/page.html, ocirun/trace/page.js, ocirun/trace/page.css; w3.org/TR/CSP3.
"""

from __future__ import annotations

import base64
import hashlib
import html
import os
import sys
import time

from ocirun.errors import doing
from ocirun.kernel.regular_files import read_regular
from ocirun.spec.jsontext import compact
from ocirun.trace.explain import EXPLAINED, MESSAGES, NAMESPACES
from ocirun.trace.files import OutputFile

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.trace.load import Lane, Trace

MAX_TEMPLATE: Final = 1 << 20
BEGINS: Final = b"<!DOCTYPE html>\n<!-- ocirun trace -->\n"
PAUSE_US: Final = 2000  # drawn between two commands, however long it was
ROLES: Final = ("parent", "stage", "child", "process", "init")  # from top to bottom


def write_page(traces: list[Trace], path: str) -> None:
    """Write the page of `traces`, oldest first, to the file `path`.

    Raises:
        UsageError: the file cannot be made. SetupError: it cannot be written.
    """
    data = render(traces).encode()
    file = OutputFile(path, BEGINS)
    with doing(f"writing {file.path}"):
        file.append(data)


def render(traces: list[Trace]) -> str:
    """Return the page."""
    style, script = _template("page.css"), _template("page.js")
    text: str = compact(page_data(traces))
    values = {
        "STYLE_HASH": _hash(style),
        "SCRIPT_HASH": _hash(script),
        "TITLE": html.escape(", then ".join(trace.title() for trace in traces)),
        "STYLE": style,
        "SCRIPT": script,
        "DATA": text.replace("<", "\\u003c"),
    }
    # In one pass: a value that looks like a placeholder stays what it is.
    pieces = _template("page.html").split("@")
    return "".join(values.get(piece, piece) for piece in pieces)


def page_data(traces: list[Trace]) -> dict[str, Any]:
    """Return what the script draws."""
    lanes: list[dict[str, Any]] = []
    arrows: list[dict[str, Any]] = []
    shown: list[dict[str, Any]] = []
    offset = 0.0
    end_ns = 0
    for trace in traces:
        gap = max(0, trace.epoch_ns - end_ns) / 1e9
        places: dict[int, int] = {}
        ordered = sorted(trace.lanes.values(), key=_order)
        for lane in ordered:
            places[lane.pid] = len(lanes)
            lanes.append({"trace": len(shown), **_lane(lane, trace, offset)})
        for arrow in trace.arrows.values():
            if {"s", "f"} <= arrow.keys() and arrow["s"][0] in places and arrow["f"][0] in places:
                ends = {
                    key: [places[arrow[at][0]], arrow[at][1] + offset]
                    for key, at in (("from", "s"), ("to", "f"))
                }
                arrows.append({"name": arrow["name"], **ends})
        shown.append(_facts(trace, offset, gap))
        end_ns = trace.epoch_ns + int(trace.duration() * 1000)
        offset += trace.duration() + PAUSE_US
    return {
        "traces": shown,
        "lanes": lanes,
        "arrows": arrows,
        "explain": {key: list(what) for key, what in EXPLAINED.items()},
        "messages": MESSAGES,
        "namespaces": NAMESPACES,
    }


def _facts(trace: Trace, offset: float, gap: float) -> dict[str, Any]:
    problems = []
    if trace.error:
        problems.append(f"{trace.title()} failed: {trace.error}")
    if not trace.is_complete:
        problems.append(f"{trace.path} was cut off: its end is missing.")
    if trace.left_out:
        problems.append(f"{trace.left_out} records of {trace.path} could not be kept or read.")
    date = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(trace.epoch_ns // 10**9))
    later = f"{gap:.0f} s" if gap >= 10 else f"{gap * 1000:.0f} ms"
    return {
        "title": trace.title(),
        "date": date,
        "offset": round(offset - PAUSE_US / 2, 3),
        "gap": later,
        "problems": problems,
    }


def _lane(lane: Lane, trace: Trace, offset: float) -> dict[str, Any]:
    title = f"ocirun {trace.verb}" if lane.role == "parent" else lane.role
    if lane.role == "init" and trace.verb == "exec":
        title = "the new process"
    return {
        "title": title,
        "role": lane.role,
        "pid": lane.pid,
        "inner": lane.inner_pid,
        "namespaces": lane.namespaces,
        "new": lane.new_namespaces,
        "items": [
            [
                item.kind, item.name, round(item.begin + offset, 3), round(item.duration, 3),
                item.depth, item.inside, item.args,
            ]
            for item in lane.items
        ],
    }  # fmt: skip


def _order(lane: Lane) -> int:
    return ROLES.index(lane.role) if lane.role in ROLES else len(ROLES)


def _template(name: str) -> str:
    if "_ocirun_archive" in sys.builtin_module_names:  # the one-file build
        from ocirun.kernel.archive import ARCHIVE

        return ARCHIVE.folder("ocirun/trace").joinpath(name).read_text(encoding="utf-8")
    path = os.path.join(os.path.dirname(__file__), name)
    with doing(f"reading {path}"):
        return read_regular(path, MAX_TEMPLATE).decode()


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
