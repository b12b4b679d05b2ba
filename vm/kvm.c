// SPDX-License-Identifier: Apache-2.0
/*
 * kvm: the virtual machine: memory slots, vCPU threads, interrupt lines and ioeventfds. Knows no device and no pod.
 *
 * Theory of operation
 * -------------------
 * A vCPU thread runs KVM_RUN in a loop. What comes out of it is either a register access, carried out under the
 * loop's lock (save what every interrupt brings, see bus_access_unlocked()), or the end. Kicks pass through eventfds
 * and never come here. The end is told on the loop thread, by a task: callbacks of the story (vmm.c) never run on a
 * vCPU thread.
 *
 * An interrupt is two calls of KVM_IRQ_LINE, up and down. An irqfd would be one write(), but to a line of the I/O APIC
 * KVM can not deliver from there: it leaves that to a kernel thread, so every interrupt would cost two context
 * switches and the wait for them.
 *
 * To stop a vCPU its run->immediate_exit is set and a signal sent: the flag closes the gap between the check and
 * the entry into the guest that a signal alone would leave (Linux, Documentation/virt/kvm/api.rst, 5). Each KVM_RUN goes
 * through vm/gate.h, which holds them outside while the machine is paused and for good at the end. A register access
 * is outside: it may wait for the lock that who pauses the machine holds, and it is finished while the machine stands still.
 */
#include "vm/kvm.h"

#include "lib/log.h"
#include "lib/util.h"
#include "vm/gate.h"
#include "vm/kvm_arch.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
	VCPU_STACK_BYTES = 64 * 1024,
	EVENT_FDS_MAX = 128,
	LINES_MAX = 64,
};

struct kvm_line {
	pthread_mutex_t lock; /* up and down belong together: an up while it is up is no interrupt */
	int vm_fd;
	unsigned gsi;
};

struct vcpu {
	struct kvm *kvm;
	unsigned index;
	pthread_t thread;
	bool started;
	int fd;
	struct kvm_run *run;
};

struct kvm {
	struct kvm_config config;
	int kvm_fd, vm_fd;
	size_t run_bytes;
	struct vcpu vcpus[KVM_VCPUS_MAX];
	int event_fds[EVENT_FDS_MAX];
	unsigned event_fd_count;
	struct kvm_line lines[LINES_MAX];
	unsigned line_count;
	struct gate gate; /* what is inside runs guest code */
	struct gate_guest gate_guests[KVM_VCPUS_MAX];
	/* the end, told once; under loop_lock() */
	struct loop_task end_task;
	bool ended;
	enum kvm_end end_why;
	char end_detail[128];
};

static void end_tell(void *ctx)
{
	struct kvm *kvm = ctx;

	kvm->config.end(kvm->config.end_ctx, kvm->end_why, kvm->end_detail);
}

/* Under loop_lock(). The first reason counts. */
static void end_note(struct kvm *kvm, enum kvm_end why, const char *detail)
{
	if (kvm->ended)
		return;
	kvm->ended = true;
	kvm->end_why = why;
	snprintf(kvm->end_detail, sizeof(kvm->end_detail), "%s", detail);
	loop_task_post(kvm->config.loop, &kvm->end_task);
	loop_wake(kvm->config.loop);
}

void kvm_request_reset(struct kvm *kvm)
{
	end_note(kvm, KVM_END_RESET, "reset");
}

/* Out of KVM_RUN, or not into it. */
static void vcpu_kick(void *ctx, unsigned index)
{
	struct vcpu *vcpu = &((struct kvm *)ctx)->vcpus[index];

	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	pthread_kill(vcpu->thread, SIGRTMIN);
}

static void vcpu_kick_reset(void *ctx, unsigned index)
{
	__atomic_store_n(&((struct kvm *)ctx)->vcpus[index].run->immediate_exit, 0, __ATOMIC_SEQ_CST);
}

static const struct gate_ops gate_ops = {
	.kick = vcpu_kick,
	.reset = vcpu_kick_reset,
};

