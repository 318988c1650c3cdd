/// Batch and high rules, and their self-tuning, as in Linux 6.18 (REFERENCE section 4, "Per-CPU lists").
#include "phys/buddy.h"
#include "phys/pcp.h"
#include "phys/rmqueue.h"
#include "phys/watermark.h"

static int32_t clamp32(int64_t v, int64_t low, int64_t high)
{
	return (int32_t)(v < low ? low : v > high ? high : v);
}

static int32_t max32(int32_t a, int32_t b)
{
	return a > b ? a : b;
}

static int32_t min32(int32_t a, int32_t b)
{
	return a < b ? a : b;
}

static int64_t zone_batch(const struct pm_zone *zone)
{
	int64_t batch = (int64_t)(pm_zone_managed(zone) >> 12), pow2 = 1;

	if (batch > PM_CFG_PCP_BATCH_BYTES / PM_PAGE_SIZE)
		batch = PM_CFG_PCP_BATCH_BYTES / PM_PAGE_SIZE;
	if (batch <= 1)
		return 1;
	batch += batch / 2;
	while (pow2 * 2 <= batch)
		pow2 *= 2;
	return pow2 - 1;
}

/// Sizes of a CPU's lists of a zone, from the zone's size and marks.
static void set_sizes(const struct pm_machine *m, const struct pm_zone *zone, struct pm_pcp *pcp) PM_REQUIRES(pcp->lock)
{
	int64_t batch = m->settings.pcp_batch >= 0 ? m->settings.pcp_batch : zone_batch(zone);
	int64_t high_min = m->settings.pcp_high_min, high_max = m->settings.pcp_high_max;

	if (high_min < 0)
		high_min = clamp32((int64_t)(pm_zone_wmark(zone, PM_WMARK_LOW) / m->nr_cpus), 4 * batch, INT32_MAX / 2);
	if (high_max < 0)
		high_max = clamp32((int64_t)(pm_zone_managed(zone) / 8 / m->nr_cpus), 4 * batch, INT32_MAX / 2);
	if (high_max < high_min)
		high_max = high_min;
	pcp->batch = (int32_t)batch;
	pcp->free_most = (int32_t)batch << PM_PCP_SCALE_MAX;
	pcp->high_min = (int32_t)high_min;
	pcp->high_max = (int32_t)high_max;
}

void pm_pcp_resize(struct pm_machine *m)
{
	uint32_t z, c;

	for (z = 0; z < m->nr_zones; z++) {
		for (c = 0; c < m->nr_cpus; c++) {
			struct pm_pcp *pcp = &m->cpu[c].pcp[z];

			pm_lock(&pcp->lock);
			set_sizes(m, &m->zone[z], pcp);
			pm_unlock(&pcp->lock);
		}
	}
}

void pm_pcp_setup(struct pm_machine *m)
{
	uint32_t z, c, i;

	for (z = 0; z < m->nr_zones; z++) {
		for (c = 0; c < m->nr_cpus; c++) {
			struct pm_pcp *pcp = &m->cpu[c].pcp[z];

			pm_lock_init(&pcp->lock, PM_RANK_PCP);
			for (i = 0; i < PM_NR_PCP_LISTS; i++)
				pm_chain_init(&pcp->list[i]);
		}
	}
	pm_pcp_resize(m);
}

/// Blocks to fetch at once. Grows while a CPU only allocates: each refill that fits doubles the next.
static int32_t refill_size(struct pm_pcp *pcp, const struct pm_zone *zone, unsigned int order) PM_REQUIRES(pcp->lock)
{
	int32_t batch, high, most;

	high = pcp->high = clamp32(pcp->high, pcp->high_min, pcp->high_max);
	if (high < pcp->batch)
		return 1;
	batch = order ? pcp->batch : pcp->batch << pcp->alloc_factor;
	/* A longer list would have saved this refill, so allow one, unless memory is short. Relaxed: below_high is a hint. */
	if (pcp->high_min != pcp->high_max && !atomic_load_explicit(&zone->below_high, memory_order_relaxed))
		high = pcp->high = min32(high + batch, pcp->high_max);
	if (!order) {
		most = max32(high - pcp->count - pcp->batch, pcp->batch);
		if (batch <= most && pcp->alloc_factor < PM_PCP_SCALE_MAX)
			pcp->alloc_factor++;
		batch = min32(batch, most);
	}
	return batch > 1 ? max32(batch >> order, 2) : batch;
}

