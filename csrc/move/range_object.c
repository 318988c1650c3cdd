/// Ranges as callers see them: handles, one thread at a time, cancelling.
#include <string.h>

#include "move/protocol.h"
#include "move/range.h"
#include "virt/epoch.h"

const char *pm_range_state_name(uint32_t state)
{
	static const char *const names[PM_NR_RANGE_STATES] = { "searching", "checking", "isolating", "evacuating", "claiming", "rolling back", "done", "failed" };

	return state < PM_NR_RANGE_STATES ? names[state] : NULL;
}

void pm_range_request_default(uint32_t kind, struct pm_range_request *ret)
{
	*ret = (struct pm_range_request){ .kind = kind,
					  .mode = PM_MIGRATE_SYNC,
					  .protocol = PM_PROTOCOL_ENTRY,
					  .tries = kind == PM_RANGE_TAKE ? 5 : 0,
					  .candidates = PM_RANGE_MAX_CANDIDATES,
					  .migratetype = PM_MT_MOVABLE };
}

static enum pm_status check_search(const struct pm_machine *m, const struct pm_range_request *request)
{
	if (request->kind != PM_RANGE_TAKE || !request->nr || request->nr > m->nr_frames || (request->align & (request->align - 1)) || request->align > m->nr_frames ||
	    !request->candidates || request->candidates > PM_RANGE_MAX_CANDIDATES || request->start >= request->end)
		return PM_ERR_INVAL;
	return PM_OK;
}

/// Does [start, end) lie in one zone, and, if it goes by pageblocks, do its ends?
static enum pm_status check_range(struct pm_machine *m, const struct pm_range_request *request)
{
	struct pm_zone *zone = pm_zone_of(m, request->start);
	uint64_t block;

	if (request->start >= request->end)
		return PM_ERR_INVAL;
	if (!zone || request->end > zone->end)
		return PM_ERR_RANGE;
	if (request->kind != PM_RANGE_TAKE && ((request->start % PM_PAGEBLOCK_NR_PAGES && request->start != zone->start) ||
					       (request->end % PM_PAGEBLOCK_NR_PAGES && request->end != zone->end)))
		return PM_ERR_INVAL;
	for (block = request->start >> PM_PAGEBLOCK_ORDER; block <= (request->end - 1) >> PM_PAGEBLOCK_ORDER; block++)
		if (pm_pageblock_offline(&m->tables.pageblocks[block]))
			return PM_ERR_RANGE;
	return PM_OK;
}

static enum pm_status check_request(struct pm_machine *m, const struct pm_range_request *request)
{
	if (request->kind > PM_RANGE_OFFLINE || (request->flags & ~(uint32_t)(PM_RANGE_SEARCH | PM_RANGE_KEEP_MOVES)) || request->mode > PM_MIGRATE_SYNC ||
	    !pm_protocol_of(request->protocol) || request->migratetype >= PM_NR_PCP_TYPES)
		return PM_ERR_INVAL;
	return request->flags & PM_RANGE_SEARCH ? check_search(m, request) : check_range(m, request);
}

/// The object as it begins; what it had as another range is gone.
static void begin(struct pm_machine *m, struct pm_range_op *op, const struct pm_range_request *request)
{
	/* Not what comes before: who has an old handle may be looking at it. */
	memset(&op->handle, 0, sizeof(*op) - offsetof(struct pm_range_op, handle));
	op->request = *request;
	op->state = PM_RANGE_SEARCHING;
	if (!op->request.align)
		op->request.align = request->nr & -request->nr;
	if (request->flags & PM_RANGE_SEARCH)
		return;
	op->zone = pm_zone_of(m, request->start);
	op->start = op->at = (uint32_t)request->start;
	op->end = (uint32_t)request->end;
	op->state = PM_RANGE_CHECKING;
	op->tried = 1;
}

enum pm_status pm_range_begin(struct pm_machine *m, const struct pm_range_request *request, uint64_t *ret)
{
	struct pm_call call;
	enum pm_status status = pm_call_begin(m, 0, &call);

	if (status)
		return status;
	status = check_request(m, request);
	if (!status)
		status = pm_move_init(m);
	if (!status) {
		struct pm_pool *ranges = &atomic_load(&m->move)->ranges;
		struct pm_range_op *op = pm_pool_get(ranges);

		if (op) {
			begin(m, op, request);
			*ret = op->handle = pm_pool_publish(ranges, op);
		} else {
			status = PM_ERR_NOMEM;
		}
	}
	pm_call_end(&call);
	return status;
}

static struct pm_range_op *find(struct pm_machine *m, uint64_t handle)
{
	struct pm_move *move = atomic_load(&m->move);

	return move ? pm_pool_find(&move->ranges, handle) : NULL;
}

