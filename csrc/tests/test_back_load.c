/// Owners for the frames of a snapshot: what was loaded works like what was faulted in, and what cannot be is refused.
#include "tests/picture.h"

static struct pm_page_info page(struct picture *p, uint64_t pfn)
{
	struct pm_page_info info;

	REQUIRE(pm_page_info(p->m, pfn, &info) == PM_OK);
	return info;
}

static bool has_flag(const struct pm_page_info *info, const char *name)
{
	uint32_t bit;

	for (bit = 0; pm_page_flag_name(bit); bit++)
		if (strcmp(pm_page_flag_name(bit), name) == 0)
			return info->flags >> bit & 1;
	REQUIRE(false);
	return false;
}

static void every_kind_of_frame_has_its_owner(void)
{
	struct picture p = picture_open("aaff 22u. 4444 ....", false);
	struct pm_pte_info pte;
	uint64_t pfn;

	CHECK_EQ(page(&p, 0).use, PM_USE_ANON);
	CHECK_EQ(page(&p, 0).mapcount, 1);
	CHECK_EQ(page(&p, 2).use, PM_USE_FILE);
	CHECK_EQ(page(&p, 4).use, PM_USE_OWNER);
	CHECK_EQ(page(&p, 8).order, 2);
	CHECK_EQ(page(&p, 6).use, PM_USE_NONE);
	CHECK_EQ(pm_lookup(p.m, 0, p.space, p.addr + PM_PAGE_SIZE, &pte), PM_OK);
	CHECK(pte.kind == PM_PTE_PRESENT && pte.pfn == 1 && pte.writable && pte.dirty && pte.exclusive);
	CHECK_EQ(pm_file_frame(p.m, 0, p.file, PM_PAGE_SIZE, &pfn), PM_OK);
	CHECK_EQ(pfn, 3);
	CHECK_EQ(pm_owner_frame(p.m, 0, p.owner, 1, &pfn), PM_OK);
	CHECK_EQ(pfn, 8);
	picture_close(&p);
}

static void what_was_loaded_goes_like_anything_else(void)
{
	struct picture p = picture_open("aaff 22a. 4444 uu..", false);
	uint64_t child;

	CHECK_EQ(pm_space_fork(p.m, 0, p.space, &child), PM_OK);
	CHECK_EQ(pm_space_exit(p.m, 0, p.space), PM_OK);
	CHECK_EQ(pm_space_exit(p.m, 0, child), PM_OK);
	CHECK_EQ(pm_file_close(p.m, 0, p.file), PM_OK);
	CHECK_EQ(pm_owner_destroy(p.m, 0, p.owner), PM_OK);
	CHECK(picture_is(&p, ".... .... .... uu.."));
	rig_destroy(p.m);
}

/// A machine with a device, and a file of as many pages as `text` has frames of files, which are not loaded yet.
static uint64_t open_file(struct picture *p, uint64_t pages)
{
	struct pm_device_options device;
	struct pm_file_options file = { .fs = PM_FS_BUFFERS, .size = pages * PM_PAGE_SIZE };
	uint64_t handle;

	pm_device_options_default(&device);
	device.nr_blocks = pages;
	device.read_ns = device.write_ns = 1000;
	device.contents = 0;
	REQUIRE(pm_device_create(p->m, &device, &file.device) == PM_OK);
	REQUIRE(pm_file_create(p->m, &file, &handle) == PM_OK);
	return handle;
}

static void states_are_kept_until_somebody_waits(void)
{
	struct picture p = picture_open("uuuu uuuu ....", false);
	uint64_t file = open_file(&p, 6), frames[6] = { 0, 1, 2, 3, 4, 5 };
	const uint8_t states[6] = { 0, PM_LOAD_DIRTY, PM_LOAD_PRIVATE, PM_LOAD_LOCKED, PM_LOAD_ACTIVE, PM_LOAD_DIRTY };
	struct pm_page_info info;
	struct pm_file_info about;
	uint64_t sizes[5];
	size_t done;

	REQUIRE(pm_load_file(p.m, 0, file, 0, 6, frames, states, &done) == PM_OK && done == 6);
	REQUIRE(pm_file_sync(p.m, 0, file, 5 * PM_PAGE_SIZE, PM_PAGE_SIZE, false) == PM_OK);
	CHECK(rig_valid(p.m));
	info = page(&p, 1);
	CHECK(has_flag(&info, "dirty"));
	info = page(&p, 2);
	CHECK(has_flag(&info, "private"));
	info = page(&p, 3);
	CHECK(has_flag(&info, "locked") && !has_flag(&info, "uptodate"));
	info = page(&p, 5);
	CHECK(has_flag(&info, "writeback"));
	CHECK_EQ(pm_lru_sizes(p.m, 0, sizes), PM_OK);
	CHECK_EQ(sizes[3], 1);
	CHECK_EQ(sizes[2], 5);
	REQUIRE(pm_file_info(p.m, 0, file, &about) == PM_OK);
	CHECK_EQ(about.nr_dirty, 1);
	CHECK_EQ(about.nr_writeback, 1);
	/* That of the page that is being read, too: this kind of file has them from then on. */
	CHECK_EQ(about.nr_buffers, 2);
	CHECK_EQ(pm_clock_advance(p.m, 10000), PM_OK);
	info = page(&p, 3);
	CHECK(!has_flag(&info, "locked") && has_flag(&info, "uptodate"));
	info = page(&p, 5);
	CHECK(!has_flag(&info, "writeback"));
	picture_close(&p);
}

