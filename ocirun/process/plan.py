"""Plan, then act: config.json becomes the list of named steps that init will run.

    assemble   procRun    → procHooks   the root, its mounts and devices, still outside of it
    enter      procResume → procGate    pivot_root, then give up every right
    start      the gate   → execve      the last hooks and the program

A process of exec has the phase `join` instead of a root to assemble: what its stage does on its way
into the container's namespaces, before the process itself can be seen in there (exec_child.py).

A parent that forks init makes the plan before the clone, which imports what the steps need, and
init takes it over; any other init makes its own. `--debug` prints it. Nothing is decided later than
here; step.py says how a row is read.

Source: runtime-spec runtime.md#lifecycle; docs/runc-compat/init.md#order-of-init.
"""

from __future__ import annotations

from ocirun.process.step import Step, steps_of
from ocirun.process.steps import assemble
from ocirun.rootfs.context import read_entries
from ocirun.rootfs.mounts import load_for
from ocirun.spec import OVERLAY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

    from ocirun.process.request import Request
    from ocirun.process.step import Rows
    from ocirun.spec.types import Config

MOUNTINFO: Final = "ocirun.kernel.mountinfo"  # rare: costs a module and a file of the kernel
PHASES: Final = ("assemble", "join", "enter", "start")
SECCOMP_FILTER_FLAG_NEW_LISTENER: Final = 1 << 3


class Plan:
    """The steps of each phase; a phase that there is not is empty."""

    __slots__ = PHASES

    def __init__(self, *, assemble: Rows, join: Rows, enter: Rows, start: Rows) -> None:
        self.assemble = steps_of(assemble)
        self.join = steps_of(join)
        self.enter = steps_of(enter)
        self.start = steps_of(start)

    def describe(self) -> list[str]:
        """Return a line for each step, with its phase, in order."""
        return [f"{phase}: {step.name}" for phase in PHASES for step in getattr(self, phase)]


def plan_create(config: Config, request: Request) -> Plan:
    """Return the plan of a container's init."""
    return Plan(
        assemble=_assemble(config, request),
        join=[],
        enter=_enter(config, request),
        start=_start(config),
    )


def plan_join(config: Config, request: Request) -> Plan:
    """Return the plan of a process that joins a running container (exec).

    `config` is the container's, with the joining process instead of its own.
    """
    return Plan(
        assemble=_before_joining(config),
        join=_join(config, request),
        enter=_joined(config, request),
        start=[(True, "exec the program", "start:exec_program")],
    )


def _assemble(config: Config, request: Request) -> Rows:
    new, process = request.namespaces.new, config["process"]
    has_mounts = request.namespaces.has("mount")
    keyring = not request.no_new_keyring
    label = keyring and process.get("selinuxLabel")
    devices = request.make_devices and has_mounts
    return [
        (_uses_procfs(config, request), "open a private procfs", "labels:open_procfs"),
        (label, "label keys", "labels:label_keys", "ocirun.security.selinux"),
        (
            keyring,
            "join a new session keyring",
            "assemble:join_keyring",
            "ocirun.security.keyring",
        ),
        (label, "label no more keys", "labels:label_no_keys"),
        (request.namespaces.unshares_ipc, "unshare the IPC namespace", "assemble:unshare_ipc"),
        # Order: in the container's cgroup by now, so that it becomes the namespace's root.
        ("cgroup" in new, "unshare the cgroup namespace", "assemble:unshare_cgroup"),
        (
            "network" in new,
            "bring up lo",
            "assemble:bring_up_loopback",
            "ocirun.network.loopback",
        ),
        (not has_mounts, f"open the root {request.rootfs}", "assemble:open_root"),
        (has_mounts, "set the propagation of /", "assemble:set_propagation"),
        (
            has_mounts,
            f"bind the root {request.rootfs}",
            "assemble:attach_root",
            *((MOUNTINFO,) if config.get("linux", {}).get("rootfsPropagation") else ()),
        ),
        (
            OVERLAY in config.get("annotations", ()),
            "cover the root by an overlay",
            "assemble:cover_root",
            "ocirun.rootfs.overlay",
        ),
        *(_mounts(config, request) if has_mounts else ()),
        (
            devices,
            "make devices",
            "assemble:make_devices",
            "ocirun.rootfs.devices",
            "ocirun.spec.devices",
            *(("ocirun.process.made_nodes",) if request.made_nodes else ()),
        ),
        (devices, "link devices", "assemble:link_devices"),
    ]


def _mounts(config: Config, request: Request) -> list[Step]:
    entries = read_entries(config, request.bundle, request.rootfs)
    load_for(entries)
    return [
        Step(f"mount {entry.fs_name or 'bind'} on {entry.destination}", assemble.mounting(entry))
        for entry in entries
    ]


