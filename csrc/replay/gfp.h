/// @file gfp.h
/// Which allocation flag each bit of a kernel's gfp mask stands for.
#ifndef PM_REPLAY_GFP_H
#define PM_REPLAY_GFP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "pymigrate.h"

/// Ours for one flag by its name without mask bits, such as "__GFP_IO"; false where the name is not known.
bool pm_gfp_name(const char *text, size_t n, uint32_t *ret);

/// The layout of 6.x: what is assumed where nothing tells.
void pm_gfp_bits_default(struct pm_gfp_bits *ret);

/// Translates a kernel's mask.
static inline uint32_t pm_gfp_translate(const struct pm_gfp_bits *bits, uint64_t mask, uint32_t *unknown)
{
	uint32_t flags = 0;

	*unknown += (uint32_t)__builtin_popcountll(mask & ~bits->known);
	for (mask &= bits->known; mask != 0; mask &= mask - 1)
		flags |= bits->flags[__builtin_ctzll(mask)];
	return flags;
}

#endif
