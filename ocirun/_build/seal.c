/* Run from a file that no container can write to (CVE-2019-5736).
 *
 * Until it executes the container's program, init is this program, inside the container's
 * namespaces: through /proc/PID/exe a container could open the host's own file and, once it is no
 * longer running, overwrite it. So the launcher runs itself again from
 *
 *   - a private overlay of its folder: read-only, never attached anywhere, nothing copied; or,
 *     where the kernel refuses that (no privilege, an old kernel, overlays on overlays),
 *   - a sealed memory file: a copy of this small program that can no longer change.
 *
 * The second run learns where the first was installed from an open descriptor of that folder,
 * named by an extra first argument. It is believed only by a program that is sealed.
 *
 * Source: fsopen(2), fsmount(2), memfd_create(2); kernel filesystems/overlayfs.rst.
 */

#define _GNU_SOURCE
#include "launcher.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <linux/mount.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

/* Same numbers on every architecture since 5.2, for older headers. */
#ifndef SYS_fsopen
#define SYS_fsopen 430
#define SYS_fsconfig 431
#define SYS_fsmount 432
#endif
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* Kernel: from 6.3; EINVAL before */
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020 /* Kernel: from 6.3; EINVAL before */
#endif

#define ORIGIN_ARGUMENT "--sealed-from=" /* then the descriptor, a slash, the name */
#define ALL_SEALS (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)

