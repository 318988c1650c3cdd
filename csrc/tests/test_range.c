/// Ranges: what was isolated stays empty, what was taken is whole and the caller's, what failed left no trace.
#include "tests/range_rig.h"

enum { FRAMES = 16 * PB };

/// A machine with contents, and one space that fills most of it with known bytes.
struct stage {
	struct space_rig rig;
	struct pm_machine *m;
	uint64_t space, addr, pages;
};

static struct stage open_stage(uint64_t pages)
{
	struct space_rig_options options = space_options();
	struct stage s = { .pages = pages };
	uint64_t i;

	options.nr_frames = FRAMES;
	options.memory.contents = PM_CONTENTS_PRIVATE;
	s.rig = space_rig_make(&options);
	range_rig_prime(&s.rig);
	s.m = s.rig.m;
	s.space = space_make(s.m);
	s.addr = space_map(s.m, s.space, pages ? pages : 1);
	for (i = 0; i < pages; i++)
		space_put(s.m, s.space, s.addr + i * PAGE + i % PAGE, (uint8_t)(i * 7 + 1));
	return s;
}

static void check_bytes(struct stage *s)
{
	uint64_t i, wrong = 0;

	for (i = 0; i < s->pages; i++)
		wrong += space_get(s->m, s->space, s->addr + i * PAGE + i % PAGE) != (uint8_t)(i * 7 + 1);
	CHECK_EQ(wrong, 0);
}

static void close_stage(struct stage *s)
{
	check_bytes(s);
	space_exit(s->m, s->space);
	space_rig_end(&s->rig);
}

static uint64_t frame_of_page(struct stage *s, uint64_t i)
{
	return space_frame(s->m, s->space, s->addr + i * PAGE);
}

/* ---- isolate ---- */

static void nothing_is_allocated_in_an_isolated_range(void)
{
	struct stage s = open_stage(0);
	struct pm_range_request request = range_request(PM_RANGE_ISOLATE, 4 * PB, 8 * PB);
	struct picture before = picture_take(s.m);
	struct pm_range_info info;
	uint64_t range, pfn, n = 0;
	uint64_t *pfns = calloc(FRAMES, sizeof(*pfns));

	REQUIRE(pfns);
	CHECK_EQ(range_run(s.m, &request, &info, &range), PM_OK);
	CHECK_EQ(rig_zone(s.m, 0).nr_isolated, 4 * PB);
	CHECK(rig_valid(s.m));
	while ((pfn = rig_alloc(s.m, 0, RIG_MOVABLE | PM_GFP_MEMALLOC)) != UINT64_MAX) {
		CHECK(pfn < 4 * PB || pfn >= 8 * PB);
		pfns[n++] = pfn;
	}
	CHECK_EQ(n, 12 * PB);
	CHECK_EQ(pm_take(s.m, 5 * PB, 0, PM_MT_MOVABLE), PM_ERR_BUSY);
	while (n)
		CHECK_EQ(pm_free(s.m, 0, pfns[--n], 0), PM_OK);
	CHECK_EQ(pm_range_end(s.m, 0, range), PM_OK);
	picture_compare(s.m, &before);
	free(pfns);
	close_stage(&s);
}

