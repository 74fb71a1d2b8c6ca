/* The launcher of the one-file build: interpreter, modules and snapshot are all in this program.
 *
 * It takes the place of layout.c, snapshot/start.c and snapshot/key.c. There are no files to find:
 * modules are frozen or in the archive, and the image is behind the program in the same file, whose
 * last bytes say where. So the image needs no key but the build id: it is as trusted as the program.
 *
 * Without a usable image Python starts here the ordinary way, with the same modules.
 *
 * Source: docs/one-file.md.
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../embed.h"
#include "../snapshot/image.h"
#include "onefile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DUMP_ARGUMENT "--write-snapshot=" /* then a descriptor; the next word is sys.version */
#define FORMAT "ocirun file 1"
#define TRAILER "ocirun 1"

/* The end of the file; tools/onefile/build.py writes it. */
struct trailer {
    char format[8];
    uint64_t image_offset;
};

static struct header header;
static int image_fd = -1;
static const char *cold_reason;

/* The folder of the archive is the one of the sources when the image is made (placement.txt). */
void find_layout(struct layout *layout, const struct origin *origin)
{
    memset(layout, 0, sizeof *layout);
    layout->in_venv = true; /* no other packages */
    strcpy(layout->package, ".");
    snprintf(layout->own_prefix, sizeof layout->own_prefix, "%s", origin->directory);
    snprintf(layout->prefix, sizeof layout->prefix, "%s", origin->directory);
}

const char *make_key(struct key *key, const struct origin *origin, const struct stat *image)
{
    (void)origin, (void)image;
    memset(key, 0, sizeof *key);
    strcpy(key->format, FORMAT);
    if (!read_build_ids(key))
        return "the program has no build id";
    memset(key->libc_id, 0, sizeof key->libc_id); /* any: docs/one-file.md says why */
    return NULL;
}

/* While the image is made, Python has thread 1: objects with the ids of this process would be part
   of it, and differ from build to build. tools/onefile/build.py has the linker wrap these. */
static bool making_image;

unsigned long __real_PyThread_get_thread_ident(void);
unsigned long __real_PyThread_get_thread_native_id(void);
unsigned long __wrap_PyThread_get_thread_ident(void);
unsigned long __wrap_PyThread_get_thread_native_id(void);

unsigned long __wrap_PyThread_get_thread_ident(void)
{
    return making_image ? 1 : __real_PyThread_get_thread_ident();
}

unsigned long __wrap_PyThread_get_thread_native_id(void)
{
    return making_image ? 1 : __real_PyThread_get_thread_native_id();
}

/* Called when all is in place, before the image is written. */
const char *make_witnesses(struct header *empty, const struct layout *layout)
{
    (void)empty, (void)layout;
    making_image = false;
    return NULL;
}

/* Read the header of the image; returns a descriptor of this file, -1 with the reason in `why`. */
int open_image(struct header *image, const struct origin *origin, const char **why)
{
    struct trailer trailer;
    struct stat self;
    struct key key;
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

    *why = NULL;
    if (fd < 0 || fstat(fd, &self) < 0)
        *why = strerror(errno);
    else if (pread(fd, &trailer, sizeof trailer, self.st_size - (off_t)sizeof trailer) !=
                 (ssize_t)sizeof trailer ||
             memcmp(trailer.format, TRAILER, sizeof trailer.format) != 0 ||
             pread(fd, image, sizeof *image, (off_t)trailer.image_offset) !=
                 (ssize_t)sizeof *image ||
             trailer.image_offset + image->file_size + sizeof trailer != (uint64_t)self.st_size)
        *why = "the file is cut off or has been changed";
    else if (!(*why = make_key(&key, origin, &self)) && memcmp(&key, &image->key, sizeof key) != 0)
        *why = "it belongs to another build";
    if (*why) {
        if (fd >= 0)
            close(fd);
        return -1;
    }
    image->data.offset += trailer.image_offset;
    image->heap.offset += trailer.image_offset;
    return fd;
}

void prepare_start(const struct origin *origin, int *argc, char **argv)
{
    static char reason[256];

    if (*argc == 3 && strncmp(argv[1], DUMP_ARGUMENT, strlen(DUMP_ARGUMENT)) == 0) {
        static struct origin nowhere = {.dir_fd = -1, .directory = "/", .name = "ocirun"};

        making_image = true;
        dump(atoi(argv[1] + strlen(DUMP_ARGUMENT)), &nowhere, argv[2]);
    }
    if (*argc > 1 && strncmp(argv[1], COLD_ARGUMENT, strlen(COLD_ARGUMENT)) == 0) {
        snprintf(reason, sizeof reason, "%s", argv[1] + strlen(COLD_ARGUMENT));
        cold_reason = reason;
        return;
    }
    image_fd = open_image(&header, origin, &cold_reason);
}

void avoid_copy(const struct origin *origin, int argc, char **argv)
{
    (void)origin, (void)argc, (void)argv; /* the copy is the whole file: there is no smaller one */
}

/* Execute this program once more, to start the ordinary way: its memory is half an image. */
static _Noreturn void start_again(const struct origin *origin, const char *why, int argc,
                                  char **argv)
{
    char path[sizeof origin->directory + sizeof origin->name], reason[256];
    char **arguments = calloc((size_t)argc + 2, sizeof *arguments);

    if (!arguments)
        fail("starting again: %s", strerror(ENOMEM));
    snprintf(path, sizeof path, "%s/%s", origin->directory, origin->name);
    snprintf(reason, sizeof reason, COLD_ARGUMENT "%s", why);
    arguments[0] = argv[0];
    arguments[1] = reason;
    memcpy(arguments + 2, argv + 1, (size_t)argc * sizeof *argv); /* with the closing NULL */
    execve(path, arguments, environ);
    fail("starting without a snapshot (%s): %s: %s", why, path, strerror(errno));
}

static PyObject *call(const char *module_name, const char *function_name)
{
    PyObject *module = PyImport_ImportModule(module_name), *result = NULL;

    if (module)
        result = PyObject_CallMethod(module, function_name, NULL);
    if (!result)
        fail("starting ocirun: %s: %s", module_name, exception_text());
    return result;
}

static _Noreturn void start_cold(const struct origin *origin, int argc, char **argv)
{
    static struct layout layout;

    if (argc > 1 && strncmp(argv[1], COLD_ARGUMENT, strlen(COLD_ARGUMENT)) == 0) {
        memmove(argv + 1, argv + 2, (size_t)(argc - 1) * sizeof *argv);
        argc -= 1;
    }
    find_layout(&layout, origin);
    offer_linked_modules();
    start_python(&layout, origin, cold_reason, argc, argv);
    call("ocirun.cli.warmup", "use_linked_calls");
    call("ocirun.cli.launcher", "main");
    fail("stopping because ocirun.cli.launcher came back, which is a bug of ocirun");
}

void run_python(const struct origin *origin, int argc, char **argv)
{
    struct header copy = header; /* on the stack, where the image does not reach */

    if (image_fd < 0)
        start_cold(origin, argc, argv);
    thaw(image_fd, &copy, origin, argc, argv);
    start_again(origin, "its memory cannot be mapped", argc, argv);
}
