/// Walks all spaces and compares what their entries map with what the frames count: nothing lost, nothing twice, nothing left behind.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "virt/area.h"
#include "virt/owner.h"
#include "virt/pin.h"

struct audit {
	struct pm_machine *m;
	char *message;
	size_t size;
	uint32_t *maps; ///< [nr_frames] entries found
	uint32_t *refs; ///< [nr_frames] references that are accounted for
	bool moving;	///< a migration is half way
	uint32_t nr_moving; ///< frames that such migrations have, and one of these
	struct pm_moving one;
};

static __attribute__((format(printf, 2, 3))) bool wrong(struct audit *a, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(a->message, a->size, format, args);
	va_end(args);
	return false;
}

static bool check_present(struct audit *a, const struct pm_space *space, const struct pm_vma *vma, uint64_t addr, uint64_t pte)
{
	struct pm_pfn pfn = pm_pte_pfn(pte);
	struct pm_page *page;
	bool anon;

	if (!pm_zone_of(a->m, pfn.v) || pm_word_kind(pm_frame_word(pm_frame_of(a->m, pfn))) != PM_FRAME_OWNED)
		return wrong(a, "space %#" PRIx64 ", address %#" PRIx64 ": frame %" PRIu32 " is mapped but has no owner", space->handle, addr, pfn.v);
	page = pm_page_of(a->m, pfn);
	anon = pm_page_test(page, PM_PG_ANON);
	a->maps[pfn.v]++;
	a->refs[pfn.v]++;
	if (!pm_page_test(page, PM_PG_UPTODATE))
		return wrong(a, "space %#" PRIx64 ", address %#" PRIx64 ": frame %" PRIu32 " is mapped but not up to date", space->handle, addr, pfn.v);
	if (!anon && (!vma->mapping || !pm_page_test(page, PM_PG_CACHE) || pm_page_mapping(page) != vma->mapping->pooled.index))
		return wrong(a, "space %#" PRIx64 ", address %#" PRIx64 ": frame %" PRIu32 " does not belong to the file mapped there", space->handle, addr, pfn.v);
	if (anon && vma->shared)
		return wrong(a, "space %#" PRIx64 ", address %#" PRIx64 ": an anonymous frame in a shared mapping", space->handle, addr);
	if ((pte & PM_PTE_WRITE) && !(vma->prot & PM_PROT_WRITE))
		return wrong(a, "space %#" PRIx64 ", address %#" PRIx64 ": writable, and its area is not", space->handle, addr);
	if ((pte & PM_PTE_WRITE) && !vma->shared && !(pte & PM_PTE_EXCLUSIVE))
		return wrong(a, "space %#" PRIx64 ", address %#" PRIx64 ": frame %" PRIu32 " is writable and shared copy-on-write", space->handle, addr, pfn.v);
	if ((pte & PM_PTE_EXCLUSIVE) && (!anon || pm_page_mapcount(page) != 1))
		return wrong(a, "space %#" PRIx64 ", address %#" PRIx64 ": frame %" PRIu32 " is exclusive but mapped %" PRIu32 " times", space->handle, addr, pfn.v, pm_page_mapcount(page));
	/* MLOCKED is a hint, which another area that had locked the page too may have taken along: reclaim asks the areas. */
	return true;
}

static bool check_index(struct audit *a, const struct pm_space *space, const struct pm_vma *vma, uint64_t addr, struct pm_pfn pfn)
{
	struct pm_page *page = pm_page_of(a->m, pfn);
	uint64_t index = pm_page_test(page, PM_PG_SWAPCACHE) ? a->m->virt->hooks.swap->index(a->m, pfn) : pm_page_tag(a->m, pfn);
	const struct pm_anon_link *link;

	if (index != pm_vma_index(vma, addr))
		return wrong(a, "space %#" PRIx64 ", address %#" PRIx64 ": frame %" PRIu32 " has index %" PRIu64 ", its place says %" PRIu64, space->handle, addr, pfn.v, index, pm_vma_index(vma, addr));
	if (!pm_page_test(page, PM_PG_ANON))
		return true;
	for (link = vma->links; link; link = link->next)
		if (link->anon->pooled.index == pm_page_mapping(page))
			return true;
	return wrong(a, "space %#" PRIx64 ", address %#" PRIx64 ": the reverse map of frame %" PRIu32 " does not lead here", space->handle, addr, pfn.v);
}

