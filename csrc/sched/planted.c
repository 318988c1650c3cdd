/// The bugs that can be planted: where, what it breaks, and which race of the reference (section 3) it belongs to.
#include "base/planted.h"

#include <stddef.h>

#include "sched/explore.h"

struct planted {
	const char *name;
	const char *breaks;
	const char *race;
};

static const struct planted planted[PM_NR_PLANTED] = {
	[PM_BUG_NONE] = { "none", "", "" },
	[PM_BUG_COW_NO_FLUSH] = { "cow-no-flush", "a copy replaces a page without a flush: an access still reads the old frame after it was given away", "fork" },
	[PM_BUG_COW_NO_RECHECK] = { "cow-no-recheck", "a copy is mapped although the entry changed while it was made: a write is lost", "mprotect, copy-on-write" },
	[PM_BUG_UNMAP_NO_FLUSH] = { "unmap-no-flush", "munmap gives frames back while an access is still inside", "exit, munmap" },
	[PM_BUG_FORK_NO_FLUSH] = { "fork-no-flush", "a write that had begun before fork shows in the child after it", "fork" },
	[PM_BUG_REMAP_NO_FLUSH] = { "remap-no-flush", "a write through the old address lands after mremap has returned", "mremap" },
	[PM_BUG_CLEAN_NO_FLUSH] = { "clean-no-flush", "writeback cleans a page while a write is under way: it is lost when the page is dropped", "writeback start" },
	[PM_BUG_RECLAIM_NO_FLUSH] = { "reclaim-no-flush", "reclaim writes a page out while a write is under way", "stale TLB" },
	[PM_BUG_TRUNCATE_NO_FLUSH] = { "truncate-no-flush", "truncate gives frames back while an access is still inside", "truncate" },
	[PM_BUG_PROTECT_NO_FLUSH] = { "protect-no-flush", "a write lands after mprotect has made the page read-only", "mprotect, copy-on-write" },
	[PM_BUG_PROTECT_WIDENS] = { "protect-widens", "mprotect makes a page writable that is shared copy-on-write", "mprotect, copy-on-write" },
	[PM_BUG_FORK_EXCLUSIVE] = { "fork-exclusive", "fork leaves the parent's page marked as its own: its writes show in the child", "fork" },
	[PM_BUG_FORK_SHARES_PINNED] = { "fork-shares-pinned", "fork shares a pinned page: what the device writes shows in the child, or is lost to the parent", "direct I/O pin" },
	[PM_BUG_FORK_NO_SWAP_COUNT] = { "fork-no-swap-count", "fork copies a swap entry without counting it: the slot is free while an entry names it", "swap-in, swapoff" },
	[PM_BUG_UNLOCK_NO_WAKE] = { "unlock-no-wake", "unlocking a frame wakes nobody", "fault" },
	[PM_BUG_WAIT_NO_RECHECK] = { "wait-no-recheck", "a sleeper does not look again after it has queued: the wake-up came before", "fault" },
	[PM_BUG_WAKE_BEFORE_CLEAR] = { "wake-before-clear", "sleepers are woken before the frame is unlocked: they see it locked and sleep on", "fault" },
	[PM_BUG_WAKE_ONE] = { "wake-one", "only one of several sleepers is woken", "fault" },
	[PM_BUG_FAULT_NO_RECHECK] = { "fault-no-recheck", "a fault maps its page over one that came there meanwhile", "fault" },
	[PM_BUG_MAP_NO_RECHECK] = { "map-no-recheck", "a page that was waited for is mapped although the entry has changed", "swap-in, swapoff" },
	[PM_BUG_NOTIFY_NO_RECHECK] = { "notify-no-recheck", "an entry is made writable although another frame, or none, is there by now", "truncate" },
	[PM_BUG_REUSE_NO_LOCK] = { "reuse-no-lock", "a page is kept as the last user's own without the frame lock: reclaim gives it a slot meanwhile", "mprotect, copy-on-write" },
	[PM_BUG_REUSE_IGNORES_REFS] = { "reuse-ignores-refs", "a page is reused because one entry maps it, although a swap entry or a pin names it too", "mprotect, copy-on-write" },
	[PM_BUG_RECLAIM_IGNORES_PINS] = { "reclaim-ignores-pins", "a pinned page is unmapped: what the device writes is not what the space sees", "direct I/O pin" },
	[PM_BUG_MLOCK_LOST] = { "mlock-lost", "reclaim takes an mlocked page", "mlock" },
	[PM_BUG_DIRTY_LOST] = { "dirty-lost", "unmapping does not fold the entry's dirty bit into the page", "writeback start" },
	[PM_BUG_EXIT_NO_WAIT] = { "exit-no-wait", "exit does not wait for the calls that work on the space", "exit, munmap" },
	[PM_BUG_ACCESS_NO_RECHECK] = { "access-no-recheck", "an access marks an entry that changed since it was read", "stale TLB" },
	[PM_BUG_SWAP_FREED_EARLY] = { "swap-freed-early", "a slot is freed while an entry names it", "swap-in, swapoff" },
	[PM_BUG_TRUNCATE_ONE_UNMAP] = { "truncate-one-unmap", "truncate does not unmap again what a fault mapped meanwhile", "truncate" },
	[PM_BUG_WRITEBACK_CLEARS_LATE] = { "writeback-clears-late", "writeback clears the dirty mark after the transfer: what was written meanwhile is lost", "writeback start" },
	[PM_BUG_SWAPOFF_NO_RECHECK] = { "swapoff-no-recheck", "swapoff maps a page although the entry has changed", "swap-in, swapoff" },
	[PM_BUG_MOVE_NO_FLUSH] = { "move-no-flush", "a page is copied while a write through an old entry is under way: it is lost", "stale TLB" },
	[PM_BUG_MOVE_NO_FREEZE] = { "move-no-freeze", "a page moves although somebody has a reference to it: the count is neither compared nor frozen", "cache lookup" },
	[PM_BUG_MOVE_IGNORES_PINS] = { "move-ignores-pins", "a pinned page moves: what the device writes is not what the space sees", "direct I/O pin" },
	[PM_BUG_MOVE_WIDENS] = { "move-widens", "an entry comes back writable because its area is, although the page is shared copy-on-write", "mprotect, copy-on-write" },
	[PM_BUG_PROTECT_SKIPS_MOVING] = { "protect-skips-moving", "mprotect passes over a migration entry: it comes back writable in an area that is not", "mprotect, copy-on-write" },
	[PM_BUG_FORK_MOVING_EXCLUSIVE] = { "fork-moving-exclusive", "fork leaves the parent's migration entry writable and its own: its writes show in the child", "fork" },
	[PM_BUG_WALK_CHILD_FIRST] = { "walk-child-first", "a child is visited before its parent: the copy of a migration entry that fork makes behind the walk stays", "fork" },
	[PM_BUG_WALK_NO_RECHECK] = { "walk-no-recheck", "a walk takes an entry that changed before it had the lock", "exit, munmap" },
	[PM_BUG_MOVE_WAIT_NO_RECHECK] = { "move-wait-no-recheck", "a fault sleeps for an entry that is replaced already, and is woken by nobody", "fault" },
	[PM_BUG_MOVE_WAITER_REFERS] = { "move-waiter-refers", "who waits for a moving page has a reference to it, which makes the migration fail", "fault" },
	[PM_BUG_MOVE_WAKE_EARLY] = { "move-wake-early", "sleepers are woken before the entries are replaced: they sleep again, for ever", "fault" },
	[PM_BUG_MOVE_NO_WAKE] = { "move-no-wake", "the end of a migration wakes nobody", "fault" },
	[PM_BUG_MOVE_MAPS_EARLY] = { "move-maps-early", "the new frame is mapped before it is copied", "fault" },
	[PM_BUG_MOVE_UNLOCKS_EARLY] = { "move-unlocks-early", "the new frame is unlocked before it is copied: a lookup sees it half", "cache lookup" },
	[PM_BUG_TRUNCATE_NO_LOCK] = { "truncate-no-lock", "truncate does not wait for the frame lock: a page that is on its way is mapped again after it was given up", "truncate" },
	[PM_BUG_MOVE_ENTRY_DIRTY_LOST] = { "move-entry-dirty-lost", "an entry's dirty bit does not go to the page where the entry does not come back", "writeback start" },
	[PM_BUG_MOVE_DIRTY_LOST] = { "move-dirty-lost", "the new frame is not dirty as the old one was", "writeback start" },
	[PM_BUG_MOVE_YOUNG_LOST] = { "move-young-lost", "an entry comes back as if it had not been accessed", "fault" },
	[PM_BUG_MOVE_MLOCK_LOST] = { "move-mlock-lost", "the new frame of an mlocked page may be reclaimed", "mlock" },
	[PM_BUG_MOVE_MLOCKED_UNMAPPED] = { "move-mlocked-unmapped", "an mlocked page is left unmapped", "mlock" },
	[PM_BUG_MOVE_IN_WRITEBACK] = { "move-in-writeback", "a page moves while it is being written out", "writeback start" },
	[PM_BUG_MOVE_ANON_NOT_KEPT] = { "move-anon-not-kept", "the anon_vma goes while nothing maps the page that moves", "exit, munmap" },
	[PM_BUG_MOVE_SEMAPHORE_KEPT] = { "move-semaphore-kept", "a migration that fails keeps a space's semaphore", "fault" },
	[PM_BUG_MOVE_TABLE_LET_GO] = { "move-table-let-go", "the page table's lock is let go before the entry is replaced", "exit, munmap" },
	[PM_BUG_MOVE_NO_SWAP_COUNT] = { "move-no-swap-count", "an entry becomes a swap entry without counting it: the slot is free while it is named", "swap-in, swapoff" },
	[PM_BUG_MOVE_SLOT_PUT_TWICE] = { "move-slot-put-twice", "undoing a migration gives a slot back twice", "swap-in, swapoff" },
	[PM_BUG_SWAP_NO_RELOOK] = { "swap-no-relook", "who waited for the frame of a slot takes it although the slot has another one by now", "swap-in, swapoff" },
	[PM_BUG_FILE_NO_RELOOK] = { "file-no-relook", "who waited for the lock of a file's page takes it although it was given up or has moved", "cache lookup" },
	[PM_BUG_SWITCH_NO_LOCK] = { "switch-no-lock", "a frame takes another one's place in a cache without the cache's lock: a lookup finds it half done", "cache lookup" },
	[PM_BUG_RESTORE_NO_RECHECK] = { "restore-no-recheck", "an entry is given back although it changed before the lock was there", "exit, munmap" },
	[PM_BUG_REMAP_NO_ANON_LOCK] = { "remap-no-anon-lock", "mremap moves entries while a walk goes by: the walk finds a page at neither place", "mremap" },
	[PM_BUG_MOVE_NOT_PUT_BACK] = { "move-not-put-back", "a page that did not move stays isolated", "exit, munmap" },
	[PM_BUG_MOVE_PRIVATE_LOST] = { "move-private-lost", "the reference of private data does not go along", "truncate" },
	[PM_BUG_ISOLATE_NO_DRAIN] = { "isolate-no-drain", "isolation leaves frames in a CPU's lists, from which they are given", "isolation" },
	[PM_BUG_FREE_NO_RELOOK] = { "free-no-relook", "a free does not look again whether its pageblock was isolated, and the lists drained, before it had the list's lock", "isolation" },
	[PM_BUG_ISOLATION_KEPT] = { "isolation-kept", "a range that fails leaves its pageblock isolated", "offlining" },
};

const char *pm_planted_name(uint32_t bug)
{
	return bug < PM_NR_PLANTED ? planted[bug].name : NULL;
}

const char *pm_planted_breaks(uint32_t bug)
{
	return bug < PM_NR_PLANTED ? planted[bug].breaks : NULL;
}

const char *pm_planted_race(uint32_t bug)
{
	return bug < PM_NR_PLANTED ? planted[bug].race : NULL;
}
