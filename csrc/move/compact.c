/// Running a strategy of defragmentation, and what strategies share.
#include "move/strategy.h"

#include "virt/epoch.h"

/// By enum pm_defrag_strategy; NULL: this build has none of that number.
static const struct pm_strategy_ops *const strategies[PM_NR_STRATEGIES] = {
	[PM_STRATEGY_LINUX] = &pm_strategy_linux,
	[PM_STRATEGY_PLANNER] = &pm_strategy_planner,
	[PM_STRATEGY_COALESCE_2004] = &pm_strategy_coalesce_2004,
	[PM_STRATEGY_COALESCE_2004_RFC] = &pm_strategy_coalesce_2004_rfc,
};

const char *pm_strategy_name(uint32_t strategy)
{
	return strategy < PM_NR_STRATEGIES && strategies[strategy] ? strategies[strategy]->name : NULL;
}

const char *pm_compact_status_text(uint32_t status)
{
	static const char *const texts[PM_NR_COMPACTED] = {
		[PM_COMPACTED_COMPLETE] = "complete",
		[PM_COMPACTED_SUCCESS] = "success",
		[PM_COMPACTED_CAPTURED] = "captured",
		[PM_COMPACTED_PARTIAL_SKIPPED] = "partial, the rest skipped",
		[PM_COMPACTED_NOT_SUITABLE] = "not suitable: too few free frames",
		[PM_COMPACTED_NOT_FRAGMENTED] = "not suitable: memory is short, not fragmented",
		[PM_COMPACTED_DEFERRED] = "deferred",
		[PM_COMPACTED_CONTENDED] = "contended",
		[PM_COMPACTED_NO_DESTINATION] = "contended: no destination of a large block's order",
		[PM_COMPACTED_NOTHING] = "nothing to move",
		[PM_COMPACTED_TOLD] = "came to the frame where it was told to end",
		[PM_COMPACTED_DEAR] = "memory changes too fast: it takes far more moves than planned",
	};

	return status < PM_NR_COMPACTED ? texts[status] : "unknown status";
}

void pm_compact_request_default(struct pm_compact_request *ret)
{
	*ret = (struct pm_compact_request){ .strategy = PM_STRATEGY_LINUX, .order = PM_PAGEBLOCK_ORDER, .zone = PM_EVERY_ZONE, .priority = PM_COMPACT_FULL,
					    .protocol = PM_PROTOCOL_ENTRY, .gfp = PM_GFP_HIGHUSER_MOVABLE, .blocks = PM_ALL_BLOCKS };
}

uint64_t pm_compaction_blocks(struct pm_machine *m, uint32_t index, unsigned int order)
{
	struct pm_zone *zone = &m->zone[index];
	uint64_t blocks = 0;
	unsigned int o, type;

	pm_lock(&zone->lock);
	for (o = order; o < PM_NR_ORDERS; o++)
		for (type = 0; type < PM_MT_ISOLATE; type++)
			blocks += (uint64_t)pm_list_nr(&zone->area[o].list[type]) << (o - order);
	pm_unlock(&zone->lock);
	return blocks;
}

uint64_t pm_compaction_all_blocks(const struct pm_compaction *run)
{
	uint64_t blocks = 0;
	uint32_t zone;

	for (zone = 0; zone < run->call->m->nr_zones; zone++)
		if (pm_compaction_wants(run, zone))
			blocks += pm_compaction_blocks(run->call->m, zone, run->request->order);
	return blocks;
}

/// Frames that a limited call looks at or moves in one go: tens of milliseconds. To move one costs more than to look at it.
enum { PM_COMPACT_ALLOWANCE = 1 << 20, PM_COMPACT_MOVE_COST = 32 };

void pm_compaction_allow(struct pm_compaction *run)
{
	run->allowance = PM_COMPACT_ALLOWANCE;
}

