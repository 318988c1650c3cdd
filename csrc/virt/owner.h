/// Kernel-like users of memory: blocks that nobody can move (slab-like), and blocks that their owner moves itself (balloon-like).
#ifndef PM_VIRT_OWNER_H
#define PM_VIRT_OWNER_H

#include "virt/virt.h"

struct pm_owner {
	struct pm_pooled pooled;
	struct pm_rwsem lock; ///< rank SPACE: never held together with a space's; (W) below
	uint32_t kind;	      ///< (C) enum pm_owner_kind
	uint64_t handle;      ///< (C)
	uint32_t nr;	      ///< (W) numbers handed out so far
	uint32_t room;	      ///< (W) length of `frames`
	uint32_t *frames;     ///< (W) by number: the frame; a free number: PM_OWNER_FREE | the next free one
	uint32_t free_head;   ///< (W) PM_NIL_PFN: none
	uint64_t *used;	      ///< (W) one bit a number: is it in use
};

/// A movable-ops block's owner moves it: contents, and its place in the owner's list. `to` is a fresh owned block of the same order; on success its reference is the
/// owner's, and `from` is freed. PM_ERR_AGAIN: the owner is busy, or the block is not its any more; PM_ERR_BUSY: not movable.
enum pm_status pm_owner_replace(struct pm_call *call, struct pm_pfn from, struct pm_pfn to);

/// Splits a block of an owner of kind FOLIOS into frames, each with a number of its own. PM_ERR_BUSY: it cannot be split; PM_ERR_AGAIN: the owner is busy, or the block is not
/// its any more, or somebody refers to it; PM_ERR_NOMEM.
enum pm_status pm_owner_split(struct pm_call *call, struct pm_pfn pfn);

/// Gives back all blocks of all owners (the machine is going).
void pm_owner_end_all(struct pm_call *call);

#endif
