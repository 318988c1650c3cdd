/// Files: contents at any offset, sizes, truncate against mappings, writing out, dropping, private data, direct I/O.
#include "tests/test_back_rig.h"

/// Buffered transfers against a plain array: any offset, across pages, over holes.
static void contents_at_any_offset(void)
{
	enum { PAGES = 6, STEPS = 400 };
	static uint8_t model[PAGES * PAGE], bytes[PAGES * PAGE];
	struct pm_machine *m = back_machine(256, 1);
	uint64_t device = back_device(m, 16, 0), file = back_file(m, PM_FS_BUFFERS, device, 0, PAGES), size = 0, seed = 1, dropped;
	unsigned int step;

	memset(model, 0, sizeof(model));
	for (step = 0; step < STEPS; step++) {
		uint64_t offset, n, i;
		size_t done, want;

		seed = seed * 6364136223846793005u + 1442695040888963407u;
		offset = (seed >> 33) % (PAGES * PAGE);
		n = (seed >> 20) % (2 * PAGE);
		n = n < PAGES * PAGE - offset ? n : PAGES * PAGE - offset;
		switch ((seed >> 60) % 4) {
		case 0:
		case 1:
			for (i = 0; i < n; i++)
				bytes[i] = model[offset + i] = (uint8_t)(seed >> 40) ^ (uint8_t)i;
			CHECK_EQ(pm_file_write(m, 0, file, offset, bytes, n, &done), PM_OK);
			CHECK_EQ(done, n);
			size = n && offset + n > size ? offset + n : size;
			break;
		case 2:
			CHECK_EQ(pm_file_truncate(m, 0, file, offset), PM_OK);
			if (offset < size)
				memset(model + offset, 0, size - offset);
			size = offset;
			break;
		default:
			if (seed >> 59 & 1)
				CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_OK);
			CHECK_EQ(pm_file_drop(m, 0, file, offset, n, &dropped), PM_OK);
			break;
		}
		CHECK_EQ(back_file_info(m, file).size, size);
		CHECK_EQ(pm_file_read(m, 0, file, offset, bytes, n, &done), PM_OK);
		want = offset < size ? (n < size - offset ? n : size - offset) : 0;
		CHECK_EQ(done, want);
		if (!CHECK(memcmp(bytes, model + offset, want) == 0) || !rig_valid(m))
			break;
	}
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	back_destroy_empty(m, 256);
}

static void limits(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t device = back_device(m, 16, 0), file, other;
	struct pm_file_options options = { .fs = PM_FS_RAM, .device = device };
	uint8_t byte = 1;
	size_t done;

	CHECK_EQ(pm_file_create(m, &options, &file), PM_ERR_INVAL);
	options = (struct pm_file_options){ .fs = PM_FS_COMMON };
	CHECK_EQ(pm_file_create(m, &options, &file), PM_ERR_INVAL);
	options = (struct pm_file_options){ .fs = PM_NR_FS, .device = device };
	CHECK_EQ(pm_file_create(m, &options, &file), PM_ERR_INVAL);
	options = (struct pm_file_options){ .fs = PM_FS_COMMON, .device = device + 7 };
	CHECK_EQ(pm_file_create(m, &options, &file), PM_ERR_HANDLE);
	options = (struct pm_file_options){ .fs = PM_FS_RAM, .size = UINT64_MAX };
	CHECK_EQ(pm_file_create(m, &options, &file), PM_ERR_LIMIT);
	file = back_file(m, PM_FS_COMMON, device, 2, 3);
	CHECK_EQ(pm_file_truncate(m, 0, file, 3 * PAGE + 1), PM_ERR_LIMIT);
	CHECK_EQ(pm_file_write(m, 0, file, 3 * PAGE, &byte, 1, &done), PM_ERR_LIMIT);
	CHECK_EQ(pm_file_write(m, 0, file, UINT64_MAX, &byte, 1, &done), PM_ERR_LIMIT);
	CHECK_EQ(pm_file_write(m, 0, file, 3 * PAGE - 1, &byte, 1, &done), PM_OK);
	CHECK_EQ(pm_file_read(m, 0, file, UINT64_MAX, &byte, 1, &done), PM_OK);
	CHECK_EQ(done, 0);
	CHECK_EQ(pm_file_frame(m, 0, file, 0, &other), PM_ERR_FAULT);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	CHECK_EQ(pm_file_close(m, 0, file), PM_ERR_HANDLE);
	CHECK_EQ(pm_file_read(m, 0, file, 0, &byte, 1, &done), PM_ERR_HANDLE);
	back_destroy_empty(m, 256);
}

