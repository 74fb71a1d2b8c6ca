/* A cgroup for the container's processes, where their number is limited.
 *
 * The mount of the hierarchy is taken away again at once: the container gets none but its own. Its
 * processes join by a descriptor, and see the cgroup as the root of a namespace.
 *
 * Source: cgroups(7), cgroup_namespaces(7); the kernel's admin-guide/cgroup-v2.rst, pids.max.
 */

#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define HIERARCHY "/cgroup"
#define CONTAINER "container"

static int procs_fd = -1;     /* cgroup.procs of the container's */
static int namespace_fd = -1; /* that of its first process */

static bool write_file(int directory, const char *name, const char *value)
{
    int fd = openat(directory, name, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, value, strlen(value)) >= 0;
    int reason = errno;

    if (fd >= 0)
        close(fd);
    errno = reason;
    return done;
}

static bool make_cgroup(int root, const char *limit, char *error)
{
    if (!write_file(root, "cgroup.subtree_control", "+pids"))
        return fail(error, "turning on", "the guest's pids controller");
    if (mkdirat(root, CONTAINER, 0755) < 0)
        return fail(error, "making", "the container's cgroup");
    if (!write_file(root, CONTAINER "/pids.max", limit))
        return fail(error, "writing", "pids.max");
    procs_fd = openat(root, CONTAINER "/cgroup.procs", O_WRONLY | O_CLOEXEC);
    return procs_fd >= 0 || fail(error, "opening", "cgroup.procs");
}

bool limit_pids(struct fields *fields, char *error)
{
    char limit[24];
    bool done;
    int root;

    snprintf(limit, sizeof limit, "%llu", (unsigned long long)get_u64(fields));
    if (mkdir(HIERARCHY, 0755) < 0 && errno != EEXIST)
        return fail(error, "making", HIERARCHY);
    if (mount("cgroup2", HIERARCHY, "cgroup2", 0, NULL) < 0)
        return fail(error, "mounting", "the guest's cgroups");
    root = open(HIERARCHY, O_PATH | O_DIRECTORY | O_CLOEXEC);
    done = root >= 0 ? make_cgroup(root, limit, error) : fail(error, "opening", HIERARCHY);
    umount2(HIERARCHY, MNT_DETACH);
    if (root >= 0)
        close(root);
    return done;
}

bool open_cgroup_namespace(const char *path)
{
    namespace_fd = procs_fd < 0 ? -1 : open(path, O_RDONLY | O_CLOEXEC);
    return procs_fd < 0 || namespace_fd >= 0;
}

/* In a process of the container, before it joins other namespaces. */
bool join_cgroup(bool is_first, char *error)
{
    if (procs_fd < 0)
        return true;
    if (write(procs_fd, "0", 1) < 0)
        return fail(error, "joining", "the container's cgroup");
    if ((is_first ? unshare(CLONE_NEWCGROUP) : setns(namespace_fd, CLONE_NEWCGROUP)) < 0)
        return fail(error, "joining the namespace", "cgroup");
    return true;
}
