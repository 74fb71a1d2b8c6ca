"""Which container holds which network device and address: a file in each container's folder.

    ROOT/ID/networks.json   what the container has, or is about to have
    ROOT/@networks          locked while networks are added or removed below this root

There is no second record of what is free: an address is taken while a container's file has it. The
file is written before anything is made, and removed after everything is: so a `delete` finds all
that a killed process has left. A bridge is ours if a file says so, and is removed by the last that
names it.

Source: docs/network.md#networks.
"""

from __future__ import annotations

import os

from ocirun.errors import SetupError, SpecError, doing, kernel_words
from ocirun.kernel.locks import lock
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

    def all(self) -> dict[str, list[Attachment]]:
        """Return what each container has, by id.

        Raises:
            SetupError: a file is damaged.
        """
        found = {}
        for name in sorted(os.listdir(self._root)):
            if not name.startswith("@"):
                path = f"{self._root}/{name}/{FILE}"
                try:
                    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
                except (FileNotFoundError, NotADirectoryError):
                    continue
                except OSError as error:
                    raise SetupError(f"opening {path}: {kernel_words(error)}") from error
                with open(fd, "rb") as file:
                    found[name] = read_attachments(file.read(), path)
        return found


def read_attachments(data: bytes, path: str) -> list[Attachment]:
    """Return what the file `path` says in `data`.

    Raises:
        SetupError: it is not what was written.
    """
    try:
        entries = parse(data, FILE)
        return [Attachment.from_body(entry) for entry in entries]  # type: ignore[attr-defined]
    except (SpecError, ValueError, KeyError, TypeError) as error:
        raise SetupError(f"{path} is damaged: {error}") from error


def attach_networks(
    folder: Folder,
    networks: list[Network],
    sides: Sides,
    init_pidfd: int,
    undo: Callable[[str, Callable[[], object]], object],
) -> list[Attachment]:
    """Make the networks of a container, and return them; `undo` is given what removes them.

    `init_pidfd` (borrowed) is its init. What programs make comes last.

    Raises:
        SetupError: an address or a name is taken, something is missing, the kernel refused, a
            program failed.
    """
    made: list[Attachment] = []
    undo("removing networks", lambda: detach_networks(folder))
    if ours := [network for network in networks if network.type not in BY_PROGRAM]:
        made = _attach_ours(folder, ours, sides)
    if theirs := [network for network in networks if network.type in BY_PROGRAM]:
        from ocirun.network.by_program import attach_by_program, decide_by_program

        programmed = decide_by_program(theirs)
        made += programmed
        _record(folder, made)
        # Not under the lock: a program may take its time.
        attach_by_program(programmed, sides, init_pidfd, folder.path, lambda: _record(folder, made))
    return made


def _attach_ours(folder: Folder, networks: list[Network], sides: Sides) -> list[Attachment]:
    from ocirun.network.attach import attach, claim_if, decide
    from ocirun.network.owner import owner_of

    root = _root_of(folder)
    wants_claim = any(network.masquerade or network.ports for network in networks)
    with Ledger(root) as ledger, claim_if(wants_claim):
        held = [each for attachments in ledger.all().values() for each in attachments]
        attachments = decide(networks, held, sides.host, owner=owner_of(root), container=folder.id)
        _record(folder, attachments)
        attach(attachments, held, sides)
    return attachments


def _record(folder: Folder, attachments: list[Attachment]) -> None:
    folder.write(FILE, compact([each.body() for each in attachments]))


def detach_networks(folder: Folder) -> None:
    """Remove the networks of a container, as far as they are there.

    Raises:
        OcirunError: something could not be removed; the file stays, for another try.
    """
    data = folder.read(FILE)
    if data is None:
        return
    programmed = [
        each for each in read_attachments(data, f"{folder.path}/{FILE}") if each.type in BY_PROGRAM
    ]
    if programmed:
        from ocirun.network.by_program import detach_by_program

        if failures := detach_by_program(programmed):
            for failure in failures[1:]:
                failures[0].add_note(f"and: {failure}")
            raise failures[0]
    with Ledger(_root_of(folder)) as ledger:
        held = ledger.all()
        own = held.pop(folder.id, None)
        if own is None:
            return
        made = [each for each in own if each.type not in BY_PROGRAM]
        if made:
            from ocirun.network.attach import detach

            detach(made, [each for attachments in held.values() for each in attachments])
        with doing(f"removing {folder.path}/{FILE}"):
            os.unlink(FILE, dir_fd=folder.fd)


def _root_of(folder: Folder) -> str:
    return folder.path.rpartition("/")[0]
