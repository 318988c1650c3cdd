/// Calls that wait for a device: they come back when they may not wait longer, when the transfer fails, and when the machine closes; nothing is lost by it. Pins, and what
/// they hold off. Machines without contents, and with their page tables in frames.
#include <pthread.h>

#include "tests/space_rig.h"

enum { PAGES = 4 };

struct waiting {
	struct space_rig rig;
	struct pm_machine *m;
	uint64_t device, space, at;
};

/// Pages that are in swap on a device.
static struct waiting begin(uint32_t slices)
{
	struct space_rig_options options = space_options();
	struct pm_device_options disk;
	struct waiting w;
	uint64_t i;

	options.swap = 0;
	options.memory.wait_slices = slices;
	w.rig = space_rig_make(&options);
	w.m = w.rig.m;
	pm_device_options_default(&disk);
	disk.nr_blocks = 64;
	disk.contents = 1;
	REQUIRE(pm_device_create(w.m, &disk, &w.device) == PM_OK);
	REQUIRE(pm_swap_on(w.m, &(struct pm_swap_options){ 32, w.device }) == PM_OK);
	w.space = space_make(w.m);
	w.at = space_map(w.m, w.space, PAGES);
	for (i = 0; i < PAGES; i++)
		space_put(w.m, w.space, w.at + i * PAGE, (uint8_t)(i + 1));
	CHECK_EQ(space_page_out(w.m, w.space, w.at, PAGES), PAGES);
	return w;
}

static void end(struct waiting *w)
{
	CHECK_EQ(pm_swap_off(w->m, 0), PM_OK);
	CHECK_EQ(pm_device_destroy(w->m, w->device), PM_OK);
	space_rig_end(&w->rig);
}

static void a_stuck_read_gives_the_caller_back(void)
{
	struct waiting w = begin(2);
	uint64_t released = 0, child = 0;

	CHECK_EQ(pm_device_stick(w.m, w.device, PM_IO_READ, 1), PM_OK);
	CHECK_EQ(space_get(w.m, w.space, w.at), PM_ERR_INTR);
	CHECK_EQ(space_try_put(w.m, w.space, w.at, 9), PM_ERR_INTR);
	/* Who waits holds nobody else up: another page, a fork, another area. */
	CHECK_EQ(space_get(w.m, w.space, w.at + PAGE), 2);
	CHECK_EQ(pm_space_fork(w.m, 0, w.space, &child), PM_OK);
	CHECK_EQ(space_get(w.m, child, w.at), PM_ERR_INTR);
	CHECK(rig_valid(w.m));
	CHECK_EQ(pm_device_release(w.m, w.device, false, &released), PM_OK);
	CHECK_EQ(released, 1);
	CHECK_EQ(space_get(w.m, w.space, w.at), 1);
	CHECK_EQ(space_get(w.m, child, w.at), 1);
	space_exit(w.m, w.space);
	space_exit(w.m, child);
	end(&w);
}

static void a_failed_transfer_loses_nothing(void)
{
	struct waiting w = begin(0);
	uint64_t i;

	CHECK_EQ(pm_device_fail(w.m, w.device, PM_IO_READ, 1, true), PM_OK);
	CHECK_EQ(space_get(w.m, w.space, w.at), PM_ERR_IO);
	CHECK_EQ(space_try_put(w.m, w.space, w.at, 9), PM_ERR_IO);
	CHECK(rig_valid(w.m));
	CHECK_EQ(pm_device_fail(w.m, w.device, PM_IO_BOTH, 0, false), PM_OK);
	for (i = 0; i < PAGES; i++)
		CHECK_EQ(space_get(w.m, w.space, w.at + i * PAGE), i + 1);
	/* What cannot be written stays. */
	for (i = 0; i < PAGES; i++)
		space_put(w.m, w.space, w.at + i * PAGE, (uint8_t)(i + 11));
	CHECK_EQ(pm_device_fail(w.m, w.device, PM_IO_WRITE, 1, true), PM_OK);
	CHECK_EQ(space_page_out(w.m, w.space, w.at, PAGES), 0);
	CHECK(rig_valid(w.m));
	for (i = 0; i < PAGES; i++)
		CHECK_EQ(space_get(w.m, w.space, w.at + i * PAGE), i + 11);
	CHECK_EQ(pm_device_fail(w.m, w.device, PM_IO_WRITE, 0, false), PM_OK);
	space_exit(w.m, w.space);
	end(&w);
}

