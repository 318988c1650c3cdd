/// Migration step by step, with something else between any two steps: whatever it was, contents, counts and entries are right afterwards.
#include <string.h>

#include "tests/move_rig.h"

/* ---- what may come between two steps ---- */

static void do_nothing(struct scene *s)
{
	(void)s;
}

static void do_read(struct scene *s)
{
	char byte = 0;
	size_t done;
	enum pm_status status = pm_read(s->m, 1, s->space, s->addr, &byte, 1, &done);

	/* It waits for the migration, or sees what is there. */
	CHECK(status == PM_ERR_INTR || (status == PM_OK && (uint8_t)byte == VALUE));
}

static void do_write(struct scene *s)
{
	char byte = (char)WRITTEN;
	size_t done;
	enum pm_status status = pm_write(s->m, 1, s->space, s->addr, &byte, 1, &done);

	CHECK(status == PM_ERR_INTR || status == PM_OK);
	if (status == PM_OK)
		s->expected = WRITTEN;
}

static void do_fork(struct scene *s)
{
	uint64_t child;
	enum pm_status status = pm_space_fork(s->m, 1, s->space, &child);

	CHECK(status == PM_ERR_INTR || status == PM_OK);
	if (status)
		return;
	if (s->child)
		REQUIRE(pm_space_exit(s->m, 1, s->child) == PM_OK);
	s->child = child;
	s->child_addr = s->addr;
	s->expected_child = s->expected;
}

static void do_exit_child(struct scene *s)
{
	if (!s->child)
		return;
	REQUIRE(pm_space_exit(s->m, 1, s->child) == PM_OK);
	s->child = 0;
	s->expected_child = -2;
}

static void do_unmap(struct scene *s)
{
	CHECK_EQ(pm_unmap(s->m, 1, s->space, s->addr, PAGE), PM_OK);
	s->expected = -1;
}

static void do_protect(struct scene *s)
{
	CHECK_EQ(pm_protect(s->m, 1, s->space, s->addr, PAGE, PM_PROT_READ), PM_OK);
}

static void do_remap(struct scene *s)
{
	uint64_t to = s->addr + 1024 * PAGE;

	CHECK_EQ(pm_remap(s->m, 1, s->space, s->addr, PAGE, PAGE, PM_MAP_FIXED | PM_MAP_MAYMOVE, to, &s->addr), PM_OK);
}

static void do_mlock(struct scene *s)
{
	enum pm_status status = pm_mlock(s->m, 1, s->space, s->addr, PAGE, true);

	CHECK(status == PM_ERR_INTR || status == PM_OK);
}

static void do_pin(struct scene *s)
{
	uint64_t pfn;
	enum pm_status status = pm_pin(s->m, 1, s->space, s->addr, PM_PIN_DIRECT_IO, true, &pfn, &s->pin);

	CHECK(status == PM_ERR_INTR || status == PM_OK);
	s->pinned = status == PM_OK;
	if (s->pinned && s->subject == ANON_SHARED)
		/* It was unshared: the space has a page of its own now. */
		s->pfn = UINT64_MAX;
}

static void do_page_out(struct scene *s)
{
	uint64_t freed;
	enum pm_status status = pm_page_out(s->m, 1, s->space, s->addr, PAGE, &freed);

	CHECK(status == PM_ERR_INTR || status == PM_OK);
}

static void do_truncate(struct scene *s)
{
	enum pm_status status;

	if (!is_file(s->subject))
		return;
	status = pm_file_truncate(s->m, 1, s->file, 0);
	CHECK(status == PM_ERR_INTR || status == PM_OK);
	s->expected = -1;
}

static void do_sync(struct scene *s)
{
	enum pm_status status;

	if (!is_file(s->subject))
		return;
	status = pm_file_sync(s->m, 1, s->file, 0, 4 * PAGE, true);
	CHECK(status == PM_ERR_INTR || status == PM_OK);
}

static void do_migrate(struct scene *s)
{
	struct pm_migrate_request request = { .pfns = &s->pfn, .n = 1, .mode = PM_MIGRATE_SYNC_LIGHT, .protocol = PM_PROTOCOL_ENTRY };
	struct pm_migrate_result result;
	enum pm_status status;
	size_t moved;

	if (s->pfn == UINT64_MAX)
		return;
	status = pm_migrate(s->m, 1, &request, &result, &moved);
	CHECK(status == PM_OK || status == PM_ERR_INTR);
}

