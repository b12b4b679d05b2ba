/* SPDX-License-Identifier: Apache-2.0 */
/* test_cgroup: what a container may use if its file does not say, and when it needs a cgroup; the files are a kernel's. */
#include "init/cgroup.h"
#include "tests/unit/test.h"

TEST(default_of_processes_grows_with_memory)
{
	CHECK_INT(cgroup_pids_default(SPEC_MEMORY_MB_MIN), 48);
	CHECK_INT(cgroup_pids_default(SPEC_MEMORY_MB_DEFAULT), 256);
	CHECK_INT(cgroup_pids_default(1024), 2048);
	CHECK_INT(cgroup_pids_default(SPEC_MEMORY_MB_MAX), 16384);
}

TEST(needed_for_limits_only)
{
	CHECK(!cgroup_is_needed(&(struct spec_container){0}));
	CHECK(cgroup_is_needed(&(struct spec_container){.pids = 1}));
	CHECK(cgroup_is_needed(&(struct spec_container){.memory_mb = 4}));
	CHECK(cgroup_is_needed(&(struct spec_container){.cpu_milli = 10}));
}

int main(void)
{
	RUN(default_of_processes_grows_with_memory);
	RUN(needed_for_limits_only);
	return test_done();
}