static void what_cannot_be_loaded_is_refused(void)
{
	struct picture p = picture_open("auu. 22.. uuuu", false);
	const uint64_t taken = 0, inside = 5, loose = 3, beyond = 1000, good = 1;
	uint64_t file = open_file(&p, 1), addr = p.addr + 4 * PM_PAGE_SIZE, mapped;
	struct pm_map_request request = { .length = PM_PAGE_SIZE, .prot = PM_PROT_READ, .file = file };
	size_t done;

	CHECK_EQ(pm_load_anon(p.m, 0, p.space, addr, 1, &taken, NULL, &done), PM_ERR_OWNED);
	CHECK_EQ(pm_load_anon(p.m, 0, p.space, addr, 1, &inside, NULL, &done), PM_ERR_ORDER);
	CHECK_EQ(pm_load_anon(p.m, 0, p.space, addr, 1, &loose, NULL, &done), PM_ERR_ORDER);
	CHECK_EQ(pm_load_anon(p.m, 0, p.space, addr, 1, &beyond, NULL, &done), PM_ERR_RANGE);
	CHECK_EQ(pm_load_anon(p.m, 0, p.space, p.addr, 1, &good, NULL, &done), PM_ERR_BUSY);
	CHECK_EQ(pm_load_anon(p.m, 0, p.space, 0, 1, &good, NULL, &done), PM_ERR_FAULT);
	CHECK_EQ(pm_load_anon(p.m, 0, p.space, addr + 1, 1, &good, NULL, &done), PM_ERR_INVAL);
	CHECK_EQ(pm_load_anon(p.m, 0, p.space + 1, addr, 1, &good, NULL, &done), PM_ERR_HANDLE);
	REQUIRE(pm_map(p.m, 0, p.space, &request, &mapped) == PM_OK);
	CHECK_EQ(pm_load_anon(p.m, 0, p.space, mapped, 1, &good, NULL, &done), PM_ERR_ACCESS);
	CHECK_EQ(pm_load_file(p.m, 0, file, 0, 1, &taken, NULL, &done), PM_ERR_OWNED);
	CHECK_EQ(pm_load_file(p.m, 0, file + 1, 0, 1, &good, NULL, &done), PM_ERR_HANDLE);
	CHECK_EQ(pm_load_file(p.m, 0, file, 1, 1, &good, NULL, &done), PM_ERR_BEYOND);
	CHECK_EQ(done, 0);
	CHECK_EQ(pm_load_owner(p.m, 0, p.owner, 1, &taken, &done), PM_ERR_OWNED);
	CHECK_EQ(pm_load_owner(p.m, 0, p.owner, 1, &beyond, &done), PM_ERR_RANGE);
	CHECK_EQ(pm_load_owner(p.m, 0, p.owner, 1, &loose, &done), PM_ERR_ORDER);
	picture_close(&p);
}

static void every_failure_of_memory_while_loading_leaves_the_machine_sound(void)
{
	uint64_t nth, requests;
	bool failed = true;

	for (nth = 1; failed; nth++) {
		struct picture p = picture_open("uuuu uuuu ....", false);
		struct pm_map_request request = { .length = 4 * PM_PAGE_SIZE, .prot = PM_PROT_READ | PM_PROT_WRITE };
		uint64_t file = open_file(&p, 4), space, addr, frames[3] = { 0, 1, 2 }, more[3] = { 4, 5, 6 };
		const uint8_t states[3] = { PM_LOAD_PRIVATE, PM_LOAD_LOCKED, PM_LOAD_DIRTY };
		enum pm_status status;
		size_t done;

		REQUIRE(pm_space_create(p.m, &space) == PM_OK && pm_map(p.m, 0, space, &request, &addr) == PM_OK);
		REQUIRE(pm_fail_allocations(p.m, nth, false, &requests) == PM_OK);
		status = pm_load_file(p.m, 0, file, 0, 3, frames, states, &done);
		CHECK(status == PM_OK || status == PM_ERR_NOMEM);
		status = pm_load_anon(p.m, 0, space, addr, 3, more, NULL, &done);
		CHECK(status == PM_OK || status == PM_ERR_NOMEM);
		REQUIRE(pm_fail_allocations(p.m, 0, false, &requests) == PM_OK);
		failed = requests >= nth;
		picture_close(&p);
	}
	CHECK(nth > 6);
}

int main(void)
{
	RUN(every_kind_of_frame_has_its_owner);
	RUN(what_was_loaded_goes_like_anything_else);
	RUN(states_are_kept_until_somebody_waits);
	RUN(what_cannot_be_loaded_is_refused);
	RUN(every_failure_of_memory_while_loading_leaves_the_machine_sound);
	return check_result();
}
