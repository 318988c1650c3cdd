/// @file compact_rig.h
/// Layouts made by hand for the tests of compaction: which frame holds what. All of a zone is filled with the pages of one space, and those that are not wanted go.
#ifndef PM_TESTS_COMPACT_RIG_H
#define PM_TESTS_COMPACT_RIG_H

#include "tests/check.h"
#include "tests/rig.h"

enum { CR_PAGE = PM_PAGE_SIZE, CR_FRAMES_MAX = 64 * PB };

/// What stands in a frame.
enum cr_what { CR_FREE = 0, CR_ANON = 1, CR_STUCK = 2, CR_LARGE = 3, CR_PINNED = 4 };

struct compact_rig {
	struct pm_machine *m;
	uint64_t nr_frames, space, addr, owner, slab;
	uint64_t *pins;
	size_t nr_pins;
	uint64_t *addr_of; ///< [nr_frames] where a frame's page is mapped; 0: nowhere
	uint32_t *large;   ///< numbers of the owner's blocks
	uint64_t *large_at;
	uint32_t nr_large, large_order;
};

/// What a page holds: its own address, so that one that was moved to the wrong place is known.
static inline uint64_t cr_value(uint64_t addr)
{
	return addr * 0x9e3779b97f4a7c15u | 1;
}

static inline void cr_write(struct compact_rig *r, uint64_t addr)
{
	uint64_t value = cr_value(addr);
	size_t done;

	REQUIRE(pm_write(r->m, 0, r->space, addr, &value, sizeof(value), &done) == PM_OK);
}

/// A machine of so many pageblocks in one Normal zone, and swap for the protocols that want it.
static inline void cr_open(struct compact_rig *r, uint32_t nr_pageblocks, const struct pm_settings *settings, uint32_t contents, uint32_t wait_slices)
{
	struct pm_memory_options options;

	*r = (struct compact_rig){ .nr_frames = (uint64_t)nr_pageblocks * PB };
	r->m = rig_one_zone(r->nr_frames, 8, settings ? *settings : rig_bare());
	pm_memory_options_default(&options);
	options.contents = contents;
	options.wait_slices = wait_slices;
	REQUIRE(pm_memory_enable(r->m, &options) == PM_OK);
	REQUIRE(pm_swap_on(r->m, &(struct pm_swap_options){ 8192, 0 }) == PM_OK);
	REQUIRE(pm_space_create(r->m, &r->space) == PM_OK);
	REQUIRE(pm_owner_create(r->m, PM_OWNER_MOVABLE_OPS, &r->owner) == PM_OK);
	REQUIRE(pm_owner_create(r->m, PM_OWNER_UNMOVABLE, &r->slab) == PM_OK);
	r->addr_of = calloc(r->nr_frames, sizeof(*r->addr_of));
	r->pins = calloc(r->nr_frames, sizeof(*r->pins));
	r->large = calloc(r->nr_frames, sizeof(*r->large));
	r->large_at = calloc(r->nr_frames, sizeof(*r->large_at));
	REQUIRE(r->addr_of && r->pins && r->large && r->large_at);
}

/// The page in this frame goes.
static inline void cr_drop(struct compact_rig *r, uint64_t pfn)
{
	REQUIRE(pm_unmap(r->m, 0, r->space, r->addr_of[pfn], CR_PAGE) == PM_OK);
	r->addr_of[pfn] = 0;
	REQUIRE(pm_drain(r->m, PM_ALL_CPUS) == PM_OK);
}

