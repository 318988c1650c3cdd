/// The layouts of the gfp mask that kernels have had, for masks that a trace holds as numbers.
///
/// The bits were renumbered four times. Those from 24 on (23 before 5.14) depend on the kernel's configuration (KASAN, lockdep,
/// allocation profiling), so that they are known only from the kernel's own format files: a table leaves them unknown.
#include "replay/gfp.h"

enum {
	DROPPED = 0 ///< a flag of that kernel on which no placement depends
};

#define LOW_BITS \
	PM_GFP_DMA, PM_GFP_HIGHMEM, PM_GFP_DMA32, PM_GFP_MOVABLE, PM_GFP_RECLAIMABLE, PM_GFP_HIGH, PM_GFP_IO, PM_GFP_FS
#define MIDDLE_BITS                                                                                                                  \
	PM_GFP_NOWARN, PM_GFP_RETRY_MAYFAIL, PM_GFP_NOFAIL, PM_GFP_NORETRY, PM_GFP_MEMALLOC, PM_GFP_COMP, PM_GFP_ZERO, PM_GFP_NOMEMALLOC, \
		PM_GFP_HARDWALL, PM_GFP_THISNODE, DROPPED, PM_GFP_ACCOUNT

/// In each: bit 8 is COLD, then ATOMIC before ACCOUNT, then NOTRACK.
static const uint32_t bits_4_5[] = { LOW_BITS, DROPPED, MIDDLE_BITS, DROPPED, PM_GFP_DIRECT_RECLAIM, DROPPED, PM_GFP_WRITE, PM_GFP_KSWAPD_RECLAIM };
static const uint32_t bits_4_12[] = { LOW_BITS, DROPPED, MIDDLE_BITS, DROPPED, PM_GFP_DIRECT_RECLAIM, PM_GFP_WRITE, PM_GFP_KSWAPD_RECLAIM };
static const uint32_t bits_4_19[] = { LOW_BITS, PM_GFP_WRITE, MIDDLE_BITS, PM_GFP_DIRECT_RECLAIM, PM_GFP_KSWAPD_RECLAIM };
/// Bit 9 is ATOMIC before 6.3 and unused from then on. Bit 23 is ZEROTAGS from 5.14 on.
static const uint32_t bits_5_0[] = {
	LOW_BITS, PM_GFP_ZERO, DROPPED, PM_GFP_DIRECT_RECLAIM, PM_GFP_KSWAPD_RECLAIM, PM_GFP_WRITE, PM_GFP_NOWARN, PM_GFP_RETRY_MAYFAIL,
	PM_GFP_NOFAIL, PM_GFP_NORETRY, PM_GFP_MEMALLOC, PM_GFP_COMP, PM_GFP_NOMEMALLOC, PM_GFP_HARDWALL, PM_GFP_THISNODE, PM_GFP_ACCOUNT,
};
static const uint32_t bits_5_14[] = {
	LOW_BITS, PM_GFP_ZERO, DROPPED, PM_GFP_DIRECT_RECLAIM, PM_GFP_KSWAPD_RECLAIM, PM_GFP_WRITE, PM_GFP_NOWARN, PM_GFP_RETRY_MAYFAIL,
	PM_GFP_NOFAIL, PM_GFP_NORETRY, PM_GFP_MEMALLOC, PM_GFP_COMP, PM_GFP_NOMEMALLOC, PM_GFP_HARDWALL, PM_GFP_THISNODE, PM_GFP_ACCOUNT,
	PM_GFP_ZEROTAGS,
};

static const struct {
	uint32_t since; ///< major * 1000 + minor
	uint32_t n;
	const uint32_t *bits;
} layouts[] = {
	{ 5014, sizeof(bits_5_14) / sizeof(bits_5_14[0]), bits_5_14 }, { 5000, sizeof(bits_5_0) / sizeof(bits_5_0[0]), bits_5_0 },
	{ 4019, sizeof(bits_4_19) / sizeof(bits_4_19[0]), bits_4_19 }, { 4012, sizeof(bits_4_12) / sizeof(bits_4_12[0]), bits_4_12 },
	{ 4005, sizeof(bits_4_5) / sizeof(bits_4_5[0]), bits_4_5 },
};

enum pm_status pm_gfp_bits_of_version(uint32_t major, uint32_t minor, struct pm_gfp_bits *ret)
{
	uint32_t version = major * 1000 + minor;

	if (ret == NULL || major > 1000 || minor > 999)
		return PM_ERR_INVAL;
	*ret = (struct pm_gfp_bits){ .known = 0 };
	for (size_t i = 0; i < sizeof(layouts) / sizeof(layouts[0]); i++) {
		if (version < layouts[i].since)
			continue;
		for (uint32_t bit = 0; bit < layouts[i].n; bit++)
			ret->flags[bit] = layouts[i].bits[bit];
		ret->known = (1ull << layouts[i].n) - 1;
		return PM_OK;
	}
	return PM_ERR_INVAL;
}

void pm_gfp_bits_default(struct pm_gfp_bits *ret)
{
	if (pm_gfp_bits_of_version(6, 0, ret) != PM_OK)
		*ret = (struct pm_gfp_bits){ .known = 0 };
}
