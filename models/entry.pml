/*
 * The `entry` protocol: an unmapped page leaves migration entries, and who meets one waits for the source's lock without a reference.
 * Steps as in the table of docs/MODELS.md. What takes part is chosen by one of
 *
 *     BASIC FORK EXIT REMAP PIN PROTECT TRUNCATE WRITEBACK REFAULT SWAPIN REUSE LIVE
 *
 * and a mistake is planted by one of the BUG_ macros named below and in the files included.
 */
#define BIAS 16

#if defined(FORK) || defined(EXIT) || defined(SWAPIN) || defined(REMAP)
#define SPACES 2
#else
#define SPACES 1
#endif

#if defined(TRUNCATE) || defined(WRITEBACK) || defined(REFAULT)
#define FILE 1
#else
#define FILE 0
#endif

#if defined(BASIC)
#define CPUS 3
#elif defined(EXIT) || defined(REUSE) || defined(TRUNCATE) || defined(WRITEBACK) || defined(PIN) || defined(PROTECT)
#define CPUS 1
#else
#define CPUS 2
#endif

#if defined(FORK) || defined(EXIT) || defined(SWAPIN) || defined(REMAP)
#define NF 4
#else
#define NF 2
#endif

/* Attempts before it gives up, and migrations in a row. */
#ifndef TRIES
#define TRIES 1
#endif
#ifdef REUSE
#define ROUNDS 2
#else
#define ROUNDS 1
#endif

/* Places of one area may be visited in any order; a child comes after its parent. */
#if defined(REMAP) || defined(BUG_CHILD_FIRST)
#define NEWER_FIRST
#endif

#include "memory.pml"
#include "access.pml"
#include "actors.pml"

#ifdef BUG_WIDER
byte before[SPACES];
#endif

/* Step 6: one entry becomes a migration entry; its reference and its dirty mark are taken from it. A pinned page of the space's own stays. */
inline unmap_entry(sp)
{
	atomic {
		!ptl[sp] ->
		if
		:: linked[sp] && MAPS(sp, s) && !((pte[sp] & X) && fr[s].refs >= BIAS) ->
#ifdef BUG_WIDER
			before[sp] = BITS(pte[sp]);
#endif
#ifndef BUG_DIRTY_LOST
			if
			:: pte[sp] & DIRTY -> fr[s].dirty = 1
			:: else
			fi;
#endif
			pte[sp] = PTE(MIGRATION, s, BITS(pte[sp]));
			fr[s].refs--; fr[s].maps--
		:: else
		fi
	}
}

/* Steps 11 and 15: a migration entry maps `to` again, with no more permission than the entry has by now. */
inline restore_entry(sp, to)
{
	atomic {
		!ptl[sp] ->
		if
		:: linked[sp] && KIND(pte[sp]) == MIGRATION && FRAME(pte[sp]) == s ->
			fr[to].refs++; fr[to].maps++;
#ifdef BUG_WIDER
			set_pte(sp, PTE(PRESENT, to, before[sp]))
#else
			set_pte(sp, PTE(PRESENT, to, BITS(pte[sp])))
#endif
		:: else
		fi
	}
}

/* The reverse map's lock is held for reading throughout: nobody comes or moves meanwhile. */
inline unmap_walk()
{
	atomic { !walk_writer -> walkers++ };
	unmap_entry(0);
#if SPACES == 2
	unmap_entry(1);
#endif
	walkers--
}

inline restore_walk(to)
{
	atomic { !walk_writer -> walkers++ };
#ifdef NEWER_FIRST
	restore_entry(1, to);
	restore_entry(0, to);
#else
	restore_entry(0, to);
#if SPACES == 2
	restore_entry(1, to);
#endif
#endif
	walkers--
}

inline copy()
{
	copying = s + 1;
	fr[d].v0 = fr[s].v0;
	fr[d].v1 = fr[s].v1;
	copying = 0
}

/* Steps 8 and 9: all references are accounted for; the count is frozen under the cache's lock; the page is copied, and the slot names the
 * destination. ok: done. */
