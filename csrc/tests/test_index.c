/// The two indices against the vectors of REFERENCE section 4.
#include "tests/rig.h"

static void vectors(void)
{
	const uint64_t singles[PM_NR_ORDERS] = { [0] = 1024 }, eights[PM_NR_ORDERS] = { [3] = 64 }, mixed[PM_NR_ORDERS] = { [0] = 100, [9] = 1 };

	CHECK_EQ(pm_fragmentation_index(singles, 9), 998);
	CHECK_EQ(pm_unusable_index(singles, 9), 1000);
	CHECK_EQ(pm_fragmentation_index(eights, 4), 485);
	CHECK_EQ(pm_unusable_index(eights, 4), 1000);
	CHECK_EQ(pm_fragmentation_index(mixed, 9), -1000);
	CHECK_EQ(pm_unusable_index(mixed, 9), 163);
}

static void nothing_free(void)
{
	const uint64_t none[PM_NR_ORDERS] = { 0 };

	CHECK_EQ(pm_fragmentation_index(none, 3), 0);
	CHECK_EQ(pm_unusable_index(none, 3), 1000);
}

static void an_order_that_does_not_exist(void)
{
	const uint64_t none[PM_NR_ORDERS] = { 0 };

	CHECK(pm_fragmentation_index(none, PM_MAX_ORDER + 1) == INT64_MIN);
	CHECK(pm_unusable_index(none, UINT32_MAX) == INT64_MIN);
}

int main(void)
{
	RUN(vectors);
	RUN(nothing_free);
	RUN(an_order_that_does_not_exist);
	return check_result();
}
