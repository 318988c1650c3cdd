#include "base/pool.h"

/// A handle: kind in the top byte, generation, index in the low 24 bits.
enum { PM_HANDLE_INDEX_BITS = 24, PM_HANDLE_KIND_SHIFT = 56 };

_Static_assert((uint64_t)PM_POOL_CHUNKS * PM_POOL_CHUNK <= 1u << PM_HANDLE_INDEX_BITS, "an index fits into a handle");

enum pm_status pm_pool_init(struct pm_pool *pool, struct pm_host *host, size_t bytes, uint32_t kind)
{
	*pool = (struct pm_pool){ .host = host, .bytes = (bytes + 15) & ~(size_t)15, .kind = kind };
	pm_lock_init(&pool->lock, PM_RANK_OBJECTS);
	pool->chunk = pm_host_zalloc(host, PM_POOL_CHUNKS * sizeof(*pool->chunk));
	return pool->chunk ? PM_OK : PM_ERR_NOMEM;
}

void pm_pool_deinit(struct pm_pool *pool)
{
	uint32_t i;

	if (!pool->chunk)
		return;
	for (i = 0; i < PM_POOL_CHUNKS; i++)
		pm_host_free(pool->host, atomic_load_explicit(&pool->chunk[i], memory_order_relaxed));
	pm_host_free(pool->host, pool->chunk);
	pool->chunk = NULL;
}

/// A place never used before; NULL if there is none.
static struct pm_pooled *new_place(struct pm_pool *pool) PM_REQUIRES(pool->lock)
{
	uint32_t index = pool->nr_made + 1;
	struct pm_pooled *object;

	if (index >= (uint32_t)PM_POOL_CHUNKS * PM_POOL_CHUNK)
		return NULL;
	if (!atomic_load_explicit(&pool->chunk[index >> PM_POOL_CHUNK_SHIFT], memory_order_relaxed)) {
		char *chunk = pm_host_zalloc(pool->host, PM_POOL_CHUNK * pool->bytes);

		if (!chunk)
			return NULL;
		/* Release: partner of the acquire in pm_pool_at(). */
		atomic_store_explicit(&pool->chunk[index >> PM_POOL_CHUNK_SHIFT], chunk, memory_order_release);
	}
	pool->nr_made = index;
	object = pm_pool_at(pool, index);
	object->index = index;
	return object;
}

void *pm_pool_get(struct pm_pool *pool)
{
	struct pm_pooled *object;

	/* Also where no chunk is needed: whether a request can fail must not depend on what came before. */
	if (pm_host_fails(pool->host))
		return NULL;
	pm_lock(&pool->lock);
	if (pool->free_head) {
		object = pm_pool_at(pool, pool->free_head);
		pool->free_head = object->next_free;
	} else {
		object = new_place(pool);
	}
	if (object)
		pool->nr_live++;
	pm_unlock(&pool->lock);
	return object;
}

static uint64_t handle_of(const struct pm_pool *pool, const struct pm_pooled *object, uint32_t generation)
{
	return (uint64_t)pool->kind << PM_HANDLE_KIND_SHIFT | (uint64_t)generation << PM_HANDLE_INDEX_BITS | object->index;
}

uint64_t pm_pool_publish(struct pm_pool *pool, void *object)
{
	struct pm_pooled *pooled = object;
	uint32_t generation = atomic_load_explicit(&pooled->generation, memory_order_relaxed) + 1;

	PM_ASSERT(generation & 1);
	/* Release: who finds the handle sees the object whole. */
	atomic_store_explicit(&pooled->generation, generation, memory_order_release);
	return handle_of(pool, pooled, generation);
}

bool pm_pool_unpublish(struct pm_pool *pool, void *object, uint64_t handle)
{
	struct pm_pooled *pooled = object;
	uint32_t generation = atomic_load(&pooled->generation);

	return (generation & 1) && handle_of(pool, pooled, generation) == handle &&
	       atomic_compare_exchange_strong(&pooled->generation, &generation, generation + 1);
}

void pm_pool_unpublish_any(struct pm_pool *pool, void *object)
{
	struct pm_pooled *pooled = object;
	bool was_visible = pm_pool_unpublish(pool, object, handle_of(pool, pooled, atomic_load(&pooled->generation)));

	PM_ASSERT(was_visible);
}

void pm_pool_put(struct pm_pool *pool, void *object)
{
	struct pm_pooled *pooled = object;

	PM_ASSERT(!(atomic_load_explicit(&pooled->generation, memory_order_relaxed) & 1));
	pm_lock(&pool->lock);
	pooled->next_free = pool->free_head;
	pool->free_head = pooled->index;
	pool->nr_live--;
	pm_unlock(&pool->lock);
}

uint64_t pm_pool_handle(const struct pm_pool *pool, const void *object)
{
	const struct pm_pooled *pooled = object;

	return handle_of(pool, pooled, atomic_load_explicit(&pooled->generation, memory_order_acquire));
}

bool pm_pool_is(const struct pm_pool *pool, const void *object, uint64_t handle)
{
	const struct pm_pooled *pooled = object;
	/* Sequentially consistent: partner of pm_pool_unpublish(). */
	uint32_t generation = atomic_load(&pooled->generation);

	return (generation & 1) && handle_of(pool, pooled, generation) == handle;
}

void *pm_pool_find(const struct pm_pool *pool, uint64_t handle)
{
	uint32_t index = (uint32_t)(handle & ((1u << PM_HANDLE_INDEX_BITS) - 1));
	void *object;

	if (handle >> PM_HANDLE_KIND_SHIFT != pool->kind || index == 0 || index >= (uint32_t)PM_POOL_CHUNKS * PM_POOL_CHUNK ||
	    !atomic_load_explicit(&pool->chunk[index >> PM_POOL_CHUNK_SHIFT], memory_order_acquire))
		return NULL;
	object = pm_pool_at(pool, index);
	return pm_pool_is(pool, object, handle) ? object : NULL;
}

void *pm_pool_next(struct pm_pool *pool, uint32_t after)
{
	uint32_t index, nr;

	pm_lock(&pool->lock);
	nr = pool->nr_made;
	pm_unlock(&pool->lock);
	for (index = after + 1; index <= nr; index++) {
		struct pm_pooled *object = pm_pool_at(pool, index);

		if (atomic_load_explicit(&object->generation, memory_order_acquire) & 1)
			return object;
	}
	return NULL;
}
