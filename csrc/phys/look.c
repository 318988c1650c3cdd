/// Looking at a machine without changing it: numbers, tables, one frame.
#include <string.h>

#include "phys/buddy.h"

uint32_t pm_nr_zones(const struct pm_machine *m)
{
	return m->nr_zones;
}

uint32_t pm_nr_cpus(const struct pm_machine *m)
{
	return m->nr_cpus;
}

uint64_t pm_nr_frames(const struct pm_machine *m)
{
	return m->nr_frames;
}

const void *pm_frame_table(const struct pm_machine *m)
{
	return m->tables.frames;
}

const void *pm_pageblock_table(const struct pm_machine *m)
{
	return m->tables.pageblocks;
}

const void *pm_page_table(const struct pm_machine *m)
{
	return m->pages;
}

static uint64_t count_pcp(struct pm_machine *m, uint32_t zone)
{
	uint64_t sum = 0;
	uint32_t c;

	for (c = 0; c < m->nr_cpus; c++) {
		struct pm_pcp *pcp = &m->cpu[c].pcp[zone];

		pm_lock(&pcp->lock);
		sum += (uint64_t)pcp->count;
		pm_unlock(&pcp->lock);
	}
	return sum;
}

enum pm_status pm_zone_info(struct pm_machine *m, uint32_t index, struct pm_zone_info *ret)
{
	struct pm_zone *zone;
	unsigned int i;

	if (index >= m->nr_zones)
		return PM_ERR_INVAL;
	zone = &m->zone[index];
	*ret = (struct pm_zone_info){
		.kind = zone->kind,
		.start_pfn = zone->start,
		.spanned = zone->end - zone->start,
		.present = atomic_load_explicit(&zone->present, memory_order_relaxed),
		.managed = pm_zone_managed(zone),
		.nr_pcp = count_pcp(m, index),
		.nr_unplaced = zone->nr_unplaced,
		.below_high = atomic_load_explicit(&zone->below_high, memory_order_relaxed), /* relaxed: hints */
		.reclaim_active = atomic_load_explicit(&zone->reclaim_active, memory_order_relaxed),
	};
	pm_lock(&zone->lock);
	for (i = 0; i < PM_NR_WMARK; i++)
		ret->wmark[i] = pm_zone_wmark(zone, i);
	for (i = 0; i < PM_MAX_ZONES; i++)
		ret->lowmem_reserve[i] = pm_zone_reserve(zone, i);
	ret->nr_free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
	ret->nr_free_highatomic = atomic_load_explicit(&zone->nr_free_highatomic, memory_order_relaxed);
	ret->watermark_boost = atomic_load_explicit(&zone->watermark_boost, memory_order_relaxed);
	ret->nr_isolated = zone->nr_isolated;
	ret->nr_reserved_highatomic = zone->nr_reserved_highatomic;
	pm_unlock(&zone->lock);
	return PM_OK;
}

enum pm_status pm_pcp_info(struct pm_machine *m, uint32_t cpu, uint32_t zone, struct pm_pcp_info *ret)
{
	struct pm_pcp *pcp;

	if (cpu >= m->nr_cpus || zone >= m->nr_zones)
		return PM_ERR_INVAL;
	pcp = &m->cpu[cpu].pcp[zone];
	pm_lock(&pcp->lock);
	*ret = (struct pm_pcp_info){ pcp->count, pcp->high, pcp->high_min, pcp->high_max, pcp->batch, pcp->alloc_factor, pcp->free_count };
	pm_unlock(&pcp->lock);
	return PM_OK;
}

