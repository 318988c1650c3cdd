/// Is it worth it to compact a zone? Settings, hints and counts of strategy linux.
#include "move/compact_linux.h"

#include "phys/watermark.h"
#include "virt/epoch.h"

enum { SKIP_BITS = 64, PROACTIVENESS = 20, EXTFRAG_THRESHOLD = 500 };

static size_t skip_words(const struct pm_machine *m)
{
	return (m->nr_pageblocks + SKIP_BITS - 1) / SKIP_BITS;
}

/// The cached places are the ends of the zone.
static void reset_cached(struct pm_compact_zone *hints, const struct pm_zone *zone)
{
	pm_hint_set(&hints->cached_migrate[0], zone->start);
	pm_hint_set(&hints->cached_migrate[1], zone->start);
	pm_hint_set(&hints->cached_free, (zone->end - 1) & ~(uint32_t)(PM_PAGEBLOCK_NR_PAGES - 1));
}

struct pm_compact_state *pm_compact_state(struct pm_machine *m)
{
	struct pm_move *move = atomic_load(&m->move);
	struct pm_compact_state *state = atomic_load(&move->compact), *expected = NULL;
	uint32_t i;

	if (state)
		return state;
	state = pm_host_zalloc(&m->host, sizeof(*state) + skip_words(m) * sizeof(state->skip[0]));
	if (!state)
		return NULL;
	pm_hint_set(&state->proactiveness, PROACTIVENESS);
	pm_hint_set(&state->extfrag_threshold, EXTFRAG_THRESHOLD);
	pm_lock_init(&state->lock, PM_RANK_OBJECTS);
	for (i = 0; i < m->nr_zones; i++) {
		reset_cached(&state->zone[i], &m->zone[i]);
		/* None has. The kernel begins with 0, so that there the first failure defers every order. */
		pm_hint_set(&state->zone[i].order_failed, PM_NR_ORDERS);
	}
	/* Of two first calls, one makes it. */
	if (atomic_compare_exchange_strong(&move->compact, &expected, state))
		return state;
	pm_host_free(&m->host, state);
	return expected;
}

void pm_compact_state_free(struct pm_machine *m, struct pm_compact_state *state)
{
	pm_host_free(&m->host, state);
}

/* ---- hints ---- */

bool pm_compact_skipped(const struct pm_scan *scan, uint32_t pfn)
{
	uint32_t block = pfn >> PM_PAGEBLOCK_ORDER;

	/* Relaxed: a hint. */
	return !scan->ignore_skip && (atomic_load_explicit(&scan->state->skip[block / SKIP_BITS], memory_order_relaxed) >> (block % SKIP_BITS) & 1);
}

void pm_compact_set_skip(struct pm_scan *scan, uint32_t pfn)
{
	uint32_t block = pfn >> PM_PAGEBLOCK_ORDER;

	(void)atomic_fetch_or_explicit(&scan->state->skip[block / SKIP_BITS], (uint64_t)1 << (block % SKIP_BITS), memory_order_relaxed);
}

void pm_compact_reset_hints(struct pm_machine *m, struct pm_compact_state *state, uint32_t index)
{
	const struct pm_zone *zone = &m->zone[index];
	uint32_t block, last = (zone->end - 1) >> PM_PAGEBLOCK_ORDER;

	pm_hint_set(&state->zone[index].flush_skip, 0);
	for (block = zone->start >> PM_PAGEBLOCK_ORDER; block <= last; block++)
		(void)atomic_fetch_and_explicit(&state->skip[block / SKIP_BITS], ~((uint64_t)1 << (block % SKIP_BITS)), memory_order_relaxed);
	reset_cached(&state->zone[index], zone);
}

bool pm_compact_deferred(struct pm_compact_zone *hints, unsigned int order)
{
	uint32_t limit = 1u << pm_hint(&hints->defer_shift), considered = pm_hint(&hints->considered) + 1;

	if (order < pm_hint(&hints->order_failed))
		return false;
	/* It stays at the limit, or it would run over. */
	pm_hint_set(&hints->considered, considered < limit ? considered : limit);
	return considered < limit;
}

