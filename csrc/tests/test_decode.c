/// The decoders of binary traces: format files, every kind of record in a page, lost events, perf's samples, and damage.
#include <string.h>

#include "check.h"
#include "formats.h"
#include "pymigrate.h"

enum { PAGE = 4096 };

struct page {
	uint8_t bytes[PAGE];
	size_t n; ///< of data
};

struct free_event {
	uint16_t type;
	uint8_t flags, preempt;
	int32_t pid;
	uint64_t pfn;
	uint32_t order, pad;
};

static struct pm_decoder *decoder_of(bool lenient)
{
	static const char *const formats[] = { FORMAT_ALLOC, FORMAT_FREE, FORMAT_RANGE, FORMAT_FINISHED, FORMAT_OTHER };
	struct pm_decoder *d;

	REQUIRE(pm_decoder_create(lenient, PM_DECODE_BATCH_MIN, &d) == PM_OK);
	for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++)
		REQUIRE(pm_decoder_add_format(d, formats[i], strlen(formats[i])) == PM_OK);
	REQUIRE(pm_decoder_set_header_page(d, HEADER_PAGE, strlen(HEADER_PAGE)) == PM_OK);
	return d;
}

static void put(struct page *page, const void *bytes, size_t n)
{
	REQUIRE(page->n + n <= PAGE - 16);
	memcpy(page->bytes + 16 + page->n, bytes, n);
	page->n += n;
}

static void put32(struct page *page, uint32_t value)
{
	put(page, &value, sizeof(value));
}

static struct page page_at(uint64_t time_ns)
{
	struct page page = { .n = 0 };

	memcpy(page.bytes, &time_ns, 8);
	return page;
}

static void put_record(struct page *page, uint32_t delta, const void *bytes, uint32_t n)
{
	put32(page, delta << 5 | n / 4);
	put(page, bytes, n);
}

static struct free_event free_of(uint64_t pfn, uint32_t order)
{
	return (struct free_event){ .type = 655, .pid = 42, .pfn = pfn, .order = order };
}

static void put_free(struct page *page, uint32_t delta, uint64_t pfn)
{
	struct free_event event = free_of(pfn, 1);

	put_record(page, delta, &event, sizeof(event));
}

static void commit(struct page *page, uint32_t flags)
{
	uint64_t word = (uint32_t)page->n | flags;

	memcpy(page->bytes + 8, &word, 8);
}

static enum pm_status feed(struct pm_decoder *d, struct page *page, uint32_t flags, struct pm_events *ret)
{
	enum pm_status status;
	size_t used;

	commit(page, flags);
	status = pm_decoder_pages(d, 3, PAGE, page->bytes, PAGE, &used);
	pm_decoder_columns(d, ret);
	return status;
}

static struct pm_parse_stats stats_of(const struct pm_decoder *d)
{
	struct pm_parse_stats stats;

	pm_decoder_stats(d, &stats);
	return stats;
}

static void reads_an_event_and_its_time(void)
{
	struct pm_decoder *d = decoder_of(false);
	struct page page = page_at(1000);
	struct pm_events ev;

	put_free(&page, 5, 0x77);
	put_free(&page, 7, 0x78);
	CHECK_EQ(feed(d, &page, 0, &ev), PM_OK);
	REQUIRE(ev.n == 2);
	CHECK_EQ(ev.time_ns[0], 1005);
	CHECK_EQ(ev.time_ns[1], 1012);
	CHECK_EQ(ev.cpu[1], 3);
	CHECK_EQ(ev.tid[1], 42);
	CHECK_EQ(ev.kind[1], PM_EV_FREE);
	CHECK_EQ(ev.pfn[1], 0x78);
	CHECK_EQ(ev.order[1], 1);
	pm_decoder_destroy(d);
}