/// Takes blocks that follow one another from the free lists and appends them to a CPU's list. Returns how many: 0 if there are none.
static uint32_t refill_run(struct pm_machine *m, struct pm_zone *zone, struct pm_chain *list, unsigned int order, unsigned int migratetype, uint32_t most,
			   uint32_t alloc_flags, enum pm_rung *rung) PM_REQUIRES(zone->lock)
{
	uint32_t word = pm_word(PM_FRAME_PCP, migratetype, order), nr = 0, i;
	struct pm_pfn pfn;

	if (*rung == PM_RUNG_OWN)
		nr = pm_buddy_take_run(m, zone, order, migratetype, most, &pfn);
	if (PM_UNLIKELY(!nr)) {
		pfn = pm_rmqueue(m, zone, order, migratetype, alloc_flags, rung);
		if (pm_pfn_is_nil(pfn))
			return 0;
		nr = 1;
	}
	for (i = 0; i < nr; i++)
		pm_frame_set_word(pm_frame_of(m, pm_pfn_add(pfn, i << order)), word);
	pm_chain_push_back_run(&m->tables, list, pfn, nr, order);
	return nr;
}

bool pm_pcp_refill(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, unsigned int order, unsigned int migratetype, uint32_t alloc_flags)
{
	struct pm_chain *list = &pcp->list[pm_pcp_index(order, migratetype)];
	uint32_t want = (uint32_t)refill_size(pcp, zone, order), got = 0, nr;
	enum pm_rung rung = PM_RUNG_OWN;

	pm_lock(&zone->lock);
	do {
		nr = refill_run(m, zone, list, order, migratetype, want - got, alloc_flags, &rung);
		got += nr;
	} while (nr && got < want);
	zone->nr_refill += got;
	pm_unlock(&zone->lock);
	pcp->count += (int32_t)(got << order);
	return got > 0;
}

/// How many of the blocks at the tail of a list, from the last one on, make up one larger block whose frames follow one another from there?
/// A power of two, at most `most`. In `ret` what comes before them on the list; undefined if they are all of it.
static inline uint32_t tail_run(const struct pm_tables *t, const struct pm_chain *list, unsigned int order, uint32_t most, uint32_t *ret)
{
	uint32_t start = list->last, step = 1u << order, at = start, before = pm_link_of(t, start, order)->prev, nr = 1, i;

	*ret = before;
	/* Of blocks freed at random hardly ever two follow one another: ask that first, since the processor cannot guess an alignment. */
	if (PM_LIKELY(before != start + step) || order >= PM_PAGEBLOCK_ORDER)
		return 1;
	/* Twice as many, as long as the larger block would be aligned and no larger than a pageblock. */
	while (nr << 1 <= most && nr << order < PM_PAGEBLOCK_NR_PAGES && !(start & (nr << order))) {
		for (i = 0; i < nr; i++) {
			if (at == list->first || before != at + step)
				return nr;
			at = before;
			before = pm_link_of(t, at, order)->prev;
		}
		*ret = before;
		nr <<= 1;
	}
	return nr;
}

/// Frames given back that the zone's count does not know yet: other CPUs read that count, so it is not written for each block.
struct drained {
	unsigned int migratetype;
	int64_t frames;
};

static void count_drained(struct pm_zone *zone, struct drained *d, unsigned int migratetype) PM_REQUIRES(zone->lock)
{
	if (d->frames)
		pm_buddy_count(zone, d->migratetype, d->frames);
	*d = (struct drained){ migratetype, 0 };
}

