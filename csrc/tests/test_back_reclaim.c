/// Reclaim: memory under pressure, kswapd's step, what is kept, and every request for memory that can fail, failing.
#include "tests/test_back_rig.h"

static struct pm_settings with_watermarks(void)
{
	struct pm_settings settings;

	pm_settings_default(&settings);
	settings.pcp = 0;
	settings.min_free_kbytes = 64;
	return settings;
}

/// Four times as much anonymous memory as there is: everything written is read back, through swap with latency.
static void more_than_there_is(void)
{
	struct pm_machine *m = back_machine_with(256, 1, 0, with_watermarks());
	uint64_t device = back_device(m, 2048, 1000), space = back_space(m), addr = back_map(m, 0, space, 1024, 0, 0), i;

	back_swap_on(m, 2048, device);
	for (i = 0; i < 1024; i++)
		CHECK_EQ(back_fill(m, 0, space, addr + i * PAGE, (uint8_t)(i * 7)), PM_OK);
	CHECK(rig_valid(m));
	for (i = 0; i < 1024; i++)
		CHECK_EQ(back_look(m, 0, space, addr + i * PAGE), (uint8_t)(i * 7));
	CHECK(back_counters(m).reclaimed_anon >= 1024);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	back_destroy_empty(m, 256);
}

/// The same for a file, written and read through the cache and through a mapping.
static void a_file_larger_than_memory(void)
{
	struct pm_machine *m = back_machine_with(256, 1, 0, with_watermarks());
	uint64_t device = back_device(m, 2048, 1000), file = back_file(m, PM_FS_BUFFERS, device, 600, 600), space = back_space(m);
	uint64_t addr = back_map(m, 0, space, 600, PM_MAP_SHARED, file), i;

	for (i = 0; i < 600; i++)
		CHECK_EQ(i % 2 ? back_put(m, 0, file, i, (uint8_t)i) : back_fill(m, 0, space, addr + i * PAGE, (uint8_t)i), PM_OK);
	for (i = 0; i < 600; i++)
		CHECK_EQ(i % 2 ? back_look(m, 0, space, addr + i * PAGE) : back_get(m, 0, file, i), (uint8_t)i);
	CHECK(back_counters(m).reclaimed_file >= 600);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	back_destroy_empty(m, 256);
}

/// Without swap memory ends: an error, after which everything is as it was.
static void out_of_memory(void)
{
	struct pm_machine *m = back_machine_with(256, 1, 0, with_watermarks());
	uint64_t space = back_space(m), addr = back_map(m, 0, space, 1024, 0, 0), i, n;
	enum pm_status status = PM_OK;

	for (n = 0; n < 1024 && !status; n++)
		status = back_fill(m, 0, space, addr + n * PAGE, (uint8_t)n);
	CHECK_EQ(status, PM_ERR_WATERMARK);
	CHECK(n > 200 && n < 257);
	CHECK(rig_valid(m));
	for (i = 0; i + 1 < n; i++)
		CHECK_EQ(back_look(m, 0, space, addr + i * PAGE), (uint8_t)i);
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	back_destroy_empty(m, 256);
}

/// kswapd's step does nothing above LOW, and below it reclaims to HIGH.
static void kswapd(void)
{
	struct pm_machine *m = back_machine_with(512, 1, 0, with_watermarks());
	uint64_t space = back_space(m), addr = back_map(m, 0, space, 512, 0, 0), freed, i;

	back_swap_on(m, 512, 0);
	CHECK_EQ(pm_kswapd(m, 0, 1, &freed), PM_ERR_INVAL);
	for (i = 0; i < 400; i++)
		CHECK_EQ(back_fill(m, 0, space, addr + i * PAGE, 1), PM_OK);
	CHECK_EQ(pm_kswapd(m, 0, 0, &freed), PM_OK);
	CHECK_EQ(freed, 0);
	for (; rig_zone(m, 0).nr_free >= rig_zone(m, 0).wmark[1]; i++)
		REQUIRE(back_fill(m, 0, space, addr + i * PAGE, 1) == PM_OK);
	CHECK_EQ(pm_kswapd(m, 0, 0, &freed), PM_OK);
	CHECK(freed > 0);
	CHECK(rig_zone(m, 0).nr_free >= rig_zone(m, 0).wmark[2]);
	CHECK_EQ(rig_zone(m, 0).reclaim_active, 0);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	back_destroy_empty(m, 512);
}

