"""`ocirun exec`: one more process in a running container."""

from __future__ import annotations

import os

from ocirun.container.exec import check_status, container_process, execute
from ocirun.container.options import ExecOptions
from ocirun.errors import OcirunError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.cli.call import Call
    from ocirun.spec.types import Process

MAX_ID: Final = 2**32 - 2


def run(call: Call) -> int:
    """Run the process; return its exit status, 128+n when a signal ended it, 0 when detached."""
    options = ExecOptions(
        console_socket=_path(call, "console-socket"),
        pidfd_socket=_path(call, "pidfd-socket"),
        pid_file=_path(call, "pid-file"),
        detach=call.flag("detach"),
        preserve_fds=call.number("preserve-fds"),
        cgroups=call.many("cgroup"),
        ignore_paused=call.flag("ignore-paused"),
        tell=call.tell(),
    )
    try:
        process = _from_file(call) if call.text("process") else _from_flags(call)
    except OcirunError:
        # runc looks at the container before it reads what is to be run there.
        with call.store().load(call.arguments[0]) as record:
            check_status(record, options)
        raise
    return execute(call.store(), call.arguments[0], process, options)


def _path(call: Call, name: str) -> str | None:
    value = call.text(name)
    return os.path.abspath(value) if value else None


def _from_file(call: Call) -> Process:
    """Read `--process FILE`; every other flag about the process is then ignored, as in runc."""
    from ocirun.spec.load import check_process, read_document

    return check_process(read_document(call.text("process"), "process.json"), "process.json")


def _from_flags(call: Call) -> Process:
    """Change the container's own process as the flags say."""
    from ocirun.spec.load import check_process

    # `exec ID -- CMD`, as kubectl and current runc have it.
    args = call.arguments[2 if call.arguments[1:2] == ["--"] else 1 :]
    if not args:
        raise UsageError("exec args cannot be empty")
    process = container_process(call.store(), call.arguments[0])
    process["args"] = args
    process["terminal"] = call.flag("tty")
    if call.text("cwd"):
        process["cwd"] = call.text("cwd")
    process["env"] = [*(process.get("env") or []), *call.many("env")]
    if call.text("user"):
        process["user"] = {**process.get("user", {}), **read_user(call.text("user"))}  # type: ignore[typeddict-item]  # uid and gid
    if call.many("additional-gids"):
        gids = [_read_id(word, "additional gid") for word in call.many("additional-gids")]
        user = process["user"]
        user["additionalGids"] = [*(user.get("additionalGids") or []), *gids]
    if call.text("process-label"):
        process["selinuxLabel"] = call.text("process-label")
    if call.text("apparmor"):
        process["apparmorProfile"] = call.text("apparmor")
    if call.options["no-new-privs"] is not None:  # `=false` takes away what the container has
        process["noNewPrivileges"] = call.flag("no-new-privs")
    if call.many("cap"):
        _add_capabilities(process, call.many("cap"))
    return check_process(process, "exec")


def read_user(text: str) -> dict[str, int]:
    """Read UID[:GID]; without the second part the group stays what it is.

    Security: numbers only. A name would have to be looked up in a file of the container
    (CVE-2016-3697), and `1` must never read as 0 (CVE-2026-30892).

    Raises:
        UsageError: it is not of that form.
    """
    uid, colon, gid = text.partition(":")
    user = {"uid": _read_id(uid, "uid")}
    if colon:
        user["gid"] = _read_id(gid, "gid")
    return user


def _read_id(word: str, what: str) -> int:
    if not (word.isascii() and word.isdecimal() and len(word) < 11 and int(word) <= MAX_ID):
        raise UsageError(f"parsing {word!r} as {what}: it must be a number")
    return int(word)


def _add_capabilities(process: Process, names: tuple[str, ...]) -> None:
    """Add to what the program may use at once.

    Security: never to the inheritable set (CVE-2022-29162); to the ambient one only where the
    container has an inheritable set itself. A container without `capabilities` has none.
    """
    sets: dict[str, Any] = {**(process.get("capabilities") or {})}
    added = ["bounding", "effective", "permitted"]
    if sets.get("inheritable") is not None:
        added.append("ambient")
    for name in added:
        have = sets.get(name) or []
        sets[name] = [*have, *(cap for cap in names if cap not in have)]
    process["capabilities"] = sets  # type: ignore[typeddict-item]  # the keys are those of the spec