/// Moves the last block of a list, or the last few that make up a larger block, to the free lists. Returns how many, at most `most`.
static uint32_t drain_run(struct pm_machine *m, struct pm_zone *zone, struct pm_chain *list, unsigned int order, uint32_t most, struct drained *d)
	PM_REQUIRES(zone->lock)
{
	uint32_t before, nr = tail_run(&m->tables, list, order, most, &before), i;
	struct pm_pfn pfn = pm_pfn(list->last);
	unsigned int migratetype = pm_pageblock_type(pm_pageblock_of(m, pfn));
	bool all = pfn.v + ((nr - 1) << order) == list->first;

	/* Freed one by one, the parts would merge into the same block, and leave the lists as they were. */
	for (i = 1; i < nr; i++)
		pm_frame_set_word(pm_frame_of(m, pm_pfn_add(pfn, i << order)), 0);
	if (all) {
		pm_chain_init(list);
	} else {
		list->last = before;
		pm_link_of(&m->tables, before, order)->next = PM_NIL_PFN;
	}
	if (PM_UNLIKELY(migratetype != d->migratetype))
		count_drained(zone, d, migratetype);
	pm_buddy_free_uncounted(m, zone, pfn, order + (unsigned int)__builtin_ctz(nr), migratetype);
	d->frames += nr << order;
	return nr;
}

static void drain_locked(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, int32_t count, unsigned int index)
	PM_REQUIRES(pcp->lock) PM_REQUIRES(zone->lock)
{
	struct drained d = { PM_MT_MOVABLE, 0 };
	int32_t left = min32(count, pcp->count);

	while (left > 0) {
		unsigned int order = pm_pcp_index_order(index);
		struct pm_chain *list = &pcp->list[index];

		/* The oldest blocks go first: the newest are the ones in the cache. The last block may be more than is left to drain. */
		while (left > 0 && !pm_chain_empty(list)) {
			uint32_t most = (uint32_t)(left + (1 << order) - 1) >> order, nr = drain_run(m, zone, list, order, most, &d);

			left -= (int32_t)(nr << order);
			pcp->count -= (int32_t)(nr << order);
			zone->nr_drain += nr;
		}
		index = index + 1 < PM_NR_PCP_LISTS ? index + 1 : 0;
	}
	count_drained(zone, &d, PM_MT_MOVABLE);
}

void pm_pcp_drain(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, int32_t count, unsigned int index)
{
	pm_lock(&zone->lock);
	drain_locked(m, zone, pcp, count, index);
	pm_unlock(&zone->lock);
}

/// How many frames the lists may hold now. Memory shortage shortens them, a run of frees lengthens them.
static int32_t high_now(struct pm_pcp *pcp, const struct pm_zone *zone, bool free_high) PM_REQUIRES(pcp->lock)
{
	int32_t high = pcp->high = clamp32(pcp->high, pcp->high_min, pcp->high_max);
	int32_t run = max32(pcp->free_count, pcp->batch);

	if (high == 0)
		return 0;
	if (free_high) {
		pcp->high = max32(high - (pcp->batch << PM_PCP_SCALE_MAX), pcp->high_min);
		return 0;
	}
	/* Relaxed loads: both are hints. */
	if (atomic_load_explicit(&zone->reclaim_active, memory_order_relaxed)) {
		pcp->high = max32(high - run, pcp->high_min);
		return min32(pcp->batch << 2, pcp->high);
	}
	if (pcp->high_min == pcp->high_max)
		return high;
	if (atomic_load_explicit(&zone->below_high, memory_order_relaxed)) {
		pcp->high = max32(high - run, pcp->high_min);
		return max32(pcp->count, pcp->high_min);
	}
	if (pcp->count >= high && pcp->high < pcp->free_count + pcp->batch)
		pcp->high = clamp32(pcp->free_count + pcp->batch, pcp->high_min, pcp->high_max);
	return high;
}

static int32_t drain_size(const struct pm_pcp *pcp, int32_t high, bool free_high) PM_REQUIRES(pcp->lock)
{
	if (free_high)
		return min32(pcp->count, pcp->batch << PM_PCP_SCALE_MAX);
	if (high < pcp->batch)
		return 1;
	return clamp32(pcp->free_count, min32(pcp->batch, high - pcp->batch), high - pcp->batch);
}