/// Finds a range and makes it this thread's. PM_ERR_AGAIN: another thread is at it.
static enum pm_status seize(struct pm_machine *m, uint64_t handle, struct pm_range_op **ret)
{
	struct pm_range_op *op = find(m, handle);
	uint32_t expected = 0;

	if (!op)
		return PM_ERR_HANDLE;
	if (!atomic_compare_exchange_strong(&op->busy, &expected, 1))
		return PM_ERR_AGAIN;
	if (!pm_pool_is(&atomic_load(&m->move)->ranges, op, handle)) {
		atomic_store(&op->busy, 0);
		return PM_ERR_HANDLE;
	}
	*ret = op;
	return PM_OK;
}

static void describe(const struct pm_range_op *op, struct pm_range_info *ret)
{
	*ret = (struct pm_range_info){ .state = op->state,
				       .over = op->state >= PM_RANGE_DONE,
				       .status = op->state == PM_RANGE_FAILED ? op->status : PM_OK,
				       .start = op->start,
				       .end = op->end,
				       .moved = op->moved,
				       .put_back = op->put_back,
				       .passes = op->passes,
				       .tried = op->tried,
				       .nr_obstacles = op->nr_obstacles };
}

enum pm_status pm_range_run(struct pm_machine *m, uint32_t cpu, uint64_t handle, struct pm_range_info *ret)
{
	struct pm_call call;
	struct pm_range_run run = { .call = &call, .budget = PM_RANGE_BUDGET };
	enum pm_status status = pm_call_begin(m, cpu, &call);

	if (status)
		return status;
	status = seize(m, handle, &run.op);
	if (!status) {
		if (run.op->state >= PM_RANGE_DONE) {
			status = PM_ERR_STATE;
		} else {
			status = pm_range_work(&run);
			if (!status && run.op->state == PM_RANGE_FAILED)
				status = run.op->status;
		}
		describe(run.op, ret);
		atomic_store(&run.op->busy, 0);
	}
	pm_call_end(&call);
	return status;
}

enum pm_status pm_range_cancel(struct pm_machine *m, uint64_t handle)
{
	struct pm_call call;
	enum pm_status status = pm_call_begin(m, 0, &call);
	struct pm_range_op *op;

	if (status)
		return status;
	op = find(m, handle);
	if (op) {
		/* Sequentially consistent, and first: the sleeper looks at it once it is queued. */
		atomic_store(&op->cancelled, handle);
		(void)pm_wake_all(call.waits, pm_wait_key(op));
	}
	pm_call_end(&call);
	return op ? PM_OK : PM_ERR_HANDLE;
}

enum pm_status pm_range_obstacles(struct pm_machine *m, uint64_t handle, size_t n, struct pm_obstacle *obstacles, size_t *ret)
{
	struct pm_call call;
	enum pm_status status = pm_call_begin(m, 0, &call);
	struct pm_range_op *op;
	size_t i;

	if (status)
		return status;
	status = seize(m, handle, &op);
	if (!status) {
		for (i = 0; i < n && i < op->nr_obstacles; i++)
			obstacles[i] = op->obstacles[i];
		*ret = op->nr_obstacles;
		atomic_store(&op->busy, 0);
	}
	pm_call_end(&call);
	return status;
}

static void free_lists(struct pm_machine *m, struct pm_range_op *op)
{
	pm_host_free(&m->host, op->moves);
	pm_host_free(&m->host, op->obstacles);
	op->moves = NULL;
	op->obstacles = NULL;
	op->nr_moves = op->room_moves = op->nr_obstacles = op->room_obstacles = 0;
}

enum pm_status pm_range_end(struct pm_machine *m, uint32_t cpu, uint64_t handle)
{
	struct pm_call call;
	struct pm_range_run run = { .call = &call, .budget = PM_RANGE_BUDGET };
	enum pm_status status = pm_call_begin(m, cpu, &call);

	if (status)
		return status;
	status = seize(m, handle, &run.op);
	if (!status) {
		struct pm_pool *ranges = &atomic_load(&m->move)->ranges;

		pm_range_undo(&run);
		free_lists(m, run.op);
		pm_pool_unpublish_any(ranges, run.op);
		atomic_store(&run.op->busy, 0);
		pm_pool_put(ranges, run.op);
	}
	pm_call_end(&call);
	return status;
}

void pm_range_end_all(struct pm_machine *m)
{
	struct pm_pool *ranges = &atomic_load(&m->move)->ranges;
	struct pm_range_op *op;
	uint32_t after = 0;

	while ((op = pm_pool_next(ranges, after)) != NULL) {
		after = op->pooled.index;
		free_lists(m, op);
		pm_pool_unpublish_any(ranges, op);
		pm_pool_put(ranges, op);
	}
}
