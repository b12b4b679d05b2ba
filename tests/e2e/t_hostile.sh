# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# A guest kernel that misuses every device (tests/hostile): podvm lives to the end, says little, and stays small.

HOSTILE_MEMORY_MB=32
HOSTILE_HWM_KB=16384   # podvm with what this guest touches of its memory, which is less than 4 MB
HOSTILE_FDS=80	       # descriptors at any time
HOSTILE_LOG_LINES=120  # podvm's own, in the longest mode

# hostile_start MODE: runs the kernel in that mode in the background: its process in $pid.
hostile_start() {
	[ -e "$BUILD/hostile/hostile" ] || skip "hostile/hostile was not built; make check does"
	truncate -s 1M d.img
	MEMORY=$HOSTILE_MEMORY_MB sh_pod p true '"volumes": [{ "volume": "d", "path": "/d" }]' '"volumes": [{ "name": "d", "source": "./d.img", "format": "raw" }]'
	"$PODVM" --console --kernel "$BUILD/hostile/hostile" --append "hostile=$1" p.json >out 2>err </dev/null &
	pid=$!
}

# Memory and descriptors of $pid, as high as they come, until it ends; its exit code in $code.
hostile_watch() {
	local kb=0 fds=0 now
	while kill -0 "$pid" 2>/dev/null; do
		now=$(awk '/^VmHWM/ { print $2 }' /proc/"$pid"/status 2>/dev/null) || break
		[ "${now:-0}" -gt "$kb" ] && kb=$now
		now=$(find /proc/"$pid"/fd -mindepth 1 2>/dev/null | wc -l)
		[ "$now" -gt "$fds" ] && fds=$now
		sleep 0.3
	done
	code=0
	wait "$pid" || code=$?
	echo "at most $kb kB and $fds descriptors"
	[ "$kb" -gt 0 ] && [ "$kb" -lt $HOSTILE_HWM_KB ] || fail "podvm took $kb kB"
	[ "$fds" -gt 0 ] && [ "$fds" -lt $HOSTILE_FDS ] || fail "podvm had $fds descriptors"
}

# For ends that come at once: nothing to be measured.
hostile_end() {
	code=0
	wait "$pid" || code=$?
}

# podvm's own lines, without what the guest wrote to its console.
hostile_log() {
	grep -a '^podvm: ' err | grep -av 'guest console: '
}

# What podvm says of a device that was broken is held to LOG_GUEST_BURST lines in ten seconds: hostile_held_back SECONDS.
hostile_held_back() {
	local device lines
	for device in vsock fs net rng balloon blk; do
		lines=$(hostile_log | grep -ac "^podvm: $device: the guest broke the virtio protocol") || :
		[ "$lines" -le $((5 * ($1 / 10 + 2))) ] || fail "$lines lines about $device in $1 s"
	done
}

# hostile MODE: the kernel ends by a reset, all of its checks having passed.
hostile() {
	local pid code start=$SECONDS
	hostile_start "$1"
	hostile_watch
	if grep -aq 'NOT OK' err || ! grep -aqE '^hostile: [1-9][0-9]* checks passed, 0 failed' err; then
		fail "$(grep -a 'NOT OK' err | head -20; hostile_log | tail -3; tail -5 err)"
	fi
	equal "$code" 125
	hostile_log | grep -aq 'the guest died before the pod ended: reset' || fail "$(hostile_log | tail -5)"
	hostile_held_back $((SECONDS - start))
	[ "$(hostile_log | wc -l)" -lt $HOSTILE_LOG_LINES ] || fail "$(hostile_log | wc -l) lines of podvm's own"
}

test_hostile_rings() {
	hostile rings
	hostile_log | grep -aq 'rng: the guest broke the virtio protocol' || fail "nothing was said of a broken ring"
}

test_hostile_registers() {
	hostile registers
}

test_hostile_kicks() {
	hostile kicks
}

test_hostile_ports() {
	hostile ports
}

test_hostile_memory() {
	hostile memory
}

test_hostile_cpu() {
	hostile cpu
}

# A guest that will never do anything again still lets itself be ended.
test_hostile_halt() {
	local pid code
	hostile_start halt
	wait_for 60 grep -aq 'halting with interrupts off' err
	kill "$pid"
	hostile_end
	equal "$code" 143
}

test_hostile_triple_fault() {
	local pid code
	hostile_start triple
	hostile_end
	equal "$code" 125
	hostile_log | grep -aq 'the guest died before the pod ended: triple fault' || fail "$(tail -5 err)"
}

# What KVM can not carry out ends the machine with a clear line.
test_hostile_code_on_registers() {
	local pid code
	hostile_start device
	hostile_end
	equal "$code" 125
	hostile_log | grep -aq 'the guest died before the pod ended: KVM' || fail "$(tail -5 err)"
}

# A console that never is silent neither fills memory nor reaches the terminal, and the signal is heard.
test_hostile_noise() {
	local pid code kb
	[ -e "$BUILD/hostile/hostile" ] || skip "hostile/hostile was not built; make check does"
	truncate -s 1M d.img
	MEMORY=$HOSTILE_MEMORY_MB sh_pod p true '"volumes": [{ "volume": "d", "path": "/d" }]' '"volumes": [{ "name": "d", "source": "./d.img", "format": "raw" }]'
	"$PODVM" --kernel "$BUILD/hostile/hostile" --append hostile=noise p.json >out 2>err </dev/null &
	pid=$!
	sleep 10
	kb=$(awk '/^VmHWM/ { print $2 }' /proc/"$pid"/status)
	[ "$kb" -lt $HOSTILE_HWM_KB ] || fail "podvm took $kb kB"
	kill "$pid"
	hostile_end
	equal "$code" 143
	if grep -aq "$(printf '\033')" err; then
		fail "control characters of the guest's reached the terminal"
	fi
}
