/// Emptying a range through the engine, and putting back what had moved.
#include "move/range.h"

#include <string.h>

#include "phys/buddy.h"
#include "phys/pcp.h"

/// Blocks that move in one go.
enum { PM_RANGE_BATCH = PM_BATCH_FRAMES };

/// Sleeps of one go where the caller's own call may sleep for ever: it has to look for pm_range_cancel() now and then.
enum { PM_RANGE_SLICES = 4 };

static enum pm_status migrate_some(struct pm_range_run *run, const struct pm_migrate_request *request, struct pm_supply *supply, struct pm_migrate_result *results)
{
	struct pm_call *call = run->call;
	bool limited = call->limited;
	enum pm_status status;
	size_t moved;

	if (!limited)
		call->slices = PM_RANGE_SLICES;
	call->limited = true;
	status = pm_migrate_frames(call, request, supply, results, &moved);
	call->limited = limited;
	/* What it did not come to is still in the way, and has its turn in the next pass. */
	return status == PM_ERR_INTR && !limited ? PM_OK : status;
}

/* ---- away ---- */

struct batch {
	struct pm_range_op *op;
	uint64_t pfns[PM_RANGE_BATCH];
	struct pm_range_seen fixed[PM_RANGE_BATCH]; ///< what is there and does not move now
	uint32_t nr, nr_fixed;
	bool drain;
};

static bool collect(const struct pm_range_seen *seen, void *arg)
{
	struct batch *batch = arg;

	switch (seen->what) {
	case PM_RW_FREE:
		break;
	case PM_RW_PCP:
		batch->drain = true;
		batch->op->in_the_way += seen->nr;
		break;
	case PM_RW_MOVABLE:
		batch->pfns[batch->nr++] = seen->head;
		break;
	default:
		if (!seen->hole)
			batch->fixed[batch->nr_fixed++] = *seen;
		break;
	}
	return batch->nr < PM_RANGE_BATCH && batch->nr_fixed < PM_RANGE_BATCH;
}

static bool reserve_moves(struct pm_host *host, struct pm_range_op *op)
{
	size_t room = op->room_moves ? 2 * op->room_moves : 2 * PM_RANGE_BATCH;
	struct pm_range_moved *more;

	if ((op->request.flags & PM_RANGE_KEEP_MOVES) || op->nr_moves + PM_RANGE_BATCH <= op->room_moves)
		return true;
	more = pm_host_zalloc(host, room * sizeof(*more));
	if (!more)
		return false;
	if (op->nr_moves)
		memcpy(more, op->moves, op->nr_moves * sizeof(*more));
	pm_host_free(host, op->moves);
	op->moves = more;
	op->room_moves = room;
	return true;
}

/// What does not move at all: notes it. PM_ERR_BUSY: for good.
static enum pm_status note_fixed(struct pm_machine *m, struct batch *batch)
{
	enum pm_status status = PM_OK, noted;
	uint32_t i;

	for (i = 0; i < batch->nr_fixed; i++) {
		const struct pm_range_seen *seen = &batch->fixed[i];

		batch->op->in_the_way += seen->nr;
		noted = pm_range_note(m, batch->op, seen->head, seen->nr, seen->what == PM_RW_PINNED ? PM_WHY_PINNED : PM_WHY_NOT_MOVABLE);
		if (noted)
			return noted;
		if (seen->what == PM_RW_FIXED)
			status = PM_ERR_BUSY;
	}
	return status;
}

static enum pm_status note_results(struct pm_machine *m, struct batch *batch, const struct pm_migrate_result *results, const uint32_t *frames)
{
	struct pm_range_op *op = batch->op;
	enum pm_status status = PM_OK;
	uint32_t i;

	for (i = 0; i < batch->nr && !status; i++) {
		if (results[i].to != UINT64_MAX) {
			op->moved += frames[i];
			op->moved_now += frames[i];
			if (!(op->request.flags & PM_RANGE_KEEP_MOVES))
				op->moves[op->nr_moves++] = (struct pm_range_moved){ (uint32_t)batch->pfns[i], (uint32_t)results[i].to };
			continue;
		}
		if (results[i].reason == PM_WHY_FREED)
			continue;
		op->in_the_way += frames[i];
		op->no_memory |= results[i].reason == PM_WHY_NO_MEMORY;
		if (results[i].reason != PM_WHY_CANCELLED)
			status = pm_range_note(m, op, (uint32_t)batch->pfns[i], frames[i], results[i].reason);
	}
	return status;
}

