/// Fuzz target: any bytes through the parser, and what it accepts through the normalising pass.
///
///     make -C csrc fuzz FUZZ_SECONDS=60
///
/// The first byte chooses the format, the mode and the size of the pieces. Held besides the sanitizers' rules: every line is counted
/// once, columns keep their ranges, and feeding in pieces gives what feeding at once gives.
#include <stdlib.h>
#include <string.h>

#include "pymigrate.h"

#define HOLD(condition) ((condition) ? (void)0 : abort())

static uint64_t hash_of(uint64_t hash, const struct pm_events *ev)
{
	for (size_t i = 0; i < ev->n; i++) {
		HOLD(ev->kind[i] < PM_NR_EVENT_KINDS);
		HOLD(ev->order[i] >= -1 && ev->order[i] <= PM_MAX_ORDER);
		HOLD(ev->migratetype[i] >= -1 && ev->migratetype[i] <= 7);
		HOLD((ev->gfp[i] & ~(uint32_t)PM_GFP_ALL) == 0);
		hash = (hash ^ ev->pfn[i] ^ ev->time_ns[i] ^ ev->arg0[i] ^ ev->kind[i]) * 0x100000001b3u;
	}
	return hash;
}

/// What the columns hold can take the pass on any machine: frames beyond this would only cost memory.
enum { FRAMES_MAX = 1 << 20, EVENTS_MAX = 256 };

static void resolve(const struct pm_events *ev)
{
	static uint32_t allocation[EVENTS_MAX];
	static uint8_t resolution[EVENTS_MAX];
	struct pm_resolve_input in = { .events = ev };
	struct pm_resolve_stats stats;
	struct pm_resolve *r;

	if (ev->n > EVENTS_MAX)
		return;
	for (size_t i = 0; i < ev->n; i++) {
		if (ev->pfn[i] >= FRAMES_MAX && ev->pfn[i] != PM_NO_PFN32)
			return;
	}
	if (pm_resolve_allocations(&in, allocation, resolution, &r) != PM_OK)
		return;
	pm_resolve_stats(r, &stats);
	for (size_t i = 0; i < ev->n; i++) {
		HOLD(resolution[i] < PM_NR_RESOLUTIONS);
		HOLD(allocation[i] == PM_NO_PFN32 || allocation[i] < stats.allocations + stats.initial);
	}
	pm_resolve_destroy(r);
}

static enum pm_status run(const char *text, size_t n, unsigned int mode, size_t piece, uint64_t *ret_hash, struct pm_parse_stats *ret)
{
	struct pm_parser *parser;
	struct pm_events ev;
	enum pm_status status = PM_OK;
	size_t used = 1;

	*ret_hash = 0;
	HOLD(pm_parser_create((enum pm_text_format)(mode % 5), (mode & 4) != 0, EVENTS_MAX, &parser) == PM_OK);
	for (size_t at = 0; at < n && status == PM_OK; at += used) {
		status = pm_parser_feed(parser, text + at, n - at < piece ? n - at : piece, &used);
		pm_parser_columns(parser, &ev);
		if (ev.n == EVENTS_MAX) {
			*ret_hash = hash_of(*ret_hash, &ev);
			pm_parser_drain(parser);
		}
	}
	if (status == PM_OK)
		status = pm_parser_finish(parser);
	pm_parser_columns(parser, &ev);
	*ret_hash = hash_of(*ret_hash, &ev);
	resolve(&ev);
	pm_parser_stats(parser, ret);
	pm_parser_destroy(parser);
	return status;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct pm_parse_stats whole, pieces;
	uint64_t hash_whole, hash_pieces;
	enum pm_status status;
	unsigned int mode;

	if (size == 0)
		return 0;
	mode = data[0];
	status = run((const char *)data + 1, size - 1, mode, size, &hash_whole, &whole);
	HOLD(whole.lines == whole.events + whole.other_events + whole.comments + whole.lost_lines + whole.skipped);
	HOLD(status == PM_OK || (whole.nr_problems > 0 && whole.problems[0].line <= whole.lines && whole.problems[0].line > 0));
	HOLD(status == run((const char *)data + 1, size - 1, mode, 1 + (mode >> 3), &hash_pieces, &pieces));
	HOLD(hash_whole == hash_pieces && whole.events == pieces.events && whole.skipped == pieces.skipped);
	return 0;
}
