/// The fields of an event, by a table: which names each kind has, how a value is read and which column it goes to.
///
/// Fields are looked up by name, since their order and their company differ between kernels; the scan starts at the field expected
/// next, so that text in the usual order takes one comparison a field.
#include "replay/decode.h"
#include "replay/parse.h"

enum field_type {
	FIELD_PFN,	///< a frame number; frame 0 and -1 say that there is none
	FIELD_U32,
	FIELD_S32,	///< may be negative: kept as the 32 bits of the two's complement
	FIELD_ORDER,	///< 0..PM_MAX_ORDER
	FIELD_ORDER_ANY, ///< also -1: of a whole zone
	FIELD_ORDER_U32, ///< an order that goes to an argument
	FIELD_MT,
	FIELD_MT_U32,
	FIELD_GFP,
	FIELD_ZONE,
	FIELD_RESULT,
	FIELD_MODE,
	FIELD_RANGE,	///< (0x1 ~ 0x2): pfn and arg0
	FIELD_ADDR,
	FIELD_SET_PTE,
	FIELD_REMOVE_PTE
};

struct field {
	const char *name;
	uint8_t bytes;
	uint8_t type;
	uint8_t arg;
	bool optional;
};

#define FIELD(text, t, a) { text "=", sizeof(text), t, a, false }
#define FIELD_OPT(text, t, a) { text "=", sizeof(text), t, a, true }
#define PM_FIELDS_MAX 7

struct event_spec {
	const char *name;
	uint8_t bytes;
	struct field fields[PM_FIELDS_MAX];
};

#define EVENT(text) .name = text, .bytes = sizeof(text) - 1
#define RANGE_FIELDS { FIELD("range", FIELD_RANGE, 0), FIELD("nr_scanned", FIELD_U32, 1), FIELD("nr_taken", FIELD_U32, 2) }
#define COMPACT_FIELDS(last) { FIELD("zone_start", FIELD_PFN, 1), FIELD("migrate_pfn", FIELD_PFN, 3), FIELD("free_pfn", FIELD_PFN, 0), last }

