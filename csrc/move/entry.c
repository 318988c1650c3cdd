/// The protocol `entry` (Linux since 2.6.18): a fault that meets a migration entry queues for the source's lock under the page table's lock and takes
/// no reference; the source is unlocked after every entry is replaced.
#include "move/protocol.h"

static enum pm_status unmap(struct pm_migration *mig)
{
	return pm_block_unmap(mig, PM_PTE_WAIT_FRAME, NULL);
}

const struct pm_protocol pm_protocol_entry = {
	.name = "entry",
	.unmap = unmap,
	.settle = pm_block_settle,
	.remap = pm_block_remap,
};
