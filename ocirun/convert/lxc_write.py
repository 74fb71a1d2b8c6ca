"""Write config.json as an LXC configuration, with the keys of LXC 3 to 6 or older ones.

Source: lxc.container.conf(5); docs/convert.md#lxc.
"""

from __future__ import annotations

import os

from ocirun.convert.capabilities import take_one_set
from ocirun.convert.document import Rest
from ocirun.convert.networks import take_network_lines
from ocirun.spec.mount_options import EXTRA, MOUNT_OPTIONS, RECURSIVE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from ocirun.convert.document import Document

OLD_KEYS: Final = {
    "lxc.apparmor.profile": "lxc.aa_profile",
    "lxc.idmap": "lxc.id_map",
    "lxc.init.cmd": "lxc.init_cmd",
    "lxc.init.gid": "lxc.init_gid",
    "lxc.init.uid": "lxc.init_uid",
    "lxc.net.0.type": "lxc.network.type",
    "lxc.rootfs.path": "lxc.rootfs",
    "lxc.selinux.context": "lxc.se_context",
    "lxc.uts.name": "lxc.utsname",
}
# Name in linux.resources, file of cgroup v1, file of cgroup v2 ("": none).
LIMITS: Final = (
    (("memory", "limit"), "memory.limit_in_bytes", "memory.max"),
    (("memory", "reservation"), "memory.soft_limit_in_bytes", "memory.low"),
    (("memory", "swap"), "memory.memsw.limit_in_bytes", ""),
    (("memory", "swappiness"), "memory.swappiness", ""),
    (("cpu", "shares"), "cpu.shares", ""),
    (("cpu", "quota"), "cpu.cfs_quota_us", ""),
    (("cpu", "period"), "cpu.cfs_period_us", ""),
    (("cpu", "cpus"), "cpuset.cpus", "cpuset.cpus"),
    (("cpu", "mems"), "cpuset.mems", "cpuset.mems"),
    (("pids", "limit"), "pids.max", "pids.max"),
)
NAMESPACES: Final = {
    "cgroup": "cgroup",
    "ipc": "ipc",
    "mount": "mnt",
    "network": "net",
    "pid": "pid",
    "time": "time",
    "user": "user",
    "uts": "uts",
}
UNLIMITED: Final = 2**64 - 1
NOT_IN_LXC: Final = (RECURSIVE, EXTRA)


def write_lxc(
    config: Document, *, cgroup_v2: bool, old_keys: bool, autodev: bool = False
) -> tuple[str, list[str]]:
    """Return the configuration as text, and the names without a counterpart.

    root.path is absolute. `cgroup_v2`: write limits for a host with only the unified hierarchy.
    `autodev`: LXC makes /dev, which is not among the mounts.
    """
    lines: list[tuple[str, str]] = []
    rest = Rest(config)
    rest.take("ociVersion")
    _root(rest, lines)
    _process(rest, lines)
    words = _mounts(rest, lines)
    lines.append(("lxc.autodev", str(int(autodev))))
    new = _namespaces(rest, lines)
    networks, unknown = take_network_lines(rest) if "net" in new else ([], [])
    lines += networks
    _limits(rest, lines, cgroup_v2=cgroup_v2)
    left = rest.names() + words + unknown
    text = []
    for key, value in lines:
        if "\n" in value or value != value.strip() or not value:
            left.append(f"{key}: an empty value, or one with a newline or with spaces around it")
            continue
        if old_keys:
            if key not in OLD_KEYS and not _is_in_both(key):
                left.append(f"{key}: no old key")
                continue
            key = OLD_KEYS.get(key, key.replace("lxc.prlimit.", "lxc.limit."))  # noqa: PLW2901
        text.append(f"{key} = {value}\n")
    return "".join(text), sorted(left)


def _is_in_both(key: str) -> bool:
    starts = ("lxc.cgroup", "lxc.cap.", "lxc.environment", "lxc.mount.", "lxc.prlimit.")
    return key.startswith(starts) or key == "lxc.autodev"


def _root(rest: Rest, lines: list[tuple[str, str]]) -> None:
    lines.append(("lxc.rootfs.path", str(rest.take("root", "path"))))
    if rest.take("root", "readonly"):
        lines.append(("lxc.rootfs.options", "ro"))
    if name := rest.take("hostname"):
        lines.append(("lxc.uts.name", name))


def _process(rest: Rest, lines: list[tuple[str, str]]) -> None:
    if args := rest.take("process", "args"):
        if any("'" in word for word in args):
            rest.put(args, "process", "args")  # LXC has no escapes inside quotes
        else:
            lines.append(("lxc.init.cmd", " ".join(map(_quoted, args))))
    if (cwd := rest.take("process", "cwd")) and cwd != "/":
        lines.append(("lxc.init.cwd", cwd))
    numbers = [(name, rest.take("process", "user", name)) for name in ("uid", "gid")]
    lines += [(f"lxc.init.{name}", str(number)) for name, number in numbers if number]
    if groups := rest.take("process", "user", "additionalGids"):
        lines.append(("lxc.init.groups", ",".join(map(str, groups))))
    lines += [("lxc.environment", entry) for entry in rest.take("process", "env") or ()]
    names = take_one_set(rest)
    if names is not None:
        short = [name.removeprefix("CAP_").lower() for name in names]
        lines.append(("lxc.cap.keep", " ".join(short) or "none"))
    if rest.take("process", "noNewPrivileges"):
        lines.append(("lxc.no_new_privs", "1"))
    for limit in rest.take("process", "rlimits") or ():
        name = limit["type"].removeprefix("RLIMIT_").lower()
        lines.append((f"lxc.prlimit.{name}", f"{_limit(limit['soft'])}:{_limit(limit['hard'])}"))
    for member, key in (
        ("apparmorProfile", "lxc.apparmor.profile"),
        ("selinuxLabel", "lxc.selinux.context"),
        ("oomScoreAdj", "lxc.proc.oom_score_adj"),
    ):
        value = rest.take("process", member)
        if value not in (None, ""):
            lines.append((key, str(value)))
    sysctls = rest.take("linux", "sysctl") or {}
    lines += [(f"lxc.sysctl.{name}", value) for name, value in sysctls.items()]