def _enter(config: Config, request: Request) -> Rows:
    linux = config.get("linux", {})
    process = config["process"]
    hooks = config.get("hooks") or {}
    mounts = request.namespaces.has("mount")
    propagation = linux.get("rootfsPropagation")
    return [
        (
            hooks.get("createContainer"),
            "run createContainer hooks",
            "enter:create_container_hooks",
            "ocirun.process.hooks",
        ),
        (request.make_devices, "reopen /dev/null", "enter:reopen_null"),
        (mounts and not request.no_pivot, "enter the root by pivot_root", "enter:pivot_root"),
        (
            mounts and request.no_pivot,
            "enter the root by moving it to /",
            "enter:move_root",
            MOUNTINFO,
        ),
        (not mounts, "enter the root by chroot", "enter:chroot"),
        # Order: after the pivot; shared any earlier, our own unmounts would reach the host.
        (
            mounts,
            f"set the propagation of the new / {propagation or ''}".rstrip(),
            "enter:repropagate",
        ),
        # Order: before the root may become read-only.
        (True, f"make the working directory {process['cwd']}", "enter:make_cwd"),
        (
            request.terminal,
            "open the terminal",
            "enter:open_terminal",
            "ocirun.process.terminal",
            "ocirun.process.sockets",
        ),
        (request.terminal and mounts, "bind the terminal on /dev/console", "enter:bind_console"),
        (request.terminal, "send the terminal and take it as stdio", "enter:take_terminal"),
        (
            mounts,
            "remount read-only what asked for it",
            "enter:remount_readonly",
            "ocirun.rootfs.finalize",
        ),
        (mounts and config["root"].get("readonly"), "make / read-only", "enter:readonly_root"),
        (config.get("hostname"), "set the hostname", "enter:set_hostname"),
        (config.get("domainname"), "set the domain name", "enter:set_domainname"),
        *_profile(config),
        (
            linux.get("sysctl"),
            "write sysctls",
            "labels:write_sysctls",
            "ocirun.security.sysctl",
        ),
        (linux.get("readonlyPaths"), "cover read-only paths", "enter:cover_readonly_paths"),
        (linux.get("maskedPaths"), "cover masked paths", "enter:cover_masked_paths"),
        *_ruleset(request),
        (process.get("noNewPrivileges"), "set no_new_privs", "enter:set_no_new_privs"),
        # Order: in the cgroup, whose cpuset counts; before CAP_SYS_NICE may be given up.
        *_scheduling(config),
        *_limits_to_raise(config),
        *_label(config, procfs=_uses_procfs(config, request)),
        (True, "set the umask", "enter:set_umask"),
        (True, f"enter the working directory {process['cwd']}", "enter:enter_cwd"),
        *_rights(config, request),
    ]


def _before_joining(config: Config) -> Rows:
    """Return what a stage of exec does while every path is still the host's."""
    process = config["process"]
    return [
        (_has_labels(config), "open a private procfs", "labels:open_procfs"),
        ("execCPUAffinity" in process, "set the initial CPU affinity", "affinity:set_initial"),
    ]


def _join(config: Config, request: Request) -> Rows:
    """Return what a stage of exec does on its way in, before it is visible there."""
    process = config["process"]
    userns = request.namespaces.has("user")
    return [
        (request.join_flags, "join the namespaces of init", "join:join_namespaces"),
        # Security: without a mount namespace of its own, its root is all that the container has.
        (request.root_sent, "enter the root of init", "join:enter_root"),
        (True, "open the root", "join:open_root"),
        *_ruleset(request),
        # Order: the private procfs shows the host's processes, and must be gone before the clone.
        *_profile(config),
        *_label(config, procfs=_has_labels(config)),
        # Security: not in a user namespace, in which we have become nobody yet.
        (not userns, f"enter the working directory {process['cwd']}", "enter:enter_cwd"),
        (
            True,
            "drop capabilities that are needed no more",
            "join:drop_capabilities",
            "ocirun.security.capabilities",
        ),
    ]


def _joined(config: Config, request: Request) -> Rows:
    """Return what a process of exec does itself, inside the container."""
    process = config["process"]
    userns = request.namespaces.has("user")
    return [
        (
            request.cgroup_namespace and not userns,
            "give up what joining the cgroup namespace took",
            "join:drop_what_joining_took",
        ),
        # Order: in the cgroup, whose cpuset counts.
        ("execCPUAffinity" in process, "set the final CPU affinity", "affinity:set_final"),
        ("execCPUAffinity" not in process, "reset the CPU affinity", "join:reset_affinity"),
        (
            not request.no_new_keyring,
            "join the session keyring",
            "assemble:join_keyring",
            "ocirun.security.keyring",
        ),
        (
            request.terminal,
            "open the terminal",
            "enter:open_terminal",
            "ocirun.process.terminal",
            "ocirun.process.sockets",
        ),
        (request.terminal, "send the terminal and take it as stdio", "enter:take_terminal"),
        (process.get("noNewPrivileges"), "set no_new_privs", "enter:set_no_new_privs"),
        *_scheduling(config),
        *_limits_to_raise(config),
        (True, "set the umask", "enter:set_umask"),
        (
            request.namespaces.has("user"),
            f"enter the working directory {process['cwd']}",
            "enter:enter_cwd",
        ),
        *_rights(config, request),
    ]


