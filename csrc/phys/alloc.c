/// The public operations on blocks: allocate and free, one or many, split, take.
#include "phys/buddy.h"
#include "phys/pageblock.h"
#include "phys/pcp.h"
#include "phys/quick.h"
#include "phys/rmqueue.h"
#include "phys/watermark.h"

/// A request, read once from its arguments.
struct request {
	uint32_t cpu;
	unsigned int order;
	unsigned int migratetype;
	unsigned int highest; ///< zone kind
	uint32_t first_flags; ///< enum pm_alloc_flags of the first try
	uint32_t gfp;
};

static enum pm_status read_request(const struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, struct request *ret)
{
	const struct pm_request_class *class = &m->classes[gfp & PM_GFP_CLASS_MASK];

	if (PM_UNLIKELY(cpu >= m->nr_cpus || order > PM_MAX_ORDER || (gfp & ~(uint32_t)PM_GFP_ALL)))
		return PM_ERR_INVAL;
	if (PM_UNLIKELY(class->highest < 0))
		return PM_ERR_FLAGS;
	*ret = (struct request){ cpu, order, class->migratetype, (unsigned int)class->highest, class->first_flags, gfp };
	return PM_OK;
}

/// May this zone serve the request? As a side effect notes that a zone has come below its HIGH mark.
static bool zone_allows(struct pm_zone *zone, const struct request *rq, uint32_t flags)
{
	unsigned int which = flags & PM_ALLOC_WMARK_MASK;

	if (PM_UNLIKELY(flags & PM_ALLOC_NO_WATERMARKS))
		return true;
	/* Relaxed: below_high is a hint to the per-CPU lists. */
	if (!atomic_load_explicit(&zone->below_high, memory_order_relaxed)) {
		if (PM_LIKELY(pm_watermark_ok(zone, rq->order, pm_watermark(zone, PM_WMARK_HIGH), rq->highest, flags)))
			return true;
		atomic_store_explicit(&zone->below_high, 1, memory_order_relaxed);
	}
	if (pm_watermark_ok(zone, rq->order, pm_watermark(zone, which), rq->highest, flags))
		return true;
	/* A boost asks for reclaim; an urgent small request must not fail because of it. */
	return rq->order == 0 && (flags & PM_ALLOC_MIN_RESERVE) && which == PM_WMARK_MIN &&
	       pm_watermark_ok(zone, 0, pm_zone_wmark(zone, PM_WMARK_MIN), rq->highest, flags);
}

/// Hands out the first blocks of a CPU's list, up to `n`; the counters are the caller's. Written for an order that is known when it is
/// compiled, as all loops over many blocks. Returns how many.
PM_QUICK size_t pop_blocks(const struct pm_tables tables, struct pm_chain *list, unsigned int order, uint32_t word, size_t n, uint64_t *pfns)
{
	uint32_t at = list->first;
	size_t i;

	for (i = 0; i < n && at != PM_NIL_PFN; i++) {
		pfns[i] = at;
		pm_frame_set_word(&tables.frames[at], word);
		at = pm_link_of(&tables, at, order)->next;
	}
	list->first = at;
	return i;
}

/// Halves as many times; beyond 31 nothing is left.
static int32_t halved(int32_t v, size_t times)
{
	return v >> (times < 31 ? times : 31);
}

/// Takes up to `n` blocks from the per-CPU lists. Returns how many.
static size_t take_pcp(struct pm_machine *m, struct pm_zone *zone, const struct request *rq, uint32_t flags, size_t n, uint64_t *pfns)
{
	struct pm_pcp *pcp = pm_pcp_of(m, rq->cpu, zone->index);
	struct pm_chain *list = &pcp->list[pm_pcp_index(rq->order, rq->migratetype)];
	uint32_t word = pm_word(PM_FRAME_USED, rq->migratetype, rq->order);
	size_t got = 0;

	pm_lock(&pcp->lock);
	for (;;) {
		size_t more = rq->order == 0 ? pop_blocks(m->tables, list, 0, word, n - got, pfns + got) :
					       pop_blocks(m->tables, list, rq->order, word, n - got, pfns + got);

		got += more;
		pcp->count -= (int32_t)(more << rq->order);
		pcp->free_count = halved(pcp->free_count, more);
		if (got == n)
			break;
		if (!pm_pcp_refill(m, zone, pcp, rq->order, rq->migratetype, flags)) {
			pcp->free_count >>= 1;
			break;
		}
	}
	pcp->nr_alloc += got;
	pm_unlock(&pcp->lock);
	return got;
}

