# berth. The targets that people use:
#
#   make setup      install what building and testing needs (Debian, Ubuntu); no-op when it is there
#   make            build $(BUILD)/bin/berth and $(BUILD)/bin/berth-init; they run from the tree
#   make try        build, then show in plain words what a session can do and what it cannot
#   make check      less than a minute: format, lint, layers, unit tests
#   make test       everything: gcc, clang, sanitizers, lint, unit, kernel, attack, end to end
#                   (make test SUITES="unit kernel": some of it)
#   make crash      kills at every fail point and thousands of random instants; minutes
#   make crash-tcp  2,000 kills of each kind under clients over TCP; hours
#   make attack     only the hostile programs; attack-mutations: proves that each of them bites;
#                   attack-minute: row 46 (gateway, launcher, front killed in a loop) for a minute
#   make fuzz       every fuzzer for FUZZ_SECONDS; fuzz-long: for ten minutes each
#   make bench      berth against bubblewrap, runc and the bare host, paired
#   make vm-test    kernel and attack tests on Debian's 6.1 kernel with pure cgroup v2, in qemu
#   make vm-smoke   a few sessions and tests on that kernel, in minutes
#   make fresh-test clone, try and test in a Debian 12 tree that has nothing installed
#   make install    DESTDIR and PREFIX are honoured; uninstall takes the same variables
#
# Everything that is built goes to $(BUILD). Variables: CC (gcc or clang), BUILD, SANITIZE=1 (ASan
# and UBSan), V=1 (show commands). A change of any of them rebuilds what depends on it.

ifeq ($(origin CC),default)
CC := gcc
endif
BUILD    ?= build
# One spelling of a directory in the tree: what depends on what is written with it.
override BUILD := $(patsubst $(CURDIR)/%,%,$(BUILD))
PREFIX   ?= /usr/local
SANITIZE ?=
FUZZER   ?=
Q        := $(if $(V),,@)
# What is compiled at the same time where a target builds for itself.
JOBS     ?= $(shell nproc)

# The one place where the version is written; `berth --version`, man pages and packages follow it.
VERSION  := 0.1.0

WARN := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
        -Wold-style-definition -Wundef -Wvla -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough -Werror
HARDEN := -fstack-protector-strong -fno-strict-overflow -fno-plt
CPPFLAGS += -I. -D_GNU_SOURCE -DBERTH_VERSION='"$(VERSION)"' -DBERTH_PREFIX='"$(PREFIX)"'
CFLAGS   += -std=gnu11 -O2 -g $(WARN) $(HARDEN) -fno-common -ffunction-sections -fdata-sections
LDFLAGS  += -Wl,-z,relro,-z,now,-z,noexecstack
# Not for test programs: Criterion finds its tests in a section that nothing refers to.
GC       := -Wl,--gc-sections

ifeq ($(SANITIZE),1)
CFLAGS  += -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
LDFLAGS += -fsanitize=address,undefined
STATIC  :=
else
CPPFLAGS += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
STATIC  := -static-pie
CFLAGS  += -fPIE
endif
ifeq ($(FUZZER),1)
CFLAGS  += -fsanitize=fuzzer-no-link
endif

.DELETE_ON_ERROR:
.SECONDARY:

# The event loop of front (docs/adr/0011); in tests as needed, so that programs which do not serve
# run where it is not installed.
LIBUV        := -Wl,--as-needed -luv
LIBUV_STATIC := -l:libuv_a.a -pthread
# The archive, as it ships: only a test that uses it gets it.
SQLITE       := -l:libsqlite3.a -lm

# ---- one archive per folder: the linker proves the layers ---------------------------------------

