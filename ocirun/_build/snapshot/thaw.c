/* Start from a snapshot: to Python this looks like a fork.
 *
 * The image is mapped over this program's data and heap. Then per-process state is replaced: the
 * thread by PyOS_BeforeFork and PyOS_AfterFork_Child, which Python calls around every fork; the
 * environment, the arguments, the standard streams and the ignored signals by code here.
 *
 * Three assumptions are not part of CPython's public interface, and were checked for 3.11, 3.12 and
 * 3.13: that PyOS_AfterFork_Child finds the thread state under its old pthread key and creates new
 * keys; that PyThreadState has the members `thread_id` and `native_thread_id`; and that
 * `os.environ` reads from the dictionary `posix.environ`.
 *
 * Source: docs.python.org c-api/sys.html#c.PyOS_AfterFork_Child; mmap(2).
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "heap.h"
#include "image.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MAX_SPARED_BYTES 1024

/* Part of the image. Aligned, and not zero, so that the linker begins `.data` at a page: what lies
   before, the addresses of the C library's functions, stays this process's own. */
static struct {
    char page_aligned __attribute__((aligned(4096)));
    PyThreadState *thread;
    PyObject *environ; /* the dictionary of posix and os */
    PyObject *renew;   /* ocirun.cli.warmup.renew */
    PyObject *signal;  /* _signal.signal */
    PyObject *interrupt; /* _signal.default_int_handler */
    PyObject *main;    /* ocirun.cli.launcher.main */
} remembered = {.page_aligned = 1};

struct calls calls;

static PyObject *attribute(const char *module_name, const char *name)
{
    PyObject *module = PyImport_ImportModule(module_name);
    PyObject *found = module ? PyObject_GetAttrString(module, name) : NULL;

    if (!found)
        fail("making a snapshot: %s has no %s", module_name, name);
    Py_DECREF(module);
    return found;
}

void remember(void)
{
    remembered.thread = PyThreadState_Get();
    remembered.environ = attribute("posix", "environ");
    remembered.renew = attribute("ocirun.cli.warmup", "renew");
    remembered.signal = attribute("_signal", "signal");
    remembered.interrupt = attribute("_signal", "default_int_handler");
    remembered.main = attribute("ocirun.cli.launcher", "main");
    PyDict_Clear(remembered.environ);
}

/* Allocate the pthread keys that Python had. False if a library already has one of them. */
static bool take_thread_keys(const struct header *header)
{
    pthread_key_t key;

    for (uint32_t wanted = header->first_key; wanted <= header->last_key; wanted++)
        if (pthread_key_create(&key, NULL) != 0 || key != wanted)
            return false;
    return true;
}

static bool map_range(int fd, const struct range *range)
{
    if (mmap((void *)range->start, range->length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_FIXED, fd,
             (off_t)range->offset) == MAP_FAILED)
        return false;
    /* Speed: whatever of it the kernel has to read from the disk, it then keeps in large folios, of
       which each fault maps, and the end of the process unmaps, several pages at once. */
    madvise((void *)range->start, range->length, MADV_HUGEPAGE);
    return true;
}

/* Map the image; the C library's words keep their current values. False if the kernel refuses: this
   program then can do nothing but execute another. */
static bool map_image(int fd, const struct header *header)
{
    char kept[MAX_SPARED_BYTES], *next = kept;
    bool mapped;

    for (uint32_t i = 0; i < header->spared_count; i++) {
        memcpy(next, (void *)header->spared[i].start, header->spared[i].length);
        next += header->spared[i].length;
    }
    mapped = map_range(fd, &header->heap) && map_range(fd, &header->data);
#ifdef SPREAD_BLOCKS /* reading a page must not map its neighbours */
    madvise((void *)header->heap.start, header->heap.length, MADV_RANDOM);
#endif
    next = kept;
    for (uint32_t i = 0; i < header->spared_count; i++) {
        memcpy((void *)header->spared[i].start, next, header->spared[i].length);
        next += header->spared[i].length;
    }
    return mapped;
}

