# SPDX-License-Identifier: Apache-2.0
#
# tandemfs: everything is a target here. `make help` lists them.
#
#   B=build       where the outputs go (another build beside it: make B=build-asan SAN=address,undefined)
#   SAN=          sanitizers for this build
#   V=1           show the commands
#   ROUNDS= SOAK= scale the system tests (SOAK: seconds of test/system/soak.sh)

B ?= build
CC ?= gcc
CLANG ?= clang
PREFIX ?= /usr/local
DESTDIR ?=
Q := $(if $(V),,@)
say = $(if $(V),@:,@printf '  %-6s %s\n' $(1) $(2))

WARN := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-unused-parameter -Werror
OPT ?= -O2
ARCH := $(shell uname -m)
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -DFUSE_USE_VERSION=314
CFLAGS += -std=gnu11 -g $(OPT) -fno-omit-frame-pointer $(WARN)
LDFLAGS += -Wl,--as-needed
ifneq ($(SAN),)
CFLAGS += -fsanitize=$(SAN) -fno-sanitize-recover=all
LDFLAGS += -fsanitize=$(SAN)
endif

pc = $(shell pkg-config $(1) $(2) 2>/dev/null)
FUSE_CFLAGS := $(call pc,--cflags,fuse3)
JOURNAL_LIBS := -luring -lpthread
PEER_LIBS := -lssl -lcrypto -ljson-c
FS_LIBS := -lfuse3 -lrocksdb
AGENT_LIBS := -lmicrohttpd -lgnutls -lcurl

JOURNAL_INC := -iquote journal
PEER_INC := -iquote peer -iquote journal
FS_INC := -iquote fs -iquote peer -iquote journal
AGENT_INC := -iquote agent -iquote agent/kube -iquote agent/ctl -iquote peer -iquote journal
TEST_INC := -iquote test/lib -iquote fs -iquote agent -iquote agent/kube -iquote agent/ctl -iquote peer -iquote journal

