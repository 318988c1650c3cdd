/// Ranges of frames: isolated, taken, offline (REFERENCE section 6). What Linux 6.18 does in alloc_contig_range(), alloc_contig_pages(),
/// offline_pages() and start_isolate_page_range(), as an object that one call after the other works on.
#include "move/range.h"

#include "phys/buddy.h"
#include "phys/hotplug.h"
#include "phys/pageblock.h"
#include "phys/pcp.h"
#include "virt/epoch.h"

/// Passes of CHECKING over what may be on its way to an owner, where the request does not say.
enum { PM_RANGE_CHECKS = 5 };

/// Passes without any memory to move to, after which there will be none.
enum { PM_RANGE_STARVED = 5 };

static uint32_t first_block(const struct pm_range_op *op)
{
	return op->start >> PM_PAGEBLOCK_ORDER;
}

static uint32_t nr_blocks(const struct pm_range_op *op)
{
	return ((op->end - 1) >> PM_PAGEBLOCK_ORDER) - first_block(op) + 1;
}

static void go_to(struct pm_range_op *op, enum pm_range_state state)
{
	op->state = state;
	op->at = op->start;
}

/// Sleeps a moment: others go on who are in the way.
static enum pm_status pause_a_moment(struct pm_range_run *run)
{
	struct pm_waiter waiter;
	enum pm_status status = PM_OK;

	/* A scheduled task must not wait for a moment to pass. */
	if (pm_scheduled()) {
		pm_block(PM_AT_PAUSE, run->op, pm_wait_key(run->op));
		return PM_OK;
	}
	pm_wait_prepare(run->call, &waiter, pm_wait_key(run->op));
	if (!pm_range_cancelled(run->op))
		status = pm_call_sleep(run->call, &waiter);
	pm_wait_finish(run->call, &waiter);
	return status;
}

/* ---- the states ---- */

/// The range at hand is this one; nothing is done to it yet.
static void take_up(struct pm_range_op *op, uint32_t start, uint32_t end)
{
	op->start = start;
	op->end = end;
	op->pass = op->isolated = op->starved = 0;
	op->tried++;
	go_to(op, PM_RANGE_CHECKING);
}

/// Takes up the next candidate. PM_ERR_NO_BLOCK: there is none.
static enum pm_status next_candidate(struct pm_machine *m, struct pm_range_op *op)
{
	uint32_t start;

	if (op->next_candidate == op->nr_candidates)
		return PM_ERR_NO_BLOCK;
	start = op->candidates[op->next_candidate++].start;
	op->zone = pm_zone_of(m, start);
	take_up(op, start, start + (uint32_t)op->request.nr);
	return PM_OK;
}

static enum pm_status search(struct pm_range_run *run)
{
	enum pm_status status = pm_range_search(run);

	return status ? status : next_candidate(run->call->m, run->op);
}

static enum pm_status check(struct pm_range_run *run)
{
	struct pm_range_op *op = run->op;
	enum pm_status status = pm_range_check(run);
	uint32_t most = op->request.tries ? op->request.tries : PM_RANGE_CHECKS;

	if (status == PM_ERR_AGAIN) {
		if (++op->pass >= most)
			return PM_ERR_BUSY;
		op->at = op->start;
		return pause_a_moment(run);
	}
	if (status)
		return status;
	/* What is isolated and holds nothing that cannot move is all that was wanted. */
	if (op->isolated)
		op->state = PM_RANGE_DONE;
	else
		go_to(op, PM_RANGE_ISOLATING);
	op->pass = 0;
	return PM_OK;
}

/// Begins a pass over what stands in the range.
static void begin_pass(struct pm_range_op *op)
{
	op->in_the_way = op->moved_now = 0;
	op->no_memory = false;
	op->pass++;
	op->passes++;
	go_to(op, PM_RANGE_EVACUATING);
}

static enum pm_status isolate(struct pm_range_run *run)
{
	struct pm_range_op *op = run->op;
	struct pm_machine *m = run->call->m;
	uint32_t cpu;