/// A per-CPU list that held frames of the range is emptied, and gets none again while it is isolated.
static void per_cpu_lists_keep_nothing_of_it(void)
{
	struct space_rig_options options = space_options();
	struct pm_range_request request;
	struct pm_range_info info;
	struct space_rig rig;
	uint64_t range, pfns[64], i, from;

	options.nr_frames = 64 * PB;
	options.pcp = true;
	rig = space_rig_make(&options);
	range_rig_prime(&rig);
	for (i = 0; i < 64; i++)
		pfns[i] = rig_alloc(rig.m, 0, RIG_MOVABLE);
	from = pfns[0] & ~(uint64_t)(PB - 1);
	for (i = 0; i < 32; i++)
		CHECK_EQ(pm_free(rig.m, 0, pfns[i], 0), PM_OK);
	CHECK(rig_pcp(rig.m, 0, 0).count > 0);
	request = range_request(PM_RANGE_ISOLATE, from, from + PB);
	/* Frames that a caller holds cannot move. */
	CHECK_EQ(range_do(rig.m, &request, &info), PM_ERR_BUSY);
	for (; i < 63; i++)
		CHECK_EQ(pm_free(rig.m, 1, pfns[i], 0), PM_OK);
	CHECK_EQ(pm_free(rig.m, 1, pfns[63], 0), PM_OK);
	CHECK_EQ(range_run(rig.m, &request, &info, &range), PM_OK);
	CHECK_EQ(rig_zone(rig.m, 0).nr_isolated, PB);
	for (i = 0; i < 1000; i++) {
		uint64_t pfn = rig_alloc(rig.m, 0, RIG_MOVABLE);

		CHECK(pfn < from || pfn >= from + PB);
		CHECK_EQ(pm_free(rig.m, 0, pfn, 0), PM_OK);
	}
	CHECK_EQ(pm_range_end(rig.m, 0, range), PM_OK);
	CHECK_EQ(rig_zone(rig.m, 0).nr_isolated, 0);
	space_rig_end(&rig);
}

static void an_unmovable_frame_is_named(void)
{
	struct stage s = open_stage(100);
	struct pm_range_request request;
	struct pm_obstacle obstacles[4];
	struct pm_range_info info;
	struct picture before;
	uint64_t owner, range, pfn, kind;
	uint32_t number;
	size_t n;

	REQUIRE(pm_owner_create(s.m, PM_OWNER_UNMOVABLE, &owner) == PM_OK);
	REQUIRE(pm_owner_alloc(s.m, 0, owner, 2, PM_GFP_KERNEL, &number) == PM_OK);
	REQUIRE(pm_owner_frame(s.m, 0, owner, number, &pfn) == PM_OK);
	before = picture_take(s.m);
	for (kind = PM_RANGE_ISOLATE; kind <= PM_RANGE_OFFLINE; kind++) {
		request = range_request((uint32_t)kind, 0, FRAMES);
		CHECK_EQ(range_run(s.m, &request, &info, &range), PM_ERR_BUSY);
		CHECK_EQ(info.moved, 0);
		REQUIRE(pm_range_obstacles(s.m, range, 4, obstacles, &n) == PM_OK);
		CHECK_EQ(n, 1);
		CHECK_EQ(obstacles[0].pfn, pfn);
		CHECK_EQ(obstacles[0].nr, 4);
		CHECK_EQ(obstacles[0].reason, PM_WHY_NOT_MOVABLE);
		CHECK_EQ(pm_range_run(s.m, 0, range, &info), PM_ERR_STATE);
		CHECK_EQ(pm_range_end(s.m, 0, range), PM_OK);
		CHECK_EQ(pm_range_end(s.m, 0, range), PM_ERR_HANDLE);
	}
	picture_compare(s.m, &before);
	CHECK_EQ(pm_owner_destroy(s.m, 0, owner), PM_OK);
	close_stage(&s);
}

static void what_is_isolated_already_is_left_alone(void)
{
	struct stage s = open_stage(0);
	struct pm_range_request request = range_request(PM_RANGE_ISOLATE, 0, 8 * PB);
	struct picture before;
	struct pm_range_info info;

	CHECK_EQ(pm_set_isolated(s.m, 5 * PB, true), PM_OK);
	before = picture_take(s.m);
	CHECK_EQ(range_do(s.m, &request, &info), PM_ERR_BUSY);
	CHECK_EQ(info.nr_obstacles, 1);
	picture_compare(s.m, &before);
	CHECK_EQ(pm_set_isolated(s.m, 5 * PB, false), PM_OK);
	close_stage(&s);
}

/* ---- take ---- */

