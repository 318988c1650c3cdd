/// Walks the allocator's free lists and per-CPU lists inside the kernel, so that a recording knows the order of every list.
///
/// Structures are described only as far as they are read; CO-RE finds the fields in the running kernel. A zone is walked under its own lock
/// where the walk is started by a tracepoint that the allocator hits with the lock held; otherwise without (a zone in which nothing happens).
#include <linux/bpf.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#define KERNEL __attribute__((preserve_access_index))

enum { ZONES = 5, ORDERS = 11, TYPES = 8, ENTRIES_MAX = 1 << 22, STEPS_MAX = 1 << 22, PCP_STEPS_MAX = 1 << 17, CPUS_MAX = 256, PCP_LISTS_MAX = 32 };

typedef unsigned int u32;
typedef unsigned long long u64;

struct list_head {
	struct list_head *next;
} KERNEL;

typedef struct {
	int counter;
} KERNEL atomic_t;

struct page {
	struct list_head buddy_list;
	unsigned long private;
	atomic_t _refcount;
} KERNEL;

struct free_area {
	struct list_head free_list[1];
	unsigned long nr_free;
} KERNEL;

struct per_cpu_pages {
	struct list_head lists[1];
} KERNEL;

struct zone {
	struct per_cpu_pages *per_cpu_pageset;
	unsigned long zone_start_pfn;
	unsigned long spanned_pages;
	struct free_area free_area[1];
} KERNEL;

struct pglist_data {
	struct zone node_zones[1];
} KERNEL;

struct kthread {
	void *data;
} KERNEL;

struct task_struct {
	char comm[16];
	void *worker_private;
} KERNEL;

struct bpf_iter__task {
	struct task_struct *task;
} KERNEL;

struct bpf_array {
	void *pptrs[0];
} KERNEL;

/// What user space asks and gets. `wanted` has a bit for each zone that is still to be walked.
struct control {
	u64 node;     ///< struct pglist_data of node 0
	u64 vmemmap;  ///< struct page of frame 0
	u32 page_bytes;
	u32 wanted;
	u32 unlocked; ///< the task iterator walks what is wanted
	u32 cpus;
	u64 busy;     ///< one CPU walks at a time: the entries have one writer
	u32 n;	      ///< entries written
	u32 pad;
	struct {
		u64 begin_ns, end_ns;
		u32 first, n;
		u32 broken; ///< lists that did not hold together
		u32 locked;
	} zones[ZONES];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, struct control);
} control SEC(".maps");

/// An entry: frame | order << 32 | type << 40 | (1 + CPU) << 48 for a per-CPU list.
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, ENTRIES_MAX);
	__type(key, u32);
	__type(value, u64);
} entries SEC(".maps");

/// Tells where a CPU's copies are: the distance between this map's own copy and its offset.
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, u32);
	__type(value, u64);
} anchor SEC(".maps");

struct walk {
	struct control *c;
	u64 head, at, tag;
	u64 order;
	u32 broken;
	u32 free; ///< blocks must say that they are free, of this order
};

static u64 peek(u64 address)
{
	u64 value = 0;

	bpf_probe_read_kernel(&value, sizeof(value), (void *)address);
	return value;
}

static long step(u32 i, void *context)
{
	struct walk *w = context;
	struct page *page;
	unsigned long order = 99;
	int references = 1;
	u64 pfn, offset;
	u64 *slot;
	u32 key;

	if (w->at == w->head)
		return 1;
	page = (struct page *)(w->at - bpf_core_field_offset(struct page, buddy_list));
	offset = (u64)page - w->c->vmemmap;
	pfn = offset / 64;
	if (w->at == 0 || offset % 64 != 0 || pfn >> 32 != 0) {
		w->broken = 1;
		return 1;
	}
	/* A page that left the list under the walk would lead it astray: nobody may have a reference to a page of these lists. */
	bpf_core_read(&references, sizeof(references), &page->_refcount.counter);
	bpf_core_read(&order, sizeof(order), &page->private);
	if (references != 0 || (w->free && order != w->order)) {
		w->broken = 1;
		return 1;
	}
	key = w->c->n;
	slot = bpf_map_lookup_elem(&entries, &key);
	if (slot == NULL) {
		w->broken = 1;
		return 1;
	}
	*slot = pfn | w->tag;
	w->c->n = key + 1;
	w->at = peek(w->at);
	return 0;
}

