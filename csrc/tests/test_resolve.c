/// The normalising pass: which allocation each event names, on event lists small enough to follow by hand.
#include <string.h>

#include "check.h"
#include "pymigrate.h"

enum { MAX_EVENTS = 32, NO_ID = -1 };

/// Events in columns, built one by one; the time is the event's number unless `at` is set.
struct list {
	struct pm_events ev;
	uint64_t time_ns[MAX_EVENTS];
	uint32_t tid[MAX_EVENTS], pfn[MAX_EVENTS], gfp[MAX_EVENTS], arg0[MAX_EVENTS], arg1[MAX_EVENTS], arg2[MAX_EVENTS];
	uint16_t cpu[MAX_EVENTS];
	uint8_t kind[MAX_EVENTS];
	int8_t order[MAX_EVENTS], migratetype[MAX_EVENTS];
	uint32_t allocation[MAX_EVENTS];
	uint8_t resolution[MAX_EVENTS];
	struct pm_resolve_input in;
	struct pm_resolve_stats stats;
	uint32_t initial_pfn[MAX_EVENTS];
	int8_t initial_order[MAX_EVENTS];
	size_t nr_initial;
};

static struct list *fresh(void)
{
	static struct list list;

	memset(&list, 0, sizeof(list));
	return &list;
}

static void add(struct list *l, uint8_t kind, uint32_t tid, uint32_t pfn, int8_t order)
{
	size_t i = l->ev.n++;

	REQUIRE(i < MAX_EVENTS);
	l->time_ns[i] = 1000 + i;
	l->kind[i] = kind;
	l->tid[i] = tid;
	l->pfn[i] = pfn;
	l->order[i] = order;
}

static void add_args(struct list *l, uint8_t kind, uint32_t tid, uint32_t pfn, uint32_t arg0, uint32_t arg2)
{
	add(l, kind, tid, pfn, 0);
	l->arg0[l->ev.n - 1] = arg0;
	l->arg2[l->ev.n - 1] = arg2;
}

static enum pm_status resolve(struct list *l)
{
	struct pm_resolve *r;
	const uint32_t *pfn;
	const int8_t *order;
	enum pm_status status;

	l->ev.time_ns = l->time_ns;
	l->ev.tid = l->tid;
	l->ev.pfn = l->pfn;
	l->ev.gfp = l->gfp;
	l->ev.cpu = l->cpu;
	l->ev.kind = l->kind;
	l->ev.order = l->order;
	l->ev.migratetype = l->migratetype;
	l->ev.arg0 = l->arg0;
	l->ev.arg1 = l->arg1;
	l->ev.arg2 = l->arg2;
	l->in.events = &l->ev;
	status = pm_resolve_allocations(&l->in, l->allocation, l->resolution, &r);
	if (status != PM_OK)
		return status;
	pm_resolve_stats(r, &l->stats);
	l->nr_initial = pm_resolve_initial(r, &pfn, &order);
	REQUIRE(l->nr_initial <= MAX_EVENTS);
	if (l->nr_initial != 0) {
		memcpy(l->initial_pfn, pfn, l->nr_initial * sizeof(*pfn));
		memcpy(l->initial_order, order, l->nr_initial);
	}
	pm_resolve_destroy(r);
	return status;
}

static void expect(const struct list *l, size_t i, int64_t id, enum pm_resolution resolution)
{
	if (!CHECK_EQ(l->resolution[i], resolution) || !CHECK_EQ(l->allocation[i], id == NO_ID ? PM_NO_PFN32 : (uint32_t)id))
		fprintf(stderr, "  event %zu\n", i);
}

