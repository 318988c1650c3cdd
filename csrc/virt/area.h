/// Areas (VMAs): ranges of a space with one protection and one source of pages. Insert, find, split, merge, take away.
#ifndef PM_VIRT_AREA_H
#define PM_VIRT_AREA_H

#include "virt/anon.h"
#include "virt/space.h"

struct pm_vma {
	struct pm_interval node; ///< (S) in space->areas: first and last page number
	struct pm_space *space;	 ///< (C)
	uint64_t pgoff;		 ///< (S) page offset of the first page in the file, or in anonymous memory
	/// (S), and read by whoever gives an entry back under its table's lock; mprotect goes through the entries after it has changed this.
	_Atomic uint32_t prot;	 ///< enum pm_prot
	bool shared;		 ///< (C)
	/// (S), and read by reverse-map walks, which may be late: an mlocked page that is missed is found when its entry is.
	_Atomic bool locked;
	struct pm_mapping *mapping; ///< (C) NULL: anonymous
	struct pm_interval map_node; ///< (M) in mapping->areas, by page offset
	_Atomic(struct pm_anon *) anon; ///< (A) where new pages go; set once, under the space's anon_lock or the space held for writing
	struct pm_anon_link *links;  ///< (S), and the anon_lock where the space is held for reading
};

static inline uint64_t pm_vma_pages(const struct pm_vma *vma)
{
	return vma->node.last - vma->node.start + 1;
}

static inline uint64_t pm_vma_start(const struct pm_vma *vma)
{
	return vma->node.start << PM_PAGE_SHIFT;
}

static inline uint64_t pm_vma_end(const struct pm_vma *vma)
{
	return (vma->node.last + 1) << PM_PAGE_SHIFT;
}

/// Page offset of an address in the file or in anonymous memory: what the frame's index says.
static inline uint64_t pm_vma_index(const struct pm_vma *vma, uint64_t addr)
{
	return (addr >> PM_PAGE_SHIFT) - vma->node.start + vma->pgoff;
}

/// The address of a page offset, which lies in the area.
static inline uint64_t pm_vma_addr(const struct pm_vma *vma, uint64_t index)
{
	return (index - vma->pgoff + vma->node.start) << PM_PAGE_SHIFT;
}

static inline struct pm_anon *pm_vma_anon(const struct pm_vma *vma)
{
	/* Acquire: partner of the release in pm_anon_prepare(). */
	return atomic_load_explicit(&((struct pm_vma *)(uintptr_t)vma)->anon, memory_order_acquire);
}

static inline struct pm_vma *pm_vma_of_node(struct pm_interval *node)
{
	return node ? PM_CONTAINER_OF(node, struct pm_vma, node) : NULL;
}

/// The bits of an entry that maps a page of this area, without WRITE.
static inline uint64_t pm_vma_bits(const struct pm_vma *vma)
{
	return PM_PTE_P | (vma->prot != PM_PROT_NONE ? PM_PTE_READ : 0);
}

/// May accesses of this kind be allowed here?
static inline bool pm_vma_allows(const struct pm_vma *vma, bool write)
{
	return write ? (vma->prot & PM_PROT_WRITE) != 0 : vma->prot != PM_PROT_NONE;
}

/// What sleepers for a page of this area wait for with PM_PTE_WAIT_QUEUE: the root of its family of anon_vmas, or its file.
static inline uint64_t pm_area_key(const struct pm_vma *vma, uint64_t pte)
{
	struct pm_anon *anon = pm_vma_anon(vma);

	if ((pte & PM_PTE_MIGRATION_FILE) || !anon)
		return pm_wait_key(vma->mapping);
	return pm_wait_key(atomic_load_explicit(&anon->root, memory_order_acquire));
}

/// The area that holds an address; NULL. The space is held.
static inline struct pm_vma *pm_vma_find(const struct pm_space *space, uint64_t addr)
{
	return pm_vma_of_node(pm_interval_first(&space->areas, addr >> PM_PAGE_SHIFT, addr >> PM_PAGE_SHIFT));
}

/// The first area that meets [start, end).
static inline struct pm_vma *pm_vma_first(const struct pm_space *space, uint64_t start, uint64_t end)
{
	return pm_vma_of_node(pm_interval_first(&space->areas, start >> PM_PAGE_SHIFT, (end - 1) >> PM_PAGE_SHIFT));
}

/// The next area after this one that begins before `end`.
static inline struct pm_vma *pm_vma_next(const struct pm_vma *vma, uint64_t end)
{
	struct pm_vma *next = pm_vma_of_node(pm_interval_at_or_after(&vma->space->areas, vma->node.last + 1));

	return next && pm_vma_start(next) < end ? next : NULL;
}

/// What a new area is.
struct pm_vma_model {
	uint64_t start, pages; ///< bytes, pages
	uint64_t pgoff;
	uint32_t prot;
	bool shared;
	bool locked;
	struct pm_mapping *mapping; ///< gets one use more
};

/// A new area, linked to its file but in no space's set. NULL: no memory.
struct pm_vma *pm_vma_make(struct pm_call *call, struct pm_space *space, const struct pm_vma_model *model);
/// Puts it into its space's set: from now on it can be found.
void pm_vma_insert(struct pm_vma *vma);
/// Takes it out of the set, off its file and its anon_vmas, and frees it. Nothing of it is mapped.
void pm_vma_remove(struct pm_call *call, struct pm_vma *vma);
/// Unlinks and frees an area that is in no set.
void pm_vma_destroy(struct pm_call *call, struct pm_vma *vma);

/// Cuts an area in two at `addr`, inside it. `vma` keeps the lower part; the upper one is returned. PM_ERR_NOMEM: nothing changed.
enum pm_status pm_vma_split(struct pm_call *call, struct pm_vma *vma, uint64_t addr, struct pm_vma **ret_upper);
/// Makes [start, end) begin and end at the edges of areas, by splitting. PM_ERR_NOMEM: perhaps split once, which changes nothing that can be seen.
enum pm_status pm_area_isolate(struct pm_call *call, struct pm_space *space, uint64_t start, uint64_t end);
/// Joins the areas that meet [start, end) or touch it with their neighbours where they are alike.
void pm_area_merge(struct pm_call *call, struct pm_space *space, uint64_t start, uint64_t end);

/// Is all of [start, end) mapped?
bool pm_area_covers(const struct pm_space *space, uint64_t start, uint64_t end);

/// Room for `pages` pages where nothing is mapped, lowest first, from `from` on; 0: none.
uint64_t pm_area_find_room(const struct pm_space *space, uint64_t from, uint64_t pages);

/// Unmaps whole areas in [start, end), whose edges are those of areas. The space is held for writing.
void pm_area_unmap(struct pm_call *call, struct pm_space *space, uint64_t start, uint64_t end);
/// Unmaps everything.
void pm_area_unmap_all(struct pm_call *call, struct pm_space *space);

#endif
