/// @file virt_program.h
/// Random programs of everything that a space, a file, a pin or an owner can do, against the account of virt_model.h. One step at a time: a
/// test decides what is checked in between, and whether other threads run programs of their own on the same machine.
#ifndef PM_TESTS_VIRT_PROGRAM_H
#define PM_TESTS_VIRT_PROGRAM_H

#include "tests/virt_model.h"

/// A thread's own.
static _Thread_local struct model w;

static uint32_t any_cpu(void)
{
	return w.cpu = w.first_cpu + (uint32_t)draw_below(&w.d, w.nr_cpus);
}

static int any_space(void)
{
	int i = (int)draw_below(&w.d, MODEL_SPACES), n;

	for (n = 0; n < MODEL_SPACES; n++, i = (i + 1) % MODEL_SPACES)
		if (w.space[i].handle)
			return i;
	return -1;
}

static void draw_range(uint64_t *first, uint64_t *nr)
{
	*first = draw_below(&w.d, MODEL_PAGES);
	*nr = 1 + draw_below(&w.d, MODEL_PAGES - *first < 6 ? MODEL_PAGES - *first : 6);
}

static bool covered(const struct model_space *s, uint64_t first, uint64_t nr)
{
	uint64_t i;

	for (i = first; i < first + nr; i++)
		if (!s->page[i].mapped)
			return false;
	return true;
}

/* ---- looks ---- */

static void check_page(const struct model_space *s, uint64_t i)
{
	const struct model_page *p = &s->page[i];
	enum pm_status want = model_status(&w, p, false), status;
	uint64_t token = 0;
	size_t done;

	status = pm_read(w.m, any_cpu(), s->handle, model_addr(i) + MODEL_TOKEN_AT, &token, sizeof(token), &done);
	CHECK_EQ(status, want);
	if (status == PM_OK)
		CHECK_EQ(token, model_value(&w, p));
}

/// Is the frame mapped at this page of this space?
static bool maps(const struct model_space *s, uint64_t i, uint64_t pfn)
{
	struct pm_pte_info pte;

	return s->handle && s->page[i].mapped && pm_lookup(w.m, w.cpu, s->handle, model_addr(i), &pte) == PM_OK && pte.kind == PM_PTE_PRESENT && pte.pfn == pfn;
}

/// The frame of a page that is there.
static uint64_t frame_at(const struct model_space *s, uint64_t i)
{
	struct pm_pte_info pte = { .kind = PM_PTE_NONE };

	CHECK_EQ(pm_lookup(w.m, any_cpu(), s->handle, model_addr(i), &pte), PM_OK);
	CHECK_EQ(pte.kind, PM_PTE_PRESENT);
	return pte.pfn;
}

/// The reverse map of a frame beside a search of all spaces.
static void check_rmap(uint64_t pfn)
{
	struct pm_rmap_entry entries[MODEL_SPACES * MODEL_PAGES];
	size_t nr = 0, k, found = 0;
	uint64_t i, visited;
	int s;

	CHECK_EQ(pm_rmap(w.m, any_cpu(), pfn, MODEL_SPACES * MODEL_PAGES, entries, &nr, &visited), PM_OK);
	CHECK(visited >= nr);
	CHECK_EQ(space_page(w.m, pfn).mapcount, nr);
	for (s = 0; s < MODEL_SPACES; s++)
		for (i = 0; i < MODEL_PAGES; i++) {
			bool listed = false;

			for (k = 0; k < nr; k++)
				listed |= entries[k].space == w.space[s].handle && entries[k].addr == model_addr(i);
			CHECK_EQ(listed, maps(&w.space[s], i, pfn));
			found += listed;
		}
	CHECK_EQ(found, nr);
}

static void step_look(void)
{
	const struct model_space *s = &w.space[any_space()];
	uint64_t first, nr, i;
	struct pm_pte_info pte;

	draw_range(&first, &nr);
	for (i = first; i < first + nr; i++) {
		check_page(s, i);
		if (w.alone && s->page[i].mapped && pm_lookup(w.m, any_cpu(), s->handle, model_addr(i), &pte) == PM_OK && pte.kind == PM_PTE_PRESENT)
			check_rmap(pte.pfn);
	}
}

static void check_pins(void)
{
	unsigned int i;

	for (i = 0; i < MODEL_PINS; i++) {
		const struct model_pin *pin = &w.pin[i];
		struct pm_page_info info;

		if (!pin->handle)
			continue;
		info = space_page(w.m, pin->pfn);
		CHECK(info.pins[pin->kind] != 0);
		if (pin->space >= 0 && pin->kind != PM_PIN_SHORT)
			CHECK(maps(&w.space[pin->space], pin->page, pin->pfn));
	}
}

