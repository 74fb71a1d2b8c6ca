/* The container's root: its own mounts, devices and masked paths, made from frames.
 *
 * Done by the container's first process in its own namespaces, after it has entered the root: so
 * every path, and every link on it, ends inside.
 *
 * Source: runtime-spec config.md#mounts, config-linux.md#default-devices; mount(2).
 */

#define _GNU_SOURCE
#include "guest.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mount.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef SYS_open_tree
#define SYS_open_tree 428
#define SYS_move_mount 429
#endif
#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1
#endif
#ifndef MOVE_MOUNT_F_EMPTY_PATH
#define MOVE_MOUNT_F_EMPTY_PATH 4
#endif

#define SHARE "/share"
#define SHARE_TAG "ocirun"

#define SHARE_DRIVER "/sys/bus/virtio/drivers/virtiofs"
#define SHARE_ROUNDS 6000
#define ROUND_US 10000

static int null_fd = -1;  /* the guest's own /dev/null, to mask files with */
static int share_fd = -1; /* what the monitor shares: root, and the source of each bind mount */

bool fail(char *error, const char *what, const char *on)
{
    snprintf(error, MAX_ERROR, "%s%s%s: %s", what, *on ? " " : "", on, strerror(errno));
    return false;
}

bool is_setup(char type)
{
    return type != '\0' && strchr("RBMDSHNKOLFTCJ", type) != NULL;
}

/* The fields of a setup frame: Q and u are numbers of 64 and 32 bits, s is a string. */
static const char *layout_of(char type)
{
    switch (type) {
    case F_ROOT:
    case F_DEVICES:
        return "";
    case F_MOUNT:
        return "Qssss";
    case F_PIDS:
        return "Q";
    case F_IMAGE:
        return "u";
    case F_BIND:
        return "Qss";
    case F_SYSCTL:
        return "ss";
    case F_LINK:
        return "Qus";
    case F_ADDRESS:
        return "ussss";
    case F_ROUTE:
        return "uuuussss";
    default:
        return "s";
    }
}

bool check_setup(const struct frame *frame)
{
    struct fields fields;

    fields_of(&fields, frame->payload, frame->length);
    for (const char *field = layout_of(frame->type); *field != '\0'; field++)
        switch (*field) {
        case 'Q':
            get_u64(&fields);
            break;
        case 'u':
            get_u32(&fields);
            break;
        default:
            get_string(&fields);
        }
    return fields_done(&fields);
}

static bool make_directories(const char *path)
{
    char part[4096];
    size_t length = strlen(path);

    if (length >= sizeof part) {
        errno = ENAMETOOLONG;
        return false;
    }
    for (size_t i = 1; i <= length; i++) {
        if (path[i] != '/' && path[i] != '\0')
            continue;
        memcpy(part, path, i);
        part[i] = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return false;
    }
    return true;
}

static int clone_tree(int directory, const char *name, unsigned flags)
{
    return (int)syscall(SYS_open_tree, directory, name, OPEN_TREE_CLONE | O_CLOEXEC | flags);
}

static bool attach(int tree, const char *path)
{
    return syscall(SYS_move_mount, tree, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) == 0;
}

static bool is_share_found(void)
{
    DIR *devices = opendir(SHARE_DRIVER);
    struct dirent *entry;
    bool found = false;

    while (devices != NULL && !found && (entry = readdir(devices)) != NULL)
        found = strncmp(entry->d_name, "virtio", 6) == 0;
    if (devices != NULL)
        closedir(devices);
    return found;
}

/* The monitor plugs it in when the guest is up: the kernel takes a moment to find it, and one more
   until it can be mounted. */
static bool mount_share(void)
{
    for (int round = 0; round < SHARE_ROUNDS; round++) {
        if (is_share_found()) {
            if (mount(SHARE_TAG, SHARE, "virtiofs", 0, NULL) == 0)
                return true;
            if (errno != EINVAL)
                return false;
        }
        usleep(ROUND_US);
    }
    errno = ENODEV;
    return false;
}

/* Enter `root` in what the monitor shares. Kernel: the root of an initial RAM disk cannot be
   pivoted away; the new one covers it. */
