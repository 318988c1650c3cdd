/// What a migration promises beside the contents: who moves, where to, why not, and that a failure leaves everything as it was.
#include <string.h>

#include "phys/page.h"
#include "tests/move_rig.h"

static void destinations(void)
{
	uint64_t given = 700;
	struct pm_destination to[] = { { .kind = PM_DEST_ZONE, .value = 0 }, { .kind = PM_DEST_ZONE, .value = 1 }, { .kind = PM_DEST_BELOW, .value = 100 }, { .kind = PM_DEST_ABOVE, .value = 900 }, { .kind = PM_DEST_GIVEN, .frames = &given } };
	uint64_t low[] = { 0, FRAMES / 2, 0, 900, 700 }, high[] = { FRAMES / 2, FRAMES, 100, FRAMES, 701 };
	unsigned int i;

	for (i = 0; i < sizeof(to) / sizeof(to[0]); i++) {
		struct pm_migrate_request request = { .n = 1, .mode = PM_MIGRATE_SYNC, .destination = to[i] };
		struct pm_migrate_result result;
		struct pm_pte_info pte;
		struct scene s;
		size_t moved;

		open_scene(&s, ANON);
		request.pfns = &s.pfn;
		CHECK_EQ(pm_migrate(s.m, 0, &request, &result, &moved), PM_OK);
		CHECK_EQ(moved, 1);
		CHECK(result.to >= low[i] && result.to < high[i]);
		CHECK_EQ(pm_lookup(s.m, 0, s.space, s.addr, &pte), PM_OK);
		CHECK_EQ(pte.pfn, result.to);
		close_scene(&s);
	}
}

static void reasons(void)
{
	struct pm_migrate_request request = { .n = 1, .mode = PM_MIGRATE_SYNC_LIGHT };
	struct pm_migrate_result result;
	uint64_t taken, slab, pfn, pin, owner, below = 0;
	struct scene s;
	uint32_t number;
	size_t moved;

	open_scene(&s, ANON);
	/* Not movable: free, allocated without an owner, slab-like. */
	taken = rig_alloc(s.m, 0, RIG_UNMOVABLE);
	request.pfns = &taken;
	CHECK_EQ(pm_migrate(s.m, 0, &request, &result, &moved), PM_OK);
	CHECK(moved == 0 && result.reason == PM_WHY_NOT_MOVABLE && result.status == PM_ERR_BUSY);
	CHECK_EQ(pm_free(s.m, 0, taken, 0), PM_OK);
	CHECK_EQ(pm_migrate(s.m, 0, &request, &result, &moved), PM_OK);
	CHECK(moved == 0 && result.reason == PM_WHY_NOT_MOVABLE);
	REQUIRE(pm_owner_create(s.m, PM_OWNER_UNMOVABLE, &owner) == PM_OK);
	REQUIRE(pm_owner_alloc(s.m, 0, owner, 0, PM_GFP_KERNEL, &number) == PM_OK);
	REQUIRE(pm_owner_frame(s.m, 0, owner, number, &slab) == PM_OK);
	request.pfns = &slab;
	CHECK_EQ(pm_migrate(s.m, 0, &request, &result, &moved), PM_OK);
	CHECK(moved == 0 && result.reason == PM_WHY_NOT_MOVABLE);
	CHECK_EQ(pm_owner_destroy(s.m, 0, owner), PM_OK);
	/* Pinned. */
	request.pfns = &s.pfn;
	REQUIRE(pm_pin(s.m, 0, s.space, s.addr, PM_PIN_LONG, true, &pfn, &pin) == PM_OK);
	CHECK_EQ(pm_migrate(s.m, 0, &request, &result, &moved), PM_OK);
	CHECK(moved == 0 && result.reason == PM_WHY_PINNED && result.status == PM_ERR_AGAIN);
	CHECK_EQ(pm_unpin(s.m, 0, pin), PM_OK);
	/* A reference in passing. */
	REQUIRE(pm_pin(s.m, 0, s.space, s.addr, PM_PIN_SHORT, true, &pfn, &pin) == PM_OK);
	CHECK_EQ(pm_migrate(s.m, 0, &request, &result, &moved), PM_OK);
	CHECK(moved == 0 && result.reason == PM_WHY_REFERENCED && result.status == PM_ERR_AGAIN);
	CHECK_EQ(pm_unpin(s.m, 0, pin), PM_OK);
	/* No destination. */
	request.destination = (struct pm_destination){ .kind = PM_DEST_BELOW, .value = below };
	CHECK_EQ(pm_migrate(s.m, 0, &request, &result, &moved), PM_OK);
	CHECK(moved == 0 && result.reason == PM_WHY_NO_MEMORY && result.status == PM_ERR_NOMEM);
	request.destination = (struct pm_destination){ .kind = PM_DEST_ANY };
	/* No swap. */
	CHECK_EQ(pm_swap_off(s.m, 0), PM_OK);
	request.protocol = PM_PROTOCOL_SWAP_CACHE;
	CHECK_EQ(pm_migrate(s.m, 0, &request, &result, &moved), PM_OK);
	CHECK(moved == 0 && result.reason == PM_WHY_NO_SWAP && result.status == PM_ERR_NO_SWAP);
	close_scene(&s);
}