/// The names that newer kernels gave to an old field follow it as another optional one.
static const struct event_spec event_specs[PM_NR_EVENT_KINDS] = {
	[PM_EV_ALLOC] = { EVENT("mm_page_alloc"),
		{ FIELD("pfn", FIELD_PFN, 3), FIELD("order", FIELD_ORDER, 0), FIELD("migratetype", FIELD_MT, 0), FIELD("gfp_flags", FIELD_GFP, 0) } },
	[PM_EV_FREE] = { EVENT("mm_page_free"), { FIELD("pfn", FIELD_PFN, 3), FIELD("order", FIELD_ORDER, 0) } },
	[PM_EV_FREE_BATCHED] = { EVENT("mm_page_free_batched"), { FIELD("pfn", FIELD_PFN, 3), FIELD_OPT("order", FIELD_ORDER, 0) } },
	[PM_EV_ZONE_LOCKED] = { EVENT("mm_page_alloc_zone_locked"),
		{ FIELD("pfn", FIELD_PFN, 3), FIELD("order", FIELD_ORDER, 0), FIELD("migratetype", FIELD_MT, 0), FIELD_OPT("percpu_refill", FIELD_U32, 0) } },
	[PM_EV_PCPU_DRAIN] = { EVENT("mm_page_pcpu_drain"),
		{ FIELD("pfn", FIELD_PFN, 3), FIELD("order", FIELD_ORDER, 0), FIELD("migratetype", FIELD_MT, 0) } },
	[PM_EV_EXTFRAG] = { EVENT("mm_page_alloc_extfrag"),
		{ FIELD("pfn", FIELD_PFN, 3), FIELD("alloc_order", FIELD_ORDER, 0), FIELD("fallback_order", FIELD_ORDER_U32, 0),
		  FIELD("alloc_migratetype", FIELD_MT, 0), FIELD("fallback_migratetype", FIELD_MT_U32, 1), FIELD("change_ownership", FIELD_U32, 2) } },
	[PM_EV_ISOLATE_FREE] = { EVENT("mm_compaction_isolate_freepages"), RANGE_FIELDS },
	[PM_EV_FAST_ISOLATE_FREE] = { EVENT("mm_compaction_fast_isolate_freepages"), RANGE_FIELDS },
	[PM_EV_ISOLATE_MIGRATE] = { EVENT("mm_compaction_isolate_migratepages"), RANGE_FIELDS },
	[PM_EV_SET_MIGRATION_PTE] = { EVENT("set_migration_pte"),
		{ FIELD("addr", FIELD_ADDR, 0), FIELD("pte", FIELD_SET_PTE, 0), FIELD("order", FIELD_ORDER, 0) } },
	[PM_EV_REMOVE_MIGRATION_PTE] = { EVENT("remove_migration_pte"),
		{ FIELD("addr", FIELD_ADDR, 0), FIELD("pte", FIELD_REMOVE_PTE, 0), FIELD("order", FIELD_ORDER, 0) } },
	[PM_EV_MIGRATE_PAGES] = { EVENT("mm_migrate_pages"),
		{ FIELD("nr_succeeded", FIELD_U32, 0), FIELD("nr_failed", FIELD_U32, 1), FIELD_OPT("nr_split", FIELD_U32, 2) } },
	[PM_EV_COMPACT_BEGIN] = { EVENT("mm_compaction_begin"), COMPACT_FIELDS(FIELD("mode", FIELD_MODE, 2)) },
	[PM_EV_COMPACT_END] = { EVENT("mm_compaction_end"), COMPACT_FIELDS(FIELD("status", FIELD_RESULT, 2)) },
	[PM_EV_COMPACT_FINISHED] = { EVENT("mm_compaction_finished"),
		{ FIELD("zone", FIELD_ZONE, 0), FIELD("order", FIELD_ORDER_ANY, 0), FIELD("ret", FIELD_RESULT, 1) } },
	[PM_EV_COMPACT_SUITABLE] = { EVENT("mm_compaction_suitable"),
		{ FIELD("zone", FIELD_ZONE, 0), FIELD("order", FIELD_ORDER_ANY, 0), FIELD("ret", FIELD_RESULT, 1) } },
	[PM_EV_TRY_TO_COMPACT] = { EVENT("mm_compaction_try_to_compact_pages"),
		{ FIELD("order", FIELD_ORDER_ANY, 0), FIELD("gfp_mask", FIELD_GFP, 0), FIELD_OPT("priority", FIELD_S32, 0) } },
	[PM_EV_KCOMPACTD_WAKE] = { EVENT("mm_compaction_kcompactd_wake"),
		{ FIELD("order", FIELD_ORDER_ANY, 0), FIELD_OPT("classzone_idx", FIELD_ZONE, 0), FIELD_OPT("highest_zoneidx", FIELD_ZONE, 0) } },
	[PM_EV_KSWAPD_WAKE] = { EVENT("mm_vmscan_kswapd_wake"), { FIELD("order", FIELD_ORDER_ANY, 0) } },
	[PM_EV_WAKEUP_KSWAPD] = { EVENT("mm_vmscan_wakeup_kswapd"), { FIELD("order", FIELD_ORDER_ANY, 0), FIELD_OPT("gfp_flags", FIELD_GFP, 0) } },
	[PM_EV_DIRECT_RECLAIM_BEGIN] = { EVENT("mm_vmscan_direct_reclaim_begin"),
		{ FIELD("order", FIELD_ORDER_ANY, 0), FIELD("gfp_flags", FIELD_GFP, 0) } },
	[PM_EV_COMPACT_MIGRATEPAGES] = { EVENT("mm_compaction_migratepages"), { FIELD("nr_migrated", FIELD_U32, 0), FIELD("nr_failed", FIELD_U32, 1) } },
};

int pm_event_kind_of(const char *name, size_t bytes)
{
	for (int kind = 0; kind < PM_NR_EVENT_KINDS; kind++) {
		if (event_specs[kind].bytes == bytes && memcmp(event_specs[kind].name, name, bytes) == 0)
			return kind;
	}
	return -1;
}

