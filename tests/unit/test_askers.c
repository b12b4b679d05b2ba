// SPDX-License-Identifier: Apache-2.0
/* test_askers: vm/askers.c. */
#include "vm/askers.h"

#include "tests/unit/test.h"

struct asked {
	struct askers *askers;
	char letter;
	bool asks_again;
};

static char told[64];

static void on_answer(void *ctx, const struct wire_stats *pod, const struct wire_use *uses)
{
	struct asked *asked = ctx;

	snprintf(told + strlen(told), sizeof(told) - strlen(told), "%c%d", asked->letter, pod && uses);
	if (asked->asks_again) {
		asked->asks_again = false;
		askers_add(asked->askers, on_answer, asked);
	}
}

TEST(each_is_answered_once)
{
	struct askers askers = {0};
	struct asked a = {&askers, 'a', true}, b = {&askers, 'b', false}, c = {&askers, 'c', false};
	struct wire_stats pod = {0};
	struct wire_use uses = {0};

	told[0] = '\0';
	askers_answer(&askers, &pod, &uses);
	askers_add(&askers, on_answer, &a);
	askers_add(&askers, on_answer, &b);
	askers_answer(&askers, &pod, &uses);
	askers_add(&askers, on_answer, &c);
	askers_cancel(&askers, &b);
	askers_answer(&askers, &pod, &uses); /* b's, for nobody */
	askers_answer(&askers, &pod, &uses);
	CHECK_STR(told, "a1a1");
	askers_add(&askers, on_answer, &b);
	askers_end(&askers);
	CHECK_STR(told, "a1a1c0b0");
	askers_end(&askers);
	askers_add(&askers, on_answer, &b);
	askers_free(&askers);
	askers_answer(&askers, &pod, &uses);
	CHECK_STR(told, "a1a1c0b0");
}

int main(void)
{
	RUN(each_is_answered_once);
	return test_done();
}
