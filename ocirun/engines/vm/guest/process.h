/* One process of the guest, for process.c and streams.c. */

#ifndef OCIRUN_PROCESS_H
#define OCIRUN_PROCESS_H

#include "guest.h"

enum state { FREE, PREPARING, READY, GOING, RUNNING };

struct process {
    enum state state;
    pid_t pid;
    int control;
    int streams[3]; /* our ends; of a terminal its master in [0] and [1] */
    bool terminal, ended, said_exit, input_over;
    int status;
    int forced; /* the status to report for a signal that came before the program */
    uint32_t credit[3]; /* [1], [2]: what may be sent */
    size_t waiting;     /* input that is not written yet */
    char input[WINDOW];
};

/* streams.c */
void close_fd(int *fd);
void close_stream(struct process *process, int number);
void take_input(struct process *process, const struct frame *frame);
void take_ack(struct process *process, struct fields *fields);
bool wants_input(const struct process *process);
bool may_send(const struct process *process, int stream);
void write_input(unsigned number, struct process *process);
bool read_output(unsigned number, struct process *process, int stream);

#endif