/* ---- with a second thread ---- */

static struct waiting shared;
static pthread_barrier_t barrier;
static _Atomic int seen;

static void *read_stuck(void *argument)
{
	uint8_t value = 0;
	size_t done;
	enum pm_status status;

	(void)argument;
	pthread_barrier_wait(&barrier);
	do
		status = pm_read(shared.m, 1, shared.space, shared.at, &value, 1, &done);
	while (status == PM_ERR_INTR);
	atomic_store(&seen, status ? (int)status : value);
	return NULL;
}

static pthread_t start_reader(void)
{
	pthread_t reader;
	struct pm_device_info info;

	CHECK_EQ(pm_device_stick(shared.m, shared.device, PM_IO_READ, 1), PM_OK);
	REQUIRE(pthread_barrier_init(&barrier, NULL, 2) == 0);
	REQUIRE(pthread_create(&reader, NULL, read_stuck, NULL) == 0);
	pthread_barrier_wait(&barrier);
	do
		REQUIRE(pm_device_info(shared.m, shared.device, &info) == PM_OK);
	while (!info.stuck);
	return reader;
}

static void closing_wakes_who_waits(void)
{
	pthread_t reader;
	uint64_t ret;

	shared = begin(0);
	reader = start_reader();
	pm_machine_shut(shared.m);
	pthread_join(reader, NULL);
	CHECK_EQ(atomic_load(&seen), PM_ERR_CLOSED);
	CHECK_EQ(space_get(shared.m, shared.space, shared.at), PM_ERR_CLOSED);
	CHECK_EQ(pm_space_create(shared.m, &ret), PM_ERR_CLOSED);
	CHECK_EQ(pm_space_exit(shared.m, 0, shared.space), PM_ERR_CLOSED);
	pm_machine_shut(shared.m);
	/* With everything still in it. */
	pm_machine_destroy(shared.m);
	pthread_barrier_destroy(&barrier);
}

/// A space ends while a call on it waits: the exit waits for the call, and no new call begins.
static void an_exit_waits_for_calls(void)
{
	enum pm_status status;
	pthread_t reader;

	shared = begin(2);
	reader = start_reader();
	do
		status = pm_space_exit(shared.m, 0, shared.space);
	while (status == PM_ERR_INTR);
	CHECK_EQ(status, PM_OK);
	pthread_join(reader, NULL);
	CHECK_EQ(atomic_load(&seen), PM_ERR_HANDLE);
	CHECK_EQ(pm_device_release(shared.m, shared.device, false, &(uint64_t){ 0 }), PM_OK);
	end(&shared);
	pthread_barrier_destroy(&barrier);
}

/* ---- pins ---- */

