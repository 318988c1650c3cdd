/// Every request for memory fails once: a script over every public operation on frames with owners runs with the Nth request failing, alone or with all after it, for
/// N from 1 until the script passes without a failure. Whatever fails says so, leaves contents as they were, and nothing behind.
#include "tests/draw.h"
#include "tests/space_rig.h"

enum { PAGES = 8, NR_BLOCKS = 70, SPACES = 5 };

/// What the script has made; 0: not yet, or it failed.
struct world {
	struct pm_machine *m;
	uint64_t device, disk_file, ram_file, unmovable, movable;
	uint64_t space[SPACES];
	uint64_t anon, shared, private, shm, moved; ///< addresses in space 0, and in what forked from it
	uint64_t pin[5], pin_pfn;
	uint32_t block[NR_BLOCKS];
	unsigned int nr_blocks;
	uint8_t value[SPACES][PAGES]; ///< of the anonymous pages
	bool known[SPACES][PAGES];
};

static struct world w;

/// An operation succeeded, or failed for want of memory; nothing else may happen.
static bool fine(enum pm_status status, const char *what)
{
	if (status == PM_OK)
		return true;
	if (!CHECK(status == PM_ERR_NOMEM || status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK))
		fprintf(stderr, "  %s: %s\n", what, pm_status_text(status));
	return false;
}
#define FINE(call) fine((call), #call)

static uint64_t map(uint64_t pages, uint32_t flags, uint64_t file)
{
	struct pm_map_request request = { .length = pages * PAGE, .prot = RW, .flags = flags, .file = file };
	uint64_t at = 0;

	/* A map that is to be populated and cannot stays mapped. */
	(void)FINE(pm_map(w.m, 0, w.space[0], &request, &at));
	return at;
}

/// The anonymous page of a space: after a failed write it is what it was.
static void put(unsigned int s, unsigned int page, uint8_t value)
{
	size_t done;

	if (!w.space[s] || !w.anon || !FINE(pm_fill(w.m, s % 4, w.space[s], w.anon + page * PAGE, value, PAGE, &done)))
		return;
	w.value[s][page] = value;
	w.known[s][page] = true;
}

static void look(unsigned int s)
{
	uint8_t bytes[PAGE];
	unsigned int page;
	size_t done, i, wrong;

	if (!w.space[s] || !w.anon)
		return;
	for (page = 0; page < PAGES; page++) {
		uint64_t sum = PM_CHECKSUM_START;

		if (!FINE(pm_read(w.m, s % 4, w.space[s], w.anon + page * PAGE, bytes, PAGE, &done)))
			continue;
		for (i = wrong = 0; i < PAGE; i++)
			wrong += bytes[i] != (w.known[s][page] ? w.value[s][page] : 0);
		CHECK_EQ(wrong, 0);
		(void)FINE(pm_checksum(w.m, s % 4, w.space[s], w.anon + page * PAGE, PAGE, &sum, &done));
	}
}

static void fork_space(unsigned int from, unsigned int to)
{
	if (!w.space[from] || !FINE(pm_space_fork(w.m, from % 4, w.space[from], &w.space[to])))
		return;
	memcpy(w.value[to], w.value[from], sizeof(w.value[to]));
	memcpy(w.known[to], w.known[from], sizeof(w.known[to]));
}

static void make_things(void)
{
	struct pm_device_options disk;
	struct pm_file_options on_disk = { .fs = PM_FS_COMMON, .size = PAGES * PAGE, .capacity = 2 * PAGES * PAGE }, in_ram = { .fs = PM_FS_RAM, .size = PAGES * PAGE };

	pm_device_options_default(&disk);
	disk.nr_blocks = 128;
	disk.read_ns = disk.write_ns = 1000;
	disk.contents = 1;
	if (FINE(pm_device_create(w.m, &disk, &w.device))) {
		on_disk.device = w.device;
		(void)FINE(pm_file_create(w.m, &on_disk, &w.disk_file));
		(void)FINE(pm_swap_on(w.m, &(struct pm_swap_options){ 64, w.device }));
	}
	(void)FINE(pm_file_create(w.m, &in_ram, &w.ram_file));
	(void)FINE(pm_owner_create(w.m, PM_OWNER_UNMOVABLE, &w.unmovable));
	(void)FINE(pm_owner_create(w.m, PM_OWNER_MOVABLE_OPS, &w.movable));
	(void)FINE(pm_space_create(w.m, &w.space[0]));
}

