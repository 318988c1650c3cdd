/// A page-table entry: 64 bits, our own layout.
///
///     bit 0      PRESENT   a frame is mapped
///     bit 1      READ      accesses may read (a PROT_NONE page is present without it)
///     bit 2      WRITE     accesses may write; in a migration entry: the entry that comes back may
///     bit 3      YOUNG     was accessed
///     bit 4      DIRTY     was written
///     bit 5      EXCLUSIVE an anonymous page that only this entry names: a write may reuse it. Also in swap and migration entries
///     bits 6-7   kind of an entry that is not present: SWAP, MIGRATION
///     bit 8      of a migration entry: FILE, the page belongs to a file
///     bits 9-11  of a migration entry: how its migration blocks accesses (enum pm_pte_wait)
///     bits 12-43 the frame, or the swap slot
///
/// Entries are written under the lock of their table; accesses set YOUNG and DIRTY without it, by compare-and-swap, as hardware does.
#ifndef PM_VIRT_PTE_H
#define PM_VIRT_PTE_H

#include "base/types.h"

#define PM_PTE_P ((uint64_t)1 << 0)
#define PM_PTE_READ ((uint64_t)1 << 1)
#define PM_PTE_WRITE ((uint64_t)1 << 2)
#define PM_PTE_YOUNG ((uint64_t)1 << 3)
#define PM_PTE_DIRTY ((uint64_t)1 << 4)
#define PM_PTE_EXCLUSIVE ((uint64_t)1 << 5)
#define PM_PTE_KIND_SWAP ((uint64_t)1 << 6)
#define PM_PTE_KIND_MIGRATION ((uint64_t)1 << 7)

#define PM_PTE_MIGRATION_FILE ((uint64_t)1 << 8)

/// What a fault on a migration entry waits for: until the entry is replaced, and then it looks again.
enum pm_pte_wait {
	PM_PTE_WAIT_FRAME = 0,	   ///< the lock of the frame in the entry, without a reference to it
	PM_PTE_WAIT_QUEUE = 1,	   ///< a wake-up of the area's family of anon_vmas, or of its file
	PM_PTE_WAIT_SEMAPHORE = 2, ///< the space's semaphore
	PM_PTE_WAIT_TABLE = 3	   ///< the page table's lock
};

static inline enum pm_pte_wait pm_pte_wait_of(uint64_t pte)
{
	return (enum pm_pte_wait)((pte >> 9) & 7);
}

/// A migration entry. `bits`: WRITE, YOUNG, DIRTY, EXCLUSIVE of the entry that it stands for, MIGRATION_FILE.
static inline uint64_t pm_pte_migration(struct pm_pfn pfn, uint64_t bits, enum pm_pte_wait wait)
{
	return (uint64_t)pfn.v << 12 | bits | PM_PTE_KIND_MIGRATION | (uint64_t)wait << 9;
}

static inline uint64_t pm_pte_make(struct pm_pfn pfn, uint64_t bits)
{
	return (uint64_t)pfn.v << 12 | bits;
}

static inline struct pm_pfn pm_pte_pfn(uint64_t pte)
{
	return pm_pfn((pte >> 12) & 0xffffffffu);
}

static inline bool pm_pte_present(uint64_t pte)
{
	return (pte & PM_PTE_P) != 0;
}

static inline bool pm_pte_is_swap(uint64_t pte)
{
	return (pte & (PM_PTE_P | PM_PTE_KIND_SWAP)) == PM_PTE_KIND_SWAP;
}

static inline bool pm_pte_is_migration(uint64_t pte)
{
	return (pte & (PM_PTE_P | PM_PTE_KIND_MIGRATION)) == PM_PTE_KIND_MIGRATION;
}

static inline uint64_t pm_pte_swap(uint32_t slot, bool exclusive)
{
	return (uint64_t)slot << 12 | PM_PTE_KIND_SWAP | (exclusive ? PM_PTE_EXCLUSIVE : 0);
}

static inline uint32_t pm_pte_slot(uint64_t pte)
{
	return (uint32_t)(pte >> 12);
}

/// The bits with which an access is allowed.
static inline uint64_t pm_pte_need(bool write)
{
	return PM_PTE_P | PM_PTE_READ | (write ? PM_PTE_WRITE : 0);
}

/// The bits that an access leaves behind.
static inline uint64_t pm_pte_mark(bool write)
{
	return PM_PTE_YOUNG | (write ? PM_PTE_DIRTY : 0);
}

#endif
