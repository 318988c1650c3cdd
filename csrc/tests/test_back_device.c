/// Devices: time, queues, faults; what a caller who waits, or does not, sees of them. Through files, which are what moves pages.
#include "tests/test_back_rig.h"

static void refuses_what_makes_no_sense(void)
{
	struct pm_machine *m = back_machine(256, 1);
	struct pm_device_options options;
	uint64_t device, released;

	pm_device_options_default(&options);
	options.depth = 0;
	CHECK_EQ(pm_device_create(m, &options, &device), PM_ERR_INVAL);
	pm_device_options_default(&options);
	options.nr_blocks = 0;
	CHECK_EQ(pm_device_create(m, &options, &device), PM_ERR_INVAL);
	options.nr_blocks = (uint64_t)1 << 32;
	CHECK_EQ(pm_device_create(m, &options, &device), PM_ERR_INVAL);
	device = back_device(m, 16, 0);
	CHECK_EQ(pm_device_fail(m, device, 0, 1, false), PM_ERR_INVAL);
	CHECK_EQ(pm_device_fail(m, device, 4, 1, false), PM_ERR_INVAL);
	CHECK_EQ(pm_device_bad_blocks(m, device, 10, 7), PM_ERR_RANGE);
	CHECK_EQ(pm_device_bad_blocks(m, device, 10, 6), PM_OK);
	CHECK_EQ(pm_device_release(m, device + 1, false, &released), PM_ERR_HANDLE);
	CHECK_EQ(pm_device_destroy(m, device), PM_OK);
	CHECK_EQ(pm_device_destroy(m, device), PM_ERR_HANDLE);
	CHECK_EQ(pm_device_fail(m, device, 1, 1, false), PM_ERR_HANDLE);
	back_destroy_empty(m, 256);
}

static void without_contents(void)
{
	struct pm_machine *m = rig_one_zone(256, 1, rig_bare());
	struct pm_memory_options options;
	struct pm_device_options device_options;
	uint64_t device, file;
	uint8_t bytes[PAGE];
	size_t done;

	pm_device_options_default(&device_options);
	CHECK_EQ(pm_device_create(m, &device_options, &device), PM_ERR_STATE);
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_NONE;
	REQUIRE(pm_memory_enable(m, &options) == PM_OK);
	CHECK_EQ(pm_memory_enable(m, &options), PM_ERR_STATE);
	CHECK_EQ(pm_device_create(m, &device_options, &device), PM_ERR_NO_CONTENTS);
	device_options.contents = 0;
	CHECK_EQ(pm_device_create(m, &device_options, &device), PM_OK);
	CHECK_EQ(pm_device_peek(m, device, 0, bytes), PM_ERR_NO_CONTENTS);
	file = back_file(m, PM_FS_COMMON, device, 4, 4);
	CHECK_EQ(pm_file_write(m, 0, file, 0, bytes, PAGE, &done), PM_ERR_NO_CONTENTS);
	/* Pages go through their life all the same. */
	CHECK_EQ(pm_file_write(m, 0, file, 0, NULL, 2 * PAGE, &done), PM_OK);
	CHECK_EQ(done, 2 * PAGE);
	CHECK_EQ(back_file_info(m, file).nr_dirty, 2);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_OK);
	CHECK_EQ(back_file_info(m, file).nr_dirty, 0);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	back_destroy_empty(m, 256);
}

/// A device of depth 4 and 100 ns: eight writes take 200 ns, whoever looks when.
static void virtual_time_is_exact(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t device = back_device(m, 16, 100), file = back_file(m, PM_FS_COMMON, device, 8, 8), i;

	for (i = 0; i < 8; i++)
		CHECK_EQ(back_put(m, 0, file, i, (uint8_t)(i + 1)), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, false), PM_OK);
	CHECK_EQ(back_device_info(m, device).in_service, 4);
	CHECK_EQ(back_device_info(m, device).queued, 4);
	CHECK_EQ(back_device_info(m, device).next_ns, 100);
	CHECK_EQ(back_file_info(m, file).nr_writeback, 8);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_clock_advance(m, 99), PM_OK);
	CHECK_EQ(back_device_info(m, device).writes, 0);
	CHECK_EQ(pm_clock_advance(m, 1), PM_OK);
	CHECK_EQ(back_device_info(m, device).writes, 4);
	/* The second four began at 100, although nobody looked until 150. */
	CHECK_EQ(pm_clock_advance(m, 50), PM_OK);
	CHECK_EQ(back_device_info(m, device).next_ns, 200);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_OK);
	CHECK_EQ(pm_clock_now(m), 200);
	CHECK_EQ(back_device_info(m, device).writes, 8);
	CHECK_EQ(back_device_info(m, device).next_ns, UINT64_MAX);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	CHECK_EQ(pm_device_destroy(m, device), PM_OK);
	back_destroy_empty(m, 256);
}

