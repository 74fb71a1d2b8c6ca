"""container.json of libcontainer 0.11, as Docker's native driver wrote it, both ways.

It has neither the root directory nor the program.

Source: docs/convert.md#containerjson.
"""

from __future__ import annotations

from ocirun.convert.capabilities import sets_of, take_one_set
from ocirun.convert.document import Rest
from ocirun.convert.networks import annotate, read_docker, take_networks, write_docker
from ocirun.spec import NETWORKS
from ocirun.spec.capabilities import CAPABILITIES
from ocirun.spec.default import default_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.convert.document import Document

NAMESPACES: Final = {
    "NEWIPC": "ipc",
    "NEWNET": "network",
    "NEWNS": "mount",
    "NEWPID": "pid",
    "NEWUSER": "user",
    "NEWUTS": "uts",
}
# Names in linux.resources of config.json, and in cgroups of container.json.
LIMITS: Final = (
    (("memory", "limit"), "memory"),
    (("memory", "reservation"), "memory_reservation"),
    (("memory", "swap"), "memory_swap"),
    (("cpu", "shares"), "cpu_shares"),
    (("cpu", "quota"), "cpu_quota"),
    (("cpu", "period"), "cpu_period"),
    (("cpu", "cpus"), "cpuset_cpus"),
)
DEVTMPFS: Final = "devtmpfs"
# libcontainer mounts these by itself; config.json must list them.
SYSTEM: Final = ("/proc", "/dev", "/dev/pts", "/dev/shm", "/sys")  # noqa: S108  # the container's


def read_container_json(document: Document, root: str) -> tuple[Document, list[str]]:
    """Return config.json with the root directory `root`, and the names without a counterpart."""
    rest = Rest(document)
    defaults: Document = dict(default_config())
    process: Document = {
        "terminal": bool(rest.take("tty")),
        "user": {"uid": 0, "gid": 0},
        "args": ["sh"],
        "env": rest.take("environment") or [],
        "cwd": rest.take("working_dir") or "/",
    }
    linux: Document = {}
    config: Document = {
        "ociVersion": defaults["ociVersion"],
        "process": process,
        "root": {"path": root, "readonly": bool(rest.take("readonly_fs"))},
        "mounts": [one for one in defaults["mounts"] if one["destination"] in SYSTEM],
        "linux": linux,
    }
    if hostname := rest.take("hostname"):
        config["hostname"] = hostname
    _read_user(rest, process)
    masked = rest.take("capabilities_mask")
    if masked is not None:
        dropped = {f"CAP_{name}" for name, is_kept in masked.items() if not is_kept}
        process["capabilities"] = sets_of([name for name in CAPABILITIES if name not in dropped])
    namespaces = rest.take("namespaces") or {}
    linux["namespaces"] = [
        {"type": NAMESPACES[name]}
        for name, is_new in namespaces.items()
        if is_new and name in NAMESPACES
    ]
    unknown = {
        name: True for name, is_new in namespaces.items() if name not in NAMESPACES and is_new
    }
    if unknown:
        rest.document["namespaces"] = unknown
    _read_networks(rest, config)
    _read_cgroups(rest, linux)
    _read_context(rest, process, linux, defaults["linux"])
    _read_mounts(rest, config["mounts"])
    return config, rest.names()


def _read_user(rest: Rest, process: Document) -> None:
    user = rest.take("user")
    uid, _, gid = (user or "0").partition(":")
    if uid.isdecimal() and (not gid or gid.isdecimal()):
        process["user"] = {"uid": int(uid), "gid": int(gid or 0)}
    else:
        rest.document["user"] = user  # a name, which only the image's /etc/passwd resolves


def _read_networks(rest: Rest, config: Document) -> None:
    taken, left = read_docker(rest.take("networks") or [])
    annotate(config, taken)
    if left:
        rest.document["networks"] = left


def _read_cgroups(rest: Rest, linux: Document) -> None:
    name, parent = rest.take("cgroups", "name"), rest.take("cgroups", "parent")
    if name:
        linux["cgroupsPath"] = f"/{parent}/{name}" if parent else f"/{name}"
    resources: Document = {}
    for (section, member), key in LIMITS:
        if value := rest.take("cgroups", key):
            resources.setdefault(section, {})[member] = value
    allow = bool(rest.take("cgroups", "device_access"))
    resources["devices"] = [{"allow": allow, "access": "rwm"}]
    linux["resources"] = resources


def _read_context(rest: Rest, process: Document, linux: Document, defaults: Document) -> None:
    if profile := rest.take("context", "apparmor_profile"):
        process["apparmorProfile"] = profile
    if label := rest.take("context", "process_label"):
        process["selinuxLabel"] = label
    if label := rest.take("context", "mount_label"):
        linux["mountLabel"] = label
    if rest.take("context", "restrictions") == "true":
        linux["maskedPaths"] = defaults["maskedPaths"]
        linux["readonlyPaths"] = defaults["readonlyPaths"]


