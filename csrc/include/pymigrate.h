/// @file pymigrate.h
/// Physical memory in user space: the only public header of the core.
///
/// Rules of the interface:
///  - every function that can fail returns `enum pm_status` (0 or negative) and puts its result in `ret`, the last argument;
///  - frame numbers are `uint64_t` at this boundary (arrays of them come from numpy); inside they are `struct pm_pfn`;
///  - sizes are in frames of PM_PAGE_SIZE bytes unless a name ends in another unit;
///  - a machine may be used from many threads at once unless a function says otherwise; `pm_machine_destroy` may not run beside
///    any other call on the same machine.
///
/// The binding reads this file: declarations only between the BINDING markers, constants as enums, no preprocessor in between.
#ifndef PYMIGRATE_H
#define PYMIGRATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define PM_API __attribute__((visibility("default")))
#define PM_NODISCARD __attribute__((warn_unused_result))
#else
#define PM_API
#define PM_NODISCARD
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* BINDING-BEGIN */

/// Constants of the build. base/config.h holds the numbers; this enum repeats what a caller needs.
enum {
	PM_PAGE_SHIFT = 12,
	PM_PAGE_SIZE = 4096,
	PM_NR_ORDERS = 11,
	PM_MAX_ORDER = 10,
	PM_PAGEBLOCK_ORDER = 9,
	PM_PAGEBLOCK_NR_PAGES = 512,
	PM_COSTLY_ORDER = 3,
	PM_MAX_CPUS = 1024,
	PM_MAX_ZONES = 4
};

/// Result of a call. Zero is success; each failure has one meaning, so that it can be shown to a person.
enum pm_status {
	PM_OK = 0,
	PM_ERR_NOMEM = -1,	 ///< the host has no memory for our own data
	PM_ERR_INVAL = -2,	 ///< an argument is out of its range
	PM_ERR_RANGE = -3,	 ///< the frame is outside every zone, or in a hole
	PM_ERR_WATERMARK = -4,	 ///< every allowed zone is below the watermark of the request
	PM_ERR_NO_BLOCK = -5,	 ///< enough free frames, but no block of the order that the request may use
	PM_ERR_ZONE = -6,	 ///< no zone that the gfp flags allow has memory
	PM_ERR_FLAGS = -7,	 ///< the gfp flags contradict each other
	PM_ERR_DOUBLE_FREE = -8, ///< the frame is free already
	PM_ERR_ORDER = -9,	 ///< the block was allocated with another order, or the frame is inside a block
	PM_ERR_BUSY = -10,	 ///< the frame is not free
	PM_ERR_RESERVED = -11,	 ///< the frame is reserved: neither allocated nor freed
	PM_ERR_CORRUPT = -12,	 ///< pm_machine_validate found a contradiction
	PM_ERR_SYNTAX = -13,	 ///< a recording's text is damaged
	PM_ERR_TRUNCATED = -14,	 ///< a recording's text ends inside a line
	PM_ERR_LIMIT = -15	 ///< an input is larger than this build allows
};

/// One English sentence for a status. Static storage; never NULL.
PM_API const char *pm_status_text(enum pm_status status);

/// Zones, in the order of the kernel's zonelist from last resort to first choice.
enum pm_zone_kind { PM_ZONE_DMA = 0, PM_ZONE_DMA32 = 1, PM_ZONE_NORMAL = 2, PM_ZONE_MOVABLE = 3 };

/// Migrate types, numbered as in the kernel built without CMA.
enum pm_migratetype {
	PM_MT_UNMOVABLE = 0,
	PM_MT_MOVABLE = 1,
	PM_MT_RECLAIMABLE = 2,
	PM_MT_HIGHATOMIC = 3,
	PM_MT_ISOLATE = 4,
	PM_NR_MIGRATETYPES = 5,
	PM_NR_PCP_TYPES = 3
};

/// Allocation flags: our own numbers; a recording's symbolic or hexadecimal flags are translated when it is read.
enum pm_gfp {
	PM_GFP_DMA = 0x1,
	PM_GFP_HIGHMEM = 0x2,
	PM_GFP_DMA32 = 0x4,
	PM_GFP_MOVABLE = 0x8,
	PM_GFP_RECLAIMABLE = 0x10,
	PM_GFP_HIGH = 0x20,		///< high priority: may go below MIN
	PM_GFP_IO = 0x40,
	PM_GFP_FS = 0x80,
	PM_GFP_ZERO = 0x100,
	PM_GFP_DIRECT_RECLAIM = 0x200,	///< the caller may wait
	PM_GFP_KSWAPD_RECLAIM = 0x400,
	PM_GFP_WRITE = 0x800,
	PM_GFP_NOWARN = 0x1000,
	PM_GFP_RETRY_MAYFAIL = 0x2000,
	PM_GFP_NOFAIL = 0x4000,
	PM_GFP_NORETRY = 0x8000,
	PM_GFP_MEMALLOC = 0x10000,	///< may use all reserves
	PM_GFP_COMP = 0x20000,
	PM_GFP_NOMEMALLOC = 0x40000,
	PM_GFP_HARDWALL = 0x80000,
	PM_GFP_THISNODE = 0x100000,
	PM_GFP_ACCOUNT = 0x200000,
	PM_GFP_ZEROTAGS = 0x400000,
	PM_GFP_NOLOCKDEP = 0x800000,
	PM_GFP_NO_OBJ_EXT = 0x1000000,
	PM_GFP_ALL = 0x1ffffff,
	PM_GFP_KERNEL = 0x6c0,		///< DIRECT_RECLAIM | KSWAPD_RECLAIM | IO | FS
	PM_GFP_ATOMIC = 0x420,		///< HIGH | KSWAPD_RECLAIM
	PM_GFP_NOWAIT = 0x1400,		///< KSWAPD_RECLAIM | NOWARN
	PM_GFP_HIGHUSER_MOVABLE = 0x806ca ///< KERNEL | HARDWALL | HIGHMEM | MOVABLE
};