inline switch_frames()
{
#if defined(BUG_NOT_FROZEN)
	/* Looked at, not frozen: somebody gets a reference between the look and the switch. */
	atomic { !cache_lock -> ok = (fr[s].refs == 1 + fr[s].cached) };
#elif defined(BUG_SLOT_UNCHECKED)
	/* As many references as the page of a file has that is isolated; but it may be a truncated page and its truncater. */
	atomic {
		!cache_lock ->
		ok = (fr[s].maps == 0 && fr[s].refs == 1 + FILE);
		if
		:: ok -> fr[s].refs = 0; cache_lock = 1; fr[s].cached = FILE
		:: else
		fi
	};
#elif defined(BUG_PIN_EARLY)
	atomic { !cache_lock -> ok = 1; cache_lock = 1 };
#else
	atomic {
		!cache_lock ->
		ok = (fr[s].maps == 0 && fr[s].refs == 1 + fr[s].cached);
		if
		:: ok -> fr[s].refs = 0; cache_lock = 1
		:: else
		fi
	};
#endif
	if
	:: ok ->
#ifdef BUG_EARLY_RESTORE
		atomic { fr[d].uptodate = 1; walkers++ }; restore_entry(0, d); walkers--;
#endif
		copy();
		atomic {
#if defined(BUG_NOT_FROZEN) || defined(BUG_PIN_EARLY)
			fr[s].refs = fr[s].refs - fr[s].cached;
#else
			fr[s].refs = 1;
#endif
			if
			:: fr[s].cached -> fr[s].cached = 0; slot = d + 1; fr[d].cached = 1; fr[d].refs++
			:: else
			fi;
			fr[d].dirty = fr[s].dirty; fr[d].uptodate = 1; fr[s].dirty = 0; cache_lock = 0
		}
	:: else
	fi
}

/* Isolated with a reference: off the list, so that nobody else migrates or reclaims it. */
inline isolate()
{
	d_step {
		s = 0;
		do
		:: s < NF && !fr[s].lru -> s++
		:: else -> break
		od;
		ok = (s < NF);
		if
		:: ok -> fr[s].lru = 0; fr[s].refs++
		:: else -> s = 0
		fi
	}
}

/* One attempt, on a page that is isolated. result: 1 migrated, 2 gone (freed or truncated), 0 try again. */
inline attempt()
{
	alloc(d);
	lock_frame(s);
	/* Freed meanwhile, or truncated: nothing is to be done. */
#ifdef BUG_SLOT_UNCHECKED
	ok = 0;
#else
	ok = (fr[s].refs == 1 || (FILE && !fr[s].cached));
#endif
	if
	:: ok -> result = 2
	:: else ->
#ifndef BUG_WRITEBACK_IGNORED
		wait_writeback(s);
#endif
		atomic { assert(!fr[d].locked); fr[d].locked = 1 };
#ifdef BUG_PIN_EARLY
		/* Looked at before it is unmapped: a pin may come in between. */
		ok = (fr[s].refs == 1 + fr[s].cached + fr[s].maps);
		if
		:: ok -> unmap_walk()
		:: else
		fi;
#else
		unmap_walk();
#endif
#ifndef BUG_NO_FLUSH
		flush();
#endif
#ifdef BUG_PIN_EARLY
		if
		:: ok -> switch_frames()
		:: else
		fi;
#else
		switch_frames();
#endif
		if
		:: ok ->
#ifdef BUG_UNLOCK_EARLY
			/* The wake-up comes before the entries are replaced: who is woken finds the same entry again. */
			atomic { w = fr[s].waiters; fr[s].locked = 0; fr[s].waiters = 0; wake(s) };
#endif
			restore_walk(d);
			atomic { fr[d].lru = 1; result = 1 }
		:: else -> restore_walk(s)
		fi;
		unlock_frame(d)
	fi;
#if defined(BUG_REWIND_NO_WAKE)
	if
	:: result == 0 -> atomic { fr[s].locked = 0; fr[s].waiters = 0 }
	:: else -> unlock_frame(s)
	fi;
#elif !defined(BUG_UNLOCK_EARLY)
	unlock_frame(s);
#endif
	put(d, 1)
}

proctype migrator(byte me)
{
	byte s, d, i, rounds;
	byte result;
	bit ok, w;

	do
	:: rounds < ROUNDS ->
		isolate();
		if
		:: ok ->
			i = 0; result = 0;
			do
			:: result == 0 && i < TRIES -> attempt(); i++
			:: else -> break
			od;
			atomic {
				if
				:: result == 0 -> fr[s].lru = 1
				:: result == 1 -> moved++
				:: else
				fi;
#ifdef BUG_DOUBLE_PUT
				if
				:: result == 2 -> put(s, 2)
				:: else -> put(s, 1)
				fi
#else
				put(s, 1)
#endif
			}
		:: else
		fi;
		atomic { rounds++; s = 0; d = 0; ok = 0; i = 0; result = 0 }
	:: else -> break
	od;
	ended++
}