/// A mapping and the file are one: what one writes the other reads, dirty is noticed again after each writing out.
static void shared_mapping(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t device = back_device(m, 16, 10), file = back_file(m, PM_FS_COMMON, device, 4, 4), space = back_space(m);
	uint64_t addr = back_map(m, 0, space, 4, PM_MAP_SHARED, file), dropped;
	uint8_t bytes[PAGE];
	unsigned int round;

	for (round = 1; round < 4; round++) {
		CHECK_EQ(back_fill(m, 0, space, addr + PAGE, (uint8_t)round), PM_OK);
		CHECK_EQ(back_get(m, 0, file, 1), (int)round);
		CHECK_EQ(back_file_info(m, file).nr_dirty, 1);
		CHECK_EQ(back_pte(m, space, addr + PAGE).writable, 1);
		CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_OK);
		CHECK_EQ(back_file_info(m, file).nr_dirty, 0);
		CHECK_EQ(back_file_info(m, file).writeouts, round);
		/* Write-protected, so that the next write is noticed. */
		CHECK_EQ(back_pte(m, space, addr + PAGE).writable, 0);
		CHECK_EQ(pm_device_peek(m, device, back_file_info(m, file).first_block + 1, bytes), PM_OK);
		CHECK_EQ(bytes[100], (int)round);
	}
	/* Mapped pages are in use. */
	CHECK_EQ(pm_file_drop(m, 0, file, 0, UINT64_MAX, &dropped), PM_OK);
	CHECK_EQ(dropped, 0);
	/* The mapping keeps the file when its handle is gone. */
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	CHECK_EQ(back_look(m, 0, space, addr + PAGE), 3);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_device_destroy(m, device), PM_ERR_BUSY);
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	CHECK_EQ(pm_device_destroy(m, device), PM_OK);
	back_destroy_empty(m, 256);
}

/// A write through a mapping waits while the page is being written out: the device gets it whole.
static void stable_while_written(void)
{
	struct pm_machine *m = back_machine_with(256, 1, 1, rig_bare());
	uint64_t device = back_device(m, 16, 10), file = back_file(m, PM_FS_BUFFERS, device, 1, 1), space = back_space(m), released;
	uint64_t addr = back_map(m, 0, space, 1, PM_MAP_SHARED, file);
	uint8_t bytes[PAGE];

	CHECK_EQ(back_fill(m, 0, space, addr, 1), PM_OK);
	CHECK_EQ(pm_device_stick(m, device, PM_IO_WRITE, 1), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, PAGE, false), PM_OK);
	CHECK_EQ(back_fill(m, 0, space, addr, 2), PM_ERR_INTR);
	CHECK_EQ(back_put(m, 0, file, 0, 2), PM_ERR_INTR);
	CHECK_EQ(back_look(m, 0, space, addr), 1);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_device_release(m, device, false, &released), PM_OK);
	CHECK_EQ(pm_device_peek(m, device, back_file_info(m, file).first_block, bytes), PM_OK);
	CHECK_EQ(bytes[0], 1);
	CHECK_EQ(back_fill(m, 0, space, addr, 2), PM_OK);
	CHECK_EQ(back_file_info(m, file).nr_dirty, 1);
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	back_destroy_empty(m, 256);
}

