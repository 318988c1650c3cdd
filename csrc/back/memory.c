/// Frames with owners, switched on and off: the one place that knows all the parts.
#include <string.h>
#include <sys/mman.h>

#include "back/file.h"
#include "back/reclaim.h"

void pm_memory_options_default(struct pm_memory_options *ret)
{
	*ret = (struct pm_memory_options){ .contents = PM_CONTENTS_PRIVATE, .guard = PM_GUARD_EPOCH };
}

static size_t pages_bytes(const struct pm_machine *m)
{
	return (size_t)m->nr_frames * sizeof(struct pm_page);
}

/// What the owners of frames know, mapped as it is touched.
static enum pm_status make_pages(struct pm_machine *m)
{
	void *pages = pm_host_fails(&m->host) ? MAP_FAILED :
						mmap(NULL, pages_bytes(m), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (pages == MAP_FAILED)
		return PM_ERR_NOMEM;
	m->pages = pages;
	return PM_OK;
}

static enum pm_status make_back(struct pm_machine *m)
{
	struct pm_back *back = pm_host_zalloc(&m->host, sizeof(*back));
	enum pm_status status;

	if (!back)
		return PM_ERR_NOMEM;
	m->back = back;
	back->m = m;
	pm_swap_init(m);
	status = pm_pool_init(&back->files, &m->host, sizeof(struct pm_file), PM_OBJECT_FILE);
	if (!status)
		status = pm_pool_init(&back->devices, &m->host, sizeof(struct pm_device), PM_OBJECT_DEVICE);
	if (!status)
		status = pm_pool_init(&back->transfers, &m->host, pm_ticket_bytes(), PM_OBJECT_TRANSFER);
	return status;
}

/// Gives everything back that enabling made, however far it came. Nothing is in it any more.
static void free_parts(struct pm_machine *m)
{
	if (m->back) {
		pm_pool_deinit(&m->back->files);
		pm_pool_deinit(&m->back->devices);
		pm_pool_deinit(&m->back->transfers);
		pm_host_free(&m->host, m->back);
		m->back = NULL;
	}
	pm_virt_deinit(m);
	if (m->pages)
		munmap(m->pages, pages_bytes(m));
	m->pages = NULL;
	pm_arena_deinit(m);
}

/// Every device that was ever made: whether it is alive, its own fields say.
static struct pm_device *device_at(struct pm_back *back, uint32_t index)
{
	struct pm_device *device = index <= back->devices.nr_made ? pm_pool_at(&back->devices, index) : NULL;

	return device && device->made ? device : NULL;
}

static void end_devices(struct pm_machine *m)
{
	struct pm_device *device;
	uint32_t after = 0;

	while ((device = pm_pool_next(&m->back->devices, after)) != NULL) {
		after = device->pooled.index;
		pm_pool_unpublish_any(&m->back->devices, device);
		pm_device_end(m, device);
	}
}

static void destroy_memory(struct pm_machine *m) PM_NO_TSA
{
	struct pm_call call = { .m = m, .waits = &m->virt->waits };
	uint32_t i;

	/* Migrations that were left half way go back while everything is still there. */
	if (m->move_destroy)
		m->move_destroy(m);
	/* Transfers first: nothing else may go while one could still end. */
	for (i = 1; i <= m->back->devices.nr_made; i++)
		if (device_at(m->back, i))
			pm_device_abort(m, device_at(m->back, i));
	pm_virt_end_objects(m);
	pm_direct_end_all(&call);
	pm_file_end_all(&call);
	pm_swap_deinit(m);
	end_devices(m);
	free_parts(m);
}

/// Frames that a transfer fills are locked by it: that is no lock left behind. Unlocks them for a while, or locks them again.
static void mark_reads(struct pm_machine *m, bool locked) PM_NO_TSA
{
	const struct pm_transfer *transfer;
	unsigned int list;
	uint32_t i;

	for (i = 1; i <= m->back->devices.nr_made; i++) {
		const struct pm_device *device = device_at(m->back, i);

		for (list = 0; device && list < 2; list++)
			for (transfer = list ? device->queue : device->service; transfer; transfer = transfer->next) {
				struct pm_page *page = pm_page_of(m, transfer->pfn);

				if (!transfer->locks)
					continue;
				if (locked)
					(void)pm_page_set(page, PM_PG_LOCKED);
				else
					(void)pm_page_clear(page, PM_PG_LOCKED);
			}
	}
}

static enum pm_status validate_memory(struct pm_machine *m, char *message, size_t size)
{
	enum pm_status status;