/// Blocks of orders 1-3 on these lists keep memory from merging: a CPU that frees many in a row gives them back at once.
static bool freeing_high_orders(struct pm_pcp *pcp, unsigned int order) PM_REQUIRES(pcp->lock)
{
	bool high = false;

	if (order > 0 && order <= PM_COSTLY_ORDER) {
		high = pcp->free_count >= pcp->batch + pcp->high_min / 2 && pcp->prev_free_high && pcp->count >= pcp->batch;
		pcp->prev_free_high = true;
	} else {
		pcp->prev_free_high = false;
	}
	return high;
}

/// The slow end of a free: the lists have reached their length.
static void put_drain(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, unsigned int index, int32_t high, bool free_high) PM_REQUIRES(pcp->lock)
{
	/* Another CPU is busy with the zone: rather than wait for it, let the lists grow by up to a long drain's length, and try at the next free. */
	if (!pm_trylock(&zone->lock)) {
		if (pcp->count < high + pcp->free_most)
			return;
		pm_lock(&zone->lock);
	}
	drain_locked(m, zone, pcp, drain_size(pcp, high, free_high), index);
	pm_unlock(&zone->lock);
	if (atomic_load_explicit(&zone->below_high, memory_order_relaxed) &&
	    pm_watermark_ok(zone, 0, pm_watermark(zone, PM_WMARK_HIGH), PM_ZONE_MOVABLE, 0))
		atomic_store_explicit(&zone->below_high, 0, memory_order_relaxed);
}

void pm_pcp_put_slow(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, struct pm_pfn pfn, unsigned int order, unsigned int migratetype)
{
	unsigned int index = pm_pcp_index(order, migratetype);
	int32_t high;
	bool free_high;

	pm_chain_push_front(&m->tables, &pcp->list[index], pfn, order);
	pcp->alloc_factor >>= 1;
	pcp->count += 1 << order;
	pcp->nr_free++;
	free_high = freeing_high_orders(pcp, order);
	pcp->free_count = min32(pcp->free_count + (1 << order), pcp->free_most);
	high = high_now(pcp, zone, free_high);
	if (pcp->count >= high)
		put_drain(m, zone, pcp, index, high, free_high);
}

int32_t pm_pcp_decayed_high(const struct pm_pcp *pcp)
{
	int32_t high = max32(pcp->count - (pcp->batch << PM_PCP_SCALE_MAX), pcp->high - (pcp->high >> 3));

	return pcp->high > pcp->high_min ? max32(high, pcp->high_min) : pcp->high;
}

/// One zone's part of pm_decay_pcp(). Drains a batch at a time, as 6.18 does: each batch starts at the first list again, and its last
/// block may be larger than what was left of it.
static void decay(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp) PM_REQUIRES(pcp->lock)
{
	int32_t left;

	pcp->high = pm_pcp_decayed_high(pcp);
	for (left = pcp->count - pcp->high; left > 0; left -= pcp->batch)
		pm_pcp_drain(m, zone, pcp, min32(left, pcp->batch), 0);
}

enum pm_status pm_decay_pcp(struct pm_machine *m, uint32_t cpu)
{
	uint32_t z;

	if (cpu >= m->nr_cpus)
		return PM_ERR_INVAL;
	for (z = 0; z < m->nr_zones; z++) {
		struct pm_pcp *pcp = &m->cpu[cpu].pcp[z];

		pm_lock(&pcp->lock);
		decay(m, &m->zone[z], pcp);
		pm_unlock(&pcp->lock);
	}
	return PM_OK;
}

void pm_pcp_drain_zone(struct pm_machine *m, struct pm_zone *zone, uint32_t cpu)
{
	struct pm_pcp *pcp = &m->cpu[cpu].pcp[zone->index];

	pm_lock(&pcp->lock);
	pm_pcp_drain(m, zone, pcp, pcp->count, 0);
	pm_unlock(&pcp->lock);
}

enum pm_status pm_drain(struct pm_machine *m, uint32_t cpu)
{
	uint32_t c, z;

	if (cpu >= m->nr_cpus && cpu != PM_ALL_CPUS)
		return PM_ERR_INVAL;
	for (c = cpu == PM_ALL_CPUS ? 0 : cpu; c < (cpu == PM_ALL_CPUS ? m->nr_cpus : cpu + 1); c++)
		for (z = 0; z < m->nr_zones; z++)
			pm_pcp_drain_zone(m, &m->zone[z], c);
	return PM_OK;
}
