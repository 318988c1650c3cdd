/// Blocks of several frames for which there is no destination of their order: split, moved frame by frame, whole again, and never a byte lost.
#include <string.h>

#include "phys/arena.h"
#include "phys/page.h"
#include "tests/check.h"
#include "tests/rig.h"

enum { FRAMES = 4096, PAGE = PM_PAGE_SIZE, ABOVE = 2048, ORDER = 3, PARTS = 1 << ORDER };

struct scene {
	struct pm_machine *m;
	uint64_t owner, from, taken;
	uint32_t number, order;
};

static char byte_of(uint64_t part, uint64_t at)
{
	return (char)(part * 31 + at * 7 + 1);
}

static void fill(struct scene *s)
{
	uint64_t i, at;

	for (i = 0; i < (uint64_t)1 << s->order; i++)
		for (at = 0; at < PAGE; at += 8)
			pm_frame_bytes(s->m, pm_pfn(s->from + i))[at] = byte_of(i, at);
}

/// Where the frames of the block are, and that they hold what they held.
static size_t look(struct scene *s, uint64_t frames[512])
{
	uint64_t i, at, wrong = 0;
	size_t n = 0;

	CHECK_EQ(pm_owner_frames(s->m, 0, s->owner, s->number, 512, frames, &n), PM_OK);
	CHECK_EQ(n, (uint64_t)1 << s->order);
	for (i = 0; i < n; i++)
		for (at = 0; at < PAGE; at += 8)
			wrong += pm_frame_bytes(s->m, pm_pfn(frames[i]))[at] != byte_of(i, at);
	CHECK_EQ(wrong, 0);
	CHECK(rig_valid(s->m));
	return n;
}

/// A block in the lower half. The upper half is in use but for `singles` frames, no two of which make a block.
static void open_scene(struct scene *s, unsigned int order, uint64_t singles)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, FRAMES };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 2, .settings = rig_bare() };
	struct pm_memory_options options;
	uint64_t pfn, freed = 0;

	*s = (struct scene){ .order = order };
	s->m = rig_create(&layout);
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_PRIVATE;
	REQUIRE(pm_memory_enable(s->m, &options) == PM_OK);
	for (pfn = ABOVE; pfn < FRAMES; pfn++)
		REQUIRE(pm_take(s->m, pfn, 0, PM_MT_MOVABLE) == PM_OK);
	REQUIRE(pm_owner_create(s->m, PM_OWNER_MOVABLE_OPS, &s->owner) == PM_OK);
	REQUIRE(pm_owner_alloc(s->m, 0, s->owner, order, PM_GFP_KERNEL, &s->number) == PM_OK);
	REQUIRE(pm_owner_frame(s->m, 0, s->owner, s->number, &s->from) == PM_OK);
	REQUIRE(s->from < ABOVE);
	for (pfn = ABOVE; freed < singles; pfn += 2, freed++)
		REQUIRE(pm_free(s->m, 0, pfn, 0) == PM_OK);
	REQUIRE(pm_drain(s->m, PM_ALL_CPUS) == PM_OK);
	s->taken = FRAMES - ABOVE - singles;
	fill(s);
}

/// The owner goes, and every frame that was its own is free again.
static void close_scene(struct scene *s)
{
	struct pm_zone_info info;

	CHECK(rig_valid(s->m));
	CHECK_EQ(pm_owner_destroy(s->m, 0, s->owner), PM_OK);
	CHECK(rig_valid(s->m));
	REQUIRE(pm_zone_info(s->m, 0, &info) == PM_OK);
	CHECK_EQ(info.nr_free + info.nr_pcp, FRAMES - s->taken);
	pm_machine_destroy(s->m);
}

static struct pm_migrate_result move_up(struct scene *s, uint32_t protocol, uint32_t mode, uint32_t flags)
{
	struct pm_migrate_request request = { .pfns = &s->from, .n = 1, .mode = mode, .protocol = protocol, .flags = flags, .destination = { .kind = PM_DEST_ABOVE, .value = ABOVE } };
	struct pm_migrate_result result;
	size_t moved = 77;

	CHECK_EQ(pm_migrate(s->m, 0, &request, &result, &moved), PM_OK);
	CHECK_EQ(moved, result.to != UINT64_MAX);
	return result;
}

static void every_order_moves_in_parts(void)
{
	unsigned int order;

	for (order = 1; order <= 9; order++) {
		uint64_t frames[512], i, parts = (uint64_t)1 << order;
		struct pm_migrate_counters counters;
		struct pm_migrate_result result;
		struct scene s;

		open_scene(&s, order, parts);
		result = move_up(&s, PM_PROTOCOL_ENTRY, PM_MIGRATE_SYNC, PM_MIGRATE_SPLIT);
		CHECK(result.status == PM_OK && result.reason == PM_WHY_NONE && result.split == parts && result.split_moved == parts);
		CHECK_EQ(look(&s, frames), parts);
		CHECK_EQ(result.to, frames[0]);
		for (i = 0; i < parts; i++)
			CHECK(frames[i] >= ABOVE);
		pm_migrate_counters(s.m, &counters);
		CHECK(counters.split == 1 && counters.split_moved == parts && counters.moved[PM_PROTOCOL_ENTRY] == 1);
		close_scene(&s);
	}
}

