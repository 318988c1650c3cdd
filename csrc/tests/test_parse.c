/// The parser of traces: every text form, every field, and what a damaged line says.
#include <string.h>

#include "check.h"
#include "pymigrate.h"

#define PERF_FREE " 12 [001] 5.000000001: kmem:mm_page_free: page=0x9 pfn=0x9 order=3\n"

struct parsed {
	struct pm_parser *parser;
	struct pm_events ev;
	struct pm_parse_stats stats;
	enum pm_status status;
};

static struct parsed parse_as(const char *text, enum pm_text_format format, bool lenient)
{
	struct parsed p;
	size_t used;

	REQUIRE(pm_parser_create(format, lenient, 64, &p.parser) == PM_OK);
	p.status = pm_parser_feed(p.parser, text, strlen(text), &used);
	if (p.status == PM_OK)
		p.status = pm_parser_finish(p.parser);
	pm_parser_columns(p.parser, &p.ev);
	pm_parser_stats(p.parser, &p.stats);
	return p;
}

static struct parsed parse(const char *text)
{
	return parse_as(text, PM_TEXT_AUTO, false);
}

static void done(struct parsed *p)
{
	pm_parser_destroy(p->parser);
}

/// One event; the caller looks at p.ev.
static struct parsed one(const char *text)
{
	struct parsed p = parse(text);

	CHECK_EQ(p.status, PM_OK);
	REQUIRE(p.ev.n == 1);
	return p;
}

static void reads_perf_without_comm(void)
{
	struct parsed p = one(PERF_FREE);

	CHECK_EQ(p.ev.time_ns[0], 5000000001);
	CHECK_EQ(p.ev.tid[0], 12);
	CHECK_EQ(p.ev.cpu[0], 1);
	CHECK_EQ(p.ev.kind[0], PM_EV_FREE);
	CHECK_EQ(p.ev.pfn[0], 9);
	CHECK_EQ(p.ev.order[0], 3);
	CHECK_EQ(p.ev.migratetype[0], -1);
	CHECK_EQ(p.stats.format, PM_TEXT_PERF_SCRIPT);
	done(&p);
}

static void reads_heads(void)
{
	static const struct {
		const char *head;
		uint32_t tid;
		uint64_t time_ns;
		enum pm_text_format format;
	} heads[] = {
		{ "postgres 77 [003] 1.000002: kmem:mm_page_free:", 77, 1000002000, PM_TEXT_PERF_SCRIPT },
		{ "tmux: server 10/77 [003] 1.000002: kmem:mm_page_free:", 77, 1000002000, PM_TEXT_PERF_SCRIPT },
		{ "a [1] b 77 [003] 1.000000002:          1 kmem:mm_page_free:", 77, 1000000002, PM_TEXT_PERF_SCRIPT },
		{ "kworker/0:1-ev 77 [003] K 1.000000: kmem:mm_page_free:", 77, 1000000000, PM_TEXT_PERF_SCRIPT },
		{ "          <idle>-0     [003] 1.000002: mm_page_free:   ", 0, 1000002000, PM_TEXT_TRACE_CMD },
		{ "my-prog-77 [003] d..2. 1.000002: mm_page_free:", 77, 1000002000, PM_TEXT_FTRACE },
		{ "my [0] prog-77 (   12) [003] .... 1.000002: mm_page_free:", 77, 1000002000, PM_TEXT_FTRACE },
		{ "<...>-77 (-----) [003] 1.000002: mm_page_free:", 77, 1000002000, PM_TEXT_TRACE_CMD },
	};
	char line[200];

	for (size_t i = 0; i < sizeof(heads) / sizeof(heads[0]); i++) {
		struct parsed p;

		snprintf(line, sizeof(line), "%s page=0x9 pfn=0x9 order=0\n", heads[i].head);
		p = parse(line);
		if (!CHECK_EQ(p.status, PM_OK) || !CHECK_EQ(p.ev.n, 1)) {
			fprintf(stderr, "  head: %s\n", heads[i].head);
			done(&p);
			continue;
		}
		CHECK_EQ(p.ev.tid[0], heads[i].tid);
		CHECK_EQ(p.ev.cpu[0], 3);
		CHECK_EQ(p.ev.time_ns[0], heads[i].time_ns);
		CHECK_EQ(p.stats.format, heads[i].format);
		done(&p);
	}
}

