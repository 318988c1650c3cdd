/// Transfers in time: queue, service, end.
#include <string.h>

#include "back/back.h"

/// A thread that waits looks at least so often whether a transfer that somebody else began, and does not wait for, has ended.
enum { PM_IDLE_NS = 10 * 1000 * 1000 };

struct pm_transfer *pm_transfer_make(struct pm_machine *m, uint32_t io, struct pm_pfn pfn)
{
	struct pm_transfer *transfer = pm_host_zalloc(&m->host, sizeof(*transfer));

	if (!transfer)
		return NULL;
	transfer->io = io;
	transfer->pfn = pfn;
	return transfer;
}

void pm_transfer_aim(struct pm_transfer *transfer, const struct pm_extent *extent, uint64_t offset)
{
	transfer->device = extent->device;
	transfer->block = pm_extent_block(extent, offset);
}

void pm_transfer_free(struct pm_machine *m, struct pm_transfer *transfer)
{
	pm_host_free(&m->host, transfer);
}

/// Does this fault hit the transfer? Counts it.
static bool fault_hits(struct pm_device_fault *fault, uint32_t io)
{
	if (!fault->nth || !(fault->io & io))
		return false;
	if (fault->nth > 1) {
		fault->nth--;
		return false;
	}
	if (!fault->from_then_on)
		fault->nth = 0;
	return true;
}

static void note_next(struct pm_device *device) PM_REQUIRES(device->lock)
{
	/* A stuck one's due time is the last there is, and wraps to "none". */
	atomic_store(&device->next, device->service ? device->service->due_ns + 1 : 0);
}

/// Puts a transfer into service at `at`, behind those that end no later.
static void start(struct pm_device *device, struct pm_transfer *transfer, uint64_t at) PM_REQUIRES(device->lock)
{
	uint64_t from = at > transfer->submitted_ns ? at : transfer->submitted_ns;
	struct pm_transfer **link = &device->service;

	transfer->due_ns = transfer->stuck ? UINT64_MAX : from + (transfer->io == PM_IO_READ ? device->options.read_ns : device->options.write_ns);
	device->in_service++;
	if (transfer->stuck)
		device->stuck++;
	while (*link && (*link)->due_ns <= transfer->due_ns)
		link = &(*link)->next;
	transfer->next = *link;
	*link = transfer;
	note_next(device);
}

void pm_transfer_submit(struct pm_machine *m, struct pm_transfer *transfer)
{
	struct pm_device *device = transfer->device;
	uint64_t now = pm_back_now(m->back), due;

	pm_lock(&device->lock);
	transfer->submitted_ns = now;
	transfer->fails = fault_hits(&device->fail, transfer->io);
	if (transfer->block - device->bad_first < device->bad_nr)
		transfer->fails = true;
	transfer->stuck = fault_hits(&device->stick, transfer->io);
	if (device->in_service < device->options.depth) {
		start(device, transfer, now);
	} else {
		transfer->next = NULL;
		*device->queue_tail = transfer;
		device->queue_tail = &transfer->next;
		device->queued++;
	}
	due = pm_device_due(device);
	pm_unlock(&device->lock);
	if (due <= now)
		(void)pm_device_poll(m, device, now);
}

/// Moves the bytes. Under the device's lock: transfers of one block do not meet.
static void move_bytes(struct pm_machine *m, struct pm_device *device, const struct pm_transfer *transfer) PM_REQUIRES(device->lock)
{
	char *block = device->store ? device->store + (transfer->block << PM_PAGE_SHIFT) : NULL;

	if (!pm_has_contents(m))
		return;
	if (transfer->io == PM_IO_WRITE) {
		if (block)
			memcpy(block, pm_frame_bytes(m, transfer->pfn), PM_PAGE_SIZE);
	} else if (block) {
		memcpy(pm_frame_bytes(m, transfer->pfn), block, PM_PAGE_SIZE);
	} else {
		memset(pm_frame_bytes(m, transfer->pfn), 0, PM_PAGE_SIZE);
	}
}

/// Takes the first transfer out of service if it is due, moves its bytes, and lets the next one in. NULL: none is due.
static struct pm_transfer *take_due(struct pm_machine *m, struct pm_device *device, uint64_t now) PM_REQUIRES(device->lock)
{
	struct pm_transfer *transfer = device->service, *next = device->queue;

	if (!transfer || transfer->due_ns > now)
		return NULL;
	device->service = transfer->next;
	device->in_service--;
	if (next) {
		device->queue = next->next;
		if (!device->queue)
			device->queue_tail = &device->queue;
		device->queued--;
		start(device, next, transfer->due_ns);
	}
	note_next(device);
	*(transfer->io == PM_IO_READ ? &device->reads : &device->writes) += 1;
	if (transfer->fails)
		device->errors++;
	else
		move_bytes(m, device, transfer);
	return transfer;
}