static enum pm_status move_away(struct pm_range_run *run, struct batch *batch, struct pm_migrate_result *results)
{
	struct pm_range_op *op = run->op;
	struct pm_migrate_request request = { .pfns = batch->pfns, .n = batch->nr, .mode = op->request.mode, .protocol = op->request.protocol };
	struct pm_machine *m = run->call->m;
	uint32_t frames[PM_RANGE_BATCH], i;
	enum pm_status status, noted;

	/* Afterwards the heads are somebody else's. */
	for (i = 0; i < batch->nr; i++)
		frames[i] = 1u << pm_page_order(m, pm_pfn(batch->pfns[i]));
	/* The engine fills these in; it does not come to all where it stops. */
	for (i = 0; i < batch->nr; i++)
		results[i] = (struct pm_migrate_result){ .status = PM_ERR_INTR, .reason = PM_WHY_CANCELLED, .to = UINT64_MAX };
	status = migrate_some(run, &request, NULL, results);
	noted = note_results(m, batch, results, frames);
	return noted ? noted : status;
}

enum pm_status pm_range_evacuate(struct pm_range_run *run)
{
	struct pm_range_op *op = run->op;
	struct pm_machine *m = run->call->m;
	struct pm_host *host = &m->host;
	struct batch *batch = pm_host_zalloc(host, sizeof(*batch));
	struct pm_migrate_result *results = pm_host_zalloc(host, PM_RANGE_BATCH * sizeof(*results));
	uint32_t from = op->at, some = op->end - from < PM_RANGE_BUDGET / 16 ? op->end : from + PM_RANGE_BUDGET / 16, cpu;
	enum pm_status status = batch && results && reserve_moves(host, op) ? PM_OK : PM_ERR_NOMEM;
	bool spent = false;

	if (!status) {
		batch->op = op;
		/* Until now the list was that of the pass before. */
		if (op->at == op->start)
			op->nr_obstacles = 0;
		op->at = pm_range_walk(m, op->zone, from, some, collect, batch);
		if (batch->drain)
			for (cpu = 0; cpu < m->nr_cpus; cpu++)
				pm_pcp_drain_zone(m, op->zone, cpu);
		status = note_fixed(m, batch);
		if (!status && batch->nr)
			status = move_away(run, batch, results);
		spent = pm_range_spent(run, (int64_t)(op->at - from) + (int64_t)batch->nr * PM_RANGE_MOVE_COST);
	}
	pm_host_free(host, batch);
	pm_host_free(host, results);
	return !status && spent && op->at < op->end ? PM_ERR_INTR : status;
}

/* ---- back ---- */

/// Hands out the frames that things came from.
struct origins {
	struct pm_supply supply;
	const struct pm_range_moved *moves; ///< [n]
	uint32_t n, next;
};

static enum pm_status get_origin(struct pm_supply *supply, struct pm_call *call, struct pm_pfn from, unsigned int order, struct pm_pfn *ret)
{
	struct origins *origins = (struct origins *)supply;
	uint32_t i;

	/* They are asked for nearly in order. */
	for (i = 0; i < origins->n; i++) {
		const struct pm_range_moved *move = &origins->moves[(origins->next + i) % origins->n];

		if (move->to != from.v)
			continue;
		origins->next = (origins->next + i + 1) % origins->n;
		if (pm_take_isolated(call->m, move->from, order, PM_MT_MOVABLE) != PM_OK)
			return PM_ERR_NOMEM;
		*ret = pm_pfn(move->from);
		return PM_OK;
	}
	return PM_ERR_NOMEM;
}

static void emptied(struct pm_supply *supply, struct pm_call *call, size_t n, const uint64_t *pfns)
{
	size_t done;
	enum pm_status status = pm_free_bulk(call->m, call->cpu, 0, n, pfns, &done);

	(void)supply;
	PM_ASSERT(status == PM_OK && done == n);
}

