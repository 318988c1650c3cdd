/// A file's page cache: from page offsets to frames, and which offsets are dirty, under writeback, or have a block on the device. A radix tree of
/// 64 ways in which every node knows, tag by tag, which of its children have something so tagged below them: writeback finds the next dirty
/// page without looking at clean ones.
#ifndef PM_BACK_CACHE_H
#define PM_BACK_CACHE_H

#include "base/host.h"
#include "base/lock.h"

enum pm_cache_tag {
	PM_TAG_PAGE,	  ///< a frame is here
	PM_TAG_BLOCK,	  ///< the device has contents for it; elsewhere the file reads as zeros
	PM_TAG_DIRTY,	  ///< the frame is newer than the device
	PM_TAG_WRITEBACK, ///< it is being written out
	PM_TAG_FAILED,	  ///< it could not be written out, and nobody was told yet
	PM_NR_TAGS
};

/// Private data of a page (PM_PG_PRIVATE, a reference of the frame): what a filesystem knows about its block.
struct pm_buffers {
	uint64_t block;	   ///< (C) on the device
	bool pending;	   ///< (F) PM_FS_RELEASE: what was written since is not on the device yet; cleared at the end of writeback
};

struct pm_cache_slot {
	struct pm_pfn pfn; ///< (T) with PM_TAG_PAGE
	struct pm_buffers *buffers; ///< (T)(F) changed with both held
};

enum { PM_CACHE_SHIFT = 6, PM_CACHE_WAYS = 1 << PM_CACHE_SHIFT };

struct pm_cache_node {
	uint64_t tag[PM_NR_TAGS]; ///< (T) a bit a child
	union {
		struct pm_cache_node *child[PM_CACHE_WAYS]; ///< (T) above the lowest level
		struct pm_cache_slot slot[PM_CACHE_WAYS];   ///< (T) at the lowest
	} u;
};

struct pm_cache {
	struct pm_lock lock; ///< rank CACHE
	struct pm_host *host; ///< (C)
	struct pm_cache_node *root; ///< (T)
	uint32_t height;     ///< (T) levels; 0: empty
	uint64_t nr[PM_NR_TAGS]; ///< (T) offsets with the tag
};

/// The slot of an offset; NULL: nothing is there.
struct pm_cache_slot *pm_cache_find(const struct pm_cache *cache, uint64_t index) PM_REQUIRES(cache->lock);

/// The slot of an offset, made if need be. Each new node is `*spare`, which becomes NULL; NULL: a spare one (pm_cache_spare) is needed first.
struct pm_cache_slot *pm_cache_make(struct pm_cache *cache, uint64_t index, struct pm_cache_node **spare) PM_REQUIRES(cache->lock);
struct pm_cache_node *pm_cache_spare(struct pm_cache *cache);

bool pm_cache_test(const struct pm_cache *cache, uint64_t index, enum pm_cache_tag tag) PM_REQUIRES(cache->lock);
/// The slot is there.
void pm_cache_set(struct pm_cache *cache, uint64_t index, enum pm_cache_tag tag) PM_REQUIRES(cache->lock);
/// Clearing the last of PAGE and BLOCK takes the slot away. Returns whether it was set.
bool pm_cache_clear(struct pm_cache *cache, uint64_t index, enum pm_cache_tag tag) PM_REQUIRES(cache->lock);

/// The first offset from `index` on with the tag; UINT64_MAX if there is none.
uint64_t pm_cache_next(const struct pm_cache *cache, uint64_t index, enum pm_cache_tag tag) PM_REQUIRES(cache->lock);

/// Frees all nodes. No page is in it.
void pm_cache_free(struct pm_cache *cache) PM_REQUIRES(cache->lock);

#endif
