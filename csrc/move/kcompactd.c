/// kcompactd: compaction in the background, a look at a time. For requests that found no block once there is enough free memory; otherwise of its own
/// accord, when too much of free memory is in small blocks.
#include "move/compact_linux.h"

#include "phys/watermark.h"
#include "virt/epoch.h"

/// Nanoseconds from one look at the score to the next; shifted by PM_COMPACT_DEFER_MAX where it did not help.
static const uint64_t interval_ns = 500u * 1000 * 1000;

enum pm_status pm_kcompactd_wake(struct pm_machine *m, uint32_t order, uint32_t gfp)
{
	struct pm_compact_state *state;
	struct pm_call call;
	enum pm_status status = order > PM_MAX_ORDER || (gfp & ~(uint32_t)PM_GFP_ALL) ? PM_ERR_INVAL : pm_call_begin(m, 0, &call);

	if (status)
		return status;
	status = pm_move_init(m);
	state = status ? NULL : pm_compact_state(m);
	if (state)
		pm_compact_want(m, state, order, gfp);
	pm_call_end(&call);
	return state ? PM_OK : PM_ERR_NOMEM;
}

void pm_compact_want(struct pm_machine *m, struct pm_compact_state *state, unsigned int order, uint32_t gfp)
{
	int8_t highest = m->classes[gfp & PM_GFP_CLASS_MASK].highest;

	if (highest < 0)
		return;
	pm_lock(&state->lock);
	if (order > state->wanted_order)
		state->wanted_order = order;
	if ((uint32_t)highest > state->wanted_highest)
		state->wanted_highest = (uint32_t)highest;
	pm_unlock(&state->lock);
}

/// Does the zone lack a block of the order, and could it have one?
static bool worth_it(struct pm_machine *m, struct pm_compact_state *state, struct pm_zone *zone, unsigned int order, unsigned int highest)
{
	if (pm_watermark_ok(zone, order, pm_watermark(zone, PM_WMARK_MIN), highest, 0))
		return false;
	return pm_compact_suitable(m, state, zone, order, pm_compact_mark(zone, order), highest) == PM_COMPACTED_COMPLETE;
}

/// A zone, for requests. What failed leaves the next ones out for a while, as for requests that compact themselves.
static enum pm_status work_in(struct pm_compaction *run, struct pm_compact_state *state, uint32_t zone)
{
	struct pm_scan_plan plan = { .zone = zone };
	struct pm_machine *m = run->call->m;
	unsigned int order = run->request->order;
	enum pm_compact_status end;
	enum pm_status status = pm_compact_zone(run, &plan, &end);

	if (status)
		return status;
	run->result->status = end;
	if (end == PM_COMPACTED_SUCCESS) {
		pm_compact_succeeded(&state->zone[zone], order);
	} else if (end == PM_COMPACTED_COMPLETE || end == PM_COMPACTED_PARTIAL_SKIPPED) {
		/* Frames in per-CPU lists may be what keeps blocks apart. */
		status = pm_drain(m, PM_ALL_CPUS);
		pm_compact_failed(&state->zone[zone], order);
	}
	return status;
}

/// For requests: the zones that they may use. False in `ret`: there was nothing to do.
static enum pm_status work(struct pm_compaction *run, struct pm_compact_state *state, unsigned int order, unsigned int highest, bool *ret)
{
	struct pm_machine *m = run->call->m;
	enum pm_status status = PM_OK;
	uint32_t i;

	*ret = false;
	for (i = 0; i < m->nr_zones && !status; i++) {
		if (m->zone[i].kind > highest || !worth_it(m, state, &m->zone[i], order, highest))
			continue;
		*ret = true;
		if (pm_compact_deferred(&state->zone[i], order)) {
			pm_compact_count(state, PM_CE_DEFERRED);
			continue;
		}
		status = work_in(run, state, i);
	}
	return status;
}

static uint32_t score_of(struct pm_machine *m)
{
	uint32_t score = 0, i;

	for (i = 0; i < m->nr_zones; i++)
		score += pm_compact_weighted_score(m, &m->zone[i]);
	return score;
}

/// The score at which a zone is good enough, and the one at which it is worth to begin.
static uint32_t low_mark(uint32_t proactiveness)
{
	return 100 - proactiveness;
}

static uint32_t high_mark(uint32_t proactiveness)
{
	uint32_t low = low_mark(proactiveness), high = low + (low / 2 < 10 ? low / 2 : 10);

	return high < 100 ? high : 100;
}

static bool kswapd_works(const struct pm_machine *m)
{
	uint32_t i;

	/* Relaxed: a hint. */
	for (i = 0; i < m->nr_zones; i++)
		if (atomic_load_explicit(&m->zone[i].reclaim_active, memory_order_relaxed))
			return true;
	return false;
}

