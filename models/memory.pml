/*
 * Physical memory as both models see it: frames with references and a lock, sleepers, one page in one or two address spaces, a cache with
 * one slot (swap or a file), the stand-in for a TLB. access.pml has accesses and faults, actors.pml who takes part beside the migration.
 * They follow csrc/base, csrc/virt and csrc/back; docs/MODELS.md has the table. One atomic step here is one atomic operation there, or what
 * one short lock covers.
 *
 * A model includes the three files after it has said what takes part:
 *
 *     SPACES    1 or 2        address spaces that can map the page
 *     NF        2 to 4        frames
 *     CPUS      1 to 3        processes that access, one CPU each
 *     FILE      0 or 1        a page of a shared file mapping, or an anonymous page
 *     BIAS                    references that one pin is
 *
 * What must hold is asserted where it could break, and at the end by `init`.
 */

/* ---- page-table entries: kind, frame, and the bits of virt/pte.h that matter ---- */
#define NONE 0
#define PRESENT 1
#define MIGRATION 2
#define SWAP 3
#define W 16
#define X 32
#define DIRTY 64
#define KIND(p) ((p) & 3)
#define FRAME(p) (((p) >> 2) & 3)
#define BITS(p) ((p) & (W | X))
#define PTE(kind, frame, bits) ((kind) | ((frame) << 2) | (bits))
#define MAPS(sp, f) (KIND(pte[sp]) == PRESENT && FRAME(pte[sp]) == (f))
#define ALLOWS(p, write) (KIND(p) == PRESENT && (!(write) || ((p) & W)))

#define BIT (1 << me)

typedef Frame {
	byte refs;     /* 0 and not free: frozen */
	byte maps;
	byte v0, v1;   /* contents: the two halves that a copy takes one after the other */
	byte queue;    /* sleepers by process; whoever is woken is taken off */
	bit free, locked, waiters, uptodate, cached, wb, dirty, lru
}

Frame fr[NF];
byte pte[SPACES];
bit ptl[SPACES];     /* a page table's lock, where it is held for more than one step */
bit alive[SPACES];   /* has the space been born? */
bit gone[SPACES];    /* has its area been unmapped? */
bit linked[SPACES];  /* is its area on the reverse map? */
bit readonly[SPACES]; /* does the area forbid writes? */
bit sealed[SPACES];  /* has mprotect() returned? */
byte readers[SPACES]; /* of the space's lock */
bit writer[SPACES];
byte walkers;        /* readers of the reverse map's lock */
bit walk_writer;     /* where a writer needs more than one step */
byte inside;         /* CPUs inside of an access */
byte slot;           /* the cache: frame + 1, or 0 */
byte named;          /* swap entries that name the slot */
bit cache_lock;      /* held for more than one step by the migration alone */
byte ghost[SPACES];  /* what a space must read */
byte disk0, disk1;   /* what has been written out */
byte copying;        /* frame + 1 while it is copied */
bit truncated;
byte moved;          /* migrations that succeeded */
byte ended;          /* processes */

#if FILE
#define SEES(sp) ghost[0]
#define SET_SEES(sp, value) ghost[0] = value
#else
#define SEES(sp) ghost[sp]
#define SET_SEES(sp, value) ghost[sp] = value
#endif

/* ---- frames ---- */

inline alloc(x)
{
	d_step {
		if
		:: fr[0].free -> x = 0
		:: else ->
			if
			:: fr[1].free -> x = 1
			:: else ->
				x = 2;
				do
				:: x < NF && fr[x].free -> break
				:: else -> x++; assert(x < NF) /* the model has frames for all who ask at once */
				od
			fi
		fi;
		assert(fr[x].refs == 0 && fr[x].maps == 0 && !fr[x].locked);
		fr[x].free = 0; fr[x].refs = 1; fr[x].uptodate = 0; fr[x].dirty = 0
	}
}

/* pm_page_put_refs(): the last reference frees. Poison shows who still reads. */
inline put(f, n)
{
	d_step {
		assert(!fr[f].free && fr[f].refs >= n);
		fr[f].refs = fr[f].refs - n;
		if
		:: fr[f].refs == 0 ->
			assert(fr[f].maps == 0 && !fr[f].cached && !fr[f].wb && !fr[f].locked);
			fr[f].free = 1; fr[f].lru = 0; fr[f].uptodate = 0; fr[f].dirty = 0;
			fr[f].v0 = 15; fr[f].v1 = 15
		:: else
		fi
	}
}

/* pm_page_unmap_many(): a mapping and its reference. */
inline unmap_one(f)
{
	d_step { assert(fr[f].maps > 0); fr[f].maps-- };
	put(f, 1)
}

