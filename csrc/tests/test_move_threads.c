/// Migration among real threads: accessors whose every byte is checked, forks, unmaps, remaps, pins, reclaim and writeback, beside movers with every protocol.
#include <pthread.h>
#include <string.h>

#include "tests/check.h"
#include "tests/rig.h"

enum { FRAMES = 4096, PAGE = PM_PAGE_SIZE, PAGES = 48, WRITERS = 3, MOVERS = 2, CPUS = 8, ROUNDS = 400, TRIED = 4000 };

struct stage {
	struct pm_machine *m;
	uint64_t space, addr, file;
	uint32_t protocol; ///< PM_NR_PROTOCOLS: each mover its own
	atomic_bool stop;
	atomic_uint moved, tried;
	pthread_barrier_t barrier;
};

struct actor {
	struct stage *stage;
	unsigned int number;
	uint64_t random;
	pthread_t thread;
};

static uint64_t draw(struct actor *actor)
{
	actor->random ^= actor->random << 13;
	actor->random ^= actor->random >> 7;
	actor->random ^= actor->random << 17;
	return actor->random;
}

static bool alright(enum pm_status status)
{
	/* Memory may be short for a moment while others fork and move. */
	return status == PM_OK || status == PM_ERR_WATERMARK || status == PM_ERR_NO_BLOCK;
}

/// Owns a part of every page: 64 bytes at its number. Writes a value that only it knows, forks, checks both sides.
static void *writer(void *arg)
{
	struct actor *actor = arg;
	struct stage *stage = actor->stage;
	uint64_t written[PAGES] = { 0 };
	unsigned int round;

	pthread_barrier_wait(&stage->barrier);
	for (round = 0; round < ROUNDS; round++) {
		uint64_t page = draw(actor) % PAGES, at = stage->addr + page * PAGE + actor->number * 64, value = draw(actor) | 1, seen = 0, child, pin, pfn;
		size_t done;

		switch (draw(actor) % 8) {
		case 0:
			if (!CHECK(alright(pm_space_fork(stage->m, actor->number, stage->space, &child))))
				break;
			/* Our own bytes do not change but by us, so the child has them as they are. What it writes to an anonymous page stays its own. */
			if (pm_read(stage->m, actor->number, child, at, &seen, sizeof(seen), &done) == PM_OK)
				CHECK_EQ(seen, written[page]);
			if (page < PAGES / 2)
				CHECK(alright(pm_write(stage->m, actor->number, child, at, &value, sizeof(value), &done)));
			CHECK_EQ(pm_space_exit(stage->m, actor->number, child), PM_OK);
			break;
		case 1:
			if (pm_pin(stage->m, actor->number, stage->space, at, PM_PIN_DIRECT_IO, true, &pfn, &pin) == PM_OK)
				CHECK_EQ(pm_unpin(stage->m, actor->number, pin), PM_OK);
			break;
		default:
			if (pm_write(stage->m, actor->number, stage->space, at, &value, sizeof(value), &done) == PM_OK)
				written[page] = value;
			break;
		}
		page = draw(actor) % PAGES;
		at = stage->addr + page * PAGE + actor->number * 64;
		if (CHECK(alright(pm_read(stage->m, actor->number, stage->space, at, &seen, sizeof(seen), &done))) && done == sizeof(seen))
			CHECK_EQ(seen, written[page]);
	}
	for (round = 0; round < PAGES; round++) {
		uint64_t seen = 0;
		size_t done;

		if (pm_read(stage->m, actor->number, stage->space, stage->addr + round * PAGE + actor->number * 64, &seen, sizeof(seen), &done) == PM_OK)
			CHECK_EQ(seen, written[round]);
	}
	return NULL;
}

static void *mover(void *arg)
{
	struct actor *actor = arg;
	struct stage *stage = actor->stage;
	uint32_t cpu = WRITERS + actor->number;

	pthread_barrier_wait(&stage->barrier);
	/* On a machine that is busy with other things a mover may get few turns while the writers are at work: it goes on until it has tried often enough to judge by. */
	while (!atomic_load(&stage->stop) || atomic_load(&stage->tried) < TRIED) {
		struct pm_migrate_request request = { .mode = (uint32_t)(draw(actor) % 3), .protocol = stage->protocol < PM_NR_PROTOCOLS ? stage->protocol : (uint32_t)(draw(actor) % PM_NR_PROTOCOLS),
						      .flags = (uint32_t)(draw(actor) % 2) };
		struct pm_migrate_result results[PAGES];
		uint64_t pfns[PAGES], i;
		size_t moved = 0, n = 0;

		for (i = 0; i < PAGES; i++) {
			struct pm_pte_info pte;
			unsigned char byte;
			size_t done;

			/* Nobody else brings back what is unmapped by then. */
			if (atomic_load(&stage->stop))
				CHECK(alright(pm_read(stage->m, cpu, stage->space, stage->addr + i * PAGE, &byte, 1, &done)));
			if (pm_lookup(stage->m, cpu, stage->space, stage->addr + i * PAGE, &pte) == PM_OK && pte.kind == PM_PTE_PRESENT && draw(actor) % 3)
				pfns[n++] = pte.pfn;
		}
		request.pfns = pfns;
		request.n = n;
		CHECK_EQ(pm_migrate(stage->m, cpu, &request, results, &moved), PM_OK);
		atomic_fetch_add(&stage->moved, (unsigned)moved);
		atomic_fetch_add(&stage->tried, (unsigned)n);
	}
	return NULL;
}

