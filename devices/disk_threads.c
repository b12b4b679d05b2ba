// SPDX-License-Identifier: Apache-2.0
/*
 * disk_threads: steps of input and output by a few worker threads, for hosts whose kernel has or allows no io_uring.
 *
 * Theory of operation. Two lists under one mutex: what waits and what is done. A worker sleeps on the condition, takes
 * the first that waits, makes its system call without the mutex, and puts it on the other list; who finds that list
 * empty writes event_fd, so that many completions are one wake of the loop. Threads are started one by one, when
 * something waits and none is idle, and stay until the disk is closed. They touch nothing but their step.
 */
#define _GNU_SOURCE
#include "devices/disk_engine.h"

#include "lib/log.h"
#include "lib/util.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { WORKERS_MAX = 4, STACK_BYTES = 128 << 10 };

struct threads {
	struct disk_engine engine;
	int event_fd;
	pthread_mutex_t mutex;
	pthread_cond_t more;
	struct disk_io_list waiting, done;
	unsigned waiting_count, idle, workers;
	bool stop;
	pthread_t ids[WORKERS_MAX];
	struct log_limit limit;
};

static struct threads *threads_of(struct disk_engine *engine)
{
	return CONTAINER_OF(engine, struct threads, engine);
}

static int64_t io_call(const struct disk_io *io)
{
	int64_t result = -1;

	switch (io->op) {
	case DISK_IO_READ:
		result = preadv(io->fd, io->iov, (int)io->iov_count, (off_t)io->offset);
		break;
	case DISK_IO_WRITE: /* musl has no pwritev2(); on 64 bits the offset is one argument, and 0 */
		result = syscall(SYS_pwritev2, io->fd, io->iov, (unsigned long)io->iov_count, (long)io->offset, 0L,
				 io->flags);
		break;
	case DISK_IO_SYNC:
		result = fdatasync(io->fd);
		break;
	case DISK_IO_FALLOCATE:
		result = fallocate(io->fd, io->flags, (off_t)io->offset, (off_t)io->bytes);
		break;
	}
	return result < 0 ? -errno : result;
}

/* With the mutex held. */
static void done_put(struct threads *threads, struct disk_io *io)
{
	if (!threads->done.first)
		disk_event_write(threads->event_fd, &threads->limit);
	disk_io_list_put(&threads->done, io);
}

static void *worker(void *ctx)
{
	struct threads *threads = ctx;

	pthread_mutex_lock(&threads->mutex);
	while (!threads->stop) {
		struct disk_io *io = disk_io_list_take(&threads->waiting);

		if (!io) {
			threads->idle++;
			pthread_cond_wait(&threads->more, &threads->mutex);
			threads->idle--;
			continue;
		}
		threads->waiting_count--;
		pthread_mutex_unlock(&threads->mutex);
		io->result = io_call(io);
		pthread_mutex_lock(&threads->mutex);
		done_put(threads, io);
	}
	pthread_mutex_unlock(&threads->mutex);
	return NULL;
}

/* One more, taking no signals. Not under the mutex. */
static int worker_start(struct threads *threads)
{
	pthread_attr_t attr;
	sigset_t all, before;
	int err;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	err = pthread_create(&threads->ids[threads->workers], &attr, worker, threads);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (err)
		return -err;
	pthread_setname_np(threads->ids[threads->workers], "disk");
	threads->workers++;
	return 0;
}

static void waiting_fail(struct threads *threads, int err)
{
	struct disk_io *io;

	while ((io = disk_io_list_take(&threads->waiting))) {
		io->result = err;
		done_put(threads, io);
	}
	threads->waiting_count = 0;
}

static void threads_submit(struct disk_engine *engine, struct disk_io *io)
{
	struct threads *threads = threads_of(engine);

	pthread_mutex_lock(&threads->mutex);
	disk_io_list_put(&threads->waiting, io);
	threads->waiting_count++;
	pthread_mutex_unlock(&threads->mutex);
}

static void threads_go(struct disk_engine *engine)
{
	struct threads *threads = threads_of(engine);
	unsigned waiting, idle;
	int err = 0;

	pthread_mutex_lock(&threads->mutex);
	waiting = threads->waiting_count;
	idle = threads->idle;
	if (waiting)
		pthread_cond_broadcast(&threads->more);
	pthread_mutex_unlock(&threads->mutex);
	for (; waiting > idle && threads->workers < WORKERS_MAX && !err; waiting--)
		err = worker_start(threads);
	if (!err || threads->workers)
		return; /* fewer do as well */
	log_guest(&threads->limit, "disk: no thread for input and output: errno %d", -err);
	pthread_mutex_lock(&threads->mutex);
	waiting_fail(threads, -EIO);
	pthread_mutex_unlock(&threads->mutex);
}

static struct disk_io *threads_reap(struct disk_engine *engine)
{
	struct threads *threads = threads_of(engine);
	struct disk_io *io;

	pthread_mutex_lock(&threads->mutex);
	io = disk_io_list_take(&threads->done);
	pthread_mutex_unlock(&threads->mutex);
	return io;
}

static void threads_cancel(struct disk_engine *engine)
{
	struct threads *threads = threads_of(engine);

	pthread_mutex_lock(&threads->mutex);
	waiting_fail(threads, -ECANCELED);
	pthread_mutex_unlock(&threads->mutex);
}

static void threads_free(struct disk_engine *engine)
{
	struct threads *threads = threads_of(engine);

	pthread_mutex_lock(&threads->mutex);
	threads->stop = true;
	pthread_cond_broadcast(&threads->more);
	pthread_mutex_unlock(&threads->mutex);
	for (unsigned i = 0; i < threads->workers; i++)
		pthread_join(threads->ids[i], NULL);
	pthread_cond_destroy(&threads->more);
	pthread_mutex_destroy(&threads->mutex);
	free(threads);
}

static const struct disk_engine_ops threads_ops = {
	.name = "threads",
	.submit = threads_submit,
	.go = threads_go,
	.reap = threads_reap,
	.cancel = threads_cancel,
	.free = threads_free,
};

struct disk_engine *disk_threads_new(int event_fd)
{
	struct threads *threads = xcalloc(1, sizeof(*threads));

	threads->engine.ops = &threads_ops;
	threads->event_fd = event_fd;
	pthread_mutex_init(&threads->mutex, NULL);
	pthread_cond_init(&threads->more, NULL);
	return &threads->engine;
}
