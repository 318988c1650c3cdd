/// Makes a machine of an image. The bytes may be anybody's: every number is looked at before it is used.
#include <stdlib.h>
#include <string.h>

#include "embed/image.h"

struct reader {
	const uint8_t *at, *end;
	bool bad; ///< cut, or a number that does not fit: all later ones are 0
};

static uint64_t get(struct reader *r)
{
	uint64_t v = 0;
	unsigned int shift = 0;

	while (r->at < r->end && shift < 64) {
		uint8_t byte = *r->at++;

		v |= (uint64_t)(byte & 127) << shift;
		if (!(byte & 128))
			return r->bad ? 0 : v;
		shift += 7;
	}
	r->bad = true;
	return 0;
}

/// A number of at most `most`.
static uint64_t get_to(struct reader *r, uint64_t most)
{
	uint64_t v = get(r);

	if (v <= most)
		return v;
	r->bad = true;
	return 0;
}

static int64_t get_signed(struct reader *r)
{
	return pm_image_unfold(get(r));
}

/// What a layout's arrays lie in, until the machine has copied them.
struct layout {
	struct pm_layout layout;
	struct pm_zone_layout zones[PM_MAX_ZONES];
	struct pm_range *holes, *reserved;
};

static enum pm_status get_ranges(struct reader *r, struct pm_range **ret, size_t *ret_n)
{
	/* Two bytes at least for each, so a small file does not take much memory. */
	uint64_t n = get_to(r, (uint64_t)(r->end - r->at) / 2), end = 0, i;

	*ret = calloc(n ? n : 1, sizeof(**ret));
	*ret_n = n;
	if (!*ret)
		return PM_ERR_NOMEM;
	for (i = 0; i < n; i++) {
		(*ret)[i].start = end + get_to(r, UINT32_MAX);
		end = (*ret)[i].end = (*ret)[i].start + get_to(r, UINT32_MAX);
	}
	return PM_OK;
}

static void get_settings(struct reader *r, struct pm_settings *s)
{
	unsigned int z;

	s->min_free_kbytes = get_signed(r);
	s->watermark_scale_factor = (uint32_t)get_to(r, UINT32_MAX);
	s->watermark_boost_factor = (uint32_t)get_to(r, UINT32_MAX);
	for (z = 0; z < 4; z++)
		s->lowmem_reserve_ratio[z] = (uint32_t)get_to(r, UINT32_MAX);
	s->defrag_mode = (uint32_t)get_to(r, UINT32_MAX);
	s->pcp = (uint32_t)get_to(r, UINT32_MAX);
	s->pcp_high_min = get_signed(r);
	s->pcp_high_max = get_signed(r);
	s->pcp_batch = get_signed(r);
}

static enum pm_status get_layout(struct reader *r, struct layout *l)
{
	enum pm_status status;
	uint64_t z;

	if (get(r) != PM_PAGE_SHIFT || get(r) != PM_NR_ORDERS || get(r) != PM_PAGEBLOCK_ORDER)
		return r->bad ? PM_ERR_SYNTAX : PM_ERR_LIMIT;
	l->layout = (struct pm_layout){ .zones = l->zones, .nr_zones = get_to(r, PM_MAX_ZONES), .start = PM_START_UNPLACED };
	for (z = 0; z < l->layout.nr_zones; z++) {
		l->zones[z].kind = (uint32_t)get_to(r, UINT32_MAX);
		l->zones[z].start_pfn = get_to(r, UINT32_MAX);
		l->zones[z].spanned = get_to(r, UINT32_MAX);
	}
	status = get_ranges(r, &l->holes, &l->layout.nr_holes);
	if (!status)
		status = get_ranges(r, &l->reserved, &l->layout.nr_reserved);
	if (status)
		return status;
	l->layout.holes = l->holes;
	l->layout.reserved = l->reserved;
	l->layout.nr_cpus = (uint32_t)get_to(r, PM_MAX_CPUS);
	get_settings(r, &l->layout.settings);
	return r->bad ? PM_ERR_SYNTAX : PM_OK;
}

