/* Input and output of the guest's processes.
 *
 * A stream has a window: nobody sends more than WINDOW bytes that the other side has not answered.
 * So a reader who does not read holds up its own stream and nothing else.
 */

#define _GNU_SOURCE
#include "process.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void close_stream(struct process *process, int number)
{
    if (process->terminal && number < 2) {
        int master = process->streams[0] >= 0 ? process->streams[0] : process->streams[1];

        process->streams[0] = process->streams[1] = -1;
        close_fd(&master);
    } else {
        close_fd(&process->streams[number]);
    }
}

void take_input(struct process *process, const struct frame *frame)
{
    if (frame->length == 0) {
        process->input_over = true;
    } else if (frame->length > sizeof process->input - process->waiting) {
        end_machine("the monitor sends more input than it may");
    } else {
        memcpy(process->input + process->waiting, frame->payload, frame->length);
        process->waiting += frame->length;
    }
}

void take_ack(struct process *process, struct fields *fields)
{
    uint32_t stream = get_u32(fields), bytes = get_u32(fields);

    if (!fields_done(fields) || stream < 1 || stream > 2 || bytes > WINDOW - process->credit[stream])
        end_machine("an answer of the monitor is broken");
    process->credit[stream] += bytes;
}

bool wants_input(const struct process *process)
{
    return process->state == RUNNING && process->streams[0] >= 0 &&
           (process->waiting > 0 || (process->input_over && !process->terminal));
}

bool may_send(const struct process *process, int stream)
{
    return process->streams[stream] >= 0 && process->credit[stream] > 0 && process->state != FREE;
}

void write_input(unsigned number, struct process *process)
{
    if (process->waiting > 0) {
        ssize_t done = write(process->streams[0], process->input, process->waiting);

        if (done < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (done < 0) { /* nobody reads any more: it is swallowed */
            done = (ssize_t)process->waiting;
            process->input_over = true;
        }
        process->waiting -= (size_t)done;
        memmove(process->input, process->input + done, process->waiting);
        port_write_number(F_INPUT_ACK, number, (uint32_t)done);
    }
    if (process->waiting == 0 && process->input_over && !process->terminal)
        close_stream(process, 0);
}

/* Send what is there; false at the end, or when there is nothing. */
bool read_output(unsigned number, struct process *process, int stream)
{
    static char data[MAX_OUTPUT];
    size_t most = process->credit[stream] < sizeof data ? process->credit[stream] : sizeof data;
    ssize_t got = read(process->streams[stream], data, most);

    if (got > 0) {
        process->credit[stream] -= (uint32_t)got;
        port_write(stream == 1 ? F_STDOUT : F_STDERR, number, data, (size_t)got);
        return true;
    }
    if (got == 0 || (errno != EAGAIN && errno != EINTR))
        close_stream(process, stream); /* EIO: the last slave of the terminal was closed */
    return false;
}
