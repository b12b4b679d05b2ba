// SPDX-License-Identifier: Apache-2.0
/*
 * mem: guest memory. The one place where a guest address becomes a pointer; knows nothing of KVM or devices.
 */
#include "devices/mem.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

/* Where host and guest address agree below this size, KVM maps a huge page of the host as one of the guest's. */
enum { HUGE_PAGE_BYTES = 2 << 20 };

/* Lays total_bytes of RAM below and, where the devices' gap is in the way, above it. */
static void regions_lay_out(struct mem *mem, uint8_t *host, uint64_t total_bytes)
{
	uint64_t low = total_bytes < MEM_GAP_GPA ? total_bytes : MEM_GAP_GPA;

	mem->regions[0] = (struct mem_region){.gpa = 0, .bytes = low, .host = host};
	mem->count = 1;
	if (total_bytes > low)
		mem->regions[mem->count++] =
			(struct mem_region){.gpa = MEM_HIGH_GPA, .bytes = total_bytes - low, .host = host + low};
	mem->total_bytes = total_bytes;
	mem->zeroes = true;
}

/* Fresh memory at a multiple of HUGE_PAGE_BYTES, or NULL and errno. */
static uint8_t *memory_map(uint64_t bytes)
{
	uint8_t *mapped, *host;

	/* NORESERVE: a pod touches only what it uses; the host's overcommit policy must not count the rest. */
	mapped = mmap(NULL, bytes + HUGE_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mapped == MAP_FAILED)
		return NULL;
	host = (uint8_t *)(((uintptr_t)mapped + HUGE_PAGE_BYTES - 1) & ~(uintptr_t)(HUGE_PAGE_BYTES - 1));
	if (host > mapped)
		munmap(mapped, (size_t)(host - mapped));
	munmap(host + bytes, (size_t)(mapped + HUGE_PAGE_BYTES - host));
	return host;
}

int mem_init(struct mem *mem, uint64_t total_bytes)
{
	uint8_t *host;

	*mem = (struct mem){.count = 0};
	host = memory_map(total_bytes);
	if (!host)
		return -errno;
	/* Secrets of the guest do not belong in a core file of the VMM. */
	(void)madvise(host, total_bytes, MADV_DONTDUMP);
	regions_lay_out(mem, host, total_bytes);
	mem->owned = true;
	return 0;
}

void mem_init_buffer(struct mem *mem, void *buffer, uint64_t bytes)
{
	*mem = (struct mem){.count = 0};
	regions_lay_out(mem, buffer, bytes);
}

void mem_fini(struct mem *mem)
{
	if (mem->owned)
		munmap(mem->regions[0].host, mem->total_bytes);
	*mem = (struct mem){.count = 0};
}

void *mem_ptr(const struct mem *mem, uint64_t gpa, uint64_t bytes)
{
	for (unsigned i = 0; i < mem->count; i++) {
		const struct mem_region *region = &mem->regions[i];

		if (gpa < region->gpa || gpa - region->gpa >= region->bytes)
			continue;
		/* The start is inside; the subtraction can not wrap, so neither can the check of the end. */
		if (bytes == 0 || bytes > region->bytes - (gpa - region->gpa))
			return NULL;
		return region->host + (gpa - region->gpa);
	}
	return NULL;
}

bool mem_gpa(const struct mem *mem, const void *ptr, uint64_t *gpa)
{
	for (unsigned i = 0; i < mem->count; i++) {
		const struct mem_region *region = &mem->regions[i];
		uintptr_t offset = (uintptr_t)ptr - (uintptr_t)region->host;

		if ((uintptr_t)ptr < (uintptr_t)region->host || offset >= region->bytes)
			continue;
		*gpa = region->gpa + offset;
		return true;
	}
	return false;
}

int mem_discard(const struct mem *mem, uint64_t gpa, uint64_t bytes)
{
	uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), start, end;
	char *ptr = mem_ptr(mem, gpa, bytes);

	if (!ptr)
		return -EINVAL;
	/* Inwards: a page that is only partly meant holds something else as well. */
	start = ((uintptr_t)ptr + page - 1) & ~(page - 1);
	end = ((uintptr_t)ptr + bytes) & ~(page - 1);
	if (start >= end)
		return 0;
	return madvise(ptr + (start - (uintptr_t)ptr), end - start, MADV_DONTNEED) < 0 ? -errno : 0;
}

bool mem_discard_zeroes(const struct mem *mem)
{
	return mem->zeroes;
}

bool mem_read(const struct mem *mem, uint64_t gpa, void *dst, size_t bytes)
{
	const void *src = mem_ptr(mem, gpa, bytes);

	if (!src)
		return false;
	memcpy(dst, src, bytes);
	return true;
}

bool mem_write(const struct mem *mem, uint64_t gpa, const void *src, size_t bytes)
{
	void *dst = mem_ptr(mem, gpa, bytes);

	if (!dst)
		return false;
	memcpy(dst, src, bytes);
	return true;
}
