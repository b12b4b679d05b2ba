/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hostile: a guest kernel of ours that drives podvm's devices itself and misuses them on purpose. It runs in place of Linux,
 *
 *	podvm --console --kernel build/hostile/hostile --append hostile=rings pod.json
 *
 * one mode per run (see modes[] in main.c). After every abuse it checks that another device still works and that a reset
 * heals the abused one. Each check is a line on the serial port; the last is "hostile: N checks passed, M failed". Then it
 * resets the machine, save in modes that end otherwise. tests/e2e/t_hostile.sh judges what podvm made of it.
 *
 * Freestanding, one CPU, interrupts off, polling. Shares no code with podvm, so that an error there is not repeated here.
 */
#ifndef TESTS_HOSTILE_HOSTILE_H
#define TESTS_HOSTILE_HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	MMIO_FIRST_GPA = 0xd0000000,
	MMIO_SLOT_BYTES = 4096,
	MMIO_SLOTS = 19,
};

/* ---- main.c ---- */

/* One check, one line. */
bool check(bool held, const char *what, const char *of);
/* A line that is no check; number is put behind it. */
void say(const char *text, uint64_t number);
/* Where RAM below 4 GiB ends. */
extern uint64_t ram_end_gpa;
_Noreturn void machine_reset(void);
/* rip of an exception nobody expected. */
void hostile_trapped(uint64_t rip);

void *memset(void *dst, int byte, size_t bytes);
void *memcpy(void *dst, const void *src, size_t bytes);
int memcmp(const void *a, const void *b, size_t bytes);

/* ---- start.S ---- */

extern volatile uint32_t trap_vector;
extern volatile uint64_t trap_resume, trap_rip;
bool probe_rdmsr(uint32_t msr, uint64_t *value);
bool probe_wrmsr(uint32_t msr, uint64_t value);
bool probe_vmcall(uint64_t number, uint64_t argument);
bool probe_vmmcall(uint64_t number, uint64_t argument);
bool probe_read(uint64_t address, unsigned width);
bool probe_write(uint64_t address, unsigned width, uint64_t value);
bool probe_odd_instructions(uint64_t address);

/* ---- the machine ---- */

static inline void out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t value;

	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t value;

	__asm__ volatile("inw %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t value;

	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static inline void mmio_write32(uint64_t gpa, uint32_t value)
{
	*(volatile uint32_t *)gpa = value;
}

static inline uint32_t mmio_read32(uint64_t gpa)
{
	return *(volatile uint32_t *)gpa;
}

/* ---- driver.c: virtio-mmio version 2, split rings (virtio 1.2, 2.7, 4.2) ---- */

enum {
	REG_MAGIC = 0x00,
	REG_DEVICE_ID = 0x08,
	REG_DEVICE_FEATURES = 0x10,
	REG_DEVICE_FEATURES_SEL = 0x14,
	REG_DRIVER_FEATURES = 0x20,
	REG_DRIVER_FEATURES_SEL = 0x24,
	REG_QUEUE_SEL = 0x30,
	REG_QUEUE_NUM_MAX = 0x34,
	REG_QUEUE_NUM = 0x38,
	REG_QUEUE_READY = 0x44,
	REG_NOTIFY = 0x50,
	REG_INTERRUPT_STATUS = 0x60,
	REG_INTERRUPT_ACK = 0x64,
	REG_STATUS = 0x70,
	REG_QUEUE_DESC = 0x80,
	REG_QUEUE_DRIVER = 0x90,
	REG_QUEUE_DEVICE = 0xa0,
	REG_CONFIG = 0x100,
	ST_ACKNOWLEDGE = 1,
	ST_DRIVER = 2,
	ST_DRIVER_OK = 4,
	ST_FEATURES_OK = 8,
	ST_NEEDS_RESET = 64,
	ID_NET = 1,
	ID_BLK = 2,
	ID_RNG = 4,
	ID_BALLOON = 5,
	ID_VSOCK = 19,
	ID_FS = 26,
	DESC_NEXT = 1,
	DESC_WRITE = 2,
	DESC_INDIRECT = 4,
	QUEUES_MAX = 5,
	DEVICES_MAX = 8,
	RING = 64, /* entries of an honest ring */
};
#define F_INDIRECT (UINT64_C(1) << 28)
#define F_EVENT_IDX (UINT64_C(1) << 29)
#define F_VERSION_1 (UINT64_C(1) << 32)

struct desc {
	uint64_t gpa;
	uint32_t bytes;
	uint16_t flags, next;
};

struct avail {
	uint16_t flags, idx, ring[RING], used_event;
};

struct used {
	uint16_t flags, idx;
	struct {
		uint32_t head, bytes;
	} ring[RING];
	uint16_t avail_event;
};

/* One page each, so that what is meant for one does not hit another. */
struct queue {
	struct desc desc[RING] __attribute__((aligned(4096)));
	struct avail avail __attribute__((aligned(4096)));
	struct used used __attribute__((aligned(4096)));
	uint8_t buffer[2][4096];
	uint16_t seen; /* used entries taken */
};

struct device {
	uint64_t gpa;
	uint32_t id;
	const char *name;
	unsigned queues;
	unsigned work; /* the queue whose chains the device takes at once */
	struct queue *queue;
};

extern struct device devices[DEVICES_MAX];
extern unsigned device_count;
void devices_find(void);
/* NULL when there is none. */
struct device *device_of(uint32_t id);

static inline void reg_write(const struct device *dev, unsigned reg, uint32_t value)
{
	mmio_write32(dev->gpa + reg, value);
}

static inline uint32_t reg_read(const struct device *dev, unsigned reg)
{
	return mmio_read32(dev->gpa + reg);
}

void device_reset(struct device *dev);
/* Reset to FEATURES_OK with features; false when refused. */
bool device_negotiate(struct device *dev, uint64_t features);
/* Any addresses and size for a queue, then QueueReady. */
void queue_set(struct device *dev, unsigned queue, uint32_t num, uint64_t desc, uint64_t avail, uint64_t used);
/* All of it, with clean honest rings, to DRIVER_OK. */
bool device_start(struct device *dev, uint64_t features);

/* Offers head; no kick. */
void queue_offer(struct queue *queue, uint16_t head);
void queue_kick(struct device *dev, unsigned queue);
/* Waits for the next used entry, for a while: its length, or -1. */
int64_t queue_wait(struct queue *queue);
/* One chain of out bytes and room for in bytes (0: no such part) in buffer[0] and buffer[1]: offered, kicked. */
void queue_send(struct device *dev, unsigned queue, uint32_t out, uint32_t in);
/* For a while: until the device says NEEDS_RESET. */
bool device_wait_broken(const struct device *dev);

/* Starts the device and has it do an honest piece of work: true when the answer is right. */
bool device_works(struct device *dev);
/* After an abuse of dev: another device works, and dev does after a reset. Two checks. */
void check_world(struct device *dev, const char *after);

/* ---- the abuses ---- */

void abuse_rings(void);
void abuse_registers(void);
void abuse_kicks(void);
void abuse_ports(void);
void abuse_memory(void);
void abuse_cpu(void);

#endif