/// enum pm_zone_kind first, then zones that pymigrate has no kind for.
static const char *const zone_names[] = { "DMA", "DMA32", "Normal", "Movable", "HighMem", "Device" };
/// Numbered as the kernel's enum compact_result of 4.7 and later; "partial" is what success was called before.
static const char *const result_names[] = { "not_suitable_zone", "skipped", "deferred", "no_suitable_page", "continue",
					     "complete", "partial_skipped", "contended", "success" };
static const char *const mode_names[] = { "async", "sync" };

static bool place_of(const char *const *names, size_t n_names, const char *name, size_t n, uint32_t *ret)
{
	for (size_t i = 0; i < n_names; i++) {
		if (strlen(names[i]) == n && memcmp(names[i], name, n) == 0) {
			*ret = (uint32_t)i;
			return true;
		}
	}
	return false;
}

#define PLACE_OF(names, name, n, ret) place_of(names, sizeof(names) / sizeof((names)[0]), name, n, ret)

bool pm_zone_value(const char *name, size_t n, uint32_t *ret)
{
	return PLACE_OF(zone_names, name, n, ret);
}

bool pm_result_value(const char *name, size_t n, uint32_t *ret)
{
	if (n == 7 && memcmp(name, "partial", 7) == 0) {
		*ret = 8;
		return true;
	}
	return PLACE_OF(result_names, name, n, ret);
}

static bool mode_value(const char *name, size_t n, uint32_t *ret)
{
	return PLACE_OF(mode_names, name, n, ret);
}

/// A word that stands for a value. Numbers are taken as they are.
static bool read_word(struct pm_line *line, const char *at, const char *stop, bool (*value_of)(const char *, size_t, uint32_t *), uint32_t *ret)
{
	uint64_t value;

	if (value_of(at, (size_t)(stop - at), ret))
		return true;
	if (pm_scan_number(at, stop, &value) == stop && value < PM_PARSE_ABSENT) {
		*ret = (uint32_t)value;
		return true;
	}
	return pm_damage(line, at, "a word that is not known here");
}

static bool number(struct pm_line *line, const char *at, const char *stop, uint64_t max, uint64_t *ret)
{
	if (pm_scan_number(at, stop, ret) != stop)
		return pm_damage(line, at, "not a number");
	if (*ret > max)
		return pm_damage(line, at, "the number is out of its range");
	return true;
}

static bool signed_number(struct pm_line *line, const char *at, const char *stop, uint64_t max, int64_t *ret)
{
	bool negative = at < stop && *at == '-';
	uint64_t value;

	if (!number(line, at + negative, stop, max, &value))
		return false;
	*ret = negative ? -(int64_t)value : (int64_t)value;
	return true;
}

/// -1 is printed where a kernel has no frame; frame 0 holds firmware data on every machine and is never handed out.
static bool read_pfn(struct pm_line *line, const char *at, const char *stop, const struct field *field, struct pm_parsed *ret)
{
	uint64_t pfn;

	if (stop - at == 2 && at[0] == '-' && at[1] == '1')
		pfn = 0;
	else if (!number(line, at, stop, UINT64_MAX, &pfn))
		return false;
	if (pfn == UINT64_MAX)
		pfn = 0;
	if (pfn >= PM_NO_PFN32)
		return pm_damage(line, at, "a frame number of 2^32-1 or more");
	if (field->arg < 3) {
		ret->arg[field->arg] = (uint32_t)pfn;
		return true;
	}
	if (pfn == 0 && ret->kind == PM_EV_ALLOC)
		pfn = PM_NO_PFN32;
	else if (pfn == 0 && ret->kind != PM_EV_COMPACT_BEGIN && ret->kind != PM_EV_COMPACT_END)
		return pm_damage(line, at, "frame 0 in an event that cannot fail");
	ret->pfn = (uint32_t)pfn;
	return true;
}

