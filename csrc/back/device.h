/// Block devices. Transfers queue, are in service for a time, and end when somebody comes by after that: pm_back_poll().
#ifndef PM_BACK_DEVICE_H
#define PM_BACK_DEVICE_H

#include "virt/virt.h"

struct pm_back;

/// One page on its way.
struct pm_transfer {
	struct pm_transfer *next;  ///< (D) in service by due time, or in the queue
	struct pm_device *device;  ///< (C)
	uint64_t block;		   ///< (C)
	uint32_t io;		   ///< (C) enum pm_io, one of them
	struct pm_pfn pfn;	   ///< (C)
	bool locks;		   ///< (C) the frame is locked until it has ended
	/// Called once when it has ended, in any thread, with no lock held. The transfer is freed afterwards. Nothing of the device may be touched: it may
	/// be gone, unless what the transfer is for keeps it.
	void (*done)(struct pm_machine *m, struct pm_transfer *transfer, enum pm_status status);
	void *owner;		   ///< (C) of whoever made it
	uint64_t arg;		   ///< (C) likewise
	uint64_t submitted_ns;	   ///< (D)
	uint64_t due_ns;	   ///< (D) in service; UINT64_MAX: stuck
	bool fails;		   ///< (D)
	bool stuck;		   ///< (D)
};

/// When transfers are to fail or to stick.
struct pm_device_fault {
	uint32_t io;	   ///< (D) enum pm_io
	uint64_t nth;	   ///< (D) transfers until it happens; 0: never
	bool from_then_on; ///< (D)
};

/// A part of a device that somebody has to himself.
struct pm_extent {
	struct pm_interval node; ///< (D) in device->extents
	struct pm_device *device; ///< (C)
};

struct pm_device {
	struct pm_pooled pooled;
	struct pm_lock lock; ///< rank DEVICE; made at the first birth and never again, so that who comes late finds a lock
	bool made;	     ///< (U) of whoever gives birth to it
	struct pm_device_options options; ///< (C) while it lives
	char *store;	     ///< (D) contents; NULL: there are none
	uint64_t handle;     ///< (C) 0: known to nobody outside
	struct pm_interval_tree extents; ///< (D)
	uint64_t nr_used;    ///< (D) blocks in extents
	struct pm_transfer *service; ///< (D) by due time
	struct pm_transfer *queue, **queue_tail; ///< (D)
	uint32_t in_service, queued, stuck; ///< (D)
	/// (A) Due time of the first in service, plus 1; 0: nothing ends by itself (so too in memory that never was a device). Written under the lock.
	_Atomic uint64_t next;
	struct pm_device_fault fail, stick; ///< (D)
	uint64_t bad_first, bad_nr; ///< (D)
	uint64_t reads, writes, errors; ///< (D)
};

/// A device that nobody outside knows (swap in memory), and the end of it. It is idle and has no extents.
enum pm_status pm_device_make(struct pm_machine *m, const struct pm_device_options *options, struct pm_device **ret);
void pm_device_end(struct pm_machine *m, struct pm_device *device);

/// Finds a device and sets `nr` blocks in a row of it aside: it stays as long as they are. PM_ERR_HANDLE, PM_ERR_NO_BLOCK.
enum pm_status pm_extent_find(struct pm_machine *m, uint64_t handle, uint64_t nr, struct pm_extent *ret);
/// The same on a device that is known to stay.
enum pm_status pm_extent_take(struct pm_device *device, uint64_t nr, struct pm_extent *ret);
void pm_extent_give(struct pm_extent *extent);
/// Its blocks from `offset` on read as zeros from now on. No transfer to or from them is under way.
void pm_extent_discard(struct pm_extent *extent, uint64_t offset);

/// When its next transfer ends; UINT64_MAX: none does by itself. A hint without the lock.
static inline uint64_t pm_device_due(const struct pm_device *device)
{
	return atomic_load(&device->next) - 1;
}

static inline uint64_t pm_extent_block(const struct pm_extent *extent, uint64_t offset)
{
	return extent->node.start + offset;
}

/// A transfer to be submitted; NULL: no memory.
struct pm_transfer *pm_transfer_make(struct pm_machine *m, uint32_t io, struct pm_pfn pfn);
/// Says to or from where: the block at `offset` in an extent.
void pm_transfer_aim(struct pm_transfer *transfer, const struct pm_extent *extent, uint64_t offset);
void pm_transfer_free(struct pm_machine *m, struct pm_transfer *transfer);

/// Hands a transfer over; it may have ended by the time this returns. No lock is held but frame locks and those above them.
void pm_transfer_submit(struct pm_machine *m, struct pm_transfer *transfer);

/// Ends the device's transfers that are due at `now`. Returns when its next is due.
uint64_t pm_device_poll(struct pm_machine *m, struct pm_device *device, uint64_t now);

/// Ends every transfer with PM_ERR_IO: the machine is going.
void pm_device_abort(struct pm_machine *m, struct pm_device *device);

#endif
