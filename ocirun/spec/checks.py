"""Whether a document has the shape that schemas/ describe.

Written by ocirun/_build/checks.py. Do not edit: change the schemas, then run
`python -m ocirun._build.checks`. A node is a tuple: the function that checks a value against it,
then what that function needs. No check raises. Nodes are data because a hundred functions would
take three times as long to load.
"""
# fmt: off
# ruff: noqa: SIM110  # a generator for each list of a document would double the time

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Node = tuple[Any, ...]  # (function, its arguments…): only the function knows what they are


def _string(value: object, _: Node) -> bool:
    return type(value) is str


def _strings(value: object, _: Node) -> bool:
    return type(value) is list and {*map(type, value)} <= {str}


def _boolean(value: object, _: Node) -> bool:
    return type(value) is bool


def _integer(value: object, node: Node) -> bool:
    _, least, most = node
    return type(value) is int and least <= value <= most


def _word(value: object, node: Node) -> bool:
    return type(value) is str and value in node[1]


def _text(value: object, node: Node) -> bool:
    """Match the whole text: each step takes from `least` to `most` letters that are `inside`."""
    if type(value) is not str:
        return False
    place = 0
    for letters, inside, least, most in node[1]:
        start = place
        while place < len(value) and place - start < most and (value[place] in letters) is inside:
            place += 1
        if place - start < least:
            return False
    return place == len(value)


def _list(value: object, node: Node) -> bool:
    _, item, least = node
    if type(value) is not list or len(value) < least:
        return False
    check = item[0]
    for one in value:
        if not check(one, item):
            return False
    return True


def _map(value: object, node: Node) -> bool:
    """Check every member, whatever its name."""
    if type(value) is not dict:
        return False
    member = node[1]
    check = member[0]
    for one in value.values():
        if not check(one, member):
            return False
    return True


def _known_as(name: str, members: dict[str, Node]) -> str:
    """Return the member that Go's reader takes `name` for, which is none of `members`; "" for none.

    U+017F and U+212A are the letters beyond ASCII that fold to "s" and "k".
    """
    folded = name.replace("ſ", "s").lower()
    for known in members:
        if known.lower() == folded:
            return known if known != name else ""
    return ""


def _object(value: object, node: Node) -> bool:
    """Check the members that are known; one in another case is refused, the others ignored."""
    if type(value) is not dict:
        return False
    _, members, required = node
    for name in value:
        if name in members:
            member = members[name]
            if not member[0](value[name], member):
                return False
        elif _known_as(name, members):
            return False
    for name in required:
        if name not in value:
            return False
    return True