static void any_range_of_moved_pages_can_be_taken(void)
{
	static const uint64_t ranges[][2] = { { 0, PB }, { 3, 4 }, { 1, 3 * PB - 1 }, { PB / 2, PB / 2 + 1 }, { 2 * PB, 7 * PB }, { PB - 1, PB + 1 } };
	unsigned int i;

	for (i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		struct stage s = open_stage(8 * PB);
		struct pm_range_request request = range_request(PM_RANGE_TAKE, ranges[i][0], ranges[i][1]);
		uint64_t nr = ranges[i][1] - ranges[i][0], pfn, free = space_free_frames(s.m);
		struct pm_range_info info;

		CHECK_EQ(range_do(s.m, &request, &info), PM_OK);
		CHECK_EQ(info.start, ranges[i][0]);
		for (pfn = ranges[i][0]; pfn < ranges[i][1]; pfn++)
			CHECK_EQ(rig_frame(s.m, pfn).state, PM_STATE_USED);
		CHECK_EQ(space_free_frames(s.m), free - nr);
		CHECK_EQ(rig_zone(s.m, 0).nr_isolated, 0);
		check_bytes(&s);
		CHECK(rig_valid(s.m));
		range_free(s.m, ranges[i][0], nr);
		CHECK_EQ(space_free_frames(s.m), free);
		close_stage(&s);
	}
}

/// A page that is pinned keeps the range from being taken; all else is as it was, to the frame.
static void a_failed_take_leaves_no_trace(void)
{
	struct stage s = open_stage(6 * PB);
	uint64_t pinned = frame_of_page(&s, 2 * PB + 77), first = pinned & ~(uint64_t)(PB - 1), pin, pfn, range;
	struct pm_range_request request = range_request(PM_RANGE_TAKE, first, first + PB);
	struct pm_obstacle obstacle;
	struct pm_range_info info;
	struct picture before;
	size_t n;

	REQUIRE(pm_pin(s.m, 0, s.space, s.addr + (2 * PB + 77) * PAGE, PM_PIN_LONG, true, &pfn, &pin) == PM_OK);
	before = picture_take(s.m);
	/* Noticed before anything moves. */
	CHECK_EQ(range_run(s.m, &request, &info, &range), PM_ERR_BUSY);
	CHECK_EQ(info.moved, 0);
	REQUIRE(pm_range_obstacles(s.m, range, 1, &obstacle, &n) == PM_OK);
	CHECK(n == 1 && obstacle.pfn == pinned && obstacle.reason == PM_WHY_PINNED);
	CHECK_EQ(pm_range_end(s.m, 0, range), PM_OK);
	picture_compare(s.m, &before);
	CHECK_EQ(pm_unpin(s.m, 0, pin), PM_OK);
	CHECK_EQ(range_do(s.m, &request, &info), PM_OK);
	range_free(s.m, first, PB);
	close_stage(&s);
}

/// Too little memory elsewhere: half of it moves, then comes back.
static void without_room_everything_comes_back(void)
{
	struct stage s = open_stage(12 * PB);
	struct pm_range_request request = range_request(PM_RANGE_TAKE, 0, 8 * PB);
	struct picture before = picture_take(s.m);
	struct pm_range_info info;
	uint64_t range;

	CHECK_EQ(range_run(s.m, &request, &info, &range), PM_ERR_WATERMARK);
	CHECK(info.moved > PB);
	CHECK_EQ(info.put_back, info.moved);
	CHECK_EQ(pm_range_end(s.m, 0, range), PM_OK);
	picture_compare(s.m, &before);
	/* Unless that is not wanted. */
	request.flags = PM_RANGE_KEEP_MOVES;
	CHECK_EQ(range_do(s.m, &request, &info), PM_ERR_WATERMARK);
	CHECK(info.moved > PB);
	CHECK_EQ(info.put_back, 0);
	close_stage(&s);
}

