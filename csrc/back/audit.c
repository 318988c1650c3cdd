/// What must hold when nobody is inside: caches, tags, slots and counts agree with the frames and with each other.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "back/file.h"
#include "virt/area.h"

struct audit {
	struct pm_machine *m;
	char *message;
	size_t size;
	uint32_t *expected; ///< NULL: only looked at
};

static __attribute__((format(printf, 2, 3))) bool wrong(const struct audit *a, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(a->message, a->size, format, args);
	va_end(args);
	return false;
}

static void expect(const struct audit *a, struct pm_pfn pfn)
{
	if (a->expected)
		a->expected[pfn.v]++;
}

/// A migration has given it its place, and not yet what the page is.
static bool is_incomplete(const struct audit *a, struct pm_pfn pfn)
{
	struct pm_moving moving;

	return pm_moving(a->m, pfn, &moving) && moving.incomplete;
}

/// Is it locked, and by no migration: is it being read?
static bool is_being_read(const struct audit *a, struct pm_pfn pfn)
{
	struct pm_moving moving;

	return pm_page_test(pm_page_of(a->m, pfn), PM_PG_LOCKED) && !(pm_moving(a->m, pfn, &moving) && (moving.flags & PM_PG_LOCKED));
}

static bool check_page(const struct audit *a, const struct pm_file *file, uint64_t index, const struct pm_cache_slot *slot) PM_NO_TSA
{
	const struct pm_cache *cache = &file->cache;
	uint32_t id = file->mapping.pooled.index, flags = pm_page_flags(pm_page_of(a->m, slot->pfn)), pfn = slot->pfn.v;

	if (!pm_file_has(file, index, slot->pfn))
		return wrong(a, "file %" PRIu32 ", page %" PRIu64 ": frame %" PRIu32 " says it is elsewhere (flags %#" PRIx32 ")", id, index, pfn, flags);
	if (file->kind != PM_FS_RAM && !is_incomplete(a, slot->pfn) && pm_cache_test(cache, index, PM_TAG_DIRTY) != ((flags & PM_PG_DIRTY) != 0))
		return wrong(a, "file %" PRIu32 ", page %" PRIu64 ": frame %" PRIu32 " and its tag disagree about dirty", id, index, pfn);
	if (pm_cache_test(cache, index, PM_TAG_WRITEBACK) != ((flags & PM_PG_WRITEBACK) != 0))
		return wrong(a, "file %" PRIu32 ", page %" PRIu64 ": frame %" PRIu32 " and its tag disagree about writeback", id, index, pfn);
	if ((slot->buffers != NULL) != ((flags & PM_PG_PRIVATE) != 0))
		return wrong(a, "file %" PRIu32 ", page %" PRIu64 ": frame %" PRIu32 " and its buffers disagree", id, index, pfn);
	if (slot->buffers && slot->buffers->block != pm_extent_block(&file->extent, index))
		return wrong(a, "file %" PRIu32 ", page %" PRIu64 ": its buffers are another block's", id, index);
	return true;
}

/// How many uses of a file there should be: its handle, areas, transfers. A read under way has its page locked; a write has it tagged.
static uint64_t count_uses(const struct audit *a, const struct pm_file *file, uint64_t reads) PM_NO_TSA
{
	(void)a;
	return (atomic_load(&file->mapping.pooled.generation) & 1) + file->mapping.areas.nr + reads + file->cache.nr[PM_TAG_WRITEBACK] +
	       atomic_load(&file->nr_direct);
}

static bool check_file(const struct audit *a, const struct pm_file *file) PM_NO_TSA
{
	uint64_t index = 0, pages = 0, buffers = 0, reads = 0, uses;
	uint32_t id = file->mapping.pooled.index;

	for (; (index = pm_cache_next(&file->cache, index, PM_TAG_PAGE)) != UINT64_MAX; index++, pages++) {
		const struct pm_cache_slot *slot = pm_cache_find(&file->cache, index);

		if (!check_page(a, file, index, slot))
			return false;
		expect(a, slot->pfn);
		if (slot->buffers)
			expect(a, slot->pfn);
		buffers += slot->buffers != NULL;
		reads += is_being_read(a, slot->pfn);
	}
	if (pages != file->cache.nr[PM_TAG_PAGE] || buffers != file->nr_buffers)
		return wrong(a, "file %" PRIu32 ": counts %" PRIu64 " pages and %" PRIu64 " buffers, has %" PRIu64 " and %" PRIu64, id, file->cache.nr[PM_TAG_PAGE],
			     file->nr_buffers, pages, buffers);
	uses = count_uses(a, file, reads);
	if (!a->expected && uses != atomic_load(&file->refs))
		return wrong(a, "file %" PRIu32 ": counts %" PRIu32 " uses, %" PRIu64 " are accounted for", id, atomic_load(&file->refs), uses);
	return true;
}

static bool check_files(const struct audit *a)
{
	const struct pm_pool *pool = &a->m->back->files;
	uint32_t i;

	/* Also those without a handle. */
	for (i = 1; i <= pool->nr_made; i++) {
		const struct pm_file *file = pm_pool_at(pool, i);

		if (atomic_load(&file->refs) && !check_file(a, file))
			return false;
	}
	return true;
}

