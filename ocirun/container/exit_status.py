"""The exit status of a container, kept beside its record by the process that waited for it.

    ROOT/ID/exit    {"pid": …, "start": …, "returncode": …}, written once init was reaped

Only the parent of init can learn its status, and `ocirun create` ends before it: containerd's shim,
conmon and a service manager keep it themselves. A program that uses the library is the parent, and
leaves the status here, for others that find the container again.

Source: docs/library.md#exit-status.
"""

from __future__ import annotations

from ocirun.errors import OcirunError
from ocirun.spec.jsontext import compact, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.container.record import Record
    from ocirun.container.store import Store

EXIT_FILE: Final = "exit"


def keep_exit(store: Store, container_id: str, pid: int, returncode: int) -> None:
    """Write down how init ended, if the container is still known and its init is that `pid`."""
    try:
        with store.load(container_id) as record:
            if record.init_process_pid == pid:
                fields = {
                    "pid": pid,
                    "start": record.init_process_start,
                    "returncode": returncode,
                }
                record.directory.write(EXIT_FILE, compact(fields))
    except (OcirunError, OSError):
        # Deleted meanwhile, or damaged: there is nobody who could ask for the status.
        return


def kept_exit(record: Record) -> int | None:
    """Return how init ended, -N for signal N; None if that was not recorded."""
    try:
        data = record.directory.read(EXIT_FILE)
        fields = None if data is None else parse(data, EXIT_FILE)
    except (OcirunError, OSError):  # it is no file of ours, or damaged
        return None
    if not isinstance(fields, dict):
        return None
    process = (record.init_process_pid, record.init_process_start)
    if (fields.get("pid"), fields.get("start")) != process:
        return None
    returncode = fields.get("returncode")
    return returncode if type(returncode) is int else None