static void the_search_takes_the_cheapest(void)
{
	struct stage s = open_stage(10 * PB + 100);
	struct pm_range_request request = range_search(2 * PB, PB, 0, UINT64_MAX);
	struct pm_range_info info;
	uint64_t i, range;

	/* Pages at the far end stay, the others go but for a few in each pageblock, fewest in the fourth and fifth. */
	for (i = 0; i < 10 * PB; i++) {
		uint64_t pfn = frame_of_page(&s, i), keep = pfn / PB == 3 || pfn / PB == 4 ? 2 : 50;

		if (pfn % PB >= keep)
			CHECK_EQ(pm_unmap(s.m, 0, s.space, s.addr + i * PAGE, PAGE), PM_OK);
	}
	/* All that is free otherwise is taken. */
	request.end = 9 * PB;
	CHECK_EQ(range_run(s.m, &request, &info, &range), PM_OK);
	CHECK_EQ(info.start, 3 * PB);
	CHECK_EQ(info.end, 5 * PB);
	CHECK_EQ(info.moved, 4);
	CHECK_EQ(pm_range_end(s.m, 0, range), PM_OK);
	range_free(s.m, info.start, 2 * PB);
	s.pages = 0;
	close_stage(&s);
}

/// Short, long, odd: as long and aligned as was asked, and inside the window.
static void the_search_keeps_to_length_and_alignment(void)
{
	static const uint64_t wants[][2] = { { 1, 0 }, { 3, 1 }, { 7, 64 }, { 100, 0 }, { PB, 0 }, { PB + 1, 2 * PB }, { 3 * PB, PB }, { 4 * PB, 0 } };
	struct stage s = open_stage(4 * PB);
	struct pm_range_info info;
	unsigned int i;

	for (i = 0; i < sizeof(wants) / sizeof(wants[0]); i++) {
		struct pm_range_request request = range_search(wants[i][0], wants[i][1], 5, 15 * PB + 3);
		uint64_t align = wants[i][1] ? wants[i][1] : wants[i][0] & -wants[i][0];

		CHECK_EQ(range_do(s.m, &request, &info), PM_OK);
		CHECK_EQ(info.end - info.start, wants[i][0]);
		CHECK_EQ(info.start % align, 0);
		CHECK(info.start >= 5 && info.end <= 15 * PB + 3);
		CHECK_EQ(rig_frame(s.m, info.start).state, PM_STATE_USED);
		range_free(s.m, info.start, wants[i][0]);
	}
	CHECK_EQ(range_do(s.m, &(struct pm_range_request){ .kind = PM_RANGE_TAKE, .flags = PM_RANGE_SEARCH, .end = 4 * PB, .nr = 5 * PB, .candidates = 1 }, &info), PM_ERR_NO_BLOCK);
	close_stage(&s);
}

