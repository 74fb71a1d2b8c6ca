/* The root from a disk, where an image is named.
 *
 * Source: docs/vm.md#images; mount(2), filesystems(5).
 */

#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define DISK "/dev/vda"
#define ROUNDS 1000
#define ROUND_US 10000

static bool has_image;

/* The file systems that the kernel has built in, without those that have no disk. */
static bool mount_disk(unsigned long flags)
{
    char line[128];
    FILE *list = fopen("/proc/filesystems", "re");
    bool done = false;

    while (list != NULL && !done && fgets(line, sizeof line, list) != NULL) {
        if (line[0] != '\t')
            continue;
        line[strcspn(line, "\n")] = '\0';
        done = mount(DISK, IMAGE, line + 1, flags, NULL) == 0;
    }
    if (list != NULL)
        fclose(list);
    return done;
}

bool mount_image(struct fields *fields, char *error)
{
    unsigned long flags = MS_NODEV | (get_u32(fields) != 0 ? MS_RDONLY : 0);

    load_modules("disk");
    for (int round = 0; round < ROUNDS && access(DISK, F_OK) < 0; round++)
        usleep(ROUND_US);
    if (access(DISK, F_OK) < 0)
        return fail(error, "waiting for", "the image's disk");
    if (mkdir(IMAGE, 0755) < 0 && errno != EEXIST)
        return fail(error, "making", IMAGE);
    if (!mount_disk(flags)) {
        snprintf(error, MAX_ERROR, "mounting the image: it has no file system of this kernel");
        return false;
    }
    has_image = true;
    return true;
}

bool root_is_image(void) { return has_image; }

/* Before the monitor hears that the container has ended: it ends QEMU then. Nobody has files open any
   more, and read-only the file system needs no recovery. */
void write_image(void)
{
    if (has_image && mount(NULL, IMAGE, NULL, MS_REMOUNT | MS_RDONLY | MS_NODEV, NULL) < 0)
        sync();
}