/// Blocks of 2^order frames for the frames marked LARGE (all of a block is, or none), then single pages elsewhere.
static inline void cr_lay(struct compact_rig *r, uint32_t large_order, enum cr_what (*what)(uint64_t pfn))
{
	struct pm_map_request request = { .length = r->nr_frames * CR_PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	uint64_t pfn, step = (uint64_t)1 << large_order, i, got;

	r->large_order = large_order;
	/* All memory in blocks of the large order; those that are not wanted go. */
	for (i = 0; i < r->nr_frames / step; i++)
		REQUIRE(pm_owner_alloc(r->m, 0, r->owner, large_order, PM_GFP_HIGHUSER_MOVABLE | PM_GFP_MEMALLOC, &r->large[r->nr_large++]) == PM_OK);
	for (i = 0, got = 0; i < r->nr_large; i++) {
		REQUIRE(pm_owner_frame(r->m, 0, r->owner, r->large[i], &pfn) == PM_OK);
		if (what(pfn) == CR_LARGE) {
			r->large_at[got] = pfn;
			r->large[got++] = r->large[i];
		} else {
			REQUIRE(pm_owner_free(r->m, 0, r->owner, r->large[i]) == PM_OK);
		}
	}
	r->nr_large = (uint32_t)got;
	/* The rest in pages of a space. */
	REQUIRE(pm_map(r->m, 0, r->space, &request, &r->addr) == PM_OK);
	for (i = 0; i < r->nr_frames - got * step; i++) {
		struct pm_pte_info pte;

		cr_write(r, r->addr + i * CR_PAGE);
		REQUIRE(pm_lookup(r->m, 0, r->space, r->addr + i * CR_PAGE, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT);
		r->addr_of[pte.pfn] = r->addr + i * CR_PAGE;
	}
	/* What cannot move takes the one frame that was just given up: the only free one. */
	for (pfn = 0; pfn < r->nr_frames; pfn++) {
		uint32_t number;

		if (what(pfn) != CR_STUCK)
			continue;
		cr_drop(r, pfn);
		REQUIRE(pm_owner_alloc(r->m, 0, r->slab, 0, PM_GFP_KERNEL | PM_GFP_MEMALLOC, &number) == PM_OK);
		REQUIRE(pm_owner_frame(r->m, 0, r->slab, number, &got) == PM_OK);
		REQUIRE(got == pfn);
	}
	for (pfn = 0; pfn < r->nr_frames; pfn++) {
		if (what(pfn) == CR_PINNED)
			REQUIRE(pm_pin(r->m, 0, r->space, r->addr_of[pfn], PM_PIN_SHORT, true, &got, &r->pins[r->nr_pins++]) == PM_OK);
		else if (what(pfn) == CR_FREE)
			cr_drop(r, pfn);
	}
}

/// Every page of the space holds what it should, the blocks of the owner are alive, and the machine is sound.
static inline void cr_check(struct compact_rig *r)
{
	uint64_t pfn, value, at;
	uint32_t i;
	size_t done;

	CHECK(rig_valid(r->m));
	for (pfn = 0; pfn < r->nr_frames; pfn++) {
		if (!r->addr_of[pfn])
			continue;
		value = 0;
		CHECK_EQ(pm_read(r->m, 0, r->space, r->addr_of[pfn], &value, sizeof(value), &done), PM_OK);
		if (!CHECK(value == cr_value(r->addr_of[pfn])))
			break;
	}
	for (i = 0; i < r->nr_large; i++)
		CHECK_EQ(pm_owner_frame(r->m, 0, r->owner, r->large[i], &at), PM_OK);
}

static inline void cr_close(struct compact_rig *r)
{
	struct pm_zone_info info;
	size_t i;

	for (i = 0; i < r->nr_pins; i++)
		CHECK_EQ(pm_unpin(r->m, 0, r->pins[i]), PM_OK);
	CHECK_EQ(pm_owner_destroy(r->m, 0, r->owner), PM_OK);
	CHECK_EQ(pm_owner_destroy(r->m, 0, r->slab), PM_OK);
	CHECK_EQ(pm_space_exit(r->m, 0, r->space), PM_OK);
	CHECK(rig_valid(r->m));
	info = rig_zone(r->m, 0);
	CHECK_EQ(info.nr_free + info.nr_pcp + info.nr_isolated, r->nr_frames);
	pm_machine_destroy(r->m);
	free(r->addr_of);
	free(r->pins);
	free(r->large);
	free(r->large_at);
}

/// Runs strategy linux; what is not said is as pm_compact_request_default() has it.
static inline struct pm_compact_result cr_compact(struct compact_rig *r, const struct pm_compact_request *request)
{
	struct pm_compact_result result = { 0 };

	CHECK_EQ(pm_compact(r->m, 0, request, &result), PM_OK);
	return result;
}

static inline struct pm_compact_request cr_all(void)
{
	struct pm_compact_request request;

	pm_compact_request_default(&request);
	return request;
}

/// A request for one block.
static inline struct pm_compact_request cr_one(uint32_t order, uint32_t priority)
{
	struct pm_compact_request request = cr_all();

	request.order = order;
	request.priority = priority;
	request.blocks = 1;
	return request;
}

#endif