/// What a huge page of 1 GiB needs.
static void a_gibibyte_in_one_piece(void)
{
	enum { GIB = (1 << 30) / PM_PAGE_SIZE };
	struct space_rig_options options = space_options();
	struct pm_range_request request = range_search(GIB, 0, 0, UINT64_MAX);
	struct pm_range_info info;
	struct space_rig rig;
	uint64_t space, addr, i, done;

	options.nr_frames = 3 * GIB;
	rig = space_rig_make(&options);
	range_rig_prime(&rig);
	space = space_make(rig.m);
	/* Every sixteenth frame of all of it is in use, so no gibibyte is free. */
	addr = space_map(rig.m, space, 3 * GIB - GIB / 8);
	REQUIRE(pm_touch(rig.m, 0, space, addr, (3 * GIB - GIB / 8) * (uint64_t)PAGE, true, &done) == PM_OK);
	for (i = 0; i < 3 * GIB - GIB / 8; i += 16)
		CHECK_EQ(pm_unmap(rig.m, 0, space, addr + i * PAGE, 15 * PAGE), PM_OK);
	CHECK_EQ(range_do(rig.m, &request, &info), PM_OK);
	CHECK_EQ(info.start % GIB, 0);
	CHECK_EQ(info.end - info.start, GIB);
	/* Where the untouched eighth is, fewer have to go. */
	CHECK(info.moved >= (uint64_t)GIB / 16 - GIB / 128 && info.moved <= (uint64_t)GIB / 16);
	CHECK(rig_valid(rig.m));
	range_free(rig.m, info.start, GIB);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

/* ---- offline, online ---- */

static void blocks_go_offline_and_come_back(void)
{
	struct stage s = open_stage(6 * PB);
	struct pm_range_request request = range_request(PM_RANGE_OFFLINE, 0, 4 * PB);
	struct pm_zone_info before = rig_zone(s.m, 0), after;
	struct pm_range_info info;
	uint64_t pfn;

	CHECK_EQ(range_do(s.m, &request, &info), PM_OK);
	CHECK_EQ(info.moved, 4 * PB);
	after = rig_zone(s.m, 0);
	CHECK_EQ(after.managed, before.managed - 4 * PB);
	CHECK_EQ(after.present, before.present - 4 * PB);
	CHECK_EQ(after.nr_free, before.nr_free - 4 * PB);
	CHECK_EQ(after.nr_isolated, 0);
	CHECK(rig_valid(s.m));
	check_bytes(&s);
	for (pfn = 0; pfn < 4 * PB; pfn += PB / 4)
		CHECK_EQ(rig_frame(s.m, pfn).state, PM_STATE_OFFLINE);
	CHECK_EQ(pm_take(s.m, 0, 0, PM_MT_MOVABLE), PM_ERR_BUSY);
	CHECK_EQ(pm_set_isolated(s.m, 0, false), PM_ERR_RANGE);
	CHECK_EQ(pm_free(s.m, 0, 0, 0), PM_ERR_ORDER);
	{
		uint64_t range;

		CHECK_EQ(pm_range_begin(s.m, &request, &range), PM_ERR_RANGE);
	}
	CHECK_EQ(pm_range_online(s.m, 3 * PB, 5 * PB), PM_ERR_STATE);
	CHECK_EQ(pm_range_online(s.m, 2 * PB, 4 * PB), PM_OK);
	CHECK(rig_valid(s.m));
	CHECK_EQ(pm_range_online(s.m, 0, 2 * PB), PM_OK);
	after = rig_zone(s.m, 0);
	zones_equal(&after, &before);
	close_stage(&s);
}

/// A zone goes as a whole: its pages move to the other, and the marks follow both zones' sizes.
static void a_zone_goes_offline(void)
{
	struct pm_zone_layout zones[2] = { { PM_ZONE_NORMAL, 0, 64 * PB }, { PM_ZONE_MOVABLE, 64 * PB, 64 * PB } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 2 };
	struct pm_range_request request = range_request(PM_RANGE_OFFLINE, 64 * PB, 128 * PB);
	struct pm_zone_info normal, movable, info;
	struct pm_memory_options options;
	struct pm_range_info range;
	struct pm_pcp_info pcp;
	struct pm_machine *m;
	uint64_t space, addr, done, sum = PM_CHECKSUM_START, again = PM_CHECKSUM_START;
	size_t n;

	pm_settings_default(&layout.settings);
	m = rig_create(&layout);
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_PRIVATE;
	REQUIRE(pm_memory_enable(m, &options) == PM_OK);
	space = space_make(m);
	addr = space_map(m, space, 20 * PB);
	for (done = 0; done < 20 * PB; done++)
		space_put(m, space, addr + done * PAGE, (uint8_t)done);
	REQUIRE(pm_checksum(m, 0, space, addr, 20 * PB * PAGE, &sum, &n) == PM_OK);
	normal = rig_zone(m, 0);
	movable = rig_zone(m, 1);
	pcp = rig_pcp(m, 0, 1);
	CHECK_EQ(range_do(m, &request, &range), PM_OK);
	CHECK_EQ(range.moved, 20 * PB);
	info = rig_zone(m, 1);
	CHECK_EQ(info.managed, 0);
	CHECK_EQ(info.present, 0);
	CHECK_EQ(info.nr_free + info.nr_pcp + info.nr_isolated, 0);
	/* The Normal zone keeps nothing back any more for a zone above it. */
	CHECK(normal.lowmem_reserve[PM_ZONE_MOVABLE] > 0);
	CHECK_EQ(rig_zone(m, 0).lowmem_reserve[PM_ZONE_MOVABLE], 0);
	CHECK(rig_pcp(m, 0, 1).high_max < pcp.high_max);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_range_online(m, 64 * PB, 128 * PB), PM_OK);
	info = rig_zone(m, 1);
	CHECK_EQ(info.managed, movable.managed);
	CHECK(!memcmp(info.wmark, movable.wmark, sizeof(info.wmark)));
	CHECK_EQ(rig_zone(m, 0).lowmem_reserve[PM_ZONE_MOVABLE], normal.lowmem_reserve[PM_ZONE_MOVABLE]);
	REQUIRE(pm_checksum(m, 0, space, addr, 20 * PB * PAGE, &again, &n) == PM_OK);
	CHECK(sum == again);
	rig_destroy(m);
}

