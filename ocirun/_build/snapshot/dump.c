/* Start Python as the ordinary launcher does, warm it up, and write the image.
 *
 * `ocirun snapshot` runs this program with an empty environment, in the directory /, with
 * /dev/null as its standard streams: nothing of the caller gets into the image. (LD_BIND_NOW, for
 * find_calls, is dropped by main.)
 *
 * That happens twice: a first process records the order of allocations and computes the place of
 * each block (cli/placement.py); the second one follows that plan and is written.
 *
 * The image has this program's writable data from `.data` on, and the used part of the region of
 * heap.h. It does not have what the dynamic linker fills in at each start: the table of addresses
 * of the C library's functions (before `.data`), and the variables of the C library that are in
 * this program's data because of a copy relocation (environ, stderr, …).
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

#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#ifdef __x86_64__
#define COPY_RELOCATION R_X86_64_COPY
#elif defined __aarch64__
#define COPY_RELOCATION R_AARCH64_COPY
#endif

extern char __data_start[]; /* set by the linker: the start of `.data` */

static const ElfW(Dyn) *dynamic_entry(ElfW(Sxword) tag)
{
    for (const ElfW(Dyn) *entry = _DYNAMIC; entry->d_tag != DT_NULL; entry++)
        if (entry->d_tag == tag)
            return entry;
    fail("making a snapshot: the dynamic section has no entry %#lx", (unsigned long)tag);
}

/* Record which words of the data belong to the C library. */
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

/* Return the number that the next pthread key will have. */
static uint32_t next_thread_key(void)
{
    pthread_key_t key;

    if (pthread_key_create(&key, NULL) != 0 || pthread_key_delete(key) != 0)
        fail("making a snapshot: no thread key is left");
    return key;
}

/* Find the pthread keys that Python took, those from `first` on, and which of them is that of the
   thread state: CPython does not export its number, so compare their values. */
static void find_thread_keys(struct header *header, uint32_t first)
{
    PyThreadState *state = PyThreadState_Get();

    header->first_key = first;
    header->last_key = next_thread_key() - 1;
    for (header->thread_key = first; header->thread_key <= header->last_key; header->thread_key++)
        if (pthread_getspecific(header->thread_key) == state)
            return;
    fail("making a snapshot: the thread state is under no key");
}

/* Leave the interpreter without a thread: release its lock, which thaw takes again. And overwrite
   the frames of functions that have returned: heap.c does not know that they are free, and from 3.12
   on they point to the stack. The names of the two members were checked for 3.11, 3.12 and 3.13. */
static void leave_python(void)
{
    PyThreadState *state = PyEval_SaveThread();

    memset(state->datastack_top, 0,
           (size_t)((char *)state->datastack_limit - (char *)state->datastack_top));
}

/* Record where the C library has the functions that this program calls. `ocirun snapshot` has had the
   dynamic linker fill in the whole table (LD_BIND_NOW).

   A function of which the C library has several for different processors has no symbol at the address
   that was chosen here, and is left to the dynamic linker. */
