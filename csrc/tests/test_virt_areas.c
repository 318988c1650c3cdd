/// Map, unmap, protect, remap, mlock against an account page by page: the areas that are listed are those that the account gives, cut where it changes
/// and merged where it does not. Without pages of their own (even seeds) areas have to merge exactly; with pages, forks and swap beside (odd seeds) every page
/// has to have the right attributes, whatever was merged.
#include "tests/draw.h"
#include "tests/space_rig.h"

enum { WINDOW = 64, FILE_PAGES = 160, NR_FILES = 2, STEPS = 300 };
#ifdef PM_TEST_FLAVOUR
enum { SEEDS = 60 };
#else
enum { SEEDS = 600 };
#endif
static const uint64_t map_base = (uint64_t)1 << 32;

/// What the account knows of a page.
struct page {
	bool mapped, shared, locked;
	uint32_t prot;
	uint64_t source; ///< 0: private anonymous; the handle of a file; or the number of a shared anonymous map, below 1000000
	uint64_t pgoff;
};

struct world {
	struct space_rig rig;
	struct pm_machine *m;
	struct draw d;
	uint64_t space, base;
	uint64_t files[NR_FILES];
	uint64_t next_anon;
	bool exact; ///< nothing has anonymous pages
	struct page pages[WINDOW];
};

static struct world w;

static uint64_t addr_of(uint64_t i)
{
	return w.base + i * PAGE;
}

static bool continues(const struct page *a, const struct page *b)
{
	return a->mapped && b->mapped && a->prot == b->prot && a->shared == b->shared && a->locked == b->locked && a->source == b->source && a->pgoff + 1 == b->pgoff;
}

static void check_area(const struct pm_area *area)
{
	uint64_t i, first = (area->start - w.base) / PAGE;

	REQUIRE(area->start >= w.base && area->end <= addr_of(WINDOW) && area->start < area->end);
	for (i = first; i < (area->end - w.base) / PAGE; i++) {
		const struct page *page = &w.pages[i];

		REQUIRE(page->mapped);
		CHECK_EQ(area->prot, page->prot);
		CHECK_EQ(area->flags, (page->shared ? PM_MAP_SHARED : 0) | (page->locked ? PM_MAP_LOCKED : 0));
		CHECK_EQ(area->offset + (i - first) * PAGE, page->pgoff * PAGE);
		if (page->source == 0 || page->source > 1000000)
			CHECK_EQ(area->file, page->source);
	}
}

/// The listed areas and the account agree.
static void check_areas(void)
{
	struct pm_area areas[64];
	size_t nr = space_areas(w.m, w.space, areas), i;
	uint64_t mapped = 0, runs = 0, k, listed = 0;

	REQUIRE(nr <= 64);
	for (i = 0; i < nr; i++) {
		check_area(&areas[i]);
		CHECK(i == 0 || areas[i - 1].end <= areas[i].start);
		listed += (areas[i].end - areas[i].start) / PAGE;
	}
	for (k = 0; k < WINDOW; k++) {
		mapped += w.pages[k].mapped;
		runs += w.pages[k].mapped && (k == 0 || !continues(&w.pages[k - 1], &w.pages[k]));
	}
	CHECK_EQ(listed, mapped);
	if (w.exact)
		CHECK_EQ(nr, runs);
	CHECK_EQ(space_info(w.m, w.space).mapped, mapped);
}

static void forget(uint64_t first, uint64_t nr)
{
	uint64_t i;

	for (i = first; i < first + nr && i < WINDOW; i++)
		w.pages[i] = (struct page){ .mapped = false };
}

static bool covered(uint64_t first, uint64_t nr)
{
	uint64_t i;

	for (i = first; i < first + nr; i++)
		if (!w.pages[i].mapped)
			return false;
	return true;
}

/// A range inside the window.
static void draw_range(uint64_t *first, uint64_t *nr)
{
	*first = draw_below(&w.d, WINDOW);
	*nr = 1 + draw_below(&w.d, draw_once_in(&w.d, 4) ? WINDOW - *first : (WINDOW - *first < 8 ? WINDOW - *first : 8));
}

static uint32_t draw_prot(void)
{
	static const uint32_t prots[] = { RW, RW, RO, PM_PROT_NONE };

	return prots[draw_below(&w.d, 4)];
}

/// Where a map or a remap that names no place has to go: the first gap that is long enough. Only for the window at map_base.
static uint64_t first_gap(uint64_t nr)
{
	uint64_t i, run = 0;

	for (i = 0; i < WINDOW; i++) {
		run = w.pages[i].mapped ? 0 : run + 1;
		if (run == nr)
			return i + 1 - nr;
	}
	return WINDOW - run;
}

