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
	int64_t batch = (int64_t)(zone->managed >> 12), pow2 = 1;

	if (batch > PM_CFG_PCP_BATCH_BYTES / PM_PAGE_SIZE)
		batch = PM_CFG_PCP_BATCH_BYTES / PM_PAGE_SIZE;
	if (batch <= 1)
		return 1;
	batch += batch / 2;
	while (pow2 * 2 <= batch)
		pow2 *= 2;
	return pow2 - 1;
}

void pm_pcp_setup(struct pm_machine *m)
{
	uint32_t z, c, i;

	for (z = 0; z < m->nr_zones; z++) {
		const struct pm_zone *zone = &m->zone[z];
		int64_t batch = m->settings.pcp_batch >= 0 ? m->settings.pcp_batch : zone_batch(zone);
		int64_t high_min = m->settings.pcp_high_min, high_max = m->settings.pcp_high_max;

		if (high_min < 0)
			high_min = clamp32((int64_t)(zone->wmark[PM_WMARK_LOW] / m->nr_cpus), 4 * batch, INT32_MAX / 2);
		if (high_max < 0)
			high_max = clamp32((int64_t)(zone->managed / 8 / m->nr_cpus), 4 * batch, INT32_MAX / 2);
		if (high_max < high_min)
			high_max = high_min;
		for (c = 0; c < m->nr_cpus; c++) {
			struct pm_pcp *pcp = &m->cpu[c].pcp[z];

			pm_lock_init(&pcp->lock, PM_RANK_PCP);
			pcp->batch = (int32_t)batch;
			pcp->high_min = (int32_t)high_min;
			pcp->high_max = (int32_t)high_max;
			for (i = 0; i < PM_NR_PCP_LISTS; i++)
				pm_chain_init(&pcp->list[i]);
		}
	}
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

bool pm_pcp_refill(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, unsigned int order, unsigned int migratetype, uint32_t alloc_flags)
{
	struct pm_chain *list = &pcp->list[pm_pcp_index(order, migratetype)];
	int32_t want = refill_size(pcp, zone, order), got;
	enum pm_rung rung = PM_RUNG_OWN;
	uint32_t word = pm_word(PM_FRAME_PCP, migratetype, order);

	pm_lock(&zone->lock);
	for (got = 0; got < want; got++) {
		struct pm_pfn pfn = pm_rmqueue(m, zone, order, migratetype, alloc_flags, &rung);

		if (pm_pfn_is_nil(pfn))
			break;
		pm_frame_set_word(pm_frame_of(m, pfn), word);
		pm_chain_push_back(&m->tables, list, pfn, order);
	}
	zone->nr_refill += (uint64_t)got;
	pm_unlock(&zone->lock);
	pcp->count += got << order;
	return got > 0;
}

void pm_pcp_drain(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, int32_t count, unsigned int index)
{
	count = min32(count, pcp->count);
	pm_lock(&zone->lock);
	while (count > 0) {
		unsigned int order;
		struct pm_chain *list = &pcp->list[index];

		order = pm_pcp_index_order(index);
		/* The oldest blocks go first: the newest are the ones in the cache. */
		while (count > 0 && !pm_chain_empty(list)) {
			struct pm_pfn pfn = pm_pfn(list->last);

			pm_chain_remove(&m->tables, list, pfn, order);
			count -= 1 << order;
			pcp->count -= 1 << order;
			zone->nr_drain++;
			pm_buddy_free(m, zone, pfn, order, pm_pageblock_type(pm_pageblock_of(m, pfn)));
		}
		index = index + 1 < PM_NR_PCP_LISTS ? index + 1 : 0;
	}
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
	pm_pcp_drain(m, zone, pcp, drain_size(pcp, high, free_high), index);
	if (atomic_load_explicit(&zone->below_high, memory_order_relaxed) &&
	    pm_watermark_ok(zone, 0, pm_watermark(zone, PM_WMARK_HIGH), PM_ZONE_MOVABLE, 0))
		atomic_store_explicit(&zone->below_high, 0, memory_order_relaxed);
}

void pm_pcp_put_slow(struct pm_machine *m, struct pm_zone *zone, struct pm_pcp *pcp, struct pm_pfn pfn, unsigned int order, unsigned int migratetype)
{
	unsigned int index = pm_pcp_index(order, migratetype);
	int32_t most = pcp->batch << PM_PCP_SCALE_MAX, high;
	bool free_high;

	pm_chain_push_front(&m->tables, &pcp->list[index], pfn, order);
	pcp->alloc_factor >>= 1;
	pcp->count += 1 << order;
	pcp->nr_free++;
	free_high = freeing_high_orders(pcp, order);
	pcp->free_count = min32(pcp->free_count + (1 << order), most);
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

enum pm_status pm_drain(struct pm_machine *m, uint32_t cpu)
{
	uint32_t c, z;

	if (cpu >= m->nr_cpus && cpu != PM_ALL_CPUS)
		return PM_ERR_INVAL;
	for (c = cpu == PM_ALL_CPUS ? 0 : cpu; c < (cpu == PM_ALL_CPUS ? m->nr_cpus : cpu + 1); c++) {
		for (z = 0; z < m->nr_zones; z++) {
			struct pm_pcp *pcp = &m->cpu[c].pcp[z];

			pm_lock(&pcp->lock);
			pm_pcp_drain(m, &m->zone[z], pcp, pcp->count, 0);
			pm_unlock(&pcp->lock);
		}
	}
	return PM_OK;
}
