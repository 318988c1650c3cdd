/// What a hostile or careless caller does: handles that are gone, of another kind or invented; addresses at the edges; lengths of 0 and of everything; calls that
/// race the end of what they use. Each gets its error, and the machine goes on.
#include <pthread.h>

#include "tests/draw.h"
#include "tests/space_rig.h"

enum { THREADS = 4 };
#ifdef PM_TEST_FLAVOUR
enum { ROUNDS = 1500, CALLS = 4000 };
#else
enum { ROUNDS = 15000, CALLS = 60000 };
#endif
#define LIMIT ((uint64_t)1 << PM_VA_BITS)

static void no_owners_no_calls(void)
{
	struct pm_machine *m = rig_one_zone(1024, 2, rig_bare());
	struct pm_page_info page;
	uint64_t ret;

	CHECK_EQ(pm_space_create(m, &ret), PM_ERR_STATE);
	CHECK_EQ(pm_space_exit(m, 0, 1), PM_ERR_STATE);
	CHECK_EQ(pm_owner_create(m, PM_OWNER_UNMOVABLE, &ret), PM_ERR_STATE);
	CHECK_EQ(pm_page_info(m, 0, &page), PM_ERR_STATE);
	CHECK_EQ(pm_unpin(m, 0, 1), PM_ERR_STATE);
	CHECK_EQ(pm_fail_allocations(m, 0, false, &ret), PM_ERR_STATE);
	pm_machine_shut(m);
	rig_destroy(m);
}

/// Every call on a space with this handle.
static void refuses_space(struct pm_machine *m, uint32_t cpu, uint64_t space, enum pm_status want)
{
	struct pm_map_request request = { .length = PAGE, .prot = RW };
	struct pm_area area;
	struct pm_space_info info;
	struct pm_pte_info pte;
	uint64_t ret, sum = PM_CHECKSUM_START, done64;
	uint8_t byte = 0;
	size_t done;
	void *bytes;

	CHECK_EQ(pm_space_fork(m, cpu, space, &ret), want);
	CHECK_EQ(pm_map(m, cpu, space, &request, &ret), want);
	CHECK_EQ(pm_unmap(m, cpu, space, PAGE, PAGE), want);
	CHECK_EQ(pm_protect(m, cpu, space, PAGE, PAGE, RO), want);
	CHECK_EQ(pm_mlock(m, cpu, space, PAGE, PAGE, true), want);
	CHECK_EQ(pm_remap(m, cpu, space, PAGE, PAGE, 2 * PAGE, PM_MAP_MAYMOVE, 0, &ret), want);
	CHECK_EQ(pm_read(m, cpu, space, PAGE, &byte, 1, &done), want);
	CHECK_EQ(pm_write(m, cpu, space, PAGE, &byte, 1, &done), want);
	CHECK_EQ(pm_fill(m, cpu, space, PAGE, 1, 1, &done), want);
	CHECK_EQ(pm_checksum(m, cpu, space, PAGE, 1, &sum, &done), want);
	CHECK_EQ(pm_touch(m, cpu, space, PAGE, 1, false, &done64), want);
	CHECK_EQ(pm_lookup(m, cpu, space, PAGE, &pte), want);
	CHECK_EQ(pm_space_areas(m, cpu, space, 1, &area, &done), want);
	CHECK_EQ(pm_space_info(m, cpu, space, &info), want);
	CHECK_EQ(pm_pin(m, cpu, space, PAGE, PM_PIN_LONG, false, &ret, &ret), want);
	CHECK_EQ(pm_window(m, cpu, space, PAGE, false, &bytes, &ret), want);
	CHECK_EQ(pm_page_out(m, cpu, space, PAGE, PAGE, &ret), want);
	CHECK_EQ(pm_space_exit(m, cpu, space), want);
}