static void walk_list(struct control *c, struct walk *w, u64 head)
{
	w->head = head;
	w->at = peek(head);
	w->broken = 0;
	if (w->at != 0)
		bpf_loop(w->free ? STEPS_MAX : PCP_STEPS_MAX, step, w, 0);
}

struct lists {
	struct control *c;
	u64 zone;
	u32 index;
	u32 cpu;
	u64 pageset;
};

static long free_list(u32 i, void *context)
{
	struct lists *l = context;
	u32 types = bpf_core_field_size(struct free_area, free_list) / 16, order, type;
	struct walk w = { .c = l->c, .free = 1 };
	u64 area;

	if (types == 0 || types > TYPES)
		return 1;
	order = i / types;
	type = i % types;
	if (order >= ORDERS)
		return 1;
	area = l->zone + bpf_core_field_offset(struct zone, free_area) + (u64)order * bpf_core_type_size(struct free_area);
	w.order = order;
	w.tag = (u64)order << 32 | (u64)type << 40;
	walk_list(l->c, &w, area + bpf_core_field_offset(struct free_area, free_list) + (u64)type * 16);
	if (l->index < ZONES)
		l->c->zones[l->index].broken += w.broken;
	return 0;
}

/// Lists of orders 0 to 3 by type, then those of the huge order: not movable, movable.
static long pcp_list(u32 i, void *context)
{
	struct lists *l = context;
	struct walk w = { .c = l->c };
	u32 order = i < 12 ? i / 3 : 9, type = i < 12 ? i % 3 : i == 12 ? 0 : 1;

	if (i >= bpf_core_field_size(struct per_cpu_pages, lists) / 16)
		return 1;
	w.tag = (u64)order << 32 | (u64)type << 40 | (u64)(l->cpu + 1) << 48;
	walk_list(l->c, &w, l->pageset + bpf_core_field_offset(struct per_cpu_pages, lists) + (u64)i * 16);
	if (l->index < ZONES)
		l->c->zones[l->index].broken += w.broken;
	return 0;
}

static long cpu_lists(u32 cpu, void *context)
{
	struct lists *l = context;
	u32 zero = 0;
	void *volatile map = &anchor;
	void *volatile copy = bpf_map_lookup_percpu_elem(&anchor, &zero, cpu);
	u64 map_at = 0, copy_at = 0, offset;

	/* Through memory the verifier sees numbers, with which one may reckon. */
	bpf_probe_read_kernel(&map_at, sizeof(map_at), (void *)&map);
	bpf_probe_read_kernel(&copy_at, sizeof(copy_at), (void *)&copy);
	if (copy_at == 0 || cpu >= l->c->cpus)
		return 1;
	offset = peek(map_at + bpf_core_field_offset(struct bpf_array, pptrs));
	l->cpu = cpu;
	l->pageset = peek(l->zone + bpf_core_field_offset(struct zone, per_cpu_pageset)) + copy_at - offset;
	bpf_loop(PCP_LISTS_MAX, pcp_list, l, 0);
	return 0;
}

static void walk_zone(struct control *c, u32 index, u32 locked)
{
	struct lists l = { .c = c, .index = index };

	if (index >= ZONES)
		return;
	l.zone = c->node + bpf_core_field_offset(struct pglist_data, node_zones) + (u64)index * bpf_core_type_size(struct zone);
	c->zones[index].begin_ns = bpf_ktime_get_ns();
	c->zones[index].first = c->n;
	c->zones[index].broken = 0;
	c->zones[index].locked = locked;
	bpf_loop(ORDERS * TYPES, free_list, &l, 0);
	bpf_loop(CPUS_MAX, cpu_lists, &l, 0);
	c->zones[index].n = c->n - c->zones[index].first;
	c->zones[index].end_ns = bpf_ktime_get_ns();
}

