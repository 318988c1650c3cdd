/// @file space_rig.h
/// Machines with address spaces, for the tests of csrc/virt: made in a line, looked at in a line, and at the end everything has to be free again.
#ifndef PM_TESTS_SPACE_RIG_H
#define PM_TESTS_SPACE_RIG_H

#include "back/back.h"
#include "tests/rig.h"

enum { PAGE = PM_PAGE_SIZE, RW = PM_PROT_READ | PM_PROT_WRITE, RO = PM_PROT_READ };

/// A machine of one Normal zone, and what it has to come back to.
struct space_rig {
	struct pm_machine *m;
	uint64_t nr_frames;
	uint64_t swap; ///< slots
	int64_t pieces;
};

struct space_rig_options {
	uint64_t nr_frames;
	uint32_t nr_cpus;
	struct pm_memory_options memory;
	uint64_t swap; ///< slots, in memory; 0: no swap
	bool pcp;      ///< per-CPU lists and watermarks as the kernel has them
};

static inline struct space_rig_options space_options(void)
{
	struct space_rig_options o = { .nr_frames = 1024, .nr_cpus = 4, .swap = 256 };

	pm_memory_options_default(&o.memory);
	return o;
}

/// Host memory of objects that are alive. Pools keep their memory for the next object, so it does not count.
static inline int64_t space_pieces(struct pm_machine *m)
{
	const struct pm_pool *pools[] = { &m->virt->spaces, &m->virt->anons, &m->virt->pins, &m->virt->owners, &m->back->files, &m->back->devices, &m->back->transfers };
	int64_t pieces = pm_host_pieces(m);
	unsigned int i;

	for (i = 0; i < sizeof(pools) / sizeof(pools[0]); i++)
		if (pools[i]->nr_made)
			pieces -= (pools[i]->nr_made >> PM_POOL_CHUNK_SHIFT) + 1;
	return pieces;
}

static inline struct space_rig space_rig_make(const struct space_rig_options *o)
{
	struct space_rig rig = { .nr_frames = o->nr_frames, .swap = o->swap };
	struct pm_settings settings = rig_bare();

	if (o->pcp)
		pm_settings_default(&settings);
	rig.m = rig_one_zone(o->nr_frames, o->nr_cpus, settings);
	REQUIRE(pm_memory_enable(rig.m, &o->memory) == PM_OK);
	if (o->swap)
		REQUIRE(pm_swap_on(rig.m, &(struct pm_swap_options){ o->swap, 0 }) == PM_OK);
	rig.pieces = space_pieces(rig.m);
	return rig;
}

static inline uint64_t space_free_frames(struct pm_machine *m)
{
	struct pm_zone_info zone = rig_zone(m, 0);

	return zone.nr_free + zone.nr_pcp + zone.nr_isolated;
}

/// Everything was closed: no frame, no slot, no object is left. The machine goes on.
static inline void space_rig_check_empty(struct space_rig *rig)
{
	struct pm_swap_info swap;

	CHECK(rig_valid(rig->m));
	CHECK_EQ(space_free_frames(rig->m), rig->nr_frames);
	CHECK_EQ(space_pieces(rig->m), rig->pieces);
	CHECK_EQ(rig->m->virt->spaces.nr_live, 0);
	CHECK_EQ(rig->m->virt->anons.nr_live, 0);
	CHECK_EQ(rig->m->virt->pins.nr_live, 0);
	CHECK_EQ(rig->m->virt->owners.nr_live, 0);
	CHECK_EQ(rig->m->back->files.nr_live, 0);
	REQUIRE(pm_swap_info(rig->m, &swap) == PM_OK);
	CHECK_EQ(swap.nr_used, 0);
	CHECK_EQ(swap.nr_cached, 0);
	CHECK_EQ(swap.entries, 0);
}

static inline void space_rig_end(struct space_rig *rig)
{
	space_rig_check_empty(rig);
	pm_machine_shut(rig->m);
	pm_machine_destroy(rig->m);
}

/* ---- calls on CPU 0 that have to succeed ---- */

static inline uint64_t space_make(struct pm_machine *m)
{
	uint64_t space = 0;

	REQUIRE(pm_space_create(m, &space) == PM_OK);
	return space;
}