/// Takes up to `n` blocks straight from the free lists. Returns how many.
static size_t take_buddy(struct pm_machine *m, struct pm_zone *zone, const struct request *rq, uint32_t flags, size_t n, uint64_t *pfns)
{
	enum pm_rung rung = PM_RUNG_OWN;
	size_t i;

	pm_lock(&zone->lock);
	for (i = 0; i < n; i++) {
		struct pm_pfn pfn = pm_pfn_nil();

		if (flags & PM_ALLOC_HIGHATOMIC)
			pfn = pm_buddy_take_smallest(m, zone, rq->order, PM_MT_HIGHATOMIC);
		if (pm_pfn_is_nil(pfn))
			pfn = pm_rmqueue(m, zone, rq->order, rq->migratetype, flags, &rung);
		/* Rather use the atomic reserve than fail somebody who cannot wait. */
		if (pm_pfn_is_nil(pfn) && (flags & (PM_ALLOC_NON_BLOCK | PM_ALLOC_NO_WATERMARKS)))
			pfn = pm_buddy_take_smallest(m, zone, rq->order, PM_MT_HIGHATOMIC);
		if (pm_pfn_is_nil(pfn))
			break;
		pm_frame_set_word(pm_frame_of(m, pfn), pm_word(PM_FRAME_USED, rq->migratetype, rq->order));
		pfns[i] = pfn.v;
	}
	zone->nr_alloc += i;
	pm_unlock(&zone->lock);
	return i;
}

/// Urgent high-order requests that had to dig leave their pageblocks in reserve for the next of their kind.
static void reserve_highatomic(struct pm_machine *m, struct pm_zone *zone, unsigned int order, size_t n, const uint64_t *pfns)
{
	size_t i;

	pm_lock(&zone->lock);
	for (i = 0; i < n; i++)
		pm_highatomic_reserve(m, zone, pm_pfn(pfns[i]), order);
	pm_unlock(&zone->lock);
}

/// The watermarks were checked for one block: near them a bulk request goes on one block at a time, checked each time.
static size_t bulk_size(const struct pm_zone *zone, const struct request *rq, size_t n)
{
	/* Relaxed: see nr_free. */
	uint64_t free = atomic_load_explicit(&zone->nr_free, memory_order_relaxed);
	uint64_t keep = pm_watermark(zone, PM_WMARK_HIGH) + pm_zone_reserve(zone, rq->highest) +
			atomic_load_explicit(&zone->nr_free_highatomic, memory_order_relaxed);

	return free > keep && n <= (free - keep) >> rq->order ? n : 1;
}

/// One pass over the zones that the request may use.
static size_t try_zones(struct pm_machine *m, const struct request *rq, uint32_t flags, size_t n, uint64_t *pfns)
{
	const int8_t *z;

	for (z = m->zonelist[rq->highest]; *z >= 0; z++) {
		struct pm_zone *zone = &m->zone[*z];
		size_t got = 0, want = n;

		if (!zone_allows(zone, rq, flags))
			continue;
		if (n > 1)
			want = bulk_size(zone, rq, n);
		if (m->settings.pcp && pm_pcp_order(rq->order))
			got = take_pcp(m, zone, rq, flags, want, pfns);
		if (PM_UNLIKELY(got == 0))
			got = take_buddy(m, zone, rq, flags, want, pfns);
		if (PM_UNLIKELY(got && (flags & PM_ALLOC_HIGHATOMIC)))
			reserve_highatomic(m, zone, rq->order, got, pfns);
		if (got)
			return got;
	}
	return 0;
}

static uint32_t reserve_flags(const struct request *rq)
{
	uint32_t flags = PM_WMARK_MIN;

	if (rq->gfp & PM_GFP_HIGH)
		flags |= PM_ALLOC_MIN_RESERVE;
	if (!(rq->gfp & PM_GFP_DIRECT_RECLAIM) && !(rq->gfp & PM_GFP_NOMEMALLOC)) {
		flags |= PM_ALLOC_NON_BLOCK;
		if (rq->order > 0 && (flags & PM_ALLOC_MIN_RESERVE))
			flags |= PM_ALLOC_HIGHATOMIC;
	}
	return flags;
}