static void memory_slots_set(struct kvm *kvm)
{
	const struct mem *mem = kvm->config.mem;

	for (unsigned i = 0; i < mem->count; i++) {
		struct kvm_userspace_memory_region slot = {
			.slot = i,
			.guest_phys_addr = mem->regions[i].gpa,
			.memory_size = mem->regions[i].bytes,
			.userspace_addr = (uintptr_t)mem->regions[i].host,
		};

		if (ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
			die_errno(errno, "KVM refuses %llu MB of guest memory; give the pod less (resource.memory)",
				  (unsigned long long)(mem->total_bytes >> 20));
	}
}

/* Opens /dev/kvm; -errno. */
static int kvm_open(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int kvm_open_or_die(void)
{
	int fd = kvm_open();

	if (fd == -ENOENT)
		die("/dev/kvm is missing: this machine offers no KVM; see podvm doctor");
	if (fd == -EACCES || fd == -EPERM)
		die("/dev/kvm: permission denied: add yourself to the group kvm and log in again; see podvm doctor");
	if (fd < 0)
		die_errno(-fd, "/dev/kvm can not be opened; see podvm doctor");
	return fd;
}

/* KVM_CREATE_VM meets EINTR when a signal comes at the wrong time. */
static int vm_create(int kvm_fd)
{
	int fd;

	do
		fd = ioctl(kvm_fd, KVM_CREATE_VM, 0);
	while (fd < 0 && errno == EINTR);
	return fd < 0 ? -errno : fd;
}

struct kvm *kvm_new(const struct kvm_config *config)
{
	struct kvm *kvm = xcalloc(1, sizeof(*kvm));
	int run_bytes, err;

	assert(config->vcpus >= 1 && config->vcpus <= KVM_VCPUS_MAX);
	kvm->config = *config;
	kvm->end_task = (struct loop_task){.fn = end_tell, .ctx = kvm};
	gate_init(&kvm->gate, &gate_ops, kvm, kvm->gate_guests, config->vcpus);
	kvm->kvm_fd = kvm_open_or_die();
	if (ioctl(kvm->kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION)
		die("/dev/kvm speaks another API version than %d; a newer host kernel is needed", KVM_API_VERSION);
	kvm->vm_fd = vm_create(kvm->kvm_fd);
	if (kvm->vm_fd < 0)
		die_errno(-kvm->vm_fd, "KVM can not make a virtual machine; see podvm doctor");
	run_bytes = ioctl(kvm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (run_bytes < (int)sizeof(struct kvm_run))
		die_errno(errno, "KVM does not tell the size of a vCPU");
	kvm->run_bytes = (size_t)run_bytes;
	err = kvm_arch_vm_init(kvm->vm_fd);
	if (err)
		die_errno(-err, "KVM can not make the interrupt controllers");
	memory_slots_set(kvm);
	return kvm;
}

static int event_fd_new(struct kvm *kvm)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	if (fd < 0)
		die_errno(errno, "no event descriptor for a device; raise the limit of open files");
	assert(kvm->event_fd_count < EVENT_FDS_MAX);
	kvm->event_fds[kvm->event_fd_count++] = fd;
	return fd;
}

static void line_raise(void *ctx)
{
	struct kvm_line *line = ctx;
	struct kvm_irq_level up = {.irq = line->gsi, .level = 1}, down = {.irq = line->gsi};

	/* KVM took the line's number when it was made, and has no other reason to refuse. */
	pthread_mutex_lock(&line->lock);
	ioctl(line->vm_fd, KVM_IRQ_LINE, &up);
	ioctl(line->vm_fd, KVM_IRQ_LINE, &down);
	pthread_mutex_unlock(&line->lock);
}

struct irq_line kvm_irq_line(struct kvm *kvm, unsigned gsi)
{
	struct kvm_irq_level level = {.irq = gsi, .level = 0};
	struct kvm_line *line;

	if (ioctl(kvm->vm_fd, KVM_IRQ_LINE, &level) < 0)
		die_errno(errno, "KVM refuses interrupt line %u", gsi);
	assert(kvm->line_count < LINES_MAX);
	line = &kvm->lines[kvm->line_count++];
	pthread_mutex_init(&line->lock, NULL);
	line->vm_fd = kvm->vm_fd;
	line->gsi = gsi;
	return (struct irq_line){.raise = line_raise, .ctx = line};
}

int kvm_kick_fd(struct kvm *kvm, uint64_t gpa, uint32_t value)
{
	struct kvm_ioeventfd kick = {
		.datamatch = value,
		.addr = gpa,
		.len = sizeof(value),
		.flags = KVM_IOEVENTFD_FLAG_DATAMATCH,
	};

	kick.fd = event_fd_new(kvm);
	if (ioctl(kvm->vm_fd, KVM_IOEVENTFD, &kick) < 0)
		die_errno(errno, "KVM refuses a queue's kick descriptor");
	return kick.fd;
}

/* String instructions repeat one port: the data pointer moves, the port stays. */
static void exit_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct bus *bus = vcpu->kvm->config.pio;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	unsigned width = run->io.size;

	for (uint32_t i = 0; i < run->io.count; i++, data += width) {
		uint64_t value = 0;

		if (run->io.direction == KVM_EXIT_IO_IN) {
			value = bus_read(bus, run->io.port, width);
			memcpy(data, &value, width);
		} else {
			memcpy(&value, data, width);
			bus_write(bus, run->io.port, width, value);
		}
	}
}

static void exit_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	struct bus *bus = vcpu->kvm->config.mmio;
	uint64_t value = 0;
	unsigned width = MIN(run->mmio.len, 8u);

	if (run->mmio.is_write) {
		memcpy(&value, run->mmio.data, width);
		bus_write(bus, run->mmio.phys_addr, width, value);
	} else {
		value = bus_read(bus, run->mmio.phys_addr, width);
		memcpy(run->mmio.data, &value, width);
	}
}

/* True when the exit could be handled without the lock, which the loop may hold for a while. */
static bool exit_handle_unlocked(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint64_t value = 0;
	unsigned width;

	if (run->exit_reason != KVM_EXIT_MMIO)
		return false;
	width = MIN(run->mmio.len, 8u);
	if (run->mmio.is_write)
		memcpy(&value, run->mmio.data, width);
	if (!bus_access_unlocked(vcpu->kvm->config.mmio, run->mmio.phys_addr, width, run->mmio.is_write, &value))
		return false;
	if (!run->mmio.is_write)
		memcpy(run->mmio.data, &value, width);
	return true;
}

/* Handles one exit under the loop's lock; false when this machine has ended. */
static bool exit_handle(struct vcpu *vcpu)
{
	struct kvm *kvm = vcpu->kvm;
	struct kvm_run *run = vcpu->run;
	char detail[96];

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		exit_io(vcpu);
		return !kvm->ended;
	case KVM_EXIT_MMIO:
		exit_mmio(vcpu);
		return !kvm->ended;
	case KVM_EXIT_INTR:
		return true;
	case KVM_EXIT_SHUTDOWN:
		end_note(kvm, KVM_END_TRIPLE_FAULT, "triple fault");
		return false;
	case KVM_EXIT_SYSTEM_EVENT:
		end_note(kvm, KVM_END_RESET, "system event");
		return false;
	case KVM_EXIT_INTERNAL_ERROR:
		snprintf(detail, sizeof(detail), "KVM internal error %u", run->internal.suberror);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(detail, sizeof(detail), "KVM can not enter the guest, hardware reason 0x%llx",
			 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		break;
	default:
		snprintf(detail, sizeof(detail), "KVM exit %u", run->exit_reason);
	}
	end_note(kvm, KVM_END_ERROR, detail);
	return false;
}

static void *vcpu_thread(void *ctx)
{
	struct vcpu *vcpu = ctx;
	struct kvm *kvm = vcpu->kvm;
	bool go_on = true;

	while (go_on && gate_enter(&kvm->gate, vcpu->index)) {
		int err = ioctl(vcpu->fd, KVM_RUN, 0) < 0 ? errno : 0;

		gate_leave(&kvm->gate, vcpu->index);
		if (err == EINTR || err == EAGAIN || (!err && exit_handle_unlocked(vcpu)))
			continue;
		loop_lock(kvm->config.loop);
		if (err) {
			end_note(kvm, KVM_END_ERROR, strerror(err));
			go_on = false;
		} else {
			go_on = exit_handle(vcpu);
		}
		loop_unlock(kvm->config.loop);
	}
	return NULL;
}

static void vcpu_new(struct kvm *kvm, unsigned index, const struct kvm_entry *entry)
{
	struct vcpu *vcpu = &kvm->vcpus[index];
	int err;

	vcpu->kvm = kvm;
	vcpu->index = index;
	vcpu->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (vcpu->fd < 0)
		die_errno(errno, "KVM can not make vCPU %u; ask for fewer (resource.vcpu)", index);
	vcpu->run = mmap(NULL, kvm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED)
		die_errno(errno, "vCPU %u can not be mapped", index);
	err = kvm_arch_vcpu_init(kvm->kvm_fd, vcpu->fd, index, kvm->config.vcpus, entry);
	if (err)
		die_errno(-err, "KVM refuses the first state of vCPU %u", index);
}

static void kick_signal(int signo)
{
	(void)signo; /* it only has to interrupt KVM_RUN */
}

/* Threads start with every signal blocked but the kick, so that Ctrl-C and friends reach the loop alone. */
static void vcpu_spawn(struct vcpu *vcpu)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int err;

	sigfillset(&all);
	sigdelset(&all, SIGRTMIN);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, VCPU_STACK_BYTES);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&vcpu->thread, &attr, vcpu_thread, vcpu);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (err)
		die_errno(err, "no thread for a vCPU; raise the limit of processes");
	vcpu->started = true;
}