static void stale_and_wrong_handles(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig = space_rig_make(&options);
	uint64_t space = space_make(rig.m), next, owner, pin, pfn, file = space_ram_file(rig.m, 1), at = space_map(rig.m, space, 1);
	uint32_t number;

	REQUIRE(pm_owner_create(rig.m, PM_OWNER_UNMOVABLE, &owner) == PM_OK);
	REQUIRE(pm_pin(rig.m, 0, space, at, PM_PIN_SHORT, true, &pfn, &pin) == PM_OK);
	refuses_space(rig.m, 0, owner, PM_ERR_HANDLE);
	refuses_space(rig.m, 0, pin, PM_ERR_HANDLE);
	refuses_space(rig.m, 0, file, PM_ERR_HANDLE);
	refuses_space(rig.m, 0, 0, PM_ERR_HANDLE);
	refuses_space(rig.m, 0, UINT64_MAX, PM_ERR_HANDLE);
	refuses_space(rig.m, options.nr_cpus, space, PM_ERR_INVAL);
	refuses_space(rig.m, UINT32_MAX, space, PM_ERR_INVAL);
	CHECK_EQ(pm_unpin(rig.m, 0, space), PM_ERR_HANDLE);
	CHECK_EQ(pm_owner_alloc(rig.m, 0, pin, 0, PM_GFP_KERNEL, &number), PM_ERR_HANDLE);
	CHECK_EQ(pm_owner_alloc(rig.m, 0, owner, PM_NR_ORDERS, PM_GFP_KERNEL, &number), PM_ERR_INVAL);
	CHECK_EQ(pm_owner_alloc(rig.m, 0, owner, 0, ~0u, &number), PM_ERR_INVAL);
	CHECK_EQ(pm_owner_free(rig.m, 0, owner, 0), PM_ERR_RANGE);
	CHECK_EQ(pm_owner_frame(rig.m, 0, owner, UINT32_MAX, &next), PM_ERR_RANGE);
	CHECK_EQ(pm_owner_move(rig.m, 0, owner, 0, PM_GFP_KERNEL, &next), PM_ERR_ACCESS);
	CHECK_EQ(pm_owner_create(rig.m, PM_OWNER_MOVABLE_WHOLE + 1, &next), PM_ERR_INVAL);
	space_exit(rig.m, space);
	refuses_space(rig.m, 0, space, PM_ERR_HANDLE);
	/* Its pin stays until it is given back, once. */
	CHECK_EQ(space_page(rig.m, pfn).references, 1);
	CHECK_EQ(space_page(rig.m, pfn).pins[PM_PIN_SHORT], 1);
	CHECK_EQ(pm_unpin(rig.m, 0, pin), PM_OK);
	CHECK_EQ(pm_unpin(rig.m, 0, pin), PM_ERR_HANDLE);
	next = space_make(rig.m);
	CHECK(next != space);
	refuses_space(rig.m, 0, space, PM_ERR_HANDLE);
	at = space_map(rig.m, next, 1);
	space_put(rig.m, next, at, 1);
	space_exit(rig.m, next);
	CHECK_EQ(pm_owner_destroy(rig.m, 0, owner), PM_OK);
	CHECK_EQ(pm_owner_destroy(rig.m, 0, owner), PM_ERR_HANDLE);
	CHECK_EQ(pm_owner_alloc(rig.m, 0, owner, 0, PM_GFP_KERNEL, &number), PM_ERR_HANDLE);
	space_file_close(rig.m, file);
	space_rig_end(&rig);
}

static enum pm_status map_status(struct pm_machine *m, uint64_t space, uint64_t addr, uint64_t length, uint32_t prot, uint32_t flags, uint64_t file, uint64_t offset)
{
	struct pm_map_request request = { addr, length, prot, flags, file, offset };
	uint64_t at;

	return pm_map(m, 0, space, &request, &at);
}

