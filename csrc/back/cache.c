#include "back/cache.h"

/// Levels that 64-bit offsets can need.
enum { PM_CACHE_LEVELS = 11 };

static unsigned int way_of(uint64_t index, uint32_t level)
{
	return (unsigned int)(index >> (level * PM_CACHE_SHIFT)) & (PM_CACHE_WAYS - 1);
}

static bool in_reach(const struct pm_cache *cache, uint64_t index)
{
	return cache->height != 0 && (cache->height * PM_CACHE_SHIFT >= 64 || index >> (cache->height * PM_CACHE_SHIFT) == 0);
}

/// The way down to an offset, root first. Returns the number of nodes: as many as levels if the slot is there.
static uint32_t walk(const struct pm_cache *cache, uint64_t index, struct pm_cache_node *path[PM_CACHE_LEVELS]) PM_REQUIRES(cache->lock)
{
	struct pm_cache_node *node = in_reach(cache, index) ? cache->root : NULL;
	uint32_t n = 0;

	while (node) {
		path[n++] = node;
		node = n < cache->height ? node->u.child[way_of(index, cache->height - n)] : NULL;
	}
	return n;
}

struct pm_cache_slot *pm_cache_find(const struct pm_cache *cache, uint64_t index)
{
	struct pm_cache_node *path[PM_CACHE_LEVELS];
	uint32_t n = walk(cache, index, path);

	return n && n == cache->height ? &path[n - 1]->u.slot[way_of(index, 0)] : NULL;
}

struct pm_cache_node *pm_cache_spare(struct pm_cache *cache)
{
	return pm_host_zalloc(cache->host, sizeof(struct pm_cache_node));
}

/// Puts a root above the root, until the offset is in reach. False: for want of a spare node.
static bool grow(struct pm_cache *cache, uint64_t index, struct pm_cache_node **spare) PM_REQUIRES(cache->lock)
{
	unsigned int tag;

	while (!in_reach(cache, index)) {
		struct pm_cache_node *root = *spare;

		if (!root)
			return false;
		*spare = NULL;
		if (cache->root) {
			root->u.child[0] = cache->root;
			for (tag = 0; tag < PM_NR_TAGS; tag++)
				root->tag[tag] = cache->nr[tag] != 0;
		}
		cache->root = root;
		cache->height++;
	}
	return true;
}

struct pm_cache_slot *pm_cache_make(struct pm_cache *cache, uint64_t index, struct pm_cache_node **spare)
{
	struct pm_cache_node *node;
	uint32_t level;

	if (!grow(cache, index, spare))
		return NULL;
	node = cache->root;
	for (level = cache->height - 1; level > 0; level--) {
		struct pm_cache_node **below = &node->u.child[way_of(index, level)];

		if (!*below) {
			*below = *spare;
			*spare = NULL;
		}
		if (!*below)
			return NULL;
		node = *below;
	}
	return &node->u.slot[way_of(index, 0)];
}

bool pm_cache_test(const struct pm_cache *cache, uint64_t index, enum pm_cache_tag tag)
{
	struct pm_cache_node *path[PM_CACHE_LEVELS];
	uint32_t n = walk(cache, index, path);

	return n && n == cache->height && (path[n - 1]->tag[tag] >> way_of(index, 0) & 1);
}

void pm_cache_set(struct pm_cache *cache, uint64_t index, enum pm_cache_tag tag)
{
	struct pm_cache_node *path[PM_CACHE_LEVELS];
	uint32_t n = walk(cache, index, path), i;

	PM_ASSERT(n && n == cache->height);
	if (path[n - 1]->tag[tag] >> way_of(index, 0) & 1)
		return;
	cache->nr[tag]++;
	for (i = 0; i < n; i++)
		path[i]->tag[tag] |= (uint64_t)1 << way_of(index, cache->height - 1 - i);
}

