/// Many frames at once: batches with one flush, retries, results.
#include "move/destination.h"
#include "move/move.h"
#include "move/protocol.h"
#include "virt/owner.h"

/// One call of pm_migrate().
struct job {
	struct pm_call *call;
	const struct pm_migrate_request *request;
	const struct pm_protocol *protocol;
	struct pm_migrate_result *results; ///< of the chunk
	struct pm_migration *migs;	   ///< [n] of the chunk
	size_t first, n;		   ///< the chunk
	uint32_t *tries;		   ///< [n]
	struct pm_batch *batch;		   ///< of protocols that have many frames on their way at once; NULL
	struct pm_supply *supply;	   ///< of destinations; NULL
	bool exhausted;			   ///< the supply had none for a frame: nothing new is begun
};

static void begin_one(struct job *job, size_t i)
{
	struct pm_destination destination = job->request->destination;
	uint64_t pfn = job->request->pfns[job->first + i];
	/* What could not be written once is not written again in this call. */
	bool written = job->tries[i] && job->migs[i].written;

	if (destination.kind == PM_DEST_GIVEN)
		destination.frames += job->first + i;
	pm_migration_init(&job->migs[i], job->protocol, pfn < job->call->m->nr_frames ? pm_pfn(pfn) : pm_pfn_nil(), &destination, job->request->mode, job->request->flags);
	job->migs[i].written = written;
	job->migs[i].supply = job->supply;
}

/// How many frames ahead a batch asks for what is known about a frame: the list is in no order that a processor could guess.
enum { PM_PREFETCH_AHEAD = 6 };

/// For how many frames a family of anon_vmas is locked at a time: who forks or unmaps waits no longer than that.
enum { PM_LOCK_FRAMES = 16 };

/// Frames of a batch while others wait for its pages.
enum { PM_SHORT_BATCH = 32 };

static void prefetch(const struct job *job, size_t i)
{
	uint64_t pfn = i < job->n ? job->request->pfns[job->first + i] : UINT64_MAX;

	if (pfn >= job->call->m->nr_frames)
		return;
	__builtin_prefetch(pm_page_of(job->call->m, pm_pfn(pfn)), 1);
	__builtin_prefetch(pm_frame_of(job->call->m, pm_pfn(pfn)), 1);
}

/// A movable-ops block: its owner moves it.
static bool is_owned(const struct job *job, size_t i)
{
	struct pm_machine *m = job->call->m;
	uint64_t pfn = job->request->pfns[job->first + i];

	return pm_zone_of(m, pfn) && pm_word_kind(pm_frame_word(pm_frame_of(m, pm_pfn(pfn)))) == PM_FRAME_OWNED &&
	       pm_page_test(pm_page_of(m, pm_pfn(pfn)), PM_PG_MOVABLE_OPS);
}

static void move_owned(struct job *job, size_t i)
{
	struct pm_migration *mig = &job->migs[i];
	struct pm_machine *m = job->call->m;
	unsigned int order = pm_page_order(m, mig->from);

	mig->call = job->call;
	mig->state = PM_MS_FAILED;
	mig->reason = PM_WHY_NO_MEMORY;
	mig->status = pm_migration_destination(mig, order) ? PM_ERR_NOMEM : PM_OK;
	if (mig->status)
		return;
	mig->status = pm_owner_replace(job->call, mig->from, mig->to);
	if (!mig->status) {
		mig->state = PM_MS_DONE;
		mig->reason = PM_WHY_NONE;
		mig->order = (uint8_t)order;
		return;
	}
	mig->reason = mig->status == PM_ERR_AGAIN ? PM_WHY_LOCKED : PM_WHY_NOT_MOVABLE;
	pm_page_put(job->call, mig->to);
	mig->to = pm_pfn_nil();
}

/// May another try help? Those that have moved since have left their sources, so a destination may be found the second time.
static bool worth_retrying(const struct job *job, size_t i)
{
	const struct pm_migration *mig = &job->migs[i];

	return mig->state == PM_MS_FAILED && (mig->status == PM_ERR_AGAIN || (mig->reason == PM_WHY_NO_MEMORY && job->tries[i] == 1));
}

/// Is there no memory for any frame? A given destination is one frame's own matter.
static bool out_of_memory(const struct job *job, const struct pm_migration *mig)
{
	return mig->state == PM_MS_FAILED && mig->reason == PM_WHY_NO_MEMORY && (job->supply || job->request->destination.kind != PM_DEST_GIVEN);
}

/// Goes on until `stop` is the next step, or it is over. INTR, CLOSED: undone, and the call is to end.
static enum pm_status advance_to(struct job *job, struct pm_migration *mig, enum pm_migration_state stop)
{
	enum pm_status status = PM_OK;

	while (!pm_migration_over(mig) && mig->state != stop && !status)
		status = pm_migration_advance(job->call, mig);
	if (status)
		pm_migration_cancel(job->call, mig, status, PM_WHY_CANCELLED);
	return status;
}