void kvm_start(struct kvm *kvm, const struct kvm_entry *entry)
{
	struct sigaction action = {.sa_handler = kick_signal};

	sigaction(SIGRTMIN, &action, NULL);
	for (unsigned i = 0; i < kvm->config.vcpus; i++)
		vcpu_new(kvm, i, entry);
	for (unsigned i = 0; i < kvm->config.vcpus; i++)
		vcpu_spawn(&kvm->vcpus[i]);
}

void kvm_pause(struct kvm *kvm)
{
	gate_close(&kvm->gate);
}

/* KVM_KVMCLOCK_CTRL: the guest's watchdog hears that the gap was not its fault. A guest without kvmclock has none. */
void kvm_resume(struct kvm *kvm)
{
	if (!gate_closed(&kvm->gate))
		return;
	for (unsigned i = 0; i < kvm->config.vcpus; i++)
		if (kvm->vcpus[i].started)
			ioctl(kvm->vcpus[i].fd, KVM_KVMCLOCK_CTRL, 0);
	gate_open(&kvm->gate);
}

static void vcpus_stop(struct kvm *kvm)
{
	gate_end(&kvm->gate);
	for (unsigned i = 0; i < kvm->config.vcpus; i++)
		if (kvm->vcpus[i].started)
			pthread_join(kvm->vcpus[i].thread, NULL);
}