static void reads_every_kind_of_record(void)
{
	struct free_event event = free_of(9, 0);
	struct pm_decoder *d = decoder_of(false);
	struct page page = page_at((1ull << 60) + 1000);
	struct pm_events ev;

	/* A longer time: 2 << 27 and 3 more. */
	put32(&page, 3u << 5 | 30);
	put32(&page, 2);
	put_free(&page, 1, 1);
	/* An absolute time keeps the page's bits above the 59th. */
	put32(&page, 6u << 5 | 31);
	put32(&page, 100);
	put_free(&page, 0, 2);
	/* An event that was taken back: its time counts. */
	put32(&page, 10u << 5 | 29);
	put32(&page, 8);
	put32(&page, 0);
	/* A length of its own. */
	put32(&page, 2u << 5);
	put32(&page, 4 + (uint32_t)sizeof(event));
	put(&page, &event, sizeof(event));
	/* The rest is nothing. */
	put32(&page, 29);
	put32(&page, 0xffffffff);
	CHECK_EQ(feed(d, &page, 0, &ev), PM_OK);
	REQUIRE(ev.n == 3);
	CHECK_EQ(ev.time_ns[0] - (1ull << 60), 1000 + (2 << 27) + 4);
	CHECK_EQ(ev.time_ns[1] - (1ull << 60), (100ull << 27) + 6);
	CHECK_EQ(ev.time_ns[2] - (1ull << 60), (100ull << 27) + 18);
	CHECK_EQ(stats_of(d).comments, 4);
	CHECK_EQ(stats_of(d).lines, 7);
	pm_decoder_destroy(d);
}

static void counts_lost_events(void)
{
	struct pm_decoder *d = decoder_of(false);
	struct page page = page_at(0);
	struct pm_events ev;
	uint64_t lost = 1234;

	put_free(&page, 1, 1);
	memcpy(page.bytes + 16 + page.n, &lost, 8);
	CHECK_EQ(feed(d, &page, 3u << 30, &ev), PM_OK);
	CHECK_EQ(stats_of(d).lost_events, 1234);
	/* Without a count: at least one. */
	CHECK_EQ(feed(d, &page, 1u << 31, &ev), PM_OK);
	CHECK_EQ(stats_of(d).lost_events, 1235);
	CHECK_EQ(stats_of(d).lost_lines, 2);
	CHECK_EQ(ev.n, 2);
	pm_decoder_destroy(d);
}

static void takes_gfp_bits_from_the_format(void)
{
	struct {
		uint16_t type;
		uint8_t flags, preempt;
		int32_t pid;
		uint64_t pfn;
		uint32_t order, pad;
		uint64_t gfp;
		int32_t migratetype, pad2;
	} event = { .type = 653, .pfn = 5, .gfp = 1ull << 40 | 2, .migratetype = 2 };
	struct pm_decoder *d = decoder_of(false);
	struct page page = page_at(0);
	struct pm_gfp_bits bits;
	struct pm_events ev;

	put_record(&page, 1, &event, sizeof(event));
	event.gfp |= 4;
	event.pfn = UINT64_MAX;
	put_record(&page, 1, &event, sizeof(event));
	CHECK_EQ(feed(d, &page, 0, &ev), PM_OK);
	REQUIRE(ev.n == 2);
	CHECK_EQ(ev.gfp[0], PM_GFP_IO | PM_GFP_ZERO);
	CHECK_EQ(ev.migratetype[0], 2);
	CHECK_EQ(ev.pfn[1], PM_NO_PFN32);
	/* Bit 2 has no name of its own there. */
	CHECK_EQ(stats_of(d).unknown_gfp, 1);
	REQUIRE(pm_decoder_gfp_bits(d, &bits) == PM_OK);
	CHECK_EQ(bits.known, 1ull << 40 | 2);
	pm_decoder_destroy(d);
}

static void takes_names_from_the_format(void)
{
	struct {
		uint16_t type;
		uint8_t flags, preempt;
		int32_t pid, nid;
		uint32_t zone;
		int32_t order, ret;
	} event = { .type = 667, .zone = 1, .order = -1, .ret = 77 };
	struct pm_decoder *d = decoder_of(false);
	struct page page = page_at(0);
	struct pm_events ev;

	put_record(&page, 1, &event, sizeof(event));
	event.ret = 3;
	put_record(&page, 1, &event, sizeof(event));
	event.ret = 4;
	put_record(&page, 1, &event, sizeof(event));
	CHECK_EQ(feed(d, &page, 0, &ev), PM_OK);
	REQUIRE(ev.n == 3);
	CHECK_EQ(ev.arg0[0], PM_ZONE_MOVABLE);
	CHECK_EQ(ev.order[0], -1);
	CHECK_EQ(ev.arg1[0], 8);
	CHECK_EQ(ev.arg1[1], 5);
	CHECK_EQ(ev.arg1[2], 4);
	pm_decoder_destroy(d);
}

