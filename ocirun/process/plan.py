"""Plan, then act: config.json becomes the list of named steps that init will run.

    assemble   procRun    → procHooks   the root, its mounts and devices, still outside of it
    enter      procResume → procGate    pivot_root, then give up every right
    start      the gate   → execve      the last hooks and the program

The parent makes the plan too, before the clone: that imports what the steps need (a forked init
shares those pages), and `--debug` prints it. Nothing is decided later than here.

Source: runtime-spec runtime.md#lifecycle; docs/runc-compat/init.md#order-of-init.
"""

from __future__ import annotations

from ocirun.process.steps import assemble, enter, start
from ocirun.rootfs.context import read_entries
from ocirun.rootfs.mounts import load_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ocirun.process.context import InitContext
    from ocirun.process.request import Request
    from ocirun.spec.types import Config

    Act = Callable[[InitContext], None]
    # Wanted, name, what to do, and the module it needs beyond those init always has.
    Row = tuple[Any, str, Act] | tuple[Any, str, Act, str] | tuple[Any, str, Act, str, str]
    Rows = list[Row]

PROCESS_SETTINGS = frozenset(("scheduler", "ioPriority"))
LINUX_SETTINGS = frozenset(("personality", "memoryPolicy"))


class Step:
    """One thing init does, and the words for it."""

    __slots__ = ("act", "name")

    def __init__(self, name: str, act: Act) -> None:
        self.name = name
        self.act = act


class Plan:
    """The three lists of steps."""

    __slots__ = ("assemble", "enter", "start")

    def __init__(self, assemble: Rows, enter: Rows, start: Rows) -> None:
        self.assemble = _present(assemble)
        self.enter = _present(enter)
        self.start = _present(start)

    def describe(self) -> list[str]:
        """Name each step with its phase, in order."""
        return [
            f"{phase}: {step.name}"
            for phase, steps in (
                ("assemble", self.assemble),
                ("enter", self.enter),
                ("start", self.start),
            )
            for step in steps
        ]


def plan_create(config: Config, request: Request) -> Plan:
    """Make the plan of a container's init."""
    return Plan(_assemble(config, request), _enter(config, request), _start(config))


def plan_join(config: Config, request: Request) -> Plan:
    """Make the plan of a process that joins a running container (exec).

    `config` is the container's, with the joining process in the place of its own. The stage acts
    out `assemble` before it enters anything, the process itself the rest.
    """
    outside_of_it: Rows = []
    if _writes_through_procfs(config, request):
        from ocirun.process.steps import labels

        # Order: before the namespaces are joined, in which no procfs is to be trusted.
        outside_of_it = [(True, "open a private procfs", labels.open_procfs)]
    final: Rows = []
    if "execCPUAffinity" in config["process"]:
        from ocirun.process.steps import affinity

        outside_of_it.append((True, "set the initial CPU affinity", affinity.set_initial))
        final = [(True, "set the final CPU affinity", affinity.set_final)]
    joining: Rows = [
        *final,
        *_keyring(config, request),
        (
            request.terminal,
            "open the terminal",
            enter.open_terminal,
            "ocirun.process.terminal",
            "ocirun.process.sockets",
        ),
        *_profile_and_sysctls(config, request),
        *_rights(config, request),
    ]
    return Plan(outside_of_it, joining, _become(config))


def _present(rows: Rows) -> list[Step]:
    """Keep the rows whose first column is true, and load the modules they need.

    Security: a step's own `from … import …` then finds its module loaded; after the seal it could
    not be loaded any more, least of all from inside the container.
    """
    steps = []
    for wanted, name, act, *modules in rows:
        if wanted:
            for module in modules:
                __import__(module)
            steps.append(Step(name, act))
    return steps


def _assemble(config: Config, request: Request) -> Rows:
    new = request.namespaces.new
    rows: Rows = [
        *_keyring(config, request),
        # Order: in the container's cgroup by now, so that it becomes the namespace's root.
        ("cgroup" in new, "unshare the cgroup namespace", assemble.unshare_cgroup),
        ("network" in new, "bring up lo", assemble.bring_up_loopback, "ocirun.network.loopback"),
    ]
    if not request.namespaces.has("mount"):
        return [*rows, (True, "open the root", assemble.open_root)]
    if config.get("linux", {}).get("rootfsPropagation") or request.no_pivot:
        import ocirun.kernel.mountinfo  # noqa: F401  # for attach_root, enter_root
    rows += [
        (True, "set the propagation of /", assemble.set_propagation),
        (True, f"bind the root {request.rootfs}", assemble.attach_root),
    ]
    entries = read_entries(config, request.bundle, request.rootfs)
    load_for(entries)
    for entry in entries:
        name = f"mount {entry.fs_name or 'bind'} on {entry.destination}"
        rows.append((True, name, assemble.mounting(entry)))
    rows += [
        (
            request.make_devices,
            "make devices",
            assemble.make_devices,
            "ocirun.rootfs.devices",
            "ocirun.spec.devices",
        ),
        (request.make_devices, "link devices", assemble.link_devices, "ocirun.rootfs.devices"),
    ]
    return rows