void kvm_free(struct kvm *kvm)
{
	if (!kvm)
		return;
	vcpus_stop(kvm);
	gate_fini(&kvm->gate);
	loop_task_cancel(kvm->config.loop, &kvm->end_task);
	for (unsigned i = 0; i < kvm->config.vcpus; i++) {
		if (!kvm->vcpus[i].run)
			continue;
		munmap(kvm->vcpus[i].run, kvm->run_bytes);
		close(kvm->vcpus[i].fd);
	}
	for (unsigned i = 0; i < kvm->event_fd_count; i++)
		close(kvm->event_fds[i]);
	for (unsigned i = 0; i < kvm->line_count; i++)
		pthread_mutex_destroy(&kvm->lines[i].lock);
	close(kvm->vm_fd);
	close(kvm->kvm_fd);
	free(kvm);
}

/*
 * The check: a guest of one page that counts down. Hardware does hundreds of millions of instructions a second,
 * also nested; a KVM that interprets them does a few million.
 */
enum { CHECK_RATE_MIN = 20 * 1000 * 1000, CHECK_TRIES = 3, CHECK_PAGE_BYTES = 4096 };

/* Runs the loop on a fresh machine; nanoseconds in *took_ns. 0 or -errno. */
static int check_run(int kvm_fd, void *page, uint64_t *took_ns)
{
	struct kvm_userspace_memory_region slot = {.memory_size = CHECK_PAGE_BYTES, .userspace_addr = (uintptr_t)page};
	int vm_fd = vm_create(kvm_fd), vcpu_fd = -1, err;
	int run_bytes = ioctl(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	struct kvm_run *run = MAP_FAILED;
	uint64_t start;

	if (vm_fd < 0)
		return vm_fd;
	if (ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0 || (vcpu_fd = ioctl(vm_fd, KVM_CREATE_VCPU, 0)) < 0)
		goto failed;
	run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu_fd, 0);
	if (run == MAP_FAILED)
		goto failed;
	err = kvm_arch_check_init(vcpu_fd);
	if (err)
		goto done;
	start = clock_mono_ns();
	do
		err = ioctl(vcpu_fd, KVM_RUN, 0) < 0 ? -errno : 0;
	while (err == -EINTR);
	*took_ns = clock_mono_ns() - start;
	if (!err && run->exit_reason != KVM_EXIT_HLT)
		err = -EIO;
	goto done;

failed:
	err = -errno;
done:
	if (run != MAP_FAILED)
		munmap(run, (size_t)run_bytes);
	if (vcpu_fd >= 0)
		close(vcpu_fd);
	close(vm_fd);
	return err;
}

