/// What a migration does beside moving the bytes, looked at one thing at a time: marks, flags, flushes, wake-ups, references, given frames, what is left of a batch that runs out of memory.
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "phys/page.h"
#include "tests/move_rig.h"
#include "virt/reference.h"
#include "virt/virt.h"

static bool can_move(uint32_t protocol, enum subject subject)
{
	return protocol != PM_PROTOCOL_TABLE_LOCK || subject != ANON_SHARED;
}

/// Moves the scene's page, by steps or by a call. The frame is the new one afterwards.
static void move_it(struct scene *s, uint32_t protocol, bool stepped)
{
	struct pm_migration_info info;
	struct pm_migrate_result result;

	if (stepped) {
		info = finish(s, begin_and_step(s, protocol, PM_MIGRATE_SYNC, 0, 0, &info));
		CHECK_EQ(info.reason, PM_WHY_NONE);
		s->pfn = info.to;
	} else {
		CHECK_EQ(move_page(s, protocol, PM_MIGRATE_SYNC, 0, &result), 1);
		s->pfn = result.to;
	}
}

static uint32_t flags_of(struct scene *s)
{
	struct pm_page_info page;

	REQUIRE(pm_page_info(s->m, s->pfn, &page) == PM_OK);
	return page.flags;
}

/// A page that came back from swap and was written to through its entry alone: its slot is out of date, and only the entry's mark says so. Moved and paged out it must not come back old.
static void a_mark_in_an_entry_is_not_lost(void)
{
	uint32_t protocol, stepped;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (stepped = 0; stepped < 2; stepped++) {
			char byte = (char)WRITTEN;
			struct pm_pte_info pte;
			struct scene s;
			uint64_t n;
			size_t done;

			open_scene(&s, ANON);
			REQUIRE(pm_page_out(s.m, 0, s.space, s.addr, PAGE, &n) == PM_OK && n == 1);
			expect_byte(&s, s.space, s.addr, VALUE, "back from swap");
			REQUIRE(pm_write(s.m, 0, s.space, s.addr, &byte, 1, &done) == PM_OK);
			s.expected = WRITTEN;
			REQUIRE(pm_lookup(s.m, 0, s.space, s.addr, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT && pte.dirty);
			s.pfn = pte.pfn;
			move_it(&s, protocol, stepped);
			CHECK(flags_of(&s) & PM_PG_DIRTY);
			expect_byte(&s, s.space, s.addr, WRITTEN, "after the move");
			REQUIRE(pm_page_out(s.m, 0, s.space, s.addr, PAGE, &n) == PM_OK);
			close_scene(&s);
		}
}

/// The flags that say how old a page is and what became of its last transfer go along; none is made up.
static void flags_go_along(void)
{
	static const uint32_t sets[] = { 0, PM_PG_ACTIVE, PM_PG_REFERENCED, PM_PG_ERROR, PM_PG_ACTIVE | PM_PG_REFERENCED | PM_PG_ERROR };
	const uint32_t looked_at = PM_PG_ACTIVE | PM_PG_REFERENCED | PM_PG_ERROR | PM_PG_UPTODATE | PM_PG_LRU | PM_PG_LOCKED | PM_PG_ISOLATED | PM_PG_MLOCKED | PM_PG_UNEVICTABLE | PM_PG_CACHE | PM_PG_PRIVATE | PM_PG_ANON;
	uint32_t protocol, subject, set, stepped;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (subject = 0; subject < NR_SUBJECTS; subject++)
			for (set = 0; set < sizeof(sets) / sizeof(sets[0]); set++)
				for (stepped = 0; stepped < 2; stepped++) {
					uint32_t before;
					struct scene s;

					if (!can_move(protocol, (enum subject)subject) || (subject != ANON && subject != ANON_SHARED && subject != FILE_RAM && subject != FILE_BUFFERS))
						continue;
					open_scene(&s, (enum subject)subject);
					pm_lru_change(s.m, pm_pfn(s.pfn), sets[set], (PM_PG_ACTIVE | PM_PG_REFERENCED | PM_PG_ERROR) & ~sets[set]);
					before = flags_of(&s);
					move_it(&s, protocol, stepped);
					CHECK_EQ(flags_of(&s) & looked_at, before & looked_at);
					close_scene(&s);
				}
}

/// A pin that comes just before the entries would go: the step fails, and nothing was unmapped.
static void a_pin_before_unmap(void)
{
	uint32_t protocol, kind;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (kind = 0; kind < 2; kind++) {
			struct pm_migration_info info;
			struct pm_pte_info pte;
			struct scene s;
			uint64_t migration, pfn;

			open_scene(&s, ANON);
			migration = begin_and_step(&s, protocol, PM_MIGRATE_SYNC, 0, 5, &info);
			CHECK(strcmp(pm_migration_state_name(info.state), "unmap") == 0);
			REQUIRE(pm_pin(s.m, 1, s.space, s.addr, kind ? PM_PIN_LONG : PM_PIN_DIRECT_IO, true, &pfn, &s.pin) == PM_OK);
			s.pinned = true;
			step_once(&s, migration, &info);
			CHECK(info.over && info.reason == PM_WHY_PINNED && info.status == PM_ERR_AGAIN);
			CHECK(pm_lookup(s.m, 0, s.space, s.addr, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT && pte.pfn == s.pfn && pte.writable && pte.exclusive);
			CHECK_EQ(pm_migration_end(s.m, 0, migration), PM_OK);
			close_scene(&s);
		}
}

/* ---- flushes ---- */

/// Moves it and says how many flushes that took, and how many of them had nobody to wait for.
static uint64_t flushes_of(struct scene *s, uint32_t protocol, bool stepped, uint64_t *ret_skipped)
{
	struct pm_memory_counters before, after;

	pm_memory_counters(s->m, &before);
	move_it(s, protocol, stepped);
	pm_memory_counters(s->m, &after);
	*ret_skipped = after.flush_skipped - before.flush_skipped;
	return after.flushes - before.flushes;
}

/// The flush goes to every CPU that has used one of the spaces, and to none where nobody but the mover has.
static void flushes_reach_who_may_be_inside(void)
{
	uint32_t protocol, stepped;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (stepped = 0; stepped < 2; stepped++) {
			uint64_t skipped = 0;
			struct scene s;
			size_t done;
			char byte;

			/* Used on the mover's own CPU alone. */
			open_scene(&s, ANON);
			CHECK_EQ(flushes_of(&s, protocol, stepped, &skipped), 1);
			CHECK_EQ(skipped, 1);
			/* On another one as well. */
			REQUIRE(pm_read(s.m, 1, s.space, s.addr, &byte, 1, &done) == PM_OK);
			expect_byte(&s, s.space, s.addr, VALUE, "the space");
			CHECK_EQ(flushes_of(&s, protocol, stepped, &skipped), 1);
			CHECK_EQ(skipped, 0);
			close_scene(&s);
			if (!can_move(protocol, ANON_SHARED))
				continue;
			/* A child alone has been on the other CPU: the flush is for all spaces that the walk went through. */
			open_scene(&s, ANON_SHARED);
			REQUIRE(pm_read(s.m, 1, s.child, s.addr, &byte, 1, &done) == PM_OK);
			CHECK_EQ(flushes_of(&s, protocol, stepped, &skipped), 1);
			CHECK_EQ(skipped, 0);
			close_scene(&s);
		}
}

/* ---- whose entry is it? ---- */

/// A child's own copy moves while the page that it was copied from moves too: both are found by walks that pass the same place. Each entry comes back to its own page, also when one of the two is given up.
static void two_pages_at_one_place(void)
{
	static const uint32_t protocols[] = { PM_PROTOCOL_ENTRY, PM_PROTOCOL_WAITQUEUE, PM_PROTOCOL_SWAP_CACHE };
	uint32_t i, given_up, order;

	for (i = 0; i < 3; i++)
		for (given_up = 0; given_up < 4; given_up++)
			for (order = 0; order < 2; order++) {
				struct pm_migration_info info;
				uint64_t migration[2], which;
				struct pm_pte_info pte;
				struct scene s;
				size_t done;
				char byte = (char)WRITTEN;

				open_scene(&s, ANON_SHARED);
				REQUIRE(pm_write(s.m, 0, s.child, s.addr, &byte, 1, &done) == PM_OK);
				s.expected_child = WRITTEN;
				migration[0] = begin_and_step(&s, protocols[i], PM_MIGRATE_SYNC, 0, 7, &info);
				REQUIRE(pm_lookup(s.m, 0, s.child, s.addr, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT && pte.pfn != s.pfn);
				s.pfn = pte.pfn;
				s.other = true;
				migration[1] = begin_and_step(&s, protocols[i], PM_MIGRATE_SYNC, 0, 7, &info);
				for (which = 0; which < 2; which++) {
					uint64_t one = migration[order ? 1 - which : which];

					if (given_up >> which & 1)
						CHECK_EQ(pm_migration_end(s.m, 0, one), PM_OK);
					else
						CHECK_EQ(finish(&s, one).reason, PM_WHY_NONE);
					s.other = false;
				}
				close_scene(&s);
			}
}

/* ---- wake-ups ---- */

struct reader {
	struct scene *s;
	atomic_int byte;
	pthread_t thread;
};

static void *read_once(void *arg)
{
	struct reader *reader = arg;
	char byte = 0;
	size_t done;

	while (pm_read(reader->s->m, 1, reader->s->space, reader->s->addr, &byte, 1, &done) == PM_ERR_INTR)
		;
	atomic_store(&reader->byte, (uint8_t)byte);
	return NULL;
}

/// Somebody sleeps until the page has moved, and nothing but the migration's end wakes him: sleeps do not end by themselves here. A wake-up that is left out hangs this test, and the
/// alarm ends it.
static void sleepers_are_woken(void)
{
	static const enum subject subjects[] = { ANON, ANON_SHARED, FILE_RAM };
	uint32_t protocol, i, given_up;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (i = 0; i < 3; i++)
			for (given_up = 0; given_up < 2; given_up++) {
				struct pm_migration_info info;
				struct reader reader;
				struct scene s;
				uint64_t migration;

				/* Who holds a spin lock lets nobody come in between. */
				if (protocol == PM_PROTOCOL_TABLE_LOCK)
					continue;
				open_scene(&s, subjects[i]);
				s.m->virt->options.wait_slices = 0;
				s.m->virt->waits.idle = NULL;
				migration = begin_and_step(&s, protocol, PM_MIGRATE_SYNC, 0, 7, &info);
				reader = (struct reader){ .s = &s, .byte = -1 };
				s.busy = true;
				alarm(60);
				REQUIRE(pthread_create(&reader.thread, NULL, read_once, &reader) == 0);
				/* Long enough to be asleep on most machines; where it is not yet, the test tests less. */
				usleep(5000);
				CHECK_EQ(atomic_load(&reader.byte), -1);
				if (given_up) {
					CHECK_EQ(pm_migration_end(s.m, 0, migration), PM_OK);
				} else {
					info = finish(&s, migration);
					CHECK_EQ(info.reason, PM_WHY_NONE);
				}
				pthread_join(reader.thread, NULL);
				alarm(0);
				CHECK_EQ(atomic_load(&reader.byte), VALUE);
				s.busy = false;
				s.m->virt->options.wait_slices = 1;
				close_scene(&s);
			}
}

/* ---- long lists ---- */

struct plain {
	struct pm_machine *m;
	uint64_t space, addr, n;
	uint64_t *pfns;
	struct pm_migrate_result *results;
};

static void open_plain(struct plain *p, uint64_t frames, uint64_t n)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, frames };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = 2, .settings = rig_bare() };
	struct pm_map_request request = { .length = n * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE };
	struct pm_memory_options options;
	struct pm_swap_options swap = { .nr_slots = n };
	uint64_t i, done;

	*p = (struct plain){ .n = n };
	p->m = rig_create(&layout);
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_NONE;
	REQUIRE(pm_memory_enable(p->m, &options) == PM_OK && pm_swap_on(p->m, &swap) == PM_OK && pm_space_create(p->m, &p->space) == PM_OK);
	REQUIRE(pm_map(p->m, 0, p->space, &request, &p->addr) == PM_OK && pm_touch(p->m, 0, p->space, p->addr, request.length, true, &done) == PM_OK);
	p->pfns = calloc(n, sizeof(*p->pfns));
	p->results = calloc(n, sizeof(*p->results));
	REQUIRE(p->pfns && p->results);
	for (i = 0; i < n; i++) {
		struct pm_pte_info pte;

		REQUIRE(pm_lookup(p->m, 0, p->space, p->addr + i * PAGE, &pte) == PM_OK);
		p->pfns[i] = pte.pfn;
	}
}

