/*
 * The `swap-cache` protocol of 2004: an anonymous page is put into the swap cache, its slot is switched to the locked new frame, and who
 * looks it up waits for that frame's lock. Steps as in the table of docs/MODELS.md. What takes part is chosen by one of
 *
 *     BASIC FORK EXIT REWIND PROTECT TRUNCATE WRITEBACK REFAULT SWAPIN TOUCH LIVE
 *
 * and a mistake is planted by one of the BUG_ macros named below and in the files included.
 *
 * A page of a file has its slot already. It keeps its place in its file until it is detached, so a truncate that found it before the switch
 * can end on it; an anonymous page leaves the swap cache at the switch (pm_swap_replace), and its cache's reference is the migration's.
 */
#define BIAS 16

#if defined(FORK) || defined(EXIT) || defined(SWAPIN)
#define SPACES 2
#define NF 4
#else
#define SPACES 1
#define NF 2
#endif

#if defined(TRUNCATE) || defined(WRITEBACK) || defined(REFAULT)
#define FILE 1
#else
#define FILE 0
#endif

#if defined(BASIC)
#define CPUS 3
#elif defined(EXIT) || defined(TRUNCATE) || defined(WRITEBACK) || defined(PROTECT) || defined(TOUCH)
#define CPUS 1
#else
#define CPUS 2
#endif

/* The slow wait for references has no end; elsewhere it may be given up at any time. */
#if defined(BASIC) || defined(WRITEBACK) || defined(REFAULT) || defined(LIVE)
#define PATIENT
#endif

#include "memory.pml"
#include "access.pml"
#include "actors.pml"

/* Step 5: an entry becomes a swap entry, or goes (a page of a file). */
inline unmap_entry(sp)
{
	atomic {
		!ptl[sp] ->
		if
		:: linked[sp] && MAPS(sp, s) ->
#ifndef BUG_DIRTY_LOST
			if
			:: pte[sp] & DIRTY -> fr[s].dirty = 1
			:: else
			fi;
#endif
#if FILE
			pte[sp] = 0;
#else
			pte[sp] = PTE(SWAP, 0, pte[sp] & X); named++;
#endif
#ifdef TOUCH
			recorded = 1;
#endif
			fr[s].refs--; fr[s].maps--
		:: else
		fi
	}
}

inline unmap_all()
{
	atomic { !walk_writer -> walkers++ };
	unmap_entry(0);
#if SPACES == 2
	unmap_entry(1);
#endif
	walkers--;
#ifndef BUG_NO_FLUSH
	flush()
#endif
}

/* Step 3. No slot free: nothing was done. ok: the page has a slot. */
inline add_to_swap()
{
	atomic {
		!cache_lock ->
		ok = 1;
		if
		:: fr[s].cached
		:: !fr[s].cached -> assert(slot == 0 && named == 0); fr[s].cached = 1; slot = s + 1; fr[s].refs++
#ifndef PATIENT
		:: !fr[s].cached -> ok = 0
#endif
		fi
	}
}

/* Step 4: lookups see the new frame, which is locked and not up to date. ok: the slot was the source's. */
inline switch_slot()
{
	atomic {
		!cache_lock ->
#ifdef BUG_SLOT_UNCHECKED
		ok = 1;
#else
		ok = (slot == s + 1);
#endif
		if
		:: ok ->
#ifdef BUG_SWITCH_IN_STEPS
			slot = 0;
#else
			slot = d + 1;
#endif
			fr[d].cached = 1; fr[d].refs++;
#if !FILE
			fr[s].cached = 0
#endif
		:: else
		fi
	};
#ifdef BUG_SWITCH_IN_STEPS
	if
	:: ok -> slot = d + 1
	:: else
	fi
#endif
}

#define MIGRATED 1
#define GONE 2
#define FAILED 3

/* Steps 5 and 6: unmap, flush, and see who is left, with the source locked. While it waits the source is unlocked, so that whoever has a
 * reference can end what he does; then entries, writeback, a truncate may have come, and all is done again.
 * result: MIGRATED (drained, source locked), GONE (truncated, source locked), FAILED (given up, source unlocked). */
inline drain()
{
	do
	::	unmap_all();
#ifndef BUG_WRITEBACK_IGNORED
		wait_writeback(s);
#endif
		if
#ifdef BUG_TRUNCATED_BY_COUNT
		:: fr[s].refs == 1 -> result = GONE; break
		:: fr[s].refs == 2 && fr[s].maps == 0 -> result = MIGRATED; break
#elif defined(BUG_NO_DRAIN)
		:: FILE && !fr[s].cached -> result = GONE; break
		:: !FILE || fr[s].cached -> result = MIGRATED; break
#else
		:: FILE && !fr[s].cached -> result = GONE; break
		:: (!FILE || fr[s].cached) && fr[s].refs == 2 && fr[s].maps == 0 -> result = MIGRATED; break
#endif
		:: else ->
			unlock_frame(s);
			if
#ifdef BUG_WAITS_FOR_ENTRIES
			:: fr[s].refs <= 2 -> lock_frame(s)
#else
			/* Entries that came back are no reason to wait: they are to be unmapped again. */
			:: fr[s].refs <= 2 + fr[s].maps -> lock_frame(s)
#endif
#ifndef PATIENT
			:: result = FAILED; break
#endif
			fi
		fi
	od
}

