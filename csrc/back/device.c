/// Devices as callers see them, and who has which part of them.
#include <string.h>
#include <sys/mman.h>

#include "back/back.h"

void pm_device_options_default(struct pm_device_options *ret)
{
	*ret = (struct pm_device_options){ .nr_blocks = 1 << 16, .read_ns = 100 * 1000, .write_ns = 100 * 1000, .depth = 32, .contents = 1 };
}

static enum pm_status check_options(const struct pm_machine *m, const struct pm_device_options *options)
{
	if (options->nr_blocks == 0 || options->nr_blocks > PM_NIL_PFN - 1u || options->depth == 0 || options->contents > 1)
		return PM_ERR_INVAL;
	/* A due time must not wrap around: no transfer lasts a century. */
	if (options->read_ns >> 61 || options->write_ns >> 61)
		return PM_ERR_INVAL;
	return options->contents && !pm_has_contents(m) ? PM_ERR_NO_CONTENTS : PM_OK;
}

static size_t store_bytes(const struct pm_device *device)
{
	return (size_t)device->options.nr_blocks << PM_PAGE_SHIFT;
}

static enum pm_status make_store(struct pm_machine *m, struct pm_device *device)
{
	void *store;

	device->store = NULL;
	if (!device->options.contents)
		return PM_OK;
	if (pm_host_fails(&m->host))
		return PM_ERR_NOMEM;
	store = mmap(NULL, store_bytes(device), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (store == MAP_FAILED)
		return PM_ERR_NOMEM;
	device->store = store;
	return PM_OK;
}

/// As it is when nothing has happened to it yet. The lock is held, so that late comers of an earlier life see one or the other.
static void reset(struct pm_device *device) PM_REQUIRES(device->lock)
{
	device->handle = 0;
	device->extents = (struct pm_interval_tree){ 0 };
	device->nr_used = 0;
	device->service = device->queue = NULL;
	device->queue_tail = &device->queue;
	device->in_service = device->queued = device->stuck = 0;
	device->fail = device->stick = (struct pm_device_fault){ 0 };
	device->bad_first = device->bad_nr = 0;
	device->reads = device->writes = device->errors = 0;
	atomic_store(&device->next, 0);
}

enum pm_status pm_device_make(struct pm_machine *m, const struct pm_device_options *options, struct pm_device **ret)
{
	enum pm_status status = check_options(m, options);
	struct pm_device *device;

	if (status)
		return status;
	device = pm_pool_get(&m->back->devices);
	if (!device)
		return PM_ERR_NOMEM;
	if (!device->made)
		pm_lock_init(&device->lock, PM_RANK_DEVICE);
	device->made = true;
	pm_lock(&device->lock);
	device->options = *options;
	reset(device);
	pm_unlock(&device->lock);
	status = make_store(m, device);
	if (status)
		pm_pool_put(&m->back->devices, device);
	else
		*ret = device;
	return status;
}

void pm_device_end(struct pm_machine *m, struct pm_device *device)
{
	PM_ASSERT(!device->service && !device->queue && device->nr_used == 0);
	if (device->store)
		munmap(device->store, store_bytes(device));
	device->store = NULL;
	pm_pool_put(&m->back->devices, device);
}

enum pm_status pm_device_create(struct pm_machine *m, const struct pm_device_options *options, uint64_t *ret)
{
	struct pm_call call;
	struct pm_device *device;
	enum pm_status status = pm_back_begin(m, 0, &call);

	if (status)
		return status;
	status = pm_device_make(m, options, &device);
	if (!status) {
		/* Nobody knows the handle yet. */
		pm_lock(&device->lock);
		device->handle = pm_pool_publish(&m->back->devices, device);
		*ret = device->handle;
		pm_unlock(&device->lock);
	}
	pm_call_end(&call);
	return status;
}

/// The device of a handle, locked. PM_ERR_HANDLE: nothing is.
static enum pm_status lock_device(struct pm_machine *m, uint64_t handle, struct pm_device **ret) PM_NO_TSA
{
	struct pm_device *device = pm_pool_find(&m->back->devices, handle);