/* ---- contents ---- */

static void step_write(void)
{
	struct model_space *s = &w.space[any_space()];
	uint64_t i = draw_below(&w.d, MODEL_PAGES), token = w.next_value++;
	struct model_page *p = &s->page[i];
	enum pm_status want = model_status(&w, p, true), status;
	size_t done;

	status = pm_write(w.m, any_cpu(), s->handle, model_addr(i) + MODEL_TOKEN_AT, &token, sizeof(token), &done);
	CHECK_EQ(status, want);
	if (status)
		return;
	model_own(&w, p);
	if (p->shared)
		w.file[p->file].value[p->index] = token;
	else
		p->value = token;
}

static void step_file(void)
{
	struct model_file *f = &w.file[draw_below(&w.d, MODEL_FILES)];
	uint32_t i = (uint32_t)draw_below(&w.d, MODEL_FILE_PAGES);
	uint64_t token = w.next_value++, nr;
	size_t done;

	switch (draw_below(&w.d, 5)) {
	case 0:
		/* Beyond the end it grows; what is between reads as zeros. */
		CHECK_EQ(pm_file_write(w.m, any_cpu(), f->handle, (uint64_t)i * PAGE + MODEL_TOKEN_AT, &token, sizeof(token), &done), PM_OK);
		f->value[i] = token;
		if (i >= f->pages) {
			CHECK_EQ(pm_file_truncate(w.m, any_cpu(), f->handle, (uint64_t)(i + 1) * PAGE), PM_OK);
			f->pages = i + 1;
		}
		break;
	case 1:
		CHECK_EQ(pm_file_sync(w.m, any_cpu(), f->handle, 0, (uint64_t)MODEL_FILE_PAGES * PAGE, draw_below(&w.d, 2)), PM_OK);
		break;
	case 2:
		CHECK_EQ(pm_file_drop(w.m, any_cpu(), f->handle, 0, (uint64_t)MODEL_FILE_PAGES * PAGE, &nr), PM_OK);
		break;
	default:
		CHECK_EQ(pm_file_read(w.m, any_cpu(), f->handle, (uint64_t)i * PAGE + MODEL_TOKEN_AT, &token, sizeof(token), &done), PM_OK);
		CHECK_EQ(done, i < f->pages ? sizeof(token) : 0);
		if (done)
			CHECK_EQ(token, f->value[i]);
	}
}

static void step_truncate(void)
{
	int at = (int)draw_below(&w.d, MODEL_FILES), s;
	struct model_file *f = &w.file[at];
	uint32_t pages = (uint32_t)draw_below(&w.d, MODEL_FILE_PAGES), i;

	CHECK_EQ(pm_file_truncate(w.m, any_cpu(), f->handle, (uint64_t)pages * PAGE), PM_OK);
	for (i = pages; i < MODEL_FILE_PAGES; i++)
		f->value[i] = 0;
	for (s = 0; s < MODEL_SPACES; s++)
		for (i = 0; w.space[s].handle && i < MODEL_PAGES; i++) {
			struct model_page *p = &w.space[s].page[i];

			if (p->mapped && p->file == at && p->index >= pages) {
				p->own = false;
				model_detach(&w, s, i, 1);
			}
		}
	f->pages = pages;
}

/* ---- areas ---- */

static void step_map(void)
{
	static const uint32_t prots[] = { RW, RW, RW, RO, PM_PROT_NONE };
	int at = any_space(), file = (int)draw_below(&w.d, MODEL_FILES + 1) - 1;
	bool shared = file >= 0 && draw_below(&w.d, 2);
	struct pm_map_request request = { .prot = prots[draw_below(&w.d, 5)], .flags = PM_MAP_FIXED | (shared ? PM_MAP_SHARED : 0u) };
	uint64_t first, nr, i, ret;

	draw_range(&first, &nr);
	request.addr = model_addr(first);
	request.length = nr * PAGE;
	if (file >= 0) {
		request.file = w.file[file].handle;
		request.offset = draw_below(&w.d, MODEL_FILE_PAGES - nr + 1) * PAGE;
	}
	CHECK_EQ(pm_map(w.m, any_cpu(), w.space[at].handle, &request, &ret), PM_OK);
	model_detach(&w, at, first, nr);
	for (i = 0; i < nr; i++)
		w.space[at].page[first + i] = (struct model_page){ .mapped = true, .shared = shared, .prot = request.prot, .file = file,
								   .own = file < 0, .index = (uint32_t)(request.offset / PAGE + i) };
}