static uint64_t own_clock(void *context)
{
	return *(uint64_t *)context;
}

/// With the caller's clock a wait sees a transfer end once the clock says so; and nobody but the caller moves it.
static void the_callers_clock(void)
{
	struct pm_machine *m = rig_one_zone(256, 1, rig_bare());
	struct pm_memory_options options;
	uint64_t now = 5, device, file;

	pm_memory_options_default(&options);
	options.now_ns = own_clock;
	options.context = &now;
	options.wait_slices = 1;
	REQUIRE(pm_memory_enable(m, &options) == PM_OK);
	device = back_device(m, 16, 1000000000);
	file = back_file(m, PM_FS_COMMON, device, 1, 1);
	CHECK_EQ(pm_clock_advance(m, 1), PM_ERR_INVAL);
	CHECK_EQ(pm_clock_now(m), 5);
	CHECK_EQ(back_put(m, 0, file, 0, 7), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, PAGE, true), PM_ERR_INTR);
	now += 1000000000;
	CHECK_EQ(pm_file_sync(m, 0, file, 0, PAGE, true), PM_OK);
	CHECK_EQ(back_file_info(m, file).writeouts, 1);
	rig_destroy(m);
}

static void a_device_in_use_stays(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t device = back_device(m, 16, 100), file = back_file(m, PM_FS_COMMON, device, 8, 8), other;
	struct pm_file_options options = { .fs = PM_FS_COMMON, .device = device, .size = 9 * PAGE };

	CHECK_EQ(pm_device_destroy(m, device), PM_ERR_BUSY);
	CHECK_EQ(back_device_info(m, device).nr_used, 8);
	/* Eight blocks are left, and nine are asked for. */
	CHECK_EQ(pm_file_create(m, &options, &other), PM_ERR_NO_BLOCK);
	options.size = 8 * PAGE;
	CHECK_EQ(pm_file_create(m, &options, &other), PM_OK);
	CHECK_EQ(back_file_info(m, other).first_block, 8);
	/* The first one's place is found again. */
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	file = back_file(m, PM_FS_COMMON, device, 3, 3);
	CHECK_EQ(back_file_info(m, file).first_block, 0);
	/* A write under way keeps the file, and so the device, although nobody has it any more. */
	CHECK_EQ(back_put(m, 0, other, 0, 1), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, other, 0, PAGE, false), PM_OK);
	CHECK_EQ(pm_file_close(m, 0, other), PM_OK);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	CHECK_EQ(pm_device_destroy(m, device), PM_ERR_BUSY);
	CHECK_EQ(pm_clock_advance(m, 100), PM_OK);
	CHECK_EQ(pm_device_destroy(m, device), PM_OK);
	back_destroy_empty(m, 256);
}

static void the_nth_transfer_fails(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t device = back_device(m, 16, 100), file = back_file(m, PM_FS_COMMON, device, 4, 4), i, dropped;

	for (i = 0; i < 4; i++)
		CHECK_EQ(back_put(m, 0, file, i, (uint8_t)(10 + i)), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_OK);
	CHECK_EQ(pm_file_drop(m, 0, file, 0, UINT64_MAX, &dropped), PM_OK);
	CHECK_EQ(dropped, 4);
	/* Writes do not count. */
	CHECK_EQ(pm_device_fail(m, device, PM_IO_READ, 2, false), PM_OK);
	CHECK_EQ(back_get(m, 0, file, 0), 10);
	CHECK_EQ(back_get(m, 0, file, 1), PM_ERR_IO);
	CHECK_EQ(back_get(m, 0, file, 1), 11);
	/* From then on. */
	CHECK_EQ(pm_device_fail(m, device, PM_IO_BOTH, 1, true), PM_OK);
	CHECK_EQ(back_get(m, 0, file, 2), PM_ERR_IO);
	CHECK_EQ(back_get(m, 0, file, 2), PM_ERR_IO);
	CHECK_EQ(pm_device_fail(m, device, PM_IO_BOTH, 0, false), PM_OK);
	CHECK_EQ(back_get(m, 0, file, 2), 12);
	/* A bad block. */
	CHECK_EQ(pm_device_bad_blocks(m, device, back_file_info(m, file).first_block + 3, 1), PM_OK);
	CHECK_EQ(back_get(m, 0, file, 3), PM_ERR_IO);
	CHECK_EQ(pm_device_bad_blocks(m, device, 0, 0), PM_OK);
	CHECK_EQ(back_get(m, 0, file, 3), 13);
	CHECK_EQ(back_device_info(m, device).errors, 4);
	CHECK_EQ(back_counters(m).io_errors, 4);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	back_destroy_empty(m, 256);
}

