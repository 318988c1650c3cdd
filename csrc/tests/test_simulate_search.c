/// The simulation's fast search for free blocks: which one a list gives, from its end.
#include "phys/buddy.h"
#include "tests/scene.h"

/// What is searched: from 1024 to the scanner at 7168, best in the upper half.
enum { LEAST = 1024, SCANNER = 7168 };

/// A machine whose free frames are these, the first of them last in their list.
static void open_with(struct scene *s, size_t n, const uint64_t *free_pfn)
{
	size_t i;

	open_scene(s, rig_bare());
	rig_fill(s->m, NR_FRAMES, RIG_MOVABLE);
	for (i = 0; i < n; i++)
		REQUIRE(pm_free(s->m, 0, free_pfn[i], 0) == PM_OK);
	s->nr_start = frames_at_hand(s->m);
	add(s, PM_EV_COMPACT_BEGIN, 0, -1, ID_NONE);
	play(s, 0);
}

/// The frame that a search takes; UINT32_MAX: none.
static uint32_t search(struct scene *s, size_t n, const uint64_t *free_pfn)
{
	uint64_t before = stats(s).isolated;
	bool was_free[MAX_EVENTS];
	size_t i, event;

	for (i = 0; i < n; i++)
		was_free[i] = pm_word_kind(pm_frame_word(&s->m->tables.frames[free_pfn[i]])) == PM_FRAME_FREE;
	event = add(s, PM_EV_FAST_ISOLATE_FREE, LEAST, -1, ID_NONE);
	s->l.arg0[event] = SCANNER;
	s->l.arg2[event] = 1;
	play(s, event);
	if (stats(s).isolated == before)
		return UINT32_MAX;
	for (i = 0; i < n; i++)
		if (was_free[i] && pm_word_kind(pm_frame_word(&s->m->tables.frames[free_pfn[i]])) != PM_FRAME_FREE)
			return (uint32_t)free_pfn[i];
	return UINT32_MAX;
}

/// What was held goes back at the end.
static void close_all(struct scene *s)
{
	play(s, add(s, PM_EV_COMPACT_END, 0, -1, ID_NONE));
	close_scene(s, 0);
}

static void the_upper_half_comes_first(void)
{
	static const uint64_t list[] = { 2000, 3000, 5000, 6000 };
	struct scene s;

	open_with(&s, 4, list);
	CHECK_EQ(search(&s, 4, list), 5000);
	/* The next search begins behind what this one looked at. */
	CHECK_EQ(search(&s, 4, list), 6000);
	close_all(&s);
}

static void the_highest_will_do_and_nothing_below_the_range(void)
{
	static const uint64_t list[] = { 2000, 3000, 2500, 10, 20 };
	struct scene s;

	open_with(&s, 5, list);
	CHECK_EQ(search(&s, 5, list), 3000);
	CHECK_EQ(search(&s, 5, list), 2500);
	CHECK_EQ(search(&s, 5, list), 2000);
	CHECK_EQ(search(&s, 5, list), UINT32_MAX);
	close_all(&s);
}

/// It looks at 16 blocks; one that could be taken halves that. What it looked at in vain is not looked at again.
static void a_search_looks_at_so_many_and_turns_the_list(void)
{
	uint64_t list[20];
	struct scene s;
	size_t i;

	for (i = 0; i < 20; i++)
		list[i] = 2 * i;
	list[16] = 5000;
	open_with(&s, 20, list);
	CHECK_EQ(search(&s, 20, list), UINT32_MAX);
	CHECK_EQ(search(&s, 20, list), 5000);
	close_all(&s);

	list[0] = 2000;
	list[8] = 5000;
	list[16] = 40;
	open_with(&s, 20, list);
	CHECK_EQ(search(&s, 20, list), 2000);
	close_all(&s);
}

int main(void)
{
	RUN(the_upper_half_comes_first);
	RUN(the_highest_will_do_and_nothing_below_the_range);
	RUN(a_search_looks_at_so_many_and_turns_the_list);
	return check_result();
}
