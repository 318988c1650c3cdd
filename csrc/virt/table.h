/// Page tables: a radix tree of four levels, 512 entries a table (32 at the top), with a lock a table for the entries of a leaf.
///
/// Tables are added while the space is held for reading, by compare-and-swap into the table above; they are taken away by who holds it
/// for writing, after the areas around were unlinked from the reverse maps and a flush has passed. So accesses inside an
/// epoch, faults and reverse-map walks go down without a lock.
#ifndef PM_VIRT_TABLE_H
#define PM_VIRT_TABLE_H

#include "virt/pte.h"
#include "virt/virt.h"

enum { PM_TABLE_SHIFT = 9, PM_TABLE_ENTRIES = 1 << PM_TABLE_SHIFT, PM_TABLE_TOP_SHIFT = PM_PAGE_SHIFT + 3 * PM_TABLE_SHIFT };

struct pm_table {
	struct pm_lock lock;  ///< rank TABLE
	uint32_t level;	      ///< (C) 3: top, 0: leaf
	struct pm_pfn frame;  ///< (C) the frame that accounts for it; nil: none
	struct pm_table *next_dead; ///< (U) once it is unlinked
	/// (P) for changes, of a leaf: one more than the first frame of the aligned block that its entries map, one after the other; 0: they do not.
	_Atomic uint32_t block;
	/// (P) this lock, in a leaf; above, (A): the address of a table, written once while it is in the tree.
	_Alignas(PM_CFG_CACHE_LINE) _Atomic uint64_t entry[PM_TABLE_ENTRIES];
};

struct pm_space;

/// The top of a new space. NULL: no memory.
struct pm_table *pm_table_create_top(struct pm_call *call);

/// The leaf for an address, made if it is missing. PM_ERR_NOMEM or the status of an allocation.
enum pm_status pm_table_make_leaf(struct pm_call *call, struct pm_space *space, uint64_t addr, struct pm_table **ret);

/// Frees all tables that lie wholly in [start, end) (bytes), where nothing is mapped any more. The space is held for writing.
void pm_table_free_range(struct pm_call *call, struct pm_space *space, uint64_t start, uint64_t end);

/// Frees all tables, the top too. Nobody else knows the space.
void pm_table_destroy(struct pm_call *call, struct pm_space *space);

static inline unsigned int pm_table_slot(uint64_t addr, unsigned int level)
{
	return (unsigned int)(addr >> (PM_PAGE_SHIFT + level * PM_TABLE_SHIFT)) & (PM_TABLE_ENTRIES - 1);
}

static inline struct pm_table *pm_table_below(const struct pm_table *table, unsigned int slot)
{
	/* Acquire: partner of the compare-and-swap that put the table there. */
	return (struct pm_table *)(uintptr_t)atomic_load_explicit(&table->entry[slot], memory_order_acquire);
}

/// The leaf for an address; NULL if there is none.
static inline struct pm_table *pm_table_leaf_of(const struct pm_table *top, uint64_t addr)
{
	const struct pm_table *table = pm_table_below(top, pm_table_slot(addr, 3));

	if (PM_LIKELY(table))
		table = pm_table_below(table, pm_table_slot(addr, 2));
	if (PM_LIKELY(table))
		table = pm_table_below(table, pm_table_slot(addr, 1));
	return (struct pm_table *)(uintptr_t)table;
}

static inline _Atomic uint64_t *pm_table_entry(struct pm_table *leaf, uint64_t addr)
{
	return &leaf->entry[pm_table_slot(addr, 0)];
}

/// Acquire: whoever wrote the entry wrote the frame's contents and counts before.
static inline uint64_t pm_pte_load(const _Atomic uint64_t *entry)
{
	pm_yield(PM_AT_ENTRY, entry);
	return atomic_load_explicit(entry, memory_order_acquire);
}

/// Release: partner of pm_pte_load(). For entries that no access can mark meanwhile (they were not present).
static inline void pm_pte_store(_Atomic uint64_t *entry, uint64_t pte)
{
	pm_yield(PM_AT_ENTRY_SET, entry);
	atomic_store_explicit(entry, pte, memory_order_release);
}

/// For entries that an access may be marking: sequentially consistent read-modify-writes. All return what was there before.
static inline uint64_t pm_pte_exchange(_Atomic uint64_t *entry, uint64_t pte)
{
	pm_yield(PM_AT_ENTRY_SET, entry);
	return atomic_exchange(entry, pte);
}

static inline uint64_t pm_pte_set_bits(_Atomic uint64_t *entry, uint64_t bits)
{
	pm_yield(PM_AT_ENTRY_SET, entry);
	return atomic_fetch_or(entry, bits);
}

static inline uint64_t pm_pte_clear_bits(_Atomic uint64_t *entry, uint64_t bits)
{
	pm_yield(PM_AT_ENTRY_SET, entry);
	return atomic_fetch_and(entry, ~bits);
}

/// Do the leaf's entries map one aligned block? For a reader inside its CPU's epoch: see pm_table_break().
static inline bool pm_table_is_block(const struct pm_table *leaf)
{
	/* Relaxed: partner of pm_table_break(), and the epoch keeps the two apart. */
	return atomic_load_explicit(&leaf->block, memory_order_relaxed) != 0;
}

/// Under the leaf's lock.
static inline void pm_table_set_block(struct pm_table *leaf, struct pm_pfn first)
{
	atomic_store_explicit(&leaf->block, first.v + 1, memory_order_relaxed);
}

/// One of the leaf's entries is taken away, or goes to another frame: no reader takes them for a block after the flush that follows.
/// Under its lock.
static inline void pm_table_break(struct pm_table *leaf)
{
	if (PM_UNLIKELY(atomic_load_explicit(&leaf->block, memory_order_relaxed)))
		atomic_store_explicit(&leaf->block, 0, memory_order_relaxed);
}

/// Leaves the marks of an access in its entry. False: the entry has changed so that the access is not allowed any more.
static inline bool pm_pte_mark_access(_Atomic uint64_t *entry, uint64_t pte, bool write)
{
	uint64_t need = pm_pte_need(write), bits = pm_pte_mark(write);
	struct pm_pfn pfn = pm_pte_pfn(pte);

	while ((pte & bits) != bits) {
		pm_yield(PM_AT_ENTRY_SET, entry);
		/* Acquire, as pm_pte_load(), since a failure reads the entry anew. */
		if (atomic_compare_exchange_weak_explicit(entry, &pte, pte | bits, memory_order_acq_rel, memory_order_acquire))
			return true;
		/* The mark has to land on the frame that is touched. */
		if (((pte & need) != need || !pm_pfn_eq(pm_pte_pfn(pte), pfn)) && !PM_PLANTED(ACCESS_NO_RECHECK))
			return false;
	}
	return true;
}

/// The end of the leaf's range that holds `addr`, or `end` if that comes first.
static inline uint64_t pm_table_leaf_end(uint64_t addr, uint64_t end)
{
	uint64_t leaf_end = (addr | (((uint64_t)PM_TABLE_ENTRIES << PM_PAGE_SHIFT) - 1)) + 1;

	return leaf_end < end ? leaf_end : end;
}

/// The first address from `addr` on, below `end`, that has a leaf; `*ret` is that leaf. `end` and NULL if there is none.
uint64_t pm_table_next_leaf(const struct pm_space *space, uint64_t addr, uint64_t end, struct pm_table **ret);

#endif
