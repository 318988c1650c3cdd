/// The names and bits of allocation flags, as kernels 4.x to 6.x print them.
#include "replay/gfp.h"
#include "replay/parse.h"

#define PM_GFP_RECLAIM (PM_GFP_DIRECT_RECLAIM | PM_GFP_KSWAPD_RECLAIM)
#define PM_GFP_USER_FLAGS (PM_GFP_KERNEL | PM_GFP_HARDWALL)
#define PM_GFP_TRANSHUGE_LIGHT_FLAGS \
	((PM_GFP_HIGHUSER_MOVABLE | PM_GFP_COMP | PM_GFP_NOMEMALLOC | PM_GFP_NOWARN) & ~PM_GFP_RECLAIM)

struct gfp_name {
	const char *name;
	uint32_t flags;
};

/// Names that stand for no flag of ours (poisoning, cache colour, debugging) are known and dropped: no placement depends on them.
static const struct gfp_name gfp_names[] = {
	{ "GFP_HIGHUSER_MOVABLE", PM_GFP_HIGHUSER_MOVABLE },
	{ "__GFP_ZERO", PM_GFP_ZERO },
	{ "__GFP_COMP", PM_GFP_COMP },
	{ "__GFP_NOWARN", PM_GFP_NOWARN },
	{ "__GFP_NORETRY", PM_GFP_NORETRY },
	{ "__GFP_HARDWALL", PM_GFP_HARDWALL },
	{ "__GFP_HIGHMEM", PM_GFP_HIGHMEM },
	{ "__GFP_MOVABLE", PM_GFP_MOVABLE },
	{ "__GFP_RECLAIMABLE", PM_GFP_RECLAIMABLE },
	{ "__GFP_ACCOUNT", PM_GFP_ACCOUNT },
	{ "__GFP_WRITE", PM_GFP_WRITE },
	{ "__GFP_NOMEMALLOC", PM_GFP_NOMEMALLOC },
	{ "__GFP_MEMALLOC", PM_GFP_MEMALLOC },
	{ "__GFP_THISNODE", PM_GFP_THISNODE },
	{ "__GFP_NOFAIL", PM_GFP_NOFAIL },
	{ "__GFP_RETRY_MAYFAIL", PM_GFP_RETRY_MAYFAIL },
	{ "__GFP_REPEAT", PM_GFP_RETRY_MAYFAIL },
	{ "__GFP_IO", PM_GFP_IO },
	{ "__GFP_FS", PM_GFP_FS },
	{ "__GFP_HIGH", PM_GFP_HIGH },
	{ "__GFP_DMA", PM_GFP_DMA },
	{ "__GFP_DMA32", PM_GFP_DMA32 },
	{ "__GFP_RECLAIM", PM_GFP_RECLAIM },
	{ "__GFP_DIRECT_RECLAIM", PM_GFP_DIRECT_RECLAIM },
	{ "__GFP_KSWAPD_RECLAIM", PM_GFP_KSWAPD_RECLAIM },
	{ "__GFP_WAIT", PM_GFP_RECLAIM },
	{ "__GFP_ZEROTAGS", PM_GFP_ZEROTAGS },
	{ "__GFP_NOLOCKDEP", PM_GFP_NOLOCKDEP },
	{ "__GFP_NO_OBJ_EXT", PM_GFP_NO_OBJ_EXT },
	{ "__GFP_ATOMIC", 0 },
	{ "__GFP_COLD", 0 },
	{ "__GFP_NOTRACK", 0 },
	{ "__GFP_NO_KSWAPD", 0 },
	{ "__GFP_OTHER_NODE", 0 },
	{ "__GFP_SKIP_ZERO", 0 },
	{ "__GFP_SKIP_KASAN", 0 },
	{ "__GFP_SKIP_KASAN_POISON", 0 },
	{ "__GFP_SKIP_KASAN_UNPOISON", 0 },
	{ "GFP_KERNEL", PM_GFP_KERNEL },
	{ "GFP_KERNEL_ACCOUNT", PM_GFP_KERNEL | PM_GFP_ACCOUNT },
	{ "GFP_NOFS", PM_GFP_RECLAIM | PM_GFP_IO },
	{ "GFP_NOIO", PM_GFP_RECLAIM },
	{ "GFP_NOWAIT", PM_GFP_NOWAIT },
	{ "GFP_ATOMIC", PM_GFP_ATOMIC },
	{ "GFP_USER", PM_GFP_USER_FLAGS },
	{ "GFP_HIGHUSER", PM_GFP_USER_FLAGS | PM_GFP_HIGHMEM },
	{ "GFP_TEMPORARY", PM_GFP_KERNEL | PM_GFP_RECLAIMABLE },
	{ "GFP_TRANSHUGE", PM_GFP_TRANSHUGE_LIGHT_FLAGS | PM_GFP_DIRECT_RECLAIM },
	{ "GFP_TRANSHUGE_LIGHT", PM_GFP_TRANSHUGE_LIGHT_FLAGS },
	{ "GFP_DMA", PM_GFP_DMA },
	{ "GFP_DMA32", PM_GFP_DMA32 },
	{ "GFP_NOTRACK", 0 },
	{ "none", 0 },
	{ "0", 0 },
};