def _enter(config: Config, request: Request) -> Rows:
    linux = config.get("linux", {})
    process = config["process"]
    hooks = config.get("hooks") or {}
    mounts = request.namespaces.has("mount")
    return [
        (
            hooks.get("createContainer"),
            "run createContainer hooks",
            enter.create_container_hooks,
            "ocirun.process.hooks",
        ),
        (True, "enter the root", enter.enter_root),
        # Order: after the pivot; shared any earlier, our own unmounts would reach the host.
        (mounts, "set the propagation of the new /", enter.repropagate),
        (request.make_devices, "reopen /dev/null", enter.reopen_null),
        # Order: before the root may become read-only.
        (True, f"make the working directory {process['cwd']}", enter.make_cwd),
        (
            request.terminal,
            "open the terminal",
            enter.open_terminal,
            "ocirun.process.terminal",
            "ocirun.process.sockets",
        ),
        (
            mounts,
            "remount read-only what asked for it",
            enter.remount_readonly,
            "ocirun.rootfs.finalize",
        ),
        (config.get("hostname"), "set the hostname", enter.set_hostname),
        (config.get("domainname"), "set the domain name", enter.set_domainname),
        *_profile_and_sysctls(config, request),
        (linux.get("readonlyPaths"), "cover read-only paths", enter.cover_readonly_paths),
        (linux.get("maskedPaths"), "cover masked paths", enter.cover_masked_paths),
        *_rights(config, request),
    ]


def _rights(config: Config, request: Request) -> Rows:
    """Give up rights and settle what is left: the same for init and for who joins it."""
    process = config["process"]
    return [
        (process.get("noNewPrivileges"), "set no_new_privs", enter.set_no_new_privs),
        # Order: in the cgroup, whose cpuset counts; before CAP_SYS_NICE may be given up.
        *_settings(config),
        (
            process.get("rlimits"),
            "have hard limits raised",
            enter.have_limits_raised,
            "ocirun.process.rlimits",
        ),
        *_selinux_label(config, request),
        (True, "set the umask", enter.set_umask),
        (True, f"enter the working directory {process['cwd']}", enter.enter_cwd),
        (True, "settle the environment", enter.settle_environment),
        (True, "mark the descriptors to be closed", start.leave_descriptors),
        # Order: before CAP_SYS_ADMIN is given up, which loading needs here. From here on a call of
        # ours is one that the profile has to allow: what can be done before, is.
        *_seccomp(request, wanted=not process.get("noNewPrivileges")),
        (True, "become the user", enter.become_user, "ocirun.security.capabilities"),
        (True, f"find the program {process['args'][0]}", enter.find_program),
        (True, "outlive the parent", enter.outlive_parent),
        # Order: last, so that the profile has to allow as little as possible of our own calls.
        *_seccomp(request, wanted=bool(process.get("noNewPrivileges"))),
    ]


def _seccomp(request: Request, *, wanted: bool) -> Rows:
    if not request.seccomp:
        return []
    from ocirun.process.steps import seccomp

    return [(wanted, "load the seccomp filter", seccomp.load_seccomp)]


def _sysctls(config: Config, request: Request) -> bool:
    """Tell whether sysctls are to be written; they are the container's, set once."""
    return bool(config.get("linux", {}).get("sysctl")) and not request.joins


def _writes_through_procfs(config: Config, request: Request) -> bool:
    """Tell whether process/steps/labels.py is needed; it is loaded for those only."""
    process = config["process"]
    labels = process.get("apparmorProfile") or process.get("selinuxLabel")
    return bool(labels) or _sysctls(config, request)


def _keyring(config: Config, request: Request) -> Rows:
    rows: Rows = [
        (
            not request.no_new_keyring,
            "join the session keyring" if request.joins else "join a new session keyring",
            assemble.join_keyring,
            "ocirun.security.keyring",
        )
    ]
    if not _writes_through_procfs(config, request):
        return rows
    from ocirun.process.steps import labels

    return labels.around_keyring(rows, config, request)


def _profile_and_sysctls(config: Config, request: Request) -> Rows:
    if not _writes_through_procfs(config, request):
        return []
    from ocirun.process.steps import labels

    return labels.profile_and_sysctls(config, _sysctls(config, request))


def _selinux_label(config: Config, request: Request) -> Rows:
    if not _writes_through_procfs(config, request):
        return []
    from ocirun.process.steps import labels

    return labels.selinux_label(config)


def _settings(config: Config) -> Rows:
    """The settings few containers have; their module is loaded for those only."""
    linux, process = config.get("linux", {}), config["process"]
    if PROCESS_SETTINGS.isdisjoint(process) and LINUX_SETTINGS.isdisjoint(linux):
        return []
    from ocirun.process.steps import scheduling

    return scheduling.rows(config)


def _start(config: Config) -> Rows:
    hooks = config.get("hooks") or {}
    return [
        (
            hooks.get("startContainer"),
            "run startContainer hooks",
            start.start_container_hooks,
            "ocirun.process.hooks",
        ),
        *_become(config),
    ]


def _become(config: Config) -> Rows:
    """Become the program: nothing may follow."""
    return [
        (
            config["process"].get("rlimits"),
            "set resource limits",
            start.set_limits,
            "ocirun.process.rlimits",
        ),
        (True, "exec the program", start.exec_program),
    ]