static bool check_slot(const struct audit *a, const struct pm_swap *swap, uint32_t slot, uint32_t found) PM_NO_TSA
{
	const struct pm_swap_slot *at = &swap->slot[slot];
	bool used = swap->used[slot / 64] >> (slot % 64) & 1;

	if (used != (at->count || at->pfn_next))
		return wrong(a, "swap slot %" PRIu32 " is %s, with %" PRIu32 " entries", slot, used ? "in use for nothing" : "free", at->count);
	if (at->count != found)
		return wrong(a, "swap slot %" PRIu32 " counts %" PRIu32 " entries, %" PRIu32 " name it", slot, at->count, found);
	if (at->pfn_next) {
		struct pm_pfn pfn = pm_pfn(at->pfn_next - 1);
		uint32_t flags = pm_page_flags(pm_page_of(a->m, pfn));

		if (!(flags & PM_PG_SWAPCACHE) || !(flags & PM_PG_ANON) || pm_page_tag(a->m, pfn) != slot)
			return wrong(a, "swap slot %" PRIu32 " has frame %" PRIu32 ", which says otherwise (flags %#" PRIx32 ")", slot, pfn.v, flags);
		expect(a, pfn);
	}
	return true;
}

static void count_leaf(const struct pm_swap *swap, struct pm_table *leaf, uint32_t *counts, uint64_t *beyond) PM_NO_TSA
{
	unsigned int i;

	for (i = 0; i < PM_TABLE_ENTRIES; i++) {
		uint64_t pte = pm_pte_load(&leaf->entry[i]);

		if (!pm_pte_is_swap(pte))
			continue;
		if (pm_pte_slot(pte) < swap->nr_slots)
			counts[pm_pte_slot(pte)]++;
		else
			++*beyond;
	}
}

/// Counts the entries that name each slot. Returns those that name one that does not exist.
static uint64_t count_entries(const struct audit *a, const struct pm_swap *swap, uint32_t *counts)
{
	uint64_t end = (uint64_t)1 << PM_VA_BITS, beyond = 0;
	struct pm_space *space;
	uint32_t after = 0;

	while ((space = pm_pool_next(&a->m->virt->spaces, after)) != NULL) {
		struct pm_table *leaf;
		uint64_t addr = 0;

		after = space->pooled.index;
		while ((addr = pm_table_next_leaf(space, addr, end, &leaf)) < end) {
			count_leaf(swap, leaf, counts, &beyond);
			addr = pm_table_leaf_end(addr, end);
		}
	}
	return beyond;
}

static enum pm_status check_swap(const struct audit *a) PM_NO_TSA
{
	const struct pm_swap *swap = &a->m->back->swap;
	uint32_t *counts = pm_host_zalloc(&a->m->host, (swap->nr_slots + 1) * sizeof(*counts)), slot;
	uint64_t used = 0, cached = 0, entries = 0;
	bool ok;

	if (!counts)
		return PM_ERR_NOMEM;
	ok = count_entries(a, swap, counts) == 0 || wrong(a, "an entry names a swap slot that does not exist");
	for (slot = 0; slot < swap->nr_slots && ok; slot++) {
		ok = check_slot(a, swap, slot, counts[slot]);
		used += swap->used[slot / 64] >> (slot % 64) & 1;
		cached += swap->slot[slot].pfn_next != 0;
		entries += swap->slot[slot].count;
	}
	pm_host_free(&a->m->host, counts);
	if (ok && (used != swap->nr_used || cached != swap->nr_cached || entries != swap->entries))
		ok = wrong(a, "swap counts %" PRIu64 " slots, %" PRIu64 " frames and %" PRIu64 " entries, has %" PRIu64 ", %" PRIu64 " and %" PRIu64, swap->nr_used,
			   swap->nr_cached, swap->entries, used, cached, entries);
	return ok ? PM_OK : PM_ERR_CORRUPT;
}

static bool check_device(const struct audit *a, const struct pm_device *device) PM_NO_TSA
{
	const struct pm_transfer *transfer;
	uint32_t service = 0, queued = 0, stuck = 0;

	for (transfer = device->service; transfer; transfer = transfer->next, service++) {
		stuck += transfer->stuck;
		if (transfer->next && transfer->next->due_ns < transfer->due_ns)
			return wrong(a, "device %" PRIu32 ": transfers are out of order", device->pooled.index);
	}
	for (transfer = device->queue; transfer; transfer = transfer->next)
		queued++;
	if (service != device->in_service || queued != device->queued || stuck != device->stuck)
		return wrong(a, "device %" PRIu32 ": counts its transfers wrongly", device->pooled.index);
	if (queued && service < device->options.depth)
		return wrong(a, "device %" PRIu32 ": a transfer queues although there is room", device->pooled.index);
	return true;
}

static bool check_devices(const struct audit *a)
{
	const struct pm_pool *pool = &a->m->back->devices;
	uint32_t i;

	for (i = 1; i <= pool->nr_made; i++) {
		const struct pm_device *device = pm_pool_at(pool, i);

		if (device->made && !check_device(a, device))
			return false;
	}
	return true;
}

enum pm_status pm_back_audit(struct pm_machine *m, uint32_t *expected, char *message, size_t size)
{
	struct audit a = { m, message, size, expected };

	return check_files(&a) ? check_swap(&a) : PM_ERR_CORRUPT;
}

enum pm_status pm_back_validate(struct pm_machine *m, char *message, size_t size)
{
	struct audit a = { m, message, size, NULL };

	return check_devices(&a) && check_files(&a) ? PM_OK : PM_ERR_CORRUPT;
}
