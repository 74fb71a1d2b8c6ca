/* An allocator whose blocks have the same addresses in every process.
 *
 * The region is a section without content (NOBITS) of a program linked at a fixed address: the
 * kernel maps nothing else there, and untouched pages cost nothing. All of Python's memory comes
 * from here: its three domains through the public PyMem_SetAllocator, and libpython's calls of
 * malloc before that through the linker's --wrap. The C library's own allocations stay in its own
 * heap, which is not in the image.
 *
 * The eight bytes before a block hold its size. Sizes are rounded up to classes, each with a list
 * of free blocks. Blocks are never merged nor returned to the kernel: a verb runs for
 * milliseconds. When the region is full, malloc takes over. A block of the image that is freed in a
 * process that started from it is not used again: new objects would lie all over the image, on pages
 * that a forked child has to copy.
 *
 * While an image is made, cli/placement.py can decide where blocks are placed.
 *
 * Locking: threads may allocate concurrently in the raw domain and in extension modules that
 * release the GIL, so a spin lock guards the lists. It is held around a fork, as the C library
 * does with its own heap: the child must not inherit a lock taken by a thread it does not have.
 *
 * Source: docs.python.org c-api/memory.html; ld(1), --wrap.
 */

#include "heap.h"

#include <Python.h>
#include <pthread.h>
#include <string.h>

#ifdef SPREAD_BLOCKS
#define HEAP_MIB 800
#else
#define HEAP_MIB 32 /* counts in full under a strict overcommit policy */
#endif
#define HEAP_BYTES ((size_t)HEAP_MIB << 20)
#define TEXT(number) TEXT_OF(number)
#define TEXT_OF(number) #number

/* In assembly, because a C variable in its own section would fill the file with zeros. */
__asm__(".pushsection .snapshot_heap,\"aw\",%nobits\n"
        ".balign 4096\n"
        ".globl heap_start\n"
        "heap_start: .zero " TEXT(HEAP_MIB) " << 20\n"
        ".globl heap_end\n"
        "heap_end:\n"
        ".popsection");

#define PAGE_BYTES 4096UL
#define SMALL_BYTES 1024UL /* classes of 16 bytes below, four in each power of two above */

static size_t used = 8; /* offset of the next block's payload is a multiple of 16 */
static size_t sealed;   /* bytes of the image that this process started from */
static void *free_small[SMALL_BYTES / 16 + 1];
static void *free_large[64 * 4];
static char locked;
static struct { /* while an image is made */
    struct heap_plan *recorded, *followed;
    uint32_t *numbers, next;
} making;

void *__real_malloc(size_t size);
void *__real_realloc(void *block, size_t size);
void __real_free(void *block);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);

static void lock(void)
{
    while (__atomic_test_and_set(&locked, __ATOMIC_ACQUIRE))
        ;
}

static void unlock(void)
{
    __atomic_clear(&locked, __ATOMIC_RELEASE);
}

static bool is_ours(const void *block)
{
    return (const char *)block >= heap_start && (const char *)block < heap_start + HEAP_BYTES;
}

static size_t *size_of(void *block)
{
    return (size_t *)block - 1;
}

/* The bytes that a block for `size` takes, its header included: the size of its class; 0 when no
   region could hold it. */
static size_t class_size(size_t size)
{
    size_t step;

    if (size > HEAP_BYTES)
        return 0;
#ifdef SPREAD_BLOCKS /* tests/bench/placement.py: which blocks are written to? */
    if (size < PAGE_BYTES - sizeof(size_t))
        size = PAGE_BYTES - sizeof(size_t);
#endif
    size += sizeof(size_t);
    if (size <= SMALL_BYTES)
        return size < 32 ? 32 : (size + 15) & ~15UL;
    step = 1UL << (63 - __builtin_clzl(size - 1) - 2);
    return (size + step - 1) & ~(step - 1);
}

static void **free_list(size_t whole)
{
    unsigned int power;

    if (whole <= SMALL_BYTES)
        return &free_small[whole / 16];
    power = 63 - (unsigned int)__builtin_clzl(whole - 1);
    return &free_large[power * 4 + ((whole - 1) >> (power - 2) & 3)];
}

/* Return the block at the planned place of the next one, NULL if it has none. */
static void *planned_block(size_t whole)
{
    const struct heap_plan *plan = making.followed;
    const struct heap_step *step = &plan->steps[making.next];

    if (making.next >= plan->count)
        return NULL;
    making.next++;
    return step->place && step->size == whole ? heap_start + step->place + sizeof(size_t) : NULL;
}