def _limit(number: int) -> str:
    return "unlimited" if number == UNLIMITED else str(number)


def _quoted(word: str) -> str:
    """Return a quoted word for lxc.init.cmd; `word` has no single quote."""
    return f"'{word}'" if not word or any(c in word for c in ' \t"#\\') else word


def _mounts(rest: Rest, lines: list[tuple[str, str]]) -> list[str]:
    """Write the mounts; return the names of options without a counterpart."""
    left, words = [], []
    for mount in rest.take("mounts") or ():
        if set(mount) - {"destination", "type", "source", "options"}:
            left.append(mount)  # an id-mapped mount
            continue
        options = mount.get("options") or []
        # Security: LXC takes a word that it does not know for data of the file system, which a
        # bind mount ignores; `rro` would be writable.
        unknown = [one for one in options if MOUNT_OPTIONS.get(one, (0,))[0] in NOT_IN_LXC]
        words += [f"mounts.{mount['destination']}.options.{one}" for one in unknown]
        kept = [one for one in options if one not in unknown]
        lines.append(("lxc.mount.entry", mount_entry({**mount, "options": kept})))
    if left:
        rest.document["mounts"] = left
    return words


def mount_entry(mount: Document) -> str:
    """Return the value of lxc.mount.entry for a mount of config.json.

    A mount point that is missing is created: a file for a source that is one on this host.
    """
    options = mount.get("options") or []
    source = mount.get("source") or "none"
    is_bind = "bind" in options or "rbind" in options or mount.get("type") == "bind"
    kind = "file" if is_bind and os.path.exists(source) and not os.path.isdir(source) else "dir"
    fields = (
        source,
        mount["destination"].lstrip("/"),
        mount.get("type") or "none",
        ",".join([*options, f"create={kind}"]),
    )
    return " ".join([*map(_escaped, fields), "0", "0"])


def _escaped(field: str) -> str:
    for letter in "\\ \t\n":
        field = field.replace(letter, f"\\{ord(letter):03o}")
    return field


def _namespaces(rest: Rest, lines: list[tuple[str, str]]) -> list[str]:
    """Write namespaces and id mappings; return LXC's names of the new namespaces."""
    entries: list[Document] = rest.take("linux", "namespaces") or []
    new = [NAMESPACES[entry["type"]] for entry in entries if not entry.get("path")]
    if new:
        lines.append(("lxc.namespace.clone", " ".join(new)))
    else:
        rest.document["linux"]["namespaces"] = "none is new"
    lines += [
        (f"lxc.namespace.share.{NAMESPACES[entry['type']]}", entry["path"])
        for entry in entries
        if entry.get("path")
    ]
    lines.append(("lxc.net.0.type", "empty" if "net" in new else "none"))
    for letter, name in (("u", "uidMappings"), ("g", "gidMappings")):
        for one in rest.take("linux", name) or ():
            row = f"{letter} {one['containerID']} {one['hostID']} {one['size']}"
            lines.append(("lxc.idmap", row))
    return new


def _limits(rest: Rest, lines: list[tuple[str, str]], *, cgroup_v2: bool) -> None:
    prefix = "lxc.cgroup2" if cgroup_v2 else "lxc.cgroup"
    for rule in rest.take("linux", "resources", "devices") or ():
        word = "allow" if rule.get("allow") else "deny"
        lines.append((f"{prefix}.devices.{word}", device_text(rule)))
    for path, file_v1, file_v2 in LIMITS:
        file = file_v2 if cgroup_v2 else file_v1
        if file and (value := rest.take("linux", "resources", *path)) is not None:
            lines.append((f"{prefix}.{file}", _number(value, file)))
    if cgroup_v2:
        unified: dict[str, Any] = rest.take("linux", "resources", "unified") or {}
        lines += [(f"lxc.cgroup2.{file}", value) for file, value in unified.items()]


def _number(value: object, file: str) -> str:
    return "max" if value == -1 and file in ("pids.max", "memory.max", "memory.low") else str(value)


def device_text(rule: Document) -> str:
    """Return a device rule in the syntax of cgroup v1: `c 1:3 rwm`, or `a` for all."""
    kind = rule.get("type") or "a"
    major, minor = rule.get("major"), rule.get("minor")
    access = rule.get("access") or "rwm"
    if kind == "a" and major is None and minor is None and access == "rwm":
        return "a"
    numbers = ["*" if number is None or number < 0 else str(number) for number in (major, minor)]
    return f"{kind} {':'.join(numbers)} {access}"
