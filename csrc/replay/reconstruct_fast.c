/// mm_compaction_fast_isolate_freepages: which block was taken.
///
/// The event names the range that was searched and how many frames were taken: always one block of a MOVABLE list, of that order,
/// at or above the start of the range (6.18). Which one, the rest of the recording tells: a free, a drain, a migration entry on a
/// frame that nobody took, or a scan that found less than it should have. Of the blocks that fit, the one that is spoken of first is
/// taken: if any choice explains every word, this one does. A block that is never spoken of again explains what is left.
#include <stdlib.h>

#include "replay/reconstruct.h"

/// The first known word of an event, by binary search.
static size_t first_of(const struct pm_plan *p, uint32_t event)
{
	size_t low = 0, high = p->nr_known_words;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (p->words[middle].event < event)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/// A word that is known is not learnt again; of a range, how much is missing is corrected.
static bool known(struct pm_plan *p, const struct pm_rc_word *word)
{
	size_t i;

	if (!(p->learnt[word->event] & PM_RC_WORD))
		return false;
	for (i = first_of(p, word->event); i < p->nr_known_words && p->words[i].event == word->event; i++)
		if (p->words[i].pfn == word->pfn && p->words[i].end == word->end) {
			/* What was missing is what this pass accounted for before the scan, and what it did not. */
			if (word->end && word->surplus != p->words[i].left) {
				p->words[i].surplus += word->surplus - p->words[i].left;
				p->words[i].left = word->surplus;
				p->news++;
			}
			return true;
		}
	return false;
}

void pm_rc_add_word(struct pm_plan *p, uint32_t event, uint32_t pfn, uint32_t end, int32_t surplus, uint32_t tid)
{
	struct pm_rc_word word = { event, pfn, end, surplus, 0, tid };

	if (known(p, &word) || (end && surplus <= 0))
		return;
	if (p->nr_words == p->room_words && !pm_rc_grow((void **)&p->words, &p->room_words, p->nr_words, sizeof(*p->words))) {
		p->no_memory = true;
		return;
	}
	p->learnt[event] |= PM_RC_WORD;
	p->words[p->nr_words++] = word;
	p->news++;
}

static int by_event(const void *a, const void *b)
{
	const struct pm_rc_word *x = a, *y = b;

	return x->event < y->event ? -1 : x->event > y->event;
}

void pm_rc_sort_words(struct pm_plan *p)
{
	size_t i;

	if (p->nr_words)
		qsort(p->words, p->nr_words, sizeof(*p->words), by_event);
	for (i = 0; i < p->nr_words; i++)
		p->words[i].left = p->words[i].surplus;
	p->nr_known_words = p->nr_words;
	p->first_word = 0;
}

/// Remembers the frames that are free now, at the end: nothing more was said of them.
void pm_rc_collect_spares(struct pm_plan *p)
{
	uint32_t pfn, i;

	p->nr_spares = 0;
	for (pfn = 0; pfn < p->n_frames; pfn++) {
		if (p->head[pfn])
			for (i = 0; i < 1u << (p->head[pfn] - 1); i++)
				p->spare[pfn + i] = 1;
		if (p->spare[pfn])
			p->nr_spares++;
	}
	free(p->spares);
	p->spares = malloc((p->nr_spares + 1) * sizeof(*p->spares));
	if (!p->spares) {
		p->no_memory = true;
		return;
	}
	for (pfn = 0, p->nr_spares = 0; pfn < p->n_frames; pfn++)
		if (p->spare[pfn])
			p->spares[p->nr_spares++] = pfn;
}

struct search {
	uint32_t event;
	uint32_t from; ///< at or above this frame
	uint32_t end;  ///< of its zone
	unsigned int order;
};

static bool fits(const struct pm_plan *p, const struct search *s, uint32_t block)
{
	uint8_t type;

	if (p->head[block] != s->order + 1 || block < s->from || block >= s->end || p->kept[block] > s->event)
		return false;
	type = p->type[block >> PM_PAGEBLOCK_ORDER];
	return type == PM_MT_MOVABLE || type == PM_RC_UNKNOWN_TYPE;
}

/// When the first of a block's frames is next named. PM_NO_PFN32: never.
static uint32_t next_in(const struct pm_plan *p, uint32_t block, unsigned int order)
{
	uint32_t i, next = PM_NO_PFN32;

	for (i = 0; i < 1u << order; i++) {
		uint32_t event = pm_rc_next(p, block + i);

		if (event < next)
			next = event;
	}
	return next;
}

/// Can this compaction have taken the block? What it maps or gives back at its end, it took itself, and in this run; and a block that
/// somebody took unseen does not leave the free lists by another way next.
static bool may_be_ours(const struct pm_plan *p, const struct search *s, uint32_t block)
{
	const struct pm_events *ev = p->ev;
	uint32_t i;

	for (i = 0; i < 1u << s->order; i++) {
		uint32_t event = pm_rc_next(p, block + i);
		bool own;

		if (event == PM_NO_PFN32)
			continue;
		if (pm_rc_is_take(p, event))
			return false;
		own = ev->kind[event] == PM_EV_REMOVE_MIGRATION_PTE || (ev->kind[event] == PM_EV_FREE && p->learnt[event] & PM_RC_RELEASE);
		if (own && (ev->tid[event] != ev->tid[s->event] || event > p->until[s->event]))
			return false;
	}
	return true;
}

/// Of the blocks of the order in a range, the one that is named first.
static uint32_t in_range(const struct pm_plan *p, const struct search *s, uint32_t from, uint32_t end)
{
	uint32_t at, found = PM_NO_PFN32, soonest = PM_NO_PFN32;

	for (at = pm_rc_align(from + (1u << s->order) - 1, s->order); at < end; at += 1u << s->order) {
		uint32_t next;

		if (!fits(p, s, at) || !may_be_ours(p, s, at))
			continue;
		next = next_in(p, at, s->order);
		if (found == PM_NO_PFN32 || next < soonest) {
			found = at;
			soonest = next;
		}
	}
	return found;
}

/// Does the same compaction map a page into a block with this event?
static bool is_filled(const struct pm_plan *p, uint32_t isolated, uint32_t event)
{
	return event <= p->until[isolated] && event != PM_NO_PFN32 && p->ev->kind[event] == PM_EV_REMOVE_MIGRATION_PTE && p->ev->tid[event] == p->ev->tid[isolated];
}

/// The scan right behind looks around the block that was found: it is in that pageblock, and the scan's count says on which side of its end.
static uint32_t near_scan(const struct pm_plan *p, const struct search *s)
{
	const struct pm_events *ev = p->ev;
	uint32_t scan = p->follow[s->event], at, ours = 0, start, end, block;

	if (scan == PM_NO_PFN32 || ev->arg1[scan] != ev->arg0[scan] - ev->pfn[scan])
		return PM_NO_PFN32;
	start = ev->pfn[scan];
	end = ev->arg0[scan];
	for (at = start; at < end; at++)
		if (p->head[at])
			ours += 1u << (p->head[at] - 1);
	block = in_range(p, s, end, pm_rc_align(start, PM_PAGEBLOCK_ORDER) + PM_PAGEBLOCK_NR_PAGES);
	if (block != PM_NO_PFN32 && is_filled(p, s->event, next_in(p, block, s->order)))
		return block;
	at = in_range(p, s, start, end);
	if (at != PM_NO_PFN32 && ours > ev->arg2[scan])
		return at;
	return in_range(p, s, end, pm_rc_align(start, PM_PAGEBLOCK_ORDER) + PM_PAGEBLOCK_NR_PAGES);
}

/// Is this the word on the block that was taken here: the next on that frame, by a task that can have taken it?
static uint32_t spoken_of(const struct pm_plan *p, const struct search *s, const struct pm_rc_word *word)
{
	uint32_t block;

	if (word->end) {
		if (word->left < 1 << s->order)
			return PM_NO_PFN32;
		return in_range(p, s, word->pfn, word->end);
	}
	block = pm_rc_align(word->pfn, s->order);
	if (!fits(p, s, block) || (word->tid != PM_NO_PFN32 && (word->tid != p->ev->tid[s->event] || word->event > p->until[s->event])))
		return PM_NO_PFN32;
	/* An event before it means that the frame was given or taken in between. */
	return pm_rc_next(p, word->pfn) < word->event || !may_be_ours(p, s, block) ? PM_NO_PFN32 : block;
}

/// Blocks that fit and that only this compaction can have taken: how many, up to `most`, and the first.
static uint32_t own_blocks(const struct pm_plan *p, const struct search *s, uint32_t most, uint32_t *ret_first)
{
	uint32_t blocks[PM_RC_OWN_MAX], n = 0, j;
	size_t i;

	for (i = p->first_word; i < p->nr_known_words && p->words[i].event <= p->until[s->event] && n < most && n < PM_RC_OWN_MAX; i++) {
		uint32_t block;

		if (p->words[i].tid != p->ev->tid[s->event])
			continue;
		block = spoken_of(p, s, &p->words[i]);
		for (j = 0; j < n && blocks[j] != block; j++)
			;
		if (block != PM_NO_PFN32 && j == n)
			blocks[n++] = block;
	}
	*ret_first = n ? blocks[0] : PM_NO_PFN32;
	return n;
}

/// The block that is spoken of first. Unless this compaction needs all that is left to it for what it is known to have filled.
static uint32_t first_spoken_of(struct pm_plan *p, const struct search *s)
{
	uint32_t needed = p->rest[s->event] + 1, own;
	size_t i;

	while (p->first_word < p->nr_known_words && p->words[p->first_word].event <= s->event)
		p->first_word++;
	for (i = p->first_word; i < p->nr_known_words && i < p->first_word + PM_RC_WORDS_AHEAD_MAX; i++) {
		struct pm_rc_word *word = &p->words[i];
		uint32_t block = spoken_of(p, s, word);

		if (block == PM_NO_PFN32)
			continue;
		if (word->tid == PM_NO_PFN32 && needed <= PM_RC_OWN_MAX && own_blocks(p, s, needed, &own) >= needed)
			return own;
		if (word->end)
			word->left -= 1 << s->order;
		return block;
	}
	return PM_NO_PFN32;
}

static bool untouched(const struct pm_plan *p, uint32_t block, unsigned int order)
{
	uint32_t i;

	for (i = 0; i < 1u << order; i++)
		if (!p->spare[block + i] || pm_rc_next(p, block + i) != PM_NO_PFN32)
			return false;
	return true;
}

static uint32_t never_spoken_of(const struct pm_plan *p, const struct search *s)
{
	size_t i;

	for (i = 0; i < p->nr_spares; i++)
		if (fits(p, s, p->spares[i]) && untouched(p, p->spares[i], s->order))
			return p->spares[i];
	return PM_NO_PFN32;
}

/// The FREE that put a frame on a per-CPU list, for all we know, or PM_NO_PFN32.
static uint32_t pending_free(const struct pm_plan *p, uint32_t pfn)
{
	uint32_t first, last = pm_rc_last(p, pfn, &first);

	if (!last || p->ev->kind[last] != PM_EV_FREE || !pm_rc_is_pcp((unsigned int)p->ev->order[last]) || p->learnt[last] & (PM_RC_DIRECT | PM_RC_HELD))
		return PM_NO_PFN32;
	return last;
}

/// Would the block be free but for some frames that may have been freed past the per-CPU lists? Few of them: it is a guess.
static bool nearly_free(const struct pm_plan *p, uint32_t block, unsigned int order)
{
	uint32_t i, missing = 0;

	for (i = 0; i < 1u << order; i++) {
		if (pm_rc_cover(p, block + i) != PM_NO_PFN32)
			continue;
		if (++missing > 1u << order >> 3 || pending_free(p, block + i) == PM_NO_PFN32)
			return false;
	}
	return missing > 0;
}

/// No block fits; but this compaction fills one that lacks a few frames: their FREEs went to the free lists.
static void learn_direct(struct pm_plan *p, const struct search *s)
{
	size_t i;
	uint32_t j;

	for (i = p->first_word; i < p->nr_known_words && p->words[i].event <= p->until[s->event]; i++) {
		uint32_t block = pm_rc_align(p->words[i].pfn, s->order);

		if (p->words[i].tid != p->ev->tid[s->event] || block < s->from || block >= s->end || !nearly_free(p, block, s->order))
			continue;
		for (j = 0; j < 1u << s->order; j++)
			if (pm_rc_cover(p, block + j) == PM_NO_PFN32)
				p->learnt[pending_free(p, block + j)] |= PM_RC_DIRECT;
		p->news++;
		return;
	}
}

/// Is the part of `order` at `block` inside a larger free block of a MOVABLE list?
static bool in_larger(const struct pm_plan *p, const struct search *s, uint32_t block)
{
	uint32_t cover;

	if (block < s->from || block >= s->end || p->type[block >> PM_PAGEBLOCK_ORDER] != PM_MT_MOVABLE)
		return false;
	cover = pm_rc_cover(p, block);
	return cover != PM_NO_PFN32 && p->head[cover] > s->order + 1 && may_be_ours(p, s, block);
}

/// No block of the order fits: the part of a larger one that a scan right behind looked at, or that is spoken of first. The other
/// part must have gone before, we do not know how; taking it keeps the count of free frames.
static uint32_t part_of_larger(const struct pm_plan *p, const struct search *s)
{
	uint32_t scan = p->follow[s->event], at;
	size_t i;

	if (scan != PM_NO_PFN32)
		for (at = pm_rc_align(p->ev->pfn[scan], s->order); at < p->ev->arg0[scan]; at += 1u << s->order)
			if (in_larger(p, s, at))
				return at;
	for (i = p->first_word; i < p->nr_known_words; i++) {
		const struct pm_rc_word *word = &p->words[i];

		at = pm_rc_align(word->pfn, s->order);
		if (!word->end && (word->tid == PM_NO_PFN32 || word->tid == p->ev->tid[s->event]) && in_larger(p, s, at))
			return at;
	}
	return PM_NO_PFN32;
}

void pm_rc_fast_isolate(struct pm_plan *p, uint32_t event)
{
	const struct pm_events *ev = p->ev;
	uint32_t taken = ev->arg2[event], zone = pm_rc_zone_of(p, ev->pfn[event]), block;
	struct search s = { event, ev->pfn[event], 0, 0 };

	if (!taken || zone == PM_MAX_ZONES)
		return;
	s.end = p->zones[zone].end;
	while (s.order < PM_MAX_ORDER && 2u << s.order <= taken)
		s.order++;
	block = near_scan(p, &s);
	if (block == PM_NO_PFN32)
		block = first_spoken_of(p, &s);
	if (block == PM_NO_PFN32) {
		block = never_spoken_of(p, &s);
		if (block != PM_NO_PFN32)
			p->counts[PM_RC_FAST_SILENT]++;
	}
	if (block == PM_NO_PFN32) {
		p->counts[PM_RC_FAST_UNKNOWN]++;
		learn_direct(p, &s);
		block = part_of_larger(p, &s);
		if (block == PM_NO_PFN32)
			return;
	}
	p->counts[PM_RC_FAST_TAKEN]++;
	pm_rc_take(p, event, block, s.order);
	pm_rc_note(p, event, block, s.order);
	if (s.order >= PM_PAGEBLOCK_ORDER - 1)
		pm_rc_set_type(p, event, block, PM_MT_MOVABLE);
}
