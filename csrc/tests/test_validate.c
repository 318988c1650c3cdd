/// pm_machine_validate() finds what is wrong, and says where: each test breaks one thing by hand.
#include "phys/machine.h"
#include "tests/rig.h"

static char message[256];

static bool finds(struct pm_machine *m, const char *what)
{
	enum pm_status status = pm_machine_validate(m, message, sizeof(message));
	bool found = status == PM_ERR_CORRUPT && strstr(message, what);

	if (!found)
		fprintf(stderr, "  expected '%s', got status %d, '%s'\n", what, (int)status, message);
	return found;
}

/// 4 pageblocks; frames 0..7 used one by one, 8 a free block of order 3, 1024 a used block of order 2, and a per-CPU list.
static struct pm_machine *make(void)
{
	struct pm_settings settings = rig_bare();
	struct pm_machine *m;
	uint64_t i;

	settings.pcp = 1;
	settings.pcp_batch = 2;
	settings.pcp_high_min = 64;
	m = rig_one_zone(4 * PB, 1, settings);
	for (i = 0; i < 8; i++)
		CHECK_EQ(pm_take(m, i, 0, PM_MT_MOVABLE), PM_OK);
	CHECK_EQ(pm_take(m, 2 * PB, 2, PM_MT_MOVABLE), PM_OK);
	CHECK_EQ(pm_free(m, 0, 4, 0), PM_OK);
	CHECK_EQ(pm_free(m, 0, 6, 0), PM_OK);
	CHECK(rig_valid(m));
	return m;
}

static void set_word(struct pm_machine *m, uint64_t pfn, uint32_t word)
{
	pm_frame_set_word(pm_frame_of(m, pm_pfn(pfn)), word);
}

static struct pm_list *free_list(struct pm_machine *m, unsigned int order)
{
	return &m->zone[0].area[order].list[PM_MT_MOVABLE];
}

#define BROKEN(what, ...)                       \
	do {                                    \
		struct pm_machine *m = make();  \
		__VA_ARGS__;                    \
		CHECK(finds(m, what));          \
		pm_machine_destroy(m);          \
	} while (0)

static void frames(void)
{
	BROKEN("not marked so", set_word(m, 8, 0));
	BROKEN("is on the list of type 1 but marked 0", set_word(m, 8, pm_word(PM_FRAME_FREE, 0, 3)));
	BROKEN("marked free but on no list", set_word(m, 0, pm_word(PM_FRAME_FREE, 1, 0)));
	BROKEN("marked per-CPU but on no list", set_word(m, 0, pm_word(PM_FRAME_PCP, 1, 0)));
	BROKEN("frames are nowhere", set_word(m, 0, 0));
	BROKEN("two places", set_word(m, 2 * PB, pm_word(PM_FRAME_USED, 1, 3)));
	BROKEN("frame 9 is marked as a block of its own inside one at a free list", set_word(m, 9, pm_word(PM_FRAME_PCP, 1, 0)));
	BROKEN("inside one at an allocated block", set_word(m, 2 * PB + 3, pm_word(PM_FRAME_USED, 1, 0)));
	BROKEN("unaligned", set_word(m, 1, pm_word(PM_FRAME_USED, 1, 1)));
	BROKEN("per-CPU list of order 0 but not marked", set_word(m, 6, pm_word(PM_FRAME_USED, 1, 0)));
}

static void lists(void)
{
	BROKEN("says 3 blocks, 2 are on it", pm_list_count(free_list(m, 3), 1));
	BROKEN("links disagree", m->tables.frames[8].link.prev = 17);
	BROKEN("does not exist", m->tables.frames[8].link.next = 5000);
	BROKEN("does not exist", m->cpu[0].pcp[0].list[PM_MT_MOVABLE].first = 5000);
	BROKEN("links disagree", m->tables.frames[4].link.prev = 17);
	BROKEN("is its last", m->cpu[0].pcp[0].list[PM_MT_MOVABLE].last = 17);
	BROKEN("on its lists", m->cpu[0].pcp[0].count++);
}

static void pageblocks(void)
{
	BROKEN("marked 2", m->tables.pageblocks[3].free_list = 2);
	BROKEN("in a pageblock of type 0", m->tables.pageblocks[0].type = 0);
	BROKEN("HIGHATOMIC pageblocks", m->zone[0].nr_reserved_highatomic = PB);
	BROKEN("pageblock 1 of type 1 queues what is freed as type 3", m->tables.pageblocks[1].queue = PM_NR_PCP_TYPES);
}

static void a_large_block_of_two_types(void)
{
	struct pm_machine *m = rig_one_zone(4 * PB, 1, rig_bare());
	char want[80];

	m->tables.pageblocks[1].type = PM_MT_UNMOVABLE;
	snprintf(want, sizeof(want), "frame %d is on the list of type 1 in a pageblock of type 0", PB);
	CHECK(finds(m, want));
	pm_machine_destroy(m);
}

static void counts(void)
{
	BROKEN("frames counted", m->zone[0].nr_free++);
	BROKEN("frames counted", m->zone[0].nr_isolated++);
	BROKEN("free HIGHATOMIC", m->zone[0].nr_free_highatomic++);
	BROKEN("managed", m->zone[0].managed++);
	BROKEN("held to be plenty", m->zone[0].plenty[PM_ZONE_NORMAL]++);
	BROKEN("held to be plenty", m->zone[0].watermark_boost = 8);
}

static void unmerged_buddies(void)
{
	static const uint8_t orders[] = { 0, PB_ORDER };
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, 2 * PB };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 1, .start = PM_START_UNPLACED, .settings = rig_bare() };
	size_t i, n;

	for (i = 0; i < 2; i++) {
		struct pm_machine *m = rig_create(&layout);
		const uint64_t pfns[] = { 0, (uint64_t)1 << orders[i] };
		const uint8_t o[] = { orders[i], orders[i] }, places[] = { 1, 1 }, types[] = { 1, 1 };

		CHECK_EQ(pm_load_blocks(m, 2, pfns, o, places, types, NULL, &n), PM_OK);
		CHECK(finds(m, "unmerged buddies"));
		pm_machine_destroy(m);
	}
}

static void reserved_frames(void)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, 2 * PB };
	struct pm_range reserved = { 0, 16 };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .reserved = &reserved, .nr_reserved = 1, .nr_cpus = 1, .settings = rig_bare() };
	struct pm_machine *m = rig_create(&layout);

	CHECK_EQ(rig_alloc(m, 4, RIG_MOVABLE), 16);
	m->reserved[0] = (struct pm_range){ 65, 66 };
	CHECK(finds(m, "hole or a reserved frame"));
	CHECK_EQ(pm_machine_validate(m, NULL, 0), PM_ERR_CORRUPT);
	pm_machine_destroy(m);
}

int main(void)
{
	RUN(frames);
	RUN(lists);
	RUN(pageblocks);
	RUN(a_large_block_of_two_types);
	RUN(counts);
	RUN(unmerged_buddies);
	RUN(reserved_frames);
	return check_result();
}