static inline uint64_t space_fork(struct pm_machine *m, uint64_t parent)
{
	uint64_t child = 0;

	REQUIRE(pm_space_fork(m, 0, parent, &child) == PM_OK);
	return child;
}

static inline void space_exit(struct pm_machine *m, uint64_t space)
{
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
}

/// Maps `pages` at `addr`, or anywhere if that is 0.
static inline uint64_t space_map_at(struct pm_machine *m, uint64_t space, uint64_t addr, uint64_t pages, uint32_t prot, uint32_t flags, uint64_t file)
{
	struct pm_map_request request = { .addr = addr, .length = pages * PAGE, .prot = prot, .flags = flags | (addr ? PM_MAP_FIXED : 0u), .file = file };
	uint64_t at = 0;

	REQUIRE(pm_map(m, 0, space, &request, &at) == PM_OK);
	return at;
}

static inline uint64_t space_map(struct pm_machine *m, uint64_t space, uint64_t pages)
{
	return space_map_at(m, space, 0, pages, RW, 0, 0);
}

/// Writes one byte; the status says whether that was possible.
static inline enum pm_status space_try_put(struct pm_machine *m, uint64_t space, uint64_t addr, uint8_t value)
{
	size_t done = 0;

	return pm_write(m, 0, space, addr, &value, 1, &done);
}

static inline void space_put(struct pm_machine *m, uint64_t space, uint64_t addr, uint8_t value)
{
	CHECK_EQ(space_try_put(m, space, addr, value), PM_OK);
}

/// The byte at an address, or a negative status.
static inline int space_get(struct pm_machine *m, uint64_t space, uint64_t addr)
{
	uint8_t value = 0;
	size_t done = 0;
	enum pm_status status = pm_read(m, 0, space, addr, &value, 1, &done);

	return status ? (int)status : value;
}

static inline struct pm_pte_info space_pte(struct pm_machine *m, uint64_t space, uint64_t addr)
{
	struct pm_pte_info info;

	REQUIRE(pm_lookup(m, 0, space, addr, &info) == PM_OK);
	return info;
}

/// The frame at an address, which has to be there.
static inline uint64_t space_frame(struct pm_machine *m, uint64_t space, uint64_t addr)
{
	struct pm_pte_info info = space_pte(m, space, addr);

	CHECK_EQ(info.kind, PM_PTE_PRESENT);
	return info.pfn;
}

static inline struct pm_page_info space_page(struct pm_machine *m, uint64_t pfn)
{
	struct pm_page_info info;

	REQUIRE(pm_page_info(m, pfn, &info) == PM_OK);
	return info;
}

static inline struct pm_memory_counters space_counters(struct pm_machine *m)
{
	struct pm_memory_counters counters;

	pm_memory_counters(m, &counters);
	return counters;
}

static inline struct pm_space_info space_info(struct pm_machine *m, uint64_t space)
{
	struct pm_space_info info;

	REQUIRE(pm_space_info(m, 0, space, &info) == PM_OK);
	return info;
}

/// How many areas a space has; the first 64 into `areas`.
static inline size_t space_areas(struct pm_machine *m, uint64_t space, struct pm_area areas[64])
{
	size_t nr = 0;

	REQUIRE(pm_space_areas(m, 0, space, 64, areas, &nr) == PM_OK);
	return nr;
}

static inline uint64_t space_page_out(struct pm_machine *m, uint64_t space, uint64_t addr, uint64_t pages)
{
	uint64_t freed = 0;

	CHECK_EQ(pm_page_out(m, 0, space, addr, pages * PAGE, &freed), PM_OK);
	return freed;
}

/// A file in memory alone.
static inline uint64_t space_ram_file(struct pm_machine *m, uint64_t pages)
{
	struct pm_file_options options = { .fs = PM_FS_RAM, .size = pages * PAGE };
	uint64_t file = 0;

	REQUIRE(pm_file_create(m, &options, &file) == PM_OK);
	return file;
}

static inline void space_file_close(struct pm_machine *m, uint64_t file)
{
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
}

#endif