static void step_map(void)
{
	struct pm_map_request request = { .prot = draw_prot(), .flags = draw_below(&w.d, 2) ? PM_MAP_SHARED : 0 };
	uint64_t first, nr, i, at = 0, source = 0;
	bool placed = w.base != map_base || draw_below(&w.d, 4);

	draw_range(&first, &nr);
	if (!placed)
		first = first_gap(nr);
	if (draw_below(&w.d, 2)) {
		request.file = source = w.files[draw_below(&w.d, NR_FILES)];
		request.offset = draw_below(&w.d, 3) ? first * PAGE : draw_below(&w.d, 32) * PAGE;
	} else if (request.flags & PM_MAP_SHARED) {
		source = ++w.next_anon;
	}
	request.addr = placed ? addr_of(first) : 0;
	request.flags |= placed ? PM_MAP_FIXED : 0;
	request.length = nr * PAGE;
	CHECK_EQ(pm_map(w.m, 0, w.space, &request, &at), PM_OK);
	CHECK_EQ(at, addr_of(first));
	if (first + nr > WINDOW) {
		CHECK_EQ(pm_unmap(w.m, 0, w.space, at, nr * PAGE), PM_OK);
		return;
	}
	for (i = 0; i < nr; i++)
		w.pages[first + i] = (struct page){ .mapped = true, .shared = (request.flags & PM_MAP_SHARED) != 0, .prot = request.prot, .source = source,
						    .pgoff = source ? request.offset / PAGE + i : addr_of(first + i) / PAGE };
}

static void step_unmap(void)
{
	uint64_t first, nr;

	draw_range(&first, &nr);
	CHECK_EQ(pm_unmap(w.m, 0, w.space, addr_of(first), nr * PAGE), PM_OK);
	forget(first, nr);
}

static void step_protect(void)
{
	uint32_t prot = draw_prot();
	uint64_t first, nr, i;
	bool all;

	draw_range(&first, &nr);
	all = covered(first, nr);
	CHECK_EQ(pm_protect(w.m, 0, w.space, addr_of(first), nr * PAGE, prot), all ? PM_OK : PM_ERR_FAULT);
	for (i = first; all && i < first + nr; i++)
		w.pages[i].prot = prot;
}

/// Would locking this page give its area pages of its own?
static bool locking_makes_anon(const struct page *page)
{
	return page->mapped && !page->shared && (page->source ? page->prot == RW : page->prot != PM_PROT_NONE);
}

static void step_mlock(void)
{
	bool locked = draw_below(&w.d, 2), all, may_be_beyond = false;
	uint64_t first, nr, i;
	enum pm_status status;

	draw_range(&first, &nr);
	all = covered(first, nr);
	for (i = first; i < first + nr; i++) {
		if (w.exact && locking_makes_anon(&w.pages[i]))
			return;
		may_be_beyond |= w.pages[i].source && w.pages[i].source < 1000000;
	}
	status = pm_mlock(w.m, 0, w.space, addr_of(first), nr * PAGE, locked);
	CHECK(all ? status == PM_OK || (may_be_beyond && status == PM_ERR_BEYOND) : status == PM_ERR_FAULT);
	for (i = first; all && i < first + nr; i++)
		w.pages[i].locked = locked;
}

/// The listed area that holds a page, if there is one.
static bool area_of(uint64_t i, struct pm_area *ret)
{
	struct pm_area areas[64];
	size_t nr = space_areas(w.m, w.space, areas), k;

	for (k = 0; k < nr && k < 64; k++)
		if (areas[k].start <= addr_of(i) && addr_of(i) < areas[k].end) {
			*ret = areas[k];
			return true;
		}
	return false;
}

struct remap {
	uint64_t first, nr, new_nr, to;
	uint32_t flags;
};

/// What has to become of a remap: its status, and for a success the page where it ends up.
static enum pm_status expect_remap(const struct remap *r, uint64_t *ret)
{
	struct pm_area area;
	uint64_t i;

	if ((r->flags & PM_MAP_FIXED) && r->to < r->first + r->nr && r->first < r->to + r->new_nr)
		return PM_ERR_INVAL;
	if (!area_of(r->first, &area) || addr_of(r->first + r->nr) > area.end)
		return PM_ERR_FAULT;
	*ret = r->first;
	if (!(r->flags & PM_MAP_FIXED) && r->new_nr <= r->nr)
		return PM_OK;
	if (w.pages[r->first].pgoff + r->new_nr > (uint64_t)UINT32_MAX + 1)
		return PM_ERR_INVAL;
	*ret = r->to;
	if (r->flags & PM_MAP_FIXED)
		return PM_OK;
	*ret = r->first;
	for (i = r->first + r->nr; i < r->first + r->new_nr && i < WINDOW && !w.pages[i].mapped; i++)
		;
	if (addr_of(r->first + r->nr) == area.end && (i == r->first + r->new_nr || i == WINDOW) && addr_of(r->first) + r->new_nr * PAGE <= (uint64_t)1 << PM_VA_BITS)
		return PM_OK;
	*ret = first_gap(r->new_nr);
	return r->flags & PM_MAP_MAYMOVE ? PM_OK : PM_ERR_NO_BLOCK;
}