/* ---- recordings: events in columns (csrc/replay/parse.c fills them, csrc/replay/engine.c plays them) ---- */

/// What one recorded event is. `pfn`, `order`, `migratetype`, `gfp` and `arg0..2` of struct pm_events mean, by kind:
enum pm_event_kind {
	PM_EV_ALLOC = 0,	       ///< mm_page_alloc: pfn (PM_NO_PFN32: the allocation failed), order, migratetype, gfp
	PM_EV_FREE = 1,		       ///< mm_page_free: pfn, order
	PM_EV_FREE_BATCHED = 2,	       ///< mm_page_free_batched: pfn; accompanies a FREE, frees nothing itself
	PM_EV_ZONE_LOCKED = 3,	       ///< mm_page_alloc_zone_locked: pfn, order, migratetype; arg0 = percpu_refill
	PM_EV_PCPU_DRAIN = 4,	       ///< mm_page_pcpu_drain: pfn, order, migratetype (of the pageblock)
	PM_EV_EXTFRAG = 5,	       ///< mm_page_alloc_extfrag: pfn, order = alloc_order, migratetype = alloc_migratetype; arg0 = fallback_order, arg1 = fallback_migratetype, arg2 = change_ownership
	PM_EV_ISOLATE_FREE = 6,	       ///< mm_compaction_isolate_freepages: pfn = start, arg0 = end (exclusive), arg1 = nr_scanned, arg2 = nr_taken
	PM_EV_FAST_ISOLATE_FREE = 7,   ///< mm_compaction_fast_isolate_freepages: as above
	PM_EV_ISOLATE_MIGRATE = 8,     ///< mm_compaction_isolate_migratepages: as above
	PM_EV_SET_MIGRATION_PTE = 9,   ///< pfn = the source frame, order
	PM_EV_REMOVE_MIGRATION_PTE = 10, ///< pfn = the frame now mapped (destination, or source where migration failed), order
	PM_EV_MIGRATE_PAGES = 11,      ///< arg0 = nr_succeeded, arg1 = nr_failed, arg2 = nr_split
	PM_EV_COMPACT_BEGIN = 12,      ///< pfn = migrate_pfn, arg0 = free_pfn, arg1 = zone_start, arg2 = mode (0 async, 1 sync)
	PM_EV_COMPACT_END = 13,	       ///< pfn = migrate_pfn, arg0 = free_pfn, arg1 = zone_start, arg2 = status (enum order of the kernel's names, see docs)
	PM_EV_COMPACT_FINISHED = 14,   ///< order; arg0 = zone kind, arg1 = ret
	PM_EV_COMPACT_SUITABLE = 15,   ///< order; arg0 = zone kind, arg1 = ret
	PM_EV_TRY_TO_COMPACT = 16,     ///< order, gfp; arg0 = priority
	PM_EV_KCOMPACTD_WAKE = 17,     ///< order; arg0 = zone kind
	PM_EV_KSWAPD_WAKE = 18,	       ///< order
	PM_EV_WAKEUP_KSWAPD = 19,      ///< order, gfp
	PM_EV_DIRECT_RECLAIM_BEGIN = 20, ///< order, gfp
	PM_EV_COMPACT_MIGRATEPAGES = 21, ///< arg0 = nr_migrated, arg1 = nr_failed
	PM_NR_EVENT_KINDS = 22
};

enum { PM_NO_PFN32 = 0xffffffff };

/// Columns of events in order of time; all arrays have `n` elements and are borrowed from the caller.
struct pm_events {
	size_t n;
	const uint64_t *time_ns;   ///< the recording's clock
	const uint32_t *tid;
	const uint16_t *cpu;
	const uint8_t *kind;	   ///< enum pm_event_kind
	const int8_t *order;	   ///< -1: not given
	const int8_t *migratetype; ///< enum pm_migratetype; -1: not given
	const uint32_t *pfn;
	const uint32_t *gfp;	   ///< enum pm_gfp bits
	const uint32_t *allocation; ///< which allocation an ALLOC or FREE belongs to; PM_NO_PFN32: none
	const uint32_t *arg0;
	const uint32_t *arg1;
	const uint32_t *arg2;
};

/* BINDING-END */
#ifdef __cplusplus
}
#endif
#endif