/// Is it the source of a migration that is half way, and has unmapped it?
static bool is_blocked(const struct audit *a, struct pm_pfn pfn)
{
	struct pm_moving moving;

	return a->moving && pm_moving(a->m, pfn, &moving) && moving.blocked;
}

static bool walk_leaf(struct audit *a, struct pm_space *space, struct pm_table *leaf, uint64_t addr)
{
	unsigned int i;

	for (i = 0; i < PM_TABLE_ENTRIES; i++, addr += PM_PAGE_SIZE) {
		uint64_t pte = pm_pte_load(&leaf->entry[i]);
		struct pm_vma *vma;

		if (!pte)
			continue;
		vma = pm_vma_find(space, addr);
		if (!vma)
			return wrong(a, "space %#" PRIx64 ", address %#" PRIx64 ": an entry where nothing is mapped", space->handle, addr);
		if (pm_pte_is_migration(pte) && !is_blocked(a, pm_pte_pfn(pte)))
			return wrong(a, "space %#" PRIx64 ", address %#" PRIx64 ": a migration entry was left behind", space->handle, addr);
		if (pm_pte_present(pte) && (!check_present(a, space, vma, addr, pte) || !check_index(a, space, vma, addr, pm_pte_pfn(pte))))
			return false;
	}
	return true;
}

static bool walk_space(struct audit *a, struct pm_space *space)
{
	uint64_t addr = 0, end = (uint64_t)1 << PM_VA_BITS, last = 0;
	struct pm_vma *vma;
	struct pm_table *leaf;

	for (vma = pm_vma_first(space, 0, end); vma; vma = pm_vma_next(vma, end)) {
		if (vma->node.start < last)
			return wrong(a, "space %#" PRIx64 ": two areas overlap at page %" PRIu64, space->handle, vma->node.start);
		last = vma->node.last + 1;
	}
	while ((addr = pm_table_next_leaf(space, addr, end, &leaf)) < end) {
		if (!walk_leaf(a, space, leaf, addr & ~(((uint64_t)PM_TABLE_ENTRIES << PM_PAGE_SHIFT) - 1)))
			return false;
		addr = pm_table_leaf_end(addr, end);
	}
	return true;
}

static bool walk_spaces(struct audit *a)
{
	struct pm_space *space;
	uint32_t after = 0;

	while ((space = pm_pool_next(&a->m->virt->spaces, after)) != NULL) {
		after = space->pooled.index;
		if (!walk_space(a, space))
			return false;
	}
	return true;
}

static void count_pins(struct audit *a)
{
	struct pm_pin_token *pin;
	uint32_t after = 0;

	while ((pin = pm_pool_next(&a->m->virt->pins, after)) != NULL) {
		after = pin->pooled.index;
		a->refs[pm_pin_pfn(pin).v] += pm_pin_refs(pm_pin_kind(pin));
	}
}

/// Every list by age holds what its frames' flags say, and the counts are right.
static bool walk_lists(struct audit *a) PM_NO_TSA
{
	uint32_t zone, list;

	for (zone = 0; zone < a->m->nr_zones; zone++) {
		for (list = 0; list < PM_NR_LRU; list++) {
			struct pm_lru *lru = &a->m->virt->lru[zone];
			uint32_t at = lru->list[list].first;
			uint64_t n = 0;

			for (; at != PM_NIL_PFN; at = pm_frame_of(a->m, pm_pfn(at))->link.next, n++) {
				uint32_t flags = at < a->m->nr_frames ? pm_page_flags(pm_page_of(a->m, pm_pfn(at))) : 0;
				uint32_t want = flags & PM_PG_UNEVICTABLE ? PM_LRU_UNEVICTABLE :
								(flags & PM_PG_ANON ? 0u : 2u) + (flags & PM_PG_ACTIVE ? 1u : 0u);

				if (!(flags & PM_PG_LRU) || want != list)
					return wrong(a, "frame %" PRIu32 " is on list %" PRIu32 " of zone %" PRIu32 ", its flags %#" PRIx32 " say otherwise", at, list, zone, flags);
			}
			if (n != atomic_load_explicit(&lru->nr[list], memory_order_relaxed))
				return wrong(a, "list %" PRIu32 " of zone %" PRIu32 " counts wrongly: %" PRIu64 " frames are on it", list, zone, n);
		}
	}
	return true;
}

