/// What the owner of a frame knows about it: references, map count, flags, what it belongs to. A second table beside the frame table, 16
/// bytes a frame, mapped lazily: machines without owners never touch it. With struct pm_frame a frame costs 32 bytes.
///
/// While a frame is owned (PM_FRAME_OWNED), struct pm_frame's `tag` is its index (the page offset in its file or anonymous memory, or its
/// place in its owner's list; in the swap cache: the slot, and the swap device keeps the index), and `link` belongs to the list by age.
///
/// References (REFERENCE section 2): one for each PTE, one for the page cache or the swap cache, one for private data (buffers), one for
/// each pin, one for each user in passing (isolation, a fault under way). A frame whose last reference goes is freed.
#ifndef PM_PHYS_PAGE_H
#define PM_PHYS_PAGE_H

#include "phys/machine.h"

enum pm_page_flag {
	PM_PG_LOCKED = 1u << 0,	     ///< the frame lock
	PM_PG_WAITERS = 1u << 1,     ///< somebody sleeps for the frame lock or the end of writeback
	PM_PG_UPTODATE = 1u << 2,    ///< the contents are there
	PM_PG_DIRTY = 1u << 3,	     ///< newer than its file or swap slot
	PM_PG_WRITEBACK = 1u << 4,   ///< being written out
	PM_PG_ERROR = 1u << 5,	     ///< the last transfer failed; a dirty page stays dirty
	PM_PG_LRU = 1u << 6,	     ///< on a list by age; set and cleared under the LRU lock
	PM_PG_ACTIVE = 1u << 7,	     ///< on, or to go to, an active list
	PM_PG_REFERENCED = 1u << 8,  ///< used since reclaim last looked
	PM_PG_UNEVICTABLE = 1u << 9, ///< on, or to go to, the unevictable list
	PM_PG_MLOCKED = 1u << 10,    ///< mapped by an mlocked VMA
	PM_PG_ANON = 1u << 11,	     ///< `mapping` is the index of an anon_vma
	PM_PG_SWAPCACHE = 1u << 12,  ///< in the swap cache; (F)
	PM_PG_PRIVATE = 1u << 13,    ///< has buffers; (F)
	PM_PG_CACHE = 1u << 14,	     ///< in the page cache: `mapping` is the index of a file; (F)
	PM_PG_OWNER = 1u << 15,	     ///< belongs to a kernel-like user: `mapping` is its index
	PM_PG_MOVABLE_OPS = 1u << 16, ///< its owner can move it
	PM_PG_TABLE = 1u << 17,	     ///< accounts for a page table
	PM_PG_ISOLATED = 1u << 18,   ///< taken off its list by somebody who holds a reference for it
	PM_PG_AGAIN = 1u << 19,	     ///< a migration to this frame was undone: look up anew (swap-cache protocol)
	PM_PG_RECLAIM = 1u << 20     ///< to be freed as soon as its writeback ends
};

/// A pin adds this many references, so that a pinned frame is known by its count; below it are all other references.
enum { PM_PIN_BIAS = 1024 };

struct pm_page {
	/// (A) references in the low half, map count in the high half: both change in one step when a frame is mapped or unmapped.
	_Atomic uint64_t counts;
	_Atomic uint32_t flags; ///< (A) enum pm_page_flag
	/// Index of the anon_vma, file or owner; (F) for changes, read under the frame lock or a page-table lock that maps the frame.
	_Atomic uint32_t mapping;
};

_Static_assert(sizeof(struct pm_page) + sizeof(struct pm_frame) == 32, "a frame costs at most 32 bytes");

#define PM_ONE_REF ((uint64_t)1)
#define PM_ONE_MAP ((uint64_t)1 << 32)

static inline struct pm_page *pm_page_of(const struct pm_machine *m, struct pm_pfn pfn)
{
	return &m->pages[pfn.v];
}

static inline uint32_t pm_counts_refs(uint64_t counts)
{
	return (uint32_t)counts;
}

static inline uint32_t pm_counts_maps(uint64_t counts)
{
	return (uint32_t)(counts >> 32);
}

/// Relaxed: a count that others change; who acts on it holds what keeps it still, or changes it with a compare-and-swap.
static inline uint64_t pm_page_counts(const struct pm_page *page)
{
	pm_yield(PM_AT_COUNTS, &page->counts);
	return atomic_load_explicit(&page->counts, memory_order_relaxed);
}

static inline uint32_t pm_page_refs(const struct pm_page *page)
{
	return pm_counts_refs(pm_page_counts(page));
}

static inline uint32_t pm_page_mapcount(const struct pm_page *page)
{
	return pm_counts_maps(pm_page_counts(page));
}