static void alloc_and_free(void)
{
	struct list *l = fresh();

	add(l, PM_EV_ALLOC, 1, 8, 0);
	add(l, PM_EV_ALLOC, 1, 16, 2);
	add(l, PM_EV_FREE, 1, 8, 0);
	add(l, PM_EV_FREE_BATCHED, 1, 8, 0);
	add(l, PM_EV_ALLOC, 1, 8, 0);
	add(l, PM_EV_FREE, 1, 16, 2);
	add(l, PM_EV_ALLOC, 1, PM_NO_PFN32, 9);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 0, 0, PM_RES_NEW);
	expect(l, 1, 1, PM_RES_NEW);
	expect(l, 2, 0, PM_RES_FREED);
	expect(l, 3, NO_ID, PM_RES_NONE);
	expect(l, 4, 2, PM_RES_NEW);
	expect(l, 5, 1, PM_RES_FREED);
	expect(l, 6, NO_ID, PM_RES_ALLOC_FAILED);
	CHECK_EQ(l->stats.allocations, 3);
}

static void freed_in_pieces(void)
{
	struct list *l = fresh();

	add(l, PM_EV_ALLOC, 1, 16, 2);
	add(l, PM_EV_FREE, 1, 17, 0);
	add(l, PM_EV_FREE, 1, 18, 1);
	add(l, PM_EV_FREE, 1, 16, 0);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 1, 0, PM_RES_FREED_PIECE);
	expect(l, 2, 0, PM_RES_FREED_PIECE);
	expect(l, 3, 0, PM_RES_FREED);
	CHECK_EQ(l->stats.split_allocations, 1);
}

static void older_than_the_recording(void)
{
	struct list *l = fresh();

	add(l, PM_EV_FREE, 1, 32, 3);
	add(l, PM_EV_ALLOC, 1, 32, 0);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 0, 1, PM_RES_FREED_INITIAL);
	expect(l, 1, 0, PM_RES_NEW);
	REQUIRE(l->nr_initial == 1);
	CHECK_EQ(l->initial_pfn[0], 32);
	CHECK_EQ(l->initial_order[0], 3);
}

static void counts_contradictions(void)
{
	struct list *l = fresh();

	add(l, PM_EV_ALLOC, 1, 8, 0);
	add(l, PM_EV_ALLOC, 1, 8, 0);
	add(l, PM_EV_FREE, 1, 8, 0);
	add(l, PM_EV_FREE, 1, 8, 0);
	add(l, PM_EV_ALLOC, 1, 16, 0);
	add(l, PM_EV_FREE, 1, 16, 1);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 1, 1, PM_RES_ALLOC_OF_OWNED);
	expect(l, 2, 1, PM_RES_FREED);
	expect(l, 3, NO_ID, PM_RES_UNSEEN_ALLOC);
	expect(l, 5, 2, PM_RES_ORDER_MISMATCH);
}

static void a_drain_shows_an_unseen_free(void)
{
	struct list *l = fresh();

	add(l, PM_EV_ALLOC, 1, 8, 0);
	add(l, PM_EV_PCPU_DRAIN, 1, 8, 0);
	add(l, PM_EV_ALLOC, 1, 8, 0);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 2, 1, PM_RES_NEW);
	CHECK_EQ(l->stats.unseen_frees, 1);
}

static void migration_carries_the_allocation(void)
{
	struct list *l = fresh();

	add(l, PM_EV_ALLOC, 1, 8, 0);
	/* Another task at the same address; a failed move; the move; the free of the source; the free by the owner. */
	add_args(l, PM_EV_SET_MIGRATION_PTE, 8, 40, 5, 0);
	add_args(l, PM_EV_SET_MIGRATION_PTE, 7, 8, 5, 0);
	add_args(l, PM_EV_REMOVE_MIGRATION_PTE, 8, 40, 5, 0);
	add_args(l, PM_EV_REMOVE_MIGRATION_PTE, 7, 64, 5, 0);
	add(l, PM_EV_FREE, 7, 8, 0);
	add(l, PM_EV_FREE, 1, 64, 0);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 5, NO_ID, PM_RES_MIGRATION_SOURCE);
	expect(l, 6, 0, PM_RES_FREED);
	CHECK_EQ(l->stats.migrations, 1);
	CHECK_EQ(l->stats.migrations_failed, 1);
}