	if (!device)
		return PM_ERR_HANDLE;
	pm_lock(&device->lock);
	/* It goes only with its lock held, so from here on it stays. */
	if (pm_pool_is(&m->back->devices, device, handle)) {
		*ret = device;
		return PM_OK;
	}
	pm_unlock(&device->lock);
	return PM_ERR_HANDLE;
}

static void unlock_device(struct pm_device *device) PM_NO_TSA
{
	pm_unlock(&device->lock);
}

/// A call on a device, which it finds locked. end_call() ends both.
static enum pm_status begin_call(struct pm_machine *m, uint64_t handle, struct pm_call *call, struct pm_device **ret)
{
	enum pm_status status = pm_back_begin(m, 0, call);

	if (status)
		return status;
	status = lock_device(m, handle, ret);
	if (status)
		pm_call_end(call);
	return status;
}

static void end_call(struct pm_call *call, struct pm_device *device)
{
	unlock_device(device);
	pm_call_end(call);
}

enum pm_status pm_device_destroy(struct pm_machine *m, uint64_t handle)
{
	struct pm_device *device;
	struct pm_call call;
	enum pm_status status = begin_call(m, handle, &call, &device);

	if (status)
		return status;
	if (device->nr_used || device->service || device->queue)
		status = PM_ERR_BUSY;
	else
		pm_pool_unpublish_any(&m->back->devices, device);
	unlock_device(device);
	if (!status)
		pm_device_end(m, device);
	pm_call_end(&call);
	return status;
}

static enum pm_status set_fault(struct pm_machine *m, uint64_t handle, struct pm_device_fault fault, bool stick)
{
	struct pm_device *device;
	struct pm_call call;
	enum pm_status status = fault.io == 0 || fault.io > PM_IO_BOTH ? PM_ERR_INVAL : begin_call(m, handle, &call, &device);

	if (status)
		return status;
	*(stick ? &device->stick : &device->fail) = fault;
	end_call(&call, device);
	return PM_OK;
}

enum pm_status pm_device_fail(struct pm_machine *m, uint64_t handle, uint32_t io, uint64_t nth, bool from_then_on)
{
	return set_fault(m, handle, (struct pm_device_fault){ io, nth, from_then_on }, false);
}

enum pm_status pm_device_stick(struct pm_machine *m, uint64_t handle, uint32_t io, uint64_t nth)
{
	return set_fault(m, handle, (struct pm_device_fault){ io, nth, false }, true);
}

enum pm_status pm_device_bad_blocks(struct pm_machine *m, uint64_t handle, uint64_t first, uint64_t nr)
{
	struct pm_device *device;
	struct pm_call call;
	enum pm_status status = begin_call(m, handle, &call, &device);

	if (status)
		return status;
	if (first > device->options.nr_blocks || nr > device->options.nr_blocks - first) {
		status = PM_ERR_RANGE;
	} else {
		device->bad_first = first;
		device->bad_nr = nr;
	}
	end_call(&call, device);
	return status;
}

enum pm_status pm_device_release(struct pm_machine *m, uint64_t handle, bool fail, uint64_t *ret)
{
	struct pm_transfer *transfer, *freed = NULL, **link, **tail = &freed;
	uint64_t now, nr = 0;
	struct pm_device *device;
	struct pm_call call;
	enum pm_status status = begin_call(m, handle, &call, &device);

	if (status)
		return status;
	now = pm_back_now(m->back);
	for (link = &device->service; (transfer = *link) != NULL;) {
		if (!transfer->stuck) {
			link = &transfer->next;
			continue;
		}
		*link = transfer->next;
		transfer->stuck = false;
		transfer->due_ns = now;
		transfer->fails |= fail;
		transfer->next = NULL;
		*tail = transfer;
		tail = &transfer->next;
		nr++;
	}
	device->stuck = 0;
	/* Due now: before all that is still to come, and what is overdue as well ends in the same poll. */
	*tail = device->service;
	device->service = freed;
	if (nr)
		atomic_store(&device->next, now + 1);
	unlock_device(device);
	(void)pm_back_poll(m->back, now);
	pm_call_end(&call);
	*ret = nr;
	return PM_OK;
}

enum pm_status pm_device_peek(struct pm_machine *m, uint64_t handle, uint64_t block, void *bytes)
{
	struct pm_device *device;
	struct pm_call call;
	enum pm_status status = begin_call(m, handle, &call, &device);