void pm_counters(struct pm_machine *m, struct pm_counters *ret)
{
	uint32_t c, z, i, j;

	*ret = (struct pm_counters){ 0 };
	for (c = 0; c < m->nr_cpus; c++) {
		struct pm_cpu *cpu = &m->cpu[c];

		for (z = 0; z < m->nr_zones; z++) {
			ret->fail_watermark += atomic_load_explicit(&cpu->pcp[z].fail_watermark, memory_order_relaxed); /* relaxed: statistics */
			ret->fail_no_block += atomic_load_explicit(&cpu->pcp[z].fail_no_block, memory_order_relaxed);
			pm_lock(&cpu->pcp[z].lock);
			ret->alloc += cpu->pcp[z].nr_alloc;
			ret->free += cpu->pcp[z].nr_free;
			pm_unlock(&cpu->pcp[z].lock);
		}
	}
	for (z = 0; z < m->nr_zones; z++) {
		struct pm_zone *zone = &m->zone[z];

		pm_lock(&zone->lock);
		ret->alloc += zone->nr_alloc;
		ret->free += zone->nr_freed;
		ret->pcp_refill += zone->nr_refill;
		ret->pcp_drain += zone->nr_drain;
		ret->highatomic_reserved += zone->nr_highatomic_made;
		for (i = 0; i < PM_NR_MIGRATETYPES; i++) {
			for (j = 0; j < PM_NR_MIGRATETYPES; j++) {
				ret->claim[i][j] += zone->claim[i][j];
				ret->steal[i][j] += zone->steal[i][j];
			}
		}
		pm_unlock(&zone->lock);
	}
}

enum pm_status pm_free_blocks(struct pm_machine *m, uint32_t index, uint64_t *ret)
{
	struct pm_zone *zone;
	uint32_t o, t;

	if (index >= m->nr_zones)
		return PM_ERR_INVAL;
	zone = &m->zone[index];
	pm_lock(&zone->lock);
	for (o = 0; o < PM_NR_ORDERS; o++)
		for (t = 0; t < PM_NR_MIGRATETYPES; t++)
			ret[o * PM_NR_MIGRATETYPES + t] = pm_list_nr(&zone->area[o].list[t]);
	pm_unlock(&zone->lock);
	return PM_OK;
}

/// The used or per-CPU block that covers a frame: its word and head; 0 if there is none.
static uint32_t covering_word(struct pm_machine *m, struct pm_pfn pfn, struct pm_pfn *head)
{
	unsigned int order;

	for (order = 0; order < PM_NR_ORDERS; order++) {
		struct pm_pfn at = pm_pfn(pfn.v & ~((1u << order) - 1));
		uint32_t word = pm_frame_word(pm_frame_of(m, at));

		if (pm_word_kind(word) >= PM_FRAME_PCP && at.v + (1u << pm_word_order(word)) > pfn.v) {
			*head = at;
			return word;
		}
	}
	return 0;
}

enum pm_status pm_frame_info(struct pm_machine *m, uint64_t pfn, struct pm_frame_info *ret)
{
	struct pm_zone *zone = pm_zone_of(m, pfn);
	struct pm_pfn head;
	unsigned int order;
	uint32_t word;

	*ret = (struct pm_frame_info){ .state = PM_STATE_HOLE, .zone = PM_NO_ZONE, .head = pfn };
	if (pfn >= m->nr_frames)
		return PM_ERR_RANGE;
	if (!zone || pm_in_ranges(m->holes, m->nr_holes, pfn))
		return PM_OK;
	ret->zone = zone->index;
	ret->pageblock_type = pm_pageblock_type(pm_pageblock_of(m, pm_pfn(pfn)));
	ret->state = PM_STATE_OFFLINE;
	if (pm_pageblock_offline(pm_pageblock_of(m, pm_pfn(pfn))))
		return PM_OK;
	ret->state = PM_STATE_RESERVED;
	if (pm_in_ranges(m->reserved, m->nr_reserved, pfn))
		return PM_OK;
	pm_lock(&zone->lock);
	head = pm_buddy_find(m, zone, pm_pfn(pfn), &order);
	if (!pm_pfn_is_nil(head)) {
		ret->state = PM_STATE_FREE;
		ret->head = head.v;
		ret->order = order;
		ret->migratetype = order >= PM_PAGEBLOCK_ORDER ? pm_pageblock_of(m, head)->free_list :
								 pm_word_migratetype(pm_frame_word(pm_frame_of(m, head)));
	}
	pm_unlock(&zone->lock);
	if (ret->state == PM_STATE_FREE)
		return PM_OK;
	word = covering_word(m, pm_pfn(pfn), &head);
	ret->state = PM_STATE_UNPLACED;
	if (!word)
		return PM_OK;
	ret->state = pm_word_in_use(word) ? PM_STATE_USED : PM_STATE_PCP;
	ret->head = head.v;
	ret->order = pm_word_order(word);
	ret->migratetype = pm_word_migratetype(word);
	ret->tag = atomic_load_explicit(&pm_frame_of(m, head)->tag, memory_order_relaxed);
	return PM_OK;
}

