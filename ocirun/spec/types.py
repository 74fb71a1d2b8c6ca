"""config.json, state and features as the type checker knows them. Never imported when running.

Every member is optional unless it is in `Required`: documents are checked against schemas/ first,
so what is `Required` here is there. Names and nesting are the specification's.

Source: runtime-spec 1.3 config.md, config-linux.md, runtime.md#state, features.md.
"""

from __future__ import annotations

from typing import Literal, Required, TypedDict  # noqa: TID253  # only type checkers come here

Status = Literal["creating", "created", "running", "paused", "stopped"]
HookName = Literal[
    "prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"
]
CapabilitySet = Literal["bounding", "effective", "inheritable", "permitted", "ambient"]


class Root(TypedDict, total=False):
    """Where the container's files are."""

    path: Required[str]
    readonly: bool


class IDMapping(TypedDict):
    """One range of ids, inside and outside."""

    containerID: int
    hostID: int
    size: int


class Mount(TypedDict, total=False):
    """One entry of `mounts`."""

    destination: Required[str]
    type: str
    source: str
    options: list[str]
    uidMappings: list[IDMapping]
    gidMappings: list[IDMapping]


class Hook(TypedDict, total=False):
    """One program of a list of hooks; `timeout` in seconds."""

    path: Required[str]
    args: list[str]
    env: list[str]
    timeout: int


class Hooks(TypedDict, total=False):
    """The six moments."""

    prestart: list[Hook]
    createRuntime: list[Hook]
    createContainer: list[Hook]
    startContainer: list[Hook]
    poststart: list[Hook]
    poststop: list[Hook]


class ConsoleSize(TypedDict):
    """A terminal's size in characters."""

    height: int
    width: int


class User(TypedDict, total=False):
    """Ids inside the container; `umask` is a number, not octal text."""

    uid: int
    gid: int
    umask: int
    additionalGids: list[int]
    username: str


class Capabilities(TypedDict, total=False):
    """The five sets, as CAP_ names."""

    bounding: list[str]
    effective: list[str]
    inheritable: list[str]
    permitted: list[str]
    ambient: list[str]


class Rlimit(TypedDict):
    """One resource limit; 2⁶⁴−1 means unlimited."""

    type: str
    soft: int
    hard: int


class Scheduler(TypedDict, total=False):
    """Arguments of sched_setattr(2); times in nanoseconds."""

    policy: Required[str]
    nice: int
    priority: int
    flags: list[str]
    runtime: int
    deadline: int
    period: int


IoPriority = TypedDict("IoPriority", {"class": Required[str], "priority": int}, total=False)


class ExecCpuAffinity(TypedDict, total=False):
    """Lists of CPUs as cpuset(7) writes them."""

    initial: str
    final: str


class Process(TypedDict, total=False):
    """The program of a container, or of `exec --process`."""

    terminal: bool
    consoleSize: ConsoleSize
    user: User
    args: list[str]
    commandLine: str
    env: list[str]
    cwd: Required[str]
    capabilities: Capabilities
    noNewPrivileges: bool
    rlimits: list[Rlimit]
    oomScoreAdj: int
    apparmorProfile: str
    selinuxLabel: str
    scheduler: Scheduler
    ioPriority: IoPriority
    execCPUAffinity: ExecCpuAffinity


class Namespace(TypedDict, total=False):
    """A namespace to join, by path, or to make."""

    type: Required[str]
    path: str


class TimeOffset(TypedDict, total=False):
    """How far a clock is from the host's."""

    secs: int
    nanosecs: int


class Device(TypedDict, total=False):
    """A device node."""

    type: Required[str]
    path: Required[str]
    major: int
    minor: int
    fileMode: int
    uid: int
    gid: int


class NetDevice(TypedDict, total=False):
    """A network device to move; `name` is the one inside."""

    name: str


class DeviceRule(TypedDict, total=False):
    """One rule of `resources.devices`; no major or minor, or -1, is any."""

    allow: Required[bool]
    type: str
    major: int
    minor: int
    access: str


class Memory(TypedDict, total=False):
    """Bytes; -1 is no limit."""

    limit: int
    reservation: int
    swap: int
    kernel: int
    kernelTCP: int
    swappiness: int
    disableOOMKiller: bool
    useHierarchy: bool
    checkBeforeUpdate: bool


class Cpu(TypedDict, total=False):
    """Times in microseconds; `cpus` and `mems` are lists as cpuset(7) writes them."""

    shares: int
    quota: int
    burst: int
    period: int
    realtimeRuntime: int
    realtimePeriod: int
    cpus: str
    mems: str
    idle: int


class Pids(TypedDict, total=False):
    """Tasks; -1 is no limit. The limit is always there."""

    limit: int


class WeightDevice(TypedDict, total=False):
    """Weights of one block device."""

    major: Required[int]
    minor: Required[int]
    weight: int
    leafWeight: int


class ThrottleDevice(TypedDict, total=False):
    """A rate for one block device, in bytes or operations a second."""

    major: Required[int]
    minor: Required[int]
    rate: int