/* ---- whoever asks for nonsense ---- */

static void bad_requests_are_refused(void)
{
	struct stage s = open_stage(10);
	struct pm_range_request good = range_request(PM_RANGE_TAKE, 0, PB), search = range_search(8, 0, 0, FRAMES), bad;
	struct pm_range_info info;
	uint64_t range;

#define REFUSED(from, change, status)                                 \
	do {                                                          \
		bad = from;                                           \
		bad.change;                                           \
		CHECK_EQ(pm_range_begin(s.m, &bad, &range), status);  \
	} while (0)
	REFUSED(good, kind = 3, PM_ERR_INVAL);
	REFUSED(good, flags = 4, PM_ERR_INVAL);
	REFUSED(good, mode = 3, PM_ERR_INVAL);
	REFUSED(good, protocol = 77, PM_ERR_INVAL);
	REFUSED(good, migratetype = PM_MT_ISOLATE, PM_ERR_INVAL);
	REFUSED(good, end = 0, PM_ERR_INVAL);
	REFUSED(good, end = FRAMES + 1, PM_ERR_RANGE);
	REFUSED(good, start = UINT64_MAX - 1, PM_ERR_INVAL);
	REFUSED(search, nr = 0, PM_ERR_INVAL);
	REFUSED(search, nr = UINT64_MAX, PM_ERR_INVAL);
	REFUSED(search, align = 3, PM_ERR_INVAL);
	REFUSED(search, candidates = 65, PM_ERR_INVAL);
	REFUSED(search, kind = PM_RANGE_OFFLINE, PM_ERR_INVAL);
	bad = range_request(PM_RANGE_OFFLINE, 0, PB - 1);
	CHECK_EQ(pm_range_begin(s.m, &bad, &range), PM_ERR_INVAL);
	CHECK_EQ(pm_range_run(s.m, 0, 12345, &info), PM_ERR_HANDLE);
	CHECK_EQ(pm_range_cancel(s.m, 12345), PM_ERR_HANDLE);
	CHECK_EQ(pm_range_online(s.m, 0, PB), PM_ERR_STATE);
	CHECK_EQ(pm_range_online(s.m, 0, PB + 1), PM_ERR_RANGE);
	CHECK_EQ(pm_range_online(s.m, 5 * FRAMES, 6 * FRAMES), PM_ERR_RANGE);
	CHECK_EQ(pm_range_free(s.m, 0, FRAMES - 1, UINT64_MAX, &range), PM_ERR_RANGE);
	close_stage(&s);
}

int main(void)
{
	RUN(nothing_is_allocated_in_an_isolated_range);
	RUN(per_cpu_lists_keep_nothing_of_it);
	RUN(an_unmovable_frame_is_named);
	RUN(what_is_isolated_already_is_left_alone);
	RUN(any_range_of_moved_pages_can_be_taken);
	RUN(a_failed_take_leaves_no_trace);
	RUN(without_room_everything_comes_back);
	RUN(the_search_takes_the_cheapest);
	RUN(the_search_keeps_to_length_and_alignment);
	RUN(a_gibibyte_in_one_piece);
	RUN(blocks_go_offline_and_come_back);
	RUN(a_zone_goes_offline);
	RUN(bad_requests_are_refused);
	return check_result();
}