/// One flush for all that were unmapped.
static void flush_batch(struct job *job)
{
	struct pm_cpumask cpus = { 0 };
	uint32_t maps = 0;
	size_t i;

	for (i = 0; i < job->n; i++) {
		if (job->migs[i].state != PM_MS_FLUSH)
			continue;
		maps += job->migs[i].nr_maps;
		pm_cpumask_or(&cpus, &job->migs[i].cpus, job->call->m->nr_cpus);
	}
	if (!maps || PM_PLANTED(MOVE_NO_FLUSH))
		return;
	pm_move_count(&job->call->m->move->flushes, 1);
	pm_tlb_flush(job->call, &cpus);
}

/// Destinations for all frames of this pass, where any will do. Fewer are no failure: the rest is asked for one by one.
static void begin_batch(struct job *job)
{
	struct pm_batch *batch = job->batch;
	enum pm_status status;
	size_t i, n = 0;

	batch->anon = NULL;
	batch->locked = batch->waited_for = false;
	batch->nr_fresh = batch->nr_empty = 0;
	for (i = 0; i < job->n; i++)
		n += !job->tries[i] || worth_retrying(job, i);
	if (job->supply || job->request->destination.kind != PM_DEST_ANY || n < 2)
		return;
	/* What it says does not matter, but what it got. */
	status = pm_alloc_bulk(job->call->m, job->call->cpu, 0, PM_DEST_ANY_GFP, n, batch->fresh, &batch->nr_fresh);
	(void)status;
}

static void end_batch(struct job *job)
{
	struct pm_batch *batch = job->batch;
	struct pm_machine *m = job->call->m;
	size_t i, done = 0;

	pm_batch_unlock(job->call, batch);
	pm_anon_put(job->call, batch->anon);
	pm_migration_tell(job->call, job->migs, job->n);
	if (batch->nr_empty && job->supply) {
		for (i = 0; i < batch->nr_empty; i++)
			pm_page_unown(m, pm_pfn(batch->empty[i]));
		job->supply->emptied(job->supply, job->call, batch->nr_empty, batch->empty);
	} else if (batch->nr_empty)
		pm_page_disown_bulk(m, job->call->cpu, batch->nr_empty, batch->empty);
	if (batch->nr_fresh) {
		enum pm_status status = pm_free_bulk(m, job->call->cpu, 0, batch->nr_fresh, batch->fresh, &done);

		PM_ASSERT(status == PM_OK && done == batch->nr_fresh);
	}
}

/// A pass over the frames of the chunk that have not moved yet, all unmapped before one flush. Never sleeps: many frames are locked at once.
static enum pm_status batch_pass(struct job *job)
{
	enum pm_status status = PM_OK;
	bool no_memory = false;
	size_t i;

	job->call->nowait = true;
	begin_batch(job);
	pm_move_count(&job->call->m->move->batches, 1);
	/* Out of memory, or the machine closes: finish what is unmapped, begin nothing new. */
	for (i = 0; i < job->n && !no_memory && !status; i++) {
		struct pm_migration *mig = &job->migs[i];

		prefetch(job, i + PM_PREFETCH_AHEAD);
		if (job->tries[i] && !worth_retrying(job, i))
			continue;
		begin_one(job, i);
		job->tries[i]++;
		if (is_owned(job, i)) {
			pm_batch_unlock(job->call, job->batch);
			move_owned(job, i);
			no_memory = job->exhausted = job->supply && out_of_memory(job, mig);
			continue;
		}
		mig->batch = job->batch;
		if (i % PM_LOCK_FRAMES == 0)
			pm_batch_unlock(job->call, job->batch);
		status = advance_to(job, mig, PM_MS_FLUSH);
		no_memory = out_of_memory(job, mig);
		job->exhausted = job->supply && no_memory;
	}
	pm_batch_unlock(job->call, job->batch);
	flush_batch(job);
	for (i = 0; i < job->n; i++) {
		struct pm_migration *mig = &job->migs[i];

		if (mig->state != PM_MS_FLUSH)
			continue;
		if (mig->dirty)
			pm_page_set_dirty(job->call->m, mig->from);
		mig->state = PM_MS_SETTLE;
		if (i % PM_LOCK_FRAMES == 0)
			pm_batch_unlock(job->call, job->batch);
		(void)advance_to(job, mig, PM_NR_MS);
	}
	end_batch(job);
	job->call->nowait = false;
	return status;
}

/// The frames that are left, one after the other: sleeps as the mode allows, with one frame lock at a time.
static enum pm_status single_pass(struct job *job, uint32_t most)
{
	enum pm_status status = PM_OK;
	size_t i;

	for (i = 0; i < job->n && !status && !job->exhausted; i++) {
		struct pm_migration *mig = &job->migs[i];

		while (!status && !job->exhausted && (!job->tries[i] || worth_retrying(job, i)) && job->tries[i] < most) {
			begin_one(job, i);
			job->tries[i]++;
			if (is_owned(job, i)) {
				move_owned(job, i);
				pm_migration_tell(job->call, mig, 1);
			} else {
				status = advance_to(job, mig, PM_NR_MS);
			}
			job->exhausted = job->supply && out_of_memory(job, mig);
		}
	}
	return status;
}