static void ranges_at_the_edges(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig = space_rig_make(&options);
	uint64_t space = space_make(rig.m), file = space_ram_file(rig.m, 4), at, done64;
	static const uint64_t huge[] = { LIMIT, LIMIT + PAGE, UINT64_MAX - PAGE + 1, (uint64_t)1 << 63 };
	uint8_t bytes[16];
	size_t done, i;

	CHECK_EQ(map_status(rig.m, space, 0, 0, RW, 0, 0, 0), PM_ERR_INVAL);
	CHECK_EQ(map_status(rig.m, space, 0, 1, RW, 0, 0, 0), PM_ERR_INVAL);
	CHECK_EQ(map_status(rig.m, space, 1, PAGE, RW, PM_MAP_FIXED, 0, 0), PM_ERR_INVAL);
	CHECK_EQ(map_status(rig.m, space, 0, PAGE, 4, 0, 0, 0), PM_ERR_INVAL);
	CHECK_EQ(map_status(rig.m, space, 0, PAGE, RW, 0x100, 0, 0), PM_ERR_INVAL);
	CHECK_EQ(map_status(rig.m, space, 0, PAGE, RW, 0, 0, PAGE), PM_ERR_INVAL);
	CHECK_EQ(map_status(rig.m, space, 0, PAGE, RW, 0, file, 1), PM_ERR_INVAL);
	CHECK_EQ(map_status(rig.m, space, 0, 2 * PAGE, RW, 0, file, UINT64_MAX - PAGE + 1), PM_ERR_INVAL);
	CHECK_EQ(map_status(rig.m, space, 0, PAGE, RW, 0, file + 1, 0), PM_ERR_HANDLE);
	CHECK_EQ(map_status(rig.m, space, LIMIT, PAGE, RW, PM_MAP_FIXED, 0, 0), PM_ERR_INVAL);
	CHECK_EQ(map_status(rig.m, space, LIMIT - PAGE, 2 * PAGE, RW, PM_MAP_FIXED, 0, 0), PM_ERR_INVAL);
	at = space_map(rig.m, space, 2);
	for (i = 0; i < sizeof(huge) / sizeof(huge[0]); i++) {
		CHECK_EQ(map_status(rig.m, space, 0, huge[i], RW, 0, 0, 0), i ? PM_ERR_INVAL : PM_ERR_NO_BLOCK);
		CHECK_EQ(pm_unmap(rig.m, 0, space, PAGE, huge[i]), PM_ERR_INVAL);
		CHECK_EQ(pm_unmap(rig.m, 0, space, huge[i], PAGE), PM_ERR_INVAL);
		CHECK_EQ(pm_protect(rig.m, 0, space, PAGE, huge[i], RO), PM_ERR_INVAL);
		CHECK_EQ(pm_mlock(rig.m, 0, space, PAGE, huge[i], true), PM_ERR_INVAL);
		CHECK(pm_remap(rig.m, 0, space, at, PAGE, huge[i], PM_MAP_MAYMOVE, 0, &done64) != PM_OK);
		CHECK_EQ(pm_remap(rig.m, 0, space, at, PAGE, PAGE, PM_MAP_FIXED, huge[i], &done64), PM_ERR_INVAL);
		CHECK_EQ(pm_remap(rig.m, 0, space, huge[i], PAGE, PAGE, 0, 0, &done64), PM_ERR_INVAL);
		CHECK_EQ(pm_read(rig.m, 0, space, huge[i], bytes, 1, &done), PM_ERR_FAULT);
		CHECK_EQ(done, 0);
		CHECK_EQ(pm_fill(rig.m, 0, space, at, 1, huge[i], &done), PM_ERR_FAULT);
		CHECK_EQ(pm_touch(rig.m, 0, space, at, huge[i], true, &done64), PM_ERR_FAULT);
		CHECK(pm_page_out(rig.m, 0, space, huge[i], PAGE, &done64) == PM_ERR_INVAL);
	}
	CHECK_EQ(pm_remap(rig.m, 0, space, at, PAGE, 0, 0, 0, &done64), PM_ERR_INVAL);
	CHECK_EQ(pm_remap(rig.m, 0, space, at, 2 * PAGE, PAGE, PM_MAP_FIXED, at + PAGE, &done64), PM_ERR_INVAL);
	/* What was refused did nothing. */
	CHECK_EQ(space_info(rig.m, space).mapped, 2);
	/* The first page and the last are pages like any other, and can be moved. */
	(void)map_status(rig.m, space, 0, PAGE, RW, PM_MAP_FIXED, 0, 0);
	(void)space_map_at(rig.m, space, LIMIT - 2 * PAGE, 2, RW, 0, 0);
	CHECK_EQ(pm_write(rig.m, 0, space, 0, "first", 5, &done), PM_OK);
	CHECK_EQ(pm_write(rig.m, 0, space, LIMIT - 4, "last", 4, &done), PM_OK);
	CHECK_EQ(pm_write(rig.m, 0, space, LIMIT - 4, "last!", 5, &done), PM_ERR_FAULT);
	CHECK_EQ(pm_remap(rig.m, 0, space, LIMIT - PAGE, PAGE, PAGE, PM_MAP_FIXED, 4 * PAGE, &done64), PM_OK);
	CHECK_EQ(pm_read(rig.m, 0, space, 5 * PAGE - 4, bytes, 4, &done), PM_OK);
	CHECK(memcmp(bytes, "last", 4) == 0);
	CHECK_EQ(pm_read(rig.m, 0, space, 0, bytes, 5, &done), PM_OK);
	CHECK(memcmp(bytes, "first", 5) == 0);
	CHECK(rig_valid(rig.m));
	/* Everything at once. */
	CHECK_EQ(pm_unmap(rig.m, 0, space, 0, LIMIT), PM_OK);
	CHECK_EQ(space_info(rig.m, space).mapped, 0);
	CHECK_EQ(space_info(rig.m, space).tables, 1);
	CHECK_EQ(map_status(rig.m, space, 0, LIMIT, PM_PROT_NONE, PM_MAP_FIXED, 0, 0), PM_OK);
	space_exit(rig.m, space);
	space_file_close(rig.m, file);
	space_rig_end(&rig);
}

