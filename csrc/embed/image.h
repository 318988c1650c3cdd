/// The form of an image: what pm_image_save() writes and pm_image_load() reads.
///
///     8 bytes   "PMIMAGE" and the form's version
///     8 bytes   little-endian: FNV-1a, 64 bits, of all that follows
///     the rest  numbers, in seven bits a byte, lowest first (LEB128); those marked * may be negative and have their sign in the lowest bit
///
///     constants   page shift, orders, pageblock order
///     layout      zones: n, and kind, start, spanned of each; holes: n, and start (from the end of the one before), length; reserved: the same; CPUs
///     settings    min_free_kbytes*, scale, boost factor, four reserve ratios, defrag mode, pcp, high_min*, high_max*, batch*
///     pageblocks  runs until all are named: type, how many in a row
///     zones       each: boost, below_high, reclaim_active, and its free lists: for each order and type how many blocks, and each one's place, in blocks
///                 of its order, from the one before*
///     CPUs        each with each zone: high, alloc factor, free count, whether the last free was of order 1-3; and its lists, as the free lists
///     allocated   runs in order of place: frames since the last run's end; order * 8 + type; how many blocks follow one another. 0, 0, 0 ends
#ifndef PM_EMBED_IMAGE_H
#define PM_EMBED_IMAGE_H

#include "phys/buddy.h"
#include "phys/pageblock.h"
#include "phys/pcp.h"

enum { PM_IMAGE_VERSION = 1, PM_IMAGE_HEAD = 16 };

#define PM_IMAGE_MAGIC "PMIMAGE"

static inline uint64_t pm_image_hash(const uint8_t *bytes, size_t n)
{
	uint64_t hash = PM_CHECKSUM_START;
	size_t i;

	for (i = 0; i < n; i++)
		hash = (hash ^ bytes[i]) * 0x100000001b3u;
	return hash;
}

/// Small numbers of either sign: 0, -1, 1, -2, …
static inline uint64_t pm_image_fold(int64_t v)
{
	return (uint64_t)v << 1 ^ (uint64_t)(v < 0 ? -1 : 0);
}

static inline int64_t pm_image_unfold(uint64_t v)
{
	return (int64_t)(v >> 1 ^ (v & 1 ? UINT64_MAX : 0));
}

#endif
