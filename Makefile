# berth: make setup | all | try | test | check | attack | bench | fuzz | vm-test | install
#
# Everything that is built goes to $(BUILD). Variables: CC (gcc or clang), BUILD, SANITIZE=1 (ASan
# and UBSan), V=1 (show commands), DESTDIR and PREFIX (install).

CC       ?= gcc
BUILD    ?= build
PREFIX   ?= /usr/local
SANITIZE ?=
Q        := $(if $(V),,@)

VERSION  := 0.1.0

WARN := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
        -Wold-style-definition -Wundef -Wvla -Wwrite-strings -Wformat=2 -Wimplicit-fallthrough -Werror
HARDEN := -fstack-protector-strong -fno-strict-overflow -fno-plt
CPPFLAGS += -I. -D_GNU_SOURCE -DBERTH_VERSION='"$(VERSION)"' -DBERTH_PREFIX='"$(PREFIX)"'
CFLAGS   += -std=gnu11 -O2 -g $(WARN) $(HARDEN) -fno-common -ffunction-sections -fdata-sections
LDFLAGS  += -Wl,-z,relro,-z,now,-z,noexecstack -Wl,--gc-sections

ifeq ($(SANITIZE),1)
CFLAGS  += -fsanitize=address,undefined -fno-omit-frame-pointer -fno-sanitize-recover=undefined
LDFLAGS += -fsanitize=address,undefined
STATIC  :=
else
CPPFLAGS += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2
STATIC  := -static-pie
CFLAGS  += -fPIE
endif

# ---- one archive per folder: the linker proves the layers ---------------------------------------

folder_sources = $(filter-out $(NOT_IN_ARCHIVE),$(wildcard $(1)/*.c))
objects        = $(patsubst %.c,$(BUILD)/obj/%.o,$(1))

NOT_IN_ARCHIVE := runtime/agent/init_main.c api/cli/main.c

LIB_base     := $(BUILD)/lib/libberth-base.a
LIB_plan     := $(BUILD)/lib/libberth-plan.a
LIB_stage    := $(BUILD)/lib/libberth-stage.a
LIB_agent    := $(BUILD)/lib/libberth-agent.a
LIB_host     := $(BUILD)/lib/libberth-host.a
LIB_policy   := $(BUILD)/lib/libberth-policy.a
LIB_provider := $(BUILD)/lib/libberth-provider.a
LIB_cli      := $(BUILD)/lib/libberth-cli.a

# In link order: each may use only what stands after it.
LIBS_ALL := $(LIB_cli) $(LIB_provider) $(LIB_policy) $(LIB_host) $(LIB_stage) $(LIB_agent) \
            $(LIB_plan) $(LIB_base)

all: $(BUILD)/bin/berth $(BUILD)/bin/berth-init

$(LIB_base):     $(call objects,$(wildcard runtime/base/*.c) runtime/spec.c)
$(LIB_plan):     $(call objects,$(call folder_sources,runtime/plan))
$(LIB_stage):    $(call objects,$(call folder_sources,runtime/stage))
$(LIB_agent):    $(call objects,$(call folder_sources,runtime/agent))
$(LIB_host):     $(call objects,$(call folder_sources,runtime/host))
$(LIB_policy):   $(call objects,$(call folder_sources,policy))
$(LIB_provider): $(call objects,$(call folder_sources,provider))
$(LIB_cli):      $(call objects,$(call folder_sources,api/cli))

$(BUILD)/lib/%.a:
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)ar rcsD $@ $^

$(BUILD)/obj/%.o: %.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(BUILD)/bin/berth: $(BUILD)/obj/api/cli/main.o $(LIBS_ALL)
	@mkdir -p $(@D)
	$(Q)$(CC) $(STATIC) $(LDFLAGS) -o $@ $^ -lseccomp -lmd

# PID 1 of every session: small, static, executable and unreadable (docs/ARCHITECTURE.md, init).
$(BUILD)/bin/berth-init: $(BUILD)/obj/runtime/agent/init_main.o $(LIB_agent) $(LIB_base)
	@mkdir -p $(@D)
	@rm -f $@
	$(Q)$(CC) $(STATIC) $(LDFLAGS) -o $@ $^
	$(Q)chmod 0111 $@

# ---- tests: one Criterion program per file --------------------------------------------------------

UNIT_TESTS   := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/*.c))
KERNEL_TESTS := $(patsubst tests/kernel/%.c,$(BUILD)/tests/kernel/%,$(wildcard tests/kernel/*.c))

$(BUILD)/tests/unit/%: $(BUILD)/obj/tests/unit/%.o $(LIBS_ALL)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcriterion -lseccomp -lmd

$(BUILD)/tests/kernel/%: $(BUILD)/obj/tests/kernel/%.o $(LIBS_ALL)
	@mkdir -p $(@D)
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ -lcriterion -lseccomp -lmd

-include $(shell find $(BUILD)/obj -name '*.d' 2>/dev/null)

.PHONY: all
