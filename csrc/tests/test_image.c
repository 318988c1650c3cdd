/// Images: what is loaded goes on as what was saved would have; ageing repeats itself by its seed; damage is noticed.
#include <string.h>

#include "embed/image.h"
#include "tests/check.h"
#include "tests/draw.h"
#include "tests/space_rig.h"

struct bytes {
	uint8_t *at;
	size_t n;
};

static struct bytes save(struct pm_machine *m)
{
	struct bytes image = { 0 };
	size_t n = 0;

	REQUIRE(pm_image_save(m, NULL, 0, &image.n) == PM_OK);
	image.at = malloc(image.n + 1);
	REQUIRE(image.at != NULL);
	image.at[image.n] = 0xee;
	/* One byte short: nothing is written. */
	image.at[0] = 0xee;
	REQUIRE(pm_image_save(m, image.at, image.n, &n) == PM_OK);
	CHECK_EQ(n, image.n);
	CHECK_EQ(image.at[image.n], 0xee);
	return image;
}

static struct pm_machine *load(struct bytes image)
{
	struct pm_machine *m = NULL;

	REQUIRE(pm_image_load(image.at, image.n, &m) == PM_OK);
	return m;
}

/// Two zones with holes and reserved frames, or one; kernel-like settings.
static struct pm_machine *make(bool two)
{
	static const struct pm_zone_layout zones[] = { { PM_ZONE_DMA32, 16, 6000 }, { PM_ZONE_NORMAL, 8192, 20000 } };
	static const struct pm_range holes[] = { { 100, 200 }, { 9000, 9700 } }, reserved[] = { { 16, 30 }, { 12000, 12001 } };
	struct pm_layout layout = { .zones = two ? zones : zones + 1, .nr_zones = two ? 2 : 1, .nr_cpus = 3 };
	struct pm_machine *m;

	if (two) {
		layout.holes = holes;
		layout.nr_holes = 2;
		layout.reserved = reserved;
		layout.nr_reserved = 2;
	}
	pm_settings_default(&layout.settings);
	REQUIRE(pm_machine_create(&layout, &m) == PM_OK);
	return m;
}

static struct pm_machine *aged(bool two, uint64_t seed)
{
	struct pm_machine *m = make(two);
	struct pm_age_options options;
	uint64_t n;

	pm_age_options_default(&options);
	options.seed = seed;
	REQUIRE(pm_age(m, &options, &n) == PM_OK);
	CHECK(n > 1000);
	CHECK(rig_valid(m));
	return m;
}

/// Requests of all kinds on two machines that should be one: every answer is the same.
static void check_same_future(struct pm_machine *a, struct pm_machine *b, uint64_t seed)
{
	static const uint32_t gfps[] = { PM_GFP_KERNEL, PM_GFP_HIGHUSER_MOVABLE, PM_GFP_ATOMIC, PM_GFP_KERNEL | PM_GFP_RECLAIMABLE, PM_GFP_DMA32 };
	uint64_t held[512];
	uint8_t orders[512];
	size_t n = 0;
	struct draw d;
	int i;

	draw_init(&d, seed);
	for (i = 0; i < 6000; i++) {
		uint32_t cpu = (uint32_t)draw_below(&d, 3), order = draw_once_in(&d, 3) ? (uint32_t)draw_below(&d, PM_NR_ORDERS) : 0, gfp = gfps[draw_below(&d, 5)];
		uint64_t pfn = 0, other = 0;
		enum pm_status status;

		if (n == 512 || (n && draw_once_in(&d, 2))) {
			size_t at = (size_t)draw_below(&d, n);

			CHECK_EQ(pm_free(a, cpu, held[at], orders[at]), PM_OK);
			CHECK_EQ(pm_free(b, cpu, held[at], orders[at]), PM_OK);
			n--;
			held[at] = held[n];
			orders[at] = orders[n];
			continue;
		}
		status = pm_alloc(a, cpu, order, gfp, &pfn);
		if (!CHECK_EQ(pm_alloc(b, cpu, order, gfp, &other), status) || !CHECK_EQ(other, pfn))
			return;
		if (!status) {
			held[n] = pfn;
			orders[n++] = (uint8_t)order;
		}
	}
	CHECK(rig_valid(a));
	CHECK(rig_valid(b));
}

