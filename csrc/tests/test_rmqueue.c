/// Looking ahead: pm_rmqueue_peek() names the very frame that the next request gets, on every rung of the ladder.
#include "phys/rmqueue.h"
#include "phys/watermark.h"
#include "tests/rig.h"

enum { FRAMES = 4096, STEPS = 60000 };

static const uint32_t flags_of[PM_NR_PCP_TYPES] = { RIG_UNMOVABLE, RIG_MOVABLE, RIG_RECLAIMABLE };
static uint64_t held[FRAMES];
static uint8_t held_order[FRAMES];
static unsigned int nr_held;
static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint64_t draw(uint64_t below)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (random_state >> 11) % below;
}

static struct pm_pfn peek(struct pm_machine *m, uint32_t order, uint32_t type, uint32_t flags)
{
	struct pm_pfn pfn;

	pm_lock(&m->zone[0].lock);
	pfn = pm_rmqueue_peek(m, &m->zone[0], order, type, flags);
	pm_unlock(&m->zone[0].lock);
	return pfn;
}

static void get(struct pm_machine *m)
{
	uint32_t order = draw(4) ? (uint32_t)draw(3) : (uint32_t)draw(PM_NR_ORDERS), type = (uint32_t)draw(PM_NR_PCP_TYPES);
	struct pm_pfn expected = peek(m, order, type, 0);
	uint64_t pfn = rig_alloc(m, order, flags_of[type]);

	if (pfn == UINT64_MAX) {
		CHECK(pm_pfn_is_nil(expected));
		return;
	}
	CHECK_EQ(pfn, expected.v);
	held[nr_held] = pfn;
	held_order[nr_held++] = (uint8_t)order;
}

static void put(struct pm_machine *m, unsigned int i)
{
	CHECK_EQ(pm_free(m, 0, held[i], held_order[i]), PM_OK);
	held[i] = held[--nr_held];
	held_order[i] = held_order[nr_held];
}

/// Memory breathes between nearly full and half empty, so that every rung is reached.
static void the_next_frame_is_foreseen(void)
{
	struct pm_machine *m = rig_one_zone(FRAMES, 1, rig_bare());
	struct pm_counters counters;
	bool filling = true;
	int i;

	for (i = 0; i < STEPS; i++) {
		uint64_t nr_free = rig_zone(m, 0).nr_free;

		if (nr_free < 8)
			filling = false;
		else if (nr_free > FRAMES / 2)
			filling = true;
		if (nr_held == 0 || draw(4) < (filling ? 3 : 1))
			get(m);
		else
			put(m, (unsigned int)draw(nr_held));
	}
	counters = rig_counters(m);
	CHECK(counters.claim[PM_MT_UNMOVABLE][PM_MT_MOVABLE] > 0 && counters.claim[PM_MT_MOVABLE][PM_MT_UNMOVABLE] > 0);
	CHECK(counters.steal[PM_MT_UNMOVABLE][PM_MT_MOVABLE] > 0 && counters.steal[PM_MT_MOVABLE][PM_MT_RECLAIMABLE] > 0);
	rig_destroy(m);
}

static bool has_own(struct pm_machine *m, uint32_t order, uint32_t type)
{
	bool has;

	pm_lock(&m->zone[0].lock);
	has = pm_rmqueue_has_own(&m->zone[0], order, type);
	pm_unlock(&m->zone[0].lock);
	return has;
}

/// Will a request fall back? Not if its own lists have a block of its order or a larger one.
static void own_blocks(void)
{
	struct pm_machine *m = rig_one_zone(2 * PB, 1, rig_bare());

	CHECK(has_own(m, 0, PM_MT_MOVABLE) && has_own(m, PB_ORDER, PM_MT_MOVABLE));
	CHECK(!has_own(m, 0, PM_MT_UNMOVABLE));
	rig_fill(m, 2 * PB, RIG_MOVABLE);
	CHECK(!has_own(m, 0, PM_MT_MOVABLE));
	rig_free_range(m, 8, 12);
	CHECK(has_own(m, 0, PM_MT_MOVABLE) && has_own(m, 2, PM_MT_MOVABLE) && !has_own(m, 3, PM_MT_MOVABLE));
	rig_destroy(m);
}

static void careful_requests_foresee_less(void)
{
	struct pm_machine *m = rig_one_zone(1024, 1, rig_bare());

	CHECK_EQ(peek(m, 0, PM_MT_UNMOVABLE, PM_ALLOC_NOFRAGMENT).v, 0);
	rig_fill(m, 1024, RIG_MOVABLE);
	rig_free_range(m, 8, 16);
	CHECK(pm_pfn_is_nil(peek(m, 0, PM_MT_UNMOVABLE, PM_ALLOC_NOFRAGMENT)));
	CHECK_EQ(peek(m, 0, PM_MT_UNMOVABLE, 0).v, 8);
	CHECK(pm_pfn_is_nil(peek(m, 4, PM_MT_UNMOVABLE, 0)));
	rig_destroy(m);
}

int main(void)
{
	RUN(the_next_frame_is_foreseen);
	RUN(own_blocks);
	RUN(careful_requests_foresee_less);
	return check_result();
}