/// All that can be tried without reclaim, from careful to ruthless. Out of line: the first try nearly always does.
static __attribute__((noinline)) size_t try_harder(struct pm_machine *m, const struct request *rq, size_t n, uint64_t *pfns)
{
	uint32_t flags = rq->first_flags;
	size_t got = 0;

	if ((flags & PM_ALLOC_NOFRAGMENT) && !m->settings.defrag_mode)
		got = try_zones(m, rq, flags & ~(uint32_t)PM_ALLOC_NOFRAGMENT, n, pfns);
	flags = reserve_flags(rq);
	if (!got)
		got = try_zones(m, rq, flags | (m->settings.defrag_mode ? PM_ALLOC_NOFRAGMENT : 0), n, pfns);
	if (!got && m->settings.defrag_mode)
		got = try_zones(m, rq, flags, n, pfns);
	if (!got && (rq->gfp & PM_GFP_MEMALLOC) && !(rq->gfp & PM_GFP_NOMEMALLOC))
		got = try_zones(m, rq, flags | PM_ALLOC_NO_WATERMARKS, n, pfns);
	return got;
}

static __attribute__((noinline)) enum pm_status why_failed(struct pm_machine *m, const struct request *rq)
{
	uint32_t flags = reserve_flags(rq);
	const int8_t *z = m->zonelist[rq->highest];
	struct pm_pcp *pcp;

	if (*z < 0)
		return PM_ERR_ZONE;
	pcp = pm_pcp_of(m, rq->cpu, (uint32_t)*z);
	for (; *z >= 0; z++) {
		struct pm_zone *zone = &m->zone[*z];

		if (pm_watermark_enough(zone, rq->order, pm_watermark(zone, PM_WMARK_MIN), rq->highest, flags)) {
			atomic_fetch_add_explicit(&pcp->fail_no_block, 1, memory_order_relaxed);
			return PM_ERR_NO_BLOCK;
		}
	}
	atomic_fetch_add_explicit(&pcp->fail_watermark, 1, memory_order_relaxed);
	return PM_ERR_WATERMARK;
}

enum pm_status pm_alloc_bulk(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, size_t n, uint64_t *pfns, size_t *ret)
{
	struct request rq;
	size_t got = 0;
	enum pm_status status = read_request(m, cpu, order, gfp, &rq);

	*ret = 0;
	if (PM_UNLIKELY(status))
		return status;
	while (got < n) {
		size_t more = try_zones(m, &rq, rq.first_flags, n - got, pfns + got);

		if (PM_UNLIKELY(!more))
			more = try_harder(m, &rq, n - got, pfns + got);
		if (PM_UNLIKELY(!more)) {
			status = why_failed(m, &rq);
			break;
		}
		got += more;
	}
	*ret = got;
	return status;
}

static __attribute__((noinline)) enum pm_status alloc_slow(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, uint64_t *ret)
{
	struct request rq;
	enum pm_status status = read_request(m, cpu, order, gfp, &rq);

	if (status)
		return status;
	if (try_zones(m, &rq, rq.first_flags, 1, ret) || try_harder(m, &rq, 1, ret))
		return PM_OK;
	return why_failed(m, &rq);
}

/// Is the request one for pm_quick_alloc()?
static inline bool quick_request(const struct pm_machine *m, uint32_t cpu, uint32_t gfp)
{
	return PM_LIKELY(cpu < m->nr_cpus) && PM_LIKELY(!(gfp & ~(uint32_t)PM_GFP_ALL));
}

static __attribute__((noinline)) enum pm_status alloc_huge(struct pm_machine *m, uint32_t cpu, uint32_t gfp, uint64_t *ret)
{
	if (quick_request(m, cpu, gfp) && PM_LIKELY(pm_quick_alloc(m, cpu, PM_PAGEBLOCK_ORDER, &m->classes[gfp & PM_GFP_CLASS_MASK], ret)))
		return PM_OK;
	return alloc_slow(m, cpu, PM_PAGEBLOCK_ORDER, gfp, ret);
}