bool pm_gfp_name(const char *text, size_t n, uint32_t *ret)
{
	for (size_t i = 0; i < sizeof(gfp_names) / sizeof(gfp_names[0]); i++) {
		if (strlen(gfp_names[i].name) == n && memcmp(gfp_names[i].name, text, n) == 0) {
			*ret = gfp_names[i].flags;
			return true;
		}
	}
	return false;
}

static uint32_t gfp_word(const struct pm_gfp_bits *bits, const char *text, size_t n, uint32_t *unknown)
{
	uint64_t mask;
	uint32_t flags;

	if (pm_gfp_name(text, n, &flags))
		return flags;
	/* Flags without a name are printed as hexadecimal, alone or after the names. */
	if (n > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
		text += 2;
		n -= 2;
	}
	if (pm_scan_hex(text, text + n, &mask) == text + n)
		return pm_gfp_translate(bits, mask, unknown);
	(*unknown)++;
	return 0;
}

uint32_t pm_gfp_parse_bits(const struct pm_gfp_bits *bits, const char *text, size_t n, uint32_t *ret_unknown)
{
	const char *end = text + n;
	uint32_t flags = 0;

	*ret_unknown = 0;
	for (;;) {
		const char *bar = n == 0 ? NULL : memchr(text, '|', (size_t)(end - text));
		const char *stop = bar == NULL ? end : bar;

		flags |= gfp_word(bits, text, (size_t)(stop - text), ret_unknown);
		if (bar == NULL)
			return flags;
		text = bar + 1;
		n = (size_t)(end - text);
	}
}

uint32_t pm_gfp_parse(const char *text, size_t n, uint32_t *ret_unknown)
{
	struct pm_gfp_bits bits;

	pm_gfp_bits_default(&bits);
	return pm_gfp_parse_bits(&bits, text, n, ret_unknown);
}

uint32_t pm_gfp_memo_parse(struct pm_gfp_memo *memo, const char *text, size_t n, uint32_t *ret_unknown)
{
	uint64_t head = 0, tail = 0;
	size_t slot;

	if (n < 8 || n > sizeof(memo->slots[0].text))
		return pm_gfp_parse_bits(&memo->bits, text, n, ret_unknown);
	memcpy(&head, text, 8);
	memcpy(&tail, text + n - 8, 8);
	slot = (size_t)((head ^ tail * 3 ^ n * 0x9e3779b9u) * 0x9e3779b97f4a7c15u >> 56);
	if (memo->slots[slot].bytes != n || memcmp(memo->slots[slot].text, text, n) != 0) {
		memo->slots[slot].value = pm_gfp_parse_bits(&memo->bits, text, n, &memo->slots[slot].unknown);
		memcpy(memo->slots[slot].text, text, n);
		memo->slots[slot].bytes = (uint32_t)n;
	}
	*ret_unknown = memo->slots[slot].unknown;
	return memo->slots[slot].value;
}