static void apply_remap(const struct remap *r, uint64_t to)
{
	struct page first = w.pages[r->first];
	uint64_t i;

	if (r->flags & PM_MAP_FIXED)
		forget(r->to, r->new_nr);
	forget(r->first, r->nr);
	for (i = 0; i < r->new_nr && to + i < WINDOW; i++) {
		w.pages[to + i] = first;
		w.pages[to + i].pgoff = first.pgoff + i;
	}
}

static void step_remap(void)
{
	struct remap r = { .new_nr = 1 + draw_below(&w.d, 10), .to = draw_below(&w.d, WINDOW), .flags = (uint32_t)draw_below(&w.d, 2) * PM_MAP_FIXED };
	uint64_t at = 0, to = 0;
	enum pm_status want, status;

	draw_range(&r.first, &r.nr);
	if (draw_below(&w.d, 2))
		r.new_nr = r.nr;
	if (r.to + r.new_nr > WINDOW)
		r.to = WINDOW - r.new_nr;
	if (w.base == map_base && draw_below(&w.d, 2))
		r.flags |= PM_MAP_MAYMOVE;
	if (w.exact && w.pages[r.first].locked)
		return;
	want = expect_remap(&r, &to);
	status = pm_remap(w.m, 0, w.space, addr_of(r.first), r.nr * PAGE, r.new_nr * PAGE, r.flags, addr_of(r.to), &at);
	/* A locked area that grows is faulted in, and may reach beyond its file. */
	if (w.pages[r.first].locked && status == PM_ERR_BEYOND)
		status = PM_OK;
	if (!CHECK_EQ(status, want) || want)
		return;
	CHECK_EQ(at, addr_of(to));
	apply_remap(&r, to);
	if (to + r.new_nr > WINDOW)
		CHECK_EQ(pm_unmap(w.m, 0, w.space, addr_of(WINDOW), r.new_nr * PAGE), PM_OK);
}

/// Only in seeds that are not exact: pages, forks, swap.
static void step_use(void)
{
	uint64_t first, nr, child, done;
	enum pm_status status;

	draw_range(&first, &nr);
	switch (draw_below(&w.d, 4)) {
	case 0:
		child = space_fork(w.m, w.space);
		status = pm_touch(w.m, 0, child, addr_of(first), nr * PAGE, draw_below(&w.d, 2), &done);
		CHECK(status == PM_OK || status == PM_ERR_FAULT || status == PM_ERR_ACCESS || status == PM_ERR_BEYOND);
		space_exit(w.m, child);
		break;
	case 1:
		(void)space_page_out(w.m, w.space, addr_of(first), nr);
		break;
	default:
		status = pm_touch(w.m, 0, w.space, addr_of(first), nr * PAGE, draw_below(&w.d, 2), &done);
		CHECK(status == PM_OK || status == PM_ERR_FAULT || status == PM_ERR_ACCESS || status == PM_ERR_BEYOND);
	}
}

static void step(void)
{
	switch (draw_below(&w.d, w.exact ? 8 : 11)) {
	case 0:
	case 1:
	case 2:
		step_map();
		break;
	case 3:
		step_unmap();
		break;
	case 4:
		step_protect();
		break;
	case 5:
		step_mlock();
		break;
	case 6:
	case 7:
		step_remap();
		break;
	default:
		step_use();
	}
}

static void agrees_with_the_account(uint64_t seed)
{
	/* At the beginning and at the end of the address space, across two page tables, and where maps are placed. */
	const uint64_t bases[] = { map_base, 0, ((uint64_t)1 << PM_VA_BITS) - WINDOW * PAGE, map_base - WINDOW / 2 * PAGE };
	struct space_rig_options options = space_options();
	unsigned int i;

	w = (struct world){ .base = bases[seed / 2 % 4], .exact = seed % 2 == 0 };
	draw_init(&w.d, seed);
	w.rig = space_rig_make(&options);
	w.m = w.rig.m;
	w.space = space_make(w.m);
	for (i = 0; i < NR_FILES; i++)
		w.files[i] = space_ram_file(w.m, FILE_PAGES);
	for (i = 0; i < STEPS && check_result() == EXIT_SUCCESS; i++) {
		step();
		check_areas();
		if (i % 16 == 0)
			CHECK(rig_valid(w.m));
	}
	space_exit(w.m, w.space);
	for (i = 0; i < NR_FILES; i++)
		space_file_close(w.m, w.files[i]);
	space_rig_end(&w.rig);
}

int main(int argc, char **argv)
{
	return draw_run(argc, argv, SEEDS, agrees_with_the_account);
}