#if defined(BASIC)
#define N 4
#elif defined(FORK)
#define N 4
#elif defined(EXIT)
#define N 4
#elif defined(PIN)
#define N 3
#elif defined(PROTECT)
#define N 3
#elif defined(TRUNCATE)
#define N 4
#elif defined(WRITEBACK)
#define N 4
#elif defined(SWAPIN)
#define N 4
#elif defined(REUSE)
#define N 3
#elif defined(LIVE)
#define N 3
#elif defined(REMAP)
#define N 4
#elif defined(REFAULT)
#define N 3
#endif

init
{
	byte i;

	d_step {
		i = 0;
		do
		:: i < NF -> fr[i].free = 1; fr[i].v0 = 15; fr[i].v1 = 15; i++
		:: else -> break
		od;
		i = 0;
		fr[0].free = 0; fr[0].v0 = 0; fr[0].v1 = 0; fr[0].uptodate = 1; fr[0].lru = 1;
		alive[0] = 1; linked[0] = 1;
#if defined(REFAULT)
		/* A clean page of a file that nothing maps yet. */
		fr[0].cached = 1; slot = 1; fr[0].refs = 1
#elif FILE
		fr[0].cached = 1; slot = 1; fr[0].maps = 1; fr[0].refs = 2; pte[0] = PTE(PRESENT, 0, W)
#elif defined(EXIT)
		/* After a fork: two spaces share it copy-on-write. */
		fr[0].maps = 2; fr[0].refs = 2; pte[0] = PTE(PRESENT, 0, 0); pte[1] = PTE(PRESENT, 0, 0); alive[1] = 1; linked[1] = 1
#elif defined(SWAPIN)
		/* In the swap cache; mapped by one space, while the other has a swap entry. */
		fr[0].cached = 1; slot = 1; fr[0].maps = 1; fr[0].refs = 2; named = 1;
		pte[0] = PTE(PRESENT, 0, 0); pte[1] = PTE(SWAP, 0, 0); alive[1] = 1; linked[1] = 1
#else
		fr[0].maps = 1; fr[0].refs = 1; pte[0] = PTE(PRESENT, 0, W | X)
#endif
	};
	atomic {
#if defined(BASIC)
		run accessor(0, 0, 0, 0); run accessor(1, 0, 1, 1); run accessor(2, 0, 1, 2); run migrator(3)
#elif defined(FORK)
		run accessor(0, 0, 1, 1); run accessor(1, 1, 0, 0); run forker(); run migrator(2)
#elif defined(EXIT)
		run accessor(0, 0, 1, 1); run unmapper(1, 0); run unmapper(2, 1); run migrator(3)
#elif defined(PIN)
		run accessor(0, 0, 1, 1); run pinner(1, 0, 2); run migrator(2)
#elif defined(PROTECT)
		run accessor(0, 0, 1, 1); run protector(0); run migrator(2)
#elif defined(TRUNCATE)
		run accessor(0, 0, 1, 1); run cache_reader(); run truncater(2); run migrator(3)
#elif defined(WRITEBACK)
		run accessor(0, 0, 1, 1); run cache_reader(); run writeback(2); run migrator(3)
#elif defined(REFAULT)
		run accessor(0, 0, 1, 1); run accessor(1, 0, 0, 0); run migrator(2)
#elif defined(SWAPIN)
		run accessor(0, 0, 0, 0); run accessor(1, 1, 1, 2); run unmapper(2, 1); run migrator(3)
#elif defined(REUSE)
		run accessor(0, 0, 1, 1); run pinner(1, 0, 2); run migrator(2)
#elif defined(REMAP)
		run accessor(0, 0, 1, 1); run accessor(1, 1, 0, 0); run remapper(); run migrator(2)
#elif defined(LIVE)
		run accessor(0, 0, 0, 0); run accessor(1, 0, 1, 1); run migrator(2)
#endif
	};
	ended == N;
	check_end();
#if defined(BASIC) || defined(LIVE)
	/* Accesses alone, and those who wait, never make a migration fail. */
	assert(moved == 1)
#endif
}

#ifdef LIVE
/* With a fair scheduler all come to their end: nobody goes round for ever. */
ltl all_end { <> (ended == N) }
#endif