/// One block, or one frame that is in none, as a walk over a zone meets it.
struct seen_block {
	uint64_t head;
	unsigned int order;
	enum pm_frame_state state;
	unsigned int type;
};

/// What stands at a usable frame that is not inside a block.
static struct seen_block block_at(const struct pm_machine *m, uint64_t pfn)
{
	const struct pm_pageblock *block = &m->tables.pageblocks[pfn >> PM_PAGEBLOCK_ORDER];
	uint32_t word;

	if (pm_pfn_aligned(pm_pfn(pfn), PM_PAGEBLOCK_ORDER) && block->free_order)
		return (struct seen_block){ pfn, block->free_order, PM_STATE_FREE, block->free_list };
	if (pm_pageblock_offline(block))
		return (struct seen_block){ pfn, 0, PM_STATE_OFFLINE, 0 };
	word = pm_frame_word(&m->tables.frames[pfn]);
	if (pm_word_kind(word) == PM_FRAME_NONE)
		return (struct seen_block){ pfn, 0, PM_STATE_UNPLACED, 0 };
	if (pm_word_in_use(word))
		return (struct seen_block){ pfn, pm_word_order(word), PM_STATE_USED, pm_word_migratetype(word) };
	return (struct seen_block){ pfn, pm_word_order(word), (enum pm_frame_state)(PM_STATE_UNPLACED + (int)pm_word_kind(word)), pm_word_migratetype(word) };
}

/// Calls `visit` for each block of the zone that reaches into [start, end).
static void walk_blocks(struct pm_machine *m, struct pm_zone *zone, uint64_t start, uint64_t end, void (*visit)(const struct seen_block *block, void *arg), void *arg)
{
	/* A block that covers `start` begins at most one block of the largest order before it. */
	uint64_t at = start & ~(uint64_t)(((uint64_t)1 << PM_MAX_ORDER) - 1);
	struct pm_range run;

	if (at < zone->start)
		at = zone->start;
	if (end > zone->end)
		end = zone->end;
	while (pm_next_usable(m, &at, end, &run)) {
		uint64_t pfn = run.start;

		while (pfn < run.end) {
			struct seen_block block = block_at(m, pfn);

			visit(&block, arg);
			pfn += (uint64_t)1 << block.order;
		}
	}
}

struct state_window {
	uint64_t start;
	uint64_t end;
	uint8_t *bytes;
};

static void visit_state(const struct seen_block *block, void *arg)
{
	const struct state_window *window = arg;
	uint64_t from = block->head > window->start ? block->head : window->start, to = block->head + ((uint64_t)1 << block->order);

	if (to > window->end)
		to = window->end;
	if (to > from)
		memset(window->bytes + (from - window->start), (int)((unsigned int)block->state | block->type << 3), to - from);
}

enum pm_status pm_frame_states(struct pm_machine *m, uint64_t start, size_t n, uint8_t *ret)
{
	struct state_window window = { start, start + n, ret };
	size_t i;
	uint32_t z;

	if (start > m->nr_frames || n > m->nr_frames - start)
		return PM_ERR_RANGE;
	memset(ret, PM_STATE_HOLE, n);
	for (z = 0; z < m->nr_zones; z++) {
		struct pm_zone *zone = &m->zone[z];

		pm_lock(&zone->lock);
		walk_blocks(m, zone, start, start + n, visit_state, &window);
		pm_unlock(&zone->lock);
	}
	for (i = 0; i < m->nr_reserved; i++) {
		uint64_t from = m->reserved[i].start > start ? m->reserved[i].start : start;
		uint64_t to = m->reserved[i].end < start + n ? m->reserved[i].end : start + n;

		if (to > from)
			memset(ret + (from - start), PM_STATE_RESERVED, to - from);
	}
	return PM_OK;
}