static struct parsed event(const char *name_and_fields)
{
	static char line[600];

	snprintf(line, sizeof(line), "1 [000] 1.000000: x:%s\n", name_and_fields);
	return one(line);
}

static void reads_allocations(void)
{
	struct parsed p = event("mm_page_alloc: page=0xffff pfn=0x3039 order=9 migratetype=1 gfp_flags=GFP_HIGHUSER_MOVABLE|__GFP_COMP");

	CHECK_EQ(p.ev.pfn[0], 12345);
	CHECK_EQ(p.ev.migratetype[0], 1);
	CHECK_EQ(p.ev.gfp[0], PM_GFP_HIGHUSER_MOVABLE | PM_GFP_COMP);
	done(&p);
	p = event("mm_page_alloc: page=00000000deadbeef pfn=12345 order=0 migratetype=0 gfp_flags=0xcc0");
	CHECK_EQ(p.ev.pfn[0], 12345);
	CHECK_EQ(p.ev.gfp[0], PM_GFP_KERNEL);
	done(&p);
	p = event("mm_page_alloc: page=(nil) pfn=0x0 order=9 migratetype=1 gfp_flags=none");
	CHECK_EQ(p.ev.pfn[0], PM_NO_PFN32);
	CHECK_EQ(p.ev.gfp[0], 0);
	done(&p);
	p = event("mm_page_alloc: page=          (null) pfn=-1 order=2 migratetype=0 gfp_flags=GFP_NOFS");
	CHECK_EQ(p.ev.pfn[0], PM_NO_PFN32);
	done(&p);
}

static void reads_free_lists(void)
{
	struct parsed p = event("mm_page_alloc_zone_locked: page=0x1 pfn=0x11 order=1 migratetype=2 percpu_refill=1");

	CHECK_EQ(p.ev.arg0[0], 1);
	done(&p);
	p = event("mm_page_alloc_extfrag: page=0x75800 pfn=0x75800 alloc_order=0 fallback_order=10 pageblock_order=9 "
		  "alloc_migratetype=2 fallback_migratetype=1 fragmenting=10 change_ownership=1");
	CHECK_EQ(p.ev.order[0], 0);
	CHECK_EQ(p.ev.migratetype[0], 2);
	CHECK_EQ(p.ev.arg0[0], 10);
	CHECK_EQ(p.ev.arg1[0], 1);
	CHECK_EQ(p.ev.arg2[0], 1);
	done(&p);
	p = event("mm_page_free_batched: page=0x1 pfn=0x11 order=0");
	CHECK_EQ(p.ev.kind[0], PM_EV_FREE_BATCHED);
	done(&p);
	p = event("mm_page_pcpu_drain: page=0x1 pfn=0x11 order=0 migratetype=1");
	CHECK_EQ(p.ev.kind[0], PM_EV_PCPU_DRAIN);
	done(&p);
}

static void reads_ranges(void)
{
	struct parsed p = event("mm_compaction_isolate_freepages: range=(0x5f600 ~ 0x74200) nr_scanned=128 nr_taken=7");

	CHECK_EQ(p.ev.pfn[0], 0x5f600);
	CHECK_EQ(p.ev.arg0[0], 0x74200);
	CHECK_EQ(p.ev.arg1[0], 128);
	CHECK_EQ(p.ev.arg2[0], 7);
	done(&p);
	/* As a 6.18 kernel prints it. */
	p = event("mm_compaction_fast_isolate_freepages: range=(0x80000000005a7c00 ~ 0x5a7c00) nr_scanned=7 nr_taken=0");
	CHECK_EQ(p.ev.pfn[0], 0x5a7c00);
	CHECK_EQ(p.stats.odd_ranges, 1);
	done(&p);
}

