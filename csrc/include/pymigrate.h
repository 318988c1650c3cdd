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
/// The binding reads this file: declarations only between the BINDING markers; constants are enums, or, where they do not fit into an
/// int, lines of the form `#define PM_NAME number`. No other preprocessor lines in between.
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

#if defined(__cplusplus) && defined(__GNUC__)
/* In C a structure and the function that fills it may have one name; g++ -Wshadow would warn of each pair. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wshadow"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* BINDING-BEGIN */

/// Constants of the build: change them here, and build anew. Those below the blank line follow from the ones above it.
enum {
	PM_PAGE_SHIFT = 12,
	PM_NR_ORDERS = 11, ///< blocks of 2^0 .. 2^10 frames
	PM_PAGEBLOCK_ORDER = 9,
	PM_COSTLY_ORDER = 3,
	PM_PCP_SCALE_MAX = 5, ///< most doublings of a refill of a per-CPU list
	PM_MAX_CPUS = 1024,
	PM_MAX_ZONES = 4,

	PM_PAGE_SIZE = 1 << PM_PAGE_SHIFT,
	PM_MAX_ORDER = PM_NR_ORDERS - 1,
	PM_PAGEBLOCK_NR_PAGES = 1 << PM_PAGEBLOCK_ORDER
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
	PM_ERR_LIMIT = -15,	 ///< an input is larger than this build allows
	PM_ERR_OWNED = -16,	 ///< the frame belongs to an address space, a file or another owner, which alone frees it
	PM_ERR_CLOSED = -17,	 ///< the machine is being closed
	PM_ERR_INTR = -18,	 ///< the call has waited as long as it may; what it did so far stands: call again for the rest
	PM_ERR_AGAIN = -19,	 ///< somebody holds what is needed, for a moment
	PM_ERR_HANDLE = -20,	 ///< no such object: of another kind, gone already, or never made
	PM_ERR_STATE = -21,	 ///< the machine has no owners of frames (pm_memory_enable), or has them already
	PM_ERR_FAULT = -22,	 ///< nothing is mapped at this address
	PM_ERR_ACCESS = -23,	 ///< the mapping does not allow this access
	PM_ERR_BEYOND = -24,	 ///< beyond the end of the file
	PM_ERR_IO = -25,	 ///< a transfer failed; nothing is lost, what was to be written is still dirty
	PM_ERR_NO_SWAP = -26,	 ///< no free swap slot
	PM_ERR_NO_CONTENTS = -27, ///< the machine keeps no contents of frames
	PM_ERR_PINNED = -28	 ///< a pinned frame is in the way
};

/// Version of the binary interface. MAJOR changes when a program compiled against an older header could go wrong (a structure, a number or
/// the meaning of a call has changed); MINOR grows when something is added.
enum { PM_ABI_MAJOR = 1, PM_ABI_MINOR = 0, PM_ABI_VERSION = PM_ABI_MAJOR * 65536 + PM_ABI_MINOR };

/// PM_ABI_VERSION of the library that was loaded: MAJOR * 65536 + MINOR. A caller who was compiled against this header may go on if MAJOR is the
/// same and MINOR not smaller than his own. No lock; any thread.
PM_API uint32_t pm_abi_version(void);

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

/* ---- the machine ---- */

struct pm_machine;

/// Frames [start, end).
struct pm_range {
	uint64_t start;
	uint64_t end;
};

/// A zone: `spanned` frames from `start_pfn`. Zones may not overlap nor share a pageblock.
struct pm_zone_layout {
	uint32_t kind; ///< enum pm_zone_kind
	uint64_t start_pfn;
	uint64_t spanned;
};

/// What an administrator can set; pm_settings_default() fills in the kernel's defaults.
struct pm_settings {
	int64_t min_free_kbytes;	     ///< -1: from the amount of memory
	uint32_t watermark_scale_factor;     ///< parts of 10,000
	uint32_t watermark_boost_factor;     ///< parts of 10,000 of the HIGH mark; 0: no boost
	uint32_t lowmem_reserve_ratio[4];    ///< by zone kind; 0: no reserve
	uint32_t defrag_mode;		     ///< 1: take a block of another type below the pageblock order only as a last resort
	uint32_t pcp;			     ///< 0: no per-CPU lists, every block comes from and goes to the free lists
	int64_t pcp_high_min;		     ///< frames; -1: from the watermarks. One value for every zone
	int64_t pcp_high_max;		     ///< frames; -1: from the zone's size
	int64_t pcp_batch;		     ///< frames; -1: from the zone's size
};

/// What pm_machine_create() makes of the present frames.
enum pm_start {
	PM_START_FREE = 0,    ///< all that are not reserved are free, as after boot
	PM_START_UNPLACED = 1 ///< none is anywhere yet: pm_load_blocks() places them (a snapshot)
};

/// A machine's physical layout. Arrays are copied.
struct pm_layout {
	const struct pm_zone_layout *zones;
	size_t nr_zones;
	const struct pm_range *holes; ///< frames inside zones that do not exist; in order, not overlapping
	size_t nr_holes;
	const struct pm_range *reserved; ///< present frames that the allocator never owns; in order, not overlapping
	size_t nr_reserved;
	uint32_t nr_cpus; ///< 1..PM_MAX_CPUS
	uint32_t start;	  ///< enum pm_start
	struct pm_settings settings;
};

/// The kernel's defaults.
PM_API void pm_settings_default(struct pm_settings *ret);

/// Makes a machine. PM_ERR_INVAL: the layout contradicts itself; PM_ERR_LIMIT: more frames than 32-bit links can name; PM_ERR_NOMEM.
PM_API PM_NODISCARD enum pm_status pm_machine_create(const struct pm_layout *layout, struct pm_machine **ret);

/// Frees the machine. NULL is allowed. No other call may run or follow.
PM_API void pm_machine_destroy(struct pm_machine *m);

/* ---- allocate and free: any thread may work on any CPU ---- */

/// Allocates a block of 2^order frames on `cpu` and stores its first frame in `ret`.
/// PM_ERR_INVAL: cpu, order or unknown flags; PM_ERR_FLAGS; PM_ERR_ZONE; PM_ERR_WATERMARK; PM_ERR_NO_BLOCK.
/// Locks: the CPU's list, then the zone. Follows the order of zones, watermarks and types of REFERENCE section 4.
PM_API PM_NODISCARD enum pm_status pm_alloc(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, uint64_t *ret);

/// pm_alloc() for bindings, to whom an out parameter is dear: the block's first frame, or a negative enum pm_status.
PM_API PM_NODISCARD int64_t pm_alloc_pfn(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp);

/// Frees the block of 2^order frames at `pfn` on `cpu`.
/// PM_ERR_RANGE, PM_ERR_RESERVED, PM_ERR_DOUBLE_FREE, PM_ERR_ORDER; of several threads that free one block at once, one succeeds.
PM_API PM_NODISCARD enum pm_status pm_free(struct pm_machine *m, uint32_t cpu, uint64_t pfn, uint32_t order);

/// Allocates `n` blocks into pfns[0..n). `ret` gets how many were had; fewer than n only with a failure status.
PM_API PM_NODISCARD enum pm_status pm_alloc_bulk(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, size_t n, uint64_t *pfns, size_t *ret);

/// Frees the blocks pfns[0..n). Stops at the first that cannot be freed; `ret` gets how many were.
PM_API PM_NODISCARD enum pm_status pm_free_bulk(struct pm_machine *m, uint32_t cpu, uint32_t order, size_t n, const uint64_t *pfns, size_t *ret);

/// pm_alloc_bulk() and pm_free_bulk() for bindings: n if all blocks were allocated or freed. Otherwise minus a number whose
/// lowest eight bits are minus the enum pm_status, and those above how many blocks were done before it.
PM_API PM_NODISCARD int64_t pm_alloc_pfns(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, size_t n, uint64_t *pfns);
/// pm_free_bulk() for bindings, with the result of pm_alloc_pfns().
PM_API PM_NODISCARD int64_t pm_free_pfns(struct pm_machine *m, uint32_t cpu, uint32_t order, size_t n, const uint64_t *pfns);

/// Takes the free block of 2^order frames at exactly `pfn` (a part of a larger free block is split off), type `migratetype`.
/// PM_ERR_BUSY: not all of it is on the free lists as one block or part of one, or its pageblock is isolated.
PM_API PM_NODISCARD enum pm_status pm_take(struct pm_machine *m, uint64_t pfn, uint32_t order, uint32_t migratetype);

/// Splits an allocated block into blocks of `new_order`, each of which is freed by itself. PM_ERR_ORDER, PM_ERR_RANGE, PM_ERR_DOUBLE_FREE.
PM_API PM_NODISCARD enum pm_status pm_split(struct pm_machine *m, uint64_t pfn, uint32_t order, uint32_t new_order);

/// In place of a CPU: every one.
#define PM_ALL_CPUS 0xffffffffu
/// Moves all blocks of the per-CPU lists of `cpu` (PM_ALL_CPUS: of every CPU) to the free lists.
PM_API PM_NODISCARD enum pm_status pm_drain(struct pm_machine *m, uint32_t cpu);

/// What the kernel's periodic vmstat work does to the lists of `cpu` about once a second: lowers `high`, drains what is above it.
PM_API PM_NODISCARD enum pm_status pm_decay_pcp(struct pm_machine *m, uint32_t cpu);

/// While reclaim is active in a zone its per-CPU lists hold less; its end takes the zone's watermark boost away.
/// `zone` is an index as in pm_zone_info().
PM_API PM_NODISCARD enum pm_status pm_set_reclaim_active(struct pm_machine *m, uint32_t zone, bool active);

/// Isolates the pageblock of `pfn` (its free blocks move to the ISOLATE lists and no longer count as free), or undoes it.
/// PM_ERR_BUSY: it is in that state already.
PM_API PM_NODISCARD enum pm_status pm_set_isolated(struct pm_machine *m, uint64_t pfn, bool isolated);

/// Gives a pageblock the type `migratetype` and moves its free blocks to the lists of that type.
PM_API PM_NODISCARD enum pm_status pm_set_pageblock_type(struct pm_machine *m, uint64_t pfn, uint32_t migratetype);

/// Gives all HIGHATOMIC pageblocks back to `migratetype`. Returns how many in `ret`.
PM_API PM_NODISCARD enum pm_status pm_unreserve_highatomic(struct pm_machine *m, uint32_t migratetype, uint64_t *ret);

/* ---- load a snapshot into a machine made with PM_START_UNPLACED (one thread) ---- */

/// Where a block is: on a free list, on a per-CPU list, or allocated.
enum pm_place { PM_PLACE_FREE = 1, PM_PLACE_PCP = 2, PM_PLACE_USED = 3 };

/// Places n blocks: pfns[i] and the 2^orders[i] frames from there. A free or per-CPU block goes to the *tail* of its list, so the
/// caller decides the order of every list. `cpus` is read for PM_PLACE_PCP only and may be NULL if there is none.
/// A free block is put on the list of its pageblock's type; migratetypes[i] is the type of a used or per-CPU block.
/// Stops at the first block that cannot be placed; `ret` gets how many were.
PM_API PM_NODISCARD enum pm_status pm_load_blocks(struct pm_machine *m, size_t n, const uint64_t *pfns, const uint8_t *orders, const uint8_t *places,
	const uint8_t *migratetypes, const uint16_t *cpus, size_t *ret);

/// Sets the types of the pageblocks [first, first + n), counted from frame 0, without moving anything: before pm_load_blocks().
PM_API PM_NODISCARD enum pm_status pm_load_pageblock_types(struct pm_machine *m, uint64_t first, size_t n, const uint8_t *types);

/// Sets what a CPU's lists of a zone have learnt: `high` in frames and the two scale factors.
PM_API PM_NODISCARD enum pm_status pm_load_pcp(struct pm_machine *m, uint32_t cpu, uint32_t zone, uint32_t high, uint32_t alloc_factor, uint32_t free_count);

/* ---- look ---- */

/// One zone, at one moment. All counts are frames.
struct pm_zone_info {
	uint32_t kind;
	uint64_t start_pfn;
	uint64_t spanned;
	uint64_t present;
	uint64_t managed;
	uint64_t nr_free; ///< on the free lists, without ISOLATE
	uint64_t nr_free_highatomic;
	uint64_t nr_isolated;
	uint64_t nr_pcp;
	uint64_t nr_unplaced;
	uint64_t nr_reserved_highatomic;
	uint64_t wmark[4]; ///< MIN, LOW, HIGH, PROMO, without boost
	uint64_t watermark_boost;
	uint64_t lowmem_reserve[4]; ///< by the zone kind that the request may use at most
	uint32_t below_high;	    ///< 1 while free frames are known to be below HIGH
	uint32_t reclaim_active;
};

/// The per-CPU lists of one CPU and zone. Frames.
struct pm_pcp_info {
	int32_t count;
	int32_t high;
	int32_t high_min;
	int32_t high_max;
	int32_t batch;
	uint32_t alloc_factor;
	int32_t free_count;
};

/// What has happened since the machine was made, over all zones.
struct pm_counters {
	uint64_t alloc;			///< blocks handed out
	uint64_t free;			///< blocks taken back
	uint64_t fail_watermark;
	uint64_t fail_no_block;
	uint64_t pcp_refill;		///< blocks moved to per-CPU lists
	uint64_t pcp_drain;		///< blocks moved from per-CPU lists
	uint64_t claim[5][5];		///< [requested type][type of the block taken]
	uint64_t steal[5][5];
	uint64_t highatomic_reserved;	///< pageblocks
};

/// How many zones the machine has; a zone's index is below it.
PM_API uint32_t pm_nr_zones(const struct pm_machine *m);
/// How many CPUs the machine has; `cpu` of every function is below it.
PM_API uint32_t pm_nr_cpus(const struct pm_machine *m);
PM_API uint64_t pm_nr_frames(const struct pm_machine *m); ///< one past the last frame of the last zone
/// One zone, at one moment. PM_ERR_INVAL: no such zone.
PM_API PM_NODISCARD enum pm_status pm_zone_info(struct pm_machine *m, uint32_t zone, struct pm_zone_info *ret);
/// The lists of one CPU and zone. PM_ERR_INVAL: no such CPU or zone.
PM_API PM_NODISCARD enum pm_status pm_pcp_info(struct pm_machine *m, uint32_t cpu, uint32_t zone, struct pm_pcp_info *ret);
/// Adds up what every CPU has counted since the machine was made.
PM_API void pm_counters(struct pm_machine *m, struct pm_counters *ret);

/// Free blocks by order and type: ret[order * PM_NR_MIGRATETYPES + type], PM_NR_ORDERS * PM_NR_MIGRATETYPES numbers.
PM_API PM_NODISCARD enum pm_status pm_free_blocks(struct pm_machine *m, uint32_t zone, uint64_t *ret);

/// Which text of /proc pm_text() writes.
enum pm_text { PM_TEXT_BUDDYINFO = 0, PM_TEXT_PAGETYPEINFO = 1, PM_TEXT_ZONEINFO = 2 };
/// The text of /proc/buddyinfo, /proc/pagetypeinfo or /proc/zoneinfo for this machine. Writes at most `size` bytes with the
/// closing zero; `ret` gets the whole length without it (ask with size 0 first). `text` names which.
PM_API PM_NODISCARD enum pm_status pm_text(struct pm_machine *m, uint32_t text, char *buffer, size_t size, size_t *ret);

