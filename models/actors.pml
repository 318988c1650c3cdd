/* Who takes part beside the migration, and what must hold at the end. Included after access.pml. */

/* ---- who takes part ---- */

proctype accessor(byte me; byte sp; bit write; byte value)
{
	byte p, f, c;
	bit ok, failed, w;

	alive[sp];
	do
	:: try_access(sp, write, value);
		if
		:: ok -> break
		:: else -> fault(sp, write)
		fi;
		if
		:: failed -> break
		:: else
		fi
	od;
	ended++
}

/* pm_space_fork(): the child's area goes on the reverse map behind its parent's; the entries are copied later, under both tables' locks. */
#if SPACES == 2 && !FILE
proctype forker()
{
	byte p, f;

	atomic { readers[0] == 0 && !writer[0] -> writer[0] = 1 };
	if
	:: gone[0] -> gone[1] = 1
	:: else ->
		atomic { walkers == 0 -> linked[1] = 1 };
		atomic {
			!ptl[0] && !ptl[1] ->
			p = pte[0]; f = FRAME(p);
			if
			:: KIND(p) == PRESENT -> fr[f].refs++; fr[f].maps++
			:: KIND(p) == SWAP -> assert(slot); named++
			:: else
			fi;
			pte[0] = p & ~(W | X);
			set_pte(1, p & ~(W | X | DIRTY));
			p = 0; f = 0
		};
		flush()
	fi;
	atomic { ghost[1] = ghost[0]; alive[1] = 1; writer[0] = 0 };
	ended++
}
#endif

#if !FILE
/* pm_unmap(), pm_space_exit(): clear, flush, give back. */
inline unmap_area(sp)
{
	atomic { alive[sp] && readers[sp] == 0 && !writer[sp] -> writer[sp] = 1 };
	atomic {
		!ptl[sp] ->
		p = pte[sp]; f = FRAME(p);
		pte[sp] = 0; gone[sp] = 1;
		if
		:: KIND(p) == PRESENT && (p & DIRTY) -> fr[f].dirty = 1
		:: KIND(p) == SWAP -> assert(named > 0); named--
		:: else
		fi
	};
	if
	:: KIND(p) == PRESENT ->
		flush();
		if
		:: fr[f].cached && !FILE ->
			if
			:: atomic { !fr[f].locked -> fr[f].locked = 1 }; forget(f); unlock_frame(f)
			:: fr[f].locked
			fi
		:: else
		fi;
		unmap_one(f)
	:: KIND(p) == SWAP -> drop_unnamed(f)
	:: else /* a migration entry holds no reference */
	fi;
	atomic { walkers == 0 -> linked[sp] = 0; writer[sp] = 0; p = 0; f = 0 }
}

proctype unmapper(byte me; byte sp)
{
	byte p, f;
	bit ok, w;

	unmap_area(sp);
	ended++
}
#endif

#if SPACES == 2
/* pm_remap(): the second "space" is the new place in the same one. The new area goes on the reverse map, then the entry moves while no walk
 * can be under way, then the old area goes. */
proctype remapper()
{
	atomic { readers[0] == 0 && !writer[0] -> writer[0] = 1 };
	atomic { walkers == 0 -> linked[1] = 1 };
#ifndef BUG_REMAP_UNLOCKED
	atomic { walkers == 0 -> walk_writer = 1 };
#endif
	atomic { !ptl[0] && !ptl[1] -> pte[1] = pte[0]; pte[0] = 0 };
	flush();
	walk_writer = 0;
	atomic { walkers == 0 -> linked[0] = 0; gone[0] = 1 };
	atomic { ghost[1] = ghost[0]; alive[1] = 1; writer[0] = 0 };
	ended++
}
#endif

#if !FILE
/* pm_protect() to read-only. */
proctype protector(byte sp)
{
	atomic { readers[sp] == 0 && !writer[sp] -> writer[sp] = 1; readonly[sp] = 1 };
	atomic {
		!ptl[sp] ->
		if
		:: KIND(pte[sp]) == PRESENT || KIND(pte[sp]) == MIGRATION -> pte[sp] = pte[sp] & ~W
		:: else
		fi
	};
	flush();
	atomic { sealed[sp] = 1; writer[sp] = 0 };
	ended++
}

/* pm_pin(): direct I/O into the page, some time later. */
proctype pinner(byte me; byte sp; byte value)
{
	byte p, f, c;
	bit ok, failed, w;

	do
	:: atomic { !writer[sp] -> readers[sp]++ };
		atomic {
			!ptl[sp] ->
			p = pte[sp];
			ok = ALLOWS(p, 1) && ((p & X) || FILE);
			if
			:: ok -> f = FRAME(p); fr[f].refs = fr[f].refs + BIAS; pte[sp] = p | DIRTY
			:: else
			fi
		};
		if
		:: ok -> readers[sp]--; break
		:: else -> fault_locked(sp, 1); readers[sp]--
		fi;
		if
		:: failed -> break
		:: else
		fi
	od;
	if
	:: !failed ->
		/* The device writes. Nobody copies the frame, and it is the one that the space sees. */
		atomic {
			assert(!UNTOUCHABLE(f) && (KIND(pte[sp]) != PRESENT || FRAME(pte[sp]) == f));
			fr[f].v0 = value; fr[f].v1 = value; SET_SEES(sp, value)
		};
		atomic { fr[f].dirty = 1; put(f, BIAS) }
	:: else
	fi;
	ended++
}
#endif

