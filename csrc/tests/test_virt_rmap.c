/// The reverse map: from a frame to exactly the places where it is mapped, a child's after its parent's, whatever became of the areas since; and at a cost that
/// grows with the page's mappings, not with the processes alive.
#include "tests/space_rig.h"

enum { MANY = 200 };

struct found {
	size_t nr;
	uint64_t visited;
	struct pm_rmap_entry entry[MANY + 2];
};

static struct found find(struct pm_machine *m, uint64_t pfn)
{
	struct found f = { 0, 0, { { 0, 0 } } };

	CHECK_EQ(pm_rmap(m, 0, pfn, MANY + 2, f.entry, &f.nr, &f.visited), PM_OK);
	CHECK_EQ(f.nr, space_page(m, pfn).mapcount);
	return f;
}

static void check_one(struct pm_machine *m, uint64_t pfn, uint64_t space, uint64_t addr)
{
	struct found f = find(m, pfn);

	CHECK_EQ(f.nr, 1);
	CHECK_EQ(f.entry[0].space, space);
	CHECK_EQ(f.entry[0].addr, addr);
}

static void children_come_after_their_parents(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig = space_rig_make(&options);
	uint64_t space[6], at, file = space_ram_file(rig.m, 2), shared, pfn;
	struct found f;
	size_t i;

	space[0] = space_make(rig.m);
	at = space_map(rig.m, space[0], 4);
	shared = space_map_at(rig.m, space[0], 0, 2, RW, PM_MAP_SHARED, file);
	space_put(rig.m, space[0], at + PAGE, 1);
	space_put(rig.m, space[0], shared, 1);
	pfn = space_frame(rig.m, space[0], at + PAGE);
	/* Children, and a grandchild of each, by turns. */
	for (i = 1; i < 6; i++) {
		space[i] = space_fork(rig.m, space[(i - 1) / 2]);
		CHECK_EQ(space_get(rig.m, space[i], shared), 1);
	}
	f = find(rig.m, pfn);
	CHECK_EQ(f.nr, 6);
	for (i = 0; i < f.nr; i++) {
		CHECK_EQ(f.entry[i].space, space[i]);
		CHECK_EQ(f.entry[i].addr, at + PAGE);
	}
	f = find(rig.m, space_frame(rig.m, space[0], shared));
	CHECK_EQ(f.nr, 6);
	for (i = 0; i < f.nr; i++)
		CHECK_EQ(f.entry[i].space, space[i]);
	/* The list may be shorter than there are; the number says so. */
	CHECK_EQ(pm_rmap(rig.m, 0, pfn, 2, f.entry, &f.nr, NULL), PM_OK);
	CHECK_EQ(f.nr, 6);
	/* The parent goes first, then a child in the middle. */
	space_exit(rig.m, space[0]);
	space_exit(rig.m, space[2]);
	f = find(rig.m, pfn);
	CHECK_EQ(f.nr, 4);
	CHECK_EQ(f.entry[0].space, space[1]);
	CHECK(rig_valid(rig.m));
	for (i = 1; i < 6; i++)
		if (i != 2)
			space_exit(rig.m, space[i]);
	space_file_close(rig.m, file);
	space_rig_end(&rig);
}

