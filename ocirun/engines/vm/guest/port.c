/* Frames to and from the monitor: type, zero, process (2 bytes), length (4 bytes), payload. */

#define _GNU_SOURCE
#include "guest.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

static int fd = -1;
static char buffer[HEADER_BYTES + MAX_FRAME];
static size_t filled;

void port_open(int opened) { fd = opened; }

int port_fd(void) { return fd; }

static uint32_t number_at(const char *at)
{
    const unsigned char *bytes = (const unsigned char *)at;

    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* Read what is there; `frame` borrows the buffer until the next call. */
bool port_read(struct frame *frame)
{
    size_t wanted = HEADER_BYTES;
    ssize_t got;

    if (filled >= HEADER_BYTES) {
        uint32_t length = number_at(buffer + 4);

        if (length > MAX_FRAME || buffer[1] != 0)
            end_machine("a frame of the monitor is broken");
        wanted += length;
    }
    if (filled < wanted) {
        got = read(fd, buffer + filled, wanted - filled);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return false;
        if (got <= 0)
            end_machine("the monitor has gone");
        filled += (size_t)got;
        if (filled < wanted)
            return false;
    }
    if (wanted == HEADER_BYTES && number_at(buffer + 4) > 0)
        return false; /* the payload is next */
    if (buffer[1] != 0)
        end_machine("a frame of the monitor is broken");
    frame->type = buffer[0];
    frame->process = (uint16_t)((unsigned char)buffer[2] << 8 | (unsigned char)buffer[3]);
    frame->length = (uint32_t)(wanted - HEADER_BYTES);
    frame->payload = buffer + HEADER_BYTES;
    filled = 0;
    return true;
}

static void write_all(const char *data, size_t length)
{
    while (length > 0) {
        ssize_t done = write(fd, data, length);

        if (done < 0 && (errno == EINTR || errno == EAGAIN))
            continue;
        if (done <= 0)
            end_machine(NULL);
        data += done;
        length -= (size_t)done;
    }
}

void port_write(char type, unsigned process, const void *data, size_t length)
{
    static char out[HEADER_BYTES + MAX_OUTPUT];

    if (length > MAX_OUTPUT)
        length = MAX_OUTPUT;
    out[0] = type;
    out[1] = 0;
    out[2] = (char)(process >> 8);
    out[3] = (char)process;
    out[4] = (char)(length >> 24);
    out[5] = (char)(length >> 16);
    out[6] = (char)(length >> 8);
    out[7] = (char)length;
    if (length > 0)
        memcpy(out + HEADER_BYTES, data, length);
    write_all(out, HEADER_BYTES + length);
}

void port_write_number(char type, unsigned process, uint32_t number)
{
    unsigned char bytes[4] = {(unsigned char)(number >> 24), (unsigned char)(number >> 16),
                              (unsigned char)(number >> 8), (unsigned char)number};

    port_write(type, process, bytes, sizeof bytes);
}
