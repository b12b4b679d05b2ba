# SPDX-License-Identifier: Apache-2.0
# One file, not recursive. Everything built lands in build/.
#
#	make		build/podvm, kernel inside
#	make run	run pod.json.example and fetch a reply through its published port
#	make check	all tests; ends with "N passed, N failed, N skipped"
#	make check-intel	a pod on kvm-intel, emulated by Bochs (some minutes)
#	make check-long	real programs on shared files: git, tar, sqlite (root and /dev/fuse; in the bed an hour)
#	make lint	include rule, headers alone, cppcheck, clang-tidy, shellcheck
#	make bench	sizes, start time line, memory; in the bed by its deterministic clock
#	make bench-io	network, disk and files beside QEMU
#	make fuzz T=60	every fuzz target for T seconds
#	make coverage	lines and branches the unit tests and corpora reach, per file
#	make install	PREFIX=/usr/local DESTDIR=: podvm, its manual page and documents; make uninstall
#	make deb	build/podvm_VERSION_ARCH.deb
#	make clean	removes build/ (caches under ~/.cache/podvm stay)
#
# V=1 shows the commands.

PODVM_VERSION := 0.1.0
MAKEFLAGS += -j$(shell nproc)
B := build
D := $(B)/deps
DA := $(B)/deps-asan
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-8s%s\n' $(1) $(2))