static void movable_blocks_move_whole(void)
{
	struct pm_migrate_request request = { .n = 1, .mode = PM_MIGRATE_SYNC, .destination = { .kind = PM_DEST_ABOVE, .value = 512 } };
	struct pm_migrate_result result;
	uint64_t owner, from, to;
	struct scene s;
	uint32_t number;
	size_t moved;

	open_scene(&s, ANON);
	REQUIRE(pm_owner_create(s.m, PM_OWNER_MOVABLE_OPS, &owner) == PM_OK);
	REQUIRE(pm_owner_alloc(s.m, 0, owner, 3, PM_GFP_KERNEL, &number) == PM_OK);
	REQUIRE(pm_owner_frame(s.m, 0, owner, number, &from) == PM_OK);
	request.pfns = &from;
	CHECK_EQ(pm_migrate(s.m, 0, &request, &result, &moved), PM_OK);
	CHECK_EQ(moved, 1);
	CHECK_EQ(pm_owner_frame(s.m, 0, owner, number, &to), PM_OK);
	CHECK(to == result.to && to >= 512 && to % 8 == 0);
	CHECK_EQ(pm_owner_destroy(s.m, 0, owner), PM_OK);
	close_scene(&s);
}

/* ---- all reasons, all modes ---- */

/// The page does not move, for this reason and with this status.
static void stays(struct scene *s, uint32_t protocol, uint32_t mode, enum pm_status status, uint32_t reason)
{
	struct pm_migrate_result result;
	uint64_t pfn = s->pfn;

	CHECK_EQ(move_page(s, protocol, mode, 0, &result), 0);
	if (!CHECK_EQ(result.status, (int)status) || !CHECK_EQ(result.reason, reason))
		fprintf(stderr, "  protocol %s, mode %u: %s\n", pm_migrate_protocol_name(protocol), mode, pm_migrate_reason_text(result.reason));
	s->pfn = pfn;
}

static void moves(struct scene *s, uint32_t protocol, uint32_t mode)
{
	struct pm_migrate_result result;

	if (CHECK_EQ(move_page(s, protocol, mode, 0, &result), 1) && CHECK_EQ(result.reason, PM_WHY_NONE))
		s->pfn = result.to;
	else
		fprintf(stderr, "  protocol %s, mode %u: %s\n", pm_migrate_protocol_name(protocol), mode, pm_migrate_reason_text(result.reason));
}

static void every_protocol_and_mode_moves(void)
{
	uint32_t protocol, mode, subject;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (mode = 0; mode <= PM_MIGRATE_SYNC; mode++)
			for (subject = 0; subject < NR_SUBJECTS; subject++) {
				struct scene s;

				open_scene(&s, (enum subject)subject);
				if (protocol == PM_PROTOCOL_TABLE_LOCK && subject == ANON_SHARED)
					stays(&s, protocol, mode, PM_ERR_BUSY, PM_WHY_SHARED);
				else if (subject == FILE_FALLBACK)
					stays(&s, protocol, mode, PM_ERR_BUSY, PM_WHY_DIRTY);
				else if ((subject == FILE_COMMON || subject == FILE_RELEASE) && mode != PM_MIGRATE_SYNC)
					stays(&s, protocol, mode, PM_ERR_AGAIN, PM_WHY_DIRTY);
				else
					moves(&s, protocol, mode);
				close_scene(&s);
			}
}

