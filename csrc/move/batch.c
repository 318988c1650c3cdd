/// A batch: what many frames cost once. Isolated a few at a time, destinations and freed sources in bulk, one anon_vma kept, one flush, bytes copied in a row.
#include "move/copy.h"
#include "move/destination.h"
#include "move/job.h"

/// How many frames ahead a batch asks for what is known about a frame: the list is in no order that a processor could guess.
enum { PM_PREFETCH_AHEAD = 6 };

/// For how many frames a family of anon_vmas is locked at a time: who forks or unmaps waits no longer than that.
enum { PM_LOCK_FRAMES = 16 };

void pm_batch_lock(struct pm_call *call, struct pm_batch *batch)
{
	if (!batch->locked)
		pm_anon_relock_read(call, batch->anon);
	batch->locked = true;
}

void pm_batch_unlock(struct pm_call *call, struct pm_batch *batch)
{
	if (!batch || !batch->locked)
		return;
	pm_anon_unlock_read(call, batch->anon);
	batch->locked = false;
}

void pm_batch_publish(struct pm_call *call, struct pm_batch *batch)
{
	size_t i;

	if (!batch->nr_ready)
		return;
	if (pm_lru_add_unlock_many(call, batch->nr_ready, batch->ready))
		batch->waited_for = true;
	for (i = 0; i < batch->nr_ready; i++)
		pm_page_put(call, pm_pfn(batch->ready[i]));
	batch->nr_ready = 0;
}

static void prefetch(const struct pm_job *job, size_t i)
{
	uint64_t pfn = i < job->n ? job->request->pfns[job->first + i] : UINT64_MAX;

	if (pfn >= job->call->m->nr_frames)
		return;
	__builtin_prefetch(pm_page_of(job->call->m, pm_pfn(pfn)), 1);
	__builtin_prefetch(pm_frame_of(job->call->m, pm_pfn(pfn)), 1);
}

/// Destinations for the n frames of this pass, where any will do. Fewer are no failure: the rest is asked for one by one.
static void begin_batch(struct pm_job *job, size_t n)
{
	struct pm_batch *batch = job->batch;
	enum pm_status status;

	batch->anon = NULL;
	batch->locked = batch->waited_for = false;
	batch->nr_held = 0;
	batch->nr_ready = batch->nr_fresh = batch->nr_empty = 0;
	if (job->supply || job->request->destination.kind != PM_DEST_ANY || n < 2)
		return;
	/* What it says does not matter, but what it got. */
	status = pm_alloc_bulk(job->call->m, job->call->cpu, 0, PM_DEST_ANY_GFP, n, batch->fresh, &batch->nr_fresh);
	(void)status;
}

static void end_batch(struct pm_job *job)
{
	struct pm_batch *batch = job->batch;
	struct pm_machine *m = job->call->m;
	size_t i, done = 0;

	pm_batch_publish(job->call, batch);
	if (job->protocol->end_batch)
		job->protocol->end_batch(job->call, batch);
	pm_batch_unlock(job->call, batch);
	pm_anon_put(job->call, batch->anon);
	pm_migration_tell(job->call, job->migs, job->n);
	if (batch->nr_empty && job->supply) {
		for (i = 0; i < batch->nr_empty; i++)
			pm_page_unown(m, pm_pfn(batch->empty[i]));
		job->supply->emptied(job->supply, job->call, batch->nr_empty, batch->empty);
	} else if (batch->nr_empty) {
		pm_page_disown_bulk(m, job->call->cpu, batch->nr_empty, batch->empty);
	}
	if (batch->nr_fresh) {
		enum pm_status status = pm_free_bulk(m, job->call->cpu, 0, batch->nr_fresh, batch->fresh, &done);

		PM_ASSERT(status == PM_OK && done == batch->nr_fresh);
	}
}

/// Isolates and locks the frames from `first` that this pass is to try, with one lock for all. What is on no list, or locked by somebody else, says so when its turn comes.
static void isolate_some(struct pm_job *job, size_t first)
{
	struct pm_machine *m = job->call->m;
	uint64_t pfns[PM_ISOLATE_FRAMES];
	bool isolated[PM_ISOLATE_FRAMES];
	size_t which[PM_ISOLATE_FRAMES], i, n = 0;

	for (i = 0; i < PM_ISOLATE_FRAMES && first + i < job->n; i++) {
		uint64_t pfn = job->request->pfns[job->first + first + i];

		prefetch(job, first + i + PM_PREFETCH_AHEAD);
		job->batch->isolated[i] = false;
		if (pfn >= m->nr_frames || !pm_zone_of(m, pfn) || !job->due[first + i])
			continue;
		which[n] = i;
		pfns[n++] = pfn;
	}
	pm_lru_isolate_lock_many(job->call, n, pfns, isolated);
	for (i = 0; i < n; i++)
		job->batch->isolated[which[i]] = isolated[i];
}