static void close_plain(struct plain *p)
{
	struct pm_zone_info info;
	uint64_t frames;

	CHECK(rig_valid(p->m));
	CHECK_EQ(pm_space_exit(p->m, 0, p->space), PM_OK);
	CHECK(rig_valid(p->m));
	CHECK_EQ(p->m->virt->anons.nr_live, 0);
	REQUIRE(pm_zone_info(p->m, 0, &info) == PM_OK);
	frames = info.nr_free + info.nr_pcp;
	CHECK_EQ(frames, p->m->nr_frames);
	pm_machine_destroy(p->m);
	free(p->pfns);
	free(p->results);
}

/// More frames than a batch holds: each goes to its own given frame.
static void given_frames_of_a_long_list(void)
{
	uint32_t protocol;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++) {
		enum { MANY = 1100, FROM = 4096 };
		static uint64_t given[MANY];
		struct plain p;
		struct pm_migrate_request request = { .n = MANY, .mode = PM_MIGRATE_SYNC, .protocol = protocol, .destination = { .kind = PM_DEST_GIVEN, .frames = given } };
		struct pm_migrate_counters counters;
		size_t moved, i, wrong = 0;

		open_plain(&p, 8192, MANY);
		request.pfns = p.pfns;
		for (i = 0; i < MANY; i++)
			given[i] = FROM + (i * 7919) % MANY;
		CHECK_EQ(pm_migrate(p.m, 0, &request, p.results, &moved), PM_OK);
		CHECK_EQ(moved, MANY);
		for (i = 0; i < MANY; i++)
			wrong += p.results[i].to != given[i];
		CHECK_EQ(wrong, 0);
		pm_migrate_counters(p.m, &counters);
		CHECK(counters.moved[protocol] == MANY && counters.batches >= 3);
		close_plain(&p);
	}
}