static void what_is_loaded_goes_on_as_what_was_saved(uint64_t seed)
{
	struct pm_machine *m = aged(seed % 2 == 0, seed), *twin;
	struct bytes image, again;
	uint64_t pfns[40];
	size_t done;

	/* Not at rest: frames in per-CPU lists, lists that have learnt. */
	REQUIRE(pm_alloc_bulk(m, 1, 0, PM_GFP_KERNEL, 40, pfns, &done) == PM_OK);
	REQUIRE(pm_free_bulk(m, 1, 0, 33, pfns, &done) == PM_OK);
	REQUIRE(pm_free(m, 2, pfns[39], 0) == PM_OK);
	image = save(m);
	twin = load(image);
	again = save(twin);
	CHECK_EQ(again.n, image.n);
	CHECK(again.n == image.n && !memcmp(again.at, image.at, image.n));
	check_same_future(m, twin, seed);
	free(again.at);
	again = save(m);
	CHECK(again.n != image.n || memcmp(again.at, image.at, image.n));
	free(image.at);
	free(again.at);
	pm_machine_destroy(m);
	pm_machine_destroy(twin);
}

static uint64_t hash_of(uint64_t seed)
{
	struct pm_machine *m = aged(true, seed);
	struct bytes image = save(m);
	struct pm_image_info info;

	REQUIRE(pm_image_info(image.at, image.n, &info) == PM_OK);
	CHECK_EQ(info.nr_cpus, 3);
	CHECK_EQ(info.nr_zones, 2);
	CHECK_EQ(info.nr_frames, 26000);
	/* Two bytes or so a block at most. */
	CHECK(image.n < 40000);
	free(image.at);
	pm_machine_destroy(m);
	return info.hash;
}

static void ageing_repeats_itself(void)
{
	/* The same on every machine and from every compiler. */
	CHECK_EQ(hash_of(1), 0xf959898c6824248u);
	CHECK(hash_of(2) != hash_of(1));
}

static void memory_ages_as_asked_for(void)
{
	struct pm_age_options options = { .seed = 3, .occupancy_ppm = 500000, .unmovable_ppm = 250000, .turnover = 2, .clump = 4 };
	struct pm_machine *m = make(false);
	uint64_t n, pfn, used = 0, unmovable = 0, tags = 0, lists[PM_NR_ORDERS * PM_NR_MIGRATETYPES], blocks[PM_NR_ORDERS] = { 0 };
	unsigned int i;
	struct pm_frame_info info;

	REQUIRE(pm_age(m, &options, &n) == PM_OK);
	for (pfn = 8192; pfn < 28192; pfn++) {
		REQUIRE(pm_frame_info(m, pfn, &info) == PM_OK);
		if (info.state != PM_STATE_USED)
			continue;
		used++;
		unmovable += info.migratetype == PM_MT_UNMOVABLE;
		tags += info.tag != 0;
		CHECK_EQ(info.order, 0);
	}
	CHECK_EQ(used, n);
	CHECK_EQ(tags, n);
	CHECK_EQ(used, 10000);
	CHECK(unmovable > 2000 && unmovable < 3000);
	/* Far from how it was: a good part of what is free is of no use for a huge page. */
	REQUIRE(pm_free_blocks(m, 0, lists) == PM_OK);
	for (i = 0; i < PM_NR_ORDERS * PM_NR_MIGRATETYPES; i++)
		blocks[i / PM_NR_MIGRATETYPES] += lists[i];
	CHECK(pm_unusable_index(blocks, PM_HUGE_ORDER) > 150);
	options.occupancy_ppm = 950001;
	CHECK_EQ(pm_age(m, &options, NULL), PM_ERR_INVAL);
	options.occupancy_ppm = 500000;
	options.reclaimable_ppm = 750001;
	CHECK_EQ(pm_age(m, &options, NULL), PM_ERR_INVAL);
	pm_machine_destroy(m);
}

