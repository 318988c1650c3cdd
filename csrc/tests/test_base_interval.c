/// The interval tree against a list that is searched from end to end: which intervals meet a range, in which order, whatever was inserted
/// and taken out before. The reverse map finds every mapping of a page by it, a parent's before its child's.
#include "base/interval.h"
#include "tests/draw.h"

enum { NODES = 96, STEPS = 4000, SPAN = 64 };
#ifdef PM_TEST_FLAVOUR
enum { SEEDS = 6 };
#else
enum { SEEDS = 40 };
#endif

struct model {
	struct pm_interval_tree tree;
	struct pm_interval node[NODES];
	bool in[NODES];
	uint64_t born[NODES]; ///< order of insertion
	uint64_t nr, next_born;
};

static struct model model;

static bool comes_before(unsigned int a, unsigned int b)
{
	if (model.node[a].start != model.node[b].start)
		return model.node[a].start < model.node[b].start;
	return model.born[a] < model.born[b];
}

/// The first node after `after` (NODES: any) that `fits`; NODES if there is none.
static unsigned int first_after(unsigned int after, bool (*fits)(unsigned int i, uint64_t start, uint64_t last), uint64_t start, uint64_t last)
{
	unsigned int best = NODES, i;

	for (i = 0; i < NODES; i++)
		if (model.in[i] && fits(i, start, last) && (after == NODES || comes_before(after, i)) && (best == NODES || comes_before(i, best)))
			best = i;
	return best;
}

static bool meets(unsigned int i, uint64_t start, uint64_t last)
{
	return model.node[i].start <= last && model.node[i].last >= start;
}

static bool starts_at_or_after(unsigned int i, uint64_t start, uint64_t last)
{
	(void)last;
	return model.node[i].start >= start;
}

static struct pm_interval *node_of(unsigned int i)
{
	return i == NODES ? NULL : &model.node[i];
}

static void check_walk(uint64_t start, uint64_t last)
{
	struct pm_interval *node = pm_interval_first(&model.tree, start, last);
	unsigned int want = first_after(NODES, meets, start, last);

	while (want != NODES || node) {
		REQUIRE(node == node_of(want));
		want = first_after(want, meets, start, last);
		node = pm_interval_next(&model.tree, node, start, last);
	}
}

static void check_neighbours(uint64_t start)
{
	unsigned int i, before = NODES;

	CHECK(pm_interval_at_or_after(&model.tree, start) == node_of(first_after(NODES, starts_at_or_after, start, 0)));
	for (i = 0; i < NODES; i++)
		if (model.in[i] && model.node[i].start < start && (before == NODES || comes_before(before, i)))
			before = i;
	CHECK(pm_interval_before(&model.tree, start) == node_of(before));
}

static void insert(struct draw *d, unsigned int i, uint64_t base)
{
	uint64_t start = base + draw_below(d, SPAN);

	/* Long ones too, and some that end where numbers end. */
	model.node[i].start = start;
	model.node[i].last = draw_once_in(d, 12) ? UINT64_MAX : start + draw_below(d, draw_once_in(d, 4) ? SPAN : 4);
	if (model.node[i].last < start)
		model.node[i].last = UINT64_MAX;
	pm_interval_insert(&model.tree, &model.node[i]);
	model.in[i] = true;
	model.born[i] = model.next_born++;
	model.nr++;
}

static void agrees_with_a_list(uint64_t seed)
{
	/* Near 0, and so near the end that an end cannot be one past the last. */
	uint64_t base = seed % 3 == 0 ? 0 : seed % 3 == 1 ? 1000 : UINT64_MAX - SPAN + 1;
	struct draw d;
	unsigned int step;

	draw_init(&d, seed);
	model = (struct model){ .nr = 0 };
	for (step = 0; step < STEPS && check_result() == EXIT_SUCCESS; step++) {
		unsigned int i = (unsigned int)draw_below(&d, NODES);
		uint64_t start = base + draw_below(&d, SPAN), last = start + draw_below(&d, 8);

		if (!model.in[i]) {
			insert(&d, i, base);
		} else if (draw_below(&d, 2)) {
			pm_interval_remove(&model.tree, &model.node[i]);
			model.in[i] = false;
			model.nr--;
		}
		CHECK_EQ(model.tree.nr, model.nr);
		check_walk(start, last < start ? UINT64_MAX : last);
		check_neighbours(start);
	}
	check_walk(0, UINT64_MAX);
}

int main(int argc, char **argv)
{
	return draw_run(argc, argv, SEEDS, agrees_with_a_list);
}
