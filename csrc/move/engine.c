/// Many frames at once: chunks, retries, results.
#include "move/destination.h"
#include "move/job.h"
#include "virt/owner.h"

/// May another try help? Those that have moved since have left their sources, so a destination may be found the second time.
static bool worth_retrying(const struct pm_job *job, size_t i)
{
	const struct pm_migration *mig = &job->migs[i];

	/* What is left of a block that was split are other frames. */
	return mig->state == PM_MS_FAILED && !mig->split && (mig->status == PM_ERR_AGAIN || (mig->reason == PM_WHY_NO_MEMORY && job->tries[i] == 1));
}

void pm_job_over(struct pm_job *job, size_t i)
{
	const struct pm_migration *mig = &job->migs[i];
	bool moved = mig->state == PM_MS_DONE && mig->reason == PM_WHY_NONE;

	job->results[i] = (struct pm_migrate_result){
		.status = mig->status, .reason = mig->reason, .to = moved ? mig->to.v : UINT64_MAX, .split = mig->split, .split_moved = mig->split_moved
	};
	job->due[i] = worth_retrying(job, i);
}

bool pm_job_out_of_memory(const struct pm_job *job, const struct pm_migration *mig)
{
	return mig->state == PM_MS_FAILED && mig->reason == PM_WHY_NO_MEMORY && (job->supply || job->request->destination.kind != PM_DEST_GIVEN);
}

void pm_job_begin(struct pm_job *job, size_t i)
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

/// Frames of a batch while others wait for its pages.
enum { PM_SHORT_BATCH = 32 };

bool pm_job_is_owned(const struct pm_job *job, size_t i)
{
	struct pm_machine *m = job->call->m;
	uint64_t pfn = job->request->pfns[job->first + i];

	return pm_zone_of(m, pfn) && pm_word_kind(pm_frame_word(pm_frame_of(m, pm_pfn(pfn)))) == PM_FRAME_OWNED &&
	       pm_page_test(pm_page_of(m, pm_pfn(pfn)), PM_PG_MOVABLE_OPS);
}