static void pins_show_and_hold(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig = space_rig_make(&options);
	uint64_t space = space_make(rig.m), at = space_map(rig.m, space, 1), pin[5], pfn[5], child;
	struct pm_page_info page;
	uint32_t kind;
	void *bytes;

	for (kind = PM_PIN_SHORT; kind <= PM_PIN_LONG; kind++)
		CHECK_EQ(pm_pin(rig.m, 0, space, at, kind, kind != PM_PIN_SHORT, &pfn[kind], &pin[kind]), PM_OK);
	CHECK_EQ(pm_window(rig.m, 0, space, at, true, &bytes, &pin[PM_PIN_WINDOW]), PM_OK);
	page = space_page(rig.m, pfn[PM_PIN_SHORT]);
	for (kind = PM_PIN_SHORT; kind <= PM_PIN_WINDOW; kind++)
		CHECK_EQ(page.pins[kind], 1);
	CHECK(page.references > 4);
	CHECK_EQ(page.mapcount, 1);
	memcpy(bytes, "seen", 4);
	CHECK_EQ(space_get(rig.m, space, at + 1), 'e');
	/* Each kind alone keeps the frame where it is. */
	for (kind = PM_PIN_WINDOW; kind >= PM_PIN_SHORT; kind--) {
		CHECK_EQ(space_page_out(rig.m, space, at, 1), 0);
		CHECK_EQ(space_get(rig.m, space, at), 's');
		CHECK_EQ(space_frame(rig.m, space, at), pfn[PM_PIN_SHORT]);
		child = space_fork(rig.m, space);
		if (kind != PM_PIN_SHORT)
			CHECK(space_frame(rig.m, child, at) != pfn[PM_PIN_SHORT]);
		CHECK_EQ(space_get(rig.m, child, at + 3), 'n');
		space_exit(rig.m, child);
		CHECK(rig_valid(rig.m));
		CHECK_EQ(pm_unpin(rig.m, 0, pin[kind]), PM_OK);
	}
	CHECK_EQ(space_page_out(rig.m, space, at, 1), 1);
	CHECK_EQ(space_get(rig.m, space, at), 's');
	CHECK_EQ(pm_pin(rig.m, 0, space, at, 0, true, &pfn[0], &pin[0]), PM_ERR_INVAL);
	CHECK_EQ(pm_pin(rig.m, 0, space, at, PM_PIN_WINDOW, true, &pfn[0], &pin[0]), PM_ERR_INVAL);
	CHECK_EQ(pm_pin(rig.m, 0, space, at + PAGE, PM_PIN_LONG, true, &pfn[0], &pin[0]), PM_ERR_FAULT);
	CHECK_EQ(pm_protect(rig.m, 0, space, at, PAGE, RO), PM_OK);
	CHECK_EQ(pm_pin(rig.m, 0, space, at, PM_PIN_LONG, true, &pfn[0], &pin[0]), PM_ERR_ACCESS);
	/* A pin outlives its space. */
	CHECK_EQ(pm_pin(rig.m, 0, space, at, PM_PIN_LONG, false, &pfn[0], &pin[0]), PM_OK);
	space_exit(rig.m, space);
	CHECK_EQ(space_page(rig.m, pfn[0]).mapcount, 0);
	CHECK_EQ(space_page(rig.m, pfn[0]).pins[PM_PIN_LONG], 1);
	CHECK(rig_valid(rig.m));
	CHECK_EQ(pm_unpin(rig.m, 0, pin[0]), PM_OK);
	space_rig_end(&rig);
}

/// A page shared after fork, or a file's in a private map, becomes the space's own before it is pinned, also for reading only.
static void pins_unshare(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig = space_rig_make(&options);
	uint64_t parent = space_make(rig.m), file = space_ram_file(rig.m, 1), at = space_map(rig.m, parent, 1), private, child, pfn, pin, file_pin;

	private = space_map_at(rig.m, parent, 0, 1, RW, 0, file);
	space_put(rig.m, parent, at, 5);
	CHECK_EQ(space_get(rig.m, parent, private), 0);
	child = space_fork(rig.m, parent);
	CHECK_EQ(pm_pin(rig.m, 0, child, at, PM_PIN_DIRECT_IO, false, &pfn, &pin), PM_OK);
	CHECK(pfn != space_frame(rig.m, parent, at));
	CHECK_EQ(space_counters(rig.m).fault_cow_copy, 1);
	space_put(rig.m, child, at, 6);
	CHECK_EQ(space_frame(rig.m, child, at), pfn);
	CHECK_EQ(space_get(rig.m, parent, at), 5);
	CHECK_EQ(pm_unpin(rig.m, 0, pin), PM_OK);
	CHECK_EQ(pm_pin(rig.m, 0, child, private, PM_PIN_LONG, false, &pfn, &file_pin), PM_OK);
	space_put(rig.m, child, private, 7);
	CHECK_EQ(space_frame(rig.m, child, private), pfn);
	CHECK_EQ(space_get(rig.m, parent, private), 0);
	CHECK_EQ(pm_unpin(rig.m, 0, file_pin), PM_OK);
	space_exit(rig.m, parent);
	space_exit(rig.m, child);
	space_file_close(rig.m, file);
	space_rig_end(&rig);
}

/* ---- other machines ---- */

