/// From a layout to a machine, and back to nothing.
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "phys/buddy.h"
#include "phys/pcp.h"
#include "phys/watermark.h"

void pm_settings_default(struct pm_settings *ret)
{
	*ret = (struct pm_settings){
		.min_free_kbytes = -1,
		.watermark_scale_factor = 10,
		.watermark_boost_factor = 15000,
		.lowmem_reserve_ratio = { 256, 256, 32, 0 },
		.pcp = 1,
		.pcp_high_min = -1,
		.pcp_high_max = -1,
		.pcp_batch = -1,
	};
}

/// The first range that ends after `pfn`, or NULL.
static const struct pm_range *range_after(const struct pm_range *ranges, size_t n, uint64_t pfn)
{
	size_t low = 0, high = n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (pfn >= ranges[mid].end)
			low = mid + 1;
		else
			high = mid;
	}
	return low < n ? &ranges[low] : NULL;
}

bool pm_in_ranges(const struct pm_range *ranges, size_t n, uint64_t pfn)
{
	const struct pm_range *range = range_after(ranges, n, pfn);

	return range && pfn >= range->start;
}

bool pm_next_usable(const struct pm_machine *m, uint64_t *start, uint64_t end, struct pm_range *ret)
{
	while (*start < end) {
		const struct pm_range *hole = range_after(m->holes, m->nr_holes, *start);
		const struct pm_range *reserved = range_after(m->reserved, m->nr_reserved, *start);

		if (hole && hole->start <= *start) {
			*start = hole->end;
			continue;
		}
		if (reserved && reserved->start <= *start) {
			*start = reserved->end;
			continue;
		}
		*ret = (struct pm_range){ *start, end };
		if (hole && hole->start < ret->end)
			ret->end = hole->start;
		if (reserved && reserved->start < ret->end)
			ret->end = reserved->start;
		*start = ret->end;
		return true;
	}
	return false;
}

static bool ranges_ordered(const struct pm_range *ranges, size_t n)
{
	uint64_t last = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		if (ranges[i].start < last || ranges[i].end <= ranges[i].start)
			return false;
		last = ranges[i].end;
	}
	return true;
}

/// Frames of the ranges that lie in [start, end).
static uint64_t ranges_within(const struct pm_range *ranges, size_t n, uint64_t start, uint64_t end)
{
	uint64_t sum = 0;
	size_t i;

	for (i = 0; i < n; i++) {
		uint64_t from = ranges[i].start > start ? ranges[i].start : start;
		uint64_t to = ranges[i].end < end ? ranges[i].end : end;

		sum += to > from ? to - from : 0;
	}
	return sum;
}

static enum pm_status check_zones(const struct pm_layout *layout)
{
	size_t i, j;

	for (i = 0; i < layout->nr_zones; i++) {
		const struct pm_zone_layout *a = &layout->zones[i];

		if (a->kind >= PM_MAX_ZONES || a->spanned == 0)
			return PM_ERR_INVAL;
		if (a->start_pfn >= PM_CFG_MAX_FRAMES || a->spanned >= PM_CFG_MAX_FRAMES - a->start_pfn)
			return PM_ERR_LIMIT;
		for (j = 0; j < i; j++) {
			const struct pm_zone_layout *b = &layout->zones[j];
			uint64_t a_last = (a->start_pfn + a->spanned - 1) >> PM_PAGEBLOCK_ORDER;
			uint64_t b_last = (b->start_pfn + b->spanned - 1) >> PM_PAGEBLOCK_ORDER;

			if (a->kind == b->kind)
				return PM_ERR_INVAL;
			if (a->start_pfn >> PM_PAGEBLOCK_ORDER <= b_last && b->start_pfn >> PM_PAGEBLOCK_ORDER <= a_last)
				return PM_ERR_INVAL;
		}
	}
	return PM_OK;
}

static enum pm_status check_layout(const struct pm_layout *layout)
{
	if (layout->nr_zones == 0 || layout->nr_zones > PM_MAX_ZONES || layout->nr_cpus == 0 || layout->nr_cpus > PM_MAX_CPUS)
		return PM_ERR_INVAL;
	if (layout->start > PM_START_UNPLACED || !ranges_ordered(layout->holes, layout->nr_holes) ||
	    !ranges_ordered(layout->reserved, layout->nr_reserved))
		return PM_ERR_INVAL;
	if (layout->settings.min_free_kbytes > INT32_MAX || layout->settings.watermark_scale_factor > 10000 ||
	    layout->settings.pcp_batch > INT32_MAX / 64 || layout->settings.pcp_high_min > INT32_MAX / 2 ||
	    layout->settings.pcp_high_max > INT32_MAX / 2 || layout->settings.pcp_batch == 0)
		return PM_ERR_INVAL;
	return check_zones(layout);
}