/// Indices of REFERENCE section 4, from free blocks by order (PM_NR_ORDERS numbers). Thousandths, as the kernel's integers; INT64_MIN for an order above PM_MAX_ORDER.
PM_API int64_t pm_fragmentation_index(const uint64_t *nr_blocks, uint32_t order);
/// The unusable free space index, of the same arguments and in the same unit.
PM_API int64_t pm_unusable_index(const uint64_t *nr_blocks, uint32_t order);

/// How a frame looks from outside: what pm_frame_state() and pm_frame_states() report.
enum pm_frame_state {
	PM_STATE_HOLE = 0,
	PM_STATE_RESERVED = 1,
	PM_STATE_UNPLACED = 2,
	PM_STATE_FREE = 3,
	PM_STATE_PCP = 4,
	PM_STATE_USED = 5,
	PM_STATE_OFFLINE = 6 ///< taken away from its zone by pm_range_run()
};

/// Where a frame is, and the block that holds it.
struct pm_frame_info {
	uint32_t state; ///< enum pm_frame_state
	uint32_t zone;	///< index; 0xff: none
	uint64_t head;	///< first frame of the block; the frame itself where there is no block
	uint32_t order;
	uint32_t migratetype;
	uint32_t pageblock_type; ///< ISOLATE while isolated
	uint32_t tag;
};
/// Where one frame is, at one moment. PM_ERR_RANGE: beyond the last zone.
PM_API PM_NODISCARD enum pm_status pm_frame_info(struct pm_machine *m, uint64_t pfn, struct pm_frame_info *ret);

/// One byte a frame for [start, start + n): enum pm_frame_state in the low 3 bits, migrate type of the block above them.
/// Not atomic as a whole while others allocate.
PM_API PM_NODISCARD enum pm_status pm_frame_states(struct pm_machine *m, uint64_t start, size_t n, uint8_t *ret);

/// The tables themselves, for views without a copy: pm_frame_table() has pm_nr_frames() entries of 16 bytes (uint32 word, tag,
/// prev, next; the first block of a list has no meaningful prev), pm_pageblock_table() one of 16 bytes for each 512 frames. The words are written by others at any time.
PM_API const void *pm_frame_table(const struct pm_machine *m);
/// The table of pageblocks, as pm_frame_table() says.
PM_API const void *pm_pageblock_table(const struct pm_machine *m);

/// What the owners of frames know, likewise: pm_nr_frames() entries of 16 bytes (uint32 references, map count, flags as bits of csrc/phys/page.h, mapping). NULL: the machine has no owners.
PM_API const void *pm_page_table(const struct pm_machine *m);

/// The caller's own number for an allocated block. PM_ERR_ORDER: pfn is not the head of an allocated block.
PM_API PM_NODISCARD enum pm_status pm_set_tag(struct pm_machine *m, uint64_t pfn, uint32_t tag);

/// Walks everything: every frame in exactly one place, lists and counters agree, no unmerged buddies, types agree.
/// PM_ERR_CORRUPT: `message` (size bytes) says what is wrong and where. PM_OK: it is empty, or says what is in the middle of a migration that is stepped
/// (pm_migration_begin): what that has of frames is accounted for. Nobody else may use the machine meanwhile.
PM_API PM_NODISCARD enum pm_status pm_machine_validate(struct pm_machine *m, char *message, size_t size);

/* ---- frames with owners: contents, time, calls that wait (csrc/virt) ---- */

/// Do the frames hold bytes? Metadata alone (address spaces, faults, reclaim) works without.
enum pm_contents {
	PM_CONTENTS_NONE = 0,	 ///< reads and writes of contents return PM_ERR_NO_CONTENTS
	PM_CONTENTS_PRIVATE = 1, ///< an anonymous mapping of the host
	PM_CONTENTS_SHARED = 2	 ///< a memory file
};

/// What stands in for a TLB: how an access holds off a flush, and so the reuse of a frame that it still sees.
enum pm_guard {
	PM_GUARD_EPOCH = 0, ///< a word a CPU, written without a fence; the flush side pays (membarrier). Where the host has none: FENCE
	PM_GUARD_FENCE = 1, ///< the same with a fence in each access
	PM_GUARD_LOCK = 2   ///< a lock a CPU, taken by each access and by each flush: to compare with
};

struct pm_memory_options {
	uint32_t contents;	   ///< enum pm_contents
	uint32_t tables_in_frames; ///< 1: every page table takes an unmovable frame of the machine
	/// How often a call may sleep (5 ms at most each time) before it comes back with PM_ERR_INTR; 0: as often as it has to. For callers with
	/// signals to look after.
	uint32_t wait_slices;
	uint32_t guard;		   ///< enum pm_guard
	uint64_t (*now_ns)(void *context); ///< the clock of devices; NULL: virtual time, which goes on when somebody waits and by pm_clock_advance()
	void *context;
};
/// Contents in a private mapping, epochs, virtual time, calls that sleep as often as they have to.
PM_API void pm_memory_options_default(struct pm_memory_options *ret);

/// Prepares a machine for owners of frames. PM_ERR_STATE: it is already; PM_ERR_NOMEM, PM_ERR_INVAL. Nobody else may use the machine meanwhile.
PM_API PM_NODISCARD enum pm_status pm_memory_enable(struct pm_machine *m, const struct pm_memory_options *options);

/// Ends the use of a machine's owners: wakes every call that waits (it returns PM_ERR_CLOSED), refuses new ones, and returns when none is
/// left inside. May be called again. The machine still has to be destroyed.
PM_API void pm_machine_shut(struct pm_machine *m);

/// Lets a request of the core for memory fail: the `nth` from now on, counted from 1 (0: none), host memory and frames for owners alike;
/// with `from_then_on` all later ones too. `ret` gets how many there were since the last call of this function (they are counted only while nth is not 0).
PM_API PM_NODISCARD enum pm_status pm_fail_allocations(struct pm_machine *m, uint64_t nth, bool from_then_on, uint64_t *ret);

/// Pieces of host memory that the machine's owners hold.
PM_API int64_t pm_host_pieces(const struct pm_machine *m);

/// Nanoseconds of the machine's clock; 0 for a machine without owners.
PM_API uint64_t pm_clock_now(struct pm_machine *m);
/// Moves virtual time on, and ends the transfers that are due then. PM_ERR_INVAL: the clock is the caller's own.
PM_API PM_NODISCARD enum pm_status pm_clock_advance(struct pm_machine *m, uint64_t ns);

/* ---- address spaces (csrc/virt). `space` is a handle; every function may return PM_ERR_INVAL, PM_ERR_STATE, PM_ERR_HANDLE, PM_ERR_CLOSED, PM_ERR_INTR, PM_ERR_NOMEM.
   Addresses are below 2^PM_VA_BITS, lengths positive; both in bytes, and multiples of the page size where a mapping is changed. ---- */

enum { PM_VA_BITS = 44 };

enum pm_prot { PM_PROT_NONE = 0, PM_PROT_READ = 1, PM_PROT_WRITE = 2 };

enum pm_map_flags {
	PM_MAP_SHARED = 1,   ///< writes reach the file, and forked spaces share them; without it they are private
	PM_MAP_FIXED = 2,    ///< at `addr`, instead of what is mapped there
	PM_MAP_LOCKED = 4,   ///< as pm_mlock()
	PM_MAP_POPULATE = 8, ///< fault everything in
	PM_MAP_MAYMOVE = 16  ///< pm_remap() may choose another place
};

struct pm_map_request {
	uint64_t addr;	 ///< with PM_MAP_FIXED; otherwise the place is chosen
	uint64_t length;
	uint32_t prot;	 ///< enum pm_prot
	uint32_t flags;	 ///< enum pm_map_flags
	uint64_t file;	 ///< handle; 0: anonymous
	uint64_t offset; ///< in the file
};

/// A new address space, with nothing mapped. `ret` gets its handle.
PM_API PM_NODISCARD enum pm_status pm_space_create(struct pm_machine *m, uint64_t *ret);
/// A child that shares all frames copy-on-write (shared mappings stay shared). PM_ERR_* of an allocation for a pinned frame, which is copied at once.
PM_API PM_NODISCARD enum pm_status pm_space_fork(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t *ret);
/// Ends a space: waits for the calls that work on it, then unmaps everything. Its pins stay until they are given back.
PM_API PM_NODISCARD enum pm_status pm_space_exit(struct pm_machine *m, uint32_t cpu, uint64_t space);

/// Maps a file or anonymous memory. `ret` gets the address. A populating map that runs out of memory stays mapped, and says so.
PM_API PM_NODISCARD enum pm_status pm_map(struct pm_machine *m, uint32_t cpu, uint64_t space, const struct pm_map_request *request, uint64_t *ret);
/// Unmaps [addr, addr + length), holes included.
PM_API PM_NODISCARD enum pm_status pm_unmap(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint64_t length);
/// Changes the protection. PM_ERR_FAULT: part of the range is not mapped, and nothing was changed.
PM_API PM_NODISCARD enum pm_status pm_protect(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint64_t length, uint32_t prot);
/// Moves or resizes a mapping, as mremap(2). With PM_MAP_FIXED to `new_addr`. PM_ERR_FAULT: not one mapping; PM_ERR_NO_BLOCK: no room to grow.
PM_API PM_NODISCARD enum pm_status pm_remap(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint64_t length, uint64_t new_length,
					    uint32_t flags, uint64_t new_addr, uint64_t *ret);
/// Locks a range (faults it in, and keeps it out of reclaim), or unlocks it.
PM_API PM_NODISCARD enum pm_status pm_mlock(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint64_t length, bool locked);

/// Reads contents at any address and length, across pages. `ret` gets the bytes that were done, also on failure: a fault part of the
/// way (PM_ERR_FAULT, PM_ERR_ACCESS, PM_ERR_BEYOND, PM_ERR_IO, out of memory) leaves those before it done. PM_ERR_NO_CONTENTS.
PM_API PM_NODISCARD enum pm_status pm_read(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, void *bytes, size_t n, size_t *ret);
/// Writes contents, as pm_read() reads them.
PM_API PM_NODISCARD enum pm_status pm_write(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, const void *bytes, size_t n, size_t *ret);
/// Writes `n` bytes of one value, as pm_write().
PM_API PM_NODISCARD enum pm_status pm_fill(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint8_t value, size_t n, size_t *ret);
/// Where a checksum begins.
#define PM_CHECKSUM_START 0xcbf29ce484222325u
/// FNV-1a, 64 bits, of a range, read as by pm_read() and carried on from *sum: begin with PM_CHECKSUM_START.
PM_API PM_NODISCARD enum pm_status pm_checksum(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, size_t n, uint64_t *sum, size_t *ret);
/// Faults every page of a range in, without touching contents: works without them too. `ret` gets the bytes done.
PM_API PM_NODISCARD enum pm_status pm_touch(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint64_t length, bool write, uint64_t *ret);

/// One page of a space, as its page table has it.
enum pm_pte_kind { PM_PTE_NONE = 0, PM_PTE_PRESENT = 1, PM_PTE_SWAP = 2, PM_PTE_MIGRATION = 3 };
struct pm_pte_info {
	uint32_t kind;	    ///< enum pm_pte_kind
	uint32_t writable;
	uint32_t young;
	uint32_t dirty;
	uint32_t exclusive; ///< an anonymous page that no other space shares
	uint64_t pfn;	    ///< PRESENT, MIGRATION: the frame; SWAP: the slot
};
/// What is at an address, without a fault.
PM_API PM_NODISCARD enum pm_status pm_lookup(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, struct pm_pte_info *ret);

/// One mapping, as a line of /proc/PID/maps.
struct pm_area {
	uint64_t start, end; ///< bytes
	uint32_t prot;
	uint32_t flags;	     ///< PM_MAP_SHARED, PM_MAP_LOCKED
	uint64_t file;	     ///< handle; 0: anonymous, or a file that was closed
	uint64_t offset;     ///< in the file, or in the anonymous memory it was cut from
};
/// The areas in order of address, at most n of them into `areas`; `ret` gets how many there are.
PM_API PM_NODISCARD enum pm_status pm_space_areas(struct pm_machine *m, uint32_t cpu, uint64_t space, size_t n, struct pm_area *areas, size_t *ret);

struct pm_space_info {
	uint64_t mapped;  ///< pages in areas
	uint64_t present; ///< pages with a frame
	uint64_t swapped; ///< pages in swap
	uint64_t locked;  ///< pages in mlocked areas
	uint64_t tables;  ///< page tables
};
/// Counts of a space, at one moment: walks its page tables.
PM_API PM_NODISCARD enum pm_status pm_space_info(struct pm_machine *m, uint32_t cpu, uint64_t space, struct pm_space_info *ret);

/* ---- for simulators: translate, with memory on first touch (csrc/virt/translate.c) ---- */

/// A huge page is a block of this order behind one entry of the second level: 2 MiB with 4 KiB pages.
enum { PM_HUGE_ORDER = 9 };

enum pm_translate_flags {
	PM_TRANSLATE_WRITE = 1, ///< a write: a page shared copy-on-write gets its own frame
	PM_TRANSLATE_SMALL = 2, ///< a first touch takes a single frame, never a huge page
	PM_TRANSLATE_MAPPED = 4 ///< only what pm_map() has mapped: PM_ERR_FAULT elsewhere
};

/// How a translation came about: what a host charges latency for.
enum pm_translation_kind {
	PM_TRANSLATED_HIT = 0,	 ///< it was there
	PM_TRANSLATED_TOUCH = 1, ///< first touch: a frame was allocated, or a file's page mapped
	PM_TRANSLATED_SWAP = 2,	 ///< it came back from swap
	PM_TRANSLATED_OTHER = 3	 ///< a copy on write, or a page that was moving
};

struct pm_translation {
	uint64_t pfn;	///< the frame that holds the address
	uint32_t order; ///< 0, or PM_HUGE_ORDER: the aligned 2^order pages around the address lie in the aligned block of 2^order frames around `pfn`
	uint32_t kind;	///< enum pm_translation_kind
};

/// Where an address is, as a load or a store (PM_TRANSLATE_WRITE) finds it: the page is faulted in if it has to be, and its entry marked young and dirty.
/// Where nothing is mapped, private anonymous memory is mapped first (up to 1 GiB around, aligned, what is free of it), so a host need not call pm_map().
/// A first touch takes a huge page where the whole aligned range is private, writable, never touched, and a block of PM_HUGE_ORDER is free; a single frame
/// otherwise. A huge page is broken up, and its pages translated one by one, once one of them is unmapped, moved, reclaimed or copied.
/// The translation holds until the page is unmapped, reclaimed, copied by a write (a fork) or moved (struct pm_notice). PM_ERR_FAULT: the address is
/// 2^PM_VA_BITS or more; PM_ERR_ACCESS; PM_ERR_INVAL; an allocation's status. Locks: none for a hit.
PM_API PM_NODISCARD enum pm_status pm_translate(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint32_t flags, struct pm_translation *ret);

/// What a tick did. Frames.
struct pm_tick_report {
	uint64_t drained;   ///< moved from per-CPU lists to the free lists, since they were not asked for lately
	uint64_t reclaimed; ///< freed by reclaim, in zones that were below their LOW mark
	uint64_t moved;	    ///< by kcompactd
};
/// Lets `ns` nanoseconds of the host's time pass: virtual time goes on and transfers that are due end (as pm_clock_advance(); a machine with a clock of its
/// caller has its time from there), the lists of every CPU decay once for each full second (pm_decay_pcp()), kswapd looks after every zone (pm_kswapd()),
/// and kcompactd at the machine (pm_kcompactd_tick(), with the sum of all ticks as its clock). As often as the host likes: nothing happens in the background by itself. Equal ticks do equal things.
/// PM_ERR_STATE: the machine has no owners of frames (pm_memory_enable); PM_ERR_INVAL: 2^62 ns or more, or no such CPU; PM_ERR_INTR: kswapd has waited as long
/// as it may, time has passed: call again with 0.
PM_API PM_NODISCARD enum pm_status pm_tick(struct pm_machine *m, uint32_t cpu, uint64_t ns, struct pm_tick_report *ret);

