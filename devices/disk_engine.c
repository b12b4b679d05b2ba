// SPDX-License-Identifier: Apache-2.0
/* disk_engine: see disk_engine.h. */
#include "devices/disk_engine.h"

#include <errno.h>
#include <unistd.h>

void disk_io_list_put(struct disk_io_list *list, struct disk_io *io)
{
	io->next = NULL;
	if (list->first)
		list->last->next = io;
	else
		list->first = io;
	list->last = io;
}

struct disk_io *disk_io_list_take(struct disk_io_list *list)
{
	struct disk_io *io = list->first;

	if (io)
		list->first = io->next;
	return io;
}

void disk_event_write(int event_fd, struct log_limit *limit)
{
	uint64_t one = 1;

	if (write(event_fd, &one, sizeof(one)) < 0)
		log_guest(limit, "disk: an event can not be signalled: errno %d", errno);
}
