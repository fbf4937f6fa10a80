# The front door. meson does the building; this file only gives the common commands names.
#
#   make          build into build/
#   make run      install what is missing (Debian 12), build, serve a sample folder on port 6969
#   make test     install what is missing (Debian 12), build, run every test; ends in one line
#   make bench    measure this server, others and the floor (half an hour; QUICK=1: 5 minutes)
#   make fast-path  spinning, system calls, loss, attack ...: what bench does not measure (root)
#   make sim      ten minutes of simulated worlds (SECONDS=, or COUNT= worlds, from SEED=)
#   make amplification  what forged requests draw, of this server and others (2 minutes, root)
#   make floods   10,000 half-open requests, 100,000 packets of garbage a second; true clients meanwhile
#                 (a minute for both engines, root; ENGINES=mmsg, ENGINES=io_uring: one of them)
#   make coverage lines and branches of proto, policy, file and store that the tests reach
#   make mutate   plants mistakes in a copy of the tree and shows which tests notice each
#   make soak     10,000 transfers, some of them cancelled, under valgrind
#   make fuzz     libFuzzer over tests/fuzz, FUZZ_SECONDS (60) of processor time for each target
#   make crash    a thousand uploads for each file back end, the server killed in the middle
#   make races    a million swaps of files and links for each file back end, under requests and uploads
#   make format   let clang-format lay out the C sources
#   make clean    remove what was built

BUILD ?= build
PORT  ?= 6969

.PHONY: all run test bench amplification floods fast-path sim coverage mutate soak fuzz crash races format clean
all: $(BUILD)/build.ninja
	@ninja -C $(BUILD)

$(BUILD)/build.ninja:
	@command -v meson >/dev/null || { echo "meson is missing: run tools/deps first" >&2; exit 1; }
	@meson setup $(BUILD)

run:
	@tools/deps build
	@$(MAKE) --no-print-directory all
	@tools/run-sample $(BUILD) $(PORT)

test:
	@tools/deps all
	@/usr/bin/python3 bench/servers.py $(BUILD)
	@/usr/bin/python3 tools/test-report

bench: all
	@/usr/bin/python3 bench/run.py --build $(BUILD) $(if $(QUICK),--quick) $(BENCH_ARGS)

fast-path: all
	@/usr/bin/python3 bench/fast_path.py --build $(BUILD) $(BENCH_ARGS)

# Optimised, with assertions; the seeds begin at one drawn from the kernel unless SEED is given.
sim:
	@test -e build-sim/build.ninja || meson setup build-sim --buildtype=release -Db_ndebug=false >/dev/null
	@ninja -C build-sim tests/sim/sim >/dev/null
	@build-sim/tests/sim/sim $(if $(SEED),--seed $(SEED)) $(if $(COUNT),--count $(COUNT),--seconds $(or $(SECONDS),600))

amplification: all
	@/usr/bin/python3 bench/amplification.py --build $(BUILD)

floods: all
	@RINGTFTP_LONG=1 $(if $(ENGINES),ENGINES='$(ENGINES)') /usr/bin/python3 -m pytest -q -s tests/e2e/test_floods.py

coverage:
	@tools/coverage

mutate:
	@tools/mutate

soak: all
	@tools/soak $(BUILD)

crash: all
	@RINGTFTP_CRASH_UPLOADS=1000 RINGTFTP_BUILD=$(abspath $(BUILD)) /usr/bin/python3 -m pytest \
		-q -rP -p no:cacheprovider tests/e2e/test_crash.py

races: all
	@RINGTFTP_RACE_SWAPS=1000000 RINGTFTP_BUILD=$(abspath $(BUILD)) /usr/bin/python3 -m pytest \
		-q -rP -p no:cacheprovider tests/e2e/test_races.py

fuzz:
	@tools/fuzz $(if $(FUZZ_SECONDS),--seconds $(FUZZ_SECONDS)) $(FUZZ_ARGS)

format:
	@git ls-files '*.c' '*.h' | xargs clang-format -i

clean:
	@rm -rf $(BUILD) build-asan build-clang build-coverage build-fuzz build-plain build-sim
