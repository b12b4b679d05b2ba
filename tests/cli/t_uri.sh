# shellcheck shell=bash
# SPDX-License-Identifier: Apache-2.0
# files[].uri that can not be had: told before a machine is made, so these run anywhere. What can be had is e2e's.

uri_pod() { # URI
	sh_pod p true '"files": [{ "path": "/f", "filename": "f" }]' "\"files\": [{ \"name\": \"f\", \"uri\": \"$1\" }]"
}

refused() { # URI WORD...
	uri_pod "$1"
	shift
	run 125 "$PODVM" run p.json
	one_line 'p.json: files[0].uri: ' "$@"
}

test_uri_of_a_file() {
	refused "file://$PWD/none" "file://$PWD/none: No such file" content
	refused "file://$PWD" 'not a regular file'
	mkfifo pipe
	refused "file://$PWD/pipe" 'not a regular file'
	refused file:///dev/zero 'not a regular file'
	head -c 4000000 /dev/zero >'too large%'
	refused "file://$PWD/too%20large%25" 'has 4000000 bytes; at most 3' 'use a volume'
	run 0 "$PODVM" validate p.json
	run 0 "$PODVM" spec p.json
}

# Not placed: not fetched. Without KVM the start goes on to its next complaint.
test_uri_that_is_not_placed() {
	sh_pod p true '' '"files": [{ "name": "f", "uri": "file:///none" }]'
	timeout 20 "$PODVM" run p.json >out 2>err || true
	! grep -q uri err || fail "$(cat err)"
}

serve() {
	mkdir -p www
	cat >server.py <<'PY'
import http.server
class Handler(http.server.SimpleHTTPRequestHandler):
    def do_GET(self):
        if self.path == "/away":
            self.send_response(302)
            self.send_header("Location", "file:///etc/passwd")
            self.end_headers()
        elif self.path == "/endless":
            self.send_response(200)
            self.end_headers()
            while True:
                self.wfile.write(b"x" * 65536)
        else:
            super().do_GET()
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
PY
	(cd www && exec python3 ../server.py >../port 2>/dev/null) &
	server=$!
	wait_for 20 test -s port
	at=http://127.0.0.1:$(cat port)
}

test_uri_of_the_web() {
	command -v curl >/dev/null || skip "curl is missing"
	serve
	refused "$at/none" "$at/none: curl: (22)" 404
	refused "$at/away" 'curl: (1)' file
	head -c 4000000 /dev/zero >www/large
	refused "$at/large" 'is larger than that; at most 3' 'use a volume'
	refused "$at/endless" 'is larger than that; at most 3'
	kill $server
	refused "$at/x" 'curl: (7)'
	uri_pod "$at/x"
	run 125 env PATH=/nowhere "$PODVM" run p.json
	one_line 'files[0].uri' 'curl(1) fetches it, and is not installed: install it'
}
