/// Glossary in types: a frame number is a `struct pm_pfn`, a frame is 4 KiB of simulated memory, a block is 2^order frames that
/// start at a multiple of 2^order, a pageblock is 2^PM_PAGEBLOCK_ORDER frames with one migrate type.
#ifndef PM_BASE_TYPES_H
#define PM_BASE_TYPES_H

#include "base/config.h"
#include "pymigrate.h"

_Static_assert(PM_MAX_ORDER < 16, "a frame's word has four bits for the order");
_Static_assert(PM_PAGEBLOCK_ORDER > PM_COSTLY_ORDER && PM_PAGEBLOCK_ORDER <= PM_MAX_ORDER, "the per-CPU lists keep the pageblock order apart from the small ones");

/// A frame number. A struct, so that it cannot be swapped with an address, an order or a count.
struct pm_pfn {
	uint32_t v;
};

/// "No frame": ends a list, and marks a frame number that was not found.
#define PM_NIL_PFN 0xffffffffu

static inline struct pm_pfn pm_pfn(uint64_t v)
{
	return (struct pm_pfn){ (uint32_t)v };
}

static inline struct pm_pfn pm_pfn_nil(void)
{
	return (struct pm_pfn){ PM_NIL_PFN };
}

static inline bool pm_pfn_is_nil(struct pm_pfn pfn)
{
	return pfn.v == PM_NIL_PFN;
}

static inline bool pm_pfn_eq(struct pm_pfn a, struct pm_pfn b)
{
	return a.v == b.v;
}

static inline struct pm_pfn pm_pfn_add(struct pm_pfn pfn, uint32_t nr)
{
	return (struct pm_pfn){ pfn.v + nr };
}

/// The other half of the block of order + 1 that holds this block.
static inline struct pm_pfn pm_pfn_buddy(struct pm_pfn pfn, unsigned int order)
{
	return (struct pm_pfn){ pfn.v ^ (1u << order) };
}

static inline bool pm_pfn_aligned(struct pm_pfn pfn, unsigned int order)
{
	return (pfn.v & ((1u << order) - 1)) == 0;
}

/// Hides from the compiler how an address came about: it keeps the address in a register, instead of working it out again from its parts.
static inline void *pm_opaque(void *address)
{
	__asm__("" : "+r"(address));
	return address;
}

/// Asks for the cache line of an address that is about to be written. By its own instruction where there is one: read first, a line that
/// another processor wrote to comes over twice, for reading and then for writing.
static inline void pm_prefetch_write(const void *address)
{
#if defined(__x86_64__)
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)address));
#else
	__builtin_prefetch(address, 1);
#endif
}

#define PM_LIKELY(x) __builtin_expect(!!(x), 1)
#define PM_UNLIKELY(x) __builtin_expect(!!(x), 0)

#endif
