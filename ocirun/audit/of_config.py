"""Build a World from a bundle's config.json.

Source: runtime-spec config.md, config-linux.md; docs/audit.md.
"""

from __future__ import annotations

import os
import stat

from ocirun.audit.facts import Programs, limit_of
from ocirun.audit.world import HIDDEN, HOST, OWN, SETS, Look, Node, Place, World
from ocirun.cgroups.choose import layout
from ocirun.cgroups.devicerules import table_of
from ocirun.spec.devices import implied_rules
from ocirun.spec.mount_options import ATTRIBUTE, MOUNT_OPTIONS, RECURSIVE
from ocirun.spec.mount_rules import is_bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.audit.world import IdMap
    from ocirun.spec.types import Config, IDMapping, Mount

HOST_HOOKS: Final = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
FLAGS: Final = ((0x1, "readonly"), (0x2, "nosuid"), (0x4, "nodev"), (0x8, "noexec"))
NAMES: Final = {"mount": "mnt", "network": "net"}  # names in /proc/PID/ns that differ


class ConfigWorld(World):
    """The world of the bundle in the directory `bundle`, with its validated `config`.

    What config.json does not determine is taken from this host and its kernel.
    """

    def __init__(self, bundle: str, config: Config) -> None:
        super().__init__()
        self._bundle = bundle
        linux, process = config.get("linux", {}), config.get("process", {})
        self.masked = [*linux.get("maskedPaths", ())]
        self.covered = [*linux.get("readonlyPaths", ())]
        self.root = os.path.join(bundle, config.get("root", {}).get("path", ""))
        self.readonly_root = bool(config.get("root", {}).get("readonly"))
        self.shared_root = linux.get("rootfsPropagation", "") in ("shared", "rshared")
        user = process.get("user", {})
        self.uid = user.get("uid", 0)
        self.gids = {user.get("gid", 0), *user.get("additionalGids", ())}
        self.no_new_privs = bool(process.get("noNewPrivileges"))
        self.oom_score_adj = process.get("oomScoreAdj", 0)
        self.apparmor = process.get("apparmorProfile", "")
        self.selinux = process.get("selinuxLabel", "")
        sets: Any = process.get("capabilities") or {}
        self.capabilities = {kind: frozenset(sets.get(kind) or ()) for kind in SETS}
        for entry in linux.get("namespaces", ()):
            self.namespaces[entry["type"]] = _origin(entry["type"], entry.get("path", ""))
        self.uid_map = _map(linux.get("uidMappings"))
        self.gid_map = _map(linux.get("gidMappings"))
        self.mounts = [
            self._place(mount, f"/mounts/{index}")
            for index, mount in enumerate(config.get("mounts", ()))
        ]
        resources = linux.get("resources", {})
        self.rules = table_of([*(resources.get("devices") or ()), *implied_rules(config)])
        self.nodes = [
            Node(
                device["path"],
                "b" if device["type"] == "b" else "c",
                device.get("major", 0),
                device.get("minor", 0),
                f"/linux/devices/{index}",
            )
            for index, device in enumerate(linux.get("devices", ()))
            if device["type"] in ("b", "c", "u")
        ]
        self.pids_limit = _limit(resources.get("pids", {}).get("limit"))
        self.memory_limit = _limit(resources.get("memory", {}).get("limit"))
        self._read_unified(resources.get("unified", {}))
        self.annotations = config.get("annotations") or {}
        hooks: Any = config.get("hooks") or {}
        self.hook_paths = [
            (hook["path"], f"/hooks/{kind}/{index}")
            for kind in HOST_HOOKS
            for index, hook in enumerate(hooks.get(kind) or ())
        ]
        self._compile(config)
        if not self.no_new_privs:
            self._find_programs()

    def _place(self, mount: Mount, pointer: str) -> Place:
        destination = "/" + os.path.normpath(mount["destination"]).strip("/")
        bind = is_bind(mount)
        source = os.path.join(self._bundle, mount.get("source", "")) if bind else ""
        kind = "bind" if bind else mount.get("type", "")
        # As the runtime does where there is v2 alone: no release_agent is in reach.
        if kind == "cgroup" and layout() == "v2":
            kind = "cgroup2"
        place = Place(destination, kind, source, pointer)
        for word in mount.get("options", ()):
            act, to_set, to_clear = MOUNT_OPTIONS.get(word, (0, 0, 0))
            if act in (ATTRIBUTE, RECURSIVE):
                for bit, name in FLAGS:
                    if (to_set | to_clear) & bit:
                        setattr(place, name, bool(to_set & bit))
            # Kernel: below a slave or private root, "shared" creates a new peer group.
            if word in ("shared", "rshared"):
                place.shared = self.shared_root
        return place

    def _read_unified(self, unified: dict[str, str]) -> None:
        """Read the limits in linux.resources.unified (files of cgroup v2)."""
        for name, member in (("pids.max", "pids_limit"), ("memory.max", "memory_limit")):
            limit = limit_of(unified.get(name, ""))
            if limit is not None:
                setattr(self, member, limit)

    def _compile(self, config: Config) -> None:
        """Compile linux.seccomp as `create` does."""
        profile = config.get("linux", {}).get("seccomp")
        if not profile:
            return
        from ocirun.errors import OcirunError
        from ocirun.kernel.libseccomp import Library
        from ocirun.security.seccomp.compile import compile_profile
        from ocirun.security.seccomp.program import asks_an_agent

        try:
            self.filters = [compile_profile(profile, Library())]
            self.has_agent = asks_an_agent(profile)
        except (FileNotFoundError, OcirunError) as error:
            self.filters = None
            self.unknown.append(f"which calls linux.seccomp lets through: {error}")

    def _find_programs(self) -> None:
        """Search the root file system and the mounts without nosuid for programs with rights."""
        trees = [("", self.root)]
        trees += [
            (one.destination, one.source) for one in self.mounts if one.source and not one.nosuid
        ]
        for destination, path in trees:
            try:
                root_fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except NotADirectoryError:
                continue
            except OSError as error:
                self.unknown.append(f"setuid files in {path}: {error.strerror}")
                continue
            try:
                programs = Programs(root_fd, self.own_roots())
            finally:
                os.close(root_fd)
            top = destination.rstrip("/")
            self.setuid_files += [top + name for name in programs.setuid if self._sees(top, name)]
            self.capable_files |= {
                top + name: names
                for name, names in programs.capable.items()
                if self._sees(top, name)
            }
            if not programs.whole:
                self.unknown.append(f"setuid files in {path}: it has too many files to look at all")

    def _sees(self, top: str, name: str) -> bool:
        """Return whether `name` of the mount on `top` ("" for the root) is not covered."""
        path = top + name
        place = self._under(path)
        if (place.destination.rstrip("/") if place else "") != top:
            return False
        return not any(_is_below(path, one) for one in self.masked)

    def look(self, path: str) -> Look:
        """Return the access that the process will have to `path`, on this host's kernel."""
        place = self._under(path)
        if place is None or any(_is_below(path, one) for one in self.masked):
            return HIDDEN
        base = {"proc": "/proc", "sysfs": "/sys"}.get(place.fs_name, place.source)
        if not base:
            return HIDDEN
        real = os.path.join(base, path[len(place.destination) :].lstrip("/"))
        if os.path.realpath(base) not in ("/proc", "/sys", "/"):
            return HIDDEN
        try:
            status = os.stat(real)
            if not place.source and status.st_dev != os.stat(base).st_dev:
                return HIDDEN  # another file system mounted there on the host
        except OSError:
            return HIDDEN
        closed = place.readonly or any(_is_below(path, one) for one in self.covered)
        mode = stat.S_IMODE(status.st_mode)
        return Look(
            readable=self.permits(status.st_uid, mode, 4),
            writable=not closed and self.permits(status.st_uid, mode, 2),
        )

    def _under(self, path: str) -> Place | None:
        """Return the mount that `path` is on: the last of the deepest ones."""
        found = None
        for place in self.mounts:
            if _is_below(path, place.destination) and (
                found is None or len(place.destination) >= len(found.destination)
            ):
                found = place
        return found


def _origin(kind: str, path: str) -> str:
    """Return the origin of a namespace in config.json; `path` may be the host's."""
    if not path:
        return OWN
    try:
        own = os.stat(f"/proc/self/ns/{NAMES.get(kind, kind)}")
        there = os.stat(path)
    except OSError:
        return path
    return HOST if (own.st_dev, own.st_ino) == (there.st_dev, there.st_ino) else path


def _map(mappings: list[IDMapping] | None) -> list[IdMap]:
    return [(one["containerID"], one["hostID"], one["size"]) for one in mappings or ()]


def _limit(value: int | None) -> int | None:
    """Return a limit of config.json; None for 0 and negative values, which mean no limit."""
    return value if value is not None and value > 0 else None


def _is_below(path: str, folder: str) -> bool:
    folder = "/" + os.path.normpath(folder).strip("/")
    return folder in ("/", path) or path.startswith(folder + "/")