struct occupancy {
	uint64_t nr_frames;
	uint32_t nr_bins;
	uint32_t *counts;
};

static void visit_occupant(const struct seen_block *block, void *arg)
{
	static const uint8_t used[PM_NR_MIGRATETYPES] = { PM_OCC_UNMOVABLE, PM_OCC_MOVABLE, PM_OCC_RECLAIMABLE, PM_OCC_UNMOVABLE, PM_OCC_UNMOVABLE };
	const struct occupancy *map = arg;
	uint64_t pfn = block->head, end = block->head + ((uint64_t)1 << block->order);
	unsigned int what = PM_OCC_UNPLACED;

	/* Not there: counted with what is absent. */
	if (block->state == PM_STATE_OFFLINE)
		return;
	if (block->state == PM_STATE_FREE)
		what = block->order < PM_PAGEBLOCK_ORDER ? PM_OCC_FREE_SMALL : PM_OCC_FREE_LARGE;
	else if (block->state == PM_STATE_PCP)
		what = PM_OCC_PCP;
	else if (block->state == PM_STATE_USED)
		what = used[block->type];
	while (pfn < end) {
		uint64_t bin = pfn * map->nr_bins / map->nr_frames;
		uint64_t next = ((bin + 1) * map->nr_frames + map->nr_bins - 1) / map->nr_bins;

		if (next > end)
			next = end;
		map->counts[bin * PM_NR_OCCUPANTS + what] += (uint32_t)(next - pfn);
		pfn = next;
	}
}

enum pm_status pm_occupancy(struct pm_machine *m, uint32_t nr_bins, uint32_t *ret)
{
	struct occupancy map = { m->nr_frames, nr_bins, ret };
	uint32_t z, bin, i;

	if (nr_bins == 0 || nr_bins > m->nr_frames)
		return PM_ERR_INVAL;
	memset(ret, 0, (size_t)nr_bins * PM_NR_OCCUPANTS * sizeof(*ret));
	for (z = 0; z < m->nr_zones; z++) {
		struct pm_zone *zone = &m->zone[z];

		pm_lock(&zone->lock);
		walk_blocks(m, zone, zone->start, zone->end, visit_occupant, &map);
		pm_unlock(&zone->lock);
	}
	/* What no zone's usable frames account for is absent. */
	for (bin = 0; bin < nr_bins; bin++) {
		uint64_t first = ((uint64_t)bin * m->nr_frames + nr_bins - 1) / nr_bins;
		uint64_t last = ((uint64_t)(bin + 1) * m->nr_frames + nr_bins - 1) / nr_bins;
		uint32_t sum = 0;

		for (i = 1; i < PM_NR_OCCUPANTS; i++)
			sum += ret[bin * PM_NR_OCCUPANTS + i];
		ret[bin * PM_NR_OCCUPANTS + PM_OCC_ABSENT] = (uint32_t)(last - first) - sum;
	}
	return PM_OK;
}

enum pm_status pm_set_tag(struct pm_machine *m, uint64_t pfn, uint32_t tag)
{
	struct pm_frame *frame;

	if (!pm_zone_of(m, pfn))
		return PM_ERR_RANGE;
	frame = pm_frame_of(m, pm_pfn(pfn));
	if (pm_word_kind(pm_frame_word(frame)) == PM_FRAME_OWNED)
		return PM_ERR_OWNED;
	if (pm_word_kind(pm_frame_word(frame)) != PM_FRAME_USED)
		return PM_ERR_ORDER;
	atomic_store_explicit(&frame->tag, tag, memory_order_relaxed); /* relaxed: the owner's own number */
	return PM_OK;
}
