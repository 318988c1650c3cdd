/// Ages a machine: fills it, and turns over what is in it, by a seed.
#include <stdlib.h>

#include "phys/machine.h"

enum { PM_AGE_PPM = 1000000, PM_AGE_OCCUPANCY_MAX = 950000, PM_AGE_TURNOVER_MAX = 1000, PM_AGE_CLUMP_MAX = 1 << 20, PM_AGE_FAILURES = 1000, PM_AGE_DEAD = 255 };

struct age {
	struct pm_machine *m;
	const struct pm_age_options *options;
	uint64_t random;
	uint64_t weights;   ///< the sum of the orders' weights
	uint64_t target;    ///< frames
	uint64_t allocated; ///< frames
	uint64_t born;
	uint32_t *pfn;	    ///< [room] blocks in the order of their birth
	uint8_t *order;	    ///< [room] PM_AGE_DEAD: freed
	size_t n, room;
};

void pm_age_options_default(struct pm_age_options *ret)
{
	*ret = (struct pm_age_options){ .seed = 1, .occupancy_ppm = 700000, .unmovable_ppm = 80000, .reclaimable_ppm = 40000, .turnover = 4, .clump = 256,
					.order_weight = { 1000, 60, 40, 30, 8, 2, 1, 0, 0, 4 } };
}

/// splitmix64: any seed will do.
static uint64_t draw(struct age *a, uint64_t below)
{
	uint64_t x = a->random += 0x9e3779b97f4a7c15u;

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
	x = (x ^ x >> 27) * 0x94d049bb133111ebu;
	return (x ^ x >> 31) % below;
}

static unsigned int draw_order(struct age *a)
{
	uint64_t at = draw(a, a->weights);
	unsigned int order;

	for (order = 0; order < PM_MAX_ORDER && at >= a->options->order_weight[order]; order++)
		at -= a->options->order_weight[order];
	return order;
}

static uint32_t draw_gfp(struct age *a)
{
	uint64_t at = draw(a, PM_AGE_PPM);

	if (at < a->options->unmovable_ppm)
		return PM_GFP_KERNEL;
	if (at < (uint64_t)a->options->unmovable_ppm + a->options->reclaimable_ppm)
		return PM_GFP_KERNEL | PM_GFP_RECLAIMABLE;
	return PM_GFP_HIGHUSER_MOVABLE;
}

static enum pm_status grow(struct age *a)
{
	size_t room = a->room ? 2 * a->room : 4096;
	uint32_t *pfn = realloc(a->pfn, room * sizeof(*pfn));
	uint8_t *order;

	if (!pfn)
		return PM_ERR_NOMEM;
	a->pfn = pfn;
	order = realloc(a->order, room);
	if (!order)
		return PM_ERR_NOMEM;
	a->order = order;
	a->room = room;
	return PM_OK;
}

/// One block more; false in `*ret`: there was none of this kind.
static enum pm_status birth(struct age *a, bool *ret)
{
	unsigned int order = draw_order(a);
	uint32_t gfp = draw_gfp(a);
	enum pm_status status = a->n == a->room ? grow(a) : PM_OK;
	uint64_t pfn;

	*ret = false;
	if (status)
		return status;
	if (pm_alloc(a->m, (uint32_t)(a->born++ % a->m->nr_cpus), order, gfp, &pfn))
		return PM_OK;
	*ret = true;
	a->pfn[a->n] = (uint32_t)pfn;
	a->order[a->n++] = (uint8_t)order;
	a->allocated += (uint64_t)1 << order;
	return pm_set_tag(a->m, pfn, (uint32_t)a->born);
}

/// Blocks that were born one after the other go together, as those of a program that ends: they lie near one another.
static enum pm_status deaths(struct age *a)
{
	size_t i = (size_t)draw(a, a->n), nr = (size_t)draw(a, a->options->clump) + 1;
	uint32_t cpu = (uint32_t)draw(a, a->m->nr_cpus);
	enum pm_status status = PM_OK;

	for (; i < a->n && nr && !status && a->allocated > a->target; i++, nr--) {
		if (a->order[i] == PM_AGE_DEAD)
			continue;
		status = pm_free(a->m, cpu, a->pfn[i], a->order[i]);
		a->allocated -= (uint64_t)1 << a->order[i];
		a->order[i] = PM_AGE_DEAD;
	}
	return status;
}

/// The living close ranks, in the order of their birth.
static void bury(struct age *a)
{
	size_t i, n = 0;

	for (i = 0; i < a->n; i++) {
		if (a->order[i] == PM_AGE_DEAD)
			continue;
		a->pfn[n] = a->pfn[i];
		a->order[n++] = a->order[i];
	}
	a->n = n;
}

/// Allocates up to `target` frames, or until memory gives no more: as many failures in a row as that takes.
static enum pm_status fill(struct age *a, uint64_t target)
{
	enum pm_status status = PM_OK;
	unsigned int failures = 0;

	while (!status && a->allocated < target && failures < PM_AGE_FAILURES) {
		bool born;

		status = birth(a, &born);
		failures = born ? 0 : failures + 1;
	}
	return status;
}

/// Memory fills up, as a page cache does, and a part of it goes.
static enum pm_status turn_over(struct age *a, uint64_t full)
{
	enum pm_status status = PM_OK;
	uint32_t i;

	for (i = 0; i < a->options->turnover && !status; i++) {
		status = fill(a, full);
		while (!status && a->allocated > a->target)
			status = deaths(a);
		bury(a);
	}
	return status;
}

static uint64_t part_of(uint64_t managed, uint32_t ppm)
{
	return managed / PM_AGE_PPM * ppm + managed % PM_AGE_PPM * ppm / PM_AGE_PPM;
}

static enum pm_status check(const struct pm_age_options *o)
{
	if (o->occupancy_ppm > PM_AGE_OCCUPANCY_MAX || o->unmovable_ppm > PM_AGE_PPM || o->reclaimable_ppm > PM_AGE_PPM - o->unmovable_ppm ||
	    o->turnover > PM_AGE_TURNOVER_MAX || o->clump == 0 || o->clump > PM_AGE_CLUMP_MAX)
		return PM_ERR_INVAL;
	return PM_OK;
}

enum pm_status pm_age(struct pm_machine *m, const struct pm_age_options *options, uint64_t *ret)
{
	struct age a = { .m = m, .options = options, .random = options->seed };
	struct pm_age_options single;
	enum pm_status status = check(options);
	uint64_t managed = 0;
	uint32_t i;

	if (status)
		return status;
	for (i = 0; i < m->nr_zones; i++)
		managed += m->zone[i].managed;
	for (i = 0; i < PM_NR_ORDERS; i++)
		a.weights += options->order_weight[i];
	if (!a.weights) {
		single = *options;
		single.order_weight[0] = 1;
		a.options = &single;
		a.weights = 1;
	}
	a.target = part_of(managed, options->occupancy_ppm);
	status = turn_over(&a, part_of(managed, PM_AGE_OCCUPANCY_MAX));
	if (!status)
		status = fill(&a, a.target);
	if (!status)
		status = pm_drain(m, PM_ALL_CPUS);
	if (ret)
		*ret = a.n;
	free(a.pfn);
	free(a.order);
	return status;
}
