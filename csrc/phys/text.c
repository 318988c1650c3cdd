/// The machine in the words of /proc: buddyinfo, pagetypeinfo and zoneinfo, so that existing scripts can read it.
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "phys/machine.h"

static const char *const zone_names[PM_MAX_ZONES] = { "DMA", "DMA32", "Normal", "Movable" };
static const char *const type_names[PM_NR_MIGRATETYPES] = { "Unmovable", "Movable", "Reclaimable", "HighAtomic", "Isolate" };

/// A buffer that may be too small: what does not fit is only counted.
struct writer {
	char *buffer;
	size_t size;
	size_t length;
};

static __attribute__((format(printf, 2, 3))) void put(struct writer *w, const char *format, ...)
{
	size_t room = w->length < w->size ? w->size - w->length : 0;
	va_list args;
	int n;

	va_start(args, format);
	n = vsnprintf(room ? w->buffer + w->length : NULL, room, format, args);
	va_end(args);
	w->length += n > 0 ? (size_t)n : 0;
}

static void put_buddyinfo(struct pm_machine *m, struct writer *w)
{
	uint64_t nr[PM_NR_ORDERS * PM_NR_MIGRATETYPES];
	uint32_t z, o, t;

	for (z = 0; z < m->nr_zones; z++) {
		if (pm_free_blocks(m, z, nr) != PM_OK)
			continue;
		put(w, "Node 0, zone %8s ", zone_names[m->zone[z].kind]);
		for (o = 0; o < PM_NR_ORDERS; o++) {
			uint64_t sum = 0;

			/* The kernel's count leaves nothing out: ISOLATE lists are in it. */
			for (t = 0; t < PM_NR_MIGRATETYPES; t++)
				sum += nr[o * PM_NR_MIGRATETYPES + t];
			put(w, "%6" PRIu64 " ", sum);
		}
		put(w, "\n");
	}
}

static void put_block_types(struct pm_machine *m, struct writer *w)
{
	uint32_t z, t, b;

	/* The kernel fills this heading up to 23 columns. */
	put(w, "\n%-23s", "Number of blocks type ");
	for (t = 0; t < PM_NR_MIGRATETYPES; t++)
		put(w, "%12s ", type_names[t]);
	put(w, "\n");
	for (z = 0; z < m->nr_zones; z++) {
		uint64_t nr[PM_NR_MIGRATETYPES] = { 0 };

		for (b = m->zone[z].start >> PM_PAGEBLOCK_ORDER; b <= (m->zone[z].end - 1) >> PM_PAGEBLOCK_ORDER; b++) {
			uint64_t first = (uint64_t)b << PM_PAGEBLOCK_ORDER;

			/* As the kernel: a pageblock counts if the first of its frames that the zone spans exists. */
			if (first < m->zone[z].start)
				first = m->zone[z].start;
			if (!pm_in_ranges(m->holes, m->nr_holes, first))
				nr[pm_pageblock_type(&m->tables.pageblocks[b])]++;
		}
		put(w, "Node 0, zone %8s ", zone_names[m->zone[z].kind]);
		for (t = 0; t < PM_NR_MIGRATETYPES; t++)
			put(w, "%12" PRIu64 " ", nr[t]);
		put(w, "\n");
	}
}

static void put_pagetypeinfo(struct pm_machine *m, struct writer *w)
{
	uint64_t nr[PM_NR_ORDERS * PM_NR_MIGRATETYPES];
	uint32_t z, o, t;

	put(w, "Page block order: %d\nPages per block:  %d\n\n", PM_PAGEBLOCK_ORDER, PM_PAGEBLOCK_NR_PAGES);
	put(w, "%-43s ", "Free pages count per migrate type at order");
	for (o = 0; o < PM_NR_ORDERS; o++)
		put(w, "%6u ", o);
	put(w, "\n");
	for (z = 0; z < m->nr_zones; z++) {
		if (pm_free_blocks(m, z, nr) != PM_OK)
			continue;
		for (t = 0; t < PM_NR_MIGRATETYPES; t++) {
			put(w, "Node %4d, zone %8s, type %12s ", 0, zone_names[m->zone[z].kind], type_names[t]);
			for (o = 0; o < PM_NR_ORDERS; o++)
				put(w, "%6" PRIu64 " ", nr[o * PM_NR_MIGRATETYPES + t]);
			put(w, "\n");
		}
	}
	put_block_types(m, w);
}

static void put_pagesets(struct pm_machine *m, uint32_t zone, struct writer *w)
{
	uint32_t c;

	put(w, "  pagesets\n");
	for (c = 0; c < m->nr_cpus; c++) {
		struct pm_pcp_info pcp;

		if (pm_pcp_info(m, c, zone, &pcp) == PM_OK)
			put(w, "    cpu: %" PRIu32 "\n              count:    %d\n              high:     %d\n              batch:    %d\n"
			       "              high_min: %d\n              high_max: %d\n",
			    c, pcp.count, pcp.high, pcp.batch, pcp.high_min, pcp.high_max);
	}
}

static void put_zoneinfo(struct pm_machine *m, struct writer *w)
{
	static const char *const marks[] = { "min", "low", "high", "promo" };
	struct pm_zone_info zone;
	uint32_t z, i;

	for (z = 0; z < m->nr_zones; z++) {
		if (pm_zone_info(m, z, &zone) != PM_OK)
			continue;
		put(w, "Node 0, zone %8s\n  pages free     %" PRIu64 "\n        boost    %" PRIu64 "\n", zone_names[zone.kind], zone.nr_free, zone.watermark_boost);
		for (i = 0; i < 4; i++)
			put(w, "        %-8s %" PRIu64 "\n", marks[i], zone.wmark[i] + zone.watermark_boost);
		put(w, "        spanned  %" PRIu64 "\n        present  %" PRIu64 "\n        managed  %" PRIu64 "\n        cma      0\n", zone.spanned, zone.present, zone.managed);
		put(w, "        protection: (%" PRIu64, zone.lowmem_reserve[0]);
		for (i = 1; i < PM_MAX_ZONES; i++)
			put(w, ", %" PRIu64, zone.lowmem_reserve[i]);
		put(w, ")\n      nr_free_pages %" PRIu64 "\n", zone.nr_free);
		put_pagesets(m, z, w);
		put(w, "  start_pfn:           %" PRIu64 "\n", zone.start_pfn);
	}
}

enum pm_status pm_text(struct pm_machine *m, uint32_t text, char *buffer, size_t size, size_t *ret)
{
	struct writer w = { buffer, size, 0 };

	if (text > PM_TEXT_ZONEINFO)
		return PM_ERR_INVAL;
	if (size)
		buffer[0] = '\0';
	if (text == PM_TEXT_BUDDYINFO)
		put_buddyinfo(m, &w);
	else if (text == PM_TEXT_PAGETYPEINFO)
		put_pagetypeinfo(m, &w);
	else
		put_zoneinfo(m, &w);
	*ret = w.length;
	return PM_OK;
}