	(void)pm_back_poll(m->back, pm_back_now(m->back));
	status = pm_back_validate(m, message, size);
	if (status)
		return status;
	mark_reads(m, false);
	status = pm_virt_validate(m, message, size);
	mark_reads(m, true);
	return status;
}

static void plug_in(struct pm_machine *m)
{
	struct pm_virt *virt = m->virt;

	virt->files = &m->back->files;
	virt->hooks = (struct pm_virt_hooks){ .swap = &pm_swap_operations, .reclaim = pm_reclaim_for, .shared_anon = pm_file_shared_anon,
					      .find_file = pm_file_find_mapping, .audit = pm_back_audit };
	virt->waits.context = m->back;
	virt->waits.idle = pm_back_idle;
	m->memory_destroy = destroy_memory;
	m->memory_validate = validate_memory;
}

enum pm_status pm_memory_enable(struct pm_machine *m, const struct pm_memory_options *options)
{
	enum pm_status status;

	if (m->virt)
		return PM_ERR_STATE;
	if (options->contents > PM_CONTENTS_SHARED || options->guard > PM_GUARD_LOCK || options->tables_in_frames > 1)
		return PM_ERR_INVAL;
	status = pm_arena_init(m, options->contents);
	if (!status)
		status = make_pages(m);
	if (!status)
		status = pm_virt_init(m, options);
	if (!status)
		status = make_back(m);
	if (status)
		free_parts(m);
	else
		plug_in(m);
	return status;
}

/// Is a call on this CPU inside?
static bool inside(const struct pm_slot *slot)
{
	/* Acquire: partner of the release in pm_call_end(). */
	return atomic_load_explicit(&slot->call, memory_order_acquire) || atomic_load_explicit(&slot->shared_calls, memory_order_acquire);
}

void pm_machine_shut(struct pm_machine *m)
{
	struct pm_virt *virt = m->virt;
	uint32_t cpu;

	if (!virt)
		return;
	pm_waits_close(&virt->waits);
	/* A call that began before either sees that we close, or is seen here. */
	pm_barrier_all(virt);
	for (cpu = 0; cpu < m->nr_cpus; cpu++)
		while (inside(&virt->slots[cpu]))
			sched_yield();
}

enum pm_status pm_fail_allocations(struct pm_machine *m, uint64_t nth, bool from_then_on, uint64_t *ret)
{
	if (!m->virt)
		return PM_ERR_STATE;
	/* The number last: it switches the rest on. */
	atomic_store(&m->host.fail_at, 0);
	*ret = atomic_exchange(&m->host.nr_requests, 0);
	atomic_store(&m->host.fail_on, from_then_on);
	atomic_store(&m->host.fail_at, nth);
	return PM_OK;
}

int64_t pm_host_pieces(const struct pm_machine *m)
{
	return atomic_load(&m->host.nr_live);
}

uint64_t pm_clock_now(struct pm_machine *m)
{
	return m->back ? pm_back_now(m->back) : 0;
}

enum pm_status pm_clock_advance(struct pm_machine *m, uint64_t ns)
{
	struct pm_call call;
	enum pm_status status = pm_call_begin(m, 0, &call);

	if (status)
		return status;
	if (m->virt->options.now_ns || ns >> 62)
		status = PM_ERR_INVAL;
	else
		(void)pm_back_poll(m->back, atomic_fetch_add(&m->virt->clock_ns, ns) + ns);
	pm_call_end(&call);
	return status;
}

void pm_backing_counters(struct pm_machine *m, struct pm_backing_counters *ret)
{
	uint64_t n[PM_NR_BE] = { 0 };
	unsigned int i;

	/* Relaxed: statistics. */
	for (i = 0; m->back && i < PM_NR_BE; i++)
		n[i] = atomic_load_explicit(&m->back->event[i], memory_order_relaxed);
	*ret = (struct pm_backing_counters){
		.file_reads = n[PM_BE_FILE_READ], .file_writes = n[PM_BE_FILE_WRITE], .swap_reads = n[PM_BE_SWAP_READ], .swap_writes = n[PM_BE_SWAP_WRITE],
		.io_errors = n[PM_BE_IO_ERROR], .scanned = n[PM_BE_SCANNED], .reclaimed_file = n[PM_BE_RECLAIMED_FILE],
		.reclaimed_anon = n[PM_BE_RECLAIMED_ANON], .activated = n[PM_BE_ACTIVATED], .deactivated = n[PM_BE_DEACTIVATED],
		.unevictable = n[PM_BE_UNEVICTABLE], .waits = n[PM_BE_WAIT], .truncated = n[PM_BE_TRUNCATED], .dropped = n[PM_BE_DROPPED],
	};
}
