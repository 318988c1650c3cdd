/// What an allocation does that finds no block, by policy.
#include "move/compact_linux.h"

#include "phys/watermark.h"
#include "virt/epoch.h"

/// One allocation under way.
struct slow {
	struct pm_call *call;
	const struct pm_slow_request *request;
	struct pm_slow_report *report;
	uint64_t pfn; ///< the block, once there is one
	bool costly;
	uint64_t freed;		     ///< by the last reclaim
	enum pm_compact_status last; ///< compaction
};

/// PM_OK: `pfn` is a block. The statuses of pm_alloc() otherwise.
static enum pm_status try(struct slow *slow)
{
	return pm_alloc(slow->call->m, slow->call->cpu, slow->request->order, slow->request->gfp, &slow->pfn);
}

/// Could another try help, or is the request impossible?
static bool short_of_memory(enum pm_status status)
{
	return status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK;
}

/// Reclaims, and tries again.
static enum pm_status reclaim(struct slow *slow)
{
	struct pm_call *call = slow->call;
	enum pm_status status;

	slow->freed = 0;
	slow->report->reclaims++;
	pm_count(call, PM_ME_RECLAIM);
	call->reclaiming = true;
	status = call->m->virt->hooks.reclaim(call, slow->request->order, slow->request->gfp, &slow->freed);
	call->reclaiming = false;
	slow->report->reclaimed += slow->freed;
	if (status)
		return status;
	/* What was freed may sit in per-CPU lists, where it neither counts nor merges. */
	status = pm_drain(call->m, PM_ALL_CPUS);
	return status ? status : try(slow);
}

/// Strategy linux: the zones that the request may use, until one has a block.
static enum pm_status compact_zones(struct slow *slow, struct pm_compaction *run)
{
	struct pm_machine *m = slow->call->m;
	int8_t highest = m->classes[slow->request->gfp & PM_GFP_CLASS_MASK].highest;
	enum pm_status status = PM_OK;
	const int8_t *z;

	slow->last = PM_COMPACTED_NOT_SUITABLE;
	for (z = m->zonelist[highest]; *z >= 0 && !status; z++) {
		enum pm_compact_status end = PM_COMPACTED_NOT_SUITABLE;

		status = pm_compact_zone_for(run, (uint32_t)*z, (unsigned int)highest, 0, &end);
		/* A zone that was gone through says more than one that was left out. */
		if (slow->last == PM_COMPACTED_NOT_SUITABLE || (end != PM_COMPACTED_NOT_SUITABLE && end != PM_COMPACTED_DEFERRED))
			slow->last = end;
		if (end == PM_COMPACTED_SUCCESS || end == PM_COMPACTED_CAPTURED)
			break;
	}
	return status;
}

/// Compacts, and takes what was captured or tries again.
static enum pm_status compact(struct slow *slow, enum pm_compact_priority priority)
{
	const struct pm_slow_request *request = slow->request;
	struct pm_compact_result result = pm_compaction_result();
	struct pm_compact_request wanted = { .strategy = request->strategy, .order = request->order, .zone = PM_EVERY_ZONE, .priority = priority,
					     .protocol = request->protocol, .gfp = request->gfp, .blocks = 1 };
	struct pm_compaction run = { .call = slow->call, .request = &wanted, .result = &result,
				     .mode = priority == PM_COMPACT_ASYNC ? PM_MIGRATE_ASYNC : PM_MIGRATE_SYNC_LIGHT, .begins_anew = true };
	enum pm_status status;

	pm_compaction_allow(&run);
	if (request->strategy == PM_STRATEGY_LINUX) {
		wanted.flags = PM_COMPACT_CAPTURE;
		status = compact_zones(slow, &run);
	} else {
		status = pm_compaction_run(&run);
		slow->last = (enum pm_compact_status)result.status;
	}
	pm_compaction_end(&run);
	slow->report->compactions++;
	slow->report->priority = priority;
	slow->report->status = slow->last;
	slow->report->moved += result.moved;
	slow->report->scanned += result.scanned_migrate + result.scanned_free;
	/* The call has done as much as it may in one go: no reason to give up a block that is there. */
	if (status && status != PM_ERR_INTR)
		return status;
	if (result.captured != PM_NO_FRAME) {
		slow->pfn = result.captured;
		slow->report->captured = 1;
		return PM_OK;
	}
	return try(slow);
}

/* ---- linux ---- */

/// MAX_COMPACT_RETRIES and MAX_RECLAIM_RETRIES of 6.x.
enum { COMPACT_RETRIES = 16, RECLAIM_RETRIES = 16 };

/// How far the retries have come.
struct retries {
	enum pm_compact_priority priority;
	unsigned int compactions; ///< at this priority that went well, and still somebody else had the block
	unsigned int idle;	  ///< reclaims in a row that did not help
};

static bool reclaim_again(struct slow *slow, struct retries *retries)
{
	retries->idle = slow->freed && !slow->costly ? 0 : retries->idle + 1;
	return slow->freed && retries->idle <= RECLAIM_RETRIES;
}

/// Again at this priority, or harder. Costly orders try a quarter as often, and never the hardest way.
static bool compact_again(struct slow *slow, struct retries *retries)
{
	enum pm_compact_priority most = slow->costly ? PM_COMPACT_SYNC_LIGHT : PM_COMPACT_FULL;
	unsigned int limit = slow->costly ? COMPACT_RETRIES / 4 : COMPACT_RETRIES;

	if (slow->request->order == 0)
		return false;
	/* Without free memory there is nothing to compact with: that is reclaim's business. */
	if (slow->last == PM_COMPACTED_NOT_SUITABLE)
		return false;
	if ((slow->last == PM_COMPACTED_SUCCESS || slow->last == PM_COMPACTED_CAPTURED) && ++retries->compactions <= limit)
		return true;
	if (retries->priority >= most)
		return false;
	retries->priority++;
	retries->compactions = 0;
	return true;
}

