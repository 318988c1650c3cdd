/* Accesses and faults, after csrc/virt/access.c and fault.c. Included after memory.pml. */

/* ---- an access: virt/access.c ---- */

#define UNTOUCHABLE(f) (fr[f].free || copying == (f) + 1)

inline touch(sp, f, write, value)
{
	/* No accessor reaches a frame that was freed, or the source while it is copied. */
	assert(!UNTOUCHABLE(f));
	if
	:: write -> assert(!sealed[sp]); fr[f].v0 = value; fr[f].v1 = value; SET_SEES(sp, value)
	:: else -> assert(truncated || (fr[f].v0 == SEES(sp) && fr[f].v1 == SEES(sp)))
	fi
}

/* Enter, read the entry; mark it dirty; touch; leave. ok: done, else a fault is needed. The frame touched is that of the entry as first read. */
inline try_access(sp, write, value)
{
	atomic {
		p = pte[sp];
		ok = ALLOWS(p, write);
		if
		:: ok -> inside = inside | BIT
		:: else
		fi
	};
	if
	:: ok && write && !(p & DIRTY) ->
		atomic {
			if
			:: ALLOWS(pte[sp], 1) -> pte[sp] = pte[sp] | DIRTY
			:: else -> ok = 0; inside = inside & ~BIT
			fi
		}
	:: else
	fi;
	if
	:: ok -> atomic { touch(sp, FRAME(p), write, value); inside = inside & ~BIT; p = 0 }
	:: else
	fi
}

/* ---- faults: virt/fault.c ---- */

/* Maps what is in the cache at a place whose entry is `p`: a page of the file, or a swap entry. */
inline fault_cached(sp, write)
{
	lookup(f);
	if
	:: ok -> lock_cached(f)
	:: else ->
		/* A swap entry names a frame as long as it is there (nothing is ever only on the device here). A file may be truncated. */
#if FILE
		failed = 1
#else
		assert(pte[sp] != p)
#endif
	fi;
	if
	:: ok ->
		if
		:: write || !FILE -> wait_writeback(f)
		:: else
		fi;
		atomic {
			!ptl[sp] ->
			if
			:: pte[sp] == p ->
				assert(fr[f].uptodate);
				fr[f].maps++;
#if FILE
				set_pte(sp, PTE(PRESENT, f, (write -> W | DIRTY : 0)));
				fr[f].dirty = fr[f].dirty | write
#else
				set_pte(sp, PTE(PRESENT, f, (((p & X) && !readonly[sp]) -> W : 0) | (p & X)));
				assert(named > 0);
				named--
#endif
			:: else -> ok = 0
			fi
		};
#if !FILE
		if
		:: ok && write -> forget(f)
		:: else
		fi;
#endif
		unlock_frame(f);
		if
		:: ok
		:: else -> put(f, 1)
		fi
	:: else
	fi;
	f = 0
}

/* Waits for the migration that set the entry: queued under the table's lock, without a reference. */
inline fault_migration(sp)
{
	f = FRAME(p);
#ifdef BUG_LATE_QUEUE
	atomic {
		!ptl[sp] ->
		ok = (pte[sp] == p && fr[f].locked)
	};
	if
	:: ok -> fr[f].queue = fr[f].queue | BIT; fr[f].waiters = 1; (fr[f].queue & BIT) == 0
	:: else
	fi;
#else
	atomic {
		!ptl[sp] ->
		ok = (pte[sp] == p);
		if
		:: ok -> ptl[sp] = 1; fr[f].queue = fr[f].queue | BIT;
#ifdef BUG_WAITER_REF
			c = (fr[f].refs > 0); fr[f].refs = fr[f].refs + c
#endif
		:: else
		fi
	};
	if
	:: ok -> atomic { fr[f].waiters = 1; assert(fr[f].locked); ptl[sp] = 0 };
		(fr[f].queue & BIT) == 0
#ifdef BUG_WAITER_REF
		;
		if
		:: c -> put(f, 1); c = 0
		:: else
		fi
#endif
	:: else
	fi;
#endif
	f = 0
}

#if FILE
/* The first write to a clean page of the file: fault_notify(). */
inline fault_present(sp, write)
{
	atomic {
		!ptl[sp] ->
		p = pte[sp]; f = FRAME(p);
		ok = (write && KIND(p) == PRESENT && !(p & W));
		if
		:: ok -> fr[f].refs++
		:: else
		fi
	};
	if
	:: ok ->
		lock_frame(f);
		if
		:: fr[f].cached -> wait_writeback(f)
		:: else
		fi;
		atomic {
			!ptl[sp] ->
			if
			:: MAPS(sp, f) -> fr[f].dirty = 1; set_pte(sp, pte[sp] | W | DIRTY)
			:: else
			fi
		};
		unlock_frame(f);
		put(f, 1)
	:: else
	fi;
	f = 0
}
#else
/* A write to a shared page: taken over by its last user, else copied. fault_own(), copy_page(). */
inline fault_present(sp, write)
{
	atomic {
		!ptl[sp] ->
		p = pte[sp]; f = FRAME(p);
		ok = 0;
		if
		:: write && KIND(p) == PRESENT && !(p & W) ->
			if
			:: (p & X) || (!fr[f].locked && !cache_lock && fr[f].refs == 1 + fr[f].cached && !(fr[f].cached && (named || fr[f].wb))) ->
				if
				:: !(p & X) && fr[f].cached -> fr[f].cached = 0; slot = 0; fr[f].refs--
				:: else
				fi;
				set_pte(sp, p | W | X | DIRTY)
			:: else -> fr[f].refs++; ok = 1
			fi
		:: else
		fi
	};
	if
	:: ok ->
		alloc(c);
		atomic { assert(!UNTOUCHABLE(f)); fr[c].v0 = fr[f].v0; fr[c].v1 = fr[f].v1; fr[c].uptodate = 1 };
		atomic {
			!ptl[sp] ->
#ifndef BUG_PTE_UNCHECKED
			ok = (pte[sp] == p);
#endif
			if
			:: ok -> ptl[sp] = 1; pte[sp] = 0
			:: else
			fi
		};
		if
		:: ok -> flush(); atomic { set_pte(sp, PTE(PRESENT, c, W | X | DIRTY)); fr[c].maps = 1; ptl[sp] = 0 }; unmap_one(f)
		:: else -> put(c, 1)
		fi;
		put(f, 1)
	:: else
	fi;
	f = 0; c = 0
}
#endif

/* With the space's lock held for reading, as by whoever sleeps here. */
inline fault_locked(sp, write)
{
	p = pte[sp];
	if
	:: gone[sp] || (write && readonly[sp]) -> failed = 1
	:: else ->
		if
		:: KIND(p) == NONE || KIND(p) == SWAP -> fault_cached(sp, write)
		:: KIND(p) == PRESENT -> fault_present(sp, write)
		:: KIND(p) == MIGRATION -> fault_migration(sp)
		fi
	fi;
	p = 0
}

inline fault(sp, write)
{
	atomic { !writer[sp] -> readers[sp]++ };
	fault_locked(sp, write);
	readers[sp]--
}