/* ---- what a machine tells its host (csrc/virt/notice.c) ---- */

enum pm_notice_kind {
	PM_NOTICE_MOVED = 1,	///< a page has moved from `from` to `to`: a TLB or a cache model has to forget what it knows of the old place
	PM_NOTICE_NO_MEMORY = 2, ///< a request of `order` for a frame got nothing, after reclaim had done what it can; the call that made it fails
	PM_NOTICE_COMPACT_BEGIN = 3, ///< compaction for blocks of `order` is about to try and move its first page; if it tries none, nobody is told
	PM_NOTICE_COMPACT_END = 4    ///< it is over; its cost is that of all pages that it has moved, which the notices between the two bear one by one
};

/// One thing that has happened. The fields that a kind does not name are 0.
struct pm_notice {
	uint32_t kind;	  ///< enum pm_notice_kind
	uint32_t cpu;	  ///< of the call
	uint32_t order;	  ///< of the block that moved, or of the request
	uint64_t space;	  ///< MOVED: handle of the address space that maps the page; one notice for each. 0: none does, or more than three do: drop by frame
	uint64_t addr;	  ///< MOVED: where it maps the page; the page is the same, its translation is not. A huge page around it is broken up
	uint64_t from;	  ///< MOVED: the old frame
	uint64_t to;	  ///< MOVED: the new frame
	uint64_t cost_ns; ///< by struct pm_notify_options. Of the notices of one page and of one batch, the first bears what was done once
};

/// Who is told, and what things cost. The core measures no time: a host's own numbers, in nanoseconds (or cycles) below 2^40.
struct pm_notify_options {
	/// Called by the thread whose call does it, before that call returns; NULL: nobody is told. No lock of the machine is held, so it may take locks
	/// that others hold while they call the machine, and wait. It may not call the machine itself. A frame that was moved from is not used anew before
	/// it has been told. Other threads may find the new place earlier than they are told of it, the old one no longer.
	/// Blocks of kernel-like owners, which no address space maps, are an exception: their old frames may be in use again by then, and of one that was split
	/// (PM_MIGRATE_SPLIT) at most the first frame is told.
	void (*notify)(void *context, const struct pm_notice *notice);
	void *context;
	uint64_t copy_ns;  ///< to copy a page
	uint64_t entry_ns; ///< to take an entry away and give it back
	uint64_t flush_ns; ///< to flush the TLBs of all CPUs, once a batch
};
/// Nobody to tell; 400 ns, 50 ns and 2000 ns.
PM_API void pm_notify_options_default(struct pm_notify_options *ret);
/// Copied; instead of what was set before. NULL: nobody is told any more. Nobody else may use the machine meanwhile. PM_ERR_STATE: the machine has no owners
/// of frames (pm_memory_enable); PM_ERR_INVAL: a cost of 2^40 or more.
PM_API PM_NODISCARD enum pm_status pm_notify(struct pm_machine *m, const struct pm_notify_options *options);

/* ---- pins and windows ---- */

enum pm_pin_kind {
	PM_PIN_SHORT = 1,    ///< a system call: a reference in passing
	PM_PIN_DIRECT_IO = 2, ///< a device reads or writes the frame
	PM_PIN_LONG = 3,     ///< registered for good
	PM_PIN_WINDOW = 4    ///< a caller's view of the bytes
};

/// Pins the page at `addr` (faults it in, for writing if `write`): its frame neither moves nor goes before pm_unpin(). `ret` gets the pin,
/// `ret_pfn` the frame. What was pinned stays what the space sees: a page shared copy-on-write is unshared first.
PM_API PM_NODISCARD enum pm_status pm_pin(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint32_t kind, bool write, uint64_t *ret_pfn, uint64_t *ret);
/// Gives a pin back. PM_ERR_HANDLE: it was given back already, or never made.
PM_API PM_NODISCARD enum pm_status pm_unpin(struct pm_machine *m, uint32_t cpu, uint64_t pin);

/// A pin of kind WINDOW and the address of the page's bytes: valid until pm_unpin(). PM_ERR_NO_CONTENTS.
PM_API PM_NODISCARD enum pm_status pm_window(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, bool write, void **ret_bytes, uint64_t *ret);

/* ---- kernel-like users of memory ---- */

enum pm_owner_kind {
	PM_OWNER_UNMOVABLE = 1,	 ///< slab-like: nobody can move its blocks
	PM_OWNER_MOVABLE_OPS = 2, ///< balloon-like: it moves its blocks itself when asked
	PM_OWNER_MOVABLE_WHOLE = 3 ///< the same, and a block is never split: a dirty folio with buffers is such
};
/// A new owner, enum pm_owner_kind. `ret` gets its handle.
PM_API PM_NODISCARD enum pm_status pm_owner_create(struct pm_machine *m, uint32_t kind, uint64_t *ret);
/// Frees all its blocks as well. Waits for calls on it.
PM_API PM_NODISCARD enum pm_status pm_owner_destroy(struct pm_machine *m, uint32_t cpu, uint64_t owner);
/// Allocates a block; `ret` gets its number with this owner, by which it is found again wherever it moves.
PM_API PM_NODISCARD enum pm_status pm_owner_alloc(struct pm_machine *m, uint32_t cpu, uint64_t owner, uint32_t order, uint32_t gfp, uint32_t *ret);
/// PM_ERR_RANGE: no block has that number.
PM_API PM_NODISCARD enum pm_status pm_owner_free(struct pm_machine *m, uint32_t cpu, uint64_t owner, uint32_t number);
/// A movable block goes to another frame, which the allocator chooses as for a new one: its owner moves it, contents and all.
/// PM_ERR_ACCESS: the owner's blocks are not movable. `ret` gets the new frame.
PM_API PM_NODISCARD enum pm_status pm_owner_move(struct pm_machine *m, uint32_t cpu, uint64_t owner, uint32_t number, uint32_t gfp, uint64_t *ret);
/// Where each frame of a block is, in order: those of a block that migration has split (PM_MIGRATE_SPLIT) may lie apart. `ret` gets how many there are; the first `room` go
/// to `ret_frames`. pm_owner_frame() names the first; pm_owner_move() makes the block whole again.
PM_API PM_NODISCARD enum pm_status pm_owner_frames(struct pm_machine *m, uint32_t cpu, uint64_t owner, uint32_t number, size_t room, uint64_t *ret_frames, size_t *ret);
/// Where a block is now.
PM_API PM_NODISCARD enum pm_status pm_owner_frame(struct pm_machine *m, uint32_t cpu, uint64_t owner, uint32_t number, uint64_t *ret);

/* ---- frames with owners, looked at ---- */

/// What a frame belongs to.
enum pm_use {
	PM_USE_NONE = 0,      ///< no owner: free, or allocated by pm_alloc()
	PM_USE_ANON = 1,
	PM_USE_FILE = 2,
	PM_USE_OWNER = 3,     ///< pm_owner_alloc()
	PM_USE_TABLE = 4,     ///< a page table
	PM_USE_DETACHED = 5   ///< its file was truncated, or it is on its way to or from an owner; somebody still has a reference
};

struct pm_page_info {
	uint32_t use;	   ///< enum pm_use
	uint32_t flags;	   ///< bits of csrc/phys/page.h; pm_page_flag_name() has their names
	uint32_t references;
	uint32_t mapcount;
	uint32_t order;
	uint64_t index;	   ///< page offset in the file or in anonymous memory
	uint64_t object;   ///< handle of the file or owner; 0: none, or closed
	uint32_t swap_slot; ///< with the flag swapcache
	uint32_t pins[5];  ///< by enum pm_pin_kind
};
/// What a frame's owner knows about it, at one moment. PM_ERR_RANGE: outside every zone, or in a hole; PM_ERR_STATE.
PM_API PM_NODISCARD enum pm_status pm_page_info(struct pm_machine *m, uint64_t pfn, struct pm_page_info *ret);
/// Name of bit `bit` of pm_page_info.flags; NULL above the last. Static storage.
PM_API const char *pm_page_flag_name(uint32_t bit);

/// A place where a frame is mapped.
struct pm_rmap_entry {
	uint64_t space; ///< handle
	uint64_t addr;
};
/// Every place where the frame is mapped, by the reverse map: at most n into `entries`; `ret` gets how many there are. A child comes after its
/// parent, as long as the parent's area is as it was at the fork. `ret_visited` (may be NULL) gets how many areas had to be looked at.
PM_API PM_NODISCARD enum pm_status pm_rmap(struct pm_machine *m, uint32_t cpu, uint64_t pfn, size_t n, struct pm_rmap_entry *entries, size_t *ret, uint64_t *ret_visited);

/// What has happened in the address spaces of a machine.
struct pm_memory_counters {
	uint64_t fault_anon;	///< zero-filled
	uint64_t fault_file;
	uint64_t fault_swap;
	uint64_t fault_cow_copy;
	uint64_t fault_cow_reuse;
	uint64_t fault_notify;	///< first write to a clean shared file page
	uint64_t fault_retry;	///< somebody else was faster
	uint64_t flushes;	///< TLB flushes
	uint64_t flush_skipped; ///< of these, those that had nobody to wait for
	uint64_t flush_waits;	///< times that a flush found a CPU inside an access
	uint64_t forks;
	uint64_t fork_pages;	///< pages shared by fork
	uint64_t reclaim_calls; ///< allocations that had to reclaim
	uint64_t fault_migration; ///< met a migration entry, and waited until it was replaced
};
/// Adds up what every CPU has counted since pm_memory_enable(); all zero before it.
PM_API void pm_memory_counters(struct pm_machine *m, struct pm_memory_counters *ret);

/* ---- backing: block devices, swap, files, reclaim (csrc/back). Handles and common statuses as for address spaces ---- */

/// Direction of a transfer; the two may be or-ed where a function takes several.
enum pm_io { PM_IO_READ = 1, PM_IO_WRITE = 2, PM_IO_BOTH = 3 };

/// A block device. Blocks have the size of a page.
struct pm_device_options {
	uint64_t nr_blocks; ///< 1..2^32 - 2
	uint64_t read_ns;   ///< how long a transfer is in service; 0: it ends at once
	uint64_t write_ns;
	uint32_t depth;	    ///< transfers in service at once, at least 1; the others queue
	uint32_t contents;  ///< 1: blocks keep what is written (the machine must have contents: PM_ERR_NO_CONTENTS); 0: reads give zeros
};
/// 2^16 blocks with contents, 100 microseconds a transfer, 32 in service at once.
PM_API void pm_device_options_default(struct pm_device_options *ret);
/// A new device. `ret` gets its handle. PM_ERR_INVAL: a number of blocks or a depth out of its range; PM_ERR_NO_CONTENTS.
PM_API PM_NODISCARD enum pm_status pm_device_create(struct pm_machine *m, const struct pm_device_options *options, uint64_t *ret);
/// PM_ERR_BUSY: a file or swap is on it, or a transfer is under way; nothing was done.
PM_API PM_NODISCARD enum pm_status pm_device_destroy(struct pm_machine *m, uint64_t device);

/// Lets the `nth` transfer of these directions fail (PM_ERR_IO), counted from 1 from now on (0: none any more); with `from_then_on` all later ones too.
PM_API PM_NODISCARD enum pm_status pm_device_fail(struct pm_machine *m, uint64_t device, uint32_t io, uint64_t nth, bool from_then_on);
/// The `nth` transfer from now on (0: none any more) never ends by itself; it keeps its place in service. pm_device_release() ends it.
PM_API PM_NODISCARD enum pm_status pm_device_stick(struct pm_machine *m, uint64_t device, uint32_t io, uint64_t nth);
/// Ends all stuck transfers now, well or with PM_ERR_IO. `ret` gets how many there were.
PM_API PM_NODISCARD enum pm_status pm_device_release(struct pm_machine *m, uint64_t device, bool fail, uint64_t *ret);
/// Every transfer of a block in [first, first + nr) fails. Instead of the range that was set before; nr 0: all blocks are good.
PM_API PM_NODISCARD enum pm_status pm_device_bad_blocks(struct pm_machine *m, uint64_t device, uint64_t first, uint64_t nr);
/// The bytes of a block as they are now (PM_PAGE_SIZE of them), without a transfer: to look at, not a way to read. PM_ERR_NO_CONTENTS.
PM_API PM_NODISCARD enum pm_status pm_device_peek(struct pm_machine *m, uint64_t device, uint64_t block, void *bytes);

struct pm_device_info {
	uint64_t nr_blocks;
	uint64_t nr_used;    ///< blocks that files and swap have
	uint32_t in_service; ///< transfers, stuck ones too
	uint32_t queued;
	uint32_t stuck;
	uint64_t reads;	     ///< transfers ended, well or not
	uint64_t writes;
	uint64_t errors;     ///< of these, failed
	uint64_t next_ns;    ///< when the next one ends, by the machine's clock; UINT64_MAX: nothing will
};
/// A device, at one moment.
PM_API PM_NODISCARD enum pm_status pm_device_info(struct pm_machine *m, uint64_t device, struct pm_device_info *ret);

/// Swap: one area a machine.
struct pm_swap_options {
	uint64_t nr_slots; ///< pages, 1..2^32 - 2
	uint64_t device;   ///< handle; 0: in memory, without latency
};
/// PM_ERR_BUSY: swap is on already; PM_ERR_NO_BLOCK: the device has no `nr_slots` free blocks in a row.
PM_API PM_NODISCARD enum pm_status pm_swap_on(struct pm_machine *m, const struct pm_swap_options *options);
/// Brings everything in swap back and ends it. Meanwhile nothing new goes there. On failure (out of memory, PM_ERR_IO, PM_ERR_INTR) swap
/// is on as before, and what came back so far is back: call again for the rest. PM_ERR_NO_SWAP: it is not on. PM_ERR_BUSY: another call is at it.
PM_API PM_NODISCARD enum pm_status pm_swap_off(struct pm_machine *m, uint32_t cpu);

struct pm_swap_info {
	uint32_t on;
	uint32_t leaving;  ///< 1 while pm_swap_off() works
	uint64_t nr_slots;
	uint64_t nr_used;  ///< slots that an entry names or a frame has
	uint64_t nr_cached; ///< of these, with a frame in the swap cache
	uint64_t entries;  ///< page-table entries that name a slot
	uint64_t outs;	   ///< pages written
	uint64_t ins;	   ///< pages read
	uint64_t device;   ///< handle; 0: in memory
};
/// Swap, at one moment; all zero while it is off.
PM_API PM_NODISCARD enum pm_status pm_swap_info(struct pm_machine *m, struct pm_swap_info *ret);

/// One slot of swap.
struct pm_swap_slot_info {
	uint32_t used;
	uint32_t entries;
	uint32_t cached;
	uint64_t pfn;	///< the frame, if it is in the swap cache
	uint64_t block; ///< on the device
};
/// One slot, at one moment. PM_ERR_RANGE: no such slot, also while swap is off.
PM_API PM_NODISCARD enum pm_status pm_swap_slot_info(struct pm_machine *m, uint64_t slot, struct pm_swap_slot_info *ret);