/// Truncate takes pages away from mappings, private copies too; beyond the end a fault says so; what comes back is zeros.
static void truncate_and_mappings(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t device = back_device(m, 16, 10), file = back_file(m, PM_FS_COMMON, device, 4, 4), space = back_space(m);
	uint64_t shared = back_map(m, 0, space, 4, PM_MAP_SHARED, file), own = back_map(m, 0, space, 4, 0, file), i;

	for (i = 0; i < 4; i++) {
		CHECK_EQ(back_fill(m, 0, space, shared + i * PAGE, (uint8_t)(i + 1)), PM_OK);
		CHECK_EQ(back_fill(m, 0, space, own + i * PAGE, (uint8_t)(i + 11)), PM_OK);
	}
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, false), PM_OK);
	/* Waits for the writeback of what goes. */
	CHECK_EQ(pm_file_truncate(m, 0, file, PAGE + 10), PM_OK);
	CHECK(rig_valid(m));
	CHECK_EQ(back_look(m, 0, space, shared), 1);
	CHECK_EQ(back_look(m, 0, space, shared + 2 * PAGE), PM_ERR_BEYOND);
	CHECK_EQ(back_look(m, 0, space, own + 3 * PAGE), PM_ERR_BEYOND);
	CHECK_EQ(back_look(m, 0, space, own + PAGE), 12);
	CHECK_EQ(back_fill(m, 0, space, shared + 3 * PAGE, 1), PM_ERR_BEYOND);
	CHECK_EQ(back_file_info(m, file).nr_pages, 2);
	CHECK_EQ(pm_file_truncate(m, 0, file, 4 * PAGE), PM_OK);
	/* Of page 1 ten bytes are left, of the others nothing, neither in memory nor from the device. */
	CHECK_EQ(back_look(m, 0, space, shared + PAGE), -1000);
	CHECK_EQ(back_look(m, 0, space, shared + 2 * PAGE), 0);
	CHECK_EQ(back_get(m, 0, file, 3), 0);
	CHECK_EQ(back_look(m, 0, space, own + 2 * PAGE), 0);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	back_destroy_empty(m, 256);
}

/// A page that cannot be written out stays, dirty, with its contents, and says so once; then it is tried again.
static void a_failed_write_loses_nothing(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t device = back_device(m, 16, 10), file = back_file(m, PM_FS_RELEASE, device, 2, 2), dropped, freed, pfn;
	struct pm_page_info page;

	CHECK_EQ(back_put(m, 0, file, 0, 5), PM_OK);
	CHECK_EQ(back_put(m, 0, file, 1, 6), PM_OK);
	CHECK_EQ(pm_device_bad_blocks(m, device, back_file_info(m, file).first_block, 1), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_ERR_IO);
	CHECK_EQ(back_file_info(m, file).nr_dirty, 1);
	CHECK_EQ(pm_file_frame(m, 0, file, 0, &pfn), PM_OK);
	CHECK_EQ(pm_page_info(m, pfn, &page), PM_OK);
	CHECK((page.flags & (1u << 3)) && (page.flags & (1u << 5)));
	CHECK_EQ(pm_file_drop(m, 0, file, 0, UINT64_MAX, &dropped), PM_OK);
	CHECK_EQ(dropped, 1);
	/* Reclaim does not lose it either. */
	CHECK_EQ(pm_reclaim(m, 0, 0, 10, &freed), PM_OK);
	CHECK_EQ(freed, 0);
	CHECK_EQ(back_get(m, 0, file, 0), 5);
	/* Nobody was told yet of what reclaim tried. */
	CHECK_EQ(pm_device_bad_blocks(m, device, 0, 0), PM_OK);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_ERR_IO);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_OK);
	CHECK_EQ(back_file_info(m, file).nr_dirty, 0);
	CHECK_EQ(pm_file_drop(m, 0, file, 0, UINT64_MAX, &dropped), PM_OK);
	CHECK_EQ(back_get(m, 0, file, 0), 5);
	CHECK_EQ(back_get(m, 0, file, 1), 6);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	back_destroy_empty(m, 256);
}

