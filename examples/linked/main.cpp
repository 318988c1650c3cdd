// Physical memory from the library that the wheel brings, in C++.
//
//     c++ -std=c++17 -O2 main.cpp $(pymigrate-config --cflags --libs) -o main && ./main
//     cmake -S . -B build -Dpymigrate_DIR="$(pymigrate-config --cmakedir)" && cmake --build build && build/main

#include <pymigrate.h>

#include <cstdint>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>

namespace {

void check(pm_status status, const char *what)
{
	if (status != PM_OK)
		throw std::runtime_error(std::string(what) + ": " + pm_status_text(status));
}

struct Destroy {
	void operator()(pm_machine *machine) const { pm_machine_destroy(machine); }
};
using Machine = std::unique_ptr<pm_machine, Destroy>;

Machine boot(std::uint64_t frames)
{
	const pm_zone_layout zone{PM_ZONE_NORMAL, 0, frames};
	pm_layout layout{};
	layout.zones = &zone;
	layout.nr_zones = 1;
	layout.nr_cpus = 1;
	pm_settings_default(&layout.settings);
	pm_machine *machine = nullptr;
	check(pm_machine_create(&layout, &machine), "pm_machine_create");
	return Machine(machine);
}

} // namespace

int main()
try {
	if (pm_abi_version() >> 16 != PM_ABI_MAJOR)
		throw std::runtime_error("libpymigrate is of another version than pymigrate.h");
	const Machine machine = boot(16384);

	// Blocks of frames, as a kernel would ask for them: a buddy allocator that merges what is given back.
	std::uint64_t small = 0, large = 0;
	check(pm_alloc(machine.get(), 0, 0, PM_GFP_KERNEL, &small), "pm_alloc");
	check(pm_alloc(machine.get(), 0, PM_PAGEBLOCK_ORDER, PM_GFP_HIGHUSER_MOVABLE, &large), "pm_alloc");
	std::cout << "a frame at " << small << ", 512 in a row at " << large << "\n";
	check(pm_free(machine.get(), 0, small, 0), "pm_free");
	check(pm_free(machine.get(), 0, large, PM_PAGEBLOCK_ORDER), "pm_free");
	if (large % 512 != 0)
		throw std::runtime_error("a block is aligned to its size");

	// Translations, with memory on first touch.
	pm_memory_options options;
	pm_memory_options_default(&options);
	check(pm_memory_enable(machine.get(), &options), "pm_memory_enable");
	std::uint64_t space = 0;
	check(pm_space_create(machine.get(), &space), "pm_space_create");
	pm_translation first{}, again{};
	check(pm_translate(machine.get(), 0, space, 0x7f000123, PM_TRANSLATE_WRITE, &first), "pm_translate");
	check(pm_translate(machine.get(), 0, space, 0x7f000456, 0, &again), "pm_translate");
	std::cout << "first touch: frame " << first.pfn << ", page of " << (4 << first.order) << " KiB; again: frame " << again.pfn << "\n";
	if (first.kind != PM_TRANSLATED_TOUCH || again.kind != PM_TRANSLATED_HIT || first.pfn != again.pfn)
		throw std::runtime_error("the second access finds what the first has made");
	return 0;
} catch (const std::exception &error) {
	std::cerr << error.what() << "\n";
	return 1;
}