static void reads_ptes(void)
{
	struct parsed p = event("set_migration_pte: addr=7fb4e54a5000, pte=f7ffe7fff2cf9000 order=0");

	CHECK_EQ(p.ev.pfn[0], 0x69837);
	CHECK_EQ(p.ev.arg0[0], 0xfb4e54a5);
	CHECK_EQ(p.ev.arg1[0], 7);
	done(&p);
	p = event("remove_migration_pte: addr=7fb4e54a5000, pte=80000000b470c067 order=0");
	CHECK_EQ(p.ev.pfn[0], 0xb470c);
	done(&p);
	/* Before 4.18: type 30 in bits 9..13, the frame from bit 14, not inverted. */
	p = event("set_migration_pte: addr=1000, pte=1a60dfc00 order=0");
	CHECK_EQ(p.ev.pfn[0], 0x69837);
	done(&p);
	/* PROT_NONE: inverted. */
	p = event("remove_migration_pte: addr=1000, pte=7ffffff4b8f3100 order=0");
	CHECK_EQ(p.stats.undecoded_ptes + (p.ev.pfn[0] != 0), 1);
	done(&p);
	/* A present PTE, as some kernels print it at the start of a migration too; and digits with 0x before them. */
	p = event("set_migration_pte: addr=0x1000, pte=0x69837067 order=0");
	CHECK_EQ(p.ev.pfn[0], 0x69837);
	done(&p);
	/* A migration entry where a present PTE was to be: another migration came between. */
	p = event("remove_migration_pte: addr=1000, pte=f7ffe7fff2cf9000 order=0");
	CHECK_EQ(p.ev.pfn[0], 0x69837);
	done(&p);
	p = event("set_migration_pte: addr=1000, pte=0 order=0");
	CHECK_EQ(p.ev.pfn[0], PM_NO_PFN32);
	CHECK_EQ(p.stats.undecoded_ptes, 1);
	done(&p);
}

static void reads_compaction(void)
{
	struct parsed p = event("mm_compaction_begin: zone_start=0x1000 migrate_pfn=0x1200 free_pfn=0xffe00 zone_end=0x100000, mode=sync");

	CHECK_EQ(p.ev.pfn[0], 0x1200);
	CHECK_EQ(p.ev.arg0[0], 0xffe00);
	CHECK_EQ(p.ev.arg1[0], 0x1000);
	CHECK_EQ(p.ev.arg2[0], 1);
	done(&p);
	p = event("mm_compaction_end: zone_start=0x1 migrate_pfn=0x1 free_pfn=0xe00 zone_end=0x1000, mode=async status=contended");
	CHECK_EQ(p.ev.arg2[0], 7);
	done(&p);
	/* What success was called before 4.7; a number where a word is usual; -1 for a scanner that is nowhere. */
	p = event("mm_compaction_end: zone_start=0x1 migrate_pfn=-1 free_pfn=0xe00 zone_end=0x1000, mode=async status=partial");
	CHECK_EQ(p.ev.arg2[0], 8);
	CHECK_EQ(p.ev.pfn[0], 0);
	done(&p);
	p = event("mm_compaction_suitable: node=0 zone=2        order=9 ret=5");
	CHECK_EQ(p.ev.arg0[0], PM_ZONE_NORMAL);
	CHECK_EQ(p.ev.arg1[0], 5);
	done(&p);
	p = event("mm_compaction_finished: node=0 zone=Normal   order=-1 ret=no_suitable_page");
	CHECK_EQ(p.ev.order[0], -1);
	CHECK_EQ(p.ev.arg0[0], PM_ZONE_NORMAL);
	CHECK_EQ(p.ev.arg1[0], 3);
	done(&p);
	p = event("mm_compaction_suitable: node=0 zone=DMA32    order=9 ret=skipped");
	CHECK_EQ(p.ev.arg0[0], PM_ZONE_DMA32);
	CHECK_EQ(p.ev.arg1[0], 1);
	done(&p);
	p = event("mm_compaction_try_to_compact_pages: order=6 gfp_mask=GFP_NOFS|__GFP_HIGHMEM priority=2");
	CHECK_EQ(p.ev.arg0[0], 2);
	CHECK(p.ev.gfp[0] & PM_GFP_HIGHMEM);
	done(&p);
	p = event("mm_compaction_kcompactd_wake: nid=0 order=9 classzone_idx=Normal ");
	CHECK_EQ(p.ev.arg0[0], PM_ZONE_NORMAL);
	done(&p);
	p = event("mm_compaction_migratepages: nr_migrated=128 nr_failed=3");
	CHECK_EQ(p.ev.arg0[0], 128);
	CHECK_EQ(p.ev.arg1[0], 3);
	done(&p);
}

