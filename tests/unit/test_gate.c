// SPDX-License-Identifier: Apache-2.0
/* test_gate: vm/gate.c with threads that stay inside until they are kicked, as vCPUs do in KVM_RUN. */
#include "vm/gate.h"

#include "lib/util.h"
#include "tests/unit/test.h"

#include <time.h>
#include <unistd.h>

enum { GUESTS = 3, ROUNDS = 1000 };

struct house {
	struct gate gate;
	struct gate_guest guests[GUESTS];
	pthread_t threads[GUESTS];
	bool kicked[GUESTS]; /* as run->immediate_exit */
	bool inside[GUESTS]; /* in what stands for guest code */
	unsigned long entries[GUESTS];
	unsigned impatient; /* of 8 stays, how many end by themselves */
};

struct guest {
	struct house *house;
	unsigned index;
};

static void kick(void *ctx, unsigned index)
{
	__atomic_store_n(&((struct house *)ctx)->kicked[index], true, __ATOMIC_SEQ_CST);
}

static void reset(void *ctx, unsigned index)
{
	__atomic_store_n(&((struct house *)ctx)->kicked[index], false, __ATOMIC_SEQ_CST);
}

static const struct gate_ops ops = {kick, reset};

static void *guest_main(void *ctx)
{
	struct guest guest = *(struct guest *)ctx;
	struct house *house = guest.house;
	unsigned i = guest.index;

	while (gate_enter(&house->gate, i)) {
		bool stays = house->entries[i] % 8 >= house->impatient;

		__atomic_store_n(&house->inside[i], true, __ATOMIC_SEQ_CST);
		__atomic_add_fetch(&house->entries[i], 1, __ATOMIC_SEQ_CST);
		while (stays && !__atomic_load_n(&house->kicked[i], __ATOMIC_SEQ_CST))
			sched_yield();
		__atomic_store_n(&house->inside[i], false, __ATOMIC_SEQ_CST);
		gate_leave(&house->gate, i);
	}
	return NULL;
}

static void house_init(struct house *house, unsigned impatient)
{
	*house = (struct house){.impatient = impatient};
	gate_init(&house->gate, &ops, house, house->guests, GUESTS);
}

static void house_start(struct house *house, struct guest guests[GUESTS])
{
	for (unsigned i = 0; i < GUESTS; i++) {
		guests[i] = (struct guest){house, i};
		pthread_create(&house->threads[i], NULL, guest_main, &guests[i]);
	}
}

static void house_end(struct house *house)
{
	gate_end(&house->gate);
	for (unsigned i = 0; i < GUESTS; i++)
		pthread_join(house->threads[i], NULL);
	gate_fini(&house->gate);
}

static unsigned insiders(struct house *house)
{
	unsigned count = 0;

	for (unsigned i = 0; i < GUESTS; i++)
		count += __atomic_load_n(&house->inside[i], __ATOMIC_SEQ_CST);
	return count;
}

static unsigned long entries(struct house *house)
{
	unsigned long sum = 0;

	for (unsigned i = 0; i < GUESTS; i++)
		sum += __atomic_load_n(&house->entries[i], __ATOMIC_SEQ_CST);
	return sum;
}

/* A lost kick or wake-up is a round that never ends: the runner's time limit tells. */
static void check_rounds(unsigned impatient)
{
	struct guest guests[GUESTS];
	struct house house;

	house_init(&house, impatient);
	house_start(&house, guests);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned long before;

		gate_close(&house.gate);
		before = entries(&house);
		if (insiders(&house) && !CHECK_INT(insiders(&house), 0))
			break;
		if (round % 64 == 0) {
			usleep(1000);
			CHECK_INT(entries(&house), before);
		}
		gate_open(&house.gate);
		while (round % 3 == 0 && entries(&house) == before)
			sched_yield(); /* they do go on */
	}
	house_end(&house);
	CHECK_INT(insiders(&house), 0);
}

TEST(closed_means_nobody_inside)
{
	check_rounds(0);
	check_rounds(7);
	check_rounds(8);
}

TEST(closed_before_anybody_came)
{
	struct guest guests[GUESTS];
	struct house house;

	house_init(&house, 0);
	gate_close(&house.gate);
	gate_close(&house.gate);
	CHECK(gate_closed(&house.gate));
	house_start(&house, guests);
	usleep(20000);
	CHECK_INT(entries(&house), 0);
	gate_open(&house.gate);
	gate_open(&house.gate);
	CHECK(!gate_closed(&house.gate));
	while (entries(&house) < GUESTS)
		sched_yield();
	house_end(&house);
}

TEST(the_end_comes_while_closed)
{
	struct guest guests[GUESTS];
	struct house house;

	house_init(&house, 0);
	house_start(&house, guests);
	while (entries(&house) < GUESTS)
		sched_yield();
	gate_close(&house.gate);
	house_end(&house);
	CHECK_INT(entries(&house), GUESTS);
	house_init(&house, 0);
	gate_end(&house.gate);
	CHECK(!gate_enter(&house.gate, 0));
	gate_open(&house.gate);
	CHECK(!gate_enter(&house.gate, 0));
	gate_fini(&house.gate);
}

/* The end races with entering. */
TEST(the_end_is_never_missed)
{
	for (unsigned round = 0; round < 200; round++) {
		struct guest guests[GUESTS];
		struct house house;

		house_init(&house, round % 9);
		house_start(&house, guests);
		if (round % 2)
			sched_yield();
		house_end(&house);
		CHECK_INT(insiders(&house), 0);
	}
}

int main(void)
{
	RUN(closed_means_nobody_inside);
	RUN(closed_before_anybody_came);
	RUN(the_end_comes_while_closed);
	RUN(the_end_is_never_missed);
	return test_done();
}
