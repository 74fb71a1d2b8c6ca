"""The functions of which a trace shows when they run, besides the steps of a plan.

    "module:function" or "module:Class.method", below ocirun: the name that is shown

They are what the parent does between the messages, and what init does before its plan begins. The
texts about them are in explain.py, by the same key.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SPANS: Final = {
    "container.create:Creation.prepare": "read and check config.json",
    "container.syscalls:compile_filter": "find or compile the seccomp filter",
    "container.create:Creation.claim_id": "claim the id",
    "container.create:Creation.claim_cgroup": "make the cgroup",
    "container.record:Record.write": "write state.json",
    "container.new_process:NewProcess.spawn": "clone init and send it its configuration",
    "process.plan:plan_create": "make the plan",
    "process.plan:plan_join": "make the plan",
    "process.create_parent:CreateParent.wait_until_ready": "wait until init is ready",
    "process.create_parent:CreateParent.assemble": "have init assemble the root",
    "process.create_parent:CreateParent.enter": "have init enter the root",
    "cgroups.cgroup:Cgroup.apply": "apply the limits",
    "process.hooks:run_hooks": "run hooks",
    "process.hooks:_run": "hook",
    "process.userns_maps:write_id_maps": "write the id maps",
    "container.new_process:NewProcess.publish": "write the pid file",
    "container.start:pass_gate": "open the gate",
    "process.foreground:Foreground.connect": "connect the terminal or the streams",
    "process.wait:wait_for": "wait for the program",
    "process.init:understand": "read the configuration",
    "process.seal:keep_only": "close descriptors",
    "process.seal:seal_imports": "seal the imports",
    "process.seal:forget_caller": "forget the caller's environment",
    "cgroups.enter:enter": "join the cgroup",
    "process.namespaces:join_namespaces": "join namespaces",
    "process.gate:wait_at_gate": "wait at the gate",
    "container.exec:Execution.prepare": "read the container's record, check the process",
    "process.exec_parent:ExecParent.look_at_init": "look at the container's init",
    "process.exec_parent:ExecParent.resume": "let the process begin",
    "container.delete:destroy": "delete the container",
    "container.kill:kill_and_wait": "kill the container and wait for its end",
    "cgroups.cgroup:Cgroup.remove": "remove the cgroup",
    "container.folder:Folder.remove": "remove the state directory",
    "container.hooks:run_poststop": "run poststop hooks",
}
# While these run, calls are not recorded: they copy data for as long as the program lives.
LONG: Final = "process.wait:wait_for"
# What the trace itself does meanwhile, before that.
FLUSH: Final = "write the trace so far"
