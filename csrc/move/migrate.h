/// The migration engine: a frame's contents, and all that leads to it, move to another frame while others use it.
///
/// One engine, one table of states (migrate.c), which docs/PROTOCOLS.md shows. What blocks accessors between unmap and remap is a protocol
/// (protocol.h). A migration is an object that goes one state at a time, so a test or a student can put anything in between.
///
/// References of the source on its way (REFERENCE section 2): isolation's, one an entry, one of the page cache or swap cache, one of private data. After
/// unmap only isolation's and those of cache and private data may be left: whoever else has one makes the migration fail with a reason.
#ifndef PM_MOVE_MIGRATE_H
#define PM_MOVE_MIGRATE_H

#include "back/back.h"
#include "move/supply.h"
#include "virt/notice.h"
#include "virt/rmap.h"

enum pm_migration_state {
	PM_MS_ISOLATE,	///< off its list by age
	PM_MS_ALLOCATE,	///< a destination
	PM_MS_LOCK,	///< the source
	PM_MS_WRITEBACK, ///< of the source is over
	PM_MS_PREPARE,	///< the destination is locked; what the protocol and the filesystem need is there
	PM_MS_UNMAP,	///< no entry maps the source; accessors block
	PM_MS_FLUSH,	///< no access is inside any more
	PM_MS_SETTLE,	///< nobody else refers to the source: its place in the caches is the destination's
	PM_MS_COPY,	///< contents and flags
	PM_MS_REMAP,	///< every entry that blocked maps the destination
	PM_MS_FINISH,	///< both unlocked, the source given back
	PM_MS_DONE,
	PM_MS_FAILED,
	PM_NR_MS
};

struct pm_migration;

/// A line of the table.
struct pm_migration_rule {
	const char *name;
	const char *needs; ///< what must hold
	const char *does;
	/// Takes the step. PM_OK: on to the next state. PM_ERR_INTR, PM_ERR_CLOSED: the step was not taken, and can be taken later. Else: failed, rewind.
	enum pm_status (*step)(struct pm_migration *mig);
	/// Undoes what this state's step and the steps within it did; called from the last state that was reached back to the first. NULL: nothing to undo.
	void (*undo)(struct pm_migration *mig);
};

extern const struct pm_migration_rule pm_migration_table[PM_MS_DONE];

/// A place where the source was mapped, remembered to map the destination there at once (record_unmapped_address).
struct pm_migration_record {
	uint64_t space; ///< handle: the space may end meanwhile
	uint64_t addr;
	uint64_t bits;	///< of the entry that was there
};

struct pm_protocol;

enum { PM_BATCH_FRAMES = 512 };

/// What the frames of a batch share: most of them belong to one anon_vma, and what one frame costs is less for many.
struct pm_batch {
	struct pm_anon *anon;	///< with a reference; NULL: not yet
	bool locked;		///< its family is locked for reading
	bool waited_for;	///< somebody was asleep until one of the pages had moved
	size_t nr_fresh;	///< destinations that were allocated and are not used yet
	size_t nr_empty;	///< sources that are to be freed
	uint64_t fresh[PM_BATCH_FRAMES];
	uint64_t empty[PM_BATCH_FRAMES];
};

struct pm_migration {
	struct pm_call *call;		   ///< (U) of the step that is being taken
	const struct pm_protocol *protocol; ///< (C)
	struct pm_destination destination; ///< (C)
	uint32_t mode;			   ///< (C) enum pm_migrate_mode
	uint32_t flags;			   ///< (C) enum pm_migrate_flags
	struct pm_pfn from, to;		   ///< `to` is nil until ALLOCATE
	enum pm_migration_state state;	   ///< the next step
	enum pm_status status;		   ///< why it failed
	enum pm_migrate_reason reason;
	struct pm_batch *batch;		   ///< (C) that it is one of; NULL: alone
	struct pm_supply *supply;	   ///< (C) where its destination comes from, instead of `destination`; NULL
	/* What the steps have done, and their undoing needs. */
	bool isolated, locked_from, locked_to, unmapped;
	bool frozen;			   ///< the source has no reference left, and gets none
	bool anon_kept;			   ///< `anon` has a reference of ours; otherwise the batch has
	bool stepped;			   ///< (C) by pm_migration_step(): what would have to wait is not taken
	bool dirty;			   ///< an entry was dirty when it was unmapped
	bool mlocked;			   ///< an area that mapped it was mlocked then
	bool written;			   ///< its filesystem has written it out for this
	uint32_t index;			   ///< page offset, by which the reverse map is walked
	struct pm_anon *anon;		   ///< kept from going while nothing maps the page; NULL: a file page, or not mapped
	struct pm_mapping *mapping;	   ///< of a file page; NULL
	struct pm_cpumask cpus;		   ///< where a flush is due
	uint32_t nr_maps;		   ///< entries that were unmapped
	struct pm_notice_places places;	   ///< where, if the host wants to know
	uint8_t order;			   ///< of a block that its owner moved
	bool told;			   ///< the host knows that it has moved
	struct pm_migration_record *records; ///< [nr_records]
	uint32_t nr_records, room_records;
	/* The protocols' own. */
	struct pm_table *held_leaf;	   ///< table-lock: locked
	_Atomic uint64_t *held_entry;
	struct pm_space **held;		   ///< semaphore: the spaces whose semaphores are held
	uint32_t nr_held;
	bool slot_added;		   ///< swap-cache: the source got its slot for this
	uint32_t slot;			   ///< swap-cache: of an anonymous page, from UNMAP on
	bool slot_switched;		   ///< swap-cache: the destination is in its place, and the source has a reference more
};

/// A migration of one frame that has not begun.
void pm_migration_init(struct pm_migration *mig, const struct pm_protocol *protocol, struct pm_pfn from, const struct pm_destination *destination, uint32_t mode, uint32_t flags);

/// An owned block of `order` for `to`, from the supply or as the destination asks. PM_ERR_NOMEM; a wait's status.
enum pm_status pm_migration_destination(struct pm_migration *mig, unsigned int order);

/// Takes the next step. Returns PM_OK if it was taken (also if the migration failed by it and was rewound), or a wait's status.
enum pm_status pm_migration_advance(struct pm_call *call, struct pm_migration *mig);

/// Is it over, well or not?
static inline bool pm_migration_over(const struct pm_migration *mig)
{
	return mig->state >= PM_MS_DONE;
}

/// Undoes everything, as if a step had failed with this status.
void pm_migration_cancel(struct pm_call *call, struct pm_migration *mig, enum pm_status status, enum pm_migrate_reason reason);

/// Tells the host of those that have moved, once each. No lock is held, and the sources are not free yet.
void pm_migration_tell(struct pm_call *call, struct pm_migration *migs, size_t n);

/// The family of the batch's anon_vma is locked for reading, or not any more. Nothing that sleeps may come in between. `batch` NULL: nothing is locked.
void pm_batch_lock(struct pm_call *call, struct pm_batch *batch);
void pm_batch_unlock(struct pm_call *call, struct pm_batch *batch);

#endif