def _rights(config: Config, request: Request) -> Rows:
    """Settle what is left and drop privileges: the same for init and for a process of exec.

    Order: whatever can be done before the filter is loaded is: from then on a call of ours is one
    that the profile has to allow. What follows it here is what peers need as well.
    """
    process = config["process"]
    filtered = request.seccomp
    # Kernel: without no_new_privs, a filter and Landlock need CAP_SYS_ADMIN.
    keeps_admin = (filtered or request.landlock) and not process.get("noNewPrivileges")
    new = request.namespaces.new
    # Kernel: to fetch a descriptor is to trace, which a parent that is no root of the host's may
    # do to a process that is dumpable.
    # Security: nobody else sees us in a pid namespace that is new and our own (CVE-2016-9962).
    fetched = (
        filtered
        and filtered["flags"] & SECCOMP_FILTER_FLAG_NEW_LISTENER
        and "user" in new
        and "pid" in new
        and not request.joins
    )
    ends = "pid" in new and not request.joins
    return [
        (True, "settle the environment", "enter:settle_environment"),
        (True, "mark the descriptors to be closed", "start:leave_descriptors"),
        (
            not request.joins,
            "drop the bounding set",
            "enter:drop_bounding_set",
            "ocirun.security.capabilities",
        ),
        (True, "become the user", "enter:become_user", "ocirun.security.capabilities"),
        (not keeps_admin, "set capabilities", "enter:set_capabilities"),
        (keeps_admin, "set capabilities and keep CAP_SYS_ADMIN", "enter:set_capabilities_but_one"),
        (True, f"find the program {process['args'][0]}", "enter:find_program"),
        (True, "outlive the parent", "enter:outlive_parent"),
        (not ends, "reset signals", "enter:reset_signals"),
        # Kernel: a signal of default disposition does not reach process 1.
        (ends, "reset signals, and end on each that ends a process", "enter:end_on_signals"),
        (
            process.get("rlimits"),
            "set resource limits",
            "enter:set_limits",
            "ocirun.process.rlimits",
        ),
        # Order: before the filter, which need not allow it.
        (request.landlock, "confine with Landlock", "landlock:confine"),
        (fetched, "let the parent fetch the listener", "seccomp:allow_fetching"),
        # wait_at_gate may need select.
        (filtered, "load the seccomp filter", "seccomp:load_seccomp", "select"),
        (fetched, "be untraceable again", "seccomp:forbid_fetching"),
        (keeps_admin, "give up CAP_SYS_ADMIN", "enter:give_up_sys_admin"),
    ]


def _ruleset(request: Request) -> Rows:
    """Order: when everything is mounted, and before rights are given up that paths need."""
    return [(request.landlock, "make the Landlock ruleset", "landlock:make_ruleset")]


def _profile(config: Config) -> Rows:
    """Order: before no_new_privs, under which a profile can only get stricter."""
    profile = config["process"].get("apparmorProfile")
    name = f"set the AppArmor profile {profile}"
    return [(profile, name, "labels:set_apparmor_profile", "ocirun.security.apparmor")]


def _label(config: Config, *, procfs: bool) -> Rows:
    """Order: the last that is written through the private procfs."""
    label = config["process"].get("selinuxLabel")
    name = f"set the SELinux label {label}"
    return [
        (label, name, "labels:set_selinux_label", "ocirun.security.selinux"),
        (procfs, "close the private procfs", "labels:close_procfs"),
    ]


def _scheduling(config: Config) -> Rows:
    """The settings that few containers have."""
    linux, process = config.get("linux", {}), config["process"]
    return [
        ("scheduler" in process, "set the scheduling policy", "scheduling:set_scheduler"),
        ("ioPriority" in process, "set the I/O priority", "scheduling:set_io_priority"),
        ("personality" in linux, "set the personality", "scheduling:set_personality"),
        ("memoryPolicy" in linux, "set the memory policy", "scheduling:set_memory_policy"),
    ]


def _limits_to_raise(config: Config) -> Rows:
    return [
        (
            config["process"].get("rlimits"),
            "have hard limits raised",
            "enter:have_limits_raised",
            "ocirun.process.rlimits",
        )
    ]


def _has_labels(config: Config) -> bool:
    process = config["process"]
    return bool(process.get("apparmorProfile") or process.get("selinuxLabel"))


def _uses_procfs(config: Config, request: Request) -> bool:
    """Return whether init writes through a private procfs: labels, or sysctls (set once)."""
    sysctls = config.get("linux", {}).get("sysctl") and not request.joins
    return bool(sysctls) or _has_labels(config)


def _start(config: Config) -> Rows:
    hooks = config.get("hooks") or {}
    return [
        (
            hooks.get("startContainer"),
            "run startContainer hooks",
            "start:start_container_hooks",
            "ocirun.process.hooks",
        ),
        (True, "exec the program", "start:exec_program"),
    ]
