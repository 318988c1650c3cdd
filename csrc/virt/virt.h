/// What a machine with owners of frames has beside the allocator, and what the folders below (files, swap, reclaim) plug in here.
///
/// Glossary: a *space* is an address space; an *area* (VMA) is a range of it with one protection and one source of pages; an *anon_vma* is
/// the reverse map of the anonymous pages born in one area, shared by the areas that fork made of it; a *mapping* is a file as the
/// areas that map it see it.
#ifndef PM_VIRT_VIRT_H
#define PM_VIRT_VIRT_H

#include "base/interval.h"
#include "base/pool.h"
#include "base/rwsem.h"
#include "phys/arena.h"
#include "phys/page.h"

enum pm_object_kind {
	PM_OBJECT_SPACE = 1,
	PM_OBJECT_ANON,
	PM_OBJECT_PIN,
	PM_OBJECT_OWNER,
	PM_OBJECT_FILE,
	PM_OBJECT_DEVICE
};

struct pm_mapping;

/// What a file does for the areas that map it.
struct pm_mapping_ops {
	/// Finds or reads the page at `index`. Returns it locked, up to date, and with a reference for the caller.
	/// PM_ERR_BEYOND, PM_ERR_IO, out of memory, and what a wait returns. May sleep; no lock but the space's is held.
	enum pm_status (*get_page)(struct pm_call *call, struct pm_mapping *mapping, uint64_t index, struct pm_pfn *ret);
	/// Before a clean page of a shared mapping gets its first writable entry (write-notify). The frame is locked. May sleep.
	enum pm_status (*make_writable)(struct pm_call *call, struct pm_mapping *mapping, struct pm_pfn pfn);
	/// An entry that mapped the frame was dirty. Does not sleep: called under a page-table lock.
	void (*set_dirty)(struct pm_mapping *mapping, struct pm_pfn pfn);
	/// A file lives while an area maps it.
	void (*get)(struct pm_mapping *mapping);
	void (*put)(struct pm_call *call, struct pm_mapping *mapping);
};

/// First member of every file.
struct pm_mapping {
	struct pm_pooled pooled;
	struct pm_rwsem lock;	      ///< rank MAPPING
	struct pm_interval_tree areas; ///< (M) this lock; by page offset
	const struct pm_mapping_ops *ops; ///< (C)
	struct pm_virt *virt;	      ///< (C)
	uint64_t handle;	      ///< (C)
};

/// What swap does for page tables. A slot's count says how many entries name it.
struct pm_swap_ops {
	/// Finds or reads the page of a slot. Returns it locked, up to date, in the swap cache, and with a reference for the caller.
	/// PM_ERR_AGAIN: the slot is free by now (look at the entry again); PM_ERR_IO; out of memory. May sleep.
	enum pm_status (*swap_in)(struct pm_call *call, uint32_t slot, struct pm_pfn *ret);
	/// One entry more names the slot; one less. Do not sleep: called under page-table locks.
	void (*dup)(struct pm_machine *m, uint32_t slot);
	void (*put)(struct pm_machine *m, uint32_t slot);
	/// Takes a locked frame out of the swap cache and frees the slot, if no entry names it and it is not being written (REFERENCE
	/// section 1.10). The frame becomes dirty. False, and nothing done, otherwise.
	bool (*forget)(struct pm_call *call, struct pm_pfn pfn);
	/// Index of an anonymous frame that is in the swap cache (its tag is the slot). The frame is locked, or mapped under a held lock.
	uint32_t (*index)(struct pm_machine *m, struct pm_pfn pfn);
};

/// What the folders below add. All NULL-able: a machine without them has no files, no swap, no reclaim.
struct pm_virt_hooks {
	const struct pm_swap_ops *swap;
	/// Tries to free frames for a request of `order`. PM_OK with what it freed; a wait's status.
	enum pm_status (*reclaim)(struct pm_call *call, uint32_t order, uint32_t gfp, uint64_t *ret_freed);
	/// A file without a name for shared anonymous memory of `pages` pages, with one use for the caller.
	enum pm_status (*shared_anon)(struct pm_call *call, uint64_t pages, struct pm_mapping **ret);
	/// A file by handle, with one use more. PM_ERR_HANDLE.
	enum pm_status (*find_file)(struct pm_machine *m, uint64_t handle, struct pm_mapping **ret);
	/// Adds to expected[pfn] the references that the caches and buffers hold (pm_machine_validate, at rest).
	enum pm_status (*audit)(struct pm_machine *m, uint32_t *expected, char *message, size_t size);
};

