"""`ocirun.Spec`: a config.json in one call.

There is no second model: it builds the plain config.json dict, which the caller may change and
which is validated like any other.

Source: runtime-spec config.md, config-linux.md.
"""

from __future__ import annotations

import os

from ocirun.cgroups.choose import layout
from ocirun.library.making import user_of
from ocirun.library.process import check_args, check_env
from ocirun.spec import NETWORKS, OVERLAY
from ocirun.spec.capabilities import CAPABILITIES
from ocirun.spec.default import default_config
from ocirun.spec.jsontext import compact

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any, Final, Literal, Self

    Mapped = str | tuple[str, str] | tuple[str, str, str]
    Network = str | Sequence[Mapping[str, Any]]

UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
CPU_PERIOD_US: Final = 100_000


class Spec:
    """A configuration that starts from the default of `ocirun spec`.

    Each keyword argument is also a method that returns the Spec, so calls can be chained:
    `Spec(args=["id"], rootfs=path).memory("256M").network("none")`. `build` returns a new dict each
    time; `Container.create` and `run` take the Spec itself.

    >>> Spec(["id"], rootfs, pids=100).memory("256M").build()["linux"]["resources"]["memory"]
    {'limit': 268435456}
    >>> Spec(["id"], rootfs, cpus="many")
    Traceback (most recent call last):
    TypeError: cpus must be a number, not str
    """

    def __init__(
        self,
        args: Sequence[str] | None = None,
        rootfs: str | os.PathLike[str] | None = None,
        *,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: int | str | tuple[int, int] | None = None,
        hostname: str | None = None,
        terminal: bool = False,
        readonly: bool | None = None,
        overlay: bool | int | str = False,
        mounts: Iterable[Mapping[str, Any] | Mapped] = (),
        memory: int | str | None = None,
        swap: int | str | None = None,
        cpus: float | None = None,
        pids: int | None = None,
        network: Network | None = None,
        capabilities: Iterable[str] | None = None,
        seccomp: Literal["default"] | Mapping[str, Any] | None = None,
        annotations: Mapping[str, str] | None = None,
    ) -> None:
        self._config: dict[str, Any] = {**default_config(cgroup_v2=layout() == "v2")}
        self._config["process"]["terminal"] = terminal
        self._config["hostname"] = "ocirun"
        given = {
            "args": args, "rootfs": rootfs, "env": env, "cwd": cwd, "user": user,
            "hostname": hostname, "memory": memory, "swap": swap,
            "cpus": cpus, "pids": pids, "network": network, "capabilities": capabilities,
            "seccomp": seccomp, "annotations": annotations, "readonly": readonly,
        }  # fmt: skip
        for name, value in given.items():
            if value is not None:
                getattr(self, name)(value)
        if overlay is not False:
            self.overlay(overlay)
        if isinstance(mounts, (str, dict)) or not hasattr(mounts, "__iter__"):
            raise TypeError(f"mounts must be a list of mounts, not {mounts!r}")
        self.mounts(*mounts)

    def __repr__(self) -> str:
        return f"Spec({self._config['process']['args']!r}, {self._config['root']['path']!r})"

    def build(self) -> dict[str, Any]:
        """Return config.json as a new dict."""
        from copy import deepcopy

        return deepcopy(self._config)

    def validate(self) -> Self:
        """Check the configuration as `create` does, root directory included.

        Raises:
            SpecError: it breaks rules; the error lists all of them.
        """
        from ocirun.library.making import document_of
        from ocirun.spec.load import check_document

        check_document(document_of(self), os.getcwd())
        return self

    def args(self, args: Sequence[str]) -> Self:
        """Set process.args: the program and its arguments."""
        self._config["process"]["args"] = check_args(args)
        return self

    def rootfs(self, path: str | os.PathLike[str]) -> Self:
        """Set the root directory; `path` may be relative to the working directory."""
        self._config["root"]["path"] = os.path.abspath(_path("rootfs", path))
        return self

    def readonly(self, readonly: bool = True) -> Self:
        """Set whether the root is mounted read-only (the default)."""
        if not isinstance(readonly, bool):
            raise TypeError(f"readonly must be a bool, not {type(readonly).__name__}")
        self._config["root"]["readonly"] = readonly
        return self

    def overlay(self, size: bool | int | str = True) -> Self:
        """Mount an overlay over the root: writes go to memory and end with the container.

        `size` limits them, in bytes or as "64M"; with True the limit is half of the host's memory,
        or that of `memory`. The root is then writable.
        """
        if size is False:
            self._config.get("annotations", {}).pop(OVERLAY, None)
            return self
        text = "" if size is True else str(size_of(size, "overlay"))
        return self.annotations({OVERLAY: text}).readonly(False)

    def env(self, env: Mapping[str, str]) -> Self:
        """Add environment variables; PATH and TERM are set by default."""
        added = check_env(env)
        names = {entry.partition("=")[0] for entry in added}
        process = self._config["process"]
        kept = [entry for entry in process["env"] if entry.partition("=")[0] not in names]
        process["env"] = kept + added
        return self

    def cwd(self, path: str) -> Self:
        """Set the working directory, an absolute path in the container."""
        if not str(path).startswith("/"):
            raise ValueError(f"cwd must be an absolute path in the container, not {path!r}")
        self._config["process"]["cwd"] = path
        return self

    def user(self, user: int | str | tuple[int, int]) -> Self:
        """Run as a uid, "uid:gid", or a pair of both; the gid is 0 if it is left out."""
        self._config["process"]["user"] = user_of(user)
        return self

    def hostname(self, name: str) -> Self:
        """Set the host name."""
        self._config["hostname"] = name
        return self

    def memory(self, limit: int | str) -> Self:
        """Limit memory: bytes, or a number with K, M, G or T, such as "256M".

        Unless `swap` is set, the container gets no swap (where the kernel accounts for it).
        """
        memory = self._resources().setdefault("memory", {})
        memory["limit"] = size_of(limit, "memory")
        return self

    def swap(self, limit: int | str) -> Self:
        """Limit the sum of memory and swap; at least the limit of `memory`."""
        self._resources().setdefault("memory", {})["swap"] = size_of(limit, "swap")
        return self

    def cpus(self, count: float) -> Self:
        """Limit CPU time to that of `count` CPUs; 0.5 is half of one."""
        if isinstance(count, bool) or not isinstance(count, (int, float)):
            raise TypeError(f"cpus must be a number, not {type(count).__name__}")
        if not 0.01 <= count <= 1 << 16:
            raise ValueError(f"cpus must be between 0.01 and {1 << 16}, not {count}")
        self._resources()["cpu"] = {"quota": int(count * CPU_PERIOD_US), "period": CPU_PERIOD_US}
        return self

    def pids(self, limit: int) -> Self:
        """Limit the number of processes and threads."""
        if isinstance(limit, bool) or not isinstance(limit, int):
            raise TypeError(f"pids must be an int, not {type(limit).__name__}")
        if limit < 1:
            raise ValueError(f"pids must be at least 1, not {limit}")
        self._resources()["pids"] = {"limit": limit}
        return self

    def network(self, network: Network) -> Self:
        """Set the network: a loopback device only ("none"), the host's ("host"), or networks.

        Others are "user" and "cni:NAME", as of `ocirun try --net`, and a list of networks with the
        members of the annotation org.ocirun.networks (docs/network.md); `create` checks those.
        """
        entries: list[Any] = []
        if isinstance(network, str):
            kind, _, name = network.partition(":")
            if network == "user":
                entries = [{"type": "user"}]
            elif kind == "cni" and name:
                entries = [{"type": "cni", "name": name}]
            elif network not in ("none", "host"):
                words = '"none", "host", "user", "cni:NAME" or a list of networks'
                raise ValueError(f"network must be {words}, not {network!r}")
        elif isinstance(network, (list, tuple)) and all(isinstance(one, dict) for one in network):
            entries = [*network]
        else:
            raise TypeError(f"network must be a str or a list of dicts, not {network!r}")
        linux = self._config["linux"]
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
        if network != "host":
            linux["namespaces"].append({"type": "network"})
        self._config.get("annotations", {}).pop(NETWORKS, None)
        if entries:
            try:
                text = compact(entries)
            except (TypeError, ValueError, RecursionError) as error:
                raise TypeError(f"network is no JSON: {error}") from None
            self.annotations({NETWORKS: text})
        return self

    def mounts(self, *mounts: Mapping[str, Any] | Mapped) -> Self:
        """Add mounts: (source, destination) tuples, paths for a tmpfs, or entries of `mounts`.

        A third member of the tuple is options: (source, destination, "ro,nosuid").
        """
        self._config["mounts"] += [mount_of(mount) for mount in mounts]
        return self

    def capabilities(self, names: Iterable[str]) -> Self:
        """Set the capabilities to exactly these; names with or without CAP_."""
        if isinstance(names, str):
            raise TypeError(f"capabilities must be a list of names, not the str {names!r}")
        names = [*names]
        if not all(isinstance(name, str) for name in names):
            raise TypeError(f"capabilities must be a list of names, not {names!r}")
        full = [name if name.startswith("CAP_") else f"CAP_{name}" for name in names]
        if unknown := [name for name in full if name not in CAPABILITIES]:
            raise ValueError(f"capabilities has {unknown[0]}, which Linux does not know")
        sets = ("bounding", "effective", "permitted")
        self._config["process"]["capabilities"] = {one: [*full] for one in sets}
        return self

    def seccomp(self, profile: Literal["default"] | Mapping[str, Any]) -> Self:
        """Filter system calls with the default profile, or with one in the form of linux.seccomp.

        The default is that of `ocirun spec --profile hardened`; see docs/seccomp-profile.md.
        """
        from copy import deepcopy

        from ocirun.spec.seccomp_profile import default_profile

        if profile == "default":
            self._config["linux"]["seccomp"] = default_profile()
        elif isinstance(profile, dict):
            self._config["linux"]["seccomp"] = deepcopy(profile)
        else:
            raise TypeError(f'seccomp must be "default" or a profile as a dict, not {profile!r}')
        return self

    def annotations(self, annotations: Mapping[str, str]) -> Self:
        """Add annotations."""
        if not isinstance(annotations, dict):
            raise TypeError(f"annotations must be a dict of str, not {type(annotations).__name__}")
        self._config.setdefault("annotations", {}).update(annotations)
        return self

    def _resources(self) -> dict[str, Any]:
        resources: dict[str, Any] = self._config["linux"].setdefault("resources", {})
        return resources