/// Zeroed memory that costs nothing until it is touched; NULL if the host refuses.
static void *map_lazily(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static struct pm_range *copy_ranges(const struct pm_range *ranges, size_t n)
{
	struct pm_range *copy = malloc((n ? n : 1) * sizeof(*copy));

	if (copy && n)
		memcpy(copy, ranges, n * sizeof(*copy));
	return copy;
}

/// The tables and arrays of a machine whose sizes are set. On failure the caller destroys what there is.
static enum pm_status allocate_tables(struct pm_machine *m, const struct pm_layout *layout)
{
	uint32_t i;

	/* The last pageblock in full, though frames beyond the last are never free: so a merge below its order needs no look at the edges. */
	m->frames_bytes = ((size_t)m->nr_pageblocks << PM_PAGEBLOCK_ORDER) * sizeof(struct pm_frame);
	m->pageblocks_bytes = (size_t)m->nr_pageblocks * sizeof(struct pm_pageblock);
	m->tables.frames = map_lazily(m->frames_bytes);
	m->tables.pageblocks = map_lazily(m->pageblocks_bytes);
	m->holes = copy_ranges(layout->holes, layout->nr_holes);
	m->nr_holes = layout->nr_holes;
	m->reserved = copy_ranges(layout->reserved, layout->nr_reserved);
	m->nr_reserved = layout->nr_reserved;
	m->cpu = aligned_alloc(_Alignof(struct pm_cpu), layout->nr_cpus * sizeof(*m->cpu));
	if (!m->tables.frames || !m->tables.pageblocks || !m->holes || !m->reserved || !m->cpu)
		return PM_ERR_NOMEM;
	memset(m->cpu, 0, layout->nr_cpus * sizeof(*m->cpu));
	for (i = 0; i < m->nr_pageblocks; i++) {
		m->tables.pageblocks[i].zone = PM_NO_ZONE;
		pm_pageblock_write_type(&m->tables.pageblocks[i], PM_MT_MOVABLE);
	}
	return PM_OK;
}

static void init_zone(struct pm_machine *m, struct pm_zone *zone, const struct pm_zone_layout *from)
{
	unsigned int o, t;
	uint64_t block;

	pm_lock_init(&zone->lock, PM_RANK_ZONE);
	zone->kind = from->kind;
	zone->start = (uint32_t)from->start_pfn;
	zone->end = (uint32_t)(from->start_pfn + from->spanned);
	zone->present = from->spanned - ranges_within(m->holes, m->nr_holes, zone->start, zone->end);
	for (o = 0; o < PM_NR_ORDERS; o++)
		for (t = 0; t < PM_NR_MIGRATETYPES; t++)
			pm_list_init(&zone->area[o].list[t]);
	for (block = zone->start >> PM_PAGEBLOCK_ORDER; block <= (zone->end - 1) >> PM_PAGEBLOCK_ORDER; block++)
		m->tables.pageblocks[block].zone = (uint8_t)zone->index;
}

/// Frees a run of frames in the largest aligned blocks, lowest first at the tail, as the kernel frees memory at boot.
static void free_run(struct pm_machine *m, struct pm_zone *zone, struct pm_range run) PM_NO_TSA
{
	while (run.start < run.end) {
		unsigned int order = run.start ? (unsigned int)__builtin_ctzll(run.start) : PM_MAX_ORDER;

		if (order > PM_MAX_ORDER)
			order = PM_MAX_ORDER;
		while (run.start + ((uint64_t)1 << order) > run.end)
			order--;
		pm_buddy_add(m, zone, pm_pfn(run.start), order, PM_MT_MOVABLE, true);
		run.start += (uint64_t)1 << order;
	}
}

static void place_frames(struct pm_machine *m, struct pm_zone *zone, enum pm_start how)
{
	struct pm_range run;
	uint64_t at = zone->start;

	while (pm_next_usable(m, &at, zone->end, &run)) {
		/* Relaxed: nobody else knows the machine. */
		atomic_fetch_add_explicit(&zone->managed, run.end - run.start, memory_order_relaxed);
		if (how == PM_START_FREE)
			free_run(m, zone, run);
		else
			zone->nr_unplaced += run.end - run.start;
	}
}

/// For each highest kind the zones from there down, empty ones left out.
static void build_zonelists(struct pm_machine *m)
{
	int kind, k;
	uint32_t z;

	for (kind = 0; kind < PM_MAX_ZONES; kind++) {
		int8_t *at = m->zonelist[kind];

		for (k = kind; k >= 0; k--)
			for (z = 0; z < m->nr_zones; z++)
				if (m->zone[z].kind == (uint32_t)k && pm_zone_managed(&m->zone[z]))
					*at++ = (int8_t)z;
		*at = -1;
	}
}

/// The highest zone kind a request may use, by its four zone flags (DMA, HIGHMEM, DMA32, MOVABLE); -1: they contradict each other.
static const int8_t highest_kind[16] = {
	[0] = PM_ZONE_NORMAL,
	[PM_GFP_DMA] = PM_ZONE_DMA,
	[PM_GFP_HIGHMEM] = PM_ZONE_NORMAL,
	[PM_GFP_DMA | PM_GFP_HIGHMEM] = -1,
	[PM_GFP_DMA32] = PM_ZONE_DMA32,
	[PM_GFP_DMA32 | PM_GFP_DMA] = -1,
	[PM_GFP_DMA32 | PM_GFP_HIGHMEM] = -1,
	[PM_GFP_DMA32 | PM_GFP_HIGHMEM | PM_GFP_DMA] = -1,
	[PM_GFP_MOVABLE] = PM_ZONE_NORMAL,
	[PM_GFP_MOVABLE | PM_GFP_DMA] = PM_ZONE_DMA,
	[PM_GFP_MOVABLE | PM_GFP_HIGHMEM] = PM_ZONE_MOVABLE,
	[PM_GFP_MOVABLE | PM_GFP_HIGHMEM | PM_GFP_DMA] = -1,
	[PM_GFP_MOVABLE | PM_GFP_DMA32] = PM_ZONE_DMA32,
	[PM_GFP_MOVABLE | PM_GFP_DMA32 | PM_GFP_DMA] = -1,
	[PM_GFP_MOVABLE | PM_GFP_DMA32 | PM_GFP_HIGHMEM] = -1,
	[PM_GFP_MOVABLE | PM_GFP_DMA32 | PM_GFP_HIGHMEM | PM_GFP_DMA] = -1,
};

/// What each combination of the flags that matter asks for.
static void build_classes(struct pm_machine *m)
{
	uint32_t gfp;

	for (gfp = 0; gfp <= PM_GFP_CLASS_MASK; gfp++) {
		struct pm_request_class *class = &m->classes[gfp];
		const int8_t *list;

		*class = (struct pm_request_class){ .highest = highest_kind[gfp & 0xf] };
		if ((gfp & (PM_GFP_MOVABLE | PM_GFP_RECLAIMABLE)) == (PM_GFP_MOVABLE | PM_GFP_RECLAIMABLE))
			class->highest = -1;
		if (class->highest < 0)
			continue;
		class->migratetype = gfp & PM_GFP_MOVABLE ? PM_MT_MOVABLE : gfp & PM_GFP_RECLAIMABLE ? PM_MT_RECLAIMABLE : PM_MT_UNMOVABLE;
		class->word = pm_word(PM_FRAME_USED, class->migratetype, 0);
		list = m->zonelist[class->highest];
		/* Without per-CPU lists the quick way is closed. */
		if (m->settings.pcp && list[0] >= 0) {
			class->first = (uint8_t)list[0];
			class->quick = &m->zone[list[0]];
		}
		class->first_flags = PM_WMARK_LOW;
		/* With a DMA32 zone to turn to, the Normal zone is not mixed below the pageblock order at first. */
		if (m->settings.defrag_mode || (list[0] >= 0 && m->zone[list[0]].kind == PM_ZONE_NORMAL && list[1] >= 0))
			class->first_flags |= PM_ALLOC_NOFRAGMENT;
	}
}

enum pm_status pm_machine_create(const struct pm_layout *layout, struct pm_machine **ret)
{
	enum pm_status status = check_layout(layout);
	struct pm_machine *m;
	uint64_t end = 0;
	uint32_t z;

	if (status)
		return status;
	m = aligned_alloc(PM_CFG_CACHE_LINE, (sizeof(*m) + PM_CFG_CACHE_LINE - 1) & ~(size_t)(PM_CFG_CACHE_LINE - 1));
	if (!m)
		return PM_ERR_NOMEM;
	memset(m, 0, sizeof(*m));
	m->settings = layout->settings;
	pm_lock_init(&m->resize, PM_RANK_OBJECTS);
	m->nr_cpus = layout->nr_cpus;
	m->nr_zones = (uint32_t)layout->nr_zones;
	for (z = 0; z < m->nr_zones; z++)
		if (layout->zones[z].start_pfn + layout->zones[z].spanned > end)
			end = layout->zones[z].start_pfn + layout->zones[z].spanned;
	m->nr_frames = (uint32_t)end;
	/* Whole blocks of the largest order, so that looking at a buddy beyond the last frame stays inside the tables. */
	m->nr_pageblocks = (uint32_t)(((end >> PM_MAX_ORDER) + 1) << (PM_MAX_ORDER - PM_PAGEBLOCK_ORDER));
	status = allocate_tables(m, layout);
	if (status) {
		pm_machine_destroy(m);
		return status;
	}
	for (z = 0; z < m->nr_zones; z++) {
		m->zone[z].index = z;
		init_zone(m, &m->zone[z], &layout->zones[z]);
		place_frames(m, &m->zone[z], (enum pm_start)layout->start);
	}
	build_zonelists(m);
	build_classes(m);
	pm_watermarks_setup(m);
	pm_pcp_setup(m);
	*ret = m;
	return PM_OK;
}

void pm_machine_destroy(struct pm_machine *m)
{
	if (!m)
		return;
	if (m->memory_destroy)
		m->memory_destroy(m);
	if (m->tables.frames)
		munmap(m->tables.frames, m->frames_bytes);
	if (m->tables.pageblocks)
		munmap(m->tables.pageblocks, m->pageblocks_bytes);
	free(m->holes);
	free(m->reserved);
	free(m->placed);
	free(m->cpu);
	free(m);
}