static void keeps_a_range_that_ends_before_it_begins_as_empty(void)
{
	struct {
		uint16_t type;
		uint8_t flags, preempt;
		int32_t pid;
		uint64_t start, end, scanned, taken;
	} event = { .type = 673, .start = 1ull << 63 | 512, .end = 1024, .scanned = 1 };
	struct pm_decoder *d = decoder_of(false);
	struct page page = page_at(0);
	struct pm_events ev;

	put_record(&page, 1, &event, sizeof(event));
	CHECK_EQ(feed(d, &page, 0, &ev), PM_OK);
	REQUIRE(ev.n == 1);
	CHECK_EQ(ev.pfn[0], 1024);
	CHECK_EQ(ev.arg0[0], 1024);
	CHECK_EQ(stats_of(d).odd_ranges, 1);
	pm_decoder_destroy(d);
}

static void counts_other_events_by_name(void)
{
	uint16_t other[4] = { 316 }, unknown[4] = { 999 };
	struct pm_decoder *d = decoder_of(false);
	struct page page = page_at(0);
	struct pm_parse_other name;
	struct pm_events ev;

	put_record(&page, 0, other, sizeof(other));
	put_record(&page, 0, unknown, sizeof(unknown));
	CHECK_EQ(feed(d, &page, 0, &ev), PM_OK);
	CHECK_EQ(stats_of(d).other_events, 2);
	REQUIRE(stats_of(d).nr_others == 2);
	REQUIRE(pm_decoder_other(d, 1, &name) == PM_OK);
	CHECK(strcmp(name.name, "sched_switch") == 0);
	CHECK_EQ(pm_decoder_other(d, 2, &name), PM_ERR_INVAL);
	pm_decoder_destroy(d);
}

/// One page with damage: strict ends with the status, lenient counts it and goes on with the next page.
static void expect_damage(struct page *page, enum pm_status want, const char *reason)
{
	for (int lenient = 0; lenient < 2; lenient++) {
		struct pm_decoder *d = decoder_of(lenient != 0);
		struct page good = page_at(0);
		struct pm_events ev;

		put_free(&good, 1, 1);
		CHECK_EQ(feed(d, page, 0, &ev), lenient ? PM_OK : want);
		REQUIRE(stats_of(d).nr_problems == 1);
		if (!CHECK(strcmp(stats_of(d).problems[0].reason, reason) == 0))
			fprintf(stderr, "  %s\n", stats_of(d).problems[0].reason);
		CHECK_EQ(feed(d, &good, 0, &ev), lenient ? PM_OK : want);
		CHECK_EQ(ev.n, lenient);
		pm_decoder_destroy(d);
	}
}

static void names_damage(void)
{
	struct free_event event = free_of(1, 11);
	struct page page = page_at(0);

	put_record(&page, 0, &event, sizeof(event));
	expect_damage(&page, PM_ERR_SYNTAX, "the order is out of its range");
	page = page_at(0);
	event = free_of(0, 0);
	put_record(&page, 0, &event, sizeof(event));
	expect_damage(&page, PM_ERR_SYNTAX, "frame 0 in an event that cannot fail");
	page = page_at(0);
	put_record(&page, 0, &event, 8);
	expect_damage(&page, PM_ERR_SYNTAX, "an event that is shorter than its format says");
	page = page_at(0);
	put32(&page, 28);
	expect_damage(&page, PM_ERR_SYNTAX, "a record beyond its page");
	page = page_at(0);
	put32(&page, 30);
	expect_damage(&page, PM_ERR_SYNTAX, "padding or a time beyond its page");
	page = page_at(0);
	put32(&page, 0);
	put32(&page, 3);
	expect_damage(&page, PM_ERR_SYNTAX, "a record without a length");
	page = page_at(0);
	page.n = PAGE;
	expect_damage(&page, PM_ERR_SYNTAX, "a page that says it holds more than a page");
	page = page_at(UINT64_MAX);
	put_free(&page, 0, 1);
	expect_damage(&page, PM_ERR_SYNTAX, "a time of 2^63 ns or more");
}

static void stops_where_the_batch_may_not_suffice(void)
{
	enum { PAGES = 300 };
	static uint8_t bytes[PAGES * PAGE];
	struct pm_decoder *d = decoder_of(false);
	size_t at = 0, events = 0, calls = 0;

	for (int i = 0; i < PAGES; i++) {
		struct page page = page_at((uint64_t)i);

		while (page.n + 28 <= PAGE - 16)
			put_free(&page, 0, 1);
		commit(&page, 0);
		memcpy(bytes + (size_t)i * PAGE, page.bytes, PAGE);
	}
	while (at < sizeof(bytes)) {
		struct pm_events ev;
		size_t used;

		REQUIRE(pm_decoder_pages(d, 0, PAGE, bytes + at, sizeof(bytes) - at, &used) == PM_OK);
		REQUIRE(used > 0);
		pm_decoder_columns(d, &ev);
		events += ev.n;
		pm_decoder_drain(d);
		at += used;
		calls++;
	}
	CHECK_EQ(events, PAGES * ((PAGE - 16) / 28));
	CHECK(calls > 1);
	pm_decoder_destroy(d);
}