objs = $(patsubst %.c,$(B)/%.o,$(1))
JOURNAL_OBJ := $(call objs,$(wildcard journal/*.c))
PEER_OBJ := $(call objs,$(wildcard peer/*.c))
FS_OBJ := $(call objs,$(filter-out fs/main.c fs/holder_main.c,$(wildcard fs/*.c)))
AGENT_OBJ := $(call objs,$(filter-out %_main.c,$(wildcard agent/*.c agent/*/*.c)))
TESTLIB_OBJ := $(call objs,$(wildcard test/lib/*.c))
SIM_OBJ := $(call objs,$(wildcard test/sim/*.c))
SYSTEM_PROGS := $(patsubst test/system/%.c,$(B)/test/%,$(filter-out %/wrongclock.c %/failio.c %/killread.c %/sparedlog.c %/endedlog.c,$(wildcard test/system/*.c)))
RACE_PROGS := $(patsubst test/race/%.c,$(B)/race/%,$(wildcard test/race/*.c))
FUZZ_PROGS := $(patsubst test/fuzz/%.c,$(B)/fuzz/%,$(wildcard test/fuzz/*.c))
BENCH_PROGS := $(patsubst test/bench/%.c,$(B)/bench/%,$(wildcard test/bench/*.c))

PROGS := $(B)/tandemfs $(B)/tandem-holder $(B)/tandemctl $(B)/tandem-agent

.PHONY: all
all: $(PROGS)

-include test/targets.mk

# --- rules ---------------------------------------------------------------------------------------
$(B)/journal/%.o: INC = $(JOURNAL_INC)
$(B)/peer/%.o: INC = $(PEER_INC)
$(B)/fs/%.o: INC = $(FS_INC) $(FUSE_CFLAGS)
$(B)/agent/%.o: INC = $(AGENT_INC)
$(B)/test/%.o: INC = $(TEST_INC) $(FUSE_CFLAGS)

$(B)/%.o: %.c
	$(call say,CC,$<)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(INC) -MMD -MP -c -o $@ $<

$(B)/libjournal.a: $(JOURNAL_OBJ)
$(B)/libpeer.a: $(PEER_OBJ)
$(B)/libfs.a: $(FS_OBJ)
$(B)/libagent.a: $(AGENT_OBJ)
$(B)/libtest.a: $(TESTLIB_OBJ)
$(B)/lib%.a:
	$(call say,AR,$@)
	@mkdir -p $(@D)
	$(Q)rm -f $@ && ar rcs $@ $^

link = $(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o %.a,$^) $(1)
$(B)/tandemfs: $(B)/fs/main.o $(B)/libfs.a $(B)/libpeer.a $(B)/libjournal.a
	$(call say,LINK,$@)
	$(call link,$(FS_LIBS) $(PEER_LIBS) $(JOURNAL_LIBS))
$(B)/tandem-holder: $(B)/fs/holder_main.o $(B)/fs/holder_node.o
	$(call say,LINK,$@)
	$(call link,)
$(B)/tandemctl: $(B)/agent/ctl/ctl_main.o $(B)/libagent.a $(B)/libpeer.a $(B)/libjournal.a
	$(call say,LINK,$@)
	$(call link,$(AGENT_LIBS) $(PEER_LIBS) $(JOURNAL_LIBS))
$(B)/tandem-agent: $(B)/agent/agent_main.o $(B)/libagent.a $(B)/libpeer.a $(B)/libjournal.a
	$(call say,LINK,$@)
	$(call link,$(AGENT_LIBS) $(PEER_LIBS) $(JOURNAL_LIBS))

unit_objs = $(call objs,$(wildcard test/unit/$(1)/*.c))
$(B)/test-journal: $(call unit_objs,journal) $(B)/libtest.a $(B)/libjournal.a
	$(call say,LINK,$@)
	$(call link,-lcriterion $(JOURNAL_LIBS))
$(B)/test-peer: $(call unit_objs,peer) $(B)/libtest.a $(B)/libpeer.a $(B)/libjournal.a
	$(call say,LINK,$@)
	$(call link,-lcriterion $(PEER_LIBS) $(JOURNAL_LIBS))
$(B)/test-fs: $(B)/tandem-holder $(call unit_objs,fs) $(B)/libtest.a $(B)/libfs.a $(B)/libpeer.a $(B)/libjournal.a
	$(call say,LINK,$@)
	$(call link,-lcriterion $(FS_LIBS) $(PEER_LIBS) $(JOURNAL_LIBS))
$(B)/test-agent: $(call unit_objs,agent) $(B)/libtest.a $(B)/libagent.a $(B)/libpeer.a $(B)/libjournal.a
	$(call say,LINK,$@)
	$(call link,-lcriterion $(AGENT_LIBS) $(PEER_LIBS) $(JOURNAL_LIBS))
$(B)/sim: $(SIM_OBJ) $(B)/libpeer.a $(B)/libjournal.a
	$(call say,LINK,$@)
	$(call link,$(PEER_LIBS) $(JOURNAL_LIBS))
$(B)/test/%: $(B)/test/system/%.o $(B)/libtest.a $(B)/libfs.a $(B)/libpeer.a $(B)/libjournal.a
	$(call say,LINK,$@)
	$(call link,$(FS_LIBS) $(PEER_LIBS) $(JOURNAL_LIBS) -lsqlite3)
# Started many times a second: with no library that it does not need.
$(B)/test/member: $(B)/test/system/member.o $(B)/libpeer.a $(B)/libjournal.a
	$(call say,LINK,$@)
	$(call link,-ljson-c)
$(B)/test/kget: $(B)/test/system/kget.o $(B)/libagent.a $(B)/libpeer.a $(B)/libjournal.a
	$(call say,LINK,$@)
	$(call link,$(AGENT_LIBS) $(PEER_LIBS) $(JOURNAL_LIBS))
# For LD_PRELOAD: without sanitizers, which want to be first.
$(B)/test/%.so: test/system/%.c
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -std=gnu11 -O2 $(WARN) -shared -fPIC -o $@ $<
$(B)/bench/%: $(B)/test/bench/%.o $(B)/libtest.a $(B)/libfs.a $(B)/libpeer.a $(B)/libjournal.a
	$(call say,LINK,$@)
	@mkdir -p $(@D)
	$(call link,$(FS_LIBS) $(PEER_LIBS) $(JOURNAL_LIBS))

# Race programs: everything below them built with ThreadSanitizer, in a tree of its own.
$(B)/race/%: FORCE
	$(Q)$(MAKE) --no-print-directory B=$(B)/tsan SAN=thread CC=$(CC) $(B)/tsan/test-race/$*
	@mkdir -p $(@D)
	$(Q)cp $(B)/tsan/test-race/$* $@
$(B)/test-race/%: $(B)/test/race/%.o $(B)/libtest.a $(B)/libagent.a $(B)/libfs.a $(B)/libpeer.a $(B)/libjournal.a
	@mkdir -p $(@D)
	$(call link,$(AGENT_LIBS) $(FS_LIBS) $(PEER_LIBS) $(JOURNAL_LIBS))

# Fuzzers: libFuzzer needs clang; the code below is built with coverage in a tree of its own.
$(B)/fuzz/%: FORCE
	$(Q)$(MAKE) --no-print-directory B=$(B)/fuzzing CC=$(CLANG) SAN=fuzzer-no-link,address,undefined $(B)/fuzzing/test-fuzz/$*
	@mkdir -p $(@D)
	$(Q)cp $(B)/fuzzing/test-fuzz/$* $@
$(B)/test-fuzz/%: $(B)/test/fuzz/%.o $(B)/libagent.a $(B)/libfs.a $(B)/libpeer.a $(B)/libjournal.a
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -fsanitize=fuzzer,address,undefined -o $@ $(filter %.o %.a,$^) $(AGENT_LIBS) $(FS_LIBS) $(PEER_LIBS) $(JOURNAL_LIBS)

.PHONY: FORCE clean
FORCE:
clean:
	rm -rf $(B)

.SECONDARY:
-include $(shell find $(B) -name '*.d' 2>/dev/null)
