/// Frames with references: allocate, lock, wait, give back. The lists by age too, since giving back takes a frame off its list.
#ifndef PM_VIRT_REFERENCE_H
#define PM_VIRT_REFERENCE_H

#include "virt/virt.h"

/// Allocates an owned block with one reference. Reclaims where memory is short and the flags allow to wait, as long as that frees something.
/// @param zero fill it with zeros, if the machine has contents
/// @return an allocation's status (PM_ERR_WATERMARK, PM_ERR_NO_BLOCK, PM_ERR_ZONE) or a wait's
enum pm_status pm_page_alloc(struct pm_call *call, unsigned int order, uint32_t gfp, bool zero, struct pm_pfn *ret);

/// Gives `nr` references back; the last one frees the frame.
void pm_page_put_refs(struct pm_call *call, struct pm_pfn pfn, uint32_t nr);
static inline void pm_page_put(struct pm_call *call, struct pm_pfn pfn)
{
	pm_page_put_refs(call, pfn, 1);
}

/// Drops a mapping and its reference from each of n frames of order 0, and frees those that have none left. The array is used up.
void pm_page_unmap_many(struct pm_call *call, size_t n, uint64_t *pfns);

/// Takes the frame lock. The caller holds a reference, and no other frame lock that it would sleep on.
/// PM_ERR_INTR, PM_ERR_CLOSED, PM_ERR_AGAIN (nowait): not taken.
enum pm_status pm_page_lock(struct pm_call *call, struct pm_pfn pfn);
bool pm_page_trylock(struct pm_machine *m, struct pm_pfn pfn);
void pm_page_unlock(struct pm_call *call, struct pm_pfn pfn);

/// Sleeps until the frame is unlocked, or until its writeback ends; whoever wants to act on that looks again. With the frame lock held only
/// for writeback. The caller holds a reference.
enum pm_status pm_page_wait(struct pm_call *call, struct pm_pfn pfn, uint32_t flag);

/// Clears LOCKED or WRITEBACK and wakes all who wait for it.
void pm_page_clear_and_wake(struct pm_machine *m, struct pm_pfn pfn, uint32_t flag);

/// The frame's contents are newer than its file or swap slot. Does not sleep. The caller holds a reference.
void pm_page_set_dirty(struct pm_machine *m, struct pm_pfn pfn);

/// Key under which sleepers wait for a frame.
static inline uint64_t pm_page_key(struct pm_pfn pfn)
{
	/* Odd, so that no object's address is the same. */
	return (uint64_t)pfn.v << 1 | 1;
}

/* ---- lists by age ---- */

/// Puts a frame on the list that its flags name, youngest. It is on none.
void pm_lru_add(struct pm_machine *m, struct pm_pfn pfn);

/// The same for n frames in a row, in one zone; the last one is the youngest.
void pm_lru_add_run(struct pm_machine *m, struct pm_pfn first, uint32_t n);

/// Takes a frame off its list with a reference and the flag ISOLATED; false if it is on none, or being freed.
bool pm_lru_isolate(struct pm_machine *m, struct pm_pfn pfn);

/// Isolates those of n frames of any zones that are not locked, and locks them, with one hold of a list's lock for a run of frames of one zone. ret[i]: the i-th
/// was; of the others nothing has changed.
void pm_lru_isolate_lock_many(struct pm_call *call, size_t n, const uint64_t *pfns, bool *ret);

/// Puts n locked frames that are on no list on theirs and unlocks them, which wakes who waits for them. One hold of a list's lock for a run of frames of one
/// zone. Returns how many sleepers were woken.
uint32_t pm_lru_add_unlock_many(struct pm_call *call, size_t n, const uint64_t *pfns);

/// Gives an isolated frame back to the list that its flags name, and drops isolation's reference.
void pm_lru_putback(struct pm_call *call, struct pm_pfn pfn);

/// Isolates up to n of the oldest frames of a list. Returns how many; `*scanned` those that were looked at.
size_t pm_lru_isolate_oldest(struct pm_machine *m, uint32_t zone, enum pm_lru_list list, size_t n, uint64_t *pfns, size_t *scanned);

/// Sets and clears flags that name the list, and moves the frame to that list if it is on one.
void pm_lru_change(struct pm_machine *m, struct pm_pfn pfn, uint32_t set, uint32_t clear);

/// Which list the flags name.
enum pm_lru_list pm_lru_list_of(uint32_t flags);

#endif