static void reads_migration_and_reclaim(void)
{
	struct parsed p = event("mm_migrate_pages: nr_succeeded=128 nr_failed=1 nr_thp_succeeded=0 nr_thp_failed=0 nr_thp_split=0 "
				"nr_split=2 mode=MIGRATE_ASYNC reason=compaction");

	CHECK_EQ(p.ev.arg0[0], 128);
	CHECK_EQ(p.ev.arg1[0], 1);
	CHECK_EQ(p.ev.arg2[0], 2);
	done(&p);
	p = event("mm_vmscan_kswapd_wake: nid=0 order=9");
	CHECK_EQ(p.ev.order[0], 9);
	done(&p);
	p = event("mm_vmscan_wakeup_kswapd: nid=0 order=0 gfp_flags=GFP_ATOMIC");
	CHECK_EQ(p.ev.gfp[0], PM_GFP_ATOMIC);
	done(&p);
	p = event("mm_vmscan_direct_reclaim_begin: order=8 gfp_flags=GFP_NOFS|__GFP_COMP");
	CHECK_EQ(p.ev.kind[0], PM_EV_DIRECT_RECLAIM_BEGIN);
	done(&p);
}

static uint32_t gfp(const char *text, uint32_t *unknown)
{
	return pm_gfp_parse(text, strlen(text), unknown);
}

static void translates_gfp(void)
{
	uint32_t unknown;

	CHECK_EQ(gfp("GFP_NOWAIT", &unknown), PM_GFP_NOWAIT);
	CHECK_EQ(gfp("GFP_KERNEL_ACCOUNT|__GFP_ZERO", &unknown), PM_GFP_KERNEL | PM_GFP_ACCOUNT | PM_GFP_ZERO);
	CHECK_EQ(gfp("GFP_TRANSHUGE", &unknown) & (PM_GFP_DIRECT_RECLAIM | PM_GFP_KSWAPD_RECLAIM), PM_GFP_DIRECT_RECLAIM);
	CHECK_EQ(gfp("GFP_TRANSHUGE_LIGHT", &unknown) & (PM_GFP_DIRECT_RECLAIM | PM_GFP_KSWAPD_RECLAIM), 0);
	CHECK_EQ(gfp("__GFP_COLD|__GFP_HIGH", &unknown), PM_GFP_HIGH);
	CHECK_EQ(unknown, 0);
	CHECK_EQ(gfp("GFP_KERNEL|0x100", &unknown), PM_GFP_KERNEL | PM_GFP_ZERO);
	CHECK_EQ(unknown, 0);
	CHECK_EQ(gfp("0xcc0", &unknown), PM_GFP_KERNEL);
	CHECK_EQ(gfp("cc0", &unknown), PM_GFP_KERNEL);
	CHECK_EQ(gfp("0x8000000", &unknown), 0);
	CHECK_EQ(unknown, 1);
	CHECK_EQ(gfp("__GFP_NO_SUCH|__GFP_IO", &unknown), PM_GFP_IO);
	CHECK_EQ(unknown, 1);
	CHECK_EQ(gfp("", &unknown), 0);
	CHECK_EQ(unknown, 1);
	CHECK_EQ(gfp("|", &unknown), 0);
	CHECK_EQ(unknown, 2);
}

