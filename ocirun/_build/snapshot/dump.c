/* Start Python as the ordinary launcher does, warm it up, write it down.
 *
 * `ocirun snapshot` calls this program with an empty environment, in the root folder, with
 * /dev/null as its standard streams: nothing of whoever makes the image gets into it.
 *
 * What is written is this program's writable data from `.data` on, and the used part of the region
 * of heap.h. Not written, because the dynamic linker fills it in at each start: the table of
 * addresses of the C library's functions (it lies before `.data`), and the variables of the C
 * library that live in this program's data by a copy relocation (environ, stderr, …).
 *
 * Source: elf(5); dl_iterate_phdr(3).
 */

#define _GNU_SOURCE
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "../embed.h"
#include "../frozen.h"
#include "heap.h"
#include "image.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#ifdef __x86_64__
#define COPY_RELOCATION R_X86_64_COPY
#elif defined __aarch64__
#define COPY_RELOCATION R_AARCH64_COPY
#endif

#define MAX_THREAD_KEYS 16

extern char __data_start[]; /* by the linker: where `.data` begins */

PyMODINIT_FUNC PyInit__ocirun_calls(void); /* written by ../linked.py */
PyMODINIT_FUNC PyInit__ocirun_json(void);  /* ../json.c */

static const ElfW(Dyn) *dynamic_entry(ElfW(Sxword) tag)
{
    for (const ElfW(Dyn) *entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == tag)
            return entry;
    fail("making a snapshot: the dynamic section has no entry %#lx", (unsigned long)tag);
}

/* Note which words of the data belong to the C library. */
static void find_spared(struct header *header)
{
    const ElfW(Rela) *relocation = (const ElfW(Rela) *)dynamic_entry(DT_RELA)->d_un.d_ptr;
    const ElfW(Sym) *symbols = (const ElfW(Sym) *)dynamic_entry(DT_SYMTAB)->d_un.d_ptr;
    size_t count = dynamic_entry(DT_RELASZ)->d_un.d_val / sizeof *relocation;

    for (; count > 0; count--, relocation++) {
        struct range *spared = &header->spared[header->spared_count];

        if (ELF64_R_TYPE(relocation->r_info) != COPY_RELOCATION)
            continue;
        if (header->spared_count++ == MAX_SPARED)
            fail("making a snapshot: too many copy relocations");
        spared->start = relocation->r_offset;
        spared->length = symbols[ELF64_R_SYM(relocation->r_info)].st_size;
    }
}

/* Find the pthread key under which Python keeps its thread state: its number is CPython's secret,
   what it leads to is not. */
static uint32_t find_thread_key(void)
{
    PyThreadState *state = PyThreadState_Get();

    for (pthread_key_t key = 0; key < MAX_THREAD_KEYS; key++)
        if (pthread_getspecific(key) == state)
            return key;
    fail("making a snapshot: the thread state is under no key");
}

static void write_all(int fd, const void *bytes, size_t length, off_t offset)
{
    while (length > 0) {
        ssize_t written = pwrite(fd, bytes, length, offset);

        if (written <= 0)
            fail("writing the snapshot: %s", strerror(errno));
        bytes = (const char *)bytes + written;
        length -= (size_t)written;
        offset += written;
    }
}

/* Import what the verbs need and run what can be run without touching the host. */
static void warm_up(void)
{
    PyObject *module = PyImport_ImportModule("ocirun.cli.warmup");
    PyObject *names = PyList_New(0), *result = NULL;

    for (const struct _frozen *frozen = frozen_modules; names && frozen->name; frozen++) {
        PyObject *name = PyUnicode_FromString(frozen->name);

        if (!name || PyList_Append(names, name) < 0)
            fail("making a snapshot: %s", exception_text());
        Py_DECREF(name);
    }
    if (module && names)
        result = PyObject_CallMethod(module, "warm_up", "(O)", names);
    if (!result)
        fail("making a snapshot: %s", exception_text());
    Py_DECREF(result);
    Py_DECREF(names);
    Py_DECREF(module);
}

void dump(int image_fd, const struct origin *origin, const char *version)
{
    static struct header header;
    static struct layout layout;
    char *arguments[] = {"ocirun", NULL};
    struct timespec times[2];
    struct stat status;
    const char *problem;

    if (strcmp(Py_GetVersion(), version) != 0)
        fail("no snapshot was made: the installed Python is %s, the one that ocirun was built with %s; "
             "build ocirun again", version, Py_GetVersion());
    heap_install();
    if (PyImport_AppendInittab("_ocirun_calls", PyInit__ocirun_calls) < 0 ||
        PyImport_AppendInittab("_ocirun_json", PyInit__ocirun_json) < 0)
        fail("making a snapshot: not enough memory");
    find_layout(&layout, origin);
    start_python(&layout, origin, 1, arguments);
    warm_up();
    remember();
    while (PyGC_Collect() > 0)
        ;
    problem = make_witnesses(&header, &layout);
    header.thread_key = find_thread_key();
    header.data.start = (uint64_t)__data_start;
    header.data.length = (uint64_t)heap_start - header.data.start;
    header.data.offset = PAGE_BYTES;
    if (header.data.start % PAGE_BYTES)
        fail("making a snapshot: the data do not begin at a page");
    find_spared(&header);
    header.heap.start = (uint64_t)heap_start;
    header.heap.offset = header.data.offset + header.data.length;

    /* Order: from here on nothing is allocated in the region: what is written is what was audited. */
    header.heap.length = heap_seal();
    header.file_size = header.heap.offset + header.heap.length;
    if (audit(&header) > 0)
        fail("no snapshot was made: it would point to memory that only this process has");
    write_all(image_fd, __data_start, header.data.length, (off_t)header.data.offset);
    write_all(image_fd, heap_start, header.heap.length, (off_t)header.heap.offset);

    /* Order: the file's time is part of the header's key, so it is set before, and again after, the
       header is written. */
    if (fstat(image_fd, &status) < 0)
        fail("writing the snapshot: %s", strerror(errno));
    if (!problem)
        problem = make_key(&header.key, origin, &status);
    if (problem)
        fail("no snapshot was made: %s", problem);
    write_all(image_fd, &header, sizeof header, 0);
    times[0] = times[1] = status.st_mtim;
    if (futimens(image_fd, times) < 0 || fsync(image_fd) < 0)
        fail("writing the snapshot: %s", strerror(errno));
    _exit(0);
}