/// Pages in use are kept rather than pages that are not.
static void the_used_ones_stay(void)
{
	struct pm_machine *m = back_machine(512, 1);
	uint64_t device = back_device(m, 512, 10), file = back_file(m, PM_FS_COMMON, device, 64, 64), sizes[5], freed, pfn, i, kept = 0;

	for (i = 0; i < 64; i++)
		CHECK_EQ(back_put(m, 0, file, i, (uint8_t)i), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_OK);
	for (i = 0; i < 16; i++)
		CHECK_EQ(back_get(m, 0, file, i), (int)i);
	CHECK_EQ(pm_lru_sizes(m, 0, sizes), PM_OK);
	CHECK_EQ(sizes[3], 16);
	CHECK_EQ(sizes[2], 48);
	/* Each of the others was used once. */
	CHECK_EQ(pm_reclaim(m, 0, 0, 24, &freed), PM_OK);
	CHECK(freed >= 24);
	for (i = 0; i < 16; i++)
		kept += pm_file_frame(m, 0, file, i * PAGE, &pfn) == PM_OK;
	CHECK_EQ(kept, 16);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	back_destroy_empty(m, 512);
}

/// Only stuck transfers are under way: reclaim does not wait for them for ever.
static void reclaim_beside_a_stuck_write(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t device = back_device(m, 64, 10), file = back_file(m, PM_FS_COMMON, device, 4, 4), freed, released;

	CHECK_EQ(back_put(m, 0, file, 0, 1), PM_OK);
	CHECK_EQ(back_put(m, 0, file, 1, 2), PM_OK);
	CHECK_EQ(pm_device_stick(m, device, PM_IO_WRITE, 1), PM_OK);
	CHECK_EQ(pm_reclaim(m, 0, 0, 4, &freed), PM_OK);
	CHECK_EQ(freed, 1);
	CHECK_EQ(back_file_info(m, file).nr_writeback, 1);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_device_release(m, device, false, &released), PM_OK);
	CHECK_EQ(pm_reclaim(m, 0, 0, 4, &freed), PM_OK);
	CHECK_EQ(freed, 1);
	CHECK_EQ(back_get(m, 0, file, 0), 1);
	CHECK_EQ(back_get(m, 0, file, 1), 2);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	back_destroy_empty(m, 256);
}

/// Is this what a call may say when it was refused memory?
static bool is_refusal(enum pm_status status)
{
	return status == PM_OK || status == PM_ERR_NOMEM || status == PM_ERR_WATERMARK;
}