folder_sources = $(filter-out $(NOT_IN_ARCHIVE),$(wildcard $(1)/*.c))
objects        = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

# What keeps sessions in a ledger. It needs SQLite, so it is an archive of its own: `berth run` and
# whatever holds privilege link none of it (docs/adr/0010).
LEDGER_SOURCES := $(wildcard provider/ledger*.c provider/coordinator*.c) provider/idempotency.c \
                  provider/recovery.c provider/session_state.c provider/usage.c

# The engine of front: the ledger's user, unprivileged (docs/adr/0012).
SERVICE_SOURCES := $(wildcard provider/provider*.c provider/document*.c provider/service*.c)

NOT_IN_ARCHIVE := runtime/gateway/main.c runtime/agent/init_main.c runtime/agent/files_main.c api/cli/main.c api/front/main.c \
                  provider/failpoint.c $(LEDGER_SOURCES) $(SERVICE_SOURCES)

LIB_base     := $(BUILD)/lib/libberth-base.a
LIB_plan     := $(BUILD)/lib/libberth-plan.a
LIB_stage    := $(BUILD)/lib/libberth-stage.a
LIB_agent    := $(BUILD)/lib/libberth-agent.a
LIB_link     := $(BUILD)/lib/libberth-link.a
LIB_gateway  := $(BUILD)/lib/libberth-gateway.a
LIB_host     := $(BUILD)/lib/libberth-host.a
LIB_policy   := $(BUILD)/lib/libberth-policy.a
LIB_provider := $(BUILD)/lib/libberth-provider.a
LIB_cli      := $(BUILD)/lib/libberth-cli.a
LIB_http     := $(BUILD)/lib/libberth-http.a
LIB_openapi  := $(BUILD)/lib/libberth-openapi.a
LIB_ledger   := $(BUILD)/lib/libberth-ledger.a
LIB_service  := $(BUILD)/lib/libberth-service.a
LIB_front    := $(BUILD)/lib/libberth-front.a

# In link order: each may use only what stands after it.
LIBS_ALL := $(LIB_cli) $(LIB_front) $(LIB_openapi) $(LIB_http) $(LIB_service) $(LIB_ledger) $(LIB_provider) $(LIB_policy) \
            $(LIB_host) $(LIB_stage) $(LIB_link) $(LIB_agent) $(LIB_gateway) $(LIB_plan) $(LIB_base)

all: $(BUILD)/bin/berth $(BUILD)/bin/berth-init $(if $(wildcard runtime/agent/files_main.c),$(BUILD)/bin/berth-files) \
     $(if $(wildcard api/front/main.c),$(BUILD)/bin/berth-front) $(BUILD)/bin/berth-gateway

$(LIB_base):     $(call objects,$(wildcard runtime/*.c runtime/base/*.c))
$(LIB_plan):     $(call objects,$(call folder_sources,runtime/plan))
$(LIB_stage):    $(call objects,$(call folder_sources,runtime/stage))
$(LIB_agent):    $(call objects,$(call folder_sources,runtime/agent))
$(LIB_link):     $(call objects,$(call folder_sources,runtime/link))
$(LIB_gateway):  $(call objects,$(call folder_sources,runtime/gateway))
$(LIB_host):     $(call objects,$(call folder_sources,runtime/host))
$(LIB_policy):   $(call objects,$(call folder_sources,policy))
$(LIB_provider): $(call objects,$(call folder_sources,provider))
$(LIB_ledger):   $(call objects,$(LEDGER_SOURCES))
$(LIB_service):  $(call objects,$(SERVICE_SOURCES))
$(LIB_front):    $(call objects,$(call folder_sources,api/front))
$(LIB_cli):      $(call objects,$(call folder_sources,api/cli))
$(LIB_openapi):  $(call objects,$(call folder_sources,api/openapi))
$(LIB_http):     $(call objects,$(call folder_sources,api/http))

# >>> seccomp: the filters are made when berth is built (runtime/plan/gen) and are read-only data.
SECCOMP_GEN := $(call objects,runtime/plan/gen/seccomp_gen.c runtime/plan/seccomp_build.c \
                 runtime/plan/seccomp_emit.c runtime/plan/seccomp_rules.c runtime/plan/seccomp_table.c \
                 runtime/plan/seccomp_describe.c)

$(BUILD)/gen/seccomp_gen: $(SECCOMP_GEN) $(LIB_base)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

$(BUILD)/gen/seccomp_generated.c: $(BUILD)/gen/seccomp_gen
	$(Q)$< filters > $@

$(BUILD)/obj/gen/seccomp_generated.o: $(BUILD)/gen/seccomp_generated.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(LIB_plan): $(BUILD)/obj/gen/seccomp_generated.o
# <<< seccomp

# >>> policy: the assembler takes the presets in and names no dependency.
$(BUILD)/obj/policy/preset.o: $(wildcard policy/presets/*.jsonc)

# The generated documents; a unit test compares them with what the program makes.
policy-docs: $(BUILD)/bin/berth
	$(Q)$< policy schema > docs/policy.schema.json
	$(Q)$< policy schema --reference > docs/policy-reference.md
	$(Q)$< serve --config-schema > docs/config.schema.json
	$(Q)$< serve --config-reference > docs/config-reference.md
.PHONY: policy-docs
# <<< policy

# >>> musl: the shipped programs are linked with musl, because a process of glibc executes dozens of
# CPUID instructions before main(), each a trap in a virtual machine (docs/adr/0004). Tests and
# sanitizers use glibc, so every line is compiled against both. LIBC=glibc ships with glibc.
LIBC ?= $(if $(filter 1,$(SANITIZE)),glibc,musl)
ifeq ($(LIBC),musl)
SHIP       := musl
MUSL       := /usr/lib/$(shell $(CC) -dumpmachine 2>/dev/null | sed 's/-pc-/-/;s/-gnu$$//')-musl
MUSL_SELF  := $(shell $(CC) -print-file-name=include 2>/dev/null)
MUSL_CLANG := $(shell $(CC) -print-resource-dir 2>/dev/null)
MUSL_INC   := -nostdinc -isystem $(subst /lib/,/include/,$(MUSL)) \
              -isystem $(if $(MUSL_CLANG),$(MUSL_CLANG)/include,$(MUSL_SELF)) \
              -idirafter /usr/include -idirafter /usr/include/$(shell gcc -print-multiarch 2>/dev/null)
GCC_FILE    = $(shell gcc -print-file-name=$(1) 2>/dev/null)
SHIP_START := -nostdlib -nostartfiles $(MUSL)/rcrt1.o $(MUSL)/crti.o $(call GCC_FILE,crtbeginS.o)
SHIP_END   := $(MUSL)/libc.a $(call GCC_FILE,libgcc.a) $(call GCC_FILE,crtendS.o) $(MUSL)/crtn.o
else
SHIP       := obj
SHIP_START :=
SHIP_END   :=
endif

$(BUILD)/musl/%.o: %.c $(BUILD)/stamp/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(MUSL_INC) -MMD -MP -c -o $@ $<

$(BUILD)/musl/gen/seccomp_generated.o: $(BUILD)/gen/seccomp_generated.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(MUSL_INC) -MMD -MP -c -o $@ $<

$(BUILD)/musl/policy/preset.o: $(wildcard policy/presets/*.jsonc)

ship_objects = $(patsubst %.c,$(BUILD)/$(SHIP)/%.o,$(1))
ship_archive = $(patsubst %.c,$(BUILD)/$(SHIP)/%.o,$(call folder_sources,$(1)))
# <<< musl

# Stamps whose content is what they stand for: touched only when it changes, so that another
# compiler, flag or list of files rebuilds what depends on it and an unchanged one rebuilds nothing.
SOURCES := $(sort $(wildcard runtime/*.c runtime/*/*.c policy/*.c provider/*.c api/*/*.c))
FLAGS   := $(CC) $(CPPFLAGS) $(CFLAGS) | $(LDFLAGS) $(STATIC)