/// What a file's pages are like; mostly a matter of what migration may do with them.
enum pm_fs {
	PM_FS_RAM = 0,	    ///< memory alone: no device, never written out nor reclaimed
	PM_FS_COMMON = 1,   ///< a page gets buffers when it is written to; migration has to write it out and drop them
	PM_FS_BUFFERS = 2,  ///< every page has buffers, which move with it
	PM_FS_FALLBACK = 3, ///< as COMMON, and without an operation to migrate
	PM_FS_RELEASE = 4,  ///< a page that is written to gets private data, which its own operation gives up only once the page is on the device
	PM_NR_FS = 5
};

struct pm_file_options {
	uint32_t fs;	   ///< enum pm_fs
	uint64_t device;   ///< handle; 0 for PM_FS_RAM and only there
	uint64_t size;	   ///< bytes
	uint64_t capacity; ///< bytes that it can grow to: blocks of the device are set aside; less than `size`: as many as `size`. Ignored for PM_FS_RAM
};
/// A file without a name: it lives while its handle is open or an area maps it, and its contents go with it. A new one reads as zeros.
/// PM_ERR_NO_BLOCK: the device has no room for it in one piece; PM_ERR_LIMIT: larger than 2^32 - 2 pages.
PM_API PM_NODISCARD enum pm_status pm_file_create(struct pm_machine *m, const struct pm_file_options *options, uint64_t *ret);
/// Gives the handle up. PM_ERR_HANDLE.
PM_API PM_NODISCARD enum pm_status pm_file_close(struct pm_machine *m, uint32_t cpu, uint64_t file);

/// Buffered transfers at any offset. `ret` gets the bytes that were done, also on failure (PM_ERR_IO, out of memory). A read ends at the end of the file,
/// with PM_OK; a write beyond it makes the file longer, up to its capacity (PM_ERR_LIMIT). `bytes` NULL: the pages are
/// read or dirtied without their contents, which also works where the machine has none (PM_ERR_NO_CONTENTS otherwise).
PM_API PM_NODISCARD enum pm_status pm_file_read(struct pm_machine *m, uint32_t cpu, uint64_t file, uint64_t offset, void *bytes, size_t n, size_t *ret);
/// Writes through the page cache, as pm_file_read() reads.
PM_API PM_NODISCARD enum pm_status pm_file_write(struct pm_machine *m, uint32_t cpu, uint64_t file, uint64_t offset, const void *bytes, size_t n, size_t *ret);
/// Makes the file shorter (pages beyond are unmapped everywhere, private copies too) or longer (by zeros). PM_ERR_LIMIT. PM_ERR_INTR: the size is
/// set, pages beyond it are still being given back: call again.
PM_API PM_NODISCARD enum pm_status pm_file_truncate(struct pm_machine *m, uint32_t cpu, uint64_t file, uint64_t size);
/// Writes the dirty pages of [offset, offset + length) out, and waits for that if `wait`. PM_ERR_IO: a page could not be written and is still dirty.
PM_API PM_NODISCARD enum pm_status pm_file_sync(struct pm_machine *m, uint32_t cpu, uint64_t file, uint64_t offset, uint64_t length, bool wait);
/// Drops the pages of the range that are clean, not mapped and not in use. `ret` gets how many.
PM_API PM_NODISCARD enum pm_status pm_file_drop(struct pm_machine *m, uint32_t cpu, uint64_t file, uint64_t offset, uint64_t length, uint64_t *ret);
/// The frame that caches the page at `offset`. PM_ERR_FAULT: none does.
PM_API PM_NODISCARD enum pm_status pm_file_frame(struct pm_machine *m, uint32_t cpu, uint64_t file, uint64_t offset, uint64_t *ret);

struct pm_file_info {
	uint32_t fs;
	uint64_t size;		///< bytes
	uint64_t capacity;	///< bytes
	uint64_t device;	///< handle; 0: none
	uint64_t first_block;	///< of its part of the device
	uint64_t nr_pages;	///< in the page cache
	uint64_t nr_dirty;	///< pages known to be dirty; a page-table entry may know of more
	uint64_t nr_writeback;	///< pages being written out
	uint64_t nr_buffers;	///< pages with private data
	uint64_t writeouts;	///< pages written out so far
	uint64_t areas;		///< areas that map it
};
/// A file, at one moment.
PM_API PM_NODISCARD enum pm_status pm_file_info(struct pm_machine *m, uint32_t cpu, uint64_t file, struct pm_file_info *ret);

/// Direct I/O: a transfer between the pinned frame and the page of the file at `offset` (a multiple of the page size, below its size), past
/// the page cache: a dirty cached page is written out first, and a write drops the cached one. `ret` gets a transfer to wait for; pm_unpin()
/// waits for it too.
/// PM_ERR_BEYOND; PM_ERR_BUSY: the cached page is in use; PM_ERR_ACCESS: a read into a frame pinned for reading only; PM_ERR_INVAL: PM_FS_RAM.
PM_API PM_NODISCARD enum pm_status pm_direct_io(struct pm_machine *m, uint32_t cpu, uint64_t pin, uint64_t file, uint64_t offset, uint32_t io, uint64_t *ret);
/// Waits until a transfer has ended, and gives it up. PM_ERR_IO: it failed. PM_ERR_INTR, PM_ERR_CLOSED: it is still there.
PM_API PM_NODISCARD enum pm_status pm_direct_wait(struct pm_machine *m, uint32_t cpu, uint64_t transfer);

/// Reclaims up to `nr` frames of a zone (an index as in pm_zone_info()), waiting for transfers where it has to. `ret` gets how many came free; 0 with PM_OK: there
/// is nothing that could be given up.
PM_API PM_NODISCARD enum pm_status pm_reclaim(struct pm_machine *m, uint32_t cpu, uint32_t zone, uint64_t nr, uint64_t *ret);
/// What kswapd does when it is woken: if the zone is below its LOW mark, reclaims until HIGH, or until nothing comes free any more.
PM_API PM_NODISCARD enum pm_status pm_kswapd(struct pm_machine *m, uint32_t cpu, uint32_t zone, uint64_t *ret);
/// Reclaims the pages of a range of a space, whether or not they were used lately (madvise MADV_PAGEOUT), and waits for the transfers.
/// `ret` gets how many frames came free. Pages that are mlocked, pinned, dirty on an ailing device or without swap stay; that is no error.
PM_API PM_NODISCARD enum pm_status pm_page_out(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint64_t length, uint64_t *ret);

/// What has happened behind the address spaces of a machine. Pages.
struct pm_backing_counters {
	uint64_t file_reads;	///< read from a device into the page cache
	uint64_t file_writes;	///< written out from it
	uint64_t swap_reads;
	uint64_t swap_writes;
	uint64_t io_errors;	///< failed transfers
	uint64_t scanned;	///< looked at by reclaim
	uint64_t reclaimed_file;
	uint64_t reclaimed_anon;
	uint64_t activated;	///< found in use by reclaim
	uint64_t deactivated;	///< aged to an inactive list
	uint64_t unevictable;	///< found to be mlocked
	uint64_t waits;		///< times that reclaim waited for a transfer
	uint64_t truncated;
	uint64_t dropped;	///< by pm_file_drop()
};
/// Adds up what has happened since pm_memory_enable(); all zero before it.
PM_API void pm_backing_counters(struct pm_machine *m, struct pm_backing_counters *ret);

/// Pages of a zone on its lists by age: ret[0..5) = inactive and active anonymous, inactive and active file, unevictable.
PM_API PM_NODISCARD enum pm_status pm_lru_sizes(struct pm_machine *m, uint32_t zone, uint64_t *ret);

/* ---- load the owners of a snapshot's frames (one thread, before the machine is used) ---- */

/// What a loaded page is like, as bits.
enum pm_load_state {
	PM_LOAD_ACTIVE = 1,	 ///< on an active list
	PM_LOAD_REFERENCED = 2,	 ///< used since reclaim last looked
	PM_LOAD_UNEVICTABLE = 4, ///< on the unevictable list
	PM_LOAD_DIRTY = 8,	 ///< of a file: newer than the device
	PM_LOAD_PRIVATE = 16,	 ///< of a file: has buffers
	PM_LOAD_LOCKED = 32	 ///< of a file: a transfer that reads it is under way, and keeps it locked; it is not up to date until that ends
};

/// Maps n frames, which pm_load_blocks() has placed as PM_PLACE_USED with order 0, one after the other from `addr` on in a private anonymous area, each as
/// a page that was written to. `states` (enum pm_load_state) may be NULL. Stops at the first that cannot be; `ret` gets how many were.
/// PM_ERR_FAULT: no single area holds the range; PM_ERR_ACCESS: it maps a file; PM_ERR_BUSY: a page is there; PM_ERR_ORDER, PM_ERR_OWNED, PM_ERR_RANGE: of the frame.
PM_API PM_NODISCARD enum pm_status pm_load_anon(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, size_t n, const uint64_t *pfns, const uint8_t *states, size_t *ret);
/// Puts n such frames into the page cache of a file, from page `first` on. PM_ERR_BEYOND: past its end; PM_ERR_BUSY: a page is there; and as pm_load_anon(). A frame that could not get all that
/// its state says is there without it. Writeback is begun by pm_file_sync().
PM_API PM_NODISCARD enum pm_status pm_load_file(struct pm_machine *m, uint32_t cpu, uint64_t file, uint64_t first, size_t n, const uint64_t *pfns, const uint8_t *states, size_t *ret);
/// Gives n blocks of any order, placed as PM_PLACE_USED, to an owner, which numbers them in this order after those it has.
PM_API PM_NODISCARD enum pm_status pm_load_owner(struct pm_machine *m, uint32_t cpu, uint64_t owner, size_t n, const uint64_t *pfns, size_t *ret);

/* ---- migration (csrc/move) ---- */

/// What blocks accessors while a frame moves; csrc/move/protocol.h and docs/PROTOCOLS.md say how.
enum pm_migrate_protocol {
	PM_PROTOCOL_ENTRY = 0,	    ///< migration entries (2.6.18 and later)
	PM_PROTOCOL_SWAP_CACHE = 1, ///< the new frame's lock, found through the swap cache (2004); takes a swap slot for an anonymous page
	PM_PROTOCOL_TABLE_LOCK = 2, ///< the page table's lock, held throughout; a page that is mapped more than once cannot move
	PM_PROTOCOL_SEMAPHORE = 3,  ///< a semaphore of each address space
	PM_PROTOCOL_WAITQUEUE = 4,  ///< a wait queue of the anon_vma, or of the file
	PM_NR_PROTOCOLS = 5
};

enum pm_migrate_mode {
	PM_MIGRATE_ASYNC = 0,	   ///< never sleeps
	PM_MIGRATE_SYNC_LIGHT = 1, ///< sleeps for locks, not for writeback
	PM_MIGRATE_SYNC = 2	   ///< sleeps for both
};

enum pm_migrate_flags {
	PM_MIGRATE_TOUCH = 1, ///< swap-cache: map the page again at once where it was mapped, instead of at the next fault
	/// A movable-ops block (pm_owner_alloc()) of order 1 or more for which there is no destination of its order, also at the second try, is split: its frames go to
	/// destinations of order 0, as many as there are, and the others stay where they are. Not with PM_DEST_GIVEN. See pm_migrate_result.split.
	PM_MIGRATE_SPLIT = 2
};

/// Where the new frames may be.
enum pm_destination_kind {
	PM_DEST_ANY = 0,   ///< wherever the allocator puts a movable page
	PM_DEST_ZONE = 1,  ///< in the zone with index `value`
	PM_DEST_BELOW = 2, ///< below frame `value`
	PM_DEST_ABOVE = 3, ///< at frame `value` or above
	PM_DEST_GIVEN = 4  ///< frames[i] for the i-th frame to move: free ones, taken from the free lists
};
struct pm_destination {
	uint32_t kind;	  ///< enum pm_destination_kind
	uint64_t value;
	const uint64_t *frames;
};

/// Why a frame did not move, or who is in the way.
enum pm_migrate_reason {
	PM_WHY_NONE = 0,
	PM_WHY_FREED = 1,	///< it had no user left, and was freed: success
	PM_WHY_NOT_MOVABLE = 2, ///< free, without an owner, or an owner's that cannot move it
	PM_WHY_NOT_ON_LIST = 3, ///< somebody else has isolated it, or it is on its way
	PM_WHY_NO_MEMORY = 4,	///< no destination
	PM_WHY_LOCKED = 5,	///< somebody holds the frame lock
	PM_WHY_WRITEBACK = 6,	///< it is being written out
	PM_WHY_PINNED = 7,	///< pinned: direct I/O or longer
	PM_WHY_REFERENCED = 8,	///< a reference in passing: a system call, a fault under way
	PM_WHY_NO_SWAP = 9,	///< the protocol needs a free swap slot
	PM_WHY_SHARED = 10,	///< the protocol cannot cover a page that is mapped more than once
	PM_WHY_TRUNCATED = 11,	///< its file gave it up meanwhile
	PM_WHY_DIRTY = 12,	///< dirty, and its filesystem has no way to move it so
	PM_WHY_PRIVATE = 13,	///< private data that the filesystem does not give up
	PM_WHY_CANCELLED = 14,	///< given up by the caller, or the machine is closing
	PM_WHY_MLOCKED = 15,	///< mlocked, and the protocol would leave it unmapped (swap-cache without PM_MIGRATE_TOUCH)
	PM_NR_WHY = 16
};
/// A few words for a reason. Static storage; never NULL.
PM_API const char *pm_migrate_reason_text(uint32_t reason);
/// The protocol's name, as in docs/PROTOCOLS.md; NULL for another number.
PM_API const char *pm_migrate_protocol_name(uint32_t protocol);

struct pm_migrate_request {
	const uint64_t *pfns; ///< frames to move
	size_t n;
	struct pm_destination destination;
	uint32_t mode;	      ///< enum pm_migrate_mode
	uint32_t protocol;    ///< enum pm_migrate_protocol
	uint32_t flags;	      ///< enum pm_migrate_flags
};

/// What became of a frame.
struct pm_migrate_result {
	int32_t status;	 ///< enum pm_status; PM_OK: it moved (or was freed)
	uint32_t reason; ///< enum pm_migrate_reason
	uint64_t to;	 ///< the new frame; UINT64_MAX: none. Of a block that was split: that of its first frame, if all have moved
	uint32_t split;	 ///< frames into which a block was split; 0: it was not, and if it did not move it is whole where it was
	uint32_t split_moved; ///< how many of these have moved. Fewer than `split`: status PM_ERR_NOMEM or PM_ERR_AGAIN
};

/// Moves frames: a batch of at most 512 at a time with one flush (protocols that hold locks throughout: one by one), retried as in Linux 6.x (REFERENCE section 2).
/// A frame that does not move is not an error of the call: results[i] says why. `ret` gets how many moved. On failure of a frame everything is as it was before: entries,
/// dirty marks, lists, buffers.
/// PM_ERR_INVAL; PM_ERR_INTR, PM_ERR_CLOSED: the results so far stand, and the rest has the reason CANCELLED.
PM_API PM_NODISCARD enum pm_status pm_migrate(struct pm_machine *m, uint32_t cpu, const struct pm_migrate_request *request, struct pm_migrate_result *results, size_t *ret);