/// Frames that callers have no business with.
static void frames_looked_at_from_outside(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig = space_rig_make(&options);
	struct pm_rmap_entry entry;
	struct pm_page_info page;
	uint64_t pfn = rig_alloc(rig.m, 2, RIG_UNMOVABLE), visited;
	size_t nr = 9;

	CHECK_EQ(pm_page_info(rig.m, options.nr_frames, &page), PM_ERR_RANGE);
	CHECK_EQ(pm_page_info(rig.m, UINT64_MAX, &page), PM_ERR_RANGE);
	CHECK_EQ(pm_rmap(rig.m, 0, UINT64_MAX, 1, &entry, &nr, &visited), PM_ERR_RANGE);
	CHECK_EQ(pm_page_info(rig.m, pfn, &page), PM_OK);
	CHECK_EQ(page.use, PM_USE_NONE);
	CHECK_EQ(pm_rmap(rig.m, 0, pfn + 1, 1, &entry, &nr, &visited), PM_OK);
	CHECK_EQ(nr, 0);
	CHECK_EQ(pm_free(rig.m, 0, pfn, 2), PM_OK);
	CHECK(pm_page_flag_name(0) != NULL && pm_page_flag_name(18) != NULL && pm_page_flag_name(19) == NULL && pm_page_flag_name(UINT32_MAX) == NULL);
	space_rig_end(&rig);
}

/* ---- races with the end of things ---- */

static struct pm_machine *machine;
static pthread_barrier_t barrier;
static _Atomic uint64_t dead[64]; ///< handles of spaces that are gone, or about to
static _Atomic uint64_t contested, pin, nr_ends;

/// Spaces come and go, and their old handles are used by all threads at once. A living one must not notice.
static void *live_among_the_dead(void *argument)
{
	uint32_t id = (uint32_t)(uintptr_t)argument, cpu = id % 3;
	struct draw d;
	uint32_t i;

	draw_init(&d, id);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < ROUNDS && check_result() == EXIT_SUCCESS; i++) {
		uint64_t space = 0, stale = atomic_load(&dead[draw_below(&d, 64)]), at = 0, done;
		struct pm_map_request request = { .length = PAGE, .prot = RW };

		if (draw_below(&d, 2)) {
			CHECK_EQ(pm_space_exit(machine, cpu, stale), PM_ERR_HANDLE);
			CHECK_EQ(pm_touch(machine, cpu, stale, (uint64_t)1 << 32, PAGE, true, &done), PM_ERR_HANDLE);
			continue;
		}
		CHECK_EQ(pm_space_create(machine, &space), PM_OK);
		CHECK_EQ(pm_map(machine, cpu, space, &request, &at), PM_OK);
		CHECK_EQ(pm_touch(machine, cpu, space, at, PAGE, true, &done), PM_OK);
		CHECK_EQ(pm_space_exit(machine, cpu, space), PM_OK);
		atomic_store(&dead[draw_below(&d, 64)], space);
	}
	return NULL;
}

