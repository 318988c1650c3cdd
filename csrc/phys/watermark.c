#include "phys/watermark.h"

/// Largest r with r * r <= v.
static uint64_t isqrt(uint64_t v)
{
	uint64_t r = 0, bit = (uint64_t)1 << 62;

	while (bit > v)
		bit >>= 2;
	while (bit) {
		if (v >= r + bit) {
			v -= r + bit;
			r = (r >> 1) + bit;
		} else {
			r >>= 1;
		}
		bit >>= 2;
	}
	return r;
}

static uint64_t clamp(uint64_t v, uint64_t low, uint64_t high)
{
	return v < low ? low : v > high ? high : v;
}

static void set_mark(_Atomic uint64_t *mark, uint64_t value)
{
	/* Relaxed: see pm_zone_wmark(). */
	atomic_store_explicit(mark, value, memory_order_relaxed);
}

static void setup_zone(struct pm_zone *zone, uint64_t pages_min, uint64_t lowmem, uint32_t scale_factor)
{
	uint64_t managed = pm_zone_managed(zone);
	uint64_t share = lowmem ? (uint64_t)((unsigned __int128)pages_min * managed / lowmem) : 0;
	uint64_t min = zone->kind == PM_ZONE_MOVABLE ? clamp(managed / 1024, 32, 128) : share;
	uint64_t gap = managed * scale_factor / 10000;
	unsigned int which;

	if (gap < share / 4)
		gap = share / 4;
	for (which = PM_WMARK_MIN; which < PM_NR_WMARK; which++)
		set_mark(&zone->wmark[which], min + which * gap);
}

/// Frames of zone i that a request for zone kind j must leave: what the zones above i up to j hold, divided by i's ratio.
static void setup_reserve(struct pm_machine *m, struct pm_zone *zone)
{
	uint32_t ratio = m->settings.lowmem_reserve_ratio[zone->kind];
	uint64_t above = 0;
	uint32_t kind, i;

	for (kind = zone->kind + 1; kind < PM_MAX_ZONES; kind++) {
		for (i = 0; i < m->nr_zones; i++)
			if (m->zone[i].kind == kind)
				above += pm_zone_managed(&m->zone[i]);
		set_mark(&zone->lowmem_reserve[kind], ratio ? above / ratio : 0);
	}
}

void pm_watermark_update(struct pm_zone *zone)
{
	/* Relaxed: see nr_free. */
	uint64_t mark = pm_watermark(zone, PM_WMARK_HIGH) + atomic_load_explicit(&zone->nr_free_highatomic, memory_order_relaxed);
	uint32_t kind;

	for (kind = 0; kind < PM_MAX_ZONES; kind++)
		atomic_store_explicit(&zone->plenty[kind], mark + pm_zone_reserve(zone, kind), memory_order_relaxed);
}

void pm_watermarks_setup(struct pm_machine *m)
{
	uint64_t lowmem = 0, kbytes, pages_min;
	uint32_t i;

	for (i = 0; i < m->nr_zones; i++)
		if (m->zone[i].kind != PM_ZONE_MOVABLE)
			lowmem += pm_zone_managed(&m->zone[i]);
	if (m->settings.min_free_kbytes < 0)
		kbytes = clamp(isqrt(16 * lowmem * (PM_PAGE_SIZE / 1024)), 128, 262144);
	else
		kbytes = (uint64_t)m->settings.min_free_kbytes;
	pages_min = kbytes / (PM_PAGE_SIZE / 1024);
	for (i = 0; i < m->nr_zones; i++) {
		struct pm_zone *zone = &m->zone[i];

		pm_lock(&zone->lock);
		setup_zone(zone, pages_min, lowmem, m->settings.watermark_scale_factor);
		setup_reserve(m, zone);
		pm_watermark_update(zone);
		pm_unlock(&zone->lock);
	}
}

uint64_t pm_watermark(const struct pm_zone *zone, unsigned int which)
{
	/* Relaxed: the boost is a hint that may be late. */
	return pm_zone_wmark(zone, which) + atomic_load_explicit(&zone->watermark_boost, memory_order_relaxed);
}

/// Is there a non-empty list at or above the order that this request may take from? Reads counts that others may be changing: a hint.
static bool has_block(const struct pm_zone *zone, unsigned int order, uint32_t alloc_flags)
{
	unsigned int o, t;

	for (o = order; o < PM_NR_ORDERS; o++) {
		for (t = 0; t < PM_NR_PCP_TYPES; t++)
			if (pm_list_nr(&zone->area[o].list[t]))
				return true;
		if ((alloc_flags & PM_ALLOC_HIGHATOMIC) && pm_list_nr(&zone->area[o].list[PM_MT_HIGHATOMIC]))
			return true;
	}
	return false;
}

bool pm_watermark_enough(const struct pm_zone *zone, unsigned int order, uint64_t mark, unsigned int highest, uint32_t alloc_flags)
{
	int64_t free = (int64_t)atomic_load_explicit(&zone->nr_free, memory_order_relaxed); /* relaxed: see nr_free */
	int64_t min = (int64_t)mark;

	free -= ((int64_t)1 << order) - 1;
	if (!(alloc_flags & PM_ALLOC_RESERVES))
		free -= (int64_t)atomic_load_explicit(&zone->nr_free_highatomic, memory_order_relaxed);
	if (PM_UNLIKELY(alloc_flags & PM_ALLOC_RESERVES)) {
		if (alloc_flags & PM_ALLOC_MIN_RESERVE) {
			min -= min / 2;
			if (alloc_flags & PM_ALLOC_NON_BLOCK)
				min -= min / 4;
		}
	}
	return free > min + (int64_t)pm_zone_reserve(zone, highest);
}

bool pm_watermark_ok(const struct pm_zone *zone, unsigned int order, uint64_t mark, unsigned int highest, uint32_t alloc_flags)
{
	return pm_watermark_enough(zone, order, mark, highest, alloc_flags) && (order == 0 || has_block(zone, order, alloc_flags));
}

void pm_watermark_boost(const struct pm_machine *m, struct pm_zone *zone)
{
	uint64_t boost, most;

	if (!m->settings.watermark_boost_factor)
		return;
	if (4 * (uint64_t)PM_PAGEBLOCK_NR_PAGES > pm_zone_managed(zone) || pm_zone_wmark(zone, PM_WMARK_HIGH) == 0)
		return;
	most = pm_zone_wmark(zone, PM_WMARK_HIGH) * m->settings.watermark_boost_factor / 10000;
	if (most < PM_PAGEBLOCK_NR_PAGES)
		most = PM_PAGEBLOCK_NR_PAGES;
	boost = atomic_load_explicit(&zone->watermark_boost, memory_order_relaxed) + PM_PAGEBLOCK_NR_PAGES;
	atomic_store_explicit(&zone->watermark_boost, boost < most ? boost : most, memory_order_relaxed);
	pm_watermark_update(zone);
}

enum pm_status pm_set_reclaim_active(struct pm_machine *m, uint32_t index, bool active)
{
	struct pm_zone *zone;

	if (index >= m->nr_zones)
		return PM_ERR_INVAL;
	zone = &m->zone[index];
	pm_lock(&zone->lock);
	atomic_store_explicit(&zone->reclaim_active, active, memory_order_relaxed); /* relaxed: a hint */
	/* What the boost asked for has been done. */
	if (!active) {
		atomic_store_explicit(&zone->watermark_boost, 0, memory_order_relaxed);
		pm_watermark_update(zone);
	}
	pm_unlock(&zone->lock);
	return PM_OK;
}