static bool enter_root(const char *share, char *error)
{
    int tree;

    null_fd = open("/dev/null", O_PATH | O_CLOEXEC);
    if (null_fd < 0)
        return fail(error, "opening", "/dev/null");
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
        return fail(error, "making mounts private", "");
    if (share == NULL) {
        if (mkdir(SHARE, 0755) < 0 && errno != EEXIST)
            return fail(error, "making", SHARE);
        if (!mount_share())
            return fail(error, "mounting the root by virtiofs", "");
        share = SHARE;
    }
    share_fd = open(share, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (share_fd < 0)
        return fail(error, "opening", share);
    tree = root_is_image() ? clone_tree(AT_FDCWD, IMAGE, 0)
                           : clone_tree(share_fd, "root", AT_RECURSIVE);
    if (tree < 0 || fchdir(tree) < 0 || !attach(tree, "/") || chroot(".") < 0)
        return fail(error, "entering the root", "");
    close(tree);
    return true;
}

static bool make_file(const char *path)
{
    char parent[4096];
    const char *slash = strrchr(path, '/');
    int fd;

    if (slash == NULL || (size_t)(slash - path) >= sizeof parent) {
        errno = EINVAL;
        return false;
    }
    memcpy(parent, path, (size_t)(slash - path));
    parent[slash - path] = '\0';
    if (slash != path && !make_directories(parent))
        return false;
    fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        fd = open(path, O_CREAT | O_RDONLY | O_CLOEXEC, 0644);
    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static bool bind_shared(struct fields *fields, char *error)
{
    unsigned long flags = (unsigned long)get_u64(fields);
    const char *name = get_string(fields), *target = get_string(fields);
    int tree = clone_tree(share_fd, name, AT_RECURSIVE);
    struct stat found;
    bool done;

    if (tree < 0 || fstat(tree, &found) < 0)
        return fail(error, "opening the source of", target);
    if (!(S_ISDIR(found.st_mode) ? make_directories(target) : make_file(target)))
        return fail(error, "making the mount point", target);
    done = attach(tree, target) &&
           mount(NULL, target, NULL, MS_REMOUNT | MS_BIND | flags, NULL) == 0;
    if (!done)
        fail(error, "mounting on", target);
    close(tree);
    return done;
}

static bool do_mount(struct fields *fields, char *error)
{
    unsigned long flags = (unsigned long)get_u64(fields);
    const char *source = get_string(fields), *target = get_string(fields);
    const char *type = get_string(fields), *data = get_string(fields);

    if ((flags & MS_REMOUNT) == 0 && !make_directories(target))
        return fail(error, "making the mount point", target);
    if (mount(source, target, type, flags, data) < 0)
        return fail(error, "mounting on", target);
    return true;
}

static bool make_devices(char *error)
{
    static const struct {
        const char *path;
        unsigned major, minor;
    } nodes[] = {{"/dev/null", 1, 3},   {"/dev/zero", 1, 5},    {"/dev/full", 1, 7},
                 {"/dev/random", 1, 8}, {"/dev/urandom", 1, 9}, {"/dev/tty", 5, 0}};
    static const char *const links[][2] = {{"/proc/self/fd", "/dev/fd"},
                                           {"/proc/self/fd/0", "/dev/stdin"},
                                           {"/proc/self/fd/1", "/dev/stdout"},
                                           {"/proc/self/fd/2", "/dev/stderr"},
                                           {"pts/ptmx", "/dev/ptmx"}};

    for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++) {
        mode_t before = umask(0);
        int made = mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor));

        umask(before);
        if (made < 0 && errno != EEXIST)
            return fail(error, "making the device", nodes[i].path);
    }
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
        if (symlink(links[i][0], links[i][1]) < 0 && errno != EEXIST)
            return fail(error, "linking", links[i][1]);
    return true;
}

static bool write_sysctl(struct fields *fields, char *error)
{
    const char *path = get_string(fields), *value = get_string(fields);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, value, strlen(value)) >= 0;

    if (!done)
        fail(error, "writing", path);
    if (fd >= 0)
        close(fd);
    return done;
}

static bool mask(const char *path, char *error)
{
    struct stat found;
    int tree;

    if (stat(path, &found) < 0)
        return errno == ENOENT || errno == ENOTDIR || fail(error, "masking", path);
    if (S_ISDIR(found.st_mode))
        return mount("tmpfs", path, "tmpfs", MS_RDONLY, "size=0k,nr_inodes=2") == 0 ||
               fail(error, "masking", path);
    tree = clone_tree(null_fd, "", AT_EMPTY_PATH);
    if (tree < 0 || !attach(tree, path)) {
        fail(error, "masking", path);
        if (tree >= 0)
            close(tree);
        return false;
    }
    close(tree);
    return true;
}

static bool make_readonly(const char *path, char *error)
{
    bool is_root = strcmp(path, "/") == 0;

    if (!is_root && mount(path, path, NULL, MS_BIND | MS_REC, NULL) < 0)
        return errno == ENOENT || fail(error, "binding", path);
    return mount(NULL, path, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL) == 0 ||
           fail(error, "making read-only", path);
}

/* Do the setup frames in `ops`, which check_setup has seen, each with its header. */
bool do_setup(char *ops, size_t length, const char *share, char *error)
{
    char *end = ops + length;

    while (ops < end) {
        char type = ops[0];
        struct fields fields, size;
        bool done = true;
        const char *text;
        uint32_t bytes;

        fields_of(&size, ops + 4, 4);
        bytes = get_u32(&size);
        fields_of(&fields, ops + HEADER_BYTES, bytes);
        ops += HEADER_BYTES + bytes;
        switch (type) {
        case F_ROOT:
            done = enter_root(share, error);
            break;
        case F_BIND:
            done = bind_shared(&fields, error);
            break;
        case F_MOUNT:
            done = do_mount(&fields, error);
            break;
        case F_DEVICES:
            done = make_devices(error);
            break;
        case F_SYSCTL:
            done = write_sysctl(&fields, error);
            break;
        case F_HOSTNAME:
            text = get_string(&fields);
            done = sethostname(text, strlen(text)) == 0 || fail(error, "setting the hostname", text);
            break;
        case F_DOMAINNAME:
            text = get_string(&fields);
            done = setdomainname(text, strlen(text)) == 0 ||
                   fail(error, "setting the domainname", text);
            break;
        case F_MASK:
            done = mask(get_string(&fields), error);
            break;
        case F_READONLY:
            done = make_readonly(get_string(&fields), error);
            break;
        case F_LINK:
            done = set_link(&fields, share == NULL, error);
            break;
        case F_ADDRESS:
            done = add_address(&fields, error);
            break;
        case F_ROUTE:
            done = add_route(&fields, error);
            break;
        case F_PIDS:
        case F_IMAGE:
            break; /* the agent has done it */
        }
        if (!done)
            return false;
    }
    return true;
}