	while (op->isolated < nr_blocks(op)) {
		uint32_t pfn = (first_block(op) + op->isolated) << PM_PAGEBLOCK_ORDER;
		bool isolated;

		pm_lock(&op->zone->lock);
		isolated = pm_pageblock_isolate(m, op->zone, pm_pfn(pfn), true);
		pm_unlock(&op->zone->lock);
		if (!isolated) {
			enum pm_status status = pm_range_note(m, op, pfn, PM_PAGEBLOCK_NR_PAGES, PM_WHY_NOT_ON_LIST);

			return status ? status : PM_ERR_BUSY;
		}
		op->isolated++;
		if (pm_range_spent(run, PM_PAGEBLOCK_NR_PAGES) && op->isolated < nr_blocks(op))
			return PM_ERR_INTR;
	}
	/* After this nothing comes to these lists from here any more: a free looks at its pageblock again under the list's lock. */
	for (cpu = 0; cpu < m->nr_cpus && !PM_PLANTED(ISOLATE_NO_DRAIN); cpu++)
		pm_pcp_drain_zone(m, op->zone, cpu);
	if (op->request.kind == PM_RANGE_ISOLATE)
		/* Something may have come between the check and the isolation. */
		go_to(op, PM_RANGE_CHECKING);
	else
		begin_pass(op);
	return PM_OK;
}

static enum pm_status evacuate(struct pm_range_run *run)
{
	struct pm_range_op *op = run->op;
	enum pm_status status = pm_range_evacuate(run);

	if (status || op->at < op->end)
		return status;
	if (!op->in_the_way) {
		go_to(op, PM_RANGE_CLAIMING);
		return PM_OK;
	}
	op->starved = op->no_memory && !op->moved_now ? op->starved + 1 : 0;
	if ((op->request.tries && op->pass >= op->request.tries) || op->starved >= PM_RANGE_STARVED)
		return op->no_memory ? PM_ERR_WATERMARK : PM_ERR_BUSY;
	begin_pass(op);
	return pause_a_moment(run);
}

/// The order of the block that a taken range has at `pfn`.
static unsigned int piece_order(uint64_t pfn, uint64_t end)
{
	unsigned int order = pfn ? (unsigned int)__builtin_ctzll(pfn) : PM_MAX_ORDER;

	if (order > PM_MAX_ORDER)
		order = PM_MAX_ORDER;
	while (pfn + ((uint64_t)1 << order) > end)
		order--;
	return order;
}

/// Gives [start, to) back, which was taken.
static void give_back(struct pm_machine *m, struct pm_range_op *op, uint32_t to)
{
	uint64_t pfn = op->start;

	while (pfn < to) {
		unsigned int order = piece_order(pfn, op->end);

		pm_lock(&op->zone->lock);
		pm_pageblock_free(m, op->zone, pm_pfn(pfn), order);
		op->zone->nr_freed++;
		pm_unlock(&op->zone->lock);
		pfn += (uint64_t)1 << order;
	}
}

static void end_isolation(struct pm_machine *m, struct pm_range_op *op)
{
	while (op->isolated) {
		uint32_t pfn = (first_block(op) + --op->isolated) << PM_PAGEBLOCK_ORDER;

		pm_lock(&op->zone->lock);
		(void)pm_pageblock_isolate(m, op->zone, pm_pfn(pfn), false);
		pm_unlock(&op->zone->lock);
	}
}

/// Everything is free: takes it. False if something is not: nothing is taken then.
static bool take_all(struct pm_machine *m, struct pm_range_op *op)
{
	uint64_t pfn = op->start;

	while (pfn < op->end) {
		unsigned int order = piece_order(pfn, op->end);
		bool taken;

		pm_lock(&op->zone->lock);
		taken = pm_buddy_take_exact(m, op->zone, pm_pfn(pfn), order);
		if (taken) {
			pm_frame_set_word(pm_frame_of(m, pm_pfn(pfn)), pm_word(PM_FRAME_USED, op->request.migratetype, order));
			op->zone->nr_alloc++;
		}
		pm_unlock(&op->zone->lock);
		if (!taken) {
			give_back(m, op, (uint32_t)pfn);
			return false;
		}
		pfn += (uint64_t)1 << order;
	}
	end_isolation(m, op);
	return true;
}

/// Everything is free: the frames leave the zone. False, and nothing done, if something is not.
static bool send_offline(struct pm_machine *m, struct pm_range_op *op)
{
	uint32_t first = first_block(op), block;

	for (block = first; block < first + nr_blocks(op); block++) {
		bool gone;

		pm_lock(&op->zone->lock);
		gone = pm_pageblock_go_offline(m, op->zone, block);
		pm_unlock(&op->zone->lock);
		if (gone)
			continue;
		while (block-- > first) {
			pm_lock(&op->zone->lock);
			(void)pm_pageblock_come_online(m, op->zone, block);
			(void)pm_pageblock_isolate(m, op->zone, pm_pfn(block << PM_PAGEBLOCK_ORDER), true);
			pm_unlock(&op->zone->lock);
		}
		return false;
	}
	op->isolated = 0;
	pm_zones_resized(m);
	return true;
}

static enum pm_status claim(struct pm_range_run *run)
{
	struct pm_range_op *op = run->op;
	struct pm_machine *m = run->call->m;

