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

static bool visit_collect(struct pm_rmap_visitor *visitor, struct pm_vma *vma, uint64_t addr)
{
	struct held *held = (struct held *)visitor;
	uint32_t i;

	(void)addr;
	for (i = 0; i < held->n; i++)
		if (held->spaces[i] == vma->space)
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

static enum pm_status prepare(struct pm_migration *mig) PM_NO_TSA
{
	struct held held = { .visitor = { .visit = visit_collect } };
	enum pm_status status = collect(mig, &held);
	uint32_t i;

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

/// A space that came to the page after its semaphores were taken is not among those held: once more, then.
static enum pm_status check(struct pm_migration *mig, struct pm_vma *vma)
{
	uint32_t i;

	for (i = 0; i < mig->nr_held; i++)
		if (mig->held[i] == vma->space)
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
	.prepare = prepare,
	.unmap = unmap,
	.settle = pm_block_settle,
	.remap = pm_block_remap,
	.release = release,
};
