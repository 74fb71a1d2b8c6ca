"""What each step of a plan does, in a sentence, with the section of runtime-spec that asks for it.

By function of ocirun/process/steps; a test checks that none is missing. A section is "" where the
specification leaves the matter to the runtime.

Source: config.md, config-linux.md, runtime.md; docs/how-a-container-starts.md.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_PROCESS: Final = "config.md#process"
_LINUX_PROCESS: Final = "config.md#linux-process"
_HOOKS: Final = "config.md#posix-platform-hooks"
_LIFECYCLE: Final = "runtime.md#lifecycle"
_NAMESPACES: Final = "config-linux.md#namespaces"

STEPS: Final = {
    "assemble:join_keyring": (
        "",
        "Joins a new session keyring, so that the container sees none of the caller's keys.",
    ),
    "assemble:unshare_ipc": (
        _NAMESPACES,
        (
            "Makes the IPC namespace as root of the user namespace, who then owns the root of "
            "its message queues."
        ),
    ),
    "assemble:unshare_cgroup": (
        _NAMESPACES,
        (
            "Makes a cgroup namespace: the cgroup that init is in becomes the root of what it "
            "sees of cgroups."
        ),
    ),
    "assemble:bring_up_loopback": (
        _NAMESPACES,
        "Sets lo up: a new network namespace has only this device, and it is down.",
    ),
    "assemble:open_root": (
        "config.md#root",
        "Opens the root directory; without a mount namespace nothing is mounted.",
    ),
    "assemble:set_propagation": (
        "config-linux.md#rootfs-mount-propagation",
        ("Changes how mounts propagate, so that no mount made from here on appears on the host."),
    ),
    "assemble:attach_root": (
        "config.md#root",
        "Makes the root directory a mount of its own: pivot_root accepts nothing else.",
    ),
    "assemble:cover_root": (
        "config.md#root",
        "Puts an overlay over the root; what the container writes goes there.",
    ),
    "assemble:mounting": (
        "config.md#mounts",
        (
            "Makes the mount detached, opens its destination inside of the root, and attaches it "
            "there by descriptor. No path can be exchanged in between."
        ),
    ),
    "assemble:make_devices": (
        "config-linux.md#default-devices",
        (
            "Makes /dev/null, /dev/zero, /dev/full, /dev/random, /dev/urandom, /dev/tty, and what "
            "the configuration adds. A container gets no other device node."
        ),
    ),
    "assemble:link_devices": (
        "runtime-linux.md#dev-symbolic-links",
        (
            "Makes /dev/fd, /dev/stdin, /dev/stdout and /dev/stderr, which lead to the process's "
            "own descriptors, and /dev/ptmx."
        ),
    ),
    "labels:open_procfs": (
        "config-linux.md#sysctl",
        (
            "Makes a detached procfs, through which settings are written: nothing in the "
            "container can cover it."
        ),
    ),
    "labels:label_keys": (_LINUX_PROCESS, "Has keys made with the SELinux label of the process."),
    "labels:label_no_keys": (_LINUX_PROCESS, "Leaves the labels of further keys to the policy."),
    "labels:set_apparmor_profile": (
        _LINUX_PROCESS,
        "Names the AppArmor profile that execve will switch to.",
    ),
    "labels:write_sysctls": (
        "config-linux.md#sysctl",
        "Writes linux.sysctl: kernel parameters that namespaces have of their own.",
    ),
    "labels:set_selinux_label": (
        _LINUX_PROCESS,
        "Names the SELinux label that execve will switch to.",
    ),
    "labels:close_procfs": ("", "Closes the private procfs; it shows what masked paths hide."),
    "affinity:set_initial": (
        _PROCESS,
        "Runs on the CPUs of execCPUAffinity.initial while the process is being moved.",
    ),
    "affinity:set_final": (_PROCESS, "Runs on the CPUs of execCPUAffinity.final."),
    "enter:create_container_hooks": (
        _HOOKS,
        (
            "Runs the createContainer hooks: in the container's namespaces, with the host's files "
            "still in sight."
        ),
    ),
    "enter:reopen_null": (
        "",
        (
            "Replaces the host's /dev/null among the standard streams by the container's: a "
            "descriptor of the host leads back into its file system."
        ),
    ),
    "enter:pivot_root": (
        "config.md#root",
        (
            "pivot_root makes the container's root the root of its mount namespace, and the old "
            "one is unmounted. From here on there is no path to the host's files."
        ),
    ),
    "enter:move_root": (
        "config.md#root",
        (
            "Moves the root's mount to / and changes into it, where pivot_root cannot be used (an "
            "initramfs)."
        ),
    ),
    "enter:chroot": (
        "config.md#root",
        ("Changes the root with chroot, because the container has no mount namespace of its own."),
    ),
    "enter:repropagate": (
        "config-linux.md#rootfs-mount-propagation",
        "Gives / the propagation that the configuration asks for.",
    ),
    "enter:make_cwd": (_PROCESS, "Makes the working directory if it is missing."),
    "enter:open_terminal": (_PROCESS, "Opens a pseudo-terminal of the container's own devpts."),
    "enter:bind_console": (_PROCESS, "Binds the terminal on /dev/console."),
    "enter:take_terminal": (
        _PROCESS,
        "Sends the terminal's master to the caller, and takes the slave as standard streams.",
    ),
    "enter:remount_readonly": (
        "config.md#mounts",
        "Makes mounts read-only that had to be writable until everything was in place.",
    ),
    "enter:readonly_root": ("config.md#root", "Makes / read-only."),
    "enter:set_hostname": ("config.md#hostname", "Sets the host name of the UTS namespace."),
    "enter:set_domainname": (
        "config.md#domainname",
        "Sets the domain name of the UTS namespace.",
    ),
    "enter:cover_readonly_paths": (
        "config-linux.md#readonly-paths",
        ("Binds each path over itself and makes that read-only: parts of /proc and /sys, mostly."),
    ),
    "enter:cover_masked_paths": (
        "config-linux.md#masked-paths",
        (
            "Covers files by /dev/null, and directories by an empty read-only tmpfs: parts of "
            "/proc and /sys that tell about the host."
        ),
    ),
    "enter:set_no_new_privs": (
        _PROCESS,
        (
            "Sets no_new_privs: no execve can raise privileges any more, so setuid programs have "
            "no effect."
        ),
    ),
    "enter:have_limits_raised": (
        "config.md#posix-process",
        "Asks the parent to raise hard limits; init may lower its own only.",
    ),
    "enter:set_umask": ("config.md#user", "Sets the umask of the program."),
    "enter:enter_cwd": (
        _PROCESS,
        "Enters the working directory, and checks that it lies inside of the root.",
    ),
    "enter:settle_environment": (
        _PROCESS,
        (
            "Builds the program's environment, with HOME from the container's /etc/passwd if it "
            "is not set."
        ),
    ),
    "enter:drop_bounding_set": (
        _LINUX_PROCESS,
        (
            "Drops capabilities from the bounding set: no program in the container can gain them "
            "again."
        ),
    ),
    "enter:become_user": (
        "config.md#user",
        "Switches to the user and the groups of the program.",
    ),
    "enter:set_capabilities": (
        _LINUX_PROCESS,
        (
            "Sets the capability sets of the program. What root may do is split into some forty "
            "capabilities; a container's root has few."
        ),
    ),
    "enter:set_capabilities_but_one": (
        _LINUX_PROCESS,
        "Sets the capability sets, but keeps CAP_SYS_ADMIN for loading the filter.",
    ),
    "enter:find_program": (_PROCESS, "Finds the program in PATH, as the user who is to run it."),
    "enter:outlive_parent": (
        _LIFECYCLE,
        "Until here init dies with the parent; from here on it outlives it.",
    ),
    "enter:reset_signals": (
        "",
        "Resets the signals that Python ignores; ignored signals stay ignored across execve.",
    ),
    "enter:end_on_signals": (
        "",
        (
            "Resets signals, and ends on those that end a process: the kernel does not deliver "
            "them to process 1 otherwise."
        ),
    ),
    "enter:set_limits": ("config.md#posix-process", "Sets the resource limits of the program."),
    "enter:give_up_sys_admin": (
        _LINUX_PROCESS,
        "Gives up the capability that loading the filter needed.",
    ),
    "join:join_namespaces": (
        _NAMESPACES,
        "setns with the pidfd of the container's init joins all its namespaces in one call.",
    ),
    "join:enter_root": (
        _NAMESPACES,
        "Enters the root of the container's init, where the container has no mount namespace.",
    ),
    "join:open_root": ("", "Opens the container's root, from which its paths are resolved."),
    "join:reset_affinity": (
        "",
        "Runs on every CPU of the container's cpuset, whatever the caller's affinity.",
    ),
    "join:drop_capabilities": (
        _LINUX_PROCESS,
        (
            "Drops capabilities that the remaining steps do not need, before the container can "
            "see the process."
        ),
    ),
    "join:drop_what_joining_took": (
        _LINUX_PROCESS,
        "Gives up what joining the cgroup namespace needed.",
    ),
    "landlock:make_ruleset": ("", "Makes a Landlock ruleset from the container's annotations."),
    "landlock:confine": ("", "Confines the process by the Landlock ruleset."),
    "scheduling:set_scheduler": (_LINUX_PROCESS, "Sets the scheduling policy."),
    "scheduling:set_io_priority": (_LINUX_PROCESS, "Sets the I/O priority."),
    "scheduling:set_personality": ("config-linux.md#personality", "Sets the execution domain."),
    "scheduling:set_memory_policy": (
        "config-linux.md#memory-policy",
        "Sets the NUMA memory policy.",
    ),
    "seccomp:allow_fetching": (
        "config-linux.md#seccomp",
        "Lets the parent fetch the descriptor of the filter.",
    ),
    "seccomp:load_seccomp": (
        "config-linux.md#seccomp",
        (
            "Loads the filter: the kernel runs this program at each system call and allows it, or "
            "fails it."
        ),
    ),
    "seccomp:forbid_fetching": ("", "Forbids tracing again."),
    "start:leave_descriptors": (
        "runtime-linux.md#file-descriptors",
        "Marks all descriptors but the standard streams to be closed by execve.",
    ),
    "start:start_container_hooks": (
        _HOOKS,
        "Runs the startContainer hooks, inside the container.",
    ),
    "start:exec_program": (
        "runtime.md#start",
        (
            "execve replaces init by the program of process.args. It keeps its pid, namespaces, "
            "cgroup and rights."
        ),
    ),
}