static int mount_overlay(int dir_fd, int other_fd)
{
    char lower[64];
    int mount_fd = -1;
    int fs_fd = (int)syscall(SYS_fsopen, "overlay", FSOPEN_CLOEXEC);

    if (fs_fd < 0)
        return -1;
    /* By descriptor: short enough for the kernel's 256 bytes, and nothing to escape. */
    snprintf(lower, sizeof lower, "/proc/self/fd/%d:/proc/self/fd/%d", dir_fd, other_fd);
    if (syscall(SYS_fsconfig, fs_fd, FSCONFIG_SET_STRING, "lowerdir", lower, 0) == 0 &&
        syscall(SYS_fsconfig, fs_fd, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mount_fd = (int)syscall(SYS_fsmount, fs_fd, FSMOUNT_CLOEXEC,
                                MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    close(fs_fd);
    return mount_fd;
}

/* Is the file that `fd` shows this very program? Overlays change its device and inode number, but
   never its size and times.

   Security: an overlay does not see what is mounted inside the folder. A program that was bound
   over another by a mount would be that other one there. */
static bool is_this_program(int fd)
{
    struct stat self, found;

    return stat("/proc/self/exe", &self) == 0 && fstat(fd, &found) == 0 &&
           self.st_size == found.st_size && self.st_mode == found.st_mode &&
           self.st_mtim.tv_sec == found.st_mtim.tv_sec &&
           self.st_mtim.tv_nsec == found.st_mtim.tv_nsec &&
           self.st_ctim.tv_sec == found.st_ctim.tv_sec &&
           self.st_ctim.tv_nsec == found.st_ctim.tv_nsec;
}

/* Open this program in a private overlay of its folder; -1 where that is refused. */
static int open_in_overlay(const struct origin *origin)
{
    /* An overlay without an upper layer wants two lower ones. The second may be any folder that
       neither holds nor is held by the first; names are looked up in the first. */
    int other_fd = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
    int mount_fd, file_fd = -1;

    if (other_fd < 0)
        return -1;
    mount_fd = mount_overlay(origin->dir_fd, other_fd);
    if (mount_fd >= 0) {
        file_fd = openat(mount_fd, origin->name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
        close(mount_fd);
        if (file_fd >= 0 && !is_this_program(file_fd)) {
            close(file_fd);
            file_fd = -1;
        }
    }
    close(other_fd);
    return file_fd;
}

/* Copy this program into a memory file and seal it; -1 with errno where that is refused. */
static int open_in_memory(void)
{
    struct stat status;
    ssize_t copied = 0;
    int self_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int file_fd = (int)memfd_create("ocirun", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);

    if (file_fd < 0 && errno == EINVAL)
        file_fd = (int)memfd_create("ocirun", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (self_fd < 0 || file_fd < 0 || fstat(self_fd, &status) < 0)
        return -1;
    for (off_t done = 0; done < status.st_size; done += copied) {
        copied = sendfile(file_fd, self_fd, NULL, (size_t)(status.st_size - done));
        if (copied <= 0)
            return -1;
    }
    close(self_fd);
    if (fcntl(file_fd, F_ADD_SEALS, ALL_SEALS | F_SEAL_EXEC) < 0 &&
        fcntl(file_fd, F_ADD_SEALS, ALL_SEALS) < 0)
        return -1;
    return file_fd;
}

/* Execute the file with our arguments after one that names the origin; returns only on failure. */
static void exec_file(int file_fd, const struct origin *origin, int argc, char **argv)
{
    char word[sizeof ORIGIN_ARGUMENT + 12 + sizeof origin->name], path[32];
    char **arguments = calloc((size_t)argc + 2, sizeof *arguments);

    if (!arguments || fcntl(origin->dir_fd, F_SETFD, 0) < 0)
        return;
    snprintf(word, sizeof word, ORIGIN_ARGUMENT "%d/%s", origin->dir_fd, origin->name);
    arguments[0] = argv[0];
    arguments[1] = word;
    memcpy(arguments + 2, argv + 1, (size_t)argc * sizeof *argv); /* with the closing NULL */
    syscall(SYS_execveat, file_fd, "", arguments, environ, AT_EMPTY_PATH);
    if (errno == EPERM || errno == ENOSYS) { /* refused by a filter around us: the same by path */
        snprintf(path, sizeof path, "/proc/self/fd/%d", file_fd);
        execve(path, arguments, environ);
    }
    free(arguments);
}

void exec_sealed(const struct origin *origin, int argc, char **argv)
{
    int file_fd = open_in_overlay(origin);

    if (file_fd >= 0)
        exec_file(file_fd, origin, argc, argv);
    avoid_copy(origin, argc, argv);
    file_fd = open_in_memory();
    if (file_fd >= 0)
        exec_file(file_fd, origin, argc, argv);
    fail("protecting this program from the container: neither a private overlay of %s nor a "
         "sealed memory file: %s", origin->directory, strerror(errno));
}

bool is_sealed(void)
{
    struct statfs status;
    int self_fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    int seals;
    bool read_only_overlay;

    if (self_fd < 0)
        return false;
    seals = fcntl(self_fd, F_GET_SEALS);
    read_only_overlay = fstatfs(self_fd, &status) == 0 &&
                        status.f_type == OVERLAYFS_SUPER_MAGIC && (status.f_flags & ST_RDONLY);
    close(self_fd);
    return read_only_overlay || (seals >= 0 && (seals & F_SEAL_WRITE));
}

bool take_origin(struct origin *origin, int *argc, char **argv)
{
    char link[32], *name;
    ssize_t length;

    if (*argc < 2 || strncmp(argv[1], ORIGIN_ARGUMENT, strlen(ORIGIN_ARGUMENT)) != 0)
        return false;
    origin->dir_fd = (int)strtol(argv[1] + strlen(ORIGIN_ARGUMENT), &name, 10);
    if (!is_sealed() || *name != '/')
        fail(ORIGIN_ARGUMENT " is not for you: it means something between two runs of ocirun only");
    snprintf(origin->name, sizeof origin->name, "%s", name + 1);
    snprintf(link, sizeof link, "/proc/self/fd/%d", origin->dir_fd);
    length = readlink(link, origin->directory, sizeof origin->directory - 1);
    if (length <= 0 || origin->directory[0] != '/')
        fail("reading %s, the folder this program was started from: %s", link, strerror(errno));
    origin->directory[length] = '\0';
    memmove(argv + 1, argv + 2, (size_t)(*argc - 1) * sizeof *argv);
    *argc -= 1;
    return true;
}
