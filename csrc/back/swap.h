/// Swap: slots on a device, how many page-table entries name each, and which frame has its contents (the swap cache).
///
/// A frame enters the swap cache when reclaim gives it a slot, or when it is read in; from then on its tag is the slot, and the slot keeps its
/// index. A slot is free again once no entry names it and no frame has it.
#ifndef PM_BACK_SWAP_H
#define PM_BACK_SWAP_H

#include "back/device.h"

struct pm_swap_slot {
	uint32_t count;	   ///< (W) entries that name it
	uint32_t pfn_next; ///< (W) the frame, plus 1; 0: none
	uint32_t index;	   ///< (W) the frame's anonymous page offset, as long as it has the slot
};

/// CHANGING: being set up or taken down by one call. LEAVING: pm_swap_off() brings pages back, and no new ones come.
enum pm_swap_state { PM_SWAP_OFF, PM_SWAP_CHANGING, PM_SWAP_ON, PM_SWAP_LEAVING };

struct pm_swap {
	struct pm_lock lock; ///< rank SWAP
	uint32_t state;	     ///< (W) enum pm_swap_state
	uint32_t nr_slots;   ///< (W) 0 unless ON or LEAVING
	uint32_t cursor;     ///< (W) where the next slot is looked for: neighbours in time are neighbours on the device
	uint64_t nr_used, nr_cached, entries; ///< (W)
	struct pm_swap_slot *slot; ///< (W) [nr_slots]
	uint64_t *used;	     ///< (W) a bit a slot
	struct pm_extent extent; ///< (C) while a slot is in use; slot i is its block i
	struct pm_device *own;   ///< (C) likewise; a device that nobody else knows: swap in memory. NULL: another
	uint64_t outs, ins;  ///< (W)
};

void pm_swap_init(struct pm_machine *m);
/// Takes everything out, whatever it is. No space is left.
void pm_swap_deinit(struct pm_machine *m);

/// What page tables need of swap (virt/virt.h).
extern const struct pm_swap_ops pm_swap_operations;

/// Gives a locked anonymous frame a slot: it enters the swap cache (one reference more), dirty. PM_ERR_NO_SWAP: no slot, or no swap; nothing changed.
enum pm_status pm_swap_add(struct pm_call *call, struct pm_pfn pfn);

/// Writes a dirty frame of the swap cache out. It is locked, unmapped, not under writeback. PM_OK: under way, or done. PM_ERR_NOMEM.
enum pm_status pm_swap_write_out(struct pm_call *call, struct pm_pfn pfn);

/// Takes a clean, unmapped, locked frame to which only the caller and the swap cache have references out of the cache; its slot keeps the contents. The caller's
/// reference is then the last. False: somebody else has one, or it is dirty or being written.
bool pm_swap_evict(struct pm_call *call, struct pm_pfn pfn);

/// Is swap being turned off?
bool pm_swap_is_leaving(struct pm_machine *m);

/// Does no entry name the slot of this frame, which is locked and in the swap cache?
bool pm_swap_unnamed(struct pm_machine *m, struct pm_pfn pfn);

/// The frame of a slot with a reference for the caller; false: it has none.
bool pm_swap_cached(struct pm_machine *m, uint32_t slot, struct pm_pfn *ret);

/* ---- between the files of swap ---- */

/// Finds or reads the page of a slot; see struct pm_swap_ops.
enum pm_status pm_swap_in(struct pm_call *call, uint32_t slot, struct pm_pfn *ret);

/// A frame's slot has no entry left: takes the frame out of the cache, if nobody has it locked and it is not being written.
void pm_swap_drop_unnamed(struct pm_machine *m, uint32_t slot);

/// The two halves of entering and leaving the cache. Leaving drops no reference.
void pm_swap_enter_locked(struct pm_machine *m, struct pm_swap *swap, uint32_t slot, struct pm_pfn pfn) PM_REQUIRES(swap->lock);
void pm_swap_leave_locked(struct pm_machine *m, struct pm_swap *swap, uint32_t slot, struct pm_pfn pfn) PM_REQUIRES(swap->lock);

#endif
