/// Saves what the allocator of a machine knows. Nobody else uses it meanwhile.
#include <string.h>

#include "embed/image.h"

/// Where the bytes go; beyond `room` they are only counted.
struct writer {
	uint8_t *bytes;
	size_t room, at;
};

static void put(struct writer *w, uint64_t v)
{
	do {
		if (w->at < w->room)
			w->bytes[w->at] = (uint8_t)((v & 127) | (v > 127 ? 128 : 0));
		w->at++;
		v >>= 7;
	} while (v);
}

static void put_signed(struct writer *w, int64_t v)
{
	put(w, pm_image_fold(v));
}

static void put_ranges(struct writer *w, const struct pm_range *ranges, size_t n)
{
	uint64_t end = 0;
	size_t i;

	put(w, n);
	for (i = 0; i < n; i++) {
		put(w, ranges[i].start - end);
		put(w, ranges[i].end - ranges[i].start);
		end = ranges[i].end;
	}
}

static void put_layout(struct writer *w, const struct pm_machine *m)
{
	const struct pm_settings *s = &m->settings;
	uint32_t z;

	put(w, PM_PAGE_SHIFT);
	put(w, PM_NR_ORDERS);
	put(w, PM_PAGEBLOCK_ORDER);
	put(w, m->nr_zones);
	for (z = 0; z < m->nr_zones; z++) {
		put(w, m->zone[z].kind);
		put(w, m->zone[z].start);
		put(w, m->zone[z].end - m->zone[z].start);
	}
	put_ranges(w, m->holes, m->nr_holes);
	put_ranges(w, m->reserved, m->nr_reserved);
	put(w, m->nr_cpus);
	put_signed(w, s->min_free_kbytes);
	put(w, s->watermark_scale_factor);
	put(w, s->watermark_boost_factor);
	for (z = 0; z < 4; z++)
		put(w, s->lowmem_reserve_ratio[z]);
	put(w, s->defrag_mode);
	put(w, s->pcp);
	put_signed(w, s->pcp_high_min);
	put_signed(w, s->pcp_high_max);
	put_signed(w, s->pcp_batch);
}

static void put_pageblocks(struct writer *w, const struct pm_machine *m)
{
	uint32_t i = 0, run;

	while (i < m->nr_pageblocks) {
		unsigned int type = pm_pageblock_type(&m->tables.pageblocks[i]);

		for (run = 1; i + run < m->nr_pageblocks && pm_pageblock_type(&m->tables.pageblocks[i + run]) == type; run++)
			;
		put(w, type);
		put(w, run);
		i += run;
	}
}

/// A list in its order: that decides what is handed out next.
static void put_chain(struct writer *w, const struct pm_machine *m, const struct pm_chain *chain, unsigned int order)
{
	uint32_t pfn, n = 0;
	int64_t before = 0;

	for (pfn = chain->first; pfn != PM_NIL_PFN; pfn = pm_link_of(&m->tables, pfn, order)->next)
		n++;
	put(w, n);
	for (pfn = chain->first; pfn != PM_NIL_PFN; pfn = pm_link_of(&m->tables, pfn, order)->next) {
		put_signed(w, (int64_t)(pfn >> order) - before);
		before = pfn >> order;
	}
}

static void put_zone(struct writer *w, const struct pm_machine *m, struct pm_zone *zone) PM_NO_TSA
{
	unsigned int order, type;

	/* Relaxed, all three: nobody else uses the machine. */
	put(w, atomic_load_explicit(&zone->watermark_boost, memory_order_relaxed));
	put(w, atomic_load_explicit(&zone->below_high, memory_order_relaxed));
	put(w, atomic_load_explicit(&zone->reclaim_active, memory_order_relaxed));
	for (order = 0; order < PM_NR_ORDERS; order++)
		for (type = 0; type < PM_MT_ISOLATE; type++)
			put_chain(w, m, &zone->area[order].list[type].chain, order);
}