/// Only SYNC waits for a page that is being written out, and it does.
static void writeback(void)
{
	uint32_t protocol;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++) {
		struct scene s;
		uint64_t n;

		open_scene(&s, FILE_BUFFERS);
		REQUIRE(pm_device_stick(s.m, s.device, PM_IO_WRITE, 1) == PM_OK);
		REQUIRE(pm_file_sync(s.m, 0, s.file, 0, PAGE, false) == PM_OK);
		stays(&s, protocol, PM_MIGRATE_ASYNC, PM_ERR_BUSY, PM_WHY_WRITEBACK);
		stays(&s, protocol, PM_MIGRATE_SYNC_LIGHT, PM_ERR_BUSY, PM_WHY_WRITEBACK);
		REQUIRE(pm_device_release(s.m, s.device, false, &n) == PM_OK);
		/* The device takes its time: whoever waits lets it pass. */
		REQUIRE(pm_fill(s.m, 0, s.space, s.addr, VALUE, PAGE, &n) == PM_OK);
		REQUIRE(pm_file_sync(s.m, 0, s.file, 0, PAGE, false) == PM_OK);
		moves(&s, protocol, PM_MIGRATE_SYNC);
		close_scene(&s);
	}
}

/// A page that somebody reads in is locked: ASYNC does not wait, the others do, and a call with signals to look after comes back.
static void locked(void)
{
	struct pm_migrate_request request = { .n = 1 };
	struct pm_migrate_result result;
	struct scene s;
	uint64_t n;
	size_t done, moved;
	char byte;

	open_scene(&s, FILE_BUFFERS);
	REQUIRE(pm_unmap(s.m, 0, s.space, s.addr, 4 * PAGE) == PM_OK);
	s.expected = -1;
	REQUIRE(pm_file_sync(s.m, 0, s.file, 0, 4 * PAGE, true) == PM_OK);
	REQUIRE(pm_file_drop(s.m, 0, s.file, 0, 4 * PAGE, &n) == PM_OK && n == 4);
	REQUIRE(pm_device_stick(s.m, s.device, PM_IO_READ, 1) == PM_OK);
	CHECK_EQ(pm_file_read(s.m, 0, s.file, 0, &byte, 1, &done), PM_ERR_INTR);
	REQUIRE(pm_file_frame(s.m, 0, s.file, 0, &s.pfn) == PM_OK);
	stays(&s, PM_PROTOCOL_ENTRY, PM_MIGRATE_ASYNC, PM_ERR_AGAIN, PM_WHY_LOCKED);
	stays(&s, PM_PROTOCOL_SEMAPHORE, PM_MIGRATE_ASYNC, PM_ERR_AGAIN, PM_WHY_LOCKED);
	request.pfns = &s.pfn;
	request.mode = PM_MIGRATE_SYNC_LIGHT;
	CHECK_EQ(pm_migrate(s.m, 0, &request, &result, &moved), PM_ERR_INTR);
	CHECK(moved == 0 && result.reason == PM_WHY_CANCELLED && result.to == UINT64_MAX);
	CHECK(rig_valid(s.m));
	REQUIRE(pm_device_release(s.m, s.device, false, &n) == PM_OK);
	moves(&s, PM_PROTOCOL_ENTRY, PM_MIGRATE_SYNC_LIGHT);
	close_scene(&s);
}

static void freed_and_truncated(void)
{
	uint32_t protocol;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++) {
		struct pm_migration_info info;
		struct scene s;
		uint64_t migration;

		open_scene(&s, ANON);
		migration = begin_and_step(&s, protocol, PM_MIGRATE_SYNC, 0, 1, &info);
		REQUIRE(pm_unmap(s.m, 0, s.space, s.addr, PAGE) == PM_OK);
		s.expected = -1;
		info = finish(&s, migration);
		CHECK(info.status == PM_OK && info.reason == PM_WHY_FREED && info.to == UINT64_MAX);
		close_scene(&s);
		open_scene(&s, FILE_RAM);
		migration = begin_and_step(&s, protocol, PM_MIGRATE_SYNC, 0, 2, &info);
		REQUIRE(pm_file_truncate(s.m, 0, s.file, 0) == PM_OK);
		s.expected = -1;
		info = finish(&s, migration);
		CHECK(info.status != PM_OK && info.reason == PM_WHY_TRUNCATED);
		close_scene(&s);
	}
}