class BlockIO(TypedDict, total=False):
    """Block devices."""

    weight: int
    leafWeight: int
    weightDevice: list[WeightDevice]
    throttleReadBpsDevice: list[ThrottleDevice]
    throttleWriteBpsDevice: list[ThrottleDevice]
    throttleReadIOPSDevice: list[ThrottleDevice]
    throttleWriteIOPSDevice: list[ThrottleDevice]


class HugepageLimit(TypedDict):
    """Bytes of huge pages of one size, such as 2MB."""

    pageSize: str
    limit: int


class InterfacePriority(TypedDict):
    """A priority for one network interface."""

    name: str
    priority: int


class Network(TypedDict, total=False):
    """Marks on packets."""

    classID: int
    priorities: list[InterfacePriority]


class Rdma(TypedDict, total=False):
    """Limits of one RDMA device."""

    hcaHandles: int
    hcaObjects: int


class Resources(TypedDict, total=False):
    """What cgroups hold the container to."""

    devices: list[DeviceRule]
    memory: Memory
    cpu: Cpu
    pids: Pids
    blockIO: BlockIO
    hugepageLimits: list[HugepageLimit]
    network: Network
    rdma: dict[str, Rdma]
    unified: dict[str, str]


class SyscallArg(TypedDict, total=False):
    """A condition on one argument of a system call."""

    index: Required[int]
    value: Required[int]
    valueTwo: int
    op: Required[str]


class Syscall(TypedDict, total=False):
    """A rule of a seccomp filter."""

    names: Required[list[str]]
    action: Required[str]
    errnoRet: int
    args: list[SyscallArg]


class Seccomp(TypedDict, total=False):
    """A filter of system calls."""

    defaultAction: Required[str]
    defaultErrnoRet: int
    architectures: list[str]
    flags: list[str]
    listenerPath: str
    listenerMetadata: str
    syscalls: list[Syscall]


class IntelRdt(TypedDict, total=False):
    """Shares of cache and memory bandwidth."""

    closID: str
    schemata: list[str]
    l3CacheSchema: str
    memBwSchema: str
    enableMonitoring: bool


class MemoryPolicy(TypedDict, total=False):
    """Arguments of set_mempolicy(2)."""

    mode: Required[str]
    nodes: str
    flags: list[str]


class Personality(TypedDict, total=False):
    """Arguments of personality(2)."""

    domain: Required[str]
    flags: list[str]


class Linux(TypedDict, total=False):
    """The section `linux`."""

    namespaces: list[Namespace]
    uidMappings: list[IDMapping]
    gidMappings: list[IDMapping]
    timeOffsets: dict[str, TimeOffset]
    devices: list[Device]
    netDevices: dict[str, NetDevice]
    cgroupsPath: str
    resources: Resources
    rootfsPropagation: str
    seccomp: Seccomp
    sysctl: dict[str, str]
    maskedPaths: list[str]
    readonlyPaths: list[str]
    mountLabel: str
    intelRdt: IntelRdt
    memoryPolicy: MemoryPolicy
    personality: Personality


class Config(TypedDict, total=False):
    """config.json."""

    ociVersion: Required[str]
    root: Root
    process: Process
    hostname: str
    domainname: str
    mounts: list[Mount]
    hooks: Hooks
    annotations: dict[str, str]
    linux: Linux


class HookState(TypedDict, total=False):
    """The state as hooks read it on stdin."""

    ociVersion: Required[str]
    id: Required[str]
    status: Required[Status]
    pid: int
    bundle: Required[str]
    annotations: dict[str, str]


class State(HookState, total=False):
    """The state as `state` and `list` print it: runc's additions."""

    rootfs: str
    created: str
    owner: str


class Switch(TypedDict):
    """A feature that is there or not."""

    enabled: bool


class SeccompFeatures(TypedDict, total=False):
    """What seccomp filters may use."""

    enabled: Required[bool]
    actions: list[str]
    operators: list[str]
    archs: list[str]
    knownFlags: list[str]
    supportedFlags: list[str]


class CgroupFeatures(TypedDict):
    """Which cgroups can be used."""

    v1: bool
    v2: bool
    systemd: bool
    systemdUser: bool
    rdma: bool


class IntelRdtFeatures(TypedDict, total=False):
    """What of resctrl is known."""

    enabled: Required[bool]
    schemata: bool
    monitoring: bool


class MemoryPolicyFeatures(TypedDict):
    """What of set_mempolicy(2) is known."""

    modes: list[str]
    flags: list[str]


class MountExtensions(TypedDict):
    """Mounts beyond mount(8)."""

    idmap: Switch


class LinuxFeatures(TypedDict, total=False):
    """The section `linux` of features."""

    namespaces: list[str]
    capabilities: list[str]
    cgroup: CgroupFeatures
    seccomp: SeccompFeatures
    apparmor: Switch
    selinux: Switch
    intelRdt: IntelRdtFeatures
    memoryPolicy: MemoryPolicyFeatures
    mountExtensions: MountExtensions
    netDevices: Switch


class Features(TypedDict, total=False):
    """What `features` prints."""

    ociVersionMin: Required[str]
    ociVersionMax: Required[str]
    hooks: list[str]
    mountOptions: list[str]
    annotations: dict[str, str]
    potentiallyUnsafeConfigAnnotations: list[str]
    linux: LinuxFeatures
