/// Faults of each kind, one at a time, with their counters; access to contents across pages and at the edges; what a handle that is gone or an
/// address that nobody mapped leads to. All of it with each of the three guards, which have to be the same to a caller.
#include "tests/space_rig.h"

static struct space_rig_options options;

static struct space_rig begin(void)
{
	return space_rig_make(&options);
}

static void zero_fill_then_write(void)
{
	struct space_rig rig = begin();
	uint64_t space = space_make(rig.m), at = space_map(rig.m, space, 4), pfn;
	struct pm_memory_counters counters;
	struct pm_page_info page;

	CHECK_EQ(space_pte(rig.m, space, at).kind, PM_PTE_NONE);
	CHECK_EQ(space_get(rig.m, space, at + 17), 0);
	counters = space_counters(rig.m);
	CHECK_EQ(counters.fault_anon, 1);
	CHECK_EQ(space_pte(rig.m, space, at).young, 1);
	CHECK_EQ(space_pte(rig.m, space, at).dirty, 0);
	CHECK_EQ(space_pte(rig.m, space, at).exclusive, 1);
	space_put(rig.m, space, at + 17, 9);
	/* The page was this space's own: no second fault. */
	CHECK_EQ(space_counters(rig.m).fault_cow_copy + space_counters(rig.m).fault_cow_reuse, 0);
	CHECK_EQ(space_pte(rig.m, space, at).dirty, 1);
	CHECK_EQ(space_get(rig.m, space, at + 17), 9);
	pfn = space_frame(rig.m, space, at);
	page = space_page(rig.m, pfn);
	CHECK_EQ(page.use, PM_USE_ANON);
	CHECK_EQ(page.references, 1);
	CHECK_EQ(page.mapcount, 1);
	CHECK_EQ(page.index, at / PAGE);
	CHECK_EQ(space_info(rig.m, space).present, 1);
	CHECK_EQ(space_info(rig.m, space).mapped, 4);
	/* An owned frame is not the caller's to free. */
	CHECK_EQ(pm_free(rig.m, 0, pfn, 0), PM_ERR_OWNED);
	CHECK_EQ(pm_unmap(rig.m, 0, space, at, 4 * PAGE), PM_OK);
	CHECK_EQ(space_page(rig.m, pfn).use, PM_USE_NONE);
	/* A frame that was used before comes back as zeros. */
	at = space_map(rig.m, space, 1);
	CHECK_EQ(space_get(rig.m, space, at + 17), 0);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

static void access_crosses_pages(void)
{
	struct space_rig rig = begin();
	uint64_t space = space_make(rig.m), at = space_map(rig.m, space, 8), sum = PM_CHECKSUM_START, want = PM_CHECKSUM_START;
	static uint8_t bytes[5 * PAGE], back[5 * PAGE];
	size_t i, done;

	for (i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)(i * 7 + i / 251);
	CHECK_EQ(pm_write(rig.m, 0, space, at + 1001, bytes, sizeof(bytes), &done), PM_OK);
	CHECK_EQ(done, sizeof(bytes));
	CHECK_EQ(pm_read(rig.m, 0, space, at + 1001, back, sizeof(back), &done), PM_OK);
	CHECK(memcmp(bytes, back, sizeof(back)) == 0);
	CHECK_EQ(pm_checksum(rig.m, 0, space, at + 1001, sizeof(bytes), &sum, &done), PM_OK);
	for (i = 0; i < sizeof(bytes); i++)
		want = (want ^ bytes[i]) * 0x100000001b3u;
	CHECK(sum == want);
	CHECK_EQ(pm_fill(rig.m, 0, space, at + PAGE - 3, 0xee, 2 * PAGE, &done), PM_OK);
	CHECK_EQ(space_get(rig.m, space, at + PAGE - 4), bytes[PAGE - 4 - 1001]);
	CHECK_EQ(space_get(rig.m, space, at + PAGE - 3), 0xee);
	CHECK_EQ(space_get(rig.m, space, at + 3 * PAGE - 4), 0xee);
	CHECK_EQ(space_get(rig.m, space, at + 3 * PAGE - 3), bytes[3 * PAGE - 3 - 1001]);
	/* Nothing is nothing. */
	CHECK_EQ(pm_read(rig.m, 0, space, at, back, 0, &done), PM_OK);
	CHECK_EQ(done, 0);
	/* A hole part of the way: what was before it is done. */
	CHECK_EQ(pm_unmap(rig.m, 0, space, at + 2 * PAGE, PAGE), PM_OK);
	CHECK_EQ(pm_write(rig.m, 0, space, at + 100, bytes, sizeof(bytes), &done), PM_ERR_FAULT);
	CHECK_EQ(done, 2 * PAGE - 100);
	CHECK_EQ(pm_protect(rig.m, 0, space, at + 3 * PAGE, PAGE, RO), PM_OK);
	CHECK_EQ(pm_fill(rig.m, 0, space, at + 3 * PAGE, 1, 10, &done), PM_ERR_ACCESS);
	CHECK_EQ(done, 0);
	CHECK_EQ(pm_read(rig.m, 0, space, at + 3 * PAGE, back, PAGE, &done), PM_OK);
	CHECK_EQ(pm_protect(rig.m, 0, space, at + 3 * PAGE, PAGE, PM_PROT_NONE), PM_OK);
	CHECK_EQ(pm_read(rig.m, 0, space, at + 3 * PAGE, back, PAGE, &done), PM_ERR_ACCESS);
	CHECK_EQ(pm_protect(rig.m, 0, space, at + 3 * PAGE, PAGE, RW), PM_OK);
	CHECK_EQ(space_get(rig.m, space, at + 3 * PAGE), bytes[3 * PAGE - 1001]);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

static void copy_on_write_and_reuse(void)
{
	struct space_rig rig = begin();
	uint64_t parent = space_make(rig.m), at = space_map(rig.m, parent, 2), child, grandchild, pfn;

	space_put(rig.m, parent, at, 1);
	space_put(rig.m, parent, at + PAGE, 2);
	pfn = space_frame(rig.m, parent, at);
	child = space_fork(rig.m, parent);
	grandchild = space_fork(rig.m, child);
	CHECK_EQ(space_counters(rig.m).forks, 2);
	CHECK_EQ(space_counters(rig.m).fork_pages, 4);
	CHECK_EQ(space_page(rig.m, pfn).mapcount, 3);
	CHECK_EQ(space_page(rig.m, pfn).references, 3);
	CHECK_EQ(space_pte(rig.m, parent, at).writable, 0);
	CHECK_EQ(space_pte(rig.m, child, at).exclusive, 0);
	/* Who writes first gets a copy; the others see what was. */
	space_put(rig.m, child, at, 7);
	CHECK_EQ(space_counters(rig.m).fault_cow_copy, 1);
	CHECK_EQ(space_get(rig.m, parent, at), 1);
	CHECK_EQ(space_get(rig.m, grandchild, at), 1);
	CHECK_EQ(space_get(rig.m, child, at), 7);
	CHECK(space_frame(rig.m, child, at) != pfn);
	CHECK_EQ(space_page(rig.m, pfn).mapcount, 2);
	space_exit(rig.m, parent);
	/* The last user keeps the frame, and pays no copy. */
	CHECK_EQ(space_page(rig.m, pfn).mapcount, 1);
	space_put(rig.m, grandchild, at, 8);
	CHECK_EQ(space_counters(rig.m).fault_cow_copy, 1);
	CHECK_EQ(space_counters(rig.m).fault_cow_reuse, 1);
	CHECK_EQ(space_frame(rig.m, grandchild, at), pfn);
	CHECK_EQ(space_pte(rig.m, grandchild, at).exclusive, 1);
	CHECK_EQ(space_get(rig.m, grandchild, at), 8);
	CHECK_EQ(space_get(rig.m, child, at), 7);
	CHECK_EQ(space_get(rig.m, child, at + PAGE), 2);
	CHECK(rig_valid(rig.m));
	space_exit(rig.m, child);
	space_exit(rig.m, grandchild);
	space_rig_end(&rig);
}

static void file_pages_shared_and_private(void)
{
	struct space_rig rig = begin();
	uint64_t file = space_ram_file(rig.m, 4), a = space_make(rig.m), b = space_make(rig.m), shared_a, shared_b, private_b, pfn;
	uint8_t value = 33;
	size_t done;

	shared_a = space_map_at(rig.m, a, 0, 4, RW, PM_MAP_SHARED, file);
	shared_b = space_map_at(rig.m, b, 0, 4, RO, PM_MAP_SHARED, file);
	private_b = space_map_at(rig.m, b, 0, 4, RW, 0, file);
	space_put(rig.m, a, shared_a + PAGE, 5);
	CHECK_EQ(space_counters(rig.m).fault_file, 1);
	CHECK_EQ(space_get(rig.m, b, shared_b + PAGE), 5);
	CHECK_EQ(space_get(rig.m, b, private_b + PAGE), 5);
	pfn = space_frame(rig.m, a, shared_a + PAGE);
	CHECK_EQ(space_frame(rig.m, b, private_b + PAGE), pfn);
	CHECK_EQ(space_page(rig.m, pfn).mapcount, 3);
	CHECK_EQ(space_page(rig.m, pfn).use, PM_USE_FILE);
	CHECK_EQ(space_page(rig.m, pfn).object, file);
	CHECK_EQ(space_page(rig.m, pfn).index, 1);
	/* A private copy: neither the file nor the other map sees it. */
	space_put(rig.m, b, private_b + PAGE, 6);
	CHECK_EQ(space_counters(rig.m).fault_cow_copy, 1);
	CHECK_EQ(space_get(rig.m, b, shared_b + PAGE), 5);
	CHECK_EQ(space_get(rig.m, b, private_b + PAGE), 6);
	CHECK_EQ(space_page(rig.m, space_frame(rig.m, b, private_b + PAGE)).use, PM_USE_ANON);
	/* A write to a page that was never read is private from the beginning. */
	space_put(rig.m, b, private_b + 2 * PAGE, 4);
	CHECK_EQ(space_get(rig.m, b, shared_b + 2 * PAGE), 0);
	CHECK_EQ(space_try_put(rig.m, b, shared_b, 1), PM_ERR_ACCESS);
	/* What is written to the file shows in the maps, and the other way round. */
	CHECK_EQ(pm_file_write(rig.m, 0, file, PAGE, &value, 1, &done), PM_OK);
	CHECK_EQ(space_get(rig.m, a, shared_a + PAGE), 33);
	CHECK_EQ(pm_file_read(rig.m, 0, file, 2 * PAGE, &value, 1, &done), PM_OK);
	CHECK_EQ(value, 0);
	/* Beyond the end of the file. */
	shared_a = space_map_at(rig.m, a, 0, 6, RW, PM_MAP_SHARED, file);
	CHECK_EQ(space_get(rig.m, a, shared_a + 4 * PAGE), PM_ERR_BEYOND);
	CHECK(rig_valid(rig.m));
	space_file_close(rig.m, file);
	/* The file lives on in its maps. */
	CHECK_EQ(space_get(rig.m, a, shared_a + PAGE), 33);
	space_exit(rig.m, a);
	space_exit(rig.m, b);
	space_rig_end(&rig);
}

static void shared_anonymous_memory(void)
{
	struct space_rig rig = begin();
	uint64_t parent = space_make(rig.m), child, at = space_map_at(rig.m, parent, 0, 3, RW, PM_MAP_SHARED, 0);

	space_put(rig.m, parent, at, 3);
	child = space_fork(rig.m, parent);
	CHECK_EQ(space_get(rig.m, child, at), 3);
	space_put(rig.m, child, at + 2 * PAGE, 9);
	CHECK_EQ(space_get(rig.m, parent, at + 2 * PAGE), 9);
	space_exit(rig.m, parent);
	CHECK_EQ(space_get(rig.m, child, at), 3);
	space_exit(rig.m, child);
	space_rig_end(&rig);
}

/// A file of `pages` pages on a device of its own.
static uint64_t disk_file(struct pm_machine *m, uint64_t pages, uint64_t *ret_device)
{
	struct pm_file_options on_disk = { .fs = PM_FS_COMMON, .size = pages * PAGE };
	struct pm_device_options disk;
	uint64_t file = 0;

	pm_device_options_default(&disk);
	disk.nr_blocks = 64;
	REQUIRE(pm_device_create(m, &disk, ret_device) == PM_OK);
	on_disk.device = *ret_device;
	REQUIRE(pm_file_create(m, &on_disk, &file) == PM_OK);
	return file;
}

/// A clean page of a shared map is written again: the file is told.
static void write_notify(void)
{
	struct space_rig rig = begin();
	uint64_t device, file = disk_file(rig.m, 4, &device), space = space_make(rig.m), at;
	struct pm_file_info info;

	at = space_map_at(rig.m, space, 0, 4, RW, PM_MAP_SHARED, file);
	CHECK_EQ(space_get(rig.m, space, at), 0);
	CHECK_EQ(space_pte(rig.m, space, at).writable, 0);
	space_put(rig.m, space, at, 1);
	CHECK_EQ(space_counters(rig.m).fault_notify, 1);
	REQUIRE(pm_file_info(rig.m, 0, file, &info) == PM_OK);
	CHECK_EQ(info.nr_dirty, 1);
	CHECK_EQ(pm_file_sync(rig.m, 0, file, 0, 4 * PAGE, true), PM_OK);
	REQUIRE(pm_file_info(rig.m, 0, file, &info) == PM_OK);
	CHECK_EQ(info.nr_dirty, 0);
	CHECK_EQ(space_pte(rig.m, space, at).writable, 0);
	space_put(rig.m, space, at, 2);
	CHECK_EQ(space_counters(rig.m).fault_notify, 2);
	/* Written without having been read: the file is told by the same fault. */
	space_put(rig.m, space, at + 2 * PAGE, 3);
	REQUIRE(pm_file_info(rig.m, 0, file, &info) == PM_OK);
	CHECK_EQ(info.nr_dirty, 2);
	space_exit(rig.m, space);
	REQUIRE(pm_file_info(rig.m, 0, file, &info) == PM_OK);
	CHECK_EQ(info.nr_dirty, 2);
	space_file_close(rig.m, file);
	CHECK_EQ(pm_device_destroy(rig.m, device), PM_OK);
	space_rig_end(&rig);
}

static void swap_out_and_in(void)
{
	struct space_rig rig = begin();
	uint64_t parent = space_make(rig.m), child, at = space_map(rig.m, parent, 8), i;
	struct pm_swap_info swap;

	for (i = 0; i < 8; i++)
		space_put(rig.m, parent, at + i * PAGE, (uint8_t)(i + 1));
	CHECK_EQ(space_page_out(rig.m, parent, at, 8), 8);
	CHECK_EQ(space_info(rig.m, parent).swapped, 8);
	CHECK_EQ(space_pte(rig.m, parent, at).kind, PM_PTE_SWAP);
	CHECK_EQ(space_pte(rig.m, parent, at).exclusive, 1);
	CHECK(rig_valid(rig.m));
	child = space_fork(rig.m, parent);
	REQUIRE(pm_swap_info(rig.m, &swap) == PM_OK);
	CHECK_EQ(swap.entries, 16);
	CHECK_EQ(space_pte(rig.m, parent, at).exclusive, 0);
	CHECK_EQ(space_get(rig.m, child, at), 1);
	CHECK_EQ(space_counters(rig.m).fault_swap, 1);
	space_put(rig.m, child, at + PAGE, 50);
	CHECK_EQ(space_get(rig.m, parent, at + PAGE), 2);
	CHECK_EQ(space_get(rig.m, child, at + PAGE), 50);
	space_put(rig.m, parent, at + PAGE, 60);
	CHECK_EQ(space_get(rig.m, child, at + PAGE), 50);
	CHECK(rig_valid(rig.m));
	space_exit(rig.m, parent);
	for (i = 2; i < 8; i++)
		CHECK_EQ(space_get(rig.m, child, at + i * PAGE), i + 1);
	CHECK(rig_valid(rig.m));
	space_exit(rig.m, child);
	space_rig_end(&rig);
}

static void mlocked_pages_stay(void)
{
	struct space_rig rig = begin();
	uint64_t space = space_make(rig.m), at = space_map(rig.m, space, 8), child, freed;

	space_put(rig.m, space, at, 1);
	CHECK_EQ(pm_mlock(rig.m, 0, space, at, 4 * PAGE, true), PM_OK);
	/* Locking faults in. */
	CHECK_EQ(space_info(rig.m, space).present, 4);
	CHECK_EQ(space_info(rig.m, space).locked, 4);
	space_put(rig.m, space, at + 5 * PAGE, 1);
	CHECK_EQ(space_page_out(rig.m, space, at, 8), 1);
	CHECK_EQ(pm_reclaim(rig.m, 0, 0, 100, &freed), PM_OK);
	CHECK_EQ(freed, 0);
	CHECK_EQ(space_info(rig.m, space).present, 4);
	/* A child does not inherit the lock, but the page is its parent's too. */
	child = space_fork(rig.m, space);
	CHECK_EQ(space_info(rig.m, child).locked, 0);
	CHECK_EQ(space_page_out(rig.m, child, at, 8), 0);
	CHECK(rig_valid(rig.m));
	CHECK_EQ(pm_mlock(rig.m, 0, space, at, 4 * PAGE, false), PM_OK);
	CHECK_EQ(space_page_out(rig.m, space, at, 8), 4);
	CHECK_EQ(space_get(rig.m, child, at), 1);
	space_exit(rig.m, space);
	space_exit(rig.m, child);
	space_rig_end(&rig);
}

/// Two spaces lock the pages of one file; when one of them ends the other's are still locked.
static void locked_twice_is_locked_until_both_let_go(void)
{
	struct space_rig rig = begin();
	uint64_t device, file = disk_file(rig.m, 4, &device), a = space_make(rig.m), b = space_make(rig.m), at_a, at_b, freed;

	at_a = space_map_at(rig.m, a, 0, 4, RO, PM_MAP_SHARED | PM_MAP_LOCKED, file);
	at_b = space_map_at(rig.m, b, 0, 4, RO, PM_MAP_SHARED, file);
	CHECK_EQ(pm_mlock(rig.m, 0, b, at_b, 4 * PAGE, true), PM_OK);
	CHECK(rig_valid(rig.m));
	space_exit(rig.m, b);
	CHECK(rig_valid(rig.m));
	CHECK_EQ(pm_reclaim(rig.m, 0, 0, 10, &freed), PM_OK);
	CHECK_EQ(space_page_out(rig.m, a, at_a, 4), 0);
	CHECK_EQ(space_info(rig.m, a).present, 4);
	CHECK(rig_valid(rig.m));
	space_exit(rig.m, a);
	/* Nobody locks them any more. */
	CHECK_EQ(pm_reclaim(rig.m, 0, 0, 10, &freed), PM_OK);
	CHECK_EQ(freed, 4);
	space_file_close(rig.m, file);
	CHECK_EQ(pm_device_destroy(rig.m, device), PM_OK);
	space_rig_end(&rig);
}

static void populate_and_touch(void)
{
	struct space_rig rig = begin();
	uint64_t space = space_make(rig.m), at = space_map_at(rig.m, space, 0, 16, RW, PM_MAP_POPULATE, 0), done = 0;

	CHECK_EQ(space_info(rig.m, space).present, 16);
	CHECK_EQ(space_counters(rig.m).fault_anon, 16);
	CHECK_EQ(pm_touch(rig.m, 0, space, at, 16 * PAGE, true, &done), PM_OK);
	CHECK_EQ(done, 16 * PAGE);
	CHECK_EQ(space_counters(rig.m).fault_anon, 16);
	at = space_map_at(rig.m, space, 0, 16, RO, PM_MAP_POPULATE, 0);
	CHECK_EQ(space_info(rig.m, space).present, 32);
	CHECK_EQ(pm_touch(rig.m, 0, space, at, PAGE, true, &done), PM_ERR_ACCESS);
	CHECK_EQ(done, 0);
	CHECK_EQ(pm_touch(rig.m, 0, space, at, PAGE, false, &done), PM_OK);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

/// Out of memory is an error that the caller sees, and the space works on as far as it is mapped.
static void out_of_memory_is_an_error(void)
{
	struct space_rig_options few = options;
	struct space_rig rig;
	struct pm_map_request request = { .length = 4096 * PAGE, .prot = RW, .flags = PM_MAP_POPULATE };
	uint64_t space, at = 0, i;
	enum pm_status status;

	few.nr_frames = 512;
	few.swap = 16;
	rig = space_rig_make(&few);
	space = space_make(rig.m);
	status = pm_map(rig.m, 0, space, &request, &at);
	CHECK(status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK);
	CHECK(at != 0);
	CHECK(rig_valid(rig.m));
	/* Neither a frame nor a slot is left: what is in swap cannot come back before something goes. */
	status = space_try_put(rig.m, space, at + 4000 * PAGE, 1);
	CHECK(status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK);
	CHECK_EQ(pm_unmap(rig.m, 0, space, at + 256 * PAGE, 64 * PAGE), PM_OK);
	for (i = 0; i < 100; i++)
		space_put(rig.m, space, at + i * PAGE, (uint8_t)i);
	for (i = 0; i < 100; i++)
		CHECK_EQ(space_get(rig.m, space, at + i * PAGE), i);
	CHECK_EQ(pm_unmap(rig.m, 0, space, at, 4096 * PAGE), PM_OK);
	at = space_map(rig.m, space, 1);
	space_put(rig.m, space, at, 1);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

static void (*const tests[])(void) = { zero_fill_then_write, access_crosses_pages, copy_on_write_and_reuse, file_pages_shared_and_private,
				       shared_anonymous_memory, write_notify, swap_out_and_in, mlocked_pages_stay, locked_twice_is_locked_until_both_let_go,
				       populate_and_touch, out_of_memory_is_an_error };
static const char *const names[] = { "zero_fill_then_write", "access_crosses_pages", "copy_on_write_and_reuse", "file_pages_shared_and_private",
				     "shared_anonymous_memory", "write_notify", "swap_out_and_in", "mlocked_pages_stay",
				     "locked_twice_is_locked_until_both_let_go", "populate_and_touch", "out_of_memory_is_an_error" };

int main(void)
{
	uint32_t guard, tables;
	size_t i;

	for (guard = PM_GUARD_EPOCH; guard <= PM_GUARD_LOCK; guard++)
		for (tables = 0; tables < 2; tables++)
			for (i = 0; i < sizeof(tests) / sizeof(tests[0]); i++) {
				options = space_options();
				options.memory.guard = guard;
				options.memory.tables_in_frames = tables;
				options.pcp = tables;
				check_run(tests[i], names[i]);
				if (check_result() != EXIT_SUCCESS) {
					fprintf(stderr, "with guard %u, tables_in_frames %u\n", guard, tables);
					return EXIT_FAILURE;
				}
			}
	return check_result();
}
