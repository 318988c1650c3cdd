/// Objects of one kind with small numbers: by index for our own links (a frame names its anon_vma so), by handle for callers.
///
/// Memory of an object is kept until the pool goes, so an index that was read a moment ago leads to an object of the same kind, alive
/// or dead: who follows one without a lock looks again under the object's own. A handle holds a generation beside the index: a dead
/// one is known as such, however often its place was used again.
#ifndef PM_BASE_POOL_H
#define PM_BASE_POOL_H

#include "base/host.h"
#include "base/lock.h"

enum { PM_POOL_CHUNK_SHIFT = 6, PM_POOL_CHUNK = 1 << PM_POOL_CHUNK_SHIFT, PM_POOL_CHUNKS = 16384, PM_POOL_NONE = 0 };

/// The first member of every pooled object.
struct pm_pooled {
	_Atomic uint32_t generation; ///< (O) odd while alive; goes up at birth and at death
	uint32_t index;		     ///< (C) from 1; 0 is no object
	uint32_t next_free;	     ///< (O) while dead
};

struct pm_pool {
	struct pm_lock lock; ///< rank OBJECTS; (O) below
	struct pm_host *host;
	size_t bytes;	   ///< (C) of an object
	uint32_t kind;	   ///< (C) told apart in handles: enum pm_object_kind
	uint32_t nr_made;  ///< (O) indices handed out at least once
	uint32_t nr_live;  ///< (O)
	uint32_t free_head; ///< (O)
	_Atomic(char *) *chunk; ///< (A) [PM_POOL_CHUNKS], each of PM_POOL_CHUNK objects
};

/// PM_ERR_NOMEM.
enum pm_status pm_pool_init(struct pm_pool *pool, struct pm_host *host, size_t bytes, uint32_t kind);
void pm_pool_deinit(struct pm_pool *pool);

/// A dead object comes to life, as it was when it died (zeroed the first time); NULL: the host has no memory, or all indices are in use.
/// Not visible by handle before pm_pool_publish().
void *pm_pool_get(struct pm_pool *pool);
/// Makes it visible, and returns its handle.
uint64_t pm_pool_publish(struct pm_pool *pool, void *object);
/// Makes its handle invalid. False if it was so already: of several that try, one succeeds.
bool pm_pool_unpublish(struct pm_pool *pool, void *object, uint64_t handle);
/// The same for an object that is known to be visible, whatever its handle: when everything ends.
void pm_pool_unpublish_any(struct pm_pool *pool, void *object);
/// An object that is not visible dies.
void pm_pool_put(struct pm_pool *pool, void *object);

/// The object of an index that was handed out once, alive or dead.
static inline void *pm_pool_at(const struct pm_pool *pool, uint32_t index)
{
	/* Acquire: partner of the release in pm_pool_get(); the chunk's contents are there. */
	char *chunk = atomic_load_explicit(&pool->chunk[index >> PM_POOL_CHUNK_SHIFT], memory_order_acquire);

	return chunk + (size_t)(index & (PM_POOL_CHUNK - 1)) * pool->bytes;
}

/// The object of a handle; NULL if it is of another kind, dead or never was.
void *pm_pool_find(const struct pm_pool *pool, uint64_t handle);

/// The handle of an object that is visible, now.
uint64_t pm_pool_handle(const struct pm_pool *pool, const void *object);

/// Does this handle still name this object? For who has made the object safe from dying and looks again.
bool pm_pool_is(const struct pm_pool *pool, const void *object, uint64_t handle);

/// Goes through the objects that are alive and visible: the first with an index above `after`; NULL at the end. For walks at rest.
void *pm_pool_next(struct pm_pool *pool, uint32_t after);

#endif