static void put_pcp(struct writer *w, const struct pm_machine *m, const struct pm_pcp *pcp) PM_NO_TSA
{
	unsigned int i;

	put(w, (uint64_t)pcp->high);
	put(w, pcp->alloc_factor);
	put(w, (uint64_t)pcp->free_count);
	put(w, pcp->prev_free_high);
	for (i = 0; i < PM_NR_PCP_LISTS; i++)
		put_chain(w, m, &pcp->list[i], pm_pcp_index_order(i));
}

/// Allocated blocks that follow one another and are alike.
struct run {
	uint64_t start, end;
	unsigned int what;
	uint64_t n;
};

static void put_run(struct writer *w, struct run *run, uint64_t *done)
{
	if (!run->n)
		return;
	put(w, run->start - *done);
	put(w, run->what);
	put(w, run->n);
	*done = run->end;
	run->n = 0;
}

static enum pm_status put_allocated(struct writer *w, struct pm_machine *m)
{
	struct run run = { .n = 0 };
	uint64_t done = 0, pfn, next;
	uint32_t z;

	for (z = 0; z < m->nr_zones; z++) {
		for (pfn = m->zone[z].start; pfn < m->zone[z].end; pfn = next) {
			struct pm_frame_info info;
			enum pm_status status = pm_frame_info(m, pfn, &info);

			if (status)
				return status;
			next = info.head + ((uint64_t)1 << info.order);
			if (info.state != PM_STATE_USED)
				continue;
			if (pm_word_kind(pm_frame_word(pm_frame_of(m, pm_pfn(pfn)))) == PM_FRAME_OWNED)
				return PM_ERR_OWNED;
			if (run.n && (run.end != pfn || run.what != info.order * 8 + info.migratetype))
				put_run(w, &run, &done);
			if (!run.n)
				run = (struct run){ .start = pfn, .what = info.order * 8 + info.migratetype };
			run.n++;
			run.end = next;
		}
	}
	put_run(w, &run, &done);
	put(w, 0);
	put(w, 0);
	put(w, 0);
	return PM_OK;
}

static bool is_isolating(const struct pm_machine *m)
{
	uint32_t z;

	for (z = 0; z < m->nr_zones; z++)
		if (m->zone[z].nr_isolated)
			return true;
	for (z = 0; z < m->nr_pageblocks; z++)
		if (m->tables.pageblocks[z].zone != PM_NO_ZONE && pm_pageblock_type(&m->tables.pageblocks[z]) == PM_MT_ISOLATE)
			return true;
	return false;
}

enum pm_status pm_image_save(struct pm_machine *m, void *bytes, size_t size, size_t *ret) PM_NO_TSA
{
	struct writer w = { .bytes = bytes, .room = size, .at = PM_IMAGE_HEAD };
	enum pm_status status;
	uint64_t hash;
	uint32_t z, cpu;
	unsigned int i;

	if (is_isolating(m))
		return PM_ERR_BUSY;
	put_layout(&w, m);
	put_pageblocks(&w, m);
	for (z = 0; z < m->nr_zones; z++)
		put_zone(&w, m, &m->zone[z]);
	for (cpu = 0; cpu < m->nr_cpus; cpu++)
		for (z = 0; z < m->nr_zones; z++)
			put_pcp(&w, m, pm_pcp_of(m, cpu, z));
	status = put_allocated(&w, m);
	if (status)
		return status;
	*ret = w.at;
	if (size < w.at)
		return PM_OK;
	memcpy(w.bytes, PM_IMAGE_MAGIC, 7);
	w.bytes[7] = PM_IMAGE_VERSION;
	hash = pm_image_hash(w.bytes + PM_IMAGE_HEAD, w.at - PM_IMAGE_HEAD);
	for (i = 0; i < 8; i++)
		w.bytes[8 + i] = (uint8_t)(hash >> 8 * i);
	return PM_OK;
}
