/// Translation for simulators: first touch, huge pages and how they break up, and that equal calls give equal frames.
#include <pthread.h>
#include <string.h>

#include "tests/check.h"
#include "tests/draw.h"
#include "tests/space_rig.h"

enum { HUGE_PAGES = 1 << PM_HUGE_ORDER };
#define HUGE ((uint64_t)HUGE_PAGES * PAGE)

static struct pm_translation translate(struct pm_machine *m, uint64_t space, uint64_t addr, uint32_t flags)
{
	struct pm_translation t = { .pfn = UINT64_MAX };

	REQUIRE(pm_translate(m, 0, space, addr, flags, &t) == PM_OK);
	return t;
}

static struct space_rig make_with(uint64_t nr_frames, bool pcp, uint64_t swap)
{
	struct space_rig_options o = space_options();
	struct pm_migrate_request nothing = { .n = 0 };
	struct space_rig rig;
	size_t moved;

	o.nr_frames = nr_frames;
	o.pcp = pcp;
	o.swap = swap;
	rig = space_rig_make(&o);
	/* What migration keeps until the machine goes. */
	REQUIRE(pm_migrate(rig.m, 0, &nothing, NULL, &moved) == PM_OK);
	rig.pieces = space_pieces(rig.m);
	return rig;
}

static struct space_rig make(uint64_t nr_frames, bool pcp)
{
	return make_with(nr_frames, pcp, 256);
}

