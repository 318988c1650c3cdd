/// The pool of objects with handles: a handle that was given back is known as such, however often its place was used again, and from
/// however many threads. What Python holds after close() is such a handle.
#include <pthread.h>

#include "base/pool.h"
#include "tests/draw.h"

enum { KIND = 9, OTHER_KIND = 10, THREADS = 4, OBJECTS = 1000 };
#ifdef PM_TEST_FLAVOUR
enum { ROUNDS = 3000 };
#else
enum { ROUNDS = 60000 };
#endif

struct thing {
	struct pm_pooled pooled;
	_Atomic uint64_t value;
	uint64_t handle;
};

static struct pm_host host;
static struct pm_pool pool;
static pthread_barrier_t barrier;

static void make_pool(void)
{
	REQUIRE(pm_pool_init(&pool, &host, sizeof(struct thing), KIND) == PM_OK);
}

static void end_pool(void)
{
	CHECK_EQ(pool.nr_live, 0);
	pm_pool_deinit(&pool);
	CHECK_EQ(atomic_load(&host.nr_live), 0);
}

static struct thing *birth(void)
{
	struct thing *thing = pm_pool_get(&pool);

	REQUIRE(thing != NULL);
	thing->handle = pm_pool_publish(&pool, thing);
	return thing;
}

static void finds_what_is_alive_only(void)
{
	struct thing *thing, *again;
	uint64_t first, i;

	make_pool();
	thing = birth();
	first = thing->handle;
	CHECK(first != 0);
	CHECK(pm_pool_find(&pool, first) == thing);
	CHECK(pm_pool_at(&pool, thing->pooled.index) == (void *)thing);
	CHECK(pm_pool_unpublish(&pool, thing, first));
	CHECK(!pm_pool_unpublish(&pool, thing, first));
	CHECK(pm_pool_find(&pool, first) == NULL);
	pm_pool_put(&pool, thing);
	/* The same place, another object: all handles of before stay dead. */
	for (i = 0; i < 100; i++) {
		again = birth();
		CHECK(again == thing);
		CHECK(again->handle != first);
		CHECK(pm_pool_find(&pool, first) == NULL);
		CHECK(!pm_pool_is(&pool, again, first));
		CHECK(!pm_pool_unpublish(&pool, again, first));
		CHECK(pm_pool_find(&pool, again->handle) == again);
		pm_pool_unpublish_any(&pool, again);
		pm_pool_put(&pool, again);
	}
	end_pool();
}

static void invented_handles_find_nothing(void)
{
	struct thing *thing;
	struct draw d;
	uint64_t i, handle;

	make_pool();
	thing = birth();
	handle = thing->handle;
	draw_init(&d, 1);
	for (i = 0; i < 64; i++)
		CHECK(pm_pool_find(&pool, handle ^ (uint64_t)1 << i) == NULL);
	for (i = 0; i < 100000; i++) {
		uint64_t invented = draw_below(&d, UINT64_MAX) << draw_below(&d, 40) ^ (draw_below(&d, 2) ? (uint64_t)KIND << 56 : 0);

		CHECK(invented == handle || pm_pool_find(&pool, invented) == NULL);
	}
	CHECK(pm_pool_find(&pool, 0) == NULL);
	CHECK(pm_pool_find(&pool, UINT64_MAX) == NULL);
	pm_pool_unpublish_any(&pool, thing);
	pm_pool_put(&pool, thing);
	end_pool();
}

static void goes_through_the_living(void)
{
	static struct thing *things[OBJECTS];
	struct thing *at;
	uint32_t after = 0, seen = 0, i;

	make_pool();
	for (i = 0; i < OBJECTS; i++)
		things[i] = birth();
	for (i = 0; i < OBJECTS; i += 2) {
		pm_pool_unpublish_any(&pool, things[i]);
		pm_pool_put(&pool, things[i]);
	}
	while ((at = pm_pool_next(&pool, after)) != NULL) {
		CHECK(at->pooled.index > after);
		after = at->pooled.index;
		CHECK(pm_pool_find(&pool, at->handle) == at);
		seen++;
	}
	CHECK_EQ(seen, OBJECTS / 2);
	for (i = 1; i < OBJECTS; i += 2) {
		pm_pool_unpublish_any(&pool, things[i]);
		pm_pool_put(&pool, things[i]);
	}
	end_pool();
}

