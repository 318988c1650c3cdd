#include "virt/table.h"

#include "virt/epoch.h"
#include "virt/reference.h"
#include "virt/space.h"

static struct pm_table *create(struct pm_call *call, unsigned int level, enum pm_status *status)
{
	struct pm_machine *m = call->m;
	struct pm_table *table = pm_host_zalloc(&m->host, sizeof(*table));

	*status = PM_ERR_NOMEM;
	if (!table)
		return NULL;
	pm_lock_init(&table->lock, PM_RANK_TABLE);
	table->level = level;
	table->frame = pm_pfn_nil();
	if (!m->virt->options.tables_in_frames) {
		*status = PM_OK;
		return table;
	}
	*status = pm_page_alloc(call, 0, PM_GFP_KERNEL, false, &table->frame);
	if (*status) {
		pm_host_free(&m->host, table);
		return NULL;
	}
	(void)pm_page_set(pm_page_of(m, table->frame), PM_PG_TABLE);
	return table;
}

static void destroy(struct pm_call *call, struct pm_table *table)
{
	if (!pm_pfn_is_nil(table->frame)) {
		(void)pm_page_clear(pm_page_of(call->m, table->frame), PM_PG_TABLE);
		pm_page_put(call, table->frame);
	}
	pm_host_free(&call->m->host, table);
}

struct pm_table *pm_table_create_top(struct pm_call *call)
{
	enum pm_status status;

	return create(call, 3, &status);
}

enum pm_status pm_table_make_leaf(struct pm_call *call, struct pm_space *space, uint64_t addr, struct pm_table **ret)
{
	struct pm_table *table = space->top;

	while (table->level > 0) {
		unsigned int slot = pm_table_slot(addr, table->level);
		struct pm_table *below = pm_table_below(table, slot);

		if (PM_UNLIKELY(!below)) {
			enum pm_status status;
			struct pm_table *fresh = create(call, table->level - 1, &status);
			uint64_t expected = 0;

			if (!fresh)
				return status;
			/* Of two threads that add a table at once, one gives its own back. */
			if (atomic_compare_exchange_strong(&table->entry[slot], &expected, (uint64_t)(uintptr_t)fresh)) {
				below = fresh;
				atomic_fetch_add_explicit(&space->nr_tables, 1, memory_order_relaxed);
			} else {
				destroy(call, fresh);
				below = (struct pm_table *)(uintptr_t)expected;
			}
		}
		table = below;
	}
	*ret = table;
	return PM_OK;
}

uint64_t pm_table_next_leaf(const struct pm_space *space, uint64_t addr, uint64_t end, struct pm_table **ret)
{
	*ret = NULL;
	while (addr < end) {
		const struct pm_table *table = space->top;
		unsigned int level = 3;

		while (table && level > 0) {
			table = pm_table_below(table, pm_table_slot(addr, level));
			if (table)
				level--;
		}
		if (table) {
			*ret = (struct pm_table *)(uintptr_t)table;
			return addr;
		}
		/* Nothing below this entry: on to the next one of its level. */
		addr = ((addr >> (PM_PAGE_SHIFT + level * PM_TABLE_SHIFT)) + 1) << (PM_PAGE_SHIFT + level * PM_TABLE_SHIFT);
	}
	return end;
}

/// Tables that were unlinked: nobody new finds them, but an access or a walk of before may still be inside.
struct dead_tables {
	struct pm_table *first;
	uint64_t nr;
};

/// Unlinks the tables below `table`, which begins at `base`, that lie in [start, end).
static void unlink_below(struct pm_table *table, uint64_t base, uint64_t start, uint64_t end, struct dead_tables *dead)
{
	uint64_t step = (uint64_t)1 << (PM_PAGE_SHIFT + table->level * PM_TABLE_SHIFT);
	uint64_t slot = start > base ? (start - base) / step : 0;

	for (; slot < PM_TABLE_ENTRIES && base + slot * step < end; slot++) {
		struct pm_table *below = pm_table_below(table, (unsigned int)slot);
		uint64_t at = base + slot * step;

		if (!below)
			continue;
		if (below->level > 0)
			unlink_below(below, at, start, end, dead);
		if (at < start || at + step > end)
			continue;
		atomic_store_explicit(&table->entry[slot], 0, memory_order_release);
		below->next_dead = dead->first;
		dead->first = below;
		dead->nr++;
	}
}

static void destroy_dead(struct pm_call *call, struct pm_space *space, struct dead_tables *dead)
{
	while (dead->first) {
		struct pm_table *table = dead->first;

		dead->first = table->next_dead;
		destroy(call, table);
	}
	atomic_fetch_sub_explicit(&space->nr_tables, dead->nr, memory_order_relaxed);
}

void pm_table_free_range(struct pm_call *call, struct pm_space *space, uint64_t start, uint64_t end)
{
	struct dead_tables dead = { NULL, 0 };

	unlink_below(space->top, 0, start, end, &dead);
	if (!dead.first)
		return;
	pm_tlb_flush(call, &space->cpus);
	destroy_dead(call, space, &dead);
}

void pm_table_destroy(struct pm_call *call, struct pm_space *space)
{
	struct dead_tables dead = { NULL, 0 };

	if (!space->top)
		return;
	unlink_below(space->top, 0, 0, (uint64_t)1 << PM_VA_BITS, &dead);
	destroy_dead(call, space, &dead);
	destroy(call, space->top);
	space->top = NULL;
}