static enum pm_status run_chunk(struct job *job)
{
	bool async = job->request->mode == PM_MIGRATE_ASYNC;
	enum pm_status status = PM_OK;
	uint32_t pass;

	if (!job->protocol->batched) {
		job->call->nowait = async;
		status = single_pass(job, async ? PM_ASYNC_TRIES : PM_BATCH_TRIES + PM_SINGLE_TRIES);
		job->call->nowait = false;
		return status;
	}
	for (pass = 0; pass < (async ? PM_ASYNC_TRIES : PM_BATCH_TRIES) && !status && !job->exhausted; pass++)
		status = batch_pass(job);
	if (!status && !async)
		status = single_pass(job, PM_BATCH_TRIES + PM_SINGLE_TRIES);
	return status;
}

/// Results of the chunk; returns how many moved. Where the call goes on, what was not begun lacked a destination.
static size_t report_chunk(struct job *job, enum pm_status status)
{
	bool cancelled = status || job->exhausted;
	const struct pm_migrate_result not_begun = { .status = cancelled ? PM_ERR_INTR : PM_ERR_NOMEM, .reason = cancelled ? PM_WHY_CANCELLED : PM_WHY_NO_MEMORY, .to = UINT64_MAX };
	struct pm_move *move = job->call->m->move;
	size_t i, moved = 0;

	for (i = 0; i < job->n; i++) {
		struct pm_migration *mig = &job->migs[i];
		bool done = job->tries[i] && mig->state == PM_MS_DONE;

		job->results[i] = not_begun;
		if (job->tries[i])
			job->results[i] = (struct pm_migrate_result){ .status = mig->status, .reason = mig->reason, .to = done && mig->reason == PM_WHY_NONE ? mig->to.v : UINT64_MAX };
		if (done && mig->reason == PM_WHY_NONE)
			moved++;
		else
			pm_move_count(&move->failed[job->results[i].reason], 1);
	}
	pm_move_count(&move->moved[job->request->protocol], moved);
	return moved;
}

static enum pm_status check_request(struct pm_machine *m, const struct pm_migrate_request *request)
{
	const struct pm_destination *to = &request->destination;

	if (!pm_protocol_of(request->protocol) || request->mode > PM_MIGRATE_SYNC || (request->flags & ~(uint32_t)PM_MIGRATE_TOUCH) || to->kind > PM_DEST_GIVEN ||
	    (to->kind == PM_DEST_GIVEN && !to->frames) || (to->kind == PM_DEST_ZONE && to->value >= m->nr_zones) || (request->n && !request->pfns))
		return PM_ERR_INVAL;
	return PM_OK;
}

/// What was not begun because the call ended, or because a supply had nothing left.
static void report_rest(struct pm_migrate_result *results, size_t from, size_t n)
{
	for (; from < n; from++)
		results[from] = (struct pm_migrate_result){ .status = PM_ERR_INTR, .reason = PM_WHY_CANCELLED, .to = UINT64_MAX };
}

enum pm_status pm_migrate_frames(struct pm_call *call, const struct pm_migrate_request *request, struct pm_supply *supply, struct pm_migrate_result *results, size_t *ret)
{
	struct pm_host *host = &call->m->host;
	struct job job = { .call = call, .request = request, .protocol = pm_protocol_of(request->protocol), .supply = supply };
	enum pm_status status = PM_OK;
	size_t room = request->n < PM_BATCH_FRAMES ? request->n : PM_BATCH_FRAMES;

	*ret = 0;
	if (!request->n)
		return PM_OK;
	job.migs = pm_host_zalloc(host, room * sizeof(*job.migs));
	job.tries = pm_host_zalloc(host, room * sizeof(*job.tries));
	if (job.protocol->batched)
		job.batch = pm_host_zalloc(host, sizeof(*job.batch));
	if (!job.migs || !job.tries || (job.protocol->batched && !job.batch))
		status = PM_ERR_NOMEM;
	for (; job.first < request->n && !status && !job.exhausted; job.first += job.n) {
		size_t i;

		/* Whoever meets a page of a batch waits for much of it: where somebody did, the next one is short. */
		job.n = job.batch && job.batch->waited_for && room > PM_SHORT_BATCH ? PM_SHORT_BATCH : room;
		if (job.n > request->n - job.first)
			job.n = request->n - job.first;
		job.results = results + job.first;
		for (i = 0; i < job.n; i++)
			job.tries[i] = 0;
		status = run_chunk(&job);
		*ret += report_chunk(&job, status);
	}
	report_rest(results, job.first, request->n);
	pm_host_free(host, job.migs);
	pm_host_free(host, job.tries);
	pm_host_free(host, job.batch);
	return status;
}

enum pm_status pm_migrate(struct pm_machine *m, uint32_t cpu, const struct pm_migrate_request *request, struct pm_migrate_result *results, size_t *ret)
{
	struct pm_call call;
	enum pm_status status = pm_call_begin(m, cpu, &call);

	if (status)
		return status;
	status = check_request(m, request);
	if (!status)
		status = pm_move_init(m);
	if (!status)
		status = pm_migrate_frames(&call, request, NULL, results, ret);
	pm_call_end(&call);
	return status;
}