/// Those that were isolated for this pass, and are not to be tried after all.
static void put_back_from(struct pm_job *job, size_t first)
{
	size_t i;

	for (i = first; i < job->n && i % PM_ISOLATE_FRAMES != 0; i++)
		if (job->batch->isolated[i % PM_ISOLATE_FRAMES]) {
			struct pm_pfn pfn = pm_pfn(job->request->pfns[job->first + i]);

			pm_page_unlock(job->call, pfn);
			pm_lru_putback(job->call, pfn);
		}
}

/// Every frame to UNMAP, or as far as it comes. Out of memory, or the machine closes: begins nothing new.
static enum pm_status unmap_all(struct pm_job *job)
{
	enum pm_status status = PM_OK;
	bool no_memory = false;
	size_t i;

	for (i = 0; i < job->n && !no_memory && !status; i++) {
		struct pm_migration *mig = &job->migs[i];

		if (i % PM_ISOLATE_FRAMES == 0)
			isolate_some(job, i);
		if (!job->due[i])
			continue;
		pm_job_begin(job, i);
		job->tries[i]++;
		mig->isolated = mig->locked_from = job->batch->isolated[i % PM_ISOLATE_FRAMES];
		if (!mig->isolated && pm_job_is_owned(job, i)) {
			pm_batch_unlock(job->call, job->batch);
			pm_job_move_owned(job, i);
			pm_job_over(job, i);
			no_memory = job->exhausted = job->supply && pm_job_out_of_memory(job, mig);
			continue;
		}
		mig->batch = job->batch;
		if (i % PM_LOCK_FRAMES == 0)
			pm_batch_unlock(job->call, job->batch);
		status = pm_job_advance(job, mig, job->protocol->unbroken ? PM_MS_DONE : PM_MS_FLUSH);
		no_memory = pm_job_out_of_memory(job, mig);
		job->exhausted = job->supply && no_memory;
		/* Also while it is on its way: it is not for anybody else to begin. */
		pm_job_over(job, i);
	}
	put_back_from(job, i);
	pm_batch_unlock(job->call, job->batch);
	return status;
}

/// One flush for all that were unmapped.
static void flush_all(struct pm_job *job)
{
	struct pm_cpumask cpus = { 0 };
	uint32_t maps = 0;
	size_t i;

	for (i = 0; i < job->n; i++) {
		if (job->migs[i].state != PM_MS_FLUSH || !job->migs[i].nr_maps)
			continue;
		maps += job->migs[i].nr_maps;
		pm_cpumask_or(&cpus, &job->migs[i].cpus, job->call->m->nr_cpus);
	}
	if (!maps || PM_PLANTED(MOVE_NO_FLUSH))
		return;
	pm_move_count(&job->call->m->move->flushes, 1);
	pm_tlb_flush(job->call, &cpus);
}

/// A few frames: each settled, then the bytes of all, then each to its end.
static void move_some(struct pm_job *job, size_t n, struct pm_migration *const *some)
{
	struct pm_migration *settled[PM_COPY_FRAMES];
	size_t i, nr_settled = 0;
	bool copied;

	for (i = 0; i < n; i++) {
		if (some[i]->dirty && !PM_PLANTED(MOVE_ENTRY_DIRTY_LOST))
			pm_page_set_dirty(job->call->m, some[i]->from);
		some[i]->state = PM_MS_SETTLE;
		(void)pm_job_advance(job, some[i], PM_MS_COPY);
		if (some[i]->state == PM_MS_COPY)
			settled[nr_settled++] = some[i];
		else
			pm_job_over(job, (size_t)(some[i] - job->migs));
	}
	/* One alone is copied by its step. */
	copied = nr_settled > 1 && !PM_PLANTED(MOVE_MAPS_EARLY);
	if (copied)
		pm_move_copy(job->call->m, nr_settled, settled);
	for (i = 0; i < nr_settled; i++) {
		settled[i]->copied = copied;
		(void)pm_job_advance(job, settled[i], PM_NR_MS);
		pm_job_over(job, (size_t)(settled[i] - job->migs));
	}
}

static void move_all(struct pm_job *job)
{
	struct pm_migration *some[PM_COPY_FRAMES];
	size_t i, n = 0;

	for (i = 0; i < job->n; i++) {
		if (job->migs[i].state == PM_MS_FLUSH)
			some[n++] = &job->migs[i];
		if (n && (n == PM_COPY_FRAMES || i + 1 == job->n)) {
			move_some(job, n, some);
			n = 0;
		}
		if (i % PM_LOCK_FRAMES == 0)
			pm_batch_unlock(job->call, job->batch);
	}
}

enum pm_status pm_batch_pass(struct pm_job *job)
{
	enum pm_status status;
	size_t i, n = 0;

	for (i = 0; i < job->n; i++)
		n += job->due[i];
	if (!n)
		return PM_OK;
	job->call->nowait = true;
	begin_batch(job, n);
	pm_move_count(&job->call->m->move->batches, 1);
	status = unmap_all(job);
	flush_all(job);
	move_all(job);
	end_batch(job);
	job->call->nowait = false;
	return status;
}