static void step_unmap(void)
{
	int at = any_space();
	uint64_t first, nr, i;

	draw_range(&first, &nr);
	CHECK_EQ(pm_unmap(w.m, any_cpu(), w.space[at].handle, model_addr(first), nr * PAGE), PM_OK);
	model_detach(&w, at, first, nr);
	for (i = first; i < first + nr; i++)
		w.space[at].page[i] = (struct model_page){ .mapped = false };
}

static void step_protect(void)
{
	static const uint32_t prots[] = { RW, RO, PM_PROT_NONE };
	struct model_space *s = &w.space[any_space()];
	uint32_t prot = prots[draw_below(&w.d, 3)];
	uint64_t first, nr, i;
	bool all;

	draw_range(&first, &nr);
	all = covered(s, first, nr);
	CHECK_EQ(pm_protect(w.m, any_cpu(), s->handle, model_addr(first), nr * PAGE, prot), all ? PM_OK : PM_ERR_FAULT);
	for (i = first; all && i < first + nr; i++)
		s->page[i].prot = prot;
}

static void step_mlock(void)
{
	struct model_space *s = &w.space[any_space()];
	bool locked = draw_below(&w.d, 2), all;
	enum pm_status want = PM_OK, status;
	uint64_t first, nr, i;

	draw_range(&first, &nr);
	all = covered(s, first, nr);
	status = pm_mlock(w.m, any_cpu(), s->handle, model_addr(first), nr * PAGE, locked);
	for (i = first; all && i < first + nr; i++)
		s->page[i].locked = locked;
	/* Locking faults in, and a private page of a file that may be written is copied at once. */
	for (i = first; all && locked && i < first + nr && want == PM_OK; i++) {
		struct model_page *p = &s->page[i];

		if (p->prot == PM_PROT_NONE)
			continue;
		want = model_status(&w, p, false);
		if (!want && (p->prot & PM_PROT_WRITE))
			model_own(&w, p);
	}
	CHECK_EQ(status, all ? want : PM_ERR_FAULT);
}

/// Moves pages to another place of the window, where the core takes them for one area.
static void step_remap(void)
{
	int at = any_space();
	struct model_space *s = &w.space[at];
	struct model_page moved[MODEL_PAGES];
	uint64_t first, nr, to, i, ret;
	enum pm_status status;
	unsigned int k;

	draw_range(&first, &nr);
	to = draw_below(&w.d, MODEL_PAGES - nr + 1);
	status = pm_remap(w.m, any_cpu(), s->handle, model_addr(first), nr * PAGE, nr * PAGE, PM_MAP_FIXED, model_addr(to), &ret);
	if (to < first + nr && first < to + nr) {
		CHECK_EQ(status, PM_ERR_INVAL);
		return;
	}
	CHECK(status == PM_OK ? covered(s, first, nr) : status == PM_ERR_FAULT && (nr > 1 || !s->page[first].mapped));
	if (status)
		return;
	model_detach(&w, at, to, nr);
	for (k = 0; k < MODEL_PINS; k++)
		if (w.pin[k].handle && w.pin[k].space == at && w.pin[k].page >= first && w.pin[k].page < first + nr)
			w.pin[k].page += (uint32_t)(to - first);
	for (i = 0; i < nr; i++) {
		moved[i] = s->page[first + i];
		s->page[first + i] = (struct model_page){ .mapped = false };
	}
	for (i = 0; i < nr; i++)
		s->page[to + i] = moved[i];
}

/* ---- spaces, pins, owners, reclaim ---- */

/// A frame that a device may write to is not shared with a child.
static void check_pins_not_shared(int parent, int child)
{
	unsigned int i;

	for (i = 0; i < MODEL_PINS; i++) {
		const struct model_pin *pin = &w.pin[i];

		if (pin->handle && pin->space == parent && pin->kind != PM_PIN_SHORT && !w.space[parent].page[pin->page].shared)
			CHECK(!maps(&w.space[child], pin->page, pin->pfn));
	}
}

static void step_fork_or_exit(void)
{
	int at = any_space(), child = (int)draw_below(&w.d, MODEL_SPACES), i;

	if (w.space[child].handle) {
		int left = 0;

		for (i = 0; i < MODEL_SPACES; i++)
			left += w.space[i].handle != 0;
		if (left == 1)
			return;
		CHECK_EQ(pm_space_exit(w.m, any_cpu(), w.space[child].handle), PM_OK);
		CHECK_EQ(pm_space_exit(w.m, any_cpu(), w.space[child].handle), PM_ERR_HANDLE);
		model_detach(&w, child, 0, MODEL_PAGES);
		w.space[child] = (struct model_space){ .handle = 0 };
		return;
	}
	CHECK_EQ(pm_space_fork(w.m, any_cpu(), w.space[at].handle, &w.space[child].handle), PM_OK);
	for (i = 0; i < MODEL_PAGES; i++) {
		w.space[child].page[i] = w.space[at].page[i];
		w.space[child].page[i].locked = false;
	}
	check_pins_not_shared(at, child);
}

