/// A migration that fails, or is given up: entries, marks, lists, buffers and swap are as they were.
#include <string.h>

#include "phys/page.h"
#include "tests/move_rig.h"

/* ---- as before ---- */

struct before {
	struct pm_pte_info pte, child;
	struct pm_page_info page;
	struct pm_swap_info swap;
	struct pm_file_info file;
	uint64_t lru[2][5];
	int64_t pieces;
};

static struct before look(struct scene *s)
{
	struct before now;

	memset(&now, 0, sizeof(now));
	REQUIRE(pm_lookup(s->m, 0, s->space, s->addr, &now.pte) == PM_OK);
	if (s->child)
		REQUIRE(pm_lookup(s->m, 0, s->child, s->child_addr, &now.child) == PM_OK);
	REQUIRE(pm_page_info(s->m, s->pfn, &now.page) == PM_OK);
	REQUIRE(pm_swap_info(s->m, &now.swap) == PM_OK);
	if (s->file)
		REQUIRE(pm_file_info(s->m, 0, s->file, &now.file) == PM_OK);
	REQUIRE(pm_lru_sizes(s->m, 0, now.lru[0]) == PM_OK && pm_lru_sizes(s->m, 1, now.lru[1]) == PM_OK);
	now.page.flags &= ~(uint32_t)PM_PG_WAITERS;
	return now;
}

static bool same_entry(const struct pm_pte_info *a, const struct pm_pte_info *b)
{
	return a->kind == b->kind && a->writable == b->writable && a->young == b->young && a->dirty == b->dirty && a->exclusive == b->exclusive && a->pfn == b->pfn;
}

static void check_same(struct scene *s, const struct before *before, uint32_t protocol, const char *what)
{
	struct before now = look(s);
	int failures = atomic_load(&check_failures);

	CHECK(same_entry(&before->pte, &now.pte));
	CHECK(same_entry(&before->child, &now.child));
	CHECK_EQ(now.page.flags, before->page.flags);
	CHECK(now.page.references == before->page.references && now.page.mapcount == before->page.mapcount && now.page.index == before->page.index && now.page.object == before->page.object);
	CHECK(now.swap.nr_used == before->swap.nr_used && now.swap.entries == before->swap.entries && now.swap.nr_cached == before->swap.nr_cached);
	CHECK(now.file.nr_pages == before->file.nr_pages && now.file.nr_dirty == before->file.nr_dirty && now.file.nr_buffers == before->file.nr_buffers);
	CHECK(memcmp(now.lru, before->lru, sizeof(now.lru)) == 0);
	if (atomic_load(&check_failures) != failures)
		fprintf(stderr, "  subject %d, protocol %s, %s\n", (int)s->subject, pm_migrate_protocol_name(protocol), what);
}

/// Some states of an entry, to find them again: written to, read only since fork, aged, read-only by mprotect.
static void dress(struct scene *s, unsigned int how)
{
	uint64_t n;

	if (how & 1) {
		/* Protection that went and came back: exclusive, but not writable. */
		REQUIRE(pm_protect(s->m, 0, s->space, s->addr, PAGE, PM_PROT_READ) == PM_OK);
		REQUIRE(pm_protect(s->m, 0, s->space, s->addr, PAGE, PM_PROT_READ | PM_PROT_WRITE) == PM_OK);
	}
	if (how & 2)
		/* Reclaim has looked, and taken the young mark. */
		REQUIRE(pm_reclaim(s->m, 0, 0, 1, &n) == PM_OK);
	if (how & 4)
		REQUIRE(pm_mlock(s->m, 0, s->space, s->addr, PAGE, true) == PM_OK);
}