/// A batch that runs out of destinations: those that were isolated with the others are on their lists again and not locked, and the rest has moved.
static void a_batch_that_runs_out_of_memory(void)
{
	uint32_t protocol, mode;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++)
		for (mode = 0; mode <= PM_MIGRATE_SYNC; mode++) {
			enum { MANY = 200, ROOM = 37, ABOVE = 1024 };
			struct plain p;
			struct pm_migrate_request request = { .n = MANY, .mode = mode, .protocol = protocol, .destination = { .kind = PM_DEST_ABOVE, .value = ABOVE } };
			struct pm_page_info page;
			size_t moved, i, taken = 0;
			uint64_t pfn;

			open_plain(&p, 2048, MANY);
			for (pfn = ABOVE; pfn < 2048 - ROOM; pfn++)
				taken += pm_take(p.m, pfn, 0, PM_MT_MOVABLE) == PM_OK;
			REQUIRE(taken == 2048 - ROOM - ABOVE);
			request.pfns = p.pfns;
			CHECK_EQ(pm_migrate(p.m, 0, &request, p.results, &moved), PM_OK);
			CHECK_EQ(moved, ROOM);
			for (i = 0; i < MANY; i++) {
				if (p.results[i].to != UINT64_MAX)
					continue;
				CHECK(p.results[i].status == PM_ERR_NOMEM && p.results[i].reason == PM_WHY_NO_MEMORY);
				CHECK(pm_page_info(p.m, p.pfns[i], &page) == PM_OK && (page.flags & PM_PG_LRU) && !(page.flags & (PM_PG_LOCKED | PM_PG_ISOLATED)));
			}
			CHECK(rig_valid(p.m));
			for (pfn = ABOVE; pfn < 2048 - ROOM; pfn++)
				REQUIRE(pm_free(p.m, 0, pfn, 0) == PM_OK);
			close_plain(&p);
		}
}