bool pm_compact_restarting(const struct pm_compact_zone *hints, unsigned int order)
{
	return order >= pm_hint(&hints->order_failed) && pm_hint(&hints->defer_shift) == PM_COMPACT_DEFER_MAX && pm_hint(&hints->considered) >= 1u << PM_COMPACT_DEFER_MAX;
}

void pm_compact_failed(struct pm_compact_zone *hints, unsigned int order)
{
	uint32_t shift = pm_hint(&hints->defer_shift);

	pm_hint_set(&hints->considered, 0);
	pm_hint_set(&hints->defer_shift, shift < PM_COMPACT_DEFER_MAX ? shift + 1 : shift);
	if (order < pm_hint(&hints->order_failed))
		pm_hint_set(&hints->order_failed, order);
}

void pm_compact_succeeded(struct pm_compact_zone *hints, unsigned int order)
{
	pm_hint_set(&hints->considered, 0);
	pm_hint_set(&hints->defer_shift, 0);
	if (order >= pm_hint(&hints->order_failed))
		pm_hint_set(&hints->order_failed, order + 1);
}

/* ---- amounts ---- */

uint64_t pm_compact_mark(const struct pm_zone *zone, unsigned int order)
{
	return pm_watermark(zone, order > PM_COSTLY_ORDER ? PM_WMARK_LOW : PM_WMARK_MIN);
}

static void count_free(struct pm_zone *zone, uint64_t *blocks)
{
	unsigned int order, type;

	pm_lock(&zone->lock);
	for (order = 0; order < PM_NR_ORDERS; order++)
		for (blocks[order] = 0, type = 0; type < PM_MT_ISOLATE; type++)
			blocks[order] += pm_list_nr(&zone->area[order].list[type]);
	pm_unlock(&zone->lock);
}

enum pm_compact_status pm_compact_suitable(struct pm_machine *m, const struct pm_compact_state *state, const struct pm_zone *zone, unsigned int order, uint64_t mark, unsigned int highest)
{
	uint64_t blocks[PM_NR_ORDERS];
	int64_t index;

	/* Twice the block: what moves into and what moves away from it are both there for a while. */
	if (!pm_watermark_enough(zone, 0, mark + ((uint64_t)2 << order), highest, 0))
		return PM_COMPACTED_NOT_SUITABLE;
	if (order <= PM_COSTLY_ORDER)
		return PM_COMPACTED_COMPLETE;
	count_free(&m->zone[zone->index], blocks);
	index = pm_fragmentation_index(blocks, order);
	return index >= 0 && index <= (int64_t)pm_hint(&state->extfrag_threshold) ? PM_COMPACTED_NOT_FRAGMENTED : PM_COMPACTED_COMPLETE;
}

uint32_t pm_compact_zone_score(struct pm_machine *m, struct pm_zone *zone)
{
	uint64_t blocks[PM_NR_ORDERS], free = 0, large = 0;
	unsigned int order;

	(void)m;
	count_free(zone, blocks);
	for (order = 0; order < PM_NR_ORDERS; order++) {
		free += blocks[order] << order;
		if (order >= PM_PAGEBLOCK_ORDER)
			large += blocks[order] << order;
	}
	return free ? (uint32_t)((free - large) * 100 / free) : 0;
}

uint32_t pm_compact_weighted_score(struct pm_machine *m, struct pm_zone *zone)
{
	uint64_t present = 0;
	uint32_t i;

	for (i = 0; i < m->nr_zones; i++)
		present += m->zone[i].present;
	return (uint32_t)(zone->present * pm_compact_zone_score(m, zone) / (present + 1));
}

/* ---- the public calls ---- */

