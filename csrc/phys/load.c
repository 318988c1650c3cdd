/// Placing the frames of a snapshot. One thread, before the machine is used.
#include <stdlib.h>

#include "phys/buddy.h"
#include "phys/pageblock.h"
#include "phys/pcp.h"

static bool bit_test(const uint64_t *bits, uint64_t i)
{
	return bits[i / 64] >> (i % 64) & 1;
}

static void bit_set(uint64_t *bits, uint64_t i)
{
	bits[i / 64] |= (uint64_t)1 << (i % 64);
}

/// The map of frames that may not be placed (again): all but the usable ones at first.
static enum pm_status make_placed(struct pm_machine *m)
{
	uint64_t words = (uint64_t)m->nr_frames / 64 + 1, pfn, at;
	struct pm_range run;
	uint32_t z;

	m->placed = malloc(words * sizeof(*m->placed));
	if (!m->placed)
		return PM_ERR_NOMEM;
	for (at = 0; at < words; at++)
		m->placed[at] = ~(uint64_t)0;
	for (z = 0; z < m->nr_zones; z++) {
		at = m->zone[z].start;
		while (pm_next_usable(m, &at, m->zone[z].end, &run))
			for (pfn = run.start; pfn < run.end; pfn++)
				m->placed[pfn / 64] &= ~((uint64_t)1 << (pfn % 64));
	}
	return PM_OK;
}

/// Marks a block's frames as placed, or says why they cannot be.
static enum pm_status claim_frames(struct pm_machine *m, const struct pm_zone *zone, uint64_t pfn, unsigned int order)
{
	uint64_t end = pfn + ((uint64_t)1 << order), i;

	if (!zone || end > zone->end)
		return PM_ERR_RANGE;
	for (i = pfn; i < end; i++)
		if (bit_test(m->placed, i))
			return pm_in_ranges(m->reserved, m->nr_reserved, i) ? PM_ERR_RESERVED :
			       pm_in_ranges(m->holes, m->nr_holes, i)	    ? PM_ERR_RANGE :
									      PM_ERR_BUSY;
	/* A machine that was not made for a snapshot: all its frames are somewhere. */
	if (zone->nr_unplaced < (uint64_t)1 << order)
		return PM_ERR_BUSY;
	for (i = pfn; i < end; i++)
		bit_set(m->placed, i);
	return PM_OK;
}

static void place_pcp(struct pm_machine *m, struct pm_pcp *pcp, struct pm_pfn pfn, unsigned int order, unsigned int migratetype) PM_NO_TSA
{
	unsigned int index = pm_pcp_index(order, migratetype);

	pm_chain_push_back(&m->tables, &pcp->list[index], pfn, order);
	pcp->count += 1 << order;
	pm_frame_set_word(pm_frame_of(m, pfn), pm_word(PM_FRAME_PCP, migratetype, order));
}

/// A free block over several pageblocks is on one list: they get the type of the first, as when they would have merged.
static enum pm_status unite_types(struct pm_machine *m, uint64_t pfn, unsigned int order)
{
	unsigned int type = pm_pageblock_type(pm_pageblock_of(m, pm_pfn(pfn)));
	uint64_t at;

	for (at = pfn; at < pfn + ((uint64_t)1 << order); at += PM_PAGEBLOCK_NR_PAGES) {
		unsigned int other = pm_pageblock_type(pm_pageblock_of(m, pm_pfn(at)));

		if (other != type && (other >= PM_NR_PCP_TYPES || type >= PM_NR_PCP_TYPES))
			return PM_ERR_INVAL;
	}
	if (type < PM_NR_PCP_TYPES)
		pm_pageblock_set_range(m, pm_pfn(pfn), order, type);
	return PM_OK;
}

static enum pm_status place_block(struct pm_machine *m, uint64_t pfn, unsigned int order, unsigned int place, unsigned int migratetype, unsigned int cpu) PM_NO_TSA
{
	struct pm_zone *zone = pm_zone_of(m, pfn);
	enum pm_status status;

