/// @file picture.h
/// Memory as a picture, a character a frame, blanks between blocks for the eye: what a test begins with, and what it has in the end.
///
///     .  free          a  anonymous          f  file         u  unmovable
///     c  in CPU 3's list    2 44 4444 …  a block of an owner that moves it, of as many frames (2, 4, 8)
#ifndef PM_TESTS_PICTURE_H
#define PM_TESTS_PICTURE_H

#include "tests/check.h"
#include "tests/rig.h"

enum { PICTURE_MOST = 4096, PICTURE_PAGE = PM_PAGE_SIZE };

struct picture {
	struct pm_machine *m;
	uint64_t nr, space, addr, file, owner, nr_anon, nr_file;
};

/// Frames of a picture, without the blanks.
static inline uint64_t picture_frames(const char *text, char *frames)
{
	uint64_t n = 0;

	for (; *text; text++)
		if (*text != ' ')
			frames[n++] = *text;
	REQUIRE(n < PICTURE_MOST);
	frames[n] = '\0';
	return n;
}

static inline unsigned int picture_order(char what)
{
	return what == '2' ? 1 : what == '4' ? 2 : what == '8' ? 3 : 0;
}

static inline void picture_place(struct picture *p, uint64_t pfn, uint8_t order, uint8_t place, bool movable)
{
	uint8_t type = movable ? PM_MT_MOVABLE : PM_MT_UNMOVABLE;
	uint16_t cpu = 3;
	size_t done;

	REQUIRE(pm_load_blocks(p->m, 1, &pfn, &order, &place, &type, &cpu, &done) == PM_OK);
}

/// The largest aligned block of free frames that begins here.
static inline uint8_t picture_free_order(const char *frames, uint64_t n, uint64_t pfn)
{
	uint8_t order = 0;
	uint64_t i;

	for (; order < PM_MAX_ORDER; order++) {
		uint64_t size = (uint64_t)2 << order;

		if (pfn & (size - 1) || pfn + size > n)
			break;
		for (i = pfn; i < pfn + size && frames[i] == '.'; i++)
			;
		if (i < pfn + size)
			break;
	}
	return order;
}

static inline void picture_place_all(struct picture *p, const char *frames)
{
	uint64_t pfn;

	for (pfn = 0; pfn < p->nr;) {
		uint8_t order = (uint8_t)(frames[pfn] == '.' ? picture_free_order(frames, p->nr, pfn) : picture_order(frames[pfn]));

		picture_place(p, pfn, order, frames[pfn] == '.' ? PM_PLACE_FREE : frames[pfn] == 'c' ? PM_PLACE_PCP : PM_PLACE_USED, frames[pfn] != 'u');
		pfn += (uint64_t)1 << order;
	}
}

/// Frames marked `what`, in order.
static inline size_t picture_find(const struct picture *p, const char *frames, const char *what, uint64_t *pfns)
{
	uint64_t pfn;
	size_t n = 0;

	for (pfn = 0; pfn < p->nr; pfn += (uint64_t)1 << picture_order(frames[pfn]))
		if (strchr(what, frames[pfn]))
			pfns[n++] = pfn;
	return n;
}

static inline void picture_give_owners(struct picture *p, const char *frames)
{
	struct pm_map_request request = { .length = p->nr * PICTURE_PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	struct pm_file_options file = { .fs = PM_FS_RAM, .size = p->nr * PICTURE_PAGE };
	uint64_t pfns[PICTURE_MOST];
	size_t n, done;

	REQUIRE(pm_space_create(p->m, &p->space) == PM_OK);
	REQUIRE(pm_map(p->m, 0, p->space, &request, &p->addr) == PM_OK);
	p->nr_anon = n = picture_find(p, frames, "a", pfns);
	REQUIRE(pm_load_anon(p->m, 0, p->space, p->addr, n, pfns, NULL, &done) == PM_OK && done == n);
	REQUIRE(pm_file_create(p->m, &file, &p->file) == PM_OK);
	p->nr_file = n = picture_find(p, frames, "f", pfns);
	REQUIRE(pm_load_file(p->m, 0, p->file, 0, n, pfns, NULL, &done) == PM_OK && done == n);
	REQUIRE(pm_owner_create(p->m, PM_OWNER_MOVABLE_OPS, &p->owner) == PM_OK);
	n = picture_find(p, frames, "248", pfns);
	REQUIRE(pm_load_owner(p->m, 0, p->owner, n, pfns, &done) == PM_OK && done == n);
}

/// A machine that looks like the picture: one zone from frame 0, per-CPU lists where `pcp`.
static inline struct picture picture_open(const char *text, bool pcp)
{
	char frames[PICTURE_MOST];
	struct picture p = { .nr = picture_frames(text, frames) };
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, p.nr };
	struct pm_settings settings = rig_bare();
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 4, .start = PM_START_UNPLACED };
	struct pm_memory_options options;

	settings.pcp = pcp;
	layout.settings = settings;
	p.m = rig_create(&layout);
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_NONE;
	REQUIRE(pm_memory_enable(p.m, &options) == PM_OK);
	picture_place_all(&p, frames);
	picture_give_owners(&p, frames);
	CHECK(rig_valid(p.m));
	return p;
}

static inline char picture_char(struct picture *p, uint64_t pfn)
{
	struct pm_frame_info frame = rig_frame(p->m, pfn);
	struct pm_page_info page;

	if (frame.state == PM_STATE_FREE)
		return '.';
	if (frame.state == PM_STATE_PCP)
		return 'c';
	REQUIRE(pm_page_info(p->m, frame.head, &page) == PM_OK);
	switch (page.use) {
	case PM_USE_ANON:
		return 'a';
	case PM_USE_FILE:
		return 'f';
	case PM_USE_OWNER:
		return (char)('0' + (1 << frame.order));
	default:
		return 'u';
	}
}

/// Does the machine look like this? `?` stands for anything.
static inline bool picture_is(struct picture *p, const char *text)
{
	char wanted[PICTURE_MOST], got[PICTURE_MOST];
	uint64_t n = picture_frames(text, wanted), pfn;
	bool same = n == p->nr;

	for (pfn = 0; pfn < p->nr; pfn++) {
		got[pfn] = picture_char(p, pfn);
		same = same && (wanted[pfn] == '?' || wanted[pfn] == got[pfn]);
	}
	got[p->nr] = '\0';
	if (!same)
		fprintf(stderr, "  is     %s\n  wanted %s\n", got, wanted);
	return same;
}

/// Nothing is lost, and the machine is sound.
static inline void picture_close(struct picture *p)
{
	struct pm_space_info space;
	struct pm_file_info file;

	CHECK(rig_valid(p->m));
	CHECK_EQ(pm_space_info(p->m, 0, p->space, &space), PM_OK);
	CHECK_EQ(space.present, p->nr_anon);
	CHECK_EQ(pm_file_info(p->m, 0, p->file, &file), PM_OK);
	CHECK_EQ(file.nr_pages, p->nr_file);
	pm_machine_destroy(p->m);
}

static inline struct pm_compact_result picture_compact(struct picture *p, uint32_t strategy, uint32_t order, uint64_t blocks)
{
	struct pm_compact_request request;
	struct pm_compact_result result;

	pm_compact_request_default(&request);
	request.strategy = strategy;
	request.order = order;
	request.blocks = blocks;
	REQUIRE(pm_compact(p->m, 0, &request, &result) == PM_OK);
	return result;
}

#endif