	if (status)
		return status;
	if (block >= device->options.nr_blocks)
		status = PM_ERR_RANGE;
	else if (!device->store)
		status = PM_ERR_NO_CONTENTS;
	else
		memcpy(bytes, device->store + (block << PM_PAGE_SHIFT), PM_PAGE_SIZE);
	end_call(&call, device);
	return status;
}

enum pm_status pm_device_info(struct pm_machine *m, uint64_t handle, struct pm_device_info *ret)
{
	struct pm_device *device;
	struct pm_call call;
	enum pm_status status = begin_call(m, handle, &call, &device);

	if (status)
		return status;
	*ret = (struct pm_device_info){
		.nr_blocks = device->options.nr_blocks, .nr_used = device->nr_used, .in_service = device->in_service, .queued = device->queued,
		.stuck = device->stuck, .reads = device->reads, .writes = device->writes, .errors = device->errors,
		.next_ns = pm_device_due(device),
	};
	end_call(&call, device);
	return PM_OK;
}

/// The first room for `nr` blocks in a row. False: there is none.
static bool find_room(const struct pm_device *device, uint64_t nr, uint64_t *ret) PM_REQUIRES(device->lock)
{
	const struct pm_interval *node;
	uint64_t at = 0;

	for (node = pm_interval_at_or_after(&device->extents, 0); node && node->start - at < nr; node = pm_interval_at_or_after(&device->extents, at))
		at = node->last + 1;
	*ret = at;
	return nr <= device->options.nr_blocks - at;
}

static enum pm_status take_locked(struct pm_device *device, uint64_t nr, struct pm_extent *ret) PM_REQUIRES(device->lock)
{
	uint64_t start;

	if (!find_room(device, nr, &start))
		return PM_ERR_NO_BLOCK;
	*ret = (struct pm_extent){ .node = { .start = start, .last = start + nr - 1 }, .device = device };
	pm_interval_insert(&device->extents, &ret->node);
	device->nr_used += nr;
	return PM_OK;
}

enum pm_status pm_extent_take(struct pm_device *device, uint64_t nr, struct pm_extent *ret)
{
	enum pm_status status;

	pm_lock(&device->lock);
	status = take_locked(device, nr, ret);
	pm_unlock(&device->lock);
	return status;
}

enum pm_status pm_extent_find(struct pm_machine *m, uint64_t handle, uint64_t nr, struct pm_extent *ret) PM_NO_TSA
{
	struct pm_device *device;
	enum pm_status status = lock_device(m, handle, &device);

	if (status)
		return status;
	status = take_locked(device, nr, ret);
	unlock_device(device);
	return status;
}

static void discard_locked(struct pm_device *device, uint64_t first, uint64_t last) PM_REQUIRES(device->lock)
{
	/* The host has its memory back as well. */
	if (device->store && first <= last)
		(void)madvise(device->store + (first << PM_PAGE_SHIFT), (size_t)(last - first + 1) << PM_PAGE_SHIFT, MADV_DONTNEED);
}

void pm_extent_discard(struct pm_extent *extent, uint64_t offset)
{
	struct pm_device *device = extent->device;

	pm_lock(&device->lock);
	discard_locked(device, extent->node.start + offset, extent->node.last);
	pm_unlock(&device->lock);
}

void pm_extent_give(struct pm_extent *extent)
{
	struct pm_device *device = extent->device;
	uint64_t nr = extent->node.last - extent->node.start + 1;

	pm_lock(&device->lock);
	/* Whoever gets the blocks next finds zeros. */
	discard_locked(device, extent->node.start, extent->node.last);
	pm_interval_remove(&device->extents, &extent->node);
	device->nr_used -= nr;
	pm_unlock(&device->lock);
}