/* Speed: without this the dynamic linker would look up each function by its name when it is called
   for the first time, a hundred in a small verb. Safe because the image is used only with the C library
   that it was made with (key.c). */
static void fill_in_calls(uintptr_t library)
{
    for (uint32_t i = 0; i < calls.count; i++)
        if (calls.offsets[i])
            calls.table[i] = library + calls.offsets[i];
}

static _Noreturn void fail_in_python(void)
{
    PyErr_Print();
    fail("starting from a snapshot failed; `ocirun snapshot` makes a new one");
}

static PyObject *checked(PyObject *object)
{
    if (!object)
        fail_in_python();
    return object;
}

static void renew_environment(void)
{
    for (char **entry = environ; *entry; entry++) {
        const char *equals = strchr(*entry, '=');
        PyObject *name, *value;

        if (!equals)
            continue;
        name = checked(PyBytes_FromStringAndSize(*entry, equals - *entry));
        value = checked(PyBytes_FromString(equals + 1));
        checked(PyDict_SetDefault(remembered.environ, name, value)); /* the first one wins */
        Py_DECREF(name);
        Py_DECREF(value);
    }
}

static void renew_arguments(int argc, char **argv)
{
    PyObject *words = checked(PyList_New(argc)), *original;

    for (int i = 0; i < argc; i++)
        PyList_SET_ITEM(words, i,
                        checked(PyUnicode_DecodeUTF8(argv[i], (Py_ssize_t)strlen(argv[i]),
                                                     "surrogateescape")));
    original = checked(PyList_GetSlice(words, 0, argc));
    PySys_SetObject("argv", words);
    PySys_SetObject("orig_argv", original);
    Py_DECREF(words);
    Py_DECREF(original);
}

/* Python records at startup which signals are ignored; here, ignoring them again has that effect.
   And the module `_signal` installs its SIGINT handler on import unless SIGINT is ignored. */
static void renew_signals(void)
{
    for (int number = 1; number < NSIG; number++)
        if (PyOS_getsig(number) == SIG_IGN)
            Py_DECREF(checked(PyObject_CallFunction(remembered.signal, "ii", number, 1)));
        else if (number == SIGINT)
            Py_DECREF(checked(
                PyObject_CallFunction(remembered.signal, "iO", number, remembered.interrupt)));
}

#ifdef ONE_FILE
/* Elsewhere the image is used only by a program at the same path. */
static void renew_path(const struct origin *origin)
{
    PyObject *path = checked(PyUnicode_FromFormat("%s/%s", origin->directory, origin->name));

    PySys_SetObject("executable", path);
    Py_DECREF(path);
}
#endif

void thaw(int image_fd, const struct header *header, const struct origin *origin, int argc,
          char **argv)
{
    const uintptr_t library = find_library();
    size_t spared = 0;

    for (uint32_t i = 0; i < header->spared_count && i < MAX_SPARED; i++)
        spared += header->spared[i].length;
    if (header->spared_count > MAX_SPARED || spared > MAX_SPARED_BYTES ||
        !take_thread_keys(header) || !map_image(image_fd, header))
        return;
    fill_in_calls(library);
    close(image_fd);

    pthread_setspecific(header->thread_key, remembered.thread);
    remembered.thread->thread_id = PyThread_get_thread_ident();
    remembered.thread->native_thread_id = PyThread_get_thread_native_id();
    PyEval_RestoreThread(remembered.thread); /* dump.c released the interpreter's lock */
    PyOS_BeforeFork();
    PyOS_AfterFork_Child();
    heap_guard_forks();
    renew_environment();
    renew_arguments(argc, argv);
#ifdef ONE_FILE
    renew_path(origin);
#else
    (void)origin;
#endif
    renew_signals();
    Py_DECREF(checked(PyObject_CallNoArgs(remembered.renew)));
    checked(PyObject_CallNoArgs(remembered.main));
    fail("stopping because ocirun.cli.launcher came back, which is a bug of ocirun");
}
