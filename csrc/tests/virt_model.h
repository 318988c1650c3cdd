/// @file virt_model.h
/// A machine with address spaces beside a slow, obvious account of what is in them: for each page of each space who may access it and
/// what it reads as, for each page of each file the same, and which frames are pinned. Shared by the tests that run random programs.
#ifndef PM_TESTS_VIRT_MODEL_H
#define PM_TESTS_VIRT_MODEL_H

#include "tests/draw.h"
#include "tests/space_rig.h"

enum { MODEL_PAGES = 24, MODEL_SPACES = 6, MODEL_FILES = 2, MODEL_FILE_PAGES = 16, MODEL_PINS = 8, MODEL_BLOCKS = 8 };
#define MODEL_BASE (((uint64_t)1 << 32) - 8 * PAGE) ///< pages on both sides of the edge of a page table
enum { MODEL_TOKEN_AT = 1016 };			    ///< where in a page its eight bytes are

struct model_page {
	bool mapped, shared, locked, own; ///< own: private, and no longer the file's
	uint32_t prot;
	int file; ///< -1: anonymous
	uint32_t index;
	uint64_t value; ///< private pages
};

struct model_space {
	uint64_t handle; ///< 0: there is none
	struct model_page page[MODEL_PAGES];
};

struct model_file {
	uint64_t handle;
	uint32_t pages;
	uint64_t value[MODEL_FILE_PAGES];
};

struct model_pin {
	uint64_t handle, pfn; ///< handle 0: there is none
	uint32_t kind;
	int space; ///< -1: what was pinned is no longer mapped there
	uint32_t page;
};

struct model {
	struct pm_machine *m;
	struct draw d;
	bool alone;   ///< no other thread uses the machine
	uint32_t first_cpu, nr_cpus; ///< to work on
	uint32_t cpu; ///< of the next call
	uint64_t device, owner;
	struct model_space space[MODEL_SPACES];
	struct model_file file[MODEL_FILES];
	struct model_pin pin[MODEL_PINS];
	uint32_t block[MODEL_BLOCKS];
	bool has_block[MODEL_BLOCKS];
	uint64_t next_value;
};

static inline uint64_t model_addr(uint64_t page)
{
	return MODEL_BASE + page * PAGE;
}

static inline bool model_beyond(const struct model *w, const struct model_page *p)
{
	return p->file >= 0 && !p->own && p->index >= w->file[p->file].pages;
}

/// What an access to a page leads to.
static inline enum pm_status model_status(const struct model *w, const struct model_page *p, bool write)
{
	if (!p->mapped)
		return PM_ERR_FAULT;
	if (p->prot == PM_PROT_NONE || (write && !(p->prot & PM_PROT_WRITE)))
		return PM_ERR_ACCESS;
	return model_beyond(w, p) ? PM_ERR_BEYOND : PM_OK;
}

static inline uint64_t model_value(const struct model *w, const struct model_page *p)
{
	return p->file >= 0 && !p->own ? w->file[p->file].value[p->index] : p->value;
}

/// A private page of a file becomes this space's own, with what it reads as now.
static inline void model_own(const struct model *w, struct model_page *p)
{
	if (p->shared || p->own)
		return;
	p->value = model_value(w, p);
	p->own = true;
}

/// The pages of a range are not what they were: pins that they had are detached.
static inline void model_detach(struct model *w, int space, uint64_t first, uint64_t nr)
{
	unsigned int i;

	for (i = 0; i < MODEL_PINS; i++)
		if (w->pin[i].handle && w->pin[i].space == space && w->pin[i].page >= first && w->pin[i].page < first + nr)
			w->pin[i].space = -1;
}

/// A program's own device, files and owner, and a first space, on a machine that is there.
static inline void model_begin(struct model *w, uint64_t seed, struct pm_machine *m, uint32_t first_cpu, uint32_t nr_cpus)
{
	struct pm_device_options disk;
	struct pm_file_options on_disk = { .size = MODEL_FILE_PAGES / 2 * PAGE, .capacity = MODEL_FILE_PAGES * PAGE };

	*w = (struct model){ .m = m, .next_value = 1, .first_cpu = first_cpu, .nr_cpus = nr_cpus };
	draw_init(&w->d, seed);
	w->space[0].handle = space_make(w->m);
	pm_device_options_default(&disk);
	disk.nr_blocks = 64;
	disk.read_ns = disk.write_ns = 1000 * draw_below(&w->d, 3);
	disk.contents = 1;
	REQUIRE(pm_device_create(w->m, &disk, &w->device) == PM_OK);
	on_disk.device = w->device;
	on_disk.fs = PM_FS_COMMON + (uint32_t)draw_below(&w->d, PM_NR_FS - PM_FS_COMMON);
	REQUIRE(pm_file_create(w->m, &on_disk, &w->file[0].handle) == PM_OK);
	w->file[1].handle = space_ram_file(w->m, MODEL_FILE_PAGES / 2);
	w->file[0].pages = w->file[1].pages = MODEL_FILE_PAGES / 2;
	REQUIRE(pm_owner_create(w->m, PM_OWNER_MOVABLE_OPS, &w->owner) == PM_OK);
}

/// Ends everything that is left, in any order.
static inline void model_end(struct model *w)
{
	unsigned int i, left = MODEL_SPACES + MODEL_PINS + MODEL_FILES + 1;
	bool ended[MODEL_SPACES + MODEL_PINS + MODEL_FILES + 1] = { false };

	while (left) {
		uint32_t cpu = w->first_cpu + (uint32_t)draw_below(&w->d, w->nr_cpus);

		i = (unsigned int)draw_below(&w->d, MODEL_SPACES + MODEL_PINS + MODEL_FILES + 1);
		if (ended[i])
			continue;
		ended[i] = true;
		left--;
		if (i < MODEL_SPACES) {
			if (w->space[i].handle)
				CHECK_EQ(pm_space_exit(w->m, cpu, w->space[i].handle), PM_OK);
		} else if (i < MODEL_SPACES + MODEL_PINS) {
			if (w->pin[i - MODEL_SPACES].handle)
				CHECK_EQ(pm_unpin(w->m, cpu, w->pin[i - MODEL_SPACES].handle), PM_OK);
		} else if (i < MODEL_SPACES + MODEL_PINS + MODEL_FILES) {
			CHECK_EQ(pm_file_close(w->m, cpu, w->file[i - MODEL_SPACES - MODEL_PINS].handle), PM_OK);
		} else {
			CHECK_EQ(pm_owner_destroy(w->m, cpu, w->owner), PM_OK);
		}
		if (w->alone)
			CHECK(rig_valid(w->m));
	}
}

/// When nobody uses it any more. Writeback may have been under way still, and held its file until it ended.
static inline void model_end_device(struct model *w)
{
	CHECK_EQ(pm_clock_advance(w->m, 1000000), PM_OK);
	CHECK_EQ(pm_device_destroy(w->m, w->device), PM_OK);
}

#endif