STRING: Node = (_string,)
STRINGS: Node = (_strings,)
BOOLEAN: Node = (_boolean,)
ROOT: Node = (_object, {
    "path": STRING,
    "readonly": BOOLEAN,
}, ('path',))
UINT64: Node = (_integer, 0, 18446744073709551615)
CONSOLE_SIZE: Node = (_object, {
    "height": UINT64,
    "width": UINT64,
}, ('height', 'width'))
UINT32: Node = (_integer, 0, 4294967295)
ADDITIONAL_GIDS: Node = (_list, UINT32, 0)
USER: Node = (_object, {
    "uid": UINT32,
    "gid": UINT32,
    "umask": UINT32,
    "additionalGids": ADDITIONAL_GIDS,
    "username": STRING,
}, ())
CAPABILITIES: Node = (_object, {
    "bounding": STRINGS,
    "effective": STRINGS,
    "inheritable": STRINGS,
    "permitted": STRINGS,
    "ambient": STRINGS,
}, ())
TYPE: Node = (_word, frozenset(('RLIMIT_AS', 'RLIMIT_CORE', 'RLIMIT_CPU', 'RLIMIT_DATA', 'RLIMIT_FSIZE', 'RLIMIT_LOCKS', 'RLIMIT_MEMLOCK', 'RLIMIT_MSGQUEUE', 'RLIMIT_NICE', 'RLIMIT_NOFILE', 'RLIMIT_NPROC', 'RLIMIT_RSS', 'RLIMIT_RTPRIO', 'RLIMIT_RTTIME', 'RLIMIT_SIGPENDING', 'RLIMIT_STACK')))
RLIMITS_ITEM: Node = (_object, {
    "type": TYPE,
    "soft": UINT64,
    "hard": UINT64,
}, ('type', 'soft', 'hard'))
RLIMITS: Node = (_list, RLIMITS_ITEM, 0)
OOM_SCORE_ADJ: Node = (_integer, -1000, 1000)
POLICY: Node = (_word, frozenset(('SCHED_OTHER', 'SCHED_FIFO', 'SCHED_RR', 'SCHED_BATCH', 'SCHED_ISO', 'SCHED_IDLE', 'SCHED_DEADLINE')))
INT32: Node = (_integer, -2147483648, 2147483647)
FLAGS_ITEM: Node = (_word, frozenset(('SCHED_FLAG_RESET_ON_FORK', 'SCHED_FLAG_RECLAIM', 'SCHED_FLAG_DL_OVERRUN', 'SCHED_FLAG_KEEP_POLICY', 'SCHED_FLAG_KEEP_PARAMS', 'SCHED_FLAG_UTIL_CLAMP_MIN', 'SCHED_FLAG_UTIL_CLAMP_MAX')))
FLAGS: Node = (_list, FLAGS_ITEM, 0)
SCHEDULER: Node = (_object, {
    "policy": POLICY,
    "nice": INT32,
    "priority": INT32,
    "flags": FLAGS,
    "runtime": UINT64,
    "deadline": UINT64,
    "period": UINT64,
}, ('policy',))
CLASS: Node = (_word, frozenset(('IOPRIO_CLASS_RT', 'IOPRIO_CLASS_BE', 'IOPRIO_CLASS_IDLE')))
PRIORITY: Node = (_integer, 0, 7)
IO_PRIORITY: Node = (_object, {
    "class": CLASS,
    "priority": PRIORITY,
}, ('class',))
INITIAL: Node = (_text, (('0123456789, -', True, 0, 1073741824),))
EXEC_CPUAFFINITY: Node = (_object, {
    "initial": INITIAL,
    "final": INITIAL,
}, ())
PROCESS: Node = (_object, {
    "terminal": BOOLEAN,
    "consoleSize": CONSOLE_SIZE,
    "user": USER,
    "args": STRINGS,
    "commandLine": STRING,
    "env": STRINGS,
    "cwd": STRING,
    "capabilities": CAPABILITIES,
    "noNewPrivileges": BOOLEAN,
    "rlimits": RLIMITS,
    "oomScoreAdj": OOM_SCORE_ADJ,
    "apparmorProfile": STRING,
    "selinuxLabel": STRING,
    "scheduler": SCHEDULER,
    "ioPriority": IO_PRIORITY,
    "execCPUAffinity": EXEC_CPUAFFINITY,
}, ('cwd',))
UID_MAPPINGS_ITEM: Node = (_object, {
    "containerID": UINT32,
    "hostID": UINT32,
    "size": UINT32,
}, ('containerID', 'hostID', 'size'))
UID_MAPPINGS: Node = (_list, UID_MAPPINGS_ITEM, 0)
MOUNTS_ITEM: Node = (_object, {
    "destination": STRING,
    "type": STRING,
    "source": STRING,
    "options": STRINGS,
    "uidMappings": UID_MAPPINGS,
    "gidMappings": UID_MAPPINGS,
}, ('destination',))
MOUNTS: Node = (_list, MOUNTS_ITEM, 0)
TIMEOUT: Node = (_integer, 1, 9223372036)
PRESTART_ITEM: Node = (_object, {
    "path": STRING,
    "args": STRINGS,
    "env": STRINGS,
    "timeout": TIMEOUT,
}, ('path',))
PRESTART: Node = (_list, PRESTART_ITEM, 0)
HOOKS: Node = (_object, {
    "prestart": PRESTART,
    "createRuntime": PRESTART,
    "createContainer": PRESTART,
    "startContainer": PRESTART,
    "poststart": PRESTART,
    "poststop": PRESTART,
}, ())
STRING_MAP: Node = (_map, STRING)
NAMESPACE_TYPE: Node = (_word, frozenset(('pid', 'network', 'mount', 'ipc', 'uts', 'user', 'cgroup', 'time')))
NAMESPACES_ITEM: Node = (_object, {
    "type": NAMESPACE_TYPE,
    "path": STRING,
}, ('type',))
NAMESPACES: Node = (_list, NAMESPACES_ITEM, 0)
INT64: Node = (_integer, -9223372036854775808, 9223372036854775807)
NANOSECS: Node = (_integer, 0, 999999999)
TIME_OFFSETS_MEMBER: Node = (_object, {
    "secs": INT64,
    "nanosecs": NANOSECS,
}, ())
TIME_OFFSETS: Node = (_map, TIME_OFFSETS_MEMBER)
TYPE_2: Node = (_word, frozenset(('c', 'b', 'u', 'p')))
DEVICES_ITEM: Node = (_object, {
    "type": TYPE_2,
    "path": STRING,
    "major": INT64,
    "minor": INT64,
    "fileMode": UINT32,
    "uid": UINT32,
    "gid": UINT32,
}, ('type', 'path'))
DEVICES: Node = (_list, DEVICES_ITEM, 0)
NET_DEVICES_MEMBER: Node = (_object, {
    "name": STRING,
}, ())
NET_DEVICES: Node = (_map, NET_DEVICES_MEMBER)
TYPE_3: Node = (_word, frozenset(('', 'a', 'c', 'b')))
ACCESS: Node = (_text, (('rwm', True, 0, 1073741824),))
DEVICES_ITEM_2: Node = (_object, {
    "allow": BOOLEAN,
    "type": TYPE_3,
    "major": INT64,
    "minor": INT64,
    "access": ACCESS,
}, ('allow',))
DEVICES_2: Node = (_list, DEVICES_ITEM_2, 0)
SWAPPINESS: Node = (_integer, 0, 100)
MEMORY: Node = (_object, {
    "limit": INT64,
    "reservation": INT64,
    "swap": INT64,
    "kernel": INT64,
    "kernelTCP": INT64,
    "swappiness": SWAPPINESS,
    "disableOOMKiller": BOOLEAN,
    "useHierarchy": BOOLEAN,
    "checkBeforeUpdate": BOOLEAN,
}, ())
CPU: Node = (_object, {
    "shares": UINT64,
    "quota": INT64,
    "burst": UINT64,
    "period": UINT64,
    "realtimeRuntime": INT64,
    "realtimePeriod": UINT64,
    "cpus": STRING,
    "mems": STRING,
    "idle": INT64,
}, ())
PIDS: Node = (_object, {
    "limit": INT64,
}, ('limit',))
UINT16: Node = (_integer, 0, 65535)
WEIGHT_DEVICE_ITEM: Node = (_object, {
    "major": INT64,
    "minor": INT64,
    "weight": UINT16,
    "leafWeight": UINT16,
}, ('major', 'minor'))
WEIGHT_DEVICE: Node = (_list, WEIGHT_DEVICE_ITEM, 0)
THROTTLE_READ_BPS_DEVICE_ITEM: Node = (_object, {
    "major": INT64,
    "minor": INT64,
    "rate": UINT64,
}, ('major', 'minor'))
THROTTLE_READ_BPS_DEVICE: Node = (_list, THROTTLE_READ_BPS_DEVICE_ITEM, 0)
BLOCK_IO: Node = (_object, {
    "weight": UINT16,
    "leafWeight": UINT16,
    "weightDevice": WEIGHT_DEVICE,
    "throttleReadBpsDevice": THROTTLE_READ_BPS_DEVICE,
    "throttleWriteBpsDevice": THROTTLE_READ_BPS_DEVICE,
    "throttleReadIOPSDevice": THROTTLE_READ_BPS_DEVICE,
    "throttleWriteIOPSDevice": THROTTLE_READ_BPS_DEVICE,
}, ())
PAGE_SIZE: Node = (_text, (('123456789', True, 1, 1), ('0123456789', True, 0, 1073741824), ('KMG', True, 1, 1), ('B', True, 1, 1)))
HUGEPAGE_LIMITS_ITEM: Node = (_object, {
    "pageSize": PAGE_SIZE,
    "limit": UINT64,
}, ('pageSize', 'limit'))
HUGEPAGE_LIMITS: Node = (_list, HUGEPAGE_LIMITS_ITEM, 0)
PRIORITIES_ITEM: Node = (_object, {
    "name": STRING,
    "priority": UINT32,
}, ('name', 'priority'))
PRIORITIES: Node = (_list, PRIORITIES_ITEM, 0)
NETWORK: Node = (_object, {
    "classID": UINT32,
    "priorities": PRIORITIES,
}, ())
RDMA_MEMBER: Node = (_object, {
    "hcaHandles": UINT32,
    "hcaObjects": UINT32,
}, ())
RDMA: Node = (_map, RDMA_MEMBER)
RESOURCES: Node = (_object, {
    "devices": DEVICES_2,
    "memory": MEMORY,
    "cpu": CPU,
    "pids": PIDS,
    "blockIO": BLOCK_IO,
    "hugepageLimits": HUGEPAGE_LIMITS,
    "network": NETWORK,
    "rdma": RDMA,
    "unified": STRING_MAP,
}, ())
ROOTFS_PROPAGATION: Node = (_word, frozenset(('', 'private', 'rprivate', 'shared', 'rshared', 'slave', 'rslave', 'unbindable', 'runbindable')))
SECCOMP_ACTION: Node = (_word, frozenset(('SCMP_ACT_KILL', 'SCMP_ACT_KILL_PROCESS', 'SCMP_ACT_KILL_THREAD', 'SCMP_ACT_TRAP', 'SCMP_ACT_ERRNO', 'SCMP_ACT_TRACE', 'SCMP_ACT_ALLOW', 'SCMP_ACT_LOG', 'SCMP_ACT_NOTIFY')))
SECCOMP_ARCH: Node = (_word, frozenset(('SCMP_ARCH_X86', 'SCMP_ARCH_X86_64', 'SCMP_ARCH_X32', 'SCMP_ARCH_ARM', 'SCMP_ARCH_AARCH64', 'SCMP_ARCH_LOONGARCH64', 'SCMP_ARCH_M68K', 'SCMP_ARCH_MIPS', 'SCMP_ARCH_MIPS64', 'SCMP_ARCH_MIPS64N32', 'SCMP_ARCH_MIPSEL', 'SCMP_ARCH_MIPSEL64', 'SCMP_ARCH_MIPSEL64N32', 'SCMP_ARCH_PPC', 'SCMP_ARCH_PPC64', 'SCMP_ARCH_PPC64LE', 'SCMP_ARCH_S390', 'SCMP_ARCH_S390X', 'SCMP_ARCH_SH', 'SCMP_ARCH_SHEB', 'SCMP_ARCH_PARISC', 'SCMP_ARCH_PARISC64', 'SCMP_ARCH_RISCV64')))
ARCHITECTURES: Node = (_list, SECCOMP_ARCH, 0)
SECCOMP_FLAG: Node = (_word, frozenset(('SECCOMP_FILTER_FLAG_TSYNC', 'SECCOMP_FILTER_FLAG_LOG', 'SECCOMP_FILTER_FLAG_SPEC_ALLOW', 'SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV')))
FLAGS_2: Node = (_list, SECCOMP_FLAG, 0)
NAMES: Node = (_list, STRING, 1)
SECCOMP_OPERATOR: Node = (_word, frozenset(('SCMP_CMP_NE', 'SCMP_CMP_LT', 'SCMP_CMP_LE', 'SCMP_CMP_EQ', 'SCMP_CMP_GE', 'SCMP_CMP_GT', 'SCMP_CMP_MASKED_EQ')))
ARGS_ITEM: Node = (_object, {
    "index": UINT32,
    "value": UINT64,
    "valueTwo": UINT64,
    "op": SECCOMP_OPERATOR,
}, ('index', 'value', 'op'))
ARGS: Node = (_list, ARGS_ITEM, 0)
SYSCALLS_ITEM: Node = (_object, {
    "names": NAMES,
    "action": SECCOMP_ACTION,
    "errnoRet": UINT32,
    "args": ARGS,
}, ('names', 'action'))
SYSCALLS: Node = (_list, SYSCALLS_ITEM, 0)
SECCOMP: Node = (_object, {
    "defaultAction": SECCOMP_ACTION,
    "defaultErrnoRet": UINT32,
    "architectures": ARCHITECTURES,
    "flags": FLAGS_2,
    "listenerPath": STRING,
    "listenerMetadata": STRING,
    "syscalls": SYSCALLS,
}, ('defaultAction',))
MEM_BW_SCHEMA: Node = (_text, (('M', True, 1, 1), ('B', True, 1, 1), (':', True, 1, 1), ('\n', False, 0, 1073741824)))
INTEL_RDT: Node = (_object, {
    "closID": STRING,
    "schemata": STRINGS,
    "l3CacheSchema": STRING,
    "memBwSchema": MEM_BW_SCHEMA,
    "enableMonitoring": BOOLEAN,
}, ())
MEMORY_POLICY_MODE: Node = (_word, frozenset(('MPOL_DEFAULT', 'MPOL_BIND', 'MPOL_INTERLEAVE', 'MPOL_WEIGHTED_INTERLEAVE', 'MPOL_PREFERRED', 'MPOL_PREFERRED_MANY', 'MPOL_LOCAL')))
MEMORY_POLICY_FLAG: Node = (_word, frozenset(('MPOL_F_NUMA_BALANCING', 'MPOL_F_RELATIVE_NODES', 'MPOL_F_STATIC_NODES')))
FLAGS_3: Node = (_list, MEMORY_POLICY_FLAG, 0)
MEMORY_POLICY: Node = (_object, {
    "mode": MEMORY_POLICY_MODE,
    "nodes": INITIAL,
    "flags": FLAGS_3,
}, ('mode',))
DOMAIN: Node = (_word, frozenset(('LINUX', 'LINUX32')))
PERSONALITY: Node = (_object, {
    "domain": DOMAIN,
    "flags": STRINGS,
}, ('domain',))
LINUX: Node = (_object, {
    "namespaces": NAMESPACES,
    "uidMappings": UID_MAPPINGS,
    "gidMappings": UID_MAPPINGS,
    "timeOffsets": TIME_OFFSETS,
    "devices": DEVICES,
    "netDevices": NET_DEVICES,
    "cgroupsPath": STRING,
    "resources": RESOURCES,
    "rootfsPropagation": ROOTFS_PROPAGATION,
    "seccomp": SECCOMP,
    "sysctl": STRING_MAP,
    "maskedPaths": STRINGS,
    "readonlyPaths": STRINGS,
    "mountLabel": STRING,
    "intelRdt": INTEL_RDT,
    "memoryPolicy": MEMORY_POLICY,
    "personality": PERSONALITY,
}, ())
DEVICES_ITEM_3: Node = (_object, {
    "path": STRING,
    "mode": UINT32,
}, ('path',))
DEVICES_3: Node = (_list, DEVICES_ITEM_3, 0)
HOST: Node = (_word, frozenset(('new', 'inherit')))
IP4: Node = (_word, frozenset(('new', 'inherit', 'disable')))
JAIL: Node = (_object, {
    "host": HOST,
    "vnet": HOST,
    "ip4": IP4,
    "ip6": IP4,
    "sysvmsg": IP4,
    "sysvsem": IP4,
    "sysvshm": IP4,
}, ())
FREEBSD: Node = (_object, {
    "devices": DEVICES_3,
    "jail": JAIL,
}, ())
SOLARIS: Node = (_object, {
}, ())
CONFIG: Node = (_object, {
    "ociVersion": STRING,
    "root": ROOT,
    "process": PROCESS,
    "hostname": STRING,
    "domainname": STRING,
    "mounts": MOUNTS,
    "hooks": HOOKS,
    "annotations": STRING_MAP,
    "linux": LINUX,
    "freebsd": FREEBSD,
    "solaris": SOLARIS,
    "vm": SOLARIS,
    "windows": SOLARIS,
    "zos": SOLARIS,
}, ('ociVersion',))
TYPE_4: Node = (_word, frozenset(('loopback', 'veth', 'macvlan', 'user', 'cni')))
MTU: Node = (_integer, 68, 65535)
CONTEXT: Node = (_object, {
    "bridge": STRING,
    "prefix": STRING,
}, ())
HOST_2: Node = (_integer, 1, 65535)
PROTOCOL: Node = (_word, frozenset(('tcp', 'udp')))
PORTS_ITEM: Node = (_object, {
    "host": HOST_2,
    "container": HOST_2,
    "protocol": PROTOCOL,
    "address": STRING,
    "count": HOST_2,
}, ('host',))
PORTS: Node = (_list, PORTS_ITEM, 0)
DNS: Node = (_object, {
    "nameservers": STRINGS,
    "search": STRINGS,
    "options": STRINGS,
}, ())
HOSTS_ITEM: Node = (_object, {
    "address": STRING,
    "names": NAMES,
}, ('address', 'names'))
HOSTS: Node = (_list, HOSTS_ITEM, 0)
MODE: Node = (_word, frozenset(('bridge', 'private', 'vepa', 'passthru')))
NETWORK_2: Node = (_object, {
    "type": TYPE_4,
    "name": STRING,
    "device": STRING,
    "address": STRING,
    "addresses": STRINGS,
    "gateway": STRING,
    "gateways": STRINGS,
    "pools": STRINGS,
    "mtu": MTU,
    "context": CONTEXT,
    "bridge": STRING,
    "prefix": STRING,
    "masquerade": BOOLEAN,
    "ports": PORTS,
    "dns": DNS,
    "hosts": HOSTS,
    "parent": STRING,
    "mode": MODE,
}, ('type',))


def check_config(document: object) -> bool:
    """Return whether `document` conforms to schemas/config/config.json."""
    return _object(document, CONFIG)


def check_process(document: object) -> bool:
    """Return whether `document` conforms to schemas/config/process.json."""
    return _object(document, PROCESS)


def check_resources(document: object) -> bool:
    """Return whether `document` conforms to schemas/config/resources.json."""
    return _object(document, RESOURCES)


def check_network(document: object) -> bool:
    """Return whether `document` conforms to schemas/networks/network.json."""
    return _object(document, NETWORK_2)