static bool may_compact(const struct slow *slow)
{
	return slow->request->order > 0 && (slow->request->gfp & PM_GFP_IO);
}

static enum pm_status policy_linux(struct slow *slow)
{
	uint32_t gfp = slow->request->gfp;
	bool easy = slow->costly && (gfp & PM_GFP_NORETRY);
	struct retries retries = { .priority = easy ? PM_COMPACT_ASYNC : PM_COMPACT_SYNC_LIGHT };
	enum pm_status status = PM_ERR_NO_BLOCK;

	/* Where plenty is free in small pieces, it is quicker to move than to reclaim. */
	if (may_compact(slow) && (slow->costly || !(gfp & PM_GFP_MOVABLE))) {
		status = compact(slow, PM_COMPACT_ASYNC);
		if (!short_of_memory(status))
			return status;
		if (easy && (slow->last == PM_COMPACTED_NOT_SUITABLE || slow->last == PM_COMPACTED_DEFERRED))
			return status;
	}
	for (;;) {
		status = reclaim(slow);
		if (short_of_memory(status) && may_compact(slow))
			status = compact(slow, retries.priority);
		if (!short_of_memory(status) || (gfp & PM_GFP_NORETRY) || (slow->costly && !(gfp & PM_GFP_RETRY_MAYFAIL)))
			return status;
		if (!reclaim_again(slow, &retries) && !(may_compact(slow) && compact_again(slow, &retries)))
			return status;
	}
}

/* ---- the others ---- */

static enum pm_status policy_reclaim(struct slow *slow)
{
	enum pm_status status = PM_ERR_NO_BLOCK;
	unsigned int tries;

	for (tries = 0; tries < RECLAIM_RETRIES; tries++) {
		status = reclaim(slow);
		if (!short_of_memory(status) || !slow->freed)
			return status;
	}
	return status;
}

/// Is there little free memory, whatever the order? Then no block is to be had by moving.
static bool little_is_free(const struct slow *slow)
{
	struct pm_machine *m = slow->call->m;
	int8_t highest = m->classes[slow->request->gfp & PM_GFP_CLASS_MASK].highest;
	const int8_t *z;

	for (z = m->zonelist[highest]; *z >= 0; z++)
		if (pm_watermark_enough(&m->zone[*z], 0, pm_watermark(&m->zone[*z], PM_WMARK_LOW), (unsigned int)highest, 0))
			return false;
	return true;
}

/// Piggin, October 2004: order 0 low: reclaim. Otherwise a high order is low: coalesce, one easy try, and only if that fails reclaim.
static enum pm_status policy_piggin(struct slow *slow)
{
	enum pm_status status = PM_ERR_NO_BLOCK;

	if (slow->request->order > 0 && !little_is_free(slow)) {
		status = compact(slow, PM_COMPACT_ASYNC);
		if (!short_of_memory(status))
			return status;
	}
	return policy_reclaim(slow);
}

static const struct {
	const char *name;
	enum pm_status (*run)(struct slow *slow);
} policies[PM_NR_POLICIES] = {
	[PM_POLICY_LINUX] = { "linux", policy_linux },
	[PM_POLICY_PIGGIN] = { "piggin-2004", policy_piggin },
	[PM_POLICY_RECLAIM] = { "reclaim", policy_reclaim },
};

const char *pm_alloc_policy_name(uint32_t policy)
{
	return policy < PM_NR_POLICIES ? policies[policy].name : NULL;
}

/// There was no block, with this status.
static enum pm_status go_slow(struct slow *slow, enum pm_status why)
{
	struct pm_machine *m = slow->call->m;
	struct pm_compact_state *state;
	enum pm_status status = pm_move_init(m);

	state = status ? NULL : pm_compact_state(m);
	if (!state)
		return PM_ERR_NOMEM;
	slow->report->slow = 1;
	if (slow->request->order > 0 && (slow->request->gfp & PM_GFP_KSWAPD_RECLAIM))
		pm_compact_want(m, state, slow->request->order, slow->request->gfp);
	if (!(slow->request->gfp & PM_GFP_DIRECT_RECLAIM))
		return why;
	status = policies[slow->request->policy].run(slow);
	if (slow->report->compactions)
		pm_compact_count(state, PM_CE_STALL);
	return status;
}

enum pm_status pm_alloc_slow(struct pm_machine *m, uint32_t cpu, const struct pm_slow_request *request, struct pm_slow_report *report, uint64_t *ret)
{
	struct pm_call call;
	struct slow slow = { .call = &call, .request = request, .report = report, .costly = request->order > PM_COSTLY_ORDER };
	enum pm_status status = pm_call_begin(m, cpu, &call);

	*report = (struct pm_slow_report){ .status = PM_COMPACTED_NOTHING };
	if (status)
		return status;
	if (!pm_alloc_policy_name(request->policy) || !pm_strategy_name(request->strategy) || !pm_migrate_protocol_name(request->protocol)) {
		pm_call_end(&call);
		return PM_ERR_INVAL;
	}
	status = try(&slow);
	if (short_of_memory(status))
		status = go_slow(&slow, status);
	if (!status)
		*ret = slow.pfn;
	pm_call_end(&call);
	return status;
}