#if FILE
/* read(2): finds the page in the cache and reads it with a reference, no lock. */
proctype cache_reader()
{
	byte f;
	bit ok;

	lookup(f);
	if
	:: ok ->
		if
		:: fr[f].uptodate ->
			atomic { assert(!UNTOUCHABLE(f)); assert(truncated || (fr[f].v0 == SEES(0) && fr[f].v1 == SEES(0))) }
		:: else /* it would wait for the lock, as a fault does */
		fi;
		put(f, 1)
	:: else
	fi;
	ended++
}

/* Writes the page out if it is dirty: locked while it becomes clean, then only marked. */
proctype writeback(byte me)
{
	byte f;
	bit ok, w;

	lookup(f);
	if
	:: ok -> lock_cached(f)
	:: else
	fi;
	if
	:: ok ->
		atomic {
			!ptl[0] ->
			if
			:: MAPS(0, f) -> fr[f].dirty = fr[f].dirty | ((pte[0] & DIRTY) != 0); pte[0] = pte[0] & ~(W | DIRTY)
			:: else
			fi
		};
		flush();
		atomic {
			ok = fr[f].dirty;
			if
			:: ok -> fr[f].wb = 1; fr[f].dirty = 0
			:: else
			fi
		};
		unlock_frame(f);
		put(f, 1);
		if
		:: ok ->
			/* No I/O on a frame that is copied, or that is not the page any more. */
			atomic { assert(!UNTOUCHABLE(f) && fr[f].cached); disk0 = fr[f].v0 };
			atomic { assert(!UNTOUCHABLE(f) && fr[f].cached); disk1 = fr[f].v1 };
			end_writeback(f)
		:: else
		fi
	:: else
	fi;
	ended++
}

inline unmap_file(sp, even_migration)
{
	atomic {
		!ptl[sp] ->
		p = pte[sp]; ok = 0;
		if
		:: KIND(p) == PRESENT -> pte[sp] = 0; ok = 1; fr[FRAME(p)].dirty = fr[FRAME(p)].dirty | ((p & DIRTY) != 0)
		:: KIND(p) == MIGRATION && even_migration -> pte[sp] = 0
		:: else
		fi
	};
	if
	:: ok -> flush(); unmap_one(FRAME(p))
	:: else
	fi
}

/* Truncate: unmap; then find, lock, unmap what came back, take it out of the cache. */
proctype truncater(byte me)
{
	byte p, f;
	bit ok, w;

	truncated = 1;
	unmap_file(0, 1);
	do
	:: lookup(f);
		if
		:: ok -> lock_cached(f)
		:: else -> break
		fi;
		if
		:: ok ->
			wait_writeback(f);
			unmap_file(0, 0);
			/* The slot may name a destination by now (swap-cache protocol): it goes with its page. */
			atomic { !cache_lock -> assert(fr[f].cached); fr[f].cached = 0; slot = 0; put(f, 1) };
			unlock_frame(f);
			put(f, 1);
			break
		:: else
		fi
	od;
	atomic { p = 0; f = 0; ended++ }
}
#endif

/* ---- the end ---- */

#if SPACES == 2
#define MAPPED(f) (MAPS(0, f) + MAPS(1, f))
#define SWAPPED ((KIND(pte[0]) == SWAP) + (KIND(pte[1]) == SWAP))
#define NO_MIGRATION (KIND(pte[0]) != MIGRATION && KIND(pte[1]) != MIGRATION)
#else
#define MAPPED(f) MAPS(0, f)
#define SWAPPED (KIND(pte[0]) == SWAP)
#define NO_MIGRATION (KIND(pte[0]) != MIGRATION)
#endif

/* Everything has ended: references and map counts are those of the entries and the cache; what nobody has is free; nothing is locked, nobody
   sleeps, no entry is left behind, nothing written is lost. */
inline check_end()
{
	d_step {
		assert(NO_MIGRATION && named == SWAPPED && !cache_lock && walkers == 0 && inside == 0);
		i = 0;
		do
		:: i < NF ->
			assert(fr[i].maps == MAPPED(i));
			assert(fr[i].refs == fr[i].maps + fr[i].cached);
			assert(fr[i].cached == (slot == i + 1));
			assert(fr[i].free == (fr[i].refs == 0));
			assert(!fr[i].locked && !fr[i].wb && fr[i].queue == 0);
			/* A frame that only the cache has is the file's, or a swap entry names it, or reclaim finds it by its age. */
			assert(!fr[i].cached || FILE || fr[i].maps || named || fr[i].lru);
			i++
		:: else -> break
		od;
		assert(!truncated || (slot == 0 && KIND(pte[0]) == NONE));
#if FILE
		if
		:: slot ->
			assert(fr[slot - 1].v0 == ghost[0] && fr[slot - 1].v1 == ghost[0]);
			assert(fr[slot - 1].dirty || (pte[0] & DIRTY) || (disk0 == ghost[0] && disk1 == ghost[0]))
		:: else
		fi
#else
		i = 0;
		do
		:: i < SPACES ->
			if
			:: KIND(pte[i]) == PRESENT -> assert(fr[FRAME(pte[i])].v0 == ghost[i] && fr[FRAME(pte[i])].v1 == ghost[i])
			:: KIND(pte[i]) == SWAP -> assert(fr[slot - 1].v0 == ghost[i] && fr[slot - 1].v1 == ghost[i])
			:: else
			fi;
			i++
		:: else -> break
		od
#endif
	}
}