/// All threads end one space at once, and use it until it is gone; the same with a pin.
static void *end_what_others_use(void *argument)
{
	uint32_t id = (uint32_t)(uintptr_t)argument, cpu = id % 3, round;

	for (round = 0; round < ROUNDS / 10; round++) {
		struct pm_map_request request = { .length = 4 * PAGE, .prot = RW };
		uint64_t at = 0, pfn, handle = 0, done;
		enum pm_status status;

		if (id == 0) {
			REQUIRE(pm_space_create(machine, &handle) == PM_OK);
			REQUIRE(pm_map(machine, cpu, handle, &request, &at) == PM_OK);
			CHECK_EQ(at, (uint64_t)1 << 32);
			REQUIRE(pm_pin(machine, cpu, handle, at, PM_PIN_LONG, true, &pfn, &done) == PM_OK);
			atomic_store(&contested, handle);
			atomic_store(&pin, done);
		}
		pthread_barrier_wait(&barrier);
		handle = atomic_load(&contested);
		status = pm_touch(machine, cpu, handle, (uint64_t)1 << 32, 4 * PAGE, true, &done);
		CHECK(status == PM_OK || status == PM_ERR_HANDLE);
		status = pm_space_fork(machine, cpu, handle, &at);
		CHECK(status == PM_OK || status == PM_ERR_HANDLE);
		if (!status)
			CHECK_EQ(pm_space_exit(machine, cpu, at), PM_OK);
		status = pm_unpin(machine, cpu, atomic_load(&pin));
		CHECK(status == PM_OK || status == PM_ERR_HANDLE);
		if (!status)
			atomic_fetch_add(&nr_ends, 1);
		status = pm_space_exit(machine, cpu, handle);
		CHECK(status == PM_OK || status == PM_ERR_HANDLE);
		if (!status)
			atomic_fetch_add(&nr_ends, 1);
		pthread_barrier_wait(&barrier);
		CHECK_EQ(atomic_load(&nr_ends), 2 * (round + 1));
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

/// Random calls with random arguments: errors only.
static void *call_at_random(void *argument)
{
	struct draw d;
	uint32_t i, number;

	draw_init(&d, (uint64_t)(uintptr_t)argument + 77);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < CALLS; i++) {
		uint64_t a = draw_below(&d, UINT64_MAX) << draw_below(&d, 64), b = (uint64_t)1 << draw_below(&d, 64), ret, space = draw_below(&d, 2) ? atomic_load(&contested) : a;
		uint32_t cpu = (uint32_t)draw_below(&d, 6);
		struct pm_map_request request = { a & ~(uint64_t)(PAGE - 1), b, (uint32_t)draw_below(&d, 5), (uint32_t)draw_below(&d, 40) & ~(uint32_t)PM_MAP_POPULATE, draw_below(&d, 2) ? a : 0, 0 };

		switch (draw_below(&d, 9)) {
		case 0:
			(void)!pm_map(machine, cpu, space, &request, &ret);
			break;
		case 1:
			(void)!pm_unmap(machine, cpu, space, a, b);
			break;
		case 2:
			(void)!pm_remap(machine, cpu, space, a & ~(uint64_t)(PAGE - 1), PAGE, b, (uint32_t)draw_below(&d, 20), b, &ret);
			break;
		case 3:
			(void)!pm_touch(machine, cpu, space, a, draw_below(&d, 4 * PAGE), draw_below(&d, 2), &ret);
			break;
		case 4:
			CHECK_EQ(pm_unpin(machine, cpu, a), cpu < 4 ? PM_ERR_HANDLE : PM_ERR_INVAL);
			break;
		case 5:
			CHECK(pm_owner_alloc(machine, cpu, a, (uint32_t)b, (uint32_t)a, &number) != PM_OK);
			break;
		case 6:
			(void)!pm_protect(machine, cpu, space, a & ~(uint64_t)(PAGE - 1), b, RO);
			break;
		case 7:
			CHECK(pm_free(machine, 0, draw_below(&d, 1024), (uint32_t)draw_below(&d, 12)) != PM_OK);
			break;
		default:
			CHECK(pm_space_exit(machine, cpu, a) != PM_OK);
		}
	}
	return NULL;
}

static void run_threads(void *(*run)(void *))
{
	pthread_t threads[THREADS];
	uintptr_t i;

	REQUIRE(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
	atomic_store(&nr_ends, 0);
	for (i = 0; i < THREADS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, run, (void *)i) == 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
}

static void ends_race_uses(void)
{
	uint32_t guard;

	for (guard = PM_GUARD_EPOCH; guard <= PM_GUARD_LOCK; guard++) {
		struct space_rig_options options = space_options();
		struct space_rig rig;

		options.memory.guard = guard;
		rig = space_rig_make(&options);
		machine = rig.m;
		run_threads(live_among_the_dead);
		CHECK(rig_valid(machine));
		run_threads(end_what_others_use);
		CHECK(rig_valid(machine));
		atomic_store(&contested, space_make(machine));
		run_threads(call_at_random);
		space_exit(machine, atomic_load(&contested));
		space_rig_end(&rig);
	}
}

int main(void)
{
	RUN(no_owners_no_calls);
	RUN(stale_and_wrong_handles);
	RUN(ranges_at_the_edges);
	RUN(frames_looked_at_from_outside);
	RUN(ends_race_uses);
	return check_result();
}
