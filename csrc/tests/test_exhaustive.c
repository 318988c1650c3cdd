/// All sequences of up to six operations on two pageblocks, with those that change pageblocks among them (test_sequences.c has the
/// plain ones): after each operation the audit finds nothing, no frame is lost or held twice, and what should fit does.
#include "tests/rig.h"

#ifdef PM_TEST_FLAVOUR
enum { DEPTH = 5 };
#else
enum { DEPTH = 6 };
#endif
enum { FRAMES = 2 * PM_PAGEBLOCK_NR_PAGES, NR_OPERATIONS = 8, MAX_HELD = 16 };

/// The largest blocks that all of memory can be.
enum { WHOLE_ORDER = PM_PAGEBLOCK_ORDER < PM_MAX_ORDER ? PM_PAGEBLOCK_ORDER + 1 : PM_MAX_ORDER };

struct tiny {
	struct pm_machine *machine;
	uint64_t pfns[MAX_HELD];
	uint32_t orders[MAX_HELD];
	unsigned int nr;
	uint32_t retyped; ///< how often pageblock 0 was
	bool isolated;	  ///< pageblock 0
};

static uint64_t held_frames(const struct tiny *t)
{
	uint64_t sum = 0;
	unsigned int i;

	for (i = 0; i < t->nr; i++)
		sum += (uint64_t)1 << t->orders[i];
	return sum;
}

static void hold(struct tiny *t, uint64_t pfn, uint32_t order)
{
	unsigned int i;

	CHECK(pfn % (1u << order) == 0 && pfn + (1u << order) <= FRAMES);
	for (i = 0; i < t->nr; i++)
		CHECK(pfn + (1u << order) <= t->pfns[i] || t->pfns[i] + (1u << t->orders[i]) <= pfn);
	REQUIRE(t->nr < MAX_HELD);
	t->pfns[t->nr] = pfn;
	t->orders[t->nr++] = order;
}

/// Is there an aligned stretch of `order` that nobody holds, in a pageblock that serves everybody?
static bool has_room(const struct tiny *t, uint32_t order)
{
	bool closed = t->isolated || t->retyped % PM_MT_ISOLATE == PM_MT_HIGHATOMIC;
	uint64_t pfn;
	unsigned int i;

	for (pfn = closed ? PM_PAGEBLOCK_NR_PAGES : 0; pfn < FRAMES; pfn += 1u << order) {
		for (i = 0; i < t->nr; i++)
			if (pfn < t->pfns[i] + (1u << t->orders[i]) && t->pfns[i] < pfn + (1u << order))
				break;
		if (i == t->nr)
			return true;
	}
	return false;
}

/// No spurious failure: what cannot be had, even once the per-CPU lists are drained, is not there.
static void get(struct tiny *t, uint32_t order, uint32_t gfp)
{
	uint64_t pfn = rig_alloc(t->machine, order, gfp);

	if (pfn == UINT64_MAX) {
		CHECK_EQ(pm_drain(t->machine, 0), PM_OK);
		pfn = rig_alloc(t->machine, order, gfp);
		CHECK_EQ(pfn != UINT64_MAX, has_room(t, order));
	}
	if (pfn != UINT64_MAX)
		hold(t, pfn, order);
}

static void put(struct tiny *t, unsigned int i)
{
	if (t->nr == 0)
		return;
	CHECK_EQ(pm_free(t->machine, 0, t->pfns[i], t->orders[i]), PM_OK);
	CHECK_EQ(pm_free(t->machine, 0, t->pfns[i], t->orders[i]), PM_ERR_DOUBLE_FREE);
	t->pfns[i] = t->pfns[--t->nr];
	t->orders[i] = t->orders[t->nr];
}

static void split_last(struct tiny *t)
{
	uint32_t order = t->nr ? t->orders[t->nr - 1] : 0;

	if (order == 0)
		return;
	CHECK_EQ(pm_split(t->machine, t->pfns[t->nr - 1], order, order - 1), PM_OK);
	t->orders[t->nr - 1] = order - 1;
	hold(t, t->pfns[t->nr - 1] + (1u << (order - 1)), order - 1);
}

