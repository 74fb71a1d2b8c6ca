"""The records of network devices and addresses: a file in each container's directory.

    ROOT/ID/networks.json   what the container holds, or is about to
    ROOT/@networks          locked while networks are added or removed below this root

There is no separate list of free addresses: an address is taken while a container's file has it.
The file is written before the first device is created, and removed after the last one is, so
`delete` finds everything that a killed process left. A bridge is ours if a file marks it so, and is
removed with the last container whose file names it.

Source: docs/network.md#networks.
"""

from __future__ import annotations

import os

from ocirun.container.folder import OPEN_FOLDER
from ocirun.errors import DamagedRecord, SetupError, SpecError, doing, kernel_words, warn
from ocirun.kernel.locks import lock
from ocirun.kernel.regular_files import read_open
from ocirun.network.attachment import Attachment
from ocirun.spec import BY_PROGRAM
from ocirun.spec.jsontext import compact, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Final

    from ocirun.container.folder import Folder
    from ocirun.network.sides import Sides
    from ocirun.spec.networks import Network

FILE: Final = "networks.json"
LOCK: Final = "@networks"
MAX_BYTES: Final = 1 << 20


class Ledger:
    """The networks of all containers below one state root, locked within a with statement."""

    __slots__ = ("_fd", "_root")

    def __init__(self, root: str) -> None:
        self._root = root
        self._fd = -1

    def __enter__(self) -> Ledger:
        with doing(f"locking {self._root}/{LOCK}"):
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(f"{self._root}/{LOCK}", flags, 0o600)
            try:
                lock(self._fd)
            except BaseException:
                os.close(self._fd)
                raise
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def others(self, container_id: str) -> tuple[list[Attachment], list[str]]:
        """Return the attachments of all but `container_id`, and a message for each damaged file."""
        held: list[Attachment] = []
        faults: list[str] = []
        for name in sorted(os.listdir(self._root)):
            if name.startswith("@") or name == container_id:
                continue
            try:
                folder_fd = os.open(f"{self._root}/{name}", OPEN_FOLDER)
            except (FileNotFoundError, NotADirectoryError):  # removed meanwhile, or not a container
                continue
            try:
                held += read_attachments(folder_fd, f"{self._root}/{name}") or []
            except SetupError as error:
                faults.append(str(error))
            finally:
                os.close(folder_fd)
        return held, faults


def read_attachments(folder_fd: int, path: str) -> list[Attachment] | None:
    """Return the attachments in the file in the directory `path` (`folder_fd`, borrowed).

    None if there is no file.

    Raises:
        SetupError: the file is damaged.
    """
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(FILE, flags, dir_fd=folder_fd)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _damaged(path, kernel_words(error)) from error
    try:
        return parse_attachments(read_open(fd, MAX_BYTES, FILE), path)
    except OSError as error:
        raise _damaged(path, kernel_words(error)) from error
    finally:
        os.close(fd)


def parse_attachments(data: bytes, path: str) -> list[Attachment]:
    """Return the attachments in `data`, the contents of the file in the directory `path`.

    Raises:
        SetupError: the file is damaged.
    """
    try:
        entries = parse(data, FILE)
        return [Attachment.from_body(entry) for entry in entries]  # type: ignore[attr-defined]
    except (SpecError, ValueError, KeyError, TypeError) as error:
        raise _damaged(path, str(error)) from error


def _damaged(path: str, why: str) -> SetupError:
    return SetupError(f"{path}/{FILE} is damaged: {why}")


def attach_networks(
    folder: Folder,
    networks: list[Network],
    sides: Sides,
    init_pidfd: int,
    undo: Callable[[str, Callable[[], object]], object],
) -> list[Attachment]:
    """Create the networks of a container, and return them; register their removal with `undo`.

    `init_pidfd` (borrowed) is its init. Networks made by programs come last.

    Raises:
        SetupError: an address or a name is taken, a device is missing, the kernel refused, or a
            program failed; or another container's file is damaged, so its addresses are unknown.
    """
    made: list[Attachment] = []
    undo("removing networks", lambda: detach_networks(folder))
    if ours := [network for network in networks if network.type not in BY_PROGRAM]:
        made = _attach_ours(folder, ours, sides)
    if theirs := [network for network in networks if network.type in BY_PROGRAM]:
        from ocirun.network.by_program import attach_by_program, decide_by_program

        programmed = decide_by_program(theirs, folder.id)
        made += programmed
        _record(folder, made)
        # Without the lock: a program may be slow.
        attach_by_program(programmed, sides, init_pidfd, folder.path, lambda: _record(folder, made))
    return made


def _attach_ours(folder: Folder, networks: list[Network], sides: Sides) -> list[Attachment]:
    from ocirun.network.attach import attach, claim_if, decide
    from ocirun.network.owner import owner_of

    root = _root_of(folder)
    wants_claim = any(network.masquerade or network.ports for network in networks)
    with Ledger(root) as ledger, claim_if(wants_claim):
        held, faults = ledger.others(folder.id)
        if faults:
            words = "which addresses that container has is not known. Delete it with --force"
            raise SetupError(f"{faults[0]}: {words}")
        attachments = decide(networks, held, sides.host, owner=owner_of(root), container=folder.id)
        _record(folder, attachments)
        attach(attachments, held, sides)
    return attachments


def _record(folder: Folder, attachments: list[Attachment]) -> None:
    data = compact([each.body() for each in attachments])
    if len(data) > MAX_BYTES:  # `delete` could not read it
        raise SetupError(f"{folder.path}/{FILE} would have more than {MAX_BYTES} bytes")
    folder.write(FILE, data)


def check_networks(folder: Folder) -> None:
    """Warn of CNI networks of a container that are not as they were made.

    Raises:
        SetupError: the record is damaged.
    """
    from ocirun.network.cni import check_again

    for attachment in read_attachments(folder.fd, folder.path) or ():
        if attachment.type == "cni":
            try:
                check_again(attachment, folder.path)
            except SetupError as error:
                warn(str(error))


def detach_networks(folder: Folder) -> None:
    """Remove the networks of a container, as far as they exist.

    What it may share with a container whose file is damaged stays, with a warning.

    Raises:
        DamagedRecord: its own file is damaged. Nothing is removed then; the kernel removes the
            devices with the network namespace.
        OcirunError: a removal failed; the file stays, for another attempt.
    """
    try:
        own = read_attachments(folder.fd, folder.path)
    except SetupError as error:
        words = f"{error}: its bridges and rules, if nobody else uses them, are left on the host"
        raise DamagedRecord(folder.id, words) from error
    if own is None:
        return
    if programmed := [each for each in own if each.type in BY_PROGRAM]:
        from ocirun.network.by_program import detach_by_program

        if failures := detach_by_program(programmed, folder.path):
            for failure in failures[1:]:
                failures[0].add_note(f"and: {failure}")
            raise failures[0]
    with Ledger(_root_of(folder)) as ledger:
        if made := [each for each in own if each.type not in BY_PROGRAM]:
            from ocirun.network.attach import detach

            others, faults = ledger.others(folder.id)
            if faults:
                warn(f"{faults[0]}: bridges and rules that it may share with {folder.id} stay")
            detach(made, others, shared=not faults)
        with doing(f"removing {folder.path}/{FILE}"):
            os.unlink(FILE, dir_fd=folder.fd)


def _root_of(folder: Folder) -> str:
    return folder.path.rpartition("/")[0]