static const struct {
	const char *name;
	void (*run)(struct scene *);
} disturbances[] = {
	{ "nothing", do_nothing }, { "read", do_read },	    { "write", do_write }, { "fork", do_fork },	    { "exit child", do_exit_child }, { "unmap", do_unmap },   { "protect", do_protect },
	{ "remap", do_remap },	   { "mlock", do_mlock },   { "pin", do_pin },	   { "page out", do_page_out }, { "truncate", do_truncate },	     { "sync", do_sync },     { "migrate", do_migrate },
};

enum { NR_DISTURBANCES = sizeof(disturbances) / sizeof(disturbances[0]) };

static bool disturbed(enum subject subject, uint32_t protocol, uint32_t flags, unsigned int after, unsigned int which)
{
	struct pm_destination anywhere = { .kind = PM_DEST_ANY };
	struct pm_migration_info info = { 0 };
	int before = atomic_load(&check_failures);
	struct scene s;
	uint64_t migration;
	unsigned int i;
	bool moved;

	open_scene(&s, subject);
	REQUIRE(pm_migration_begin(s.m, s.pfn, &anywhere, PM_MIGRATE_SYNC, protocol, flags, &migration) == PM_OK);
	for (i = 0; i < after && !info.over; i++)
		step_once(&s, migration, &info);
	disturbances[which].run(&s);
	check_half_way(&s, &info);
	if (info.over)
		CHECK_EQ(pm_migration_end(s.m, 0, migration), PM_OK);
	else
		info = finish(&s, migration);
	moved = info.over && info.status == PM_OK && info.reason == PM_WHY_NONE;
	if (which == 0 && !moved && subject != FILE_FALLBACK && !(protocol == PM_PROTOCOL_TABLE_LOCK && subject == ANON_SHARED))
		CHECK(moved);
	close_scene(&s);
	if (atomic_load(&check_failures) != before)
		fprintf(stderr, "  subject %d, protocol %s, flags %u: %s after step %u (then %s: %s)\n", (int)subject, pm_migrate_protocol_name(protocol), (unsigned)flags, disturbances[which].name, after,
			pm_migration_state_name(info.state), pm_migrate_reason_text(info.reason));
	return moved;
}

static void anything_between_any_two_steps(void)
{
	unsigned int protocol, subject, after, which, all = 0, moved = 0;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (subject = 0; subject < NR_SUBJECTS; subject++)
			for (after = 0; after <= 11; after++)
				for (which = 0; which < NR_DISTURBANCES; which++) {
					all++;
					moved += disturbed((enum subject)subject, protocol, which % 2 ? PM_MIGRATE_TOUCH : 0, after, which);
				}
	/* A check that cannot fail is none: most of these migrations come to their end. */
	CHECK(moved > all / 2);
	printf("%u migrations disturbed, %u of them moved\n", all, moved);
}

/// Given up after any step: as if it had never begun.
static void given_up_after_any_step(void)
{
	struct pm_destination anywhere = { .kind = PM_DEST_ANY };
	unsigned int protocol, subject, after, i;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (subject = 0; subject < NR_SUBJECTS; subject++)
			for (after = 0; after <= 11; after++) {
				struct pm_migration_info info = { 0 };
				struct scene s;
				uint64_t migration;

				open_scene(&s, (enum subject)subject);
				REQUIRE(pm_migration_begin(s.m, s.pfn, &anywhere, PM_MIGRATE_SYNC, protocol, 0, &migration) == PM_OK);
				for (i = 0; i < after && !info.over; i++)
					step_once(&s, migration, &info);
				CHECK_EQ(pm_migration_end(s.m, 0, migration), PM_OK);
				CHECK_EQ(pm_migration_end(s.m, 0, migration), PM_ERR_HANDLE);
				close_scene(&s);
			}
}

/// A machine that is destroyed with migrations half way.
static void destroyed_half_way(void)
{
	struct pm_destination anywhere = { .kind = PM_DEST_ANY };
	unsigned int protocol, after, i;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (after = 0; after < 11; after++) {
			struct pm_migration_info info = { 0 };
			struct scene s;
			uint64_t migration;

			open_scene(&s, ANON_SHARED);
			REQUIRE(pm_migration_begin(s.m, s.pfn, &anywhere, PM_MIGRATE_SYNC, protocol, 0, &migration) == PM_OK);
			for (i = 0; i < after && !info.over; i++)
				CHECK_EQ(pm_migration_step(s.m, 0, migration, &info), PM_OK);
			pm_machine_shut(s.m);
			CHECK_EQ(pm_migration_step(s.m, 0, migration, &info), PM_ERR_CLOSED);
			pm_machine_destroy(s.m);
		}
}

int main(void)
{
	RUN(given_up_after_any_step);
	RUN(destroyed_half_way);
	RUN(anything_between_any_two_steps);
	return check_result();
}