	if (order > PM_MAX_ORDER || place < PM_PLACE_FREE || place > PM_PLACE_USED || migratetype >= PM_NR_MIGRATETYPES ||
	    !pm_pfn_aligned(pm_pfn(pfn), order))
		return PM_ERR_INVAL;
	if (place == PM_PLACE_PCP && (!pm_pcp_order(order) || migratetype >= PM_NR_PCP_TYPES || cpu >= m->nr_cpus))
		return PM_ERR_INVAL;
	status = claim_frames(m, zone, pfn, order);
	if (!status && place == PM_PLACE_FREE && order > PM_PAGEBLOCK_ORDER)
		status = unite_types(m, pfn, order);
	if (status)
		return status;
	zone->nr_unplaced -= (uint64_t)1 << order;
	if (place == PM_PLACE_FREE)
		pm_buddy_add(m, zone, pm_pfn(pfn), order, pm_pageblock_type(pm_pageblock_of(m, pm_pfn(pfn))), true);
	else if (place == PM_PLACE_PCP)
		place_pcp(m, &m->cpu[cpu].pcp[zone->index], pm_pfn(pfn), order, migratetype);
	else
		pm_frame_set_word(pm_frame_of(m, pm_pfn(pfn)), pm_word(PM_FRAME_USED, migratetype, order));
	return PM_OK;
}

enum pm_status pm_load_blocks(struct pm_machine *m, size_t n, const uint64_t *pfns, const uint8_t *orders, const uint8_t *places,
			      const uint8_t *migratetypes, const uint16_t *cpus, size_t *ret)
{
	enum pm_status status = m->placed ? PM_OK : make_placed(m);
	size_t i;

	for (i = 0; i < n && !status; i++)
		status = place_block(m, pfns[i], orders[i], places[i], migratetypes[i], cpus ? cpus[i] : UINT16_MAX);
	*ret = status ? (i ? i - 1 : 0) : n;
	return status;
}

enum pm_status pm_load_pageblock_types(struct pm_machine *m, uint64_t first, size_t n, const uint8_t *types)
{
	size_t i;

	if (first > m->nr_pageblocks || n > m->nr_pageblocks - first)
		return PM_ERR_RANGE;
	for (i = 0; i < n; i++) {
		const struct pm_pageblock *block = &m->tables.pageblocks[first + i];

		if (types[i] >= PM_MT_ISOLATE)
			return PM_ERR_INVAL;
		if (block->zone != PM_NO_ZONE && m->zone[block->zone].nr_unplaced != pm_zone_managed(&m->zone[block->zone]))
			return PM_ERR_BUSY;
	}
	for (i = 0; i < n; i++) {
		struct pm_pageblock *block = &m->tables.pageblocks[first + i];

		if (block->zone == PM_NO_ZONE)
			continue;
		if (block->type == PM_MT_HIGHATOMIC)
			m->zone[block->zone].nr_reserved_highatomic -= PM_PAGEBLOCK_NR_PAGES;
		if (types[i] == PM_MT_HIGHATOMIC)
			m->zone[block->zone].nr_reserved_highatomic += PM_PAGEBLOCK_NR_PAGES;
		pm_pageblock_write_type(block, types[i]);
	}
	return PM_OK;
}

enum pm_status pm_load_pcp(struct pm_machine *m, uint32_t cpu, uint32_t zone, uint32_t high, uint32_t alloc_factor, uint32_t free_count)
{
	struct pm_pcp *pcp;

	if (cpu >= m->nr_cpus || zone >= m->nr_zones || high > INT32_MAX / 2 || alloc_factor > PM_PCP_SCALE_MAX || free_count > INT32_MAX / 2)
		return PM_ERR_INVAL;
	pcp = &m->cpu[cpu].pcp[zone];
	pm_lock(&pcp->lock);
	/* Where there are no per-CPU lists their length stays 0: that is what keeps a free from putting a block there. */
	if (m->settings.pcp)
		pcp->high = (int32_t)high > pcp->high_max ? pcp->high_max : (int32_t)high < pcp->high_min ? pcp->high_min : (int32_t)high;
	pcp->alloc_factor = (uint8_t)alloc_factor;
	pcp->free_count = (int32_t)free_count;
	pm_unlock(&pcp->lock);
	return PM_OK;
}
