# Lint, one stamp per file under $(BUILD)/lint: a second run looks only at what changed. Each stamp
# depends on the headers its source includes, on the tool's configuration and on nothing else.

C_FILES := $(shell find api provider policy runtime tests -name '*.c' -not -path '*/corpus/*' | sort)
H_FILES := $(shell find api provider policy runtime tests -name '*.h' -not -path '*/corpus/*' | sort)
LINT    := $(BUILD)/lint
COMMA   := ,
# Tests are held to the compilers' warnings, the format and the layer rules; Criterion's macros trip
# over clang-tidy and cppcheck in ways that are nobody's bug.
CHECKED_C := $(filter-out tests/%,$(C_FILES))
TIDY_FLAGS := -I. -I$(BUILD) -I$(BUILD)/gen -D_GNU_SOURCE -DBERTH_VERSION='"0"' -DBERTH_PREFIX='"/usr"' -std=gnu11 -Wall -Wextra

# What the analyzer cannot see in one file; err.c is the definition itself.
TIDY_MODEL := -include tests/lint/analyzer.h

FORMAT_STAMPS  := $(patsubst %,$(LINT)/format/%.ok,$(C_FILES) $(H_FILES))
TIDY_STAMPS    := $(patsubst %,$(LINT)/tidy/%.ok,$(CHECKED_C))
ANALYZE_STAMPS := $(patsubst %,$(LINT)/analyze/%.ok,$(CHECKED_C))
CPPCHECK_STAMPS := $(patsubst %,$(LINT)/cppcheck/%.ok,$(CHECKED_C))
HEADER_STAMPS  := $(patsubst %,$(LINT)/header/%.ok,$(H_FILES))

# Seconds. The analyzer takes seconds per file and runs with `make test`.
lint: lint-layers lint-docs lint-format lint-headers lint-cppcheck lint-tidy
lint-all: lint lint-analyze

lint-layers:
	$(Q)python3 tests/lint/layers.py
	$(Q)tests/lint/selftest
lint-docs:
	$(Q)tests/lint/docs.py
	$(Q)tests/lint/invariants.sh
lint-format: $(FORMAT_STAMPS)
lint-headers: $(HEADER_STAMPS)
lint-tidy: $(TIDY_STAMPS)
lint-cppcheck: $(CPPCHECK_STAMPS)
lint-analyze: $(ANALYZE_STAMPS)

$(LINT)/format/%.ok: % .clang-format
	@mkdir -p $(@D)
	$(Q)clang-format --dry-run -Werror --style=file $<
	@touch $@

# A header that needs another one included before it is a trap for its next reader.
$(LINT)/header/%.ok: %
	@mkdir -p $(@D)
	$(Q)echo '#include "$<"' | $(CC) $(TIDY_FLAGS) -Werror -MMD -MP -MT $@ -MF $@.d -x c -c -o /dev/null -
	@touch $@

# $(1) more of --checks, $(2) flags of the compiler
define clang_tidy
	@mkdir -p $(@D)
	$(Q)$(CC) $(TIDY_FLAGS) -MM -MP -MT $@ -MF $@.d $<
	$(Q)clang-tidy --quiet --checks='$(1)' $< -- $(TIDY_FLAGS) $(2) >$@.log 2>&1 || { cat $@.log >&2; exit 1; }
	@touch $@
endef

$(LINT)/tidy/%.ok: % .clang-tidy
	$(call clang_tidy,-clang-analyzer-*,)

$(LINT)/analyze/%.ok: % .clang-tidy tests/lint/analyzer.h
	$(call clang_tidy,-bugprone-*$(COMMA)-cert-*$(COMMA)-misc-*$(COMMA)-performance-*$(COMMA)-readability-*,$(if $(filter runtime/base/err.c,$<),,$(TIDY_MODEL)))

$(LINT)/cppcheck/%.ok: % tests/lint/cppcheck.args
	@mkdir -p $(@D)
	$(Q)$(CC) $(TIDY_FLAGS) -MM -MP -MT $@ -MF $@.d $<
	$(Q)cppcheck $$(grep -v '^#' tests/lint/cppcheck.args) -I. $<
	@touch $@

-include $(shell find $(LINT) -name '*.d' 2>/dev/null)

.PHONY: lint lint-all lint-analyze lint-layers lint-docs lint-format lint-headers lint-tidy lint-cppcheck
