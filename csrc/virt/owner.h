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
	/// (W) [room] by number: where the frames of a block are that was split; NULL: it is whole. Itself NULL: none was ever split.
	struct pm_owner_parts **parts;
};

/// A block that was split: its frames, in the order in which they were one block.
struct pm_owner_parts {
	unsigned int order;
	uint32_t frame[]; ///< [2^order]
};

/* ---- within a call that holds the owner (owner_split.c) ---- */

static inline struct pm_owner_parts *pm_owner_parts_of(const struct pm_owner *owner, uint32_t number)
{
	return owner->parts ? owner->parts[number] : NULL;
}
/// Copies a block that was split, and will be whole again, to the block `to` of its order, and frees its parts.
void pm_owner_gather_parts(struct pm_call *call, struct pm_owner *owner, uint32_t number, struct pm_pfn to);
/// Frees the parts of a block that was split.
void pm_owner_free_parts(struct pm_call *call, struct pm_owner *owner, uint32_t number);
void pm_owner_free_block(struct pm_call *call, struct pm_pfn pfn);

/// Takes the owner of a movable-ops block for writing, and finds the block's number there; `*ret_at` gets where the number says that the frame is. `from` heads the block, or
/// is a part of one that was split. PM_ERR_AGAIN, PM_ERR_BUSY: as pm_owner_replace().
enum pm_status pm_owner_hold(struct pm_call *call, struct pm_pfn from, struct pm_owner **ret, uint32_t **ret_at);

/// Splits a movable-ops block into frames, which can lie apart from now on. PM_ERR_NOMEM, PM_ERR_AGAIN, PM_ERR_BUSY: it is as it was.
enum pm_status pm_owner_split(struct pm_call *call, struct pm_pfn head);
/// Makes a block that was split, and of which every frame is where it was then, whole again; any other stays as it is.
void pm_owner_join(struct pm_call *call, struct pm_pfn head);

/// A movable-ops block's owner moves it: contents, and its place in the owner's list. `to` is a fresh owned block of the same order; on success its reference is the
/// owner's, and `from` is freed. PM_ERR_AGAIN: the owner is busy, or the block is not its any more; PM_ERR_BUSY: not movable.
enum pm_status pm_owner_replace(struct pm_call *call, struct pm_pfn from, struct pm_pfn to);

/// Gives back all blocks of all owners (the machine is going).
void pm_owner_end_all(struct pm_call *call);

#endif