static void migration_of_an_old_frame(void)
{
	struct list *l = fresh();

	add_args(l, PM_EV_SET_MIGRATION_PTE, 7, 8, 5, 0);
	add_args(l, PM_EV_REMOVE_MIGRATION_PTE, 7, 64, 5, 0);
	add(l, PM_EV_FREE, 7, 8, 0);
	add(l, PM_EV_FREE, 1, 64, 0);
	add_args(l, PM_EV_REMOVE_MIGRATION_PTE, 7, 65, 5, 0);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 2, NO_ID, PM_RES_MIGRATION_SOURCE);
	expect(l, 3, 0, PM_RES_FREED_INITIAL);
	REQUIRE(l->nr_initial == 1);
	/* Where it lay at the start, which is what the snapshot shows. */
	CHECK_EQ(l->initial_pfn[0], 8);
	CHECK_EQ(l->stats.migrations_unpaired, 1);
}

static void a_silent_move_floats_until_its_free(void)
{
	struct list *l = fresh();

	add(l, PM_EV_ALLOC, 1, 8, 0);
	add(l, PM_EV_ALLOC, 1, 64, 0);
	add(l, PM_EV_FREE, 1, 64, 0);
	add(l, PM_EV_PCPU_DRAIN, 1, 64, 0);
	add(l, PM_EV_COMPACT_BEGIN, 7, 0, 0);
	add_args(l, PM_EV_ISOLATE_MIGRATE, 7, 0, 32, 1);
	add(l, PM_EV_FREE, 7, 8, 0);
	add_args(l, PM_EV_MIGRATE_PAGES, 7, 0, 1, 0);
	add(l, PM_EV_FREE, 7, 65, 0);
	l->in.n_frames = 0;
	add(l, PM_EV_COMPACT_END, 7, 0, 0);
	add(l, PM_EV_FREE, 1, 64, 0);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 6, NO_ID, PM_RES_MIGRATION_SOURCE);
	expect(l, 10, 0, PM_RES_FREED_MOVED);
	CHECK_EQ(l->stats.migrate_batches, 1);
	CHECK_EQ(l->stats.migrate_batches_agree, 1);
	CHECK_EQ(l->stats.silent_moves, 1);
	CHECK_EQ(l->stats.silent_found, 1);
}

/// Two blocks left their frames, in two zones. Compaction moves within a zone: a frame of the second zone holds the second, although the first
/// has floated longer.
static void a_silent_move_stays_in_its_zone(void)
{
	struct list *l = fresh();
	uint32_t zone;

	add(l, PM_EV_ALLOC, 1, 8, 0);
	add(l, PM_EV_ALLOC, 1, 1032, 0);
	add(l, PM_EV_ALLOC, 1, 1064, 0);
	add(l, PM_EV_FREE, 1, 1064, 0);
	add(l, PM_EV_PCPU_DRAIN, 1, 1064, 0);
	for (zone = 0; zone < 2; zone++) {
		add(l, PM_EV_COMPACT_BEGIN, 7, 0, 0);
		l->arg1[l->ev.n - 1] = 1024 * zone;
		add_args(l, PM_EV_ISOLATE_MIGRATE, 7, 1024 * zone, 1024 * zone + 32, 1);
		add(l, PM_EV_FREE, 7, 1024 * zone + 8, 0);
		add_args(l, PM_EV_MIGRATE_PAGES, 7, 0, 1, 0);
		add(l, PM_EV_COMPACT_END, 7, 0, 0);
	}
	add(l, PM_EV_FREE, 1, 1064, 0);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 15, 1, PM_RES_FREED_MOVED);
}