static bool read_range(struct pm_line *line, const char **at, struct pm_parsed *ret)
{
	const char *c = *at, *end = line->end;
	uint64_t first, last;

	if (c == end || *c != '(')
		return pm_damage(line, c, "no ( before a range");
	c = pm_scan_number(c + 1, end, &first);
	if (c == NULL)
		return pm_damage(line, *at + 1, "no number at the start of a range");
	c = pm_skip_blanks(c, end);
	if (c == end || *c != '~')
		return pm_damage(line, c, "no ~ within a range");
	*at = pm_skip_blanks(c + 1, end);
	c = pm_scan_number(*at, end, &last);
	if (c == NULL)
		return pm_damage(line, *at, "no number at the end of a range");
	if (c == end || *c != ')')
		return pm_damage(line, c, "no ) after a range");
	if (last >= PM_NO_PFN32)
		return pm_damage(line, *at, "a frame number of 2^32-1 or more");
	/* Linux 6.18 prints a start with its highest bit set where a fast search found nothing: an empty range. */
	ret->odd_range = first > last;
	ret->pfn = (uint32_t)(first > last ? last : first);
	ret->arg[0] = (uint32_t)last;
	*at = c + 1;
	return true;
}

/// Frame numbers in a PTE of x86-64. A migration entry keeps its frame number where a swap entry keeps its offset: since 4.18
/// inverted, from bit 9 on (below the five bits of the type, whose two highest are set for migration entries); before that as it
/// is, from bit 14 on. The 34 bits of a frame number are followed by young and dirty bits.
uint32_t pm_pfn_of_set_pte(uint64_t pte)
{
	uint64_t pfn = pte >> 62 == 3 ? ~pte >> 9 & ((1ull << 34) - 1) : pte >> 14;

	if (pte & 1)
		pfn = pte >> 12 & ((1ull << 40) - 1);
	return pfn > 0 && pfn < PM_NO_PFN32 ? (uint32_t)pfn : PM_NO_PFN32;
}

/// A present PTE has its frame number in bits 12..51. PROT_NONE ones (bit 0 clear, bit 8 set) are stored inverted since 4.18.
uint32_t pm_pfn_of_remove_pte(uint64_t pte)
{
	const uint64_t mask = (1ull << 40) - 1;
	uint64_t pfn = pte >> 12 & mask;

	if (!(pte & 1)) {
		if (!(pte & 0x100))
			return pm_pfn_of_set_pte(pte);
		if (pfn > mask >> 1)
			pfn = ~pte >> 12 & mask;
	}
	return pfn > 0 && pfn < PM_NO_PFN32 ? (uint32_t)pfn : PM_NO_PFN32;
}

static bool read_hex(struct pm_line *line, const char *at, const char *stop, struct pm_parsed *ret, uint8_t type)
{
	uint64_t value;

	if (stop - at > 2 && at[0] == '0' && (at[1] | 0x20) == 'x')
		at += 2;
	if (pm_scan_hex(at, stop, &value) != stop)
		return pm_damage(line, at, "not a hexadecimal number");
	if (type == FIELD_ADDR) {
		ret->arg[0] = (uint32_t)(value >> 12);
		ret->arg[1] = (uint32_t)(value >> 44);
		return true;
	}
	ret->pfn = type == FIELD_SET_PTE ? pm_pfn_of_set_pte(value) : pm_pfn_of_remove_pte(value);
	ret->pte_undecoded = ret->pfn == PM_NO_PFN32;
	return true;
}

static bool read_order(struct pm_line *line, const char *at, const char *stop, const struct field *field, struct pm_parsed *ret)
{
	int64_t value;

	if (!signed_number(line, at, stop, PM_MAX_ORDER, &value))
		return false;
	if (value < (field->type == FIELD_ORDER_ANY ? -1 : 0))
		return pm_damage(line, at, "the order is out of its range");
	if (field->type == FIELD_ORDER_U32)
		ret->arg[field->arg] = (uint32_t)value;
	else
		ret->order = (int8_t)value;
	return true;
}

static bool read_u32(struct pm_line *line, const char *at, const char *stop, const struct field *field, struct pm_parsed *ret)
{
	int64_t value;

	if (!signed_number(line, at, stop, field->type == FIELD_S32 ? INT32_MAX : PM_PARSE_ABSENT - 1, &value))
		return false;
	if (value < 0 && field->type != FIELD_S32)
		return pm_damage(line, at, "a negative number");
	ret->arg[field->arg] = (uint32_t)value;
	return true;
}