static void what_cannot_be_saved(void)
{
	struct space_rig_options o = space_options();
	struct space_rig rig = space_rig_make(&o);
	uint64_t space = space_make(rig.m);
	size_t n;

	space_put(rig.m, space, space_map(rig.m, space, 1), 1);
	CHECK_EQ(pm_image_save(rig.m, NULL, 0, &n), PM_ERR_OWNED);
	space_exit(rig.m, space);
	CHECK_EQ(pm_image_save(rig.m, NULL, 0, &n), PM_OK);
	REQUIRE(pm_set_isolated(rig.m, 512, true) == PM_OK);
	CHECK_EQ(pm_image_save(rig.m, NULL, 0, &n), PM_ERR_BUSY);
	REQUIRE(pm_set_isolated(rig.m, 512, false) == PM_OK);
	space_rig_end(&rig);
}

static void set_hash(struct bytes image)
{
	uint64_t hash = pm_image_hash(image.at + PM_IMAGE_HEAD, image.n - PM_IMAGE_HEAD);
	unsigned int i;

	for (i = 0; i < 8; i++)
		image.at[8 + i] = (uint8_t)(hash >> 8 * i);
}

/// Damage is noticed by the hash; with a hash that fits it is noticed by what it says, or it is an image of something that can be.
static void damage_is_noticed(void)
{
	struct pm_machine *m = aged(true, 5), *other = NULL;
	struct bytes image = save(m), copy = { malloc(image.n), image.n };
	struct pm_image_info info;
	unsigned int refused = 0, i;
	struct draw d;

	REQUIRE(copy.at != NULL);
	pm_machine_destroy(m);
	CHECK_EQ(pm_image_load(image.at, 3, &m), PM_ERR_SYNTAX);
	CHECK_EQ(pm_image_info("PMIMAGX.0123456789", 18, &info), PM_ERR_SYNTAX);
	memcpy(copy.at, image.at, image.n);
	copy.at[7]++;
	CHECK_EQ(pm_image_load(copy.at, copy.n, &m), PM_ERR_LIMIT);
	copy.at[7]--;
	copy.at[40] ^= 1;
	CHECK_EQ(pm_image_load(copy.at, copy.n, &m), PM_ERR_CORRUPT);
	draw_init(&d, 1);
	for (i = 0; i < 300; i++) {
		enum pm_status status;
		unsigned int k;

		memcpy(copy.at, image.at, image.n);
		copy.n = draw_once_in(&d, 4) ? (size_t)draw_below(&d, image.n - PM_IMAGE_HEAD) + PM_IMAGE_HEAD : image.n;
		for (k = 0; k <= draw_below(&d, 3) && copy.n > PM_IMAGE_HEAD; k++)
			copy.at[PM_IMAGE_HEAD + draw_below(&d, draw_once_in(&d, 2) ? (copy.n - PM_IMAGE_HEAD + 63) / 64 : copy.n - PM_IMAGE_HEAD)] ^= (uint8_t)(1u << draw_below(&d, 8));
		set_hash(copy);
		status = pm_image_load(copy.at, copy.n, &other);
		if (!status)
			pm_machine_destroy(other);
		else
			CHECK(status == PM_ERR_SYNTAX || status == PM_ERR_LIMIT || status == PM_ERR_NOMEM);
		refused += status != PM_OK;
	}
	CHECK(refused > 250);
	free(copy.at);
	free(image.at);
}

int main(int argc, char **argv)
{
	RUN(ageing_repeats_itself);
	RUN(memory_ages_as_asked_for);
	RUN(what_cannot_be_saved);
	RUN(damage_is_noticed);
	if (check_result() != EXIT_SUCCESS)
		return EXIT_FAILURE;
	return draw_run(argc, argv, 6, what_is_loaded_goes_on_as_what_was_saved);
}