/// Who gets private data when, by filesystem; and what it takes to get rid of it.
static void private_data(void)
{
	static const uint32_t kinds[] = { PM_FS_COMMON, PM_FS_BUFFERS, PM_FS_FALLBACK, PM_FS_RELEASE };
	unsigned int i;

	for (i = 0; i < 4; i++) {
		struct pm_machine *m = back_machine(256, 1);
		uint64_t device = back_device(m, 16, 10), file = back_file(m, kinds[i], device, 2, 2), dropped;

		CHECK_EQ(back_get(m, 0, file, 0), 0);
		CHECK_EQ(back_file_info(m, file).nr_buffers, kinds[i] == PM_FS_BUFFERS);
		CHECK_EQ(back_put(m, 0, file, 1, 1), PM_OK);
		CHECK_EQ(back_file_info(m, file).nr_buffers, 1 + (kinds[i] == PM_FS_BUFFERS));
		CHECK(rig_valid(m));
		CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_OK);
		CHECK_EQ(pm_file_drop(m, 0, file, 0, UINT64_MAX, &dropped), PM_OK);
		CHECK_EQ(dropped, 2);
		CHECK_EQ(back_file_info(m, file).nr_buffers, 0);
		CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
		back_destroy_empty(m, 256);
	}
}

/// Memory without a device: never written out, never reclaimed, gone with its file.
static void in_memory(void)
{
	struct pm_machine *m = back_machine(256, 1);
	uint64_t file = back_file(m, PM_FS_RAM, 0, 0, 0), space = back_space(m), dropped, freed, sizes[5], child;
	uint64_t shared = back_map(m, 0, space, 2, PM_MAP_SHARED, 0);

	CHECK_EQ(back_put(m, 0, file, 1000000, 9), PM_OK);
	CHECK_EQ(back_file_info(m, file).nr_pages, 1);
	CHECK_EQ(pm_file_sync(m, 0, file, 0, UINT64_MAX, true), PM_OK);
	CHECK_EQ(pm_file_drop(m, 0, file, 0, UINT64_MAX, &dropped), PM_OK);
	CHECK_EQ(dropped, 0);
	/* Shared anonymous memory is such a file, without a name. */
	CHECK_EQ(back_fill(m, 0, space, shared, 3), PM_OK);
	CHECK_EQ(pm_space_fork(m, 0, space, &child), PM_OK);
	CHECK_EQ(back_fill(m, 0, child, shared + PAGE, 4), PM_OK);
	CHECK_EQ(back_look(m, 0, space, shared + PAGE), 4);
	CHECK_EQ(pm_lru_sizes(m, 0, sizes), PM_OK);
	CHECK_EQ(sizes[4], 3);
	CHECK_EQ(pm_reclaim(m, 0, 0, 100, &freed), PM_OK);
	CHECK_EQ(freed, 0);
	CHECK_EQ(back_get(m, 0, file, 1000000), 9);
	CHECK_EQ(pm_file_truncate(m, 0, file, 0), PM_OK);
	CHECK_EQ(back_file_info(m, file).nr_pages, 0);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	CHECK_EQ(back_look(m, 0, child, shared), 3);
	CHECK_EQ(pm_space_exit(m, 0, child), PM_OK);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	back_destroy_empty(m, 256);
}

