"""The model that the audit's rules read, the same for a bundle and a running container.

`of_config` builds a World from a bundle, `of_process` from a running container. The families read
nothing else, so the same rules apply to both.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.cgroups.devicerules import Table

# The origin of a namespace; any other value is the path of a joined one.
OWN: Final = "own"
HOST: Final = "host"
KINDS: Final = ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")
SETS: Final = ("bounding", "effective", "inheritable", "permitted", "ambient")

IdMap = tuple[int, int, int]  # first id inside, first id outside, how many


class Place:
    """One mount of the container.

    `source` is the host path of a bind mount, "" for other file systems. `shared`: mounts below it
    propagate to the host. `pointer` is its JSON pointer, "" if config.json does not have it.
    """

    __slots__ = (
        *("destination", "fs_name", "nodev", "noexec", "nosuid", "pointer", "readonly"),
        *("shared", "source"),
    )

    def __init__(self, destination: str, fs_name: str, source: str, pointer: str) -> None:
        self.destination = destination
        self.fs_name = fs_name
        self.source = source
        self.pointer = pointer
        self.readonly = self.nosuid = self.nodev = self.noexec = self.shared = False


class Node:
    """A device node in the container; `kind` is "b" or "c"."""

    __slots__ = ("kind", "major", "minor", "path", "pointer")

    def __init__(self, path: str, kind: str, major: int, minor: int, pointer: str) -> None:
        self.path = path
        self.kind = kind
        self.major = major
        self.minor = minor
        self.pointer = pointer


class Look:
    """Whether a process can read and write a path of /proc or /sys."""

    __slots__ = ("readable", "writable")

    def __init__(self, *, readable: bool, writable: bool) -> None:
        self.readable = readable
        self.writable = writable


HIDDEN: Final = Look(readable=False, writable=False)


class World:
    """The privileges and the environment of a process in the container.

    `capabilities` has a set of names for each of SETS. `filters` are the container's compiled
    seccomp filters; None if they could not be read, with the reason in `unknown`. `rules` are the
    device rules; None if there are none. A limit of None means unlimited. `setuid_files` are paths
    inside the container, `capable_files` has capabilities by such paths, `hook_paths` are (path on
    the host, pointer).
    """

    def __init__(self) -> None:
        self.uid = 0
        self.gids: set[int] = set()
        self.capabilities: dict[str, frozenset[str]] = dict.fromkeys(SETS, frozenset())
        self.no_new_privs = False
        self.namespaces: dict[str, str] = dict.fromkeys(KINDS, HOST)
        self.uid_map: list[IdMap] = []
        self.gid_map: list[IdMap] = []
        self.root = ""
        self.readonly_root = False
        self.shared_root = False
        self.mounts: list[Place] = []
        self.filters: list[bytes] | None = []
        self.has_agent = False
        self.nodes: list[Node] = []
        self.rules: dict[str, Table] | None = None
        self.memory_limit: int | None = None
        self.pids_limit: int | None = None
        self.oom_score_adj = 0
        self.apparmor = ""
        self.selinux = ""
        self.annotations: dict[str, str] = {}
        self.hook_paths: list[tuple[str, str]] = []
        self.setuid_files: list[str] = []
        self.capable_files: dict[str, frozenset[str]] = {}
        self.unknown: list[str] = []

    def look(self, path: str) -> Look:
        """Return the access that a process of the container has to `path` in /proc or /sys."""
        raise NotImplementedError

    @property
    def is_confined_root(self) -> bool:
        """Whether capabilities hold only in a user namespace that is not the host's."""
        return self.namespaces["user"] != HOST

    @property
    def holds_host_root(self) -> bool:
        """Whether a user of the container is uid 0 on the host."""
        if not self.is_confined_root:
            return self.can_be_root
        return any(outside <= 0 < outside + count for _, outside, count in self.uid_map)

    @property
    def can_be_root(self) -> bool:
        """Whether the process is root inside, or can become it."""
        return self.uid == 0 or "CAP_SETUID" in self.held() or bool(self.setuid_files)

    def held(self) -> frozenset[str]:
        """Return the capabilities that the process has or can get by execve(2).

        Source: capabilities(7), "Transformation of capabilities during execve()".
        """
        sets = self.capabilities
        own = sets["permitted"] | sets["effective"] | sets["ambient"]
        # no_new_privs keeps execve from adding capabilities. Without it a program run by root gets
        # the bounding set, as does a setuid or file-capability program run by others.
        return own if self.no_new_privs else own | sets["bounding"]

    def given(self) -> dict[str, list[str]]:
        """Return what programs with file capabilities give to the process, by path.

        Source: capabilities(7), "Transformation of capabilities during execve()".
        """
        new = self.capabilities["bounding"] - self.capabilities["permitted"]
        found = {path: sorted(names & new) for path, names in sorted(self.capable_files.items())}
        return {path: names for path, names in found.items() if names}

    def own_roots(self) -> set[int]:
        """Return the host uids whose file capabilities count: of root here, and of the host's."""
        return {0} | {outside for inside, outside, _ in self.uid_map if inside == 0}

    def has(self, capability: str) -> bool:
        """Return whether `capability` is held, and effective on the host."""
        return not self.is_confined_root and capability in self.held()

    def host_uid(self) -> int | None:
        """Return the uid of the process on the host; None if it is not mapped."""
        if not self.is_confined_root:
            return self.uid
        for inside, outside, count in self.uid_map:
            if inside <= self.uid < inside + count:
                return outside + self.uid - inside
        return None

    def permits(self, owner: int, mode: int, wanted: int) -> bool:
        """Return whether the process has the access `wanted` (4 read, 2 write) to a kernel file.

        `owner` is the file's uid on the host. Kernel files are root's or accessible to everyone.
        """
        if mode & wanted or self.has("CAP_DAC_OVERRIDE"):
            return True
        is_owner = self.holds_host_root if owner == 0 else self.host_uid() == owner
        return is_owner and bool(mode >> 6 & wanted)
