#!/usr/bin/env bash
# Run the studio and the proxy in front of it; the Space ends when either does.
set -euo pipefail
mien studio --port 7861 --no-browser &
nginx -c "$HOME/nginx.conf" -g "daemon off;" &
wait -n
