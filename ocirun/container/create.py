"""Create a container: claim its id, make its cgroup and its init, bring that to its gate.

Source: runtime-spec runtime.md#lifecycle steps 1 to 6, runtime.md#create.
"""

from __future__ import annotations

import os

from ocirun.cgroups.choose import new_cgroup
from ocirun.cgroups.paths import UNIFIED
from ocirun.container.hooks import open_outputs, run_poststop
from ocirun.container.new_process import NewProcess
from ocirun.container.record import Record, write_config
from ocirun.container.request import is_rootless, make_request, name_of, own_hierarchies
from ocirun.container.status import CREATED, CREATING, STOPPED
from ocirun.container.store import check_id
from ocirun.container.syscalls import compile_filter
from ocirun.errors import InitDied, SetupError, UsageError, doing, warn
from ocirun.kernel.procstat import start_time
from ocirun.process.bind_sources import open_bind_sources, open_made_nodes
from ocirun.process.create_parent import CreateParent
from ocirun.process.gate import make_gate
from ocirun.process.plan import plan_create
from ocirun.process.refusals import refuse_unsupported
from ocirun.process.stdio import STDIO
from ocirun.security.executable import require_seal
from ocirun.spec import NETWORKS, OVERLAY
from ocirun.spec.devices import implied_rules
from ocirun.spec.load import check_document, load_config

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ocirun.container.options import CreateOptions
    from ocirun.container.store import Store
    from ocirun.network.sides import Sides
    from ocirun.process.foreground import Foreground
    from ocirun.process.given_stdio import GivenStdio
    from ocirun.process.hook_outputs import HookOutputs
    from ocirun.resctrl.group import ResctrlGroup
    from ocirun.spec.networks import Network


def create(
    store: Store,
    container_id: str,
    options: CreateOptions,
    foreground: Foreground | GivenStdio | None = None,
) -> Record:
    """Create a container that waits to be started; return its record, which the caller closes.

    `foreground` connects its terminal or its stdio with ours, where the caller stays.

    Raises:
        SpecError: config.json breaks a rule. ContainerExists: the id is taken.
        SetupError, InitError, HookError: a step failed; everything done was taken back.
    """
    if options.may_fork:
        require_seal()
    try:
        check_id(container_id)
        creation = _creation(store, container_id, options, foreground)
        try:
            creation.bring()
        except EngineWanted as wanted:
            options.engine = wanted.args[0]
            creation = _creation(store, container_id, options, foreground)
            creation.bring()
    except UsageError:
        from ocirun.container.first_faults import refuse_first  # cold

        refuse_first(store, container_id, options)
        raise
    creation.hand_over()
    return creation.record


def _creation(
    store: Store,
    container_id: str,
    options: CreateOptions,
    foreground: Foreground | GivenStdio | None,
) -> Creation:
    if options.engine in ("", "native"):
        creation = Creation(store, container_id, options, foreground)
        # A program with threads cannot fork the monitor of a machine.
        creation.may_choose_engine = options.may_fork and not options.engine
        return creation
    from ocirun.container.engine_create import EngineCreation  # cold

    return EngineCreation(store, container_id, options, foreground)


class EngineWanted(Exception):
    """The bundle is for another engine, its argument, and the caller has named none."""


