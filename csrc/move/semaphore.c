/// The protocol `semaphore` (2004): each address space has a semaphore that faults on a moving page, and forks, take for reading, and migration for writing. Migration may
/// sleep; the semaphores of all spaces that share the page are taken, in the order of their handles.
#include <stdlib.h>

#include "move/move.h"
#include "move/protocol.h"

/// Spaces that one page may be shared by, and still move: more would be held up for one page.
enum { PM_SEM_SPACES = 2048 };

struct held {
	struct pm_rmap_visitor visitor;
	struct pm_space **spaces;
	uint32_t n, room;
	bool overflow;
};

static bool holds(struct pm_space *const *spaces, uint32_t n, const struct pm_space *space)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		if (spaces[i] == space)
			return true;
	return false;
}

static bool visit_collect(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct held *held = (struct held *)visitor;
	(void)addr;
	if (holds(held->spaces, held->n, vma->space))
		return true;
	if (held->n == held->room) {
		held->overflow = true;
		return false;
	}
	held->spaces[held->n++] = vma->space;
	return true;
}

static int by_handle(const void *a, const void *b)
{
	const struct pm_space *x = *(struct pm_space *const *)a, *y = *(struct pm_space *const *)b;

	return x->pooled.index < y->pooled.index ? -1 : x->pooled.index > y->pooled.index;
}

static void release(struct pm_migration *mig) PM_NO_TSA
{
	uint32_t i;

	for (i = mig->nr_held; i > (PM_PLANTED(MOVE_SEMAPHORE_KEPT) && mig->status ? 1u : 0u); i--)
		pm_rwsem_write_unlock(mig->call->waits, &mig->held[i - 1]->migrate);
	mig->nr_held = 0;
	pm_host_free(&mig->call->m->host, mig->held);
	mig->held = NULL;
}

/// The spaces that may map the page: room for a few first, for most pages have one.
static enum pm_status collect(struct pm_migration *mig, struct held *held)
{
	struct pm_host *host = &mig->call->m->host;

	for (held->room = 8; held->room <= PM_SEM_SPACES; held->room *= 4) {
		mig->held = held->spaces = pm_host_zalloc(host, held->room * sizeof(struct pm_space *));
		if (!held->spaces) {
			mig->reason = PM_WHY_NO_MEMORY;
			return PM_ERR_NOMEM;
		}
		held->n = 0;
		held->overflow = false;
		pm_block_walk(mig, &held->visitor);
		if (!held->overflow)
			return PM_OK;
		pm_host_free(host, held->spaces);
		mig->held = NULL;
	}
	mig->reason = PM_WHY_SHARED;
	return PM_ERR_BUSY;
}

static void end_batch(struct pm_call *call, struct pm_batch *batch) PM_NO_TSA
{
	while (batch->nr_held)
		pm_rwsem_write_unlock(call->waits, &batch->held[--batch->nr_held]->migrate);
}

static enum pm_status prepare(struct pm_migration *mig) PM_NO_TSA
{
	struct held held = { .visitor = { .visit = visit_collect } };
	enum pm_status status;
	uint32_t i;

	/* A batch takes them as it meets their entries. */
	if (mig->batch)
		return PM_OK;
	status = collect(mig, &held);
	if (status)
		return status;
	qsort(held.spaces, held.n, sizeof(struct pm_space *), by_handle);
	for (i = 0; i < held.n && !status; i++) {
		status = pm_rwsem_write(mig->call, &held.spaces[i]->migrate);
		mig->nr_held += !status;
	}
	if (status == PM_ERR_INTR || status == PM_ERR_CLOSED || (status == PM_ERR_AGAIN && mig->stepped)) {
		/* The step was not taken. */
		release(mig);
		return status == PM_ERR_AGAIN ? PM_ERR_INTR : status;
	}
	if (status)
		mig->reason = PM_WHY_LOCKED;
	return status;
}

/// Takes a space's semaphore for the batch, if it does not have it yet. Without waiting: in the order in which the frames of two batches ask for them, that could be for
/// each other.
static enum pm_status hold_for_batch(struct pm_migration *mig, struct pm_space *space) PM_NO_TSA
{
	struct pm_batch *batch = mig->batch;

	if (holds(batch->held, batch->nr_held, space))
		return PM_OK;
	if (batch->nr_held == PM_BATCH_SPACES || pm_rwsem_write(mig->call, &space->migrate)) {
		mig->reason = PM_WHY_LOCKED;
		return PM_ERR_AGAIN;
	}
	batch->held[batch->nr_held++] = space;
	return PM_OK;
}

/// Alone, the semaphores were taken before: a space that came to the page since is not among those held, so once more, then.
static enum pm_status check(struct pm_migration *mig, struct pm_vma *vma)
{
	if (mig->batch)
		return hold_for_batch(mig, vma->space);
	if (holds(mig->held, mig->nr_held, vma->space))
		return PM_OK;
	mig->reason = PM_WHY_REFERENCED;
	return PM_ERR_AGAIN;
}

static enum pm_status unmap(struct pm_migration *mig)
{
	return pm_block_unmap(mig, PM_PTE_WAIT_SEMAPHORE, check);
}

const struct pm_protocol pm_protocol_semaphore = {
	.name = "semaphore",
	.brief = true,
	.prepare = prepare,
	.unmap = unmap,
	.settle = pm_block_settle,
	.remap = pm_block_remap,
	.release = release,
	.end_batch = end_batch,
};
