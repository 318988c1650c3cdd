/// What a host is told: every place of a page that moves, before the old frame is used anew; memory that ran out; and what it may do meanwhile.
#include <pthread.h>
#include <string.h>

#include "tests/check.h"
#include "tests/draw.h"
#include "tests/space_rig.h"

enum { NOTICES = 4096 };

/// A host that writes down what it is told, and looks whether the old frame is still nobody's.
struct host {
	struct pm_machine *m;
	size_t n;
	uint64_t cost;
	struct pm_notice notice[NOTICES];
};

static void write_down(void *context, const struct pm_notice *notice)
{
	struct host *host = context;

	REQUIRE(host->n < NOTICES);
	host->notice[host->n++] = *notice;
	host->cost += notice->cost_ns;
	/* Read from the table itself: a host may not call the machine here. */
	if (notice->kind == PM_NOTICE_MOVED && notice->order == 0)
		CHECK(pm_word_kind(pm_frame_word(pm_frame_of(host->m, pm_pfn(notice->from)))) == PM_FRAME_OWNED);
}

static struct space_rig make(struct host *host, uint64_t swap)
{
	struct space_rig_options o = space_options();
	struct pm_migrate_request nothing = { .n = 0 };
	struct pm_notify_options options;
	struct space_rig rig;
	size_t moved;

	o.nr_frames = 4096;
	o.swap = swap;
	rig = space_rig_make(&o);
	REQUIRE(pm_migrate(rig.m, 0, &nothing, NULL, &moved) == PM_OK);
	rig.pieces = space_pieces(rig.m);
	*host = (struct host){ .m = rig.m };
	pm_notify_options_default(&options);
	CHECK(options.notify == NULL);
	options = (struct pm_notify_options){ .notify = write_down, .context = host, .copy_ns = 1000, .entry_ns = 10, .flush_ns = 100000 };
	REQUIRE(pm_notify(rig.m, &options) == PM_OK);
	return rig;
}

static void move(struct pm_machine *m, const uint64_t *pfns, size_t n, uint32_t protocol, struct pm_migrate_result *results)
{
	struct pm_migrate_request request = { .pfns = pfns, .n = n, .mode = PM_MIGRATE_SYNC, .protocol = protocol };
	size_t moved;

	CHECK_EQ(pm_migrate(m, 0, &request, results, &moved), PM_OK);
	CHECK_EQ(moved, n);
}

static uint64_t frame_of(struct pm_machine *m, uint64_t space, uint64_t addr)
{
	struct pm_translation t;

	REQUIRE(pm_translate(m, 0, space, addr, PM_TRANSLATE_SMALL, &t) == PM_OK);
	return t.pfn;
}

static void every_place_of_a_page_is_told(void)
{
	static struct host host;
	uint32_t protocol;

	for (protocol = 0; protocol < PM_NR_PROTOCOLS; protocol++) {
		struct space_rig rig = make(&host, 256);
		uint64_t space = space_make(rig.m), child, pfn;
		struct pm_migrate_result result;
		bool shared = protocol != PM_PROTOCOL_TABLE_LOCK;

		pfn = frame_of(rig.m, space, 5 * PAGE);
		child = space_fork(rig.m, space);
		if (!shared)
			space_exit(rig.m, child);
		move(rig.m, &pfn, 1, protocol, &result);
		CHECK_EQ(host.n, shared ? 2 : 1);
		CHECK_EQ(host.notice[0].space, space);
		CHECK_EQ(host.notice[0].addr, 5 * PAGE);
		CHECK_EQ(host.notice[0].from, pfn);
		CHECK_EQ(host.notice[0].to, result.to);
		CHECK_EQ(frame_of(rig.m, space, 5 * PAGE), result.to);
		if (shared) {
			CHECK_EQ(host.notice[1].space, child);
			CHECK_EQ(host.notice[1].addr, 5 * PAGE);
		}
		CHECK_EQ(host.cost, 1000 + 100000 + (shared ? 20 : 10));
		/* A page that stays where it is is no news. */
		host.n = 0;
		REQUIRE(pm_pin(rig.m, 0, space, 5 * PAGE, PM_PIN_LONG, false, &pfn, &child) == PM_OK);
		CHECK_EQ(pm_migrate(rig.m, 0, &(struct pm_migrate_request){ .pfns = &pfn, .n = 1, .protocol = protocol }, &result, &(size_t){ 0 }), PM_OK);
		CHECK_EQ(host.n, 0);
		CHECK_EQ(pm_unpin(rig.m, 0, child), PM_OK);
		pm_machine_shut(rig.m);
		pm_machine_destroy(rig.m);
	}
}