static enum pm_status get_pageblocks(struct reader *r, struct pm_machine *m)
{
	uint64_t i = 0;

	while (i < m->nr_pageblocks) {
		uint8_t type = (uint8_t)get_to(r, PM_MT_ISOLATE - 1);
		uint64_t run = get_to(r, m->nr_pageblocks - i), k;

		if (r->bad || !run)
			return PM_ERR_SYNTAX;
		for (k = 0; k < run; k++) {
			enum pm_status status = pm_load_pageblock_types(m, i + k, 1, &type);

			if (status)
				return status;
		}
		i += run;
	}
	return PM_OK;
}

/// One list; its blocks go to its tail one after the other.
static enum pm_status get_chain(struct reader *r, struct pm_machine *m, unsigned int order, uint8_t place, uint8_t type, uint16_t cpu)
{
	uint64_t n = get(r), i;
	int64_t at = 0;

	for (i = 0; i < n; i++) {
		uint8_t orders = (uint8_t)order;
		enum pm_status status;
		uint64_t pfn;
		size_t done;

		at += get_signed(r);
		if (r->bad || at < 0 || at > UINT32_MAX)
			return PM_ERR_SYNTAX;
		pfn = (uint64_t)at << order;
		status = pm_load_blocks(m, 1, &pfn, &orders, &place, &type, &cpu, &done);
		if (status)
			return status == PM_ERR_NOMEM ? status : PM_ERR_SYNTAX;
	}
	return r->bad ? PM_ERR_SYNTAX : PM_OK;
}

static enum pm_status get_zone(struct reader *r, struct pm_machine *m, struct pm_zone *zone) PM_NO_TSA
{
	enum pm_status status = PM_OK;
	unsigned int order, type;

	/* Relaxed: nobody else knows the machine. */
	atomic_store_explicit(&zone->watermark_boost, get_to(r, zone->managed), memory_order_relaxed);
	atomic_store_explicit(&zone->below_high, (uint32_t)get_to(r, 1), memory_order_relaxed);
	atomic_store_explicit(&zone->reclaim_active, (uint32_t)get_to(r, 1), memory_order_relaxed);
	for (order = 0; order < PM_NR_ORDERS && !status; order++)
		for (type = 0; type < PM_MT_ISOLATE && !status; type++)
			status = get_chain(r, m, order, PM_PLACE_FREE, (uint8_t)type, 0);
	pm_watermark_update(zone);
	return status;
}

static enum pm_status get_pcp(struct reader *r, struct pm_machine *m, uint32_t cpu, uint32_t z) PM_NO_TSA
{
	uint32_t high = (uint32_t)get_to(r, INT32_MAX / 2), factor = (uint32_t)get_to(r, PM_PCP_SCALE_MAX), freed = (uint32_t)get_to(r, INT32_MAX / 2);
	bool prev_free_high = get_to(r, 1) != 0;
	enum pm_status status = r->bad ? PM_ERR_SYNTAX : pm_load_pcp(m, cpu, z, high, factor, freed);
	unsigned int i;

	pm_pcp_of(m, cpu, z)->prev_free_high = prev_free_high;
	for (i = 0; i < PM_NR_PCP_LISTS && !status; i++)
		status = get_chain(r, m, pm_pcp_index_order(i), PM_PLACE_PCP, (uint8_t)pm_pcp_index_type(i), (uint16_t)cpu);
	return status;
}

static enum pm_status get_allocated(struct reader *r, struct pm_machine *m)
{
	uint64_t pfn = 0;

