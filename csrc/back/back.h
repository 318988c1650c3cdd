/// What is behind address spaces: block devices, swap, files, reclaim. All of it hangs off one object a machine.
///
/// Glossary: a *transfer* moves one page between a frame and a block of a device; a *slot* is a page's place in swap; the *page cache* is a
/// file's map from page offsets to frames, the *swap cache* that from slots to frames; a page is *written out* from either.
///
/// Letters of guards here: (T) the lock of a file's page cache, (W) the lock of the swap area, (D) a device's lock, (F) the frame's lock; the others
/// as in csrc/phys and csrc/virt.
#ifndef PM_BACK_BACK_H
#define PM_BACK_BACK_H

#include "back/device.h"
#include "back/swap.h"
#include "virt/epoch.h"
#include "virt/reference.h"

/// Handles of transfers that callers wait for; beside enum pm_object_kind.
enum { PM_OBJECT_TRANSFER = 16 };

/// Counted in the order of struct pm_backing_counters.
enum pm_back_event {
	PM_BE_FILE_READ, PM_BE_FILE_WRITE, PM_BE_SWAP_READ, PM_BE_SWAP_WRITE, PM_BE_IO_ERROR, PM_BE_SCANNED, PM_BE_RECLAIMED_FILE,
	PM_BE_RECLAIMED_ANON, PM_BE_ACTIVATED, PM_BE_DEACTIVATED, PM_BE_UNEVICTABLE, PM_BE_WAIT, PM_BE_TRUNCATED, PM_BE_DROPPED, PM_NR_BE
};

struct pm_back {
	struct pm_machine *m;
	struct pm_pool files;	  ///< struct pm_file
	struct pm_pool devices;	  ///< struct pm_device
	struct pm_pool transfers; ///< struct pm_ticket
	struct pm_swap swap;
	_Atomic uint64_t event[PM_NR_BE]; ///< (A) statistics
	/// (A) Transfers ended so far. Reclaim sleeps on its address until it changes.
	_Atomic uint64_t nr_ended;
	_Atomic uint64_t ticked_ns; ///< (A) by pm_tick()
};

static inline void pm_back_count(struct pm_machine *m, enum pm_back_event event, uint64_t n)
{
	/* Relaxed: statistics. */
	(void)atomic_fetch_add_explicit(&m->back->event[event], n, memory_order_relaxed);
}

/// A call for the end of a transfer, which happens in whatever thread comes by: it never sleeps.
static inline struct pm_call pm_back_call(struct pm_machine *m)
{
	return (struct pm_call){ .m = m, .waits = &m->virt->waits, .nowait = true };
}

/// Nanoseconds of the machine's clock.
uint64_t pm_back_now(const struct pm_back *back);

/// Ends all transfers that are due at `now`. Returns when the next is due, UINT64_MAX if none is. No lock is held.
uint64_t pm_back_poll(struct pm_back *back, uint64_t now);

/// The hook of struct pm_waits: called before a thread sleeps. Virtual time goes on here, to the next transfer that ends.
uint64_t pm_back_idle(void *context);

/// Sleeps until a transfer has ended since nr_ended was `seen`. PM_ERR_BUSY: none will end by itself.
enum pm_status pm_back_wait_transfer(struct pm_call *call, uint64_t seen);

/// pm_call_begin(), and what is due is done.
enum pm_status pm_back_begin(struct pm_machine *m, uint32_t cpu, struct pm_call *call);

/// Locks a frame, however long its holder takes; for holders that do not wait for devices.
void pm_back_lock_always(struct pm_call *call, struct pm_pfn pfn);

/// The references that caches and buffers hold, for pm_machine_validate(); and the checks of this folder. At rest.
enum pm_status pm_back_audit(struct pm_machine *m, uint32_t *expected, char *message, size_t size);
enum pm_status pm_back_validate(struct pm_machine *m, char *message, size_t size);

#endif
