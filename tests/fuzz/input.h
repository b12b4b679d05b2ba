/* SPDX-License-Identifier: Apache-2.0 */
/*
 * input: what the fuzz targets share. Bytes of an input taken one after the other, so that any change of one byte changes one
 * decision, and a demand that ends the program with its reason, which a fuzzer reports with the input that led there.
 */
#ifndef TESTS_FUZZ_INPUT_H
#define TESTS_FUZZ_INPUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* What libFuzzer and replay.c call: a target's entry, and, where a target has one, its set-up before the first input. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);
__attribute__((weak)) int LLVMFuzzerInitialize(int *argc, char ***argv);

struct input {
	const uint8_t *data;
	size_t bytes;
};

/* what: the rule that was broken. */
static inline void must(bool held, const char *what)
{
	if (held)
		return;
	fprintf(stderr, "fuzz: %s\n", what);
	abort();
}

/* The next byte; 0 past the end. */
static inline uint8_t input_byte(struct input *in)
{
	if (!in->bytes)
		return 0;
	in->bytes--;
	return *in->data++;
}

/* The next width bytes, little-endian; as if zeros followed the end. */
static inline uint64_t input_number(struct input *in, unsigned width)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < width; i++)
		value |= (uint64_t)input_byte(in) << (8 * i);
	return value;
}

static inline uint16_t input_word(struct input *in)
{
	return (uint16_t)input_number(in, 2);
}

/* The next want bytes as they are, or those that are left: *count of them. */
static inline const uint8_t *input_run(struct input *in, size_t want, size_t *count)
{
	const uint8_t *at = in->data;

	*count = want < in->bytes ? want : in->bytes;
	in->data += *count;
	in->bytes -= *count;
	return at;
}

/*
 * The body of a record: its length in two bytes, then so many bytes or those that are left. A record is its kind, a byte the
 * target takes first, and this; less than INPUT_RECORD_HEAD bytes are none.
 */
enum { INPUT_RECORD_HEAD = 3 };
static inline const uint8_t *input_record(struct input *in, size_t *count)
{
	return input_run(in, input_word(in), count);
}

#endif
