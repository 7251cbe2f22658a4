# SPDX-License-Identifier: Apache-2.0
#
# What can be asked for besides the programs: tests, lint, demo, bench, install. `make help` lists it.

CRITERION_OPTS ?=
FUZZ_SECONDS ?= 10
ROUNDS ?=
SOAK ?=
BENCH ?=
KEEP ?=
IMAGE ?= localhost/tandemfs:latest

UNIT_PROGS := $(foreach r,journal peer fs agent,$(if $(wildcard test/unit/$(r)/*.c),$(B)/test-$(r)))
SIM_PROG := $(if $(wildcard test/sim/*.c),$(B)/sim)

.PHONY: units-programs sim-program system-programs race-programs fuzz-programs bench-programs
units-programs: $(UNIT_PROGS)
sim-program: $(SIM_PROG)
system-programs: $(SYSTEM_PROGS) $(B)/test/wrongclock.so $(B)/test/failio.so $(B)/test/killread.so $(B)/test/sparedlog.so $(B)/test/endedlog.so $(B)/bench/relay
FUZZ_SAN := fuzzer-no-link,address,undefined
# One make for all programs of such a tree: several at once would write the same objects.
race-programs:
	+$(Q)$(if $(RACE_PROGS),$(MAKE) --no-print-directory B=$(B)/tsan SAN=thread \
		$(patsubst $(B)/race/%,$(B)/tsan/test-race/%,$(RACE_PROGS)) && mkdir -p $(B)/race && \
		cp $(patsubst $(B)/race/%,$(B)/tsan/test-race/%,$(RACE_PROGS)) $(B)/race/)
fuzz-programs:
	+$(Q)$(if $(FUZZ_PROGS),$(MAKE) --no-print-directory B=$(B)/fuzzing CC=$(CLANG) \
		SAN=$(FUZZ_SAN) \
		$(patsubst $(B)/fuzz/%,$(B)/fuzzing/test-fuzz/%,$(FUZZ_PROGS)) && mkdir -p $(B)/fuzz && \
		cp $(patsubst $(B)/fuzz/%,$(B)/fuzzing/test-fuzz/%,$(FUZZ_PROGS)) $(B)/fuzz/)
bench-programs: $(BENCH_PROGS)
print-%:
	@echo $($*)

SUITE = +@B=$(B) CRITERION_OPTS="$(CRITERION_OPTS)" FUZZ_SECONDS=$(FUZZ_SECONDS) $(if $(ROUNDS),ROUNDS=$(ROUNDS)) \
	$(if $(SOAK),SOAK=$(SOAK)) test/suite.sh

.PHONY: help setup check check-san sim race fuzz test test-system test-long lint format
help:
	@echo 'make [target]           builds the programs into $(B)/ without one'
	@echo
	@echo 'setup                   install the Debian packages that are missing'
	@echo 'demo                    two sites, PostgreSQL, a dead site, one command; KEEP=1 leaves it running'
	@echo 'demo-clean              stop and remove what KEEP=1 left'
	@echo 'check                   units and simulator, under two minutes; CRITERION_OPTS="--filter ring/*"'
	@echo 'check-san               the same and some kill rounds with ASan and UBSan'
	@echo 'sim                     the simulator for STEPS=100000000 over SEEDS=200, on all cores; SEED=n is the first'
	@echo 'race                    programs, and daemons and agents in some system tests, under ThreadSanitizer'
	@echo 'fuzz                    every parser for FUZZ_SECONDS=$(FUZZ_SECONDS)'
	@echo 'test-system             real mounts, processes and kills; TESTS="name ..." ROUNDS=n'
	@echo 'test                    setup and all of the above; one line with the counts at the end'
	@echo 'test-long               the same with full counts; TEST_GROUPS="build lint" some of them; PART=2/3 a third of the system tests'
	@echo 'bench                   ext4, GlusterFS and tandemfs on one disk; BENCH="append pgbench" ROUNDS=n'
	@echo 'lint, format            rules of the house; clang-format'
	@echo 'image                   the OCI image of tandemfs: $(B)/tandemfs-image.tar; IMAGE=$(IMAGE)'
	@echo 'install, uninstall      DESTDIR= PREFIX=$(PREFIX)'
	@echo 'clean                   remove $(B)/ and the builds beside it'

setup:
	@test/setup.sh

check:
	$(SUITE) units sim
sim: sim-program
	@B=$(B) $(if $(STEPS),STEPS=$(STEPS)) $(if $(SEEDS),SEEDS=$(SEEDS)) $(if $(SEED),SEED=$(SEED)) test/sim.sh
check-san:
	$(SUITE) san-units san-sim san-system
race:
	$(SUITE) race race-system
fuzz:
	$(SUITE) fuzz
test-system:
	$(SUITE) system

TEST_GROUPS ?= build lint units sim san-units san-sim san-system race race-system fuzz system
# As many rounds as fit into the time of a continuous integration, and a third of the walks of whole clusters: each day another.
test: setup
	$(SUITE:test/suite.sh=ROUNDS=$(or $(ROUNDS),6) TURN=$(or $(TURN),$$(($$(date +%-j) % 3 + 1))) test/suite.sh) $(TEST_GROUPS)
# Tests wait half of their time, and share the processors: two for each.
test-long: setup
	+@B=$(B) JOBS=$(or $(JOBS),$$((2 * $$(nproc)))) SIM_STEPS=1000000 SIM_SEEDS=100 SIM_SEED=$$(date +%s) SAN_SIM_STEPS=200000 SAN_ROUNDS=40 FUZZ_SECONDS=$(or $(FUZZ_LONG),120) \
		ROUNDS=$(or $(ROUNDS),200) SEEDS=$(or $(SEEDS),1000) SOAK=$(or $(SOAK),3600) CI_LONG=1 CLAIMS=$(or $(CLAIMS),100) \
		UNIT_TIMEOUT=1800 SIM_TIMEOUT=7200 test/suite.sh $(TEST_GROUPS) sim-long

lint:
	@B=$(B) test/lint.sh
format:
	clang-format -i $$(git ls-files -co --exclude-standard '*.c' '*.h')

.PHONY: clean-beside
clean: clean-beside
clean-beside:
	rm -rf $(B)-asan $(B)-tsan

.PHONY: demo demo-clean bench
demo: setup
	@$(MAKE) --no-print-directory B=$(B) all
	@B=$(B) KEEP=$(KEEP) test/demo.sh
demo-clean:
	@B=$(B) test/demo.sh clean
bench: setup
	@$(MAKE) --no-print-directory B=$(B) all bench-programs system-programs
	@B=$(B) BENCH="$(BENCH)" $(if $(ROUNDS),ROUNDS=$(ROUNDS)) test/bench/run.sh

# --- the image for the pods of k8s-manifests/ ------------------------------------------------------
.PHONY: image
image: $(PROGS)
	@k8s-manifests/image.sh build $(B)/tandemfs-image.tar $(IMAGE) $(B)

# --- install: every program, and the pages, completions and units that lie beside the sources ------
MAN_PAGES := $(wildcard fs/*.[158] agent/*.[158] agent/*/*.[158])
COMPLETIONS := $(wildcard fs/*.bash agent/*.bash agent/*/*.bash)
UNITS := $(wildcard fs/*.service agent/*.service)
SBINDIR := $(DESTDIR)$(PREFIX)/sbin
MANDIR := $(DESTDIR)$(PREFIX)/share/man
COMPLETIONDIR := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
UNITDIR := $(DESTDIR)$(PREFIX)/lib/systemd/system

.PHONY: install uninstall
install: $(PROGS)
	install -d $(SBINDIR)
	install -m 755 $(PROGS) $(SBINDIR)
	ln -sf tandemctl $(SBINDIR)/kubectl-tandem
	@set -e; for p in $(MAN_PAGES); do \
		install -D -m 644 $$p $(MANDIR)/man$${p##*.}/$${p##*/}; done
	@set -e; for p in $(COMPLETIONS); do f=$${p##*/}; \
		install -D -m 644 $$p $(COMPLETIONDIR)/$${f%.bash}; done
	@set -e; for p in $(UNITS); do install -d $(UNITDIR); sed "s,/usr/local,$(PREFIX)," $$p >$(UNITDIR)/$${p##*/}; done
uninstall:
	rm -f $(addprefix $(SBINDIR)/,$(notdir $(PROGS)) kubectl-tandem)
	@for p in $(MAN_PAGES); do rm -f $(MANDIR)/man$${p##*.}/$${p##*/}; done
	@for p in $(COMPLETIONS); do f=$${p##*/}; rm -f $(COMPLETIONDIR)/$${f%.bash}; done
	@for p in $(UNITS); do rm -f $(UNITDIR)/$${p##*/}; done
