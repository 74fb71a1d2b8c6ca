"""Read an LXC configuration, with new or old keys, as config.json.

Source: lxc.container.conf(5); docs/convert.md#lxc.
"""

from __future__ import annotations

import os

from ocirun.convert.capabilities import sets_of
from ocirun.convert.lxc_write import LIMITS, NAMESPACES, OLD_KEYS, UNLIMITED
from ocirun.convert.networks import LxcNetworks, annotate
from ocirun.errors import UsageError
from ocirun.spec.capabilities import CAPABILITIES
from ocirun.spec.default import OCI_VERSION, default_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.convert.document import Document

NEW_KEYS: Final = {old: new for new, old in OLD_KEYS.items()}
OCI_NAMESPACES: Final = {lxc: oci for oci, lxc in NAMESPACES.items()}
LXC_DEFAULT_NAMESPACES: Final = ("mnt", "pid", "uts", "ipc", "net", "cgroup")
# LXC's defaults, which config.json must spell out.
AUTODEV: Final = ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")  # noqa: S108  # the container's
MOUNT_FIELDS: Final = 4


def read_lxc(text: str) -> tuple[Document, list[str]]:
    """Return config.json, and the keys without a counterpart.

    Raises:
        UsageError: a line is not `key = value`, or a value cannot be read.
    """
    reader = _Reader()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key, equals, value = line.partition("=")
        if not equals:
            raise UsageError(f"line {number}: {line.strip()!r} is not `key = value`")
        key, value = key.strip(), value.strip()
        try:
            new = NEW_KEYS.get(key, key.replace("lxc.limit.", "lxc.prlimit."))
            if not (reader.networks.take(key, value) or reader.take(new, value)):
                reader.left.append(f"{key} = {value}")
        except (ValueError, IndexError):
            raise UsageError(f"line {number}: {key}: {value!r} cannot be read") from None
    return reader.finish(), reader.left


