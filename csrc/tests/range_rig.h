/// @file range_rig.h
/// Ranges in a line, and a picture of a whole machine to compare with: frames, owners, free blocks, contents.
#ifndef PM_TESTS_RANGE_RIG_H
#define PM_TESTS_RANGE_RIG_H

#include "phys/page.h"
#include "tests/space_rig.h"

static inline struct pm_range_request range_request(uint32_t kind, uint64_t start, uint64_t end)
{
	struct pm_range_request request;

	pm_range_request_default(kind, &request);
	request.start = start;
	request.end = end;
	return request;
}

static inline struct pm_range_request range_search(uint64_t nr, uint64_t align, uint64_t start, uint64_t end)
{
	struct pm_range_request request = range_request(PM_RANGE_TAKE, start, end);

	request.flags = PM_RANGE_SEARCH;
	request.nr = nr;
	request.align = align;
	return request;
}

/// Begins, and works until it is over; the handle is still to be ended.
static inline enum pm_status range_run(struct pm_machine *m, const struct pm_range_request *request, struct pm_range_info *info, uint64_t *range)
{
	enum pm_status status;

	*info = (struct pm_range_info){ 0 };
	REQUIRE(pm_range_begin(m, request, range) == PM_OK);
	do
		status = pm_range_run(m, 0, *range, info);
	while (status == PM_ERR_INTR && !info->over);
	CHECK_EQ(info->over, 1);
	CHECK_EQ(info->status, status);
	return status;
}

/// The same, and ends it.
static inline enum pm_status range_do(struct pm_machine *m, const struct pm_range_request *request, struct pm_range_info *info)
{
	uint64_t range;
	enum pm_status status = range_run(m, request, info, &range);

	CHECK_EQ(pm_range_end(m, 0, range), PM_OK);
	return status;
}

static inline void range_free(struct pm_machine *m, uint64_t start, uint64_t nr)
{
	uint64_t done = 0;

	CHECK_EQ(pm_range_free(m, 0, start, nr, &done), PM_OK);
	CHECK_EQ(done, nr);
}

/// What migration keeps for itself once it was used is no leak: makes it be there.
static inline void range_rig_prime(struct space_rig *rig)
{
	struct pm_range_request request = range_request(PM_RANGE_TAKE, 0, 1);
	uint64_t range;

	REQUIRE(pm_range_begin(rig->m, &request, &range) == PM_OK);
	CHECK_EQ(pm_range_end(rig->m, 0, range), PM_OK);
	rig->pieces = space_pieces(rig->m);
}

/// What a frame looks like, as far as it must not change when nothing happened.
struct picture_frame {
	uint32_t word, tag, flags, mapping;
	uint64_t counts;
};

struct picture {
	uint64_t nr_frames, nr_pageblocks;
	struct picture_frame *frames;
	struct pm_pageblock *pageblocks;
	char *bytes;
	struct pm_zone_info zone[PM_MAX_ZONES];
	uint64_t free_blocks[PM_MAX_ZONES][PM_NR_ORDERS * PM_NR_MIGRATETYPES];
};

static inline struct picture picture_take(struct pm_machine *m)
{
	struct picture p = { .nr_frames = m->nr_frames, .nr_pageblocks = m->nr_pageblocks };
	uint64_t i;
	uint32_t z;

	p.frames = calloc(p.nr_frames, sizeof(*p.frames));
	p.pageblocks = calloc(p.nr_pageblocks, sizeof(*p.pageblocks));
	REQUIRE(p.frames && p.pageblocks);
	for (i = 0; i < p.nr_frames; i++) {
		struct pm_frame *frame = &m->tables.frames[i];
		struct pm_page *page = &m->pages[i];

		p.frames[i].word = pm_frame_word(frame);
		if (pm_word_kind(p.frames[i].word) != PM_FRAME_OWNED)
			continue;
		p.frames[i].tag = frame->tag;
		/* An entry's dirty mark goes to the page when the entry goes. */
		p.frames[i].flags = page->flags & ~(uint32_t)PM_PG_DIRTY;
		p.frames[i].mapping = page->mapping;
		p.frames[i].counts = page->counts;
	}
	for (i = 0; i < p.nr_pageblocks; i++) {
		p.pageblocks[i] = m->tables.pageblocks[i];
		p.pageblocks[i].link = (struct pm_link){ 0, 0 };
		p.pageblocks[i].free_list = p.pageblocks[i].free_order ? p.pageblocks[i].free_list : 0;
	}
	for (z = 0; z < m->nr_zones; z++) {
		REQUIRE(pm_zone_info(m, z, &p.zone[z]) == PM_OK);
		REQUIRE(pm_free_blocks(m, z, p.free_blocks[z]) == PM_OK);
	}
	if (m->arena) {
		p.bytes = malloc(p.nr_frames * PAGE);
		REQUIRE(p.bytes);
		memcpy(p.bytes, m->arena, p.nr_frames * PAGE);
	}
	return p;
}

/// Two looks at a zone, field by field: there is padding between them.
static inline void zones_equal(const struct pm_zone_info *now, const struct pm_zone_info *before)
{
	unsigned int i;

	CHECK_EQ(now->present, before->present);
	CHECK_EQ(now->managed, before->managed);
	CHECK_EQ(now->nr_free, before->nr_free);
	CHECK_EQ(now->nr_free_highatomic, before->nr_free_highatomic);
	CHECK_EQ(now->nr_isolated, before->nr_isolated);
	CHECK_EQ(now->nr_pcp, before->nr_pcp);
	CHECK_EQ(now->nr_unplaced, before->nr_unplaced);
	CHECK_EQ(now->nr_reserved_highatomic, before->nr_reserved_highatomic);
	CHECK_EQ(now->watermark_boost, before->watermark_boost);
	for (i = 0; i < 4; i++) {
		CHECK_EQ(now->wmark[i], before->wmark[i]);
		CHECK_EQ(now->lowmem_reserve[i], before->lowmem_reserve[i]);
	}
}

static inline void picture_free(struct picture *p)
{
	free(p->frames);
	free(p->pageblocks);
	free(p->bytes);
}

/// Is the machine as it was? Frames that nobody uses may hold other bytes.
static inline void picture_compare(struct pm_machine *m, struct picture *before)
{
	struct picture now = picture_take(m);
	uint64_t i, differ = 0, first = 0;

	for (i = 0; i < now.nr_frames; i++) {
		bool same = !memcmp(&now.frames[i], &before->frames[i], sizeof(now.frames[i]));

		if (same && now.bytes && pm_word_kind(now.frames[i].word) == PM_FRAME_OWNED)
			same = !memcmp(now.bytes + i * PAGE, before->bytes + i * PAGE, PAGE);
		if (!same && !differ++)
			first = i;
	}
	if (!CHECK_EQ(differ, 0))
		fprintf(stderr, "  first: frame %llu, word %x, was %x\n", (unsigned long long)first, now.frames[first].word, before->frames[first].word);
	CHECK(!memcmp(now.pageblocks, before->pageblocks, now.nr_pageblocks * sizeof(*now.pageblocks)));
	for (i = 0; i < m->nr_zones; i++)
		zones_equal(&now.zone[i], &before->zone[i]);
	CHECK(!memcmp(now.free_blocks, before->free_blocks, sizeof(now.free_blocks)));
	CHECK(rig_valid(m));
	picture_free(&now);
	picture_free(before);
}

#endif
