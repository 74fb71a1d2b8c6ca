/* The key of an image (program, C library, files), and whether the image can be trusted.
 *
 * The executable's build id covers the interpreter and our modules, which are linked in. The
 * dynamic linker loads the C library at each start; its build id is in the key because the size of
 * a copy relocation is fixed when the image is made. Python's files (the shared library of the
 * ordinary start, and the modules, of which cold ones are read later) and the package's are
 * identified by inode number, size and time, as make does.
 *
 * Security: write access to the image gives all privileges of the process that maps it. So it must
 * belong to root or to the owner of the executable, who could replace that too, and be inaccessible
 * to everyone else: it contains the secret of Python's string hashes.
 */

#define _GNU_SOURCE
#include "image.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FORMAT "ocirun image 1"
#define PUBLIC_BITS 07077 /* set-id bits and all permissions of group and others */

static uint64_t nanoseconds(const struct timespec *time)
{
    return (uint64_t)time->tv_sec * 1000000000U + (uint64_t)time->tv_nsec;
}

const char *make_key(struct key *key, const struct origin *origin, const struct stat *image)
{
    memset(key, 0, sizeof *key);
    strcpy(key->format, FORMAT);
    key->inode = image->st_ino;
    key->modified_ns = nanoseconds(&image->st_mtim);
    if (snprintf(key->program, sizeof key->program, "%s/%s", origin->directory, origin->name) >=
        (int)sizeof key->program)
        return "the path of the program is too long";
    return read_build_ids(key) ? NULL : "the program or the C library has no build id";
}

static void look_at(struct witness *witness)
{
    struct stat found;

    witness->inode = witness->size = witness->modified_ns = 0;
    if (stat(witness->path, &found) == 0) {
        witness->inode = found.st_ino;
        witness->size = (uint64_t)found.st_size;
        witness->modified_ns = nanoseconds(&found.st_mtim);
    }
}

const char *make_witnesses(struct header *header, const struct layout *layout)
{
    const char *const files[][2] = {{layout->own_prefix, "pyvenv.cfg"},
                                    {layout->stdlib, "os.py"},
                                    {layout->library, ""},
                                    {layout->package, "ocirun/frozen.id"}};

    for (int i = 0; i < 4; i++) {
        struct witness *witness = &header->witnesses[i];

        if (snprintf(witness->path, sizeof witness->path, "%s%s%s", files[i][0],
                     files[i][1][0] ? "/" : "", files[i][1]) >= (int)sizeof witness->path)
            return "a path of the interpreter is too long";
        look_at(witness);
    }
    return NULL;
}

bool witnesses_agree(const struct header *header)
{
    for (int i = 0; i < 4; i++) {
        struct witness now = header->witnesses[i];

        look_at(&now);
        if (memcmp(&now, &header->witnesses[i], sizeof now) != 0)
            return false;
    }
    return true;
}

int open_image(struct header *header, const struct origin *origin, const char **why)
{
    char path[PATH_MAX];
    const char *slash = strrchr(origin->directory, '/');
    struct stat image, program;
    struct key key;
    int fd;

    if (snprintf(path, sizeof path, "%.*s/" IMAGE_BELOW, (int)(slash - origin->directory),
                 origin->directory) >= (int)sizeof path) {
        *why = "its path is too long";
        return -1;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        *why = errno == ENOENT ? "there is none" : strerror(errno);
        return -1;
    }
    *why = NULL;
    if (fstat(fd, &image) < 0 || stat("/proc/self/exe", &program) < 0)
        *why = strerror(errno);
    else if (!S_ISREG(image.st_mode) || (image.st_mode & PUBLIC_BITS) ||
             (image.st_uid != 0 && image.st_uid != program.st_uid))
        *why = "its owner or mode is not as it should be";
    else if (pread(fd, header, sizeof *header, 0) != (ssize_t)sizeof *header ||
             header->file_size != (uint64_t)image.st_size)
        *why = "it is cut off";
    else if (!(*why = make_key(&key, origin, &image)) &&
             memcmp(&key, &header->key, sizeof key) != 0)
        *why = "it was made for another program, C library or place, or has been changed";
    else if (!*why && !witnesses_agree(header))
        *why = "Python or the ocirun package has changed since it was made";
    if (*why) {
        close(fd);
        return -1;
    }
    return fd;
}
