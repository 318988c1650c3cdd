/// Sleeping and waking, and the lock for long critical sections: no wake-up is lost, no writer starves, and a call that may not wait for
/// ever comes back. A lost wake-up shows as a test that never ends.
#include <pthread.h>

#include "base/rwsem.h"
#include "tests/draw.h"

enum { THREADS = 4 };
#ifdef PM_TEST_FLAVOUR
enum { ROUNDS = 4000, LOCK_ROUNDS = 3000, WRITES = 100 };
#else
enum { ROUNDS = 30000, LOCK_ROUNDS = 40000, WRITES = 400 };
#endif

static struct pm_waits waits;
static struct pm_rwsem sem;
static pthread_barrier_t barrier;

static struct pm_call patient(void)
{
	return (struct pm_call){ .waits = &waits };
}

static void start(pthread_t *threads, unsigned int nr, void *(*run)(void *))
{
	unsigned int i;

	REQUIRE(pthread_barrier_init(&barrier, NULL, nr) == 0);
	for (i = 0; i < nr; i++)
		REQUIRE(pthread_create(&threads[i], NULL, run, (void *)(uintptr_t)i) == 0);
}

static void finish(pthread_t *threads, unsigned int nr)
{
	unsigned int i;

	for (i = 0; i < nr; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&barrier);
	for (i = 0; i < PM_NR_WAIT_BUCKETS; i++) {
		CHECK(waits.bucket[i].first == NULL);
		CHECK_EQ(atomic_load(&waits.bucket[i].nr), 0);
	}
}

/* ---- wait queues ---- */

/// Threads in a ring; each waits until the number is its own, and hands it to the next.
static _Atomic uint64_t turn;

static void wait_for_turn(struct pm_call *call, uint64_t mine)
{
	while (atomic_load(&turn) % THREADS != mine) {
		struct pm_waiter waiter;

		pm_wait_prepare(call, &waiter, mine);
		if (atomic_load(&turn) % THREADS != mine)
			CHECK_EQ(pm_call_sleep(call, &waiter), PM_OK);
		pm_wait_finish(call, &waiter);
	}
}

static void *hand_on(void *argument)
{
	uint64_t mine = (uintptr_t)argument;
	struct pm_call call = patient();
	unsigned int round;

	pthread_barrier_wait(&barrier);
	for (round = 0; round < ROUNDS / THREADS; round++) {
		wait_for_turn(&call, mine);
		atomic_fetch_add(&turn, 1);
		(void)pm_wake_all(&waits, (mine + 1) % THREADS);
	}
	return NULL;
}

static void no_wake_up_is_lost(void)
{
	pthread_t threads[THREADS];

	pm_waits_init(&waits);
	start(threads, THREADS, hand_on);
	finish(threads, THREADS);
	CHECK_EQ(atomic_load(&turn), ROUNDS / THREADS * THREADS);
}

/// Two keys may share a bucket: a wake-up of one leaves the sleepers of the other asleep.
static void wakes_its_key_only(void)
{
	struct pm_call call = patient();
	struct pm_waiter waiter[64];
	uint64_t key;

	pm_waits_init(&waits);
	for (key = 0; key < 64; key++)
		pm_wait_prepare(&call, &waiter[key], key * 8);
	for (key = 0; key < 64; key++) {
		CHECK(pm_wait_has_sleepers(&waits, key * 8));
		CHECK(!pm_wait_has_sleepers(&waits, key * 8 + 1));
		CHECK_EQ(pm_wake_all(&waits, key * 8 + 1), 0);
	}
	for (key = 0; key < 64; key += 2)
		CHECK_EQ(pm_wake_all(&waits, key * 8), 1);
	for (key = 0; key < 64; key++) {
		CHECK_EQ(atomic_load(&waiter[key].woken), key % 2 == 0);
		CHECK_EQ(pm_wait_has_sleepers(&waits, key * 8), key % 2 == 1);
		/* Who was woken meanwhile does not sleep at all. */
		if (key % 2 == 0)
			CHECK_EQ(pm_call_sleep(&call, &waiter[key]), PM_OK);
		pm_wait_finish(&call, &waiter[key]);
		pm_wait_finish(&call, &waiter[key]);
		CHECK(!pm_wait_has_sleepers(&waits, key * 8));
	}
}

/// A caller with signals to look after gets its turn after so many slices, and a caller that may not wait at once.
static void calls_that_may_not_wait_come_back(void)
{
	struct pm_call limited = { .waits = &waits, .limited = true, .slices = 3 }, nowait = { .waits = &waits, .nowait = true };
	struct pm_waiter waiter;
	unsigned int sleeps = 0;
	enum pm_status status = PM_OK;

	pm_waits_init(&waits);
	while (!status && sleeps < 10) {
		pm_wait_prepare(&limited, &waiter, 7);
		status = pm_call_sleep(&limited, &waiter);
		pm_wait_finish(&limited, &waiter);
		sleeps += status == PM_OK;
	}
	CHECK_EQ(status, PM_ERR_INTR);
	CHECK_EQ(sleeps, 3);
	pm_wait_prepare(&nowait, &waiter, 7);
	CHECK_EQ(pm_call_sleep(&nowait, &waiter), PM_ERR_AGAIN);
	pm_wait_finish(&nowait, &waiter);
	CHECK(!pm_wait_has_sleepers(&waits, 7));
}