/// A migratetype is kept as the kernel numbers it; 0..7 covers every configuration.
static bool read_migratetype(struct pm_line *line, const char *at, const char *stop, const struct field *field, struct pm_parsed *ret)
{
	uint64_t value;

	if (!number(line, at, stop, 7, &value))
		return false;
	if (field->type == FIELD_MT_U32)
		ret->arg[field->arg] = (uint32_t)value;
	else
		ret->migratetype = (int8_t)value;
	return true;
}

static bool read_value(struct pm_line *line, const char *at, const char *stop, const struct field *field,
		       struct pm_gfp_memo *memo, struct pm_parsed *ret)
{
	uint32_t unknown;

	if (at == stop)
		return pm_damage(line, at, "a field without a value");
	switch (field->type) {
	case FIELD_PFN:
		return read_pfn(line, at, stop, field, ret);
	case FIELD_ORDER:
	case FIELD_ORDER_ANY:
	case FIELD_ORDER_U32:
		return read_order(line, at, stop, field, ret);
	case FIELD_MT:
	case FIELD_MT_U32:
		return read_migratetype(line, at, stop, field, ret);
	case FIELD_GFP:
		ret->gfp = pm_gfp_memo_parse(memo, at, (size_t)(stop - at), &unknown);
		ret->gfp_unknown = unknown != 0;
		return true;
	case FIELD_ZONE:
		return read_word(line, at, stop, pm_zone_value, &ret->arg[field->arg]);
	case FIELD_MODE:
		return read_word(line, at, stop, mode_value, &ret->arg[field->arg]);
	case FIELD_RESULT:
		return read_word(line, at, stop, pm_result_value, &ret->arg[field->arg]);
	case FIELD_ADDR:
	case FIELD_SET_PTE:
	case FIELD_REMOVE_PTE:
		return read_hex(line, at, stop, ret, field->type);
	default:
		return read_u32(line, at, stop, field, ret);
	}
}

static const char *word_end(const char *at, const char *end)
{
	while (at < end && !pm_is_blank(*at))
		at++;
	return at;
}

/// Which field the word at `at` is: the one expected, or any other of the kind. -1: none that we use.
static int field_at(const struct event_spec *spec, const char *at, size_t bytes, int expected)
{
	for (int step = 0; step < PM_FIELDS_MAX; step++) {
		int i = (expected + step) % PM_FIELDS_MAX;
		const struct field *field = &spec->fields[i];

		if (field->bytes != 0 && field->bytes <= bytes && memcmp(field->name, at, field->bytes) == 0)
			return i;
	}
	return -1;
}

static bool all_found(struct pm_line *line, const struct event_spec *spec, uint32_t found)
{
	for (int i = 0; i < PM_FIELDS_MAX && spec->fields[i].bytes != 0; i++) {
		if (!(found >> i & 1) && !spec->fields[i].optional)
			return pm_damage(line, line->end, "a field of the event is missing");
	}
	return true;
}

bool pm_fields_parse(struct pm_line *line, const char *at, struct pm_gfp_memo *memo, struct pm_parsed *ret)
{
	const struct event_spec *spec = &event_specs[ret->kind];
	uint32_t found = 0;
	int expected = 0;

	for (at = pm_skip_blanks(at, line->end); at < line->end; at = pm_skip_blanks(at, line->end)) {
		const char *stop = word_end(at, line->end);
		int i = field_at(spec, at, (size_t)(stop - at), expected);
		const char *value;

		if (i < 0) {
			at = stop;
			continue;
		}
		if (found >> i & 1)
			return pm_damage(line, at, "a field is given twice");
		value = at + spec->fields[i].bytes;
		if (spec->fields[i].type == FIELD_RANGE) {
			if (!read_range(line, &value, ret))
				return false;
			at = value;
		} else {
			at = stop;
			if (!read_value(line, value, stop[-1] == ',' && stop > value ? stop - 1 : stop, &spec->fields[i], memo, ret))
				return false;
		}
		found |= 1u << i;
		expected = i + 1;
	}
	return all_found(line, spec, found);
}