class _Reader:
    """Takes keys one by one; `left` collects those without a counterpart."""

    def __init__(self) -> None:
        self.left: list[str] = []
        self.process: Document = {"user": {"uid": 0, "gid": 0}, "args": ["/sbin/init"], "cwd": "/"}
        self.linux: Document = {}
        self.resources: Document = {}
        self.config: Document = {
            "ociVersion": OCI_VERSION,
            "process": self.process,
            "root": {"path": "rootfs"},
            "mounts": [],
            "linux": self.linux,
        }
        self.autodev = True
        self.clone: list[str] = list(LXC_DEFAULT_NAMESPACES)
        self.shared: dict[str, str] = {}
        self.networks = LxcNetworks()
        self.keep: list[str] | None = None
        self.drop: list[str] = []

    def take(self, key: str, value: str) -> bool:
        """Take one line, by its new key; return whether the key has a counterpart."""
        simple = {
            "lxc.rootfs.path": self._rootfs,
            "lxc.rootfs.options": self._root_options,
            "lxc.uts.name": lambda v: self.config.update(hostname=v),
            "lxc.init.cmd": lambda v: self.process.update(args=_words(v)),
            "lxc.execute.cmd": lambda v: self.process.update(args=_words(v)),
            "lxc.init.cwd": lambda v: self.process.update(cwd=v),
            "lxc.init.uid": lambda v: self.process["user"].update(uid=int(v)),
            "lxc.init.gid": lambda v: self.process["user"].update(gid=int(v)),
            "lxc.init.groups": lambda v: self.process["user"].update(
                additionalGids=[int(n) for n in v.split(",")]
            ),
            "lxc.environment": self._environment,
            "lxc.cap.keep": self._keep,
            "lxc.cap.drop": lambda v: self.drop.extend(map(_capability, v.split())),
            "lxc.no_new_privs": lambda v: self.process.update(noNewPrivileges=v == "1"),
            "lxc.apparmor.profile": lambda v: self.process.update(apparmorProfile=v),
            "lxc.selinux.context": lambda v: self.process.update(selinuxLabel=v),
            "lxc.proc.oom_score_adj": lambda v: self.process.update(oomScoreAdj=int(v)),
            "lxc.autodev": self._autodev,
            "lxc.mount.entry": self._mount,
            "lxc.namespace.clone": self._clone,
            "lxc.idmap": self._idmap,
        }
        if key in simple:
            simple[key](value)
        elif key.startswith("lxc.prlimit."):
            self._rlimit(key.removeprefix("lxc.prlimit."), value)
        elif key.startswith("lxc.sysctl."):
            self.linux.setdefault("sysctl", {})[key.removeprefix("lxc.sysctl.")] = value
        elif key.startswith("lxc.namespace.share.") and value.startswith("/"):
            self.shared[_namespace(key.removeprefix("lxc.namespace.share."))] = value
        else:
            return self._cgroup(key, value)
        return True

    def finish(self) -> Document:
        """Return the config.json for all keys taken."""
        defaults = default_config()
        if self.autodev:
            mounts = self.config["mounts"]
            there = {mount["destination"] for mount in mounts}
            mounts[:0] = [
                mount
                for mount in defaults["mounts"]
                if mount["destination"] in AUTODEV and mount["destination"] not in there
            ]
        if self.keep is not None or self.drop:
            names = list(CAPABILITIES) if self.keep is None else self.keep
            self.process["capabilities"] = sets_of([n for n in names if n not in self.drop])
        is_the_hosts = self.networks.is_the_hosts()
        clone = [name for name in self.clone if not (name == "net" and is_the_hosts)]
        entries, left = self.networks.entries()
        annotate(self.config, entries)
        self.left += left
        namespaces = [{"type": OCI_NAMESPACES[name]} for name in clone if name not in self.shared]
        shared = [{"type": OCI_NAMESPACES[n], "path": path} for n, path in self.shared.items()]
        if "uidMappings" in self.linux and not any(n["type"] == "user" for n in namespaces):
            namespaces.append({"type": "user"})
        self.linux["namespaces"] = [*namespaces, *shared]
        if self.resources:
            self.linux["resources"] = self.resources
        root = self.config["root"]["path"]
        for mount in self.config["mounts"]:
            # Old configurations have the path on the host.
            if mount["destination"].startswith(f"{root}/"):
                mount["destination"] = mount["destination"][len(root) :]
        return self.config

    def _rootfs(self, value: str) -> None:
        kind, colon, path = value.partition(":")
        if not colon or value.startswith("/"):
            path = value
        elif kind != "dir":
            self.left.append(f"lxc.rootfs.path = {value}")
        self.config["root"]["path"] = path

    def _root_options(self, value: str) -> None:
        for word in value.split(","):
            if word == "ro":
                self.config["root"]["readonly"] = True
            elif word != "rw":
                self.left.append(f"lxc.rootfs.options = {word}")

    def _environment(self, value: str) -> None:
        if "=" not in value:
            self.left.append(f"lxc.environment = {value}")
            return
        self.process.setdefault("env", []).append(value)

    def _keep(self, value: str) -> None:
        names = [] if value == "none" else [_capability(word) for word in value.split()]
        self.keep = [*(self.keep or ()), *names]

    def _autodev(self, value: str) -> None:
        self.autodev = value != "0"

    def _clone(self, value: str) -> None:
        self.clone = [_namespace(word) for word in value.split()]

    def _idmap(self, value: str) -> None:
        kind, inside, outside, size = value.split()
        name = {"u": "uidMappings", "g": "gidMappings"}.get(kind)
        numbers = {"containerID": int(inside), "hostID": int(outside), "size": int(size)}
        for member in (name,) if name else ("uidMappings", "gidMappings"):  # "b": both
            self.linux.setdefault(member, []).append(dict(numbers))

    def _mount(self, value: str) -> None:
        fields = [_unescaped(field) for field in value.split()]
        if len(fields) < MOUNT_FIELDS:
            raise ValueError(value)
        source, destination, kind, words = fields[:MOUNT_FIELDS]
        options = []
        for word in words.split(","):
            if word in ("optional", "relative"):
                self.left.append(f"lxc.mount.entry: {word} of {destination}")
            elif word != "defaults" and not word.startswith("create="):
                options.append(word)
        mount: Document = {"destination": "/" + destination.lstrip("/"), "type": kind}
        mount["source"] = source
        mount["options"] = options
        self.config["mounts"].append(mount)

    def _rlimit(self, name: str, value: str) -> None:
        soft, _, hard = value.partition(":")
        number = {"type": f"RLIMIT_{name.upper()}", "soft": _limit(soft)}
        number["hard"] = _limit(hard or soft)
        self.process.setdefault("rlimits", []).append(number)

    def _cgroup(self, key: str, value: str) -> bool:
        for prefix in ("lxc.cgroup.", "lxc.cgroup2."):
            file = key.removeprefix(prefix)
            if file == key:
                continue
            if file in ("devices.allow", "devices.deny"):
                rules = self.resources.setdefault("devices", [])
                rules.append(_device(value, allow=file.endswith("allow")))
                return True
            for path, file_v1, file_v2 in LIMITS:
                if file == (file_v2 if prefix == "lxc.cgroup2." else file_v1):
                    number = value if path[1] in ("cpus", "mems") else _amount(value)
                    self.resources.setdefault(path[0], {})[path[1]] = number
                    return True
            if prefix == "lxc.cgroup2.":
                self.resources.setdefault("unified", {})[file] = value
                return True
        return False


def _capability(word: str) -> str:
    name = f"CAP_{word.upper()}"
    if name not in CAPABILITIES:
        raise ValueError(word)
    return name


def _namespace(word: str) -> str:
    if word not in OCI_NAMESPACES:
        raise ValueError(word)
    return word


def _limit(word: str) -> int:
    return UNLIMITED if word == "unlimited" else int(word)


def _amount(text: str) -> int:
    """Return a number of bytes or processes; "max" is -1; K, M and G are powers of 1024."""
    if text == "max":
        return -1
    unit = "KMG".find(text[-1:].upper()) + 1 if text[-1:].isalpha() else 0
    if text[-1:].isalpha() and not unit:
        raise ValueError(text)
    return int(text[:-1] if unit else text) << 10 * unit


def _device(text: str, *, allow: bool) -> Document:
    kind, *more = text.split()
    rule: Document = {"allow": allow, "type": kind}
    if more:
        for name, number in zip(("major", "minor"), more[0].split(":"), strict=True):
            if number != "*":
                rule[name] = int(number)
    rule["access"] = more[1] if len(more) > 1 else "rwm"
    return rule


def _words(text: str) -> list[str]:
    """Split lxc.init.cmd; single or double quotes preserve spaces."""
    import shlex

    return shlex.split(text)


def _unescaped(field: str) -> str:
    head, *rest = field.split("\\")
    return head + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def absolute_root(config: Document, directory: str) -> None:
    """Make root.path, relative to the bundle `directory`, absolute as other formats need it."""
    path = config.get("root", {}).get("path") or "rootfs"
    config.setdefault("root", {})["path"] = os.path.normpath(os.path.join(directory, path))