/* Every store of an entry that an access could use goes through here. A frame that two spaces share copy-on-write is writable through none. */
inline set_pte(sp, value)
{
	pte[sp] = value;
#if SPACES == 2 && !FILE
	assert(!(KIND(pte[0]) == PRESENT && KIND(pte[1]) == PRESENT && FRAME(pte[0]) == FRAME(pte[1]) && ((pte[0] | pte[1]) & W)))
#endif
}

/* ---- sleeping and waking: base/wait.c, virt/reference.c ---- */

inline wake(f)
{
#ifdef BUG_WAKE_ONE
	d_step { fr[f].queue = fr[f].queue & (fr[f].queue - 1) }
#else
	fr[f].queue = 0
#endif
}

/* Queue; mark and look in one step; sleep if it is still so. (A macro, since an inline cannot be given the name of a field.) */
#define WAIT_WHILE(f, flag) \
	fr[f].queue = fr[f].queue | BIT; \
	if \
	:: atomic { fr[f].flag -> fr[f].waiters = 1 }; (fr[f].queue & BIT) == 0 \
	:: atomic { !fr[f].flag -> fr[f].waiters = 1; fr[f].queue = fr[f].queue & ~BIT } \
	fi

inline lock_frame(f)
{
	do
	:: atomic { !fr[f].locked -> fr[f].locked = 1; break }
	:: fr[f].locked -> WAIT_WHILE(f, locked)
	od
}

inline wait_writeback(f)
{
	do
	:: !fr[f].wb -> break
	:: fr[f].wb -> WAIT_WHILE(f, wb)
	od
}

#define NOT_LEFT(sp, f) !(KIND(pte[sp]) == MIGRATION && FRAME(pte[sp]) == (f))

/* pm_page_clear_and_wake(): clear the flag and the mark, then wake all. No migration entry may name a frame that is unlocked. */
inline unlock_frame(f)
{
	atomic {
		assert(fr[f].locked && NOT_LEFT(0, f) && NOT_LEFT(SPACES - 1, f));
		w = fr[f].waiters; fr[f].locked = 0; fr[f].waiters = 0
	};
	if
	:: w -> atomic { wake(f); w = 0 }
	:: else
	fi
}

inline end_writeback(f)
{
	atomic { w = fr[f].waiters; fr[f].wb = 0; fr[f].waiters = 0 };
	if
	:: w -> atomic { wake(f); w = 0 }
	:: else
	fi
}

/* pm_tlb_flush(): each CPU has been outside once. */
inline flush()
{
	!(inside & 1);
#if CPUS > 1
	!(inside & 2);
#endif
#if CPUS > 2
	!(inside & 4)
#endif
}

/* ---- the cache ---- */

/* pm_swap_cached() and its like for files: the slot's frame with a reference. ok: there is one. */
inline lookup(f)
{
	atomic {
		!cache_lock ->
		if
		:: slot -> f = slot - 1; assert(!fr[f].free && fr[f].refs > 0); fr[f].refs++; ok = 1
		:: else -> ok = 0
		fi
	}
}

/* Locks what lookup() found, and sees whether it is the slot's still: else the reference is given back. pm_swap_in()'s lock_cached(). */
inline lock_cached(f)
{
	lock_frame(f);
	if
	:: fr[f].cached
#ifdef BUG_AGAIN_IGNORED
	:: else
#else
	:: else -> ok = 0; unlock_frame(f); put(f, 1)
#endif
	fi
}

#ifdef BUG_SLOT_STILL_NAMED
#define UNNAMED true
#else
#define UNNAMED (named == 0)
#endif

/* pm_swap_operations.forget: a slot that no entry names is given up with the frame's place in the cache. The frame is locked. */
inline forget(f)
{
	atomic {
		!cache_lock ->
		if
		:: fr[f].cached && slot == f + 1 && !fr[f].wb && UNNAMED -> fr[f].cached = 0; slot = 0; put(f, 1)
		:: else
		fi
	}
}

/* pm_swap_drop_unnamed(): the same from outside, if nobody has the frame locked. */
inline drop_unnamed(f)
{
	atomic {
		!cache_lock ->
		if
		:: slot && UNNAMED -> f = slot - 1; fr[f].refs++; ok = 1
		:: else -> ok = 0
		fi
	};
	if
	:: ok ->
		if
		:: atomic { !fr[f].locked -> fr[f].locked = 1 }; forget(f); unlock_frame(f)
		:: fr[f].locked
		fi;
		put(f, 1)
	:: else
	fi
}