/* The best of a few tries: a busy machine may interrupt one, and being slow once proves nothing. */
static int check_rate(int kvm_fd, uint64_t *instructions_per_s)
{
	uint64_t instructions, took_ns = 0, rate;
	void *page = mmap(NULL, CHECK_PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int err = 0;

	if (page == MAP_FAILED)
		return -errno;
	kvm_arch_check_code(page, CHECK_PAGE_BYTES, &instructions);
	for (unsigned i = 0; i < CHECK_TRIES && !err && *instructions_per_s < CHECK_RATE_MIN; i++) {
		err = check_run(kvm_fd, page, &took_ns);
		rate = instructions * UINT64_C(1000000000) / MAX(took_ns, UINT64_C(1));
		if (!err)
			*instructions_per_s = MAX(*instructions_per_s, rate);
	}
	munmap(page, CHECK_PAGE_BYTES);
	return err;
}

struct kvm_report kvm_check(void)
{
	struct kvm_report report = {.health = KVM_OK};
	int kvm_fd = kvm_open();

	if (kvm_fd < 0) {
		report.err = -kvm_fd;
		report.health = kvm_fd == -ENOENT			? KVM_MISSING
				: kvm_fd == -EACCES || kvm_fd == -EPERM ? KVM_NO_PERMISSION
									: KVM_BROKEN;
		return report;
	}
	report.err = -check_rate(kvm_fd, &report.instructions_per_s);
	close(kvm_fd);
	if (report.err)
		report.health = KVM_BROKEN;
	else if (report.instructions_per_s < CHECK_RATE_MIN)
		report.health = KVM_EMULATED;
	return report;
}

/* The test takes time of the start, so only where it is likely to fail. */
void kvm_refuse_emulated(void)
{
	char *info, *flags;
	size_t bytes;
	bool hardware = true;

	if (file_read("/proc/cpuinfo", 16 << 20, &info, &bytes) == 0) {
		flags = strstr(info, "\nflags");
		if (flags) {
			flags[strcspn(flags + 1, "\n") + 1] = '\0';
			hardware = strstr(flags, " vmx") || strstr(flags, " svm");
		}
		free(info);
	}
	if (!hardware && kvm_check().health == KVM_EMULATED)
		die("KVM on this machine only emulates, no pod would ever start; see podvm doctor");
}
