# Lint, with stamps under $(BUILD)/lint: a second run looks only at what changed. A stamp depends on
# its sources, on the headers that they include and on the tool's configuration. Where a tool's own
# start costs more than a file does, one process looks at many files: all of them for the format, a
# folder for clang-tidy.

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

TIDY_FOLDERS   := $(sort $(patsubst %/,%,$(dir $(CHECKED_C))))
TIDY_STAMPS    := $(patsubst %,$(LINT)/tidy/%.ok,$(TIDY_FOLDERS))
ANALYZE_STAMPS := $(patsubst %,$(LINT)/analyze/%.ok,$(CHECKED_C))
CPPCHECK_STAMPS := $(patsubst %,$(LINT)/cppcheck/%.ok,$(CHECKED_C))
HEADER_STAMPS  := $(patsubst %,$(LINT)/header/%.ok,$(H_FILES))

# Seconds. The analyzer takes seconds per file and runs with `make test`.
lint: lint-layers lint-docs lint-format lint-headers lint-cppcheck lint-tidy
lint-all: lint lint-analyze

lint-layers: $(LINT)/selftest.ok
	$(Q)python3 tests/lint/layers.py
lint-docs:
	$(Q)tests/lint/docs.py
	$(Q)tests/lint/invariants.sh
	$(Q)tests/lint/mutations.sh
lint-format: $(LINT)/format.ok
lint-headers: $(HEADER_STAMPS)
lint-tidy: $(TIDY_STAMPS)
lint-cppcheck: $(CPPCHECK_STAMPS)
lint-analyze: $(ANALYZE_STAMPS)

$(LINT)/selftest.ok: tests/lint/selftest tests/lint/layers.py
	@mkdir -p $(@D)
	$(Q)tests/lint/selftest
	@touch $@

# Which files there are: a file that was moved here may be older than the stamp of its folder.
$(LINT)/files: force
	@mkdir -p $(@D)
	@printf '%s\n' $(C_FILES) $(H_FILES) | cmp -s - $@ || printf '%s\n' $(C_FILES) $(H_FILES) > $@

# $(1) what a change of is a change of itself alone. The changed ones of the prerequisites, or all
# when something else changed (a header, the configuration, the list of files).
to_check = $(if $(filter-out $(1),$?),$(filter $(1),$^),$(filter $(1),$?))

$(LINT)/format.ok: $(C_FILES) $(H_FILES) .clang-format $(LINT)/files
	$(Q)clang-format --dry-run -Werror --style=file $(call to_check,%.c %.h)
	@touch $@

# A header that needs another one included before it is a trap for its next reader.
$(LINT)/header/%.ok: %
	@mkdir -p $(@D)
	$(Q)echo '#include "$<"' | $(CC) $(TIDY_FLAGS) -Werror -MMD -MP -MT $@ -MF $@.d -x c -c -o /dev/null -
	@touch $@

# $(1) files, $(2) more of --checks, $(3) flags of the compiler
define clang_tidy
	$(Q)clang-tidy --quiet --checks='$(2)' $(1) -- $(TIDY_FLAGS) $(3) >$@.log 2>&1 || { cat $@.log >&2; exit 1; }
	@touch $@
endef

# One stamp depends on all files of its folder, and on what any of them includes.
define tidy_sources
$(LINT)/tidy/$(1).ok: $(filter $(wildcard $(1)/*.c),$(CHECKED_C))
endef
$(foreach folder,$(TIDY_FOLDERS),$(eval $(call tidy_sources,$(folder))))

$(TIDY_STAMPS): .clang-tidy $(LINT)/files
	@mkdir -p $(@D)
	$(Q)$(CC) $(TIDY_FLAGS) -MM -MP $(filter %.c,$^) | sed 's|^[^ :]*\.o:|$@:|' > $@.d
	$(call clang_tidy,$(call to_check,%.c),-clang-analyzer-*,)

$(LINT)/analyze/%.ok: % .clang-tidy tests/lint/analyzer.h
	@mkdir -p $(@D)
	$(Q)$(CC) $(TIDY_FLAGS) -MM -MP -MT $@ -MF $@.d $<
	$(call clang_tidy,$<,-bugprone-*$(COMMA)-cert-*$(COMMA)-misc-*$(COMMA)-performance-*$(COMMA)-readability-*,$(if $(filter runtime/base/err.c,$<),,$(TIDY_MODEL)))

$(LINT)/cppcheck/%.ok: % tests/lint/cppcheck.args
	@mkdir -p $(@D)
	$(Q)$(CC) $(TIDY_FLAGS) -MM -MP -MT $@ -MF $@.d $<
	$(Q)cppcheck $$(grep -v '^#' tests/lint/cppcheck.args) -I. $<
	@touch $@

-include $(shell find $(LINT) -name '*.d' 2>/dev/null)

.PHONY: lint lint-all lint-analyze lint-layers lint-docs lint-format lint-headers lint-tidy lint-cppcheck