/// A migration of one frame, taken step by step.
struct pm_migration_info {
	uint32_t state;	   ///< index in the table of states (pm_migration_state_name): the step that is next
	uint32_t over;	   ///< 1: done or failed
	int32_t status;
	uint32_t reason;
	uint64_t from;
	uint64_t to;	   ///< UINT64_MAX: none yet
};
/// Nothing is done yet. The destination's frame, for PM_DEST_GIVEN, is frames[0].
PM_API PM_NODISCARD enum pm_status pm_migration_begin(struct pm_machine *m, uint64_t pfn, const struct pm_destination *destination, uint32_t mode, uint32_t protocol, uint32_t flags, uint64_t *ret);
/// Takes the next step, and says where the migration is then. Between two steps anything may happen, by this thread too. A step that would have to wait
/// returns PM_ERR_AGAIN and was not taken. PM_ERR_STATE: it is over.
PM_API PM_NODISCARD enum pm_status pm_migration_step(struct pm_machine *m, uint32_t cpu, uint64_t migration, struct pm_migration_info *ret);
/// Gives the object up; one that is not over is undone first.
PM_API PM_NODISCARD enum pm_status pm_migration_end(struct pm_machine *m, uint32_t cpu, uint64_t migration);
/// The table of states: a state's name. NULL above the last. Static storage, all three.
PM_API const char *pm_migration_state_name(uint32_t state);
/// What must hold when the state's step is taken. NULL above the last.
PM_API const char *pm_migration_state_needs(uint32_t state);
/// What the state's step does. NULL above the last.
PM_API const char *pm_migration_state_does(uint32_t state);

/// What migration has done on a machine.
struct pm_migrate_counters {
	uint64_t moved[5];	 ///< by enum pm_migrate_protocol
	uint64_t failed[16];	 ///< frames by enum pm_migrate_reason
	uint64_t batches;
	uint64_t flushes;
	uint64_t swap_slots;	 ///< taken for the swap-cache protocol
	uint64_t writeouts;	 ///< pages that a filesystem wrote out to move them
	uint64_t split;		 ///< blocks that were split (PM_MIGRATE_SPLIT)
	uint64_t split_moved;	 ///< frames of these that have moved
};
/// Adds up what migration has done; all zero before the first one.
PM_API void pm_migrate_counters(struct pm_machine *m, struct pm_migrate_counters *ret);

/* ---- defragmentation (csrc/move). Owners of frames have to be there: PM_ERR_STATE ---- */

/// Who decides what moves where. All move through pm_migrate()'s engine.
enum pm_defrag_strategy {
	PM_STRATEGY_LINUX = 0,	       ///< two scanners that come towards each other, as in Linux 6.x (csrc/move/compact_linux.c)
	PM_STRATEGY_PLANNER = 1,       ///< the fewest moves: the cheapest pageblocks are emptied into frames outside of them
	PM_STRATEGY_COALESCE_2004 = 2, ///< the buddies of free blocks are emptied, with the corrections of 2004's review
	PM_STRATEGY_COALESCE_2004_RFC = 3, ///< the same without them
	PM_NR_STRATEGIES = 4
};
/// The strategy's name; NULL: this build has none of that number.
PM_API const char *pm_strategy_name(uint32_t strategy);

/// How hard a compaction tries.
enum pm_compact_priority {
	PM_COMPACT_ASYNC = 0,	   ///< never sleeps; in pageblocks of the request's own type only
	PM_COMPACT_SYNC_LIGHT = 1, ///< sleeps for locks, not for writeback
	PM_COMPACT_FULL = 2	   ///< everything: skip hints, types of pageblocks and deferrals are ignored. Without a wanted number of blocks it sleeps for writeback too
};

enum pm_compact_flags {
	PM_COMPACT_CAPTURE = 1 ///< the block of the order that comes together first goes to the caller, before anybody else can take it
};

/// Why a compaction ended, for the last zone that it looked at.
enum pm_compact_status {
	PM_COMPACTED_COMPLETE = 0,	  ///< all of the zone was looked at
	PM_COMPACTED_SUCCESS = 1,	  ///< the wanted blocks are there
	PM_COMPACTED_CAPTURED = 2,	  ///< the block is the caller's
	PM_COMPACTED_PARTIAL_SKIPPED = 3, ///< the scanners met, but had not begun at the ends of the zone
	PM_COMPACTED_NOT_SUITABLE = 4,	  ///< too few free frames to move anything to
	PM_COMPACTED_NOT_FRAGMENTED = 5,  ///< memory is short, rather than fragmented (extfrag_threshold)
	PM_COMPACTED_DEFERRED = 6,	  ///< it failed lately
	PM_COMPACTED_CONTENDED = 7,	  ///< somebody else had a lock (ASYNC)
	PM_COMPACTED_NO_DESTINATION = 8,  ///< no block of its order among the free ones just isolated, for a block that was to move and cannot be split: final for the zone. The kernel calls this contended too
	PM_COMPACTED_NOTHING = 9,	  ///< the strategy knows nothing that it could move
	PM_COMPACTED_TOLD = 10,		  ///< came to the frame where it was told to end (stop_pfn)
	PM_COMPACTED_DEAR = 11,		  ///< planner: plans moved several times what the first one said, because memory changed under them
	PM_NR_COMPACTED = 12
};
/// A few words for an enum pm_compact_status. Static storage; never NULL.
PM_API const char *pm_compact_status_text(uint32_t status);

#define PM_EVERY_ZONE 0xffffffffu
#define PM_ALL_BLOCKS 0xffffffffffffffffu
#define PM_NO_FRAME 0xffffffffffffffffu

struct pm_compact_result;

struct pm_compact_request {
	uint32_t strategy; ///< enum pm_defrag_strategy
	uint32_t order;	   ///< of the blocks that are wanted
	uint32_t zone;	   ///< index; PM_EVERY_ZONE
	uint32_t priority; ///< enum pm_compact_priority
	uint32_t protocol; ///< enum pm_migrate_protocol
	uint32_t flags;	   ///< enum pm_compact_flags
	uint32_t gfp;	   ///< of the request that wants the block: which type it is. PM_GFP_HIGHUSER_MOVABLE by default
	uint64_t blocks;   ///< blocks of the order wanted beside those that are there; PM_ALL_BLOCKS: as many as can be had
	const struct pm_compact_result *resume; ///< what a call gave that came back with PM_ERR_INTR, to go on from there; its counts go on too. NULL
	uint64_t stop_pfn[4]; ///< linux, by zone: the migrate scanner ends at this frame, so that a run covers what another one did. 0: no such frame
};
/// Strategy linux, order 9, every zone, FULL, all blocks: what a write to /proc/sys/vm/compact_memory does.
PM_API void pm_compact_request_default(struct pm_compact_request *ret);

/// Why a zone's compaction ended, and where.
struct pm_compact_zone_result {
	uint32_t looked_at; ///< 0: it was not this zone's turn
	uint32_t status;    ///< enum pm_compact_status
	uint64_t migrate_pfn; ///< where the migrate scanner came to
	uint64_t free_pfn;  ///< where the free scanner came to
	uint64_t stopped_pfn; ///< NO_DESTINATION: the block that found none; PM_NO_FRAME
	uint32_t stopped_order;
};

/// What a compaction did. Frames, where nothing else is said.
struct pm_compact_result {
	uint64_t blocks_before;	 ///< free blocks of the order and above, in units of the order, in the zones that were asked for
	uint64_t blocks_after;
	uint64_t moved;
	uint64_t planned;	 ///< planner: frames that its first plan was to move. Before it moves more than four times as many, and 512, it ends (DEAR)
	uint64_t failed[16];	 ///< by enum pm_migrate_reason
	uint64_t scanned_migrate; ///< looked at for something to move
	uint64_t scanned_free;	 ///< looked at for somewhere to move it to
	uint64_t isolated;	 ///< found to be worth a try, and taken from the free lists to move to
	uint64_t batches;	 ///< calls of the engine
	uint64_t flushes;	 ///< TLB flushes on the machine meanwhile
	uint64_t split;		 ///< blocks split because they found no destination of their order
	uint64_t skipped_pageblocks; ///< left out because of their skip hints
	uint64_t captured;	 ///< first frame of the block that is the caller's, as if from pm_alloc(); PM_NO_FRAME
	uint32_t status;	 ///< enum pm_compact_status
	uint32_t resume_zone;	 ///< after PM_ERR_INTR: where to go on
	struct pm_compact_zone_result zone[4];
};

/// Runs a strategy now. That less was gained than wanted is no error: the result says why. With limited waits
/// (pm_memory_options.wait_slices) it comes back with PM_ERR_INTR every few thousand frames.
/// PM_ERR_INVAL; PM_ERR_NOMEM; PM_ERR_INTR, PM_ERR_CLOSED: the result so far stands.
PM_API PM_NODISCARD enum pm_status pm_compact(struct pm_machine *m, uint32_t cpu, const struct pm_compact_request *request, struct pm_compact_result *ret);

/// What an administrator can set, for strategy linux and kcompactd.
struct pm_compact_settings {
	uint32_t proactiveness;	    ///< 0..100: how little of free memory kcompactd wants in small blocks. 0: it does nothing of its own accord. 20 by default
	uint32_t extfrag_threshold; ///< 0..1000: with a fragmentation index up to this a failure is for want of memory, and nothing is compacted for costly orders. 500
};
/// What is set now. PM_ERR_NOMEM: the state of compaction could not be made.
PM_API PM_NODISCARD enum pm_status pm_compact_settings(struct pm_machine *m, struct pm_compact_settings *ret);
/// PM_ERR_INVAL: out of range.
PM_API PM_NODISCARD enum pm_status pm_set_compact_settings(struct pm_machine *m, const struct pm_compact_settings *settings);

/// What strategy linux remembers of a zone (an index), and what it has done.
struct pm_compact_zone_info {
	uint64_t cached_migrate_async; ///< where the next scan begins, unless it goes from end to end
	uint64_t cached_migrate;
	uint64_t cached_free;
	uint32_t considered;   ///< attempts since the last failure
	uint32_t defer_shift;  ///< of 2^defer_shift attempts one is made
	uint32_t order_failed; ///< the smallest order that failed
	uint64_t skipped;      ///< pageblocks with a skip hint
	uint32_t score;	       ///< 0..100: the part of its free memory that is in blocks below the huge-page order
};
/// What compaction remembers of a zone. PM_ERR_INVAL: no such zone.
PM_API PM_NODISCARD enum pm_status pm_compact_zone_info(struct pm_machine *m, uint32_t zone, struct pm_compact_zone_info *ret);

/// What strategy linux has done on a machine. Runs over a zone, but for the last three.
struct pm_compact_counters {
	uint64_t runs;
	uint64_t success;  ///< ended with what was wanted
	uint64_t failed;   ///< went through to the end without
	uint64_t captured;
	uint64_t deferred; ///< not begun, because others had failed
	uint64_t stalls;   ///< allocations that compacted
	uint64_t wakes;	   ///< times that kcompactd had a request to work for
	uint64_t proactive; ///< times that it worked of its own accord
};
/// Adds up what compaction has done; all zero before the first one.
PM_API void pm_compact_counters(struct pm_machine *m, struct pm_compact_counters *ret);

/// Wakes kcompactd for a request of `order` that found no block; `gfp` says which zones it may use. It works at the next tick at which there is
/// enough free memory to move things to, for the largest order that was asked for. PM_ERR_INVAL.
PM_API PM_NODISCARD enum pm_status pm_kcompactd_wake(struct pm_machine *m, uint32_t order, uint32_t gfp);

/// What a tick of kcompactd did.
struct pm_kcompactd_report {
	uint32_t order;	       ///< it worked for requests of this order; 0: it did not
	uint32_t proactive;    ///< 1: it worked of its own accord
	uint32_t score_before; ///< 0..100, of the whole machine
	uint32_t score_after;
	uint64_t next_ns;      ///< when it looks at the score again
	struct pm_compact_result compact; ///< of what it did
};
/// One look of kcompactd at the machine, in the caller's time: `now_ns` of any clock that does not go back. The host calls it now and then, as it calls
/// pm_kswapd(). First requests (pm_kcompactd_wake, pm_alloc_slow); without any, every 500 ms, the score: above the high mark it compacts every zone
/// down to the low one, and if that did not help it waits 64 times as long. PM_ERR_NOMEM; PM_ERR_INTR: there is more to do, call again; PM_ERR_CLOSED.
PM_API PM_NODISCARD enum pm_status pm_kcompactd_tick(struct pm_machine *m, uint32_t cpu, uint64_t now_ns, struct pm_kcompactd_report *ret);

/// What an allocation does that finds no block: the order of reclaim, compaction and another try.
enum pm_alloc_policy {
	PM_POLICY_LINUX = 0,	///< as 6.x: costly orders compact first, without waiting; then reclaim and compaction in turn, harder each time
	PM_POLICY_PIGGIN = 1,	///< 2004: with little free memory reclaim; otherwise one easy try to coalesce, and reclaim only if that fails
	PM_POLICY_RECLAIM = 2,	///< before there was compaction: reclaim alone
	PM_NR_POLICIES = 3
};
/// The policy's name; NULL: there is none of that number.
PM_API const char *pm_alloc_policy_name(uint32_t policy);

struct pm_slow_request {
	uint32_t order;
	uint32_t gfp;
	uint32_t policy;   ///< enum pm_alloc_policy
	uint32_t strategy; ///< enum pm_defrag_strategy, of its compactions
	uint32_t protocol; ///< enum pm_migrate_protocol
};

/// What an allocation cost.
struct pm_slow_report {
	uint32_t slow;	      ///< 0: there was a block at once
	uint32_t captured;    ///< 1: the block was captured as it came together
	uint32_t compactions; ///< attempts
	uint32_t priority;    ///< enum pm_compact_priority of the last
	uint32_t status;      ///< enum pm_compact_status of the last
	uint32_t reclaims;
	uint64_t reclaimed;   ///< frames
	uint64_t moved;	      ///< frames
	uint64_t scanned;     ///< frames, by compaction
};
/// pm_alloc() with the slow path that a policy names, for a machine with owners of frames. Without PM_GFP_DIRECT_RECLAIM it only wakes kcompactd. The block is one of pm_alloc(): freed by pm_free().
/// `report` is filled on failure too. Statuses of pm_alloc(); PM_ERR_NOMEM: the host has no memory; PM_ERR_INTR, PM_ERR_CLOSED. No lock of the core may be held.
PM_API PM_NODISCARD enum pm_status pm_alloc_slow(struct pm_machine *m, uint32_t cpu, const struct pm_slow_request *request, struct pm_slow_report *report, uint64_t *ret);

/// Moves chosen by a strategy outside of the core: from[i] goes to the free block at to[i], of its order; n of them, in the given order, in batches.
/// `results` as for pm_migrate(); `ret` adds up. blocks_before and blocks_after are of `order`, in all zones.
PM_API PM_NODISCARD enum pm_status pm_compact_moves(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t mode, uint32_t protocol, size_t n,
	const uint64_t *from, const uint64_t *to, struct pm_migrate_result *results, struct pm_compact_result *ret);

/* ---- ranges of frames: isolated, taken, offline (csrc/move/range*.c; docs/RANGES.md). Owners of frames have to be there: PM_ERR_STATE ---- */

/// What is wanted of a range.
enum pm_range_kind {
	PM_RANGE_ISOLATE = 0, ///< whole pageblocks, in which nothing new is allocated until pm_range_end(); nothing moves
	PM_RANGE_TAKE = 1,    ///< contiguous frames: what stands there moves away, and they are the caller's
	PM_RANGE_OFFLINE = 2  ///< whole pageblocks: what stands there moves away, and the frames leave their zone
};

