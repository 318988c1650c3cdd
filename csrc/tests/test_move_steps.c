/// Migration step by step, with something else between any two steps: whatever it was, contents, counts and entries are right afterwards.
#include <string.h>

#include "tests/check.h"
#include "tests/rig.h"

enum { FRAMES = 1024, PAGE = PM_PAGE_SIZE, VALUE = 0x5a, WRITTEN = 0xa5 };

/// What kind of page moves.
enum subject { ANON, ANON_SHARED, FILE_RAM, FILE_COMMON, FILE_BUFFERS, FILE_FALLBACK, FILE_RELEASE, NR_SUBJECTS };

struct scene {
	struct pm_machine *m;
	uint64_t space, child, addr, child_addr, file, device, pfn;
	enum subject subject;
	int expected; ///< the byte in the space; -1: unmapped or truncated
	int expected_child;
	bool pinned;
	uint64_t pin;
};

static bool is_file(enum subject subject)
{
	return subject >= FILE_RAM;
}

static void open_scene(struct scene *s, enum subject subject)
{
	struct pm_zone_layout zones[2] = { { PM_ZONE_NORMAL, 0, FRAMES / 2 }, { PM_ZONE_MOVABLE, FRAMES / 2, FRAMES / 2 } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 2, .settings = rig_bare() };
	struct pm_map_request request = { .length = 4 * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	struct pm_memory_options options;
	struct pm_swap_options swap = { .nr_slots = 64 };
	struct pm_pte_info pte;
	size_t done;

	*s = (struct scene){ .subject = subject, .expected = VALUE, .expected_child = -2 };
	s->m = rig_create(&layout);
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_PRIVATE;
	/* One thread: what would wait for the migration has to come back. */
	options.wait_slices = 1;
	REQUIRE(pm_memory_enable(s->m, &options) == PM_OK);
	REQUIRE(pm_swap_on(s->m, &swap) == PM_OK);
	REQUIRE(pm_space_create(s->m, &s->space) == PM_OK);
	if (is_file(subject)) {
		static const uint32_t fs[NR_SUBJECTS] = { [FILE_RAM] = PM_FS_RAM, [FILE_COMMON] = PM_FS_COMMON, [FILE_BUFFERS] = PM_FS_BUFFERS, [FILE_FALLBACK] = PM_FS_FALLBACK, [FILE_RELEASE] = PM_FS_RELEASE };
		struct pm_file_options file = { .fs = fs[subject], .size = 4 * PAGE };
		struct pm_device_options device;

		if (subject != FILE_RAM) {
			pm_device_options_default(&device);
			device.nr_blocks = 64;
			device.contents = 1;
			REQUIRE(pm_device_create(s->m, &device, &s->device) == PM_OK);
			file.device = s->device;
		}
		REQUIRE(pm_file_create(s->m, &file, &s->file) == PM_OK);
		request.file = s->file;
		request.flags = PM_MAP_SHARED;
	}
	REQUIRE(pm_map(s->m, 0, s->space, &request, &s->addr) == PM_OK);
	REQUIRE(pm_fill(s->m, 0, s->space, s->addr, VALUE, 4 * PAGE, &done) == PM_OK);
	if (subject == ANON_SHARED) {
		REQUIRE(pm_space_fork(s->m, 0, s->space, &s->child) == PM_OK);
		s->expected_child = VALUE;
		s->child_addr = s->addr;
	}
	REQUIRE(pm_lookup(s->m, 0, s->space, s->addr, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT);
	s->pfn = pte.pfn;
}

/* ---- what may come between two steps ---- */

static void do_nothing(struct scene *s)
{
	(void)s;
}

static void do_read(struct scene *s)
{
	char byte = 0;
	size_t done;
	enum pm_status status = pm_read(s->m, 1, s->space, s->addr, &byte, 1, &done);

	/* It waits for the migration, or sees what is there. */
	CHECK(status == PM_ERR_INTR || (status == PM_OK && (uint8_t)byte == VALUE));
}

static void do_write(struct scene *s)
{
	char byte = (char)WRITTEN;
	size_t done;
	enum pm_status status = pm_write(s->m, 1, s->space, s->addr, &byte, 1, &done);

	CHECK(status == PM_ERR_INTR || status == PM_OK);
	if (status == PM_OK)
		s->expected = WRITTEN;
}

static void do_fork(struct scene *s)
{
	uint64_t child;
	enum pm_status status = pm_space_fork(s->m, 1, s->space, &child);

	CHECK(status == PM_ERR_INTR || status == PM_OK);
	if (status)
		return;
	if (s->child)
		REQUIRE(pm_space_exit(s->m, 1, s->child) == PM_OK);
	s->child = child;
	s->child_addr = s->addr;
	s->expected_child = s->expected;
}

static void do_exit_child(struct scene *s)
{
	if (!s->child)
		return;
	REQUIRE(pm_space_exit(s->m, 1, s->child) == PM_OK);
	s->child = 0;
	s->expected_child = -2;
}

static void do_unmap(struct scene *s)
{
	CHECK_EQ(pm_unmap(s->m, 1, s->space, s->addr, PAGE), PM_OK);
	s->expected = -1;
}

static void do_protect(struct scene *s)
{
	CHECK_EQ(pm_protect(s->m, 1, s->space, s->addr, PAGE, PM_PROT_READ), PM_OK);
}

static void do_remap(struct scene *s)
{
	uint64_t to = s->addr + 1024 * PAGE;

	CHECK_EQ(pm_remap(s->m, 1, s->space, s->addr, PAGE, PAGE, PM_MAP_FIXED | PM_MAP_MAYMOVE, to, &s->addr), PM_OK);
}

static void do_mlock(struct scene *s)
{
	enum pm_status status = pm_mlock(s->m, 1, s->space, s->addr, PAGE, true);

	CHECK(status == PM_ERR_INTR || status == PM_OK);
}

static void do_pin(struct scene *s)
{
	uint64_t pfn;
	enum pm_status status = pm_pin(s->m, 1, s->space, s->addr, PM_PIN_DIRECT_IO, true, &pfn, &s->pin);

	CHECK(status == PM_ERR_INTR || status == PM_OK);
	s->pinned = status == PM_OK;
	if (s->pinned && s->subject == ANON_SHARED)
		/* It was unshared: the space has a page of its own now. */
		s->pfn = UINT64_MAX;
}

static void do_page_out(struct scene *s)
{
	uint64_t freed;
	enum pm_status status = pm_page_out(s->m, 1, s->space, s->addr, PAGE, &freed);

	CHECK(status == PM_ERR_INTR || status == PM_OK);
}

static void do_truncate(struct scene *s)
{
	enum pm_status status;

	if (!is_file(s->subject))
		return;
	status = pm_file_truncate(s->m, 1, s->file, 0);
	CHECK(status == PM_ERR_INTR || status == PM_OK);
	s->expected = -1;
}

static void do_sync(struct scene *s)
{
	enum pm_status status;

	if (!is_file(s->subject))
		return;
	status = pm_file_sync(s->m, 1, s->file, 0, 4 * PAGE, true);
	CHECK(status == PM_ERR_INTR || status == PM_OK);
}

static void do_migrate(struct scene *s)
{
	struct pm_migrate_request request = { .pfns = &s->pfn, .n = 1, .mode = PM_MIGRATE_SYNC_LIGHT, .protocol = PM_PROTOCOL_ENTRY };
	struct pm_migrate_result result;
	enum pm_status status;
	size_t moved;

	if (s->pfn == UINT64_MAX)
		return;
	status = pm_migrate(s->m, 1, &request, &result, &moved);
	CHECK(status == PM_OK || status == PM_ERR_INTR);
}

static const struct {
	const char *name;
	void (*run)(struct scene *);
} disturbances[] = {
	{ "nothing", do_nothing }, { "read", do_read },	    { "write", do_write }, { "fork", do_fork },	    { "exit child", do_exit_child }, { "unmap", do_unmap },   { "protect", do_protect },
	{ "remap", do_remap },	   { "mlock", do_mlock },   { "pin", do_pin },	   { "page out", do_page_out }, { "truncate", do_truncate },	     { "sync", do_sync },     { "migrate", do_migrate },
};

enum { NR_DISTURBANCES = sizeof(disturbances) / sizeof(disturbances[0]) };

static void expect_byte(struct scene *s, uint64_t space, uint64_t addr, int expected, const char *whose)
{
	char byte = 0;
	size_t done;
	enum pm_status status = PM_ERR_INTR;

	while (status == PM_ERR_INTR)
		status = pm_read(s->m, 0, space, addr, &byte, 1, &done);
	if (expected < 0)
		CHECK(status == PM_ERR_FAULT || status == PM_ERR_BEYOND);
	else if (!CHECK_EQ(status, PM_OK) || !CHECK_EQ((uint8_t)byte, expected))
		fprintf(stderr, "  %s\n", whose);
}

/// Everything is as it should be, and goes away without a trace.
static void close_scene(struct scene *s)
{
	struct pm_zone_info info;
	uint32_t zone;

	expect_byte(s, s->space, s->addr, s->expected, "the space");
	if (s->child)
		expect_byte(s, s->child, s->child_addr, s->expected_child, "the child");
	CHECK(rig_valid(s->m));
	if (s->pinned)
		CHECK_EQ(pm_unpin(s->m, 0, s->pin), PM_OK);
	if (s->child)
		CHECK_EQ(pm_space_exit(s->m, 0, s->child), PM_OK);
	CHECK_EQ(pm_space_exit(s->m, 0, s->space), PM_OK);
	if (s->file)
		CHECK_EQ(pm_file_close(s->m, 0, s->file), PM_OK);
	CHECK(rig_valid(s->m));
	for (zone = 0; zone < 2; zone++) {
		REQUIRE(pm_zone_info(s->m, zone, &info) == PM_OK);
		CHECK_EQ(info.nr_free + info.nr_pcp, FRAMES / 2);
	}
	pm_machine_destroy(s->m);
}

/// Takes steps until it is over; gives it up if it does not get on. Returns the last that was said of it.
static struct pm_migration_info finish(struct scene *s, uint64_t migration)
{
	struct pm_migration_info info = { 0 };
	unsigned int tries = 0;

	while (!info.over && tries++ < 64) {
		enum pm_status status = pm_migration_step(s->m, 0, migration, &info);

		CHECK(status == PM_OK || status == PM_ERR_AGAIN);
	}
	CHECK_EQ(pm_migration_end(s->m, 0, migration), PM_OK);
	return info;
}

static bool disturbed(enum subject subject, uint32_t protocol, uint32_t flags, unsigned int after, unsigned int which)
{
	struct pm_destination anywhere = { .kind = PM_DEST_ANY };
	struct pm_migration_info info = { 0 };
	int before = atomic_load(&check_failures);
	struct scene s;
	uint64_t migration;
	unsigned int i;
	bool moved;

	open_scene(&s, subject);
	REQUIRE(pm_migration_begin(s.m, s.pfn, &anywhere, PM_MIGRATE_SYNC, protocol, flags, &migration) == PM_OK);
	for (i = 0; i < after && !info.over; i++) {
		enum pm_status status = pm_migration_step(s.m, 0, migration, &info);

		CHECK(status == PM_OK || status == PM_ERR_AGAIN);
	}
	disturbances[which].run(&s);
	if (info.over)
		CHECK_EQ(pm_migration_end(s.m, 0, migration), PM_OK);
	else
		info = finish(&s, migration);
	moved = info.over && info.status == PM_OK && info.reason == PM_WHY_NONE;
	if (which == 0 && !moved && subject != FILE_FALLBACK && !(protocol == PM_PROTOCOL_TABLE_LOCK && subject == ANON_SHARED))
		CHECK(moved);
	close_scene(&s);
	if (atomic_load(&check_failures) != before)
		fprintf(stderr, "  subject %d, protocol %s, flags %u: %s after step %u (then %s: %s)\n", (int)subject, pm_migrate_protocol_name(protocol), (unsigned)flags, disturbances[which].name, after,
			pm_migration_state_name(info.state), pm_migrate_reason_text(info.reason));
	return moved;
}

static void anything_between_any_two_steps(void)
{
	unsigned int protocol, subject, after, which, all = 0, moved = 0;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (subject = 0; subject < NR_SUBJECTS; subject++)
			for (after = 0; after <= 11; after++)
				for (which = 0; which < NR_DISTURBANCES; which++) {
					all++;
					moved += disturbed((enum subject)subject, protocol, which % 2 ? PM_MIGRATE_TOUCH : 0, after, which);
				}
	/* A check that cannot fail is none: most of these migrations come to their end. */
	CHECK(moved > all / 2);
	printf("%u migrations disturbed, %u of them moved\n", all, moved);
}

/// Given up after any step: as if it had never begun.
static void given_up_after_any_step(void)
{
	struct pm_destination anywhere = { .kind = PM_DEST_ANY };
	unsigned int protocol, subject, after, i;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (subject = 0; subject < NR_SUBJECTS; subject++)
			for (after = 0; after <= 11; after++) {
				struct pm_migration_info info = { 0 };
				struct scene s;
				uint64_t migration;

				open_scene(&s, (enum subject)subject);
				REQUIRE(pm_migration_begin(s.m, s.pfn, &anywhere, PM_MIGRATE_SYNC, protocol, 0, &migration) == PM_OK);
				for (i = 0; i < after && !info.over; i++) {
					enum pm_status status = pm_migration_step(s.m, 0, migration, &info);

					CHECK(status == PM_OK || status == PM_ERR_AGAIN);
				}
				CHECK_EQ(pm_migration_end(s.m, 0, migration), PM_OK);
				CHECK_EQ(pm_migration_end(s.m, 0, migration), PM_ERR_HANDLE);
				close_scene(&s);
			}
}

/// A machine that is destroyed with migrations half way.
static void destroyed_half_way(void)
{
	struct pm_destination anywhere = { .kind = PM_DEST_ANY };
	unsigned int protocol, after, i;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (after = 0; after < 11; after++) {
			struct pm_migration_info info = { 0 };
			struct scene s;
			uint64_t migration;

			open_scene(&s, ANON_SHARED);
			REQUIRE(pm_migration_begin(s.m, s.pfn, &anywhere, PM_MIGRATE_SYNC, protocol, 0, &migration) == PM_OK);
			for (i = 0; i < after && !info.over; i++)
				CHECK_EQ(pm_migration_step(s.m, 0, migration, &info), PM_OK);
			pm_machine_shut(s.m);
			CHECK_EQ(pm_migration_step(s.m, 0, migration, &info), PM_ERR_CLOSED);
			pm_machine_destroy(s.m);
		}
}

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
	/* mlocked: the swap-cache protocol would leave it unmapped, unless it touches. */
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

int main(void)
{
	RUN(destinations);
	RUN(reasons);
	RUN(movable_blocks_move_whole);
	RUN(given_up_after_any_step);
	RUN(destroyed_half_way);
	RUN(anything_between_any_two_steps);
	return check_result();
}
