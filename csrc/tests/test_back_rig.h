/// @file test_back_rig.h
/// Machines with owners of frames, for the tests of csrc/back.
#ifndef PM_TESTS_TEST_BACK_RIG_H
#define PM_TESTS_TEST_BACK_RIG_H

#include "tests/rig.h"

enum { PAGE = PM_PAGE_SIZE };

/// One zone without watermarks and per-CPU lists, contents, virtual time, calls that wait as long as they have to.
static inline struct pm_machine *back_machine_with(uint64_t nr_frames, uint32_t nr_cpus, uint32_t wait_slices, struct pm_settings settings)
{
	struct pm_machine *m = rig_one_zone(nr_frames, nr_cpus, settings);
	struct pm_memory_options options;

	pm_memory_options_default(&options);
	options.wait_slices = wait_slices;
	REQUIRE(pm_memory_enable(m, &options) == PM_OK);
	return m;
}

static inline struct pm_machine *back_machine(uint64_t nr_frames, uint32_t nr_cpus)
{
	return back_machine_with(nr_frames, nr_cpus, 0, rig_bare());
}

static inline uint64_t back_device(struct pm_machine *m, uint64_t nr_blocks, uint64_t latency_ns)
{
	struct pm_device_options options;
	uint64_t device = 0;

	pm_device_options_default(&options);
	options.nr_blocks = nr_blocks;
	options.read_ns = options.write_ns = latency_ns;
	options.depth = 4;
	REQUIRE(pm_device_create(m, &options, &device) == PM_OK);
	return device;
}

static inline struct pm_device_info back_device_info(struct pm_machine *m, uint64_t device)
{
	struct pm_device_info info;

	REQUIRE(pm_device_info(m, device, &info) == PM_OK);
	return info;
}

static inline uint64_t back_file(struct pm_machine *m, uint32_t fs, uint64_t device, uint64_t pages, uint64_t capacity)
{
	struct pm_file_options options = { .fs = fs, .device = device, .size = pages * PAGE, .capacity = capacity * PAGE };
	uint64_t file = 0;

	REQUIRE(pm_file_create(m, &options, &file) == PM_OK);
	return file;
}

static inline struct pm_file_info back_file_info(struct pm_machine *m, uint64_t file)
{
	struct pm_file_info info;

	REQUIRE(pm_file_info(m, 0, file, &info) == PM_OK);
	return info;
}

static inline void back_swap_on(struct pm_machine *m, uint64_t nr_slots, uint64_t device)
{
	struct pm_swap_options options = { nr_slots, device };

	REQUIRE(pm_swap_on(m, &options) == PM_OK);
}

static inline struct pm_swap_info back_swap_info(struct pm_machine *m)
{
	struct pm_swap_info info;

	REQUIRE(pm_swap_info(m, &info) == PM_OK);
	return info;
}

static inline struct pm_backing_counters back_counters(struct pm_machine *m)
{
	struct pm_backing_counters counters;

	pm_backing_counters(m, &counters);
	return counters;
}

/// Fills a page of a file with one byte.
static inline enum pm_status back_put(struct pm_machine *m, uint32_t cpu, uint64_t file, uint64_t page, uint8_t value)
{
	uint8_t bytes[PAGE];
	size_t done;

	memset(bytes, value, sizeof(bytes));
	return pm_file_write(m, cpu, file, page * PAGE, bytes, sizeof(bytes), &done);
}

/// The first byte of a page of a file, which must be all of one; negative: a status, or -1000 if the page is torn.
static inline int back_get(struct pm_machine *m, uint32_t cpu, uint64_t file, uint64_t page)
{
	uint8_t bytes[PAGE];
	size_t done;
	enum pm_status status = pm_file_read(m, cpu, file, page * PAGE, bytes, sizeof(bytes), &done);

	if (status)
		return (int)status;
	return done == PAGE && memcmp(bytes, bytes + 1, PAGE - 1) == 0 ? bytes[0] : -1000;
}

static inline uint64_t back_space(struct pm_machine *m)
{
	uint64_t space = 0;

	REQUIRE(pm_space_create(m, &space) == PM_OK);
	return space;
}

/// Maps memory: of a file, or anonymous where `file` is 0.
static inline uint64_t back_map(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t pages, uint32_t flags, uint64_t file)
{
	struct pm_map_request request = { .length = pages * PAGE, .prot = PM_PROT_READ | PM_PROT_WRITE, .flags = flags, .file = file };
	uint64_t addr = 0;

	REQUIRE(pm_map(m, cpu, space, &request, &addr) == PM_OK);
	return addr;
}

static inline enum pm_status back_fill(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr, uint8_t value)
{
	size_t done;

	return pm_fill(m, cpu, space, addr, value, PAGE, &done);
}

/// As back_get(), of a page of a space.
static inline int back_look(struct pm_machine *m, uint32_t cpu, uint64_t space, uint64_t addr)
{
	uint8_t bytes[PAGE];
	size_t done;
	enum pm_status status = pm_read(m, cpu, space, addr, bytes, sizeof(bytes), &done);

	if (status)
		return (int)status;
	return memcmp(bytes, bytes + 1, PAGE - 1) == 0 ? bytes[0] : -1000;
}

static inline uint64_t back_page_out(struct pm_machine *m, uint64_t space, uint64_t addr, uint64_t pages)
{
	uint64_t freed = 0;

	CHECK_EQ(pm_page_out(m, 0, space, addr, pages * PAGE, &freed), PM_OK);
	return freed;
}

static inline struct pm_pte_info back_pte(struct pm_machine *m, uint64_t space, uint64_t addr)
{
	struct pm_pte_info info;

	REQUIRE(pm_lookup(m, 0, space, addr, &info) == PM_OK);
	return info;
}

/// Ends a test in which everything was closed: no frame and no piece of host memory of an object is left in use.
static inline void back_destroy_empty(struct pm_machine *m, uint64_t nr_frames)
{
	struct pm_zone_info zone;

	CHECK(rig_valid(m));
	CHECK_EQ(pm_drain(m, PM_ALL_CPUS), PM_OK);
	zone = rig_zone(m, 0);
	CHECK_EQ(zone.nr_free, nr_frames);
	pm_machine_shut(m);
	pm_machine_destroy(m);
}

#endif