enum pm_range_flags {
	PM_RANGE_SEARCH = 1,	///< TAKE: `nr` frames anywhere in [start, end), the range first from which the fewest have to move
	PM_RANGE_KEEP_MOVES = 2 ///< after a failure what had moved stays where it is, as in Linux; otherwise it moves back
};

struct pm_range_request {
	uint32_t kind;	  ///< enum pm_range_kind
	uint32_t flags;	  ///< enum pm_range_flags
	uint64_t start;	  ///< [start, end) in one zone, unless PM_RANGE_SEARCH; for ISOLATE and OFFLINE both at pageblocks or edges of the zone
	uint64_t end;
	uint64_t nr;	  ///< PM_RANGE_SEARCH: frames wanted
	uint64_t align;	  ///< PM_RANGE_SEARCH: `start` of what is found is a multiple of this power of two; 0: the largest that divides nr
	uint32_t mode;	  ///< enum pm_migrate_mode
	uint32_t protocol; ///< enum pm_migrate_protocol
	uint32_t tries;	  ///< passes over what stands in the range; 0: until nothing does. What can never move fails at once, whatever this says
	uint32_t candidates; ///< PM_RANGE_SEARCH: ranges to try at most, 1..PM_RANGE_MAX_CANDIDATES
	uint32_t migratetype; ///< TAKE: of the blocks that the caller gets, below PM_NR_PCP_TYPES
};
enum { PM_RANGE_MAX_CANDIDATES = 64 };
/// Linux' ways: SYNC with migration entries, 5 tries for TAKE, none too many for OFFLINE.
PM_API void pm_range_request_default(uint32_t kind, struct pm_range_request *ret);

/// How far a range has come.
enum pm_range_state {
	PM_RANGE_SEARCHING = 0,
	PM_RANGE_CHECKING = 1,	 ///< for what can never move
	PM_RANGE_ISOLATING = 2,
	PM_RANGE_EVACUATING = 3,
	PM_RANGE_CLAIMING = 4,
	PM_RANGE_ROLLING_BACK = 5,
	PM_RANGE_DONE = 6,
	PM_RANGE_FAILED = 7,
	PM_NR_RANGE_STATES = 8
};
/// The name of a state of a range; NULL above the last. Static storage.
PM_API const char *pm_range_state_name(uint32_t state);

struct pm_range_info {
	uint32_t state;	   ///< enum pm_range_state
	uint32_t over;	   ///< 1: DONE or FAILED
	int32_t status;	   ///< enum pm_status: why it failed
	uint64_t start;	   ///< the range it is about, or the one that was tried last
	uint64_t end;
	uint64_t moved;	   ///< frames that moved away
	uint64_t put_back; ///< of these, frames that came back after a failure
	uint64_t passes;   ///< over what stood in the range
	uint64_t tried;	   ///< ranges
	uint64_t nr_obstacles; ///< entries for pm_range_obstacles()
};

/// Who is in the way.
struct pm_obstacle {
	uint64_t pfn;	 ///< first frame of the block
	uint32_t nr;	 ///< its frames in the range
	uint32_t reason; ///< enum pm_migrate_reason
};

/// Begins work on a range; nothing is done yet. `ret` gets a handle, for pm_range_end() in any case.
/// PM_ERR_INVAL; PM_ERR_RANGE: not in one zone, or partly offline; PM_ERR_NOMEM.
PM_API PM_NODISCARD enum pm_status pm_range_begin(struct pm_machine *m, const struct pm_range_request *request, uint64_t *ret);
/// Works until it is over. With limited waits (pm_memory_options.wait_slices) it comes back with PM_ERR_INTR and `over` 0 now and then: call again.
/// PM_ERR_BUSY: something is in the way, see pm_range_obstacles(); PM_ERR_WATERMARK: nowhere to move it to; PM_ERR_NO_BLOCK: the search found no candidate; PM_ERR_INTR with
/// `over` 1: cancelled; PM_ERR_NOMEM. After a failure all is as it was: nothing is isolated, and what had moved is back, unless it was taken for something else meanwhile.
/// PM_ERR_STATE: it was over before. PM_ERR_AGAIN: another thread works on it.
PM_API PM_NODISCARD enum pm_status pm_range_run(struct pm_machine *m, uint32_t cpu, uint64_t range, struct pm_range_info *ret);
/// Lets the pm_range_run() of another thread fail, soon. No effect on one that is over.
PM_API PM_NODISCARD enum pm_status pm_range_cancel(struct pm_machine *m, uint64_t range);
/// What stood in the way of the last range tried, in the last pass: at most n into `obstacles`; `ret` gets how many there are.
PM_API PM_NODISCARD enum pm_status pm_range_obstacles(struct pm_machine *m, uint64_t range, size_t n, struct pm_obstacle *obstacles, size_t *ret);
/// Gives the handle up. What is not over is undone first, and the isolation of ISOLATE ends. What was taken is still the caller's, what is offline still offline.
PM_API PM_NODISCARD enum pm_status pm_range_end(struct pm_machine *m, uint32_t cpu, uint64_t range);

/// Frees `nr` frames from `start` that PM_RANGE_TAKE gave. They are used blocks, as large as alignment and length allow, so a part can be freed whose ends are ends of blocks.
/// Statuses as for pm_free(); stops at the first block that cannot be freed, and `ret` gets how many frames were.
PM_API PM_NODISCARD enum pm_status pm_range_free(struct pm_machine *m, uint32_t cpu, uint64_t start, uint64_t nr, uint64_t *ret);
/// Gives the frames of offline pageblocks back to their zone. PM_ERR_RANGE: not whole pageblocks of one zone. PM_ERR_STATE: one of them is not offline. Nothing was done then.
PM_API PM_NODISCARD enum pm_status pm_range_online(struct pm_machine *m, uint64_t start, uint64_t end);

/* ---- what elementary work costs on this host (csrc/move/exercise.c) ---- */

/// The work of which a strategy's work consists, besides that on entries and references.
enum pm_exercise {
	PM_EXERCISE_COPY = 0,  ///< the contents of a frame are copied to one far away: what was there is lost. PM_ERR_NO_CONTENTS
	PM_EXERCISE_SCAN = 1,  ///< a frame is looked at, as a scanner does, one block of the largest order under one hold of the zone lock
	PM_EXERCISE_FLUSH = 2, ///< a TLB flush of every CPU
	PM_EXERCISE_LOCK = 3,  ///< the zone lock is taken and given back
	PM_NR_EXERCISES = 4
};
/// Does it about `n` times, so that a caller with a clock can tell what it costs. For a machine of one's own.
PM_API PM_NODISCARD enum pm_status pm_exercise(struct pm_machine *m, uint32_t cpu, uint32_t what, uint64_t n);

/// What a frame is for whoever wants the block around it.
enum pm_standing {
	PM_STAND_ABSENT = 0,	  ///< in a hole, reserved, or outside every zone: no block around it comes free
	PM_STAND_FREE = 1,
	PM_STAND_PCP = 2,	  ///< in a per-CPU list: free once that is drained
	PM_STAND_MOVABLE = 3,
	PM_STAND_UNEVICTABLE = 4, ///< mlocked, or memory alone: movable, but not to be reclaimed
	PM_STAND_WRITEBACK = 5,	  ///< being written out: movable when that is over
	PM_STAND_LOCKED = 6,	  ///< somebody holds its lock: movable in a moment
	PM_STAND_ISOLATED = 7,	  ///< off its list, in somebody's hands; or free, in an isolated pageblock
	PM_STAND_PINNED = 8,	  ///< for direct I/O or longer: stays
	PM_STAND_UNMOVABLE = 9,	  ///< the kernel's own: stays
	PM_NR_STANDING = 10
};
/// A word or two; NULL for another number. Static storage.
PM_API const char *pm_standing_name(uint32_t standing);

/// Frames by enum pm_standing of the aligned blocks [first, first + n) of `order`, counted from frame 0: ret[block * PM_NR_STANDING + standing]. Each pageblock at one moment, under its
/// zone's lock. PM_ERR_INVAL, PM_ERR_STATE; PM_ERR_RANGE: there are not so many blocks.
PM_API PM_NODISCARD enum pm_status pm_blocks_census(struct pm_machine *m, uint32_t order, uint64_t first, size_t n, uint32_t *ret);

/// What can be had at all, by whatever method.
struct pm_bound {
	uint64_t free_frames; ///< in free lists and per-CPU lists
	uint64_t possible;    ///< blocks in which nothing stays
	uint64_t blocks;      ///< of these, blocks without anything in them
	uint64_t bound;	      ///< most blocks that can be free at once: as many as the free frames make up, and no more than are possible
	uint64_t wanted;      ///< blocks beside those that are there, as many as asked for, or as the bound allows
	uint64_t minimum;     ///< frames that have to move for them at least: what stands in the cheapest `wanted` blocks. Enough, too, where large blocks can be split
};
/// Looks at a zone (an index, PM_EVERY_ZONE) and works that out. PM_ERR_INVAL, PM_ERR_STATE.
PM_API PM_NODISCARD enum pm_status pm_compact_bound(struct pm_machine *m, uint32_t zone, uint32_t order, uint64_t wanted, struct pm_bound *ret);

/* ---- images: what a machine's allocator knows, as bytes (csrc/embed/image.h says in which form) ---- */

/// Saves zones, settings, every block and the order of every list, and what the per-CPU lists have learnt: equal states give equal bytes, and a machine that is
/// loaded from them hands out the same frames from there on. Writes at most `size` bytes, all or none; `ret` gets the whole length (ask with size 0 first). Not
/// saved: counters, and the callers' tags. Nobody else may use the machine meanwhile.
/// PM_ERR_OWNED: a frame belongs to an address space, a file or another owner; PM_ERR_BUSY: a pageblock is isolated.
PM_API PM_NODISCARD enum pm_status pm_image_save(struct pm_machine *m, void *bytes, size_t size, size_t *ret);
/// Makes the machine that was saved; what was allocated is allocated, and may be freed block by block. pm_memory_enable() may follow.
/// PM_ERR_SYNTAX: no image, or one that contradicts itself; PM_ERR_CORRUPT: its hash is another; PM_ERR_LIMIT: of another version or of a build with other
/// constants; PM_ERR_NOMEM.
PM_API PM_NODISCARD enum pm_status pm_image_load(const void *bytes, size_t n, struct pm_machine **ret);

struct pm_image_info {
	uint64_t hash;	    ///< of what is saved: FNV-1a, 64 bits
	uint64_t nr_frames; ///< that the zones span
	uint32_t version;   ///< of the form
	uint32_t nr_cpus;
	uint32_t nr_zones;
	struct pm_settings settings;
};
/// What an image says of itself, without a machine; its hash was checked. The statuses of pm_image_load().
PM_API PM_NODISCARD enum pm_status pm_image_info(const void *bytes, size_t n, struct pm_image_info *ret);

/// How memory ages: blocks come and go until it is as full, and as mixed, as a machine is after days.
struct pm_age_options {
	uint64_t seed;		  ///< equal seeds age equal machines alike
	uint32_t occupancy_ppm;	  ///< how much of what is managed is allocated in the end; parts per million, at most 950000
	uint32_t unmovable_ppm;	  ///< of the allocated blocks: kernel memory
	uint32_t reclaimable_ppm; ///< of the allocated blocks: reclaimable kernel memory; the rest is movable
	uint32_t turnover;	  ///< how often memory fills up to 95 % and empties again to the occupancy, on the way; at most 1000
	uint32_t clump;		  ///< up to how many blocks that were born one after the other are freed together; 1: each by itself, which fragments most
	uint32_t order_weight[PM_NR_ORDERS]; ///< how often a block has each order; all 0: order 0 alone
};
/// 70 % occupied, 8 % unmovable, 4 % reclaimable, turned over 4 times in clumps of up to 256 blocks, most of order 0.
PM_API void pm_age_options_default(struct pm_age_options *ret);
/// Allocates and frees on all CPUs in turn, and drains their lists. What is left allocated has the numbers 1, 2, … of its birth as tags, and may be freed block by
/// block. `ret` (may be NULL) gets the number of blocks. A request that fails is left out. PM_ERR_INVAL; PM_ERR_NOMEM. Nobody else may use the machine meanwhile.
PM_API PM_NODISCARD enum pm_status pm_age(struct pm_machine *m, const struct pm_age_options *options, uint64_t *ret);

/* ---- for other extension modules of a Python process: the functions as a table (csrc/embed/api.c) ---- */

/// What most simulators need, as a table of functions: each as its namesake `pm_…` says. Members are only ever added, at the end; `bytes` says how many there
/// are. A capsule `pymigrate.capi._C_API` holds it (docs/EMBED_IN_PROCESS.md).
struct pm_api {
	uint32_t abi;	///< PM_ABI_VERSION of the library
	uint32_t bytes; ///< sizeof(struct pm_api) of the library
	const char *(*status_text)(enum pm_status status);
	void (*settings_default)(struct pm_settings *ret);
	enum pm_status (*machine_create)(const struct pm_layout *layout, struct pm_machine **ret);
	void (*machine_shut)(struct pm_machine *m);
	void (*machine_destroy)(struct pm_machine *m);
	enum pm_status (*machine_validate)(struct pm_machine *m, char *message, size_t size);
	uint32_t (*nr_zones)(const struct pm_machine *m);
	uint32_t (*nr_cpus)(const struct pm_machine *m);
	uint64_t (*nr_frames)(const struct pm_machine *m);
	enum pm_status (*zone_info)(struct pm_machine *m, uint32_t zone, struct pm_zone_info *ret);
	enum pm_status (*free_blocks)(struct pm_machine *m, uint32_t zone, uint64_t *ret);
	enum pm_status (*frame_info)(struct pm_machine *m, uint64_t pfn, struct pm_frame_info *ret);
	void (*counters)(struct pm_machine *m, struct pm_counters *ret);
	int64_t (*fragmentation_index)(const uint64_t *nr_blocks, uint32_t order);
	enum pm_status (*alloc)(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, uint64_t *ret);
	enum pm_status (*free)(struct pm_machine *m, uint32_t cpu, uint64_t pfn, uint32_t order);
	enum pm_status (*alloc_bulk)(struct pm_machine *m, uint32_t cpu, uint32_t order, uint32_t gfp, size_t n, uint64_t *pfns, size_t *ret);
	enum pm_status (*free_bulk)(struct pm_machine *m, uint32_t cpu, uint32_t order, size_t n, const uint64_t *pfns, size_t *ret);
	enum pm_status (*drain)(struct pm_machine *m, uint32_t cpu);
	void (*memory_options_default)(struct pm_memory_options *ret);
	enum pm_status (*memory_enable)(struct pm_machine *m, const struct pm_memory_options *options);
	uint64_t (*clock_now)(struct pm_machine *m);
	enum pm_status (*tick)(struct pm_machine *m, uint32_t cpu, uint64_t ns, struct pm_tick_report *ret);
	void (*notify_options_default)(struct pm_notify_options *ret);
	enum pm_status (*notify)(struct pm_machine *m, const struct pm_notify_options *options);
	enum pm_status (*space_create)(struct pm_machine *m, uint64_t *ret);
	enum pm_status (*space_fork)(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t *ret);
	enum pm_status (*space_exit)(struct pm_machine *m, uint32_t cpu, uint64_t space);
	enum pm_status (*map)(struct pm_machine *m, uint32_t cpu, uint64_t space, const struct pm_map_request *request, uint64_t *ret);
	enum pm_status (*unmap)(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint64_t length);
	enum pm_status (*protect)(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint64_t length, uint32_t prot);
	enum pm_status (*translate)(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint32_t flags, struct pm_translation *ret);
	enum pm_status (*touch)(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint64_t length, bool write, uint64_t *ret);
	enum pm_status (*lookup)(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, struct pm_pte_info *ret);
	enum pm_status (*read)(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, void *bytes, size_t n, size_t *ret);
	enum pm_status (*write)(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, const void *bytes, size_t n, size_t *ret);
	enum pm_status (*rmap)(struct pm_machine *m, uint32_t cpu, uint64_t pfn, size_t n, struct pm_rmap_entry *entries, size_t *ret, uint64_t *ret_visited);
	enum pm_status (*page_info)(struct pm_machine *m, uint64_t pfn, struct pm_page_info *ret);
	enum pm_status (*owner_create)(struct pm_machine *m, uint32_t kind, uint64_t *ret);
	enum pm_status (*owner_destroy)(struct pm_machine *m, uint32_t cpu, uint64_t owner);
	enum pm_status (*owner_alloc)(struct pm_machine *m, uint32_t cpu, uint64_t owner, uint32_t order, uint32_t gfp, uint32_t *ret);
	enum pm_status (*owner_free)(struct pm_machine *m, uint32_t cpu, uint64_t owner, uint32_t number);
	enum pm_status (*owner_frame)(struct pm_machine *m, uint32_t cpu, uint64_t owner, uint32_t number, uint64_t *ret);
	enum pm_status (*swap_on)(struct pm_machine *m, const struct pm_swap_options *options);
	enum pm_status (*reclaim)(struct pm_machine *m, uint32_t cpu, uint32_t zone, uint64_t nr, uint64_t *ret);
	enum pm_status (*migrate)(struct pm_machine *m, uint32_t cpu, const struct pm_migrate_request *request, struct pm_migrate_result *results, size_t *ret);
};

