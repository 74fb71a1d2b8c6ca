/* Writes one JSON document to standard output, piece by piece; a NULL key is an element of a list. */
#ifndef PROBE_JSON_H
#define PROBE_JSON_H

void open_object(const char *key);
void close_object(void);
void open_list(const char *key);
void close_list(void);
void put_text(const char *key, const char *text); /* NULL text is null */
void put_number(const char *key, long long number);
void put_unsigned(const char *key, unsigned long long number);
void put_flag(const char *key, int flag);
void put_null(const char *key);

#endif