static void use_owners(void)
{
	unsigned int i;
	uint64_t pfn;
	uint32_t number;

	if (w.unmovable && FINE(pm_owner_alloc(w.m, 0, w.unmovable, 2, PM_GFP_KERNEL, &number)))
		CHECK_EQ(pm_owner_free(w.m, 0, w.unmovable, number), PM_OK);
	for (i = 0; w.movable && i < NR_BLOCKS; i++)
		if (FINE(pm_owner_alloc(w.m, 0, w.movable, i % 2, PM_GFP_KERNEL, &w.block[w.nr_blocks])))
			w.nr_blocks++;
	for (i = 0; i < w.nr_blocks; i += 16) {
		CHECK_EQ(pm_owner_frame(w.m, 0, w.movable, w.block[i], &pfn), PM_OK);
		(void)FINE(pm_owner_move(w.m, 0, w.movable, w.block[i], PM_GFP_KERNEL, &pfn));
	}
	for (i = 0; i < w.nr_blocks; i += 3)
		CHECK_EQ(pm_owner_free(w.m, 0, w.movable, w.block[i]), PM_OK);
}

/// A byte through a map and back from the file.
static void use_map(uint64_t at, uint64_t page, uint64_t file, uint8_t value)
{
	uint8_t back = 0;
	size_t done;

	if (!at || !FINE(pm_fill(w.m, 0, w.space[0], at + page * PAGE, value, 16, &done)) || !file)
		return;
	if (FINE(pm_file_read(w.m, 0, file, page * PAGE + 7, &back, 1, &done)))
		CHECK_EQ(back, value);
}

static void use_areas(void)
{
	uint64_t at, done;
	unsigned int i;

	if (!w.space[0])
		return;
	w.anon = map(PAGES, 0, 0);
	w.shm = map(4, PM_MAP_SHARED, 0);
	w.moved = map(4, PM_MAP_POPULATE, 0);
	if (w.disk_file) {
		w.shared = map(PAGES, PM_MAP_SHARED, w.disk_file);
		w.private = map(PAGES, 0, w.disk_file);
	}
	for (i = 0; i < PAGES; i++)
		put(0, i, (uint8_t)(i + 1));
	use_map(w.shared, 1, w.disk_file, 11);
	use_map(w.private, 2, 0, 12);
	use_map(w.shm, 3, 0, 13);
	if (w.anon) {
		(void)FINE(pm_protect(w.m, 0, w.space[0], w.anon + 2 * PAGE, 2 * PAGE, RO));
		(void)FINE(pm_protect(w.m, 0, w.space[0], w.anon, PAGES * PAGE, RW));
		(void)FINE(pm_mlock(w.m, 0, w.space[0], w.anon + PAGE, 3 * PAGE, true));
		(void)FINE(pm_mlock(w.m, 0, w.space[0], w.anon, PAGES * PAGE, false));
	}
	if (w.moved) {
		(void)FINE(pm_unmap(w.m, 0, w.space[0], w.moved + PAGE, PAGE));
		(void)FINE(pm_touch(w.m, 0, w.space[0], w.moved, PAGE, true, &done));
		if (FINE(pm_remap(w.m, 0, w.space[0], w.moved, PAGE, PAGE, PM_MAP_FIXED, (uint64_t)1 << 40, &at)))
			(void)FINE(pm_remap(w.m, 0, w.space[0], at, PAGE, 600 * PAGE, PM_MAP_MAYMOVE, 0, &at));
	}
}