/* Step 7. */
inline copy_page_contents()
{
	copying = s + 1;
	fr[d].v0 = fr[s].v0;
	fr[d].v1 = fr[s].v1;
	copying = 0;
	atomic {
		fr[d].dirty = fr[d].dirty | fr[s].dirty; fr[s].dirty = 0;
#if FILE
		/* Detach the source. */
		!cache_lock -> fr[s].cached = 0;
#endif
		put(s, 1)
	}
}

/* The slot goes back to the source, unless the page is truncated meanwhile; the new frame leaves the cache, and who waited for it looks up anew. */
inline rewind()
{
	atomic {
		!cache_lock ->
		if
		:: slot == d + 1 -> slot = s + 1; fr[s].cached = 1
		:: else -> assert(FILE && !fr[s].cached)
		fi;
		fr[d].cached = 0; put(d, 1)
	};
#ifdef BUG_REWIND_NO_WAKE
	atomic { fr[d].locked = 0; fr[d].waiters = 0 }
#else
	unlock_frame(d)
#endif
#ifdef BUG_NEW_FREED_EARLY
	/* Freed although somebody has a reference still. */
	; fr[d].refs = 1
#endif
}

proctype migrator(byte me)
{
	byte s, d, p, f, c, result;
	bit ok, failed, w, recorded;

	/* Steps 1 and 2: isolate, allocate, lock both, wait for writeback. */
	atomic {
		if
		:: fr[0].lru -> fr[0].lru = 0; fr[0].refs++; ok = 1
		:: else
		fi
	};
	if
	:: ok ->
		alloc(d);
		lock_frame(s);
		fr[d].locked = 1;
		wait_writeback(s);
		if
#ifdef BUG_SLOT_UNCHECKED
		:: fr[s].refs == 1 -> result = GONE
#else
		:: fr[s].refs == 1 || (FILE && !fr[s].cached) -> result = GONE
#endif
		:: else ->
			add_to_swap();
			if
			:: ok ->
				switch_slot();
				if
				:: ok -> drain()
				:: else -> result = GONE
				fi;
				if
				:: result == GONE && fr[d].cached -> fr[d].cached = 0; put(d, 1)
				:: else
				fi
			:: else -> result = FAILED
			fi
		fi;
		if
		:: result == FAILED && fr[d].cached -> rewind()
		:: else ->
			if
			:: result == MIGRATED ->
#ifdef BUG_UNLOCK_EARLY
				fr[d].uptodate = 1; unlock_frame(d);
#endif
				copy_page_contents();
				atomic { fr[d].uptodate = 1; fr[d].lru = 1; moved++ }
			:: else
			fi;
			unlock_frame(s);
#ifdef BUG_UNLOCK_EARLY
			if
			:: result != MIGRATED -> unlock_frame(d)
			:: else
			fi
#else
			unlock_frame(d)
#endif
		fi;
#ifdef TOUCH
		/* Map it again where it was recorded: a read fault. */
		if
		:: recorded && result == MIGRATED ->
			do
			:: KIND(pte[0]) == PRESENT || failed -> break
			:: else -> fault(0, 0)
			od;
			atomic { assert(failed || gone[0] || KIND(pte[0]) == PRESENT); f = 0; p = 0 }
		:: else
		fi;
#endif
		atomic {
			if
			:: result == FAILED -> fr[s].lru = 1
			:: else
			fi;
#ifdef BUG_DOUBLE_PUT
			if
			:: result == GONE -> put(s, 2)
			:: else -> put(s, 1)
			fi
#else
			put(s, 1)
#endif
		};
		put(d, 1);
#if !FILE
		/* Detach the slot if no entry names it: a page that the exit of its last space, or a touch, has left with one. */
		drop_unnamed(f)
#endif
	:: else
	fi;
	ended++
}

#if defined(BASIC) || defined(TRUNCATE) || defined(WRITEBACK) || defined(REWIND) || defined(SWAPIN) || defined(FORK)
#define N 4
#elif defined(EXIT)
#define N 4
#else
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
		fr[0].maps = 2; fr[0].refs = 2; pte[0] = PTE(PRESENT, 0, 0); pte[1] = PTE(PRESENT, 0, 0); alive[1] = 1; linked[1] = 1
#elif defined(SWAPIN)
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
#elif defined(REWIND)
		run accessor(0, 0, 1, 1); run accessor(1, 0, 0, 0); run pinner(2, 0, 2); run migrator(3)
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
#elif defined(TOUCH)
		run accessor(0, 0, 1, 1); run unmapper(1, 0); run migrator(2)
#elif defined(LIVE)
		run accessor(0, 0, 0, 0); run accessor(1, 0, 1, 1); run migrator(2)
#endif
	};
	ended == N;
	check_end();
#ifdef PATIENT
	assert(moved == 1)
#endif
}

#ifdef LIVE
/* With a fair scheduler all come to their end: nobody goes round for ever. */
ltl all_end { <> (ended == N) }
#endif