def size_of(size: int | str, name: str) -> int:
    """Return a size in bytes: an int, or a number with K, M, G or T (powers of 1024).

    Raises:
        TypeError, ValueError: it is neither; the message has `name`.
    """
    if isinstance(size, int) and not isinstance(size, bool):
        number = size
    elif isinstance(size, str):
        digits = size.upper().removesuffix("IB").removesuffix("B")
        unit = digits[-1:] if digits[-1:] in UNITS else ""
        digits = digits.removesuffix(unit)
        if not digits.isdecimal():
            raise ValueError(f'{name} must be a number of bytes or one as "256M", not {size!r}')
        number = int(digits) * UNITS[unit]
    else:
        raise TypeError(f"{name} must be an int or a str, not {type(size).__name__}")
    if number < 1:
        raise ValueError(f"{name} must be more than 0, not {size!r}")
    return number


def _path(name: str, path: object) -> str:
    try:
        found = os.fspath(path)  # type: ignore[call-overload]  # whatever it is
    except TypeError:
        raise TypeError(f"{name} must be a path, not {type(path).__name__}") from None
    if not isinstance(found, str):
        raise TypeError(f"{name} must be a path of str, not bytes")
    if not found:
        raise ValueError(f"{name} must not be empty")
    return found


def mount_of(mount: Mapping[str, Any] | Mapped) -> dict[str, Any]:
    """Return the config.json mount entry for any of the forms that Spec.mounts takes.

    Raises:
        TypeError, ValueError: it has none of these forms.
    """
    if isinstance(mount, dict):
        return {**mount}
    if isinstance(mount, str):
        options = ["nosuid", "nodev", "mode=1777"]
        return {"destination": mount, "type": "tmpfs", "source": "tmpfs", "options": options}
    if not isinstance(mount, tuple) or len(mount) not in (2, 3):
        raise TypeError(f"a mount must be a dict, a path, or (source, destination), not {mount!r}")
    if not all(isinstance(word, str) for word in mount[1:]):
        raise TypeError(f"destination and options of a mount must be str, not {mount[1:]!r}")
    source = os.path.abspath(_path("the source of a mount", mount[0]))
    options = ["rbind", *(mount[2].split(",") if len(mount) == 3 else ())]
    return {"destination": mount[1], "type": "bind", "source": source, "options": options}
