# Lint, one stamp per file under $(BUILD)/lint: a second run looks only at what changed. Each stamp
# depends on the headers its source includes, on the tool's configuration and on nothing else.

C_FILES := $(shell find api provider policy runtime tests -name '*.c' -not -path '*/corpus/*' | sort)
H_FILES := $(shell find api provider policy runtime tests -name '*.h' -not -path '*/corpus/*' | sort)
LINT    := $(BUILD)/lint
# Tests are held to the compilers' warnings, the format and the layer rules; Criterion's macros trip
# over clang-tidy and cppcheck in ways that are nobody's bug.
CHECKED_C := $(filter-out tests/%,$(C_FILES))
TIDY_FLAGS := -I. -I$(BUILD) -I$(BUILD)/gen -D_GNU_SOURCE -DBERTH_VERSION='"0"' -DBERTH_PREFIX='"/usr"' -std=gnu11 -Wall -Wextra

# What the analyzer cannot see in one file; err.c is the definition itself.
TIDY_MODEL := -include tests/lint/analyzer.h

FORMAT_STAMPS  := $(patsubst %,$(LINT)/format/%.ok,$(C_FILES) $(H_FILES))
TIDY_STAMPS    := $(patsubst %,$(LINT)/tidy/%.ok,$(CHECKED_C))
CPPCHECK_STAMPS := $(patsubst %,$(LINT)/cppcheck/%.ok,$(CHECKED_C))
HEADER_STAMPS  := $(patsubst %,$(LINT)/header/%.ok,$(H_FILES))

lint: lint-layers lint-docs lint-format lint-headers lint-cppcheck lint-tidy

lint-layers:
	$(Q)python3 tests/lint/layers.py
	$(Q)tests/lint/selftest
lint-docs:
	$(Q)tests/lint/docs.py
lint-format: $(FORMAT_STAMPS)
lint-headers: $(HEADER_STAMPS)
lint-tidy: $(TIDY_STAMPS)
lint-cppcheck: $(CPPCHECK_STAMPS)

$(LINT)/format/%.ok: % .clang-format
	@mkdir -p $(@D)
	$(Q)clang-format --dry-run -Werror --style=file $<
	@touch $@

# A header that needs another one included before it is a trap for its next reader.
$(LINT)/header/%.ok: %
	@mkdir -p $(@D)
	$(Q)echo '#include "$<"' | $(CC) $(TIDY_FLAGS) -Werror -MMD -MP -MT $@ -MF $@.d -x c -c -o /dev/null -
	@touch $@

$(LINT)/tidy/%.ok: % .clang-tidy tests/lint/analyzer.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(TIDY_FLAGS) -MM -MP -MT $@ -MF $@.d $<
	$(Q)clang-tidy --quiet $< -- $(TIDY_FLAGS) $(if $(filter runtime/base/err.c,$<),,$(TIDY_MODEL)) >$@.log 2>&1 || { cat $@.log >&2; exit 1; }
	@touch $@

$(LINT)/cppcheck/%.ok: % tests/lint/cppcheck.args
	@mkdir -p $(@D)
	$(Q)$(CC) $(TIDY_FLAGS) -MM -MP -MT $@ -MF $@.d $<
	$(Q)cppcheck $$(grep -v '^#' tests/lint/cppcheck.args) -I. $<
	@touch $@

# Files made by a build step are included by name ("gen/..."): they must be there first.
$(TIDY_STAMPS) $(CPPCHECK_STAMPS) $(HEADER_STAMPS): | $(GENERATED)

-include $(shell find $(LINT) -name '*.d' 2>/dev/null)

.PHONY: lint lint-layers lint-docs lint-format lint-headers lint-tidy lint-cppcheck
