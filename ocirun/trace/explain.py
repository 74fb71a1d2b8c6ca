"""What the parent and init do around the plan, what the messages say, what namespaces are.

EXPLAINED has (section of runtime-spec, sentence) by function, of the plan's steps too. A test
checks that none is missing; a section is "" where the specification leaves it to the runtime.

Source: config.md, config-linux.md, runtime.md; ARCHITECTURE.md#the-story.
"""

from __future__ import annotations

from ocirun.trace.explain_steps import STEPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

_HOOKS: Final = "config.md#posix-platform-hooks"
_LIFECYCLE: Final = "runtime.md#lifecycle"
_NAMESPACES: Final = "config-linux.md#namespaces"
_CGROUPS: Final = "config-linux.md#control-groups"

_SPANS: Final = {
    "container.create:Creation.prepare": (
        "runtime.md#create",
        "Reads config.json and refuses what is wrong, before anything is made.",
    ),
    "container.syscalls:compile_filter": (
        "config-linux.md#seccomp",
        "Compiles linux.seccomp to a BPF program, or finds it compiled already.",
    ),
    "container.create:Creation.claim_id": (
        "runtime.md#create",
        "Makes the state directory, whose name is the id.",
    ),
    "container.create:Creation.claim_cgroup": (
        "runtime.md#create",
        "Writes down what is to be made, then makes the cgroup.",
    ),
    "container.record:Record.write": (
        "runtime.md#state",
        "Writes what cannot be read from the kernel later: bundle, init's pid, the cgroup.",
    ),
    "container.new_process:NewProcess.spawn": (
        _NAMESPACES,
        (
            "clone3 makes a process in new namespaces and, on cgroup v2, in its cgroup. It is a "
            "copy of this one: no program is executed yet."
        ),
    ),
    "process.plan:plan_create": (
        "",
        (
            "Turns config.json into named steps. That imports every module they need; inside the "
            "container nothing is imported any more."
        ),
    ),
    "process.plan:plan_join": (
        "",
        "Turns the process and the container's config.json into named steps.",
    ),
    "process.create_parent:CreateParent.wait_until_ready": (
        "",
        "Waits until init has read its configuration and is in its cgroup.",
    ),
    "process.create_parent:CreateParent.assemble": (
        "",
        "Tells init to assemble the root, and waits for it.",
    ),
    "process.create_parent:CreateParent.enter": (
        "",
        (
            "Tells init to enter the root and to give up its rights, and waits until it is at the "
            "gate."
        ),
    ),
    "cgroups.cgroup:Cgroup.apply": (_CGROUPS, "Writes the limits into the files of the cgroup."),
    "process.hooks:run_hooks": (
        _HOOKS,
        ("Runs programs of the bundle at fixed moments; they get the container's state on stdin."),
    ),
    "process.hooks:_run": (_HOOKS, "One hook: it must exit with 0 within its timeout."),
    "process.userns_maps:write_id_maps": (
        "config-linux.md#user-namespace-mappings",
        (
            "Writes which users of the host the users of the container are. Only a process "
            "outside may do that for more than its own id."
        ),
    ),
    "container.new_process:NewProcess.publish": (
        "",
        "Writes the pid file and sends the pidfd, last of all: callers take them for success.",
    ),
    "container.start:pass_gate": (
        "runtime.md#start",
        ("Opens the gate at which init waits, and waits until execve has closed init's end of it."),
    ),
    "process.foreground:Foreground.connect": ("", "Connects the container's streams with ours."),
    "process.wait:wait_for": (
        "",
        (
            "The program runs. The command forwards signals and output, and waits for its exit "
            "status."
        ),
    ),
    "process.init:understand": (
        "",
        "Reads the configuration that the parent has sent, and makes the plan.",
    ),
    "process.seal:keep_only": (
        "",
        (
            "Closes every descriptor that init needs not: a leaked one would lead out of the "
            "container."
        ),
    ),
    "process.seal:seal_imports": (
        "",
        (
            "Empties Python's import system: an import inside of the container would run the "
            "image's code with the host's rights."
        ),
    ),
    "process.seal:forget_caller": (
        "",
        "Overwrites the caller's arguments and environment in memory.",
    ),
    "cgroups.enter:enter": (
        "config-linux.md#cgroups-path",
        "Moves init into its cgroups (v1). On cgroup v2 it was born there.",
    ),
    "process.namespaces:join_namespaces": (
        _NAMESPACES,
        "Joins existing namespaces that the configuration names by path.",
    ),
    "process.gate:wait_at_gate": (
        _LIFECYCLE,
        (
            "The container is created. Init waits until start writes to a FIFO in the state "
            "directory."
        ),
    ),
    "container.exec:Execution.prepare": (
        "",
        "Completes the process by the container's own configuration.",
    ),
    "process.exec_parent:ExecParent.look_at_init": (
        "",
        "Finds out which of init's namespaces are not ours.",
    ),
    "process.exec_parent:ExecParent.resume": (
        "",
        "Lets the process execute its program, and waits until that has happened.",
    ),
    "container.delete:destroy": ("runtime.md#delete", "Removes everything that create made."),
    "container.kill:kill_and_wait": (
        "runtime.md#kill",
        "Kills the container's processes and waits for their end.",
    ),
    "cgroups.cgroup:Cgroup.remove": ("runtime.md#delete", "Removes the cgroup."),
    "container.folder:Folder.remove": (
        "runtime.md#delete",
        "Removes the state directory; the id is free again.",
    ),
    "container.hooks:run_poststop": (_HOOKS, "Runs the poststop hooks."),
}

EXPLAINED: Final = {**{f"process.steps.{key}": what for key, what in STEPS.items()}, **_SPANS}

MESSAGES: Final = {
    "bootstrapData": "The namespaces that are to be joined, as descriptors.",
    "procStage": "The stage says its pid.",
    "procCloned": "The stage has cloned init, and sends init's pidfd.",
    "sendConfig": "config.json, the request of the command line, and all descriptors for init.",
    "procReady": "Init has read the configuration and is in its cgroup.",
    "procRun": "Init may assemble the root.",
    "procHooks": "The root is assembled; the parent applies limits and runs the host's hooks.",
    "procResume": "Init may enter the root.",
    "procLimits": "Init asks for higher limits than it may set itself.",
    "limitsRaised": "The parent has raised them.",
    "procSeccomp": "Init has loaded a filter that an agent decides for.",
    "listenerTaken": "The agent has the descriptor.",
    "procGate": "Nothing is left to decide: init waits for start.",
    "procWarning": "Something that was asked for is left out.",
    "procError": "A step has failed: what was attempted, on what, and the kernel's error.",
}

NAMESPACES: Final = {
    "cgroup": "what /proc and /sys/fs/cgroup show as the root of cgroups",
    "ipc": "System V shared memory, POSIX message queues",
    "mnt": "the mounts: what is seen at which path",
    "net": "devices, addresses, ports, firewall rules",
    "pid": "process numbers: the first process in a new one is 1",
    "time": "offsets of the clocks that count since boot",
    "user": "user and group numbers, and to whom capabilities belong",
    "uts": "host name and domain name",
}