/// Where whole blocks are to be had, none is split; nor where nobody asked for it.
static void only_where_it_has_to_be(void)
{
	struct pm_migrate_result result;
	uint64_t frames[512], pfn;
	struct scene s;

	open_scene(&s, ORDER, PARTS);
	result = move_up(&s, PM_PROTOCOL_ENTRY, PM_MIGRATE_SYNC, 0);
	CHECK(result.reason == PM_WHY_NO_MEMORY && result.split == 0 && result.to == UINT64_MAX);
	CHECK_EQ(look(&s, frames), PARTS);
	CHECK_EQ(frames[0], s.from);
	for (pfn = FRAMES - PARTS; pfn < FRAMES; pfn++)
		REQUIRE(pm_free(s.m, 0, pfn, 0) == PM_OK);
	s.taken -= PARTS;
	result = move_up(&s, PM_PROTOCOL_ENTRY, PM_MIGRATE_SYNC, PM_MIGRATE_SPLIT);
	CHECK(result.status == PM_OK && result.split == 0 && result.to == FRAMES - PARTS);
	CHECK_EQ(look(&s, frames), PARTS);
	close_scene(&s);
}

static void as_many_parts_as_there_is_room_for(void)
{
	uint32_t protocol, mode;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (mode = 0; mode <= PM_MIGRATE_SYNC; mode++) {
			uint64_t frames[512], i, to;
			struct pm_migrate_result result;
			struct pm_page_info page;
			struct scene s;

			open_scene(&s, ORDER, 3);
			result = move_up(&s, protocol, mode, PM_MIGRATE_SPLIT);
			CHECK(result.status == PM_ERR_NOMEM && result.reason == PM_WHY_NO_MEMORY && result.to == UINT64_MAX && result.split == PARTS && result.split_moved == 3);
			CHECK_EQ(look(&s, frames), PARTS);
			for (i = 0; i < PARTS; i++)
				CHECK(i < 3 ? frames[i] >= ABOVE : frames[i] == s.from + i);
			/* Each part is a movable block of one frame. */
			CHECK(pm_page_info(s.m, frames[5], &page) == PM_OK && page.order == 0 && page.references == 1 && page.use == PM_USE_OWNER);
			/* Its owner makes it whole again, wherever the parts are. */
			CHECK_EQ(pm_owner_move(s.m, 0, s.owner, s.number, PM_GFP_KERNEL, &to), PM_OK);
			CHECK_EQ(look(&s, frames), PARTS);
			for (i = 0; i < PARTS; i++)
				CHECK_EQ(frames[i], to + i);
			CHECK(pm_page_info(s.m, to, &page) == PM_OK && page.order == ORDER && page.references == 1);
			close_scene(&s);
		}
}

/// Without a single destination it is whole afterwards, and moves as one when there is room.
static void none_is_split_in_vain(void)
{
	struct pm_migrate_result result;
	struct pm_page_info page;
	uint64_t frames[512];
	struct scene s;

	open_scene(&s, ORDER, 0);
	result = move_up(&s, PM_PROTOCOL_ENTRY, PM_MIGRATE_SYNC, PM_MIGRATE_SPLIT);
	CHECK(result.reason == PM_WHY_NO_MEMORY && result.split == 0 && result.split_moved == 0);
	CHECK_EQ(look(&s, frames), PARTS);
	CHECK(pm_page_info(s.m, s.from, &page) == PM_OK && page.order == ORDER);
	close_scene(&s);
}

/// The frames of a split block move on one by one, and go with their block.
static void parts_move_on(void)
{
	uint64_t frames[512], after[512];
	struct pm_migrate_request request = { .pfns = frames, .n = PARTS, .mode = PM_MIGRATE_SYNC, .destination = { .kind = PM_DEST_BELOW, .value = ABOVE } };
	struct pm_migrate_result results[PARTS];
	struct scene s;
	size_t moved, i;

	open_scene(&s, ORDER, PARTS);
	CHECK_EQ(move_up(&s, PM_PROTOCOL_ENTRY, PM_MIGRATE_SYNC, PM_MIGRATE_SPLIT).split, PARTS);
	(void)look(&s, frames);
	CHECK_EQ(pm_migrate(s.m, 0, &request, results, &moved), PM_OK);
	CHECK_EQ(moved, PARTS);
	(void)look(&s, after);
	for (i = 0; i < PARTS; i++)
		CHECK(after[i] < ABOVE && results[i].to == after[i] && results[i].split == 0);
	CHECK_EQ(pm_owner_free(s.m, 0, s.owner, s.number), PM_OK);
	CHECK_EQ(pm_owner_frames(s.m, 0, s.owner, s.number, 0, NULL, &moved), PM_ERR_RANGE);
	close_scene(&s);
}

