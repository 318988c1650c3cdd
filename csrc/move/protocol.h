/// What blocks accessors while a frame moves. The 2004 thread argued about four ways; Linux took a fifth.
///
/// | protocol | what blocks an access | can sleep | sharers after fork |
/// | swap-cache | the new frame's lock, found through the swap cache | yes | yes |
/// | table-lock | the page table's lock, held throughout | no | no: PM_ERR_BUSY |
/// | semaphore | a semaphore of each address space, exclusive for migration | yes | yes, in the order of their handles |
/// | waitqueue | a wait queue of the anon_vma (or file) | yes | yes |
/// | entry | a migration entry, and the frame's wait queue | yes | yes |
#ifndef PM_MOVE_PROTOCOL_H
#define PM_MOVE_PROTOCOL_H

#include "move/migrate.h"

struct pm_protocol {
	const char *name;
	bool brief;    ///< what it holds meanwhile holds up others than those who want the pages: its batches are short
	bool unbroken; ///< UNMAP to REMAP is one step: a spin lock is held
	bool lazy;     ///< entries come back by faults, not by REMAP
	/// In PREPARE, both frames locked: gets what the protocol needs (a swap slot, the semaphores). Undone by `release`.
	enum pm_status (*prepare)(struct pm_migration *mig);
	/// UNMAP: no entry maps the source afterwards. PM_ERR_AGAIN or PM_ERR_BUSY with the reason set: `rewind` follows.
	enum pm_status (*unmap)(struct pm_migration *mig);
	/// SETTLE: waits, or not, until the source's references are only those that belong to it, and gives its place in the caches to the destination.
	enum pm_status (*settle)(struct pm_migration *mig);
	/// REMAP: every entry that blocks maps `target` (the destination, or the source when it is undone).
	void (*remap)(struct pm_migration *mig, struct pm_pfn target);
	/// The migration has failed, and entries map the source again: undoes `prepare` while the source is still locked.
	void (*undo)(struct pm_migration *mig);
	/// Both frames are unlocked, whether it went well or not: lets go what is left.
	void (*release)(struct pm_migration *mig);
	/// All frames of a batch are over: lets go what they shared.
	void (*end_batch)(struct pm_call *call, struct pm_batch *batch);
};

/* ---- what the protocols that use migration entries share (blocking.c) ---- */

/// Looks at one entry that maps the source, under its table's lock. PM_OK: it may be replaced.
typedef enum pm_status (*pm_unmap_check)(struct pm_migration *mig, struct pm_vma *vma);

/// Replaces every entry that maps the source by a migration entry on which a fault waits in this way.
enum pm_status pm_block_unmap(struct pm_migration *mig, enum pm_pte_wait wait, pm_unmap_check check);
/// Replaces the source's migration entries by ones that map `target`.
void pm_block_remap(struct pm_migration *mig, struct pm_pfn target);
/// Goes through the areas that may map the page, mapped or not.
void pm_block_walk(struct pm_migration *mig, struct pm_rmap_visitor *visitor);
/// No reference is left but those that belong to the source: gives its place to the destination.
enum pm_status pm_block_settle(struct pm_migration *mig);
/// The status for a frame to which somebody else has references, with the reason.
enum pm_status pm_block_referenced(struct pm_migration *mig);
/// One entry of the source was taken away: what is counted and remembered. Under the table's lock.
void pm_block_taken(struct pm_migration *mig, struct pm_vma *vma, uint64_t before);
/// One entry maps `target`: what is counted. Under the table's lock.
void pm_block_given(struct pm_migration *mig, struct pm_vma *vma, struct pm_pfn target);

extern const struct pm_protocol pm_protocol_entry, pm_protocol_swap_cache, pm_protocol_table_lock, pm_protocol_semaphore, pm_protocol_waitqueue;

/// By enum pm_migrate_protocol; NULL: there is none of that number.
const struct pm_protocol *pm_protocol_of(uint32_t number);

#endif