def _read_mounts(rest: Rest, mounts: list[Document]) -> None:
    left = []
    for mount in rest.take("mounts") or ():
        if mount.get("type") == DEVTMPFS:
            continue  # the mounts already include /dev
        if mount.get("type") != "bind":
            left.append(mount)
            continue
        options = ["rbind", "rw" if mount.get("writable") else "ro"]
        options += ["rprivate"] if mount.get("private") else []
        mounts.append(
            {
                "destination": mount["destination"],
                "type": "bind",
                "source": mount["source"],
                "options": options,
            }
        )
    if left:
        rest.document["mounts"] = left


def write_container_json(config: Document) -> tuple[Document, list[str]]:
    """Return container.json, and the names without a counterpart (process.args is one)."""
    rest = Rest(config)
    defaults: Document = dict(default_config())
    rest.take("ociVersion")
    rest.take("root", "path")
    document: Document = {}
    if hostname := rest.take("hostname"):
        document["hostname"] = hostname
    if rest.take("root", "readonly"):
        document["readonly_fs"] = True
    if rest.take("process", "terminal"):
        document["tty"] = True
    uid = rest.take("process", "user", "uid") or 0
    gid = rest.take("process", "user", "gid") or 0
    if uid or gid:
        document["user"] = f"{uid}:{gid}"
    document["working_dir"] = rest.take("process", "cwd") or "/"
    document["environment"] = rest.take("process", "env") or []
    names = take_one_set(rest)
    if names is not None:
        document["capabilities_mask"] = {
            name.removeprefix("CAP_"): name in names for name in CAPABILITIES
        }
    _write_namespaces(rest, document)
    _write_cgroups(rest, document)
    _write_context(rest, document, defaults["linux"])
    _write_mounts(rest, document, defaults["mounts"])
    return document, rest.names()


def _write_namespaces(rest: Rest, document: Document) -> None:
    entries = rest.take("linux", "namespaces") or []
    new = {entry["type"] for entry in entries if not entry.get("path")}
    document["namespaces"] = {key: kind in new for key, kind in NAMESPACES.items()}
    known = set(NAMESPACES.values())
    left = [one for one in entries if one.get("path") or one["type"] not in known]
    if left:
        rest.document["linux"]["namespaces"] = left
    if "network" in new:
        written, others = write_docker(take_networks(rest))
        document["networks"] = [
            {"type": "loopback", "address": "127.0.0.1/0", "gateway": "localhost", "mtu": 1500},
            *written,
        ]
        if others:
            rest.put(others, "annotations", NETWORKS)


def _write_cgroups(rest: Rest, document: Document) -> None:
    cgroups: Document = {}
    path = rest.take("linux", "cgroupsPath") or ""
    if path.startswith("/"):
        parent, _, name = path[1:].rpartition("/")
        cgroups["name"] = name
        if parent:
            cgroups["parent"] = parent
    elif path:
        rest.put(path, "linux", "cgroupsPath")
    for (section, member), key in LIMITS:
        value = rest.take("linux", "resources", section, member)
        if value:
            cgroups[key] = value
    rules = rest.take("linux", "resources", "devices") or []
    if rules == [{"allow": True, "access": "rwm"}]:
        cgroups["device_access"] = True
    elif rules not in ([], [{"allow": False, "access": "rwm"}]):
        rest.put(rules, "linux", "resources", "devices")
    document["cgroups"] = cgroups


def _write_context(rest: Rest, document: Document, defaults: Document) -> None:
    context = {}
    for place, member, key in (
        ("process", "apparmorProfile", "apparmor_profile"),
        ("process", "selinuxLabel", "process_label"),
        ("linux", "mountLabel", "mount_label"),
    ):
        if value := rest.take(place, member):
            context[key] = value
    linux = rest.document.get("linux") or {}
    members = ("maskedPaths", "readonlyPaths")
    if all(linux.get(member) == defaults[member] for member in members):
        for member in members:
            rest.take("linux", member)
        context["restrictions"] = "true"
    document["context"] = context


def _write_mounts(rest: Rest, document: Document, defaults: list[Document]) -> None:
    mounts: list[Document] = [{"type": DEVTMPFS}]
    left = []
    for mount in rest.take("mounts") or ():
        options = mount.get("options") or []
        is_plain = set(mount) <= {"destination", "type", "source", "options"}
        if mount in defaults and mount["destination"] in SYSTEM:
            continue
        if is_plain and "rbind" in options and set(options) <= {"rbind", "rw", "ro", "rprivate"}:
            entry = {"type": "bind", "source": mount["source"], "destination": mount["destination"]}
            if "ro" not in options:
                entry["writable"] = True
            if "rprivate" in options:
                entry["private"] = True
            mounts.append(entry)
        else:
            left.append(mount)
    if left:
        rest.document["mounts"] = left
    document["mounts"] = mounts
