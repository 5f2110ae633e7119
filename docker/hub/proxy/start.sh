#!/bin/sh
# The proxy takes its token from the environment alone; here it comes from a mounted secret.
set -eu
CONFIGPROXY_AUTH_TOKEN=$(cat /run/secrets/hub_proxy_token)
export CONFIGPROXY_AUTH_TOKEN
exec /srv/proxy/node_modules/.bin/configurable-http-proxy \
  --ip=0.0.0.0 --port=8000 --api-ip=0.0.0.0 --api-port=8001 \
  --default-target=http://hub:8081 --error-target=http://hub:8081/hub/error
