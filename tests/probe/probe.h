/* The parts of the probe. */
#ifndef PROBE_H
#define PROBE_H

/* report.c: who and what this process is */
void report_identity(int argc, char **argv);
void report_rights(void);
void report_limits(void);
void report_descriptors(void);

/* settings.c: how the kernel was told to treat it */
void report_settings(void);

/* world.c: what surrounds it */
void report_mounts(void);
void report_namespaces(void);
void report_devices(void);
void report_network(void);
void report_files(int argc, char **argv); /* every argument "file:PATH" */

/* attempt.c: `try CALL:PATH ...` and what the kernel answered */
int attempt(int argc, char **argv);

/* call.c: `call NUMBER[,ARGUMENT...] ...`: any system call */
int call(int argc, char **argv);

/* reach.c: `reach CAPABILITY ...`: what it is for */
int reach(int argc, char **argv);

/* notify.c: `notify WORD ...`: what it says to $NOTIFY_SOCKET */
int notify(int argc, char **argv);

/* act.c: the ways to stay, to end and to be signalled */
int act_wait(int argc, char **argv);
int act_trap(void);
int act_bomb(void);
int act_crash(void);
int act_spy(int argc, char **argv);
int act_stalk(void);
int act_peek(int argc, char **argv);
int act_orphan(int argc, char **argv);
int act_measure(const char *file, char **command);

/* count.c: what must outlive a checkpoint */
int act_count(int argc, char **argv);

/* Reads a small file whole; NULL when it cannot be read. The result is valid until the next call. */
const char *slurp(const char *path);

#endif
