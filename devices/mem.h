/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mem: guest memory, and the only way to reach it.
 *
 * A guest physical address (GPA) and a length become a host pointer in mem_ptr() and nowhere else. Guest memory
 * changes under our hands: what is checked must be copied first (mem_read) and the copy used.
 */
#ifndef DEVICES_MEM_H
#define DEVICES_MEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { MEM_REGIONS_MAX = 2 };

/* RAM lies in [0, MEM_GAP_GPA) and, what does not fit there, from MEM_HIGH_GPA on; between them are the devices. */
#define MEM_GAP_GPA UINT64_C(0xc0000000)
#define MEM_HIGH_GPA UINT64_C(0x100000000)

struct mem_region {
	uint64_t gpa, bytes;
	uint8_t *host;
};

struct mem {
	struct mem_region regions[MEM_REGIONS_MAX];
	unsigned count;
	uint64_t total_bytes;
	bool owned; /* mapped by mem_init(), unmapped by mem_fini() */
	bool zeroes; /* see mem_discard_zeroes() */
};

/* One private anonymous mapping of total_bytes (a multiple of the page size), laid out as above. 0 or -errno. */
int mem_init(struct mem *mem, uint64_t total_bytes);
/* Plain memory of the caller's as guest memory at GPA 0, for tests. */
void mem_init_buffer(struct mem *mem, void *buffer, uint64_t bytes);
void mem_fini(struct mem *mem);

/* Host pointer to [gpa, gpa + bytes), or NULL when any of it is outside one region. bytes 0 gives NULL. */
void *mem_ptr(const struct mem *mem, uint64_t gpa, uint64_t bytes);

/* The guest's address of a pointer into its memory; false when it is none. */
bool mem_gpa(const struct mem *mem, const void *ptr, uint64_t *gpa);

/*
 * Gives the whole host pages inside [gpa, gpa + bytes) back to the host; what is left at the ends stays as it is. Their
 * content is undefined afterwards, and zero if mem_discard_zeroes(). 0; -EINVAL when any byte is outside one region; else
 * the host's -errno.
 *
 * MADV_DONTNEED is what works for every private mapping. Anonymous memory then reads as zeros; of a file mapped privately
 * (a template) the guest's own copies go and the file shows again. MADV_FREE is refused for the latter, and of the former
 * the pages would count as podvm's until the host is short of memory; MADV_REMOVE is for shared memory alone.
 */
int mem_discard(const struct mem *mem, uint64_t gpa, uint64_t bytes);
/* True when discarded memory reads as zeros: it is anonymous. Who maps memory otherwise clears mem->zeroes. */
bool mem_discard_zeroes(const struct mem *mem);

/* Copies out of and into guest memory; false (and nothing done) when any byte is outside. */
bool mem_read(const struct mem *mem, uint64_t gpa, void *dst, size_t bytes);
bool mem_write(const struct mem *mem, uint64_t gpa, const void *src, size_t bytes);

#endif