/// Acquire: a flag says that something was done to the frame, and the reader may look at it then.
static inline uint32_t pm_page_flags(const struct pm_page *page)
{
	pm_yield(PM_AT_FLAGS, &page->flags);
	return atomic_load_explicit(&page->flags, memory_order_acquire);
}

static inline bool pm_page_test(const struct pm_page *page, uint32_t flags)
{
	return (pm_page_flags(page) & flags) != 0;
}

/// Sets flags; returns what they were before. Ordered on both sides.
static inline uint32_t pm_page_set(struct pm_page *page, uint32_t flags)
{
	pm_yield(PM_AT_FLAGS_SET, &page->flags);
	return atomic_fetch_or(&page->flags, flags);
}

static inline uint32_t pm_page_clear(struct pm_page *page, uint32_t flags)
{
	pm_yield(PM_AT_FLAGS_SET, &page->flags);
	return atomic_fetch_and(&page->flags, ~flags);
}

/// Relaxed: what a frame belongs to changes under its lock, and while it is mapped it does not change but by migration.
static inline uint32_t pm_page_mapping(const struct pm_page *page)
{
	return atomic_load_explicit(&page->mapping, memory_order_relaxed);
}

static inline void pm_page_set_mapping(struct pm_page *page, uint32_t mapping)
{
	atomic_store_explicit(&page->mapping, mapping, memory_order_relaxed);
}

/// The frame's index; see the head of this file. Relaxed, as pm_page_mapping().
static inline uint32_t pm_page_tag(const struct pm_machine *m, struct pm_pfn pfn)
{
	return atomic_load_explicit(&pm_frame_of(m, pfn)->tag, memory_order_relaxed);
}

static inline void pm_page_set_tag(const struct pm_machine *m, struct pm_pfn pfn, uint32_t tag)
{
	atomic_store_explicit(&pm_frame_of(m, pfn)->tag, tag, memory_order_relaxed);
}

/// May the frame be pinned? Exact only for a frame that nobody can pin meanwhile.
static inline bool pm_page_maybe_pinned(const struct pm_page *page)
{
	return pm_page_refs(page) >= PM_PIN_BIAS;
}

/// Adds references and mappings: multiples of PM_ONE_REF and PM_ONE_MAP. Returns what was before. Relaxed: the reference that is there
/// already keeps the frame.
static inline uint64_t pm_page_add_counts(struct pm_page *page, uint64_t more)
{
	pm_yield(PM_AT_COUNTS_SET, &page->counts);
	return atomic_fetch_add_explicit(&page->counts, more, memory_order_relaxed);
}

/// Takes some away. Acquire and release: what every holder did to the frame comes before it is used anew.
static inline uint64_t pm_page_sub_counts(struct pm_page *page, uint64_t less)
{
	pm_yield(PM_AT_COUNTS_SET, &page->counts);
	return atomic_fetch_sub_explicit(&page->counts, less, memory_order_acq_rel);
}

/// One reference more. The caller has one, or holds what keeps one.
static inline void pm_page_get(struct pm_page *page)
{
	uint64_t before = pm_page_add_counts(page, PM_ONE_REF);

	PM_ASSERT_SLOW(pm_counts_refs(before) != 0);
	(void)before;
}

/// One reference more, unless there is none left or the count is frozen.
bool pm_page_try_get(struct pm_page *page);

/// References go from exactly `refs` to 0, so that nobody can get one; false if there are others. Undone by pm_page_unfreeze().
bool pm_page_freeze(struct pm_page *page, uint32_t refs);
void pm_page_unfreeze(struct pm_page *page, uint32_t refs);

/// Order of the owned block that this frame heads.
static inline unsigned int pm_page_order(const struct pm_machine *m, struct pm_pfn pfn)
{
	return pm_word_order(pm_frame_word(pm_frame_of(m, pfn)));
}

/// Makes a block that was allocated (PM_FRAME_USED) an owned one, with one reference and nothing else; it can no longer be given to
/// pm_free() by a caller.
void pm_page_own(struct pm_machine *m, struct pm_pfn pfn);

/// An owned block without references, flags or links is one that pm_alloc() has given, again.
void pm_page_unown(struct pm_machine *m, struct pm_pfn pfn);

/// Gives an owned block without references, flags or links back to the allocator.
void pm_page_disown(struct pm_machine *m, uint32_t cpu, struct pm_pfn pfn);
/// The same for n blocks of order 0. The array is used up.
void pm_page_disown_bulk(struct pm_machine *m, uint32_t cpu, size_t n, uint64_t *pfns);

#endif
