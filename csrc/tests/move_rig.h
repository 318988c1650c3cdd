/// @file move_rig.h
/// One page of some kind in one space, for the tests of migration: what it must hold in the end, and that it goes away without a trace.
#ifndef PM_TESTS_MOVE_RIG_H
#define PM_TESTS_MOVE_RIG_H

#include <string.h>

#include "tests/check.h"
#include "tests/rig.h"
#include "virt/virt.h"

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
	bool other; ///< another migration is half way as well
	bool busy;  ///< somebody is inside a call: the machine is not at rest between steps
	uint64_t pin;
};

static inline bool is_file(enum subject subject)
{
	return subject >= FILE_RAM;
}

static inline void open_scene(struct scene *s, enum subject subject)
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

static inline void expect_byte(struct scene *s, uint64_t space, uint64_t addr, int expected, const char *whose)
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
static inline void close_scene(struct scene *s)
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
	/* Nobody has kept an anon_vma. */
	CHECK_EQ(s->m->virt->anons.nr_live, 0);
	pm_machine_destroy(s->m);
}

/// Is the machine sound, and does it say that a migration is half way where one is?
static inline void check_half_way(struct scene *s, const struct pm_migration_info *info)
{
	bool under_way = s->other || (info->state != 0 && !info->over);
	char message[256] = "";

	if (s->busy)
		return;
	if (!CHECK_EQ(pm_machine_validate(s->m, message, sizeof(message)), PM_OK) || !CHECK_EQ(strstr(message, "in migration") != NULL, under_way))
		fprintf(stderr, "  before the step %s: %s\n", pm_migration_state_name(info->state), message);
}

/// Takes a step, if it can be taken now.
static inline void step_once(struct scene *s, uint64_t migration, struct pm_migration_info *info)
{
	enum pm_status status = pm_migration_step(s->m, 0, migration, info);

	CHECK(status == PM_OK || status == PM_ERR_AGAIN);
	check_half_way(s, info);
}

/// Takes steps until it is over; gives it up if it does not get on. Returns the last that was said of it.
static inline struct pm_migration_info finish(struct scene *s, uint64_t migration)
{
	struct pm_migration_info info = { 0 };
	unsigned int tries = 0;

	while (!info.over && tries++ < 64)
		step_once(s, migration, &info);
	CHECK_EQ(pm_migration_end(s->m, 0, migration), PM_OK);
	return info;
}

/// Starts a migration to anywhere and takes `steps` steps of it, or as many as it has.
static inline uint64_t begin_and_step(struct scene *s, uint32_t protocol, uint32_t mode, uint32_t flags, unsigned int steps, struct pm_migration_info *ret)
{
	struct pm_destination anywhere = { .kind = PM_DEST_ANY };
	uint64_t migration;
	unsigned int i;

	*ret = (struct pm_migration_info){ 0 };
	REQUIRE(pm_migration_begin(s->m, s->pfn, &anywhere, mode, protocol, flags, &migration) == PM_OK);
	for (i = 0; i < steps && !ret->over; i++)
		step_once(s, migration, ret);
	return migration;
}

/// Moves the scene's page. Returns how many moved.
static inline size_t move_page(struct scene *s, uint32_t protocol, uint32_t mode, uint32_t flags, struct pm_migrate_result *ret)
{
	struct pm_migrate_request request = { .pfns = &s->pfn, .n = 1, .mode = mode, .protocol = protocol, .flags = flags };
	size_t moved = 77;

	CHECK_EQ(pm_migrate(s->m, 0, &request, ret, &moved), PM_OK);
	CHECK_EQ(moved, ret->to != UINT64_MAX);
	return moved;
}

#endif
