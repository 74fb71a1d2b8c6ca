/* Randomness and the time, from the monitor, before anything of the container is here.
 *
 * Security: the state that this machine was restored from has the generator of random numbers in it,
 * and other machines are restored from it as well. Until here they would all draw the same.
 *
 * Source: random(4), clock_settime(2).
 */

#define _GNU_SOURCE
#include "guest.h"

#include <fcntl.h>
#include <linux/random.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define SEED_WORDS 8

static bool reseed(const uint64_t words[SEED_WORDS])
{
    union {
        struct rand_pool_info info;
        char space[sizeof(struct rand_pool_info) + SEED_WORDS * sizeof(uint64_t)];
    } pool = {.info = {SEED_WORDS * 64, SEED_WORDS * sizeof(uint64_t)}};
    int fd = open("/dev/urandom", O_RDWR | O_CLOEXEC);
    bool done;

    memcpy(pool.space + sizeof pool.info, words, SEED_WORDS * sizeof(uint64_t));
    /* Order: the second makes the kernel draw from the pool that the first has added to. */
    done = fd >= 0 && ioctl(fd, RNDADDENTROPY, &pool) == 0 && ioctl(fd, RNDRESEEDCRNG) == 0;
    if (fd >= 0)
        close(fd);
    return done;
}

/* False: it is no such frame. Outside of a machine nothing is changed. */
bool take_seed(const struct frame *frame, bool is_machine)
{
    uint64_t words[SEED_WORDS];
    struct timespec now;
    struct fields fields;

    fields_of(&fields, frame->payload, frame->length);
    now.tv_sec = (time_t)get_u64(&fields);
    now.tv_nsec = (long)get_u32(&fields);
    for (int i = 0; i < SEED_WORDS; i++)
        words[i] = get_u64(&fields);
    if (!fields_done(&fields))
        return false;
    if (is_machine) {
        if (!reseed(words))
            end_machine("seeding the guest's random numbers failed");
        if (clock_settime(CLOCK_REALTIME, &now) < 0)
            end_machine("setting the guest's clock failed");
    }
    port_write(F_SEEDED, 0, NULL, 0);
    return true;
}