static void a_silent_move_between_two_told_ones(void)
{
	struct list *l = fresh();

	add(l, PM_EV_ALLOC, 1, 9, 0);
	add_args(l, PM_EV_ISOLATE_MIGRATE, 7, 0, 32, 3);
	add_args(l, PM_EV_SET_MIGRATION_PTE, 7, 8, 5, 0);
	add_args(l, PM_EV_SET_MIGRATION_PTE, 7, 10, 6, 0);
	add_args(l, PM_EV_REMOVE_MIGRATION_PTE, 7, 64, 5, 0);
	add(l, PM_EV_FREE, 7, 8, 0);
	add(l, PM_EV_FREE, 7, 9, 0);
	add_args(l, PM_EV_REMOVE_MIGRATION_PTE, 7, 66, 6, 0);
	add(l, PM_EV_FREE, 7, 10, 0);
	add_args(l, PM_EV_MIGRATE_PAGES, 7, 0, 3, 0);
	add(l, PM_EV_FREE, 1, 65, 0);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 10, 0, PM_RES_FREED);
	CHECK_EQ(l->stats.silent_settled, 1);
}

static void compaction_gives_back(void)
{
	struct list *l = fresh();
	uint32_t flags[64] = { 0 };

	flags[40] = 1u << 10;
	l->in.frame_flags = flags;
	l->in.n_frames = 64;
	add(l, PM_EV_COMPACT_BEGIN, 7, 0, 0);
	add(l, PM_EV_FREE, 7, 40, 0);
	add(l, PM_EV_COMPACT_END, 7, 0, 0);
	add(l, PM_EV_FREE, 7, 40, 0);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 1, NO_ID, PM_RES_COMPACTION_RETURN);
	expect(l, 3, NO_ID, PM_RES_FREE_OF_FREE);
}

static void what_the_snapshot_already_shows(void)
{
	struct list *l = fresh();
	static const uint32_t first[] = { 0, 32 };
	static const uint64_t begin[] = { 1000, 1002 }, end[] = { 1001, 1003 };
	uint32_t flags[64] = { 0 };

	flags[63] = 1u << 10;
	l->in.frame_flags = flags;
	l->in.n_frames = 64;
	l->in.n_chunks = 2;
	l->in.chunk_first_pfn = first;
	l->in.chunk_begin_ns = begin;
	l->in.chunk_end_ns = end;
	add(l, PM_EV_ALLOC, 1, 8, 0);
	add(l, PM_EV_ALLOC, 1, 40, 0);
	add(l, PM_EV_ALLOC, 1, 9, 0);
	add(l, PM_EV_FREE, 1, 63, 0);
	add(l, PM_EV_FREE, 1, 40, 0);
	CHECK_EQ(resolve(l), PM_OK);
	expect(l, 0, NO_ID, PM_RES_BEFORE_START);
	expect(l, 1, NO_ID, PM_RES_BEFORE_START);
	expect(l, 2, 0, PM_RES_NEW);
	/* Within the time of reading its chunk, and found free: freed before. */
	expect(l, 3, NO_ID, PM_RES_BEFORE_START);
	/* Its ALLOC is older than the snapshot, so it was there at the start. */
	expect(l, 4, 1, PM_RES_FREED_INITIAL);
}

static void refuses_what_is_too_large(void)
{
	struct list *l = fresh();

	add(l, PM_EV_ALLOC, 1, 0x80000000u, 0);
	CHECK_EQ(resolve(l), PM_ERR_LIMIT);
	l = fresh();
	add(l, PM_EV_ALLOC, 1, 8, 11);
	CHECK_EQ(resolve(l), PM_ERR_INVAL);
	pm_resolve_destroy(NULL);
}

int main(void)
{
	RUN(alloc_and_free);
	RUN(freed_in_pieces);
	RUN(older_than_the_recording);
	RUN(counts_contradictions);
	RUN(a_drain_shows_an_unseen_free);
	RUN(migration_carries_the_allocation);
	RUN(migration_of_an_old_frame);
	RUN(a_silent_move_floats_until_its_free);
	RUN(a_silent_move_stays_in_its_zone);
	RUN(a_silent_move_between_two_told_ones);
	RUN(compaction_gives_back);
	RUN(what_the_snapshot_already_shows);
	RUN(refuses_what_is_too_large);
	return check_result();
}
