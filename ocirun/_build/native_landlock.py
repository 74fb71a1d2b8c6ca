"""A part of native.py: Landlock, with its structures, for headers older than the kernel."""

from __future__ import annotations

SOURCE = r"""
/* size is how much of the structure the kernel shall know: 8 with files, 16 with ports, 24 with
   scopes. */
static int sys_landlock_create_ruleset(uint64_t fs, uint64_t net, uint64_t scoped, size_t size)
{
    struct {
        uint64_t handled_access_fs, handled_access_net, scoped;
    } attr = { fs, net, scoped };
    return (int)syscall(SYS_landlock_create_ruleset, &attr, size, 0);
}

static int sys_landlock_abi(void)
{
    return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, 1);
}

static int sys_landlock_add_path(int ruleset_fd, int path_fd, uint64_t access)
{
    struct {
        uint64_t allowed_access;
        int32_t parent_fd;
    } __attribute__((packed)) attr = { access, path_fd };
    return (int)syscall(SYS_landlock_add_rule, ruleset_fd, 1, &attr, 0);
}

static int sys_landlock_add_port(int ruleset_fd, uint64_t port, uint64_t access)
{
    struct {
        uint64_t allowed_access, port;
    } attr = { access, port };
    return (int)syscall(SYS_landlock_add_rule, ruleset_fd, 2, &attr, 0);
}

static int sys_landlock_restrict_self(int ruleset_fd)
{
    return (int)syscall(SYS_landlock_restrict_self, ruleset_fd, 0);
}
"""
