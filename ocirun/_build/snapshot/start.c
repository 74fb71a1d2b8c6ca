/* The launcher's first decision: is there a snapshot to start from?
 *
 * Without a usable image this program executes `ocirun-cold` beside it, the ordinary launcher, which
 * does not know snapshots and only gets the reason. So there is one ordinary start, and an upgraded
 * interpreter takes effect at once, although an old one is linked in here.
 *
 * Order: check the image before the seal. A sealed memory file would be a copy of this whole
 * program, twelve milliseconds; where overlays are refused, the small ordinary launcher is sealed.
 */

#define _GNU_SOURCE
#include "image.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DUMP_ARGUMENT "--write-snapshot=" /* then a descriptor; the next word is sys.version */

static struct header header;
static int image_fd = -1;

static _Noreturn void become_cold(const struct origin *origin, const char *why, int argc,
                                  char **argv)
{
    char path[PATH_MAX], reason[256];
    char **arguments = calloc((size_t)argc + 2, sizeof *arguments);

    if (!arguments ||
        snprintf(path, sizeof path, "%s/" COLD_NAME, origin->directory) >= (int)sizeof path)
        fail("starting %s: %s", COLD_NAME, strerror(ENOMEM));
    snprintf(reason, sizeof reason, COLD_ARGUMENT "%s", why);
    arguments[0] = argv[0];
    arguments[1] = reason;
    memcpy(arguments + 2, argv + 1, (size_t)argc * sizeof *argv); /* with the closing NULL */
    execve(path, arguments, environ);
    fail("starting without a snapshot (%s): %s: %s", why, path, strerror(errno));
}

void prepare_start(const struct origin *origin, int *argc, char **argv)
{
    const char *why;

    if (*argc == 3 && strncmp(argv[1], DUMP_ARGUMENT, strlen(DUMP_ARGUMENT)) == 0)
        dump(atoi(argv[1] + strlen(DUMP_ARGUMENT)), origin, argv[2]);
    if (*argc > 1 && strcmp(argv[1], "snapshot") == 0)
        become_cold(origin, "this verb makes one", *argc, argv);
    image_fd = open_image(&header, origin, &why);
    if (image_fd < 0)
        become_cold(origin, why, *argc, argv);
}

void avoid_copy(const struct origin *origin, int argc, char **argv)
{
    become_cold(origin, "overlays are refused here", argc, argv);
}

void run_python(const struct origin *origin, int argc, char **argv)
{
    struct header copy = header; /* on the stack, where the image does not reach */

    thaw(image_fd, &copy, origin, argc, argv);
    become_cold(origin, "its memory cannot be mapped", argc, argv);
}