static void mlocked_pages_stay_mapped(void)
{
	struct pm_page_info page;
	struct pm_pte_info pte;
	uint32_t protocol;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++) {
		struct pm_migrate_result result;
		struct scene s;

		open_scene(&s, ANON);
		REQUIRE(pm_mlock(s.m, 0, s.space, s.addr, PAGE, true) == PM_OK);
		if (protocol == PM_PROTOCOL_SWAP_CACHE)
			stays(&s, protocol, PM_MIGRATE_SYNC, PM_ERR_BUSY, PM_WHY_MLOCKED);
		CHECK_EQ(move_page(&s, protocol, PM_MIGRATE_SYNC, PM_MIGRATE_TOUCH, &result), 1);
		CHECK(pm_lookup(s.m, 0, s.space, s.addr, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT && pte.pfn == result.to);
		CHECK(pm_page_info(s.m, result.to, &page) == PM_OK && (page.flags & PM_PG_MLOCKED) && (page.flags & PM_PG_UNEVICTABLE));
		/* And no slot is left behind. */
		CHECK(!(page.flags & PM_PG_SWAPCACHE));
		close_scene(&s);
	}
}

/// An area that is unlocked while its page moves: the page must not stay out of reclaim's reach for ever.
static void munlocked_half_way(void)
{
	static const uint32_t protocols[] = { PM_PROTOCOL_ENTRY, PM_PROTOCOL_SEMAPHORE, PM_PROTOCOL_WAITQUEUE };
	unsigned int i, steps;

	for (i = 0; i < 3; i++)
		for (steps = 0; steps <= 9; steps++) {
			struct pm_migration_info info;
			struct pm_page_info page;
			struct scene s;
			uint64_t migration;

			open_scene(&s, ANON);
			REQUIRE(pm_mlock(s.m, 0, s.space, s.addr, PAGE, true) == PM_OK);
			migration = begin_and_step(&s, protocols[i], PM_MIGRATE_SYNC, 0, steps, &info);
			REQUIRE(pm_mlock(s.m, 0, s.space, s.addr, PAGE, false) == PM_OK);
			info = finish(&s, migration);
			CHECK_EQ(info.reason, PM_WHY_NONE);
			CHECK(pm_page_info(s.m, info.to, &page) == PM_OK && !(page.flags & (PM_PG_MLOCKED | PM_PG_UNEVICTABLE)));
			close_scene(&s);
		}
}

/// A page that could not be read moves, and is read when the device is well again; it does not turn into whatever the frame held.
static void a_page_that_was_not_read(void)
{
	uint32_t protocol;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++) {
		struct scene s;
		uint64_t n;
		size_t done;
		char byte = 0;

		open_scene(&s, FILE_BUFFERS);
		REQUIRE(pm_unmap(s.m, 0, s.space, s.addr, 4 * PAGE) == PM_OK);
		s.expected = -1;
		REQUIRE(pm_file_sync(s.m, 0, s.file, 0, 4 * PAGE, true) == PM_OK);
		REQUIRE(pm_file_drop(s.m, 0, s.file, 0, 4 * PAGE, &n) == PM_OK && n == 4);
		REQUIRE(pm_device_fail(s.m, s.device, PM_IO_READ, 1, true) == PM_OK);
		CHECK_EQ(pm_file_read(s.m, 0, s.file, 0, &byte, 1, &done), PM_ERR_IO);
		REQUIRE(pm_file_frame(s.m, 0, s.file, 0, &s.pfn) == PM_OK);
		moves(&s, protocol, PM_MIGRATE_SYNC);
		REQUIRE(pm_device_fail(s.m, s.device, PM_IO_READ, 0, false) == PM_OK);
		while (pm_file_read(s.m, 0, s.file, 0, &byte, 1, &done) != PM_OK)
			;
		CHECK_EQ((uint8_t)byte, VALUE);
		close_scene(&s);
	}
}

static void a_device_that_does_not_write(void)
{
	struct pm_migration_info info;
	struct scene s;
	uint64_t migration;

	open_scene(&s, FILE_COMMON);
	REQUIRE(pm_device_fail(s.m, s.device, PM_IO_WRITE, 1, true) == PM_OK);
	stays(&s, PM_PROTOCOL_ENTRY, PM_MIGRATE_SYNC, PM_ERR_AGAIN, PM_WHY_DIRTY);
	migration = begin_and_step(&s, PM_PROTOCOL_ENTRY, PM_MIGRATE_SYNC, 0, 0, &info);
	info = finish(&s, migration);
	CHECK(info.over && info.reason == PM_WHY_DIRTY);
	REQUIRE(pm_device_fail(s.m, s.device, PM_IO_WRITE, 0, false) == PM_OK);
	moves(&s, PM_PROTOCOL_ENTRY, PM_MIGRATE_SYNC);
	close_scene(&s);
}

/* ---- lists of frames ---- */