	for (;;) {
		uint64_t gap = get_to(r, UINT32_MAX), what = get_to(r, PM_MAX_ORDER * 8 + 7), n = get_to(r, UINT32_MAX), i;
		uint8_t order = (uint8_t)(what / 8), place = PM_PLACE_USED, type = (uint8_t)(what % 8);

		if (r->bad)
			return PM_ERR_SYNTAX;
		if (!n)
			return PM_OK;
		pfn += gap;
		for (i = 0; i < n; i++, pfn += (uint64_t)1 << order) {
			size_t done;
			enum pm_status status = pm_load_blocks(m, 1, &pfn, &order, &place, &type, NULL, &done);

			if (status)
				return status == PM_ERR_NOMEM ? status : PM_ERR_SYNTAX;
		}
	}
}

/// The text before the numbers: what is no image, cut, or of another version.
static enum pm_status check_head(const uint8_t *bytes, size_t n, uint64_t *ret_hash)
{
	uint64_t hash = 0;
	unsigned int i;

	if (n < PM_IMAGE_HEAD || memcmp(bytes, PM_IMAGE_MAGIC, 7) != 0)
		return PM_ERR_SYNTAX;
	if (bytes[7] != PM_IMAGE_VERSION)
		return PM_ERR_LIMIT;
	for (i = 0; i < 8; i++)
		hash |= (uint64_t)bytes[8 + i] << 8 * i;
	*ret_hash = hash;
	return pm_image_hash(bytes + PM_IMAGE_HEAD, n - PM_IMAGE_HEAD) == hash ? PM_OK : PM_ERR_CORRUPT;
}

static enum pm_status get_contents(struct reader *r, struct pm_machine *m)
{
	enum pm_status status = get_pageblocks(r, m);
	uint32_t z, cpu;

	for (z = 0; z < m->nr_zones && !status; z++)
		status = get_zone(r, m, &m->zone[z]);
	for (cpu = 0; cpu < m->nr_cpus && !status; cpu++)
		for (z = 0; z < m->nr_zones && !status; z++)
			status = get_pcp(r, m, cpu, z);
	if (!status)
		status = get_allocated(r, m);
	return status ? status : r->at == r->end ? PM_OK : PM_ERR_SYNTAX;
}

enum pm_status pm_image_load(const void *bytes, size_t n, struct pm_machine **ret)
{
	struct reader r = { .at = (const uint8_t *)bytes + PM_IMAGE_HEAD, .end = (const uint8_t *)bytes + n };
	struct layout l = { .holes = NULL };
	struct pm_machine *m = NULL;
	char message[128];
	uint64_t hash;
	enum pm_status status = check_head(bytes, n, &hash);

	if (status)
		return status;
	status = get_layout(&r, &l);
	if (!status) {
		status = pm_machine_create(&l.layout, &m);
		/* The layout contradicts itself: the file is wrong, not an argument. */
		if (status == PM_ERR_INVAL)
			status = PM_ERR_SYNTAX;
	}
	free(l.holes);
	free(l.reserved);
	if (!status)
		status = get_contents(&r, m);
	/* A file with a right hash may still say what no allocator says. */
	if (!status && pm_machine_validate(m, message, sizeof(message)) != PM_OK)
		status = PM_ERR_SYNTAX;
	if (status) {
		pm_machine_destroy(m);
		return status;
	}
	*ret = m;
	return PM_OK;
}

enum pm_status pm_image_info(const void *bytes, size_t n, struct pm_image_info *ret)
{
	struct reader r = { .at = (const uint8_t *)bytes + PM_IMAGE_HEAD, .end = (const uint8_t *)bytes + n };
	struct layout l = { .holes = NULL };
	enum pm_status status;
	uint64_t z;

	*ret = (struct pm_image_info){ 0 };
	status = check_head(bytes, n, &ret->hash);
	if (status)
		return status;
	ret->version = PM_IMAGE_VERSION;
	status = get_layout(&r, &l);
	ret->nr_cpus = l.layout.nr_cpus;
	ret->nr_zones = (uint32_t)l.layout.nr_zones;
	ret->settings = l.layout.settings;
	for (z = 0; z < l.layout.nr_zones; z++)
		ret->nr_frames += l.zones[z].spanned;
	free(l.holes);
	free(l.reserved);
	return status;
}
