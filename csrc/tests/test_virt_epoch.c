/// Whoever takes a page or a permission away waits for accesses that may still see it: with an access held open in the middle, every such call stays inside until
/// the access ends. For each guard, for the thread that owns its CPU's slot and for one that shares a CPU.
#include <pthread.h>

#include "tests/space_rig.h"
#include "virt/epoch.h"

enum { LOOKS = 200 };

static struct pm_machine *machine;
static uint64_t space, at, file;
static uint32_t accessor_cpu;
static pthread_barrier_t barrier;
static _Atomic uint32_t returned;

/// An access as pm_read() makes it, but for the time it takes.
static void *stay_inside(void *argument)
{
	struct pm_call call;
	uint64_t done;
	unsigned int i;

	(void)argument;
	CHECK_EQ(pm_touch(machine, accessor_cpu, space, at, PAGE, true, &done), PM_OK);
	CHECK_EQ(pm_touch(machine, accessor_cpu, space, at + 8 * PAGE, PAGE, true, &done), PM_OK);
	REQUIRE(pm_call_begin(machine, accessor_cpu, &call) == PM_OK);
	pm_access_enter(&call);
	pthread_barrier_wait(&barrier);
	for (i = 0; i < LOOKS; i++) {
		struct timespec moment = { 0, 50000 };

		CHECK_EQ(atomic_load(&returned), 0);
		nanosleep(&moment, NULL);
	}
	pm_access_leave(&call);
	pm_call_end(&call);
	return NULL;
}

static enum pm_status do_unmap(void)
{
	return pm_unmap(machine, 0, space, at, PAGE);
}

static enum pm_status do_protect(void)
{
	return pm_protect(machine, 0, space, at, PAGE, RO);
}

static enum pm_status do_fork(void)
{
	uint64_t child = 0;
	enum pm_status status = pm_space_fork(machine, 0, space, &child);

	atomic_store(&returned, 1);
	space_exit(machine, child);
	return status;
}

static enum pm_status do_remap(void)
{
	uint64_t ret;

	return pm_remap(machine, 0, space, at, PAGE, PAGE, PM_MAP_FIXED, (uint64_t)1 << 40, &ret);
}

static enum pm_status do_page_out(void)
{
	uint64_t freed;

	return pm_page_out(machine, 0, space, at, PAGE, &freed);
}

static enum pm_status do_truncate(void)
{
	return pm_file_truncate(machine, 0, file, 0);
}

static void check_waits(enum pm_status (*change)(void), const char *name)
{
	struct pm_memory_counters before;
	pthread_t accessor;
	enum pm_status status;

	at = space_map(machine, space, 2);
	(void)space_map_at(machine, space, at + 8 * PAGE, 1, RW, PM_MAP_SHARED, file);
	CHECK_EQ(pm_file_truncate(machine, 0, file, PAGE), PM_OK);
	atomic_store(&returned, 0);
	REQUIRE(pthread_barrier_init(&barrier, NULL, 2) == 0);
	REQUIRE(pthread_create(&accessor, NULL, stay_inside, NULL) == 0);
	pthread_barrier_wait(&barrier);
	before = space_counters(machine);
	status = change();
	atomic_store(&returned, 1);
	pthread_join(accessor, NULL);
	CHECK_EQ(status, PM_OK);
	CHECK(space_counters(machine).flushes > before.flushes);
	pthread_barrier_destroy(&barrier);
	CHECK_EQ(pm_unmap(machine, 0, space, 0, (uint64_t)1 << PM_VA_BITS), PM_OK);
	if (check_result() != EXIT_SUCCESS)
		fprintf(stderr, "  %s, guard %u, accessor on CPU %u\n", name, machine->virt->guard, accessor_cpu);
}

static void changes_wait_for_accesses(void)
{
	uint32_t guard;

	for (guard = PM_GUARD_EPOCH; guard <= PM_GUARD_LOCK; guard++)
		/* CPU 0 is this thread's; of the others each has one accessor at a time. */
		for (accessor_cpu = 0; accessor_cpu < 2; accessor_cpu++) {
			struct space_rig_options options = space_options();
			struct space_rig rig;

			options.memory.guard = guard;
			rig = space_rig_make(&options);
			machine = rig.m;
			space = space_make(machine);
			file = space_ram_file(machine, 1);
			check_waits(do_unmap, "unmap");
			check_waits(do_protect, "protect");
			check_waits(do_fork, "fork");
			check_waits(do_remap, "remap");
			check_waits(do_page_out, "page_out");
			check_waits(do_truncate, "truncate");
			space_exit(machine, space);
			space_file_close(machine, file);
			space_rig_end(&rig);
		}
}

int main(void)
{
	RUN(changes_wait_for_accesses);
	return check_result();
}