static void without_contents(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig;
	uint64_t space, child, at, done, sum = PM_CHECKSUM_START, pin;
	uint8_t byte = 0;
	size_t n;
	void *bytes;

	options.memory.contents = PM_CONTENTS_NONE;
	rig = space_rig_make(&options);
	space = space_make(rig.m);
	at = space_map(rig.m, space, 8);
	CHECK_EQ(pm_read(rig.m, 0, space, at, &byte, 1, &n), PM_ERR_NO_CONTENTS);
	CHECK_EQ(pm_write(rig.m, 0, space, at, &byte, 1, &n), PM_ERR_NO_CONTENTS);
	CHECK_EQ(pm_fill(rig.m, 0, space, at, 1, 1, &n), PM_ERR_NO_CONTENTS);
	CHECK_EQ(pm_checksum(rig.m, 0, space, at, 1, &sum, &n), PM_ERR_NO_CONTENTS);
	CHECK_EQ(pm_window(rig.m, 0, space, at, true, &bytes, &pin), PM_ERR_NO_CONTENTS);
	CHECK_EQ(pm_touch(rig.m, 0, space, at, 8 * PAGE, true, &done), PM_OK);
	child = space_fork(rig.m, space);
	CHECK_EQ(pm_touch(rig.m, 0, child, at, 4 * PAGE, true, &done), PM_OK);
	CHECK_EQ(space_counters(rig.m).fault_cow_copy, 4);
	CHECK_EQ(space_page_out(rig.m, child, at, 8), 8);
	CHECK_EQ(space_info(rig.m, child).swapped, 8);
	CHECK_EQ(space_info(rig.m, space).swapped, 4);
	CHECK_EQ(pm_touch(rig.m, 0, child, at, 8 * PAGE, true, &done), PM_OK);
	CHECK(rig_valid(rig.m));
	space_exit(rig.m, space);
	space_exit(rig.m, child);
	space_rig_end(&rig);
}

static uint64_t count_table_frames(struct pm_machine *m, uint64_t nr_frames)
{
	uint64_t pfn, nr = 0;

	for (pfn = 0; pfn < nr_frames; pfn++)
		nr += space_page(m, pfn).use == PM_USE_TABLE;
	return nr;
}

static void page_tables_in_frames(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig;
	uint64_t space, at, i, before;

	options.memory.tables_in_frames = 1;
	rig = space_rig_make(&options);
	space = space_make(rig.m);
	CHECK_EQ(space_info(rig.m, space).tables, 1);
	/* Three places far from each other: tables of their own. */
	for (i = 1; i <= 3; i++) {
		at = space_map_at(rig.m, space, i << 39, 1, RW, 0, 0);
		space_put(rig.m, space, at, 1);
	}
	CHECK_EQ(space_info(rig.m, space).tables, count_table_frames(rig.m, options.nr_frames));
	before = space_info(rig.m, space).tables;
	CHECK_EQ(before, 10);
	CHECK_EQ(pm_unmap(rig.m, 0, space, (uint64_t)2 << 39, PAGE), PM_OK);
	CHECK_EQ(space_info(rig.m, space).tables, before - 3);
	CHECK_EQ(space_info(rig.m, space).tables, count_table_frames(rig.m, options.nr_frames));
	CHECK_EQ(space_get(rig.m, space, (uint64_t)1 << 39), 1);
	CHECK_EQ(space_get(rig.m, space, (uint64_t)3 << 39), 1);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

/// One thread on one CPU has nobody to wait for when it flushes; once a second CPU has been there it has.
static void flushes_wait_for_nobody(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig = space_rig_make(&options);
	uint64_t space = space_make(rig.m), at = space_map(rig.m, space, 4), done;
	struct pm_memory_counters counters;

	space_put(rig.m, space, at, 1);
	CHECK_EQ(pm_protect(rig.m, 0, space, at, PAGE, RO), PM_OK);
	counters = space_counters(rig.m);
	CHECK(counters.flushes > 0);
	CHECK_EQ(counters.flush_skipped, counters.flushes);
	CHECK_EQ(pm_touch(rig.m, 1, space, at, PAGE, false, &done), PM_OK);
	CHECK_EQ(pm_protect(rig.m, 0, space, at, PAGE, RW), PM_OK);
	CHECK_EQ(space_counters(rig.m).flush_skipped, counters.flush_skipped);
	CHECK(space_counters(rig.m).flushes > counters.flushes);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

int main(void)
{
	RUN(a_stuck_read_gives_the_caller_back);
	RUN(a_failed_transfer_loses_nothing);
	RUN(closing_wakes_who_waits);
	RUN(an_exit_waits_for_calls);
	RUN(pins_show_and_hold);
	RUN(pins_unshare);
	RUN(without_contents);
	RUN(page_tables_in_frames);
	RUN(flushes_wait_for_nobody);
	return check_result();
}