/// Is nothing tagged below a node, and no node either? One that was made in vain hangs there until its place is used, or all goes.
static bool is_empty(const struct pm_cache_node *node, bool lowest)
{
	unsigned int way;

	if (node->tag[PM_TAG_PAGE] || node->tag[PM_TAG_BLOCK])
		return false;
	for (way = 0; !lowest && way < PM_CACHE_WAYS; way++)
		if (node->u.child[way])
			return false;
	return true;
}

/// Frees the nodes on the way to an offset below which nothing is left, lowest first.
static void prune(struct pm_cache *cache, uint64_t index, struct pm_cache_node **path, uint32_t n) PM_REQUIRES(cache->lock)
{
	while (n && is_empty(path[n - 1], n == cache->height)) {
		n--;
		pm_host_free(cache->host, path[n]);
		if (n) {
			path[n - 1]->u.child[way_of(index, cache->height - n)] = NULL;
		} else {
			cache->root = NULL;
			cache->height = 0;
		}
	}
}

bool pm_cache_clear(struct pm_cache *cache, uint64_t index, enum pm_cache_tag tag)
{
	struct pm_cache_node *path[PM_CACHE_LEVELS];
	uint32_t n = walk(cache, index, path), i;

	if (!n || n != cache->height || !(path[n - 1]->tag[tag] >> way_of(index, 0) & 1))
		return false;
	cache->nr[tag]--;
	for (i = n; i > 0; i--) {
		path[i - 1]->tag[tag] &= ~((uint64_t)1 << way_of(index, cache->height - i));
		if (path[i - 1]->tag[tag])
			break;
	}
	if (tag == PM_TAG_PAGE || tag == PM_TAG_BLOCK)
		prune(cache, index, path, n);
	return true;
}

/// The first way of a node from `way` on with the tag; PM_CACHE_WAYS if there is none.
static unsigned int next_way(const struct pm_cache_node *node, unsigned int way, enum pm_cache_tag tag)
{
	uint64_t bits = way < PM_CACHE_WAYS ? node->tag[tag] >> way << way : 0;

	return bits ? (unsigned int)__builtin_ctzll(bits) : (unsigned int)PM_CACHE_WAYS;
}

uint64_t pm_cache_next(const struct pm_cache *cache, uint64_t index, enum pm_cache_tag tag)
{
	for (;;) {
		const struct pm_cache_node *node = cache->root;
		uint32_t level = cache->height;
		uint64_t step;

		if (!in_reach(cache, index))
			return UINT64_MAX;
		while (level > 0) {
			unsigned int way = way_of(index, level - 1), found = next_way(node, way, tag);

			if (found == PM_CACHE_WAYS)
				break;
			if (found != way) {
				/* To the beginning of that child. */
				step = (uint64_t)1 << ((level - 1) * PM_CACHE_SHIFT);
				index = (index / step + (found - way)) * step;
			}
			level--;
			if (level == 0)
				return index;
			node = node->u.child[found];
		}
		/* Nothing from here to the end of this node: on behind it. */
		step = level * PM_CACHE_SHIFT >= 64 ? 0 : (uint64_t)1 << (level * PM_CACHE_SHIFT);
		if (!step || index / step + 1 > UINT64_MAX / step)
			return UINT64_MAX;
		index = (index / step + 1) * step;
	}
}

static void free_below(struct pm_cache *cache, struct pm_cache_node *node, uint32_t level)
{
	unsigned int way;

	for (way = 0; node && level > 1 && way < PM_CACHE_WAYS; way++)
		free_below(cache, node->u.child[way], level - 1);
	pm_host_free(cache->host, node);
}

void pm_cache_free(struct pm_cache *cache)
{
	PM_ASSERT(cache->nr[PM_TAG_PAGE] == 0);
	free_below(cache, cache->root, cache->height);
	cache->root = NULL;
	cache->height = 0;
	cache->nr[PM_TAG_BLOCK] = 0;
}