/// Frames that are in a list twice, or locked or isolated by somebody else, fail for themselves alone.
static void odd_frames_in_a_batch(void)
{
	uint32_t protocol;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++) {
		struct plain p;
		struct pm_migrate_request request = { .n = 40, .mode = PM_MIGRATE_ASYNC, .protocol = protocol };
		size_t moved, i;

		open_plain(&p, 1024, 40);
		p.pfns[1] = p.pfns[0];
		request.pfns = p.pfns;
		REQUIRE(pm_page_trylock(p.m, pm_pfn(p.pfns[5])));
		REQUIRE(pm_lru_isolate(p.m, pm_pfn(p.pfns[6])));
		CHECK_EQ(pm_migrate(p.m, 0, &request, p.results, &moved), PM_OK);
		CHECK_EQ(moved, 37);
		for (i = 0; i < 40; i++)
			CHECK_EQ(p.results[i].to == UINT64_MAX, i == 1 || i == 5 || i == 6);
		CHECK_EQ(p.results[5].reason, PM_WHY_LOCKED);
		CHECK_EQ(p.results[6].reason, PM_WHY_NOT_ON_LIST);
		{
			struct pm_call call = { .m = p.m, .waits = &p.m->virt->waits, .owner = true };

			pm_page_unlock(&call, pm_pfn(p.pfns[5]));
			pm_lru_putback(&call, pm_pfn(p.pfns[6]));
		}
		close_plain(&p);
	}
}

int main(void)
{
	RUN(a_mark_in_an_entry_is_not_lost);
	RUN(flags_go_along);
	RUN(a_pin_before_unmap);
	RUN(flushes_reach_who_may_be_inside);
	RUN(two_pages_at_one_place);
	RUN(given_frames_of_a_long_list);
	RUN(a_batch_that_runs_out_of_memory);
	RUN(odd_frames_in_a_batch);
	RUN(sleepers_are_woken);
	return check_result();
}