static void follows_moves_splits_and_merges(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig = space_rig_make(&options);
	uint64_t parent = space_make(rig.m), child, at = space_map(rig.m, parent, 8), away = (uint64_t)1 << 40, ret, pfn, i;
	struct pm_area areas[64];
	struct found f;

	for (i = 0; i < 8; i++)
		space_put(rig.m, parent, at + i * PAGE, (uint8_t)i);
	pfn = space_frame(rig.m, parent, at + 3 * PAGE);
	/* Split in three, merged again: one area, one place. */
	CHECK_EQ(pm_protect(rig.m, 0, parent, at + 2 * PAGE, 3 * PAGE, RO), PM_OK);
	CHECK_EQ(space_areas(rig.m, parent, areas), 3);
	check_one(rig.m, pfn, parent, at + 3 * PAGE);
	CHECK_EQ(pm_protect(rig.m, 0, parent, at + 2 * PAGE, 3 * PAGE, RW), PM_OK);
	CHECK_EQ(space_areas(rig.m, parent, areas), 1);
	check_one(rig.m, pfn, parent, at + 3 * PAGE);
	child = space_fork(rig.m, parent);
	/* The parent's part moves; its neighbours stay; the child's stays. */
	CHECK_EQ(pm_remap(rig.m, 0, parent, at + 2 * PAGE, 3 * PAGE, 3 * PAGE, PM_MAP_FIXED, away, &ret), PM_OK);
	CHECK_EQ(space_get(rig.m, parent, away + PAGE), 3);
	CHECK_EQ(space_get(rig.m, parent, at + 3 * PAGE), PM_ERR_FAULT);
	f = find(rig.m, pfn);
	CHECK_EQ(f.nr, 2);
	for (i = 0; i < 2; i++)
		CHECK(f.entry[i].space == parent ? f.entry[i].addr == away + PAGE : f.entry[i].space == child && f.entry[i].addr == at + 3 * PAGE);
	/* The child unmaps around it, then grows behind: the page keeps its place. */
	CHECK_EQ(pm_unmap(rig.m, 0, child, at + 4 * PAGE, 4 * PAGE), PM_OK);
	CHECK_EQ(pm_unmap(rig.m, 0, child, at, 3 * PAGE), PM_OK);
	CHECK_EQ(pm_remap(rig.m, 0, child, at + 3 * PAGE, PAGE, 4 * PAGE, 0, 0, &ret), PM_OK);
	CHECK_EQ(ret, at + 3 * PAGE);
	CHECK_EQ(find(rig.m, pfn).nr, 2);
	space_put(rig.m, child, at + 5 * PAGE, 50);
	check_one(rig.m, space_frame(rig.m, child, at + 5 * PAGE), child, at + 5 * PAGE);
	CHECK(rig_valid(rig.m));
	space_exit(rig.m, parent);
	check_one(rig.m, pfn, child, at + 3 * PAGE);
	/* The last user writes: the frame is its own, and is still found. */
	space_put(rig.m, child, at + 3 * PAGE, 9);
	CHECK_EQ(space_frame(rig.m, child, at + 3 * PAGE), pfn);
	check_one(rig.m, pfn, child, at + 3 * PAGE);
	CHECK_EQ(space_page_out(rig.m, child, at + 3 * PAGE, 1), 1);
	CHECK_EQ(space_get(rig.m, child, at + 3 * PAGE), 9);
	check_one(rig.m, space_frame(rig.m, child, at + 3 * PAGE), child, at + 3 * PAGE);
	space_exit(rig.m, child);
	space_rig_end(&rig);
}

/// A page that one process got after a fork leads to that process alone, although a hundred others share the rest.
static void a_walk_looks_at_who_may_map_the_page(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig;
	uint64_t parent, child[MANY], strangers[MANY], at, i, pfn;
	struct found f;

	options.nr_frames = 4096;
	rig = space_rig_make(&options);
	parent = space_make(rig.m);
	at = space_map(rig.m, parent, 2);
	space_put(rig.m, parent, at, 1);
	for (i = 0; i < MANY; i++) {
		strangers[i] = space_make(rig.m);
		space_put(rig.m, strangers[i], space_map(rig.m, strangers[i], 1), 1);
		child[i] = space_fork(rig.m, parent);
	}
	pfn = space_frame(rig.m, parent, at);
	f = find(rig.m, pfn);
	CHECK_EQ(f.nr, MANY + 1);
	CHECK_EQ(f.visited, MANY + 1);
	/* Born in a child. */
	space_put(rig.m, child[7], at, 2);
	f = find(rig.m, space_frame(rig.m, child[7], at));
	CHECK_EQ(f.nr, 1);
	CHECK_EQ(f.visited, 1);
	/* A stranger's. */
	f = find(rig.m, space_frame(rig.m, strangers[3], at));
	CHECK_EQ(f.visited, 1);
	for (i = 0; i < MANY; i++) {
		space_exit(rig.m, strangers[i]);
		space_exit(rig.m, child[i]);
	}
	check_one(rig.m, pfn, parent, at);
	space_exit(rig.m, parent);
	space_rig_end(&rig);
}

/// A chain of forks in which every parent exits: neither the walk nor the number of anon_vmas grows with its length.
static void chains_of_forks_stay_short(void)
{
	struct space_rig_options options = space_options();
	struct space_rig rig = space_rig_make(&options);
	uint64_t space = space_make(rig.m), at = space_map(rig.m, space, 2), i;
	struct found f;

	space_put(rig.m, space, at, 1);
	for (i = 0; i < MANY; i++) {
		uint64_t child = space_fork(rig.m, space);

		space_put(rig.m, child, at + PAGE, (uint8_t)i);
		space_exit(rig.m, space);
		space = child;
	}
	CHECK(rig.m->virt->anons.nr_live < 8);
	CHECK_EQ(space_get(rig.m, space, at), 1);
	f = find(rig.m, space_frame(rig.m, space, at));
	CHECK_EQ(f.nr, 1);
	CHECK(f.visited < 8);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

int main(void)
{
	RUN(children_come_after_their_parents);
	RUN(follows_moves_splits_and_merges);
	RUN(a_walk_looks_at_who_may_map_the_page);
	RUN(chains_of_forks_stay_short);
	return check_result();
}