class Creation(NewProcess):
    """One create in progress: its process is the container's init. Restore makes its own of it."""

    pidfd_payload = "standard"
    status = CREATING
    may_choose_engine = False
    options: CreateOptions  # type: ignore[mutable-override]  # set once, by __init__
    parent: CreateParent  # type: ignore[mutable-override]  # set once, by bring_in

    def __init__(
        self,
        store: Store,
        container_id: str,
        options: CreateOptions,
        foreground: Foreground | GivenStdio | None,
    ) -> None:
        super().__init__(options, foreground)
        self.store = store
        self.id = container_id
        self.hook_outputs: HookOutputs | None = None
        self.network: Sides | None = None
        self.networks: list[Network] = []
        self.has_run = False
        self.resctrl: ResctrlGroup | None = None

    def prepare(self) -> None:
        """Check everything, then compile the seccomp filter, or find it compiled already."""
        self.check()
        self.request.seccomp = compile_filter(self.config, self.store, self.options.tell)

    def bring_in(self) -> None:
        """Make the container and its init, and bring that to its gate."""
        self.claim_id()
        self._order_init()
        self.claim_cgroup()
        try:
            self.bring_to_gate()
        except InitDied as error:
            raise self._cause_of(error) from error

    def check(self) -> None:
        """Refuse what can be refused before anything is made."""
        options = self.options
        with doing(f"chdir {options.bundle}"):
            os.stat(options.bundle)
        if options.document is None:
            self.config = load_config(options.bundle, options.config)
        else:
            self.config = check_document(options.document, options.bundle)
        if "vm" in self.config and self.may_choose_engine:
            raise EngineWanted("vm")
        refuse_unsupported(self.config)
        if os.geteuid() != 0:
            from ocirun.process.rootless import check_rootless  # cold

            check_rootless(self.config)
        if options.notify_socket:
            from ocirun.container.sd_notify import check_notify  # cold: a service manager waits

            check_notify(self.config, options.notify_socket)
        if NETWORKS in self.config.get("annotations", ()):
            from ocirun.spec.networks import read_networks  # cold

            self.networks = read_networks(self.config)
        if OVERLAY in self.config.get("annotations", ()):
            from ocirun.spec.overlay import check_overlay  # cold

            check_overlay(self.config)
        self.request = make_request(self.config, self.id, options)
        self.undo.add("closing namespaces", self.request.namespaces.close)
        self.request.namespaces.open()
        if "intelRdt" in self.config.get("linux", {}):
            from ocirun.resctrl.group import ResctrlGroup

            self.resctrl = ResctrlGroup(self.id, self.config["linux"]["intelRdt"])
        if "user" in self.request.namespaces.paths:
            from ocirun.process.userns_maps import check_joined_maps  # cold

            check_joined_maps(self.config, self.request.namespaces.fds["user"])
        self.open_callers_ends()
        self.hook_outputs = open_outputs(self.config.get("annotations"))

    def claim_id(self) -> None:
        """Claim the id, and choose the cgroup."""
        self.record = Record(self.store.claim(self.id))
        self.undo.add("closing the record", self.record.close)
        self.undo.add("running poststop hooks", self._poststop)
        self.undo.add("removing the state", self._remove_folder)
        self.cgroup = new_cgroup(
            self.config.get("linux", {}).get("cgroupsPath"),
            self.id,
            self.options.cgroup_manager,
            rootless=is_rootless(self.options.rootless),
            annotations=self.config.get("annotations"),
        )

    def _order_init(self) -> None:
        """Have the library's helper clone init while we make the cgroup, if it is not born there.

        Until it is sent its configuration it does nothing, and ends if we do.
        """
        self.parent = CreateParent(self.config, self.request, self.options.tell)
        self.undo.add("closing the channel", self.parent.abandon)
        command = self.options.command
        if command and not self.parent.needs_stage(command) and UNIFIED not in self.cgroup.paths:
            self.parent.order(command)

    def claim_cgroup(self) -> None:
        """Record the container before anything of it runs, and make its cgroup."""
        linux = self.config.get("linux", {})
        self._remember()
        if self.options.notify_socket:
            from ocirun.container.sd_notify import give_notify

            # Order: not before the configuration is kept, which exec starts from.
            self.config = give_notify(self.config, self.record.directory)
        if names := [network.names for network in self.networks if network.names]:
            from ocirun.container.network_files import give_files  # cold

            self.config = give_files(self.config, names, self.record.directory)
        self.undo.add("removing the cgroup", self._remove_cgroup)
        self.cgroup.prepare(linux.get("resources") or {})
        self.record.cgroup_inode = self.cgroup.inode
        if self.cgroup.unit:
            from ocirun.container.delegation import delegate  # cold

            delegate(self.cgroup, self.config)
        if self.resctrl:
            self._make_resctrl(self.resctrl)
        self.request.hierarchies = self.cgroup.hierarchies() or own_hierarchies()

    def _make_resctrl(self, group: ResctrlGroup) -> None:
        """Make the class of service, and remember what of it goes with the container."""
        self.record.intel_rdt_path = group.path
        self.record.intel_rdt_monitoring = group.monitoring
        # Order: remembered before it is made, in case we die; corrected when init is remembered.
        self.record.intel_rdt_made = group.missing()
        self.record.write()
        self.undo.add("removing the resctrl group", group.undo)
        group.prepare()
        self.record.intel_rdt_made = group.made

    def _remember(self) -> None:
        record = self.record
        record.describe(self.config, self.request)
        record.cgroup_paths = self.cgroup.paths
        record.cgroup_manager = self.options.cgroup_manager
        record.systemd_unit = self.cgroup.unit
        if not self.request.terminal:
            record.external_descriptors = [name_of(fd) for fd in self.stdio.fds or STDIO]
        write_config(record.directory, self.config)
        record.write()

    def bring_to_gate(self) -> None:
        """Create init, and go through the protocol with it."""
        linux = self.config.get("linux", {})
        self.gate_fds = make_gate(self.record.directory.fd)
        self.fds += self.gate_fds
        self.parent.config = self.config
        self.register_parent()
        if self.options.may_fork or self.options.tell:
            # This also loads what a forked init will need.
            self.parent.plan = plan_create(self.config, self.request)
            self.tell_plan(self.parent.plan)
        # Init need not wait where we do nothing between two messages. Limits other than device
        # rules would hold it back. Order: before it makes devices, v1 denies all for a moment.
        hooks = {*self.record.hooks}
        ahead = not (linux.get("netDevices") or self.networks)
        limited = ahead and linux.get("resources", {}).keys() <= {"devices"}
        resumed = limited and not (self.resctrl or {"prestart", "createRuntime"} & hooks)
        self.parent.unattended = resumed and "createContainer" not in hooks
        self.spawn([*self.gate_fds])
        self.has_run = True
        if limited:
            self._apply()
        if ahead:
            self.parent.run_ahead()
        # While init assembles its root: remember it, in case we die.
        self.record.init_process_pid = self.parent.pid
        self.record.init_process_start = start_time(self.parent.pid) or 0
        self.record.write_init()
        # Order: hooks, those of init too, may look at the record and at the limits.
        if resumed:
            self.parent.resume_ahead()
        self.parent.wait_until_ready()
        if linux.get("netDevices") or self.networks:
            from ocirun.container.connect import connect, open_sides  # cold

            self.network = self.network or open_sides(self)
            connect(self, self.network)
        self.parent.assemble()
        # Order: before hooks, which may look at the limits.
        if not limited:
            self._apply()
        if self.resctrl:
            self.resctrl.apply()
        self.run_hooks("prestart")
        self.run_hooks("createRuntime")
        self.parent.enter(self.take_listener)

    def _apply(self) -> None:
        """Write the limits; the implied rules let init make devices afterwards, too."""
        self.cgroup.apply(
            self.config.get("linux", {}).get("resources") or {},
            userns=self.request.namespaces.has("user"),
            implied=implied_rules(self.config),
        )

    def sends_ahead(self) -> bool:
        """Return whether nothing is done with init before it has its configuration.

        Order: the maps of its user namespace are written before that, it is moved into its resctrl
        group, and networks of type user open its namespaces.
        """
        maps = "user" in self.request.namespaces.new
        return not (maps or self.resctrl or self.networks)

    def _cause_of(self, death: InitDied) -> SetupError:
        """Return why init died without a message: the cgroup counts OOM kills."""
        if not self.cgroup.oom_kills():
            return death
        return SetupError(
            "unable to start container process: container init was OOM-killed "
            "(memory limit too low?)"
        )

    def open_last_fds(self, ours: list[int]) -> list[int]:
        """Open the device nodes and sources that init binds, and where its hooks write."""
        sources = open_bind_sources(self.config, self.request)
        ours += sources.values()
        nodes = open_made_nodes(self.config, self.request)
        ours += nodes
        self.request.bind_sources = list(sources)
        outputs = self.hook_outputs.fds() if self.hook_outputs else {}
        self.request.hook_outputs = list(outputs)
        return [*nodes, *sources.values(), *outputs.values()]

    def join_resctrl(self) -> None:
        """Move init into its resctrl group."""
        if self.resctrl:
            self.resctrl.join(self.parent.pid)

    def open_namespaces(self) -> None:
        """Open what a network of type user needs, if there is one."""
        if any(network.type == "user" for network in self.networks):
            from ocirun.container.connect import open_sides  # cold

            self.network = open_sides(self)

    def run_hooks(self, moment: str) -> None:
        """Run the bundle's hooks of `moment` here, on the host."""
        if moment in self.record.hooks:
            from ocirun.process.hooks import run_hooks

            hooks = self.config["hooks"][moment]  # type: ignore[literal-required]
            # Spec: prestart comes from a time when `start` called it, with a created container.
            status = CREATED if moment == "prestart" else CREATING
            run_hooks(
                moment,
                hooks,
                self.record.state(status),
                os.environ,
                self._hooks_cwd(),
                outputs=self.hook_outputs,
                init_pidfd=self.init_pidfd(),
            )

    def init_pidfd(self) -> int:
        """Return init's pidfd (borrowed), whose end ends a hook; -1 where it is not known."""
        return self.parent.pidfd

    def _hooks_cwd(self) -> str | None:
        """Hooks run in the bundle; a program with threads must not change its directory."""
        return self.request.bundle if self.options.may_fork else None

    def hand_over(self) -> None:
        """Leave the container to others: the lock goes, its init's pidfd is the record's."""
        self.record.init_pidfd = self.parent.take_pidfd()
        self.record.directory.unlock()

    def close(self) -> None:
        """Close what init has its own copies of."""
        super().close()
        if self.hook_outputs:
            self.hook_outputs.close()
        if self.network:
            self.network.close()

    def _remove_cgroup(self) -> None:
        """Remove the cgroup, with what hooks have left in it where that outlives init."""
        if self.has_run and not self.record.private_pid:
            self.cgroup.kill_all()
        self.cgroup.undo()

    def _remove_folder(self) -> None:
        """Remove the folder, then the lock: a `delete` that waits for it finds nothing."""
        self.record.directory.remove()
        self.record.directory.unlock()

    def _poststop(self) -> None:
        if self.has_run and "poststop" in self.record.hooks:
            for failure in run_poststop(self.config, self.record.state(STOPPED), self._hooks_cwd()):
                warn(str(failure))