$(BUILD)/stamp/flags: force
	@mkdir -p $(@D)
	@printf '%s\n' '$(subst ','\'',$(FLAGS))' | cmp -s - $@ || \
	    printf '%s\n' '$(subst ','\'',$(FLAGS))' > $@

$(BUILD)/stamp/sources: force
	@mkdir -p $(@D)
	@printf '%s\n' $(SOURCES) | cmp -s - $@ || printf '%s\n' $(SOURCES) > $@

$(BUILD)/lib/%.a: $(BUILD)/stamp/sources
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)ar rcsD $@ $(filter %.o,$^)

$(BUILD)/obj/%.o: %.c $(BUILD)/stamp/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

SHIP_BASE  := $(call ship_objects,$(wildcard runtime/*.c runtime/base/*.c))
SHIP_BERTH := $(call ship_objects,api/cli/main.c) $(call ship_archive,api/cli) \
              $(call ship_archive,provider) $(call ship_archive,policy) \
              $(call ship_archive,runtime/host) $(call ship_archive,runtime/stage) \
              $(call ship_archive,runtime/agent) $(call ship_archive,runtime/plan) \
              $(call ship_objects,runtime/link/agent_client.c runtime/link/spool_reader.c runtime/gateway/gateway.c) \
              $(call ship_archive,api/openapi) \
              $(call ship_objects,api/http/route.c api/http/fields.c api/http/head.c provider/document_shape.c) \
              $(BUILD)/$(SHIP)/gen/seccomp_generated.o $(SHIP_BASE)
SHIP_INIT  := $(call ship_objects,runtime/agent/init_main.c) $(call ship_archive,runtime/agent) \
              $(call ship_objects,$(addprefix runtime/plan/seccomp_,notify.c simulate.c rules.c)) \
              $(SHIP_BASE)

# The archives are made too, so that a program which links is one whose layers link.
$(BUILD)/bin/berth: $(SHIP_BERTH) | $(LIBS_ALL)
	@mkdir -p $(@D)
	$(Q)$(CC) $(STATIC) $(LDFLAGS) $(GC) -o $@ $(SHIP_START) $(SHIP_BERTH) $(SHIP_END)

# PID 1 of every session: small, static, executable and unreadable (docs/ARCHITECTURE.md, init).
# It is linked elsewhere first: an ordinary user cannot copy a file of mode 0111, not even his own.
$(BUILD)/obj/berth-init: $(SHIP_INIT)
	@mkdir -p $(@D)
	$(Q)$(CC) $(STATIC) $(LDFLAGS) $(GC) -o $@ $(SHIP_START) $(SHIP_INIT) $(SHIP_END)

$(BUILD)/bin/berth-init: $(BUILD)/obj/berth-init
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)install -m 0111 $< $@

# The file worker: a command of every session, so it is small and static too. What may not be read is not dumpable from
# execve() on: no program of the session's user, whose id it has, gets hold of it before it has said so itself.
SHIP_FILES := $(call ship_objects,runtime/agent/files_main.c) $(call ship_archive,runtime/agent) $(SHIP_BASE)

$(BUILD)/obj/berth-files: $(SHIP_FILES)
	@mkdir -p $(@D)
	$(Q)$(CC) $(STATIC) $(LDFLAGS) $(GC) -o $@ $(SHIP_START) $(SHIP_FILES) $(SHIP_END)

# Its mode is said here: so it depends on this file.
$(BUILD)/bin/berth-files: $(BUILD)/obj/berth-files Makefile
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)install -m 0111 $(BUILD)/obj/berth-files $@

# front: glibc, because Debian's archives of SQLite and libuv are (docs/adr/0010, 0011).
FRONT_LIBS := $(LIB_front) $(LIB_openapi) $(LIB_http) $(LIB_service) $(LIB_ledger) $(LIB_provider) $(LIB_policy) \
              $(LIB_link) $(LIB_agent) $(LIB_gateway) $(LIB_plan) $(LIB_base)

# SQLite's loader of extensions finds no loader, libuv no user database, whose reading loads code in a
# static program: nothing that this program reads is ever code.
LOADS_NOTHING := -Wl,--wrap=dlopen,--defsym=__wrap_dlopen=front_loads_nothing \
                 -Wl,--wrap=getpwuid_r,--defsym=__wrap_getpwuid_r=front_knows_nobody

$(BUILD)/bin/berth-front: $(BUILD)/obj/api/front/main.o $(FRONT_LIBS)
	@mkdir -p $(@D)
	$(Q)$(CC) $(STATIC) $(LDFLAGS) $(GC) $(LOADS_NOTHING) -o $@ $^ $(SQLITE) $(LIBUV_STATIC)

# gateway: glibc too, because Debian's archive of c-ares is. It is linked whole by nobody else.
# It asks for no service by name, so that no code of the host gets into this process.
CARES := -l:libcares.a -Wl,--wrap=getservbyname,--defsym=__wrap_getservbyname=gateway_knows_no_service \
         -Wl,--wrap=getservbyport_r,--defsym=__wrap_getservbyport_r=gateway_knows_no_port

$(BUILD)/bin/berth-gateway: $(BUILD)/obj/runtime/gateway/main.o $(LIB_gateway) $(LIB_plan) $(LIB_base)
	@mkdir -p $(@D)
	$(Q)$(CC) $(STATIC) $(LDFLAGS) $(GC) -o $@ $^ $(CARES)

# ---- tests: one Criterion program per file --------------------------------------------------------


UNIT_TESTS   := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*.c))
KERNEL_TESTS := $(patsubst tests/kernel/%.c,$(BUILD)/tests/kernel/%,$(wildcard tests/kernel/*.c))

$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(BUILD)/obj/tests/patience.o $(LIBS_ALL)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcriterion -lseccomp $(SQLITE) $(LIBUV)

$(BUILD)/tests/kernel/%: $(BUILD)/obj/tests/kernel/%.o $(BUILD)/obj/tests/patience.o $(LIBS_ALL)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcriterion -lseccomp $(LIBUV)

# Pages that are made from tables; the same tests compare them.
state-docs: $(BUILD)/tests/unit/session_state $(BUILD)/tests/unit/recovery
	$(Q)BERTH_WRITE_DOCUMENTS=1 $(BUILD)/tests/unit/session_state --filter '*/the_document_is_the_table'
	$(Q)BERTH_WRITE_DOCUMENTS=1 $(BUILD)/tests/unit/recovery --filter '*/the_document_is_the_table'

unit-tests:   $(UNIT_TESTS)
kernel-tests: $(KERNEL_TESTS)

# The same sources once more, elsewhere: clang must accept them, and the sanitizers must be quiet.
CLANG_BUILD := $(BUILD)-clang
ASAN_BUILD  := $(BUILD)-asan

clang-build:
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=$(CLANG_BUILD) SANITIZE= all unit-tests kernel-tests crash-build

asan-build:
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=$(ASAN_BUILD) SANITIZE=1 unit-tests

RUN_TESTS = BUILD=$(BUILD) ASAN_BUILD=$(ASAN_BUILD) tests/run-tests

check: setup-test
	$(Q)$(MAKE) --no-print-directory -k -j$(JOBS) unit-tests lint
	$(Q)$(RUN_TESTS) unit

# Some of them where time is short, in the order in which they run; what only others need is not
# built then. clang's warnings are lint.
SUITES = lint unit asan kernel e2e clients attack crash fuzz
build_for = $(if $(filter $(1),$(SUITES)),$(Q)$(MAKE) --no-print-directory -j$(JOBS) $(2))

test: setup-test
	$(Q)$(MAKE) --no-print-directory -j$(JOBS) all unit-tests kernel-tests attack-build crash-build
	$(call build_for,lint,clang-build)
	$(call build_for,asan,asan-build)
	$(call build_for,fuzz,fuzz-build)
	$(Q)$(RUN_TESTS) $(SUITES)

try: setup-build
	$(Q)$(MAKE) --no-print-directory all
	$(Q)BUILD=$(BUILD) tests/try.sh

# ---- attacks ---------------------------------------------------------------------------------------
# Hostile programs are static: they run inside sessions whose image has no library of ours.

ATTACK_PROGRAMS := $(patsubst tests/attack/%.c,$(BUILD)/tests/attack/%,$(wildcard tests/attack/*.c))

attack-build: all $(ATTACK_PROGRAMS)

$(BUILD)/tests/attack/%: $(BUILD)/obj/tests/attack/%.o
	@mkdir -p $(@D)
	$(Q)$(CC) -static-pie $(LDFLAGS) -o $@ $^

attack: setup-build
	$(Q)$(MAKE) --no-print-directory attack-build
	$(Q)$(RUN_TESTS) attack

attack-minute: setup-build
	$(Q)$(MAKE) --no-print-directory attack-build
	$(Q)FULL=1 BUILD=$(BUILD) tests/attack/network.sh attack_46_while_it_is_killed attack_46_under_a_service

attack-mutations: setup-build
	$(Q)$(MAKE) --no-print-directory attack-build
	$(Q)BUILD=$(BUILD) tests/attack/mutations.sh

# ---- crashes: fail points are compiled in, here and nowhere else ---------------------------------------

CRASH_PARTS    := $(wildcard tests/crash/vfs*.c tests/crash/model*.c)
CRASH_FRONT    := tests/crash/serve_front.c
CRASH_CALLS    := tests/crash/serve_calls.c
CRASH_PROGRAMS := $(patsubst tests/crash/%.c,$(BUILD)/tests/crash/%,$(filter-out $(CRASH_PARTS) $(CRASH_FRONT) $(CRASH_CALLS),$(wildcard tests/crash/*.c)))
CRASH_OBJECTS  := $(patsubst %.c,$(BUILD)/failpoint/%.o,$(LEDGER_SOURCES) provider/failpoint.c \
                    $(CRASH_PARTS))

crash-build: all $(CRASH_PROGRAMS) $(BUILD)/tests/crash/berth-front \
             $(addprefix $(BUILD)/tests/crash/calls/,berth berth-init berth-files berth-front)

$(BUILD)/failpoint/%.o: %.c $(BUILD)/stamp/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -DBERTH_FAILPOINTS $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/tests/crash/%: $(BUILD)/failpoint/tests/crash/%.o $(CRASH_OBJECTS) $(LIB_base)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -pthread $(SQLITE)

# A front that is killed where the test says: the engine once more, with its fail points.
CRASH_FRONT_OBJECTS := $(patsubst %.c,$(BUILD)/failpoint/%.o,$(LEDGER_SOURCES) $(SERVICE_SOURCES) $(CRASH_FRONT)) \
                       $(BUILD)/obj/api/front/main.o

$(BUILD)/tests/crash/berth-front: $(CRASH_FRONT_OBJECTS) $(filter-out $(LIB_service) $(LIB_ledger),$(FRONT_LIBS))
	@mkdir -p $(@D)
	$(Q)$(CC) $(STATIC) $(LDFLAGS) $(GC) $(LOADS_NOTHING) -o $@ $^ $(SQLITE) $(LIBUV_STATIC)

# The shipped programs, linked once more: each of their calls that changes something is a fail point
# (tests/crash/serve_calls.c). Their other objects are those that are shipped.
comma        := ,
CALLS_NAMES  := $(shell sed -nE 's/^ +X[[:punct:]]([a-z_0-9]+),.*/\1/p; s/^[_a-zA-Z].*__wrap_([a-z_0-9]+)([[:punct:]].*)?;$$/\1/p' $(CRASH_CALLS))
CALLS_WRAP   := $(addprefix -Wl$(comma)--wrap=,$(CALLS_NAMES))

$(patsubst %,$(BUILD)/failpoint/calls-%.o,0 1 2 3): $(BUILD)/failpoint/calls-%.o: $(CRASH_CALLS) $(BUILD)/stamp/flags
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) -DCALLS_PROGRAM=$* $(CFLAGS) $(if $(filter 3,$*),,$(MUSL_INC)) -MMD -MP -c -o $@ $<

$(BUILD)/tests/crash/calls/berth: $(BUILD)/failpoint/calls-0.o $(SHIP_BERTH)
$(BUILD)/tests/crash/calls/berth-init: $(BUILD)/failpoint/calls-1.o $(SHIP_INIT)
$(BUILD)/tests/crash/calls/berth-files: $(BUILD)/failpoint/calls-2.o $(SHIP_FILES)
$(BUILD)/tests/crash/calls/berth $(BUILD)/tests/crash/calls/berth-init $(BUILD)/tests/crash/calls/berth-files:
	@mkdir -p $(@D)
	$(Q)$(CC) $(STATIC) $(LDFLAGS) $(GC) $(CALLS_WRAP) -o $@ $(SHIP_START) $^ $(SHIP_END)

$(BUILD)/tests/crash/calls/berth-front: $(BUILD)/failpoint/calls-3.o $(BUILD)/obj/api/front/main.o $(FRONT_LIBS)
	@mkdir -p $(@D)
	$(Q)$(CC) $(STATIC) $(LDFLAGS) $(GC) $(LOADS_NOTHING) $(CALLS_WRAP) -o $@ $^ $(SQLITE) $(LIBUV_STATIC)

# The whole campaign; `make test` runs a bounded one.
crash: setup-test
	$(Q)$(MAKE) --no-print-directory crash-build
	$(Q)CRASH_ROUNDS=2000 CRASH_TIMEOUT=28800 $(RUN_TESTS) crash

# 2,000 kills of each kind under clients over TCP alone.
crash-tcp: setup-test
	$(Q)$(MAKE) --no-print-directory all
	$(Q)ONLY=wire CRASH_ROUNDS=2000 CRASH_TIMEOUT=28800 $(RUN_TESTS) crash

# ---- fuzzers: tests/fuzz/NAME.c with the corpus tests/fuzz/corpus/NAME ------------------------------

FUZZ_SECONDS ?= 10
FUZZ_BUILD   := $(BUILD)-fuzz
FUZZERS      := $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*.c))

fuzz-build:
	$(Q)$(MAKE) --no-print-directory CC=clang BUILD=$(FUZZ_BUILD) SANITIZE=1 FUZZER=1 all-fuzzers

all-fuzzers: $(patsubst %,$(BUILD)/tests/fuzz/%,$(FUZZERS))

$(BUILD)/tests/fuzz/%: $(BUILD)/obj/tests/fuzz/%.o $(LIBS_ALL)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $^ -lseccomp $(LIBUV)

fuzz: setup-test
	$(Q)$(MAKE) --no-print-directory fuzz-build
	$(Q)FUZZ_SECONDS=$(FUZZ_SECONDS) $(RUN_TESTS) fuzz

fuzz-long:
	$(Q)$(MAKE) --no-print-directory FUZZ_SECONDS=600 fuzz

# ---- lint, other machines, speed: each in its own folder ---------------------------------------------

include tests/lint/lint.mk

vm-test: setup-vm
	$(Q)$(MAKE) --no-print-directory all kernel-tests attack-build
	$(Q)BUILD=$(BUILD) tests/vm/run

# In a minute: does it boot, do sessions work there as root and as an ordinary user?
vm-smoke: setup-vm
	$(Q)$(MAKE) --no-print-directory all kernel-tests
	$(Q)BUILD=$(BUILD) VM_ONLY='@(root/kernel/session|*/smoke/berth)' tests/vm/run

fresh-test: setup-vm
	$(Q)BUILD=$(BUILD) tests/fresh/run

bench: setup-bench
	$(Q)$(MAKE) --no-print-directory all $(BUILD)/tests/bench/paired $(BUILD)/tests/bench/sessions $(BUILD)/tests/bench/wire \
	    $(BUILD)/tests/bench/network_peer
	$(Q)BUILD=$(BUILD) tests/bench/run

$(BUILD)/tests/bench/sessions: $(BUILD)/obj/tests/bench/sessions.o $(BUILD)/obj/tests/bench/client.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -pthread

$(BUILD)/tests/bench/wire: $(BUILD)/obj/tests/bench/wire.o $(BUILD)/obj/tests/bench/client.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -pthread

$(BUILD)/tests/bench/network_peer: $(BUILD)/obj/tests/bench/network_peer.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -pthread

$(BUILD)/tests/bench/paired: $(BUILD)/obj/tests/bench/paired.o
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^

# ---- what the machine must have -----------------------------------------------------------------------
# Names of Debian 12; Ubuntu 22.04 and later have the same ones. Nothing else is installed.

PACKAGES_BUILD := gcc libc6-dev linux-libc-dev musl-dev libuv1-dev libsqlite3-dev libc-ares-dev make git python3-minimal uidmap
PACKAGES_TEST  := libseccomp-dev nftables clang clang-format clang-tidy libclang-rt-dev cppcheck shellcheck libcriterion-dev pkg-config \
                  $(if $(shell command -v npm),,nodejs npm) busybox-static libarchive-tools strace iproute2 procps util-linux e2fsprogs libcap2-bin attr mandoc python3 \
                  curl openssl openssh-client dropbear-bin postgresql-client redis-tools
PACKAGES_BENCH := bubblewrap runc python3 iproute2 slirp4netns passt
PACKAGES_VM    := qemu-system-x86 debootstrap debian-archive-keyring cpio kmod

# $(1) packages. Only what is missing is asked for; the package lists are fetched, and the packages
# asked for again, when the lists at hand are absent or too old. Elsewhere than on a dpkg system the list is printed and nothing is done.
define install_missing
	@if ! command -v dpkg-query >/dev/null; then \
	    echo 'make setup knows apt only. Needed, by their Debian names: $(1)' >&2; exit 0; fi; \
	missing=; for package in $(1); do \
	    case $$(dpkg-query -W -f '$${db:Status-Abbrev}' $$package 2>/dev/null) in \
	    ii*) ;; *) missing="$$missing $$package" ;; esac; done; \
	[ -n "$$missing" ] || exit 0; \
	as_root=; if [ $$(id -u) != 0 ]; then \
	    command -v sudo >/dev/null || { echo "make setup: not root and no sudo; install:$$missing" >&2; exit 1; }; \
	    as_root=sudo; fi; \
	echo "make setup: installing$$missing"; \
	install="$$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends"; \
	$$install $$missing </dev/null || { $$as_root apt-get update -q && $$install $$missing </dev/null; }