static struct control *get_control(void)
{
	u32 zero = 0;

	return bpf_map_lookup_elem(&control, &zero);
}

/// Where the array of struct page begins: at a whole GiB, and the frames of the lowest zone lie in its first.
static long find_vmemmap(u32 i, void *context)
{
	struct lists *l = context;
	u32 types = bpf_core_field_size(struct free_area, free_list) / 16;
	u64 head, first;

	if (types == 0 || i / types >= ORDERS)
		return 1;
	head = l->zone + bpf_core_field_offset(struct zone, free_area) + (u64)(i / types) * bpf_core_type_size(struct free_area) +
	       bpf_core_field_offset(struct free_area, free_list) + (u64)(i % types) * 16;
	first = peek(head);
	if (first == head || first == 0)
		return 0;
	l->c->vmemmap = first & ~((1ull << 30) - 1);
	return 1;
}

/// Finds node 0 through its kswapd, whose argument it is; and walks without the lock what is wanted so.
SEC("iter/task")
int tasks(struct bpf_iter__task *ctx)
{
	struct control *c = get_control();
	struct task_struct *task = ctx->task;
	struct kthread *thread;
	char name[16] = "";
	u64 node = 0;

	if (task == NULL || c == NULL)
		return 0;
	bpf_core_read_str(name, sizeof(name), &task->comm);
	if (__builtin_memcmp(name, "kswapd0", 8) != 0)
		return 0;
	bpf_core_read(&thread, sizeof(thread), &task->worker_private);
	bpf_core_read(&node, sizeof(node), &thread->data);
	c->node = node;
	c->page_bytes = bpf_core_type_size(struct page);
	if (c->vmemmap == 0) {
		struct lists l = { .c = c, .zone = node + bpf_core_field_offset(struct pglist_data, node_zones) };

		bpf_loop(ORDERS * TYPES, find_vmemmap, &l, 0);
	}
	if (!c->unlocked || c->vmemmap == 0)
		return 0;
	for (u32 i = 0; i < ZONES; i++) {
		if (c->wanted >> i & 1)
			walk_zone(c, i, 0);
	}
	c->wanted = 0;
	return 0;
}

/// Called by the allocator with the lock of the page's zone held.
static int under_lock(u64 page)
{
	struct control *c = get_control();
	u64 pfn;

	if (c == NULL || c->wanted == 0 || c->unlocked || c->vmemmap == 0)
		return 0;
	pfn = (page - c->vmemmap) / 64;
	for (u32 i = 0; i < ZONES; i++) {
		u64 zone = c->node + bpf_core_field_offset(struct pglist_data, node_zones) + (u64)i * bpf_core_type_size(struct zone);
		u64 first = peek(zone + bpf_core_field_offset(struct zone, zone_start_pfn));
		u64 n = peek(zone + bpf_core_field_offset(struct zone, spanned_pages));

		if (pfn < first || pfn - first >= n || !(c->wanted >> i & 1))
			continue;
		if (__sync_val_compare_and_swap(&c->busy, 0, 1) != 0)
			return 0;
		if (c->wanted >> i & 1) {
			walk_zone(c, i, 1);
			c->wanted &= ~(1u << i);
		}
		c->busy = 0;
		return 0;
	}
	return 0;
}

SEC("raw_tp/mm_page_pcpu_drain")
int drain(struct bpf_raw_tracepoint_args *ctx)
{
	return under_lock(ctx->args[0]);
}

SEC("raw_tp/mm_page_alloc_zone_locked")
int locked(struct bpf_raw_tracepoint_args *ctx)
{
	return under_lock(ctx->args[0]);
}

char LICENSE[] SEC("license") = "Dual MIT/GPL";