	if (op->request.kind == PM_RANGE_TAKE ? take_all(m, op) : send_offline(m, op)) {
		op->state = PM_RANGE_DONE;
		return PM_OK;
	}
	if (op->request.tries && op->pass >= op->request.tries)
		return PM_ERR_BUSY;
	begin_pass(op);
	return PM_OK;
}

static void begin_rollback(struct pm_range_op *op, enum pm_status status)
{
	op->status = status;
	op->state = PM_RANGE_ROLLING_BACK;
	op->at = 0;
	op->kept = 0;
	op->rounds = 0;
}

/// Is there another candidate that may do better?
static bool may_go_on(const struct pm_range_op *op)
{
	return (op->status == PM_ERR_BUSY || op->status == PM_ERR_WATERMARK) && op->next_candidate < op->nr_candidates && !pm_range_cancelled(op);
}

static enum pm_status roll_back(struct pm_range_run *run)
{
	struct pm_range_op *op = run->op;
	enum pm_status status = op->isolated ? pm_range_put_back(run) : PM_OK;

	if (status == PM_ERR_INTR)
		return status;
	if (!PM_PLANTED(ISOLATION_KEPT))
		end_isolation(run->call->m, op);
	op->nr_moves = op->nr_splits = 0;
	if (may_go_on(op))
		return next_candidate(run->call->m, op);
	op->state = PM_RANGE_FAILED;
	return PM_OK;
}

static enum pm_status (*const steps[PM_RANGE_DONE])(struct pm_range_run *run) = {
	[PM_RANGE_SEARCHING] = search, [PM_RANGE_CHECKING] = check,  [PM_RANGE_ISOLATING] = isolate,
	[PM_RANGE_EVACUATING] = evacuate, [PM_RANGE_CLAIMING] = claim, [PM_RANGE_ROLLING_BACK] = roll_back,
};

enum pm_status pm_range_work(struct pm_range_run *run)
{
	struct pm_range_op *op = run->op;

	while (op->state < PM_RANGE_DONE) {
		enum pm_status status = PM_OK;

		if (op->state != PM_RANGE_ROLLING_BACK && pm_range_cancelled(op))
			begin_rollback(op, PM_ERR_INTR);
		status = steps[op->state](run);
		if (status == PM_ERR_CLOSED)
			return status;
		if (status == PM_ERR_INTR && op->state < PM_RANGE_DONE)
			return status;
		if (status && op->state != PM_RANGE_ROLLING_BACK)
			begin_rollback(op, status);
	}
	return PM_OK;
}

void pm_range_undo(struct pm_range_run *run)
{
	struct pm_range_op *op = run->op;

	if (op->state < PM_RANGE_DONE) {
		atomic_store(&op->cancelled, op->handle);
		run->call->limited = false;
		/* Putting back never sleeps. Of a machine that closes nothing has to be undone. */
		(void)pm_range_work(run);
	}
	if (op->request.kind == PM_RANGE_ISOLATE)
		end_isolation(run->call->m, op);
}

/* ---- what needs no object ---- */

enum pm_status pm_range_free(struct pm_machine *m, uint32_t cpu, uint64_t start, uint64_t nr, uint64_t *ret)
{
	uint64_t pfn = start;
	enum pm_status status = PM_OK;

	*ret = 0;
	if (start > m->nr_frames || nr > m->nr_frames - start)
		return PM_ERR_RANGE;
	while (pfn < start + nr && !status) {
		unsigned int order = piece_order(pfn, start + nr);

		status = pm_free(m, cpu, pfn, order);
		if (!status)
			pfn += (uint64_t)1 << order;
	}
	*ret = pfn - start;
	return status;
}

enum pm_status pm_range_online(struct pm_machine *m, uint64_t start, uint64_t end)
{
	struct pm_zone *zone = pm_zone_of(m, start);
	uint64_t first = start >> PM_PAGEBLOCK_ORDER, last, block;
	bool offline = true;

	if (start >= end || !zone || end > zone->end || (start % PM_PAGEBLOCK_NR_PAGES && start != zone->start) || (end % PM_PAGEBLOCK_NR_PAGES && end != zone->end))
		return PM_ERR_RANGE;
	last = (end - 1) >> PM_PAGEBLOCK_ORDER;
	pm_lock(&zone->lock);
	for (block = first; block <= last && offline; block++)
		offline = pm_pageblock_offline(&m->tables.pageblocks[block]);
	for (block = first; block <= last && offline; block++)
		(void)pm_pageblock_come_online(m, zone, (uint32_t)block);
	pm_unlock(&zone->lock);
	if (!offline)
		return PM_ERR_STATE;
	pm_zones_resized(m);
	return PM_OK;
}