enum pm_status pm_alloc(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, uint64_t *ret)
{
	if (PM_UNLIKELY(order != 0))
		return order == PM_PAGEBLOCK_ORDER ? alloc_huge(m, cpu, gfp, ret) : alloc_slow(m, cpu, order, gfp, ret);
	if (quick_request(m, cpu, gfp) && PM_LIKELY(pm_quick_alloc(m, cpu, 0, &m->classes[gfp & PM_GFP_CLASS_MASK], ret)))
		return PM_OK;
	return alloc_slow(m, cpu, 0, gfp, ret);
}

/// Why a frame cannot be freed with this order.
static __attribute__((noinline)) enum pm_status why_not_free(struct pm_machine *m, uint64_t pfn)
{
	struct pm_zone *zone = pm_zone_of(m, pfn);
	enum pm_frame_kind kind;
	unsigned int order;
	bool inside;

	if (!zone || pm_in_ranges(m->holes, m->nr_holes, pfn))
		return PM_ERR_RANGE;
	if (pm_in_ranges(m->reserved, m->nr_reserved, pfn))
		return PM_ERR_RESERVED;
	kind = pm_word_kind(pm_frame_word(pm_frame_of(m, pm_pfn(pfn))));
	if (kind == PM_FRAME_FREE || kind == PM_FRAME_PCP)
		return PM_ERR_DOUBLE_FREE;
	if (kind == PM_FRAME_OWNED)
		return PM_ERR_OWNED;
	if (kind == PM_FRAME_USED)
		return PM_ERR_ORDER;
	pm_lock(&zone->lock);
	inside = !pm_pfn_is_nil(pm_buddy_find(m, zone, pm_pfn(pfn), &order));
	pm_unlock(&zone->lock);
	return inside ? PM_ERR_DOUBLE_FREE : PM_ERR_ORDER;
}

/// Claims the right to free a block: of several threads that try, one succeeds.
static inline bool begin_free(struct pm_machine *m, uint64_t pfn, unsigned int order)
{
	struct pm_frame *frame;
	uint32_t word;

	if (PM_UNLIKELY(pfn >= m->nr_frames))
		return false;
	frame = pm_frame_of(m, pm_pfn(pfn));
	pm_yield(PM_AT_WORD_SET, frame);
	word = pm_frame_word(frame);
	if (PM_UNLIKELY(pm_word_kind(word) != PM_FRAME_USED || pm_word_order(word) != order))
		return false;
	return pm_frame_begin_free(frame, word);
}

/// The per-CPU type a freed block is queued under; PM_NR_PCP_TYPES: it must go to the free lists.
static inline unsigned int queue_type(const struct pm_machine *m, struct pm_pfn pfn, unsigned int order)
{
	return m->settings.pcp && pm_pcp_order(order) ? pm_pageblock_queue(pm_pageblock_of(m, pfn)) : PM_NR_PCP_TYPES;
}

static void free_to_buddy(struct pm_machine *m, struct pm_zone *zone, struct pm_pfn pfn, unsigned int order)
{
	pm_lock(&zone->lock);
	pm_pageblock_free(m, zone, pfn, order);
	zone->nr_freed++;
	pm_unlock(&zone->lock);
}

static __attribute__((noinline)) enum pm_status free_slow(struct pm_machine *m, uint32_t cpu, uint64_t pfn, uint32_t order)
{
	struct pm_zone *zone;
	struct pm_pcp *pcp;
	unsigned int type;

	if (PM_UNLIKELY(cpu >= m->nr_cpus || order > PM_MAX_ORDER))
		return PM_ERR_INVAL;
	if (PM_UNLIKELY(!begin_free(m, pfn, order)))
		return why_not_free(m, pfn);
	/* A used block lies in a zone. */
	zone = &m->zone[pm_pageblock_of(m, pm_pfn(pfn))->zone];
	type = queue_type(m, pm_pfn(pfn), order);
	if (PM_UNLIKELY(type == PM_NR_PCP_TYPES)) {
		free_to_buddy(m, zone, pm_pfn(pfn), order);
		return PM_OK;
	}
	pcp = &m->cpu[cpu].pcp[zone->index];
	pm_lock(&pcp->lock);
	/* The pageblock may have been isolated since, and the lists drained. */
	if (!PM_PLANTED(FREE_NO_RELOOK))
		type = queue_type(m, pm_pfn(pfn), order);
	if (PM_LIKELY(type != PM_NR_PCP_TYPES))
		pm_pcp_put(m, zone, pcp, pm_pfn(pfn), order, type);
	pm_unlock(&pcp->lock);
	if (PM_UNLIKELY(type == PM_NR_PCP_TYPES))
		free_to_buddy(m, zone, pm_pfn(pfn), order);
	return PM_OK;
}

