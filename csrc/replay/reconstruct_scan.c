/// mm_compaction_isolate_freepages: which blocks the scanner took from its range.
///
/// The event names the range, how many frames were looked at and how many were taken. An async scan looks at every 32nd frame only,
/// and a compound page is stepped over whole, which shifts all that follows. So the walk is the one that makes both numbers come out
/// (isolate_freepages_block of 6.18).
#include "replay/reconstruct.h"

struct walked {
	uint32_t taken;
	uint32_t scanned;
};

/// Walks the range; takes what it finds if `event` is not PM_NO_PFN32. False if the walk does not fit the frames.
static bool walk(struct pm_plan *p, uint32_t from, uint32_t end, const struct pm_rc_scan *scan, uint32_t event, struct walked *ret)
{
	uint32_t at, seen = 0;

	*ret = (struct walked){ 0, 0 };
	for (at = from; at < end; at += scan->stride, seen++) {
		uint32_t skip = 0;

		ret->scanned++;
		if (p->head[at]) {
			unsigned int order = p->head[at] - 1u;

			skip = (1u << order) - 1;
			ret->taken += skip + 1;
			if (event != PM_NO_PFN32) {
				pm_rc_take(p, event, at, order);
				pm_rc_note(p, event, at, order);
			}
		} else if (scan->compound_order && seen == scan->compound_at) {
			skip = (1u << scan->compound_order) - 1;
			if ((at & skip) || at + skip >= end || !pm_rc_none_free(p, at, scan->compound_order))
				return false;
		}
		ret->scanned += skip;
		at += skip;
	}
	return true;
}

static bool fits(struct pm_plan *p, uint32_t event, const struct pm_rc_scan *scan)
{
	const struct pm_events *ev = p->ev;
	struct walked w;

	return walk(p, ev->pfn[event], ev->arg0[event], scan, PM_NO_PFN32, &w) && w.taken == ev->arg2[event] && w.scanned == ev->arg1[event];
}

/// The scanner looks at few frames before it meets a compound page, or it would not step over it only once.
enum { COMPOUND_AT_MAX = 16 };

/// Tries a compound page at the first `most` frames looked at.
static bool find_compound(struct pm_plan *p, uint32_t event, uint32_t most, struct pm_rc_scan *ret)
{
	uint32_t length = p->ev->arg0[event] - p->ev->pfn[event], at, order;

	for (at = 0; at < most && at <= length / ret->stride; at++)
		for (order = 1; order <= PM_PAGEBLOCK_ORDER; order++) {
			ret->compound_at = at;
			ret->compound_order = order;
			if (fits(p, event, ret))
				return true;
		}
	return false;
}

/// Finds the walk. A full scan has only one.
static bool find_scan(struct pm_plan *p, uint32_t event, uint32_t most, struct pm_rc_scan *ret)
{
	uint32_t stride;

	if (p->ev->arg1[event] == p->ev->arg0[event] - p->ev->pfn[event]) {
		*ret = (struct pm_rc_scan){ 1, 0, 0 };
		return fits(p, event, ret);
	}
	for (stride = 32; stride >= 2; stride /= 2) {
		*ret = (struct pm_rc_scan){ stride, 0, 0 };
		if (fits(p, event, ret))
			return true;
	}
	for (stride = 32; stride >= 2; stride /= 2) {
		*ret = (struct pm_rc_scan){ stride, 0, 0 };
		if (find_compound(p, event, most, ret))
			return true;
	}
	*ret = (struct pm_rc_scan){ 1, 0, 0 };
	return false;
}

/// No strided walk fits. If one does without some block, that block was gone: a word for the next pass.
static bool find_gone(struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	uint32_t at;
	unsigned int order;
	struct pm_rc_scan scan;

	for (at = ev->pfn[event]; at < ev->arg0[event]; at++)
		for (order = 0; order < PM_PAGEBLOCK_ORDER && p->head[at] > order; order++) {
			uint8_t whole = p->head[at];
			bool found;

			/* The rest of the block stays; only its first part is tried as missing. */
			p->head[at] = 0;
			if (whole - 1u > order)
				p->head[at + (1u << order)] = (uint8_t)(order + 1);
			found = find_scan(p, event, 1, &scan);
			if (whole - 1u > order)
				p->head[at + (1u << order)] = 0;
			p->head[at] = whole;
			if (found) {
				pm_rc_add_word(p, event, at, 0, 0, PM_NO_PFN32);
				return true;
			}
		}
	return false;
}

/// Compaction found more in the range than we hold: a block that we gave to a fast_isolate before was still there.
static void find_kept(struct pm_plan *p, uint32_t event, uint32_t missing)
{
	const struct pm_events *ev = p->ev;
	uint32_t at;

	for (at = ev->pfn[event]; at < ev->arg0[event] && missing; at++) {
		uint32_t last = p->last[at], frames = 1u << p->last_order[at];

		if (!last || ev->kind[last] != PM_EV_FAST_ISOLATE_FREE || frames > missing || pm_rc_last_in(p, at, p->last_order[at]) > last ||
		    !pm_rc_none_free(p, at, p->last_order[at]))
			continue;
		p->kept[at] = event;
		p->news++;
		missing -= frames;
	}
}

/// What a full scan found less or more than we hold is learnt.
static void compare(struct pm_plan *p, uint32_t event, uint32_t ours)
{
	const struct pm_events *ev = p->ev;
	int32_t surplus = (int32_t)ours - (int32_t)ev->arg2[event];

	if (surplus > 0)
		p->counts[PM_RC_SCAN_SURPLUS] += (uint32_t)surplus;
	if (p->fast) {
		pm_rc_add_word(p, event, ev->pfn[event], ev->arg0[event], surplus, PM_NO_PFN32);
	}
	if (surplus < 0) {
		p->counts[PM_RC_SCAN_OTHER]++;
		find_kept(p, event, (uint32_t)-surplus);
	}
}

void pm_rc_isolate(struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	uint32_t length = ev->arg0[event] - ev->pfn[event];
	bool full = ev->arg1[event] == length;
	struct pm_rc_scan scan;
	struct walked w;

	/* A sparse scan that took nothing says next to nothing. */
	if (ev->arg2[event] == 0 && !full)
		return;
	if (find_scan(p, event, COMPOUND_AT_MAX, &scan)) {
		p->counts[PM_RC_SCAN_EXACT]++;
		(void)walk(p, ev->pfn[event], ev->arg0[event], &scan, event, &w);
		if (p->learnt[event] & PM_RC_WORD)
			pm_rc_add_word(p, event, ev->pfn[event], ev->arg0[event], 0, PM_NO_PFN32);
		return;
	}
	if (full) {
		(void)walk(p, ev->pfn[event], ev->arg0[event], &scan, PM_NO_PFN32, &w);
		compare(p, event, w.taken);
		(void)walk(p, ev->pfn[event], ev->arg0[event], &scan, event, &w);
		return;
	}
	p->counts[PM_RC_SCAN_OTHER]++;
	(void)find_gone(p, event);
}
