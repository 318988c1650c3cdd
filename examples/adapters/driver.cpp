// Runs a synthetic trace through both adapters, and checks what a random page map cannot promise: no two live pages on one frame, also while pages are
// unmapped and moved. driver [SEED [ACCESSES]]
//
//     c++ -std=c++17 -O2 driver.cpp $(pymigrate-config --cflags --libs) -o driver && ./driver

#include "champsim_vmem.hpp"
#include "ramulator_translation.hpp"

#include <cstdlib>
#include <ctime>
#include <iostream>
#include <random>
#include <unordered_map>

namespace {

constexpr std::uint64_t kBytes = std::uint64_t{256} << 20;
constexpr unsigned kProcesses = 4;

// A page of a process, as the trace names it.
struct Page {
	unsigned process;
	std::uint64_t number;
	bool operator==(const Page &other) const { return process == other.process && number == other.number; }
};

// Who has which frame, by what the adapters have said.
class Owners {
public:
	void found(Page page, std::uint64_t pfn)
	{
		const auto [at, fresh] = owner_.try_emplace(pfn, page);
		if (!fresh && !(at->second == page))
			throw std::runtime_error("frame " + std::to_string(pfn) + " has two live pages");
	}
	void gone(std::uint64_t pfn) { owner_.erase(pfn); }
	void gone(unsigned process, std::uint64_t first, std::uint64_t end)
	{
		for (auto at = owner_.begin(); at != owner_.end();)
			at = at->second.process == process && at->second.number >= first && at->second.number < end ? owner_.erase(at) : std::next(at);
	}

private:
	std::unordered_map<std::uint64_t, Page> owner_;
};

// A heap, a library and a stack, as programs have them: 47-bit addresses, some of them dense, some far apart.
std::uint64_t draw_address(std::mt19937_64 &random)
{
	const std::uint64_t bases[] = {0x555555554000, 0x7ffff7c00000, 0x7ffffffde000};
	const std::uint64_t spans[] = {24u << 20, 2u << 20, 128u << 10};
	const unsigned where = random() % 8 < 6 ? 0 : random() % 2 + 1;
	return bases[where] + random() % spans[where];
}

struct Host {
	example::Memory memory{kBytes, kProcesses};
	example::VirtualMemory vmem{memory, 5, 200};
	example::Translation translation{memory, static_cast<std::int64_t>(kBytes)};
	Owners owners;
	std::uint64_t moves = 0;
};

// A page has moved: what a TLB would drop.
void moved(void *context, const pm_notice *notice)
{
	Host &host = *static_cast<Host *>(context);
	if (notice->kind != PM_NOTICE_MOVED)
		return;
	host.owners.gone(notice->from);
	host.moves++;
}

void access(Host &host, std::mt19937_64 &random)
{
	const unsigned process = random() % kProcesses;
	const std::uint64_t address = draw_address(random);
	std::uint64_t physical;
	if (random() % 2) {
		physical = host.vmem.va_to_pa(process, address, random() % 4 == 0).first;
		for (unsigned level = 5; level > 5 - host.vmem.walk_levels(process, address); level--)
			host.vmem.get_pte_pa(process, address, level);
	} else {
		example::Request request{static_cast<std::int64_t>(address), static_cast<int>(process), random() % 4 == 0};
		if (!host.translation.translate(request))
			throw std::runtime_error("out of memory, although the trace fits");
		physical = static_cast<std::uint64_t>(request.addr);
	}
	if (physical >= kBytes || ((physical ^ address) & (PM_PAGE_SIZE - 1)))
		throw std::runtime_error("a physical address outside of memory, or with another offset");
	host.owners.found({process, address >> PM_PAGE_SHIFT}, physical >> PM_PAGE_SHIFT);
}

// 64 pages of the heap go: their frames are anybody's.
void unmap(Host &host, std::mt19937_64 &random)
{
	const unsigned process = random() % kProcesses;
	const std::uint64_t address = draw_address(random) & ~std::uint64_t{64 * PM_PAGE_SIZE - 1}, length = 64 * PM_PAGE_SIZE;
	example::Process &p = host.memory.process(process);
	example::check(pm_unmap(host.memory.machine(), 0, p.handle, p.fold(address), length), "pm_unmap");
	host.owners.gone(process, address >> PM_PAGE_SHIFT, (address + length) >> PM_PAGE_SHIFT);
}

void move(Host &host, std::mt19937_64 &random)
{
	const unsigned process = random() % kProcesses;
	const std::uint64_t pfn = host.memory.translate(process, draw_address(random), false).pfn;
	const std::uint64_t pfns[] = {pfn};
	pm_migrate_request request{};
	pm_migrate_result result;
	std::size_t count;
	request.pfns = pfns;
	request.n = 1;
	example::check(pm_migrate(host.memory.machine(), 0, &request, &result, &count), "pm_migrate");
}

void check_properties(std::uint64_t seed, std::uint64_t accesses)
{
	Host host;
	std::mt19937_64 random(seed);
	pm_notify_options options;
	pm_notify_options_default(&options);
	options.notify = moved;
	options.context = &host;
	example::check(pm_notify(host.memory.machine(), &options), "pm_notify");
	for (std::uint64_t i = 0; i < accesses; i++) {
		const unsigned kind = random() % 256;
		if (kind == 0)
			unmap(host, random);
		else if (kind < 4)
			move(host, random);
		else
			access(host, random);
	}
	// The frames of page tables are nobody's page.
	host.vmem.for_each_table([&](std::uint64_t pfn) { host.owners.found({kProcesses, pfn}, pfn); });
	char message[256];
	if (pm_machine_validate(host.memory.machine(), message, sizeof(message)) != PM_OK)
		throw std::runtime_error(message);
	std::cout << accesses << " accesses, " << host.moves << " pages moved: no two live pages on one frame\n";
}

// Through the core simulator's adapter: the first touch of each of 48,000 pages, then accesses to them; in CPU time.
void measure(std::uint64_t accesses)
{
	constexpr std::uint64_t kPages = 48000;
	std::uint64_t sum = 0;
	const auto rate = [&](const char *what, std::uint64_t n, auto &&body) {
		const std::clock_t start = std::clock();
		for (std::uint64_t i = 0; i < n; i++)
			sum += body(i);
		const double seconds = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
		std::cout << what << ": " << static_cast<double>(n) / seconds / 1e6 << " million a second\n";
	};
	example::Memory memory(kBytes, 1);
	example::VirtualMemory vmem(memory, 5, 200);
	std::uint64_t random = 88172645463325252u;
	rate("first touches", kPages, [&](std::uint64_t i) { return vmem.va_to_pa(0, 0x555555554000 + i * PM_PAGE_SIZE).first; });
	rate("hits", accesses, [&](std::uint64_t) {
		random ^= random << 13;
		random ^= random >> 7;
		random ^= random << 17;
		return vmem.va_to_pa(0, 0x555555554000 + random % (kPages * PM_PAGE_SIZE)).first;
	});
	if (!sum)
		std::cout << "\n";
}

} // namespace

int main(int argc, char **argv)
try {
	const std::uint64_t seed = argc > 1 ? std::strtoull(argv[1], nullptr, 0) : 1, accesses = argc > 2 ? std::strtoull(argv[2], nullptr, 0) : 200000;
	check_properties(seed, accesses);
	measure(accesses * 40);
	return 0;
} catch (const std::exception &error) {
	std::cerr << error.what() << "\n";
	return 1;
}