static void a_first_touch_takes_a_huge_page(void)
{
	struct space_rig rig = make(4096, false);
	uint64_t space = space_make(rig.m), addr = 0x7f1234567000, at;
	struct pm_translation first, t;

	/* Beyond the address space, as a pointer of the host would be: said so, not wrapped around. */
	CHECK_EQ(pm_translate(rig.m, 0, space, addr, 0, &first), PM_ERR_FAULT);
	addr = 0x71234567000;
	first = translate(rig.m, space, addr, 0);
	CHECK_EQ(first.kind, PM_TRANSLATED_TOUCH);
	CHECK_EQ(first.order, PM_HUGE_ORDER);
	for (at = addr & ~(HUGE - 1); at < (addr & ~(HUGE - 1)) + HUGE; at += PAGE) {
		t = translate(rig.m, space, at + 5, 0);
		CHECK_EQ(t.kind, PM_TRANSLATED_HIT);
		CHECK_EQ(t.order, PM_HUGE_ORDER);
		CHECK_EQ(t.pfn, (first.pfn & ~(uint64_t)(HUGE_PAGES - 1)) + (at / PAGE) % HUGE_PAGES);
	}
	/* It is memory like any other: what is written there is read there, and untouched parts are zero. */
	space_put(rig.m, space, addr, 42);
	CHECK_EQ(space_get(rig.m, space, addr), 42);
	CHECK_EQ(space_get(rig.m, space, addr + 1), 0);
	CHECK_EQ(translate(rig.m, space, addr, PM_TRANSLATE_WRITE).pfn, first.pfn);
	CHECK(rig_valid(rig.m));
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

static void small_pages_where_asked_for_or_no_block_is_free(void)
{
	struct space_rig rig = make(2048, false);
	uint64_t space = space_make(rig.m), held[4], i;
	struct pm_translation t = translate(rig.m, space, HUGE, PM_TRANSLATE_SMALL);

	CHECK_EQ(t.order, 0);
	/* Its neighbours cannot be huge any more: the range has been touched. */
	CHECK_EQ(translate(rig.m, space, HUGE + PAGE, 0).order, 0);
	/* One frame of every pageblock is taken: plenty is free, and no huge page. */
	for (i = 0; i < 4; i++)
		if (pm_take(rig.m, i * HUGE_PAGES + 100, 0, PM_MT_UNMOVABLE) != PM_OK)
			held[i] = UINT64_MAX;
		else
			held[i] = i * HUGE_PAGES + 100;
	t = translate(rig.m, space, 7 * HUGE, 0);
	CHECK_EQ(t.order, 0);
	CHECK_EQ(t.kind, PM_TRANSLATED_TOUCH);
	for (i = 0; i < 4; i++)
		if (held[i] != UINT64_MAX)
			CHECK_EQ(pm_free(rig.m, 0, held[i], 0), PM_OK);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

/// One page goes another way: from then on each page has its own translation, and the others stay where they were.
static void check_broken(struct pm_machine *m, uint64_t space, uint64_t base, uint64_t block, uint64_t changed)
{
	uint64_t i;

	for (i = 0; i < HUGE_PAGES; i++) {
		struct pm_translation t = translate(m, space, base + i * PAGE, PM_TRANSLATE_SMALL);

		CHECK_EQ(t.order, 0);
		if (i == changed)
			CHECK(t.pfn != block + i);
		else
			CHECK_EQ(t.pfn, block + i);
	}
}

static void a_huge_page_breaks_up(void)
{
	struct space_rig rig = make(8192, false);
	uint64_t space = space_make(rig.m), base[5], block[5], child, done, i;
	struct pm_migrate_request request = { .n = 1, .mode = PM_MIGRATE_SYNC };
	struct pm_migrate_result result;
	uint64_t pfns[PM_NR_PROTOCOLS];
	size_t moved;

	for (i = 0; i < 5; i++) {
		base[i] = (4 + i) * HUGE;
		block[i] = translate(rig.m, space, base[i], PM_TRANSLATE_WRITE).pfn;
	}
	pfns[0] = block[0] + 3;
	request.pfns = pfns;
	request.protocol = PM_PROTOCOL_ENTRY;
	CHECK_EQ(pm_migrate(rig.m, 0, &request, &result, &moved), PM_OK);
	CHECK_EQ(result.status, PM_OK);
	check_broken(rig.m, space, base[0], block[0], 3);
	pfns[0] = block[1] + 511;
	request.protocol = PM_PROTOCOL_SWAP_CACHE;
	CHECK_EQ(pm_migrate(rig.m, 0, &request, &result, &moved), PM_OK);
	CHECK_EQ(result.status, PM_OK);
	check_broken(rig.m, space, base[1], block[1], 511);
	pfns[0] = block[2];
	request.protocol = PM_PROTOCOL_TABLE_LOCK;
	CHECK_EQ(pm_migrate(rig.m, 0, &request, &result, &moved), PM_OK);
	CHECK_EQ(result.status, PM_OK);
	check_broken(rig.m, space, base[2], block[2], 0);
	/* Unmapped, and touched anew: a frame is taken, which may be the old one only if it was free. */
	CHECK_EQ(pm_unmap(rig.m, 0, space, base[3] + 7 * PAGE, PAGE), PM_OK);
	CHECK_EQ(translate(rig.m, space, base[3], 0).order, 0);
	CHECK_EQ(translate(rig.m, space, base[3] + 7 * PAGE, 0).kind, PM_TRANSLATED_TOUCH);
	/* A fork shares it; the first write copies one page. */
	child = space_fork(rig.m, space);
	CHECK_EQ(translate(rig.m, child, base[4], 0).pfn, block[4]);
	CHECK_EQ(translate(rig.m, space, base[4] + 9 * PAGE, PM_TRANSLATE_WRITE).kind, PM_TRANSLATED_OTHER);
	check_broken(rig.m, space, base[4], block[4], 9);
	space_exit(rig.m, child);
	/* Paged out, and back. */
	CHECK_EQ(pm_page_out(rig.m, 0, space, base[0], PAGE, &done), PM_OK);
	CHECK_EQ(done, 1);
	CHECK_EQ(translate(rig.m, space, base[0], 0).kind, PM_TRANSLATED_SWAP);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

static void only_what_is_mapped_where_asked_for(void)
{
	struct space_rig rig = make(4096, false);
	uint64_t space = space_make(rig.m), at = space_map_at(rig.m, space, 16 * HUGE, 4, RO, 0, 0);
	struct pm_translation t;
	struct pm_area areas[4];
	size_t n;

	CHECK_EQ(pm_translate(rig.m, 0, space, at + 4 * PAGE, PM_TRANSLATE_MAPPED, &t), PM_ERR_FAULT);
	CHECK_EQ(pm_translate(rig.m, 0, space, at, PM_TRANSLATE_MAPPED, &t), PM_OK);
	CHECK_EQ(pm_translate(rig.m, 0, space, at, PM_TRANSLATE_WRITE, &t), PM_ERR_ACCESS);
	CHECK_EQ(pm_translate(rig.m, 0, space, at, 8, &t), PM_ERR_INVAL);
	/* Around it the first touch maps what is free, and leaves it as it is. */
	CHECK_EQ(pm_translate(rig.m, 0, space, at + 4 * PAGE, PM_TRANSLATE_WRITE, &t), PM_OK);
	CHECK_EQ(pm_translate(rig.m, 0, space, at - 1, PM_TRANSLATE_WRITE, &t), PM_OK);
	REQUIRE(pm_space_areas(rig.m, 0, space, 4, areas, &n) == PM_OK);
	CHECK_EQ(n, 3);
	CHECK_EQ(areas[0].start, 0);
	CHECK_EQ(areas[1].start, at);
	CHECK_EQ(areas[1].prot, RO);
	CHECK_EQ(areas[2].start, at + 4 * PAGE);
	CHECK_EQ(areas[2].end, (uint64_t)1 << 30);
	CHECK_EQ(pm_space_exit(rig.m, 0, space), PM_OK);
	CHECK_EQ(pm_translate(rig.m, 0, space, at, 0, &t), PM_ERR_HANDLE);
	space_rig_end(&rig);
}

/// No two live pages on one frame, whatever the spaces do: a model that only knows who has which frame. Without swap, where a page would lose its own.
static void no_two_pages_share_a_frame(uint64_t seed)
{
	enum { FRAMES = 8192, SPACES = 3, PIECES = 8 };
	struct space_rig rig = make_with(FRAMES, (seed & 1) != 0, 0);
	static uint64_t owner[FRAMES];
	uint64_t space[SPACES], round, i;
	struct draw d;

	draw_init(&d, seed);
	memset(owner, 0, sizeof(owner));
	for (i = 0; i < SPACES; i++)
		space[i] = space_make(rig.m);
	for (round = 0; round < 4000; round++) {
		uint64_t s = draw_below(&d, SPACES), page = draw_below(&d, PIECES * HUGE_PAGES), addr = page * PAGE + draw_below(&d, PAGE);
		uint32_t flags = (draw_once_in(&d, 2) ? PM_TRANSLATE_WRITE : 0u) | (draw_once_in(&d, 8) ? PM_TRANSLATE_SMALL : 0u);
		uint64_t me = 1 + s * PIECES * HUGE_PAGES + page, first, n, j;
		struct pm_translation t;
		enum pm_status status;

		if (draw_once_in(&d, 64)) {
			CHECK_EQ(pm_unmap(rig.m, 0, space[s], page / 64 * 64 * PAGE, (uint64_t)64 * PAGE), PM_OK);
			for (i = 0; i < FRAMES; i++)
				if (owner[i] > s * PIECES * HUGE_PAGES + page / 64 * 64 && owner[i] <= s * PIECES * HUGE_PAGES + page / 64 * 64 + 64)
					owner[i] = 0;
			continue;
		}
		status = pm_translate(rig.m, 0, space[s], addr, flags, &t);
		if (status) {
			CHECK(status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK);
			continue;
		}
		n = (uint64_t)1 << t.order;
		first = t.pfn & ~(n - 1);
		for (j = 0; j < n; j++) {
			uint64_t whose = me - (t.pfn - first) + j;

			if (owner[first + j] && !CHECK_EQ(owner[first + j], whose))
				return;
			owner[first + j] = whose;
		}
	}
	for (i = 0; i < SPACES; i++)
		space_exit(rig.m, space[i]);
	space_rig_end(&rig);
}

/// Equal seeds and calls give equal frames, on every machine this runs on: the hash is part of the test.
static uint64_t hash_of(uint64_t seed)
{
	struct space_rig rig = make(16384, true);
	uint64_t space[2] = { space_make(rig.m), space_make(rig.m) }, hash = PM_CHECKSUM_START, i;
	struct draw d;

	draw_init(&d, seed);
	for (i = 0; i < 6000; i++) {
		uint64_t s = draw_below(&d, 2), addr = draw_below(&d, 24 * HUGE);
		uint32_t cpu = (uint32_t)draw_below(&d, 4), flags = draw_once_in(&d, 3) ? PM_TRANSLATE_SMALL : PM_TRANSLATE_WRITE;
		struct pm_translation t = { 0 };
		uint64_t freed;

		if (draw_once_in(&d, 128))
			CHECK_EQ(pm_unmap(rig.m, 0, space[s], addr & ~(HUGE / 4 - 1), HUGE / 4), PM_OK);
		if (draw_once_in(&d, 256))
			CHECK_EQ(pm_kswapd(rig.m, cpu, 0, &freed), PM_OK);
		if (pm_translate(rig.m, cpu, space[s], addr, flags, &t))
			t.pfn = UINT64_MAX;
		hash = (hash ^ (t.pfn << 8 | t.order << 4 | t.kind)) * 0x100000001b3u;
	}
	space_exit(rig.m, space[0]);
	space_exit(rig.m, space[1]);
	space_rig_end(&rig);
	return hash;
}

static void equal_calls_give_equal_frames(void)
{
	uint64_t hash = hash_of(7);

	CHECK_EQ(hash_of(7), hash);
	CHECK(hash_of(8) != hash);
	CHECK_EQ(hash, 0xda91c6a0a1dbab22u);
}

/* ---- among threads ---- */

enum { THREADS = 3, THREAD_PAGES = 2 * HUGE_PAGES };

struct stage {
	struct pm_machine *m;
	uint64_t space;
	atomic_bool stop;
};

/// Moves whatever it finds.
static void *mover(void *arg)
{
	struct stage *stage = arg;
	struct draw d;

	draw_init(&d, 99);
	while (!atomic_load(&stage->stop)) {
		struct pm_pte_info pte;
		struct pm_migrate_request request = { .n = 1, .mode = PM_MIGRATE_SYNC_LIGHT, .pfns = &pte.pfn };
		struct pm_migrate_result result;
		size_t moved;

		if (pm_lookup(stage->m, THREADS, stage->space, draw_below(&d, THREAD_PAGES) * PAGE, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT)
			CHECK_EQ(pm_migrate(stage->m, THREADS, &request, &result, &moved), PM_OK);
	}
	return NULL;
}

struct toucher {
	struct stage *stage;
	uint32_t cpu;
	pthread_t thread;
};

static void *toucher(void *arg)
{
	struct toucher *self = arg;
	struct draw d;
	uint64_t i;

	draw_init(&d, self->cpu);
	for (i = 0; i < 3000; i++) {
		struct pm_translation t;

		CHECK_EQ(pm_translate(self->stage->m, self->cpu, self->stage->space, draw_below(&d, THREAD_PAGES) * PAGE, PM_TRANSLATE_WRITE, &t), PM_OK);
	}
	return NULL;
}

static void threads_touch_what_others_move(void)
{
	struct space_rig rig = make(8192, true);
	struct stage stage = { .m = rig.m, .space = space_make(rig.m) };
	struct toucher touchers[THREADS];
	pthread_t moving;
	uint32_t i;

	REQUIRE(pthread_create(&moving, NULL, mover, &stage) == 0);
	for (i = 0; i < THREADS; i++) {
		touchers[i] = (struct toucher){ .stage = &stage, .cpu = i };
		REQUIRE(pthread_create(&touchers[i].thread, NULL, toucher, &touchers[i]) == 0);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(touchers[i].thread, NULL);
	atomic_store(&stage.stop, true);
	pthread_join(moving, NULL);
	CHECK(rig_valid(rig.m));
	space_exit(rig.m, stage.space);
	space_rig_end(&rig);
}

int main(int argc, char **argv)
{
	RUN(a_first_touch_takes_a_huge_page);
	RUN(small_pages_where_asked_for_or_no_block_is_free);
	RUN(a_huge_page_breaks_up);
	RUN(only_what_is_mapped_where_asked_for);
	RUN(equal_calls_give_equal_frames);
	RUN(threads_touch_what_others_move);
	if (check_result() != EXIT_SUCCESS)
		return EXIT_FAILURE;
	return draw_run(argc, argv, 8, no_two_pages_share_a_frame);
}
