/* Writes one JSON document to standard output. Bytes above 0x7f go out as they are: the reader
 * decodes with surrogateescape and so sees exactly the bytes the container was given. */
#include "json.h"

#include <stdio.h>

static int first = 1; /* no comma before the next piece */

static void quote(const char *text)
{
	putchar('"');
	for (const unsigned char *c = (const unsigned char *)text; *c; c++) {
		if (*c == '"' || *c == '\\')
			printf("\\%c", *c);
		else if (*c < 0x20 || *c == 0x7f)
			printf("\\u%04x", *c);
		else
			putchar(*c);
	}
	putchar('"');
}

static void begin(const char *key)
{
	if (!first)
		putchar(',');
	first = 0;
	if (key) {
		quote(key);
		putchar(':');
	}
}

static void open_with(const char *key, char bracket)
{
	begin(key);
	putchar(bracket);
	first = 1;
}

static void close_with(char bracket)
{
	putchar(bracket);
	first = 0;
}

void open_object(const char *key) { open_with(key, '{'); }
void close_object(void) { close_with('}'); }
void open_list(const char *key) { open_with(key, '['); }
void close_list(void) { close_with(']'); }

void put_null(const char *key)
{
	begin(key);
	fputs("null", stdout);
}

void put_text(const char *key, const char *text)
{
	if (!text) {
		put_null(key);
		return;
	}
	begin(key);
	quote(text);
}

void put_number(const char *key, long long number)
{
	begin(key);
	printf("%lld", number);
}

void put_unsigned(const char *key, unsigned long long number)
{
	begin(key);
	printf("%llu", number);
}

void put_flag(const char *key, int flag)
{
	begin(key);
	fputs(flag ? "true" : "false", stdout);
}
