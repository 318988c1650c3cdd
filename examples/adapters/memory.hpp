// Physical memory for a simulator in C++: a machine, its address spaces, and addresses wider than the library's.
#ifndef EXAMPLE_MEMORY_HPP
#define EXAMPLE_MEMORY_HPP

#include <pymigrate.h>

#include <array>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

namespace example {

inline void check(pm_status status, const char *what)
{
	if (status != PM_OK)
		throw std::runtime_error(std::string(what) + ": " + pm_status_text(status));
}

// A process of the trace. Its addresses may have 64 bits (stacks lie near the top); the library's have PM_VA_BITS. What a process uses lies in a few
// regions of 2^40 bytes, so each region gets a number in the order of its first use.
class Process {
public:
	std::uint64_t handle = 0;

	std::uint64_t fold(std::uint64_t address)
	{
		const std::uint64_t region = address >> kRegionBits;
		if (region != last_region_ || !used_)
			find(region);
		return last_number_ << kRegionBits | (address & ((std::uint64_t{1} << kRegionBits) - 1));
	}

	// The address of the trace for one of the library's: notices name those.
	std::uint64_t unfold(std::uint64_t folded) const
	{
		return regions_[folded >> kRegionBits] << kRegionBits | (folded & ((std::uint64_t{1} << kRegionBits) - 1));
	}

private:
	static constexpr unsigned kRegionBits = 40;
	static constexpr std::size_t kRegions = std::size_t{1} << (PM_VA_BITS - kRegionBits);
	std::array<std::uint64_t, kRegions> regions_{};
	std::size_t used_ = 0;
	std::uint64_t last_region_ = 0, last_number_ = 0;

	void find(std::uint64_t region)
	{
		std::size_t number = 0;
		while (number < used_ && regions_[number] != region)
			number++;
		if (number == kRegions)
			throw std::out_of_range("a process uses more than 16 regions of 2^40 bytes");
		if (number == used_)
			regions_[used_++] = region;
		last_region_ = region;
		last_number_ = number;
	}
};

class Memory {
public:
	// `bytes` of RAM in one zone from frame 0.
	explicit Memory(std::uint64_t bytes, std::size_t processes)
	{
		const pm_zone_layout zone{PM_ZONE_NORMAL, 0, bytes / PM_PAGE_SIZE};
		pm_layout layout{};
		layout.zones = &zone;
		layout.nr_zones = 1;
		layout.nr_cpus = 1;
		pm_settings_default(&layout.settings);
		pm_machine *machine = nullptr;
		check(pm_machine_create(&layout, &machine), "pm_machine_create");
		machine_.reset(machine);
		pm_memory_options options;
		pm_memory_options_default(&options);
		options.contents = PM_CONTENTS_NONE;
		check(pm_memory_enable(machine, &options), "pm_memory_enable");
		processes_.resize(processes);
		for (Process &process : processes_)
			check(pm_space_create(machine, &process.handle), "pm_space_create");
	}

	pm_machine *machine() const { return machine_.get(); }
	Process &process(std::size_t number) { return processes_.at(number); }

	// Where an address of a process is; memory comes on first touch.
	pm_translation translate(std::size_t process, std::uint64_t address, bool write)
	{
		Process &p = processes_[process];
		pm_translation t;
		check(pm_translate(machine(), 0, p.handle, p.fold(address), write ? PM_TRANSLATE_WRITE : 0, &t), "pm_translate");
		return t;
	}

	// A frame for the simulator's own use (page tables): nothing moves it.
	std::uint64_t take_frame()
	{
		std::uint64_t pfn = 0;
		check(pm_alloc(machine(), 0, 0, PM_GFP_KERNEL, &pfn), "pm_alloc");
		return pfn;
	}

	std::uint64_t free_frames() const
	{
		struct pm_zone_info zone;
		check(::pm_zone_info(machine(), 0, &zone), "pm_zone_info");
		return zone.nr_free + zone.nr_pcp;
	}

private:
	struct Destroy {
		void operator()(pm_machine *machine) const { pm_machine_destroy(machine); }
	};
	std::unique_ptr<pm_machine, Destroy> machine_;
	std::vector<Process> processes_;
};

} // namespace example

#endif