static _Atomic uint32_t nr_refused;

static void *sleep_until_closed(void *argument)
{
	struct pm_call call = patient();
	struct pm_waiter waiter;
	enum pm_status status = PM_OK;

	pthread_barrier_wait(&barrier);
	while (!status) {
		pm_wait_prepare(&call, &waiter, (uintptr_t)argument);
		status = pm_call_sleep(&call, &waiter);
		pm_wait_finish(&call, &waiter);
	}
	CHECK_EQ(status, PM_ERR_CLOSED);
	atomic_fetch_add(&nr_refused, 1);
	return NULL;
}

static void closing_wakes_everyone(void)
{
	pthread_t threads[THREADS];
	unsigned int round;

	for (round = 0; round < 50; round++) {
		pm_waits_init(&waits);
		atomic_store(&nr_refused, 0);
		start(threads, THREADS, sleep_until_closed);
		pm_waits_close(&waits);
		finish(threads, THREADS);
		CHECK_EQ(atomic_load(&nr_refused), THREADS);
	}
}

static uint64_t idle_calls;

static uint64_t idle_soon(void *context)
{
	(void)context;
	/* First something is under way for a microsecond, then it has ended. */
	return ++idle_calls % 2 ? 1000 : 0;
}

/// Who waits for a device looks after it: the sleep lasts no longer than the next transfer, and ends when one has ended.
static void sleepers_look_after_devices(void)
{
	struct pm_call call = patient();
	struct pm_waiter waiter;
	unsigned int i;

	pm_waits_init(&waits);
	waits.idle = idle_soon;
	for (i = 0; i < 4; i++) {
		pm_wait_prepare(&call, &waiter, 3);
		CHECK_EQ(pm_call_sleep(&call, &waiter), PM_OK);
		pm_wait_finish(&call, &waiter);
	}
	CHECK_EQ(idle_calls, 4);
}

/* ---- rwsem ---- */

static uint64_t guarded[2]; ///< the lock's: equal unless a writer is inside
static _Atomic uint32_t inside_read, inside_write;

static void read_once(struct pm_call *call) PM_NO_TSA
{
	if (!CHECK_EQ(pm_rwsem_read(call, &sem), PM_OK))
		return;
	atomic_fetch_add(&inside_read, 1);
	CHECK_EQ(atomic_load(&inside_write), 0);
	CHECK_EQ(guarded[0], guarded[1]);
	atomic_fetch_sub(&inside_read, 1);
	pm_rwsem_read_unlock(&waits, &sem);
}

static void write_once(struct pm_call *call) PM_NO_TSA
{
	if (!CHECK_EQ(pm_rwsem_write(call, &sem), PM_OK))
		return;
	CHECK_EQ(atomic_fetch_add(&inside_write, 1), 0);
	CHECK_EQ(atomic_load(&inside_read), 0);
	guarded[0]++;
	guarded[1]++;
	atomic_fetch_sub(&inside_write, 1);
	pm_rwsem_write_unlock(&waits, &sem);
}

static void *read_and_write(void *argument)
{
	struct pm_call call = patient();
	struct draw d;
	unsigned int round;

	draw_init(&d, (uintptr_t)argument);
	pthread_barrier_wait(&barrier);
	for (round = 0; round < LOCK_ROUNDS; round++)
		if (draw_once_in(&d, 4))
			write_once(&call);
		else
			read_once(&call);
	return NULL;
}

static void readers_share_and_writers_exclude(void)
{
	pthread_t threads[THREADS];

	pm_waits_init(&waits);
	pm_rwsem_init(&sem, PM_RANK_SPACE);
	start(threads, THREADS, read_and_write);
	finish(threads, THREADS);
	CHECK_EQ(atomic_load(&sem.state), 0);
}

/// Sleepers who give up must not leave the others behind: a mark that nobody answers to, or a wake-up that they took with them.
static void *try_and_give_up(void *argument) PM_NO_TSA
{
	struct draw d;
	unsigned int round;

	draw_init(&d, (uintptr_t)argument + 100);
	pthread_barrier_wait(&barrier);
	for (round = 0; round < LOCK_ROUNDS; round++) {
		struct pm_call call = { .waits = &waits, .nowait = draw_once_in(&d, 2) };
		bool write = draw_once_in(&d, 3);
		enum pm_status status = write ? pm_rwsem_write(&call, &sem) : pm_rwsem_read(&call, &sem);

		CHECK(status == PM_OK || (call.nowait && status == PM_ERR_AGAIN));
		if (status)
			continue;
		if (write) {
			guarded[0]++;
			guarded[1]++;
			pm_rwsem_write_unlock(&waits, &sem);
		} else {
			CHECK_EQ(guarded[0], guarded[1]);
			pm_rwsem_read_unlock(&waits, &sem);
		}
	}
	return NULL;
}