static void record(const void *block)
{
    struct heap_plan *plan = making.recorded;

    if (plan->count == HEAP_STEPS)
        return;
    making.numbers[((const char *)block - heap_start) / HEAP_SLOT] = plan->count;
    plan->steps[plan->count++].size = (uint32_t)((const size_t *)block)[-1];
}

void *__wrap_malloc(size_t size)
{
    size_t whole = class_size(size);
    void **list, *block;

    if (whole == 0)
        return __real_malloc(size);
    list = free_list(whole);
    lock();
    block = making.followed ? planned_block(whole) : NULL;
    if (block) {
        *size_of(block) = whole;
    } else if (*list) {
        block = *list;
        *list = *(void **)block;
    } else if (used + whole + sizeof(size_t) <= HEAP_BYTES) {
        block = heap_start + used + sizeof(size_t);
        used += whole;
        *size_of(block) = whole;
    }
    if (making.recorded && block)
        record(block);
    unlock();
    return block ? block : __real_malloc(size ? size : 1);
}

void __wrap_free(void *block)
{
    void **list;

    if (!block)
        return;
    if (!is_ours(block)) {
        __real_free(block);
        return;
    }
    if ((const char *)block < heap_start + sealed)
        return;
    list = free_list(*size_of(block));
    lock();
    *(void **)block = *list;
    *list = block;
    unlock();
}

void *__wrap_calloc(size_t count, size_t size)
{
    size_t bytes;
    void *block;

    if (__builtin_mul_overflow(count, size, &bytes))
        return NULL;
    block = __wrap_malloc(bytes);
    if (block)
        memset(block, 0, bytes);
    return block;
}

void *__wrap_realloc(void *block, size_t size)
{
    size_t old;
    void *other;

    if (!block)
        return __wrap_malloc(size);
    if (!is_ours(block))
        return __real_realloc(block, size ? size : 1);
    if (class_size(size) == *size_of(block))
        return block;
    old = *size_of(block) - sizeof(size_t);
    other = __wrap_malloc(size);
    if (!other)
        return NULL;
    memcpy(other, block, old < size ? old : size);
    __wrap_free(block);
    return other;
}

static void *python_malloc(void *context, size_t size)
{
    (void)context;
    return __wrap_malloc(size);
}

static void *python_calloc(void *context, size_t count, size_t size)
{
    (void)context;
    return __wrap_calloc(count, size);
}

static void *python_realloc(void *context, void *block, size_t size)
{
    (void)context;
    return __wrap_realloc(block, size);
}

static void python_free(void *context, void *block)
{
    (void)context;
    __wrap_free(block);
}

/* Python's frames live in "arenas". pymalloc's would too, but it is not used. */
static void python_free_arena(void *context, void *block, size_t size)
{
    (void)context, (void)size;
    __wrap_free(block);
}

void heap_install(void)
{
    PyObjectArenaAllocator arenas = {NULL, python_malloc, python_free_arena};
    PyMemAllocatorEx ours = {NULL, python_malloc, python_calloc, python_realloc, python_free};

    PyMem_SetAllocator(PYMEM_DOMAIN_RAW, &ours);
    PyMem_SetAllocator(PYMEM_DOMAIN_MEM, &ours);
    PyMem_SetAllocator(PYMEM_DOMAIN_OBJ, &ours);
    PyObject_SetArenaAllocator(&arenas);
}

static void wipe(void **lists, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (void *block = lists[i], *next; block; block = next) {
            next = *(void **)block;
            memset(block, 0, *size_of(block) - sizeof(size_t));
        }
        lists[i] = NULL;
    }
}

void heap_record(struct heap_plan *plan, uint32_t *numbers)
{
    making.recorded = plan;
    making.numbers = numbers;
}

void heap_follow(struct heap_plan *plan)
{
    making.followed = plan;
    used = ((plan->bytes + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)) + sizeof(size_t);
}

size_t heap_used(void)
{
    return used;
}

void heap_guard_forks(void)
{
    pthread_atfork(lock, unlock, unlock);
}

size_t heap_seal(void)
{
    /* Security: the image must not contain freed data. Speed: new objects are placed together on
       fresh pages, not in holes all over the image, each of which is a page to copy. */
    memset(&making, 0, sizeof making);
    wipe(free_small, sizeof free_small / sizeof *free_small);
    wipe(free_large, sizeof free_large / sizeof *free_large);
    used = ((used + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)) + sizeof(size_t);
    sealed = used - sizeof(size_t);
    return sealed;
}