/// Of its own accord: every zone, down to the low mark.
static enum pm_status be_proactive(struct pm_compaction *run, struct pm_compact_state *state, uint64_t now_ns, struct pm_kcompactd_report *report)
{
	struct pm_machine *m = run->call->m;
	uint32_t proactiveness = pm_hint(&state->proactiveness), i;
	enum pm_status status = PM_OK;

	report->score_before = report->score_after = score_of(m);
	report->next_ns = now_ns + interval_ns;
	if (!proactiveness || kswapd_works(m) || report->score_before <= high_mark(proactiveness))
		return PM_OK;
	report->proactive = 1;
	pm_compact_count(state, PM_CE_PROACTIVE);
	for (i = 0; i < m->nr_zones && !status; i++) {
		struct pm_scan_plan plan = { .zone = i, .everything = true, .proactive = true, .whole_zone = true, .ignore_skip = true, .enough = low_mark(proactiveness) };
		enum pm_compact_status end;

		status = pm_compact_zone(run, &plan, &end);
		if (!status)
			run->result->status = end;
	}
	report->score_after = score_of(m);
	/* There is more to do. */
	if (status)
		report->next_ns = now_ns;
	else if (report->score_after >= report->score_before)
		report->next_ns = now_ns + (interval_ns << PM_COMPACT_DEFER_MAX);
	return status;
}

/// Takes the requests that have come so far.
static void take_wanted(struct pm_compact_state *state, uint64_t now_ns, unsigned int *order, unsigned int *highest, bool *due)
{
	pm_lock(&state->lock);
	*order = state->wanted_order;
	*highest = state->wanted_highest;
	*due = now_ns >= state->next_ns;
	pm_unlock(&state->lock);
}

/// They were worked for, whether or not that helped; larger ones may have come meanwhile.
static void forget_wanted(struct pm_compact_state *state, unsigned int order)
{
	pm_lock(&state->lock);
	if (state->wanted_order <= order)
		state->wanted_order = state->wanted_highest = 0;
	pm_unlock(&state->lock);
}

static enum pm_status tick(struct pm_compaction *run, struct pm_compact_request *request, struct pm_compact_state *state, uint64_t now_ns, struct pm_kcompactd_report *report)
{
	struct pm_machine *m = run->call->m;
	unsigned int order, highest;
	enum pm_status status;
	bool worked, due;
	uint32_t i;

	/* What requests went over in vain may be worth a look again. */
	for (i = 0; i < m->nr_zones; i++)
		if (pm_hint(&state->zone[i].flush_skip))
			pm_compact_reset_hints(m, state, i);
	take_wanted(state, now_ns, &order, &highest, &due);
	if (order) {
		request->order = order;
		status = work(run, state, order, highest, &worked);
		if (worked) {
			report->order = order;
			pm_compact_count(state, PM_CE_WAKE);
			if (status != PM_ERR_INTR)
				forget_wanted(state, order);
			return status;
		}
		request->order = PM_PAGEBLOCK_ORDER;
	}
	if (!due)
		return PM_OK;
	status = be_proactive(run, state, now_ns, report);
	pm_lock(&state->lock);
	state->next_ns = report->next_ns;
	pm_unlock(&state->lock);
	return status;
}

enum pm_status pm_kcompactd_tick(struct pm_machine *m, uint32_t cpu, uint64_t now_ns, struct pm_kcompactd_report *ret)
{
	struct pm_compact_request request;
	struct pm_call call;
	struct pm_compact_result result = pm_compaction_result();
	struct pm_compaction run = { .call = &call, .request = &request, .result = &result, .mode = PM_MIGRATE_SYNC_LIGHT, .begins_anew = true };
	struct pm_compact_state *state;
	enum pm_status status = pm_call_begin(m, cpu, &call);

	if (status)
		return status;
	pm_compact_request_default(&request);
	request.priority = PM_COMPACT_SYNC_LIGHT;
	request.gfp = PM_GFP_KERNEL;
	status = pm_move_init(m);
	state = status ? NULL : pm_compact_state(m);
	if (state) {
		*ret = (struct pm_kcompactd_report){ .score_before = score_of(m) };
		ret->score_after = ret->score_before;
		pm_lock(&state->lock);
		ret->next_ns = state->next_ns;
		pm_unlock(&state->lock);
		result.blocks_before = pm_compaction_all_blocks(&run);
		pm_compaction_allow(&run);
		status = tick(&run, &request, state, now_ns, ret);
		pm_compaction_end(&run);
		result.blocks_after = pm_compaction_all_blocks(&run);
		ret->compact = result;
	} else {
		status = PM_ERR_NOMEM;
	}
	pm_call_end(&call);
	return status;
}
