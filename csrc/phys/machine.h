/// The machine and its parts. Every mutable field says what guards it: (Z) the zone's lock, (L) the per-CPU list's lock, (A) atomic,
/// (C) constant after pm_machine_create() (or written by the single thread that loads a snapshot).
#ifndef PM_PHYS_MACHINE_H
#define PM_PHYS_MACHINE_H

#include "base/host.h"
#include "base/lock.h"
#include "phys/list.h"

enum { PM_WMARK_MIN, PM_WMARK_LOW, PM_WMARK_HIGH, PM_WMARK_PROMO, PM_NR_WMARK };

/// Lists of a CPU for one zone: three types for each of the orders 0-3, and for the huge-page order movable or not.
enum {
	PM_NR_LOW_PCP_LISTS = (PM_COSTLY_ORDER + 1) * PM_NR_PCP_TYPES,
	PM_NR_PCP_LISTS = PM_NR_LOW_PCP_LISTS + 2
};

struct pm_free_area {
	struct pm_list list[PM_NR_MIGRATETYPES]; ///< (Z)
};

struct pm_zone {
	/* What every request and every free reads, and hardly anybody writes: one cache line. */
	_Alignas(PM_CFG_CACHE_LINE) uint32_t kind; ///< (C) enum pm_zone_kind
	uint32_t index; ///< (C)
	uint32_t start; ///< (C) first frame
	uint32_t end;	///< (C) one past the last
	/// (A) HIGH with the boost, the low-memory reserve and the free HIGHATOMIC frames, by highest usable zone kind: with more free than
	/// that a request passes every mark.
	_Atomic uint64_t plenty[PM_MAX_ZONES];
	_Atomic uint32_t below_high;	     ///< (A) a hint: set by an allocation that saw too little, cleared by a drain
	_Atomic uint32_t reclaim_active;     ///< (A) a hint, set from outside
	_Atomic uint64_t watermark_boost;    ///< (A) written under the zone lock, read without it

	/* Change when memory goes offline or comes back: written under the zone lock, read without it. */
	_Atomic uint64_t present; ///< (A)
	_Atomic uint64_t managed; ///< (A)
	_Atomic uint64_t wmark[PM_NR_WMARK]; ///< (A)
	_Atomic uint64_t lowmem_reserve[PM_MAX_ZONES]; ///< (A) by highest usable zone kind

	/// (A) written under the zone lock, read without it by the watermark checks, which may be late by one refill or drain.
	_Alignas(PM_CFG_CACHE_LINE) _Atomic uint64_t nr_free;
	_Atomic uint64_t nr_free_highatomic; ///< (A) likewise

	/* What who holds the lock writes. */
	_Alignas(PM_CFG_CACHE_LINE) struct pm_lock lock;
	struct pm_free_area area[PM_NR_ORDERS]; ///< (Z)
	uint64_t nr_isolated;		 ///< (Z) frames on the ISOLATE lists
	uint64_t nr_reserved_highatomic; ///< (Z) frames in HIGHATOMIC pageblocks
	uint64_t nr_unplaced;		 ///< (C)
	uint64_t claim[PM_NR_MIGRATETYPES][PM_NR_MIGRATETYPES]; ///< (Z)
	uint64_t steal[PM_NR_MIGRATETYPES][PM_NR_MIGRATETYPES]; ///< (Z)
	uint64_t nr_highatomic_made;	 ///< (Z) pageblocks
	uint64_t nr_refill;		 ///< (Z) blocks
	uint64_t nr_drain;		 ///< (Z) blocks
	uint64_t nr_alloc;		 ///< (Z) blocks handed out past the per-CPU lists
	uint64_t nr_freed;		 ///< (Z) blocks taken back past the per-CPU lists
};

struct pm_pcp {
	/* All that the quick way of order 0 touches is one cache line, the first. */
	_Alignas(PM_CFG_PCP_BYTES) struct pm_lock lock;
	int32_t count;	      ///< (L) frames on all lists
	int32_t high;	      ///< (L) when to drain
	int32_t free_count;   ///< (L) frames freed in a row
	int32_t free_most;    ///< (L) where `free_count` stops
	union {
		struct {
			uint8_t alloc_factor; ///< (L) doublings of the next refill
			bool prev_free_high;  ///< (L) the last free had an order of 1-3
		};
		uint16_t unsettled; ///< (L) not 0: one of the two is set, and a free has to look at them
	};
	uint64_t nr_alloc;    ///< (L) blocks
	uint64_t nr_free;     ///< (L) blocks
	struct pm_chain list[PM_NR_PCP_LISTS]; ///< (L)
	int32_t batch;	      ///< (L) this and the next two change with the zone's size
	int32_t high_min;     ///< (L)
	int32_t high_max;     ///< (L)
	/// (A) failed requests that would have tried this zone first, by the two reasons that depend on the machine's state.
	_Atomic uint64_t fail_watermark;
	_Atomic uint64_t fail_no_block;
};

struct pm_cpu {
	struct pm_pcp pcp[PM_MAX_ZONES];
};

/* Powers of two, so that the lists of a CPU and zone are found with shifts. */
_Static_assert(sizeof(struct pm_pcp) == PM_CFG_PCP_BYTES, "the lists of a CPU and zone grew");