static bool check_frame(struct audit *a, uint32_t pfn)
{
	struct pm_page *page = pm_page_of(a->m, pm_pfn(pfn));
	uint32_t flags = pm_page_flags(page), left = flags & (PM_PG_LOCKED | PM_PG_ISOLATED);
	struct pm_moving moving;

	if (flags & (PM_PG_OWNER | PM_PG_TABLE))
		a->refs[pfn]++;
	if (a->moving && pm_moving(a->m, pm_pfn(pfn), &moving)) {
		a->refs[pfn] += moving.refs;
		left &= ~moving.flags;
		a->nr_moving++;
		a->one = moving;
	}
	if (pm_page_mapcount(page) != a->maps[pfn])
		return wrong(a, "frame %" PRIu32 " counts %" PRIu32 " mappings, %" PRIu32 " entries map it", pfn, pm_page_mapcount(page), a->maps[pfn]);
	if (pm_page_refs(page) != a->refs[pfn])
		return wrong(a, "frame %" PRIu32 " counts %" PRIu32 " references, %" PRIu32 " are accounted for (flags %#" PRIx32 ")", pfn, pm_page_refs(page), a->refs[pfn], flags);
	if (left)
		return wrong(a, "frame %" PRIu32 " was left %s", pfn, left & PM_PG_LOCKED ? "locked" : "isolated");
	return true;
}

static bool walk_frames(struct audit *a)
{
	uint32_t z;

	for (z = 0; z < a->m->nr_zones; z++) {
		uint64_t at = a->m->zone[z].start, pfn;
		struct pm_range run;

		while (pm_next_usable(a->m, &at, a->m->zone[z].end, &run))
			for (pfn = run.start; pfn < run.end; pfn++) {
				unsigned int free_order = pm_pageblock_of(a->m, pm_pfn(pfn))->free_order;

				/* A large free block: the table behind it may never have been touched. */
				if (free_order >= PM_PAGEBLOCK_ORDER && pm_pfn_aligned(pm_pfn(pfn), free_order)) {
					pfn += ((uint64_t)1 << free_order) - 1;
					continue;
				}
				if (pm_word_kind(pm_frame_word(pm_frame_of(a->m, pm_pfn(pfn)))) == PM_FRAME_OWNED) {
					if (!check_frame(a, (uint32_t)pfn))
						return false;
				} else if (a->refs[pfn]) {
					return wrong(a, "frame %" PRIu64 " is referred to but has no owner", pfn);
				}
			}
	}
	return true;
}

/// All is well, and some of it is half way: says so.
static void tell_moving(const struct audit *a)
{
	char to[32] = "";

	if (!a->nr_moving)
		return;
	if (!pm_pfn_is_nil(a->one.to))
		(void)snprintf(to, sizeof(to), " to frame %" PRIu32, a->one.to.v);
	(void)snprintf(a->message, a->size, "%" PRIu32 " frames are in migration, among them frame %" PRIu32 "%s, whose next step is %s", a->nr_moving, a->one.from.v, to, a->one.next);
}

enum pm_status pm_virt_validate(struct pm_machine *m, char *message, size_t size)
{
	struct audit a = { .m = m, .message = message, .size = size };
	enum pm_status status = PM_ERR_NOMEM;

	a.moving = pm_moving(m, pm_pfn_nil(), &a.one);
	a.maps = calloc(m->nr_frames, sizeof(*a.maps));
	a.refs = calloc(m->nr_frames, sizeof(*a.refs));
	if (a.maps && a.refs) {
		count_pins(&a);
		status = walk_spaces(&a) ? PM_OK : PM_ERR_CORRUPT;
		if (!status && m->virt->hooks.audit)
			status = m->virt->hooks.audit(m, a.refs, message, size);
		if (!status)
			status = walk_lists(&a) && walk_frames(&a) ? PM_OK : PM_ERR_CORRUPT;
		if (!status)
			tell_moving(&a);
	}
	free(a.maps);
	free(a.refs);
	return status;
}