/// A stuck read: whoever waits comes back when his patience ends, others are served, and the page comes once the device lets it go.
static void a_stuck_transfer(void)
{
	struct pm_machine *m = back_machine_with(256, 1, 2, rig_bare());
	uint64_t device = back_device(m, 16, 100), file = back_file(m, PM_FS_COMMON, device, 8, 8), dropped, released, i;

	for (i = 0; i < 8; i++)
		CHECK_EQ(back_put(m, 0, file, i, (uint8_t)(10 + i)), PM_OK);
	while (pm_file_sync(m, 0, file, 0, UINT64_MAX, true) == PM_ERR_INTR)
		;
	CHECK_EQ(pm_file_drop(m, 0, file, 0, UINT64_MAX, &dropped), PM_OK);
	CHECK_EQ(pm_device_stick(m, device, PM_IO_READ, 1), PM_OK);
	CHECK_EQ(back_get(m, 0, file, 0), PM_ERR_INTR);
	CHECK_EQ(back_get(m, 0, file, 0), PM_ERR_INTR);
	CHECK_EQ(back_get(m, 0, file, 1), 11);
	CHECK(rig_valid(m));
	CHECK_EQ(back_device_info(m, device).stuck, 1);
	CHECK_EQ(back_device_info(m, device).in_service, 1);
	/* Neither a drop nor a truncate gets past it; the truncate can be taken up again. */
	CHECK_EQ(pm_file_drop(m, 0, file, 0, UINT64_MAX, &dropped), PM_OK);
	CHECK_EQ(dropped, 1);
	CHECK_EQ(pm_file_truncate(m, 0, file, 0), PM_ERR_INTR);
	CHECK_EQ(back_file_info(m, file).size, 0);
	CHECK_EQ(pm_device_release(m, device, false, &released), PM_OK);
	CHECK_EQ(released, 1);
	CHECK_EQ(pm_file_truncate(m, 0, file, 0), PM_OK);
	CHECK_EQ(back_file_info(m, file).nr_pages, 0);
	/* Released as failed. */
	CHECK_EQ(back_put(m, 0, file, 0, 1), PM_OK);
	CHECK_EQ(pm_device_stick(m, device, PM_IO_WRITE, 1), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_ERR_INTR);
	CHECK_EQ(pm_device_release(m, device, true, &released), PM_OK);
	CHECK_EQ(back_file_info(m, file).nr_dirty, 1);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_ERR_IO);
	while (pm_file_sync(m, 0, file, 0, UINT64_MAX, true) == PM_ERR_INTR)
		;
	CHECK_EQ(back_file_info(m, file).nr_dirty, 0);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	back_destroy_empty(m, 256);
}

/// A machine is destroyed with transfers under way, one of them stuck: nothing is lost or touched afterwards (ASan).
static void the_end_with_transfers(void)
{
	struct pm_machine *m = back_machine_with(256, 1, 1, rig_bare());
	uint64_t device = back_device(m, 16, 100), file = back_file(m, PM_FS_BUFFERS, device, 8, 8), i;

	for (i = 0; i < 8; i++)
		CHECK_EQ(back_put(m, 0, file, i, 1), PM_OK);
	CHECK_EQ(pm_device_stick(m, device, PM_IO_WRITE, 3), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, false), PM_OK);
	CHECK(rig_valid(m));
	pm_machine_shut(m);
	CHECK_EQ(back_put(m, 0, file, 0, 1), PM_ERR_CLOSED);
	pm_machine_destroy(m);
}

int main(void)
{
	RUN(refuses_what_makes_no_sense);
	RUN(without_contents);
	RUN(virtual_time_is_exact);
	RUN(the_callers_clock);
	RUN(a_device_in_use_stays);
	RUN(the_nth_transfer_fails);
	RUN(a_stuck_transfer);
	RUN(the_end_with_transfers);
	return check_result();
}