/// Lists of frames by age, of one zone.
enum pm_lru_list { PM_LRU_INACTIVE_ANON, PM_LRU_ACTIVE_ANON, PM_LRU_INACTIVE_FILE, PM_LRU_ACTIVE_FILE, PM_LRU_UNEVICTABLE, PM_NR_LRU };

struct pm_lru {
	_Alignas(PM_CFG_CACHE_LINE) struct pm_lock lock; ///< rank LRU
	struct pm_chain list[PM_NR_LRU];	       ///< (R) this lock; youngest first. Blocks of order 0
	_Atomic uint64_t nr[PM_NR_LRU];		       ///< (A) written under the lock, read without it as a hint
};

/// Counts a thing that happened on a CPU: cheap for the thread that owns the CPU's slot.
enum pm_memory_event {
	PM_ME_ANON, PM_ME_FILE, PM_ME_SWAP, PM_ME_COW_COPY, PM_ME_COW_REUSE, PM_ME_NOTIFY, PM_ME_RETRY, PM_ME_FLUSH, PM_ME_FLUSH_SKIPPED,
	PM_ME_FLUSH_WAIT, PM_ME_FORK, PM_ME_FORK_PAGE, PM_ME_RECLAIM, PM_NR_ME
};

struct pm_space;

/// A CPU as accesses see it (virt/epoch.h).
struct pm_slot {
	/// (A) The thread that may write the three words below with plain stores; 0: none yet. Set once, by compare-and-swap.
	_Alignas(PM_CFG_CACHE_LINE) _Atomic uintptr_t owner;
	_Atomic uint32_t seq;  ///< (A) odd while the owner is between reading an entry and the end of its access
	_Atomic uint32_t call; ///< (A) 1 while the owner is inside a call
	_Atomic(struct pm_space *) space; ///< (A) that the owner's call works on: it may not die meanwhile
	struct pm_lock lock;   ///< rank WAIT; taken by accesses and flushes instead, with PM_GUARD_LOCK
	uint64_t pad;
	_Atomic uint64_t event[PM_NR_ME]; ///< (A) statistics
	/// (A) Other threads on this CPU are counted: inside accesses, by the index that was current when they entered, and inside calls.
	_Alignas(PM_CFG_CACHE_LINE) _Atomic uint32_t index;
	_Atomic uint32_t shared[2];
	_Atomic uint32_t shared_calls;
	_Atomic uint32_t others; ///< 1 once a thread that does not own the slot was here
};

struct pm_virt {
	struct pm_machine *m;
	struct pm_waits waits;
	struct pm_memory_options options; ///< (C)
	struct pm_notify_options notify;  ///< (C) while others use the machine: pm_notify()
	uint32_t guard;			  ///< (C) enum pm_guard, as it is used: FENCE where the host has no membarrier
	struct pm_virt_hooks hooks;	  ///< (C) after pm_memory_enable()
	struct pm_pool spaces;
	struct pm_pool anons;
	struct pm_pool pins;
	struct pm_pool owners;
	struct pm_pool *files;		  ///< (C) of the folder below
	struct pm_slot *slots;		  ///< [nr_cpus]
	struct pm_lru lru[PM_MAX_ZONES];
	/// Two flushes that wait for threads without a slot of their own may not overlap: each turns the index of a slot over.
	struct pm_lock turn;		  ///< rank WAIT
	_Atomic uint64_t clock_ns;	  ///< (A) virtual time
	/// (A) Unmappings that have cleared a writable entry of a file's page, and have not flushed yet (pm_gather_note()).
	_Atomic uint64_t unflushed;
};

/// Makes and unmakes it. PM_ERR_NOMEM.
enum pm_status pm_virt_init(struct pm_machine *m, const struct pm_memory_options *options);
/// Nobody is inside. Ends all spaces, pins and owners first; the files are still there.
void pm_virt_end_objects(struct pm_machine *m);
void pm_virt_deinit(struct pm_machine *m);
/// Walks all page tables and compares what they map with what the frames count. PM_ERR_CORRUPT.
enum pm_status pm_virt_validate(struct pm_machine *m, char *message, size_t size);

static inline void pm_count(const struct pm_call *call, enum pm_memory_event event)
{
	_Atomic uint64_t *count = &call->m->virt->slots[call->cpu].event[event];

	/* Relaxed: statistics. The owner is the only one who stores without a read-modify-write; a rare lost count is worth the speed. */
	if (call->owner)
		atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(count, 1, memory_order_relaxed);
}

#endif