HOST_SRCS := vmm.c $(wildcard vm/*.c devices/*.c live/*.c cli/*.c)
SHARED_SRCS := $(wildcard pod/*.c lib/*.c)
INIT_SRCS := $(wildcard init/*.c)
SRCS := $(HOST_SRCS) $(SHARED_SRCS) $(INIT_SRCS)
OBJS := $(SRCS:%.c=$(B)/obj/%.o)

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Werror
CC := gcc
CPPFLAGS := -D_GNU_SOURCE= -D_FILE_OFFSET_BITS=64 -DPODVM_VERSION='"$(PODVM_VERSION)"' -isystem $(D)/include -I$(D) -I.
CFLAGS := -std=gnu11 -O2 -g -fPIE -ffunction-sections -fdata-sections -fstack-protector-strong $(WARNINGS)
LDFLAGS := -static-pie -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-z,noexecstack -Wl,-z,max-page-size=4096
LDLIBS := $(D)/lib/libslirp.a $(D)/lib/libcjson.a $(D)/lib/liburing.a
SPECS = -specs=$(D)/musl.specs

.PHONY: all install uninstall deb run check check-intel check-long lint fuzz unit coverage clean example bench bench-io
.DELETE_ON_ERROR:
.SECONDARY:

all: $(B)/podvm

# ---- set-up: what Debian has to give, once ----

$(B)/.setup-%: scripts/setup
	$(Q)scripts/setup $*
	$(Q)mkdir -p $(B) && touch $@
# one after the other: apt has one lock
$(B)/.setup-test $(B)/.setup-lint $(B)/.setup-fuzz $(B)/.setup-coverage $(B)/.setup-bench-io: | $(B)/.setup-build

# ---- dependencies and kernel, from the distribution's sources, cached outside the tree ----

DEPS_SRCS := deps/build deps/versions scripts/debian-source $(wildcard deps/patches/*/*.patch) $(wildcard lib/glib/*)
$(D)/versions.h: $(DEPS_SRCS) | $(B)/.setup-build
	$(call say,DEPS,$(D))
	$(Q)deps/build $(D) && touch $@
$(DA)/versions.h: $(DEPS_SRCS) | $(B)/.setup-build
	$(call say,DEPS,$(DA))
	$(Q)deps/build $(DA) --flavour asan && touch $@

KERNEL_SRCS := $(wildcard kernel/build kernel/version kernel/*.c kernel/config/* kernel/patches/*.patch)
$(B)/vmlinux: $(KERNEL_SRCS) | $(B)/.setup-build
	$(call say,KERNEL,$@)
	$(Q)kernel/build $@ && touch $@

# ---- podvm: first without, then with the kernel ----

$(B)/obj/%.o: %.c $(D)/versions.h
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(SPECS) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<

$(B)/podvm.debug: $(OBJS) $(D)/versions.h
	$(call say,LD,$@)
	$(Q)$(CC) $(SPECS) $(LDFLAGS) -o $@ $(OBJS) $(LDLIBS)

$(B)/podvm-bare: $(B)/podvm.debug
	$(call say,STRIP,$@)
	$(Q)strip -o $@ $<

$(B)/podvm: $(B)/podvm-bare $(B)/vmlinux
	$(call say,EMBED,$@)
	$(Q)scripts/embed-kernel $(B)/podvm-bare $(B)/vmlinux $@

# ---- the example: a small root of Debian's busybox-static ----

ROOT := $(B)/example/root
$(ROOT)/.made: scripts/make-root | $(B)/.setup-build
	$(call say,ROOT,$(ROOT))
	$(Q)scripts/make-root $(ROOT) && touch $@

$(B)/example/srv/greeting.txt:
	$(Q)mkdir -p $(@D)
	$(Q)echo 'back: hello from a container in a virtual machine' > $@

example: $(B)/podvm $(ROOT)/.made $(B)/example/srv/greeting.txt

run: example
	$(Q)scripts/run-example $(B)/podvm pod.json.example

# ---- installing ----

PREFIX ?= /usr/local
DESTDIR ?=
DOCS := README.md LICENSE pod.json.example docs/pod.json.md docs/pod.schema.json docs/architecture.md docs/performance.md
installed = bin/podvm share/man/man1/podvm.1 $(addprefix share/doc/podvm/,$(notdir $(DOCS)))

$(B)/podvm.1: $(B)/podvm
	$(call say,MAN,$@)
	$(Q)$< help --man > $@

define install_below
	$(Q)install -D -m 755 $(B)/podvm $(1)/bin/podvm
	$(Q)install -D -m 644 $(B)/podvm.1 $(1)/share/man/man1/podvm.1
	$(Q)install -D -m 644 -t $(1)/share/doc/podvm $(DOCS)
endef

install: $(B)/podvm $(B)/podvm.1
	$(call install_below,$(DESTDIR)$(PREFIX))

uninstall:
	$(Q)rm -f $(addprefix $(DESTDIR)$(PREFIX)/,$(installed))
	$(Q)rmdir $(DESTDIR)$(PREFIX)/share/doc/podvm 2>/dev/null || true

DEB = $(B)/podvm_$(PODVM_VERSION)_$(shell dpkg --print-architecture).deb
$(B)/podvm.deb: $(B)/podvm $(B)/podvm.1 $(DOCS) scripts/make-deb
	$(call say,DEB,$(DEB))
	$(Q)rm -rf $(B)/staged
	$(call install_below,$(B)/staged/usr)
	$(Q)scripts/make-deb $(PODVM_VERSION) $(B)/staged $(D)/versions.h $(DEB) && ln -sf $(notdir $(DEB)) $@

deb: $(B)/podvm.deb

# ---- tests ----

LIB_SRCS := $(filter-out vmm.c vm/kvm%.c cli/version.c lib/glib/%,$(SRCS))
ASAN_CFLAGS := -std=gnu11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer \
	-pthread $(WARNINGS) -Wno-format-truncation
ASAN_CPPFLAGS := -D_GNU_SOURCE= -D_FILE_OFFSET_BITS=64 -DPODVM_VERSION='"$(PODVM_VERSION)"' -isystem $(DA)/include -I$(DA) -I.
ASAN_LIBS := $(DA)/lib/libslirp.a $(DA)/lib/libcjson.a $(DA)/lib/liburing.a -pthread
LIB_ASAN := $(B)/asan/libpodvm.a

$(B)/asan/obj/%.o: %.c $(DA)/versions.h
	$(call say,ASAN,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ASAN_CPPFLAGS) $(ASAN_CFLAGS) -MMD -MP -c -o $@ $<

RIG_SRCS := $(filter-out tests/unit/test_%.c,$(wildcard tests/unit/*.c))
$(LIB_ASAN): $(LIB_SRCS:%.c=$(B)/asan/obj/%.o) $(RIG_SRCS:%.c=$(B)/asan/obj/%.o)
	$(Q)rm -f $@ && ar rcs $@ $^

UNIT_SRCS := $(wildcard tests/unit/test_*.c) deps/test_slirp.c
UNIT_TESTS := $(UNIT_SRCS:%.c=$(B)/asan/%)
FUZZ_SRCS := $(wildcard tests/fuzz/fuzz_*.c)
FUZZ_REPLAYS := $(FUZZ_SRCS:tests/fuzz/fuzz_%.c=$(B)/asan/replay_%)

$(B)/asan/tests/unit/test_glib: tests/unit/test_glib.c lib/glib/glib.c lib/glib/glib.h | $(DA)/versions.h
	$(call say,TEST,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -Ilib/glib $(ASAN_CPPFLAGS) $(ASAN_CFLAGS) -o $@ $< lib/glib/glib.c

$(B)/asan/%: $(B)/asan/obj/%.o $(LIB_ASAN)
	$(call say,TEST,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ASAN_CFLAGS) -o $@ $< $(LIB_ASAN) $(ASAN_LIBS)

$(B)/asan/replay_%: $(B)/asan/obj/tests/fuzz/fuzz_%.o $(B)/asan/obj/tests/fuzz/replay.o $(LIB_ASAN)
	$(call say,TEST,$@)
	$(Q)$(CC) $(ASAN_CFLAGS) -o $@ $^ $(ASAN_LIBS)

unit: $(UNIT_TESTS) $(FUZZ_REPLAYS) | $(B)/.setup-build
	$(Q)tests/run-unit $(B)

# Guest programs and the roots of the end-to-end tests.
GUEST_SRCS := $(wildcard tests/guest/*.c)
GUEST_BINS := $(GUEST_SRCS:tests/guest/%.c=$(B)/guest/%)
$(B)/guest/%: tests/guest/%.c $(D)/versions.h
	$(call say,GUEST,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(SPECS) $(CPPFLAGS) -std=gnu11 -O2 -static $(WARNINGS) -o $@ $<

# A kernel of ours that misuses every device: tests/hostile/hostile.h.
HOSTILE_SRCS := $(wildcard tests/hostile/*.[cS])
HOSTILE := $(B)/hostile/hostile
HOSTILE_CFLAGS := -std=gnu11 -O2 -g -ffreestanding -fno-pic -fno-stack-protector -fcf-protection=none -mno-red-zone \
	-mgeneral-regs-only -fno-tree-loop-distribute-patterns -fno-asynchronous-unwind-tables $(WARNINGS)
$(HOSTILE): $(HOSTILE_SRCS) tests/hostile/hostile.h tests/hostile/hostile.lds | $(B)/.setup-build
	$(call say,HOSTILE,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -I. $(HOSTILE_CFLAGS) -nostdlib -static -no-pie -Wl,--build-id=none -Wl,--no-warn-rwx-segments \
		-Wl,-z,max-page-size=4096 -T tests/hostile/hostile.lds -o $@ $(HOSTILE_SRCS)

check: $(UNIT_TESTS) $(FUZZ_REPLAYS) example $(B)/podvm.deb $(GUEST_BINS) $(HOSTILE) | $(B)/.setup-build $(B)/.setup-test
	$(Q)tests/run-check $(B)

# By hand: real programs on the file server, through this machine's FUSE and in a pod (in the bed: an hour).
check-long: $(B)/asan/tests/host/fuse_mount $(B)/asan/tests/host/fs_hang example $(GUEST_BINS) | $(B)/.setup-test
	$(Q)tests/host/files $(B) 20 || [ $$? = 77 ]
	$(Q)scripts/on-kvm $(B)/podvm env TESTS=$$PWD/tests/e2e/long TEST_LIMIT_S=3600 tests/e2e/run $(B)

# By hand, some minutes: a pod on Intel's VMX and EPT, in Bochs.
check-intel: example
	$(Q)scripts/setup bed-intel
	$(Q)scripts/bed --intel --with $(B)/example/root -- $(B)/podvm tests/smoke.json | tee $(B)/intel.out
	$(Q)grep -q '^smoke: .* on GenuineIntel' $(B)/intel.out

# ---- measuring ----

$(B)/bench/%: tests/bench/%.c $(D)/versions.h
	$(call say,BENCH,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(SPECS) $(CPPFLAGS) -std=gnu11 -O2 -static $(WARNINGS) -o $@ $<

bench: example $(B)/bench/first_byte | $(B)/.setup-test
	$(Q)BED_OPTIONS=--clock scripts/on-kvm $(B)/podvm tests/bench/run $(B)

$(B)/bench/io-volume.tar: tests/bench/io_volume | $(B)/.setup-bench-io
	$(call say,PACK,$@)
	$(Q)$< $@
# Network, disk and files beside QEMU, in one run; an hour where there is no KVM.
bench-io: example $(B)/bench/rr $(B)/bench/io-volume.tar | $(B)/.setup-test
	$(Q)BED_OPTIONS=--clock scripts/on-kvm $(B)/podvm tests/bench/io $(B) | tee $(B)/bench/io.out

# ---- fuzzing, by hand ----

T ?= 60
FUZZERS := $(FUZZ_SRCS:tests/fuzz/fuzz_%.c=$(B)/fuzz/%)
FUZZ_CFLAGS := -std=gnu11 -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined
LIB_FUZZ := $(B)/fuzz/libpodvm.a
$(B)/fuzz/obj/%.o: %.c $(DA)/versions.h | $(B)/.setup-fuzz
	$(Q)mkdir -p $(@D)
	$(Q)clang $(ASAN_CPPFLAGS) $(FUZZ_CFLAGS) -fsanitize=fuzzer-no-link -MMD -MP -c -o $@ $<
$(LIB_FUZZ): $(LIB_SRCS:%.c=$(B)/fuzz/obj/%.o) $(RIG_SRCS:%.c=$(B)/fuzz/obj/%.o)
	$(Q)rm -f $@ && ar rcs $@ $^
$(B)/fuzz/%: $(B)/fuzz/obj/tests/fuzz/fuzz_%.o $(LIB_FUZZ)
	$(call say,FUZZ,$@)
	$(Q)clang $(FUZZ_CFLAGS) -fsanitize=fuzzer -o $@ $< $(LIB_FUZZ) $(ASAN_LIBS)
fuzz: $(FUZZERS)
	$(Q)tests/fuzz/run $(B) $(T)

# ---- which lines the unit tests and corpora reach, by hand ----

# The libraries are the sanitizers' flavour and want their runtime; our own code is built plain, so that branches are its own.
COV_CFLAGS := -std=gnu11 -O0 -g --coverage -pthread $(WARNINGS) -Wno-format-truncation
LIB_COV := $(B)/coverage/libpodvm.a
COV_TESTS := $(patsubst %.c,$(B)/coverage/%,$(filter-out tests/unit/test_glib.c,$(UNIT_SRCS))) \
	$(FUZZ_SRCS:tests/fuzz/fuzz_%.c=$(B)/coverage/replay_%)
$(B)/coverage/obj/%.o: %.c $(DA)/versions.h | $(B)/.setup-coverage
	$(call say,COV,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ASAN_CPPFLAGS) $(COV_CFLAGS) -MMD -MP -c -o $@ $<
$(LIB_COV): $(LIB_SRCS:%.c=$(B)/coverage/obj/%.o) $(RIG_SRCS:%.c=$(B)/coverage/obj/%.o)
	$(Q)rm -f $@ && ar rcs $@ $^
$(B)/coverage/replay_%: $(B)/coverage/obj/tests/fuzz/fuzz_%.o $(B)/coverage/obj/tests/fuzz/replay.o $(LIB_COV)
	$(Q)$(CC) --coverage -fsanitize=address,undefined -o $@ $^ $(ASAN_LIBS)
$(B)/coverage/%: $(B)/coverage/obj/%.o $(LIB_COV)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) --coverage -fsanitize=address,undefined -o $@ $< $(LIB_COV) $(ASAN_LIBS)
coverage: $(COV_TESTS) | $(B)/.setup-coverage
	$(Q)tests/coverage $(B)

lint: $(D)/versions.h | $(B)/.setup-lint
	$(Q)scripts/lint

clean:
	rm -rf $(B)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