static void frames_that_are_none(void)
{
	struct pm_migrate_request request = { .n = 4, .mode = PM_MIGRATE_SYNC };
	struct pm_migrate_result results[4];
	struct scene s;
	uint64_t pfns[4];
	size_t moved, i;

	open_scene(&s, ANON);
	/* The second would be the page itself, if only 32 bits were looked at. */
	pfns[0] = UINT64_MAX;
	pfns[1] = ((uint64_t)1 << 32) + s.pfn;
	pfns[2] = FRAMES;
	pfns[3] = 0xffffffff;
	request.pfns = pfns;
	CHECK_EQ(pm_migrate(s.m, 0, &request, results, &moved), PM_OK);
	CHECK_EQ(moved, 0);
	for (i = 0; i < 4; i++)
		CHECK(results[i].status == PM_ERR_BUSY && results[i].reason == PM_WHY_NOT_MOVABLE && results[i].to == UINT64_MAX);
	close_scene(&s);
}

/// Without room for all: each frame says so; where a frame that moves makes room for the next, the next moves.
static void too_few_destinations(void)
{
	struct pm_migrate_request request = { .n = 4 };
	struct pm_migrate_result results[4];
	struct pm_pte_info pte;
	uint32_t mode;

	for (mode = 0; mode <= PM_MIGRATE_SYNC; mode++) {
		struct scene s;
		uint64_t pfns[4], given[4];
		size_t moved, i;

		open_scene(&s, ANON);
		for (i = 0; i < 4; i++) {
			REQUIRE(pm_lookup(s.m, 0, s.space, s.addr + i * PAGE, &pte) == PM_OK);
			pfns[i] = pte.pfn;
			/* Every second one is in use: the others are not held up by that. */
			given[i] = i % 2 ? 900 + i : pte.pfn;
		}
		request.pfns = pfns;
		request.mode = mode;
		request.destination = (struct pm_destination){ .kind = PM_DEST_BELOW, .value = 0 };
		CHECK_EQ(pm_migrate(s.m, 0, &request, results, &moved), PM_OK);
		for (i = 0; i < 4; i++)
			CHECK(results[i].status == PM_ERR_NOMEM && results[i].reason == PM_WHY_NO_MEMORY);
		request.destination = (struct pm_destination){ .kind = PM_DEST_GIVEN, .frames = given };
		CHECK_EQ(pm_migrate(s.m, 0, &request, results, &moved), PM_OK);
		CHECK_EQ(moved, 2);
		for (i = 0; i < 4; i++)
			CHECK(i % 2 ? results[i].to == given[i] : results[i].reason == PM_WHY_NO_MEMORY);
		close_scene(&s);
	}
}

/// A machine without contents moves pages too.
static void without_contents(void)
{
	uint32_t protocol;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++) {
		struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, FRAMES };
		struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 1, .settings = rig_bare() };
		struct pm_map_request request = { .length = 64 * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
		struct pm_migrate_request move = { .n = 64, .mode = PM_MIGRATE_SYNC, .protocol = protocol };
		struct pm_swap_options swap = { .nr_slots = 64 };
		struct pm_migrate_result results[64];
		struct pm_memory_options options;
		struct pm_machine *m = rig_create(&layout);
		uint64_t space, addr, done, pfns[64];
		size_t moved, i;

		pm_memory_options_default(&options);
		options.contents = PM_CONTENTS_NONE;
		REQUIRE(pm_memory_enable(m, &options) == PM_OK && pm_swap_on(m, &swap) == PM_OK && pm_space_create(m, &space) == PM_OK);
		REQUIRE(pm_map(m, 0, space, &request, &addr) == PM_OK && pm_touch(m, 0, space, addr, request.length, true, &done) == PM_OK);
		for (i = 0; i < 64; i++) {
			struct pm_pte_info pte;

			REQUIRE(pm_lookup(m, 0, space, addr + i * PAGE, &pte) == PM_OK);
			pfns[i] = pte.pfn;
		}
		move.pfns = pfns;
		CHECK_EQ(pm_migrate(m, 0, &move, results, &moved), PM_OK);
		CHECK_EQ(moved, 64);
		CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
		rig_destroy(m);
	}
}

int main(void)
{
	RUN(destinations);
	RUN(reasons);
	RUN(movable_blocks_move_whole);
	RUN(every_protocol_and_mode_moves);
	RUN(writeback);
	RUN(locked);
	RUN(freed_and_truncated);
	RUN(mlocked_pages_stay_mapped);
	RUN(munlocked_half_way);
	RUN(a_page_that_was_not_read);
	RUN(a_device_that_does_not_write);
	RUN(frames_that_are_none);
	RUN(too_few_destinations);
	RUN(without_contents);
	return check_result();
}