static void step_pin(void)
{
	struct model_pin *pin = &w.pin[draw_below(&w.d, MODEL_PINS)];
	int at = any_space();
	uint32_t page = (uint32_t)draw_below(&w.d, MODEL_PAGES), kind = PM_PIN_SHORT + (uint32_t)draw_below(&w.d, 4);
	struct model_page *p = &w.space[at].page[page];
	bool write = draw_below(&w.d, 2);
	enum pm_status want = model_status(&w, p, write), status;
	uint64_t handle = 0, pfn = 0;
	void *bytes = NULL;

	if (pin->handle) {
		CHECK_EQ(pm_unpin(w.m, any_cpu(), pin->handle), PM_OK);
		CHECK_EQ(pm_unpin(w.m, any_cpu(), pin->handle), PM_ERR_HANDLE);
		*pin = (struct model_pin){ .handle = 0 };
		return;
	}
	if (kind == PM_PIN_WINDOW) {
		status = pm_window(w.m, any_cpu(), w.space[at].handle, model_addr(page), write, &bytes, &handle);
		if (!status)
			pfn = frame_at(&w.space[at], page);
	} else {
		status = pm_pin(w.m, any_cpu(), w.space[at].handle, model_addr(page), kind, write, &pfn, &handle);
	}
	CHECK_EQ(status, want);
	if (status)
		return;
	if (write || kind != PM_PIN_SHORT)
		model_own(&w, p);
	if (bytes) {
		uint64_t token;

		memcpy(&token, (char *)bytes + MODEL_TOKEN_AT, sizeof(token));
		CHECK_EQ(token, model_value(&w, p));
	}
	*pin = (struct model_pin){ handle, pfn, kind, at, page };
}

static void step_owner(void)
{
	uint32_t i = (uint32_t)draw_below(&w.d, MODEL_BLOCKS);
	uint64_t pfn, moved;

	if (!w.has_block[i]) {
		CHECK_EQ(pm_owner_alloc(w.m, any_cpu(), w.owner, (uint32_t)draw_below(&w.d, 3), PM_GFP_KERNEL, &w.block[i]), PM_OK);
		w.has_block[i] = true;
	} else if (draw_below(&w.d, 2)) {
		CHECK_EQ(pm_owner_frame(w.m, any_cpu(), w.owner, w.block[i], &pfn), PM_OK);
		CHECK_EQ(space_page(w.m, pfn).use, PM_USE_OWNER);
		CHECK_EQ(pm_owner_move(w.m, any_cpu(), w.owner, w.block[i], PM_GFP_KERNEL, &moved), PM_OK);
		CHECK(moved != pfn);
	} else {
		CHECK_EQ(pm_owner_free(w.m, any_cpu(), w.owner, w.block[i]), PM_OK);
		CHECK_EQ(pm_owner_free(w.m, any_cpu(), w.owner, w.block[i]), PM_ERR_RANGE);
		w.has_block[i] = false;
	}
}

static void step_reclaim(void)
{
	struct model_space *s = &w.space[any_space()];
	bool there[MODEL_PAGES] = { false };
	uint64_t first, nr, i, freed;
	struct pm_pte_info pte;

	draw_range(&first, &nr);
	for (i = 0; i < MODEL_PAGES; i++)
		there[i] = s->page[i].mapped && s->page[i].locked && pm_lookup(w.m, any_cpu(), s->handle, model_addr(i), &pte) == PM_OK && pte.kind == PM_PTE_PRESENT;
	if (draw_once_in(&w.d, 3))
		CHECK_EQ(pm_reclaim(w.m, any_cpu(), 0, 1 + draw_below(&w.d, 40), &freed), PM_OK);
	else
		CHECK_EQ(pm_page_out(w.m, any_cpu(), s->handle, model_addr(first), nr * PAGE, &freed), PM_OK);
	for (i = 0; i < MODEL_PAGES; i++)
		if (there[i])
			(void)frame_at(s, i);
}

static void program_step(void)
{
	static void (*const steps[])(void) = { step_look, step_look, step_write, step_write, step_write, step_write, step_file, step_truncate, step_map, step_map, step_unmap,
					       step_protect, step_mlock, step_remap, step_fork_or_exit, step_fork_or_exit, step_pin, step_pin, step_owner, step_reclaim, step_reclaim };

	steps[draw_below(&w.d, sizeof(steps) / sizeof(steps[0]))]();
}

#endif