endef

setup: ; $(call install_missing,$(PACKAGES_BUILD) $(PACKAGES_TEST) $(PACKAGES_BENCH) $(PACKAGES_VM))
setup-build: ; $(call install_missing,$(PACKAGES_BUILD))
setup-test: ; $(call install_missing,$(PACKAGES_BUILD) $(PACKAGES_TEST))
setup-bench: ; $(call install_missing,$(PACKAGES_BUILD) $(PACKAGES_BENCH) busybox-static)
setup-vm: ; $(call install_missing,$(PACKAGES_BUILD) $(PACKAGES_TEST) $(PACKAGES_VM))

# ---- install --------------------------------------------------------------------------------------------

MAN1 := $(wildcard docs/man/*.1)
MAN5 := $(wildcard docs/man/*.5)
MAN7 := $(wildcard docs/man/*.7)
COMPLETION_BASH := $(wildcard api/cli/completion/berth.bash)
COMPLETION_ZSH  := $(wildcard api/cli/completion/_berth)
COMPLETION_FISH := $(wildcard api/cli/completion/berth.fish)
man_dir = $(DESTDIR)$(PREFIX)/share/man/man$(1)
BASH_DIR := $(DESTDIR)$(PREFIX)/share/bash-completion/completions
ZSH_DIR  := $(DESTDIR)$(PREFIX)/share/zsh/site-functions
FISH_DIR := $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d
LIBEXEC  := $(DESTDIR)$(PREFIX)/libexec/berth
# systemd looks beneath /usr/lib and /usr/local/lib; from another PREFIX: systemctl link.
UNITS      := $(DESTDIR)$(PREFIX)/lib/systemd/system
USER_UNITS := $(DESTDIR)$(PREFIX)/lib/systemd/user
SYSUSERS   := $(DESTDIR)$(PREFIX)/lib/sysusers.d

# install(1) unlinks what is in its way: a berth that runs keeps the programs it was started with.
install: all
	install -D -m 0755 $(BUILD)/bin/berth $(DESTDIR)$(PREFIX)/bin/berth
	install -D -m 0111 $(BUILD)/obj/berth-init $(LIBEXEC)/berth-init
	install -D -m 0755 $(BUILD)/bin/berth-front $(LIBEXEC)/berth-front
	install -D -m 0111 $(BUILD)/obj/berth-files $(LIBEXEC)/berth-files
	install -D -m 0755 $(BUILD)/bin/berth-gateway $(LIBEXEC)/berth-gateway
	install -d -m 0755 $(UNITS) $(USER_UNITS)
	for unit in berth berth-front berth-gateway; do \
	    sed 's|@PREFIX@|$(PREFIX)|' api/cli/systemd/$$unit.service.in > $(UNITS)/$$unit.service && \
	    chmod 0644 $(UNITS)/$$unit.service && \
	    install -m 0644 api/cli/systemd/$$unit.socket $(UNITS)/$$unit.socket || exit 1; done
	install -D -m 0644 api/cli/systemd/berth.sysusers $(SYSUSERS)/berth.conf
	sed 's|@PREFIX@|$(PREFIX)|' api/cli/systemd/berth-user.service.in > $(USER_UNITS)/berth.service
	chmod 0644 $(USER_UNITS)/berth.service
	$(if $(MAN1),install -D -m 0644 -t $(call man_dir,1) $(MAN1))
	$(if $(MAN5),install -D -m 0644 -t $(call man_dir,5) $(MAN5))
	$(if $(MAN7),install -D -m 0644 -t $(call man_dir,7) $(MAN7))
	$(if $(COMPLETION_BASH),install -D -m 0644 $(COMPLETION_BASH) $(BASH_DIR)/berth)
	$(if $(COMPLETION_ZSH),install -D -m 0644 $(COMPLETION_ZSH) $(ZSH_DIR)/_berth)
	$(if $(COMPLETION_FISH),install -D -m 0644 $(COMPLETION_FISH) $(FISH_DIR)/berth.fish)

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/berth $(USER_UNITS)/berth.service $(SYSUSERS)/berth.conf \
	    $(foreach unit,berth berth-front berth-gateway,$(addprefix $(UNITS)/$(unit).,service socket)) \
	    $(addprefix $(LIBEXEC)/,berth-init berth-front berth-files berth-gateway)
	rm -f $(addprefix $(call man_dir,1)/,$(notdir $(MAN1))) $(addprefix $(call man_dir,5)/,$(notdir $(MAN5))) \
	    $(addprefix $(call man_dir,7)/,$(notdir $(MAN7)))
	rm -f $(BASH_DIR)/berth $(ZSH_DIR)/_berth $(FISH_DIR)/berth.fish
	-rmdir $(LIBEXEC)

# Only this $(BUILD) and its variants. What is mounted below is never ours to remove: rm stays on
# one filesystem.
clean:
	rm -rf --one-file-system $(BUILD) $(CLANG_BUILD) $(ASAN_BUILD) $(FUZZ_BUILD) compile_commands.json

# For editors. One entry per source, with the flags of this BUILD.
compile_commands.json: $(BUILD)/stamp/sources $(BUILD)/stamp/flags
	@sep='['; for source in $(SOURCES) $(wildcard tests/*/*.c); do \
	    printf '%s\n{"directory": "%s", "file": "%s", "arguments": [' "$$sep" '$(CURDIR)' "$$source"; \
	    for word in $(CC) -I. -D_GNU_SOURCE '-DBERTH_VERSION=\"$(VERSION)\"' '-DBERTH_PREFIX=\"$(PREFIX)\"' \
	        -std=gnu11 -O2 -c; do printf '"%s", ' "$$word"; done; \
	    printf '"%s"]}' "$$source"; sep=','; done > $@
	@printf '\n]\n' >> $@

version:
	@echo $(VERSION)

force: ;

-include $(shell find $(BUILD)/obj $(BUILD)/musl $(BUILD)/failpoint -name '*.d' 2>/dev/null)

.PHONY: all unit-tests kernel-tests clang-build asan-build all-fuzzers check crash crash-tcp crash-build state-docs test try attack attack-build attack-minute \
        attack-mutations fuzz fuzz-build fuzz-long vm-test vm-smoke fresh-test bench setup setup-build \
        setup-test setup-bench setup-vm install uninstall clean version force