/// Moves whose origin is free and whose thing can still move; the others are forgotten. From [first, first + n) to the front of it; returns how many.
static uint32_t still_possible(struct pm_machine *m, struct pm_zone *zone, struct pm_range_moved *moves, uint32_t n)
{
	uint32_t kept = 0, i;

	for (i = 0; i < n; i++) {
		unsigned int order = pm_page_order(m, pm_pfn(moves[i].to)), covering = 0;
		struct pm_pfn head;

		if (pm_word_kind(pm_frame_word(pm_frame_of(m, pm_pfn(moves[i].to)))) != PM_FRAME_OWNED)
			continue;
		pm_lock(&zone->lock);
		head = pm_buddy_find(m, zone, pm_pfn(moves[i].from), &covering);
		pm_unlock(&zone->lock);
		if (!pm_pfn_is_nil(head) && covering >= order && pm_pfn_aligned(pm_pfn(moves[i].from), order))
			moves[kept++] = moves[i];
	}
	return kept;
}

/// One batch, the last of the list. What stays away goes to the list's front part, for the next round.
static enum pm_status put_back_batch(struct pm_range_run *run, struct pm_migrate_result *results, uint64_t *pfns)
{
	struct pm_range_op *op = run->op;
	struct pm_machine *m = run->call->m;
	uint32_t left = (uint32_t)op->nr_moves - op->at, n = left < PM_RANGE_BATCH ? left : PM_RANGE_BATCH, i;
	struct pm_range_moved *moves = op->moves + op->at;
	struct origins origins = { .supply = { .get = get_origin, .emptied = emptied }, .moves = moves };
	struct pm_migrate_request request = { .pfns = pfns, .mode = PM_MIGRATE_ASYNC, .protocol = op->request.protocol };
	uint32_t frames[PM_RANGE_BATCH];
	enum pm_status status;

	op->at += n;
	request.n = origins.n = still_possible(m, op->zone, moves, n);
	for (i = 0; i < origins.n; i++) {
		pfns[i] = moves[i].to;
		frames[i] = 1u << pm_page_order(m, pm_pfn(moves[i].to));
		results[i] = (struct pm_migrate_result){ .status = PM_ERR_INTR, .reason = PM_WHY_CANCELLED, .to = UINT64_MAX };
	}
	if (!origins.n)
		return PM_OK;
	status = migrate_some(run, &request, &origins.supply, results);
	for (i = 0; i < origins.n; i++) {
		if (results[i].to != UINT64_MAX)
			op->put_back += frames[i];
		else if (results[i].reason != PM_WHY_FREED)
			op->moves[op->kept++] = moves[i];
	}
	return status;
}

/// Rounds over what had moved away: what is busy for a moment in one may come back in the next.
enum { PM_RANGE_ROUNDS = 3 };

enum pm_status pm_range_put_back(struct pm_range_run *run)
{
	struct pm_range_op *op = run->op;
	struct pm_host *host = &run->call->m->host;
	struct pm_migrate_result *results = pm_host_zalloc(host, PM_RANGE_BATCH * sizeof(*results));
	uint64_t *pfns = pm_host_zalloc(host, PM_RANGE_BATCH * sizeof(*pfns));
	/* Without memory for that, things stay where they are, which does no harm. */
	enum pm_status status = results && pfns ? PM_OK : PM_ERR_NOMEM;

	while (!status && op->nr_moves && op->rounds < PM_RANGE_ROUNDS) {
		status = put_back_batch(run, results, pfns);
		if (op->at == op->nr_moves) {
			op->nr_moves = op->kept;
			op->at = op->kept = 0;
			op->rounds++;
		}
		if (!status && op->nr_moves && op->rounds < PM_RANGE_ROUNDS && pm_range_spent(run, PM_RANGE_BATCH * PM_RANGE_MOVE_COST))
			status = PM_ERR_INTR;
	}
	pm_host_free(host, results);
	pm_host_free(host, pfns);
	return status;
}
