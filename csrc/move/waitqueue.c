/// The protocol `waitqueue` (Tosatti 2004): a fault sleeps on a queue of the anon_vma, which covers every address space of the family, and is woken after the copy.
/// All sleepers of the family are woken whichever page it was for: each reads its entry again. Pages of a file have a queue of the file.
#include "move/protocol.h"

static enum pm_status unmap(struct pm_migration *mig)
{
	return pm_block_unmap(mig, PM_PTE_WAIT_QUEUE, NULL);
}

static void remap(struct pm_migration *mig, struct pm_pfn target)
{
	uint32_t woken = 0;

	pm_block_remap(mig, target);
	/* Every entry is replaced: who queued under a table's lock before that is woken, and who comes later finds the new entry. */
	if (mig->anon)
		woken = pm_wake_all(mig->call->waits, pm_wait_key(atomic_load_explicit(&mig->anon->root, memory_order_acquire)));
	else if (mig->mapping)
		woken = pm_wake_all(mig->call->waits, pm_wait_key(mig->mapping));
	if (woken && mig->batch)
		mig->batch->waited_for = true;
}

const struct pm_protocol pm_protocol_waitqueue = {
	.name = "waitqueue",
	.unmap = unmap,
	.settle = pm_block_settle,
	.remap = remap,
};