/// Every public call of this folder once, with what virt does to it. What failed before may make a later call fail for want of what it needs.
static void script(struct pm_machine *m, bool all_work)
{
	struct pm_device_options device_options;
	struct pm_file_options file_options;
	struct pm_swap_options swap_options;
	struct pm_map_request request = { .length = 4 * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	uint64_t device = 0, file = 0, space = 0, addr = 0, shared = 0, child, pin, pfn, ticket, n64, freed, i;
	bool has_file, has_space, has_map, has_shared;
	size_t done;
	enum pm_status status;

#define TRY(call) ((status = (call)), CHECK(all_work ? status == PM_OK : is_refusal(status)), status == PM_OK)
	pm_device_options_default(&device_options);
	device_options.nr_blocks = 256;
	if (!TRY(pm_device_create(m, &device_options, &device)))
		return;
	swap_options = (struct pm_swap_options){ 64, device };
	(void)TRY(pm_swap_on(m, &swap_options));
	file_options = (struct pm_file_options){ .fs = PM_FS_BUFFERS, .device = device, .size = 8 * PAGE };
	has_file = TRY(pm_file_create(m, &file_options, &file));
	has_space = TRY(pm_space_create(m, &space));
	has_map = has_space && TRY(pm_map(m, 0, space, &request, &addr));
	request.flags = PM_MAP_SHARED;
	request.file = file;
	has_shared = has_space && has_file && TRY(pm_map(m, 0, space, &request, &shared));
	for (i = 0; i < 4 && has_map; i++)
		(void)TRY(back_fill(m, 0, space, addr + i * PAGE, (uint8_t)i));
	for (i = 0; i < 4 && has_shared; i++)
		(void)TRY(back_fill(m, 0, space, shared + i * PAGE, (uint8_t)i));
	if (has_file) {
		for (i = 3; i < 8; i++)
			(void)TRY(back_put(m, 0, file, i, (uint8_t)i));
		(void)TRY(pm_file_sync(m, 0, file, 0, UINT64_MAX, true));
		(void)TRY(pm_file_drop(m, 0, file, 0, UINT64_MAX, &n64));
		(void)TRY(pm_file_read(m, 0, file, 6 * PAGE, &pfn, 8, &done));
	}
	if (has_map && TRY(pm_space_fork(m, 0, space, &child))) {
		(void)TRY(pm_page_out(m, 0, child, addr, 4 * PAGE, &freed));
		(void)TRY(back_fill(m, 0, child, addr, 9));
		CHECK_EQ(pm_space_exit(m, 0, child), PM_OK);
	}
	if (has_map && has_file && TRY(pm_pin(m, 0, space, addr, PM_PIN_DIRECT_IO, true, &pfn, &pin))) {
		if (TRY(pm_direct_io(m, 0, pin, file, 7 * PAGE, PM_IO_WRITE, &ticket)))
			CHECK_EQ(pm_direct_wait(m, 0, ticket), PM_OK);
		CHECK_EQ(pm_unpin(m, 0, pin), PM_OK);
	}
	(void)TRY(pm_reclaim(m, 0, 0, 100, &freed));
	if (has_file)
		(void)TRY(pm_file_truncate(m, 0, file, 5 * PAGE + 5));
	status = pm_swap_off(m, 0);
	CHECK(all_work ? status == PM_OK : is_refusal(status) || status == PM_ERR_NO_SWAP);
	if (has_space)
		CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	if (has_file)
		CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
#undef TRY
	/* Swap may be on still, where turning it off was refused memory. */
	status = pm_swap_off(m, 0);
	CHECK(status == PM_OK || status == PM_ERR_NO_SWAP);
	CHECK_EQ(pm_device_destroy(m, device), PM_OK);
}

/// Every request for memory fails, each in its turn, once and from then on: no leak, no corruption, no crash, nothing left over.
static void every_request_fails(void)
{
	uint64_t nr = 0, nth, ignored;
	struct pm_machine *m = back_machine(256, 1);
	unsigned int on;

	CHECK_EQ(pm_fail_allocations(m, UINT64_MAX, false, &ignored), PM_OK);
	script(m, true);
	CHECK_EQ(pm_fail_allocations(m, 0, false, &nr), PM_OK);
	CHECK(nr > 50);
	back_destroy_empty(m, 256);
	for (on = 0; on < 2; on++)
		for (nth = 1; nth <= nr; nth++) {
			int64_t pieces;

			m = back_machine(256, 1);
			CHECK_EQ(pm_fail_allocations(m, nth, on, &ignored), PM_OK);
			script(m, false);
			CHECK_EQ(pm_fail_allocations(m, 0, false, &ignored), PM_OK);
			pieces = pm_host_pieces(m);
			/* The pools' memory stays; whatever else the script had, it gave back. */
			script(m, true);
			script(m, true);
			CHECK(pm_host_pieces(m) <= pieces + 16);
			back_destroy_empty(m, 256);
		}
}

int main(void)
{
	RUN(more_than_there_is);
	RUN(a_file_larger_than_memory);
	RUN(out_of_memory);
	RUN(kswapd);
	RUN(the_used_ones_stay);
	RUN(reclaim_beside_a_stuck_write);
	RUN(every_request_fails);
	return check_result();
}