/// Every request for memory that the pool makes may fail, and leaves it as it was.
static void stands_failing_memory(void)
{
	uint64_t nth;

	for (nth = 1; nth < 4; nth++) {
		struct pm_pool failing;
		struct thing *thing = NULL;
		enum pm_status status;

		atomic_store(&host.nr_requests, 0);
		atomic_store(&host.fail_at, nth);
		status = pm_pool_init(&failing, &host, sizeof(struct thing), OTHER_KIND);
		if (!status)
			thing = pm_pool_get(&failing);
		CHECK_EQ(status, nth == 1 ? PM_ERR_NOMEM : PM_OK);
		CHECK(thing == NULL);
		atomic_store(&host.fail_at, 0);
		if (!status) {
			thing = pm_pool_get(&failing);
			CHECK(thing != NULL);
			CHECK_EQ(failing.nr_live, 1);
			pm_pool_put(&failing, thing);
		}
		pm_pool_deinit(&failing);
		CHECK_EQ(atomic_load(&host.nr_live), 0);
	}
}

/* ---- threads: each object is alive in one thread, and every handle is tried in all of them ---- */

static _Atomic uint64_t shared_handle[16];
static _Atomic uint64_t nr_ended, nr_born;

static void *live_and_die(void *argument)
{
	struct draw d;
	uint32_t round;

	draw_init(&d, (uint64_t)(uintptr_t)argument);
	pthread_barrier_wait(&barrier);
	for (round = 0; round < ROUNDS; round++) {
		_Atomic uint64_t *slot = &shared_handle[draw_below(&d, 16)];
		uint64_t handle = atomic_load(slot);
		struct thing *thing;

		if (draw_below(&d, 2)) {
			thing = pm_pool_get(&pool);
			REQUIRE(thing != NULL);
			atomic_store(&thing->value, (uint64_t)(uintptr_t)thing);
			atomic_fetch_add(&nr_born, 1);
			/* Whose handle is overwritten here stays alive until the end. */
			handle = pm_pool_publish(&pool, thing);
			if (!atomic_compare_exchange_strong(slot, &(uint64_t){ 0 }, handle)) {
				CHECK(pm_pool_unpublish(&pool, thing, handle));
				pm_pool_put(&pool, thing);
				atomic_fetch_add(&nr_ended, 1);
			}
			continue;
		}
		thing = handle ? pm_pool_find(&pool, handle) : NULL;
		if (!thing)
			continue;
		/* Dead or alive, it is an object of this kind at this place. */
		CHECK_EQ(atomic_load(&thing->value), (uint64_t)(uintptr_t)thing);
		if (pm_pool_unpublish(&pool, thing, handle)) {
			CHECK(pm_pool_find(&pool, handle) == NULL);
			CHECK(atomic_compare_exchange_strong(slot, &handle, 0));
			atomic_fetch_add(&nr_ended, 1);
			pm_pool_put(&pool, thing);
		}
	}
	return NULL;
}

static void each_handle_ends_once(void)
{
	pthread_t threads[THREADS];
	unsigned int i;

	make_pool();
	REQUIRE(pthread_barrier_init(&barrier, NULL, THREADS) == 0);
	for (i = 0; i < THREADS; i++)
		REQUIRE(pthread_create(&threads[i], NULL, live_and_die, (void *)(uintptr_t)(i + 1)) == 0);
	for (i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	CHECK_EQ(atomic_load(&nr_born) - atomic_load(&nr_ended), pool.nr_live);
	for (i = 0; i < 16; i++) {
		uint64_t handle = atomic_load(&shared_handle[i]);
		struct thing *thing = handle ? pm_pool_find(&pool, handle) : NULL;

		CHECK(!handle || thing);
		if (thing) {
			CHECK(pm_pool_unpublish(&pool, thing, handle));
			pm_pool_put(&pool, thing);
		}
	}
	pthread_barrier_destroy(&barrier);
	end_pool();
}

int main(void)
{
	RUN(finds_what_is_alive_only);
	RUN(invented_handles_find_nothing);
	RUN(goes_through_the_living);
	RUN(stands_failing_memory);
	RUN(each_handle_ends_once);
	return check_result();
}