static void use_swap(void)
{
	uint64_t freed = 0;

	if (!w.space[0] || !w.anon)
		return;
	(void)FINE(pm_page_out(w.m, 0, w.space[0], w.anon, PAGES * PAGE, &freed));
	fork_space(0, 1);
	look(0);
	look(1);
	put(1, 3, 77);
	put(0, 3, 78);
	(void)FINE(pm_reclaim(w.m, 0, 0, 20, &freed));
	(void)FINE(pm_kswapd(w.m, 0, 0, &freed));
	fork_space(1, 2);
	put(2, 4, 79);
	look(1);
	look(2);
}

static void use_pins(void)
{
	uint64_t transfer;
	uint32_t kind;
	void *bytes;

	if (!w.space[0] || !w.anon)
		return;
	for (kind = PM_PIN_SHORT; kind <= PM_PIN_LONG; kind++)
		(void)FINE(pm_pin(w.m, 0, w.space[0], w.anon + kind * PAGE, kind, kind != PM_PIN_SHORT, &w.pin_pfn, &w.pin[kind]));
	(void)FINE(pm_window(w.m, 0, w.space[0], w.anon, true, &bytes, &w.pin[PM_PIN_WINDOW]));
	/* What is pinned is copied for the child at once. */
	fork_space(0, 3);
	look(3);
	if (w.pin[PM_PIN_DIRECT_IO] && w.disk_file && FINE(pm_direct_io(w.m, 0, w.pin[PM_PIN_DIRECT_IO], w.disk_file, 5 * PAGE, PM_IO_WRITE, &transfer)))
		(void)FINE(pm_direct_wait(w.m, 0, transfer));
}

static void use_files(void)
{
	uint64_t nr, pfn;
	uint8_t bytes[3 * PAGE];
	size_t done;

	memset(bytes, 0x5a, sizeof(bytes));
	if (w.ram_file)
		(void)FINE(pm_file_write(w.m, 0, w.ram_file, 100, bytes, sizeof(bytes), &done));
	if (!w.disk_file)
		return;
	if (FINE(pm_file_write(w.m, 0, w.disk_file, 6 * PAGE, bytes, sizeof(bytes), &done)) &&
	    FINE(pm_file_read(w.m, 0, w.disk_file, 8 * PAGE, bytes, 1, &done)))
		CHECK_EQ(bytes[0], 0x5a);
	if (FINE(pm_file_sync(w.m, 0, w.disk_file, 0, 2 * PAGES * PAGE, true)))
		CHECK_EQ(pm_file_drop(w.m, 0, w.disk_file, 0, 2 * PAGES * PAGE, &nr), PM_OK);
	if (FINE(pm_file_read(w.m, 0, w.disk_file, 6 * PAGE, bytes, 1, &done)))
		CHECK_EQ(pm_file_frame(w.m, 0, w.disk_file, 6 * PAGE, &pfn), PM_OK);
	(void)FINE(pm_file_truncate(w.m, 0, w.disk_file, 7 * PAGE + 9));
	(void)FINE(pm_file_truncate(w.m, 0, w.disk_file, 9 * PAGE));
}

/// Nothing here takes memory: it has to succeed.
static void look_around(void)
{
	struct pm_area areas[64];
	struct pm_space_info info;
	struct pm_rmap_entry entries[8];
	struct pm_pte_info pte;
	size_t nr;
	unsigned int s;

	for (s = 0; s < SPACES; s++) {
		if (!w.space[s])
			continue;
		CHECK_EQ(pm_space_areas(w.m, 0, w.space[s], 64, areas, &nr), PM_OK);
		CHECK_EQ(pm_space_info(w.m, 0, w.space[s], &info), PM_OK);
		if (!w.anon)
			continue;
		CHECK_EQ(pm_lookup(w.m, 0, w.space[s], w.anon, &pte), PM_OK);
		if (pte.kind == PM_PTE_PRESENT)
			CHECK_EQ(pm_rmap(w.m, 0, pte.pfn, 8, entries, &nr, NULL), PM_OK);
	}
}