static void refuses_formats(void)
{
	static const char *const texts[] = {
		"", "name: mm_page_free\n", "ID: 3\n", "name: x\nID: 70000\n", "name: mm_page_free\nID: 1\nformat:\n",
		"name: mm_page_free\nID: 1\nformat:\n" COMMON_FIELDS,
		"name: mm_page_free_batched\nID: 1\nformat:\n" COMMON_FIELDS "field:unsigned long pfn; offset:8; size:7; signed:0;\n",
		"name: mm_page_free_batched\nID: 1\nformat:\n" COMMON_FIELDS "field:unsigned long pfn; offset:65535; size:8; signed:0;\n",
	};
	struct pm_decoder *d = decoder_of(false);

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		CHECK_EQ(pm_decoder_add_format(d, texts[i], strlen(texts[i])), PM_ERR_SYNTAX);
		CHECK(strlen(pm_decoder_problem(d)) > 0);
	}
	CHECK_EQ(pm_decoder_set_header_page(d, "nothing", 7), PM_ERR_SYNTAX);
	pm_decoder_destroy(d);
}

static void refuses_arguments(void)
{
	struct pm_decoder *d = decoder_of(false);
	uint64_t types[2] = { 1 << 16 | 1 << 10, 1 << 10 }, formats[2] = { 0, 0 }, id = 5;
	uint32_t owner = 2;
	size_t used;

	CHECK_EQ(pm_decoder_pages(d, 0, 32, "", 0, &used), PM_ERR_INVAL);
	CHECK_EQ(pm_decoder_pages(d, 70000, PAGE, "", 0, &used), PM_ERR_INVAL);
	CHECK_EQ(pm_decoder_set_perf(d, 2, types, formats, 0, NULL, NULL), PM_ERR_INVAL);
	CHECK_EQ(pm_decoder_set_perf(d, 2, types, formats, 1, &id, &owner), PM_ERR_INVAL);
	CHECK_EQ(pm_decoder_set_perf(d, 0, types, formats, 0, NULL, NULL), PM_ERR_INVAL);
	pm_decoder_destroy(d);
	CHECK_EQ(pm_decoder_create(false, 1, &d), PM_ERR_INVAL);
	pm_decoder_destroy(NULL);
}

static void knows_gfp_layouts_by_version(void)
{
	static const struct {
		uint32_t major, minor;
		uint64_t kernel; ///< GFP_KERNEL of that version
	} versions[] = { { 4, 5, 0x24000c0 }, { 4, 12, 0x14000c0 }, { 4, 19, 0x6000c0 }, { 5, 4, 0xcc0 }, { 6, 18, 0xcc0 }, { 7, 0, 0xcc0 } };
	struct pm_gfp_bits bits;
	uint32_t unknown;

	for (size_t i = 0; i < sizeof(versions) / sizeof(versions[0]); i++) {
		char text[24];

		REQUIRE(pm_gfp_bits_of_version(versions[i].major, versions[i].minor, &bits) == PM_OK);
		snprintf(text, sizeof(text), "0x%llx", (unsigned long long)versions[i].kernel);
		CHECK_EQ(pm_gfp_parse_bits(&bits, text, strlen(text), &unknown), PM_GFP_KERNEL);
		CHECK_EQ(unknown, 0);
	}
	CHECK_EQ(pm_gfp_bits_of_version(4, 4, &bits), PM_ERR_INVAL);
}

int main(void)
{
	RUN(reads_an_event_and_its_time);
	RUN(reads_every_kind_of_record);
	RUN(counts_lost_events);
	RUN(takes_gfp_bits_from_the_format);
	RUN(takes_names_from_the_format);
	RUN(keeps_a_range_that_ends_before_it_begins_as_empty);
	RUN(counts_other_events_by_name);
	RUN(names_damage);
	RUN(stops_where_the_batch_may_not_suffice);
	RUN(refuses_formats);
	RUN(refuses_arguments);
	RUN(knows_gfp_layouts_by_version);
	return check_result();
}
