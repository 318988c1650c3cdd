/// The frame table and the pageblock table: what is known about each frame, and the links of the lists that frames are on.
///
/// Only the first frame of a block (its head) says what the block is; the words of the others are zero. So a block is allocated,
/// split or merged by writing one or two words, and memory that was never used has no frame table behind it: the table is mapped
/// lazily, and free blocks of a pageblock or more keep their state and links in the pageblock table, 16 bytes for 512 frames.
#ifndef PM_PHYS_FRAME_H
#define PM_PHYS_FRAME_H

#include <stdatomic.h>

#include "base/assert.h"
#include "base/types.h"

/// Where the block headed by a frame is.
enum pm_frame_kind {
	PM_FRAME_NONE = 0, ///< not a head: inside a block, or never handed out
	PM_FRAME_FREE = 1, ///< on a free list of its zone
	PM_FRAME_PCP = 2,  ///< on a per-CPU list, or on its way there
	PM_FRAME_USED = 3, ///< allocated
	PM_FRAME_OWNED = 4 ///< allocated, and counted by phys/page.h: only its last reference frees it
};

/// Links of a list. (Z) on a free list, (L) = the per-CPU list's lock on a per-CPU list.
struct pm_link {
	uint32_t prev; ///< of the first block of a list: undefined
	uint32_t next;
};

/// One frame: 16 bytes, four to a cache line, since a buddy's word is what a merge reads.
struct pm_frame {
	/// (A) kind << 8 | migratetype << 4 | order. USED -> PCP is a compare-and-swap by whoever frees (so that of two frees one
	/// fails); all other changes are made by the owner: under the zone lock (to and from FREE), under the per-CPU list's lock
	/// (PCP), or by the allocating thread before anyone else knows the frame.
	_Atomic uint32_t word;
	/// (U) the caller's own number for the block: a replay keeps the allocation here.
	_Atomic uint32_t tag;
	struct pm_link link;
};

/// One pageblock: 16 bytes.
struct pm_pageblock {
	struct pm_link link;	      ///< (Z)(L) links of the block of order >= PM_PAGEBLOCK_ORDER that starts here
	_Atomic uint8_t type;	      ///< (Z) for writing, read without: enum pm_migratetype, without the isolate bit
	_Atomic uint8_t isolated;     ///< (Z) for writing, read without: 1 while isolated; `type` is kept meanwhile
	uint8_t free_order;	      ///< (Z) order of the free block that starts here if it is >= PM_PAGEBLOCK_ORDER, else 0
	uint8_t zone;		      ///< (C) index of the zone; PM_NO_ZONE for a pageblock outside every zone
	uint8_t free_list;	      ///< (Z) migrate type of the list that the block of `free_order` is on
	_Atomic uint8_t queue;	      ///< (Z) for writing, read without: what `type` and `isolated` say to a free, see pm_pageblock_queue()
	_Atomic uint8_t offline;      ///< (Z) for writing, read without: 1 while its frames are not the zone's; `isolated` is 1 then too
	uint8_t pad[1];
};

enum { PM_NO_ZONE = 0xff };

_Static_assert(sizeof(struct pm_frame) == 16, "a frame grew");
_Static_assert(sizeof(struct pm_pageblock) == 16, "a pageblock grew");

static inline uint32_t pm_word(enum pm_frame_kind kind, unsigned int migratetype, unsigned int order)
{
	return (uint32_t)kind << 8 | migratetype << 4 | order;
}

static inline enum pm_frame_kind pm_word_kind(uint32_t word)
{
	return (enum pm_frame_kind)(word >> 8);
}

static inline unsigned int pm_word_order(uint32_t word)
{
	return word & 0xf;
}

static inline unsigned int pm_word_migratetype(uint32_t word)
{
	return (word >> 4) & 0xf;
}

/// Relaxed: the lists' locks order everything that follows from a word; the compare-and-swap of a free needs only its atomicity.
static inline uint32_t pm_frame_word(const struct pm_frame *frame)
{
	return atomic_load_explicit(&frame->word, memory_order_relaxed);
}

/// Relaxed: see pm_frame_word().
static inline void pm_frame_set_word(struct pm_frame *frame, uint32_t word)
{
	atomic_store_explicit(&frame->word, word, memory_order_relaxed);
}

/// Is the block in somebody's hands, with or without an owner of its own?
static inline bool pm_word_in_use(uint32_t word)
{
	return pm_word_kind(word) >= PM_FRAME_USED;
}

/// Claims the right to free a used block, whose word was read as `word`: of several threads that try, one succeeds.
static inline bool pm_frame_begin_free(struct pm_frame *frame, uint32_t word)
{
	/* Relaxed: only atomicity matters; what the next owner reads is ordered by the lock of the list that the block goes to. */
	return PM_LIKELY(atomic_compare_exchange_strong_explicit(&frame->word, &word, word ^ pm_word(PM_FRAME_USED, 0, 0) ^ pm_word(PM_FRAME_PCP, 0, 0),
								 memory_order_relaxed, memory_order_relaxed));
}

/// The type that decides where a freed frame goes: ISOLATE while the pageblock is isolated, else its type.
/// Relaxed: a free that reads it without the zone lock may be late by one change, as in the kernel; it is read again under the lock.
static inline unsigned int pm_pageblock_type(const struct pm_pageblock *block)
{
	if (PM_UNLIKELY(atomic_load_explicit(&block->isolated, memory_order_relaxed)))
		return PM_MT_ISOLATE;
	return atomic_load_explicit(&block->type, memory_order_relaxed);
}

/// The per-CPU type that a freed block is queued under; PM_NR_PCP_TYPES: it must go to the free lists. Relaxed: as pm_pageblock_type().
static inline unsigned int pm_pageblock_queue(const struct pm_pageblock *block)
{
	return atomic_load_explicit(&block->queue, memory_order_relaxed);
}

/// What `queue` must be: blocks of the high-order atomic reserve are queued as movable, those of an isolated pageblock not at all.
static inline unsigned int pm_pageblock_queue_of(unsigned int type)
{
	return type == PM_MT_ISOLATE ? PM_NR_PCP_TYPES : type == PM_MT_HIGHATOMIC ? PM_MT_MOVABLE : type;
}

static inline void pm_pageblock_write_queue(struct pm_pageblock *block)
{
	atomic_store_explicit(&block->queue, (uint8_t)pm_pageblock_queue_of(pm_pageblock_type(block)), memory_order_relaxed);
}

/// Every change of a pageblock's type comes through here. Relaxed: readers without the lock may be late by one change.
static inline void pm_pageblock_write_type(struct pm_pageblock *block, unsigned int migratetype)
{
	atomic_store_explicit(&block->type, (uint8_t)migratetype, memory_order_relaxed);
	pm_pageblock_write_queue(block);
}

/// Have its frames left the zone? Relaxed: as pm_pageblock_type().
static inline bool pm_pageblock_offline(const struct pm_pageblock *block)
{
	return atomic_load_explicit(&block->offline, memory_order_relaxed) != 0;
}

/// As pm_pageblock_write_type(), for the isolate bit.
static inline void pm_pageblock_write_isolated(struct pm_pageblock *block, bool isolated)
{
	atomic_store_explicit(&block->isolated, isolated, memory_order_relaxed);
	pm_pageblock_write_queue(block);
}

#endif