/// What a request's flags say, worked out once for each of the 32 values of the five flags that matter.
struct pm_request_class {
	struct pm_zone *quick; ///< the zone that is tried first; NULL: there is none, or there are no per-CPU lists
	uint32_t word;	       ///< of a block of order 0 that the request gets
	int8_t highest;	       ///< highest zone kind that may serve; -1: the flags contradict each other
	uint8_t first;	       ///< index of the zone `quick`
	uint8_t migratetype;
	uint8_t first_flags;   ///< enum pm_alloc_flags of the first try
};

enum { PM_GFP_CLASS_MASK = 0x1f };

struct pm_machine {
	struct pm_tables tables; ///< (C)
	uint32_t nr_frames;	 ///< (C) one past the last frame
	uint32_t nr_pageblocks;	 ///< (C)
	uint32_t nr_zones;	 ///< (C)
	uint32_t nr_cpus;	 ///< (C)
	struct pm_request_class classes[PM_GFP_CLASS_MASK + 1]; ///< (C) by gfp & PM_GFP_CLASS_MASK
	/// (C) zones a request may use, first choice first, by the highest kind it allows; -1 ends.
	int8_t zonelist[PM_MAX_ZONES][PM_MAX_ZONES + 1];
	struct pm_settings settings;	 ///< (C)
	struct pm_zone zone[PM_MAX_ZONES];
	/// Rank OBJECTS. Held while marks and sizes are worked out anew, which looks at all zones.
	struct pm_lock resize;
	struct pm_cpu *cpu; ///< [nr_cpus]
	struct pm_range *holes; ///< (C) [nr_holes] in order
	size_t nr_holes;
	struct pm_range *reserved; ///< (C) [nr_reserved] in order
	size_t nr_reserved;
	/// (C) one bit a frame, from the first pm_load_blocks() on: placed, reserved or in a hole. NULL before.
	uint64_t *placed;
	size_t frames_bytes;	 ///< (C) mapped for the frame table
	size_t pageblocks_bytes; ///< (C)

	/* ---- frames with owners: NULL until pm_memory_enable(), (C) then ---- */
	struct pm_page *pages; ///< [nr_frames], phys/page.h
	char *arena;	       ///< contents of the frames; NULL: there are none
	int arena_fd;	       ///< of a shared arena; -1: none
	struct pm_host host;   ///< memory for our own objects
	struct pm_virt *virt;  ///< virt/virt.h: address spaces, reverse maps, pins
	struct pm_back *back;  ///< back/back.h: files, devices, reclaim
	_Atomic(struct pm_move *) move; ///< move/move.h: migration; made by the first call that needs it
	_Atomic(void (*)(struct pm_machine *m)) move_destroy; ///< (A) set with `move`: called first when owners of frames end
	/// What pm_memory_enable() adds to pm_machine_destroy() and pm_machine_validate(): those are in this folder, what they call is below it.
	void (*memory_destroy)(struct pm_machine *m);
	enum pm_status (*memory_validate)(struct pm_machine *m, char *message, size_t size);
};

static inline struct pm_pageblock *pm_pageblock_of(const struct pm_machine *m, struct pm_pfn pfn)
{
	return &m->tables.pageblocks[pfn.v >> PM_PAGEBLOCK_ORDER];
}

static inline struct pm_frame *pm_frame_of(const struct pm_machine *m, struct pm_pfn pfn)
{
	return &m->tables.frames[pfn.v];
}

static inline struct pm_pcp *pm_pcp_of(const struct pm_machine *m, uint32_t cpu, uint32_t zone)
{
	return &m->cpu[cpu].pcp[zone];
}

/// The zone of a frame, or NULL outside every zone.
static inline struct pm_zone *pm_zone_of(struct pm_machine *m, uint64_t pfn)
{
	uint8_t index;

	if (PM_UNLIKELY(pfn >= m->nr_frames))
		return NULL;
	index = m->tables.pageblocks[pfn >> PM_PAGEBLOCK_ORDER].zone;
	if (PM_UNLIKELY(index == PM_NO_ZONE || pfn < m->zone[index].start || pfn >= m->zone[index].end))
		return NULL;
	return &m->zone[index];
}

/// Relaxed, as the three below: who decides by them may be late by one change of the zone's size.
static inline uint64_t pm_zone_managed(const struct pm_zone *zone)
{
	return atomic_load_explicit(&zone->managed, memory_order_relaxed);
}

static inline uint64_t pm_zone_wmark(const struct pm_zone *zone, unsigned int which)
{
	return atomic_load_explicit(&zone->wmark[which], memory_order_relaxed);
}

static inline uint64_t pm_zone_reserve(const struct pm_zone *zone, unsigned int highest)
{
	return atomic_load_explicit(&zone->lowmem_reserve[highest], memory_order_relaxed);
}

/// Is `pfn` in one of the ranges? Binary search; slow paths only.
bool pm_in_ranges(const struct pm_range *ranges, size_t n, uint64_t pfn);

/// Frames of [start, end) that lie in none of the holes and reserved ranges come out one run at a time: returns false at the end,
/// else moves `*start` past the run that it stores in `ret`.
bool pm_next_usable(const struct pm_machine *m, uint64_t *start, uint64_t end, struct pm_range *ret);

#endif
