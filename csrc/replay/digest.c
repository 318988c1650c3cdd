/// Where memory is free, in one number a pageblock: two machines of one layout are compared without looking at every frame in turn.
#include "phys/buddy.h"

/// Mixes a number into a digest. Any odd multiplier with high bits set will do; this is 2^64 divided by the golden ratio.
static uint64_t mix(uint64_t digest, uint64_t value)
{
	digest = (digest ^ value) * 0x9e3779b97f4a7c15u;
	return digest ^ digest >> 29;
}

/// The free blocks of one pageblock. Where two machines have the same frames free, they have the same blocks: what can merge has merged.
static uint64_t digest_of(const struct pm_machine *m, uint32_t start)
{
	uint32_t left = m->nr_frames - start, nr = left < PM_PAGEBLOCK_NR_PAGES ? left : PM_PAGEBLOCK_NR_PAGES, i = 0;
	uint64_t digest = 1;

	while (i < nr) {
		uint32_t word = pm_frame_word(&m->tables.frames[start + i]);

		if (pm_word_kind(word) == PM_FRAME_FREE)
			digest = mix(digest, i << 4 | pm_word_order(word));
		i += pm_word_kind(word) == PM_FRAME_NONE ? 1 : 1u << pm_word_order(word);
	}
	return digest;
}

enum pm_status pm_free_digest(struct pm_machine *m, size_t n, uint64_t *ret)
{
	size_t i = 0;

	if (n > m->nr_pageblocks)
		return PM_ERR_INVAL;
	while (i < n) {
		unsigned int order = m->tables.pageblocks[i].free_order;
		size_t end = order ? i + ((size_t)1 << (order - PM_PAGEBLOCK_ORDER)) : i + 1;

		for (; i < end && i < n; i++)
			ret[i] = order ? 0 : digest_of(m, (uint32_t)i << PM_PAGEBLOCK_ORDER);
	}
	return PM_OK;
}
