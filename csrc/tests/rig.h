/// @file rig.h
/// Small machines for the tests of one module each: made in a line, looked at in a line.
#ifndef PM_TESTS_RIG_H
#define PM_TESTS_RIG_H

#include <string.h>

#include "pymigrate.h"
#include "tests/check.h"

/// The tests count in pageblocks: they pass with any constants of the build for which a block may be as large as two pageblocks.
enum { PB_ORDER = PM_PAGEBLOCK_ORDER, PB = PM_PAGEBLOCK_NR_PAGES };

enum { RIG_MOVABLE = PM_GFP_HIGHUSER_MOVABLE, RIG_RECLAIMABLE = PM_GFP_KERNEL | PM_GFP_RECLAIMABLE, RIG_UNMOVABLE = PM_GFP_KERNEL };

/// No per-CPU lists and no watermarks: the free lists alone decide.
static inline struct pm_settings rig_bare(void)
{
	struct pm_settings settings;

	pm_settings_default(&settings);
	settings.min_free_kbytes = 0;
	settings.watermark_scale_factor = 0;
	settings.pcp = 0;
	return settings;
}

static inline struct pm_machine *rig_create(const struct pm_layout *layout)
{
	struct pm_machine *m = NULL;

	REQUIRE(pm_machine_create(layout, &m) == PM_OK);
	return m;
}

/// One Normal zone from frame 0.
static inline struct pm_machine *rig_one_zone(uint64_t nr_frames, uint32_t nr_cpus, struct pm_settings settings)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, nr_frames };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = nr_cpus, .settings = settings };

	return rig_create(&layout);
}

static inline bool rig_valid(struct pm_machine *m)
{
	char message[256] = "";
	bool ok = pm_machine_validate(m, message, sizeof(message)) == PM_OK;

	if (!ok)
		fprintf(stderr, "  validate: %s\n", message);
	return ok;
}

/// Ends a test: the machine must still be sound.
static inline void rig_destroy(struct pm_machine *m)
{
	CHECK(rig_valid(m));
	pm_machine_destroy(m);
}

/// Allocates on CPU 0; UINT64_MAX if that failed.
static inline uint64_t rig_alloc(struct pm_machine *m, uint32_t order, uint32_t gfp)
{
	uint64_t pfn = UINT64_MAX;

	return pm_alloc(m, 0, order, gfp, &pfn) == PM_OK ? pfn : UINT64_MAX;
}

/// The failure of an allocation on CPU 0, or PM_OK.
static inline enum pm_status rig_alloc_status(struct pm_machine *m, uint32_t order, uint32_t gfp)
{
	uint64_t pfn;

	return pm_alloc(m, 0, order, gfp, &pfn);
}

/// Takes `n` frames, all that a machine has or nearly, each as a block of its own; no watermark stands in the way.
static inline void rig_fill(struct pm_machine *m, uint64_t n, uint32_t gfp)
{
	uint64_t i;

	for (i = 0; i < n; i++)
		REQUIRE(rig_alloc(m, 0, gfp | PM_GFP_MEMALLOC) != UINT64_MAX);
}

static inline void rig_free_range(struct pm_machine *m, uint64_t start, uint64_t end)
{
	for (; start < end; start++)
		CHECK_EQ(pm_free(m, 0, start, 0), PM_OK);
}

static inline uint64_t rig_blocks(struct pm_machine *m, uint32_t zone, uint32_t order, uint32_t type)
{
	uint64_t nr[PM_NR_ORDERS * PM_NR_MIGRATETYPES];

	REQUIRE(pm_free_blocks(m, zone, nr) == PM_OK);
	return nr[order * PM_NR_MIGRATETYPES + type];
}

static inline struct pm_zone_info rig_zone(struct pm_machine *m, uint32_t zone)
{
	struct pm_zone_info info;

	REQUIRE(pm_zone_info(m, zone, &info) == PM_OK);
	return info;
}

static inline struct pm_counters rig_counters(struct pm_machine *m)
{
	struct pm_counters counters;

	pm_counters(m, &counters);
	return counters;
}

static inline struct pm_pcp_info rig_pcp(struct pm_machine *m, uint32_t cpu, uint32_t zone)
{
	struct pm_pcp_info info;

	REQUIRE(pm_pcp_info(m, cpu, zone, &info) == PM_OK);
	return info;
}

static inline struct pm_frame_info rig_frame(struct pm_machine *m, uint64_t pfn)
{
	struct pm_frame_info info;

	REQUIRE(pm_frame_info(m, pfn, &info) == PM_OK);
	return info;
}

#endif