/// Before the first page moves.
static void tell_begin(struct pm_compaction *run)
{
	struct pm_notice notice = { .kind = PM_NOTICE_COMPACT_BEGIN, .cpu = run->call->cpu, .order = run->request->order };

	if (run->begun || !pm_notices_wanted(run->call->m))
		return;
	run->begun = true;
	run->moved_before = run->result->moved;
	run->flushes_before = run->result->flushes;
	pm_notice_send(run->call, &notice);
}

void pm_compaction_end(struct pm_compaction *run)
{
	const struct pm_notify_options *options = &run->call->m->virt->notify;
	struct pm_notice notice = { .kind = PM_NOTICE_COMPACT_END, .cpu = run->call->cpu, .order = run->request->order };

	if (!run->begun)
		return;
	run->begun = false;
	notice.cost_ns = (run->result->moved - run->moved_before) * (options->copy_ns + options->entry_ns) +
			 (run->result->flushes - run->flushes_before) * options->flush_ns;
	pm_notice_send(run->call, &notice);
}

enum pm_status pm_compaction_run(struct pm_compaction *run)
{
	return strategies[run->request->strategy]->run(run);
}

enum pm_status pm_compaction_spend(struct pm_compaction *run, uint64_t frames)
{
	/* Acquire: partner of the release in pm_waits_close(). */
	if (atomic_load_explicit(&run->call->waits->closing, memory_order_acquire))
		return PM_ERR_CLOSED;
	if (!run->call->limited)
		return PM_OK;
	run->allowance -= frames < run->allowance ? frames : run->allowance;
	return run->allowance ? PM_OK : PM_ERR_INTR;
}

/// How many frames the block at `pfn` has, as its head says. Read before it moves: afterwards the head is somebody else's.
static uint32_t frames_at(const struct pm_machine *m, uint64_t pfn)
{
	return pfn < m->nr_frames ? 1u << pm_page_order(m, pm_pfn(pfn)) : 1;
}

enum { PM_MOVE_CHUNK = PM_BATCH_FRAMES };

enum pm_status pm_compaction_move(struct pm_compaction *run, const uint64_t *from, const uint64_t *to, struct pm_supply *supply, size_t n, struct pm_migrate_result *results)
{
	struct pm_call *call = run->call;
	struct pm_compact_result *sum = run->result;
	/* Relaxed: statistics. */
	uint64_t flushes = atomic_load_explicit(&call->m->move->flushes, memory_order_relaxed);
	enum pm_status status = PM_OK;
	uint64_t moved_frames = 0;
	size_t first = 0, i;

	if (n)
		tell_begin(run);
	for (; first < n && !status; first += PM_MOVE_CHUNK) {
		size_t some = n - first < PM_MOVE_CHUNK ? n - first : PM_MOVE_CHUNK, moved;
		struct pm_migrate_request request = { .pfns = from + first, .n = some, .mode = run->mode, .protocol = run->request->protocol };
		uint32_t frames[PM_MOVE_CHUNK];

		if (to)
			request.destination = (struct pm_destination){ .kind = PM_DEST_GIVEN, .frames = to + first };
		for (i = 0; i < some; i++)
			frames[i] = frames_at(call->m, from[first + i]);
		status = pm_migrate_frames(call, &request, supply, results + first, &moved);
		for (i = 0; i < some; i++) {
			const struct pm_migrate_result *result = &results[first + i];

			if (result->to != PM_NO_FRAME)
				moved_frames += frames[i];
			else if (result->reason < PM_NR_WHY)
				sum->failed[result->reason] += frames[i];
		}
		sum->batches++;
	}
	for (i = first; i < n; i++)
		results[i] = (struct pm_migrate_result){ .status = PM_ERR_INTR, .reason = PM_WHY_CANCELLED, .to = PM_NO_FRAME };
	sum->moved += moved_frames;
	sum->flushes += atomic_load_explicit(&call->m->move->flushes, memory_order_relaxed) - flushes;
	return status ? status : pm_compaction_spend(run, moved_frames * PM_COMPACT_MOVE_COST);
}