static enum pm_status begin(struct pm_machine *m, struct pm_call *call, struct pm_compact_state **ret)
{
	enum pm_status status = pm_call_begin(m, 0, call);

	if (status)
		return status;
	status = pm_move_init(m);
	*ret = status ? NULL : pm_compact_state(m);
	if (*ret)
		return PM_OK;
	pm_call_end(call);
	return PM_ERR_NOMEM;
}

enum pm_status pm_compact_settings(struct pm_machine *m, struct pm_compact_settings *ret)
{
	struct pm_compact_state *state;
	struct pm_call call;
	enum pm_status status = begin(m, &call, &state);

	if (status)
		return status;
	*ret = (struct pm_compact_settings){ .proactiveness = pm_hint(&state->proactiveness), .extfrag_threshold = pm_hint(&state->extfrag_threshold) };
	pm_call_end(&call);
	return PM_OK;
}

enum pm_status pm_set_compact_settings(struct pm_machine *m, const struct pm_compact_settings *settings)
{
	struct pm_compact_state *state;
	struct pm_call call;
	enum pm_status status = settings->proactiveness > 100 || settings->extfrag_threshold > 1000 ? PM_ERR_INVAL : begin(m, &call, &state);

	if (status)
		return status;
	pm_hint_set(&state->proactiveness, settings->proactiveness);
	pm_hint_set(&state->extfrag_threshold, settings->extfrag_threshold);
	pm_call_end(&call);
	return PM_OK;
}

static uint64_t count_skipped(const struct pm_compact_state *state, const struct pm_zone *zone)
{
	uint32_t block, last = (zone->end - 1) >> PM_PAGEBLOCK_ORDER;
	uint64_t n = 0;

	for (block = zone->start >> PM_PAGEBLOCK_ORDER; block <= last; block++)
		n += atomic_load_explicit(&state->skip[block / SKIP_BITS], memory_order_relaxed) >> (block % SKIP_BITS) & 1;
	return n;
}

enum pm_status pm_compact_zone_info(struct pm_machine *m, uint32_t zone, struct pm_compact_zone_info *ret)
{
	struct pm_compact_state *state;
	const struct pm_compact_zone *hints;
	struct pm_call call;
	enum pm_status status = zone >= m->nr_zones ? PM_ERR_INVAL : begin(m, &call, &state);

	if (status)
		return status;
	hints = &state->zone[zone];
	*ret = (struct pm_compact_zone_info){ .cached_migrate_async = pm_hint(&hints->cached_migrate[0]), .cached_migrate = pm_hint(&hints->cached_migrate[1]),
					      .cached_free = pm_hint(&hints->cached_free), .considered = pm_hint(&hints->considered),
					      .defer_shift = pm_hint(&hints->defer_shift), .order_failed = pm_hint(&hints->order_failed),
					      .skipped = count_skipped(state, &m->zone[zone]), .score = pm_compact_zone_score(m, &m->zone[zone]) };
	pm_call_end(&call);
	return PM_OK;
}

void pm_compact_counters(struct pm_machine *m, struct pm_compact_counters *ret)
{
	struct pm_move *move = m->virt ? atomic_load(&m->move) : NULL;
	struct pm_compact_state *state = move ? atomic_load(&move->compact) : NULL;
	uint64_t n[PM_NR_COMPACT_EVENTS] = { 0 };
	unsigned int i;

	/* Relaxed: statistics. */
	for (i = 0; state && i < PM_NR_COMPACT_EVENTS; i++)
		n[i] = atomic_load_explicit(&state->event[i], memory_order_relaxed);
	*ret = (struct pm_compact_counters){ .runs = n[PM_CE_RUN], .success = n[PM_CE_SUCCESS], .failed = n[PM_CE_FAILED], .captured = n[PM_CE_CAPTURED],
					     .deferred = n[PM_CE_DEFERRED], .stalls = n[PM_CE_STALL], .wakes = n[PM_CE_WAKE], .proactive = n[PM_CE_PROACTIVE] };
}