/// Each request for memory fails once, or from then on: the block has all its bytes, split or whole, and goes without a trace.
static void a_failure_at_every_step(void)
{
	uint64_t nth, all = 0, none = 0, asked;
	bool ever;

	for (nth = 1; nth <= 48; nth++)
		for (ever = false;; ever = true) {
			struct pm_migrate_request request = { .n = 1, .mode = PM_MIGRATE_SYNC, .flags = PM_MIGRATE_SPLIT, .destination = { .kind = PM_DEST_ABOVE, .value = ABOVE } };
			struct pm_migrate_result result;
			uint64_t frames[512];
			struct scene s;
			size_t moved;

			open_scene(&s, ORDER, PARTS);
			request.pfns = &s.from;
			REQUIRE(pm_fail_allocations(s.m, nth, ever, &asked) == PM_OK);
			if (pm_migrate(s.m, 0, &request, &result, &moved) == PM_OK) {
				all += result.split_moved == PARTS;
				none += result.split == 0;
				CHECK(result.split == 0 || result.split == PARTS);
				CHECK(result.split_moved == PARTS ? result.status == PM_OK : result.status != PM_OK);
			}
			REQUIRE(pm_fail_allocations(s.m, 0, false, &asked) == PM_OK);
			(void)look(&s, frames);
			close_scene(&s);
			if (ever)
				break;
		}
	/* Both outcomes were met, or the test does not do what it says. */
	CHECK(all > 0 && none > 0);
}

/// Many blocks of one owner, some of them split, while its tables grow.
static void many_blocks(void)
{
	enum { MANY = 200 };
	uint64_t pfn[MANY], frames[4], i;
	struct pm_migrate_request request = { .n = 64, .mode = PM_MIGRATE_SYNC, .flags = PM_MIGRATE_SPLIT, .destination = { .kind = PM_DEST_ABOVE, .value = ABOVE } };
	struct pm_migrate_result results[64];
	uint32_t number[MANY];
	struct scene s;
	size_t moved, n;

	open_scene(&s, ORDER, 256);
	for (i = 0; i < MANY; i++) {
		REQUIRE(pm_owner_alloc(s.m, 0, s.owner, 2, PM_GFP_KERNEL, &number[i]) == PM_OK);
		REQUIRE(pm_owner_frame(s.m, 0, s.owner, number[i], &pfn[i]) == PM_OK);
		memset(pm_frame_bytes(s.m, pm_pfn(pfn[i])), (int)i, 4 * PAGE);
		if (i == 63) {
			request.pfns = pfn;
			CHECK_EQ(pm_migrate(s.m, 0, &request, results, &moved), PM_OK);
			CHECK_EQ(moved, 64);
		}
	}
	for (i = 0; i < MANY; i++) {
		size_t part, at, wrong = 0;

		CHECK_EQ(pm_owner_frames(s.m, 0, s.owner, number[i], 4, frames, &n), PM_OK);
		for (part = 0; part < 4; part++)
			for (at = 0; at < PAGE; at++)
				wrong += pm_frame_bytes(s.m, pm_pfn(frames[part]))[at] != (char)i;
		CHECK(n == 4 && wrong == 0 && (frames[3] >= ABOVE) == (i < 64));
		if (i % 3 == 0)
			CHECK_EQ(pm_owner_free(s.m, 0, s.owner, number[i]), PM_OK);
	}
	close_scene(&s);
}

static void unmovable_blocks_stay_whole(void)
{
	struct pm_migrate_result result;
	uint64_t slab, from;
	uint32_t number;
	struct scene s;

	open_scene(&s, ORDER, PARTS);
	REQUIRE(pm_owner_create(s.m, PM_OWNER_UNMOVABLE, &slab) == PM_OK);
	REQUIRE(pm_owner_alloc(s.m, 0, slab, ORDER, PM_GFP_KERNEL, &number) == PM_OK && pm_owner_frame(s.m, 0, slab, number, &from) == PM_OK);
	s.from = from;
	result = move_up(&s, PM_PROTOCOL_ENTRY, PM_MIGRATE_SYNC, PM_MIGRATE_SPLIT);
	CHECK(result.reason == PM_WHY_NOT_MOVABLE && result.split == 0);
	CHECK_EQ(pm_owner_destroy(s.m, 0, slab), PM_OK);
	close_scene(&s);
}

int main(void)
{
	RUN(every_order_moves_in_parts);
	RUN(only_where_it_has_to_be);
	RUN(as_many_parts_as_there_is_room_for);
	RUN(none_is_split_in_vain);
	RUN(parts_move_on);
	RUN(a_failure_at_every_step);
	RUN(many_blocks);
	RUN(unmovable_blocks_stay_whole);
	return check_result();
}
