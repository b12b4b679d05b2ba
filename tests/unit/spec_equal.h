/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec_equal: are two pods the same in every field? For the unit tests and the fuzzer: comparing printed forms would not
 * see a field that the printer forgets.
 */
#ifndef TESTS_UNIT_SPEC_EQUAL_H
#define TESTS_UNIT_SPEC_EQUAL_H

#include <stdbool.h>
#include <stddef.h>

#include "pod/spec.h"
#include "pod/spec_exec.h"

bool spec_equal(const struct spec_pod *a, const struct spec_pod *b);
bool spec_exec_equal(const struct spec_exec *a, const struct spec_exec *b);

#endif