static void a_batch_pays_one_flush_and_tells_of_each_page_once(void)
{
	enum { N = 700 };
	static struct host host;
	static uint64_t pfns[N];
	static struct pm_migrate_result results[N];
	struct space_rig rig = make(&host, 256);
	uint64_t space = space_make(rig.m), i;

	for (i = 0; i < N; i++)
		pfns[i] = frame_of(rig.m, space, i * PAGE);
	move(rig.m, pfns, N, PM_PROTOCOL_ENTRY, results);
	CHECK_EQ(host.n, N);
	for (i = 0; i < N; i++) {
		CHECK_EQ(host.notice[i].from, pfns[i]);
		CHECK_EQ(host.notice[i].to, results[i].to);
		CHECK_EQ(host.notice[i].addr, i * PAGE);
	}
	/* 512 in the first batch, the rest in the second. */
	CHECK_EQ(host.cost, N * 1010 + 2 * 100000);
	/* Nobody is told any more. */
	CHECK_EQ(pm_notify(rig.m, NULL), PM_OK);
	host.n = 0;
	pfns[0] = results[0].to;
	move(rig.m, pfns, 1, PM_PROTOCOL_ENTRY, results);
	CHECK_EQ(host.n, 0);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

static void many_sharers_an_owner_and_a_cached_page_are_told_by_frame(void)
{
	static struct host host;
	struct space_rig rig = make(&host, 256);
	uint64_t space = space_make(rig.m), child[4], owner, pfn, i;
	struct pm_migrate_result result;
	uint32_t number;

	pfn = frame_of(rig.m, space, PAGE);
	for (i = 0; i < 4; i++)
		child[i] = space_fork(rig.m, space);
	move(rig.m, &pfn, 1, PM_PROTOCOL_ENTRY, &result);
	CHECK_EQ(host.n, 4);
	CHECK_EQ(host.notice[3].space, 0);
	CHECK_EQ(host.notice[3].from, pfn);
	for (i = 0; i < 4; i++)
		space_exit(rig.m, child[i]);
	host.n = 0;
	REQUIRE(pm_owner_create(rig.m, PM_OWNER_MOVABLE_OPS, &owner) == PM_OK);
	REQUIRE(pm_owner_alloc(rig.m, 0, owner, 3, PM_GFP_HIGHUSER_MOVABLE, &number) == PM_OK);
	REQUIRE(pm_owner_frame(rig.m, 0, owner, number, &pfn) == PM_OK);
	host.cost = 0;
	move(rig.m, &pfn, 1, PM_PROTOCOL_ENTRY, &result);
	CHECK_EQ(host.n, 1);
	CHECK_EQ(host.notice[0].order, 3);
	CHECK_EQ(host.notice[0].space, 0);
	CHECK_EQ(host.cost, 8000);
	CHECK_EQ(pm_owner_destroy(rig.m, 0, owner), PM_OK);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

static void a_stepped_migration_tells_before_the_old_frame_is_free(void)
{
	static struct host host;
	struct space_rig rig = make(&host, 256);
	uint64_t space = space_make(rig.m), pfn = frame_of(rig.m, space, 0), migration;
	struct pm_destination any = { .kind = PM_DEST_ANY };
	struct pm_migration_info info = { .over = 0 };

	REQUIRE(pm_migration_begin(rig.m, pfn, &any, PM_MIGRATE_SYNC, PM_PROTOCOL_ENTRY, 0, &migration) == PM_OK);
	while (!info.over) {
		CHECK_EQ(host.n, 0);
		REQUIRE(pm_migration_step(rig.m, 0, migration, &info) == PM_OK);
	}
	CHECK_EQ(host.n, 1);
	CHECK_EQ(host.notice[0].to, info.to);
	CHECK_EQ(pm_migration_end(rig.m, 0, migration), PM_OK);
	space_exit(rig.m, space);
	CHECK(rig_valid(rig.m));
	pm_machine_shut(rig.m);
	pm_machine_destroy(rig.m);
}

static void memory_that_ran_out_is_told_by_the_call_that_fails(void)
{
	static struct host host;
	struct space_rig rig = make(&host, 0);
	uint64_t space = space_make(rig.m), i, pfn, told;
	struct pm_translation t;
	enum pm_status status = PM_OK;

	for (i = 0; !status; i++)
		status = pm_translate(rig.m, 0, space, i * PAGE, 0, &t);
	CHECK(status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK);
	CHECK(i > 3000);
	CHECK_EQ(host.n, 1);
	CHECK_EQ(host.notice[0].kind, PM_NOTICE_NO_MEMORY);
	CHECK_EQ(host.notice[0].order, 0);
	told = host.n;
	/* A migration without a destination is a result, not an alarm. */
	pfn = frame_of(rig.m, space, 0);
	CHECK_EQ(pm_migrate(rig.m, 0, &(struct pm_migrate_request){ .pfns = &pfn, .n = 1 }, &(struct pm_migrate_result){ 0 }, &(size_t){ 0 }), PM_OK);
	CHECK_EQ(host.n == told || host.notice[told].kind == PM_NOTICE_MOVED, true);
	CHECK_EQ(pm_notify(rig.m, &(struct pm_notify_options){ .copy_ns = (uint64_t)1 << 40 }), PM_ERR_INVAL);
	space_exit(rig.m, space);
	space_rig_end(&rig);
}

/// Of every 64 pages one stays: memory that compaction has something to do with.
static uint64_t scatter(struct pm_machine *m, uint64_t pages)
{
	uint64_t space = space_make(m), page;

	for (page = 0; page < pages; page++)
		(void)frame_of(m, space, page * PAGE);
	for (page = 0; page < pages; page += 64)
		CHECK_EQ(pm_unmap(m, 0, space, page * PAGE, (uint64_t)63 * PAGE), PM_OK);
	return space;
}

static void compaction_is_told_from_its_first_page_to_its_end(void)
{
	static struct host host;
	struct space_rig rig = make(&host, 256);
	uint64_t space = scatter(rig.m, 3000), cost = 0;
	struct pm_compact_request request;
	struct pm_compact_result result;
	struct pm_tick_report tick;
	size_t i;

	host.n = 0;
	pm_compact_request_default(&request);
	REQUIRE(pm_compact(rig.m, 0, &request, &result) == PM_OK);
	CHECK(result.moved > 20);
	CHECK_EQ(host.n, result.moved + 2);
	CHECK_EQ(host.notice[0].kind, PM_NOTICE_COMPACT_BEGIN);
	CHECK_EQ(host.notice[0].order, PM_PAGEBLOCK_ORDER);
	for (i = 1; i + 1 < host.n; i++) {
		CHECK_EQ(host.notice[i].kind, PM_NOTICE_MOVED);
		CHECK_EQ(host.notice[i].space, space);
		cost += host.notice[i].cost_ns;
	}
	CHECK_EQ(host.notice[host.n - 1].kind, PM_NOTICE_COMPACT_END);
	CHECK_EQ(host.notice[host.n - 1].cost_ns, cost);
	/* Hardly anything is left to do: what is begun ends. */
	host.n = 0;
	REQUIRE(pm_compact(rig.m, 0, &request, &result) == PM_OK);
	CHECK(host.n == 0 || host.n == result.moved + 2);
	/* kcompactd, in the host's time. */
	space_exit(rig.m, space);
	space = scatter(rig.m, 3500);
	REQUIRE(pm_kcompactd_wake(rig.m, PM_PAGEBLOCK_ORDER, PM_GFP_KERNEL) == PM_OK);
	host.n = 0;
	REQUIRE(pm_tick(rig.m, 0, 1000, &tick) == PM_OK);
	CHECK(host.n == 0 ? tick.moved == 0 : host.n == tick.moved + 2);
	space_exit(rig.m, space);
	CHECK(rig_valid(rig.m));
	pm_machine_shut(rig.m);
	pm_machine_destroy(rig.m);
}

/* ---- a host with threads, a TLB and a lock of its own ---- */

enum { PAGES = 600, THREADS = 3, NOBODY = -1 };

/// All accesses to the TLB are under the host's lock, which its threads hold while they call the machine.
struct tlb {
	pthread_mutex_t lock;
	struct pm_machine *m;
	uint64_t space;
	int frame_page[4096]; ///< the page that an entry of the TLB puts on a frame
	int64_t page_frame[PAGES];
	uint64_t told;
	atomic_bool stop;
};

static void drop(void *context, const struct pm_notice *notice)
{
	struct tlb *tlb = context;
	uint64_t page = notice->addr / PAGE;

	pthread_mutex_lock(&tlb->lock);
	tlb->told++;
	if (CHECK(page < PAGES) && tlb->page_frame[page] == (int64_t)notice->from) {
		tlb->page_frame[page] = NOBODY;
		tlb->frame_page[notice->from] = NOBODY;
	}
	pthread_mutex_unlock(&tlb->lock);
}

struct user {
	struct tlb *tlb;
	uint32_t cpu;
	pthread_t thread;
};

static void *use(void *arg)
{
	struct user *user = arg;
	struct tlb *tlb = user->tlb;
	struct draw d;
	bool enough = false;
	int i;

	draw_init(&d, user->cpu);
	/* Until pages have moved under it for a while. */
	for (i = 0; i < 2500 || !enough; i++) {
		uint64_t page = draw_below(&d, PAGES);
		struct pm_translation t;

		pthread_mutex_lock(&tlb->lock);
		if (tlb->page_frame[page] == NOBODY && CHECK_EQ(pm_translate(tlb->m, user->cpu, tlb->space, page * PAGE, PM_TRANSLATE_WRITE, &t), PM_OK)) {
			/* Whoever had this frame before has moved, and the TLB was told. */
			CHECK_EQ(tlb->frame_page[t.pfn], NOBODY);
			tlb->frame_page[t.pfn] = (int)page;
			tlb->page_frame[page] = (int64_t)t.pfn;
		}
		enough = tlb->told >= 500;
		pthread_mutex_unlock(&tlb->lock);
	}
	return NULL;
}

static void *shuffle(void *arg)
{
	struct user *user = arg;
	struct tlb *tlb = user->tlb;
	struct draw d;

	draw_init(&d, user->cpu);
	while (!atomic_load(&tlb->stop)) {
		uint64_t pfns[24];
		struct pm_migrate_result results[24];
		struct pm_migrate_request request = { .pfns = pfns, .mode = PM_MIGRATE_SYNC_LIGHT, .protocol = (uint32_t)draw_below(&d, PM_NR_PROTOCOLS) };
		struct pm_pte_info pte;
		size_t moved;

		if (request.protocol == PM_PROTOCOL_SWAP_CACHE)
			request.flags = PM_MIGRATE_TOUCH;
		while (request.n < 24 && pm_lookup(tlb->m, user->cpu, tlb->space, draw_below(&d, PAGES) * PAGE, &pte) == PM_OK)
			if (pte.kind == PM_PTE_PRESENT)
				pfns[request.n++] = pte.pfn;
			else if (draw_once_in(&d, 16))
				break;
		CHECK_EQ(pm_migrate(tlb->m, user->cpu, &request, results, &moved), PM_OK);
	}
	return NULL;
}

static void a_tlb_that_listens_never_has_two_pages_on_a_frame(void)
{
	static struct tlb tlb;
	static struct host unused;
	struct space_rig rig = make(&unused, 256);
	struct user users[THREADS + 1];
	uint32_t i;

	tlb = (struct tlb){ .m = rig.m, .space = space_make(rig.m) };
	pthread_mutex_init(&tlb.lock, NULL);
	for (i = 0; i < 4096; i++)
		tlb.frame_page[i] = NOBODY;
	for (i = 0; i < PAGES; i++)
		tlb.page_frame[i] = NOBODY;
	REQUIRE(pm_notify(rig.m, &(struct pm_notify_options){ .notify = drop, .context = &tlb }) == PM_OK);
	for (i = 0; i <= THREADS; i++) {
		users[i] = (struct user){ .tlb = &tlb, .cpu = i };
		REQUIRE(pthread_create(&users[i].thread, NULL, i < THREADS ? use : shuffle, &users[i]) == 0);
	}
	for (i = 0; i < THREADS; i++)
		pthread_join(users[i].thread, NULL);
	atomic_store(&tlb.stop, true);
	pthread_join(users[THREADS].thread, NULL);
	CHECK(tlb.told > 0);
	REQUIRE(pm_notify(rig.m, NULL) == PM_OK);
	space_exit(rig.m, tlb.space);
	space_rig_end(&rig);
	pthread_mutex_destroy(&tlb.lock);
}

int main(void)
{
	RUN(every_place_of_a_page_is_told);
	RUN(a_batch_pays_one_flush_and_tells_of_each_page_once);
	RUN(many_sharers_an_owner_and_a_cached_page_are_told_by_frame);
	RUN(a_stepped_migration_tells_before_the_old_frame_is_free);
	RUN(memory_that_ran_out_is_told_by_the_call_that_fails);
	RUN(compaction_is_told_from_its_first_page_to_its_end);
	RUN(a_tlb_that_listens_never_has_two_pages_on_a_frame);
	return check_result();
}