static enum pm_status check(const struct pm_machine *m, const struct pm_compact_request *request)
{
	if (!pm_strategy_name(request->strategy) || request->order > PM_MAX_ORDER || (request->zone != PM_EVERY_ZONE && request->zone >= m->nr_zones) ||
	    request->priority > PM_COMPACT_FULL || !pm_migrate_protocol_name(request->protocol) || (request->flags & ~(uint32_t)PM_COMPACT_CAPTURE) ||
	    (request->gfp & ~(uint32_t)PM_GFP_ALL) || !request->blocks || (request->resume && request->resume->resume_zone > m->nr_zones))
		return PM_ERR_INVAL;
	/* A block for the caller is one block. */
	return (request->flags & PM_COMPACT_CAPTURE) && request->blocks != 1 ? PM_ERR_INVAL : PM_OK;
}

static uint32_t mode_of(const struct pm_compact_request *request)
{
	if (request->priority == PM_COMPACT_ASYNC)
		return PM_MIGRATE_ASYNC;
	return request->priority == PM_COMPACT_FULL && request->blocks == PM_ALL_BLOCKS ? PM_MIGRATE_SYNC : PM_MIGRATE_SYNC_LIGHT;
}

struct pm_compact_result pm_compaction_result(void)
{
	struct pm_compact_result result = { .captured = PM_NO_FRAME, .status = PM_COMPACTED_NOTHING };
	unsigned int zone;

	for (zone = 0; zone < PM_MAX_ZONES; zone++)
		result.zone[zone].stopped_pfn = PM_NO_FRAME;
	return result;
}

enum pm_status pm_compact(struct pm_machine *m, uint32_t cpu, const struct pm_compact_request *request, struct pm_compact_result *ret)
{
	struct pm_call call;
	struct pm_compact_result result = request->resume ? *request->resume : pm_compaction_result();
	struct pm_compaction run = { .call = &call, .request = request, .result = &result, .mode = mode_of(request) };
	enum pm_status status = pm_call_begin(m, cpu, &call);

	if (status)
		return status;
	status = check(m, request);
	if (!status)
		status = pm_move_init(m);
	if (!status) {
		pm_compaction_allow(&run);
		if (!request->resume)
			result.blocks_before = pm_compaction_all_blocks(&run);
		status = pm_compaction_run(&run);
		pm_compaction_end(&run);
		result.blocks_after = pm_compaction_all_blocks(&run);
		*ret = result;
	}
	pm_call_end(&call);
	return status;
}

enum pm_status pm_compact_moves(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t mode, uint32_t protocol, size_t n, const uint64_t *from,
				const uint64_t *to, struct pm_migrate_result *results, struct pm_compact_result *ret)
{
	struct pm_call call;
	struct pm_compact_request request = { .order = order, .zone = PM_EVERY_ZONE, .protocol = protocol };
	struct pm_compact_result result = pm_compaction_result();
	struct pm_compaction run = { .call = &call, .request = &request, .result = &result, .mode = mode };
	enum pm_status status = pm_call_begin(m, cpu, &call);

	if (status)
		return status;
	if (order > PM_MAX_ORDER || mode > PM_MIGRATE_SYNC || !pm_migrate_protocol_name(protocol) || (n && (!from || !to || !results)))
		status = PM_ERR_INVAL;
	if (!status)
		status = pm_move_init(m);
	if (!status) {
		pm_compaction_allow(&run);
		result.blocks_before = pm_compaction_all_blocks(&run);
		status = pm_compaction_move(&run, from, to, NULL, n, results);
		pm_compaction_end(&run);
		result.blocks_after = pm_compaction_all_blocks(&run);
		result.status = status ? PM_COMPACTED_PARTIAL_SKIPPED : PM_COMPACTED_COMPLETE;
		*ret = result;
	}
	pm_call_end(&call);
	return status;
}
