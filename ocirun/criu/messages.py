"""The messages of CRIU's RPC: the fields we use, by the numbers they have on the wire.

Protocol buffers skip what they do not know, so a message is declared here as far as it is used;
enumerations are plain numbers. The classes are made when first asked for: `protobuf` is imported
only by the verbs that need CRIU.

Source: criu.org/RPC; CRIU images/rpc.proto, which has the numbers.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from google.protobuf.descriptor_pb2 import DescriptorProto

# What a request asks for and a response answers.
DUMP: Final = 1
RESTORE: Final = 2
PRE_DUMP: Final = 4
NOTIFY: Final = 6
FEATURE_CHECK: Final = 9
VERSION: Final = 10
TYPE_NAMES: Final = {
    DUMP: "DUMP",
    RESTORE: "RESTORE",
    PRE_DUMP: "PRE_DUMP",
    NOTIFY: "NOTIFY",
    FEATURE_CHECK: "FEATURE_CHECK",
    VERSION: "VERSION",
}

CGROUP_MODES: Final = {"ignore": 0, "soft": 3, "full": 4, "strict": 5}
NETWORK_LOCKS: Final = {"iptables": 1, "nftables": 2, "skip": 3}

# Message → field → (number, type). "*" is a list; a type that is a message's name is a message.
# What CRIU calls a string is bytes here, which are the same on the wire.
_FIELDS: Final[dict[str, dict[str, tuple[int, str]]]] = {
    "Request": {
        "type": (1, "int32"),
        "opts": (2, "Options"),
        "notify_success": (3, "bool"),
        "features": (5, "Features"),
    },
    "Response": {
        "type": (1, "int32"),
        "success": (2, "bool"),
        "restore": (4, "Restored"),
        "notify": (5, "Notification"),
        "cr_errno": (7, "int32"),
        "features": (8, "Features"),
        "cr_errmsg": (9, "bytes"),
        "version": (10, "Version"),
    },
    "Options": {
        "images_dir_fd": (1, "int32"),
        "pid": (2, "int32"),
        "leave_running": (3, "bool"),
        "ext_unix_sk": (4, "bool"),
        "tcp_established": (5, "bool"),
        "shell_job": (7, "bool"),
        "file_locks": (8, "bool"),
        "log_level": (9, "int32"),
        "log_file": (10, "bytes"),
        "ps": (11, "PageServer"),
        "notify_scripts": (12, "bool"),
        "root": (13, "bytes"),
        "parent_img": (14, "bytes"),
        "track_mem": (15, "bool"),
        "auto_dedup": (16, "bool"),
        "work_dir_fd": (17, "int32"),
        "link_remap": (18, "bool"),
        "ext_mnt": (23, "*ExternalMount"),
        "manage_cgroups": (24, "bool"),
        "cg_root": (25, "*CgroupRoot"),
        "rst_sibling": (26, "bool"),
        "inherit_fd": (27, "*InheritedFd"),
        "manage_cgroups_mode": (34, "int32"),
        "external": (37, "*bytes"),
        "empty_ns": (38, "uint32"),
        "join_ns": (39, "*JoinedNamespace"),
        "freeze_cgroup": (44, "bytes"),
        "tcp_skip_in_flight": (46, "bool"),
        "lazy_pages": (48, "bool"),
        "orphan_pts_master": (50, "bool"),
        "config_file": (51, "bytes"),
        "tcp_close": (52, "bool"),
        "lsm_profile": (53, "bytes"),
        "lsm_mount_context": (63, "bytes"),
        "network_lock": (64, "int32"),
    },
    "Features": {"mem_track": (1, "bool"), "lazy_pages": (2, "bool")},
    "Version": {
        "major_number": (1, "int32"),
        "minor_number": (2, "int32"),
        "sublevel": (4, "int32"),
    },
    "Notification": {"script": (1, "bytes"), "pid": (2, "int32")},
    "Restored": {"pid": (1, "int32")},
    "PageServer": {"address": (1, "bytes"), "port": (2, "int32")},
    "ExternalMount": {"key": (1, "bytes"), "val": (2, "bytes")},
    "CgroupRoot": {"ctrl": (1, "bytes"), "path": (2, "bytes")},
    "InheritedFd": {"key": (1, "bytes"), "fd": (2, "int32")},
    "JoinedNamespace": {"ns": (1, "bytes"), "ns_file": (2, "bytes")},
}

_classes: dict[str, Any] = {}


def message(name: str, **fields: Any) -> Any:  # noqa: ANN401  # made at run time
    """Make a message of the class `name`; nested ones may be given as dicts, texts as str."""
    if not _classes:
        _make_classes()
    return _classes[name](**_encoded(fields))


def _encoded(value: Any) -> Any:  # noqa: ANN401  # whatever a field may be
    """Turn each text into the bytes it is on the wire: paths need not be UTF-8."""
    if isinstance(value, str):
        return os.fsencode(value)
    if isinstance(value, dict):
        return {name: _encoded(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_encoded(one) for one in value]
    return value


def parse(name: str, data: bytes) -> Any:  # noqa: ANN401  # made at run time
    """Read a message of the class `name`.

    Raises:
        ValueError: the bytes are no such message.
    """
    from google.protobuf.message import DecodeError

    empty = message(name)
    try:
        empty.ParseFromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from error
    return empty


def _make_classes() -> None:
    """Turn the table into descriptors, and those into classes."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    # Optional fields know whether they were set in proto2 only: a mode of 0 is not no mode.
    file = descriptor_pb2.FileDescriptorProto(name="criu", package="criu", syntax="proto2")
    for name, fields in _FIELDS.items():
        declared = file.message_type.add(name=name)
        for field, (number, kind) in fields.items():
            _declare(declared, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    for name in _FIELDS:
        descriptor = pool.FindMessageTypeByName(f"criu.{name}")
        _classes[name] = message_factory.GetMessageClass(descriptor)


def _declare(declared: DescriptorProto, field: str, number: int, kind: str) -> None:
    from google.protobuf.descriptor_pb2 import FieldDescriptorProto as Field

    label = Field.LABEL_REPEATED if kind[0] == "*" else Field.LABEL_OPTIONAL
    kind = kind.lstrip("*")
    if kind in _FIELDS:
        declared.field.add(
            name=field,
            number=number,
            label=label,
            type=Field.TYPE_MESSAGE,
            type_name=f".criu.{kind}",
        )
    else:
        kinds = {
            "bool": Field.TYPE_BOOL,
            "bytes": Field.TYPE_BYTES,
            "int32": Field.TYPE_INT32,
            "uint32": Field.TYPE_UINT32,
        }
        declared.field.add(name=field, number=number, label=label, type=kinds[kind])