static void names_the_damage(void)
{
	static const struct {
		const char *line;
		const char *reason;
	} lines[] = {
		{ "nonsense\n", "no [cpu]" },
		{ "12 [001] 5.0: kmem:mm_page_free: page=0x9 order=3\n", "a field of the event is missing" },
		{ "12 [001] 5.0: kmem:mm_page_free: page=0x9 pfn=0x9 order=11\n", "the number is out of its range" },
		{ "12 [001] 5.0: kmem:mm_page_free: page=0x9 pfn=0x9 order=-1\n", "the order is out of its range" },
		{ "12 [001] 5.0: kmem:mm_page_free: page=0x9 pfn=0xfffffffff order=1\n", "a frame number of 2^32-1 or more" },
		{ "12 [001] 5.0: kmem:mm_page_free: page=0x9 pfn=0x0 order=1\n", "frame 0 in an event that cannot fail" },
		{ "12 [001] 5.0: kmem:mm_page_free: page=0x9 pfn=zebra order=1\n", "not a number" },
		{ "12 [001] 5.0: kmem:mm_page_free: page=0x9 pfn= order=1\n", "a field without a value" },
		{ "12 [001] 5.0: kmem:mm_page_free: pfn=0x9 pfn=0x8 order=1\n", "a field is given twice" },
		{ "12 [99999] 5.0: kmem:mm_page_free: pfn=0x9 order=1\n", "the cpu number is too large" },
		{ "12 [001] 123456: kmem:mm_page_free: pfn=0x9 order=1\n", "no time in seconds after the [cpu]" },
		{ "12 [001] 5.0: free\n", "no name of an event after the time" },
		{ "[001] 5.0: kmem:mm_page_free: pfn=0x9 order=1\n", "no thread id before the [cpu]" },
		{ "12 [001] 5.0: kmem:mm_page_alloc: pfn=0x9 order=1 migratetype=8 gfp_flags=none\n", "the number is out of its range" },
		{ "12 [001] 5.0: c:mm_compaction_isolate_freepages: range=[1 ~ 2) nr_scanned=1 nr_taken=0\n", "no ( before a range" },
		{ "12 [001] 5.0: c:mm_compaction_isolate_freepages: range=(0x1 - 2) nr_scanned=1 nr_taken=0\n", "no ~ within a range" },
		{ "12 [001] 5.0: c:mm_compaction_isolate_freepages: range=(zebra ~ 2) nr_scanned=1 nr_taken=0\n", "no number at the start of a range" },
		{ "12 [001] 5.0: c:mm_compaction_isolate_freepages: range=(1 ~ zebra) nr_scanned=1 nr_taken=0\n", "no number at the end of a range" },
		{ "12 [001] 5.0: c:mm_compaction_isolate_freepages: range=(1 ~ 2] nr_scanned=1 nr_taken=0\n", "no ) after a range" },
		{ "12 [001] 5.0: c:mm_compaction_isolate_freepages: range=(1 ~ 0xffffffff) nr_scanned=1 nr_taken=0\n", "a frame number of 2^32-1 or more" },
		{ "12 [001] 5.0: c:mm_compaction_isolate_freepages: range=(1 ~ 2) nr_scanned=-1 nr_taken=0\n", "a negative number" },
		{ "12 [001] 5.0: m:set_migration_pte: addr=zebra, pte=1 order=0\n", "not a hexadecimal number" },
		{ "12 [001] 5.0: c:mm_compaction_finished: node=0 zone=Nowhere order=1 ret=success\n", "a word that is not known here" },
	};
	char text[400];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct parsed p;

		snprintf(text, sizeof(text), "# comment\n" PERF_FREE "%s" PERF_FREE, lines[i].line);
		p = parse(text);
		CHECK_EQ(p.status, PM_ERR_SYNTAX);
		REQUIRE(p.stats.nr_problems == 1);
		CHECK_EQ(p.stats.problems[0].line, 3);
		CHECK(p.stats.problems[0].column >= 1 && p.stats.problems[0].column <= strlen(lines[i].line));
		if (!CHECK(strcmp(p.stats.problems[0].reason, lines[i].reason) == 0))
			fprintf(stderr, "  got '%s' for %s", p.stats.problems[0].reason, lines[i].line);
		done(&p);
		p = parse_as(text, PM_TEXT_AUTO, true);
		CHECK_EQ(p.status, PM_OK);
		CHECK_EQ(p.ev.n, 2);
		CHECK_EQ(p.stats.skipped, 1);
		done(&p);
	}
}