static void find_calls(void)
{
    const ElfW(Rela) *relocation = (const ElfW(Rela) *)dynamic_entry(DT_JMPREL)->d_un.d_ptr;
    size_t count = dynamic_entry(DT_PLTRELSZ)->d_un.d_val / sizeof *relocation;
    const uintptr_t library = find_library();

    calls.table = (uint64_t *)relocation->r_offset;
    for (; calls.count < count && calls.count < MAX_CALLS; calls.count++) {
        const uint64_t *entry = &calls.table[calls.count];
        const ElfW(Sym) *symbol;
        Dl_info info;

        if (relocation[calls.count].r_offset != (uintptr_t)entry)
            break;
        if (dladdr1((void *)*entry, &info, (void **)&symbol, RTLD_DL_SYMENT) &&
            (uintptr_t)info.dli_fbase == library && (uintptr_t)info.dli_saddr == *entry &&
            ELF64_ST_TYPE(symbol->st_info) == STT_FUNC)
            calls.offsets[calls.count] = (uint32_t)(*entry - library);
    }
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

/* Clear the C library's words in the file: each process that maps it keeps its own. */
static void clear_spared(int fd, const struct header *header)
{
    static const char zeros[64];

    for (uint32_t i = 0; i < header->spared_count; i++) {
        const struct range *spared = &header->spared[i];
        size_t length = spared->length < sizeof zeros ? spared->length : sizeof zeros;

        write_all(fd, zeros, length, (off_t)(header->data.offset + spared->start - header->data.start));
    }
}

/* Import what the verbs need, and run what has no effect on the host. */
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

/* Initialise Python as it should be in the image. */
static void come_up(const struct layout *layout, const struct origin *origin)
{
    char *arguments[] = {"ocirun", NULL};

    heap_install();
    offer_linked_modules();
    start_python(layout, origin, NULL, 1, arguments);
    warm_up();
    remember();
    /* Python has its collector off, and a call does nothing then. The last round also gives back the
       objects that Python keeps for reuse: a verb's first objects would be all over the image. */
    PyGC_Enable();
    while (PyGC_Collect() > 0)
        ;
    PyGC_Disable();
}

static void *map_memory(size_t length, int flags)
{
    void *memory = mmap(NULL, length, PROT_READ | PROT_WRITE,
                        MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

    if (memory == MAP_FAILED)
        fail("making a snapshot: %s", strerror(errno));
    return memory;
}

/* Have cli/placement.py write each block's place to the plan; `numbers` is from heap_record. */
static void place_blocks(struct heap_plan *plan, const uint32_t *numbers,
                         const struct layout *layout)
{
    const size_t used = heap_used(), slots = used / HEAP_SLOT;
    const uint32_t count = plan->count; /* the calls below allocate blocks too */
    uint32_t *places = map_memory(slots * sizeof *places, MAP_PRIVATE);
    PyObject *heap = PyMemoryView_FromMemory(heap_start, (Py_ssize_t)used, PyBUF_READ);
    PyObject *bytes = PyMemoryView_FromMemory((char *)places, (Py_ssize_t)(slots * sizeof *places),
                                              PyBUF_WRITE);
    PyObject *module = PyImport_ImportModule("ocirun.cli.placement"), *filled = NULL;

    if (heap && bytes && module)
        filled = PyObject_CallMethod(module, "place", "OnOs", heap, (Py_ssize_t)heap_start, bytes,
                                     layout->package);
    if (!filled)
        fail("making a snapshot: placing its blocks: %s", exception_text());
    plan->bytes = PyLong_AsSize_t(filled);
    for (size_t slot = 0; slot < slots; slot++)
        if (places[slot])
            plan->steps[numbers[slot]].place = places[slot];
    plan->count = count;
}

/* Initialise Python in a process that then exits, to record the order of allocations. */
static struct heap_plan *make_plan(const struct layout *layout, const struct origin *origin)
{
    struct heap_plan *plan = map_memory(sizeof *plan, MAP_SHARED);
    const size_t slots = (size_t)(heap_end - heap_start) / HEAP_SLOT;
    pid_t child = fork();
    int status;

    if (child < 0)
        fail("making a snapshot: starting a process: %s", strerror(errno));
    if (child == 0) {
        uint32_t *numbers = map_memory(slots * sizeof *numbers, MAP_PRIVATE);

        heap_record(plan, numbers);
        come_up(layout, origin);
        place_blocks(plan, numbers, layout);
        _exit(0);
    }
    if (waitpid(child, &status, 0) < 0 || status != 0)
        fail("making a snapshot: the process that places its blocks failed");
    return plan;
}

void dump(int image_fd, const struct origin *origin, const char *version)
{
    static struct header header;
    static struct layout layout;
    struct timespec times[2];
    struct stat status;
    const char *problem;
    uint32_t first_key = next_thread_key();

    audit_prepare();
    if (strcmp(Py_GetVersion(), version) != 0)
        fail("no snapshot was made: the installed Python is %s, the one that ocirun was built with %s; "
             "build ocirun again", version, Py_GetVersion());
    find_layout(&layout, origin);
    heap_follow(make_plan(&layout, origin));
    come_up(&layout, origin);
    problem = make_witnesses(&header, &layout);
    find_thread_keys(&header, first_key);
    leave_python();
    header.data.start = (uint64_t)__data_start;
    header.data.length = (uint64_t)heap_start - header.data.start;
    header.data.offset = MEMORY_OFFSET;
    if (header.data.start % PAGE_BYTES)
        fail("making a snapshot: the data do not begin at a page");
    find_spared(&header);
#ifndef ONE_FILE /* which is used with other C libraries than that which it was made with */
    find_calls();
#endif
    header.heap.start = (uint64_t)heap_start;
    header.heap.offset = header.data.offset + header.data.length;

    /* Order: from here on nothing is allocated in the region: the audited data is written. */
    header.heap.length = heap_seal();
    header.file_size = header.heap.offset + header.heap.length;
    if (audit(&header) > 0)
        fail("no snapshot was made: it would point to memory that only this process has");
    write_all(image_fd, __data_start, header.data.length, (off_t)header.data.offset);
    clear_spared(image_fd, &header);
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