/// Reclaim, writeback, protection and locks come by.
static void *nuisance(void *arg)
{
	struct actor *actor = arg;
	struct stage *stage = actor->stage;
	uint32_t cpu = WRITERS + MOVERS;

	pthread_barrier_wait(&stage->barrier);
	while (!atomic_load(&stage->stop)) {
		uint64_t at = stage->addr + draw(actor) % PAGES * PAGE, n;

		switch (draw(actor) % 4) {
		case 0:
			CHECK(alright(pm_page_out(stage->m, cpu, stage->space, at, PAGE, &n)));
			break;
		case 1:
			CHECK_EQ(pm_file_sync(stage->m, cpu, stage->file, 0, PAGES * PAGE, true), PM_OK);
			break;
		case 2:
			CHECK(alright(pm_mlock(stage->m, cpu, stage->space, at, PAGE, draw(actor) % 2)));
			break;
		default:
			CHECK(alright(pm_reclaim(stage->m, cpu, 0, 4, &n)));
			break;
		}
	}
	return NULL;
}

static void play(uint32_t protocol)
{
	struct pm_zone_layout zone = { PM_ZONE_NORMAL, 0, FRAMES };
	struct pm_layout layout = { .zones = &zone, .nr_zones = 1, .nr_cpus = CPUS };
	struct pm_map_request anon = { .length = PAGES / 2 * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE }, file = anon;
	struct actor actors[WRITERS + MOVERS + 1];
	struct pm_memory_options options;
	struct pm_device_options device;
	struct pm_file_options file_options = { .fs = PM_FS_BUFFERS, .size = PAGES * PAGE };
	struct pm_swap_options swap = { .nr_slots = 1024 };
	struct stage stage = { .protocol = protocol };
	unsigned int i;

	pm_settings_default(&layout.settings);
	stage.m = rig_create(&layout);
	pm_memory_options_default(&options);
	options.contents = PM_CONTENTS_PRIVATE;
	REQUIRE(pm_memory_enable(stage.m, &options) == PM_OK);
	REQUIRE(pm_swap_on(stage.m, &swap) == PM_OK);
	REQUIRE(pm_space_create(stage.m, &stage.space) == PM_OK);
	pm_device_options_default(&device);
	device.nr_blocks = 2 * PAGES;
	device.contents = 1;
	REQUIRE(pm_device_create(stage.m, &device, &file_options.device) == PM_OK);
	REQUIRE(pm_file_create(stage.m, &file_options, &stage.file) == PM_OK);
	/* Half anonymous, half a shared file, one behind the other. */
	REQUIRE(pm_map(stage.m, 0, stage.space, &anon, &stage.addr) == PM_OK);
	file.file = stage.file;
	file.flags = PM_MAP_SHARED | PM_MAP_FIXED;
	file.addr = stage.addr + anon.length;
	REQUIRE(pm_map(stage.m, 0, stage.space, &file, &file.addr) == PM_OK);
	pthread_barrier_init(&stage.barrier, NULL, WRITERS + MOVERS + 1);
	for (i = 0; i < WRITERS + MOVERS + 1; i++) {
		actors[i] = (struct actor){ .stage = &stage, .number = i < WRITERS ? i : i - WRITERS, .random = 0x9e3779b97f4a7c15u * (i + 1) + protocol };
		REQUIRE(pthread_create(&actors[i].thread, NULL, i < WRITERS ? writer : i < WRITERS + MOVERS ? mover : nuisance, &actors[i]) == 0);
	}
	for (i = 0; i < WRITERS; i++)
		pthread_join(actors[i].thread, NULL);
	atomic_store(&stage.stop, true);
	for (; i < WRITERS + MOVERS + 1; i++)
		pthread_join(actors[i].thread, NULL);
	printf("protocol %u: %u of %u moved\n", protocol, atomic_load(&stage.moved), atomic_load(&stage.tried));
	/* The movers must get on as well: at least a tenth of what was tried, which is enough to judge by. */
	CHECK(atomic_load(&stage.tried) >= TRIED);
	CHECK(atomic_load(&stage.moved) * 10 >= atomic_load(&stage.tried));
	CHECK(rig_valid(stage.m));
	CHECK_EQ(pm_space_exit(stage.m, 0, stage.space), PM_OK);
	CHECK_EQ(pm_file_close(stage.m, 0, stage.file), PM_OK);
	rig_destroy(stage.m);
	pthread_barrier_destroy(&stage.barrier);
}

static void every_protocol_among_threads(void)
{
	uint32_t protocol;

	for (protocol = 0; protocol <= PM_NR_PROTOCOLS; protocol++)
		play(protocol);
}

int main(void)
{
	RUN(every_protocol_among_threads);
	return check_result();
}