static __attribute__((noinline)) enum pm_status free_huge(struct pm_machine *m, uint32_t cpu, uint64_t pfn)
{
	if (PM_LIKELY(cpu < m->nr_cpus) && PM_LIKELY(pm_quick_free(m, cpu, pfn, PM_PAGEBLOCK_ORDER)))
		return PM_OK;
	return free_slow(m, cpu, pfn, PM_PAGEBLOCK_ORDER);
}

enum pm_status pm_free(struct pm_machine *m, uint32_t cpu, uint64_t pfn, uint32_t order)
{
	if (PM_UNLIKELY(order != 0))
		return order == PM_PAGEBLOCK_ORDER ? free_huge(m, cpu, pfn) : free_slow(m, cpu, pfn, order);
	if (PM_LIKELY(cpu < m->nr_cpus) && PM_LIKELY(pm_quick_free(m, cpu, pfn, 0)))
		return PM_OK;
	return free_slow(m, cpu, pfn, 0);
}

/// How many blocks ahead a bulk free asks for a frame's cache line.
enum { PM_PREFETCH_AHEAD = 12 };

/// Puts the first blocks of an array on a CPU's lists, as long as they are used blocks of the order and zone, and the lists have room.
/// What pm_quick_free() is to one block. Returns how many.
PM_QUICK size_t put_blocks(const struct pm_machine *m, const struct pm_zone *zone, struct pm_pcp *pcp, unsigned int order, size_t n, const uint64_t *pfns)
	PM_REQUIRES(pcp->lock)
{
	const struct pm_tables tables = m->tables;
	const uint32_t nr_frames = m->nr_frames;
	size_t room = pm_pcp_has_room(pcp, order) && !pm_pcp_short(zone) ? (size_t)(pcp->high - 1 - pcp->count) >> order : 0, i;

	for (i = 0; i < n && i < room; i++) {
		uint64_t pfn = pfns[i], ahead = pfns[i + PM_PREFETCH_AHEAD < n ? i + PM_PREFETCH_AHEAD : i];
		const struct pm_pageblock *block = &tables.pageblocks[pfn >> PM_PAGEBLOCK_ORDER];
		struct pm_frame *frame = &tables.frames[pfn];
		unsigned int type;
		uint32_t word;

		if (PM_LIKELY(ahead < nr_frames))
			pm_prefetch_write(&tables.frames[ahead]);
		if (PM_UNLIKELY(pfn >= nr_frames))
			break;
		word = pm_frame_word(frame);
		type = pm_pageblock_queue(block);
		/* A used block lies in a zone. */
		if (PM_UNLIKELY((word & ~(uint32_t)0xf0) != pm_word(PM_FRAME_USED, 0, order)) || PM_UNLIKELY(type >= PM_NR_PCP_TYPES) ||
		    PM_UNLIKELY(block->zone != zone->index) || PM_UNLIKELY(!pm_frame_begin_free(frame, word)))
			break;
		pm_chain_push_front(&tables, &pcp->list[pm_pcp_index(order, type)], pm_pfn(pfn), order);
	}
	if (i)
		pm_pcp_count_freed(pcp, i, order);
	return i;
}

