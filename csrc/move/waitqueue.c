/// The protocol `waitqueue` (Tosatti 2004): a fault sleeps on a queue of the anon_vma, which covers every address space of the family, and is woken after the copy.
/// All sleepers of the family are woken whichever page it was for: each reads its entry again. Pages of a file have a queue of the file.
#include "move/protocol.h"

/// What a fault on one of the source's entries sleeps for: see pm_area_key().
static uint64_t key_of(const struct pm_migration *mig)
{
	if (mig->anon)
		return pm_wait_key(atomic_load_explicit(&mig->anon->root, memory_order_acquire));
	return mig->mapping ? pm_wait_key(mig->mapping) : 0;
}

static enum pm_status unmap(struct pm_migration *mig)
{
	/* For the watchdog of the test flavour: who sleeps for this waits for us. */
	pm_note_held(key_of(mig), PM_RANK_MOVING, true);
	return pm_block_unmap(mig, PM_PTE_WAIT_QUEUE, NULL);
}

static void remap(struct pm_migration *mig, struct pm_pfn target)
{
	uint64_t key = key_of(mig);
	uint32_t woken = 0;

	if (!PM_PLANTED(MOVE_WAKE_EARLY))
		pm_block_remap(mig, target);
	/* Every entry is replaced: who queued under a table's lock before that is woken, and who comes later finds the new entry. */
	pm_note_held(key, PM_RANK_MOVING, false);
	if (key)
		woken = pm_wake_all(mig->call->waits, key);
	if (PM_PLANTED(MOVE_WAKE_EARLY))
		pm_block_remap(mig, target);
	if (woken && mig->batch)
		mig->batch->waited_for = true;
}

const struct pm_protocol pm_protocol_waitqueue = {
	.name = "waitqueue",
	.batched = true,
	.unmap = unmap,
	.settle = pm_block_settle,
	.remap = remap,
};