static void stays_failed(void)
{
	struct parsed p = parse("nonsense\n");
	size_t used;

	CHECK_EQ(pm_parser_feed(p.parser, PERF_FREE, strlen(PERF_FREE), &used), PM_ERR_SYNTAX);
	CHECK_EQ(used, 0);
	CHECK_EQ(pm_parser_finish(p.parser), PM_ERR_SYNTAX);
	done(&p);
}

static void counts_what_is_lost(void)
{
	struct parsed p = parse("# tracer: nop\n\nCPU:1 [LOST 12 EVENTS]\nCPU:0 [LOST EVENTS]\nCPU:1 [3 EVENTS DROPPED]\n"
				"perf 9 [000] 1.000000: PERF_RECORD_LOST: lost 5\n"
				"a-1 [000] .... 3.000001: mm_page_free: page=0xff pfn=0x9 order=0\n");

	CHECK_EQ(p.status, PM_OK);
	CHECK_EQ(p.stats.lost_events, 12 + 1 + 3 + 5);
	CHECK_EQ(p.stats.lost_lines, 4);
	CHECK_EQ(p.stats.first_lost_line, 3);
	CHECK_EQ(p.stats.comments, 2);
	done(&p);
}

static void counts_other_events(void)
{
	struct parsed p = parse("1 [000] 1.0: sched:sched_switch: a ==> b\n1 [000] 1.0: sched:sched_switch: \n"
				"1 [000] 1.1: sched:sched_wakeup: x\n" PERF_FREE);
	struct pm_parse_other other;

	CHECK_EQ(p.stats.other_events, 3);
	REQUIRE(p.stats.nr_others == 2);
	REQUIRE(pm_parser_other(p.parser, 0, &other) == PM_OK);
	CHECK(strcmp(other.name, "sched_switch") == 0);
	CHECK_EQ(other.count, 2);
	CHECK_EQ(pm_parser_other(p.parser, 2, &other), PM_ERR_INVAL);
	done(&p);
}

static void reads_trace_cmd_header(void)
{
	struct parsed p = parse("version = 7\nCPU 1 is empty\ncpus=2\n  a-1 [000] 3.000001: mm_page_free: page=0xff pfn=0x9 order=0\n");

	CHECK_EQ(p.status, PM_OK);
	CHECK_EQ(p.stats.format, PM_TEXT_TRACE_CMD);
	CHECK_EQ(p.stats.comments, 3);
	done(&p);
}

static void sees_a_cut_text(void)
{
	struct parsed p;
	char cut[200];
	const size_t whole = strlen(PERF_FREE) - 1;

	/* Whole but for its newline: taken, and said. */
	snprintf(cut, sizeof(cut), "%.*s", (int)whole, PERF_FREE);
	p = parse(cut);
	CHECK_EQ(p.status, PM_OK);
	CHECK_EQ(p.ev.n, 1);
	CHECK_EQ(p.stats.no_final_newline, 1);
	done(&p);
	for (size_t n = 2; n < whole; n++) {
		snprintf(cut, sizeof(cut), PERF_FREE "%.*s", (int)n, PERF_FREE);
		p = parse(cut);
		CHECK_EQ(p.status, PM_ERR_TRUNCATED);
		CHECK_EQ(p.stats.problems[0].line, 2);
		done(&p);
		p = parse_as(cut, PM_TEXT_AUTO, true);
		CHECK_EQ(p.status, PM_OK);
		CHECK_EQ(p.stats.truncated, 1);
		CHECK_EQ(p.stats.skipped, 1);
		done(&p);
	}
	/* A flag cut in its name. */
	p = parse("1 [000] 1.0: kmem:mm_page_alloc: page=0x9 pfn=0x9 order=0 migratetype=0 gfp_flags=GFP_KERNEL|__GFP_ZE");
	CHECK_EQ(p.status, PM_ERR_TRUNCATED);
	done(&p);
}