/// Frees a run of blocks of one zone under one hold of the per-CPU lock. Returns how many; stops before the first of another
/// zone, of a type that bypasses the lists, or that cannot be freed.
static size_t free_run(struct pm_machine *m, struct pm_zone *zone, uint32_t cpu, unsigned int order, size_t n, const uint64_t *pfns)
{
	struct pm_pcp *pcp = pm_pcp_of(m, cpu, zone->index);
	size_t i = 0;

	pm_lock(&pcp->lock);
	while (i < n) {
		unsigned int type;

		/* Blocks of orders 1-3 have to be looked at, other orders bypass the lists. */
		if (order == 0)
			i += put_blocks(m, zone, pcp, 0, n - i, pfns + i);
		else if (order == PM_PAGEBLOCK_ORDER)
			i += put_blocks(m, zone, pcp, PM_PAGEBLOCK_ORDER, n - i, pfns + i);
		/* The next one is special, or has to be decided on, or fills the lists. */
		if (i == n || pm_zone_of(m, pfns[i]) != zone)
			break;
		type = queue_type(m, pm_pfn(pfns[i]), order);
		if (type == PM_NR_PCP_TYPES || !begin_free(m, pfns[i], order))
			break;
		pm_pcp_put(m, zone, pcp, pm_pfn(pfns[i]), order, type);
		i++;
	}
	pm_unlock(&pcp->lock);
	return i;
}

enum pm_status pm_free_bulk(struct pm_machine *m, uint32_t cpu, uint32_t order, size_t n, const uint64_t *pfns, size_t *ret)
{
	enum pm_status status = PM_OK;
	size_t i = 0;

	*ret = 0;
	if (cpu >= m->nr_cpus || order > PM_MAX_ORDER)
		return PM_ERR_INVAL;
	while (i < n && !status) {
		struct pm_zone *zone = pm_zone_of(m, pfns[i]);
		size_t done = zone ? free_run(m, zone, cpu, order, n - i, pfns + i) : 0;

		i += done;
		/* Nothing done: the block is one that pm_free() sends past the lists, or refuses with a reason. */
		if (!done) {
			status = pm_free(m, cpu, pfns[i], order);
			i += status == PM_OK;
		}
	}
	*ret = i;
	return status;
}

/// pm_take(), or the same for frames of isolated pageblocks.
static enum pm_status take(struct pm_machine *m, uint64_t pfn, uint32_t order, uint32_t migratetype, bool isolated)
{
	struct pm_zone *zone = pm_zone_of(m, pfn);
	bool taken;

	if (order > PM_MAX_ORDER || migratetype >= PM_NR_PCP_TYPES)
		return PM_ERR_INVAL;
	if (!zone || pm_in_ranges(m->holes, m->nr_holes, pfn))
		return PM_ERR_RANGE;
	if (!pm_pfn_aligned(pm_pfn(pfn), order))
		return PM_ERR_ORDER;
	if (pm_in_ranges(m->reserved, m->nr_reserved, pfn))
		return PM_ERR_RESERVED;
	pm_lock(&zone->lock);
	/* What is isolated belongs to whoever isolated it. */
	taken = isolated == (pm_pageblock_type(pm_pageblock_of(m, pm_pfn(pfn))) == PM_MT_ISOLATE) && pm_buddy_take_exact(m, zone, pm_pfn(pfn), order);
	if (taken) {
		pm_frame_set_word(pm_frame_of(m, pm_pfn(pfn)), pm_word(PM_FRAME_USED, migratetype, order));
		zone->nr_alloc++;
	}
	pm_unlock(&zone->lock);
	return taken ? PM_OK : PM_ERR_BUSY;
}

enum pm_status pm_take(struct pm_machine *m, uint64_t pfn, uint32_t order, uint32_t migratetype)
{
	return take(m, pfn, order, migratetype, false);
}

enum pm_status pm_take_isolated(struct pm_machine *m, uint64_t pfn, uint32_t order, uint32_t migratetype)
{
	return take(m, pfn, order, migratetype, true);
}

enum pm_status pm_split(struct pm_machine *m, uint64_t pfn, uint32_t order, uint32_t new_order)
{
	struct pm_frame *frame;
	uint32_t i, part;

	if (order > PM_MAX_ORDER || new_order > order)
		return PM_ERR_INVAL;
	if (!begin_free(m, pfn, order))
		return why_not_free(m, pfn);
	frame = pm_frame_of(m, pm_pfn(pfn));
	part = pm_word(PM_FRAME_USED, pm_word_migratetype(pm_frame_word(frame)), new_order);
	/* Last to first: while the head is still marked as on its way, nobody else can free a part's neighbour into it. */
	for (i = 1u << order; i > 0; i -= 1u << new_order)
		pm_frame_set_word(frame + i - (1u << new_order), part);
	return PM_OK;
}