static void giving_up_leaves_nobody_behind(void)
{
	pthread_t threads[THREADS];
	struct pm_call call = patient();

	pm_waits_init(&waits);
	pm_rwsem_init(&sem, PM_RANK_SPACE);
	start(threads, THREADS, try_and_give_up);
	finish(threads, THREADS);
	/* A mark of somebody who gave up may be left; it may not keep anyone out. */
	write_once(&call);
	read_once(&call);
}

static _Atomic uint32_t writer_done;
static _Atomic uint64_t nr_entered;

/// A reader that stays until another one is inside, so that the lock is never free by itself: only readers who queue behind the writer let it in.
static void read_until_the_next(struct pm_call *call) PM_NO_TSA
{
	unsigned int spins = 0;
	uint64_t mine;

	if (!CHECK_EQ(pm_rwsem_read(call, &sem), PM_OK))
		return;
	mine = atomic_fetch_add(&nr_entered, 1) + 1;
	while (atomic_load(&nr_entered) == mine && !(atomic_load(&sem.state) & PM_RWSEM_WAITERS) && !atomic_load(&writer_done))
		if (++spins % 100 == 0)
			sched_yield();
	pm_rwsem_read_unlock(&waits, &sem);
}

static void *read_on_and_on(void *argument)
{
	struct pm_call call = patient();
	unsigned int i;

	pthread_barrier_wait(&barrier);
	for (i = 0; !argument && i < WRITES; i++) {
		uint64_t before = atomic_load(&nr_entered);

		while (atomic_load(&nr_entered) == before)
			sched_yield();
		write_once(&call);
	}
	if (!argument)
		atomic_store(&writer_done, 1);
	while (!atomic_load(&writer_done))
		read_until_the_next(&call);
	return NULL;
}

/// The writer gets in although readers never leave a gap, or this test does not end.
static void writers_do_not_starve(void)
{
	pthread_t threads[THREADS];

	pm_waits_init(&waits);
	pm_rwsem_init(&sem, PM_RANK_SPACE);
	start(threads, THREADS, read_on_and_on);
	finish(threads, THREADS);
	CHECK_EQ(guarded[0], guarded[1]);
}

/// What a holder keeps from others: writers from all, readers from writers, and a writer that waits from new readers.
static void holders_keep_others_out(void) PM_NO_TSA
{
	struct pm_call call = patient(), nowait = { .waits = &waits, .nowait = true }, limited = { .waits = &waits, .limited = true, .slices = 1 };

	pm_waits_init(&waits);
	pm_rwsem_init(&sem, PM_RANK_SPACE);
	REQUIRE(pm_rwsem_try_read(&sem));
	/* Ranks are for one thread each; what another thread would meet is asked of the lock's word. */
	CHECK_EQ(atomic_load(&sem.state), 1);
	pm_rwsem_read_unlock(&waits, &sem);
	REQUIRE(pm_rwsem_write(&call, &sem) == PM_OK);
	CHECK(!pm_rwsem_try_read(&sem));
	pm_rwsem_write_unlock(&waits, &sem);
	CHECK_EQ(atomic_load(&sem.state), 0);
	/* As if another thread held it for reading. */
	atomic_store(&sem.state, 1);
	CHECK_EQ(pm_rwsem_write(&nowait, &sem), PM_ERR_AGAIN);
	CHECK(atomic_load(&sem.state) & PM_RWSEM_WAITERS);
	/* New readers queue behind a writer that waits. */
	CHECK(!pm_rwsem_try_read(&sem));
	CHECK_EQ(pm_rwsem_write(&limited, &sem), PM_ERR_INTR);
	pm_rank_push(PM_RANK_SPACE);
	pm_rwsem_read_unlock(&waits, &sem);
	CHECK_EQ(atomic_load(&sem.state), 0);
	pm_waits_close(&waits);
	atomic_store(&sem.state, PM_RWSEM_WRITER);
	CHECK_EQ(pm_rwsem_read(&call, &sem), PM_ERR_CLOSED);
}

int main(void)
{
	RUN(no_wake_up_is_lost);
	RUN(wakes_its_key_only);
	RUN(calls_that_may_not_wait_come_back);
	RUN(closing_wakes_everyone);
	RUN(sleepers_look_after_devices);
	RUN(readers_share_and_writers_exclude);
	RUN(giving_up_leaves_nobody_behind);
	RUN(writers_do_not_starve);
	RUN(holders_keep_others_out);
	return check_result();
}