/// What follows once a transfer has ended.
static void finish(struct pm_machine *m, struct pm_transfer *transfer, enum pm_status status)
{
	if (status)
		pm_back_count(m, PM_BE_IO_ERROR, 1);
	transfer->done(m, transfer, status);
	pm_transfer_free(m, transfer);
	/* Sequentially consistent: partner of the look in pm_back_wait_transfer(). */
	(void)atomic_fetch_add(&m->back->nr_ended, 1);
	(void)pm_wake_all(&m->virt->waits, pm_wait_key(&m->back->nr_ended));
}

uint64_t pm_device_poll(struct pm_machine *m, struct pm_device *device, uint64_t now)
{
	uint64_t next;

	/* Without the lock: who submits later polls himself, or is found by the next who waits. */
	while ((next = pm_device_due(device)) <= now) {
		struct pm_transfer *transfer;

		pm_lock(&device->lock);
		transfer = take_due(m, device, now);
		pm_unlock(&device->lock);
		if (!transfer)
			continue;
		finish(m, transfer, transfer->fails ? PM_ERR_IO : PM_OK);
	}
	return next;
}

void pm_device_abort(struct pm_machine *m, struct pm_device *device)
{
	for (;;) {
		struct pm_transfer *transfer;

		pm_lock(&device->lock);
		for (transfer = device->service; transfer; transfer = transfer->next) {
			transfer->stuck = false;
			transfer->fails = true;
			transfer->due_ns = 0;
		}
		device->stuck = 0;
		transfer = take_due(m, device, 0);
		pm_unlock(&device->lock);
		if (!transfer)
			return;
		finish(m, transfer, PM_ERR_IO);
	}
}

uint64_t pm_back_now(const struct pm_back *back)
{
	struct pm_virt *virt = back->m->virt;

	return virt->options.now_ns ? virt->options.now_ns(virt->options.context) : atomic_load(&virt->clock_ns);
}

/// Places of the pool that were used at least once. A device that is dead has nothing under way.
static uint32_t nr_devices(struct pm_back *back)
{
	uint32_t nr;

	pm_lock(&back->devices.lock);
	nr = back->devices.nr_made;
	pm_unlock(&back->devices.lock);
	return nr;
}

static uint64_t next_due(struct pm_back *back)
{
	uint64_t next = UINT64_MAX;
	uint32_t i, nr = nr_devices(back);

	for (i = 1; i <= nr; i++) {
		uint64_t due = pm_device_due(pm_pool_at(&back->devices, i));

		next = due < next ? due : next;
	}
	return next;
}

uint64_t pm_back_poll(struct pm_back *back, uint64_t now)
{
	uint32_t i, nr = nr_devices(back);

	for (i = 1; i <= nr; i++) {
		struct pm_device *device = pm_pool_at(&back->devices, i);

		if (pm_device_due(device) <= now)
			(void)pm_device_poll(back->m, device, now);
	}
	return next_due(back);
}

uint64_t pm_back_idle(void *context)
{
	struct pm_back *back = context;
	struct pm_virt *virt = back->m->virt;
	uint64_t next = next_due(back), now;

	if (next == UINT64_MAX)
		return PM_IDLE_NS;
	if (!virt->options.now_ns) {
		uint64_t clock = atomic_load(&virt->clock_ns);

		while (clock < next && !atomic_compare_exchange_weak(&virt->clock_ns, &clock, next))
			;
		(void)pm_back_poll(back, next);
		return 0;
	}
	now = pm_back_now(back);
	if (next <= now) {
		(void)pm_back_poll(back, now);
		return 0;
	}
	return next - now < PM_IDLE_NS ? next - now : PM_IDLE_NS;
}

enum pm_status pm_back_wait_transfer(struct pm_call *call, uint64_t seen)
{
	struct pm_back *back = call->m->back;
	enum pm_status status = PM_OK;

	while (!status && atomic_load(&back->nr_ended) == seen) {
		struct pm_waiter waiter;

		if (next_due(back) == UINT64_MAX)
			return atomic_load(&back->nr_ended) == seen ? PM_ERR_BUSY : PM_OK;
		pm_wait_prepare(call, &waiter, pm_wait_key(&back->nr_ended));
		if (atomic_load(&back->nr_ended) == seen)
			status = pm_call_sleep(call, &waiter);
		pm_wait_finish(call, &waiter);
	}
	return status;
}

enum pm_status pm_back_begin(struct pm_machine *m, uint32_t cpu, struct pm_call *call)
{
	enum pm_status status = pm_call_begin(m, cpu, call);

	if (!status)
		(void)pm_back_poll(m->back, pm_back_now(m->back));
	return status;
}

void pm_back_lock_always(struct pm_call *call, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(call->m, pfn);

	while (!pm_page_trylock(call->m, pfn)) {
		struct pm_waiter waiter;

		pm_wait_prepare(call, &waiter, pm_page_key(pfn));
		if (pm_page_set(page, PM_PG_WAITERS) & PM_PG_LOCKED)
			pm_call_sleep_always(call, &waiter);
		pm_wait_finish(call, &waiter);
	}
}