static void step(struct tiny *t, unsigned int operation)
{
	switch (operation) {
	case 0:
		get(t, 0, RIG_UNMOVABLE);
		break;
	case 1:
		get(t, 2, RIG_MOVABLE);
		break;
	case 2:
		get(t, PM_PAGEBLOCK_ORDER, RIG_MOVABLE);
		break;
	case 3:
		put(t, 0);
		break;
	case 4:
		put(t, t->nr - 1);
		break;
	case 5:
		split_last(t);
		break;
	case 6:
		t->isolated = !t->isolated;
		CHECK_EQ(pm_set_isolated(t->machine, 0, t->isolated), PM_OK);
		break;
	default:
		CHECK_EQ(pm_set_pageblock_type(t->machine, 0, ++t->retyped % PM_MT_ISOLATE), PM_OK);
	}
}

static void check(struct tiny *t)
{
	struct pm_zone_info zone = rig_zone(t->machine, 0);

	REQUIRE(rig_valid(t->machine));
	CHECK_EQ(zone.nr_free + zone.nr_isolated + zone.nr_pcp + held_frames(t), FRAMES);
}

/// Everything goes back, and comes together again.
static void finish(struct tiny *t)
{
	while (t->nr)
		put(t, t->nr - 1);
	CHECK_EQ(pm_drain(t->machine, PM_ALL_CPUS), PM_OK);
	if (t->isolated)
		CHECK_EQ(pm_set_isolated(t->machine, 0, false), PM_OK);
	CHECK_EQ(pm_set_pageblock_type(t->machine, 0, PM_MT_MOVABLE), PM_OK);
	CHECK_EQ(pm_set_pageblock_type(t->machine, PM_PAGEBLOCK_NR_PAGES, PM_MT_MOVABLE), PM_OK);
	CHECK_EQ(rig_blocks(t->machine, 0, WHOLE_ORDER, PM_MT_MOVABLE), FRAMES >> WHOLE_ORDER);
}

/// Sequences are numbers to the base NR_OPERATIONS. Shorter ones are their beginnings: each state is checked as it is reached.
static void play(struct tiny *t, uint32_t sequence)
{
	uint32_t rest = sequence;
	unsigned int i;

	for (i = 0; i < DEPTH; i++) {
		step(t, rest % NR_OPERATIONS);
		rest /= NR_OPERATIONS;
		/* The first operation changes fastest; a state is checked by the sequence that ends in it and goes on with zeros. */
		if (rest == 0)
			check(t);
	}
	finish(t);
	check(t);
	if (atomic_load(&check_failures)) {
		fprintf(stderr, "  sequence %o (octal, first operation last)\n", sequence);
		exit(EXIT_FAILURE);
	}
}

/// A machine whose memory came together again is as good as new, but for what its per-CPU lists have learnt.
static void play_all(uint32_t pcp)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;
	uint32_t sequence, n = 1, i;

	settings.pcp = pcp;
	settings.pcp_batch = 2;
	settings.pcp_high_min = 4;
	settings.pcp_high_max = 4;
	m = rig_one_zone(FRAMES, 1, settings);
	for (i = 0; i < DEPTH; i++)
		n *= NR_OPERATIONS;
	for (sequence = 0; sequence < n; sequence++) {
		struct tiny t = { .machine = m };

		CHECK_EQ(pm_load_pcp(m, 0, 0, 0, 0, 0), PM_OK);
		play(&t, sequence);
	}
	rig_destroy(m);
}

static void without_per_cpu_lists(void)
{
	play_all(0);
}

static void with_per_cpu_lists(void)
{
	play_all(1);
}

int main(void)
{
	RUN(without_per_cpu_lists);
	RUN(with_per_cpu_lists);
	return check_result();
}