/// Direct I/O and the page cache do not contradict each other.
static void direct(void)
{
	struct pm_machine *m = back_machine_with(256, 1, 1, rig_bare());
	uint64_t device = back_device(m, 16, 10), file = back_file(m, PM_FS_COMMON, device, 3, 3), ram = back_file(m, PM_FS_RAM, 0, 1, 1);
	uint64_t space = back_space(m), addr = back_map(m, 0, space, 2, 0, 0), pin, read_pin, pfn, ticket, released;

	CHECK_EQ(back_fill(m, 0, space, addr, 21), PM_OK);
	CHECK_EQ(pm_pin(m, 0, space, addr, PM_PIN_DIRECT_IO, true, &pfn, &pin), PM_OK);
	CHECK_EQ(pm_pin(m, 0, space, addr + PAGE, PM_PIN_DIRECT_IO, false, &pfn, &read_pin), PM_OK);
	CHECK_EQ(pm_direct_io(m, 0, pin, file, 1, PM_IO_READ, &ticket), PM_ERR_INVAL);
	CHECK_EQ(pm_direct_io(m, 0, pin, file, 0, PM_IO_BOTH, &ticket), PM_ERR_INVAL);
	CHECK_EQ(pm_direct_io(m, 0, pin, ram, 0, PM_IO_READ, &ticket), PM_ERR_INVAL);
	CHECK_EQ(pm_direct_io(m, 0, pin, file, 3 * PAGE, PM_IO_READ, &ticket), PM_ERR_BEYOND);
	CHECK_EQ(pm_direct_io(m, 0, read_pin, file, 0, PM_IO_READ, &ticket), PM_ERR_ACCESS);
	CHECK_EQ(pm_direct_io(m, 0, pin + 4096, file, 0, PM_IO_READ, &ticket), PM_ERR_HANDLE);
	/* A write: the cached page is dropped, and a read by the cache sees what the device has. */
	CHECK_EQ(back_put(m, 0, file, 0, 1), PM_OK);
	CHECK_EQ(pm_direct_io(m, 0, pin, file, 0, PM_IO_WRITE, &ticket), PM_OK);
	CHECK(rig_valid(m));
	CHECK_EQ(pm_direct_wait(m, 0, ticket), PM_OK);
	CHECK_EQ(pm_direct_wait(m, 0, ticket), PM_ERR_HANDLE);
	CHECK_EQ(back_get(m, 0, file, 0), 21);
	/* A read: what is dirty in the cache counts. */
	CHECK_EQ(back_put(m, 0, file, 1, 33), PM_OK);
	CHECK_EQ(pm_direct_io(m, 0, pin, file, PAGE, PM_IO_READ, &ticket), PM_OK);
	CHECK_EQ(pm_direct_wait(m, 0, ticket), PM_OK);
	CHECK_EQ(back_look(m, 0, space, addr), 33);
	/* A page that was never written: zeros. */
	CHECK_EQ(pm_direct_io(m, 0, pin, file, 2 * PAGE, PM_IO_READ, &ticket), PM_OK);
	CHECK_EQ(pm_direct_wait(m, 0, ticket), PM_OK);
	CHECK_EQ(back_look(m, 0, space, addr), 0);
	/* A stuck transfer holds off its waiter, the pin's end, and a truncate. */
	CHECK_EQ(pm_device_stick(m, device, PM_IO_BOTH, 1), PM_OK);
	CHECK_EQ(pm_direct_io(m, 0, pin, file, 2 * PAGE, PM_IO_WRITE, &ticket), PM_OK);
	CHECK_EQ(pm_direct_wait(m, 0, ticket), PM_ERR_INTR);
	CHECK_EQ(pm_unpin(m, 0, pin), PM_ERR_INTR);
	CHECK_EQ(pm_file_truncate(m, 0, file, 0), PM_ERR_INTR);
	CHECK_EQ(pm_device_release(m, device, true, &released), PM_OK);
	CHECK_EQ(pm_direct_wait(m, 0, ticket), PM_ERR_IO);
	CHECK_EQ(pm_file_truncate(m, 0, file, 0), PM_OK);
	CHECK_EQ(pm_unpin(m, 0, pin), PM_OK);
	CHECK_EQ(pm_unpin(m, 0, read_pin), PM_OK);
	CHECK_EQ(pm_space_exit(m, 0, space), PM_OK);
	CHECK_EQ(pm_file_close(m, 0, file), PM_OK);
	CHECK_EQ(pm_file_close(m, 0, ram), PM_OK);
	back_destroy_empty(m, 256);
}

int main(void)
{
	RUN(contents_at_any_offset);
	RUN(limits);
	RUN(shared_mapping);
	RUN(stable_while_written);
	RUN(truncate_and_mappings);
	RUN(a_failed_write_loses_nothing);
	RUN(private_data);
	RUN(in_memory);
	RUN(direct);
	return check_result();
}