void pm_job_move_owned(struct pm_job *job, size_t i)
{
	struct pm_migration *mig = &job->migs[i];
	struct pm_machine *m = job->call->m;
	unsigned int order = pm_page_order(m, mig->from);

	mig->call = job->call;
	mig->state = PM_MS_FAILED;
	mig->reason = PM_WHY_NO_MEMORY;
	mig->status = pm_migration_destination(mig, order) ? PM_ERR_NOMEM : PM_OK;
	if (mig->status) {
		/* The first time the others may just have taken what there is for this pass. */
		if (order && job->tries[i] > 1 && (mig->flags & PM_MIGRATE_SPLIT) && !job->supply && mig->destination.kind != PM_DEST_GIVEN)
			pm_split_and_move(mig, order);
		return;
	}
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

enum pm_status pm_job_advance(struct pm_job *job, struct pm_migration *mig, enum pm_migration_state stop)
{
	enum pm_status status = pm_migration_run(job->call, mig, stop);

	if (status)
		pm_migration_cancel(job->call, mig, status, PM_WHY_CANCELLED);
	return status;
}

/// The frames that are left, one after the other: sleeps as the mode allows, with one frame lock at a time.
static enum pm_status single_pass(struct pm_job *job, uint32_t most)
{
	enum pm_status status = PM_OK;
	size_t i;

	for (i = 0; i < job->n && !status && !job->exhausted; i++) {
		struct pm_migration *mig = &job->migs[i];

		while (!status && !job->exhausted && job->due[i] && job->tries[i] < most) {
			pm_job_begin(job, i);
			job->tries[i]++;
			if (pm_job_is_owned(job, i)) {
				pm_job_move_owned(job, i);
				pm_migration_tell(job->call, mig, 1);
			} else {
				status = pm_job_advance(job, mig, PM_NR_MS);
			}
			pm_job_over(job, i);
			job->exhausted = job->supply && pm_job_out_of_memory(job, mig);
		}
	}
	return status;
}

static enum pm_status run_chunk(struct pm_job *job)
{
	bool async = job->request->mode == PM_MIGRATE_ASYNC;
	enum pm_status status = PM_OK;
	uint32_t pass;

	/* To map pages again by faults one has to be able to wait, with no other frame locked. */
	if (job->protocol->lazy && (job->request->flags & PM_MIGRATE_TOUCH)) {
		job->call->nowait = async;
		status = single_pass(job, async ? PM_ASYNC_TRIES : PM_BATCH_TRIES + PM_SINGLE_TRIES);
		job->call->nowait = false;
		return status;
	}
	for (pass = 0; pass < (async ? PM_ASYNC_TRIES : PM_BATCH_TRIES) && !status && !job->exhausted; pass++)
		status = pm_batch_pass(job);
	if (!status && !async)
		status = single_pass(job, PM_BATCH_TRIES + PM_SINGLE_TRIES);
	return status;
}

/// Results of the chunk; returns how many moved. Where the call goes on, what was not begun lacked a destination.
static size_t report_chunk(struct pm_job *job, enum pm_status status)
{
	bool cancelled = status || job->exhausted;
	const struct pm_migrate_result not_begun = { .status = cancelled ? PM_ERR_INTR : PM_ERR_NOMEM, .reason = cancelled ? PM_WHY_CANCELLED : PM_WHY_NO_MEMORY, .to = UINT64_MAX };
	struct pm_move *move = job->call->m->move;
	size_t i, moved = 0;

	for (i = 0; i < job->n; i++) {
		if (!job->tries[i])
			job->results[i] = not_begun;
		if (job->results[i].status == PM_OK && job->results[i].reason == PM_WHY_NONE)
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

	if (!pm_protocol_of(request->protocol) || request->mode > PM_MIGRATE_SYNC || (request->flags & ~(uint32_t)(PM_MIGRATE_TOUCH | PM_MIGRATE_SPLIT)) || to->kind > PM_DEST_GIVEN ||
	    (to->kind == PM_DEST_GIVEN && !to->frames) || (to->kind == PM_DEST_ZONE && to->value >= m->nr_zones) || (request->n && !request->pfns))
		return PM_ERR_INVAL;
	return PM_OK;
}

/// What was not begun because the call ended.
static void report_rest(struct pm_migrate_result *results, size_t from, size_t n)
{
	for (; from < n; from++)
		results[from] = (struct pm_migrate_result){ .status = PM_ERR_INTR, .reason = PM_WHY_CANCELLED, .to = UINT64_MAX };
}

enum pm_status pm_migrate_frames(struct pm_call *call, const struct pm_migrate_request *request, struct pm_supply *supply, struct pm_migrate_result *results, size_t *ret)
{
	struct pm_host *host = &call->m->host;
	struct pm_job job = { .call = call, .request = request, .protocol = pm_protocol_of(request->protocol), .supply = supply };
	enum pm_status status = PM_OK;
	size_t room = request->n < PM_BATCH_FRAMES ? request->n : PM_BATCH_FRAMES;

	*ret = 0;
	if (!request->n)
		return PM_OK;
	job.migs = pm_host_zalloc(host, room * sizeof(*job.migs));
	job.tries = pm_host_zalloc(host, room * sizeof(*job.tries));
	job.due = pm_host_zalloc(host, room * sizeof(*job.due));
	job.batch = pm_host_zalloc(host, sizeof(*job.batch));
	if (!job.migs || !job.tries || !job.due || !job.batch)
		status = PM_ERR_NOMEM;
	for (; job.first < request->n && !status && !job.exhausted; job.first += job.n) {
		size_t i;

		/* Whoever meets a page of a batch waits for much of it: where somebody did, the next one is short. */
		job.n = job.batch->waited_for || job.protocol->brief ? PM_SHORT_BATCH : PM_BATCH_FRAMES;
		if (job.n > request->n - job.first)
			job.n = request->n - job.first;
		job.results = results + job.first;
		for (i = 0; i < job.n; i++) {
			job.tries[i] = 0;
			job.due[i] = true;
		}
		status = run_chunk(&job);
		*ret += report_chunk(&job, status);
	}
	report_rest(results, job.first, request->n);
	pm_host_free(host, job.migs);
	pm_host_free(host, job.tries);
	pm_host_free(host, job.due);
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