/// The table. Static storage; never NULL. No lock; any thread.
PM_API const struct pm_api *pm_api(void);

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

#define PM_NO_PFN32 0xffffffffu

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
	const uint8_t *resolution; ///< enum pm_resolution, or NULL before pm_resolve_allocations()
};

/* ---- parsing: the text of a trace to columns (csrc/replay/parse.c) ---- */

/// The text forms that are read. AUTO settles on one at the first line that tells.
enum pm_text_format { PM_TEXT_AUTO = 0, PM_TEXT_PERF_SCRIPT = 1, PM_TEXT_TRACE_CMD = 2, PM_TEXT_FTRACE = 3, PM_TEXT_PAGE_OWNER = 4 };

enum {
	PM_PARSE_NR_PROBLEMS = 16,	 ///< how many damaged lines are remembered with their place
	PM_PARSE_NR_OTHERS = 64,	 ///< how many names of unknown events are remembered
	PM_PARSE_NAME_BYTES_MAX = 48,	 ///< a longer name of an unknown event is cut
	PM_PARSE_LINE_BYTES_MAX = 65536, ///< a longer line is damaged
	PM_PARSE_BATCH_MAX = 1 << 24	 ///< most events that a parser may hold at once
};

/// A place in the text and what is wrong there.
struct pm_parse_problem {
	uint64_t line;	    ///< counted from 1
	uint64_t column;    ///< byte within the line, counted from 1
	const char *reason; ///< static storage
};

/// What a parser has seen so far. Every line is counted exactly once: lines = events + other_events + comments + lost_lines + skipped.
struct pm_parse_stats {
	uint64_t bytes;
	uint64_t lines;
	uint64_t events;
	uint64_t other_events;	   ///< well-formed events that pymigrate does not use
	uint64_t comments;	   ///< comments, headers and empty lines
	uint64_t lost_lines;	   ///< lines that say that events were lost
	uint64_t lost_events;	   ///< how many events those lines speak of (at least 1 a line)
	uint64_t first_lost_line;  ///< 0: none
	uint64_t skipped;	   ///< damaged lines (lenient only; strict stops at the first)
	uint64_t truncated;	   ///< 1: the text ended inside a line (that line is also counted in skipped)
	uint64_t no_final_newline; ///< 1: the last line, although whole, had no newline
	uint64_t unsorted;	   ///< events older than the event before them
	uint64_t unknown_gfp;	   ///< events with a gfp bit or name that is not known; the rest of their flags is kept
	uint64_t odd_ranges;	   ///< isolate events whose range starts behind its end: taken as empty ranges
	uint64_t undecoded_ptes;   ///< migration PTE events whose frame could not be told: pfn is PM_NO_PFN32
	uint32_t format;	   ///< enum pm_text_format; AUTO until a line told
	uint32_t nr_others;	   ///< names in others; further names are counted in other_events only
	uint32_t nr_problems;	   ///< entries in problems
	struct pm_parse_problem problems[PM_PARSE_NR_PROBLEMS]; ///< the first damaged lines
};

/// One name of events that were passed over.
struct pm_parse_other {
	char name[PM_PARSE_NAME_BYTES_MAX];
	uint64_t count;
};

struct pm_parser;

/// Makes a parser. It holds at most `batch` events (1..PM_PARSE_BATCH_MAX) and one unfinished line, whatever the length of the text.
/// @param lenient damaged lines are counted and passed over; otherwise the first one ends the parse
PM_API PM_NODISCARD enum pm_status pm_parser_create(enum pm_text_format format, bool lenient, size_t batch, struct pm_parser **ret);
/// Frees a parser; NULL is allowed.
PM_API void pm_parser_destroy(struct pm_parser *parser);
/// Parses the next bytes of the text; they may end anywhere. Stops early when the batch is full: then `*ret_used` < n, and the caller
/// takes the columns, drains, and feeds the rest. The bytes are not kept. After a failure the parser stays failed.
/// @return PM_ERR_SYNTAX, PM_ERR_LIMIT: see pm_parser_stats' last problem
PM_API PM_NODISCARD enum pm_status pm_parser_feed(struct pm_parser *parser, const char *bytes, size_t n, size_t *ret_used);
/// The text is at its end: parses a last line without a newline. PM_ERR_TRUNCATED where that line is not whole; PM_ERR_BUSY where
/// the batch is full: drain and call again.
PM_API PM_NODISCARD enum pm_status pm_parser_finish(struct pm_parser *parser);
/// The columns parsed since the last drain: borrowed until the next call on this parser. `allocation` is NULL.
/// Migration PTE events carry the number of the virtual page in arg0 (low 32 bits) and arg1 (the bits above).
PM_API void pm_parser_columns(const struct pm_parser *parser, struct pm_events *ret);
/// Forgets the columns parsed so far, to make room.
PM_API void pm_parser_drain(struct pm_parser *parser);
/// What was seen so far.
PM_API void pm_parser_stats(const struct pm_parser *parser, struct pm_parse_stats *ret);
/// The i-th name of events that were passed over, i < nr_others.
PM_API PM_NODISCARD enum pm_status pm_parser_other(const struct pm_parser *parser, size_t i, struct pm_parse_other *ret);
/// Translates gfp flags as a kernel prints them: names joined by '|', "none", or hexadecimal of a 6.x kernel.
/// @param ret_unknown how many names or bits are not known
PM_API uint32_t pm_gfp_parse(const char *text, size_t n, uint32_t *ret_unknown);

/* ---- normalising: which allocation each event belongs to (csrc/replay/resolve.c) ---- */

/// How the allocation of an ALLOC or FREE was found, or why it was not. Values from PM_RES_UNRESOLVED on have no explanation.
enum pm_resolution {
	PM_RES_NONE = 0,	       ///< not an ALLOC or FREE
	PM_RES_NEW = 1,		       ///< ALLOC: a new id
	PM_RES_FREED = 2,	       ///< FREE of a whole allocation (of all that was left of it)
	PM_RES_FREED_PIECE = 3,	       ///< FREE of a part of a larger allocation; the rest lives on
	PM_RES_FREED_INITIAL = 4,      ///< FREE of a block that was allocated before the recording: an id of the initial table
	PM_RES_ALLOC_FAILED = 5,       ///< ALLOC that got nothing: no id
	PM_RES_BEFORE_START = 6,       ///< older than the start snapshot of its frame, which already shows the effect: no id
	PM_RES_MIGRATION_SOURCE = 7,   ///< FREE of a frame that migration had emptied; the allocation lives on elsewhere: no id
	PM_RES_COMPACTION_RETURN = 8,  ///< FREE of a free block that compaction had taken and did not use: no id
	PM_RES_FREED_MOVED = 9,	       ///< FREE of a frame that compaction had filled without a PTE event: the id of an allocation that left its frame so
	PM_RES_FREED_MOVED_INITIAL = 10, ///< the same, of an allocation older than the recording: an id of the initial table
	PM_RES_UNSEEN_ALLOC = 11,      ///< FREE of a frame that lay in a per-CPU list: the bulk allocator hands these out without an event: no id
	PM_RES_UNRESOLVED = 16,	       ///< the first of those without an explanation
	PM_RES_FREE_OF_FREE = 16,      ///< FREE of a frame that was free, and nothing took it: no id
	PM_RES_ALLOC_OF_OWNED = 17,    ///< ALLOC of a frame that was owned: its free was missed. A new id; the old one is dead
	PM_RES_ORDER_MISMATCH = 18,    ///< FREE of more than the allocation at its first frame: that one's id
	PM_NR_RESOLUTIONS = 19
};

/// What the pass works on. All arrays are borrowed.
struct pm_resolve_input {
	const struct pm_events *events; ///< `allocation` is not read
	size_t n_frames;		///< length of frame_flags
	const uint32_t *frame_flags;	///< at the start, bit 10: free; NULL with n_frames = 0: nothing is known
	size_t n_chunks;		///< when frame_flags was read; 0: before the first event
	const uint32_t *chunk_first_pfn;
	const uint64_t *chunk_begin_ns;
	const uint64_t *chunk_end_ns;
};

/// What the pass found.
struct pm_resolve_stats {
	uint64_t counts[PM_NR_RESOLUTIONS]; ///< events by enum pm_resolution
	uint64_t allocations;		    ///< ids given to ALLOC events: 0 .. allocations-1, in order
	uint64_t initial;		    ///< ids of the initial table: allocations .. allocations+initial-1
	uint64_t split_allocations;	    ///< allocations that were freed in pieces
	uint64_t migrations;		    ///< frames that PTE events moved
	uint64_t migrations_failed;	    ///< PTE pairs that went back to their source
	uint64_t migrations_unpaired;	    ///< remove events without their set
	uint64_t mixed_frees;		    ///< FREEs of blocks whose frames belonged to more than one owner
	uint64_t silent_moves;		    ///< blocks that compaction moved without a PTE event
	uint64_t silent_settled;	    ///< of these, how many destinations the moves around them tell exactly
	uint64_t silent_found;		    ///< of these, how many were matched, oldest first, when a frame was freed or moved on
	uint64_t migrate_batches;	    ///< mm_migrate_pages events
	uint64_t migrate_batches_agree;	    ///< of these, how many moved as many frames as we saw emptied
	uint64_t unseen_frees;		    ///< owned blocks that turned up in the free lists without a FREE
};

struct pm_resolve;

/// Finds the allocation of every event, in one pass.
/// @param allocation out, n ids, PM_NO_PFN32 for none  @param resolution out, n values of enum pm_resolution
/// @return PM_ERR_LIMIT: a frame number or a count of ids beyond 2^31
PM_API PM_NODISCARD enum pm_status pm_resolve_allocations(const struct pm_resolve_input *input, uint32_t *allocation, uint8_t *resolution,
							  struct pm_resolve **ret);
/// Frees what pm_resolve_allocations made; NULL is allowed.
PM_API void pm_resolve_destroy(struct pm_resolve *resolve);
/// The counts.
PM_API void pm_resolve_stats(const struct pm_resolve *resolve, struct pm_resolve_stats *ret);
/// The table of allocations older than the recording: where each lay at the start. Borrowed until destroy.
/// @return how many there are
PM_API size_t pm_resolve_initial(const struct pm_resolve *resolve, const uint32_t **ret_pfn, const int8_t **ret_order);

/* ---- replay, "simulate": our policy places everything (csrc/replay/simulate.c) ---- */

struct pm_simulation;

/// Which of the kernel's background mechanisms a simulation imitates. All are on in pm_simulation_options_default().
struct pm_simulation_options {
	uint32_t compaction_drain; ///< 1: a recorded compaction drains the lists of its CPU
	uint32_t compaction_moves; ///< 1: what recorded compaction moved, moves with us too
	uint32_t drain_time;	   ///< 1: a drain goes on until its CPU's next event, and what other CPUs lack meanwhile is forgotten at its end
	uint32_t capture;	   ///< 1: where compaction served a request, the block that it gave is emptied with us and given
	uint32_t compaction_hold;  ///< 1: the free blocks in the ranges that it searched are taken to be moved to, and what is left returns at its end
};
/// Every mechanism on.
PM_API void pm_simulation_options_default(struct pm_simulation_options *ret);

/// What a simulation has done. An event is counted in one of the first seven.
struct pm_simulation_stats {
	uint64_t allocated;	 ///< requests served with a block
	uint64_t scattered;	 ///< requests served in single frames, for want of a block
	uint64_t failed;	 ///< requests that we could not serve, although the kernel did
	uint64_t kernel_failed;	 ///< requests that the kernel could not serve
	uint64_t freed;
	uint64_t unresolved;	 ///< frees without a known allocation
	uint64_t ignored;	 ///< events that say nothing about who asks and who frees
	uint64_t forced;	 ///< of `allocated`: only from the reserves of urgent requests
	uint64_t captured;	 ///< of `allocated`: with a block that compaction had emptied
	uint64_t split;		 ///< blocks split because the kernel freed them in pieces
	uint64_t refused;	 ///< of `unresolved`: frees of what we do not hold
	uint64_t decays;	 ///< times that a CPU's lists decayed
	uint64_t decays_skipped; ///< quiet ticks (PM_TICK_DECAY_QUIET) that would have drained something with us
	uint64_t moved;		 ///< blocks moved by compaction
	uint64_t not_moved;	 ///< recorded moves of a block that is not at that place with us, or finds no room
	uint64_t no_target;	 ///< of `not_moved`, blocks that found no room
	uint64_t isolated;	 ///< frames that compaction took from the free lists to move something to them
	uint64_t returned;	 ///< of these, frames that it gave back unused
	uint64_t targets_elsewhere; ///< blocks moved to where no recorded scan had looked, because what it found was used up
	uint64_t compaction_drains; ///< times that compaction drained a CPU's lists of a zone
};

/// Makes a simulation on a machine that holds the state at its start. The machine is borrowed and must outlive it.
/// @param nr_allocations one more than the largest number in the events' `allocation` column
PM_API PM_NODISCARD enum pm_status pm_simulation_create(struct pm_machine *m, uint32_t nr_allocations, const struct pm_simulation_options *options, struct pm_simulation **ret);
/// Frees a simulation; NULL is allowed. The machine stays.
PM_API void pm_simulation_destroy(struct pm_simulation *sim);

/// An allocation that exists at the start: `pfn` in the machine and in the recording. For n of them.
PM_API PM_NODISCARD enum pm_status pm_simulation_place(struct pm_simulation *sim, size_t n, const uint32_t *allocations, const uint32_t *pfns, const uint8_t *orders);