/// Given up after any step before the point of no return, or failed by a reference that somebody holds.
static void a_failure_leaves_everything_as_it_was(void)
{
	uint32_t protocol, subject, steps, how, compared = 0;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (subject = 0; subject < NR_SUBJECTS; subject++)
			for (how = 0; how < 8; how++)
				for (steps = 0; steps <= 8; steps++) {
					struct pm_migration_info info;
					struct before before;
					struct pm_pte_info pte;
					struct scene s;
					uint64_t migration, pin = 0, pfn;

					/* What is written out to be moved is clean afterwards, and has no buffers. */
					if (subject == FILE_COMMON || subject == FILE_RELEASE)
						continue;
					/* Its one step from unmap to remap would be the end of it. */
					if (protocol == PM_PROTOCOL_TABLE_LOCK && (steps == 6 || steps == 7))
						continue;
					open_scene(&s, (enum subject)subject);
					dress(&s, how);
					/* Reclaim may have been quicker. */
					if (pm_lookup(s.m, 0, s.space, s.addr, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT) {
						s.pfn = pte.pfn;
						/* The last round: all the way, against a reference. */
						if (steps == 8)
							REQUIRE(pm_pin(s.m, 0, s.space, s.addr, PM_PIN_SHORT, false, &pfn, &pin) == PM_OK);
						before = look(&s);
						migration = begin_and_step(&s, protocol, PM_MIGRATE_ASYNC, how & 4 ? PM_MIGRATE_TOUCH : 0, steps, &info);
						CHECK(!info.over || info.reason != PM_WHY_NONE);
						CHECK_EQ(pm_migration_end(s.m, 0, migration), PM_OK);
						if (info.state <= 7 || info.over) {
							check_same(&s, &before, protocol, pm_migration_state_name(info.state));
							compared++;
						}
						if (pin)
							CHECK_EQ(pm_unpin(s.m, 0, pin), PM_OK);
					}
					close_scene(&s);
				}
	CHECK(compared > 1000);
}

/// From SETTLE on it cannot be given up any more: it is brought to its end, and counts as moved.
static void given_up_too_late(void)
{
	uint32_t protocol;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++) {
		struct pm_migrate_counters counters;
		struct pm_migration_info info;
		struct pm_pte_info pte;
		struct scene s;
		uint64_t migration;

		open_scene(&s, ANON);
		migration = begin_and_step(&s, protocol, PM_MIGRATE_SYNC, PM_MIGRATE_TOUCH, protocol == PM_PROTOCOL_TABLE_LOCK ? 6 : 8, &info);
		CHECK_EQ(info.over, 0);
		CHECK_EQ(pm_migration_end(s.m, 0, migration), PM_OK);
		pm_migrate_counters(s.m, &counters);
		CHECK(counters.moved[protocol] == 1 && counters.failed[PM_WHY_CANCELLED] == 0);
		CHECK(pm_lookup(s.m, 0, s.space, s.addr, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT && pte.pfn == info.to);
		close_scene(&s);
	}
}

/// Every request for memory fails once: whatever came of it, nothing is lost.
static void every_request_for_memory_fails_once(void)
{
	uint32_t protocol, subject, stepped;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (subject = 0; subject < NR_SUBJECTS; subject++)
			for (stepped = 0; stepped < 2; stepped++) {
				uint64_t nth, asked = UINT64_MAX, failed = 0;

				for (nth = 1; nth <= 64 && nth <= asked; nth++) {
					struct pm_migrate_request request = { .n = 1, .mode = PM_MIGRATE_SYNC, .protocol = protocol, .flags = PM_MIGRATE_TOUCH };
					struct pm_migrate_result result;
					struct pm_destination anywhere = { .kind = PM_DEST_ANY };
					struct scene s;
					uint64_t migration, n;
					size_t moved;

					open_scene(&s, (enum subject)subject);
					request.pfns = &s.pfn;
					REQUIRE(pm_fail_allocations(s.m, nth, false, &n) == PM_OK);
					if (!stepped) {
						enum pm_status status = pm_migrate(s.m, 0, &request, &result, &moved);

						CHECK(status == PM_OK || status == PM_ERR_NOMEM);
						failed += status != PM_OK || result.reason == PM_WHY_NO_MEMORY;
					} else if (pm_migration_begin(s.m, s.pfn, &anywhere, PM_MIGRATE_SYNC, protocol, PM_MIGRATE_TOUCH, &migration) == PM_OK) {
						failed += finish(&s, migration).reason == PM_WHY_NO_MEMORY;
					} else {
						failed++;
					}
					REQUIRE(pm_fail_allocations(s.m, 0, false, &asked) == PM_OK);
					close_scene(&s);
				}
				CHECK(nth <= 64 && failed > 0);
			}
}

int main(void)
{
	RUN(a_failure_leaves_everything_as_it_was);
	RUN(given_up_too_late);
	RUN(every_request_for_memory_fails_once);
	return check_result();
}