static void run_script(void)
{
	make_things();
	use_owners();
	use_areas();
	use_swap();
	use_pins();
	use_files();
	look_around();
	if (w.space[1])
		CHECK_EQ(pm_space_exit(w.m, 0, w.space[1]), PM_OK);
	w.space[1] = 0;
	put(2, 5, 99);
	fork_space(2, 4);
	look(2);
	look(4);
	if (w.device) {
		enum pm_status status = pm_swap_off(w.m, 0);

		if (status != PM_ERR_NO_SWAP)
			(void)FINE(status);
	}
}

/// Closing takes no memory: it may not fail, whatever failed before.
static void close_everything(void)
{
	unsigned int i;

	for (i = 0; i < 5; i++)
		if (w.pin[i])
			CHECK_EQ(pm_unpin(w.m, 0, w.pin[i]), PM_OK);
	for (i = 0; i < SPACES; i++)
		if (w.space[i])
			CHECK_EQ(pm_space_exit(w.m, 0, w.space[i]), PM_OK);
	if (w.movable)
		CHECK_EQ(pm_owner_destroy(w.m, 0, w.movable), PM_OK);
	if (w.unmovable)
		CHECK_EQ(pm_owner_destroy(w.m, 0, w.unmovable), PM_OK);
	if (w.ram_file)
		space_file_close(w.m, w.ram_file);
	if (w.disk_file)
		space_file_close(w.m, w.disk_file);
}

static bool any_left(uint64_t nth, bool on, uint32_t tables)
{
	struct space_rig_options options = space_options();
	struct space_rig rig;
	uint64_t requests = 0;
	enum pm_status status;

	options.swap = 0;
	options.memory.tables_in_frames = tables;
	rig = space_rig_make(&options);
	w = (struct world){ .m = rig.m };
	REQUIRE(pm_fail_allocations(w.m, nth, on, &requests) == PM_OK);
	run_script();
	close_everything();
	REQUIRE(pm_fail_allocations(w.m, 0, false, &requests) == PM_OK);
	CHECK(rig_valid(w.m));
	/* Spaces are gone, so nothing has to come back from swap. */
	status = pm_swap_off(w.m, 0);
	CHECK(status == PM_OK || status == PM_ERR_NO_SWAP);
	CHECK_EQ(pm_clock_advance(w.m, 1000000), PM_OK);
	if (w.device)
		CHECK_EQ(pm_device_destroy(w.m, w.device), PM_OK);
	space_rig_end(&rig);
	if (check_result() != EXIT_SUCCESS)
		fprintf(stderr, "with request %llu %s, tables_in_frames %u\n", (unsigned long long)nth, on ? "and all later ones failing" : "failing", tables);
	return requests >= nth;
}

static void every_request_fails_once(void)
{
	uint64_t nth;
	uint32_t mode;

	for (mode = 0; mode < 4; mode++) {
		for (nth = 1; any_left(nth, mode & 1, mode >> 1) && check_result() == EXIT_SUCCESS; nth++)
			;
		/* The script has to be one that asks for something. */
		CHECK(nth > 200);
	}
}

/// The requests of pm_memory_enable() itself: there is no machine with owners yet that could be asked to let them fail.
static void enabling_fails_cleanly(void)
{
	uint64_t nth = 0;
	enum pm_status status;

	do {
		struct pm_machine *m = rig_one_zone(1024, 2, rig_bare());
		struct pm_memory_options options;

		pm_memory_options_default(&options);
		options.contents = PM_CONTENTS_SHARED;
		atomic_store(&m->host.fail_at, ++nth);
		status = pm_memory_enable(m, &options);
		atomic_store(&m->host.fail_at, 0);
		CHECK(status == PM_OK || status == PM_ERR_NOMEM);
		if (status) {
			CHECK_EQ(pm_host_pieces(m), 0);
			CHECK_EQ(pm_memory_enable(m, &options), PM_OK);
		}
		CHECK_EQ(pm_memory_enable(m, &options), PM_ERR_STATE);
		rig_destroy(m);
	} while (status && nth < 1000);
	CHECK(nth > 5 && nth < 1000);
}

int main(void)
{
	RUN(enabling_fails_cleanly);
	RUN(every_request_fails_once);
	return check_result();
}