/// What happens in the background, although no event says so.
enum pm_tick {
	PM_TICK_DECAY = 0,	  ///< a CPU's timer runs, and its lists decay (pm_decay_pcp)
	PM_TICK_RECLAIM_BEGIN = 1, ///< kswapd begins to reclaim, in the zones up to one
	PM_TICK_RECLAIM_END = 2,  ///< it sleeps again, and the zones' boosts go with it
	PM_TICK_DRAIN_ALL = 4,	  ///< reclaim did not suffice for a request: all CPUs' lists are drained
	PM_TICK_DECAY_QUIET = 3,  ///< a CPU's timer is due but drained nothing: where its lists have something to drain, it has not run
	PM_NR_TICKS = 5
};

/// The background over time: n ticks in order of time, their kinds (enum pm_tick), and where: the CPU of a decay, the index of the highest
/// zone of a reclaim. Copied; replaces earlier ones.
PM_API PM_NODISCARD enum pm_status pm_simulation_set_ticks(struct pm_simulation *sim, size_t n, const uint64_t *times_ns, const uint8_t *kinds, const uint16_t *where);

/// Learns from events [from, to) before the start what each CPU's lists had learnt: how far refills are scaled, and how many frames
/// were freed in a row. Moves nothing.
PM_API PM_NODISCARD enum pm_status pm_simulation_learn(struct pm_simulation *sim, const struct pm_events *events, size_t from, size_t to);

/// Plays events [from, to), each on its CPU. One thread. PM_ERR_INVAL: an event's CPU or allocation does not exist in the machine.
PM_API PM_NODISCARD enum pm_status pm_simulation_run(struct pm_simulation *sim, const struct pm_events *events, size_t from, size_t to);
/// What makes a block where a probe finds none. All move what a simulation can move, by the rules of the strategies of the same names, one block at a
/// time, and to the free lists for movable requests of the same zone.
enum pm_probe_strategy {
	PM_PROBE_NONE = 0,	    ///< nothing: the probe only looks
	PM_PROBE_LINUX = 1,	    ///< two scanners that come towards each other; where they are, and failures that defer a zone, last from probe to probe
	PM_PROBE_PLANNER = 2,	    ///< the block in which the fewest frames stand
	PM_PROBE_COALESCE_2004 = 3, ///< the block around a free one of one or two orders below
	PM_NR_PROBE_STRATEGIES = 4
};
/// What a probe found.
struct pm_probe {
	uint64_t moved;	      ///< frames that the strategy moved
	uint32_t there;	      ///< 1: a movable request of the order would have been served at the LOW watermark
	uint32_t there_after; ///< the same when the strategy has run
};
/// Between two calls of pm_simulation_run(): would a block of `order` have been there? If not, the strategy (enum pm_probe_strategy) makes one, on `cpu`.
/// With PM_PROBE_NONE, or where a block is there, nothing changes; what a strategy does is not counted in struct pm_simulation_stats. One thread.
/// PM_ERR_INVAL: no such CPU, order (1 to that of a pageblock) or strategy. PM_ERR_NOMEM.
PM_API PM_NODISCARD enum pm_status pm_simulation_probe(struct pm_simulation *sim, uint32_t cpu, uint32_t order, uint32_t strategy, struct pm_probe *ret);
/// What it has done so far.
PM_API void pm_simulation_stats(const struct pm_simulation *sim, struct pm_simulation_stats *ret);

/// Where memory is free, to compare two machines pageblock by pageblock: one number for each of the first n pageblocks, equal where the same
/// frames are free. Nobody else may use the machine meanwhile. PM_ERR_INVAL: the machine has fewer pageblocks.
PM_API PM_NODISCARD enum pm_status pm_free_digest(struct pm_machine *m, size_t n, uint64_t *ret);

/// What occupies the machine, for a map: frames by state in `nr_bins` equal parts of [0, pm_nr_frames()).
/// ret[bin * PM_NR_OCCUPANTS + occupant].
enum pm_occupant {
	PM_OCC_ABSENT = 0, ///< hole or reserved
	PM_OCC_FREE_SMALL = 1, ///< free, in a block below the pageblock order
	PM_OCC_FREE_LARGE = 2,
	PM_OCC_PCP = 3,
	PM_OCC_UNMOVABLE = 4,
	PM_OCC_MOVABLE = 5,
	PM_OCC_RECLAIMABLE = 6,
	PM_OCC_UNPLACED = 7, ///< not on the free lists, and nobody says where: all but the free frames of a reconstruction
	PM_NR_OCCUPANTS = 8
};
/// Fills the map; walks all frames. PM_ERR_INVAL: no bins, or more than frames.
PM_API PM_NODISCARD enum pm_status pm_occupancy(struct pm_machine *m, uint32_t nr_bins, uint32_t *ret);

/* ---- replay, "reconstruct": every event moves the very frames that it names (csrc/replay/reconstruct.c) ---- */

/// What a reconstruction counts. Up to PM_RC_NR_UNEXPLAINED: what the events do not explain.
enum pm_reconstruct_cause {
	PM_RC_TAKE_OWNED = 0,	  ///< frames taken from the free lists that were not there for us
	PM_RC_TAKE_INSIDE = 1,	  ///< blocks taken from the inside of a free block: two CPUs' events crossed
	PM_RC_GIVE_FREE = 2,	  ///< frames given back or freed that were still free for us: taken before without a word
	PM_RC_ALLOC_FREE = 3,	  ///< frames allocated that were free for us, and no give was captured
	PM_RC_PTE_FREE = 4,	  ///< frames of migration entries that were still free for us
	PM_RC_SCAN_SURPLUS = 5,	  ///< frames more in a range than compaction found there
	PM_RC_SCAN_OTHER = 6,	  ///< isolate_freepages events whose numbers no scan gives
	PM_RC_FAST_UNKNOWN = 7,	  ///< fast_isolate_freepages events without a block that fits: nothing taken
	PM_RC_MALFORMED = 8,	  ///< events that name no block of this machine
	PM_RC_NR_UNEXPLAINED = 9,
	PM_RC_FREE_DIRECT = 9,	  ///< frees of a per-CPU order that went straight to the free lists
	PM_RC_FREE_HELD = 10,	  ///< frees of blocks that compaction kept
	PM_RC_CAPTURE = 11,	  ///< blocks captured by compaction as they were given back
	PM_RC_SCAN_EXACT = 12,	  ///< isolate_freepages events explained to the frame
	PM_RC_FAST_TAKEN = 13,	  ///< fast_isolate_freepages events with a block
	PM_RC_FAST_SILENT = 14,	  ///< of these, blocks that are never spoken of again: one of several that fit
	PM_RC_BEFORE_SNAPSHOT = 15, ///< events older than the snapshot of their frames
	PM_RC_PASSES = 16,	  ///< passes that the plan took
	PM_RC_WORDS = 17,	  ///< words on frames taken without a word that the plan had to place
	PM_NR_RC_CAUSES = 18
};

struct pm_reconstruct;

/// Plans a reconstruction, and loads the state at the end of the start snapshot into `m`, which must have been made with
/// PM_START_UNPLACED and the recording's zones; its pageblock types (pm_load_pageblock_types) hold where no event tells better. `m` and the input are borrowed until destroy. Frames that are not free are left unplaced.
/// PM_ERR_NOMEM, PM_ERR_INVAL, PM_ERR_LIMIT: 2^31 events or frames, and the statuses of pm_load_blocks().
PM_API PM_NODISCARD enum pm_status pm_reconstruct_create(struct pm_machine *m, const struct pm_resolve_input *input, struct pm_reconstruct **ret);
/// Frees a reconstruction; NULL is allowed. The machine stays.
PM_API void pm_reconstruct_destroy(struct pm_reconstruct *r);

/// The first event after the snapshot: what is before it is in the state already.
PM_API size_t pm_reconstruct_first(const struct pm_reconstruct *r);

/// Applies the events up to `to`, exclusive; those up to an earlier `to` are not applied again. One thread.
PM_API PM_NODISCARD enum pm_status pm_reconstruct_run(struct pm_reconstruct *r, size_t to);

/// The counts of enum pm_reconstruct_cause: PM_NR_RC_CAUSES numbers. Of the whole recording, whatever was run so far.
PM_API void pm_reconstruct_counts(const struct pm_reconstruct *r, uint64_t *ret);

/// Our policy one step at a time: for each block that a request took from the free lists, what it would have done with the lists as they
/// then stood.
struct pm_policy_steps {
	uint64_t compared;	 ///< blocks
	uint64_t same;		 ///< it would have given this very block
	uint64_t given_compared; ///< of `compared`, blocks that came to the free lists since the start
	uint64_t given_same;	 ///< of these, the same
	uint64_t fallback[5][5]; ///< it would have fallen back: [requested type][type of the pageblock it would have taken from]
};

/// Of the events run so far.
PM_API void pm_reconstruct_steps(const struct pm_reconstruct *r, struct pm_policy_steps *ret);

/// A few words for a cause. Static storage; never NULL.
PM_API const char *pm_reconstruct_cause_text(uint32_t cause);

/// How many operations on the free lists the events came to.
PM_API size_t pm_reconstruct_operations(const struct pm_reconstruct *r);

/// The first event that a reader of the free lists did not see, who stamped `t_ns` before it read. It needs the zone lock: a refill
/// or a drain under way is seen whole, up to the full batch (2016 frames) after which the lock is let go.
/// @param delay_ns from the stamp to the read
PM_API size_t pm_events_seen(const struct pm_events *events, uint64_t t_ns, uint64_t delay_ns);

/* ---- gfp masks as numbers, which depend on the kernel (csrc/replay/gfp_versions.c) ---- */

/// What each bit of a kernel's gfp mask stands for.
struct pm_gfp_bits {
	uint64_t known;	    ///< the bits that have a meaning
	uint32_t flags[64]; ///< enum pm_gfp bits; 0 also for flags on which no placement depends
};

/// The layout of a kernel's version, from 4.5 on; bits that depend on its configuration are left out. PM_ERR_INVAL: an older version.
PM_API PM_NODISCARD enum pm_status pm_gfp_bits_of_version(uint32_t major, uint32_t minor, struct pm_gfp_bits *ret);
/// pm_gfp_parse() with the kernel's own bits for what is hexadecimal.
PM_API uint32_t pm_gfp_parse_bits(const struct pm_gfp_bits *bits, const char *text, size_t n, uint32_t *ret_unknown);
/// Hexadecimal flags in a parser's text are of this layout, not of 6.x. Copied. PM_ERR_BUSY: it has parsed lines already.
PM_API PM_NODISCARD enum pm_status pm_parser_set_gfp_bits(struct pm_parser *parser, const struct pm_gfp_bits *bits);

/* ---- binary traces: format files, ring-buffer pages and perf's records to columns (csrc/replay/decode*.c) ---- */

/// Decodes what a kernel's tracers write, by the kernel's own descriptions of its events. Little-endian 64-bit kernels.
/// A decoder belongs to one thread at a time.
struct pm_decoder;

/// Fewest events that a decoder can hold.
enum { PM_DECODE_BATCH_MIN = 16384 };
/// Makes a decoder that holds at most `batch` events (PM_DECODE_BATCH_MIN..PM_PARSE_BATCH_MAX).
/// @param lenient what is damaged is counted and passed over; otherwise the first damage ends the decoding
PM_API PM_NODISCARD enum pm_status pm_decoder_create(bool lenient, size_t batch, struct pm_decoder **ret);
/// Frees a decoder; NULL is allowed.
PM_API void pm_decoder_destroy(struct pm_decoder *d);

/// Adds one event's description, the text of events/SYSTEM/EVENT/format. Events that pymigrate does not use are kept by name. What
/// the flags and symbols of the used ones mean comes from the text's `print fmt`. A number that is described twice keeps the first.
/// @return PM_ERR_SYNTAX: no name, no ID, or an event that is used lacks a field; `pm_decoder_problem` says which
PM_API PM_NODISCARD enum pm_status pm_decoder_add_format(struct pm_decoder *d, const char *text, size_t n);
/// The description of a ring-buffer page, the text of events/header_page. PM_ERR_SYNTAX.
PM_API PM_NODISCARD enum pm_status pm_decoder_set_header_page(struct pm_decoder *d, const char *text, size_t n);
/// What is wrong with the last text that was refused. Static storage.
PM_API const char *pm_decoder_problem(const struct pm_decoder *d);
/// The gfp bits as the formats added so far describe them. PM_ERR_INVAL: none does.
PM_API PM_NODISCARD enum pm_status pm_decoder_gfp_bits(const struct pm_decoder *d, struct pm_gfp_bits *ret);

/// Decodes ring-buffer pages of one CPU, `page_bytes` each (64..65536), in the order in which they were read. Stops early when the
/// next page might not fit into the batch: then `*ret_used` < n, and the caller drains and goes on there. A last page that is cut is
/// damage.
/// @return PM_ERR_SYNTAX, PM_ERR_TRUNCATED: see pm_decoder_stats' last problem; `line` counts events and other records, `column`
/// the bytes since the decoder was made
PM_API PM_NODISCARD enum pm_status pm_decoder_pages(struct pm_decoder *d, uint32_t cpu, uint32_t page_bytes, const void *bytes, size_t n, size_t *ret_used);

/// How the samples of a perf.data file are laid out: sample_type and read_format of each of its n events (perf_event_attr), and which
/// of these each of n_ids ids belongs to. Ids are needed where the layouts differ. PM_ERR_INVAL: an index out of range, or layouts
/// that differ without an identifier at the start of each sample.
PM_API PM_NODISCARD enum pm_status pm_decoder_set_perf(struct pm_decoder *d, size_t n, const uint64_t *sample_types, const uint64_t *read_formats,
	size_t n_ids, const uint64_t *ids, const uint32_t *attr_of_id);
/// Why pm_decoder_perf() stopped.
enum pm_perf_stop {
	PM_PERF_END = 0,	///< nothing is left, or the start of a record that is not whole
	PM_PERF_FULL = 1,	///< the batch is full: drain and go on
	PM_PERF_COMPRESSED = 2	///< a compressed record: [pos, pos + size) of the bytes is what zstd made of more records; go on behind it
};
struct pm_perf_span {
	uint32_t stop; ///< enum pm_perf_stop
	uint64_t pos;
	uint64_t size;
};
/// Decodes records of perf.data's data section; they may end anywhere. `*ret_used` bytes are done; the rest is fed again with what follows.
PM_API PM_NODISCARD enum pm_status pm_decoder_perf(struct pm_decoder *d, const void *bytes, size_t n, size_t *ret_used, struct pm_perf_span *ret);

/// The columns decoded since the last drain: borrowed until the next call on this decoder. Each CPU's are in order of time; CPUs are
/// not merged. `allocation` is NULL. Migration PTE events as with pm_parser_columns().
PM_API void pm_decoder_columns(const struct pm_decoder *d, struct pm_events *ret);
/// Forgets the columns.
PM_API void pm_decoder_drain(struct pm_decoder *d);
/// What was seen so far: `lines` counts records, `comments` those without an event (padding, time marks, perf's bookkeeping).
PM_API void pm_decoder_stats(const struct pm_decoder *d, struct pm_parse_stats *ret);
/// The i-th name of events that were passed over, i < nr_others.
PM_API PM_NODISCARD enum pm_status pm_decoder_other(const struct pm_decoder *d, size_t i, struct pm_parse_other *ret);

/* BINDING-END */
#ifdef __cplusplus
}
#endif

#if defined(__cplusplus) && defined(__GNUC__)
#pragma GCC diagnostic pop
#endif
#endif
