"""The messages of the Kubernetes CRI, version runtime.v1, as far as the tests need them.

protobuf knows fields by number, so a message can be declared with some of its fields: those that
are set here, and those that are looked at. The descriptors are built from the tables below when
the module is loaded; there is no .proto file and no compiler.

Source: kubernetes/cri-api pkg/apis/runtime/v1/api.proto (names, numbers and types of the fields).
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "runtime.v1"

# message → "field:number:type", where a type is protobuf's own or one of the messages; an enum is
# an int32 on the wire, and a star says that the field is repeated.
MESSAGES: dict[str, str] = {
    "VersionRequest": "",
    "VersionResponse": "runtime_name:2:string runtime_version:3:string",
    "StatusRequest": "",
    "RuntimeCondition": "type:1:string status:2:bool reason:3:string message:4:string",
    "RuntimeStatus": "conditions:1:RuntimeCondition*",
    "StatusResponse": "status:1:RuntimeStatus",
    "Int64Value": "value:1:int64",
    "UInt64Value": "value:1:uint64",
    "KeyValue": "key:1:string value:2:string",
    "ImageSpec": "image:1:string user_specified_image:18:string",
    "NamespaceOption": "network:1:int32 pid:2:int32 ipc:3:int32 target_id:4:string",
    "SecurityProfile": "profile_type:1:int32 localhost_ref:2:string",
    "PortMapping": "protocol:1:int32 container_port:2:int32 host_port:3:int32",
    "LinuxSandboxSecurityContext": "namespace_options:1:NamespaceOption privileged:6:bool",
    "LinuxPodSandboxConfig": "cgroup_parent:1:string "
    "security_context:2:LinuxSandboxSecurityContext",
    "PodSandboxMetadata": "name:1:string uid:2:string namespace:3:string attempt:4:uint32",
    "PodSandboxConfig": "metadata:1:PodSandboxMetadata hostname:2:string log_directory:3:string "
    "port_mappings:5:PortMapping* linux:8:LinuxPodSandboxConfig",
    "RunPodSandboxRequest": "config:1:PodSandboxConfig runtime_handler:2:string",
    "RunPodSandboxResponse": "pod_sandbox_id:1:string",
    "StopPodSandboxRequest": "pod_sandbox_id:1:string",
    "StopPodSandboxResponse": "",
    "RemovePodSandboxRequest": "pod_sandbox_id:1:string",
    "RemovePodSandboxResponse": "",
    "PodSandboxStatusRequest": "pod_sandbox_id:1:string",
    "PodSandboxNetworkStatus": "ip:1:string",
    "PodSandboxStatus": "id:1:string state:3:int32 network:5:PodSandboxNetworkStatus "
    "runtime_handler:9:string",
    "PodSandboxStatusResponse": "status:1:PodSandboxStatus",
    "PodSandbox": "id:1:string metadata:2:PodSandboxMetadata state:3:int32",
    "ListPodSandboxRequest": "",
    "ListPodSandboxResponse": "items:1:PodSandbox*",
    "LinuxContainerResources": "cpu_period:1:int64 cpu_quota:2:int64 cpu_shares:3:int64 "
    "memory_limit_in_bytes:4:int64 oom_score_adj:5:int64 cpuset_cpus:6:string",
    "Capability": "add_capabilities:1:string* drop_capabilities:2:string*",
    "LinuxContainerSecurityContext": "capabilities:1:Capability privileged:2:bool "
    "namespace_options:3:NamespaceOption run_as_user:5:Int64Value readonly_rootfs:7:bool "
    "supplemental_groups:8:int64* no_new_privs:11:bool run_as_group:12:Int64Value "
    "masked_paths:13:string* readonly_paths:14:string* seccomp:15:SecurityProfile",
    "LinuxContainerConfig": "resources:1:LinuxContainerResources "
    "security_context:2:LinuxContainerSecurityContext",
    "ContainerMetadata": "name:1:string attempt:2:uint32",
    "Mount": "container_path:1:string host_path:2:string readonly:3:bool propagation:5:int32",
    "Device": "container_path:1:string host_path:2:string permissions:3:string",
    "ContainerConfig": "metadata:1:ContainerMetadata image:2:ImageSpec command:3:string* "
    "args:4:string* working_dir:5:string envs:6:KeyValue* mounts:7:Mount* devices:8:Device* "
    "log_path:11:string stdin:12:bool stdin_once:13:bool tty:14:bool linux:15:LinuxContainerConfig",
    "CreateContainerRequest": "pod_sandbox_id:1:string config:2:ContainerConfig "
    "sandbox_config:3:PodSandboxConfig",
    "CreateContainerResponse": "container_id:1:string",
    "StartContainerRequest": "container_id:1:string",
    "StartContainerResponse": "",
    "StopContainerRequest": "container_id:1:string timeout:2:int64",
    "StopContainerResponse": "",
    "RemoveContainerRequest": "container_id:1:string",
    "RemoveContainerResponse": "",
    "Container": "id:1:string pod_sandbox_id:2:string state:6:int32 created_at:7:int64",
    "ListContainersRequest": "",
    "ListContainersResponse": "containers:1:Container*",
    "ContainerStatusRequest": "container_id:1:string",
    "ContainerStatus": "id:1:string state:3:int32 exit_code:7:int32 reason:10:string "
    "message:11:string log_path:15:string",
    "ContainerStatusResponse": "status:1:ContainerStatus",
    "UpdateContainerResourcesRequest": "container_id:1:string linux:2:LinuxContainerResources",
    "UpdateContainerResourcesResponse": "",
    "ExecSyncRequest": "container_id:1:string cmd:2:string* timeout:3:int64",
    "ExecSyncResponse": "stdout:1:bytes stderr:2:bytes exit_code:3:int32",
    "ExecRequest": "container_id:1:string cmd:2:string* tty:3:bool stdin:4:bool stdout:5:bool "
    "stderr:6:bool",
    "ExecResponse": "url:1:string",
    "AttachRequest": "container_id:1:string stdin:2:bool tty:3:bool stdout:4:bool stderr:5:bool",
    "AttachResponse": "url:1:string",
    "PortForwardRequest": "pod_sandbox_id:1:string port:2:int32*",
    "PortForwardResponse": "url:1:string",
    "CpuUsage": "timestamp:1:int64 usage_core_nano_seconds:2:UInt64Value",
    "MemoryUsage": "timestamp:1:int64 working_set_bytes:2:UInt64Value",
    "ContainerAttributes": "id:1:string",
    "ContainerStats": "attributes:1:ContainerAttributes cpu:2:CpuUsage memory:3:MemoryUsage",
    "ContainerStatsRequest": "container_id:1:string",
    "ContainerStatsResponse": "stats:1:ContainerStats",
    "ReopenContainerLogRequest": "container_id:1:string",
    "ReopenContainerLogResponse": "",
}

_Field = descriptor_pb2.FieldDescriptorProto


def _build() -> dict[str, Any]:
    file = descriptor_pb2.FileDescriptorProto(name="cri.proto", package=PACKAGE, syntax="proto3")
    for name, fields in MESSAGES.items():
        message = file.message_type.add(name=name)
        for field in fields.split():
            _add_field(message, *field.split(":"))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}"))
        for name in MESSAGES
    }


def _add_field(message: Any, name: str, number: str, kind: str) -> None:
    label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
    field = message.field.add(name=name, number=int(number), label=label)
    kind = kind.rstrip("*")
    if kind in MESSAGES:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{PACKAGE}.{kind}"
    else:
        field.type = getattr(_Field, f"TYPE_{kind.upper()}")


CLASSES = _build()