/// The same text in pieces of every size gives the same columns, also where the batch is smaller than the text.
static void any_pieces(void)
{
	static char text[40 * 80];
	struct pm_events ev;
	size_t length = 0;

	for (int i = 0; i < 40; i++)
		length += (size_t)snprintf(text + length, sizeof(text) - length, "%d [001] 5.%06d: kmem:mm_page_free: pfn=%d order=0\n", i, i, i + 1);
	for (size_t piece = 1; piece < length; piece += 7) {
		struct pm_parser *parser;
		uint32_t next = 1;
		size_t used;

		REQUIRE(pm_parser_create(PM_TEXT_AUTO, false, 3, &parser) == PM_OK);
		for (size_t at = 0; at < length; at += used) {
			size_t n = length - at < piece ? length - at : piece;

			REQUIRE(pm_parser_feed(parser, text + at, n, &used) == PM_OK);
			pm_parser_columns(parser, &ev);
			for (size_t i = 0; i < ev.n; i++)
				CHECK_EQ(ev.pfn[i], next++);
			pm_parser_drain(parser);
		}
		CHECK_EQ(next, 41);
		CHECK_EQ(pm_parser_finish(parser), PM_OK);
		pm_parser_destroy(parser);
	}
}

static void refuses_long_lines(void)
{
	const size_t size = PM_PARSE_LINE_BYTES_MAX + 100;
	char *text = malloc(size + 1);
	struct parsed p;

	REQUIRE(text != NULL);
	memset(text, 'x', size);
	text[size - 1] = '\n';
	text[size] = '\0';
	p = parse(text);
	CHECK_EQ(p.status, PM_ERR_LIMIT);
	done(&p);
	text[size - 1] = 'x';
	p = parse_as(text, PM_TEXT_AUTO, true);
	CHECK_EQ(p.status, PM_OK);
	CHECK_EQ(p.stats.truncated, 1);
	done(&p);
	free(text);
}

static void refuses_arguments(void)
{
	struct pm_parser *parser;

	CHECK_EQ(pm_parser_create(PM_TEXT_AUTO, false, 0, &parser), PM_ERR_INVAL);
	CHECK_EQ(pm_parser_create(PM_TEXT_AUTO, false, (size_t)PM_PARSE_BATCH_MAX + 1, &parser), PM_ERR_INVAL);
	CHECK_EQ(pm_parser_create((enum pm_text_format)9, false, 1, &parser), PM_ERR_INVAL);
	CHECK_EQ(pm_parser_create(PM_TEXT_AUTO, false, 1, NULL), PM_ERR_INVAL);
	pm_parser_destroy(NULL);
}

static void counts_disorder(void)
{
	struct parsed p = parse("1 [000] 2.0: x:mm_page_free: pfn=1 order=0\r\n1 [000] 1.0: x:mm_page_free: pfn=1 order=0\r\n");

	CHECK_EQ(p.ev.n, 2);
	CHECK_EQ(p.stats.unsorted, 1);
	done(&p);
}

int main(void)
{
	RUN(reads_perf_without_comm);
	RUN(reads_heads);
	RUN(reads_allocations);
	RUN(reads_free_lists);
	RUN(reads_ranges);
	RUN(reads_ptes);
	RUN(reads_compaction);
	RUN(reads_migration_and_reclaim);
	RUN(translates_gfp);
	RUN(names_the_damage);
	RUN(stays_failed);
	RUN(counts_what_is_lost);
	RUN(counts_other_events);
	RUN(reads_trace_cmd_header);
	RUN(sees_a_cut_text);
	RUN(any_pieces);
	RUN(refuses_long_lines);
	RUN(refuses_arguments);
	RUN(counts_disorder);
	return check_result();
}
