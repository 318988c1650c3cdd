/// @file world.h
/// A small machine beside a slow, obvious account of it: which frames the test holds, in blocks. Shared by the tests that search.
#ifndef PM_TESTS_WORLD_H
#define PM_TESTS_WORLD_H

#include <string.h>

#include "pymigrate.h"
#include "tests/check.h"

enum { WORLD_MAX_FRAMES = 8192, WORLD_MAX_BLOCKS = 8192 };

struct world_block {
	uint64_t pfn;
	uint32_t order;
};

struct world {
	struct pm_machine *machine;
	uint64_t start; ///< first frame of the only zone
	uint64_t nr_frames;
	uint64_t nr_held; ///< frames
	size_t nr_blocks;
	struct world_block blocks[WORLD_MAX_BLOCKS];
	bool held[WORLD_MAX_FRAMES]; ///< by frame number less `start`
};

/// One zone of `nr_frames` frames that starts at frame `start`; no watermark keeps memory back.
static inline void world_init(struct world *w, uint64_t start, uint64_t nr_frames, uint32_t nr_cpus)
{
	struct pm_zone_layout zone = { .kind = PM_ZONE_NORMAL, .start_pfn = start, .spanned = nr_frames };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = nr_cpus, .start = PM_START_FREE };

	REQUIRE(nr_frames <= WORLD_MAX_FRAMES);
	memset(w, 0, sizeof(*w));
	pm_settings_default(&layout.settings);
	layout.settings.min_free_kbytes = 0;
	layout.settings.watermark_scale_factor = 0;
	w->start = start;
	w->nr_frames = nr_frames;
	REQUIRE(pm_machine_create(&layout, &w->machine) == PM_OK);
}

static inline void world_deinit(struct world *w)
{
	pm_machine_destroy(w->machine);
	w->machine = NULL;
}

static inline void world_validate(struct world *w)
{
	char message[512] = "";

	if (!CHECK(pm_machine_validate(w->machine, message, sizeof(message)) == PM_OK)) {
		fprintf(stderr, "  %s\n", message);
		exit(EXIT_FAILURE);
	}
}

/// The core's count of free frames and ours agree.
static inline void world_check_count(struct world *w)
{
	struct pm_zone_info info;

	REQUIRE(pm_zone_info(w->machine, 0, &info) == PM_OK);
	CHECK_EQ(info.nr_free + info.nr_pcp + info.nr_isolated + w->nr_held, w->nr_frames);
}

static inline void world_hold(struct world *w, uint64_t pfn, uint32_t order)
{
	uint64_t i, n = (uint64_t)1 << order;

	REQUIRE(pfn % n == 0 && pfn >= w->start && pfn + n <= w->start + w->nr_frames);
	for (i = pfn - w->start; i < pfn - w->start + n; i++) {
		REQUIRE(!w->held[i]);
		w->held[i] = true;
	}
	REQUIRE(w->nr_blocks < WORLD_MAX_BLOCKS);
	w->blocks[w->nr_blocks++] = (struct world_block){ pfn, order };
	w->nr_held += n;
}

static inline enum pm_status world_alloc(struct world *w, uint32_t cpu, uint32_t order, uint32_t gfp)
{
	uint64_t pfn = UINT64_MAX;
	enum pm_status status = pm_alloc(w->machine, cpu, order, gfp, &pfn);

	if (status == PM_OK)
		world_hold(w, pfn, order);
	return status;
}

/// Forgets block `i`, and returns it.
static inline struct world_block world_drop(struct world *w, size_t i)
{
	struct world_block block = w->blocks[i];
	uint64_t k, n = (uint64_t)1 << block.order;

	for (k = 0; k < n; k++)
		w->held[block.pfn - w->start + k] = false;
	w->blocks[i] = w->blocks[--w->nr_blocks];
	w->nr_held -= n;
	return block;
}

static inline void world_free(struct world *w, uint32_t cpu, size_t i)
{
	struct world_block block = world_drop(w, i);

	REQUIRE(pm_free(w->machine, cpu, block.pfn, block.order) == PM_OK);
}

/// Does an aligned block of `order` exist that nobody holds? Once the per-CPU lists are drained, an allocation may then not fail.
static inline bool world_has_room(const struct world *w, uint32_t order)
{
	uint64_t n = (uint64_t)1 << order, i, k;

	for (i = (n - w->start % n) % n; i + n <= w->nr_frames; i += n) {
		for (k = 0; k < n && !w->held[i + k]; k++)
			;
		if (k == n)
			return true;
	}
	return false;
}

#endif
