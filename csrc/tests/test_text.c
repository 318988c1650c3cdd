/// The texts of /proc, to the byte, for a small machine.
#include "tests/rig.h"

static struct pm_machine *make(void)
{
	struct pm_zone_layout zones[] = { { PM_ZONE_DMA, 1, 511 }, { PM_ZONE_NORMAL, 512, 2048 } };
	struct pm_layout layout = { .zones = zones, .nr_zones = 2, .nr_cpus = 1 };
	struct pm_machine *m;

	pm_settings_default(&layout.settings);
	layout.settings.min_free_kbytes = 128;
	m = rig_create(&layout);
	CHECK(rig_alloc(m, 2, RIG_UNMOVABLE) != UINT64_MAX);
	CHECK(rig_alloc(m, 0, RIG_MOVABLE) != UINT64_MAX);
	CHECK_EQ(pm_set_isolated(m, 2048, true), PM_OK);
	return m;
}

static void same(struct pm_machine *m, uint32_t which, const char *want)
{
	static char text[8192];
	size_t length = 0, whole = 0;

	REQUIRE(pm_text(m, which, NULL, 0, &whole) == PM_OK);
	REQUIRE(pm_text(m, which, text, sizeof(text), &length) == PM_OK);
	CHECK_EQ(length, whole);
	CHECK_EQ(strlen(text), length);
	if (!CHECK(strcmp(text, want) == 0))
		fprintf(stderr, "--- got\n%s--- expected\n%s", text, want);
}

static void buddyinfo(void)
{
	struct pm_machine *m = make();

	same(m, PM_TEXT_BUDDYINFO,
	     "Node 0, zone      DMA      1      1      1      1      1      1      1      1      1      0      0 \n"
	     "Node 0, zone   Normal      1      1      2      2      2      2      2      2      2      2      0 \n");
	rig_destroy(m);
}

static void pagetypeinfo(void)
{
	struct pm_machine *m = make();

	same(m, PM_TEXT_PAGETYPEINFO,
	     "Page block order: 9\n"
	     "Pages per block:  512\n"
	     "\n"
	     "Free pages count per migrate type at order       0      1      2      3      4      5      6      7      8      9     10 \n"
	     "Node    0, zone      DMA, type    Unmovable      0      0      0      0      0      0      0      0      0      0      0 \n"
	     "Node    0, zone      DMA, type      Movable      1      1      1      1      1      1      1      1      1      0      0 \n"
	     "Node    0, zone      DMA, type  Reclaimable      0      0      0      0      0      0      0      0      0      0      0 \n"
	     "Node    0, zone      DMA, type   HighAtomic      0      0      0      0      0      0      0      0      0      0      0 \n"
	     "Node    0, zone      DMA, type      Isolate      0      0      0      0      0      0      0      0      0      0      0 \n"
	     "Node    0, zone   Normal, type    Unmovable      0      0      1      1      1      1      1      1      1      1      0 \n"
	     "Node    0, zone   Normal, type      Movable      1      1      1      1      1      1      1      1      1      0      0 \n"
	     "Node    0, zone   Normal, type  Reclaimable      0      0      0      0      0      0      0      0      0      0      0 \n"
	     "Node    0, zone   Normal, type   HighAtomic      0      0      0      0      0      0      0      0      0      0      0 \n"
	     "Node    0, zone   Normal, type      Isolate      0      0      0      0      0      0      0      0      0      1      0 \n"
	     "\n"
	     "Number of blocks type     Unmovable      Movable  Reclaimable   HighAtomic      Isolate \n"
	     "Node 0, zone      DMA            0            1            0            0            0 \n"
	     "Node 0, zone   Normal            2            1            0            0            1 \n");
	rig_destroy(m);
}

static void zoneinfo(void)
{
	struct pm_machine *m = make();

	same(m, PM_TEXT_ZONEINFO,
	     "Node 0, zone      DMA\n"
	     "  pages free     511\n"
	     "        boost    0\n"
	     "        min      6\n"
	     "        low      7\n"
	     "        high     8\n"
	     "        promo    9\n"
	     "        spanned  511\n"
	     "        present  511\n"
	     "        managed  511\n"
	     "        cma      0\n"
	     "        protection: (0, 0, 8, 8)\n"
	     "      nr_free_pages 511\n"
	     "  pagesets\n"
	     "    cpu: 0\n"
	     "              count:    0\n"
	     "              high:     0\n"
	     "              batch:    1\n"
	     "              high_min: 7\n"
	     "              high_max: 63\n"
	     "  start_pfn:           1\n"
	     "Node 0, zone   Normal\n"
	     "  pages free     1531\n"
	     "        boost    0\n"
	     "        min      25\n"
	     "        low      31\n"
	     "        high     37\n"
	     "        promo    43\n"
	     "        spanned  2048\n"
	     "        present  2048\n"
	     "        managed  2048\n"
	     "        cma      0\n"
	     "        protection: (0, 0, 0, 0)\n"
	     "      nr_free_pages 1531\n"
	     "  pagesets\n"
	     "    cpu: 0\n"
	     "              count:    0\n"
	     "              high:     33\n"
	     "              batch:    1\n"
	     "              high_min: 31\n"
	     "              high_max: 256\n"
	     "  start_pfn:           512\n");
	rig_destroy(m);
}

static void a_buffer_that_is_too_small(void)
{
	struct pm_machine *m = make();
	char text[20];
	size_t length;

	memset(text, 'x', sizeof(text));
	CHECK_EQ(pm_text(m, PM_TEXT_BUDDYINFO, text, 10, &length), PM_OK);
	CHECK(strcmp(text, "Node 0, z") == 0);
	CHECK(text[10] == 'x');
	CHECK(length > 100);
	CHECK_EQ(pm_text(m, 3, text, 10, &length), PM_ERR_INVAL);
	rig_destroy(m);
}

int main(void)
{
	RUN(buddyinfo);
	RUN(pagetypeinfo);
	RUN(zoneinfo);
	RUN(a_buffer_that_is_too_small);
	return check_result();
}
