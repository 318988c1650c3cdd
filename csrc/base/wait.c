#include "base/wait.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void pm_waits_init(struct pm_waits *waits)
{
	unsigned int i;

	for (i = 0; i < PM_NR_WAIT_BUCKETS; i++)
		pm_lock_init(&waits->bucket[i].lock, PM_RANK_WAIT);
	atomic_init(&waits->closing, 0);
	waits->idle = NULL;
	waits->context = NULL;
}

static struct pm_wait_bucket *bucket_of(struct pm_waits *waits, uint64_t key)
{
	/* A multiplicative hash: keys are frame numbers or aligned addresses. */
	return &waits->bucket[(key * 0x9e3779b97f4a7c15u) >> 56 & (PM_NR_WAIT_BUCKETS - 1)];
}

void pm_wait_prepare(const struct pm_call *call, struct pm_waiter *waiter, uint64_t key)
{
	struct pm_wait_bucket *bucket = bucket_of(call->waits, key);

	atomic_init(&waiter->woken, 0);
	waiter->key = key;
	waiter->prev = NULL;
	waiter->queued = true;
	pm_lock(&bucket->lock);
	waiter->next = bucket->first;
	if (waiter->next)
		waiter->next->prev = waiter;
	bucket->first = waiter;
	/* Sequentially consistent: partner of the load in pm_wake_all(). */
	atomic_fetch_add(&bucket->nr, 1);
	pm_unlock(&bucket->lock);
}

static void unlink_waiter(struct pm_wait_bucket *bucket, struct pm_waiter *waiter)
{
	if (waiter->prev)
		waiter->prev->next = waiter->next;
	else
		bucket->first = waiter->next;
	if (waiter->next)
		waiter->next->prev = waiter->prev;
	atomic_fetch_sub(&bucket->nr, 1);
}

void pm_wait_finish(const struct pm_call *call, struct pm_waiter *waiter)
{
	struct pm_wait_bucket *bucket = bucket_of(call->waits, waiter->key);

	if (!waiter->queued)
		return;
	waiter->queued = false;
	pm_lock(&bucket->lock);
	/* A waker takes the sleeper off the queue in the same step in which it writes `woken`. */
	if (!atomic_load_explicit(&waiter->woken, memory_order_relaxed))
		unlink_waiter(bucket, waiter);
	pm_unlock(&bucket->lock);
}

static void futex_wait(_Atomic uint32_t *word, uint64_t timeout_ns)
{
	struct timespec timeout = { (time_t)(timeout_ns / 1000000000), (long)(timeout_ns % 1000000000) };

	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 0, timeout_ns == UINT64_MAX ? NULL : &timeout, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

/// One sleep of at most `most_ns`. False if the time ran out.
static bool sleep_once(struct pm_call *call, struct pm_waiter *waiter, uint64_t most_ns)
{
	uint64_t idle_ns = call->waits->idle ? call->waits->idle(call->waits->context) : UINT64_MAX;

	/* Acquire: partner of the release in pm_wake_all(); what the waker changed before is seen after. */
	pm_yield(PM_AT_SLEEP, &waiter->woken);
	if (idle_ns == 0 || atomic_load_explicit(&waiter->woken, memory_order_acquire))
		return true;
	if (pm_scheduled()) {
		pm_block(PM_AT_SLEEP, &waiter->woken, waiter->key);
		return true;
	}
	futex_wait(&waiter->woken, idle_ns < most_ns ? idle_ns : most_ns);
	return atomic_load_explicit(&waiter->woken, memory_order_acquire) || idle_ns < most_ns;
}

enum pm_status pm_call_sleep(struct pm_call *call, struct pm_waiter *waiter)
{
	if (call->nowait)
		return PM_ERR_AGAIN;
	if (atomic_load(&call->waits->closing))
		return PM_ERR_CLOSED;
	if (!call->limited) {
		(void)sleep_once(call, waiter, UINT64_MAX);
	} else {
		if (call->slices == 0)
			return PM_ERR_INTR;
		/* A sleep that ended early counts as well: many short ones must not keep the caller from its signals. */
		(void)sleep_once(call, waiter, PM_SLICE_NS);
		call->slices--;
	}
	return atomic_load(&call->waits->closing) ? PM_ERR_CLOSED : PM_OK;
}

void pm_call_sleep_always(struct pm_call *call, struct pm_waiter *waiter)
{
	(void)sleep_once(call, waiter, UINT64_MAX);
}

/// Marks a sleeper as woken and wakes its thread. Afterwards the sleeper's stack may be gone.
static void wake_one(struct pm_wait_bucket *bucket, struct pm_waiter *waiter)
{
	unlink_waiter(bucket, waiter);
	atomic_store_explicit(&waiter->woken, 1, memory_order_release);
	/* A wake-up of an address that is used otherwise by now is a wake-up too many, which every sleeper has to stand. */
	if (!pm_scheduled())
		futex_wake(&waiter->woken);
	pm_unblock(&waiter->woken);
}

uint32_t pm_wake_all(struct pm_waits *waits, uint64_t key)
{
	struct pm_wait_bucket *bucket = bucket_of(waits, key);
	struct pm_waiter *waiter, *next;
	uint32_t woken = 0;

	pm_yield(PM_AT_WAKE, bucket);
	if (atomic_load(&bucket->nr) == 0)
		return 0;
	pm_lock(&bucket->lock);
	for (waiter = bucket->first; waiter; waiter = next) {
		next = waiter->next;
		if (waiter->key != key)
			continue;
		wake_one(bucket, waiter);
		woken++;
		if (PM_PLANTED(WAKE_ONE))
			break;
	}
	pm_unlock(&bucket->lock);
	return woken;
}

bool pm_wait_has_sleepers(struct pm_waits *waits, uint64_t key)
{
	struct pm_wait_bucket *bucket = bucket_of(waits, key);
	struct pm_waiter *waiter;
	bool found = false;

	if (atomic_load(&bucket->nr) == 0)
		return false;
	pm_lock(&bucket->lock);
	for (waiter = bucket->first; waiter && !found; waiter = waiter->next)
		found = waiter->key == key;
	pm_unlock(&bucket->lock);
	return found;
}

void pm_waits_close(struct pm_waits *waits)
{
	unsigned int i;

	atomic_store(&waits->closing, 1);
	for (i = 0; i < PM_NR_WAIT_BUCKETS; i++) {
		struct pm_wait_bucket *bucket = &waits->bucket[i];

		pm_lock(&bucket->lock);
		while (bucket->first)
			wake_one(bucket, bucket->first);
		pm_unlock(&bucket->lock);
	}
}
